//! Carries out the steps of one node.

#![expect(clippy::disallowed_methods, reason = "waits for a node, and dates what is done to it")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::context::{ControlPlaneNode, NodeJob, RolloutContext, Wanted};
use super::observe::{boot_mark, health_flaws, quorum_flaws, render_flaws, runs};
use crate::finding::one_line;
use crate::inventory::Role;
use crate::machineconfig::diff;
use crate::registries::TalosVersion;
use crate::rollout::event::EventKind;
use crate::rollout::health::Absence;
use crate::rollout::if_abandoned::{Beneath, IfAbandoned};
use crate::rollout::journal::Record;
use crate::rollout::outcome::Outcome;
use crate::rollout::plan::NodePlan;
use crate::rollout::state_machine::{
    Action, Checkpoint, NodeState, Probe, Reboot, Route, StepResult, Strict, TRIAL_ENDED, Variant,
};
use crate::rollout::step::ApplyStep;
use crate::rollout::variants::{ConfigDigest, VariantDigests, Variants, registries_of};
use crate::secret::Secret;
use crate::talos::{ConfigResource, Delivery, Instance, NodeClient, TalosError};

/// What two runs say that work on one node at the same time.
pub(super) const SAME_TIME: &str = "another operator or tool has applied a config at the same time";

/// What ends a trial before its time.
const REBOOTED: &str = "the node has rebooted in the middle of it";

/// A node that is worked on.
pub(in crate::rollout) struct NodeRunner {
    pub(super) context: Arc<RolloutContext>,
    pub(super) name: String,
    /// What the journal calls it.
    pub(super) kept_as: String,
    pub(super) node: NodeClient,
    pub(super) version: TalosVersion,
    pub(super) known: VariantDigests,
    /// What can be sent; [`None`] until the node was inspected.
    pub(in crate::rollout) configs: Option<Variants>,
    pub(super) trial: Option<Instant>,
    pub(in crate::rollout) until: Option<Timestamp>,
    /// Images that were on the node and were removed, so that pulling them proves something.
    pub(in crate::rollout) removed: Vec<(String, Instance)>,
    pub(super) boot: Option<String>,
    /// Whether mirrors have to prove themselves.
    requires_hit: bool,
    /// What is not proven though it was to be.
    pub(super) unproven: Vec<String>,
    /// Its role; as long as it is not known, the more careful one.
    pub(in crate::rollout) role: Role,
    pub(super) reverts: usize,
    /// Until when a trial or a commit whose answer is lost may still arrive.
    pub(super) may_land_until: Option<Instant>,
    /// Whether the answer to a commit is lost.
    pub(super) lost_commit: bool,
    /// How often the node's config was set since it booted, as it was read last outside a trial.
    pub(super) times_set: Option<u64>,
    /// How often this run may have set it since.
    pub(super) own_applies: u64,
    /// What tells the boot in which the work began from the next.
    began_in: Option<String>,
    /// Which config was on trial last.
    pub(super) tried: Option<Variant>,
    /// The config of another hand that was seen there last.
    foreign: Option<Secret<String>>,
}

/// Works on a node from its first step to its last.
pub(in crate::rollout) async fn work(context: Arc<RolloutContext>, job: NodeJob) -> Outcome {
    let started = Instant::now();
    let plan = &job.plan;
    let mut runner = NodeRunner::new(
        Arc::clone(&context),
        &job.name,
        &job.node,
        &plan.version,
        VariantDigests { original: plan.before.clone(), strict: None, desired: plan.before.clone() },
    );
    runner.role = plan.role;
    runner.kept_as.clone_from(&job.kept_as);
    (runner.requires_hit, runner.unproven) = (plan.requires_hit, plan.unproven.clone());
    if let Err(reason) = runner.gate(plan.role, plan.route).await {
        return runner.done(Outcome::Untouched { reason }, started);
    }
    runner.run(NodeState::new(plan.route), Some(plan), started).await
}

impl NodeRunner {
    pub(in crate::rollout) fn new(
        context: Arc<RolloutContext>,
        name: &str,
        node: &NodeClient,
        version: &TalosVersion,
        known: VariantDigests,
    ) -> Self {
        Self {
            context,
            name: name.to_owned(),
            kept_as: name.to_owned(),
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
            may_land_until: None,
            lost_commit: false,
            times_set: None,
            own_applies: 0,
            began_in: None,
            tried: None,
            foreign: None,
        }
    }

