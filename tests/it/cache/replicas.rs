//! Replicas: caches on one bucket that fetch a blob once between them, whichever of them is gone.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_bucket::{Bucket, Fault, KEY};
use crate::fake_upstream::{Act, Image, Upstream, noise};
use crate::run::{Place, SECRET};

const MIB: usize = 1 << 20;

/// What replicas are made of: an upstream, a bucket, and a folder with their secret.
struct Site {
    upstream: Upstream,
    bucket: Bucket,
    place: Place,
}

impl Site {
    fn new() -> Self {
        let place = Place::new();
        place.write("secret", format!("{SECRET}-of-all-replicas\n"));
        Self { upstream: Upstream::start(), bucket: Bucket::start(), place }
    }

    fn start(&self) -> Start {
        let secret = self.place.path("secret").display().to_string();
        Start::new()
            .upstream("docker.io", &self.upstream.url())
            .args(&["--bucket", "s3://images", "--s3-endpoint", &self.bucket.url()])
            .args(&["--peer-listen", "127.0.0.1:0", "--peer-secret", &secret])
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
    }

    /// Starts replicas, and waits until they know each other.
    fn replicas(&self, count: usize) -> Vec<Cache> {
        let all: Vec<Cache> = (0..count).map(|_| self.start().run()).collect();
        know_each_other(&all);
        all
    }

    /// Serves an image with one layer; returns the layer, and its path at a cache.
    fn layer(&self, len: usize, seed: u64) -> (Vec<u8>, String) {
        let layer = noise(len, seed);
        let image: Image = self.upstream.image("library/x", "1.0.0", std::slice::from_ref(&layer));
        (layer, format!("/v2/docker.io/library/x/blobs/{}", image.layers[0]))
    }

    /// The ranges by which upstream was asked for blobs; `all` where it was asked for the whole.
    fn asked(&self) -> Vec<String> {
        let seen = self.upstream.seen().into_iter();
        seen.filter(|seen| seen.method == "GET" && seen.path.contains("/blobs/"))
            .map(|seen| seen.header("range").unwrap_or("all").to_owned())
            .collect()
    }
}

fn peers(cache: &Cache) -> Value {
    let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    stats["peers"].clone()
}

/// Waits until each of some caches can ask each other one.
fn know_each_other(all: &[Cache]) {
    eventually("they know each other", || {
        all.iter().all(|cache| {
            let members = peers(cache)["members"].as_array().cloned().unwrap_or_default();
            members.iter().filter(|member| member["reached"] == true).count() >= all.len() - 1
        })
    });
}

