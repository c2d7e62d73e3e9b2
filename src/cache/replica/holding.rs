#![expect(clippy::disallowed_methods, reason = "renews a lease while it is needed")]

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::lease::Lease;
use crate::cache::bucket::{Bucket, LeaseAnswer};
use crate::image::Digest;

/// How often a lease is renewed.
const RENEWED_AFTER: Duration = Duration::from_secs(3);
/// How often it is looked whether a blob that was fetched is in the bucket.
const LOOK: Duration = Duration::from_millis(200);
/// How long a lease is kept for a blob that was fetched and is to come into the bucket. Until then other members find it
/// by the lease.
const WRITTEN_WITHIN: Duration = Duration::from_mins(2);

/// After what times it is tried to give a lease back: at once, and again where the bucket does not answer.
const GIVEN_BACK: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4)];
/// The same for a lease that the bucket did not give in time, and may write later.
const GIVEN_BACK_LATE: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// The lease of a blob that this cache fetches. It is renewed as long as the value is there, and given back after.
#[derive(Debug)]
pub(super) struct Held(Option<oneshot::Sender<Fetched>>);

/// The blob was fetched and is kept here.
#[derive(Clone, Copy, Debug)]
struct Fetched;

impl Held {
    /// Begins to renew a lease that was taken. One without a version was not given in time: it is looked for, and renewed
    /// where the bucket has written it all the same.
    pub(super) fn begin(bucket: Bucket, digest: Digest, lease: Lease, version: Option<String>) -> Self {
        let (end, ended) = oneshot::channel();
        let kept = Kept { bucket, digest, lease, version, confirmed: Instant::now() };
        tokio::spawn(kept.run(ended));
        Self(Some(end))
    }

    /// Keeps the lease until the blob, which is kept here, is in the bucket, too.
    pub(super) fn until_written(mut self) {
        if let Some(end) = self.0.take() {
            // The other side waits for it.
            let _ = end.send(Fetched);
        }
    }
}

/// A lease, and what is known of it.
struct Kept {
    bucket: Bucket,
    digest: Digest,
    lease: Lease,
    /// Its version, where the bucket has said it.
    version: Option<String>,
    /// When the bucket said last that it is this cache's.
    confirmed: Instant,
}

/// Whose a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    Others,
}

impl Kept {
    async fn run(mut self, mut ended: oneshot::Receiver<Fetched>) {
        let is_fetched = loop {
            tokio::select! {
                ended = &mut ended => break ended.is_ok(),
                () = sleep(RENEWED_AFTER) => {
                    if self.renew().await == Whose::Others {
                        return;
                    }
                }
            }
        };
        let begun = Instant::now();
        while is_fetched && begun.elapsed() < WRITTEN_WITHIN && !self.bucket.is_written(&self.digest) {
            sleep(LOOK).await;
            if self.confirmed.elapsed() >= RENEWED_AFTER && self.renew().await == Whose::Others {
                return;
            }
        }
        let waits = if self.version.is_some() { GIVEN_BACK } else { GIVEN_BACK_LATE };
        give_back(&self.bucket, &self.digest, &self.lease, &waits).await;
    }

    async fn renew(&mut self) -> Whose {
        let Some(version) = &self.version else { return self.look().await };
        self.lease = self.lease.clone().renewed();
        match self.bucket.replace_lease(&self.digest, self.lease.write(), version).await {
            LeaseAnswer::Yes(version) => self.confirm(version),
            LeaseAnswer::No => self.look().await,
            LeaseAnswer::Late | LeaseAnswer::Unable => Whose::Ours,
        }
    }

    fn confirm(&mut self, version: String) -> Whose {
        (self.version, self.confirmed) = (Some(version), Instant::now());
        Whose::Ours
    }

    /// Reads whose the lease is that has another version than was expected.
    async fn look(&mut self) -> Whose {
        match self.bucket.read_lease(&self.digest).await {
            // A renewal came too late for this cache to hear of it.
            LeaseAnswer::Yes(stored) if self.lease.is_in(&stored) => self.confirm(stored.version),
            // It may be written yet.
            LeaseAnswer::No if self.version.is_none() => Whose::Ours,
            // Another member has taken it over: this one goes on with what it has begun.
            LeaseAnswer::Yes(_) | LeaseAnswer::No => Whose::Others,
            LeaseAnswer::Late | LeaseAnswer::Unable => Whose::Ours,
        }
    }
}

/// Gives a lease back where it is still of this download: meanwhile it may be another one's.
async fn give_back(bucket: &Bucket, digest: &Digest, lease: &Lease, waits: &[Duration]) {
    for wait in waits {
        sleep(*wait).await;
        match bucket.read_lease(digest).await {
            LeaseAnswer::Yes(stored) if lease.is_in(&stored) => match bucket.remove_lease(digest).await {
                LeaseAnswer::Yes(()) | LeaseAnswer::No => return,
                LeaseAnswer::Late | LeaseAnswer::Unable => {}
            },
            LeaseAnswer::Yes(_) => return,
            LeaseAnswer::No | LeaseAnswer::Late | LeaseAnswer::Unable => {}
        }
    }
}
