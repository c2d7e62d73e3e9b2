use std::collections::BTreeMap;

use jiff::Timestamp;

use super::format::{Address, Entry, JournalError, Record};
use crate::rollout::if_abandoned::SentConfigs;
use crate::rollout::outcome::OutcomeKind;
use crate::rollout::state_machine::Variant;
use crate::rollout::step::ApplyStep;
use crate::rollout::variants::{ConfigDigest, VariantDigests};
use crate::talos::{Identity, Instance};

/// What a journal says of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What it is called.
    pub id: String,
    /// When it began, where the journal's time can be read.
    pub began: Option<Timestamp>,
    /// The talosconfig's context.
    pub context: String,
    /// The fingerprints of the cluster's authority: of the one that it had when the rollout began, and of later ones.
    pub clusters: Vec<ConfigDigest>,
    /// The nodes in the order in which they came.
    pub nodes: Vec<Address>,
    /// What was done to them, by name.
    pub by_node: BTreeMap<String, NodeHistory>,
    /// Whether every node is as it should be.
    pub complete: bool,
    /// Whether it was rolled back since it was run last.
    pub rolled_back: bool,
    /// The numbers of lines that cannot be read: what they were to announce was not done.
    pub unreadable: Vec<usize>,
}

/// What a journal says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHistory {
    /// The file of the original to which a rollback goes, and its digest: the first one, or the first since another runner
    /// has changed it between two attempts.
    pub first: Option<(String, ConfigDigest)>,
    /// The file of the original of the last attempt.
    pub file: Option<String>,
    /// The configs of the last attempt.
    pub known: Option<VariantDigests>,
    /// The configs that any attempt since that original has given it, or was to: all of them are the rollout's own.
    pub ours: Vec<ConfigDigest>,
    /// What was sent last, whatever came of it.
    pub sent: Option<ApplyStep>,
    /// When, where the journal's time can be read.
    pub sent_at: Option<Timestamp>,
    /// All that was sent, and what came of it.
    pub all_sent: SentConfigs,
    /// Until when the last trial lasts at most, where one was sent.
    pub until: Option<Timestamp>,
    /// Until when what was sent, and has lost its answer, may still arrive.
    pub(in crate::rollout) lost_arrives: Option<Timestamp>,
    /// Until when what was sent last may arrive, as long as nothing tells what came of it.
    pub(in crate::rollout) open_arrives: Option<Timestamp>,
    /// Whether it was to be rebooted after the commit.
    pub reboots: bool,
    /// Which machine it was, as it said itself.
    pub machine: Option<String>,
    /// What it was called in Kubernetes.
    pub nodename: Option<String>,
    /// Whether it was asked to reboot since.
    pub rebooted: bool,
    /// The images that were removed and may not have been pulled again, each with its namespace.
    pub removed: Vec<(String, Instance)>,
    /// What became of it.
    pub outcome: Option<OutcomeKind>,
    /// Why.
    pub reason: Option<String>,
}

/// How a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryState {
    /// Every node has its new config.
    Complete,
    /// Every node has its old config again.
    RolledBack,
    /// A node was left in between, has failed, or its turn has not come.
    Unfinished,
}

impl HistoryState {
    /// Returns the words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::RolledBack => "rolled back",
            Self::Unfinished => "unfinished",
        }
    }
}

/// What a node says that tells whether a journal is about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Which machine it is.
    pub machine: Option<String>,
    /// The digests of the configs that it runs with and has on disk.
    pub configs: Vec<ConfigDigest>,
}

impl NodeHistory {
    /// Returns whether it is about a machine, as far as both say which one it is.
    pub fn is_of(&self, identity: &Identity) -> Option<bool> {
        let same = |one: &Option<String>, other: &Option<String>| Some(one.as_ref()? == other.as_ref()?);
        same(&self.machine, &identity.machine).or(same(&self.nodename, &identity.nodename))
    }

    fn is_proven_by(&self, node: &Witness) -> bool {
        let is_same = self.machine.is_some() && self.machine == node.machine;
        let known = |config| self.whose(config) != Variant::Foreign;
        is_same || node.configs.iter().any(known)
    }

    /// Returns whether it has its old config, as far as the journal tells: a rollback has nothing to do there.
    pub(super) fn has_old(&self) -> bool {
        let back = matches!(self.outcome, Some(OutcomeKind::Reverted | OutcomeKind::Unchanged));
        back || self.known.is_none()
    }

