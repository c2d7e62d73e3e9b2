//! A registry to test against: what it serves and what is wrong with it is for the test to say; it takes notes.
//!
//! It runs on a thread of its own, so that tests with and without a runtime can use it, and ends when it is dropped.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use crate::authority::Pair;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A request, as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// Without `?`.
    pub query: String,
    /// By their names in lower case; several of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Whether the client showed a certificate.
    pub certified: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn authorized(&self) -> bool {
        self.headers.contains_key("authorization")
    }
}

/// Something that happens to the requests that a rule is about.
#[derive(Clone, Debug)]
pub enum Act {
    /// Another answer.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
    /// 307 to there; relative or not.
    Redirect(String),
    /// Headers as if all were well, that many bytes of the body, then the connection is closed.
    Cut(usize),
    /// That many bytes of the body, then nothing until [`Upstream::release`].
    Stall(usize),
    /// Nothing at all until [`Upstream::release`].
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// One bit of the body is another one.
    WrongBytes,
    /// The header says so many bytes more; the body has as many as ever, and the connection is closed.
    LongLength(usize),
    /// `Range` is not looked at.
    IgnoreRange,
    /// A header of the answer is missing.
    Without(&'static str),
    /// The answer has a header more.
    With(&'static str, String),
    /// The body has no length: it is sent in chunks.
    Chunked,
    /// So many bytes of the body a second.
    Pace(u64),
    /// The answer takes so long to begin.
    Delay(Duration),
    /// The body is compressed; the header says so, or not.
    Gzip { says: bool },
}

impl Act {
    /// An answer with an error of the usual form.
    pub fn error(status: u16, code: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": format!("{code} it is")}]}).to_string();
        Self::Answer { status, headers: vec![], body }
    }

    /// 429.
    pub fn too_many(retry_after: Option<&str>) -> Self {
        let headers = retry_after.map(|value| ("Retry-After".to_owned(), value.to_owned()));
        Self::Answer { status: 429, headers: headers.into_iter().collect(), body: "slow down".to_owned() }
    }
}

#[derive(Debug)]
struct Rule {
    method: Option<&'static str>,
    path: String,
    times: usize,
    act: Act,
}

/// Whom the registry admits.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Everybody.
    #[default]
    None,
    /// A user and a password.
    Basic(String, String),
    /// Whoever has a token of `/token`.
    Bearer(Bearer),
}

/// How tokens are given.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// Who gets one; `None`: anybody.
    pub user: Option<(String, String)>,
    /// An identity token that gets one by POST.
    pub identity: Option<String>,
    /// Where the challenge says that tokens are; `None`: here, at `/token`.
    pub realm: Option<String>,
    pub service: String,
    /// The challenge's scope; `None`: none, `Some("")`: that of the repository.
    pub scope: Option<String>,
    pub expires_in: u64,
}

impl Default for Bearer {
    fn default() -> Self {
        Self {
            user: None,
            identity: None,
            realm: None,
            service: "fake".to_owned(),
            scope: Some(String::new()),
            expires_in: 300,
        }
    }
}

/// A media type and bytes.
type Document = (String, Arc<Vec<u8>>);

#[derive(Default)]
struct State {
    auth: Auth,
    blobs: BTreeMap<String, Arc<Vec<u8>>>,
    /// By repository and digest: media type and bytes.
    manifests: BTreeMap<(String, String), Document>,
    /// By repository and tag: a digest.
    tags: BTreeMap<(String, String), String>,
    /// By the digest of the subject: descriptors. `None`: the API is not there.
    referrers: Option<BTreeMap<String, Vec<Value>>>,
    /// The most tags of a page, though nobody asks for pages.
    page: Option<usize>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    tokens: BTreeSet<String>,
    given: usize,
    sent: u64,
}

/// An image that a registry serves.
#[derive(Clone, Debug)]
pub struct Image {
    pub digest: String,
    pub manifest: Vec<u8>,
    pub config: String,
    pub layers: Vec<String>,
}

