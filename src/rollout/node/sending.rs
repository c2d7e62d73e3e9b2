//! Sends configs to one node: each announced in the journal, looked at right before, and sent again where that does no harm.

#![expect(clippy::disallowed_methods, reason = "waits for a node, and dates what is sent to it")]

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::observe::runs;
use super::runner::{NodeRunner, SAME_TIME};
use crate::finding::one_line;
use crate::rollout::event::EventKind;
use crate::rollout::journal::Record;
use crate::rollout::state_machine::{Persisted, StepResult, Variant, result_of};
use crate::rollout::step::{ApplyResult, ApplyStep, Step};
use crate::secret::Secret;
use crate::talos::{DryRun, Mode, TalosError};

/// How often an apply is repeated that the node refuses because another is under way.
const BUSY: u8 = 5;

impl NodeRunner {
    /// Reads once more, right before a trial is sent, whether another has begun one since; returns why nothing may be sent.
    async fn is_still_original(&self) -> Result<(), String> {
        let active = self.node.active_config().await.map_err(|error| one_line(&error))?;
        let most = self.times_set.map(|times| times.saturating_add(self.own_applies));
        let is_set_again = active.times_set().zip(most).is_some_and(|(times, most)| times > most);
        if self.known.which(&active.text) != Variant::Original || is_set_again {
            return Err(SAME_TIME.to_owned());
        }
        Ok(())
    }

    /// Sends a config; once more where the answer is lost, and the node is seen to be without it.
    pub(super) async fn apply(&mut self, send: ApplyStep) -> StepResult {
        let first = self.apply_once(send).await;
        let StepResult::Lost(why) = first else { return first };
        if !self.may_send_again(send).await {
            return StepResult::Lost(why);
        }
        let text = format!(
            "the answer to {} is lost ({why}), and the node does not have it: it is sent again",
            Step::Apply(send)
        );
        self.context.tell(&self.name, EventKind::Notes { text });
        match self.apply_once(send).await {
            // The first may have arrived all the time, and be what kept the second off.
            StepResult::NotSent(_) => StepResult::Lost(why),
            second => second,
        }
    }

    /// Finds out whether a config whose answer is lost can be sent again without harm.
    ///
    /// One that is for good can, whether it has arrived or not. A trial on top of itself would go back to itself: it is
    /// sent again when it can no longer arrive by itself, and the node is seen to run with its original.
    async fn may_send_again(&mut self, send: ApplyStep) -> bool {
        let before = match send {
            ApplyStep::TryStrict | ApplyStep::Try => Variant::Original,
            ApplyStep::Commit => self.tried.unwrap_or(Variant::Desired),
            // The state machine does it itself.
            ApplyStep::Revert => return false,
        };
        let end = Instant::now() + if send.is_trial() { self.context.pace.landing() } else { Duration::ZERO };
        loop {
            let seen = tokio::select! {
                biased;
                () = self.context.stopped() => return false,
                (seen, _) = runs(&self.node, &self.known, &self.version) => seen,
            };
            let is_before = match &seen {
                StepResult::Runs(_, Persisted::Is(Variant::Foreign)) => return false,
                StepResult::Runs(active, _) if *active != before => return false,
                StepResult::Runs(Variant::Desired, Persisted::Is(Variant::Desired)) => return false,
                StepResult::Runs(..) => true,
                StepResult::Well
                | StepResult::Refused(_)
                | StepResult::NotSent(_)
                | StepResult::Lost(_)
                | StepResult::Failed(_)
                | StepResult::Interrupted => false,
            };
            if Instant::now() >= end {
                return is_before;
            }
            sleep(self.context.pace.poll()).await;
        }
    }