    /// Returns whether a reboot was to follow the commit, and nothing tells that it has.
    pub(super) fn wants_reboot(&self) -> bool {
        let open = match self.outcome {
            None | Some(OutcomeKind::WantsReboot | OutcomeKind::Unknown) => true,
            Some(
                OutcomeKind::Updated
                | OutcomeKind::Unproven
                | OutcomeKind::Unchanged
                | OutcomeKind::Untouched
                | OutcomeKind::Reverted,
            ) => false,
        };
        self.reboots && self.sent == Some(ApplyStep::Commit) && open
    }
}

impl History {
    /// Reads a journal. The last line may be cut off: the run that wrote it died meanwhile, before doing what it announces.
    ///
    /// So may be one in the middle, where the disk was full for a while: nothing was done that could not be announced.
    pub fn parse(text: &str) -> Result<Self, JournalError> {
        let mut all = Self::default();
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        let mut started = false;
        let mut cut = None;
        for (at, text) in whole.lines().enumerate() {
            let line = at + 1;
            let Entry { at, record } = match read(text) {
                Ok((whole, found)) => {
                    all.unreadable.extend((!whole).then_some(line));
                    found
                }
                // A record of another version is whole, and may be one that matters.
                Err(source) if source.is_data() => return Err(JournalError::Line { line, source }),
                Err(source) => {
                    cut.get_or_insert(JournalError::Line { line, source });
                    all.unreadable.push(line);
                    continue;
                }
            };
            cut = None;
            started |= matches!(record, Record::Start { .. });
            all.add(&at, record);
        }
        match cut {
            Some(error) => Err(error),
            None if started => Ok(all),
            None => Err(JournalError::NoStart),
        }
    }

    /// Returns how it stands.
    pub fn state(&self) -> HistoryState {
        if self.rolled_back && self.by_node.values().all(NodeHistory::has_old) {
            HistoryState::RolledBack
        } else if self.complete {
            HistoryState::Complete
        } else {
            HistoryState::Unfinished
        }
    }

    /// Returns whether a node's config was kept before another was sent to it.
    pub fn has_original_of(&self, node: &str) -> bool {
        self.by_node.get(node).is_some_and(|history| history.known.is_some())
    }

    /// Returns the name under which a machine was worked on, the last one where it has had several.
    pub fn name_of(&self, identity: &Identity) -> Option<&str> {
        let own = self.by_node.iter().filter(|(_, history)| history.is_of(identity) == Some(true));
        own.max_by_key(|(_, history)| history.sent_at).map(|(name, _)| name.as_str())
    }

