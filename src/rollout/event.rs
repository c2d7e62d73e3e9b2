use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::outcome::{ByItself, Outcome};

/// Something that happens to a node, as it happens.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To which node.
    pub node: String,
    /// What.
    pub what: What,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum What {
    /// Its turn comes when it is well.
    Waits {
        /// What it lacks.
        why: String,
    },
    /// A step begins.
    Begins {
        /// Its word.
        step: &'static str,
        /// What the node does if nothing more is done after this step began.
        by_itself: ByItself,
        /// Until when a trial lasts at most.
        until: Option<Timestamp>,
    },
    /// A step has ended.
    Ends {
        /// Its word.
        step: &'static str,
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
        let more = match &self.what {
            What::Waits { why } => json!({"event": "waits", "reason": why}),
            What::Begins { step, by_itself, until } => json!({
                "event": "begins", "step": step, "byItself": by_itself.as_str(), "trialUntil": time(until),
            }),
            What::Ends { step, took, trouble } => json!({
                "event": "ends", "step": step, "ok": trouble.is_none(), "reason": trouble,
                "milliseconds": milliseconds(took),
            }),
            What::Notes { text } => json!({"event": "note", "text": text}),
            What::Done { outcome, until, took } => {
                let by_itself = match outcome {
                    Outcome::Unknown { by_itself, .. } => Some(by_itself.as_str()),
                    _ => None,
                };
                json!({
                    "event": "done", "outcome": outcome.as_str(), "reason": outcome.reason(),
                    "byItself": by_itself, "trialUntil": time(until), "milliseconds": milliseconds(took),
                })
            }
        };
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }
}
