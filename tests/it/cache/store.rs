//! The store in a folder: what it keeps, what it gives up, and how it starts.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use talmirror::cache::store::{Document, FsConfig, FsStore, Naming, Object, Store, TagRecord, Usage};
use talmirror::image::Digest;

use super::conformance::{conforms, content, origin, put, read};

const MIB: u64 = 1 << 20;

pub fn config(root: &Path, cap: u64) -> FsConfig {
    FsConfig { cap: Some(cap), reserve: Some(0), ..FsConfig::new(root.to_owned()) }
}

async fn open(root: &Path, cap: u64) -> FsStore {
    FsStore::open(config(root, cap)).await.unwrap()
}

fn blob_path(root: &Path, digest: &Digest) -> std::path::PathBuf {
    let hex = digest.hex();
    root.join("blobs").join("sha256").join(&hex[..2]).join(&hex)
}

async fn has(store: &FsStore, digest: &Digest) -> bool {
    store.open(digest).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_a_store() {
    for naming in [None, Some(Naming::Temporary), Some(Naming::Unnamed)] {
        let dir = tempfile::tempdir().unwrap();
        let config = FsConfig { naming, ..config(&dir.path().join("new/folder"), 64 * MIB) };
        conforms(Arc::new(FsStore::open(config).await.unwrap())).await;
    }
}

#[tokio::test]
async fn one_process_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let error = FsStore::open(config(dir.path(), 64 * MIB)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("locked by process {}", std::process::id())), "{error}");
    drop(store);
    // A background task may still be at work for a moment.
    let until = Instant::now() + Duration::from_secs(10);
    while FsStore::open(config(dir.path(), 64 * MIB)).await.is_err() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn closing_keeps_everything_and_the_next_start_looks_at_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let (a, b) = (content(1, 5000), content(2, 2 << 20));
    let (a, b) = (put(&store, &a).await.unwrap(), put(&store, &b).await.unwrap());
    assert!(has(&store, &a).await && has(&store, &a).await);
    let mut before = store.list().await.unwrap();
    before.sort_by_key(|listed| listed.object);
    store.close().await.unwrap();
    drop(store);
    // Were the folders looked at, this would be found.
    let stray = content(3, 10);
    let stray_digest = talmirror::oci::digest_of(talmirror::image::Algorithm::Sha256, &stray);
    std::fs::create_dir_all(blob_path(dir.path(), &stray_digest).parent().unwrap()).unwrap();
    std::fs::write(blob_path(dir.path(), &stray_digest), &stray).unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let mut after = store.list().await.unwrap();
    after.sort_by_key(|listed| listed.object);
    assert_eq!(after, before);
    assert_eq!(after.iter().find(|listed| listed.object == Object::blob(a)).unwrap().hits, 2);
    assert!(has(&store, &b).await && !has(&store, &stray_digest).await);
}

#[tokio::test]
async fn uses_reach_the_disk_without_an_orderly_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let digest = put(&store, &content(1, 5000)).await.unwrap();
    assert!(has(&store, &digest).await);
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(dir.path().join("index")).unwrap().contains("used blob") {
        assert!(Instant::now() < until, "uses were not written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_keeps_no_other_from_being_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let digest = put(&store, &content(1, 5000)).await.unwrap();
    let checked_at = jiff::Timestamp::now();
    for name in ["1", "2", "3"] {
        let (origin, tag, media_type) = (origin("a"), name.parse().unwrap(), "application/json".to_owned());
        store.put_tag(&TagRecord { origin, tag, digest, media_type, checked_at }).await.unwrap();
    }
    assert_eq!(store.usage().await.unwrap().tags, 3);
    store.close().await.unwrap();
    drop(store);
    let tags = dir.path().join("tags");
    let shelf = std::fs::read_dir(tags).unwrap().next().unwrap().unwrap().path();
    let broken = std::fs::read_dir(shelf).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&broken).unwrap();
    std::fs::create_dir(&broken).unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    assert_eq!(store.usage().await.unwrap().tags, 2);
}

