#![expect(clippy::disallowed_methods, reason = "serves and calls the admin socket")]

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::WriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::folder::{AskError, open_folder};
use super::request::{OpenCache, Question, Request};
use crate::cache::bucket::{Bucket, Tell};
use crate::cache::replica::Replicas;
use crate::cache::service::Service;
use crate::cache::store::Store;

/// The socket of a running server, in the folder that is its own: who may write there may ask.
const SOCKET: &str = "control";
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 256 << 20;
/// The longest request, in bytes.
const MAX_REQUEST: u64 = 64 << 10;
/// How long accepting rests after it failed.
const REST: Duration = Duration::from_secs(1);
/// How often it is told how far something has come.
const TOLD: Duration = Duration::from_millis(200);
/// How long a client may take to send its request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a server sends back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Reply {
    /// How far it has come: any number of lines before the others, where a request is about a bucket.
    Progress(String),
    Answer(Value),
    Error(String),
}

/// Has a request carried out: by the server that has the folder open, else here.
pub(in crate::cache) async fn ask<Q: Question>(folder: &Path, question: Q) -> Result<Q::Answer, AskError> {
    let own = || folder.to_owned();
    let failed = |source| AskError::Io { folder: own(), source };
    let denied = |source| AskError::Denied { folder: own(), source };
    match UnixStream::connect(folder.join(SOCKET)).await {
        Ok(stream) => {
            let asked =
                tokio::time::timeout(question.patience(), ask_server(stream, question, &|_| {})).await;
            return asked.map_err(io::Error::from).flatten().map_err(failed);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(denied(error)),
        // No server, or one that ended without a word.
        Err(_) => {}
    }
    let store = open_folder(folder).await?;
    let answer = question
        .answer(&OpenCache { store: &store, service: None, bucket: None, replicas: None, tell: &|_| {} })
        .await
        .map_err(failed);
    store.close().await.map_err(failed)?;
    answer
}

/// Has a request about its bucket carried out by the server that has the folder open.
pub(in crate::cache) async fn ask_bucket<Q: Question>(
    folder: &Path,
    question: Q,
    tell: Tell<'_>,
) -> Result<Q::Answer, AskError> {
    let asked = async {
        let stream = UnixStream::connect(folder.join(SOCKET)).await?;
        tokio::time::timeout(question.patience(), ask_server(stream, question, tell)).await?
    };
    asked.await.map_err(|source| AskError::Bucket { folder: folder.to_owned(), source })
}

/// Returns whether a server has a folder open.
pub(in crate::cache) async fn is_running(folder: &Path) -> bool {
    UnixStream::connect(folder.join(SOCKET)).await.is_ok()
}

async fn ask_server<Q: Question>(
    mut stream: UnixStream,
    question: Q,
    tell: Tell<'_>,
) -> io::Result<Q::Answer> {
    let request: Request = question.into();
    stream.write_all(format!("{}\n", serde_json::to_string(&request)?).as_bytes()).await?;
    let mut lines = BufReader::new(stream.take(MAX_ANSWER));
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).await?;
        if !line.ends_with('\n') {
            return Err(io::Error::other(
                "its answer has no end: it was stopped, or there is more than it can send; ask for less, by a pattern or --tier local",
            ));
        }
        match serde_json::from_str(&line)? {
            Reply::Progress(text) => tell(text),
            Reply::Answer(answer) => return Ok(serde_json::from_value(answer)?),
            Reply::Error(error) => return Err(io::Error::other(error)),
        }
    }
}

/// The socket of a server; it goes with the value.
#[derive(Debug)]
pub(in crate::cache) struct AdminSocket {
    path: PathBuf,
    serving: tokio::task::JoinHandle<()>,
}