/// A registry that listens until it is dropped.
pub struct Upstream {
    scheme: &'static str,
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    released: watch::Sender<u64>,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    talmirror::oci::digest_of(talmirror::image::Algorithm::Sha256, bytes).to_string()
}

/// Bytes that look like chance and are the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Bytes as gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

impl Upstream {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts with TLS and this certificate.
    pub fn start_tls(pair: &Pair) -> Self {
        let certificate = CertificateDer::from_pem_slice(pair.crt.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(talmirror::tls::crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Starts with TLS and this certificate, and takes certificates of an authority.
    pub fn start_mutual_tls(pair: &Pair, authority: &str) -> Self {
        let certificate = CertificateDer::from_pem_slice(pair.crt.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = talmirror::tls::crypto_provider();
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Starts where another one was before.
    pub fn start_at(address: SocketAddr) -> Self {
        Self::listening(std::net::TcpListener::bind(address).unwrap(), None)
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Self {
        Self::listening(std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap(), tls)
    }

    fn listening(listener: std::net::TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { referrers: Some(BTreeMap::new()), ..State::default() }));
        let (released, _) = watch::channel(0);
        let stop = Arc::new(Notify::new());
        let server = Server { scheme, address, state: Arc::clone(&state), released: released.clone() };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let accepting = async {
                    loop {
                        if let Ok((stream, _)) = listener.accept().await {
                            let (server, tls) = (server.clone(), tls.clone());
                            tokio::spawn(async move {
                                let _ = stream.set_nodelay(true);
                                match tls {
                                    None => server.connection(Box::new(stream), false).await,
                                    Some(tls) => {
                                        if let Ok(stream) = tls.accept(stream).await {
                                            let certified = stream.get_ref().1.peer_certificates().is_some();
                                            server.connection(Box::new(stream), certified).await;
                                        }
                                    }
                                }
                            });
                        }
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    () = stopped.notified() => {}
                }
            });
            // Connections end with the runtime, whatever they are in the middle of.
        });
        Self { scheme, address, state, released, stop, thread: Some(thread) }
    }

    /// Its base, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves a blob, in any repository and, for redirects, as `/cdn/<digest>`; returns its digest.
    pub fn blob(&self, bytes: impl Into<Vec<u8>>) -> String {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.state().blobs.insert(digest.clone(), Arc::new(bytes));
        digest
    }

    /// Serves a blob under a digest that need not be its own.
    pub fn blob_as(&self, digest: &str, bytes: impl Into<Vec<u8>>) {
        self.state().blobs.insert(digest.to_owned(), Arc::new(bytes.into()));
    }

    /// Serves a manifest under its digest, and under a tag; returns the digest.
    pub fn manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let manifest = (media_type.to_owned(), Arc::new(bytes.to_vec()));
        self.state().manifests.insert((repository.to_owned(), digest.clone()), manifest);
        if let Some(tag) = tag {
            self.tag(repository, tag, &digest);
        }
        digest
    }

    /// Takes a manifest away; its tags stay and lead nowhere.
    pub fn remove_manifest(&self, repository: &str, digest: &str) {
        self.state().manifests.remove(&(repository.to_owned(), digest.to_owned()));
    }

    /// Moves a tag.
    pub fn tag(&self, repository: &str, tag: &str, digest: &str) {
        self.state().tags.insert((repository.to_owned(), tag.to_owned()), digest.to_owned());
    }

    /// Serves an image of some layers.
    pub fn image(&self, repository: &str, tag: &str, layers: &[Vec<u8>]) -> Image {
        let config = format!(r#"{{"architecture":"amd64","os":"linux","of":"{repository}:{tag}"}}"#);
        let config = (self.blob(config.as_bytes()), config.len());
        let layers: Vec<_> = layers.iter().map(|layer| (self.blob(layer.as_slice()), layer.len())).collect();
        let described: Vec<Value> = layers
            .iter()
            .map(|(digest, size)| {
                json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1},
            "layers": described,
        })
        .to_string()
        .into_bytes();
        let digest = self.manifest(repository, Some(tag), OCI_MANIFEST, &manifest);
        let layers = layers.into_iter().map(|(digest, _)| digest).collect();
        Image { digest, manifest, config: config.0, layers }
    }