#[tokio::test]
async fn what_is_damaged_is_removed_and_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let bytes = content(1, 5000);
    let digest = put(&store, &bytes).await.unwrap();
    for damage in [&b""[..], &bytes[..4999], &[&bytes[..], b"x"].concat()] {
        std::fs::write(blob_path(dir.path(), &digest), damage).unwrap();
        assert!(!has(&store, &digest).await);
        assert!(!blob_path(dir.path(), &digest).exists());
        // It can be fetched again.
        put(&store, &bytes).await.unwrap();
        let blob = store.open(&digest).await.unwrap().unwrap();
        assert_eq!(read(blob.body(None)).await.unwrap(), bytes);
    }
    assert_eq!(store.usage().await.unwrap().damaged, 3);
    std::fs::remove_file(blob_path(dir.path(), &digest)).unwrap();
    assert!(!store.remove(&Object::blob(digest)).await.unwrap());
    assert_eq!(store.usage().await.unwrap().stored, 0);

    let document = talmirror::cache::store::Document {
        media_type: "application/json".to_owned(),
        bytes: b"{}".to_vec().into(),
    };
    let digest = talmirror::oci::digest_of(talmirror::image::Algorithm::Sha256, b"{}");
    store.put_manifest(&digest, &document).await.unwrap();
    let hex = digest.hex();
    let path = dir.path().join("manifests/sha256").join(&hex[..2]).join(&hex);
    std::fs::write(&path, "application/json\n{]").unwrap();
    assert_eq!(store.manifest(&digest).await.unwrap(), None);
    assert!(!path.exists());
}

/// A check of something large that goes on while the store is closed.
#[tokio::test]
async fn what_is_found_out_after_the_end_casts_no_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let digest = put(&store, &content(1, 2 << 20)).await.unwrap();
    store.close().await.unwrap();
    store.verify(&Object::blob(digest)).await.unwrap();
    drop(store);
    let index = std::fs::read_to_string(dir.path().join("index")).unwrap();
    assert_eq!(index.lines().last(), Some("end"), "{index}");
}

/// A file that nobody asks for, damaged on the disk: within its time, a check finds it.
#[tokio::test(start_paused = true)]
async fn all_that_is_stored_is_checked_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let (bad, good) =
        (put(&store, &content(1, 5000)).await.unwrap(), put(&store, &content(2, 5000)).await.unwrap());
    let mut damaged = content(1, 5000).to_vec();
    damaged[100] ^= 1;
    std::fs::write(blob_path(dir.path(), &bad), damaged).unwrap();
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if store.usage().await.unwrap().damaged > 0 {
            break;
        }
    }
    assert_eq!(store.usage().await.unwrap().damaged, 1);
    assert!(!blob_path(dir.path(), &bad).exists() && has(&store, &good).await);
}

/// The index as it is after the machine, and not just the process, went down.
fn as_after_power_failure(root: &Path) {
    let index = std::fs::read_to_string(root.join("index")).unwrap();
    let lines: Vec<_> = index
        .lines()
        .map(|line| if line.starts_with("start") { "start 1 another-boot" } else { line })
        .filter(|line| *line != "end")
        .collect();
    std::fs::write(root.join("index"), lines.join("\n") + "\n").unwrap();
}

#[tokio::test]
async fn after_a_power_failure_what_was_not_on_the_disk_is_hashed_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let mut digests = Vec::new();
    for n in 0..6 {
        digests.push(put(&store, &content(n, 10_000)).await.unwrap());
    }
    store.close().await.unwrap();
    drop(store);
    as_after_power_failure(dir.path());
    // What a file system may leave: nothing, zeros, half, no name; and one that the index lost.
    std::fs::write(blob_path(dir.path(), &digests[0]), b"").unwrap();
    std::fs::write(blob_path(dir.path(), &digests[1]), vec![0; 10_000]).unwrap();
    std::fs::write(blob_path(dir.path(), &digests[2]), &content(2, 10_000)[..4096]).unwrap();
    std::fs::remove_file(blob_path(dir.path(), &digests[3])).unwrap();
    let index = std::fs::read_to_string(dir.path().join("index")).unwrap();
    let hex = digests[4].hex();
    let kept: Vec<_> = index.lines().filter(|line| !line.contains(&hex)).collect();
    std::fs::write(dir.path().join("index"), kept.join("\n") + "\nput blob sha2").unwrap();

    let store = open(dir.path(), 64 * MIB).await;
    for (n, digest) in (0..).zip(&digests) {
        match store.open(digest).await.unwrap() {
            Some(blob) => {
                assert!(n >= 4, "{n}");
                assert_eq!(read(blob.body(None)).await.unwrap(), content(n, 10_000));
            }
            None => assert!(n < 4, "{n}"),
        }
    }
    assert_eq!(store.list().await.unwrap().len(), 2);
    assert_eq!(store.usage().await.unwrap().stored, 2 * 12_288);
    drop(store);
}

