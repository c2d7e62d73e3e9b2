//! What every kind of store must do: one suite, which takes any [`Store`].

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use talmirror::cache::store::{Document, Object, Origin, RecordKind, ReferrersRecord, Store, TagRecord};
use talmirror::http::{Body, Piece};
use talmirror::image::{Algorithm, Digest};
use talmirror::oci::{Span, digest_of};

pub fn origin(repository: &str) -> Origin {
    Origin { registry: "docker.io".parse().unwrap(), repository: repository.parse().unwrap() }
}

/// Bytes that differ with the seed.
pub fn content(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out.into()
}

/// Stores a blob as a fetch does; blocking calls where they belong.
pub async fn put(store: &dyn Store, bytes: &Bytes) -> std::io::Result<Digest> {
    let digest = digest_of(Algorithm::Sha256, bytes);
    let mut spool = store.spool(Some(bytes.len() as u64)).await?;
    let bytes = bytes.clone();
    let spool = tokio::task::spawn_blocking(move || {
        for chunk in bytes.chunks(60_000) {
            spool.write(chunk)?;
        }
        std::io::Result::Ok(spool)
    })
    .await
    .unwrap()?;
    store.commit(spool, &digest).await?;
    Ok(digest)
}

/// Reads a body to its end.
pub async fn read(body: Body) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let len = body.len();
    let mut take = |piece: Piece| {
        assert!(!piece.is_empty());
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
            Piece::File { file, offset, len } => {
                let at = out.len();
                out.resize(at + usize::try_from(len).unwrap(), 0);
                file.read_exact_at(&mut out[at..], offset).unwrap();
            }
        }
    };
    match body {
        Body::Empty => {}
        Body::Piece(piece) => take(piece),
        Body::Pieces { mut pieces, .. } => {
            while let Some(piece) = pieces.next().await? {
                take(piece);
            }
        }
    }
    assert_eq!(out.len() as u64, len);
    Ok(out)
}

/// Runs everything against an empty store with room for 64 MiB.
pub async fn conforms(store: Arc<dyn Store>) {
    blobs(&*store).await;
    manifests(&*store).await;
    grants(&*store).await;
    records(&*store).await;
    together(store).await;
}

