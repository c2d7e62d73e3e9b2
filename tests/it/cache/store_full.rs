//! A disk that is full: pulls go on without being kept, and keeping comes back. Runs in a child with a small tmpfs.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use talmirror::cache::download::{Downloads, FetchError, Opened, Policy, Source};
use talmirror::cache::store::{FsConfig, FsStore, Store};
use talmirror::http::{Body, Piece};
use talmirror::image::{Algorithm, Digest};
use talmirror::oci::{Hasher, Verifier};

use super::conformance::{content, put};

const FOLDER: &str = "TALMIRROR_TEST_FULL";
const MIB: u64 = 1 << 20;

/// An upstream with any number of bytes: the same block with another seed for each.
struct Endless {
    blocks: u64,
    pace: Duration,
}

fn block(seed: u64) -> Bytes {
    content(seed, 64 << 10)
}

impl Endless {
    fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for n in 0..self.blocks {
            hasher.update(&block(n));
        }
        hasher.finish()
    }
}

impl Source for Endless {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            let (first, skip) = (from / (64 << 10), usize::try_from(from % (64 << 10)).unwrap());
            let pace = self.pace;
            let body = stream::iter(first..self.blocks).then(move |n| async move {
                tokio::time::sleep(pace).await;
                Ok(block(n).slice(if n == first { skip } else { 0 }..))
            });
            Ok(Opened {
                total: Some(self.blocks * (64 << 10)),
                starts_at: from,
                endpoint: 0,
                body: body.boxed(),
            })
        })
    }

    fn mismatch(&self, _: &[usize]) {
        panic!("the bytes are right");
    }
}

/// Pulls as a client does, in constant memory.
async fn pull(downloads: &Downloads, source: Arc<Endless>) -> io::Result<()> {
    let digest = source.digest();
    let flight = downloads.get(&digest, None, None, source).unwrap();
    let total = flight.headers().await.map_err(io::Error::other)?;
    let mut verifier = Verifier::new(digest);
    let Body::Pieces { mut pieces, .. } = flight.body(None, total) else { panic!("a body") };
    while let Some(piece) = pieces.next().await? {
        match piece {
            Piece::Bytes(bytes) => verifier.update(&bytes),
            Piece::File { file, mut offset, mut len } => {
                use std::os::unix::fs::FileExt as _;
                let mut buffer = vec![0; 64 << 10];
                while len > 0 {
                    let most = usize::try_from(len).unwrap().min(buffer.len());
                    let read = file.read_at(&mut buffer[..most], offset)?;
                    verifier.update(&buffer[..read]);
                    offset += read as u64;
                    len -= read as u64;
                }
            }
        }
    }
    assert_eq!(verifier.finish().unwrap(), total);
    Ok(())
}

async fn settle(downloads: &Downloads) {
    while downloads.stats().running > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Not a test: what runs where the disk is small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the test below"]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = std::path::PathBuf::from(folder);
    let config =
        FsConfig { cap: Some(1 << 40), reserve: Some(4 * MIB), ..FsConfig::new(folder.join("store")) };
    let store = Arc::new(FsStore::open(config).await.unwrap());
    let downloads = Downloads::new(store.clone(), Policy::default());
    for n in 0..20 {
        put(&*store, &content(1000 + n, 1 << 20)).await.unwrap();
    }

    // More than the disk has in all: nothing is evicted for it in vain, and it arrives.
    pull(&downloads, Arc::new(Endless { blocks: 4096, pace: Duration::ZERO })).await.unwrap();
    settle(&downloads).await;
    assert_eq!(downloads.stats().passed_through, 1);
    let usage = store.usage().await.unwrap();
    assert!(usage.full && usage.evicted == 0 && usage.blobs == 20, "{usage:?}");

    // Something that fits pushes out what is in its way.
    pull(&downloads, Arc::new(Endless { blocks: 800, pace: Duration::ZERO })).await.unwrap();
    settle(&downloads).await;
    let usage = store.usage().await.unwrap();
    assert!(!usage.full && usage.evicted > 0 && downloads.stats().stored == 1, "{usage:?}");
    assert!(usage.free.unwrap() >= 4 * MIB, "{usage:?}");

    // Somebody else fills the disk while something is fetched: first the rest goes, then the pull goes on unkept.
    let source = Arc::new(Endless { blocks: 480, pace: Duration::from_millis(2) });
    let running = {
        let (downloads, source) = (downloads.clone(), source.clone());
        tokio::spawn(async move { pull(&downloads, source).await })
    };
    while downloads.stats().running == 0 || store.usage().await.unwrap().reserved == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ballast = folder.join("ballast");
    let written = std::fs::write(&ballast, vec![1; 64 << 20]);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    running.await.unwrap().unwrap();
    settle(&downloads).await;
    assert_eq!(downloads.stats().passed_through, 2, "{:?}", downloads.stats());
    assert!(store.usage().await.unwrap().full);
    assert_eq!(store.usage().await.unwrap().reserved, 0);

    // And recovers.
    std::fs::remove_file(&ballast).unwrap();
    pull(&downloads, source.clone()).await.unwrap();
    settle(&downloads).await;
    assert!(store.open(&source.digest()).await.unwrap().is_some());
    assert!(!store.usage().await.unwrap().full);
}

#[test]
fn a_full_disk_means_passing_on_without_keeping() {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=64m tmpfs '{}'", dir.path().display());
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command
    };
    if !unshare(&mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a tmpfs cannot be mounted here (`unshare --user --map-root-user --mount`)");
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let script =
        format!("{mount} && exec '{}' cache::store_full::child --exact --ignored --nocapture", exe.display());
    let output = unshare(&script).env(FOLDER, dir.path()).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
