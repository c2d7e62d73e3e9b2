//! What is done to one node, step by step: a pure function of what has been done and what was seen.
//!
//! # The order of trials
//!
//! A trial's timer takes back to the config that was *active* when the trial began (Talos
//! `v1alpha1_server.go`, `RollbackToConfigAfter`), so a trial on top of a trial would go back to the first one's config.
//! Therefore each trial begins from the original: where the mirrors have to prove themselves without a fallback, a
//! strict variant is tried first, the original is put back with `NO_REBOOT`, which ends that trial, and only then the
//! wanted config is tried. Whenever the node is left alone, it goes back to exactly what it had.
//!
//! # Failures
//!
//! Once a config was sent, every failure leads to the original being applied again, and read back. What another has
//! applied meanwhile is left alone.

use super::outcome::{ByItself, Clock, Outcome};

/// How often the original is applied again before the node's state counts as unknown.
const REVERTS: u8 = 3;
/// How often a commit is sent whose answer is lost.
const COMMITS: u8 = 2;

/// A config that is sent to a node, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The strict variant, on trial.
    TryStrict,
    /// The original, for good: ends the strict trial.
    PutBack,
    /// The wanted config, on trial.
    Try,
    /// The wanted config, for good.
    Commit,
    /// The original, for good, after a failure.
    Revert,
}

impl Sending {
    /// Returns the word for it, in journals and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TryStrict => "try-strict",
            Self::PutBack => "put-back",
            Self::Try => "try",
            Self::Commit => "commit",
            Self::Revert => "revert",
        }
    }

    /// Returns what the word stands for.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|send| send.as_str() == word)
    }

    /// Everything that can be sent.
    pub const ALL: [Self; 5] = [Self::TryStrict, Self::PutBack, Self::Try, Self::Commit, Self::Revert];

    /// Returns whether the node takes the config back by itself.
    pub fn is_trial(self) -> bool {
        matches!(self, Self::TryStrict | Self::Try)
    }
}

/// Which of the known configs something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one from before.
    Old,
    /// The strict variant.
    Strict,
    /// The wanted one.
    Wanted,
    /// None of them.
    Other,
}

/// What a node has on disk, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing was applied for good since it booted.
    Unset,
    /// It does not say.
    Hidden,
    /// This one.
    Is(Which),
}

impl OnDisk {
    /// Returns whether it can be `which`.
    fn may_be(self, which: Which) -> bool {
        match self {
            Self::Unset | Self::Hidden => true,
            Self::Is(found) => found == which,
        }
    }
}

/// When rendering and services are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Before anything is sent, where the original is strict itself.
    Original,
    /// During the strict trial.
    Strict,
    /// During the trial.
    Wanted,
    /// After the commit.
    Committed,
    /// After the reboot.
    Rebooted,
}

impl Watch {
    /// Returns whether the config goes when nothing is done.
    pub fn in_trial(self) -> bool {
        matches!(self, Self::Strict | Self::Wanted)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads what the node has, before anything is sent.
    Inspect,
    /// Sends a config.
    Apply(Sending),
    /// Reads what the node has, after something was sent.
    Check(Sending),
    /// Waits until Talos has rendered the config, and its services are well.
    Watch(Watch),
    /// Pulls the probe images, on the original or on one of the trials.
    Pull(Watch),
    /// Reads once more before a config is sent, the first one of an untouched node excepted, which was just read: what
    /// somebody else has applied or staged meanwhile is not overwritten.
    Confirm(Sending),
    /// Asks for a reboot.
    Reboot,
    /// Waits until the node has booted.
    AwaitBoot,
    /// Nothing more.
    End(Outcome),
}

impl Action {
    /// Returns the word for it, in events.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Apply(send) => send.as_str(),
            Self::Check(_) => "read-back",
            Self::Watch(_) => "rendered",
            Self::Pull(_) => "pull",
            Self::Confirm(_) => "confirm",
            Self::Reboot => "reboot",
            Self::AwaitBoot => "boot",
            Self::End(outcome) => outcome.as_str(),
        }
    }

    /// Returns whether the first Ctrl-C ends it: what leads to a certain state is carried out.
    pub fn is_interruptible(&self) -> bool {
        match self {
            Self::Inspect | Self::Pull(_) => true,
            Self::Confirm(send) => *send != Sending::Revert,
            Self::Check(send) => send.is_trial(),
            Self::Watch(watch) => watch.in_trial(),
            Self::Apply(_) | Self::Reboot | Self::AwaitBoot | Self::End(_) => false,
        }
    }
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It went as it should.
    Well,
    /// What the node runs with and has on disk.
    Runs(Which, OnDisk),
    /// The node says no.
    Refused(String),
    /// It certainly did not reach the node.
    NotSent(String),
    /// Nobody knows whether it reached the node.
    Lost(String),
    /// It is not as it should be, or cannot be found out.
    Failed(String),
    /// The user wants to stop.
    Interrupted,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub doing: Action,
    route: Route,
    /// What was sent last.
    sent: Option<Sending>,
    /// Whether a trial may run.
    trial: bool,
    clock: Clock,
    commits: u8,
    reverts: u8,
    failure: Option<String>,
    /// Whether the node was asked to reboot.
    rebooted: bool,
}

