use std::collections::BTreeSet;

use indexmap::IndexMap;
use jiff::Timestamp;

use crate::rollout::{ApplyStep, Event, EventKind, IfAbandoned, Outcome, Step};

/// What is known of the nodes that are worked on, and how it is told.
#[derive(Debug, Default)]
pub(super) struct ProgressView {
    width: usize,
    /// All that are to be worked on, in the order in which they are shown.
    names: Vec<String>,
    began: Option<Timestamp>,
    finished: usize,
    nodes: IndexMap<String, CurrentNode>,
    /// What went wrong with a node, as far as it was told.
    told: BTreeSet<(String, String)>,
}

/// A node that is worked on.
#[derive(Debug)]
struct CurrentNode {
    running: Option<(Step, Timestamp)>,
    done: Vec<(Step, Ended)>,
    if_abandoned: IfAbandoned,
    until: Option<Timestamp>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
}

/// Returns the words for a step: while it runs, and when it is done.
fn words(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Inspect => ("reading", "read"),
        Step::Apply(ApplyStep::TryStrict) => ("trying strict", "tried strict"),
        Step::Apply(ApplyStep::Try) => ("trying", "tried"),
        Step::Apply(ApplyStep::Commit) => ("committing", "committed"),
        Step::Apply(ApplyStep::Revert) => ("reverting", "reverted"),
        Step::ReadBack => ("reading back", "read back"),
        Step::Rendered => ("rendering", "rendered"),
        Step::Pull => ("proving", "proven"),
        Step::Confirm => ("checking", "checked"),
        Step::Reboot => ("asking to reboot", "asked to reboot"),
        Step::Boot => ("booting", "booted"),
    }
}

impl ProgressView {
    /// Prepares for nodes of these names.
    pub(super) fn new(names: Vec<String>) -> Self {
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        Self { width, names, ..Self::default() }
    }

    /// Takes in what happens; returns the line that tells it, where it is a transition that says something new.
    pub(super) fn add(&mut self, event: &Event) -> Option<String> {
        self.began.get_or_insert(event.at);
        let name = format!("{:<width$}", event.node, width = self.width);
        match &event.kind {
            EventKind::Waits { why } => Some(format!("{name}  waits: {why}")),
            EventKind::Begins { step, if_abandoned, until } => {
                let current = self.nodes.entry(event.node.clone()).or_insert(CurrentNode {
                    running: None,
                    done: Vec::new(),
                    if_abandoned: *if_abandoned,
                    until: *until,
                });
                (current.if_abandoned, current.until) = (*if_abandoned, *until);
                current.running = Some((*step, event.at));
                None
            }
            EventKind::Ends { step, took, trouble } => {
                if let Some(current) = self.nodes.get_mut(&event.node) {
                    current.running = None;
                    current.done.push((*step, if trouble.is_none() { Ended::Well } else { Ended::Badly }));
                }
                let (running, done) = words(*step);
                match trouble {
                    None => Some(format!("{name}  {done}  {:.1} s", took.as_secs_f32())),
                    Some(trouble) if self.is_told(&event.node, trouble) => None,
                    Some(trouble) => Some(format!("{name}  {running} failed: {trouble}")),
                }
            }
            EventKind::Notes { text } => Some(format!("{name}  note: {text}")),
            EventKind::Done { outcome, until, .. } => {
                self.finished += 1;
                self.nodes.shift_remove(&event.node);
                Some(self.done(&event.node, &name, outcome, *until, event.at))
            }
        }
    }

    /// Returns whether something that went wrong with a node was told before; from now on it was.
    fn is_told(&mut self, node: &str, trouble: &str) -> bool {
        !self.told.insert((node.to_owned(), trouble.to_owned()))
    }