    /// Waits until the node may be touched.
    pub(super) async fn gate(&self, role: Role, route: Route) -> Result<(), String> {
        let may = self.wait_until_well(role, route).await;
        may.map_err(|why| {
            if self.context.is_stopping() { why } else { format!("it was not touched because {why}") }
        })
    }

    /// Waits until nothing speaks against what is to be done to the node; returns what does when the time is up.
    pub(super) async fn wait_until_well(&self, role: Role, route: Route) -> Result<(), String> {
        let end = Instant::now() + self.context.pace.settle;
        let mut control_plane = self.context.control_plane.clone();
        if control_plane.iter().all(|other| other.name != self.name) {
            let (name, node) = (self.name.clone(), self.node.clone());
            control_plane.push(ControlPlaneNode { name, node, health: Wanted::Well });
        }
        let mut last = String::new();
        loop {
            let look = async {
                let mut flaws = health_flaws(&self.node).await;
                if role == Role::ControlPlane {
                    let absence = match route.reboot {
                        Reboot::After | Reboot::Alone => Absence::Reboots,
                        Reboot::Never => Absence::Stays,
                    };
                    flaws.extend(quorum_flaws(&control_plane, absence).await);
                }
                flaws
            };
            let flaws = tokio::select! {
                biased;
                () = self.context.stopped() => return Err("interrupted".to_owned()),
                flaws = look => flaws,
            };
            if flaws.is_empty() {
                return Ok(());
            }
            let why = flaws.join("; ");
            if Instant::now() >= end {
                return Err(why);
            }
            if why != last {
                self.context.tell(&self.name, EventKind::Waits { why: why.clone() });
                last = why;
            }
            sleep(self.context.pace.poll()).await;
        }
    }

    /// Carries out step after step.
    pub(in crate::rollout) async fn run(
        mut self,
        mut state: NodeState,
        plan: Option<&NodePlan>,
        started: Instant,
    ) -> Outcome {
        loop {
            if let Action::End(outcome) = state.doing.clone() {
                let outcome = self.with_reboot(outcome, &state).await;
                self.tell_foreign(&outcome);
                let lost = self.restore_images(&outcome).await;
                let outcome = if self.requires_hit { outcome.unless_proven(&self.unproven) } else { outcome };
                return self.done(outcome.with_lost(&lost), started);
            }
            let Some(step) = state.doing.step() else { continue };
            let if_abandoned = state.if_abandoned();
            let until = self.until.filter(|_| if_abandoned.has_trial());
            self.context.tell(&self.name, EventKind::Begins { step, if_abandoned, until });
            let begun = Instant::now();
            let seen = self.step(&state, plan).await;
            let next = state.next(seen.clone());
            let trouble = trouble(&seen).or_else(|| {
                let turned = next.failure().filter(|_| {
                    matches!(
                        next.doing,
                        Action::Apply(ApplyStep::Revert) | Action::Confirm(ApplyStep::Revert)
                    )
                });
                turned.filter(|_| !matches!(seen, StepResult::Well)).map(str::to_owned)
            });
            self.context.tell(&self.name, EventKind::Ends { step, took: begun.elapsed(), trouble });
            state = next;
        }
    }