/// Has many clients ask for a blob at the same time, of one cache after the other; returns what `X-Cache` said to each.
fn pull(all: &[Cache], clients: usize, path: &str, layer: &[u8]) -> Vec<String> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|n| {
                let cache = &all[n % all.len()];
                scope.spawn(move || {
                    let blob = cache.get(path);
                    assert_eq!((blob.status, blob.whole), (200, true), "{}", cache.log());
                    assert!(blob.body == layer, "other bytes");
                    blob.header("x-cache").to_owned()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn count(from: &[String], what: &str) -> usize {
    from.iter().filter(|one| *one == what).count()
}

/// How many leases some caches could not have in time: a busy machine may be slower than they wait.
fn missed(all: &[Cache]) -> u64 {
    all.iter().map(|cache| peers(cache)["withoutLease"].as_u64().unwrap()).sum()
}

/// Whether the machine was too slow for what is tested: a lease was missed, or a client came when the blob was there.
fn is_late(all: &[Cache], from: &[String]) -> bool {
    missed(all) > 0 || count(from, "HIT") > 0
}

/// Runs something again where the machine was too slow for it, as it says itself.
fn in_time(mut runs: impl FnMut() -> Pace) {
    assert!((0..5).any(|_| runs() == Pace::InTime), "no lease was had in time, five times");
}

#[derive(PartialEq, Eq)]
enum Pace {
    InTime,
    TooSlow,
}

#[test]
fn three_caches_fetch_a_cold_blob_once() {
    in_time(|| {
        let site = Site::new();
        let (layer, path) = site.layer(4 * MIB, 1);
        site.upstream.always("/blobs/", Act::Pace(8 * MIB as u64));
        let all = site.replicas(3);
        let from = pull(&all, 48, &path, &layer);
        if is_late(&all, &from) {
            return Pace::TooSlow;
        }
        assert_eq!(site.asked(), ["all"], "{from:?}");
        assert!(count(&from, "MISS") <= 1 && count(&from, "PEER") >= 32, "{from:?}");
        // It is in the bucket, and its lease was given back.
        eventually("it is written, and no lease is left", || {
            let is_there = site.bucket.keys("blobs/").iter().any(|key| key.starts_with("blobs/"));
            is_there && site.bucket.keys("leases/").is_empty()
        });
        let sum = |field: &str| all.iter().map(|cache| peers(cache)[field].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("leases"), sum("given")), (1, 2));
        assert_eq!(sum("receivedBytes"), 2 * layer.len() as u64);
        let stats = all[0].command(&["stats"]);
        assert!(stats.contains("FETCHED FOR ALL") && stats.contains("asked"), "{stats}");
        // What is in the folder costs nothing.
        site.bucket.forget();
        assert_eq!(count(&pull(&all, 6, &path, &layer), "HIT"), 6);
        assert_eq!(site.bucket.count("GET", "blobs/") + site.bucket.count("PUT", "leases/"), 0);
        Pace::InTime
    });
}

#[test]
fn where_the_one_that_fetches_is_killed_a_reader_goes_on_at_the_first_missing_byte() {
    in_time(|| {
        let site = Site::new();
        let (layer, path) = site.layer(4 * MIB, 1);
        site.upstream.times(1, "/blobs/", Act::Stall(2 * MIB));
        let mut all = site.replicas(3);
        let mut readings: Vec<_> = all.iter().map(|cache| cache.open("GET", &path, &[])).collect();
        if missed(&all) > 0 {
            site.upstream.release();
            return Pace::TooSlow;
        }
        let mut came: Vec<Vec<u8>> = readings.iter_mut().map(|reading| reading.read(MIB)).collect();
        let holder = readings.iter().position(|reading| reading.header("x-cache") != "PEER").unwrap();
        assert_eq!(readings.iter().filter(|reading| reading.header("x-cache") == "PEER").count(), 2);
        drop((readings.remove(holder), came.remove(holder)));
        drop(all.remove(holder));
        for (mut reading, mut came) in readings.into_iter().zip(came) {
            came.extend(reading.read(layer.len()));
            assert!(came == layer, "{} of {} bytes\n{}", came.len(), layer.len(), all[0].log());
        }
        site.upstream.release();
        if missed(&all) > 0 {
            return Pace::TooSlow;
        }
        let asked = site.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked[0] == "all" && asked[1].starts_with("bytes=") && asked[1] != "bytes=0-", "{asked:?}");
        let taken_over: u64 = all.iter().map(|cache| peers(cache)["takenOver"].as_u64().unwrap()).sum();
        assert_eq!(taken_over, 1);
        Pace::InTime
    });
}

/// `TALMIRROR_KILLS` says how often.
#[test]
fn a_cache_that_fetches_is_killed_at_any_byte() {
    let rounds = std::env::var("TALMIRROR_KILLS").map_or(3, |rounds| rounds.parse().unwrap());
    let site = Site::new();
    let mut all = site.replicas(3);
    let (mut seed, mut further, mut counted) = (0x5eed_u64, 0, 0);
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    site.upstream.always("/blobs/", Act::Pace(4 * MIB as u64));
    for round in 0..rounds {
        let (layer, path) = site.layer(2 * MIB, 1000 + round);
        site.upstream.forget();
        let before: Vec<u64> = all.iter().map(|cache| missed(std::slice::from_ref(cache))).collect();
        let mut readings: Vec<_> = all.iter().map(|cache| cache.open("GET", &path, &[])).collect();
        let holder = readings.iter().position(|reading| reading.header("x-cache") != "PEER").unwrap();
        let missed_before: u64 =
            before.iter().enumerate().filter(|(n, _)| *n != holder).map(|(_, missed)| missed).sum();
        let had_lease = missed(&all[holder..=holder]) == before[holder];
        let at = usize::try_from(random(layer.len() as u64 - (64 << 10))).unwrap();
        assert!(readings.remove(holder).read(at) == layer[..at]);
        let killed = all.remove(holder).kill_and_restart();
        for mut reading in readings {
            let came = reading.read(layer.len());
            assert!(came == layer, "round {round}, killed at {at}: {} bytes\n{}", came.len(), all[0].log());
        }
        // A lease that could not be had in time may cost a request more.
        if had_lease && missed(&all) == missed_before {
            let asked = site.asked();
            let is_right = (1..=2).contains(&asked.len()) && asked[0] == "all";
            assert!(is_right, "round {round}, at {at}: {asked:?}");
            (further, counted) = (further + asked.len() - 1, counted + 1);
        }
        all.push(killed);
        know_each_other(&all);
    }
    println!(
        "{rounds} kills, {counted} of them with every lease in time: {further} further requests to upstream"
    );
    assert!(counted * 2 > rounds, "{counted} of {rounds}");
    if missed(&all) > 0 {
        // The store may have written a lease later than the cache waited: it is looked for now and then.
        return;
    }
    // The lease of one that was killed after it had fetched all of it stays for the next reader, which takes it over.
    let own: Vec<String> = all.iter().map(|cache| peers(cache)["url"].to_string()).collect();
    eventually("caches that run have given their leases back", || {
        let leases = site.bucket.keys("leases/").into_iter().filter_map(|key| site.bucket.get(&key));
        let mut leases = leases.map(|lease| String::from_utf8(lease).unwrap());
        leases.all(|lease| !own.iter().any(|url| lease.contains(url)))
    });
}

#[test]
fn a_cache_that_stands_still_loses_its_lease() {
    in_time(|| {
        let site = Site::new();
        let (layer, path) = site.layer(2 * MIB, 1);
        site.upstream.times(1, "/blobs/", Act::Stall(0));
        let all = site.replicas(2);
        // One of the two fetches, and gets nothing; then it stands still, and renews its lease no more.
        std::thread::scope(|scope| {
            let first = scope.spawn(|| all[0].get(&path));
            eventually("one has the lease", || !site.bucket.keys("leases/").is_empty());
            let lease =
                site.bucket.keys("leases/").into_iter().find_map(|key| site.bucket.get(&key)).unwrap();
            let lease = String::from_utf8(lease).unwrap();
            let urls: Vec<String> =
                all.iter().map(|cache| peers(cache)["url"].as_str().unwrap().to_owned()).collect();
            let holder = urls.iter().position(|url| lease.contains(url)).unwrap();
            let other = &all[1 - holder];
            all[holder].signal("STOP");
            let blob = other.get(&path);
            let (missed, taken_over) =
                (missed(std::slice::from_ref(other)), peers(other)["takenOver"].clone());
            // Whatever came of it, nothing hangs.
            all[holder].signal("CONT");
            site.upstream.release();
            drop(first.join());
            assert!(blob.status == 200 && blob.body == layer, "{}", other.log());
            if missed > 0 {
                return Pace::TooSlow;
            }
            assert_eq!(taken_over, 1, "{}", other.log());
            Pace::InTime
        })
    });
}

#[test]
fn without_the_secret_nothing_is_given() {
    let site = Site::new();
    let (_, path) = site.layer(1000, 1);
    let cache = site.replicas(1).remove(0);
    let url = peers(&cache)["url"].as_str().unwrap().to_owned();
    for target in [path.as_str(), "/v2/", "/talmirror/v1/hello", "/"] {
        let mut stream = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: TalmirrorPeer 1:00\r\nConnection: close\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    // One with another secret is told of, and both go on by themselves.
    site.place.write("secret", format!("{SECRET}-of-a-stranger\n"));
    let stranger = site.start().run();
    for one in [&cache, &stranger] {
        eventually("the other one is not asked", || {
            let members = peers(one)["members"].clone();
            members[0]["trouble"].as_str().is_some_and(|trouble| trouble.contains("401"))
        });
    }
    assert_eq!(cache.get(&path).status, 200);
    let stats = stranger.command(&["stats"]);
    assert!(stats.contains("not asked: it denies access"), "{stats}");
}

#[test]
fn caches_that_do_not_know_each_other_find_the_one_that_fetches_by_its_lease() {
    in_time(|| {
        let site = Site::new();
        site.bucket.hide("members/");
        let (layer, path) = site.layer(2 * MIB, 1);
        site.upstream.always("/blobs/", Act::Pace(4 * MIB as u64));
        let all: Vec<Cache> = (0..3).map(|_| site.start().run()).collect();
        let from = pull(&all, 6, &path, &layer);
        assert!(all.iter().all(|cache| peers(cache)["members"].as_array().unwrap().is_empty()));
        if is_late(&all, &from) {
            return Pace::TooSlow;
        }
        assert_eq!(site.asked(), ["all"], "{from:?}");
        assert_eq!(count(&from, "PEER"), 4, "{from:?}");
        Pace::InTime
    });
}

/// Writes a lease as another cache has it.
fn lease(site: &Site, path: &str, url: &str, seconds: u64) {
    let digest = path.rsplit('/').next().unwrap().replace(':', "/");
    let lease =
        format!(r#"{{"url":"{url}","registry":"docker.io","seconds":{seconds},"nonce":"n","renewed":0}}"#);
    site.bucket.put(&format!("leases/{digest}"), lease.as_bytes());
}

#[test]
fn a_lease_of_a_cache_that_is_gone_is_taken_over() {
    in_time(|| {
        let site = Site::new();
        let cache = site.replicas(1).remove(0);
        // It does not answer at all, and its lease ends; nothing listens there; it is not a lease.
        let hung = TcpListener::bind("127.0.0.1:0").unwrap();
        let hung_url = format!("http://{}", hung.local_addr().unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let free_url = format!("http://{free}");
        for (seed, url, seconds) in [(1, hung_url, 1), (2, free_url, 60), (3, "\n".to_owned(), 60)] {
            let (layer, path) = site.layer(MIB, seed);
            lease(&site, &path, &url, seconds);
            let blob = cache.get(&path);
            assert_eq!(blob.outcome(), (200, "MISS"), "{}", cache.log());
            assert!(blob.body == layer);
        }
        if missed(std::slice::from_ref(&cache)) > 0 {
            return Pace::TooSlow;
        }
        assert_eq!(peers(&cache)["takenOver"], 3);
        eventually("the leases are given back", || site.bucket.keys("leases/").is_empty());
        Pace::InTime
    });
}

#[test]
fn a_lease_that_the_store_writes_too_late_is_given_back() {
    let site = Site::new();
    let cache = site.replicas(1).remove(0);
    // The cache waits half a second.
    site.bucket.ill(&["PUT"], "leases/", Fault::Delay(Duration::from_millis(700)));
    let (layer, path) = site.layer(MIB, 1);
    let blob = cache.get(&path);
    assert!(blob.outcome() == (200, "MISS") && blob.body == layer, "{}", cache.log());
    assert_eq!(missed(std::slice::from_ref(&cache)), 1);
    eventually("the lease is given back", || site.bucket.count("DELETE", "leases/") == 1);
    eventually("no lease is left", || site.bucket.keys("leases/").is_empty());
}

#[test]
fn without_leases_the_order_of_the_members_decides() {
    // The bucket does not look at conditions; and it is down.
    for is_down in [false, true] {
        in_time(|| {
            let site = Site::new();
            if !is_down {
                site.bucket.ignore_conditions();
            }
            let (layer, path) = site.layer(2 * MIB, 1);
            site.upstream.always("/blobs/", Act::Pace(8 * MIB as u64));
            let all = site.replicas(3);
            if is_down {
                site.bucket.is_ill(Fault::Close);
            }
            let from = pull(&all, 12, &path, &layer);
            assert!(site.bucket.keys("leases/").is_empty());
            // One that has not begun within a second is not waited for.
            if site.asked().len() > 1 || count(&from, "HIT") > 0 {
                return Pace::TooSlow;
            }
            assert_eq!(count(&from, "PEER"), 8, "{from:?}");
            Pace::InTime
        });
    }
}

#[test]
fn a_cache_that_has_it_gives_it_and_one_that_has_not_says_so() {
    in_time(|| {
        let site = Site::new();
        // Nothing can be written to the bucket: what one has, only that one gives.
        site.bucket.ill(&["PUT", "POST"], "blobs/", Fault::Error(500, "InternalError"));
        let (layer, path) = site.layer(MIB, 1);
        let all = site.replicas(2);
        pull(&all[..1], 1, &path, &layer);
        let from = pull(&all[1..], 1, &path, &layer);
        if missed(&all) > 0 {
            return Pace::TooSlow;
        }
        assert_eq!(site.asked(), ["all"], "{from:?}");
        Pace::InTime
    });
}

#[test]
fn what_is_for_users_is_not_given_to_a_cache_that_gives_it_to_everyone() {
    let site = Site::new();
    let (_, path) = site.layer(MIB, 1);
    site.place.write("login.json", r#"{"auths":{"docker.io":{"username":"ada","password":"s3cr3t-ada"}}}"#);
    site.place.write("users", "ada:$2y$04$Bp3Zfh7p3tmSe/kf4yV9KuPYgJmRLO0bwVkYV2m2cbXVKcXsJpvzW\n");
    let login = format!("docker.io={}", site.place.path("login.json").display());
    let users = site.place.path("users").display().to_string();
    let closed = site.start().args(&["--credentials", &login, "--htpasswd", &users]).run();
    let open = site.start().run();
    let all = [closed, open];
    know_each_other(&all);
    let blob = all[1].get(&path);
    assert_eq!(blob.outcome(), (200, "MISS"), "{}", all[1].log());
    assert_eq!(peers(&all[1])["given"], 0);
    assert_eq!(all[0].get(&path).status, 401);
}

#[test]
fn numbers_and_a_check_name_the_other_caches() {
    let site = Site::new();
    let metrics = || site.start().args(&["--metrics-listen", "127.0.0.1:0"]).run();
    let all = [metrics(), metrics()];
    know_each_other(&all);
    let log = all[0].log();
    let line = log.lines().find(|line| line.starts_with("metrics on ")).unwrap();
    let address = line.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    };
    eventually("the metrics are taken", || get("/metrics").contains("talmirror_cache_peers_reached 1\n"));
    let page = get("/");
    assert!(page.contains("Other caches on the bucket") && page.contains("http://127.0.0.1:"), "{page}");
    let secret = site.place.path("secret").display().to_string();
    let env = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")];
    let check = |secret: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
            .args(["check", "-o", "json", "--upstream", &format!("docker.io={}", site.upstream.url())])
            .args(["--bucket", "s3://images", "--s3-endpoint", &site.bucket.url()])
            .args(["--peer-listen", "127.0.0.1:0", "--peer-secret", secret])
            .env_clear()
            .envs(env)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let (code, result) = check(&secret);
    assert_eq!((code, &result["peers"]["ok"]), (Some(0), &Value::Bool(true)), "{result}");
    assert_eq!(result["peers"]["items"].as_array().unwrap().len(), 2);
    let other = site.place.path("other").display().to_string();
    site.place.write("other", "another-secret-of-all\n");
    let (code, result) = check(&other);
    assert_eq!((code, &result["peers"]["ok"]), (Some(5), &Value::Bool(false)), "{result}");
    site.place.write("other", "short\n");
    assert_eq!(check(&other).0, Some(3));
}

#[test]
fn a_cache_that_is_not_asked_by_others_takes_no_lease_and_says_nothing() {
    let site = Site::new();
    let (layer, path) = site.layer(MIB, 1);
    let cache = Start::new()
        .upstream("docker.io", &site.upstream.url())
        .args(&["--bucket", "s3://images", "--s3-endpoint", &site.bucket.url()])
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
        .run();
    pull(std::slice::from_ref(&cache), 1, &path, &layer);
    let asked = site.bucket.asked();
    let is_of_replicas = |key: &str| key.contains("leases/") || key.contains("members/");
    let lists = asked.iter().filter_map(|asked| asked.query.get("prefix"));
    assert!(!asked.iter().map(|asked| &asked.key).chain(lists).any(|key| is_of_replicas(key)), "{asked:?}");
    assert_eq!(peers(&cache), Value::Null);
    let stats = cache.command(&["stats"]);
    assert!(!stats.contains("OTHER"), "{stats}");
}
