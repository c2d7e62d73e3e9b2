use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::change::{Action, Change};

/// What has to happen for a Harbor to be as an inventory has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is done, in order.
    pub changes: Vec<Change>,
    /// What is not done, and what is worth knowing.
    pub notices: Vec<Notice>,
}

/// Something about a Harbor that no change is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub weight: Weight,
    /// What it is about, such as `project docker.io`.
    pub object: String,
    /// What there is to say.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The Harbor does not become what the inventory says.
    Blocked,
    /// Something is likely not meant.
    Warning,
    /// Something is left alone.
    Note,
}

impl Weight {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What may be done besides what the inventory says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether objects that are not ours become ours.
    pub adopt: bool,
    /// Whether objects of ours go that the inventory no longer has.
    pub prune: bool,
    /// Whether the secrets of upstreams are sent again.
    pub renew_secrets: bool,
    /// The time, in seconds since 1970.
    pub now: i64,
    /// Settings of projects that this Harbor does not keep: project and key.
    pub unkept: BTreeSet<(String, String)>,
    /// Projects that could not be made, or whose registry could not: nothing more is tried for them.
    pub given_up: BTreeSet<String>,
}

impl Plan {
    /// Returns whether the Harbor is as the inventory has it.
    pub fn is_settled(&self) -> bool {
        self.changes.is_empty() && self.blocked().next().is_none()
    }

    /// Returns what stands in the way.
    pub fn blocked(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| notice.weight == Weight::Blocked)
    }

    /// Returns how many objects are made, changed, deleted.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |action| self.changes.iter().filter(|change| change.view().action == action).count();
        (count(Action::Create), count(Action::Update), count(Action::Delete))
    }

    /// Returns the plan for scripts.
    pub fn to_json(&self) -> Value {
        let changes = self.changes.iter().map(|change| {
            let view = change.view();
            json!({
                "action": view.action.as_str(),
                "object": view.object,
                "name": view.name,
                "details": view.details,
                "reason": view.reason,
            })
        });
        let notices = self.notices.iter().map(|notice| {
            json!({
                "weight": notice.weight.as_str(),
                "object": notice.object,
                "message": notice.message,
                "help": notice.help,
            })
        });
        json!({
            "changes": changes.collect::<Vec<_>>(),
            "notices": notices.collect::<Vec<_>>(),
        })
    }
}
