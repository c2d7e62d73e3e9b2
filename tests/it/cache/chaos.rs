//! A storm: of twenty repositories on three hosts a tenth is ill at any time, in any way, and now and then a whole host.
//! Those that are well do not notice, and those that were ill are well again soon.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::gate::{Gate, Way};
use crate::authority::Authority;
use crate::cache_process::{Cache, Start};
use crate::fake_upstream::{Act, Upstream, noise};
use crate::run::Place;

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

/// No pause is longer than this: so soon is well again what was ill.
const RECOVERY: Duration = Duration::from_secs(10);

/// When a repository or a host was ill last: since when, and until when.
#[derive(Clone, Copy, Default)]
struct Ill {
    since: Option<Instant>,
    until: Option<Instant>,
}

struct Storm {
    cache: Cache,
    hosts: Vec<Upstream>,
    gates: Vec<Gate>,
    ill: Mutex<Vec<Ill>>,
    ill_hosts: Mutex<Vec<Ill>>,
    _place: Place,
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

fn illness_of_a_host(chance: &mut Chance) -> Way {
    [Way::Refused, Way::Reset, Way::Nonsense, Way::BlackHole][chance.below(4)]
}

impl Ill {
    /// Returns whether it has been well since a time, and for a while before.
    fn was_well(self, since: Instant, recovery: Duration) -> bool {
        match (self.since, self.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(until)) => until + recovery < since,
        }
    }
}

impl Storm {
    fn new() -> Self {
        let (authority, place) = (Authority::new(), Place::new());
        place.write("ca.pem", authority.pem.as_bytes());
        let mut start = Start::new().args(&["--tag-ttl", "0s", "--header-timeout", "2s"]);
        let (mut hosts, mut gates) = (Vec::new(), Vec::new());
        for n in 0..HOSTS {
            let address = Gate::own_address();
            // The first host has TLS, so that nonsense is a fault of TLS.
            let (host, scheme) = match n {
                0 => (Upstream::start_tls(&authority.server(&address.to_string())), "https"),
                _ => (Upstream::start(), "http"),
            };
            let gate = Gate::new(address, host.address);
            start = start.upstream(&format!("h{n}.example"), &format!("{scheme}://{}", gate.address()));
            hosts.push(host);
            gates.push(gate);
        }
        let ca = format!("h0.example={}", place.path("ca.pem").display());
        start = start.args(&["--upstream-ca", &ca]);
        for repository in 0..REPOSITORIES {
            hosts[repository % HOSTS].image(&format!("r{repository:02}"), "1", &[]);
        }
        let ill = Mutex::new(vec![Ill::default(); REPOSITORIES]);
        let ill_hosts = Mutex::new(vec![Ill::default(); HOSTS]);
        Self { cache: start.run(), hosts, gates, ill, ill_hosts, seed: AtomicU64::new(1), _place: place }
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
        let host = self.ill_hosts.lock().unwrap()[repository % HOSTS];
        [ill, host].iter().any(|ill| ill.since.is_some() && ill.until.is_none())
    }

    /// Returns whether a repository has been well since a time, and for a while before.
    fn was_well(&self, repository: usize, since: Instant, recovery: Duration) -> bool {
        let ill = self.ill.lock().unwrap()[repository];
        let host = self.ill_hosts.lock().unwrap()[repository % HOSTS];
        ill.was_well(since, recovery) && host.was_well(since, recovery)
    }

    fn host_falls_ill(&self, host: usize, way: Way) {
        self.ill_hosts.lock().unwrap()[host] = Ill { since: Some(Instant::now()), until: None };
        self.gates[host].set(way);
    }

    fn host_recovers(&self, host: usize) {
        self.gates[host].set(Way::Open);
        self.ill_hosts.lock().unwrap()[host].until = Some(Instant::now());
        self.assert_no_long_pause();
    }

    /// Nothing is left alone for longer than it may take until all is well.
    fn assert_no_long_pause(&self) {
        let stats = self.cache.command(&["stats", "-o", "json"]);
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        let latest = jiff::Timestamp::now() + RECOVERY + Duration::from_secs(1);
        let mut pending = vec![&stats];
        while let Some(value) = pending.pop() {
            if let Some(until) = value.get("pausedUntil").and_then(serde_json::Value::as_str) {
                assert!(until.parse::<jiff::Timestamp>().unwrap() <= latest, "{value}");
            }
            pending.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            pending.extend(value.as_array().into_iter().flatten());
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
        self.assert_no_long_pause();
    }

    /// Storms for a while, in which so many of the hosts fall ill too, one at a time; returns how many requests for well
    /// repositories there were, and how many of them failed.
    fn rage(&self, duration: Duration, recovery: Duration, hosts: usize) -> (usize, usize) {
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
            let mut ill_host: Option<(usize, Instant)> = None;
            let mut next_host = Instant::now();
            while Instant::now() < end {
                let now = Instant::now();
                if let Some((host, _)) = ill_host.take_if(|(_, until)| *until <= now) {
                    self.host_recovers(host);
                    next_host = now + Duration::from_millis(500 + 500 * chance.below(3) as u64);
                }
                if ill_host.is_none() && next_host <= now {
                    let host = chance.below(hosts);
                    self.host_falls_ill(host, illness_of_a_host(&mut chance));
                    ill_host = Some((host, now + Duration::from_millis(500 + 500 * chance.below(4) as u64)));
                }
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
            if let Some((host, _)) = ill_host {
                self.host_recovers(host);
            }
        });
        (asked.into_inner(), failed.into_inner())
    }
}

#[test]
fn a_short_storm() {
    let storm = Storm::new();
    // Repositories that were ill in these seconds do not count: how soon they are well is for the whole storm.
    let (asked, failed) = storm.rage(Duration::from_secs(5), Duration::from_mins(1), HOSTS - 1);
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
    let (asked, failed) = storm.rage(Duration::from_mins(1), RECOVERY, HOSTS);
    println!("{asked} requests for well repositories, {failed} failed");
    assert!(asked >= 1000, "{asked}");
    assert!(failed * 1000 <= asked, "{failed} of {asked}");
}
