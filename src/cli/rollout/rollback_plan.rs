//! What a rollback is going to do, found out before anything is asked or sent.

use serde_json::json;

use super::args::Format;
use super::past::began;
use crate::cli::commands::diff::summary as changes_summary;
use crate::cli::session::{LiveNode, Session};
use crate::finding::one_line;
use crate::machineconfig::{Change, diff};
use crate::rollout::{
    Address, ConfigDigest, Decrypt, History, Journal, NodeHistory, StoreError, Variant, registries_of,
};
use crate::sops::SopsError;
use crate::talos::{Observation, TalosError, observe};
use crate::ui::{CliError, Table, Ui, exit};

/// What is going to happen to a node.
#[derive(Debug)]
pub(super) enum Prospect {
    /// It gets its old config again: what of its registries that changes.
    GoesBack(Vec<Change>),
    /// It has its old config.
    Unchanged,
    /// It is left alone: its config is neither the old nor the new one.
    Foreign,
    /// What it has is not known, and why; the rollback finds out.
    Unknown(String),
}

impl Prospect {
    /// Returns the word for it.
    fn as_str(&self) -> &'static str {
        match self {
            Self::GoesBack(_) => "goes-back",
            Self::Unchanged => "unchanged",
            Self::Foreign => "foreign",
            Self::Unknown(_) => "unknown",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::GoesBack(changes) if changes.is_empty() => {
                "goes back; its registries are the same".to_owned()
            }
            Self::GoesBack(changes) => format!("goes back: {}", changes_summary(changes)),
            Self::Unchanged => "has its old config already".to_owned(),
            Self::Foreign => "left alone: its config was changed since".to_owned(),
            Self::Unknown(why) => format!("not known: {why}"),
        }
    }
}

/// What is going to happen to each node, in the order in which it does.
pub(super) struct RollbackPlan {
    pub(super) nodes: Vec<(Address, Prospect)>,
    /// When the rollout began.
    began: String,
}

impl RollbackPlan {
    /// Asks the nodes, and reads their originals; an original that no key opens ends the command.
    pub(super) fn make(
        session: &Session,
        journal: &Journal,
        whole: &History,
        chosen: &[Address],
        decrypt: &Decrypt<'_>,
    ) -> Result<Self, CliError> {
        let seen = session.each(|node| async move { observe(&node).await });
        let mut nodes = Vec::new();
        for address in chosen {
            let Some(history) = whole.by_node.get(&address.name) else { continue };
            let of = |node: &LiveNode| node.target.to_string() == address.address;
            let prospect = match seen.iter().find(|(node, _)| of(node)) {
                Some((_, seen)) => prospect(seen, journal, history, decrypt)?,
                None => Prospect::Unknown("it was not asked".to_owned()),
            };
            nodes.push((address.clone(), prospect));
        }
        Ok(Self { nodes, began: began(whole) })
    }

    /// Returns whether every node has its old config.
    pub(super) fn is_done(&self) -> bool {
        self.nodes.iter().all(|(_, prospect)| matches!(prospect, Prospect::Unchanged))
    }

    /// Shows the plan.
    pub(super) fn show(&self, ui: &mut Ui, output: Format, journal: &Journal) -> Result<(), CliError> {
        let folder = journal.folder().display().to_string();
        if output == Format::Json {
            let node = |(address, prospect): &(Address, Prospect)| {
                let items = match prospect {
                    Prospect::GoesBack(changes) => changes.iter().map(Change::to_json).collect(),
                    Prospect::Unchanged | Prospect::Foreign | Prospect::Unknown(_) => Vec::new(),
                };
                json!({
                    "name": address.name, "address": address.address, "prospect": prospect.as_str(), "items": items,
                })
            };
            return ui.json_line(&json!({
                "apiVersion": "talmirror/v1",
                "kind": "RollbackEvents",
                "event": "plan",
                "journal": folder,
                "began": self.began,
                "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            }));
        }
        let rows =
            self.nodes.iter().map(|(address, prospect)| vec![address.name.clone(), prospect.sentence()]);
        let table = Table::new(&["NODE", "ROLLBACK"], rows);
        ui.table(&Table {
            above: format!("rollback of the rollout of {} in {folder}\n", self.began),
            ..table
        })?;
        for (names, changes) in self.groups() {
            let lines: String = changes.iter().map(|change| format!("  {change}\n")).collect();
            ui.signed(&format!("{}\n{lines}", names.join(", ")))?;
        }
        ui.flush()
    }

    /// Groups nodes whose changes look the same.
    fn groups(&self) -> Vec<(Vec<&str>, &[Change])> {
        let mut groups: Vec<(Vec<&str>, &[Change])> = Vec::new();
        for (address, prospect) in &self.nodes {
            let Prospect::GoesBack(changes) = prospect else { continue };
            match groups.iter_mut().find(|(_, other)| *other == changes.as_slice()) {
                _ if changes.is_empty() => {}
                Some((names, _)) => names.push(&address.name),
                None => groups.push((vec![&address.name], changes)),
            }
        }
        groups
    }
}

fn prospect(
    seen: &Result<Observation, TalosError>,
    journal: &Journal,
    history: &NodeHistory,
    decrypt: &Decrypt<'_>,
) -> Result<Prospect, CliError> {
    let (active, persistent) = match seen {
        Ok(Observation { active: Ok(active), persistent, .. }) => (active, persistent),
        Ok(Observation { active: Err(error), .. }) | Err(error) => {
            return Ok(Prospect::Unknown(one_line(error)));
        }
    };
    let Some((file, digest)) = &history.first else { return Ok(Prospect::Unchanged) };
    let disk = persistent.as_ref().map(|disk| history.whose(&ConfigDigest::of(&disk.text)));
    match (history.whose(&ConfigDigest::of(&active.text)), disk) {
        (Variant::Original, Some(Variant::Original) | None) => return Ok(Prospect::Unchanged),
        (Variant::Foreign, _) | (_, Some(Variant::Foreign)) => return Ok(Prospect::Foreign),
        (Variant::Original | Variant::Strict | Variant::Desired, _) => {}
    }
    match journal.load(file, digest, decrypt) {
        Ok(original) => {
            let changes = diff(&registries_of(&active.text), &registries_of(&original));
            Ok(Prospect::GoesBack(changes))
        }
        Err(StoreError::Sops { source: source @ SopsError::NoKey(_), .. }) => {
            let help = source.help();
            Err(CliError::from_error(exit::SECRET, source)
                .context("the nodes' old configs are encrypted, and no key at hand opens them; no node was touched")
                .help_if(help))
        }
        // One original that cannot be read is one node's trouble, which the rollback tells.
        Err(error) => Ok(Prospect::Unknown(one_line(&error))),
    }
}
