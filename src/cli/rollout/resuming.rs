//! What an earlier rollout has left in between, brought to one config or the other.

#![expect(clippy::disallowed_methods, reason = "dates the plan")]

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::args::{Format, RolloutArgs, pace};
use super::arrivals::{await_arrivals, told_of_all};
use super::before::{ask, control_plane, untouched};
use super::carry_out::{Ended, Telling, carry_out};
use super::journals::decrypt;
use super::next_command::{begin, resume};
use super::plan_view::{Plan, PlannedNode};
use super::summary_view::{end, exit_of, sentence};
use crate::cli::args::Global;
use crate::cli::inventory::LoadedInventory;
use crate::cli::session::{LiveNode, Session};
use crate::rollout::{
    Address, Aim, History, IfAbandoned, Journal, Leftover, NodeHistory, Outcome, Record, Resumed,
    RolloutContext, Summary, inspect_leftover, resume_node,
};
use crate::talos::Identity;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, count};

/// Brings nodes that an earlier run has left in between to one config or the other, and returns what became of them; an exit
/// code where one cannot be.
pub(super) fn settle_all(
    ui: &mut Ui,
    global: &Global,
    args: &RolloutArgs,
    loaded: &LoadedInventory,
    session: &Session,
    folder: &Path,
    history: &History,
) -> Result<Result<Summary, Exit>, CliError> {
    await_arrivals(ui, session, told_of_all(history), pace(args, loaded).landing());
    let unsettled = |(node, name): (&LiveNode, String)| {
        let node_history = history.by_node.get(&name).filter(|history| !history.is_settled())?;
        let aim = if is_lost(history, node) { Aim::Old } else { Aim::Nearest };
        let node = session.node(node);
        let shown = session.wait(inspect_leftover(&node, node_history, aim))?;
        Some((name, node, node_history, (aim, shown)))
    };
    let nodes: Vec<_> = names_in_journal(session, history).into_iter().filter_map(unsettled).collect();
    let mut left = Vec::new();
    for (name, _, _, (_, shown)) in &nodes {
        let action = match shown {
            Ok(Leftover::Revert) => "its old config is sent again",
            Ok(Leftover::Commit) => "its commit is sent again",
            Ok(Leftover::Rendering) => {
                "what Talos has made of its new config is checked; where that is wrong, or it is not well, its old config \
                 is sent again"
            }
            Ok(Leftover::Reboot) => "it is rebooted, as it was to be",
            // Nothing is sent to it, whatever it may be.
            Ok(Leftover::Nothing | Leftover::Foreign) | Err(_) => continue,
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
        let question = format!("Bring {} to one config first?", count(left.len(), "node"));
        ask(ui, global, args, &question, untouched(&Summary::default()))?;
    }
    let (journal, _) = Journal::open(folder, None)?;
    journal.add(Record::Resume { cluster: session.fingerprints().into_iter().next() })?;
    let open = decrypt(global);
    let planes = control_plane(args, loaded, session, &[]);
    let (context, handle) = RolloutContext::new(journal, pace(args, loaded), Vec::new(), planes);
    let names = nodes.iter().map(|(name, ..)| name.clone()).collect();
    let telling = Telling { format: args.output, names, again: resume(global, args, None) };
    let done = carry_out(ui, session, handle, telling, async move {
        let mut summary = Summary::default();
        for (name, node, history, shown) in nodes {
            if let Some(outcome) = resume_node(&context, &name, &node, history, shown, &open).await {
                summary.ended.push((name, outcome));
            }
        }
        summary.interrupted = context.is_stopping();
        summary
    })?;
    let (summary, stopped) = match done {
        Ended::Done(summary, stopped) => (summary, stopped),
        Ended::Abandoned(exit) => return Ok(Err(exit)),
    };
    let open = |outcome: &Outcome| matches!(outcome, Outcome::Unknown { .. } | Outcome::WantsReboot { .. });
    let unknown = summary.named(open);
    if unknown.is_empty() && summary.interrupted {
        let next = resume(global, args, None);
        let what = "stopped: what was left in between has one config or the other";
        return end(ui, args.output, &summary, stopped, what, Some(&next)).map(Err);
    }
    if unknown.is_empty() {
        return Ok(Ok(summary));
    }
    // Where a node hides whether another hand's config is on trial, a rollout that is resumed never takes it.
    let is_hidden = |outcome: &Outcome| {
        matches!(outcome, Outcome::Unknown { if_abandoned: IfAbandoned::MaybeForeignTrial(_), .. })
    };
    let hidden = summary.named(is_hidden);
    let is_foreign = unknown.iter().all(|name| hidden.contains(name));
    let then = if is_foreign { begin(global, args, Some(&unknown)) } else { resume(global, args, None) };
    let mut next = format!("look at {}, then: {then}", unknown.join(", "));
    let others: Vec<&str> = history.nodes.iter().map(|node| node.name.as_str()).collect();
    let others: Vec<&str> = others.into_iter().filter(|name| !unknown.contains(name)).collect();
    if !others.is_empty() {
        next += &format!("; or resume the others: {}", resume(global, args, Some(&others)));
    }
    end(ui, args.output, &summary, exit_of(&summary, stopped), &sentence(&summary), Some(&next)).map(Err)
}

/// Returns the chosen nodes, each with what the journal calls it: by the machine that it is, which counts more than a name or an
/// address that may be another's by now.
fn names_in_journal<'s>(session: &'s Session, history: &History) -> Vec<(&'s LiveNode, String)> {
    let by_text = |node: &LiveNode| in_journal(history, node).map_or(&node.name, |told| &told.name).clone();
    if history.by_node.values().all(NodeHistory::is_settled) {
        return session.nodes.iter().map(|node| (node, by_text(node))).collect();
    }
    let machines = session.each(|node| async move { node.identity().await.ok() });
    let own: Vec<Option<&str>> =
        machines.iter().map(|(_, identity)| history.name_of(identity.as_ref()?)).collect();
    let named = session.nodes.iter().zip(&own).filter_map(|(node, name)| match name {
        Some(name) => Some((node, (*name).to_owned())),
        None => Some((node, by_text(node))).filter(|(_, name)| !own.contains(&Some(name.as_str()))),
    });
    named.collect()
}