impl AdminSocket {
    /// Takes requests about a store, for its owner only.
    pub(in crate::cache) fn listen(
        folder: &Path,
        store: Arc<dyn Store>,
        service: Service,
        bucket: Option<Bucket>,
        replicas: Option<Replicas>,
    ) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        // Of a server that ended without a word; the folder's lock says that no other is running.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let serving = tokio::spawn(async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    // Such as when the process has no descriptor left: there may be one in a moment.
                    Err(error) => {
                        tracing::warn!(%error, "the admin socket cannot accept");
                        tokio::time::sleep(REST).await;
                        continue;
                    }
                };
                let (store, service, bucket) = (Arc::clone(&store), service.clone(), bucket.clone());
                let replicas = replicas.clone();
                tokio::spawn(async move {
                    let (told, seen) = watch::channel(String::new());
                    let tell = move |text| drop(told.send_replace(text));
                    let cache = OpenCache::running(&*store, &service, bucket.as_ref(), replicas.as_ref());
                    answer(stream, &cache.telling(&tell), seen).await;
                });
            }
        });
        Ok(Self { path, serving })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, cache: &OpenCache<'_>, mut seen: watch::Receiver<String>) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_REQUEST));
    match tokio::time::timeout(TIMEOUT, read.read_line(&mut line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return,
    }
    // What is not known is not carried out in part: a newer command may ask for less than an older server would do.
    let reply = match serde_json::from_str::<Request>(&line) {
        Err(_) => {
            Err(io::Error::other("the running server does not know this request: is it of another version?"))
        }
        Ok(request) => {
            let (patience, only_looks) = (request.patience(), request.only_looks());
            let answered = tokio::time::timeout(patience, request.answer(cache));
            tokio::pin!(answered);
            let mut told = None;
            loop {
                tokio::select! {
                    answered = &mut answered => break answered.map_err(io::Error::from).flatten(),
                    Ok(()) = seen.changed() => {
                        let text = seen.borrow_and_update().clone();
                        if told.is_some_and(|told: Instant| told.elapsed() < TOLD) {
                            continue;
                        }
                        told = Some(Instant::now());
                        let progress = Reply::Progress(text);
                        let sent = send(&mut write, &progress);
                        tokio::pin!(sent);
                        // Who does not read holds nothing up.
                        let is_sent = tokio::select! {
                            is_sent = &mut sent => is_sent,
                            answered = &mut answered => {
                                sent.await;
                                break answered.map_err(io::Error::from).flatten();
                            }
                        };
                        // Nobody waits for the answer any more.
                        if !is_sent && only_looks {
                            return;
                        }
                    }
                }
            }
        }
    };
    let reply = match reply {
        Ok(answer) => Reply::Answer(answer),
        Err(error) => Reply::Error(error.to_string()),
    };
    send(&mut write, &reply).await;
}

/// Sends a reply; returns whether there is still somebody who reads it.
async fn send(write: &mut WriteHalf<'_>, reply: &Reply) -> bool {
    let Ok(text) = serde_json::to_string(reply) else { return false };
    write.write_all(format!("{text}\n").as_bytes()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::prune::{Prune, PruneTarget};
    use super::super::tier::TierName;
    use super::*;

    #[test]
    fn a_check_of_a_large_disk_takes_hours() {
        let verify = Request::from(super::super::verify::Verify { pattern: None, tier: TierName::Local });
        assert!(verify.patience() >= Duration::from_hours(12), "2 TB at 50 MB a second take eleven");
        let prune = Request::from(Prune { target: PruneTarget::All, dry_run: true, tier: TierName::Local });
        assert!(prune.patience() <= Duration::from_mins(10));
    }

    #[test]
    fn requests_read_back_and_unknown_ones_are_refused() {
        for target in [
            PruneTarget::Named(vec!["a/*".parse().unwrap()]),
            PruneTarget::UnusedFor(Duration::from_secs(5)),
            PruneTarget::All,
        ] {
            let prune = Prune { target, dry_run: true, tier: TierName::Local };
            let text = serde_json::to_string(&Request::from(prune.clone())).unwrap();
            let Request::Prune(read) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
            assert_eq!(read, prune);
        }
        for bad in [
            r#"{"verb":"prune","wanted":{}}"#,
            r#"{"verb":"prune","wanted":{"dryRun":false}}"#,
            r#"{"verb":"prune","wanted":{"dryRun":false,"target":{"newer":1}}}"#,
            r#"{"verb":"prune","wanted":{"dryRun":false,"target":"all","except":"a"}}"#,
            r#"{"verb":"else"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
    }
}