#[tokio::test]
async fn a_lost_index_costs_a_look_at_every_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    let bytes = content(1, 10_000);
    let (right, wrong) =
        (put(&store, &bytes).await.unwrap(), put(&store, &content(2, 10_000)).await.unwrap());
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_file(dir.path().join("index")).unwrap();
    std::fs::write(blob_path(dir.path(), &wrong), vec![7; 10_000]).unwrap();
    std::fs::write(dir.path().join(".tmp/left-over"), b"half a blob").unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    assert!(!dir.path().join(".tmp/left-over").exists());
    assert_eq!(store.usage().await.unwrap().blobs, 2);
    assert!(has(&store, &right).await && !has(&store, &wrong).await);
}

#[tokio::test]
async fn pinned_things_stay_and_shared_ones_survive() {
    let dir = tempfile::tempdir().unwrap();
    let pins: talmirror::cache::store::Pins =
        Arc::new(|origin| origin.repository.as_str().starts_with("siderolabs/"));
    let config = FsConfig { pins: Some(pins), ..config(dir.path(), 16 * MIB) };
    let store = FsStore::open(config).await.unwrap();
    let pinned = put(&store, &content(1, 1 << 20)).await.unwrap();
    store.grant(&origin("siderolabs/installer"), &Object::blob(pinned)).await.unwrap();
    let shared = put(&store, &content(2, 1 << 20)).await.unwrap();
    for image in ["library/a", "library/b"] {
        store.grant(&origin(image), &Object::blob(shared)).await.unwrap();
    }
    let mut others = Vec::new();
    for n in 10..60 {
        assert!(has(&store, &shared).await, "{n}: every image is pulled with the layer they share");
        let other = put(&store, &content(n, 1 << 20)).await.unwrap();
        store.grant(&origin("library/a"), &Object::blob(other)).await.unwrap();
        others.push(other);
    }
    assert!(has(&store, &pinned).await && has(&store, &shared).await);
    let usage = store.usage().await.unwrap();
    assert!(usage.evicted >= 35, "{usage:?}");
    assert!(usage.stored <= usage.cap);
    // When all that is left is pinned, nothing more is kept, and that shows.
    for listed in store.list().await.unwrap() {
        store.grant(&origin("siderolabs/kubelet"), &listed.object).await.unwrap();
    }
    let mut n = 100;
    let error = loop {
        match put(&store, &content(n, 1 << 20)).await {
            Ok(digest) => {
                store.grant(&origin("siderolabs/kubelet"), &Object::blob(digest)).await.unwrap();
            }
            Err(error) => break error,
        }
        n += 1;
        assert!(n < 130);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(store.usage().await.unwrap().full);
    assert!(has(&store, &pinned).await);
    store.set_pins(None);
    put(&store, &content(n, 1 << 20)).await.unwrap();
    assert!(!store.usage().await.unwrap().full);
}

/// What all files below a folder take on the disk, each once.
fn disk_usage(root: &Path) -> u64 {
    fn walk(dir: &Path, out: &mut HashMap<u64, u64>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let Ok(meta) = std::fs::symlink_metadata(entry.path()) else { continue };
            out.insert(meta.ino(), meta.blocks() * 512);
            if meta.is_dir() {
                walk(&entry.path(), out);
            }
        }
    }
    let mut out = HashMap::new();
    walk(root, &mut out);
    out.values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_holds_at_every_moment_and_what_is_popular_stays() {
    let cap = 48 * MIB;
    let dir = tempfile::tempdir().unwrap();
    // With names for what is unfinished, so that it is seen from outside.
    let config = FsConfig { naming: Some(Naming::Temporary), ..config(dir.path(), cap) };
    let store = Arc::new(FsStore::open(config).await.unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let sampler = {
        let (done, root) = (Arc::clone(&done), dir.path().to_owned());
        std::thread::spawn(move || {
            let (mut peak, mut samples) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                peak = disk_usage(&root).max(peak);
                samples += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            (peak, samples)
        })
    };
    // Zipf: the n-th is asked for 1/n times as often as the first.
    let objects = 400_u64;
    let weights: Vec<f64> = (1..=400).map(|rank| 1.0 / f64::from(rank)).collect();
    let all: f64 = weights.iter().sum();
    let pick = |random: f64| {
        let mut left = random * all;
        weights.iter().position(|weight| {
            left -= weight;
            left <= 0.0
        })
    };
    let mut tasks = tokio::task::JoinSet::new();
    let (mut hits, mut pulls) = (0, 0);
    for (n, pair) in content(99, 1600 * 4).chunks(4).enumerate() {
        let random = f64::from(u32::from_le_bytes(pair.try_into().unwrap())) / f64::from(u32::MAX);
        let rank = pick(random).unwrap_or(0) as u64;
        let store = Arc::clone(&store);
        let size = 4096 << (rank * 7 % 9); // 4 KiB to 1 MiB
        tasks.spawn(async move {
            let bytes = content(rank, size);
            let digest = talmirror::oci::digest_of(talmirror::image::Algorithm::Sha256, &bytes);
            if let Some(blob) = store.open(&digest).await.unwrap() {
                assert!(read(blob.body(None)).await.unwrap() == bytes);
                return true;
            }
            put(&*store, &bytes).await.unwrap();
            false
        });
        if n % 6 == 5 {
            while let Some(hit) = tasks.join_next().await {
                hits += u32::from(hit.unwrap());
                pulls += 1;
            }
        }
    }
    while let Some(hit) = tasks.join_next().await {
        hits += u32::from(hit.unwrap());
        pulls += 1;
    }
    done.store(true, Ordering::Relaxed);
    let (peak, samples) = sampler.join().unwrap();
    let usage = store.usage().await.unwrap();
    assert!(samples > 50, "{samples} samples");
    assert!(peak <= cap, "{peak} of {cap}");
    assert!(peak > cap / 2 && usage.evicted > 0 && objects > usage.blobs, "{peak} {usage:?}");
    assert!(hits * 2 > pulls, "{hits} hits of {pulls}");
}

/// What else lies in the folder, such as what a volume has, is not ours to read or to count.
#[tokio::test]
async fn folders_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let own = async || {
        let store = open(dir.path(), MIB).await;
        let own = store.usage().await.unwrap().own;
        store.close().await.unwrap();
        own
    };
    // The first makes its own folders.
    own().await;
    let before = own().await;
    let other = dir.path().join("lost+found");
    std::fs::create_dir_all(other.join("a/b/c")).unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(own().await, before);
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o700)).unwrap();
}

