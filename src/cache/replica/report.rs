/// The other caches on a bucket, and what came of asking them since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaReport {
    /// Where the others ask this cache.
    pub url: String,
    /// The others, in the order of their URLs.
    pub members: Vec<MemberReport>,
    /// How many blobs, or rests of them, came from others.
    pub given: u64,
    /// How many bytes came from others.
    pub received_bytes: u64,
    /// How many leases were taken: blobs that this cache fetched for all.
    pub leases: u64,
    /// How many of them were taken over from caches that were gone.
    pub taken_over: u64,
    /// How many blobs were fetched without a lease, as the bucket gave none in time, or the cache that has it gives nothing.
    pub without_lease: u64,
}

/// One of the other caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// Its URL.
    pub url: String,
    /// Whether it can be asked.
    pub reach: Reach,
}

/// Whether another cache can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It has not been asked yet.
    Unknown,
    /// It answers.
    Reached,
    /// It does not, and why.
    Unreached(String),
}

impl ReplicaReport {
    /// Returns how many of the others can be asked.
    pub fn reached(&self) -> usize {
        self.members.iter().filter(|member| member.reach == Reach::Reached).count()
    }

    /// Returns what is wrong, in a line for operators; [`None`] where nothing is.
    pub fn trouble(&self) -> Option<String> {
        let mut unreached = self.members.iter().filter_map(|member| match &member.reach {
            Reach::Unreached(why) => Some((&member.url, why)),
            Reach::Unknown | Reach::Reached => None,
        });
        let (url, why) = unreached.next()?;
        let more = match unreached.count() {
            0 => String::new(),
            count => format!("; and {count} more"),
        };
        Some(format!("the cache at {url} is not asked: {why}{more}"))
    }
}
