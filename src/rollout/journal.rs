use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::{Digest, Known};
use super::machine::{OnDisk, Sending, Which};

/// A line of the journal: when, and what. Every record holds names, digests and words only, never a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, as RFC 3339.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// What a journal tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Record {
    /// A rollout begins.
    Start {
        /// What it is called.
        id: String,
        /// Of which talmirror.
        version: String,
        /// The talosconfig's context.
        context: String,
        /// The fingerprint of the cluster's authority, which tells it from others; journals of old have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<String>,
        /// The nodes in the order in which they come.
        nodes: Vec<Address>,
    },
    /// It is taken up again.
    Resume,
    /// All of it is put back.
    Rollback,
    /// A node's original is saved, and what it will get is known.
    Node {
        /// Its name.
        node: String,
        /// The file that holds its original, beside the journal.
        file: String,
        /// The original's digest.
        before: String,
        /// The digest of the strict variant.
        strict: Option<String>,
        /// The digest of what it will get.
        wanted: String,
        /// Whether it is rebooted after the commit.
        reboots: bool,
    },
    /// A config is about to be sent.
    Send {
        /// To which node.
        node: String,
        /// What.
        what: String,
    },
    /// An image is about to be removed from a node, to be pulled again.
    Remove {
        /// From which node.
        node: String,
        /// Which image.
        image: String,
        /// Of which of containerd's namespaces: `system` or `cri`.
        instance: String,
    },
    /// A node is about to be rebooted.
    Reboot {
        /// Which.
        node: String,
    },
    /// Something was sent.
    Sent {
        /// To which node.
        node: String,
        /// What.
        what: String,
        /// `taken`, `refused`, `lost` or `not-sent`.
        result: String,
        /// Until when a trial lasts at most, as RFC 3339.
        until: Option<String>,
    },
    /// A node is done with.
    Done {
        /// Which.
        node: String,
        /// What became of it.
        outcome: String,
        /// Why.
        reason: Option<String>,
    },
    /// Nothing more is done.
    Finish {
        /// Whether every node is as it should be.
        complete: bool,
    },
}

/// A node and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A line is none of ours.
    #[error("line {line} is no record of a rollout")]
    Line {
        /// Which.
        line: usize,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// It does not say how the rollout began.
    #[error("it does not say how the rollout began")]
    NoStart,
}

/// What a journal says of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What it is called.
    pub id: String,
    /// The talosconfig's context.
    pub context: String,
    /// The fingerprint of the cluster's authority.
    pub cluster: Option<Digest>,
    /// The nodes in the order in which they came.
    pub nodes: Vec<Address>,
    /// What was done to them, by name.
    pub told: BTreeMap<String, NodeHistory>,
    /// Whether every node is as it should be.
    pub complete: bool,
    /// The numbers of lines that cannot be read: what they were to announce was not done.
    pub unreadable: Vec<usize>,
}

/// What a journal says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHistory {
    /// The file of the original to which a rollback goes, and its digest: the first one, or the first since another hand
    /// has changed it between two attempts.
    pub first: Option<(String, Digest)>,
    /// The file of the original of the last attempt.
    pub file: Option<String>,
    /// The configs of the last attempt.
    pub known: Option<Known>,
    /// The configs that any attempt since that original has given it, or was to: all of them are the rollout's own.
    pub ours: Vec<Digest>,
    /// What was sent last, whatever came of it.
    pub sent: Option<Sending>,
    /// When, where the journal's time can be read.
    pub sent_at: Option<Timestamp>,
    /// Whether it was to be rebooted after the commit.
    pub reboots: bool,
    /// Whether it was asked to reboot since.
    pub rebooted: bool,
    /// The images that were removed and may not have been pulled again, each with its namespace.
    pub removed: Vec<(String, String)>,
    /// What became of it.
    pub outcome: Option<String>,
}

impl NodeHistory {
    /// Returns whether a reboot was to follow the commit, and nothing tells that it has.
    fn wants_reboot(&self) -> bool {
        let open = matches!(self.outcome.as_deref(), None | Some("wants-reboot" | "unknown"));
        self.reboots && self.sent == Some(Sending::Commit) && open
    }
}

impl Line {
    /// Writes the line, its break included.
    pub fn to_text(&self) -> String {
        // Serialising names and words into memory cannot fail.
        serde_json::to_string(self).map(|text| text + "\n").unwrap_or_default()
    }
}

impl History {
    /// Reads a journal. The last line may be cut off: whoever wrote it died meanwhile, before doing what it announces.
    ///
    /// So may be one in the middle, where the disk was full for a while: nothing was done that could not be announced.
    pub fn parse(text: &str) -> Result<Self, JournalError> {
        let mut history = Self::default();
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        let mut started = false;
        let mut cut = None;
        for (at, text) in whole.lines().enumerate() {
            let line = at + 1;
            let Line { at, record } = match read(text) {
                Ok((whole, found)) => {
                    history.unreadable.extend((!whole).then_some(line));
                    found
                }
                // A record of another version is whole, and may be one that matters.
                Err(source) if source.is_data() => return Err(JournalError::Line { line, source }),
                Err(source) => {
                    cut.get_or_insert(JournalError::Line { line, source });
                    history.unreadable.push(line);
                    continue;
                }
            };
            cut = None;
            started |= matches!(record, Record::Start { .. });
            history.add(&at, record);
        }
        match cut {
            Some(error) => Err(error),
            None if started => Ok(history),
            None => Err(JournalError::NoStart),
        }
    }