/// Tags, grants and the folders for them are counted too, and go with their manifests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_tags_stay_under_the_cap() {
    let (cap, dir) = (2 * MIB, tempfile::tempdir().unwrap());
    let store = open(dir.path(), cap).await;
    let mut last = None;
    for n in 0..400_u64 {
        let bytes = bytes::Bytes::from(format!("{{\"n\":{n}}}"));
        let digest = talmirror::oci::digest_of(talmirror::image::Algorithm::Sha256, &bytes);
        let media_type = "application/json".to_owned();
        store.put_manifest(&digest, &Document { media_type: media_type.clone(), bytes }).await.unwrap();
        // Each from a repository of its own.
        let origin = origin(&format!("library/r{n}"));
        store.grant(&origin, &Object::manifest(digest)).await.unwrap();
        let checked_at = jiff::Timestamp::now();
        let record = TagRecord { origin, tag: "latest".parse().unwrap(), digest, media_type, checked_at };
        store.put_tag(&record).await.unwrap();
        last = Some(record);
        if n % 100 == 99 {
            assert!(disk_usage(dir.path()) <= cap, "{} after {n}", disk_usage(dir.path()));
        }
    }
    let (usage, last) = (store.usage().await.unwrap(), last.unwrap());
    assert!(usage.manifests > 20 && usage.evicted > 200 && !usage.full, "{usage:?}");
    // The last evictions may go on meanwhile.
    let until = Instant::now() + Duration::from_secs(20);
    while store.tags().await.unwrap().len() as u64 != store.usage().await.unwrap().manifests {
        assert!(Instant::now() < until, "tags do not go with their manifests");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.tag(&last.origin, &last.tag).await.unwrap(), Some(last));
    // What an earlier process has left is counted by the next.
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path(), cap).await;
    let until = Instant::now() + Duration::from_secs(20);
    // The level may be lowered meanwhile: what is left is to be counted in proportion.
    let is_counted = |now: &Usage| now.own >= usage.own * now.manifests / usage.manifests * 9 / 10;
    while !is_counted(&store.usage().await.unwrap()) {
        assert!(Instant::now() < until, "{:?} after {usage:?}", store.usage().await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whoever only looks into a store lowers no level: his cap is not the server's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_evicts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 64 * MIB).await;
    for n in 0..8 {
        put(&store, &content(n, 1 << 20)).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let blobs = async |tended: bool| {
        let config = FsConfig { tended, ..config(dir.path(), 4 * MIB) };
        let store = FsStore::open(config).await.unwrap();
        // Tending begins at once; for this long it had time to evict.
        let until = Instant::now() + Duration::from_secs(if tended { 10 } else { 1 });
        while Instant::now() < until && store.usage().await.unwrap().blobs == 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let found = store.usage().await.unwrap().blobs;
        store.close().await.unwrap();
        found
    };
    assert_eq!(blobs(false).await, 8);
    assert!(blobs(true).await < 8);
}
