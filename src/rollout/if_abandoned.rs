//! What a node does when nothing more is sent to it: decided here for a node that is worked on, for one that the user has
//! left in the middle, and for one of which only a journal tells.

use super::step::{ApplyResult, ApplyStep};

/// Whether a trial's timer takes the old config back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrialTimer {
    /// It does.
    #[default]
    Runs,
    /// The node has refused an apply that was no trial, and up to Talos 1.13 that stops the timer: then only a reboot
    /// brings the old config back.
    MayHaveStopped,
}

/// What a node does when nothing more is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfAbandoned {
    /// It keeps its old config: nothing new reached it.
    KeepsOld,
    /// It goes back when the trial's time is up, or when it reboots.
    GoesBack(TrialTimer),
    /// It has its old config, or goes back to it when the trial's time is up.
    OldOrGoesBack(TrialTimer),
    /// It keeps the new config if the commit has arrived, else it goes back when the trial's time is up.
    NewOrGoesBack,
    /// It has its old config if that has arrived, else it keeps the new one.
    OldOrNew,
    /// It keeps the new config.
    KeepsNew,
    /// It keeps what another hand has applied.
    Foreign,
    /// Another hand has a config on trial there, and it goes back to what ran before.
    ForeignTrial(Beneath),
    /// It keeps what another hand has applied, or goes back to what ran before: its Talos does not tell a trial.
    MaybeForeignTrial(Beneath),
    /// It keeps what it runs with until it reboots, and then has what another hand has staged.
    Staged,
}

/// What runs beneath the trial of another hand, and is gone back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beneath {
    /// The old config.
    Old,
    /// What a rollout had on trial there, or the old config.
    OursOnTrial,
    /// The new config, or the old one.
    New,
}

/// How a node has the config of another hand, as far as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignConfig {
    /// It is on trial.
    OnTrial,
    /// It is on disk, too.
    ForGood,
    /// Before Talos 1.10 a node does not tell.
    NotTold,
}

impl Beneath {
    fn as_phrase(self) -> &'static str {
        match self {
            Self::Old => "its old config",
            Self::OursOnTrial => {
                "what was on trial here before, which only a reboot or `rollout --resume` ends"
            }
            Self::New => "its new config",
        }
    }
}

/// What was sent to a node, as far as it decides what the node does by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentConfigs {
    /// What is being sent, and has no result yet.
    sending: Option<ApplyStep>,
    /// What was sent last, and may have arrived.
    last: Option<ApplyStep>,
    /// Whether a trial may run.
    in_trial: bool,
    timer: TrialTimer,
    /// Whether a commit was sent, whatever came of it, and nothing after it was taken.
    committed: bool,
}

impl SentConfigs {
    /// Starts from what an earlier run has sent last; a trial may run where that was one.
    pub fn after(last: ApplyStep) -> Self {
        Self {
            last: Some(last),
            in_trial: last.is_trial(),
            committed: last == ApplyStep::Commit,
            ..Self::default()
        }
    }

    /// Returns the same where what has no result may have arrived: nothing more is heard of it.
    #[must_use]
    pub fn given_up(mut self) -> Self {
        if let Some(open) = self.sending {
            self.sent(open, ApplyResult::Lost);
        }
        self
    }

    /// Takes note that a config is about to be sent.
    pub fn send(&mut self, step: ApplyStep) {
        // What has no result when the next one is sent may have arrived.
        if let Some(open) = self.sending {
            self.sent(open, ApplyResult::Lost);
        }
        self.sending = Some(step);
        self.committed |= step == ApplyStep::Commit;
    }

    /// Takes note of what came of it.
    pub fn sent(&mut self, step: ApplyStep, result: ApplyResult) {
        self.sending = None;
        if result != ApplyResult::NotSent {
            self.last = Some(step);
            self.in_trial |= step.is_trial();
        }
        if step.is_trial() {
            self.timer = TrialTimer::Runs;
        } else if result == ApplyResult::Refused {
            // Up to Talos 1.13 what is not a trial ends the timer of one before it is looked at.
            self.timer = TrialTimer::MayHaveStopped;
        }
        if result == ApplyResult::Taken {
            // A config that was taken for good has ended the trial.
            self.in_trial = step.is_trial();
            self.committed = step == ApplyStep::Commit;
        }
    }