    /// Returns the line that says what became of a node, without a reason that was told.
    fn done(
        &mut self,
        node: &str,
        name: &str,
        outcome: &Outcome,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> String {
        let word = match outcome {
            Outcome::Updated => "updated",
            Outcome::Unproven { .. } => "updated, not proven",
            Outcome::WantsReboot { .. } => "updated, needs a reboot",
            Outcome::Unchanged => "unchanged",
            Outcome::Untouched { .. } => "not touched",
            Outcome::Reverted { .. } => "back to the old config",
            Outcome::Unknown { .. } => "UNKNOWN",
        };
        let reason = outcome.reason().filter(|reason| !reason.is_empty() && !self.is_told(node, reason));
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let line = format!("{name}  {word}{reason}");
        match outcome {
            Outcome::Unknown { if_abandoned, .. } => {
                format!("{line}\n{name}  {}", if_abandoned.sentence(&when(until, now)))
            }
            Outcome::Updated
            | Outcome::Unproven { .. }
            | Outcome::WantsReboot { .. }
            | Outcome::Unchanged
            | Outcome::Untouched { .. }
            | Outcome::Reverted { .. } => line,
        }
    }

    /// Returns how far all of it is, and a line for each node that is worked on: what runs first, then how long a trial
    /// still lasts, then what is done, the latest first.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<String> {
        let Some(began) = self.began else { return Vec::new() };
        let mut lines = vec![format!("{} of {} · {}", self.finished, self.names.len(), clock(began, now))];
        let line = |(name, current): (&String, &CurrentNode)| {
            let mut parts = Vec::new();
            if let Some((step, since)) = current.running {
                parts.push(format!("{} {}", words(step).0, clock(since, now)));
            }
            if let Some(until) = current.until.filter(|until| *until > now) {
                parts.push(format!("trial ends in {}", clock(now, until)));
            }
            parts.extend(current.done.iter().rev().map(|(step, ended)| match ended {
                Ended::Well => format!("✓ {}", words(*step).1),
                Ended::Badly => format!("✗ {}", words(*step).0),
            }));
            format!("{name:<width$}  {}", parts.join(" · "), width = self.width)
        };
        lines.extend(self.names.iter().filter_map(|name| self.nodes.get_key_value(name)).map(line));
        lines
    }

    /// Returns what each node that is worked on does when it is left alone now.
    pub(super) fn abandoned(&self, now: Timestamp) -> Vec<String> {
        let line = |(name, current): (&String, &CurrentNode)| {
            let reboots = match current.running {
                Some((Step::Reboot | Step::Boot, _)) => "; it was asked to reboot",
                Some(_) | None => "",
            };
            format!("{name}: {}{reboots}", current.if_abandoned.sentence(&when(current.until, now)))
        };
        self.nodes.iter().map(line).collect()
    }
}

/// Returns the time between two moments, in minutes and seconds.
fn clock(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// Returns when a trial's time is up, in words.
fn when(until: Option<Timestamp>, now: Timestamp) -> String {
    match until {
        Some(until) if until > now => {
            format!("by {} (in {} s)", until.strftime("%H:%M:%S UTC"), until.duration_since(now).as_secs())
        }
        Some(_) => "by now".to_owned(),
        None => "when the trial's time is up".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rollout::TrialTimer;

    #[test]
    fn a_node_is_a_line_whose_running_step_comes_first() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut progress = ProgressView::new(vec!["n1".to_owned(), "n10".to_owned()]);
        assert!(progress.lines(at).is_empty());
        let mut add = |kind| progress.add(&Event { at, node: "n1".to_owned(), kind });
        let later = |seconds| at.checked_add(Duration::from_secs(seconds)).unwrap();
        let begins = |step, if_abandoned, until| EventKind::Begins { step, if_abandoned, until };
        let try_step = Step::Apply(ApplyStep::Try);
        assert_eq!(add(begins(try_step, IfAbandoned::KeepsOld, None)), None);
        let ends = |step, trouble| EventKind::Ends { step, took: Duration::from_millis(240), trouble };
        assert_eq!(add(ends(try_step, None)).unwrap(), "n1   tried  0.2 s");
        add(begins(Step::Pull, IfAbandoned::GoesBack(TrialTimer::Runs), Some(later(40))));
        assert_eq!(
            progress.lines(later(12)),
            ["0 of 2 · 00:12", "n1   proving 00:12 · trial ends in 00:28 · ✓ tried"]
        );
        let mut add = |kind| progress.add(&Event { at, node: "n1".to_owned(), kind });
        assert_eq!(add(ends(Step::Pull, Some("x".to_owned()))).unwrap(), "n1   proving failed: x");
        assert_eq!(add(ends(Step::Confirm, Some("x".to_owned()))), None, "it was told");
        assert_eq!(
            progress.abandoned(at),
            ["n1: it goes back to its old config by itself by 03:04:45 UTC (in 40 s), or when it reboots"]
        );
        let outcome = Outcome::Reverted { reason: "x".to_owned() };
        let kind = EventKind::Done { outcome, until: Some(later(40)), took: Duration::ZERO };
        let line = progress.add(&Event { at, node: "n1".to_owned(), kind });
        assert_eq!(line.unwrap(), "n1   back to the old config");
        assert_eq!(progress.lines(later(75)), ["1 of 2 · 01:15"]);
    }

    #[test]
    fn nodes_stand_in_their_own_order() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut progress = ProgressView::new(vec!["n1".to_owned(), "n2".to_owned()]);
        for node in ["n2", "n1"] {
            let kind =
                EventKind::Begins { step: Step::Inspect, if_abandoned: IfAbandoned::KeepsOld, until: None };
            progress.add(&Event { at, node: node.to_owned(), kind });
        }
        assert_eq!(progress.lines(at), ["0 of 2 · 00:00", "n1  reading 00:00", "n2  reading 00:00"]);
    }
}
