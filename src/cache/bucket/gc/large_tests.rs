//! How much memory a collection of a million things takes: `cargo test --lib a_million_things -- --ignored --nocapture`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::collector::{Outcome, collect};
use super::mark::{Limits, Unit};
use super::place::{Answer, Body, Created, Listed, Part, Place};
use super::snapshot::{Entry, LinkMap, Links, Stored};
use super::timing::Timing;
use crate::cache::store::{Kind, Object};
use crate::image::Digest;

const IMAGES: u64 = 100_000;
const LAYERS: u64 = 9;
/// From which image on no tag stands for one any more.
const UNTAGGED: u64 = 90_000;
const NOW: u64 = 1_800_000_000;
const OLD: u64 = NOW - 40 * 86_400;

/// A bucket that is made up while it is listed.
#[derive(Default)]
struct Large {
    passed: AtomicU64,
    read: AtomicUsize,
    removed: AtomicUsize,
    parts: Mutex<BTreeMap<(u64, Part), Vec<Unit>>>,
}

/// A digest that looks like one of bytes, and from which its number can be read.
fn digest(n: u64) -> Digest {
    let mut bytes = [7; 32];
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&(mixed ^ (mixed >> 29)).to_be_bytes());
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    Digest::sha256(bytes)
}

fn blobs(image: u64) -> impl Iterator<Item = Object> {
    (0..LAYERS).map(move |layer| Object::blob(digest(IMAGES + image * LAYERS + layer)))
}

impl Place for Large {
    fn moment(&self) -> Duration {
        Duration::from_secs(self.passed.load(Ordering::Relaxed))
    }

    async fn sleep(&self, time: Duration) {
        self.passed.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    async fn collections(&self) -> Answer<Vec<Listed>> {
        Ok(Vec::new())
    }

    async fn clock(&self) -> Answer<u64> {
        Ok(NOW)
    }

    async fn create(&self, number: u64, part: Part, body: Body) -> Answer<Created> {
        let units = if let Body::Condemned(units) = body { units } else { Vec::new() };
        self.parts.lock().unwrap().insert((number, part), units);
        Ok(Created::Yes)
    }

    async fn beat(&self, _: u64) -> Answer<()> {
        Ok(())
    }

    async fn condemned(&self, number: u64) -> Answer<Option<HashSet<Unit>>> {
        let parts = self.parts.lock().unwrap();
        Ok(parts.get(&(number, Part::Condemned)).map(|units| units.iter().cloned().collect()))
    }

    async fn tags(&self, mut each: impl FnMut(Entry) + Send) -> Answer<()> {
        for image in 0..UNTAGGED {
            let tag = format!("talmirror/tags/{:064x}", image.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let key = format!("{tag}/{:020}-sha256-{}", u64::MAX - OLD, digest(image).hex());
            each(Entry { key: key.into(), tag: tag.len(), what: Some(digest(image)), written: OLD });
        }
        Ok(())
    }

    async fn objects(&self, kind: Kind, mut each: impl FnMut(Object, Stored) + Send) -> Answer<()> {
        for image in 0..IMAGES {
            let stored = Stored { bytes: 1000, written: OLD };
            match kind {
                Kind::Manifest => each(Object::manifest(digest(image)), stored),
                Kind::Blob => blobs(image).for_each(|object| each(object, stored)),
            }
        }
        Ok(())
    }

    async fn grants(&self, mut each: impl FnMut(Object, String, u64) + Send) -> Answer<()> {
        for image in 0..IMAGES {
            for object in blobs(image).chain([Object::manifest(digest(image))]) {
                let (kind, hex) = (object.kind.as_str(), object.digest.hex());
                let key = format!("talmirror/grants/{kind}s/sha256/{hex}/docker.io/library/image-{image}");
                each(object, key, OLD);
            }
        }
        Ok(())
    }

    async fn is_there(&self, _: Object) -> Answer<bool> {
        Ok(false)
    }

    async fn links(&self, manifest: Digest) -> Answer<Option<Links>> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let image = u64::from_be_bytes(manifest.bytes()[24..].try_into().unwrap());
        Ok(Some(Links { refers: blobs(image).collect(), subject: None }))
    }

    async fn remove(&self, _: Object) -> Answer<()> {
        self.removed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn remove_key(&self, _: String) -> Answer<()> {
        Ok(())
    }

    async fn remove_part(&self, _: u64, _: Part) -> Answer<()> {
        Ok(())
    }

    async fn think<T: Send + 'static>(&self, run: impl FnOnce() -> T + Send + 'static) -> T {
        run()
    }
}

/// The most memory that this process has had so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[tokio::test]
#[ignore = "takes minutes, and its process has to do nothing else"]
async fn a_million_things_take_less_than_300_mib() {
    let (place, mut links, begun, before) = (Large::default(), LinkMap::new(), Instant::now(), peak());
    for times in 1..=2 {
        let timing = Timing::USUAL;
        let stop = std::future::pending();
        let outcome = collect(&place, &timing, Limits::default(), &mut links, stop).await.unwrap();
        let Outcome::Collected(collected, None) = outcome else { panic!("{outcome:?}") };
        assert_eq!((collected.manifests, collected.blobs, collected.left), (10_000, 40_000, 50_000));
        assert_eq!(place.removed.load(Ordering::Relaxed), times * 50_000);
    }
    // Nothing is forgotten of what was read.
    assert_eq!(place.read.load(Ordering::Relaxed), usize::try_from(IMAGES).unwrap());
    let (peak, took) = (peak() - before, begun.elapsed());
    eprintln!("{peak} MiB, two collections in {took:?}");
    // It was 262 when it was measured, what stands for the bucket included.
    assert!(peak < 300, "{peak} MiB");
}