    /// Carries out one step, unless the user or the trial's clock ends it.
    async fn step(&mut self, state: &NodeState, plan: Option<&NodePlan>) -> StepResult {
        let action = state.doing.clone();
        let context = Arc::clone(&self.context);
        let in_trial = match &action {
            Action::Check(send) => send.is_trial(),
            Action::AwaitRendered(checkpoint) => checkpoint.in_trial(),
            Action::Pull(_) => true,
            Action::Confirm(send) => *send != ApplyStep::Revert,
            Action::Inspect | Action::Apply(_) | Action::Reboot | Action::AwaitBoot | Action::End(_) => false,
        };
        let deadline = self
            .trial
            .filter(|_| in_trial)
            .map(|begun| begun + context.pace.trial.saturating_sub(context.pace.margin()));
        let interruptible = action.is_interruptible();
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if interruptible && context.is_stopping() {
            return StepResult::Interrupted;
        }
        if is_over() {
            return trial_is_over(context.pace.trial);
        }
        // An answer that has arrived counts before the time that is over: this process may have slept.
        tokio::select! {
            biased;
            seen = self.act(&action, plan) => seen,
            () = context.stopped(), if interruptible => StepResult::Interrupted,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                trial_is_over(context.pace.trial)
            }
        }
    }

    async fn act(&mut self, action: &Action, plan: Option<&NodePlan>) -> StepResult {
        match action {
            Action::Inspect => match plan {
                Some(plan) => self.inspect(plan).await,
                None => StepResult::Failed("nothing was planned".to_owned()),
            },
            Action::Apply(send) => self.apply(*send).await,
            Action::Check(_) | Action::Confirm(_) => {
                if self.reverts > 0 && *action == Action::Confirm(ApplyStep::Revert) {
                    // It gets time to come back.
                    sleep(self.context.pace.settle / 3).await;
                }
                if let Some(end) = self.may_land_until.filter(|_| *action == Action::Check(ApplyStep::Revert))
                {
                    // A trial or a commit that was given up may still arrive, on top of the original.
                    sleep_until(end).await;
                }
                let on_trial = matches!(
                    action,
                    Action::Check(ApplyStep::TryStrict | ApplyStep::Try) | Action::Confirm(ApplyStep::Commit)
                );
                let seen = if on_trial { self.runs_on_trial().await } else { self.runs().await };
                if on_trial
                    && matches!(seen, StepResult::Runs(Variant::Original, _))
                    && self.has_rebooted().await
                {
                    return StepResult::Failed(REBOOTED.to_owned());
                }
                seen
            }
            Action::AwaitRendered(checkpoint) => {
                let seen = self.await_rendered(*checkpoint).await;
                if checkpoint.in_trial() && matches!(seen, StepResult::Failed(_)) {
                    // What is not rendered may not run any more.
                    let (runs, _) = runs(&self.node, &self.known, &self.version).await;
                    if matches!(runs, StepResult::Runs(Variant::Original, _)) {
                        return StepResult::Failed(TRIAL_ENDED.to_owned());
                    }
                }
                seen
            }
            Action::Pull(_) => self.pull().await,
            Action::Reboot => self.reboot().await,
            Action::AwaitBoot => self.await_boot().await,
            Action::End(_) => StepResult::Well,
        }
    }

    /// Reads the node's config once more, saves it, and makes what it will get of it.
    async fn inspect(&mut self, plan: &NodePlan) -> StepResult {
        let active = match self.node.active_config().await {
            Ok(active) => active.text,
            Err(error) => return StepResult::Failed(one_line(&error)),
        };
        match self.differs_from(plan).await {
            Ok(None) => {}
            Ok(Some(why)) => return StepResult::Failed(why),
            Err(error) => return StepResult::Failed(one_line(&error)),
        }
        let configs = match Variants::of(&active, &plan.wanted, &self.version, plan.proof()) {
            Ok(configs) => configs,
            Err(error) => return StepResult::Failed(error.to_string()),
        };
        let is_planned = ConfigDigest::of(&active) == plan.before;
        if !is_planned {
            // It is another than it was: only that it has what is wanted already is of interest.
            self.known.desired = ConfigDigest::of(&configs.desired);
            return self.runs().await;
        }
        if plan.route.reboot == Reboot::Alone {
            self.configs = Some(Variants { strict: None, desired: configs.original.clone(), ..configs });
            return self.runs().await;
        }
        self.known = configs.known();
        // Where it is not told, a reboot in the middle of it shows in what runs all the same.
        self.began_in = boot_mark(&self.node).await.ok().flatten();
        let seen = self.runs().await;
        if !matches!(seen, StepResult::Runs(Variant::Original, _)) {
            return seen;
        }
        let saved = self.context.journal.save(&self.kept_as, &active).and_then(|file| {
            self.context.journal.add(Record::Node {
                node: self.kept_as.clone(),
                file,
                before: self.known.original.clone(),
                strict: self.known.strict.clone(),
                wanted: self.known.desired.clone(),
                reboots: plan.route.reboot == Reboot::After,
                machine: plan.machine.clone(),
                nodename: plan.nodename.clone(),
            })
        });
        self.configs = Some(configs);
        match saved {
            Ok(()) => seen,
            Err(error) => StepResult::Failed(one_line(&error)),
        }
    }

    /// Returns what has become of the node since the plan was made that makes the plan another one.
    async fn differs_from(&self, plan: &NodePlan) -> Result<Option<String>, TalosError> {
        let tag = self.node.version().await?.tag;
        if tag != plan.tag {
            let text = format!("it has Talos {tag} by now, and had {} when this was planned", plan.tag);
            return Ok(Some(text));
        }
        let machine = self.node.machine_identity().await?;
        let is_other = matches!((&machine, &plan.machine), (Some(now), Some(then)) if now != then);
        Ok(is_other
            .then(|| "another machine answers by now at its address: the node was replaced".to_owned()))
    }

    pub(super) fn text(&self, which: Variant) -> Option<&Secret<String>> {
        let configs = self.configs.as_ref()?;
        match which {
            Variant::Original => Some(&configs.original),
            Variant::Strict => configs.strict.as_ref(),
            Variant::Desired => Some(&configs.desired),
            Variant::Foreign => None,
        }
    }

    /// Reads which config the node runs with, and keeps in mind how often it was set.
    pub(super) async fn runs(&mut self) -> StepResult {
        let (seen, active) = runs(&self.node, &self.known, &self.version).await;
        let times = active.as_ref().and_then(ConfigResource::times_set);
        // What is lost and arrives later is one of our own applies all the same.
        let may_land = self.may_land_until.is_some_and(|end| Instant::now() < end);
        if times.is_some() && !(may_land && self.times_set.is_some()) {
            (self.times_set, self.own_applies) = (times, 0);
        }
        self.keep_foreign(&seen, active);
        seen
    }

    /// Keeps the config of another hand, to tell what is in it.
    fn keep_foreign(&mut self, seen: &StepResult, active: Option<ConfigResource>) {
        if matches!(seen, StepResult::Runs(Variant::Foreign, _)) {
            self.foreign = active.map(|active| active.text);
        }
    }

    /// Returns whether the node has booted since the work began, as far as it tells.
    async fn has_rebooted(&self) -> bool {
        let Some(began) = &self.began_in else { return false };
        boot_mark(&self.node).await.ok().flatten().is_some_and(|now| now != *began)
    }

    /// Returns the outcome with what has really ended the work, where the node has rebooted in the middle of it unasked.
    async fn with_reboot(&self, mut outcome: Outcome, state: &NodeState) -> Outcome {
        // A node of which nothing is known may not answer, and what it has is told without delay.
        let patience =
            if matches!(outcome, Outcome::Unknown { .. }) { Duration::from_secs(2) } else { Duration::MAX };
        if let Outcome::Reverted { reason } | Outcome::Unknown { reason, .. } = &mut outcome
            && !state.was_asked_to_reboot()
            && !reason.contains(REBOOTED)
            && timeout(patience, self.has_rebooted()).await.unwrap_or(false)
        {
            *reason = format!("{REBOOTED}; {reason}");
        }
        outcome
    }

    /// Tells what another hand has on trial on the node, against what the node falls back to.
    fn tell_foreign(&self, outcome: &Outcome) {
        let Outcome::Unknown {
            if_abandoned: IfAbandoned::ForeignTrial(beneath) | IfAbandoned::MaybeForeignTrial(beneath),
            ..
        } = outcome
        else {
            return;
        };
        let beneath = match beneath {
            Beneath::Old => Variant::Original,
            Beneath::OursOnTrial => self.tried.unwrap_or(Variant::Desired),
            Beneath::New => Variant::Desired,
        };
        let (Some(beneath), Some(foreign)) = (self.text(beneath), &self.foreign) else { return };
        let changes = diff(&registries_of(beneath), &registries_of(foreign));
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let changes =
            if changes.is_empty() { "nothing in its registries".to_owned() } else { changes.join("; ") };
        let text =
            format!("against what it falls back to, the other operator's or tool's config has: {changes}");
        self.context.tell(&self.name, EventKind::Notes { text });
    }

    /// Reads which config the node runs with during a trial: the same one may have been set by another, too.
    ///
    /// Two runs that want the same send the same bytes. If both send their trial within one round trip, that of the second goes
    /// back to that of the first; only the number of times that the config was set tells. Both then put the old config back.
    pub(super) async fn runs_on_trial(&mut self) -> StepResult {
        let most = self.times_set.map(|times| times.saturating_add(self.own_applies));
        let (seen, active) = runs(&self.node, &self.known, &self.version).await;
        let times = active.as_ref().and_then(ConfigResource::times_set);
        self.keep_foreign(&seen, active);
        let is_ours = matches!(seen, StepResult::Runs(Variant::Strict | Variant::Desired, _));
        if is_ours && times.zip(most).is_some_and(|(times, most)| times > most) {
            return StepResult::Failed(SAME_TIME.to_owned());
        }
        seen
    }

    /// Waits until Talos has rendered the config and its services are well.
    async fn await_rendered(&self, checkpoint: Checkpoint) -> StepResult {
        let which = match checkpoint {
            Checkpoint::Strict => Variant::Strict,
            Checkpoint::Desired | Checkpoint::Committed | Checkpoint::Rebooted => Variant::Desired,
        };
        let (Some(before), Some(now)) = (self.text(Variant::Original), self.text(which)) else {
            return StepResult::Failed("there is no such config".to_owned());
        };
        self.rendered(before, now).await
    }

    pub(in crate::rollout) async fn rendered(
        &self,
        before: &Secret<String>,
        now: &Secret<String>,
    ) -> StepResult {
        let end = Instant::now() + self.context.pace.settle;
        loop {
            let look = async {
                let flaws = match render_flaws(&self.node, before, now, &self.version).await {
                    Ok(flaws) if flaws.is_empty() => health_flaws(&self.node).await,
                    Ok(flaws) => flaws,
                    Err(error) => vec![one_line(&error)],
                };
                if flaws.is_empty() { None } else { Some(flaws.join("; ")) }
            };
            let Some(why) = look.await else { return StepResult::Well };
            if Instant::now() >= end {
                return StepResult::Failed(why);
            }
            sleep(self.context.pace.poll()).await;
        }
    }

    /// Tells what became of the node, here and in the journal.
    pub(in crate::rollout) fn done(&self, outcome: Outcome, started: Instant) -> Outcome {
        let written = self.context.journal.add(Record::Done {
            node: self.kept_as.clone(),
            outcome: outcome.kind(),
            reason: outcome.reason().map(str::to_owned),
        });
        if let Err(error) = written {
            self.context.tell(&self.name, EventKind::Notes { text: one_line(&error) });
        }
        self.report_end(outcome, started)
    }

    /// Tells what became of the node, and leaves the journal as it is: what that knows of the node still holds.
    pub(in crate::rollout) fn report_end(&self, outcome: Outcome, started: Instant) -> Outcome {
        let (until, took) = (self.until, started.elapsed());
        self.context.tell(&self.name, EventKind::Done { outcome: outcome.clone(), until, took });
        outcome
    }
}

