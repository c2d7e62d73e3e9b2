use std::fmt;

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has the wanted config, on disk too.
    Updated,
    /// It has the wanted config, on disk too, and nothing proves that the mirrors serve it.
    Unproven {
        /// What is not proven, and why.
        reason: String,
    },
    /// It has the wanted config, on disk too, and credentials do not reach its pods' pulls before it reboots.
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
    /// Nobody knows what it has.
    Unknown {
        /// Why.
        reason: String,
        /// What it does by itself.
        by_itself: ByItself,
    },
}

impl Outcome {
    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Unproven { .. } => "unproven",
            Self::WantsReboot { .. } => "wants-reboot",
            Self::Unchanged => "unchanged",
            Self::Untouched { .. } => "untouched",
            Self::Reverted { .. } => "reverted",
            Self::Unknown { .. } => "unknown",
        }
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

/// Whether a trial's clock takes the old config back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It does.
    Runs,
    /// The node has refused an apply that was no trial, and up to Talos 1.13 that stops the clock: then only a reboot
    /// brings the old config back.
    MayHaveStopped,
}

/// What a node does when nobody does anything to it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByItself {
    /// It keeps its old config: nothing new reached it.
    KeepsOld,
    /// It goes back when the trial's time is up, or when it reboots.
    GoesBack(Clock),
    /// It has its old config, or goes back to it when the trial's time is up.
    OldOrGoesBack(Clock),
    /// It keeps the new config if the commit has arrived, else it goes back when the trial's time is up.
    NewOrGoesBack,
    /// It has its old config if that has arrived, else it keeps the new one.
    OldOrNew,
    /// It keeps the new config.
    KeepsNew,
    /// It keeps what somebody else has applied.
    Foreign,
    /// It keeps what it runs with until it reboots, and then has what somebody else has staged.
    Staged,
}

impl Clock {
    fn when(self, when: &str) -> String {
        match self {
            Self::Runs => format!("by itself {when}, or when it reboots"),
            Self::MayHaveStopped => "when it reboots, and maybe not before".to_owned(),
        }
    }
}

impl ByItself {
    /// Returns the word for it, in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeepsOld => "keeps-old",
            Self::GoesBack(_) => "goes-back",
            Self::OldOrGoesBack(_) => "old-or-goes-back",
            Self::NewOrGoesBack => "new-or-goes-back",
            Self::OldOrNew => "old-or-new",
            Self::KeepsNew => "keeps-new",
            Self::Foreign => "foreign",
            Self::Staged => "staged",
        }
    }

    /// Returns the sentence for it; `when` is when the trial's time is up, such as `by 12:00:05 (in 40 s)`.
    pub fn sentence(self, when: &str) -> String {
        match self {
            Self::KeepsOld => "it keeps its old config".to_owned(),
            Self::GoesBack(clock) => format!("it goes back to its old config {}", clock.when(when)),
            Self::OldOrGoesBack(clock) => {
                format!("it has its old config, or goes back to it {}", clock.when(when))
            }
            Self::NewOrGoesBack => format!(
                "it keeps the new config if the commit has reached it, else it goes back to the old one by itself \
                 {when}, or when it reboots"
            ),
            Self::OldOrNew => {
                "it has its old config if that has reached it, else it keeps the new one".to_owned()
            }
            Self::KeepsNew => "it keeps the new config".to_owned(),
            Self::Foreign => "it keeps what somebody else has applied".to_owned(),
            Self::Staged => {
                "it keeps what it runs with until it reboots, and boots with what somebody else has staged"
                    .to_owned()
            }
        }
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
