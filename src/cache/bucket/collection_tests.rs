use std::time::Duration;

use jiff::Timestamp;

use super::super::fake_bucket::Fault;
use super::super::gc::{Limits, Timing};
use super::super::key::{Audience, TagEntry, tag_entry};
use super::super::testing::Site;
use super::*;
use crate::cache::store::Origin;
use crate::image::Algorithm;
use crate::oci::digest_of;

/// How old what is not needed is, in days.
const OLD: u64 = 40;

fn blob(n: u32) -> Object {
    Object::blob(digest_of(Algorithm::Sha256, &n.to_le_bytes()))
}

impl Site {
    fn put_blobs(&self, count: u32) {
        for n in 0..count {
            self.put_old(&self.keys.object(&blob(n)), &n.to_le_bytes(), OLD);
        }
    }

    async fn cycle(&self, most: usize) -> Result<Cycled, Failed> {
        let timing = Timing { most, ..Timing::USUAL.hastened(60) };
        let client = &self.bucket.inner().client;
        let cycle = Cycle::new(client, self.keys.clone(), timing, Limits::default());
        cycle.run(std::future::pending()).await
    }
}

#[tokio::test]
async fn what_is_too_much_for_one_collection_goes_at_once_in_the_next() {
    let site = Site::new(1, Limits::default()).await;
    site.put_blobs(1200);
    let Ok(Cycled::Collected(collected, _, None)) = site.cycle(500).await else { panic!() };
    assert_eq!((collected.blobs, collected.left, collected.number), (1200, 0, 3));
    assert_eq!(site.fake.keys("/blobs/").len(), 0);
}

#[tokio::test]
async fn what_cannot_be_removed_is_left_with_what_it_refers_to() {
    let site = Site::new(1, Limits::default()).await;
    site.put_blobs(3);
    let (digest, document) = Site::manifest(&[blob(0), blob(1)]);
    let manifest = site.keys.object(&Object::manifest(digest));
    site.put_old(&manifest, &document.write(), OLD);
    site.fake.ill(&["DELETE"], &manifest, Fault::Error(500, "InternalError"));
    let Ok(Cycled::Collected(collected, _, Some(why))) = site.cycle(500).await else { panic!() };
    assert!(why.to_string().contains("InternalError"), "{why}");
    assert_eq!((collected.manifests, collected.blobs, collected.failed), (0, 1, 1));
    assert_eq!(site.fake.count("DELETE", &manifest), 3, "it is tried again");
    let left = [0, 1, 2].map(|n| site.fake.get(&site.keys.object(&blob(n))).is_some());
    assert_eq!(left, [true, true, false]);
    site.fake.heal();
    let Ok(Cycled::Collected(collected, _, None)) = site.cycle(500).await else { panic!() };
    assert_eq!((collected.manifests, collected.blobs, collected.failed), (1, 2, 0));
}

#[tokio::test]
async fn a_manifest_is_read_once_for_all_collections() {
    let site = Site::new(1, Limits::default()).await;
    let (digest, document) = Site::manifest(&[blob(0)]);
    let manifest = site.keys.object(&Object::manifest(digest));
    site.put_old(&manifest, &document.write(), 10);
    let inner = site.bucket.inner();
    for times in 0..3 {
        let timing = Timing::USUAL.hastened(60);
        let cycle = Cycle::new(&inner.client, site.keys.clone(), timing, Limits::default());
        let cycle = cycle.knowing(Arc::clone(&inner.links), Vec::new());
        site.put_blobs(2);
        let Ok(Cycled::Collected(collected, _, None)) = cycle.run(std::future::pending()).await else {
            panic!()
        };
        assert_eq!((collected.blobs, collected.kept), (1, 2), "{times}");
    }
    assert_eq!(site.fake.count("GET", &manifest), 1);
}

/// What no list says is there may be in use.
#[tokio::test]
async fn lists_that_are_not_whole_end_a_collection() {
    let site = Site::new(1, Limits::default()).await;
    site.put_blobs(30);
    let (digest, document) = Site::manifest(&[blob(0)]);
    let manifest = Object::manifest(digest);
    site.put_old(&site.keys.object(&manifest), &document.write(), OLD);
    let origin = Origin { registry: "docker.io".parse().unwrap(), repository: "library/x".parse().unwrap() };
    let grant = site.keys.grant(&manifest, &origin, Audience::Everyone);
    let at = Timestamp::now() - Duration::from_hours(24 * OLD);
    let tag = site.keys.tag(&origin, &"1.0.0".parse().unwrap(), Audience::Everyone);
    let tag = format!("{tag}{}", tag_entry(at, TagEntry::Is(digest)));
    for key in [&grant, &tag] {
        site.put_old(key, b"", OLD);
    }
    let all = site.fake.keys("").len();
    let ended = async |what: &str| {
        let why = site.cycle(500).await.unwrap_err();
        assert!(why.to_string().contains("not whole"), "{what}: {why}");
        assert_eq!(
            site.fake.keys("").iter().filter(|key| !key.contains("/collections/")).count(),
            all,
            "{what}"
        );
        site.fake.show();
    };
    site.fake.cut_lists(20, false);
    // The tags are not seen, and the blobs that come later are not, either.
    site.put_old("a/tags/0", b"", 1);
    for n in 0..30 {
        site.put_old(&format!("a/tags/{n:064}/1-gone"), b"", 1);
    }
    let why = site.cycle(500).await.unwrap_err();
    assert!(why.to_string().contains("does not list it"), "{why}");
    site.fake.show();
    for key in site.fake.keys("a/tags/0") {
        site.fake.remove(&key);
    }
    site.fake.hide("a/manifests/");
    ended("the manifests").await;
    site.fake.remove(&grant);
    site.fake.hide("a/manifests/");
    let all = all - 1;
    let why = site.cycle(500).await.unwrap_err();
    assert!(why.to_string().contains("not whole"), "by what the tag is: {why}");
    assert_eq!(site.fake.keys("").iter().filter(|key| !key.contains("/collections/")).count(), all);
    site.fake.show();
    // What this cache has written.
    let inner = site.bucket.inner();
    let cycle = Cycle::new(&inner.client, site.keys.clone(), Timing::USUAL.hastened(60), Limits::default());
    let cycle = cycle.knowing(Arc::default(), vec![tag.clone(), grant]);
    site.fake.hide(&tag);
    let why = cycle.run(std::future::pending()).await.unwrap_err();
    assert!(why.to_string().contains(&tag), "{why}");
    site.fake.show();
    let Ok(Cycled::Collected(collected, _, None)) = site.cycle(500).await else { panic!() };
    assert_eq!((collected.manifests, collected.blobs), (0, 29));
}