/// Has the plan's nodes keep the names that the journal has for their machines; returns whether all nodes of the journal are
/// among them.
pub(super) fn keep_names(earlier: &History, plan: &mut Plan, untouched: &str) -> Result<bool, CliError> {
    let resumed = |planned: &PlannedNode| Resumed {
        name: planned.node.name.clone(),
        address: planned.node.target.to_string(),
        identity: Identity {
            machine: planned.plan.machine.clone(),
            nodename: planned.plan.nodename.clone(),
            addresses: Vec::new(),
        },
    };
    let nodes: Vec<Resumed> = plan.nodes.iter().map(resumed).collect();
    let names = earlier.names_for(&nodes).map_err(|error| {
        CliError::new(exit::STOPPED, format!("{error}; {untouched}"))
            .help("leave it out with --without, and have a rollout of its own for it")
    })?;
    for (planned, name) in plan.nodes.iter_mut().zip(names) {
        planned.kept_as = name;
    }
    // A machine that has taken the place of another one may have a name of its own.
    let is_it = |told: &Address, planned: &PlannedNode| {
        let node = &planned.node;
        planned.kept_as == told.name || (node.name == told.name && node.target.to_string() == told.address)
    };
    Ok(earlier.nodes.iter().all(|told| plan.nodes.iter().any(|planned| is_it(told, planned))))
}

/// What the inventory has changed since a rollout began that is resumed.
#[derive(Debug, Default)]
pub(super) struct Since {
    /// Nodes that are no part of the rollout.
    new: Vec<String>,
    /// Nodes of the rollout that are to have another config now than they were to have then.
    changed: Vec<String>,
    /// Nodes of the rollout that were not chosen.
    left_out: Vec<String>,
}

impl Since {
    /// Compares the inventory with a rollout's journal.
    pub(super) fn of(loaded: &LoadedInventory, earlier: &History, plan: &Plan) -> Self {
        let is_part = |name: &str| {
            // A node may have another name since.
            earlier.nodes.iter().any(|node| node.name == name)
                || plan.nodes.iter().any(|planned| planned.node.name == name)
        };
        let new = loaded.inventory.nodes.keys().filter(|name| !is_part(name)).cloned();
        let changed = plan.nodes.iter().filter(|planned| is_changed(earlier, planned));
        let is_chosen = |told: &Address| {
            plan.nodes.iter().any(|planned| {
                planned.node.name == told.name || planned.node.target.to_string() == told.address
            })
        };
        // What the inventory has lost is told apart.
        let kept = |told: &&Address| !told.was_listed() || loaded.inventory.nodes.contains_key(&told.name);
        let left_out = earlier.nodes.iter().filter(kept).filter(|told| !is_chosen(told));
        Self {
            new: new.collect(),
            changed: changed.map(|planned| planned.node.name.clone()).collect(),
            left_out: left_out.map(|told| told.name.clone()).collect(),
        }
    }

