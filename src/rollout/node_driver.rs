//! Carries out the steps of one node.

#![expect(clippy::disallowed_methods, reason = "waits for a node, and dates what is done to it")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::config::{Configs, Digest, Known};
use super::event::{Event, What};
use super::gate::Absence;
use super::journal::Record;
use super::journal_file::Journal;
use super::look_client::{chain, health_flaws, quorum_flaws, render_flaws, runs};
use super::machine::{Action, Progress, Reboot, Route, Seen, Sending, Strict, Watch, Which};
use super::outcome::Outcome;
use super::plan::NodePlan;
use crate::inventory::Role;
use crate::registries::TalosVersion;
use crate::secret::Secret;
use crate::talos::{DryRun, Instance, Mode, NodeClient, TalosError};

/// How often an apply is repeated that the node refuses because another is under way.
const BUSY: u8 = 5;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A trial.
    pub trial: Duration,
    /// A node to be well, and to render a config; a boot may take ten times as long.
    pub settle: Duration,
    /// The pull of one image.
    pub pull: Duration,
}

impl Pace {
    pub(super) fn poll(&self) -> Duration {
        (self.settle / 20).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// How long before a trial's end nothing more is begun in it: so that a way back does not race the node's own.
    fn margin(&self) -> Duration {
        (self.trial / 5).min(Duration::from_secs(10))
    }
}

/// What all nodes of a rollout share.
#[derive(Debug)]
pub struct Crew {
    /// The journal.
    pub journal: Journal,
    /// How long things may take.
    pub pace: Pace,
    /// The images that are pulled.
    pub images: Vec<String>,
    /// The cluster's control plane nodes, as far as they are known.
    pub control_plane: Vec<(String, NodeClient)>,
    /// Who is told what happens.
    pub events: mpsc::UnboundedSender<Event>,
    /// Whether the user wants to stop.
    pub stop: watch::Receiver<bool>,
}

impl Crew {
    /// Returns when the user wants to stop.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    }

    /// Tells what happens; that nobody listens is no reason to stop.
    pub(super) fn tell(&self, node: &str, what: What) {
        let _ = self.events.send(Event { at: Timestamp::now(), node: node.to_owned(), what });
    }
}

/// A node that is to be worked on.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its API.
    pub node: NodeClient,
    /// What is to be done.
    pub plan: NodePlan,
}

/// A node in hand.
pub(super) struct Hand {
    pub(super) crew: Arc<Crew>,
    pub(super) name: String,
    pub(super) node: NodeClient,
    pub(super) version: TalosVersion,
    pub(super) known: Known,
    /// What can be sent; [`None`] until the node was inspected.
    pub(super) configs: Option<Configs>,
    trial: Option<Instant>,
    until: Option<Timestamp>,
    /// Images that were on the node and were removed, so that pulling them proves something.
    pub(super) removed: Vec<(String, Instance)>,
    pub(super) boot: Option<String>,
    /// Whether mirrors have to prove themselves.
    requires_hit: bool,
    /// What is not proven though it was to be.
    pub(super) unproven: Vec<String>,
    /// Its role, as long as nobody knows it the more careful one.
    pub(super) role: Role,
    reverts: usize,
}

/// Works on a node from its first step to its last.
pub(super) async fn work(crew: Arc<Crew>, subject: Subject) -> Outcome {
    let started = Instant::now();
    let plan = &subject.plan;
    let mut hand = Hand::new(
        Arc::clone(&crew),
        &subject.name,
        &subject.node,
        &plan.version,
        Known { before: plan.before.clone(), strict: None, wanted: plan.before.clone() },
    );
    hand.role = plan.role;
    (hand.requires_hit, hand.unproven) = (plan.requires_hit, plan.unproven.clone());
    if let Err(reason) = hand.gate(plan.role, plan.route).await {
        return hand.done(Outcome::Untouched { reason }, started);
    }
    hand.run(Progress::new(plan.route), Some(plan), started).await
}

