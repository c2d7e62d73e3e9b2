#![expect(clippy::disallowed_methods, reason = "looks now and then which other members there are")]

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};
use url::Url;

use super::client::{Client, Part, PeerBody, PeerFault};
use super::gate::Member;
use super::leases::Leases;
use super::rendezvous::first;
use super::report::{MemberReport, Reach, ReplicaReport};
use super::roster::Roster;
use super::secrets::PeerSecrets;
use crate::cache::bucket::{Bucket, LeaseAnswer, Said};
use crate::cache::memory::locked;
use crate::image::Digest;

/// How often a member says in the bucket that it runs, and looks there who else does: each time costs requests.
const BEAT: Duration = Duration::from_mins(1);
/// For how long after its start it does so as often as it greets: caches that are started together find each other soon, and one that
/// is denied is told of.
const EARLY: Duration = Duration::from_mins(2);
/// How often it greets those that it knows, which costs the bucket nothing.
const GREETING: Duration = Duration::from_secs(10);
/// How soon it tries that again where the bucket does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the bucket may take to be told.
const PATIENCE: Duration = Duration::from_secs(2);
/// How old the mark of a member that runs may be, by a clock that may be another one.
const RECENT: Duration = Duration::from_mins(5);
/// How many marks that mean nothing any more are taken back each time, at once.
const WITHDRAWN: usize = 32;
/// How many marks of this member are remembered that may be in the bucket.
const MARKS: usize = 16;
/// How many members are greeted at once.
const GREETED: usize = 32;
/// How long a member may be silent until it is looked in the bucket whether it still fetches.
pub(super) const SILENT: Duration = Duration::from_secs(3);

/// The other caches on a bucket, and how they are asked; a copy is the same.
#[derive(Clone)]
pub struct Replicas(Arc<Inner>);

struct Inner {
    own: String,
    bucket: Bucket,
    client: Client,
    leases: Leases,
    roster: Mutex<Roster>,
    reach: Mutex<HashMap<String, Reach>>,
    /// A member that is not known has said that it is there.
    arrived: Notify,
    given: AtomicU64,
    /// What the bucket knows of this member; held while that changes.
    announced: tokio::sync::Mutex<Announced>,
}

/// What a bucket may know of this member.
#[derive(Debug, Default)]
struct Announced {
    /// The marks that may be in the bucket, the one that was set last at the end: it may take one without saying so in time.
    marks: Vec<String>,
    /// This member goes: it sets no more.
    is_closed: bool,
}

/// What came of asking one of the members that a bucket lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCheck {
    /// Its URL.
    pub url: String,
    /// Why it cannot be asked, if it cannot.
    pub failure: Option<String>,
}

/// Asks all members that a bucket lists whether they are there and take the secret; those that ended without a word some
/// time ago are left out.
pub async fn check(members: &[(String, String)], secrets: PeerSecrets) -> Result<Vec<MemberCheck>, String> {
    let client = Client::new(secrets)?;
    let now = jiff::Timestamp::now().as_microsecond();
    let is_recent =
        |mark: &str| mark.parse().is_ok_and(|mark: i64| u128::from(now.abs_diff(mark)) < RECENT.as_micros());
    let recent = members.iter().filter(|(_, mark)| is_recent(mark));
    let mut urls: Vec<&String> = recent.map(|(url, _)| url).collect();
    urls.dedup();
    let checks = urls.into_iter().map(async |url| {
        let failure = client.greet(url, None).await.err().map(|fault| fault.to_string());
        MemberCheck { url: url.clone(), failure }
    });
    let mut all: Vec<MemberCheck> = stream::iter(checks).buffer_unordered(GREETED).collect().await;
    all.sort_by(|a, b| a.url.cmp(&b.url));
    Ok(all)
}

