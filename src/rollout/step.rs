use std::fmt;

use serde::{Deserialize, Serialize};

/// A config that is sent to a node, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyStep {
    /// The strict variant, on trial.
    TryStrict,
    /// The desired config, on trial.
    Try,
    /// The desired config, for good.
    Commit,
    /// The original, for good, after a failure. Journals of old have `put-back` where it stood between two trials.
    #[serde(alias = "put-back")]
    Revert,
}

impl ApplyStep {
    /// Returns whether the node takes the config back by itself.
    pub fn is_trial(self) -> bool {
        match self {
            Self::TryStrict | Self::Try => true,
            Self::Commit | Self::Revert => false,
        }
    }
}

/// What came of a config that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyResult {
    /// The node took it.
    Taken,
    /// The node refused it.
    Refused,
    /// The answer is lost: the node may have taken it.
    Lost,
    /// It certainly did not reach the node.
    NotSent,
}

/// A step that is told while a node is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The node's config is read before anything is sent.
    Inspect,
    /// A config is sent.
    Apply(ApplyStep),
    /// The node's config is read after one was sent.
    ReadBack,
    /// Talos renders the config, and services come to run.
    Rendered,
    /// Images are pulled.
    Pull,
    /// The node's config is read before the next one is sent.
    Confirm,
    /// The node is asked to reboot.
    Reboot,
    /// The node boots.
    Boot,
}

impl Step {
    /// Returns the word for it, in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Apply(ApplyStep::TryStrict) => "try-strict",
            Self::Apply(ApplyStep::Try) => "try",
            Self::Apply(ApplyStep::Commit) => "commit",
            Self::Apply(ApplyStep::Revert) => "revert",
            Self::ReadBack => "read-back",
            Self::Rendered => "rendered",
            Self::Pull => "pull",
            Self::Confirm => "confirm",
            Self::Reboot => "reboot",
            Self::Boot => "boot",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events and journals have the same words.
    #[test]
    fn a_step_has_one_word() {
        for step in [ApplyStep::TryStrict, ApplyStep::Try, ApplyStep::Commit, ApplyStep::Revert] {
            assert_eq!(serde_json::to_value(step).unwrap(), Step::Apply(step).as_str());
        }
    }

    #[test]
    fn what_journals_of_old_have_between_two_trials_leads_back() {
        assert_eq!(serde_json::from_value::<ApplyStep>("put-back".into()).unwrap(), ApplyStep::Revert);
    }
}
