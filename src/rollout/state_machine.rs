//! What is done to one node, step by step: a pure function of what has been done and what was seen.
//!
//! # One trial
//!
//! A trial's timer takes back to the config that was *active* when the trial began (Talos
//! `v1alpha1_server.go`, `RollbackToConfigAfter`), so a trial on top of a trial would go back to the first one's config.
//! Therefore a node has one trial, from the original: whenever the node is left alone in it, it goes back to exactly what
//! it had. Where the mirrors have to prove themselves without a fallback, the strict variant is on trial, and the desired
//! config is committed from there. It has the same mirrors, credentials and TLS settings, and only adds ways around the
//! mirrors, so that Talos takes it where it has taken the strict one; what Talos has rendered is looked at after each. Each
//! further config would restart containerd once more where credentials are new (Talos 1.14).
//!
//! # Failures
//!
//! Once a config was sent, every failure leads to the original being applied again, and read back. What another has
//! applied meanwhile is left alone.

use super::if_abandoned::{ForeignConfig, IfAbandoned, SentConfigs};
use super::outcome::Outcome;
use super::step::{ApplyResult, ApplyStep, Step};

/// How often the original is applied again before the node's state counts as unknown.
const REVERTS: u8 = 3;
/// How often a commit is sent whose answer is lost.
const COMMITS: u8 = 2;

/// Why a node has its old config in the middle of a trial.
pub(super) const TRIAL_ENDED: &str = "the trial ended before its time: the node rebooted, or its time was up";

/// Which of the known configs something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The one from before.
    Original,
    /// The one that has no way around the mirrors.
    Strict,
    /// The one that the inventory gives.
    Desired,
    /// None of them.
    Foreign,
}

/// What a node has on disk, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// Nothing was applied for good since it booted.
    Unset,
    /// It does not say.
    Hidden,
    /// This one.
    Is(Variant),
}

impl Persisted {
    /// Returns how a node has the config of another hand that runs there: what is applied for good is on disk before it runs.
    pub fn of_foreign(self) -> ForeignConfig {
        match self {
            Self::Is(Variant::Foreign) => ForeignConfig::ForGood,
            Self::Is(Variant::Original | Variant::Strict | Variant::Desired) | Self::Unset => {
                ForeignConfig::OnTrial
            }
            Self::Hidden => ForeignConfig::NotTold,
        }
    }

    /// Returns whether it can be `which`.
    pub(super) fn may_be(self, which: Variant) -> bool {
        match self {
            Self::Unset | Self::Hidden => true,
            Self::Is(found) => found == which,
        }
    }
}

/// When rendering and services are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// During the trial of the strict variant.
    Strict,
    /// During the trial of the desired config.
    Desired,
    /// After the commit.
    Committed,
    /// After the reboot.
    Rebooted,
}

impl Checkpoint {
    /// Returns whether the config goes when nothing is done.
    pub fn in_trial(self) -> bool {
        matches!(self, Self::Strict | Self::Desired)
    }
}

/// When images are pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullTime {
    /// Before anything is sent: the original is strict itself.
    BeforeTrial,
    /// During the trial.
    InTrial,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads what the node has, before anything is sent.
    Inspect,
    /// Sends a config.
    Apply(ApplyStep),
    /// Reads what the node has, after something was sent.
    Check(ApplyStep),
    /// Waits until Talos has rendered the config, and its services are well.
    AwaitRendered(Checkpoint),
    /// Pulls the probe images.
    Pull(PullTime),
    /// Reads once more before a config is sent, the first one of an untouched node excepted, which was just read: what
    /// another operator or tool has applied or staged meanwhile is not overwritten.
    Confirm(ApplyStep),
    /// Asks for a reboot.
    Reboot,
    /// Waits until the node has booted.
    AwaitBoot,
    /// Nothing more.
    End(Outcome),
}

