//! Cold pulls: one download, however many ask.

use crate::cache_process::{Answer, Cache, Start, eventually};
use crate::fake_upstream::{Act, Upstream, digest, noise};

const MIB: usize = 1 << 20;

fn blob(digest: &str) -> String {
    format!("/v2/docker.io/library/x/blobs/{digest}")
}

fn hub(upstream: &Upstream) -> Cache {
    Cache::of("docker.io", &upstream.url())
}

fn all(cache: &Cache, path: &str, clients: usize) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(|| cache.get(path))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn sixteen_clients_make_one_download() {
    let upstream = Upstream::start();
    let bytes = noise(8 * MIB, 1);
    let digest = upstream.blob(bytes.clone());
    upstream.always("/blobs/", Act::Pace(32 << 20));
    let cache = hub(&upstream);
    let answers = all(&cache, &blob(&digest), 16);
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert!(answer.body == bytes, "{} bytes of {}", answer.body.len(), bytes.len());
        assert_eq!(answer.header("docker-content-digest"), digest);
    }
    assert_eq!((upstream.count("GET", "/blobs/"), upstream.count("HEAD", "/blobs/")), (1, 0));
    let mut outcomes: Vec<&str> = answers.iter().map(|answer| answer.header("x-cache")).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "MISS").count(), 1, "{outcomes:?}");
    eventually("it is stored", || cache.get(&blob(&digest)).outcome() == (200, "HIT"));
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

#[test]
fn followers_begin_with_what_is_there() {
    let upstream = Upstream::start();
    let digest = upstream.blob(noise(4 * MIB, 2));
    upstream.always("/blobs/", Act::Stall(MIB));
    let cache = hub(&upstream);
    let mut leader = cache.open("GET", &blob(&digest), &[]);
    assert_eq!(leader.read(512 << 10).len(), 512 << 10);
    // Upstream gives nothing more; whoever comes now gets what has come all the same.
    let mut follower = cache.open("GET", &blob(&digest), &[]);
    assert_eq!(follower.header("x-cache"), "FOLLOW");
    assert_eq!(follower.read(512 << 10).len(), 512 << 10);
    upstream.release();
}

#[test]
fn no_client_has_to_stay() {
    let upstream = Upstream::start();
    let bytes = noise(8 * MIB, 3);
    let digest = upstream.blob(bytes.clone());
    upstream.always("/blobs/", Act::Stall(4 * MIB));
    let cache = hub(&upstream);
    let mut leader = cache.open("GET", &blob(&digest), &[]);
    let mut follower = cache.open("GET", &blob(&digest), &[]);
    leader.read(MIB / 2);
    drop(leader);
    upstream.heal();
    upstream.release();
    assert!(follower.read(8 * MIB) == bytes);
    drop(follower);
    eventually("it is stored", || cache.get(&blob(&digest)).outcome() == (200, "HIT"));
    assert_eq!(upstream.count("GET", "/blobs/"), 1);

    // Neither does anybody: the download goes on for itself.
    let other = upstream.blob(noise(4 * MIB, 4));
    let mut only = cache.open("GET", &blob(&other), &[]);
    only.read(1000);
    drop(only);
    eventually("it is stored", || cache.get(&blob(&other)).outcome() == (200, "HIT"));
    assert_eq!(upstream.count("GET", &other), 1);
}

#[test]
fn broken_transfers_go_on_where_they_broke() {
    let upstream = Upstream::start();
    let bytes = noise(6 * MIB, 5);
    let digest = upstream.blob(bytes.clone());
    upstream.times(5, "/blobs/", Act::Cut(MIB));
    let cache = hub(&upstream);
    let answer = cache.get(&blob(&digest));
    assert!(answer.whole && answer.body == bytes);
    let ranges: Vec<String> = upstream
        .seen()
        .iter()
        .filter(|seen| seen.path.contains("/blobs/"))
        .map(|seen| seen.header("range").unwrap_or("none").to_owned())
        .collect();
    assert_eq!(ranges.len(), 6, "{ranges:?}");
    assert!(ranges[1..].iter().all(|range| range.starts_with("bytes=")), "{ranges:?}");

    // An upstream that does not look at `Range` answers with the whole: what is there already is skipped.
    let other = noise(3 * MIB, 6);
    let digest = upstream.blob(other.clone());
    upstream.always(&digest, Act::IgnoreRange);
    upstream.times(2, &digest, Act::Cut(MIB));
    let answer = cache.get(&blob(&digest));
    assert!(answer.whole && answer.body == other);
}

