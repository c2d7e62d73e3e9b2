//! The transports: what goes in as bytes, and what comes out.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use talmirror::cache::observe::Metrics;
use talmirror::cache::{refusal, rejection};
use talmirror::http::{
    Body, Certificate, Drained, Handler, Limits, Observer, Piece, Pieces, Rejected, Server, ServerConfig,
    TlsFiles,
};
use talmirror::oci::Refusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::authority::{Authority, Pair};

/// Nothing here takes longer, unless it hangs.
const LONG: Duration = Duration::from_secs(20);
/// How large the file is that the handler serves: more than sockets hold.
const FILE: u64 = 12 * 1024 * 1024;

static CONTENT: LazyLock<Arc<File>> = LazyLock::new(|| {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&(0..FILE).map(content).collect::<Vec<_>>()).unwrap();
    Arc::new(file)
});

/// A handler that answers by path.
struct Paths {
    file: Arc<File>,
    /// Told when `/wait` may go on.
    go: Arc<Notify>,
    /// How many bodies of `/endless` are alive.
    alive: Arc<AtomicUsize>,
}

fn content(at: u64) -> u8 {
    (at * 7 + at / 256).to_le_bytes()[0]
}

impl Paths {
    fn new() -> Self {
        Self { file: Arc::clone(&CONTENT), go: Arc::default(), alive: Arc::default() }
    }

    fn part(&self, offset: u64, len: u64) -> Piece {
        Piece::File { file: Arc::clone(&self.file), offset, len }
    }
}

/// Pieces that are there already, or come when told.
struct List {
    pieces: Vec<io::Result<Piece>>,
    go: Option<Arc<Notify>>,
}

impl Pieces for List {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Piece>>> {
        Box::pin(async {
            if let Some(go) = &self.go {
                go.notified().await;
            }
            if self.pieces.is_empty() { Ok(None) } else { self.pieces.remove(0).map(Some) }
        })
    }
}

/// A body without end, that counts as long as it lives.
struct Endless(Arc<AtomicUsize>);

impl Pieces for Endless {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Piece>>> {
        Box::pin(async { Ok(Some(Piece::Bytes(Bytes::from_static(&[0; 4096])))) })
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn bytes(text: &'static str) -> Piece {
    Piece::Bytes(Bytes::from_static(text.as_bytes()))
}

fn list(len: u64, pieces: Vec<io::Result<Piece>>, go: Option<Arc<Notify>>) -> Body {
    Body::Pieces { len, pieces: Box::new(List { pieces, go }) }
}

impl Handler for Paths {
    async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(&Refusal::Method);
        }
        let mut response = Response::new(Body::Empty);
        let path = request.uri().path();
        let numbers = |prefix: &str| {
            let (offset, len) = path.strip_prefix(prefix)?.split_once('-')?;
            Some((offset.parse::<u64>().ok()?, len.parse::<u64>().ok()?))
        };
        *response.body_mut() = match path {
            "/small" => Body::Piece(bytes("hello\n")),
            "/empty" => Body::Empty,
            "/same" => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response.headers_mut().insert("etag", HeaderValue::from_static("\"x\""));
                Body::Empty
            }
            "/pieces" => list(10, vec![Ok(bytes("abc")), Ok(self.part(3, 3)), Ok(bytes("defg"))], None),
            "/wait" => list(6, vec![Ok(bytes("abc")), Ok(bytes("def"))], Some(Arc::clone(&self.go))),
            "/slow-head" => {
                self.go.notified().await;
                Body::Piece(bytes("late\n"))
            }
            "/broken" => list(10, vec![Ok(bytes("abc")), Err(io::Error::other("wrong bytes"))], None),
            "/short" => list(10, vec![Ok(bytes("abc"))], None),
            "/long" => list(5, vec![Ok(bytes("abc")), Ok(bytes("def"))], None),
            "/endless" => {
                self.alive.fetch_add(1, Ordering::SeqCst);
                Body::Pieces { len: 1 << 60, pieces: Box::new(Endless(Arc::clone(&self.alive))) }
            }
            _ => match (numbers("/file/"), numbers("/cut/")) {
                (Some((offset, len)), _) => Body::Piece(self.part(offset, len)),
                (_, Some((offset, len))) => {
                    let parts = (0..len.div_ceil(100_000))
                        .map(|n| Ok(self.part(offset + n * 100_000, 100_000.min(len - n * 100_000))));
                    list(len, parts.collect(), None)
                }
                (None, None) => return refusal(&Refusal::NotServed),
            },
        };
        response
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

/// A server that runs.
struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    paths: Arc<Paths>,
    certificate: Option<Arc<Certificate>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
}

