//! Carries out a rollout, wave after wave.

#![expect(clippy::disallowed_methods, reason = "waits between waves")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::event::EventKind;
use super::journal::Record;
use super::node::{NodeJob, RolloutContext, work};
use super::outcome::Outcome;
use super::waves::Wave;
use crate::finding::one_line;

/// When a rollout ends before its last node.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How many nodes may fail before the rest is left alone.
    pub max_failures: usize,
    /// How long is waited between waves.
    pub pause: Duration,
    /// Whether these are all nodes of the journal.
    pub is_whole: bool,
}

/// What became of a rollout.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The nodes that were worked on, in the order in which they came.
    pub ended: Vec<(String, Outcome)>,
    /// The nodes whose turn did not come.
    pub left: Vec<String>,
    /// Whether the user wanted to stop.
    pub interrupted: bool,
}

impl Summary {
    /// Returns the nodes that ended in a certain way.
    pub fn named(&self, is: impl Fn(&Outcome) -> bool) -> Vec<&str> {
        self.ended.iter().filter(|(_, outcome)| is(outcome)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns whether every node is as it was meant to be.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.ended.iter().all(|(_, outcome)| outcome.is_well())
    }
}

/// Works on the nodes of one wave after the other, until all are done or too many have failed.
///
/// Nodes of one wave are worked on at once, and each is carried to its end; a node whose state is not known ends the
/// rollout, whatever the policy.
pub async fn run_waves(
    context: &Arc<RolloutContext>,
    waves: &[Wave],
    mut jobs: BTreeMap<String, NodeJob>,
    policy: Policy,
) -> Summary {
    let mut summary = Summary::default();
    let (mut failures, mut stopped) = (0, false);
    for (at, wave) in waves.iter().enumerate() {
        if at > 0 && !stopped && !policy.pause.is_zero() {
            tokio::select! {
                () = context.stopped() => {}
                () = sleep(policy.pause) => {}
            }
        }
        summary.interrupted |= context.is_stopping();
        if stopped || summary.interrupted {
            summary.left.extend(wave.nodes.iter().cloned());
            continue;
        }
        let mut tasks = JoinSet::new();
        for (at, name) in wave.nodes.iter().enumerate() {
            let Some(job) = jobs.remove(name) else { continue };
            let (context, name) = (Arc::clone(context), name.clone());
            tasks.spawn(async move { (at, name, work(context, job).await) });
        }
        let mut ended = tasks.join_all().await;
        ended.sort_by_key(|(at, ..)| *at);
        for (_, name, outcome) in ended {
            failures += usize::from(!outcome.is_well());
            stopped |= matches!(outcome, Outcome::Unknown { .. });
            summary.ended.push((name, outcome));
        }
        stopped |= failures > policy.max_failures;
        summary.interrupted |= context.is_stopping();
    }
    record_finish(context, policy.is_whole && summary.is_complete());
    summary
}

/// Writes into the journal that nothing more is done.
pub(super) fn record_finish(context: &RolloutContext, complete: bool) {
    if let Err(error) = context.journal.add(Record::Finish { complete }) {
        context.tell("", EventKind::Notes { text: one_line(&error) });
    }
}
