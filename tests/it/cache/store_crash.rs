//! The store under `kill -9`: a child stores as fast as it can, is killed at any moment, and what it leaves is checked.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use talmirror::cache::store::{Document, FsConfig, FsStore, Kind, Naming, Object, Store, TagRecord};
use talmirror::image::{Algorithm, Digest};
use talmirror::oci::digest_of;

use super::conformance::{content, origin, put, read};
use super::store::config;

const FOLDER: &str = "TALMIRROR_TEST_STORE";

/// How a child works: the folder, the cap, the names of unfinished files, where its content begins.
#[derive(Clone)]
struct Work {
    folder: PathBuf,
    cap: u64,
    naming: Naming,
    seed: u64,
}

impl Work {
    fn config(&self) -> FsConfig {
        FsConfig { naming: Some(self.naming), ..config(&self.folder, self.cap) }
    }
}

/// Not a test: what the child runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the tests below"]
async fn child() {
    let Ok(work) = std::env::var(FOLDER) else { return };
    let words: Vec<&str> = work.split('|').collect();
    let work = Work {
        folder: words[0].into(),
        cap: words[1].parse().unwrap(),
        naming: if words[2] == "named" { Naming::Temporary } else { Naming::Unnamed },
        seed: words[3].parse().unwrap(),
    };
    let store = FsStore::open(work.config()).await.unwrap();
    for n in work.seed.. {
        let size = match n % 7 {
            0 => 1_200_000, // waits for the disk
            odd => (odd * 9973 % 60_000) as usize,
        };
        let bytes = content(n, size);
        let digest = put(&store, &bytes).await.unwrap();
        writeln!(std::io::stdout(), "stored {digest}").unwrap();
        store.grant(&origin("library/a"), &Object::blob(digest)).await.unwrap();
        if n % 3 == 0 {
            let text = format!("{{\"n\":{n}}}");
            let digest = digest_of(Algorithm::Sha256, text.as_bytes());
            let document = Document { media_type: "application/json".to_owned(), bytes: text.into() };
            store.put_manifest(&digest, &document).await.unwrap();
            let record = TagRecord {
                origin: origin("library/a"),
                tag: "latest".parse().unwrap(),
                digest,
                media_type: "application/json".to_owned(),
                checked_at: jiff::Timestamp::from_second(n.try_into().unwrap()).unwrap(),
            };
            store.put_tag(&record).await.unwrap();
        }
    }
}

/// Runs a child, kills it after a time, returns what it said it had stored.
fn run_and_kill(work: &Work, after: Duration) -> Vec<Digest> {
    let naming = if work.naming == Naming::Temporary { "named" } else { "unnamed" };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["cache::store_crash::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, format!("{}|{}|{naming}|{}", work.folder.display(), work.cap, work.seed))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stored = Vec::new();
    let mut take = |line: std::io::Result<String>| {
        // libtest writes its own words before the first one.
        if let Some((_, digest)) = line.unwrap().split_once("stored ") {
            stored.push(digest.parse().unwrap());
            return true;
        }
        false
    };
    // The time counts from when it works.
    while !take(lines.next().expect("the child ended by itself")) {}
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        take(line);
    }
    stored
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Everything that the store has is what it should be, and it knows of every file.
async fn check(work: &Work) -> HashSet<Object> {
    // With more room, so that nothing is evicted while it is looked at.
    let store = FsStore::open(FsConfig { cap: Some(1 << 40), ..work.config() }).await.unwrap();
    let mut there = HashSet::new();
    let mut phantoms = 0;
    for listed in store.list().await.unwrap() {
        let bytes = match listed.object.kind {
            Kind::Blob => match store.open(&listed.object.digest).await.unwrap() {
                Some(blob) => Some(read(blob.body(None)).await.unwrap()),
                None => None,
            },
            Kind::Manifest => {
                store.manifest(&listed.object.digest).await.unwrap().map(|document| document.bytes.to_vec())
            }
        };
        match bytes {
            Some(bytes) => {
                assert_eq!(digest_of(Algorithm::Sha256, &bytes), listed.object.digest, "corrupt");
                there.insert(listed.object);
            }
            None => phantoms += 1,
        }
    }
    // Killed between removing a file and noting that: at most that one.
    assert!(phantoms <= 1, "{phantoms} entries without a file");
    let mut found = Vec::new();
    files(&work.folder.join("blobs"), &mut found);
    files(&work.folder.join("manifests"), &mut found);
    assert_eq!(found.len(), there.len(), "a file that the index does not know takes room for ever");
    let mut unfinished = Vec::new();
    files(&work.folder.join(".tmp"), &mut unfinished);
    assert_eq!(unfinished, Vec::<PathBuf>::new());
    let usage = store.usage().await.unwrap();
    assert!(usage.stored <= work.cap && usage.damaged == 0, "{usage:?}");
    for tag in store.tags().await.unwrap() {
        assert_eq!(tag.tag.as_str(), "latest");
    }
    there
}

fn kills(default: u64) -> u64 {
    std::env::var("TALMIRROR_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn kill_often(cap: u64, naming: Naming, keeps: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut stored: HashSet<Object> = HashSet::new();
    let rounds = kills(20);
    let mut random = content(7, usize::try_from(rounds).unwrap() * 2);
    for round in 0..rounds {
        let pair = random.split_to(2);
        let after = Duration::from_micros(u64::from(pair[0]) * 256 + u64::from(pair[1])); // up to 65 ms
        let work = Work { folder: dir.path().to_owned(), cap, naming, seed: 1 + round * 10_000 };
        let now = {
            let work = work.clone();
            tokio::task::spawn_blocking(move || run_and_kill(&work, after)).await.unwrap()
        };
        stored.extend(now.into_iter().map(Object::blob));
        let there = check(&work).await;
        if keeps {
            assert!(stored.is_subset(&there), "round {round}: what was committed is gone");
        }
    }
}

/// `TALMIRROR_TEST_KILLS=200` for many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_committed_is_lost_and_nothing_is_wrong() {
    kill_often(1 << 40, Naming::Unnamed, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_evicting_the_account_is_right() {
    kill_often(6 << 20, Naming::Temporary, false).await;
}
