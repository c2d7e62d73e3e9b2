//! What an earlier rollout has left in between, brought to one config or the other.

#![expect(clippy::disallowed_methods, reason = "dates the plan")]

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::next::resume;
use super::{RolloutArgs, ask, control_plane, end, pace};
use crate::cli::args::Global;
use crate::cli::ending::{exit_of, sentence};
use crate::cli::inventory::Loaded;
use crate::cli::roll::{Format, Gear, carry_out, decrypt};
use crate::cli::session::{LiveNode, Session};
use crate::rollout::{Address, History, Journal, Left, Outcome, Record, Summary, look, settle};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, count};

/// Brings nodes that an earlier run has left in between to one config or the other; an exit code where one cannot be.
pub(super) fn settle_all(
    ui: &mut Ui,
    global: &Global,
    args: &RolloutArgs,
    loaded: &Loaded,
    session: &Session,
    folder: &Path,
    history: &History,
) -> Result<Option<Exit>, CliError> {
    let told = |node: &LiveNode| {
        let name = in_journal(history, loaded, node);
        let told = history.told.get(&name).filter(|told| !told.is_settled())?;
        let node = session.node(node);
        let shown = session.wait(look(&node, told))?;
        Some((name, node, told, shown))
    };
    let nodes: Vec<_> = session.nodes.iter().filter_map(told).collect();
    let mut left = Vec::new();
    for (name, _, _, shown) in &nodes {
        let action = match shown {
            Ok(Left::Revert) => "its old config is sent again",
            Ok(Left::Commit) => "its commit is sent again",
            Ok(Left::Reboot) => "it is rebooted, as it was to be",
            // Nothing is sent to it, whatever it may be.
            Ok(Left::Nothing | Left::Foreign) | Err(_) => continue,
        };
        left.push((name.as_str(), action));
    }
    if args.output == Format::Text {
        for (name, action) in &left {
            ui.result(&format!("{name} was left in between: {action}\n"))?;
        }
        ui.flush()?;
    } else if !left.is_empty() {
        let nodes = left.iter().map(|(name, action)| json!({"name": name, "action": action}));
        let at = Timestamp::now().to_string();
        ui.json_line(&json!({"at": at, "event": "left", "nodes": nodes.collect::<Vec<_>>()}))?;
    }
    if !left.is_empty() {
        ask(global, args, &format!("Bring {} to one config first?", count(left.len(), "node")))?;
    }
    let (journal, _) = Journal::open(folder, None)?;
    journal.add(Record::Resume)?;
    let open = decrypt(global);
    let gear = Gear {
        journal,
        pace: pace(args, loaded),
        images: Vec::new(),
        control_plane: control_plane(loaded, session, &[]),
        again: resume(global, args, None),
    };
    let done = carry_out(ui, session, gear, args.output, |crew| async move {
        let mut summary = Summary::default();
        for (name, node, told, shown) in nodes {
            if let Some(outcome) = settle(&crew, &name, &node, told, shown, &open).await {
                summary.ended.push((name, outcome));
            }
        }
        summary.interrupted = *crew.stop.borrow();
        summary
    })?;
    let Some(summary) = done else { return Ok(Some(exit::INTERRUPTED)) };
    let open = |outcome: &Outcome| matches!(outcome, Outcome::Unknown { .. } | Outcome::WantsReboot { .. });
    let unknown = summary.named(open);
    if unknown.is_empty() && summary.interrupted {
        let next = resume(global, args, None);
        let what = "stopped: what was left in between has one config or the other";
        return end(ui, args.output, &summary, exit::INTERRUPTED, what, Some(&next)).map(Some);
    }
    if unknown.is_empty() {
        return Ok(None);
    }
    let mut next = format!("look at {}, then: {}", unknown.join(", "), resume(global, args, None));
    let others: Vec<&str> = history.nodes.iter().map(|node| node.name.as_str()).collect();
    let others: Vec<&str> = others.into_iter().filter(|name| !unknown.contains(name)).collect();
    if !others.is_empty() {
        next += &format!("; or go on with the others: {}", resume(global, args, Some(&others)));
    }
    end(ui, args.output, &summary, exit_of(&summary), &sentence(&summary), Some(&next)).map(Some)
}

/// Returns what a node is called in the journal.
fn in_journal(history: &History, loaded: &Loaded, node: &LiveNode) -> String {
    let found = history.nodes.iter().find(|told| address(loaded, told) == node.name);
    found.map_or_else(|| node.name.clone(), |told| told.name.clone())
}

/// Returns what a node of an earlier rollout is found by: its name, if the inventory still knows it.
pub(super) fn address(loaded: &Loaded, node: &Address) -> String {
    let known = loaded.inventory.nodes.contains_key(&node.name);
    if known { node.name.clone() } else { node.address.clone() }
}