    /// Returns the word for what became of a node.
    pub fn outcome_of(&self, node: &str) -> &'static str {
        match self.by_node.get(node) {
            Some(NodeHistory { outcome: Some(outcome), .. }) => outcome.as_str(),
            // It had its config when the rollout was resumed, and nothing more was noted.
            Some(_) if self.complete => OutcomeKind::Unchanged.as_str(),
            Some(history) if history.sent.is_some() || history.rebooted => "cut off",
            Some(_) | None => "not begun",
        }
    }

    /// Returns whether a node proves that the rollout was one of its cluster: it is the machine that the journal has at its
    /// address, or has one of the configs that the journal knows of it.
    pub fn is_proven_by(&self, nodes: &[Witness]) -> bool {
        nodes.iter().any(|node| {
            let told = self.nodes.iter().find(|told| told.address == node.address || told.name == node.name);
            let history = told.and_then(|told| self.by_node.get(&told.name));
            let has_machine =
                |history: &NodeHistory| node.machine.is_some() && history.machine == node.machine;
            self.by_node.values().any(has_machine)
                || history.is_some_and(|history| history.is_proven_by(node))
        })
    }

    /// Takes note that what was sent until now has arrived or cannot any more: a run that goes on waits for it first.
    fn has_arrived(&mut self) {
        for told in self.by_node.values_mut() {
            (told.lost_arrives, told.open_arrives) = (None, None);
        }
    }

    fn add(&mut self, at: &str, record: Record) {
        match record {
            Record::Start { id, context, cluster, nodes, .. } => {
                (self.id, self.context, self.nodes) = (id, context, nodes);
                self.began = at.parse().ok();
                self.clusters = cluster.into_iter().collect();
            }
            Record::Resume { cluster } => {
                (self.complete, self.rolled_back) = (false, false);
                self.clusters.extend(cluster);
                self.has_arrived();
            }
            Record::Rollback { cluster } => {
                (self.complete, self.rolled_back) = (false, true);
                self.clusters.extend(cluster);
                self.has_arrived();
            }
            Record::Node { node, file, before, strict, wanted, reboots, machine, nodename } => {
                let history = self.by_node.entry(node).or_default();
                let is_ours = history.first.as_ref().is_some_and(|(_, first)| *first == before)
                    || history.ours.contains(&before);
                if !is_ours {
                    // The change of another operator or tool is not undone with ours.
                    history.first = Some((file.clone(), before.clone()));
                    history.ours.clear();
                }
                history.file = Some(file);
                history.ours.extend(strict.iter().chain([&wanted]).cloned());
                history.known = Some(VariantDigests { original: before, strict, desired: wanted });
                (history.sent, history.outcome, history.reason) = (None, None, None);
                (history.all_sent, history.until) = (SentConfigs::default(), None);
                (history.reboots, history.rebooted) = (reboots, false);
                (history.machine, history.nodename) = (machine, nodename);
            }
            Record::Send { node, what, arrives } => {
                let history = self.by_node.entry(node).or_default();
                // One that has no result when the next is sent may arrive all the same.
                history.lost_arrives = history.may_arrive_until();
                history.open_arrives = time(arrives);
                (history.sent, history.sent_at) = (Some(what), at.parse().ok());
                history.all_sent.send(what);
                (history.outcome, history.reason) = (None, None);
            }
            Record::Reboot { node } => self.by_node.entry(node).or_default().rebooted = true,
            Record::Sent { node, what, result, until, arrives } => {
                let history = self.by_node.entry(node).or_default();
                history.all_sent.sent(what, result);
                history.open_arrives = None;
                history.lost_arrives = history.lost_arrives.max(time(arrives));
                if what.is_trial() {
                    history.until = time(until);
                }
            }
            Record::Remove { node, image, instance } => {
                self.by_node.entry(node).or_default().removed.push((image, instance));
            }
            Record::Done { node, outcome, reason } => {
                let history = self.by_node.entry(node).or_default();
                if outcome == OutcomeKind::Untouched && history.outcome.is_some() {
                    // Nothing was sent: what became of it before still holds.
                    return;
                }
                if outcome != OutcomeKind::Unknown {
                    history.removed.clear();
                }
                (history.outcome, history.reason) = (Some(outcome), reason);
            }
            Record::Finish { complete } => self.complete = complete,
        }
    }
}

impl NodeHistory {
    /// Returns whether a node was seen to have one config or the other for good, so that it need not be asked.
    pub fn is_settled(&self) -> bool {
        let settled = match self.outcome {
            Some(OutcomeKind::Updated | OutcomeKind::Unproven | OutcomeKind::Reverted) => true,
            Some(
                OutcomeKind::WantsReboot
                | OutcomeKind::Unchanged
                | OutcomeKind::Untouched
                | OutcomeKind::Unknown,
            )
            | None => false,
        };
        self.sent.is_none() || settled
    }

    /// Returns until when something that was sent may still arrive, as far as the journal tells.
    pub fn may_arrive_until(&self) -> Option<Timestamp> {
        self.lost_arrives.max(self.open_arrives)
    }

    /// Finds out whose a config is: the one from before the rollout, one of any of its attempts, or another.
    pub fn whose(&self, config: &ConfigDigest) -> Variant {
        if self.first.as_ref().is_some_and(|(_, first)| first == config) {
            Variant::Original
        } else if self.ours.contains(config) {
            Variant::Desired
        } else {
            Variant::Foreign
        }
    }
}

fn time(text: Option<String>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// Reads a line, and whether that is all of the line: the next line may follow on one that was cut off.
fn read(text: &str) -> Result<(bool, Entry), serde_json::Error> {
    let error = match serde_json::from_str::<Entry>(text) {
        Ok(line) => return Ok((true, line)),
        Err(error) => error,
    };
    // Within a string the quotes would be escaped.
    let last = text.rfind("{\"at\":").filter(|begin| *begin > 0).and_then(|begin| text.get(begin..));
    match last.map(serde_json::from_str::<Entry>) {
        Some(Ok(line)) => Ok((false, line)),
        _ => Err(error),
    }
}
