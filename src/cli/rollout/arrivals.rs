//! What an earlier run has sent to a node, was killed before the answer, and may arrive after all.

#![expect(clippy::disallowed_methods, reason = "waits until it has arrived, or cannot any more")]

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::session::Session;
use crate::rollout::{History, NodeHistory};
use crate::ui::Ui;

/// Waits until nothing can arrive any more that earlier runs have sent to the nodes: what a node is said to have is what it
/// keeps, and nothing arrives on top of what is sent next. Returns whether it has waited.
pub(super) fn await_arrivals<'h>(
    ui: &mut Ui,
    session: &Session,
    told: impl Iterator<Item = (&'h str, &'h NodeHistory)>,
    landing: Duration,
) -> bool {
    let now = Timestamp::now();
    // The run that has sent it has ended by now, and a clock may have been set.
    let latest = now.checked_add(landing).unwrap_or(Timestamp::MAX);
    let open = told.filter_map(|(name, told)| Some((name, told.may_arrive_until()?)));
    let mut open: Vec<_> = open.filter(|(_, until)| *until > now).collect();
    let Some(until) = open.iter().map(|(_, until)| *until).max() else { return false };
    open.sort_unstable();
    open.dedup_by_key(|(name, _)| *name);
    let left = Duration::try_from(until.min(latest).duration_since(now)).unwrap_or_default();
    let names: Vec<&str> = open.into_iter().map(|(name, _)| name).collect();
    ui.note(&format!(
        "what an earlier run has sent to {} has no answer, and may still arrive: waiting {} s for it",
        names.join(", "),
        left.as_secs() + 1
    ));
    session.wait(async move { tokio::time::sleep(left).await });
    true
}

/// Returns what a journal tells of all its nodes: a run that goes on with it writes down that it has waited.
pub(super) fn told_of_all(history: &History) -> impl Iterator<Item = (&str, &NodeHistory)> {
    history.by_node.iter().map(|(name, told)| (name.as_str(), told))
}