    /// Serves an index of images for amd64, arm64 and so on; returns its digest.
    pub fn index(&self, repository: &str, tag: &str, images: &[&Image]) -> String {
        let platforms = ["amd64", "arm64", "riscv64", "s390x"];
        let manifests: Vec<Value> = images
            .iter()
            .zip(platforms)
            .map(|(image, architecture)| {
                json!({
                    "mediaType": OCI_MANIFEST,
                    "digest": image.digest,
                    "size": image.manifest.len(),
                    "platform": {"architecture": architecture, "os": "linux"},
                })
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string();
        self.manifest(repository, Some(tag), OCI_INDEX, index.as_bytes())
    }

    /// Serves a manifest that refers to another one; returns its digest.
    pub fn referrer(&self, repository: &str, subject: &str, artifact_type: &str) -> String {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": self.blob("{}"), "size": 2},
            "layers": [],
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
        })
        .to_string();
        let digest = self.manifest(repository, None, OCI_MANIFEST, manifest.as_bytes());
        let described = json!({
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": manifest.len(),
            "artifactType": artifact_type,
            "annotations": {"made.by": "test"},
        });
        let mut state = self.state();
        let referrers = state.referrers.get_or_insert_default();
        referrers.entry(subject.to_owned()).or_default().push(described);
        digest
    }

    /// Takes the referrers API away: 404.
    pub fn without_referrers(&self) {
        self.state().referrers = None;
    }

    /// Gives lists of tags in pages of so many.
    pub fn pages_of(&self, tags: usize) {
        self.state().page = Some(tags);
    }

    pub fn auth(&self, auth: Auth) {
        self.state().auth = auth;
    }

    /// Admits no token any more that was given so far.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Admits a token that another one has given.
    pub fn knows_token(&self, token: &str) {
        self.state().tokens.insert(token.to_owned());
    }

    /// Lets something happen to every request whose path contains `path`; several rules add up.
    pub fn always(&self, path: &str, act: Act) {
        self.rule(None, path, usize::MAX, act);
    }

    /// Lets something happen to the next `times` requests whose path contains `path`.
    pub fn times(&self, times: usize, path: &str, act: Act) {
        self.rule(None, path, times, act);
    }

    /// As [`Upstream::times`], for a method only.
    pub fn rule(&self, method: Option<&'static str>, path: &str, times: usize, act: Act) {
        self.state().rules.push(Rule { method, path: path.to_owned(), times, act });
    }

    /// Takes all rules away.
    pub fn heal(&self) {
        self.state().rules.clear();
    }

    /// Takes the rules of one path away.
    pub fn heal_at(&self, path: &str) {
        self.state().rules.retain(|rule| rule.path != path);
    }

    /// Lets everything go on that hangs or is stalled now.
    pub fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The requests of a method whose path contains `path`.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|seen| seen.method == method && seen.path.contains(path)).count()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state().seen.clear();
    }

    /// How many bytes of bodies went out.
    pub fn sent(&self) -> u64 {
        self.state().sent
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Clone)]
struct Server {
    scheme: &'static str,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    released: watch::Sender<u64>,
}

