use indexmap::IndexMap;
use jiff::Timestamp;

use crate::rollout::{ByItself, Event, Outcome, What};

/// What is known of the nodes that are worked on, and how it is told.
#[derive(Debug, Default)]
pub(super) struct Progress {
    width: usize,
    hands: IndexMap<String, Hand>,
}

/// A node in hand.
#[derive(Debug)]
struct Hand {
    /// The steps that are done, and the one that is not.
    steps: Vec<String>,
    by_itself: ByItself,
    until: Option<Timestamp>,
}

impl Progress {
    /// Prepares for nodes of these names.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { width: names.map(|name| name.chars().count()).max().unwrap_or(0), hands: IndexMap::new() }
    }

    /// Takes in what happens; returns the line that tells it, where it is a transition.
    pub(super) fn add(&mut self, event: &Event) -> Option<String> {
        let name = format!("{:<width$}", event.node, width = self.width);
        match &event.what {
            What::Waits { why } => Some(format!("{name}  waits: {why}")),
            What::Begins { step, by_itself, until } => {
                let hand = self.hands.entry(event.node.clone()).or_insert(Hand {
                    steps: Vec::new(),
                    by_itself: *by_itself,
                    until: *until,
                });
                (hand.by_itself, hand.until) = (after(step, *by_itself), *until);
                hand.steps.push(format!("{step} …"));
                None
            }
            What::Ends { step, took, trouble } => {
                if let Some(last) = self.hands.get_mut(&event.node).and_then(|hand| hand.steps.last_mut()) {
                    *last = format!("{step} {}", if trouble.is_none() { "✓" } else { "✗" });
                }
                let seconds = took.as_secs_f32();
                Some(match trouble {
                    None => format!("{name}  {step}  {seconds:.1} s"),
                    Some(trouble) => format!("{name}  {step}  failed: {trouble}"),
                })
            }
            What::Notes { text } => Some(format!("{name}  note: {text}")),
            What::Done { outcome, until, .. } => {
                self.hands.shift_remove(&event.node);
                Some(done(&name, outcome, *until, event.at))
            }
        }
    }

    /// Returns a line for each node in hand.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |(name, hand): (&String, &Hand)| {
            // What was done last is of more interest than what came first.
            let from = hand.steps.len().saturating_sub(6);
            let steps = hand.steps.get(from..).unwrap_or_default().join(" · ");
            format!("{name:<width$}  {steps}", width = self.width)
        };
        self.hands.iter().map(line).collect()
    }

    /// Returns what each node in hand does when it is left alone now.
    pub(super) fn abandoned(&self, now: Timestamp) -> Vec<String> {
        let line = |(name, hand): (&String, &Hand)| {
            format!("{name}: {}", hand.by_itself.sentence(&when(hand.until, now)))
        };
        self.hands.iter().map(line).collect()
    }
}

/// Returns what a node does by itself when it is left in the middle of a step.
fn after(step: &str, by_itself: ByItself) -> ByItself {
    use crate::rollout::Clock;
    match (step, by_itself) {
        ("try" | "try-strict", ByItself::KeepsOld) => ByItself::OldOrGoesBack(Clock::Runs),
        ("commit", ByItself::GoesBack(_)) => ByItself::NewOrGoesBack,
        ("put-back" | "revert", ByItself::GoesBack(clock)) => ByItself::OldOrGoesBack(clock),
        ("revert", ByItself::KeepsNew) => ByItself::OldOrNew,
        (_, by_itself) => by_itself,
    }
}

/// Returns the line that says what became of a node.
fn done(name: &str, outcome: &Outcome, until: Option<Timestamp>, now: Timestamp) -> String {
    match outcome {
        Outcome::Unknown { by_itself, .. } => {
            format!("{name}  {outcome}\n{name}  {}", by_itself.sentence(&when(until, now)))
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
    use crate::rollout::Clock;

    #[test]
    fn a_node_is_a_line_that_grows() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut progress = Progress::new(["n1", "n10"].into_iter());
        let mut add = |what| progress.add(&Event { at, node: "n1".to_owned(), what });
        let until = at.checked_add(Duration::from_secs(40)).ok();
        assert_eq!(add(What::Begins { step: "try", by_itself: ByItself::KeepsOld, until: None }), None);
        let ends = |step, trouble| What::Ends { step, took: Duration::from_millis(240), trouble };
        assert_eq!(add(ends("try", None)).unwrap(), "n1   try  0.2 s");
        add(What::Begins { step: "pull", by_itself: ByItself::GoesBack(Clock::Runs), until });
        assert_eq!(add(ends("pull", Some("x".to_owned()))).unwrap(), "n1   pull  failed: x");
        assert_eq!(progress.lines(), ["n1   try ✓ · pull ✗"]);
        assert_eq!(
            progress.abandoned(at),
            ["n1: it goes back to its old config by itself by 03:04:45 UTC (in 40 s), or when it reboots"]
        );
        let outcome = Outcome::Reverted { reason: "x".to_owned() };
        let what = What::Done { outcome, until, took: Duration::ZERO };
        let line = progress.add(&Event { at, node: "n1".to_owned(), what });
        assert_eq!(line.unwrap(), "n1   reverted: x");
        assert!(progress.lines().is_empty());
    }
}
