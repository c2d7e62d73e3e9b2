//! Layers that are larger than the store: every client gets them, and upstream gives them about once.

use crate::cache_process::{Answer, Cache, Start, eventually};
use crate::fake_upstream::{Act, Upstream, noise};

const MIB: usize = 1 << 20;

fn blob(digest: &str) -> String {
    format!("/v2/docker.io/library/x/blobs/{digest}")
}

/// A cache of 16 MiB that keeps a layer, and an image with a layer of 40 MiB; what it is called, and what is in it.
fn too_large(upstream: &Upstream) -> (Cache, String, Vec<u8>) {
    let (large, kept) = (noise(40 * MIB, 1), noise(2 * MIB, 2));
    let image = upstream.image("library/x", "1", &[large.clone(), kept]);
    let cache = Start::new()
        .upstream("docker.io", &upstream.url())
        .args(&["--size-cap", "16MiB", "--reserve", "1MiB"])
        .run();
    assert_eq!(cache.get("/v2/docker.io/library/x/manifests/1").status, 200);
    assert_eq!(cache.get(&blob(&image.layers[1])).status, 200);
    upstream.always(&image.layers[0], Act::Pace(24 << 20));
    (cache, image.layers[0].clone(), large)
}

#[test]
fn clients_of_one_moment_share_one_download() {
    let upstream = Upstream::start();
    let (cache, name, large) = too_large(&upstream);
    let before = upstream.sent();
    // All have begun before much has come.
    upstream.times(1, &name, Act::Stall(MIB));
    let clients: Vec<_> = (0..4).map(|_| cache.open("GET", &blob(&name), &[])).collect();
    upstream.release();
    std::thread::scope(|scope| {
        for mut client in clients {
            let large = &large;
            scope.spawn(move || {
                assert!(client.status == 200 && client.read(large.len()) == *large);
            });
        }
    });
    let sent = upstream.sent() - before;
    assert!(sent <= large.len() as u64 * 5 / 4, "{sent} bytes");
    let kept =
        upstream.seen().into_iter().find(|seen| seen.path.contains("/blobs/") && !seen.path.contains(&name));
    let kept = kept.unwrap().path.rsplit('/').next().unwrap().to_owned();
    assert_eq!(cache.get(&blob(&kept)).outcome(), (200, "HIT"), "nothing was thrown out for it");
}

/// As containerd fetches a layer in parallel: ranges without an end, hung up on after 4 MiB.
#[test]
fn a_part_is_asked_for_as_a_part() {
    let upstream = Upstream::start();
    let (cache, name, large) = too_large(&upstream);
    let before = upstream.sent();
    std::thread::scope(|scope| {
        for n in 0..10 {
            let (cache, name, large) = (&cache, &name, &large);
            scope.spawn(move || {
                let first = n * 4 * MIB;
                let mut reading = cache.open("GET", &blob(name), &[("Range", &format!("bytes={first}-"))]);
                assert_eq!(reading.status, 206);
                assert!(reading.read(4 * MIB) == large[first..first + 4 * MIB], "part {n}");
            });
        }
    });
    let sent = upstream.sent() - before;
    assert!(sent <= large.len() as u64 * 3 / 2, "{sent} bytes");
    let whole = upstream
        .seen()
        .iter()
        .filter(|seen| seen.path.contains(&name) && seen.header("range").is_none())
        .count();
    assert_eq!(whole, 0, "{whole} requests for all of it");

    // A small part costs little.
    let before = upstream.sent();
    let part = cache.ask("GET", &blob(&name), &[("Range", "bytes=20000000-20000999")]);
    assert!(part.status == 206 && part.body == large[20_000_000..20_001_000]);
    assert!(upstream.sent() - before <= 1000, "{}", upstream.sent() - before);
}

/// More than a window holds: those who read wait a while for one that does not, and then no longer.
#[test]
fn a_client_that_takes_nothing_does_not_stop_the_others() {
    let upstream = Upstream::start();
    let (cache, ..) = too_large(&upstream);
    let large = noise(96 * MIB, 3);
    let image = upstream.image("library/x", "2", std::slice::from_ref(&large));
    assert_eq!(cache.get("/v2/docker.io/library/x/manifests/2").status, 200);
    let name = image.layers[0].clone();
    let mut stalled = cache.open("GET", &blob(&name), &[]);
    assert!(cache.get(&blob(&name)).body == large);
    assert!(stalled.read(large.len()) == large, "it goes on when it wants to");
}

/// What has no length and no room cannot be passed on: every client hears so, and none keeps the cache busy.
#[test]
fn a_layer_without_length_and_room_is_refused_to_each() {
    let upstream = Upstream::start();
    let digest = upstream.blob(noise(40 * MIB, 4));
    upstream.always(&digest, Act::Chunked);
    let cache = Start::new()
        .upstream("docker.io", &upstream.url())
        .args(&["--size-cap", "16MiB", "--reserve", "100TiB"])
        .run();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| cache.get(&blob(&digest)))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for answer in answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    eventually("the log says why", || cache.log().contains("passing on without keeping"));
}

#[test]
fn a_disk_that_has_no_room_is_told_at_the_start() {
    let upstream = Upstream::start();
    let cache = Start::new().upstream("docker.io", &upstream.url()).args(&["--reserve", "100TiB"]).run();
    eventually("the log says so", || cache.log().contains("so that almost nothing is kept"));
    let cache = Start::new().upstream("docker.io", &upstream.url()).args(&["--size-cap", "16MiB"]).run();
    assert!(!cache.log().contains("almost nothing is kept"), "that is what was asked for");
}

#[test]
fn wrong_bytes_are_no_whole_body_either() {
    let upstream = Upstream::start();
    let (cache, name, large) = too_large(&upstream);
    upstream.heal();
    upstream.always(&name, Act::WrongBytes);
    let answer = cache.get(&blob(&name));
    assert!(!answer.whole && answer.body.len() < large.len());
}
