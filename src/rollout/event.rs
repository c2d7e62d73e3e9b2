use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::if_abandoned::IfAbandoned;
use super::outcome::Outcome;
use super::step::Step;

/// Something that happens to a node, as it happens.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To which node.
    pub node: String,
    /// What.
    pub kind: EventKind,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// Its turn comes when it is well.
    Waits {
        /// What it lacks.
        why: String,
    },
    /// A step begins.
    Begins {
        /// Which.
        step: Step,
        /// What the node does if nothing more is done after this step began.
        if_abandoned: IfAbandoned,
        /// Until when a trial lasts at most.
        until: Option<Timestamp>,
    },
    /// A step has ended.
    Ends {
        /// Which.
        step: Step,
        /// How long it took.
        took: Duration,
        /// What went wrong.
        trouble: Option<String>,
    },
    /// Something that should be known.
    Notes {
        /// What.
        text: String,
    },
    /// Nothing more is done to it.
    Done {
        /// What became of it.
        outcome: Outcome,
        /// Until when a trial lasts at most.
        until: Option<Timestamp>,
        /// How long all of it took.
        took: Duration,
    },
}

impl Event {
    /// Returns the event as an object for scripts.
    pub fn to_json(&self) -> Value {
        let milliseconds = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let time = |until: &Option<Timestamp>| until.map(|until| until.to_string());
        let mut value = json!({"at": self.at.to_string(), "node": self.node});
        let more = match &self.kind {
            EventKind::Waits { why } => json!({"event": "waits", "reason": why}),
            EventKind::Begins { step, if_abandoned, until } => json!({
                "event": "begins", "step": step.as_str(), "byItself": if_abandoned.as_str(), "trialUntil": time(until),
            }),
            EventKind::Ends { step, took, trouble } => json!({
                "event": "ends", "step": step.as_str(), "ok": trouble.is_none(), "reason": trouble,
                "milliseconds": milliseconds(took),
            }),
            EventKind::Notes { text } => json!({"event": "note", "text": text}),
            EventKind::Done { outcome, until, took } => {
                let if_abandoned = match outcome {
                    Outcome::Unknown { if_abandoned, .. } => Some(*if_abandoned),
                    _ => None,
                };
                // Where it has ended well, no trial runs any more.
                let until = until.filter(|_| if_abandoned.is_some_and(IfAbandoned::has_trial));
                json!({
                    "event": "done", "outcome": outcome.as_str(), "reason": outcome.reason(),
                    "byItself": if_abandoned.map(IfAbandoned::as_str), "trialUntil": time(&until),
                    "milliseconds": milliseconds(took),
                })
            }
        };
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::if_abandoned::TrialTimer;

    /// A node that has ended well has no trial, whenever one began on it.
    #[test]
    fn a_trial_is_told_where_one_may_run() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let until = |outcome| {
            let kind = EventKind::Done { outcome, until: Some(at), took: Duration::ZERO };
            Event { at, node: "n1".to_owned(), kind }.to_json()["trialUntil"].clone()
        };
        let reason = String::new;
        let unknown = |if_abandoned| until(Outcome::Unknown { reason: reason(), if_abandoned });
        assert_eq!(unknown(IfAbandoned::GoesBack(TrialTimer::Runs)), at.to_string());
        for value in [
            unknown(IfAbandoned::KeepsNew),
            until(Outcome::Updated),
            until(Outcome::Reverted { reason: reason() }),
        ] {
            assert!(value.is_null(), "{value}");
        }
    }
}