impl Replicas {
    /// Makes it of a member's own URL and the secret of all members.
    ///
    /// Fails where no client can be made.
    pub fn new(own: &Url, secrets: PeerSecrets, bucket: Bucket) -> Result<Self, String> {
        let own = own.as_str().trim_end_matches('/').to_owned();
        Ok(Self(Arc::new(Inner {
            client: Client::new(secrets)?,
            leases: Leases::new(bucket.clone(), own.clone()),
            own,
            bucket,
            roster: Mutex::default(),
            reach: Mutex::default(),
            arrived: Notify::new(),
            given: AtomicU64::default(),
            announced: tokio::sync::Mutex::default(),
        })))
    }

    /// Returns this member's own URL.
    pub fn url(&self) -> &str {
        &self.0.own
    }

    /// Says that this member runs, and looks who else does; never ends.
    pub async fn run(self) {
        let start = Instant::now();
        loop {
            let said = self.announce().await;
            let wait = match (self.look().await, said) {
                (true, Said::Yes) if start.elapsed() < EARLY => GREETING,
                (true, Said::Yes) => BEAT,
                // One that takes no lists now is not to be asked more often for it.
                (false, Said::Yes) => GREETING,
                (_, Said::No) => AGAIN,
            };
            let next = Instant::now() + wait;
            while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                tokio::select! {
                    () = sleep(left.min(GREETING)) => {
                        if left > GREETING {
                            self.greet().await;
                        }
                    }
                    () = self.0.arrived.notified() => drop(self.look().await),
                }
            }
        }
    }

    async fn announce(&self) -> Said {
        let mark = format!("{:020}", jiff::Timestamp::now().as_microsecond());
        let mut announced = self.0.announced.lock().await;
        if announced.is_closed {
            return Said::Yes;
        }
        if announced.marks.len() == MARKS {
            announced.marks.remove(0);
        }
        announced.marks.push(mark.clone());
        let announcing = self.0.bucket.announce(&self.0.own, &mark);
        let said = timeout(PATIENCE, announcing).await.unwrap_or(Said::No);
        if said == Said::Yes {
            let before = std::mem::replace(&mut announced.marks, vec![mark]);
            self.withdraw(before.into_iter().filter(|before| !announced.marks.contains(before))).await;
        }
        said
    }

    /// Reads which members there are, and asks whether they can be reached; returns whether the bucket has said it.
    async fn look(&self) -> bool {
        let listed = self.0.bucket.members().await;
        let has_said = listed.is_some();
        if let Some(listed) = listed {
            let own_marks = self.0.announced.lock().await.marks.clone();
            let old = {
                let mut roster = locked(&self.0.roster);
                roster.note(&listed, Instant::now());
                roster.old(&listed, &self.0.own, &own_marks)
            };
            let withdrawn = old.into_iter().take(WITHDRAWN).map(|(url, mark)| async move {
                drop(timeout(PATIENCE, self.0.bucket.withdraw(&url, &mark)).await);
            });
            stream::iter(withdrawn).buffer_unordered(WITHDRAWN).collect::<()>().await;
        }
        self.greet().await;
        has_said
    }

    /// Asks the members that are known whether they can be reached.
    async fn greet(&self) {
        let others = locked(&self.0.roster).others(&self.0.own);
        locked(&self.0.reach).retain(|url, _| others.contains(url));
        let greeted = others.into_iter().map(|member| async move {
            let answered = self.0.client.greet(&member, Some(&self.0.own)).await;
            self.note_reach(&member, answered.err());
        });
        stream::iter(greeted).buffer_unordered(GREETED).collect::<()>().await;
    }

    /// Takes note of a member that has just said that it is there.
    pub(super) fn greeted(&self, url: &str) {
        if url == self.0.own {
            return;
        }
        let is_reached = locked(&self.0.reach).get(url) == Some(&Reach::Reached);
        if !is_reached || !locked(&self.0.roster).has(url) {
            self.0.arrived.notify_one();
        }
    }

    fn note_reach(&self, member: &str, fault: Option<PeerFault>) {
        let now = match fault {
            None => Reach::Reached,
            Some(fault) => Reach::Unreached(fault.to_string()),
        };
        let before = locked(&self.0.reach).insert(member.to_owned(), now.clone());
        if before.as_ref() != Some(&now) {
            match now {
                Reach::Unreached(why) => {
                    tracing::warn!(member, "another cache is not asked for a while: {why}");
                }
                Reach::Reached | Reach::Unknown => {
                    tracing::info!(member, "another cache can be asked");
                }
            }
        }
    }

    /// Says that this member goes.
    pub async fn close(&self) {
        let marks = {
            let mut announced = self.0.announced.lock().await;
            announced.is_closed = true;
            std::mem::take(&mut announced.marks)
        };
        self.withdraw(marks).await;
    }

    /// Takes marks of this member back.
    async fn withdraw(&self, marks: impl IntoIterator<Item = String>) {
        let withdrawn = marks.into_iter().map(|mark| async move {
            drop(timeout(PATIENCE, self.0.bucket.withdraw(&self.0.own, &mark)).await);
        });
        stream::iter(withdrawn).buffer_unordered(WITHDRAWN).collect::<()>().await;
    }

    /// Returns the other members, and what came of asking them.
    pub fn report(&self) -> ReplicaReport {
        let others = locked(&self.0.roster).others(&self.0.own);
        let reach = locked(&self.0.reach);
        let members = others.into_iter().map(|url| {
            let reach = reach.get(&url).cloned().unwrap_or(Reach::Unknown);
            MemberReport { url, reach }
        });
        let leases = self.0.leases.counts();
        ReplicaReport {
            url: self.0.own.clone(),
            members: members.collect(),
            given: self.0.given.load(Ordering::Relaxed),
            received_bytes: self.0.client.received(),
            leases: leases.taken,
            taken_over: leases.taken_over,
            without_lease: leases.without,
        }
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Returns the other member that is to fetch a blob, or [`None`] where this one is.
    pub(super) fn first(&self, digest: &Digest) -> Option<String> {
        let mut members: Vec<String> = {
            let reach = locked(&self.0.reach);
            let reached = reach.iter().filter(|(_, reach)| **reach == Reach::Reached);
            reached.map(|(url, _)| url.clone()).collect()
        };
        members.push(self.0.own.clone());
        first(&members, digest).filter(|member| **member != self.0.own).cloned()
    }

    /// Asks a member for a part of a blob, until `deadline` at most; one that does not answer and whose lease is not
    /// renewed is waited for no more.
    pub(super) async fn ask(
        &self,
        member: &str,
        asks: Member,
        part: Part<'_>,
        deadline: Instant,
    ) -> Result<PeerBody, PeerFault> {
        let asked = tokio::select! {
            asked = self.0.client.open(member, asks, part) => asked,
            () = sleep_until(deadline.into()) => Err(PeerFault::Late),
            () = self.is_silent(member, part.digest) => {
                Err(PeerFault::Silent)
            }
        };
        match &asked {
            Ok(_) => {
                self.0.given.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault @ PeerFault::Gone(_)) => self.note_reach(member, Some(fault.clone())),
            Err(PeerFault::Late | PeerFault::Silent | PeerFault::Denied(_) | PeerFault::WithoutIt(_)) => {}
        }
        asked
    }

    /// Waits until a member is known not to fetch a blob, by its lease; for ever where the bucket does not say.
    async fn is_silent(&self, member: &str, digest: &Digest) {
        let mut wait = SILENT;
        loop {
            sleep(wait).await;
            wait = match self.0.leases.look(digest).await {
                LeaseAnswer::Late | LeaseAnswer::Unable => SILENT,
                LeaseAnswer::No => return,
                LeaseAnswer::Yes(taken) => {
                    let left = taken.left(Instant::now());
                    let is_its = taken.lease.is_some_and(|lease| lease.url == member);
                    if !is_its || left.is_zero() {
                        return;
                    }
                    left
                }
            };
        }
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("own", &self.0.own).finish_non_exhaustive()
    }
}
