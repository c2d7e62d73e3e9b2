//! Carries out a rollout: wave after wave; takes up one that was left; puts one back.

#![expect(clippy::disallowed_methods, reason = "waits between nodes")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::config::{Configs, Digest, Known};
use super::event::What;
use super::journal::{Left, NodeHistory, Record, left};
use super::journal_file::StoreError;
use super::look_client::{chain, health_flaws};
use super::machine::{Progress, Reboot, Route, Seen, Sending, Which};
use super::node_driver::{BARE, Crew, Hand, Subject, work};
use super::order::Wave;
use super::outcome::{ByItself, Outcome};
use crate::inventory::Role;
use crate::registries::TalosVersion;
use crate::secret::Secret;
use crate::sops::SopsError;
use crate::talos::{ConfigResource, Instance, MACHINE_TYPE, NodeClient, TalosError};

/// When a rollout ends before its last node.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How many nodes may fail before the rest is left alone.
    pub max_failures: usize,
    /// How long is waited between waves.
    pub pause: Duration,
    /// Whether these are all nodes of the journal.
    pub is_whole: bool,
}

/// What became of a rollout.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The nodes that were worked on, in the order in which they came.
    pub ended: Vec<(String, Outcome)>,
    /// The nodes whose turn did not come.
    pub left: Vec<String>,
    /// Whether the user wanted to stop.
    pub interrupted: bool,
}

impl Summary {
    /// Returns the nodes that ended in a certain way.
    pub fn named(&self, is: impl Fn(&Outcome) -> bool) -> Vec<&str> {
        self.ended.iter().filter(|(_, outcome)| is(outcome)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns whether every node is as it was meant to be.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.ended.iter().all(|(_, outcome)| outcome.is_well())
    }
}

/// Works on the nodes of one wave after the other, until all are done or too many have failed.
///
/// Nodes of one wave are worked on at once, and each is carried to its end; a node whose state is not known ends the
/// rollout, whatever the policy.
pub async fn roll(
    crew: &Arc<Crew>,
    waves: &[Wave],
    mut subjects: BTreeMap<String, Subject>,
    policy: Policy,
) -> Summary {
    let mut summary = Summary::default();
    let (mut failures, mut stopped) = (0, false);
    for (at, wave) in waves.iter().enumerate() {
        if at > 0 && !stopped && !policy.pause.is_zero() {
            tokio::select! {
                () = crew.stopped() => {}
                () = sleep(policy.pause) => {}
            }
        }
        summary.interrupted |= *crew.stop.borrow();
        if stopped || summary.interrupted {
            summary.left.extend(wave.nodes.iter().cloned());
            continue;
        }
        let mut tasks = JoinSet::new();
        for (at, name) in wave.nodes.iter().enumerate() {
            let Some(subject) = subjects.remove(name) else { continue };
            let (crew, name) = (Arc::clone(crew), name.clone());
            tasks.spawn(async move { (at, name, work(crew, subject).await) });
        }
        let mut ended = tasks.join_all().await;
        ended.sort_by_key(|(at, ..)| *at);
        for (_, name, outcome) in ended {
            failures += usize::from(!outcome.is_well());
            stopped |= matches!(outcome, Outcome::Unknown { .. });
            summary.ended.push((name, outcome));
        }
        stopped |= failures > policy.max_failures;
        summary.interrupted |= *crew.stop.borrow();
    }
    finish(crew, policy.is_whole && summary.is_complete());
    summary
}

fn finish(crew: &Crew, complete: bool) {
    if let Err(error) = crew.journal.add(Record::Finish { complete }) {
        crew.tell("", What::Notes { text: chain(&error) });
    }
}

/// Decrypts what a journal keeps.
pub type Decrypt<'a> = dyn Fn(&str) -> Result<Secret<String>, SopsError> + 'a;

/// What is read of a node before it is taken up again, or put back.
struct Found {
    version: TalosVersion,
    role: Role,
    active: Secret<String>,
    persistent: Option<ConfigResource>,
}

async fn find(node: &NodeClient) -> Result<Found, String> {
    let tag = node.version().await.map_err(|error| chain(&error))?.tag;
    let version = tag.parse::<TalosVersion>().map_err(|error| error.to_string())?;
    let found = async {
        let role = node.resource(MACHINE_TYPE).await?.and_then(|role| role.word().ok());
        let role = if role.as_deref() == Some("worker") { Role::Worker } else { Role::ControlPlane };
        let active = node.active_config().await?.text;
        let persistent = if version.has_persistent_config() { node.persistent_config().await? } else { None };
        Ok::<_, TalosError>((role, active, persistent))
    };
    let (role, active, persistent) = found.await.map_err(|error| chain(&error))?;
    Ok(Found { version, role, active, persistent })
}

impl Found {
    fn left(&self, told: &NodeHistory, known: &Known) -> Left {
        let disk = known.on_disk(self.persistent.as_ref(), &self.version);
        left(told, known.which(&self.active), disk)
    }

