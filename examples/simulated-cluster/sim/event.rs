//! What happened, in order.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One thing that happened on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Since the cluster started.
    pub at: Duration,
    /// The node's name.
    pub node: String,
    pub what: What,
}

/// What an `ApplyConfiguration` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// `TRY`, `NO_REBOOT` and so on; a number where there is no such mode.
    pub mode: String,
    pub dry_run: bool,
    pub try_seconds: Option<i64>,
    /// Of the config: the first half of its SHA-256.
    pub config: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A call came in: `named` is the `node` that it named, `about` the path, resource or image.
    Call {
        method: &'static str,
        named: Option<String>,
        about: Option<String>,
        apply: Option<Apply>,
    },
    /// A call was answered, with a gRPC code.
    Answer {
        method: &'static str,
        code: String,
    },
    /// A config was set: `active` or `persistent`.
    Config {
        id: &'static str,
        config: String,
    },
    TryStarted {
        seconds: f64,
        back_to: String,
    },
    TryCancelled,
    TryTimedOut {
        config: String,
    },
    Rendered {
        wrong: bool,
    },
    Service {
        id: &'static str,
        running: bool,
    },
    /// An image was pulled or not: every URL that was asked with what came of it, and the one that served.
    Pull {
        image: String,
        instance: &'static str,
        tried: Vec<(String, String)>,
        served: Option<String>,
        had: bool,
    },
    Removed {
        image: String,
        instance: &'static str,
    },
    Fault {
        step: &'static str,
        kind: String,
    },
    Down,
    Booted,
}

impl Event {
    /// Returns the event as one line of NDJSON.
    pub fn to_json(&self) -> Value {
        let mut out =
            json!({"ms": u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX), "node": self.node});
        let more = match &self.what {
            What::Call { method, named, about, apply } => json!({
                "event": "call", "method": method, "named": named, "about": about,
                "mode": apply.as_ref().map(|apply| &apply.mode),
                "dryRun": apply.as_ref().map(|apply| apply.dry_run),
                "trySeconds": apply.as_ref().and_then(|apply| apply.try_seconds),
                "config": apply.as_ref().map(|apply| &apply.config),
            }),
            What::Answer { method, code } => json!({"event": "answer", "method": method, "code": code}),
            What::Config { id, config } => json!({"event": "config", "id": id, "config": config}),
            What::TryStarted { seconds, back_to } => {
                json!({"event": "try-started", "seconds": seconds, "backTo": back_to})
            }
            What::TryCancelled => json!({"event": "try-cancelled"}),
            What::TryTimedOut { config } => json!({"event": "try-timed-out", "config": config}),
            What::Rendered { wrong } => json!({"event": "rendered", "wrong": wrong}),
            What::Service { id, running } => json!({"event": "service", "id": id, "running": running}),
            What::Pull { image, instance, tried, served, had } => json!({
                "event": "pull", "image": image, "instance": instance, "served": served, "had": had,
                "tried": tried.iter().map(|(url, answer)| json!({"url": url, "answer": answer})).collect::<Vec<_>>(),
            }),
            What::Removed { image, instance } => {
                json!({"event": "removed", "image": image, "instance": instance})
            }
            What::Fault { step, kind } => json!({"event": "fault", "step": step, "kind": kind}),
            What::Down => json!({"event": "down"}),
            What::Booted => json!({"event": "booted"}),
        };
        if let (Value::Object(out), Value::Object(more)) = (&mut out, more) {
            out.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
        }
        out
    }
}

/// All events of a cluster, in memory and on disk.
pub struct Log {
    start: Instant,
    events: Mutex<Vec<Event>>,
    file: Option<Mutex<std::fs::File>>,
}

impl Log {
    pub fn new(file: Option<std::fs::File>) -> Self {
        Self { start: Instant::now(), events: Mutex::default(), file: file.map(Mutex::new) }
    }

    pub fn add(&self, node: &str, what: What) {
        let event = Event { at: self.start.elapsed(), node: node.to_owned(), what };
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(file, "{}", event.to_json());
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    pub fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Names a config without showing it.
pub fn digest(text: &str) -> String {
    use sha2::Digest as _;
    let sum = sha2::Sha256::digest(text.as_bytes());
    sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