impl Hand {
    pub(super) fn new(
        crew: Arc<Crew>,
        name: &str,
        node: &NodeClient,
        version: &TalosVersion,
        known: Known,
    ) -> Self {
        Self {
            crew,
            name: name.to_owned(),
            node: node.clone(),
            version: version.clone(),
            known,
            configs: None,
            trial: None,
            until: None,
            removed: Vec::new(),
            boot: None,
            requires_hit: false,
            unproven: Vec::new(),
            role: Role::ControlPlane,
            reverts: 0,
        }
    }

    /// Waits until the node may be touched.
    pub(super) async fn gate(&self, role: Role, route: Route) -> Result<(), String> {
        let may = self.wait_until_well(role, route).await;
        may.map_err(
            |why| {
                if *self.crew.stop.borrow() { why } else { format!("it was not touched because {why}") }
            },
        )
    }

    /// Waits until nothing speaks against what is to be done to the node; returns what does when the time is up.
    pub(super) async fn wait_until_well(&self, role: Role, route: Route) -> Result<(), String> {
        let end = Instant::now() + self.crew.pace.settle;
        let mut control_plane = self.crew.control_plane.clone();
        if control_plane.iter().all(|(name, _)| *name != self.name) {
            control_plane.push((self.name.clone(), self.node.clone()));
        }
        let mut told = String::new();
        loop {
            let look = async {
                let mut flaws = health_flaws(&self.node).await;
                if role == Role::ControlPlane {
                    let absence = match route.reboot {
                        Reboot::After => Absence::Reboots,
                        Reboot::Never => Absence::Stays,
                    };
                    flaws.extend(quorum_flaws(&control_plane, absence).await);
                }
                flaws
            };
            let flaws = tokio::select! {
                biased;
                () = self.crew.stopped() => return Err("interrupted".to_owned()),
                flaws = look => flaws,
            };
            if flaws.is_empty() {
                return Ok(());
            }
            let why = flaws.join("; ");
            if Instant::now() >= end {
                return Err(why);
            }
            if why != told {
                self.crew.tell(&self.name, What::Waits { why: why.clone() });
                told = why;
            }
            sleep(self.crew.pace.poll()).await;
        }
    }

    /// Carries out step after step.
    pub(super) async fn run(
        mut self,
        mut progress: Progress,
        plan: Option<&NodePlan>,
        started: Instant,
    ) -> Outcome {
        loop {
            if let Action::End(outcome) = progress.doing.clone() {
                let lost = self.give_back_images(&outcome).await;
                let outcome = if self.requires_hit { outcome.unless_proven(&self.unproven) } else { outcome };
                return self.done(outcome.with_lost(&lost), started);
            }
            let step = progress.doing.as_str();
            let (by_itself, until) = (progress.by_itself(), self.until);
            self.crew.tell(&self.name, What::Begins { step, by_itself, until });
            let begun = Instant::now();
            let seen = self.step(&progress, plan).await;
            let next = progress.next(seen.clone());
            let trouble = trouble(&seen).or_else(|| {
                let turned = next.failure().filter(|_| {
                    matches!(next.doing, Action::Apply(Sending::Revert) | Action::Confirm(Sending::Revert))
                });
                turned.filter(|_| !matches!(seen, Seen::Well)).map(str::to_owned)
            });
            self.crew.tell(&self.name, What::Ends { step, took: begun.elapsed(), trouble });
            progress = next;
        }
    }