/// What a node's rollout consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whether a strict trial comes first.
    pub strict: Strict,
    /// Whether images are pulled.
    pub probe: Probe,
    /// Whether the node is rebooted after the commit.
    pub reboot: Reboot,
}

/// Whether a strict trial comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    /// Mirrors prove themselves on a variant without fallback.
    First,
    /// The original is that variant: mirrors prove themselves on it, before anything is sent.
    Original,
    /// There is nothing to prove, or the wanted config has no fallback itself.
    None,
}

/// Whether images are pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// During the first trial.
    Pull,
    /// There are none.
    None,
}

/// Whether the node is rebooted after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// Credentials reach pods' pulls no other way.
    After,
    /// It is not.
    Never,
}

impl Progress {
    /// Begins: the node is read first.
    pub fn new(route: Route) -> Self {
        Self {
            doing: Action::Inspect,
            route,
            sent: None,
            trial: false,
            clock: Clock::Runs,
            commits: 0,
            reverts: 0,
            failure: None,
            rebooted: false,
        }
    }

    /// Begins with the original being applied again, for a node that an earlier run has left in between.
    pub fn reverting(route: Route, reason: &str) -> Self {
        Self { sent: Some(Sending::Try), trial: true, ..Self::new(route) }.fail(reason)
    }

    /// Begins with the original being applied again, long after the wanted config was committed.
    pub fn restoring(route: Route) -> Self {
        Self { sent: Some(Sending::Commit), commits: 1, ..Self::new(route) }.fail("rolled back")
    }

    /// Begins with the commit, for a node that an earlier run has left during it.
    pub fn committing(route: Route) -> Self {
        let begun = Self { sent: Some(Sending::Try), trial: true, ..Self::new(route) };
        begun.apply(Sending::Commit)
    }

    /// Begins with the reboot after the commit, for a node that an earlier run has left before it.
    pub fn rebooting(route: Route) -> Self {
        let begun = Self { sent: Some(Sending::Commit), commits: 1, ..Self::new(route) };
        begun.to(Action::Watch(Watch::Committed))
    }

    /// Returns what the node does when nobody does anything any more.
    pub fn by_itself(&self) -> ByItself {
        match self.sent {
            None => ByItself::KeepsOld,
            Some(Sending::TryStrict | Sending::Try) => ByItself::GoesBack(self.clock),
            Some(Sending::PutBack | Sending::Revert) if self.trial => ByItself::OldOrGoesBack(self.clock),
            Some(Sending::PutBack | Sending::Revert) if self.commits > 0 => ByItself::OldOrNew,
            Some(Sending::PutBack | Sending::Revert) => ByItself::KeepsOld,
            Some(Sending::Commit) if self.trial => match self.clock {
                Clock::Runs => ByItself::NewOrGoesBack,
                Clock::MayHaveStopped => ByItself::GoesBack(self.clock),
            },
            Some(Sending::Commit) => ByItself::KeepsNew,
        }
    }

    /// Returns whether anything was sent.
    pub fn is_touched(&self) -> bool {
        self.sent.is_some()
    }