impl Running {
    fn new(limits: Limits, tls: Option<TlsFiles>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let config = ServerConfig { tls, limits, ..ServerConfig::new(listen) };
        let server = Server::bind(config, Arc::clone(&metrics) as Arc<dyn Observer>).unwrap();
        let address = server.addresses()[0];
        let certificate = server.certificate();
        let paths = Arc::new(Paths::new());
        let (stop, stopped) = oneshot::channel();
        let handler = Arc::clone(&paths);
        let task = tokio::spawn(async move {
            server
                .run(handler, async {
                    let _ = stopped.await;
                })
                .await
        });
        Self { address, metrics, paths, certificate, stop: Some(stop), task }
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn connect(&self) -> Client {
        Client { tcp: TcpStream::connect(self.address).await.unwrap(), have: Vec::new() }
    }

    fn metric(&self, name: &str) -> i64 {
        let text = self.metrics.encode();
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a number is what it should be.
    async fn until(&self, name: &str, wanted: i64) {
        let wait = async {
            while self.metric(name) != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(LONG, wait).await;
        assert!(waited.is_ok(), "{name} is {}", self.metric(name));
    }
}

struct Client {
    tcp: TcpStream,
    have: Vec<u8>,
}

impl Client {
    async fn write(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.unwrap();
    }

    /// Asks with a request of the usual form.
    async fn get(&mut self, path: &str) -> (String, Vec<u8>) {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        self.answer().await
    }

    async fn more(&mut self) -> io::Result<usize> {
        tokio::time::timeout(LONG, self.tcp.read_buf(&mut self.have)).await.expect("nothing comes")
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.have.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.have.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.have, rest)).unwrap();
            }
            assert!(
                self.more().await.unwrap() > 0,
                "the head ends at {:?}",
                String::from_utf8_lossy(&self.have)
            );
        }
    }

    async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.have.len() < len {
            assert!(self.more().await.unwrap() > 0, "{} of {len} bytes", self.have.len());
        }
        let rest = self.have.split_off(len);
        std::mem::replace(&mut self.have, rest)
    }

    async fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let body = self.take(len.map_or(0, |len| len.parse().unwrap())).await;
        (head, body)
    }

    /// Reads to the end; an error is that of a reset.
    async fn rest(&mut self) -> io::Result<String> {
        while self.more().await? > 0 {}
        Ok(String::from_utf8(std::mem::take(&mut self.have)).unwrap())
    }
}

