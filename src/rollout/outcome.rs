use std::fmt;

use serde::{Deserialize, Serialize};

use super::if_abandoned::IfAbandoned;

/// What became of a node, without the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// It has the desired config, on disk too.
    Updated,
    /// It has the desired config, and nothing proves that the mirrors serve it.
    Unproven,
    /// It has the desired config, and needs a reboot.
    WantsReboot,
    /// It had the desired config already.
    Unchanged,
    /// Nothing was sent to it.
    Untouched,
    /// It has its old config again.
    Reverted,
    /// What it has is not known.
    Unknown,
}

impl OutcomeKind {
    /// Returns the word for it, in events and journals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Unproven => "unproven",
            Self::WantsReboot => "wants-reboot",
            Self::Unchanged => "unchanged",
            Self::Untouched => "untouched",
            Self::Reverted => "reverted",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has the desired config, on disk too.
    Updated,
    /// It has the desired config, on disk too, and nothing proves that the mirrors serve it.
    Unproven {
        /// What is not proven, and why.
        reason: String,
    },
    /// It has the desired config, on disk too, and credentials do not reach its pods' pulls before it reboots.
    WantsReboot {
        /// Why it was not rebooted.
        reason: String,
    },
    /// It had it already.
    Unchanged,
    /// Nothing was sent to it.
    Untouched {
        /// Why not.
        reason: String,
    },
    /// It has its old config again.
    Reverted {
        /// Why.
        reason: String,
    },
    /// What it has is not known.
    Unknown {
        /// Why.
        reason: String,
        /// What it does by itself.
        if_abandoned: IfAbandoned,
    },
}

impl Outcome {
    /// Returns which of them it is.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Updated => OutcomeKind::Updated,
            Self::Unproven { .. } => OutcomeKind::Unproven,
            Self::WantsReboot { .. } => OutcomeKind::WantsReboot,
            Self::Unchanged => OutcomeKind::Unchanged,
            Self::Untouched { .. } => OutcomeKind::Untouched,
            Self::Reverted { .. } => OutcomeKind::Reverted,
            Self::Unknown { .. } => OutcomeKind::Unknown,
        }
    }

    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Returns why, where it is not as it was meant to be.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Updated | Self::Unchanged => None,
            Self::Unproven { reason }
            | Self::WantsReboot { reason }
            | Self::Untouched { reason }
            | Self::Reverted { reason }
            | Self::Unknown { reason, .. } => Some(reason),
        }
    }

    /// Returns the outcome in the light of what is not proven.
    #[must_use]
    pub fn unless_proven(self, unproven: &[String]) -> Self {
        match self {
            Self::Updated if !unproven.is_empty() => Self::Unproven { reason: unproven.join("; ") },
            other => other,
        }
    }

    /// Returns the outcome in the light of images that were there before and may not be any more.
    #[must_use]
    pub fn with_lost(mut self, lost: &[String]) -> Self {
        let text = || format!("what it had of {} is gone, or may be: pull it again", lost.join(", "));
        match &mut self {
            _ if lost.is_empty() => {}
            Self::Updated => return Self::Unproven { reason: text() },
            Self::Unchanged => {}
            Self::Unproven { reason }
            | Self::WantsReboot { reason }
            | Self::Untouched { reason }
            | Self::Reverted { reason }
            | Self::Unknown { reason, .. } => *reason = format!("{reason}; {}", text()),
        }
        self
    }

    /// Returns whether it is as it was meant to be.
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Updated | Self::Unproven { .. } | Self::Unchanged)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {reason}", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}
