#![expect(clippy::disallowed_methods, reason = "dates leases, and names downloads by chance")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::holding::Held;
use super::lease::{Lease, Taken};
use crate::cache::bucket::{Bucket, LeaseAnswer};
use crate::cache::memory::{BoundedMap, locked};
use crate::image::{Digest, RegistryHost};
use crate::secret::os_random;

/// For how long no lease is asked for after the bucket could not give one: a client waits each time.
const UNABLE_FOR: Duration = Duration::from_secs(5);
/// How often a lease is tried that comes and goes.
const TRIES: u32 = 3;
/// Of how many blobs it is remembered when the version of their lease was seen first.
const SEEN: usize = 4096;

/// The leases of a bucket, as one member takes them.
pub(super) struct Leases {
    bucket: Bucket,
    /// Where the others ask this member.
    own: String,
    /// When the bucket could not give one.
    unable: Mutex<Option<Instant>>,
    seen: Mutex<BoundedMap<Digest, (String, Instant)>>,
    taken: AtomicU64,
    taken_over: AtomicU64,
    without: AtomicU64,
}

/// What came of asking for a lease.
pub(super) enum Leased {
    /// It is this download's.
    Ours(Held),
    /// Another download has it.
    Others(Taken),
    /// The bucket cannot say: the blob is fetched without one.
    Unable,
}

/// How many leases were asked for since the start.
pub(super) struct LeaseCounts {
    pub(super) taken: u64,
    pub(super) taken_over: u64,
    pub(super) without: u64,
}

impl Leases {
    pub(super) fn new(bucket: Bucket, own: String) -> Self {
        Self {
            bucket,
            own,
            unable: Mutex::default(),
            seen: Mutex::new(BoundedMap::new(SEEN)),
            taken: AtomicU64::default(),
            taken_over: AtomicU64::default(),
            without: AtomicU64::default(),
        }
    }

    pub(super) fn counts(&self) -> LeaseCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LeaseCounts {
            taken: get(&self.taken),
            taken_over: get(&self.taken_over),
            without: get(&self.without),
        }
    }

    /// Takes the lease of a blob, or finds out who has it.
    pub(super) async fn take(&self, digest: &Digest, registry: &RegistryHost) -> Leased {
        let lease = self.lease(registry);
        for _ in 0..TRIES {
            if !self.is_able() {
                break;
            }
            match self.bucket.create_lease(digest, lease.write()).await {
                LeaseAnswer::Yes(version) => return self.ours(digest, lease, version),
                LeaseAnswer::Late => return self.late(digest, lease),
                LeaseAnswer::Unable => return self.unable(),
                LeaseAnswer::No => {}
            }
            match self.look(digest).await {
                LeaseAnswer::Yes(taken) => return Leased::Others(taken),
                LeaseAnswer::Late | LeaseAnswer::Unable => return self.unable(),
                // It was given back just now.
                LeaseAnswer::No => {}
            }
        }
        self.without()
    }

    /// Takes a lease over from a download that is gone.
    pub(super) async fn take_over(&self, digest: &Digest, registry: &RegistryHost, from: &Taken) -> Leased {
        let lease = self.lease(registry);
        match self.bucket.replace_lease(digest, lease.write(), &from.version).await {
            LeaseAnswer::Yes(version) => {
                self.taken_over.fetch_add(1, Ordering::Relaxed);
                self.ours(digest, lease, version)
            }
            LeaseAnswer::Late => self.late(digest, lease),
            LeaseAnswer::Unable => self.unable(),
            LeaseAnswer::No => self.take(digest, registry).await,
        }
    }

    /// Reads who has the lease of a blob.
    pub(super) async fn look(&self, digest: &Digest) -> LeaseAnswer<Taken> {
        match self.bucket.read_lease(digest).await {
            LeaseAnswer::Yes(stored) => {
                let since = {
                    let mut seen = locked(&self.seen);
                    match seen.get(digest) {
                        Some((version, since)) if version == stored.version => since,
                        Some(_) | None => {
                            let now = Instant::now();
                            seen.put(*digest, (stored.version.clone(), now), 1);
                            now
                        }
                    }
                };
                LeaseAnswer::Yes(Taken::read(stored, since))
            }
            LeaseAnswer::No => LeaseAnswer::No,
            LeaseAnswer::Late => LeaseAnswer::Late,
            LeaseAnswer::Unable => LeaseAnswer::Unable,
        }
    }

    fn lease(&self, registry: &RegistryHost) -> Lease {
        let mut random = [0; 8];
        os_random(&mut random);
        let nonce = format!("{:016x}", u64::from_le_bytes(random));
        Lease::new(self.own.clone(), registry.to_string(), nonce)
    }

    fn is_able(&self) -> bool {
        let is_paused = locked(&self.unable).is_some_and(|since| since.elapsed() < UNABLE_FOR);
        !is_paused && self.bucket.has_leases()
    }

    fn ours(&self, digest: &Digest, lease: Lease, version: String) -> Leased {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Leased::Ours(Held::begin(self.bucket.clone(), *digest, lease, Some(version)))
    }

    /// Goes on with a lease that the bucket has not given in time, and may write all the same: others then find who fetches.
    fn late(&self, digest: &Digest, lease: Lease) -> Leased {
        drop(self.unable());
        Leased::Ours(Held::begin(self.bucket.clone(), *digest, lease, None))
    }

    fn unable(&self) -> Leased {
        *locked(&self.unable) = Some(Instant::now());
        self.without()
    }

    /// Takes note that a blob is fetched without a lease.
    pub(super) fn without(&self) -> Leased {
        self.without.fetch_add(1, Ordering::Relaxed);
        Leased::Unable
    }
}