    /// Sends a config. What cannot be written into the journal first is not sent, unless it leads back.
    async fn apply_once(&mut self, send: ApplyStep) -> StepResult {
        let which = match send {
            ApplyStep::TryStrict => Variant::Strict,
            ApplyStep::Try | ApplyStep::Commit => Variant::Desired,
            ApplyStep::Revert => Variant::Original,
        };
        let Some(text) = self.text(which).cloned() else {
            return StepResult::NotSent("there is no such config".to_owned());
        };
        let calls = self.node.patience().saturating_mul(u32::from(BUSY) + 1);
        let arrives = self.arrives(calls);
        let written =
            self.context.journal.add(Record::Send { node: self.kept_as.clone(), what: send, arrives });
        if let Err(error) = written
            && send != ApplyStep::Revert
        {
            return StepResult::NotSent(one_line(&error));
        }
        if send.is_trial()
            && let Err(why) = self.is_still_original().await
        {
            return self.not_sent(send, why);
        }
        let mode =
            if send.is_trial() { Mode::Try { timeout: self.context.pace.trial } } else { Mode::NoReboot };
        self.reverts += usize::from(send == ApplyStep::Revert);
        let begun = Instant::now();
        let seen = self.send(send, &text, mode).await;
        let arrived = !matches!(seen, StepResult::NotSent(_) | StepResult::Refused(_));
        self.own_applies = self.own_applies.saturating_add(u64::from(arrived));
        if matches!(seen, StepResult::Lost(_)) && send != ApplyStep::Revert {
            let end = Instant::now() + self.context.pace.landing();
            self.may_land_until = Some(self.may_land_until.map_or(end, |known| known.max(end)));
            self.lost_commit |= send == ApplyStep::Commit;
        }
        if send.is_trial() && !matches!(seen, StepResult::NotSent(_)) {
            self.tried = Some(which);
            self.trial = Some(begun);
            self.until = Timestamp::now().checked_add(self.context.pace.trial).ok();
        }
        // What was sent is no less sent when this cannot be written: the node is asked at the next run anyway.
        let _ = self.context.journal.add(Record::Sent {
            node: self.kept_as.clone(),
            what: send,
            result: result_of(&seen),
            until: self.until.filter(|_| send.is_trial()).map(|until| until.to_string()),
            arrives: self.arrives(Duration::ZERO).filter(|_| result_of(&seen) == ApplyResult::Lost),
        });
        seen
    }

    /// Returns until when a config may arrive whose call ends within so much time, for the journal.
    fn arrives(&self, within: Duration) -> Option<String> {
        let end = Timestamp::now().checked_add(within.saturating_add(self.context.pace.landing())).ok()?;
        Some(end.to_string())
    }

    /// Looks again before a config is sent that the node did not look at, because it was at another one.
    async fn may_still_send(&mut self, send: ApplyStep) -> Result<(), String> {
        let before = match send {
            ApplyStep::TryStrict | ApplyStep::Try => return self.is_still_original().await,
            ApplyStep::Commit => self.tried.unwrap_or(Variant::Desired),
            // What leads back is sent whatever the other one was.
            ApplyStep::Revert => return Ok(()),
        };
        match self.runs_on_trial().await {
            StepResult::Runs(active, _) if active == before => Ok(()),
            // What was at work is our own commit, whose answer is lost; sent again, it does no harm.
            StepResult::Runs(Variant::Desired, disk) if self.lost_commit && disk.may_be(Variant::Desired) => {
                Ok(())
            }
            StepResult::Failed(why) => Err(why),
            StepResult::Runs(..)
            | StepResult::Well
            | StepResult::Refused(_)
            | StepResult::NotSent(_)
            | StepResult::Lost(_)
            | StepResult::Interrupted => Err(SAME_TIME.to_owned()),
        }
    }

    /// Takes back the announcement of a config.
    fn not_sent(&self, send: ApplyStep, why: String) -> StepResult {
        let seen = StepResult::NotSent(why);
        let (node, result) = (self.kept_as.clone(), result_of(&seen));
        // Where this cannot be written, the node is asked at the next run.
        let _ =
            self.context.journal.add(Record::Sent { node, what: send, result, until: None, arrives: None });
        seen
    }

    async fn send(&mut self, send: ApplyStep, text: &Secret<String>, mode: Mode) -> StepResult {
        let mut busy = 0;
        loop {
            let error = match self.node.apply(text, mode, DryRun::No).await {
                Ok(applied) => {
                    for text in applied.warnings {
                        self.context
                            .tell(&self.name, EventKind::Notes { text: format!("Talos warns: {text}") });
                    }
                    return StepResult::Well;
                }
                Err(error) => error,
            };
            if !is_busy(&error) || busy == BUSY {
                return StepResult::of(&error);
            }
            busy += 1;
            sleep(self.context.pace.poll() * 2).await;
            if let Err(why) = self.may_still_send(send).await {
                return StepResult::NotSent(why);
            }
        }
    }
}

/// Returns whether a node was at another config and did not look at this one: since Talos 1.12.9 and 1.13.3 there is one
/// apply at a time.
fn is_busy(error: &TalosError) -> bool {
    matches!(error, TalosError::Failed { message, .. } if message.contains("already in progress"))
}