impl StepResult {
    /// Makes one of an error of a call that changes the node.
    pub(super) fn of(error: &TalosError) -> Self {
        let text = one_line(error);
        match error.delivery() {
            Delivery::Refused => Self::Refused(text),
            Delivery::NotSent => Self::NotSent(text),
            Delivery::Lost => Self::Lost(text),
        }
    }
}

fn trial_is_over(trial: Duration) -> StepResult {
    StepResult::Failed(format!(
        "the trial's {} s are nearly over; --try-timeout or rollout.tryTimeout gives it more",
        trial.as_secs_f32()
    ))
}

/// Returns what went wrong, if anything did.
fn trouble(seen: &StepResult) -> Option<String> {
    match seen {
        StepResult::Well | StepResult::Runs(..) => None,
        StepResult::Refused(reason) | StepResult::Failed(reason) => Some(reason.clone()),
        StepResult::NotSent(reason) => Some(format!("it was not reached: {reason}")),
        StepResult::Lost(reason) => Some(format!("the answer is lost: {reason}")),
        StepResult::Interrupted => Some("interrupted".to_owned()),
    }
}

/// What a node's route is when only its original is sent.
pub(in crate::rollout) const BARE: Route =
    Route { strict: Strict::None, probe: Probe::None, reboot: Reboot::Never };