async fn blobs(store: &dyn Store) {
    let absent = digest_of(Algorithm::Sha256, b"nobody stored this");
    assert!(store.open(&absent).await.unwrap().is_none());
    assert!(!store.remove(&Object::blob(absent)).await.unwrap());
    for size in [0, 1, 4096, 300_000] {
        let bytes = content(1, size);
        let digest = put(store, &bytes).await.unwrap();
        let blob = store.open(&digest).await.unwrap().unwrap();
        assert_eq!(blob.len(), size as u64);
        assert_eq!(read(blob.body(None)).await.unwrap(), bytes);
        if size > 10 {
            let span = Span::new(7, size as u64 - 2);
            assert_eq!(read(blob.body(span)).await.unwrap(), bytes[7..size - 1]);
        }
        // What is there already is success, and changes nothing.
        assert_eq!(put(store, &bytes).await.unwrap(), digest);
        assert_eq!(read(store.open(&digest).await.unwrap().unwrap().body(None)).await.unwrap(), bytes);
    }
    // The longest digests there are.
    let bytes = content(2, 10);
    let long = digest_of(Algorithm::Sha512, &bytes);
    let mut spool = store.spool(None).await.unwrap();
    spool.write(&bytes).unwrap();
    assert_eq!(spool.written(), 10);
    let mut head = [0; 3];
    spool.file().read_exact_at(&mut head, 0).unwrap();
    assert_eq!(head, bytes[..3], "what is written can be read before it is committed");
    store.commit(spool, &long).await.unwrap();
    assert_eq!(store.open(&long).await.unwrap().unwrap().len(), 10);

    // What is not committed is not there, and gives its room back.
    let before = store.usage().await.unwrap();
    let mut spool = store.spool(Some(1 << 20)).await.unwrap();
    assert_eq!(store.usage().await.unwrap().reserved, before.reserved + (1 << 20));
    spool.write(&content(3, 1 << 20)).unwrap();
    spool.rewind().unwrap();
    assert_eq!(spool.written(), 0);
    drop(spool);
    assert_eq!(store.usage().await.unwrap().reserved, before.reserved);
    assert_eq!(store.usage().await.unwrap().stored, before.stored);

    // Removed under a reader: he reads on, others do not find it.
    let bytes = content(4, 200_000);
    let digest = put(store, &bytes).await.unwrap();
    let blob = store.open(&digest).await.unwrap().unwrap();
    assert!(store.remove(&Object::blob(digest)).await.unwrap());
    assert!(store.open(&digest).await.unwrap().is_none());
    assert_eq!(read(blob.body(None)).await.unwrap(), bytes);
    let mut whole = Vec::new();
    blob.file().as_ref().read_to_end(&mut whole).unwrap();
    assert_eq!(whole, bytes);
    assert!(!store.list().await.unwrap().iter().any(|listed| listed.object == Object::blob(digest)));

    // More than all the room there is.
    let error = store.spool(Some(1 << 40)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

async fn manifests(store: &dyn Store) {
    let document = Document {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        bytes: Bytes::from_static(b"{\n  \"schemaVersion\": 2\n}\n"),
    };
    let digest = digest_of(Algorithm::Sha256, &document.bytes);
    assert_eq!(store.manifest(&digest).await.unwrap(), None);
    store.put_manifest(&digest, &document).await.unwrap();
    assert_eq!(store.manifest(&digest).await.unwrap(), Some(document.clone()));
    // The same bytes as a blob are another thing.
    assert!(store.open(&digest).await.unwrap().is_none());
    // The last media type counts.
    let other = Document { media_type: "application/json".to_owned(), ..document };
    store.put_manifest(&digest, &other).await.unwrap();
    assert_eq!(store.manifest(&digest).await.unwrap(), Some(other));
    store.touch(&Object::manifest(digest));
    let listed = store.list().await.unwrap();
    let listed = listed.iter().find(|listed| listed.object == Object::manifest(digest)).unwrap();
    assert!(listed.hits >= 2);
    assert_eq!(store.usage().await.unwrap().manifests, 1);
    assert!(store.remove(&Object::manifest(digest)).await.unwrap());
    assert_eq!(store.manifest(&digest).await.unwrap(), None);
    assert_eq!(store.usage().await.unwrap().manifests, 0);
}

async fn grants(store: &dyn Store) {
    let digest = put(store, &content(5, 100)).await.unwrap();
    let (blob, manifest) = (Object::blob(digest), Object::manifest(digest));
    let (a, b) = (origin("library/a"), origin("library/b"));
    assert!(!store.granted(&a, &blob).await.unwrap());
    store.grant(&a, &blob).await.unwrap();
    store.grant(&a, &blob).await.unwrap();
    assert!(store.granted(&a, &blob).await.unwrap());
    assert!(!store.granted(&b, &blob).await.unwrap(), "another repository");
    assert!(!store.granted(&a, &manifest).await.unwrap(), "another kind");
    store.grant(&b, &blob).await.unwrap();
    let mut origins = store.origins(&blob).await.unwrap();
    origins.sort();
    assert_eq!(origins, [a.clone(), b]);
    assert!(store.remove(&blob).await.unwrap());
    assert!(!store.granted(&a, &blob).await.unwrap(), "grants go with the object");
    assert_eq!(store.origins(&blob).await.unwrap(), []);
}

async fn records(store: &dyn Store) {
    let (a, b) = (origin("library/a"), origin("library/b"));
    let tag = "latest".parse().unwrap();
    assert_eq!(store.tag(&a, &tag).await.unwrap(), None);
    assert_eq!(store.tags().await.unwrap(), []);
    let record = |origin: &Origin, second: i64| TagRecord {
        origin: origin.clone(),
        tag: "latest".parse().unwrap(),
        digest: digest_of(Algorithm::Sha256, b"x"),
        media_type: "application/json".to_owned(),
        checked_at: jiff::Timestamp::from_second(second).unwrap(),
    };
    store.put_tag(&record(&a, 1)).await.unwrap();
    store.put_tag(&record(&a, 2)).await.unwrap();
    store.put_tag(&record(&b, 3)).await.unwrap();
    assert_eq!(store.tag(&a, &tag).await.unwrap(), Some(record(&a, 2)));
    let mut tags = store.tags().await.unwrap();
    tags.sort_by_key(|record| record.checked_at);
    assert_eq!(tags, [record(&a, 2), record(&b, 3)]);
    assert!(store.remove_tag(&a, &tag).await.unwrap());
    assert!(!store.remove_tag(&a, &tag).await.unwrap());
    assert_eq!(store.tag(&a, &tag).await.unwrap(), None);

    let referrers = ReferrersRecord {
        origin: a.clone(),
        subject: digest_of(Algorithm::Sha256, b"x"),
        index: Bytes::from_static(b"{ \"manifests\": [] }"),
        checked_at: jiff::Timestamp::from_second(4).unwrap(),
    };
    assert_eq!(store.referrers(&a, &referrers.subject).await.unwrap(), None);
    store.put_referrers(&referrers).await.unwrap();
    assert_eq!(store.referrers(&a, &referrers.subject).await.unwrap(), Some(referrers.clone()));
    assert_eq!(store.referrers(&b, &referrers.subject).await.unwrap(), None);
    assert_eq!(store.records(RecordKind::Referrers).await.unwrap().len(), 1);
}

/// Many at once, several of them the same.
async fn together(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..48_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let bytes = content(100 + n % 16, 20_000);
            let digest = put(&*store, &bytes).await.unwrap();
            if n % 5 == 0 {
                store.remove(&Object::blob(digest)).await.unwrap();
            }
            if let Some(blob) = store.open(&digest).await.unwrap() {
                assert_eq!(read(blob.body(None)).await.unwrap(), bytes);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.usage().await.unwrap().reserved, 0);
    let usage = store.usage().await.unwrap();
    assert_eq!(usage.blobs + usage.manifests, store.list().await.unwrap().len() as u64);
}
