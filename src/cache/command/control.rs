#![expect(clippy::disallowed_methods, reason = "serves and calls the control socket")]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::load::root;
use super::{contents, prune, runtime, stats};
use crate::cache::service::Service;
use crate::cache::store::{FsConfig, FsStore, Store};
use crate::ui::error::CliError;
use crate::ui::exit;

/// The socket of a running server, in the folder that is its own: whoever may write there may ask.
const SOCKET: &str = "control";
/// The longest request and the longest answer, in bytes.
const LONGEST: u64 = 256 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// A request to whoever has the store open.
#[derive(Clone, Debug)]
pub(super) enum Verb {
    /// What is stored.
    List(contents::Wanted),
    /// What is to be removed.
    Prune(prune::Wanted),
    /// How full it is.
    Stats,
}

impl Verb {
    fn write(&self) -> Value {
        match self {
            Self::List(wanted) => json!({ "verb": "list", "wanted": wanted.write() }),
            Self::Prune(wanted) => json!({ "verb": "prune", "wanted": wanted.write() }),
            Self::Stats => json!({ "verb": "stats" }),
        }
    }

    fn read(value: &Value) -> Option<Self> {
        let wanted = value.get("wanted");
        match value.get("verb")?.as_str()? {
            "list" => Some(Self::List(contents::Wanted::read(wanted?)?)),
            "prune" => Some(Self::Prune(prune::Wanted::read(wanted?)?)),
            "stats" => Some(Self::Stats),
            _ => None,
        }
    }

    async fn run(&self, store: &dyn Store) -> std::io::Result<Value> {
        match self {
            Self::List(wanted) => contents::list(store, wanted).await,
            Self::Prune(wanted) => prune::prune(store, wanted).await,
            Self::Stats => stats::stats(store).await,
        }
    }
}

/// Has a request carried out: by the server that has the folder open, else here.
pub(super) fn ask(folder: Option<&Path>, verb: &Verb) -> Result<Value, CliError> {
    let folder = root(folder)?;
    let failed = |error: std::io::Error| {
        CliError::from_error(exit::INVALID, error).context(format!("cannot read `{}`", folder.display()))
    };
    let denied = |error| failed(error).help("run it as the user that the server runs as");
    match UnixStream::connect(folder.join(SOCKET)) {
        Ok(stream) => return ask_server(stream, verb).map_err(failed),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(denied(error)),
        // No server, or one that ended without a word.
        Err(_) => {}
    }
    if !folder.join("index").try_exists().map_err(denied)? {
        return Err(CliError::new(exit::INVALID, format!("there is no cache in `{}`", folder.display()))
            .help("name its folder: --root DIR"));
    }
    // What another user writes there, the server could not write any more.
    let owner = std::fs::metadata(&folder).map_err(failed)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(denied(std::io::Error::new(
            ErrorKind::PermissionDenied,
            format!("no server has it open, and it belongs to the user with the number {owner}"),
        )));
    }
    let mut answer = runtime()?.block_on(async {
        let config = FsConfig { tended: false, ..FsConfig::new(folder.clone()) };
        let store = FsStore::open(config).await.map_err(failed)?;
        let answer = verb.run(&store).await.map_err(failed);
        store.close().await.map_err(failed)?;
        answer
    })?;
    // What the server's cap is, only the server knows.
    if let Some(cap) = answer.get_mut("capBytes") {
        *cap = Value::Null;
    }
    Ok(answer)
}

fn ask_server(mut stream: UnixStream, verb: &Verb) -> std::io::Result<Value> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", verb.write()).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(std::io::Error::other(error.to_owned())),
        None => Ok(answer.get("answer").cloned().unwrap_or_default()),
    }
}

/// The socket of a server; it goes with the value.
#[derive(Debug)]
pub(super) struct Control {
    path: PathBuf,
    serving: tokio::task::JoinHandle<()>,
}

impl Control {
    /// Takes requests about a store, for its owner only.
    pub(super) fn listen(folder: &Path, store: Arc<dyn Store>, service: Service) -> std::io::Result<Self> {
        let path = folder.join(SOCKET);
        // Of a server that ended without a word; the folder's lock says that no other is running.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (store, service) = (Arc::clone(&store), service.clone());
                tokio::spawn(async move {
                    let answer = answer(stream, &*store, &service);
                    if let Err(error) = tokio::time::timeout(PATIENCE, answer).await {
                        tracing::debug!(%error, "a request about the store took too long");
                    }
                });
            }
        });
        Ok(Self { path, serving })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: tokio::net::UnixStream, store: &dyn Store, service: &Service) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    if tokio::io::BufReader::new(read.take(64 << 10)).read_line(&mut line).await.is_err() {
        return;
    }
    let verb = serde_json::from_str(&line).ok().and_then(|value: Value| Verb::read(&value));
    let answer = match verb {
        None => {
            json!({ "error": "the running server does not know this request: is it of another version?" })
        }
        Some(verb) => {
            let ran = verb.run(store).await;
            if matches!(verb, Verb::Prune(_)) {
                service.forget();
            }
            match ran {
                Ok(answer) => json!({ "answer": answer }),
                Err(error) => json!({ "error": error.to_string() }),
            }
        }
    };
    let _ = write.write_all(format!("{answer}\n").as_bytes()).await;
}
