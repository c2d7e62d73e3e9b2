//! A cache on a store that fails as it is told to, without a server in front of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fake_bucket::{self, KEY};
use super::gc::{Limits, Timing};
use super::key::Keys;
use super::shared_bucket::Bucket;
use crate::cache::config::{BucketConfig, ByteSize, Config};
use crate::cache::store::{Document, FsConfig, FsStore, Object, Store};
use crate::image::{Algorithm, Digest};
use crate::oci::digest_of;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(super) struct Site {
    pub(super) fake: fake_bucket::Bucket,
    pub(super) store: Arc<FsStore>,
    pub(super) bucket: Bucket,
    pub(super) keys: Keys,
    _folder: tempfile::TempDir,
}

impl Site {
    /// A cache whose collections are so many times as fast as usual.
    pub(super) async fn new(haste: u32, limits: Limits) -> Self {
        let (fake, folder) = (fake_bucket::Bucket::start(), tempfile::tempdir().unwrap());
        let config = FsConfig { reserve: Some(0), ..FsConfig::new(folder.path().join("cache")) };
        let store = Arc::new(FsStore::open(config).await.unwrap());
        let mut bucket = BucketConfig::new(format!("s3://{}/a", fake_bucket::NAME).parse().unwrap());
        (bucket.endpoint, bucket.path_style) = (Some(fake.url().parse().unwrap()), true);
        (bucket.max_age, bucket.max_size) = (limits.age, limits.bytes.map(ByteSize));
        let variables = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(KEY.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("s3cr3t-of-the-bucket".to_owned()),
            _ => None,
        };
        let local = Arc::clone(&store) as Arc<dyn Store>;
        let timing = Timing::USUAL.hastened(haste);
        let (config, root) = (Config::default(), folder.path().join("cache"));
        let opened = Bucket::open_with(&bucket, &config, &root, local, &variables, timing).await;
        let keys = Keys::new("a/".to_owned());
        Self { fake, store, bucket: opened.unwrap(), keys, _folder: folder }
    }

    /// Stores a blob here.
    pub(super) async fn blob(&self, bytes: &[u8]) -> Object {
        let digest = digest_of(Algorithm::Sha256, bytes);
        let mut spool = self.store.spool(Some(bytes.len() as u64)).await.unwrap();
        spool.write(bytes).unwrap();
        self.store.commit(spool, &digest).await.unwrap();
        Object::blob(digest)
    }

    /// Makes a manifest of blobs, and stores it nowhere.
    pub(super) fn manifest(blobs: &[Object]) -> (Digest, Document) {
        let one = |object: &Object| format!(r#"{{"digest":"{}","size":1}}"#, object.digest);
        let layers: Vec<String> = blobs.iter().map(one).collect();
        let config = digest_of(Algorithm::Sha256, b"");
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"digest":"{config}","size":1}},"layers":[{}]}}"#,
            layers.join(",")
        );
        let document = Document { media_type: MANIFEST.to_owned(), bytes: Bytes::from(text) };
        (digest_of(Algorithm::Sha256, &document.bytes), document)
    }

    /// Puts something into the bucket that was written some days ago.
    pub(super) fn put_old(&self, key: &str, bytes: &[u8], days: u64) {
        self.fake.put(key, bytes);
        self.fake.age_of(key, Duration::from_hours(24 * days));
    }
}