    fn add(&mut self, at: &str, record: Record) {
        match record {
            Record::Start { id, context, cluster, nodes, .. } => {
                (self.id, self.context, self.nodes) = (id, context, nodes);
                self.cluster = cluster.as_deref().map(Digest::from_text);
            }
            Record::Resume | Record::Rollback => self.complete = false,
            Record::Node { node, file, before, strict, wanted, reboots } => {
                let told = self.told.entry(node).or_default();
                let before = Digest::from_text(&before);
                let is_ours = told.first.as_ref().is_some_and(|(_, first)| *first == before)
                    || told.ours.contains(&before);
                if !is_ours {
                    // Somebody else's change is not undone with ours.
                    told.first = Some((file.clone(), before.clone()));
                    told.ours.clear();
                }
                told.file = Some(file);
                let wanted = Digest::from_text(&wanted);
                let strict = strict.as_deref().map(Digest::from_text);
                told.ours.extend(strict.iter().chain([&wanted]).cloned());
                told.known = Some(Known { before, strict, wanted });
                (told.sent, told.outcome) = (None, None);
                (told.reboots, told.rebooted) = (reboots, false);
            }
            Record::Send { node, what } => {
                let told = self.told.entry(node).or_default();
                (told.sent, told.sent_at) = (Sending::find(&what), at.parse().ok());
                told.outcome = None;
            }
            Record::Reboot { node } => self.told.entry(node).or_default().rebooted = true,
            Record::Sent { .. } => {}
            Record::Remove { node, image, instance } => {
                self.told.entry(node).or_default().removed.push((image, instance));
            }
            Record::Done { node, outcome, .. } => {
                let told = self.told.entry(node).or_default();
                if outcome == "untouched" && told.outcome.is_some() {
                    // Nothing was sent: what became of it before still holds.
                    return;
                }
                if outcome != "unknown" {
                    told.removed.clear();
                }
                told.outcome = Some(outcome);
            }
            Record::Finish { complete } => self.complete = complete,
        }
    }
}

impl NodeHistory {
    /// Returns whether a node was seen to have one config or the other for good, so that it need not be asked.
    pub fn is_settled(&self) -> bool {
        self.sent.is_none() || matches!(self.outcome.as_deref(), Some("updated" | "unproven" | "reverted"))
    }

    /// Finds out whose a config is: the one from before the rollout, one of any of its attempts, or another.
    pub fn whose(&self, config: &Digest) -> Which {
        if self.first.as_ref().is_some_and(|(_, first)| first == config) {
            Which::Old
        } else if self.ours.contains(config) {
            Which::Wanted
        } else {
            Which::Other
        }
    }
}

/// Reads a line, and whether that is all of the line: the next line may follow on one that was cut off.
fn read(text: &str) -> Result<(bool, Line), serde_json::Error> {
    let error = match serde_json::from_str::<Line>(text) {
        Ok(line) => return Ok((true, line)),
        Err(error) => error,
    };
    // Within a string the quotes would be escaped.
    let last = text.rfind("{\"at\":").filter(|begin| *begin > 0).and_then(|begin| text.get(begin..));
    match last.map(serde_json::from_str::<Line>) {
        Some(Ok(line)) => Ok((false, line)),
        _ => Err(error),
    }
}

/// What an earlier run has left to do on a node, before anything new is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it has its old config, its new one, or somebody else's, and is planned for as any other.
    Nothing,
    /// The original has to be applied again: a trial may run.
    Revert,
    /// The commit has to be sent again: it may have been lost.
    Commit,
    /// The reboot after the commit has not come.
    Reboot,
    /// Nobody knows what a config is that came in the middle of it.
    Foreign,
}

impl Left {
    /// Returns whether something is sent to the node for it.
    pub fn sends(self) -> bool {
        matches!(self, Self::Revert | Self::Commit | Self::Reboot)
    }
}

/// Decides what is left to do on a node: by what it runs with first, and by the journal where that leaves it open.
///
/// After a boot, Talos does not tell a trial from a config that is on disk (`persistent` is not there): then the journal
/// says whether it was a trial or a commit that was under way.
pub fn left(told: &NodeHistory, active: Which, disk: OnDisk) -> Left {
    let (Some(sent), Some(_)) = (told.sent, &told.known) else { return Left::Nothing };
    let is = |outcome: &str| told.outcome.as_deref() == Some(outcome);
    let settled = matches!(
        told.outcome.as_deref(),
        Some("updated" | "unproven" | "wants-reboot" | "reverted" | "untouched" | "unchanged")
    );
    match (active, disk) {
        (Which::Other, _) | (_, OnDisk::Is(Which::Other)) if settled => Left::Nothing,
        (Which::Other, _) | (_, OnDisk::Is(Which::Other)) => Left::Foreign,
        (Which::Old, OnDisk::Is(Which::Old) | OnDisk::Unset | OnDisk::Hidden) => Left::Nothing,
        // What is on disk is told only of nodes that have not booted since.
        (Which::Wanted, OnDisk::Is(Which::Wanted)) if told.wants_reboot() => Left::Reboot,
        (Which::Wanted, OnDisk::Hidden) if told.wants_reboot() && !told.rebooted => Left::Reboot,
        (Which::Wanted, OnDisk::Is(Which::Wanted)) => Left::Nothing,
        (Which::Wanted, OnDisk::Unset | OnDisk::Hidden) if is("updated") || is("unproven") => Left::Nothing,
        (Which::Wanted, _) if sent == Sending::Commit => Left::Commit,
        (Which::Wanted | Which::Strict, _) => Left::Revert,
        (Which::Old, OnDisk::Is(Which::Strict | Which::Wanted)) => Left::Revert,
    }
}

/// Returns a name for the file of a node's original: the node's, made safe, and the beginning of the digest.
pub fn file_name(node: &str, before: &Digest, ending: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let name: String = node.trim_start_matches('.').chars().map(safe).collect();
    format!("{name}-{}.{ending}", before.as_str().get(..8).unwrap_or_default())
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