    /// Tells it with the plan, before anything is asked.
    pub(super) fn tell_at_plan(&self, ui: &mut Ui, global: &Global, args: &RolloutArgs) {
        if !self.changed.is_empty() {
            ui.note(&format!(
                "changed in the inventory since this rollout began: {}; resumed, it gives them what the inventory has now",
                self.changed.join(", ")
            ));
        }
        self.tell_others(ui, global, args);
    }

    /// Tells at the end what was not taken, each with the command that takes it.
    pub(super) fn tell_at_end(&self, ui: &mut Ui, global: &Global, args: &RolloutArgs, summary: &Summary) {
        let has_ended =
            |name: &&String| summary.ended.iter().any(|(ended, outcome)| ended == *name && outcome.is_well());
        let open: Vec<&str> =
            self.changed.iter().filter(|name| !has_ended(name)).map(String::as_str).collect();
        if !open.is_empty() {
            let next = resume(global, args, Some(&open));
            ui.note(&format!(
                "changed in the inventory since the rollout began, and not as it has them now: {}; they come with: {next}",
                open.join(", ")
            ));
        }
        self.tell_others(ui, global, args);
    }

    fn tell_others(&self, ui: &mut Ui, global: &Global, args: &RolloutArgs) {
        let names = |names: &[String]| names.join(", ");
        if !self.left_out.is_empty() {
            let next = resume(global, args, Some(&words(&self.left_out)));
            ui.note(&format!(
                "of this rollout, and not chosen now: {}; they come with: {next}",
                names(&self.left_out)
            ));
        }
        if !self.new.is_empty() {
            let next = begin(global, args, Some(&words(&self.new)));
            ui.note(&format!("not part of this rollout: {}; they come with: {next}", names(&self.new)));
        }
    }
}

fn words(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Returns whether a node is to have another config than it was to have when the rollout began, as far as the journal and
/// the node's own config tell.
fn is_changed(earlier: &History, planned: &PlannedNode) -> bool {
    let Some(told) = earlier.nodes.iter().find(|told| told.name == planned.kept_as) else { return false };
    let plan = &planned.plan;
    let known = earlier.by_node.get(&told.name).and_then(|history| history.known.as_ref());
    let then = known.map(|known| (&known.original, &known.desired));
    let Some((before, desired)) = then.or(told.planned.as_ref().map(|(before, desired)| (before, desired)))
    else {
        return false;
    };
    plan.desired != *desired && (plan.before == *before || plan.before == *desired)
}

/// Finds what the journal says of how a node was named and reached: by its name, else by its address.
pub(super) fn in_journal<'h>(history: &'h History, node: &LiveNode) -> Option<&'h Address> {
    let target = node.target.to_string();
    let named = history.nodes.iter().find(|told| told.name == node.name);
    named.or_else(|| history.nodes.iter().find(|told| told.address == target))
}

/// Finds what journals tell of the chosen nodes.
pub(super) fn told_of<'h>(
    journals: impl Iterator<Item = &'h History>,
    nodes: &[LiveNode],
) -> impl Iterator<Item = (&'h str, &'h NodeHistory)> {
    journals.flat_map(move |history| {
        let told = nodes.iter().filter_map(|node| {
            let name = &in_journal(history, node)?.name;
            Some((name.as_str(), history.by_node.get(name)?))
        });
        told.collect::<Vec<_>>()
    })
}

/// Returns whether the inventory listed a node when the rollout began, and does not do so any more.
pub(super) fn is_lost(history: &History, node: &LiveNode) -> bool {
    !node.known && in_journal(history, node).is_some_and(Address::was_listed)
}

/// Returns what a node of an earlier rollout is found by: its name, if the inventory still knows it.
pub(super) fn address(loaded: &LoadedInventory, node: &Address) -> String {
    let known = loaded.inventory.nodes.contains_key(&node.name);
    if known { node.name.clone() } else { node.address.clone() }
}