    /// Takes note that the node was seen to run without a trial.
    pub fn trial_is_over(&mut self) {
        self.in_trial = false;
    }

    /// Returns what was sent last and may have arrived.
    pub fn last(&self) -> Option<ApplyStep> {
        self.last
    }

    /// Returns whether a trial may run.
    pub fn in_trial(&self) -> bool {
        self.in_trial
    }

    /// Returns what a node does that was seen with the config of another hand, and nothing of this rollout any more.
    pub fn with_foreign(&self, is: ForeignConfig) -> IfAbandoned {
        let beneath = if self.in_trial {
            Beneath::OursOnTrial
        } else if self.committed {
            Beneath::New
        } else {
            Beneath::Old
        };
        match is {
            ForeignConfig::OnTrial => IfAbandoned::ForeignTrial(beneath),
            ForeignConfig::ForGood => IfAbandoned::Foreign,
            ForeignConfig::NotTold => IfAbandoned::MaybeForeignTrial(beneath),
        }
    }

    /// Returns what the node does when nothing more is sent to it, whatever becomes of what is being sent.
    pub fn if_abandoned(&self) -> IfAbandoned {
        let settled = match self.last {
            None => IfAbandoned::KeepsOld,
            Some(ApplyStep::TryStrict | ApplyStep::Try) => IfAbandoned::GoesBack(self.timer),
            Some(ApplyStep::Revert) if self.in_trial => match self.timer {
                TrialTimer::Runs if self.committed => IfAbandoned::NewOrGoesBack,
                TrialTimer::Runs | TrialTimer::MayHaveStopped => IfAbandoned::OldOrGoesBack(self.timer),
            },
            Some(ApplyStep::Revert) if self.committed => IfAbandoned::OldOrNew,
            Some(ApplyStep::Revert) => IfAbandoned::KeepsOld,
            Some(ApplyStep::Commit) if self.in_trial => match self.timer {
                TrialTimer::Runs => IfAbandoned::NewOrGoesBack,
                TrialTimer::MayHaveStopped => IfAbandoned::GoesBack(self.timer),
            },
            Some(ApplyStep::Commit) => IfAbandoned::KeepsNew,
        };
        match (self.sending, settled) {
            (Some(ApplyStep::TryStrict | ApplyStep::Try), IfAbandoned::KeepsOld) => {
                IfAbandoned::OldOrGoesBack(TrialTimer::Runs)
            }
            (Some(ApplyStep::Commit), IfAbandoned::GoesBack(_)) => IfAbandoned::NewOrGoesBack,
            (Some(ApplyStep::Revert), IfAbandoned::GoesBack(timer)) => IfAbandoned::OldOrGoesBack(timer),
            (Some(ApplyStep::Revert), IfAbandoned::KeepsNew) => IfAbandoned::OldOrNew,
            (_, settled) => settled,
        }
    }
}

impl IfAbandoned {
    /// Returns whether a trial of the rollout may run, whose time matters.
    pub fn has_trial(self) -> bool {
        match self {
            Self::GoesBack(_) | Self::OldOrGoesBack(_) | Self::NewOrGoesBack => true,
            Self::KeepsOld
            | Self::OldOrNew
            | Self::KeepsNew
            | Self::Foreign
            | Self::ForeignTrial(_)
            | Self::MaybeForeignTrial(_)
            | Self::Staged => false,
        }
    }
}

impl TrialTimer {
    fn when(self, when: &str) -> String {
        match self {
            Self::Runs => format!("by itself {when}, or when it reboots"),
            Self::MayHaveStopped => "when it reboots, and maybe not before".to_owned(),
        }
    }
}