    /// Returns a node's original: from the node, if it has it, so that no key is needed; else from the journal.
    fn original(
        &self,
        crew: &Crew,
        file: &str,
        before: &Digest,
        decrypt: &Decrypt<'_>,
    ) -> Result<Secret<String>, StoreError> {
        let own = self.persistent.iter().map(|persistent| &persistent.text).chain([&self.active]);
        match own.into_iter().find(|text| Digest::of(text) == *before) {
            Some(text) => Ok(text.clone()),
            None => crew.journal.load(file, before, decrypt),
        }
    }
}

/// Reads what an earlier run has left to do on a node; nothing is sent to it.
pub async fn look(node: &NodeClient, told: &NodeHistory) -> Result<Left, String> {
    match &told.known {
        Some(known) if !told.is_settled() => Ok(find(node).await?.left(told, known)),
        _ => Ok(Left::Nothing),
    }
}

/// Brings a node that an earlier run has left in between to its old or its new config; [`None`]: there is nothing to do.
///
/// The node is believed more than the journal. `shown` is what [`look`] has found, and the user was asked about: nothing
/// else is sent. What cannot be found out, or has no original that can be read, is [`Outcome::Unknown`].
pub async fn settle(
    crew: &Arc<Crew>,
    name: &str,
    node: &NodeClient,
    told: &NodeHistory,
    shown: Result<Left, String>,
    decrypt: &Decrypt<'_>,
) -> Option<Outcome> {
    let (Some(known), Some(file), false) = (&told.known, &told.file, told.is_settled()) else {
        return None;
    };
    let started = Instant::now();
    let unknown = |reason: String| {
        let hand = Hand::new(Arc::clone(crew), name, node, &TalosVersion::minor(1, 14), known.clone());
        Some(hand.done(Outcome::Unknown { reason, by_itself: by_itself(told) }, started))
    };
    let shown = match shown {
        Ok(shown) => shown,
        Err(reason) => return unknown(reason),
    };
    let found = match find(node).await {
        Ok(found) => found,
        Err(reason) => return unknown(reason),
    };
    let mut hand = Hand::new(Arc::clone(crew), name, node, &found.version, known.clone());
    let left = found.left(told, known);
    if left.sends() && !shown.sends() {
        return unknown("it has changed since it was looked at, and nobody was asked about that".to_owned());
    }
    hand.role = found.role;
    hand.removed = removed(told);
    let may_have_booted = matches!(left, Left::Commit | Left::Nothing) && told.rebooted;
    if may_have_booted && told.reboots && told.sent == Some(Sending::Commit) && told.outcome.is_none() {
        let text = "it was to be rebooted after its commit, and nobody knows whether it was: see to it, for its \
                    credentials to reach pods' pulls";
        crew.tell(name, What::Notes { text: text.to_owned() });
    }
    let progress = match left {
        Left::Nothing => {
            hand.give_back_images(&Outcome::Unchanged).await;
            return None;
        }
        Left::Foreign => {
            let reason = "somebody else has applied another config in the middle of it".to_owned();
            let outcome = Outcome::Unknown { reason, by_itself: ByItself::Foreign };
            return Some(hand.done(outcome, started));
        }
        Left::Revert => Progress::reverting(BARE, "an earlier run was cut off"),
        Left::Commit => Progress::committing(BARE),
        Left::Reboot => Progress::rebooting(Route { reboot: Reboot::After, ..BARE }),
    };
    let before = match found.original(crew, file, &known.before, decrypt) {
        Ok(before) => before,
        Err(error) => return unknown(chain(&error)),
    };
    // Where it is committed, what runs is what is wanted.
    hand.configs = Some(Configs { before, is_strict: false, strict: None, wanted: found.active });
    Some(hand.run(progress, None, started).await)
}

/// Returns the images that an earlier run has removed and may not have pulled again.
fn removed(told: &NodeHistory) -> Vec<(String, Instance)> {
    let instance =
        |word: &str| [Instance::System, Instance::Cri].into_iter().find(|own| own.as_str() == word);
    told.removed.iter().filter_map(|(image, word)| Some((image.clone(), instance(word)?))).collect()
}

fn by_itself(told: &NodeHistory) -> ByItself {
    use super::outcome::Clock;
    match told.sent {
        None => ByItself::KeepsOld,
        Some(Sending::Try | Sending::TryStrict) => ByItself::GoesBack(Clock::Runs),
        Some(Sending::Commit) => ByItself::NewOrGoesBack,
        Some(Sending::PutBack | Sending::Revert) => ByItself::OldOrGoesBack(Clock::Runs),
    }
}

/// Puts a node back to what it had before the rollout, if it has what the rollout gave it, in whichever attempt.
///
/// That a node is not well is no reason to leave it with what may have made it so: it is only told. One that does not
/// answer, or whose original cannot be read, is left alone, and so is what the journal knows of it.
pub async fn restore(
    crew: &Arc<Crew>,
    name: &str,
    node: &NodeClient,
    told: &NodeHistory,
    decrypt: &Decrypt<'_>,
) -> Outcome {
    let started = Instant::now();
    let (Some(known), Some((file, before))) = (&told.known, &told.first) else {
        return Outcome::Unchanged;
    };
    let mut known = Known { before: before.clone(), ..known.clone() };
    let first = known.clone();
    let hand = |version: &TalosVersion, known: &Known| {
        Hand::new(Arc::clone(crew), name, node, version, known.clone())
    };
    let untouched = |reason: String| {
        hand(&TalosVersion::minor(1, 14), &first).told(Outcome::Untouched { reason }, started)
    };
    // Before the config is read: between that and the sending there is to be no time.
    let flaws = health_flaws(node).await;
    let found = match find(node).await {
        Ok(found) => found,
        Err(reason) => return untouched(reason),
    };
    if *crew.stop.borrow() {
        return untouched("interrupted".to_owned());
    }
    let active = Digest::of(&found.active);
    let disk = found.persistent.as_ref().map(|persistent| Digest::of(&persistent.text));
    match (told.whose(&active), disk.as_ref().map(|disk| told.whose(disk))) {
        (Which::Old, Some(Which::Old) | None) => {
            return hand(&found.version, &known).done(Outcome::Unchanged, started);
        }
        (Which::Other, _) | (_, Some(Which::Other)) => {
            let reason = "its config is neither the old nor the new one: it was changed since, and putting the old \
                          one back would undo that, too";
            return untouched(reason.to_owned());
        }
        (Which::Old, _) => known.wanted = disk.unwrap_or(active),
        (Which::Wanted | Which::Strict, _) => {
            // On disk there may be another of ours than the one that runs.
            known.strict = disk.filter(|disk| *disk != active && *disk != known.before);
            known.wanted = active;
        }
    }
    let original = match found.original(crew, file, &known.before, decrypt) {
        Ok(original) => original,
        Err(error) => return untouched(chain(&error)),
    };
    if !flaws.is_empty() {
        let text = format!("it is not well ({}); the old config is sent all the same", flaws.join("; "));
        crew.tell(name, What::Notes { text });
    }
    let mut hand = hand(&found.version, &known);
    hand.removed = removed(told);
    hand.configs = Some(Configs {
        before: original.clone(),
        is_strict: false,
        strict: None,
        wanted: found.active.clone(),
    });
    let looks = Hand::new(Arc::clone(crew), name, node, &found.version, known);
    let outcome = hand.run(Progress::restoring(BARE), None, started).await;
    if matches!(outcome, Outcome::Reverted { .. })
        && let Seen::Failed(why) = looks.rendered(&found.active, &original).await
    {
        crew.tell(name, What::Notes { text: format!("Talos has not rendered the old config yet: {why}") });
    }
    outcome
}

/// Ends a rollback: the journal tells that nothing of it is left to do.
pub fn finished(crew: &Crew, summary: &Summary) {
    finish(crew, summary.is_complete());
}
