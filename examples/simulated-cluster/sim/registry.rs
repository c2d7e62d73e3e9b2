//! A tiny registry: manifests over plain HTTP, and a note of who asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a registry answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every image.
    All,
    /// Images of these repositories, the others are not there.
    Only(BTreeSet<String>),
    /// A status for everything, such as 404 or 500.
    Status(u16),
    /// 200 and a web page, as a portal does.
    Html,
    /// Nothing: it never answers.
    Hang,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The `Host` that was asked for.
    pub host: String,
    pub path: String,
    /// The registry that is meant, where the client says so.
    pub ns: Option<String>,
    /// The user who asked.
    pub user: Option<String>,
    pub status: u16,
}

/// A registry that listens until its runtime ends.
#[derive(Clone)]
pub struct Registry {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Answer,
    password: Option<(String, String)>,
    /// Whether tags of signatures are not there.
    loses_signatures: bool,
    hits: Vec<Hit>,
    /// Manifests that were asked for by a tag, by their digests.
    manifests: BTreeMap<String, String>,
}

impl Registry {
    pub fn start(runtime: &tokio::runtime::Handle, answer: Answer) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            answer,
            password: None,
            loses_signatures: false,
            hits: Vec::new(),
            manifests: BTreeMap::new(),
        }));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, state })
    }

    pub fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    /// Lets in only who knows the password.
    pub fn protect(&self, user: &str, password: &str) {
        self.state.lock().unwrap().password = Some((user.to_owned(), password.to_owned()));
    }

    /// Has no signatures from now on.
    pub fn lose_signatures(&self) {
        self.state.lock().unwrap().loses_signatures = true;
    }

    /// Returns every request so far.
    pub fn hits(&self) -> Vec<Hit> {
        self.state.lock().unwrap().hits.clone()
    }

    /// Returns the requests for manifests that were answered with the image.
    pub fn served(&self) -> Vec<Hit> {
        let hits = self.hits().into_iter();
        hits.filter(|hit| hit.status == 200 && hit.path.contains("/manifests/")).collect()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < 64 * 1024 {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |name: &str| {
        let lines = request.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let ns = query.split('&').find_map(|pair| pair.strip_prefix("ns=")).map(str::to_owned);
    let pair = header("authorization").and_then(|value| {
        let bytes = BASE64.decode(value.strip_prefix("Basic ")?).ok()?;
        String::from_utf8(bytes)
            .ok()?
            .split_once(':')
            .map(|(user, password)| (user.to_owned(), password.to_owned()))
    });
    let (answer, password, loses_signatures) = {
        let state = state.lock().unwrap();
        (state.answer.clone(), state.password.clone(), state.loses_signatures)
    };
    let note = |status: u16| {
        let user = pair.as_ref().map(|(user, _)| user.clone());
        let host = header("host").unwrap_or_default();
        state.lock().unwrap().hits.push(Hit { host, path: path.to_owned(), ns: ns.clone(), user, status });
    };
    let manifest = path.contains("/manifests/") && !(loses_signatures && path.contains("/manifests/sha256-"));
    let has = match &answer {
        Answer::All => true,
        Answer::Only(repositories) => {
            repositories.iter().any(|repository| path.contains(&format!("/{repository}/manifests/")))
        }
        Answer::Status(_) | Answer::Html | Answer::Hang => false,
    };
    let (status, kind, body) = match answer {
        Answer::Hang => {
            note(0);
            return std::future::pending().await;
        }
        Answer::Html => (200, "text/html", "<html>a portal</html>".to_owned()),
        Answer::Status(status) => (status, "application/json", "{\"errors\":[]}".to_owned()),
        _ if password.is_some() && password != pair => {
            (401, "application/json", "{\"errors\":[]}".to_owned())
        }
        _ if path == "/v2/" || path == "/v2" => (200, "application/json", "{}".to_owned()),
        _ if manifest && has => {
            let mut state = state.lock().unwrap();
            let name = path.rsplit('/').next().unwrap_or_default();
            let body = state.manifests.get(name).cloned().unwrap_or_else(|| manifest_of(path));
            state.manifests.insert(digest(&body), body.clone());
            (200, MANIFEST, body)
        }
        _ => (404, "application/json", "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}".to_owned()),
    };
    note(status);
    let digest = if kind == MANIFEST {
        format!("Docker-Content-Digest: {}\r\n", digest(&body))
    } else {
        String::new()
    };
    let realm = if status == 401 { "WWW-Authenticate: Basic realm=\"simulated\"\r\n" } else { "" };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    let text = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{digest}{realm}Connection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// An image of its own for every tag.
fn manifest_of(path: &str) -> String {
    let name = path.rsplit("/manifests/").next().unwrap_or_default();
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
         \"digest\":\"{}\",\"size\":2}},\"layers\":[]}}",
        digest(name)
    )
}

fn digest(text: &str) -> String {
    let sum = sha2::Sha256::digest(text.as_bytes());
    format!("sha256:{}", sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// What a registry said to a pull.
pub enum Said {
    /// The image's digest.
    Manifest(String),
    /// Another status, or an answer that is not an image.
    Other(u16, String),
}

/// Asks for a manifest as a puller does.
pub async fn ask(
    address: SocketAddr,
    host: &str,
    target: &str,
    basic: Option<&str>,
) -> std::io::Result<Said> {
    let mut stream = TcpStream::connect(address).await?;
    let authorization = basic.map_or(String::new(), |basic| format!("Authorization: Basic {basic}\r\n"));
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {MANIFEST}\r\n{authorization}Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let head = head.to_ascii_lowercase();
    let image = head.contains("content-type: application/vnd.");
    Ok(if status == 200 && image {
        Said::Manifest(digest(body))
    } else {
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        Said::Other(status, kind.to_owned())
    })
}
