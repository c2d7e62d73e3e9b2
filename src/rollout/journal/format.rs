use serde::{Deserialize, Serialize};

use crate::rollout::outcome::OutcomeKind;
use crate::rollout::step::{ApplyResult, ApplyStep};
use crate::rollout::variants::ConfigDigest;
use crate::talos::Instance;

/// A line of the journal: when, and what. Every record holds names, digests and words only, never a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
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
        cluster: Option<ConfigDigest>,
        /// The nodes in the order in which they come.
        nodes: Vec<Address>,
    },
    /// It is resumed.
    Resume {
        /// The fingerprint of the cluster's authority by now, which is another where the authority was rotated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<ConfigDigest>,
    },
    /// All of it is put back.
    Rollback {
        /// The fingerprint of the cluster's authority by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<ConfigDigest>,
    },
    /// A node's original is saved, and what it will get is known.
    Node {
        /// Its name.
        node: String,
        /// The file that holds its original, beside the journal.
        file: String,
        /// The original's digest.
        before: ConfigDigest,
        /// The digest of the strict variant.
        strict: Option<ConfigDigest>,
        /// The digest of what it will get.
        wanted: ConfigDigest,
        /// Whether it is rebooted after the commit.
        reboots: bool,
        /// Which machine it is, as it says itself; journals of old do not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine: Option<String>,
        /// What it is called in Kubernetes, which tells it where the machine does not; journals of old do not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nodename: Option<String>,
    },
    /// A config is about to be sent.
    Send {
        /// To which node.
        node: String,
        /// What.
        what: ApplyStep,
        /// Until when it may arrive, as RFC 3339, where nothing tells what came of it; journals of old do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arrives: Option<String>,
    },
    /// An image is about to be removed from a node, to be pulled again.
    Remove {
        /// From which node.
        node: String,
        /// Which image.
        image: String,
        /// Of which of containerd's namespaces.
        instance: Instance,
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
        what: ApplyStep,
        /// What came of it.
        result: ApplyResult,
        /// Until when a trial lasts at most, as RFC 3339.
        until: Option<String>,
        /// Until when it may still arrive, as RFC 3339, where its answer is lost; journals of old do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arrives: Option<String>,
    },
    /// A node is done with.
    Done {
        /// Which.
        node: String,
        /// What became of it.
        outcome: OutcomeKind,
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
    /// The config that it had when the rollout began, and the one that it was to have; journals of old do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<(ConfigDigest, ConfigDigest)>,
    /// How the inventory knew it; journals of old do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownBy>,
}

/// How an inventory knows a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownBy {
    /// It lists it.
    Listed,
    /// A group has its address or its role, or every node gets the same.
    Group,
    /// It does not know it; its user wanted it all the same.
    Nothing,
}

impl Address {
    /// Returns whether the inventory listed the node. Journals of old do not tell: there, a node with a name was listed.
    pub fn was_listed(&self) -> bool {
        match self.known {
            Some(KnownBy::Listed) => true,
            Some(KnownBy::Group | KnownBy::Nothing) => false,
            None => self.name != self.address,
        }
    }
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A line is not a record that this talmirror knows.
    #[error("line {line} is not a record of a rollout")]
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

impl Entry {
    /// Writes the line, its break included.
    pub fn to_text(&self) -> String {
        // Serialising names and words into memory cannot fail.
        serde_json::to_string(self).map(|text| text + "\n").unwrap_or_default()
    }
}
