//! The folder: killed, full, capped.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_upstream::{Act, Upstream, noise};

const MIB: usize = 1 << 20;

fn blob(digest: &str) -> String {
    format!("/v2/docker.io/library/x/blobs/{digest}")
}

/// The bytes of all files below a folder.
fn disk_use(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { disk_use(&entry.path()) } else { metadata.len() };
    }
    sum
}

/// Kills in the middle of things: what is served afterwards is right, and what was half done takes no room.
///
/// `TALMIRROR_KILLS` is how often; 200 where somebody wants to be sure.
#[test]
fn killed_at_any_moment() {
    let kills: u64 = std::env::var("TALMIRROR_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12);
    let upstream = Upstream::start();
    let blobs: Vec<(String, Vec<u8>)> = (0..6)
        .map(|seed| noise(MIB + 1000 * usize::try_from(seed).unwrap(), seed))
        .map(|bytes| (upstream.blob(bytes.clone()), bytes))
        .collect();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    upstream.always("/blobs/", Act::Pace(16 << 20));
    let mut cache = Start::new().upstream("docker.io", &upstream.url()).run();
    for round in 0..kills {
        std::thread::scope(|scope| {
            for (digest, _) in &blobs {
                let (cache, digest) = (&cache, digest.as_str());
                // Whoever is cut off is cut off; what counts is what comes after.
                scope.spawn(move || {
                    let path = blob(digest);
                    let address = cache.address;
                    let _ = std::panic::catch_unwind(|| fetch(address, &path));
                });
            }
            let _ = fetch(cache.address, "/v2/docker.io/library/x/manifests/1");
            std::thread::sleep(Duration::from_millis(round * 37 % 150));
            cache.signal("KILL");
        });
        cache = cache.kill_and_restart();
        let (digest, bytes) = &blobs[usize::try_from(round).unwrap() % blobs.len()];
        let answer = cache.get(&blob(digest));
        assert!(answer.status == 200 && answer.whole && answer.body == *bytes, "after kill {round}");
        let manifest = cache.get("/v2/docker.io/library/x/manifests/1");
        assert!(manifest.status == 200 && manifest.body == image.manifest, "after kill {round}");
    }
    upstream.heal();
    for (digest, bytes) in &blobs {
        assert!(cache.get(&blob(digest)).body == *bytes);
        eventually("it is stored", || cache.get(&blob(digest)).outcome() == (200, "HIT"));
    }
    let cache = cache.restart();
    let all: u64 = blobs.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let found = disk_use(&cache.root);
    assert!(found < all + all / 10 + (256 << 10), "{found} bytes on the disk for {all}");
}

/// A request whose answer does not matter.
fn fetch(address: std::net::SocketAddr, path: &str) -> std::io::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut piece = vec![0; 64 << 10];
    while stream.read(&mut piece)? > 0 {}
    Ok(())
}

/// A disk of 64 MiB, and a blob of 96: the pull goes well, and what fits is kept before and after.
#[test]
fn a_disk_that_is_too_small() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("disk");
    std::fs::create_dir(&root).unwrap();
    let script = dir.path().join("run");
    let text = format!(
        "#!/bin/sh\nexec unshare -Urm sh -c 'mount -t tmpfs -o size=64m none \"$0\" && exec \"$@\"' '{}' \"$@\"\n",
        root.display()
    );
    std::fs::write(&script, text).unwrap();
    Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    if !Command::new(&script).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!(
            "skipped: no namespace with a disk of its own can be had here (it takes root, or user namespaces)"
        );
        return;
    }
    let upstream = Upstream::start();
    let (small, large) = (noise(4 * MIB, 1), noise(96 * MIB, 2));
    let (small_digest, large_digest) = (upstream.blob(small.clone()), upstream.blob(large.clone()));
    let cache = Start::new().upstream("docker.io", &upstream.url()).root(&root).through(&script).run();
    assert!(cache.get(&blob(&small_digest)).body == small);
    let answer = cache.get(&blob(&large_digest));
    assert!(answer.status == 200 && answer.whole && answer.body == large, "{}", cache.log());
    let other = noise(4 * MIB, 3);
    let other_digest = upstream.blob(other.clone());
    assert!(cache.get(&blob(&other_digest)).body == other);
    eventually("there is room again", || cache.get(&blob(&other_digest)).outcome() == (200, "HIT"));
    assert_eq!(cache.get("/readyz").status, 200);
}

/// A cap, and more than fits: what is taken up never passes it, and what many want stays.
#[test]
fn the_cap_holds() {
    let upstream = Upstream::start();
    let blobs: Vec<(String, Vec<u8>)> = (0..40)
        .map(|seed: u64| noise((256 << 10) + 20_000 * usize::try_from(seed).unwrap(), seed))
        .map(|bytes| (upstream.blob(bytes.clone()), bytes))
        .collect();
    let cap = 8 << 20;
    let cache = Start::new().upstream("docker.io", &upstream.url()).args(&["--size-cap", "8MiB"]).run();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut samples = 0;
            while !done.load(Ordering::Relaxed) {
                let stats: serde_json::Value =
                    serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
                assert_eq!(stats["capBytes"], cap);
                let taken = stats["storedBytes"].as_u64().unwrap() + stats["reservedBytes"].as_u64().unwrap();
                assert!(taken <= cap, "{stats}");
                samples += 1;
            }
            samples
        });
        let pullers: Vec<_> = (0..4u64)
            .map(|seed| {
                let (cache, blobs) = (&cache, &blobs);
                scope.spawn(move || {
                    let mut state = seed + 1;
                    for _ in 0..40 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        // Zipf, roughly: the first is wanted far more often than the last.
                        let at = (1u64 << ((state >> 33) % 6)) - 1;
                        let at = usize::try_from(at + (state >> 40) % (at + 1)).unwrap().min(39);
                        let (digest, bytes) = &blobs[at];
                        let answer = cache.get(&blob(digest));
                        assert!(answer.status == 200 && answer.body == *bytes, "blob {at}");
                    }
                })
            })
            .collect();
        for puller in pullers {
            puller.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 3);
    });
    assert!(cache.get(&blob(&blobs[0].0)).status == 200);
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out
}

