//! `rollout history` and `rollout status`: what journals say of earlier rollouts; no node is asked.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::again::again;
use super::journals::{Authority, before_rotation, cluster_folder, earlier, history, is_of};
use crate::cli::args::{Global, OutputArgs, TalosArgs};
use crate::cli::session::{Session, inventory_if_any};
use crate::rollout::{self, Address, History, HistoryState, NodeHistory, OutcomeKind, Step};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Table, Ui, count};

/// What is asked of earlier rollouts.
#[derive(Debug, Subcommand)]
pub(super) enum Past {
    /// List the rollouts of this cluster that were made from here, the latest first
    #[command(
        after_help = "No node is asked, but for journals of another CA: those are listed where the nodes prove that the cluster is the same, as
after a rotation of its CA. STATE is unfinished where a node was left in between, or its turn has not come.

Examples:
  talmirror rollout history
  talmirror rollout history -o json"
    )]
    History(HistoryArgs),
    /// Show how the latest rollout stands, node by node
    #[command(
        after_help = "The nodes are asked only where the journal is of another CA; `talmirror nodes` shows what they have. Ends with 1 when the rollout is unfinished.

Examples:
  talmirror rollout status
  talmirror rollout status --journal ~/.local/state/talmirror/home-1a2b3c4d/20260102T030405.678Z"
    )]
    Status(StatusArgs),
}