/// An answer before anything happens to it.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<Vec<u8>>,
    /// The part of the body that is sent.
    span: std::ops::Range<usize>,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = Arc::new(body.into());
        let span = 0..body.len();
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status, headers, body, span }
    }

    fn error(status: u16, code: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": code.to_lowercase()}]});
        Self::new(status, "application/json", body.to_string())
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl Server {
    async fn connection(self, stream: Box<dyn Stream>, certified: bool) {
        let mut stream = BufReader::new(stream);
        while let Some(seen) = read(&mut stream).await {
            let seen = Seen { certified, ..seen };
            if self.answer(&mut stream, seen).await.is_none() {
                break;
            }
        }
    }

    /// Answers; `None` ends the connection.
    async fn answer(&self, stream: &mut BufReader<Box<dyn Stream>>, seen: Seen) -> Option<()> {
        let mut released = self.released.subscribe();
        let acts = self.acts(&seen);
        self.state.lock().unwrap().seen.push(seen.clone());
        let has = |want: fn(&Act) -> bool| acts.iter().any(want);
        for act in &acts {
            match act {
                Act::Hang => released.changed().await.ok()?,
                Act::Delay(delay) => tokio::time::sleep(*delay).await,
                Act::Close => return None,
                _ => {}
            }
        }
        let mut answer = self.route(&seen, has(|act| matches!(act, Act::IgnoreRange | Act::Gzip { .. })));
        let (mut cut, mut stall, mut longer, mut pace, mut chunked) = (None, None, 0, None, false);
        for act in acts {
            match act {
                Act::Answer { status, headers, body } => {
                    answer = Answer::new(status, "application/json", body);
                    answer.headers.extend(headers);
                }
                Act::Redirect(location) => {
                    answer = Answer::new(307, "text/html", "over there").with("Location", location);
                }
                Act::WrongBytes => {
                    let mut bytes = answer.body.as_ref().clone();
                    let middle = bytes.len() / 2;
                    if let Some(byte) = bytes.get_mut(middle) {
                        *byte ^= 1;
                    }
                    answer.body = Arc::new(bytes);
                }
                Act::Cut(at) => cut = Some(at),
                Act::Stall(at) => stall = Some(at),
                Act::LongLength(more) => longer = more,
                Act::Without(name) => {
                    answer.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
                }
                Act::With(name, value) => answer.headers.push((name.to_owned(), value)),
                Act::Chunked => chunked = true,
                Act::Gzip { says } => {
                    answer.body = Arc::new(gzip(&answer.body));
                    answer.span = 0..answer.body.len();
                    if says {
                        answer.headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
                    }
                }
                Act::Pace(pace_of) => pace = Some(pace_of),
                Act::Hang | Act::Delay(_) | Act::Close | Act::IgnoreRange => {}
            }
        }
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
        for (name, value) in &answer.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        } else {
            let _ = write!(head, "Content-Length: {}\r\n\r\n", answer.span.len() + longer);
        }
        stream.write_all(head.as_bytes()).await.ok()?;
        if seen.method == "HEAD" {
            return Some(());
        }
        let (mut at, end) = (answer.span.start, answer.span.end);
        let stop_at = |sent: Option<usize>| sent.map(|sent| (answer.span.start + sent).min(end));
        let (cut, mut stall) = (stop_at(cut), stop_at(stall));
        loop {
            if stall == Some(at) {
                stream.flush().await.ok()?;
                released.changed().await.ok()?;
                stall = None;
            }
            if cut == Some(at) {
                stream.flush().await.ok()?;
                return None;
            }
            if at == end {
                break;
            }
            let step = pace.map_or(64 * 1024, |pace| usize::try_from(pace / 50).unwrap().clamp(1, 64 * 1024));
            let stops = [Some(end), Some(at + step), cut, stall].into_iter().flatten();
            let next = stops.filter(|stop| *stop > at).min().unwrap();
            if chunked {
                stream.write_all(format!("{:x}\r\n", next - at).as_bytes()).await.ok()?;
            }
            stream.write_all(&answer.body[at..next]).await.ok()?;
            if chunked {
                stream.write_all(b"\r\n").await.ok()?;
            }
            self.state.lock().unwrap().sent += (next - at) as u64;
            at = next;
            if let Some(pace) = pace {
                stream.flush().await.ok()?;
                #[allow(clippy::cast_precision_loss)]
                tokio::time::sleep(Duration::from_secs_f64(step as f64 / pace as f64)).await;
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await.ok()?;
        }
        stream.flush().await.ok()?;
        (longer == 0).then_some(())
    }

    /// Takes what happens to a request.
    fn acts(&self, seen: &Seen) -> Vec<Act> {
        let mut state = self.state.lock().unwrap();
        let mut acts = Vec::new();
        for rule in &mut state.rules {
            let method = rule.method.is_none_or(|method| method == seen.method);
            if method && rule.times > 0 && seen.path.contains(&rule.path) {
                rule.times = rule.times.saturating_sub(usize::from(rule.times != usize::MAX));
                acts.push(rule.act.clone());
            }
        }
        acts
    }

    fn route(&self, seen: &Seen, ignore_range: bool) -> Answer {
        let mut state = self.state.lock().unwrap();
        let range = if ignore_range { None } else { seen.header("range") };
        if seen.path == "/token" {
            return token(&mut state, seen);
        }
        if let Some(digest) = seen.path.strip_prefix("/cdn/") {
            if seen.authorized() {
                return Answer::error(400, "ONLY_ONE_AUTH_MECHANISM_ALLOWED");
            }
            return match state.blobs.get(digest) {
                Some(bytes) => blob(bytes, digest, range, seen.header("if-range")),
                None => Answer::error(404, "NO_SUCH_KEY"),
            };
        }
        let Some(path) = seen.path.strip_prefix("/v2") else { return Answer::error(404, "PAGE_NOT_FOUND") };
        if let Some(refused) = self.admit(&state, seen, path) {
            return refused;
        }
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return Answer::new(200, "application/json", "{}");
        }
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
        if let Some(name) = path.strip_suffix("/tags/list") {
            return tags(&state, name, &seen.path, &query);
        }
        let Some((rest, reference)) = path.rsplit_once('/') else {
            return Answer::error(404, "NAME_UNKNOWN");
        };
        match rest.rsplit_once('/') {
            Some((name, "manifests")) => manifest(&state, name, reference),
            Some((_, "blobs")) => match state.blobs.get(reference) {
                Some(bytes) => blob(bytes, reference, range, seen.header("if-range")),
                None => Answer::error(404, "BLOB_UNKNOWN"),
            },
            Some((_, "referrers")) => match &state.referrers {
                Some(referrers) => {
                    let manifests = referrers.get(reference).cloned().unwrap_or_default();
                    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
                    Answer::new(200, OCI_INDEX, index.to_string())
                }
                None => Answer::error(404, "PAGE_NOT_FOUND"),
            },
            _ => Answer::error(404, "NAME_UNKNOWN"),
        }
    }

    fn admit(&self, state: &State, seen: &Seen, path: &str) -> Option<Answer> {
        let authorization = seen.header("authorization");
        let challenge = match &state.auth {
            Auth::None => return None,
            Auth::Basic(user, password) => {
                let wanted = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
                if authorization == Some(&wanted) {
                    return None;
                }
                "Basic realm=\"fake\"".to_owned()
            }
            Auth::Bearer(bearer) => {
                let token = authorization.and_then(|header| header.strip_prefix("Bearer "));
                if token.is_some_and(|token| state.tokens.contains(token)) {
                    return None;
                }
                let realm = bearer
                    .realm
                    .clone()
                    .unwrap_or_else(|| format!("{}://{}/token", self.scheme, self.address));
                let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{}\"", bearer.service);
                let name = ["/manifests/", "/blobs/", "/tags/list", "/referrers/"]
                    .iter()
                    .find_map(|part| path.split_once(part))
                    .map(|(name, _)| name.trim_start_matches('/'));
                match (bearer.scope.as_deref(), name) {
                    (Some(""), Some(name)) => {
                        let _ = write!(challenge, ",scope=\"repository:{name}:pull\"");
                    }
                    (Some("") | None, _) => {}
                    (Some(scope), _) => {
                        let _ = write!(challenge, ",scope=\"{scope}\"");
                    }
                }
                if token.is_some() {
                    challenge.push_str(",error=\"invalid_token\"");
                }
                challenge
            }
        };
        Some(Answer::error(401, "UNAUTHORIZED").with("WWW-Authenticate", challenge))
    }
}