/// Replaces the date, which is another one every time.
fn undated(text: &str) -> String {
    let lines = text.split_inclusive("\r\n");
    let dated = |line: &str| line.starts_with("Date: ") && line.len() == "Date: \r\n".len() + 29;
    lines.map(|line| if dated(line) { "Date: D\r\n" } else { line }).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: D\r\n\r\nhello\n";

#[tokio::test]
async fn answers_to_the_byte() {
    let server = Running::new(Limits::default(), None);
    let close = |text: &str| text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let refused = |status: &str, problem: &str| {
        let body = format!(r#"{{"errors":[{{"code":"UNSUPPORTED","message":"{problem}"}}]}}"#);
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nDate: D\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let body = refused("400 Bad Request", "requests have no body here");
    for (request, answer) in [
        ("GET /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", close(OK)),
        ("GET /small HTTP/1.0\r\n\r\n", close(OK)),
        (
            "GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /small HTTP/1.0\r\n\r\n",
            OK.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n") + &close(OK),
        ),
        (
            "HEAD /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            close("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: D\r\n\r\n"),
        ),
        (
            "GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            close("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: D\r\n\r\n"),
        ),
        (
            "GET /same HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            close("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nDate: D\r\n\r\n"),
        ),
        (
            "PUT /small HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            close(
                "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nAllow: GET, HEAD\r\nContent-Length: 76\r\n\
                 Date: D\r\n\r\n{\"errors\":[{\"code\":\"UNSUPPORTED\",\"message\":\"only GET and HEAD are served\"}]}",
            ),
        ),
        // Three at once, the last of which ends it.
        (
            "GET /small HTTP/1.1\r\nHost: h\r\n\r\nHEAD /small HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /small HTTP/1.0\r\n\r\nGET /small",
            OK.to_owned() + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: D\r\n\r\n" + &close(OK),
        ),
        // What a proxy in front might take for two requests is one, or none.
        (
            "GET /small HTTP/1.1\r\nHost: h\r\nContent-Length: 35\r\n\r\nGET /small HTTP/1.1\r\nHost: h\r\n\r\n",
            body.clone(),
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /small HTTP/1.0\r\n\r\n",
            body.clone(),
        ),
        (
            "GET /small HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            body.clone(),
        ),
        ("GET /small HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", refused("400 Bad Request", "several hosts")),
        ("GET /small HTTP/1.1\r\n\r\n", refused("400 Bad Request", "no host")),
        (
            "GET /small HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
            refused("417 Expectation Failed", "nothing is expected here"),
        ),
        (
            "GET /small HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
            refused("400 Bad Request", "malformed request"),
        ),
        ("PRI * HTTP/1.1\r\n\r\n", refused("400 Bad Request", "no host")),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", refused("400 Bad Request", "malformed request")),
        // No head in time, no answer.
        ("", String::new()),
    ] {
        let mut client = server.connect().await;
        client.write(request).await;
        client.tcp.shutdown().await.unwrap();
        assert_eq!(undated(&client.rest().await.unwrap()), answer, "{request:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(5000));
    let mut client = server.connect().await;
    client.write(&long).await;
    assert!(client.rest().await.unwrap().starts_with("HTTP/1.1 414 URI Too Long\r\n"));
    let mut client = server.connect().await;
    client.write(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(17_000))).await;
    assert!(client.rest().await.unwrap().starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
}

#[tokio::test]
async fn bodies() {
    let server = Running::new(Limits::default(), None);
    let mut client = server.connect().await;
    assert_eq!(
        client.get("/pieces").await.1,
        [b"abc", &[content(3), content(4), content(5)][..], b"defg"].concat()
    );
    for (offset, len) in
        [(0, 1), (5, 16 * 1024), (1, 16 * 1024 + 1), (1000, 3_000_001), (0, FILE), (FILE - 1, 1)]
    {
        for path in ["file", "cut"] {
            let (head, body) = client.get(&format!("/{path}/{offset}-{len}")).await;
            assert!(head.contains(&format!("Content-Length: {len}\r\n")), "{head}");
            assert!(
                body.iter().zip(offset..).all(|(byte, at)| *byte == content(at)),
                "{path} {offset} {len}"
            );
        }
    }
}

#[tokio::test]
async fn the_head_waits_for_no_body() {
    let server = Running::new(Limits::default(), None);
    let mut client = server.connect().await;
    client.write("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(client.head().await.contains("Content-Length: 6\r\n"));
    server.paths.go.notify_one();
    assert_eq!(client.take(3).await, b"abc");
    server.paths.go.notify_one();
    assert_eq!(client.take(3).await, b"def");
}

#[tokio::test]
async fn a_body_that_fails_ends_in_a_reset() {
    let server = Running::new(Limits::default(), None);
    for path in ["/broken", "/short", "/long", &format!("/file/{}-10", FILE - 5)] {
        let mut client = server.connect().await;
        client
            .write(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\nGET /small HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let error = client.rest().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{path}");
        let body = client
            .have
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(0, |end| client.have.len() - end - 4);
        assert!(body < 10, "{path}: {body} bytes, of which none may be written after the failure");
    }
    server.until(r#"talmirror_cache_response_ends_total{end="broken"}"#, 4).await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_body_along() {
    let server = Running::new(Limits::default(), None);
    let mut client = server.connect().await;
    client.write("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.take(1_000_000).await;
    assert_eq!(server.paths.alive.load(Ordering::SeqCst), 1);
    drop(client);
    server.until(r#"talmirror_cache_response_ends_total{end="gone"}"#, 1).await;
    server.until("talmirror_cache_connections", 0).await;
    assert_eq!(server.paths.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let limits = Limits { stall_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = Running::new(limits, None);
    let mut client = server.connect().await;
    client.write("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await;
    server.until(r#"talmirror_cache_response_ends_total{end="stalled"}"#, 1).await;
    assert_eq!(client.rest().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    // One that waits for us is not.
    let mut client = server.connect().await;
    client.write("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.head().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.paths.go.notify_one();
    assert_eq!(client.take(3).await, b"abc");
}

#[tokio::test]
async fn heads_and_pauses_take_only_so_long() {
    let limits = Limits {
        head_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(150),
        ..Limits::default()
    };
    let server = Running::new(limits, None);
    for beginning in ["", "GET /small HTTP/1.1\r\nHo"] {
        let mut client = server.connect().await;
        client.write(beginning).await;
        assert_eq!(client.rest().await.unwrap(), "", "{beginning:?}");
    }
    let mut client = server.connect().await;
    assert_eq!(client.get("/small").await.1, b"hello\n");
    assert_eq!(client.rest().await.unwrap(), "");
    // A byte now and then does not help.
    let mut client = server.connect().await;
    let drip = async {
        for byte in
            "GET /small HTTP/1.1\r\nHost: h\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".bytes()
        {
            if client.tcp.write_all(&[byte]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.rest().await.is_ok_and(|text| text.is_empty())
    };
    assert!(drip.await);
}

#[tokio::test]
async fn those_who_only_wait_make_room() {
    let server = Running::new(Limits { per_address: None, ..Limits::default() }, None);
    // Two thousand send the beginning of a head and then nothing: more than there is room for.
    let mut slow = Vec::new();
    for _ in 0..2000 {
        let mut client = server.connect().await;
        client.write("GET /small HTTP/1.1\r\n").await;
        slow.push(client);
        if slow.len() % 100 == 0 {
            let mut client = server.connect().await;
            assert_eq!(client.get("/small").await.1, b"hello\n");
        }
    }
    let most = i64::try_from(Limits::default().connections).unwrap();
    server.until("talmirror_cache_connections", most).await;
    assert!(server.metric("talmirror_cache_connections_displaced_total") >= 2000 - most);
    assert_eq!(server.metric("talmirror_cache_connections_refused_total"), 0);
}

#[tokio::test]
async fn too_many_at_work_are_told_so() {
    let server = Running::new(Limits { connections: 3, per_address: None, ..Limits::default() }, None);
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.write("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.head().await;
        busy.push(client);
    }
    let mut client = server.connect().await;
    client.write("GET /small HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.rest().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("\r\nConnection: close\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with(r#"{"errors":[{"code":"UNAVAILABLE","message":"too many requests at once"}]}"#));
    let limited = Running::new(Limits { per_address: Some(1), ..Limits::default() }, None);
    let mut first = limited.connect().await;
    assert_eq!(first.get("/small").await.1, b"hello\n");
    // One of the same address makes room as long as it only waits.
    let mut second = limited.connect().await;
    assert_eq!(second.get("/small").await.1, b"hello\n");
    assert_eq!(first.rest().await.unwrap(), "");
    second.write("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await;
    second.head().await;
    assert!(limited.connect().await.rest().await.unwrap().contains(" 503 "));
}

#[tokio::test]
async fn a_drain_lets_answers_end() {
    let mut server = Running::new(Limits::default(), None);
    let mut idle = server.connect().await;
    assert_eq!(idle.get("/small").await.1, b"hello\n");
    let mut late = server.connect().await;
    late.write("GET /slow-head HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut half = server.connect().await;
    half.write("GET /small HTTP/1.1\r\n").await;
    server.until("talmirror_cache_connections", 3).await;
    server.stop();
    assert_eq!(idle.rest().await.unwrap(), "", "it was told to go");
    half.write("Host: h\r\n\r\n").await;
    assert!(half.rest().await.unwrap().contains("\r\nConnection: close\r\n"), "what had begun is answered");
    assert!(!server.task.is_finished());
    server.paths.go.notify_one();
    let answer = late.rest().await.unwrap();
    assert!(answer.contains("\r\nConnection: close\r\n") && answer.ends_with("late\n"), "{answer}");
    assert_eq!(tokio::time::timeout(LONG, server.task).await.unwrap().unwrap(), Drained::Wholly);
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let mut server =
        Running::new(Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() }, None);
    let mut client = server.connect().await;
    client.write("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.head().await;
    server.stop();
    assert_eq!(tokio::time::timeout(LONG, server.task).await.unwrap().unwrap(), Drained::Without(1));
    assert_eq!(client.rest().await.unwrap_or_default(), "");
}

/// A client that speaks HTTP/2.
struct Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>);

impl Http2 {
    async fn new<T>(stream: T) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let (send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    async fn try_ask(
        &mut self,
        method: Method,
        path: &str,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        let request =
            Request::builder().method(method).uri(format!("http://h{path}")).body(Empty::new()).unwrap();
        tokio::time::timeout(LONG, self.0.send_request(request)).await.unwrap()
    }

    async fn ask(&mut self, method: Method, path: &str) -> Response<hyper::body::Incoming> {
        self.try_ask(method, path).await.unwrap()
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Bytes> {
        let response = self.try_ask(Method::GET, path).await?;
        assert_eq!(response.version(), http::Version::HTTP_2);
        Ok(tokio::time::timeout(LONG, response.into_body().collect()).await.unwrap()?.to_bytes())
    }
}

#[tokio::test]
async fn http2_without_tls() {
    let server = Running::new(Limits::default(), None);
    let mut client = Http2::new(server.connect().await.tcp).await;
    assert_eq!(client.get("/small").await.unwrap(), "hello\n");
    let head = client.ask(Method::HEAD, "/file/0-1000000").await;
    assert_eq!(head.headers()["content-length"], "1000000");
    assert!(head.headers().contains_key("date"));
    drop(head);
    let got = client.get(&format!("/file/7-{}", FILE - 7)).await.unwrap();
    assert!(got.iter().zip(7..).all(|(byte, at)| *byte == content(at)) && got.len() as u64 == FILE - 7);
    assert_eq!(client.get("/pieces").await.unwrap().len(), 10);
    assert_eq!(client.ask(Method::PUT, "/small").await.status(), 405);
    for path in ["/broken", "/short", "/long"] {
        assert!(client.get(path).await.is_err(), "{path} looks whole");
    }
    assert_eq!(client.get("/small").await.unwrap(), "hello\n", "only those answers broke");
    let endless = client.ask(Method::GET, "/endless").await;
    drop((endless, client));
    server.until("talmirror_cache_connections", 0).await;
    assert_eq!(server.paths.alive.load(Ordering::SeqCst), 0);
    server.until(r#"talmirror_cache_response_ends_total{end="gone"}"#, 1).await;
}

#[tokio::test]
async fn http2_has_the_same_limits() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(100),
        stall_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut server = Running::new(limits, None);
    let mut client = Http2::new(server.connect().await.tcp).await;
    assert_eq!(client.get("/small").await.unwrap(), "hello\n");
    server.until("talmirror_cache_connections", 0).await;
    // It waits for us, which is no stall; then it takes nothing, which is.
    let mut client = Http2::new(server.connect().await.tcp).await;
    let waiting = client.ask(Method::GET, "/wait").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.paths.go.notify_one();
    tokio::time::sleep(Duration::from_millis(10)).await;
    server.paths.go.notify_one();
    assert_eq!(waiting.into_body().collect().await.unwrap().to_bytes(), "abcdef");
    let endless = client.ask(Method::GET, "/endless").await;
    server.until("talmirror_cache_connections", 0).await;
    assert_eq!(server.paths.alive.load(Ordering::SeqCst), 0);
    drop(endless);
    let mut client = Http2::new(server.connect().await.tcp).await;
    let waiting = client.ask(Method::GET, "/wait").await;
    server.stop();
    server.paths.go.notify_one();
    tokio::time::sleep(Duration::from_millis(10)).await;
    server.paths.go.notify_one();
    assert_eq!(waiting.into_body().collect().await.unwrap().to_bytes(), "abcdef", "what had begun ends");
    assert_eq!(tokio::time::timeout(LONG, server.task).await.unwrap().unwrap(), Drained::Wholly);
}

/// Connects with TLS; the certificate the server shows is returned as well.
async fn connect_tls(
    server: &Running,
    ca: &str,
    client: Option<&Pair>,
    alpn: &[&str],
) -> io::Result<(tokio_rustls::client::TlsStream<TcpStream>, Vec<u8>)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(talmirror::talos::crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = pair.key.replace("ED25519 PRIVATE KEY", "PRIVATE KEY");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let crt = CertificateDer::from_pem_slice(pair.crt.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![crt], key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(server.address).await?;
    let name = "127.0.0.1".try_into().unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let shown = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    Ok((tls, shown))
}

async fn get_tls(
    tls: &mut tokio_rustls::client::TlsStream<TcpStream>,
    path: &str,
    len: usize,
) -> io::Result<Vec<u8>> {
    tls.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await?;
    let mut all = Vec::new();
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n")
            && all.len() >= end + 4 + len
        {
            return Ok(all.split_off(end + 4));
        }
        if tokio::time::timeout(LONG, tls.read_buf(&mut all)).await.unwrap()? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[tokio::test]
async fn tls_with_a_certificate_that_changes() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let files = TlsFiles { certificate: path("crt"), key: path("key"), client_ca: None };
    let publish = |pair: &Pair| {
        std::fs::write(&files.certificate, &pair.crt).unwrap();
        std::fs::write(&files.key, &pair.key).unwrap();
    };
    publish(&authority.server("127.0.0.1"));
    let server = Running::new(Limits::default(), Some(files.clone()));
    let (mut first, shown) = connect_tls(&server, &authority.pem, None, &[]).await.unwrap();
    assert_eq!(get_tls(&mut first, "/small", 6).await.unwrap(), b"hello\n");
    let body = get_tls(&mut first, &format!("/file/3-{}", FILE - 3), usize::try_from(FILE - 3).unwrap())
        .await
        .unwrap();
    assert!(body.iter().zip(3..).all(|(byte, at)| *byte == content(at)));
    assert_eq!(get_tls(&mut first, "/pieces", 10).await.unwrap().len(), 10);
    let (tls, _) = connect_tls(&server, &authority.pem, None, &["h2", "http/1.1"]).await.unwrap();
    let mut http2 = Http2::new(tls).await;
    assert_eq!(http2.get("/file/9-1000000").await.unwrap().len(), 1_000_000);
    // Some bytes in the clear harm nobody else.
    let mut plain = server.connect().await;
    plain.write("GET /small HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let _ = plain.rest().await;
    // A key that is not the certificate's changes nothing, whether it is looked at or not.
    std::fs::write(&files.key, authority.server("127.0.0.1").key + "\n").unwrap();
    let certificate = server.certificate.clone().unwrap();
    let _ = certificate.reload();
    assert_eq!(connect_tls(&server, &authority.pem, None, &[]).await.unwrap().1, shown);
    publish(&authority.server("127.0.0.1"));
    let wait = async {
        let mut now = shown.clone();
        while now == shown {
            let _ = certificate.reload();
            now = connect_tls(&server, &authority.pem, None, &[]).await.unwrap().1;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
    assert_eq!(get_tls(&mut first, "/small", 6).await.unwrap(), b"hello\n", "connections go on");
    let mut broken = connect_tls(&server, &authority.pem, None, &[]).await.unwrap().0;
    assert!(get_tls(&mut broken, "/broken", 10).await.is_err());
}

#[tokio::test]
async fn clients_may_have_to_show_a_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let files = TlsFiles { certificate: path("crt"), key: path("key"), client_ca: Some(path("ca")) };
    let pair = authority.server("127.0.0.1");
    std::fs::write(path("crt"), &pair.crt).unwrap();
    std::fs::write(path("key"), &pair.key).unwrap();
    std::fs::write(path("ca"), &clients.pem).unwrap();
    let server = Running::new(Limits::default(), Some(files));
    let far = 4_000_000_000;
    for (client, good) in [
        (None, false),
        (Some(authority.client("other", 0, far)), false),
        (Some(clients.client("node", 0, 1)), false),
        (Some(clients.client("node", 0, far)), true),
    ] {
        let answer = match connect_tls(&server, &authority.pem, client.as_ref(), &[]).await {
            Ok((mut tls, _)) => get_tls(&mut tls, "/small", 6).await,
            Err(error) => Err(error),
        };
        assert_eq!(answer.is_ok(), good, "{answer:?}");
    }
}

#[test]
fn any_split_of_a_stream_gives_the_same_answers() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(async { Running::new(Limits::default(), None) });
    let requests = [
        "GET /small HTTP/1.1\r\nHost: h\r\n\r\n",
        "HEAD /pieces HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
        "GET /file/77-20000 HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nGET /pieces HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\n\r\n",
        "DELETE /small HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    let ask = |parts: Vec<String>| {
        runtime.block_on(async {
            let mut client = server.connect().await;
            client.tcp.set_nodelay(true).unwrap();
            for part in parts {
                client.write(&part).await;
                tokio::task::yield_now().await;
            }
            while client.more().await.unwrap() > 0 {}
            undated(&String::from_utf8_lossy(&client.have))
        })
    };
    let end = "GET /small HTTP/1.0\r\n\r\n";
    let alone: Vec<String> = requests
        .iter()
        .map(|request| {
            let whole = ask(vec![format!("{request}{end}")]);
            whole[..whole.rfind("HTTP/1.1 200 OK").unwrap()].to_owned()
        })
        .collect();
    let last = ask(vec![end.to_owned()]);
    proptest!(ProptestConfig::with_cases(64), |(
        order in proptest::collection::vec(0..requests.len(), 0..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    )| {
        let text: String = order.iter().map(|at| requests[*at]).chain([end]).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).collect();
        let wanted: String = order.iter().map(|at| alone[*at].as_str()).chain([last.as_str()]).collect();
        prop_assert_eq!(ask(parts), wanted);
    });
}