/// Arguments of `rollout history`.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// List journals of clusters whose CA was another, as before its CA was rotated, though no node proves them
    #[arg(long, env = "TALMIRROR_OTHER_CA", value_parser = clap::builder::FalseyValueParser::new())]
    other_ca: bool,
    #[command(flatten)]
    talos: TalosArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `rollout status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The folder of the journal; without it, the latest of this cluster
    #[arg(long, env = "TALMIRROR_JOURNAL", value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Accept the journal of a cluster whose CA was another, as before its CA was rotated
    #[arg(long, env = "TALMIRROR_OTHER_CA", value_parser = clap::builder::FalseyValueParser::new())]
    other_ca: bool,
    #[command(flatten)]
    talos: TalosArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(ui: &mut Ui, global: &Global, past: Past) -> Result<Exit, CliError> {
    match past {
        Past::History(args) => list(ui, global, &args),
        Past::Status(args) => status(ui, global, &args),
    }
}

fn list(ui: &mut Ui, global: &Global, args: &HistoryArgs) -> Result<Exit, CliError> {
    let loaded = inventory_if_any(ui, global)?;
    let mut session = Session::connect(ui, global, &args.talos, loaded.as_ref())?;
    let cluster = cluster_folder(&session)?;
    let mut folders = rollout::newest(&cluster);
    folders.extend(rollout::elsewhere(&cluster)?.into_iter().rev());
    let mut found = Vec::new();
    for folder in folders {
        match rollout::read_history(&folder) {
            // Its folder may have been given to another cluster since.
            Ok(history) if !is_of(&history, &session) => {}
            Ok(history) => found.push((folder, history)),
            Err(error) => ui.warn(&format!("an earlier rollout cannot be read: {error}"), None),
        }
    }
    let authority = if args.other_ca { Authority::Any } else { Authority::Own };
    let (before, others) = before_rotation(&mut session, loaded.as_ref(), authority)?;
    found.extend(
        before
            .into_iter()
            .filter(|(folder, _)| !found.iter().any(|(known, _)| known == folder))
            .collect::<Vec<_>>(),
    );
    found.sort_by_key(|(_, history)| std::cmp::Reverse(history.began));
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "Rollouts",
        "items": found.iter().map(|(folder, history)| to_json(folder, history)).collect::<Vec<_>>(),
    });
    ui.output(args.output.format, &value, || {
        let rows = found.iter().map(|(folder, history)| {
            vec![
                began(history),
                history.state().as_str().to_owned(),
                outcomes(history),
                folder.display().to_string(),
            ]
        });
        Table::new(&["BEGAN", "STATE", "NODES", "JOURNAL"], rows)
    })?;
    ui.flush()?;
    ui.note(&format!("{} of context {}", count(found.len(), "rollout"), session.context_name));
    if others > 0 {
        ui.note(&format!(
            "{} of clusters of that context with another CA: no node proves that it is this cluster; --other-ca lists them",
            count(others, "more rollout")
        ));
    }
    Ok(exit::OK)
}

fn status(ui: &mut Ui, global: &Global, args: &StatusArgs) -> Result<Exit, CliError> {
    let loaded = inventory_if_any(ui, global)?;
    let mut session = Session::connect(ui, global, &args.talos, loaded.as_ref())?;
    let authority = if args.other_ca { Authority::Any } else { Authority::Own };
    let folder = earlier(&mut session, loaded.as_ref(), args.journal.as_ref(), authority)?;
    let history = history(ui, &mut session, loaded.as_ref(), &folder, authority)?;
    let mut value = json!({"apiVersion": "talmirror/v1", "kind": "Rollout"});
    if let (Value::Object(all), Value::Object(own)) = (&mut value, to_json(&folder, &history)) {
        all.extend(own);
    }
    ui.output(args.output.format, &value, || {
        let rows = history.all_nodes().into_iter().map(|node| {
            let told = history.by_node.get(&node.name);
            let sent = told.and_then(|told| Some((told.sent?, told.sent_at?)));
            let sent =
                sent.map(|(what, at)| format!("{} {}", Step::Apply(what), at.strftime("%Y-%m-%dT%H:%M:%SZ")));
            let outcome = history.outcome_of(&node.name);
            vec![
                node.name.clone(),
                node.address.clone(),
                outcome.to_owned(),
                sent.unwrap_or_else(|| "-".to_owned()),
            ]
        });
        Table::new(&["NODE", "ADDRESS", "OUTCOME", "SENT LAST"], rows)
    })?;
    ui.flush()?;
    for node in history.all_nodes() {
        let reason = history.by_node.get(&node.name).and_then(|told| told.reason.as_ref());
        if let Some(reason) = reason {
            ui.note(&format!("{}: {reason}", node.name));
        }
    }
    ui.note(&format!("began {}; journal: {}", began(&history), folder.display()));
    let other = args.other_ca.then(|| ("--other-ca", String::new()));
    // A node that was to keep its config was to be rebooted.
    let reboots = |node: &Address| node.planned.as_ref().is_some_and(|(before, desired)| before == desired);
    let reboots = !history.rolled_back && history.nodes.iter().any(reboots);
    let reboots = reboots.then(|| ("--reboot", "if-needed".to_owned()));
    let more: Vec<_> = other.into_iter().chain(reboots).collect();
    match history.state() {
        HistoryState::Complete | HistoryState::RolledBack => {
            ui.note(&format!("the rollout is {}", history.state().as_str()));
            Ok(exit::OK)
        }
        HistoryState::Unfinished => {
            let command = if history.rolled_back { "rollback" } else { "rollout --resume" };
            let next = again(command, global, &args.talos, args.journal.as_ref(), &more);
            ui.note(&format!("the rollout is unfinished. Next: {next}"));
            Ok(exit::FOUND)
        }
    }
}

/// Returns when a rollout began, as people read it.
pub(super) fn began(history: &History) -> String {
    history.began.map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Counts what became of the nodes, in the order of their first.
fn outcomes(history: &History) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for node in &history.nodes {
        let outcome = history.outcome_of(&node.name);
        match counts.iter_mut().find(|(word, _)| *word == outcome) {
            Some((_, number)) => *number += 1,
            None => counts.push((outcome, 1)),
        }
    }
    let parts: Vec<String> = counts.into_iter().map(|(word, number)| format!("{number} {word}")).collect();
    parts.join(", ")
}

/// Returns until when a trial lasts at most, where one may run.
fn trial_until(told: &NodeHistory) -> Option<Timestamp> {
    let is_open = matches!(told.outcome, None | Some(OutcomeKind::Unknown));
    told.until.filter(|_| is_open && told.all_sent.clone().given_up().in_trial())
}

fn to_json(folder: &Path, history: &History) -> Value {
    let nodes = history.all_nodes().into_iter().map(|node| {
        let told = history.by_node.get(&node.name);
        json!({
            "name": node.name,
            "address": node.address,
            "outcome": history.outcome_of(&node.name),
            "reason": told.and_then(|told| told.reason.as_ref()),
            "sent": told.and_then(|told| told.sent).map(|sent| Step::Apply(sent).as_str()),
            "sentAt": told.and_then(|told| told.sent_at).map(|at| at.to_string()),
            "trialUntil": told.and_then(trial_until).map(|until| until.to_string()),
        })
    });
    json!({
        "id": history.id,
        "context": history.context,
        "began": history.began.map(|at| at.to_string()),
        "state": history.state().as_str(),
        "journal": folder.display().to_string(),
        "nodes": nodes.collect::<Vec<_>>(),
    })
}