impl IfAbandoned {
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
            Self::ForeignTrial(_) => "foreign-trial",
            Self::MaybeForeignTrial(_) => "foreign-or-foreign-trial",
            Self::Staged => "staged",
        }
    }

    /// Returns the sentence for it; `when` is when the trial's time is up, such as `by 12:00:05 (in 40 s)`.
    pub fn sentence(self, when: &str) -> String {
        match self {
            Self::KeepsOld => "it keeps its old config".to_owned(),
            Self::GoesBack(timer) => format!("it goes back to its old config {}", timer.when(when)),
            Self::OldOrGoesBack(timer) => {
                format!("it has its old config, or goes back to it {}", timer.when(when))
            }
            Self::NewOrGoesBack => format!(
                "it keeps the new config if the commit has reached it, else it goes back to the old one by itself \
                 {when}, or when it reboots"
            ),
            Self::OldOrNew => {
                "it has its old config if that has reached it, else it keeps the new one".to_owned()
            }
            Self::KeepsNew => "it keeps the new config".to_owned(),
            Self::Foreign => "it keeps what another operator or tool has applied".to_owned(),
            Self::ForeignTrial(beneath) => format!(
                "when the time of the other operator's or tool's trial is up, it goes back to {}",
                beneath.as_phrase()
            ),
            Self::MaybeForeignTrial(beneath) => format!(
                "it keeps what another operator or tool has applied, or, where that is on trial, goes back to {} when its \
                 time is up",
                beneath.as_phrase()
            ),
            Self::Staged => {
                "it keeps what it runs with until it reboots, and boots with what another operator or tool \
                             has staged"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A config that was sent, and what came of it, where that is known.
    type Sent = (ApplyStep, Option<ApplyResult>);

    fn after(sent: &[Sent]) -> IfAbandoned {
        let mut all = SentConfigs::default();
        for (step, result) in sent {
            all.send(*step);
            if let Some(result) = result {
                all.sent(*step, *result);
            }
        }
        all.if_abandoned()
    }

    #[test]
    fn what_a_node_does_by_itself_follows_from_what_was_sent() {
        use ApplyResult::{Lost, NotSent, Refused, Taken};
        use ApplyStep::{Commit, Revert, Try, TryStrict};
        let runs = TrialTimer::Runs;
        let cases: [(&[Sent], IfAbandoned); 20] = [
            (&[], IfAbandoned::KeepsOld),
            (&[(TryStrict, None)], IfAbandoned::OldOrGoesBack(runs)),
            (&[(Try, Some(NotSent))], IfAbandoned::KeepsOld),
            (&[(Try, Some(Taken))], IfAbandoned::GoesBack(runs)),
            (&[(TryStrict, Some(Taken)), (Revert, None)], IfAbandoned::OldOrGoesBack(runs)),
            (&[(TryStrict, Some(Taken)), (Revert, Some(Taken))], IfAbandoned::KeepsOld),
            (&[(TryStrict, Some(Taken)), (Commit, None)], IfAbandoned::NewOrGoesBack),
            (&[(TryStrict, Some(Taken)), (Commit, Some(Taken))], IfAbandoned::KeepsNew),
            (&[(Try, Some(Taken)), (Commit, None)], IfAbandoned::NewOrGoesBack),
            (&[(Try, Some(Taken)), (Commit, Some(Lost))], IfAbandoned::NewOrGoesBack),
            (&[(Try, Some(Taken)), (Commit, Some(Taken))], IfAbandoned::KeepsNew),
            (&[(Try, Some(Taken)), (Commit, Some(Taken)), (Revert, None)], IfAbandoned::OldOrNew),
            (&[(Try, Some(Taken)), (Commit, Some(Taken)), (Revert, Some(Lost))], IfAbandoned::OldOrNew),
            (&[(Try, Some(Taken)), (Revert, Some(Taken))], IfAbandoned::KeepsOld),
            (
                &[(Try, Some(Taken)), (Commit, Some(Refused))],
                IfAbandoned::GoesBack(TrialTimer::MayHaveStopped),
            ),
            // Whatever came of the first is not known when the second is sent.
            (&[(Try, None), (Revert, Some(NotSent))], IfAbandoned::GoesBack(runs)),
            (&[(Try, Some(Taken)), (Commit, None), (Revert, Some(NotSent))], IfAbandoned::NewOrGoesBack),
            (&[(Try, Some(Taken)), (Commit, Some(Lost)), (Revert, Some(Lost))], IfAbandoned::NewOrGoesBack),
            (
                &[(Try, Some(Taken)), (Commit, Some(Refused)), (Revert, Some(Lost))],
                IfAbandoned::OldOrGoesBack(TrialTimer::MayHaveStopped),
            ),
            (&[(Try, Some(Taken)), (Commit, Some(Taken)), (Revert, Some(Taken))], IfAbandoned::KeepsOld),
        ];
        for (sent, want) in cases {
            assert_eq!(after(sent), want, "{sent:?}");
        }
    }
}