    /// Carries out one step, unless the user or the trial's clock ends it.
    async fn step(&mut self, progress: &Progress, plan: Option<&NodePlan>) -> Seen {
        let action = progress.doing.clone();
        let crew = Arc::clone(&self.crew);
        let in_trial = match &action {
            Action::Check(send) => send.is_trial(),
            Action::Watch(watch) => watch.in_trial(),
            Action::Pull(_) => true,
            Action::Confirm(send) => *send != Sending::Revert,
            _ => false,
        };
        let deadline = self
            .trial
            .filter(|_| in_trial)
            .map(|begun| begun + crew.pace.trial.saturating_sub(crew.pace.margin()));
        let interruptible = action.is_interruptible();
        tokio::select! {
            biased;
            () = crew.stopped(), if interruptible => Seen::Interrupted,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                Seen::Failed(format!(
                    "the trial's {} s are nearly over; --try-timeout or rollout.tryTimeout gives it more",
                    crew.pace.trial.as_secs_f32()
                ))
            }
            seen = self.act(&action, plan) => seen,
        }
    }

    async fn act(&mut self, action: &Action, plan: Option<&NodePlan>) -> Seen {
        match action {
            Action::Inspect => match plan {
                Some(plan) => self.inspect(plan).await,
                None => Seen::Failed("nothing was planned".to_owned()),
            },
            Action::Apply(send) => self.apply(*send).await,
            Action::Check(_) | Action::Confirm(_) => {
                if self.reverts > 0 && *action == Action::Confirm(Sending::Revert) {
                    // It gets time to come back.
                    sleep(self.crew.pace.settle / 3).await;
                }
                runs(&self.node, &self.known, &self.version).await
            }
            Action::Watch(watch) => self.watch(*watch).await,
            Action::Pull(_) => self.pull().await,
            Action::Reboot => self.reboot().await,
            Action::AwaitBoot => self.await_boot().await,
            Action::End(_) => Seen::Well,
        }
    }

    /// Reads the node's config once more, saves it, and makes what it will get of it.
    async fn inspect(&mut self, plan: &NodePlan) -> Seen {
        let active = match self.node.active_config().await {
            Ok(active) => active.text,
            Err(error) => return Seen::Failed(chain(&error)),
        };
        let configs = match Configs::of(&active, &plan.wanted, &self.version, plan.proof()) {
            Ok(configs) => configs,
            Err(error) => return Seen::Failed(error.to_string()),
        };
        let is_planned = Digest::of(&active) == plan.before;
        if !is_planned {
            // It is another than it was: only that it has what is wanted already is of interest.
            self.known.wanted = Digest::of(&configs.wanted);
            return runs(&self.node, &self.known, &self.version).await;
        }
        self.known = configs.known();
        let seen = runs(&self.node, &self.known, &self.version).await;
        if !matches!(seen, Seen::Runs(Which::Old, _)) {
            return seen;
        }
        let saved = self.crew.journal.save(&self.name, &active).and_then(|file| {
            self.crew.journal.add(Record::Node {
                node: self.name.clone(),
                file,
                before: self.known.before.as_str().to_owned(),
                strict: self.known.strict.as_ref().map(|strict| strict.as_str().to_owned()),
                wanted: self.known.wanted.as_str().to_owned(),
                reboots: plan.route.reboot == Reboot::After,
            })
        });
        self.configs = Some(configs);
        match saved {
            Ok(()) => seen,
            Err(error) => Seen::Failed(chain(&error)),
        }
    }

    fn text(&self, which: Which) -> Option<&Secret<String>> {
        let configs = self.configs.as_ref()?;
        match which {
            Which::Old => Some(&configs.before),
            Which::Strict => configs.strict.as_ref(),
            Which::Wanted => Some(&configs.wanted),
            Which::Other => None,
        }
    }

    /// Sends a config. What cannot be written into the journal first is not sent, unless it leads back.
    async fn apply(&mut self, send: Sending) -> Seen {
        let which = match send {
            Sending::TryStrict => Which::Strict,
            Sending::Try | Sending::Commit => Which::Wanted,
            Sending::PutBack | Sending::Revert => Which::Old,
        };
        let Some(text) = self.text(which).cloned() else {
            return Seen::NotSent("there is no such config".to_owned());
        };
        let what = || send.as_str().to_owned();
        let written = self.crew.journal.add(Record::Send { node: self.name.clone(), what: what() });
        if let Err(error) = written
            && send != Sending::Revert
        {
            return Seen::NotSent(chain(&error));
        }
        let mode = if send.is_trial() { Mode::Try { timeout: self.crew.pace.trial } } else { Mode::NoReboot };
        self.reverts += usize::from(send == Sending::Revert);
        let begun = Instant::now();
        let seen = self.send(&text, mode).await;
        let result = match &seen {
            Seen::NotSent(_) => "not-sent",
            Seen::Lost(_) => "lost",
            Seen::Refused(_) => "refused",
            _ => "taken",
        };
        if send.is_trial() && !matches!(seen, Seen::NotSent(_)) {
            self.trial = Some(begun);
            self.until = Timestamp::now().checked_add(self.crew.pace.trial).ok();
        }
        // What was sent is no less sent when this cannot be written: the node is asked at the next run anyway.
        let _ = self.crew.journal.add(Record::Sent {
            node: self.name.clone(),
            what: what(),
            result: result.to_owned(),
            until: self.until.filter(|_| send.is_trial()).map(|until| until.to_string()),
        });
        seen
    }

    async fn send(&self, text: &Secret<String>, mode: Mode) -> Seen {
        let mut busy = 0;
        loop {
            let error = match self.node.apply(text, mode, DryRun::No).await {
                Ok(applied) => {
                    for text in applied.warnings {
                        self.crew.tell(&self.name, What::Notes { text: format!("Talos warns: {text}") });
                    }
                    return Seen::Well;
                }
                Err(error) => error,
            };
            match &error {
                // Since Talos 1.12.9 and 1.13.3 there is one apply at a time, and this one was not looked at.
                TalosError::Failed { message, .. }
                    if message.contains("already in progress") && busy < BUSY =>
                {
                    busy += 1;
                    sleep(self.crew.pace.poll() * 2).await;
                }
                error if error.came_before_the_call() => return Seen::NotSent(chain(error)),
                TalosError::Denied { .. }
                | TalosError::NotFound { .. }
                | TalosError::Unimplemented { .. }
                | TalosError::Failed { .. } => return Seen::Refused(chain(&error)),
                _ => return Seen::Lost(chain(&error)),
            }
        }
    }

    /// Waits until Talos has rendered the config and its services are well.
    async fn watch(&self, watch: Watch) -> Seen {
        let which = match watch {
            Watch::Original => Which::Old,
            Watch::Strict => Which::Strict,
            Watch::Wanted | Watch::Committed | Watch::Rebooted => Which::Wanted,
        };
        let (Some(before), Some(now)) = (self.text(Which::Old), self.text(which)) else {
            return Seen::Failed("there is no such config".to_owned());
        };
        self.rendered(before, now).await
    }

    pub(super) async fn rendered(&self, before: &Secret<String>, now: &Secret<String>) -> Seen {
        let end = Instant::now() + self.crew.pace.settle;
        loop {
            let look = async {
                let flaws = match render_flaws(&self.node, before, now, &self.version).await {
                    Ok(flaws) if flaws.is_empty() => health_flaws(&self.node).await,
                    Ok(flaws) => flaws,
                    Err(error) => vec![chain(&error)],
                };
                if flaws.is_empty() { None } else { Some(flaws.join("; ")) }
            };
            let Some(why) = look.await else { return Seen::Well };
            if Instant::now() >= end {
                return Seen::Failed(why);
            }
            sleep(self.crew.pace.poll()).await;
        }
    }

    /// Tells what became of the node, here and in the journal.
    pub(super) fn done(&self, outcome: Outcome, started: Instant) -> Outcome {
        let written = self.crew.journal.add(Record::Done {
            node: self.name.clone(),
            outcome: outcome.as_str().to_owned(),
            reason: outcome.reason().map(str::to_owned),
        });
        if let Err(error) = written {
            self.crew.tell(&self.name, What::Notes { text: chain(&error) });
        }
        self.told(outcome, started)
    }

    /// Tells what became of the node, and leaves the journal as it is: what it knows of the node still holds.
    pub(super) fn told(&self, outcome: Outcome, started: Instant) -> Outcome {
        let (until, took) = (self.until, started.elapsed());
        self.crew.tell(&self.name, What::Done { outcome: outcome.clone(), until, took });
        outcome
    }
}

/// Returns what went wrong, if anything did.
fn trouble(seen: &Seen) -> Option<String> {
    match seen {
        Seen::Well | Seen::Runs(..) => None,
        Seen::Refused(reason) | Seen::Failed(reason) => Some(reason.clone()),
        Seen::NotSent(reason) => Some(format!("it was not reached: {reason}")),
        Seen::Lost(reason) => Some(format!("the answer is lost: {reason}")),
        Seen::Interrupted => Some("interrupted".to_owned()),
    }
}

/// What a node's route is when only its original is sent.
pub(super) const BARE: Route =
    Route { strict: Strict::None, probe: super::machine::Probe::None, reboot: Reboot::Never };
