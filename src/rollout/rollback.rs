//! Puts nodes back to what they had before a rollout.

#![expect(clippy::disallowed_methods, reason = "measures how long a node takes")]

use std::sync::Arc;

use tokio::time::Instant;

use super::event::EventKind;
use super::found::{Decrypt, find};
use super::if_abandoned::SentConfigs;
use super::journal::NodeHistory;
use super::node::{BARE, NodeRunner, RolloutContext, health_flaws};
use super::outcome::Outcome;
use super::run::{Summary, record_finish};
use super::state_machine::{NodeState, StepResult, Variant};
use super::step::ApplyStep;
use super::variants::{ConfigDigest, VariantDigests, Variants};
use crate::finding::one_line;
use crate::registries::TalosVersion;
use crate::talos::NodeClient;

/// Puts a node back to what it had before the rollout, if it has what the rollout gave it, in whichever attempt.
///
/// That a node is not well is not a reason to leave it with what may have made it so: it is only told. One that does not
/// answer, or whose original cannot be read, is left alone, and so is what the journal knows of it.
pub async fn roll_back_node(
    context: &Arc<RolloutContext>,
    name: &str,
    node: &NodeClient,
    history: &NodeHistory,
    decrypt: &Decrypt<'_>,
) -> Outcome {
    let started = Instant::now();
    let (Some(known), Some((file, before))) = (&history.known, &history.first) else {
        return Outcome::Unchanged;
    };
    // A trial that may still run goes back to what was there before the last attempt.
    let may_be_in_trial = !history.is_settled() && known.original == *before;
    let sent = Some(history.all_sent.clone().given_up()).filter(|sent| may_be_in_trial && sent.in_trial());
    let mut known = VariantDigests { original: before.clone(), ..known.clone() };
    let first = known.clone();
    let runner = |version: &TalosVersion, known: &VariantDigests| {
        NodeRunner::new(Arc::clone(context), name, node, version, known.clone())
    };
    let untouched = |reason: String| {
        runner(&TalosVersion::minor(1, 14), &first).report_end(Outcome::Untouched { reason }, started)
    };
    // Before the config is read: between that and the sending there is to be no time.
    let flaws = health_flaws(node).await;
    let found = match find(node).await {
        Ok(found) => found,
        Err(reason) => return untouched(reason),
    };
    if context.is_stopping() {
        return untouched("interrupted".to_owned());
    }
    if found.is_replaced(history) {
        let reason =
            "another machine answers at its address: the node was replaced, and never had the old config";
        return untouched(reason.to_owned());
    }
    let active = ConfigDigest::of(&found.active);
    let disk = found.persistent.as_ref().map(|persistent| ConfigDigest::of(&persistent.text));
    match (history.whose(&active), disk.as_ref().map(|disk| history.whose(disk))) {
        (Variant::Original, Some(Variant::Original) | None) => {
            return runner(&found.version, &known).done(Outcome::Unchanged, started);
        }
        (Variant::Foreign, _) | (_, Some(Variant::Foreign)) => {
            let reason = "its config is neither the old nor the new one: it was changed since, and putting the old \
                          one back would undo that, too";
            return untouched(reason.to_owned());
        }
        (Variant::Original, _) => known.desired = disk.unwrap_or(active),
        (Variant::Desired | Variant::Strict, _) => {
            // On disk there may be another of ours than the one that runs.
            known.strict = disk.filter(|disk| *disk != active && *disk != known.original);
            known.desired = active;
        }
    }
    let original = match found.original(context, file, &known.original, decrypt) {
        Ok(original) => original,
        Err(error) => return untouched(one_line(&error)),
    };
    if !flaws.is_empty() {
        let text = format!("it is not well ({}); the old config is sent anyway", flaws.join("; "));
        context.tell(name, EventKind::Notes { text });
    }
    let mut runner = runner(&found.version, &known);
    runner.removed = history.removed.clone();
    runner.until = history.until.filter(|_| sent.is_some());
    runner.configs = Some(Variants {
        original: original.clone(),
        is_strict: false,
        strict: None,
        desired: found.active.clone(),
    });
    let looks = NodeRunner::new(Arc::clone(context), name, node, &found.version, known);
    let sent = sent.unwrap_or_else(|| SentConfigs::after(ApplyStep::Commit));
    let outcome = runner.run(NodeState::restoring(BARE, sent), None, started).await;
    if matches!(outcome, Outcome::Reverted { .. })
        && let StepResult::Failed(why) = looks.rendered(&found.active, &original).await
    {
        context.tell(
            name,
            EventKind::Notes { text: format!("Talos has not rendered the old config yet: {why}") },
        );
    }
    outcome
}

/// Ends a rollback: the journal tells that nothing of it is left to do.
pub fn finish_rollback(context: &RolloutContext, summary: &Summary) {
    record_finish(context, summary.is_complete());
}