/// Tools that watch tags ask with HEAD, thousands of them: what nothing pulls makes no file.
#[test]
fn a_head_makes_no_file() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    for n in 2..30 {
        upstream.image("library/x", &n.to_string(), &[]);
    }
    let cache = Cache::of("docker.io", &upstream.url());
    let at = |reference: &str| format!("/v2/docker.io/library/x/manifests/{reference}");
    let layer = format!("/v2/docker.io/library/x/blobs/{}", image.layers[0]);
    let kinds = ["manifests", "tags", "grants", "origins", "blobs"];
    let stored = || kinds.iter().flat_map(|kind| files(&cache.root.join(kind))).count();
    for n in 1..30 {
        assert_eq!(cache.head(&at(&n.to_string())).status, 200);
    }
    assert_eq!(cache.head(&layer).status, 200);
    assert_eq!(stored(), 0, "{:?}", files(&cache.root));
    // As containerd pulls: the tag by HEAD, then by digest. That keeps the tag too.
    assert_eq!(cache.get(&at(&image.digest)).outcome(), (200, "HIT"));
    assert_eq!(stored(), 4, "{:?}", files(&cache.root));
    assert_eq!(cache.get(&at("2")).outcome(), (200, "HIT"));
    // Through another repository nothing is noted by a HEAD either.
    upstream.image("library/y", "1", &[b"layer".to_vec()]);
    eventually("it is stored", || cache.get(&layer).outcome() == (200, "HIT"));
    let before = stored();
    for name in ["y", "z"] {
        assert_eq!(cache.head(&layer.replace("/x/", &format!("/{name}/"))).status, 200);
    }
    assert_eq!(stored(), before, "{:?}", files(&cache.root));
    drop(upstream);
    let cache = cache.restart();
    assert_eq!(cache.get(&at("1")).status, 200, "what was pulled is here");
    assert_eq!(cache.get(&at("3")).status, 503, "what was only asked about is not");
}

fn image_of(cache: &Cache, tag: &str) -> u16 {
    cache.get(&format!("/v2/docker.io/library/x/manifests/{tag}")).status
}

#[test]
fn contents_are_listed_and_removed_while_it_runs() {
    let upstream = Upstream::start();
    let shared = b"shared layer".to_vec();
    let (a, b) = (
        upstream.image("library/x", "a", &[shared.clone(), b"a".to_vec()]),
        upstream.image("y/z", "b", &[shared]),
    );
    let cache = Cache::of("docker.io", &upstream.url());
    assert_eq!(image_of(&cache, "a"), 200);
    assert_eq!(cache.get("/v2/docker.io/y/z/manifests/b").status, 200);
    for digest in a.layers.iter().chain([&a.config]) {
        assert_eq!(cache.get(&blob(digest)).status, 200);
    }
    let shared = format!("/v2/docker.io/y/z/blobs/{}", b.layers[0]);
    assert_eq!(cache.get(&shared).status, 200);
    eventually("all is stored", || {
        let list: serde_json::Value = serde_json::from_str(&cache.command(&["ls", "-o", "json"])).unwrap();
        list["items"][0]["missing"] == 0 && list["items"][0]["image"] == "docker.io/library/x:a"
    });
    let table = cache.command(&["ls"]);
    assert!(table.starts_with("IMAGE") && table.contains("docker.io/y/z:b"), "{table}");
    assert_eq!(cache.command(&["prune", "docker.io/library/*", "--dry-run"]), "docker.io/library/x:a\n");
    assert_eq!(cache.command(&["prune", "docker.io/library/*"]), "docker.io/library/x:a\n");
    upstream.forget();
    // What the other image shares is still here; the rest is fetched again.
    assert_eq!(cache.get(&shared).outcome(), (200, "HIT"));
    assert_eq!(cache.get("/v2/docker.io/y/z/manifests/b").outcome(), (200, "HIT"));
    assert_eq!(image_of(&cache, "a"), 200);
    assert_eq!(upstream.count("GET", "/library/x/manifests/"), 1);
    let stats: serde_json::Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    assert_eq!(stats["tags"], 2);
    assert!(cache.command(&["stats"]).contains("MANIFESTS"));
    // The same without a server.
    let (root, dir) = (cache.root.clone(), tempfile::tempdir().unwrap());
    let kept = dir.path().join("kept");
    assert_eq!(Command::new("cp").arg("-a").arg(&root).arg(&kept).status().unwrap().code(), Some(0));
    let _ = std::fs::remove_file(kept.join("control"));
    let output = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
        .args(["ls", "--root", kept.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("docker.io/y/z:b"), "{output:?}");
    assert_eq!(cache.stop(), 0);
}