/// The bytes from which on a blob was asked for, by each request.
fn asked_from(upstream: &Upstream, digest: &str) -> Vec<usize> {
    let from = |range: &str| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok();
    let seen = upstream.seen();
    let seen = seen.iter().filter(|seen| seen.method == "GET" && seen.path.contains(digest));
    seen.map(|seen| seen.header("range").and_then(from).unwrap_or(0)).collect()
}

/// Begins a pull over a slow line, and returns what came of it before the cache ended.
fn begin(cache: &Cache, digest: &str, count: usize) -> Vec<u8> {
    let mut reading = cache.open("GET", &blob(digest), &[]);
    reading.read(count)
}

#[test]
fn an_unfinished_download_survives_a_restart() {
    let upstream = Upstream::start();
    let bytes = noise(5 * MIB, 8);
    let name = upstream.blob(bytes.clone());
    upstream.always(&name, Act::Pace(2 << 20));
    upstream.always(&name, Act::Stall(4 * MIB));
    let cache = hub(&upstream);
    let got = begin(&cache, &name, 7 * MIB / 2);
    let cache = cache.kill_and_restart();
    upstream.heal();
    let rest = cache.ask("GET", &blob(&name), &[("Range", &format!("bytes={}-", got.len()))]);
    assert_eq!(rest.status, 206);
    assert!([got, rest.body].concat() == bytes);
    let from = asked_from(&upstream, &name);
    assert!(from.len() == 2 && (3 * MIB..5 * MIB).contains(&from[1]), "{from:?}");
    eventually("it is stored", || cache.get(&blob(&name)).outcome() == (200, "HIT"));
    assert!(cache.get(&blob(&name)).body == bytes);
    assert_eq!(std::fs::read_dir(cache.root.join("partial")).unwrap().count(), 0);

    // In order too. What was left is not believed: the first to find it wrong fails, the next one gets all of it.
    let (other, bytes) = (upstream.blob(noise(5 * MIB, 9)), noise(5 * MIB, 9));
    upstream.always(&other, Act::Pace(2 << 20));
    upstream.always(&other, Act::Stall(4 * MIB));
    begin(&cache, &other, 7 * MIB / 2);
    let cache = cache.restart();
    let left: Vec<_> = std::fs::read_dir(cache.root.join("partial")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let file = std::fs::OpenOptions::new().write(true).open(left[0].path()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[!bytes[1000]], 1000).unwrap();
    upstream.heal();
    let wrong = cache.get(&blob(&other));
    assert!(!wrong.whole, "{}", wrong.body.len());
    assert!(cache.get(&blob(&other)).body == bytes, "{}", cache.log());
    let from = asked_from(&upstream, &other);
    assert!(from.len() == 3 && from[1] > 2 * MIB && from[2] == 0, "{from:?}");
}

#[test]
fn wrong_bytes_never_make_a_whole_body() {
    let upstream = Upstream::start();
    let right = noise(MIB, 7);
    let name = digest(&right);
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    upstream.blob_as(&name, wrong);
    let cache = hub(&upstream);
    for answer in all(&cache, &blob(&name), 4) {
        assert!(!answer.whole || answer.status != 200, "{} {}", answer.status, answer.body.len());
        assert!(answer.status == 503 || right.starts_with(&answer.body));
    }
    assert!(cache.command(&["ls", "--objects", "-o", "json"]).contains("\"items\": []"));

    // The next of the chain has the right ones.
    let honest = Upstream::start();
    honest.blob(right.clone());
    let cache =
        Start::new().upstream("docker.io", &upstream.url()).upstream("docker.io", &honest.url()).run();
    let mut last = None;
    eventually("the honest one is asked", || {
        let answer = cache.get(&blob(&name));
        let whole = answer.status == 200 && answer.whole;
        last = Some(answer);
        whole
    });
    assert!(last.unwrap().body == right);
}

/// A page of apology is no blob, and says nothing against the endpoint that has it.
#[test]
fn a_body_of_another_length_does_not_accuse_the_next_endpoint() {
    let (liar, honest) = (Upstream::start(), Upstream::start());
    let right = noise(MIB, 70);
    let name = honest.blob(right.clone());
    liar.blob_as(&name, "down for maintenance".as_bytes());
    let cache = Start::new().upstream("docker.io", &liar.url()).upstream("docker.io", &honest.url()).run();
    let first = cache.get(&blob(&name));
    assert!(first.status != 200 || !first.whole || first.body == right);
    let second = cache.get(&blob(&name));
    assert!(second.status == 200 && second.body == right, "{} {}", second.status, cache.log());
}

#[test]
fn headers_do_not_wait_for_bodies() {
    let upstream = Upstream::start();
    let digest = upstream.blob(noise(2 * MIB, 8));
    upstream.always("/blobs/", Act::Stall(0));
    let cache = hub(&upstream);
    let reading = cache.open("GET", &blob(&digest), &[]);
    assert_eq!((reading.status, reading.header("content-length")), (200, "2097152"));
    upstream.release();
}

#[test]
fn ranges_cold_and_warm() {
    let upstream = Upstream::start();
    let bytes = noise(MIB, 9);
    let digest = upstream.blob(bytes.clone());
    let total = bytes.len();
    let ask = |cache: &Cache, range: &str| cache.ask("GET", &blob(&digest), &[("Range", range)]);
    for warm in [false, true] {
        for (range, from, to) in [
            ("bytes=0-".to_owned(), 0, total),
            (format!("bytes={}-", total - 5), total - 5, total),
            ("bytes=1000-1999".to_owned(), 1000, 2000),
            ("bytes=-7".to_owned(), total - 7, total),
        ] {
            // Each cold range meets a cache that has never seen the blob.
            let cache = hub(&upstream);
            if warm {
                assert!(cache.get(&blob(&digest)).whole);
                eventually("it is stored", || cache.get(&blob(&digest)).outcome() == (200, "HIT"));
            }
            let answer = ask(&cache, &range);
            assert_eq!(answer.status, 206, "{range} warm: {warm}");
            assert!(answer.body == bytes[from..to], "{range} warm: {warm}");
            assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{total}", to - 1));
        }
    }
    let cache = hub(&upstream);
    let answer = ask(&cache, &format!("bytes={total}-"));
    assert_eq!((answer.status, answer.header("content-range")), (416, format!("bytes */{total}").as_str()));
    assert_eq!(ask(&cache, "items=0-1").status, 200);
}

/// containerd 2.1 and later: open ranges that are hung up on after a chunk.
#[test]
fn open_ranges_that_are_hung_up_on() {
    let upstream = Upstream::start();
    let bytes = noise(64 * MIB, 10);
    let digest = upstream.blob(bytes.clone());
    let cache = hub(&upstream);
    let before = cache.memory();
    std::thread::scope(|scope| {
        for chunk in 0..64 {
            let (cache, bytes, digest) = (&cache, &bytes, &digest);
            scope.spawn(move || {
                let from = chunk * MIB;
                let range = format!("bytes={from}-");
                let mut reading = cache.open("GET", &blob(digest), &[("Range", &range)]);
                assert_eq!(reading.status, 206);
                assert!(reading.read(MIB) == bytes[from..from + MIB], "chunk {chunk}");
            });
        }
    });
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
    let grown = cache.memory().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
}
