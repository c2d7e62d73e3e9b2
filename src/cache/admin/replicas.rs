use serde::{Deserialize, Serialize};

use crate::cache::replica::{MemberReport, Reach, ReplicaReport};

/// The other caches on a bucket, and what came of asking them since the server started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct ReplicaState {
    /// Where the others ask this cache.
    pub(in crate::cache) url: String,
    /// The others.
    pub(in crate::cache) members: Vec<MemberState>,
    /// How many blobs, or rests of them, came from others.
    pub(in crate::cache) given: u64,
    /// How many bytes came from others.
    pub(in crate::cache) received_bytes: u64,
    /// How many blobs this cache fetched for all.
    pub(in crate::cache) leases: u64,
    /// How many of them in place of caches that were gone.
    pub(in crate::cache) taken_over: u64,
    /// How many blobs were fetched without a lease, as the bucket gave none in time, or the cache that has it gives nothing.
    pub(in crate::cache) without_lease: u64,
}

/// One of the other caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct MemberState {
    /// Its URL.
    pub(in crate::cache) url: String,
    /// Whether it answers.
    pub(in crate::cache) reached: bool,
    /// Why it is not asked, where it is not.
    pub(in crate::cache) trouble: Option<String>,
}

impl ReplicaState {
    /// Makes it of what is known of the others.
    pub(super) fn of(report: ReplicaReport) -> Self {
        Self {
            url: report.url,
            members: report.members.into_iter().map(MemberState::of).collect(),
            given: report.given,
            received_bytes: report.received_bytes,
            leases: report.leases,
            taken_over: report.taken_over,
            without_lease: report.without_lease,
        }
    }
}

impl MemberState {
    fn of(member: MemberReport) -> Self {
        let (reached, trouble) = match member.reach {
            Reach::Reached => (true, None),
            Reach::Unknown => (false, Some("it has not been asked yet".to_owned())),
            Reach::Unreached(why) => (false, Some(why)),
        };
        Self { url: member.url, reached, trouble }
    }
}
