use indexmap::IndexMap;
use jiff::Timestamp;

use crate::rollout::{Event, EventKind, IfAbandoned, Outcome};

/// What is known of the nodes that are worked on, and how it is told.
#[derive(Debug, Default)]
pub(super) struct ProgressView {
    width: usize,
    nodes: IndexMap<String, CurrentNode>,
}

/// A node that is worked on.
#[derive(Debug)]
struct CurrentNode {
    /// The steps that are done, and the one that is not.
    steps: Vec<String>,
    if_abandoned: IfAbandoned,
    until: Option<Timestamp>,
}

impl ProgressView {
    /// Prepares for nodes of these names.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { width: names.map(|name| name.chars().count()).max().unwrap_or(0), nodes: IndexMap::new() }
    }

    /// Takes in what happens; returns the line that tells it, where it is a transition.
    pub(super) fn add(&mut self, event: &Event) -> Option<String> {
        let name = format!("{:<width$}", event.node, width = self.width);
        match &event.kind {
            EventKind::Waits { why } => Some(format!("{name}  waits: {why}")),
            EventKind::Begins { step, if_abandoned, until } => {
                let current = self.nodes.entry(event.node.clone()).or_insert(CurrentNode {
                    steps: Vec::new(),
                    if_abandoned: *if_abandoned,
                    until: *until,
                });
                (current.if_abandoned, current.until) = (*if_abandoned, *until);
                current.steps.push(format!("{step} …"));
                None
            }
            EventKind::Ends { step, took, trouble } => {
                if let Some(last) =
                    self.nodes.get_mut(&event.node).and_then(|current| current.steps.last_mut())
                {
                    *last = format!("{step} {}", if trouble.is_none() { "✓" } else { "✗" });
                }
                let seconds = took.as_secs_f32();
                Some(match trouble {
                    None => format!("{name}  {step}  {seconds:.1} s"),
                    Some(trouble) => format!("{name}  {step}  failed: {trouble}"),
                })
            }
            EventKind::Notes { text } => Some(format!("{name}  note: {text}")),
            EventKind::Done { outcome, until, .. } => {
                self.nodes.shift_remove(&event.node);
                Some(done(&name, outcome, *until, event.at))
            }
        }
    }

    /// Returns a line for each node that is worked on.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |(name, current): (&String, &CurrentNode)| {
            // What was done last is of more interest than what came first.
            let from = current.steps.len().saturating_sub(6);
            let steps = current.steps.get(from..).unwrap_or_default().join(" · ");
            format!("{name:<width$}  {steps}", width = self.width)
        };
        self.nodes.iter().map(line).collect()
    }

    /// Returns what each node that is worked on does when it is left alone now.
    pub(super) fn abandoned(&self, now: Timestamp) -> Vec<String> {
        let line = |(name, current): (&String, &CurrentNode)| {
            format!("{name}: {}", current.if_abandoned.sentence(&when(current.until, now)))
        };
        self.nodes.iter().map(line).collect()
    }
}

/// Returns the line that says what became of a node.
fn done(name: &str, outcome: &Outcome, until: Option<Timestamp>, now: Timestamp) -> String {
    match outcome {
        Outcome::Unknown { if_abandoned, .. } => {
            format!("{name}  {outcome}\n{name}  {}", if_abandoned.sentence(&when(until, now)))
        }
        _ => format!("{name}  {outcome}"),
    }
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
    use crate::rollout::{ApplyStep, Step, TrialTimer};

    #[test]
    fn a_node_is_a_line_that_grows() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut progress = ProgressView::new(["n1", "n10"].into_iter());
        let mut add = |kind| progress.add(&Event { at, node: "n1".to_owned(), kind });
        let until = at.checked_add(Duration::from_secs(40)).ok();
        assert_eq!(
            add(EventKind::Begins {
                step: Step::Apply(ApplyStep::Try),
                if_abandoned: IfAbandoned::KeepsOld,
                until: None
            }),
            None
        );
        let ends = |step, trouble| EventKind::Ends { step, took: Duration::from_millis(240), trouble };
        assert_eq!(add(ends(Step::Apply(ApplyStep::Try), None)).unwrap(), "n1   try  0.2 s");
        add(EventKind::Begins {
            step: Step::Pull,
            if_abandoned: IfAbandoned::GoesBack(TrialTimer::Runs),
            until,
        });
        assert_eq!(add(ends(Step::Pull, Some("x".to_owned()))).unwrap(), "n1   pull  failed: x");
        assert_eq!(progress.lines(), ["n1   try ✓ · pull ✗"]);
        assert_eq!(
            progress.abandoned(at),
            ["n1: it goes back to its old config by itself by 03:04:45 UTC (in 40 s), or when it reboots"]
        );
        let outcome = Outcome::Reverted { reason: "x".to_owned() };
        let kind = EventKind::Done { outcome, until, took: Duration::ZERO };
        let line = progress.add(&Event { at, node: "n1".to_owned(), kind });
        assert_eq!(line.unwrap(), "n1   reverted: x");
        assert!(progress.lines().is_empty());
    }
}