    /// Returns the first thing that went wrong.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn to(self, doing: Action) -> Self {
        Self { doing, ..self }
    }

    fn apply(mut self, send: Sending) -> Self {
        match send {
            Sending::Commit => self.commits = self.commits.saturating_add(1),
            Sending::Revert => self.reverts = self.reverts.saturating_add(1),
            Sending::TryStrict | Sending::Try | Sending::PutBack => {}
        }
        self.to(Action::Apply(send))
    }

    /// Goes on to the original, whatever else was to come.
    fn fail(mut self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        if self.sent.is_none() {
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
        self.to(Action::Confirm(Sending::Revert))
    }

    /// Applies the original again, or gives up.
    fn revert_again(self, reason: String) -> Self {
        if self.reverts < REVERTS {
            return self.to(Action::Confirm(Sending::Revert));
        }
        let (failure, by_itself) = (self.failure.clone().unwrap_or_default(), self.by_itself());
        let reason = format!("{failure}; the old config was sent again, and cannot be seen to run: {reason}");
        self.to(Action::End(Outcome::Unknown { reason, by_itself }))
    }

    /// Leaves the node to whoever has applied another config, or staged one.
    fn foreign(self, active: Which) -> Self {
        let failure = self.failure.clone().map(|failure| format!("{failure}; ")).unwrap_or_default();
        let (has, by_itself) = match active {
            Which::Other => ("applied another config", ByItself::Foreign),
            // Whatever is staged has stopped a trial's clock.
            Which::Old | Which::Strict | Which::Wanted => ("staged another config", ByItself::Staged),
        };
        let reason = format!("{failure}somebody else has {has} meanwhile; it is left alone");
        if self.sent.is_none() {
            return self.to(Action::End(Outcome::Untouched { reason }));
        }
        self.to(Action::End(Outcome::Unknown { reason, by_itself }))
    }

    /// Ends with the config committed and verified, and credentials that pods' pulls lack.
    fn wants_reboot(self, reason: &str) -> Self {
        let reason = format!("it has the new config, and still wants a reboot: {reason}");
        self.to(Action::End(Outcome::WantsReboot { reason }))
    }

    /// Goes on after an action.
    #[must_use]
    pub fn next(mut self, seen: Seen) -> Self {
        match self.doing.clone() {
            Action::Inspect => self.after_inspect(seen),
            Action::Apply(send) => self.after_apply(send, seen),
            Action::Check(send) => self.after_check(send, seen),
            Action::Watch(watch) => match seen {
                Seen::Well => self.after_watch(watch),
                other => self.fail(reason(other)),
            },
            Action::Pull(watch) => match (seen, watch) {
                (Seen::Well, Watch::Original) => self.to(Action::Confirm(Sending::Try)),
                (Seen::Well, Watch::Strict) => self.to(Action::Confirm(Sending::PutBack)),
                (Seen::Well, Watch::Wanted | Watch::Committed | Watch::Rebooted) => {
                    self.to(Action::Confirm(Sending::Commit))
                }
                (other, _) => self.fail(reason(other)),
            },
            Action::Confirm(send) => self.after_confirm(send, seen),
            Action::Reboot => match seen {
                Seen::Well | Seen::Lost(_) | Seen::Runs(..) => {
                    self.rebooted = true;
                    self.to(Action::AwaitBoot)
                }
                other @ (Seen::Refused(_) | Seen::NotSent(_) | Seen::Failed(_) | Seen::Interrupted) => {
                    self.wants_reboot(&reason(other))
                }
            },
            Action::AwaitBoot => match seen {
                Seen::Well => self.to(Action::Watch(Watch::Rebooted)),
                other => {
                    let reason = format!("it does not come back from its reboot: {}", reason(other));
                    self.to(Action::End(Outcome::Unknown { reason, by_itself: ByItself::KeepsNew }))
                }
            },
            Action::End(_) => self,
        }
    }

    fn after_confirm(self, send: Sending, seen: Seen) -> Self {
        match (send, seen) {
            (_, Seen::Runs(active, OnDisk::Is(Which::Other)) | Seen::Runs(active @ Which::Other, _)) => {
                self.foreign(active)
            }
            (Sending::Try, Seen::Runs(Which::Old, disk)) if disk.may_be(Which::Old) => {
                self.apply(Sending::Try)
            }
            (Sending::Try, Seen::Runs(..)) => {
                self.fail("its config is another than the one that was planned for")
            }
            (Sending::Revert, _) => self.apply(Sending::Revert),
            (Sending::PutBack, Seen::Runs(Which::Strict, _)) => self.apply(Sending::PutBack),
            (Sending::Commit, Seen::Runs(Which::Wanted, _)) => self.apply(Sending::Commit),
            (_, Seen::Runs(..)) => {
                self.fail("the trial ended before its time: the node rebooted, or its time was up")
            }
            (_, other) => self.fail(reason(other)),
        }
    }

    fn after_inspect(self, seen: Seen) -> Self {
        match seen {
            Seen::Runs(Which::Old, disk) if disk.may_be(Which::Old) => match self.route.strict {
                Strict::First => self.apply(Sending::TryStrict),
                Strict::Original => self.to(Action::Pull(Watch::Original)),
                Strict::None => self.apply(Sending::Try),
            },
            Seen::Runs(Which::Wanted, disk) if disk.may_be(Which::Wanted) => {
                self.to(Action::End(Outcome::Unchanged))
            }
            Seen::Runs(..) => self.fail("its config is another than the one that was planned for"),
            other => self.fail(reason(other)),
        }
    }

    fn after_apply(mut self, send: Sending, seen: Seen) -> Self {
        if !matches!(seen, Seen::NotSent(_)) {
            self.sent = Some(send);
            self.trial |= send.is_trial();
        }
        if send.is_trial() {
            self.clock = Clock::Runs;
        } else if matches!(seen, Seen::Refused(_)) {
            // Up to Talos 1.13 what is not a trial ends the clock of one before it is looked at.
            self.clock = Clock::MayHaveStopped;
        }
        match seen {
            Seen::Well => {
                // A config that was taken for good has ended the trial.
                self.trial = send.is_trial();
                self.to(Action::Check(send))
            }
            Seen::Lost(_) | Seen::Runs(..) => self.to(Action::Check(send)),
            Seen::Refused(_) | Seen::NotSent(_) | Seen::Failed(_) | Seen::Interrupted
                if send == Sending::Revert =>
            {
                // It may be back all the same: by its own timer, or by an earlier attempt.
                self.to(Action::Check(send))
            }
            other => self.fail(reason(other)),
        }
    }

    fn after_check(self, send: Sending, seen: Seen) -> Self {
        let Seen::Runs(active, disk) = seen else {
            let reason = reason(seen);
            return if send == Sending::Revert { self.revert_again(reason) } else { self.fail(reason) };
        };
        if active == Which::Other || disk == OnDisk::Is(Which::Other) {
            return self.foreign(active);
        }
        match (send, active) {
            (Sending::TryStrict, Which::Strict) => self.to(Action::Watch(Watch::Strict)),
            (Sending::Try, Which::Wanted) => self.to(Action::Watch(Watch::Wanted)),
            (Sending::TryStrict | Sending::Try, _) => self.fail("the config on trial does not run"),
            (Sending::PutBack, Which::Old) if matches!(disk, OnDisk::Is(Which::Old) | OnDisk::Hidden) => {
                Self { trial: false, ..self }.apply(Sending::Try)
            }
            (Sending::PutBack, _) => self.fail("the old config did not come back between the trials"),
            (Sending::Commit, Which::Wanted)
                if matches!(disk, OnDisk::Is(Which::Wanted) | OnDisk::Hidden) =>
            {
                Self { trial: false, ..self }.to(Action::Watch(Watch::Committed))
            }
            (Sending::Commit, Which::Wanted) if self.commits < COMMITS => self.apply(Sending::Commit),
            (Sending::Commit, Which::Wanted) => self.fail("the config was committed and is not on disk"),
            (Sending::Commit, _) => self.fail("the config was committed and does not run"),
            (Sending::Revert, Which::Old) if disk.may_be(Which::Old) => {
                let reason = self.failure.clone().unwrap_or_default();
                self.to(Action::End(Outcome::Reverted { reason }))
            }
            (Sending::Revert, _) => self.revert_again("the node still runs the new one".to_owned()),
        }
    }

    fn after_watch(self, watch: Watch) -> Self {
        match watch {
            Watch::Original => self.to(Action::Pull(Watch::Original)),
            Watch::Strict => self.to(Action::Pull(Watch::Strict)),
            Watch::Wanted if self.route.probe == Probe::Pull && self.route.strict == Strict::None => {
                self.to(Action::Pull(Watch::Wanted))
            }
            Watch::Wanted => self.to(Action::Confirm(Sending::Commit)),
            Watch::Committed if self.route.reboot == Reboot::After => self.to(Action::Reboot),
            Watch::Committed | Watch::Rebooted => self.to(Action::End(Outcome::Updated)),
        }
    }
}

/// Returns why something did not go well.
fn reason(seen: Seen) -> String {
    match seen {
        Seen::Refused(reason) | Seen::NotSent(reason) | Seen::Lost(reason) | Seen::Failed(reason) => reason,
        Seen::Interrupted => "interrupted".to_owned(),
        Seen::Well | Seen::Runs(..) => "it says what nobody asked for".to_owned(),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
