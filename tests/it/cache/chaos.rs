//! A storm: of twenty repositories on three hosts a tenth is ill at any time, in any way. Those that are well do not
//! notice, and those that were ill are well again soon.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cache_process::{Cache, Start};
use crate::fake_upstream::{Act, Upstream, noise};

const REPOSITORIES: usize = 20;
const HOSTS: usize = 3;
const CLIENTS: usize = 8;

/// Numbers that look like chance and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// When a repository was ill last: since when, and until when.
#[derive(Clone, Copy, Default)]
struct Ill {
    since: Option<Instant>,
    until: Option<Instant>,
}

struct Storm {
    cache: Cache,
    hosts: Vec<Upstream>,
    ill: Mutex<Vec<Ill>>,
    seed: AtomicU64,
}

fn illness(chance: &mut Chance) -> Act {
    match chance.below(8) {
        0 => Act::error(500, "UNKNOWN"),
        1 => Act::error(503, "UNAVAILABLE"),
        2 => Act::Close,
        3 => Act::Cut(3000),
        4 => Act::WrongBytes,
        5 => Act::too_many(Some("2")),
        6 => Act::Redirect("http://127.0.0.1:1/gone".to_owned()),
        _ => Act::Hang,
    }
}

impl Storm {
    fn new() -> Self {
        let hosts: Vec<Upstream> = (0..HOSTS).map(|_| Upstream::start()).collect();
        let mut start = Start::new().args(&["--tag-ttl", "0s"]);
        for (n, host) in hosts.iter().enumerate() {
            start = start.upstream(&format!("h{n}.example"), &host.url());
        }
        for repository in 0..REPOSITORIES {
            hosts[repository % HOSTS].image(&format!("r{repository:02}"), "1", &[]);
        }
        let ill = Mutex::new(vec![Ill::default(); REPOSITORIES]);
        Self { cache: start.run(), hosts, ill, seed: AtomicU64::new(1) }
    }

    fn host(&self, repository: usize) -> &Upstream {
        &self.hosts[repository % HOSTS]
    }

    /// Asks a repository for its tag, and for a blob that was never asked for; returns whether all went well.
    fn ask(&self, repository: usize) -> bool {
        let place = format!("/v2/h{}.example/r{repository:02}", repository % HOSTS);
        let bytes = noise(20_000, self.seed.fetch_add(1, Ordering::Relaxed));
        let digest = self.host(repository).blob(bytes.clone());
        let tag = self.cache.get(&format!("{place}/manifests/1"));
        let blob = self.cache.get(&format!("{place}/blobs/{digest}"));
        tag.status == 200 && blob.status == 200 && blob.body == bytes
    }

    fn is_ill(&self, repository: usize) -> bool {
        let ill = self.ill.lock().unwrap()[repository];
        ill.since.is_some() && ill.until.is_none()
    }

    /// Returns whether a repository has been well since a time, and for a while before.
    fn was_well(&self, repository: usize, since: Instant, recovery: Duration) -> bool {
        let ill = self.ill.lock().unwrap()[repository];
        match (ill.since, ill.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(until)) => until + recovery < since,
        }
    }

    fn fall_ill(&self, repository: usize, act: Act) {
        // What is answered in between is that of an ill one.
        self.ill.lock().unwrap()[repository] = Ill { since: Some(Instant::now()), until: None };
        self.host(repository).always(&format!("/v2/r{repository:02}/"), act);
    }

    fn recover(&self, repository: usize) {
        self.host(repository).heal_at(&format!("/v2/r{repository:02}/"));
        self.host(repository).release();
        self.ill.lock().unwrap()[repository].until = Some(Instant::now());
    }

    /// Storms for a while; returns how many requests for well repositories there were, and how many of them failed.
    fn rage(&self, duration: Duration, recovery: Duration) -> (usize, usize) {
        let (asked, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let end = Instant::now() + duration;
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (asked, failed) = (&asked, &failed);
                scope.spawn(move || {
                    let mut chance = Chance(client as u64 + 7);
                    while Instant::now() < end {
                        let repository = chance.below(REPOSITORIES);
                        // A client that waits for an ill one asks no other meanwhile.
                        if self.is_ill(repository) && chance.below(4) > 0 {
                            continue;
                        }
                        let begun = Instant::now();
                        let is_good = self.ask(repository);
                        if self.was_well(repository, begun, recovery) {
                            asked.fetch_add(1, Ordering::Relaxed);
                            failed.fetch_add(usize::from(!is_good), Ordering::Relaxed);
                        }
                    }
                });
            }
            let mut chance = Chance(42);
            let mut ill: Vec<(usize, Instant)> = Vec::new();
            while Instant::now() < end {
                let now = Instant::now();
                ill.retain(|(repository, until)| {
                    let stays = now < *until;
                    if !stays {
                        self.recover(*repository);
                    }
                    stays
                });
                while ill.len() < REPOSITORIES / 10 {
                    let repository = chance.below(REPOSITORIES);
                    if ill.iter().all(|(other, _)| *other != repository) {
                        let act = illness(&mut chance);
                        self.fall_ill(repository, act);
                        let lasts = Duration::from_millis(1000 + 500 * chance.below(5) as u64);
                        ill.push((repository, now + lasts));
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            for (repository, _) in ill {
                self.recover(repository);
            }
        });
        (asked.into_inner(), failed.into_inner())
    }
}

#[test]
fn a_short_storm() {
    let storm = Storm::new();
    // Repositories that were ill in these seconds do not count: how soon they are well is for the whole storm.
    let (asked, failed) = storm.rage(Duration::from_secs(5), Duration::from_mins(1));
    assert!(asked >= 20, "{asked}");
    assert_eq!(failed, 0, "of {asked}:\n{}", storm.cache.log());
    for repository in 0..REPOSITORIES {
        crate::cache_process::eventually("it is well again", || storm.ask(repository));
    }
}

#[test]
#[ignore = "takes a minute, and a machine that has nothing else to do"]
fn the_whole_storm() {
    let storm = Storm::new();
    let (asked, failed) = storm.rage(Duration::from_mins(1), Duration::from_secs(10));
    println!("{asked} requests for well repositories, {failed} failed");
    assert!(asked >= 1000, "{asked}");
    assert!(failed * 1000 <= asked, "{failed} of {asked}");
}
