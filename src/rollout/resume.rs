//! Resumes a rollout: brings nodes that an earlier run has left in between to one config or the other.

#![expect(clippy::disallowed_methods, reason = "measures how long a node takes")]

use std::sync::Arc;

use tokio::time::Instant;

use super::event::EventKind;
use super::found::{Decrypt, find};
use super::if_abandoned::{ForeignConfig, IfAbandoned};
use super::journal::{Aim, Leftover, NodeHistory};
use super::node::{BARE, NodeRunner, RolloutContext};
use super::outcome::Outcome;
use super::state_machine::{NodeState, Reboot, Route, StepResult, reason};
use super::step::ApplyStep;
use super::variants::Variants;
use crate::finding::one_line;
use crate::registries::TalosVersion;
use crate::talos::NodeClient;

/// Reads what an earlier run has left to do on a node; nothing is sent to it.
pub async fn inspect_leftover(
    node: &NodeClient,
    history: &NodeHistory,
    aim: Aim,
) -> Result<Leftover, String> {
    match &history.known {
        Some(known) if !history.is_settled() => {
            let found = find(node).await?;
            let left = found.leftover(history, known).with_aim(aim);
            Ok(if found.is_replaced(history) { Leftover::Nothing } else { left })
        }
        _ => Ok(Leftover::Nothing),
    }
}

/// Brings a node that an earlier run has left in between to its old or its new config; [`None`]: there is nothing to do.
///
/// The node is believed more than the journal. `shown` is what [`inspect_leftover`] has found, and the user was asked about: nothing
/// else is sent. What cannot be found out, or has no original that can be read, is [`Outcome::Unknown`].
pub async fn resume_node(
    context: &Arc<RolloutContext>,
    name: &str,
    node: &NodeClient,
    history: &NodeHistory,
    (aim, shown): (Aim, Result<Leftover, String>),
    decrypt: &Decrypt<'_>,
) -> Option<Outcome> {
    let (Some(known), Some(file), false) = (&history.known, &history.file, history.is_settled()) else {
        return None;
    };
    let started = Instant::now();
    let if_abandoned = match shown {
        // Its commit was seen there.
        Ok(Leftover::Rendering) => IfAbandoned::KeepsNew,
        Ok(
            Leftover::Nothing | Leftover::Revert | Leftover::Commit | Leftover::Reboot | Leftover::Foreign,
        )
        | Err(_) => history.all_sent.if_abandoned(),
    };
    let unknown = |reason: String| {
        let runner =
            NodeRunner::new(Arc::clone(context), name, node, &TalosVersion::minor(1, 14), known.clone());
        let removed = history.removed.iter().map(|(image, of)| format!("{image} ({})", of.as_str()));
        let outcome = Outcome::Unknown { reason, if_abandoned }.with_lost(&removed.collect::<Vec<_>>());
        Some(runner.done(outcome, started))
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(reason) => return unknown(reason),
    };
    let found = match find(node).await {
        Ok(found) => found,
        Err(reason) => return unknown(reason),
    };
    if found.is_replaced(history) {
        let text = "another machine answers at its address: the node was replaced, and nothing is brought back on it";
        context.tell(name, EventKind::Notes { text: text.to_owned() });
        return None;
    }
    let mut runner = NodeRunner::new(Arc::clone(context), name, node, &found.version, known.clone());
    let left = found.leftover(history, known).with_aim(aim);
    if left.sends() && !shown.sends() {
        return unknown(
            "it has changed since it was looked at, and you were not asked about that".to_owned(),
        );
    }
    runner.role = found.role;
    runner.removed = history.removed.clone();
    let may_have_booted = matches!(left, Leftover::Commit | Leftover::Nothing) && history.rebooted;
    if may_have_booted
        && history.reboots
        && history.sent == Some(ApplyStep::Commit)
        && history.outcome.is_none()
    {
        let text = "it was to be rebooted after its commit, and whether it was is not known: see to it, for its \
                    credentials to reach pods' pulls";
        context.tell(name, EventKind::Notes { text: text.to_owned() });
    }
    let state = match left {
        Leftover::Nothing => {
            if found.keeps_foreign(history, known) {
                let text = "another operator or tool has applied another config in the middle of it: what that says beside \
                            registries stays";
                context.tell(name, EventKind::Notes { text: text.to_owned() });
            }
            runner.restore_images(&Outcome::Unchanged).await;
            return None;
        }
        Leftover::Foreign => {
            let is = known.on_disk(found.persistent.as_ref(), &found.version).of_foreign();
            let reason = match is {
                ForeignConfig::OnTrial => {
                    "another operator or tool has put another config on trial in the middle of it"
                }
                ForeignConfig::ForGood | ForeignConfig::NotTold => {
                    "another operator or tool has applied another config in the middle of it"
                }
            };
            let if_abandoned = history.all_sent.with_foreign(is);
            let outcome = Outcome::Unknown { reason: reason.to_owned(), if_abandoned };
            return Some(runner.done(outcome, started));
        }
        Leftover::Revert => NodeState::reverting(BARE, "an earlier run was cut off"),
        Leftover::Commit => NodeState::committing(BARE),
        Leftover::Rendering => NodeState::committed(BARE),
        Leftover::Reboot => NodeState::committed(Route { reboot: Reboot::After, ..BARE }),
    };
    let before = match found.original(context, file, &known.original, decrypt) {
        Ok(before) => before,
        // Where nothing is wrong with the commit, its original is not needed.
        Err(error) if left == Leftover::Rendering => {
            return match runner.rendered(&found.active, &found.active).await {
                StepResult::Well => {
                    let lost = runner.restore_images(&Outcome::Updated).await;
                    Some(runner.done(Outcome::Updated.with_lost(&lost), started))
                }
                other => {
                    let why = reason(other);
                    unknown(format!("{why}; its old config cannot be sent: {}", one_line(&error)))
                }
            };
        }
        Err(error) => return unknown(one_line(&error)),
    };
    // Where it is committed, what runs is what is desired.
    runner.configs =
        Some(Variants { original: before, is_strict: false, strict: None, desired: found.active });
    Some(runner.run(state, None, started).await)
}