impl Action {
    /// Returns the step that it is told as; [`None`] at the end.
    pub fn step(&self) -> Option<Step> {
        Some(match self {
            Self::Inspect => Step::Inspect,
            Self::Apply(step) => Step::Apply(*step),
            Self::Check(_) => Step::ReadBack,
            Self::AwaitRendered(_) => Step::Rendered,
            Self::Pull(_) => Step::Pull,
            Self::Confirm(_) => Step::Confirm,
            Self::Reboot => Step::Reboot,
            Self::AwaitBoot => Step::Boot,
            Self::End(_) => return None,
        })
    }

    /// Returns whether the first Ctrl-C ends it: what leads to a certain state is carried out.
    pub fn is_interruptible(&self) -> bool {
        match self {
            Self::Inspect | Self::Pull(_) => true,
            Self::Confirm(send) => *send != ApplyStep::Revert,
            Self::Check(send) => send.is_trial(),
            Self::AwaitRendered(checkpoint) => checkpoint.in_trial(),
            Self::Apply(_) | Self::Reboot | Self::AwaitBoot | Self::End(_) => false,
        }
    }
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It went as it should.
    Well,
    /// What the node runs with and has on disk.
    Runs(Variant, Persisted),
    /// The node says no.
    Refused(String),
    /// It certainly did not reach the node.
    NotSent(String),
    /// It is not known whether it reached the node.
    Lost(String),
    /// It is not as it should be, or cannot be found out.
    Failed(String),
    /// The user wants to stop.
    Interrupted,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// What is being done.
    pub doing: Action,
    route: Route,
    sent: SentConfigs,
    /// Whether the node has answered that it took what was sent last.
    is_taken: bool,
    commits: u8,
    reverts: u8,
    failure: Option<String>,
    /// Whether the node was asked to reboot.
    rebooted: bool,
}

/// What a node's rollout consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// How mirrors prove themselves.
    pub strict: Strict,
    /// Whether images are pulled.
    pub probe: Probe,
    /// Whether the node is rebooted after the commit.
    pub reboot: Reboot,
}

impl Reboot {
    /// Returns whether the node is rebooted.
    pub fn is_wanted(self) -> bool {
        match self {
            Self::After | Self::Alone => true,
            Self::Never => false,
        }
    }
}

/// How mirrors prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    /// On trial is a variant without fallback, and the desired config is committed from there.
    First,
    /// The original is that variant: they prove themselves on it, before anything is sent.
    Original,
    /// On trial is the desired config: there is nothing to prove, or it has no fallback itself.
    None,
}

/// Whether images are pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// During the trial, or before it.
    Pull,
    /// There are none.
    None,
}

/// Whether the node is rebooted after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// Credentials reach pods' pulls no other way.
    After,
    /// The same, of a config that the node has already: nothing is sent to it.
    Alone,
    /// It is not.
    Never,
}

impl NodeState {
    /// Begins: the node is read first.
    pub fn new(route: Route) -> Self {
        Self {
            doing: Action::Inspect,
            route,
            sent: SentConfigs::default(),
            is_taken: false,
            commits: 0,
            reverts: 0,
            failure: None,
            rebooted: false,
        }
    }

    /// Begins with the original being applied again, for a node that an earlier run has left in between.
    pub fn reverting(route: Route, reason: &str) -> Self {
        Self { sent: SentConfigs::after(ApplyStep::Try), ..Self::new(route) }.fail(reason)
    }

    /// Begins with the original being applied again, after what earlier runs have sent.
    pub fn restoring(route: Route, sent: SentConfigs) -> Self {
        Self { sent, commits: 1, ..Self::new(route) }.fail("rolled back")
    }

    /// Begins with the commit, for a node that an earlier run has left during it.
    pub fn committing(route: Route) -> Self {
        let begun = Self { sent: SentConfigs::after(ApplyStep::Try), ..Self::new(route) };
        begun.apply(ApplyStep::Commit)
    }

    /// Begins after the commit, for a node that an earlier run has left there: what Talos has made of the config is looked
    /// at, and the reboot follows where it is wanted.
    pub fn committed(route: Route) -> Self {
        let begun = Self { sent: SentConfigs::after(ApplyStep::Commit), commits: 1, ..Self::new(route) };
        begun.to(Action::AwaitRendered(Checkpoint::Committed))
    }