fn token(state: &mut State, seen: &Seen) -> Answer {
    let Auth::Bearer(bearer) = &state.auth else { return Answer::error(404, "PAGE_NOT_FOUND") };
    let by_identity = bearer.identity.as_deref().is_some_and(|identity| {
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
        seen.method == "POST" && form.get("refresh_token").is_some_and(|token| token == identity)
    });
    let by_password = match &bearer.user {
        None => bearer.identity.is_none() && seen.method == "GET",
        Some((user, password)) => {
            let wanted = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
            seen.method == "GET" && seen.header("authorization") == Some(&wanted)
        }
    };
    if !by_identity && !by_password {
        return Answer::error(401, "UNAUTHORIZED");
    }
    let expires_in = bearer.expires_in;
    state.given += 1;
    let token = format!("s3cr3t-token-{}", state.given);
    state.tokens.insert(token.clone());
    let body = json!({"token": token, "expires_in": expires_in});
    Answer::new(200, "application/json", body.to_string())
}

fn tags(state: &State, name: &str, path: &str, query: &BTreeMap<String, String>) -> Answer {
    let mut tags: Vec<&String> =
        state.tags.keys().filter(|(repository, _)| repository == name).map(|(_, tag)| tag).collect();
    if tags.is_empty() {
        return Answer::error(404, "NAME_UNKNOWN");
    }
    if let Some(last) = query.get("last") {
        tags.retain(|tag| *tag > last);
    }
    let most = query.get("n").and_then(|n| n.parse().ok()).or(state.page).unwrap_or(usize::MAX);
    let more = tags.len() > most;
    tags.truncate(most);
    let answer = Answer::new(200, "application/json", json!({"name": name, "tags": tags}).to_string());
    match tags.last() {
        Some(last) if more => answer.with("Link", format!("<{path}?n={most}&last={last}>; rel=\"next\"")),
        _ => answer,
    }
}

fn manifest(state: &State, name: &str, reference: &str) -> Answer {
    let by_tag = state.tags.get(&(name.to_owned(), reference.to_owned()));
    let digest = by_tag.map_or(reference, String::as_str);
    match state.manifests.get(&(name.to_owned(), digest.to_owned())) {
        Some((media_type, bytes)) => {
            Answer::new(200, media_type, bytes.as_ref().clone()).with("Docker-Content-Digest", digest)
        }
        None => Answer::error(404, "MANIFEST_UNKNOWN"),
    }
}

fn blob(bytes: &Arc<Vec<u8>>, digest: &str, range: Option<&str>, if_range: Option<&str>) -> Answer {
    let etag = format!("\"{digest}\"");
    let range = range.filter(|_| if_range.is_none_or(|tag| tag == etag));
    let mut answer = Answer {
        status: 200,
        headers: vec![("Content-Type".to_owned(), "application/octet-stream".to_owned())],
        body: Arc::clone(bytes),
        span: 0..bytes.len(),
    }
    .with("Docker-Content-Digest", digest)
    .with("ETag", etag)
    .with("Accept-Ranges", "bytes");
    let asked = range.and_then(|range| range.strip_prefix("bytes=")).and_then(|range| range.split_once('-'));
    if let Some((first, last)) = asked {
        let first: usize = first.parse().unwrap_or(0);
        let end = last.parse::<usize>().map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
        if first >= end {
            return Answer::error(416, "RANGE_INVALID")
                .with("Content-Range", format!("bytes */{}", bytes.len()));
        }
        answer.status = 206;
        answer.span = first..end;
        answer = answer.with("Content-Range", format!("bytes {first}-{}/{}", end - 1, bytes.len()));
    }
    answer
}

/// Reads a request; `None` where the connection ends.
async fn read(stream: &mut BufReader<Box<dyn Stream>>) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::<String, String>::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        headers
            .entry(name)
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    tokio::io::AsyncReadExt::read_exact(stream, &mut body).await.ok()?;
    // As a proxy is asked, whatever the host is.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => &target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(Seen {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        certified: false,
    })
}