    /// Returns what the node does when nothing more is sent to it, whatever becomes of the step that is being done.
    pub fn if_abandoned(&self) -> IfAbandoned {
        self.sent.if_abandoned()
    }

    /// Returns whether anything was sent.
    pub fn is_touched(&self) -> bool {
        self.sent.last().is_some()
    }

    /// Returns whether the node was asked to reboot.
    pub fn was_asked_to_reboot(&self) -> bool {
        self.rebooted
    }

    /// Returns the first thing that went wrong.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn to(self, doing: Action) -> Self {
        Self { doing, ..self }
    }

    fn apply(mut self, send: ApplyStep) -> Self {
        match send {
            ApplyStep::Commit => self.commits = self.commits.saturating_add(1),
            ApplyStep::Revert => self.reverts = self.reverts.saturating_add(1),
            ApplyStep::TryStrict | ApplyStep::Try => {}
        }
        self.sent.send(send);
        self.to(Action::Apply(send))
    }

    /// Goes on to the original, whatever else was to come.
    fn fail(mut self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        if self.sent.last().is_none() && self.rebooted {
            let (reason, if_abandoned) = (format!("it has rebooted, and {reason}"), self.if_abandoned());
            return self.to(Action::End(Outcome::Unknown { reason, if_abandoned }));
        }
        if self.sent.last().is_none() {
            return self.to(Action::End(Outcome::Untouched { reason }));
        }
        let reason = if self.rebooted {
            format!(
                "{reason}; with its old config, its pods' pulls keep the new credentials until it reboots again"
            )
        } else {
            reason
        };
        self.failure.get_or_insert(reason);
        self.to(Action::Confirm(ApplyStep::Revert))
    }

    /// Returns the config that is on trial when the desired one is committed.
    fn on_trial(&self) -> Variant {
        match self.route.strict {
            Strict::First => Variant::Strict,
            Strict::Original | Strict::None => Variant::Desired,
        }
    }

    fn without_trial(mut self) -> Self {
        self.sent.trial_is_over();
        self
    }

    /// Applies the original again, or gives up.
    fn revert_again(self, reason: String) -> Self {
        if self.reverts < REVERTS {
            return self.to(Action::Confirm(ApplyStep::Revert));
        }
        let (failure, if_abandoned) = (self.failure.clone().unwrap_or_default(), self.if_abandoned());
        let reason = format!("{failure}; the old config was sent again, and cannot be seen to run: {reason}");
        self.to(Action::End(Outcome::Unknown { reason, if_abandoned }))
    }

    /// Leaves the node to the operator or tool that has applied another config, or staged one.
    fn foreign(self, active: Variant, disk: Persisted) -> Self {
        let failure = self.failure.clone().map(|failure| format!("{failure}; ")).unwrap_or_default();
        let (has, if_abandoned) = match active {
            Variant::Foreign => {
                let is = disk.of_foreign();
                let has = match is {
                    ForeignConfig::OnTrial => "put another config on trial",
                    ForeignConfig::ForGood | ForeignConfig::NotTold => "applied another config",
                };
                (has, self.sent.with_foreign(is))
            }
            // What is staged has stopped a trial's timer.
            Variant::Original | Variant::Strict | Variant::Desired => {
                ("staged another config", IfAbandoned::Staged)
            }
        };
        let reason = format!("{failure}another operator or tool has {has} meanwhile; it is left alone");
        if self.sent.last().is_none() {
            return self.to(Action::End(Outcome::Untouched { reason }));
        }
        self.to(Action::End(Outcome::Unknown { reason, if_abandoned }))
    }

    /// Ends with the config committed and verified, and credentials that pods' pulls lack.
    fn wants_reboot(self, reason: &str) -> Self {
        let reason = format!("it has the new config, and still wants a reboot: {reason}");
        self.to(Action::End(Outcome::WantsReboot { reason }))
    }

    /// Goes on after an action.
    #[must_use]
    pub fn next(mut self, seen: StepResult) -> Self {
        match self.doing.clone() {
            Action::Inspect => self.after_inspect(seen),
            Action::Apply(send) => self.after_apply(send, seen),
            Action::Check(send) => self.after_check(send, seen),
            Action::AwaitRendered(checkpoint) => match seen {
                StepResult::Well => self.after_rendered(checkpoint),
                other => self.fail(reason(other)),
            },
            Action::Pull(when) => match (seen, when) {
                (StepResult::Well, PullTime::BeforeTrial) => self.to(Action::Confirm(ApplyStep::Try)),
                (StepResult::Well, PullTime::InTrial) => self.to(Action::Confirm(ApplyStep::Commit)),
                (other, _) => self.fail(reason(other)),
            },
            Action::Confirm(send) => self.after_confirm(send, seen),
            Action::Reboot => match seen {
                StepResult::Well | StepResult::Lost(_) | StepResult::Runs(..) => {
                    self.rebooted = true;
                    self.to(Action::AwaitBoot)
                }
                other @ (StepResult::Refused(_)
                | StepResult::NotSent(_)
                | StepResult::Failed(_)
                | StepResult::Interrupted) => self.wants_reboot(&reason(other)),
            },
            Action::AwaitBoot => match seen {
                StepResult::Well => self.to(Action::AwaitRendered(Checkpoint::Rebooted)),
                other => {
                    let reason = format!("it does not come back from its reboot: {}", reason(other));
                    let if_abandoned = match self.route.reboot {
                        Reboot::Alone => self.if_abandoned(),
                        Reboot::After | Reboot::Never => IfAbandoned::KeepsNew,
                    };
                    self.to(Action::End(Outcome::Unknown { reason, if_abandoned }))
                }
            },
            Action::End(_) => self,
        }
    }

    fn after_confirm(self, send: ApplyStep, seen: StepResult) -> Self {
        match (send, seen) {
            (
                _,
                StepResult::Runs(active, disk @ Persisted::Is(Variant::Foreign))
                | StepResult::Runs(active @ Variant::Foreign, disk),
            ) => self.foreign(active, disk),
            (ApplyStep::Try, StepResult::Runs(Variant::Original, disk)) if disk.may_be(Variant::Original) => {
                self.apply(ApplyStep::Try)
            }
            (ApplyStep::Try, StepResult::Runs(..)) => {
                self.fail("its config is another than the one that was planned for")
            }
            (ApplyStep::Revert, _) => self.apply(ApplyStep::Revert),
            (ApplyStep::Commit, StepResult::Runs(active, _)) if active == self.on_trial() => {
                self.apply(ApplyStep::Commit)
            }
            (_, StepResult::Runs(..)) => self.fail(TRIAL_ENDED),
            (_, other) => self.fail(reason(other)),
        }
    }

    fn after_inspect(self, seen: StepResult) -> Self {
        match seen {
            StepResult::Runs(Variant::Original, disk)
                if self.route.reboot == Reboot::Alone && disk.may_be(Variant::Original) =>
            {
                self.to(Action::AwaitRendered(Checkpoint::Committed))
            }
            StepResult::Runs(Variant::Original, disk) if disk.may_be(Variant::Original) => {
                match self.route.strict {
                    Strict::First => self.apply(ApplyStep::TryStrict),
                    Strict::Original => self.to(Action::Pull(PullTime::BeforeTrial)),
                    Strict::None => self.apply(ApplyStep::Try),
                }
            }
            StepResult::Runs(Variant::Desired, disk) if disk.may_be(Variant::Desired) => {
                self.to(Action::End(Outcome::Unchanged))
            }
            StepResult::Runs(..) => self.fail("its config is another than the one that was planned for"),
            other => self.fail(reason(other)),
        }
    }

    fn after_apply(mut self, send: ApplyStep, seen: StepResult) -> Self {
        self.sent.sent(send, result_of(&seen));
        self.is_taken = seen == StepResult::Well;
        match seen {
            StepResult::Well | StepResult::Lost(_) | StepResult::Runs(..) => self.to(Action::Check(send)),
            StepResult::Refused(_)
            | StepResult::NotSent(_)
            | StepResult::Failed(_)
            | StepResult::Interrupted
                if send == ApplyStep::Revert =>
            {
                // It may be back anyway: by its own timer, or by an earlier attempt.
                self.to(Action::Check(send))
            }
            other => self.fail(reason(other)),
        }
    }

    fn after_check(self, send: ApplyStep, seen: StepResult) -> Self {
        let StepResult::Runs(active, disk) = seen else {
            let reason = reason(seen);
            return if send == ApplyStep::Revert { self.revert_again(reason) } else { self.fail(reason) };
        };
        if active == Variant::Foreign || disk == Persisted::Is(Variant::Foreign) {
            return self.foreign(active, disk);
        }
        match (send, active) {
            (ApplyStep::TryStrict, Variant::Strict) => self.to(Action::AwaitRendered(Checkpoint::Strict)),
            (ApplyStep::Try, Variant::Desired) => self.to(Action::AwaitRendered(Checkpoint::Desired)),
            (ApplyStep::TryStrict | ApplyStep::Try, Variant::Original) if self.is_taken => {
                self.fail(TRIAL_ENDED)
            }
            (ApplyStep::TryStrict | ApplyStep::Try, _) => self.fail("the config on trial does not run"),
            (ApplyStep::Commit, Variant::Desired)
                if matches!(disk, Persisted::Is(Variant::Desired) | Persisted::Hidden) =>
            {
                self.without_trial().to(Action::AwaitRendered(Checkpoint::Committed))
            }
            (ApplyStep::Commit, active)
                if (active == Variant::Desired || active == self.on_trial()) && self.commits < COMMITS =>
            {
                self.apply(ApplyStep::Commit)
            }
            (ApplyStep::Commit, Variant::Desired) => self.fail("the config was committed and is not on disk"),
            (ApplyStep::Commit, _) => self.fail("the config was committed and does not run"),
            (ApplyStep::Revert, Variant::Original) if disk.may_be(Variant::Original) => {
                let reason = self.failure.clone().unwrap_or_default();
                self.to(Action::End(Outcome::Reverted { reason }))
            }
            (ApplyStep::Revert, _) => self.revert_again("the node still runs the new one".to_owned()),
        }
    }

    fn after_rendered(self, checkpoint: Checkpoint) -> Self {
        match checkpoint {
            Checkpoint::Strict => self.to(Action::Pull(PullTime::InTrial)),
            Checkpoint::Desired if self.route.probe == Probe::Pull && self.route.strict == Strict::None => {
                self.to(Action::Pull(PullTime::InTrial))
            }
            Checkpoint::Desired => self.to(Action::Confirm(ApplyStep::Commit)),
            Checkpoint::Committed if self.route.reboot.is_wanted() => self.to(Action::Reboot),
            Checkpoint::Committed | Checkpoint::Rebooted => self.to(Action::End(Outcome::Updated)),
        }
    }
}

/// Returns what came of a config that was sent; what is not known may have reached the node.
pub(super) fn result_of(seen: &StepResult) -> ApplyResult {
    match seen {
        StepResult::Well => ApplyResult::Taken,
        StepResult::Refused(_) => ApplyResult::Refused,
        StepResult::NotSent(_) => ApplyResult::NotSent,
        StepResult::Lost(_) | StepResult::Runs(..) | StepResult::Failed(_) | StepResult::Interrupted => {
            ApplyResult::Lost
        }
    }
}

/// Returns why something did not go well.
pub(super) fn reason(seen: StepResult) -> String {
    match seen {
        StepResult::Refused(reason)
        | StepResult::NotSent(reason)
        | StepResult::Lost(reason)
        | StepResult::Failed(reason) => reason,
        StepResult::Interrupted => "interrupted".to_owned(),
        StepResult::Well | StepResult::Runs(..) => "it gives an answer to another question".to_owned(),
    }
}

#[cfg(test)]
#[path = "state_machine_tests.rs"]
mod tests;
