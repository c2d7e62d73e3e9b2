//! An S3-compatible store to test against: it refuses writes that would replace something, takes notes, and fails as it
//! is told to. The real ones are for `tests/interop/bucket`.
//!
//! It runs on a thread of its own, and ends when it is dropped.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// The bucket that there is.
pub const NAME: &str = "images";
/// The credentials that it takes.
pub const KEY: &str = "AKTEST";

/// A request, as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Without the bucket's name; empty where it is about the bucket.
    pub key: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
}

/// Something that is wrong with the store.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error with this status and code.
    Error(u16, &'static str),
    /// Nothing until [`Bucket::heal`].
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// That many bytes of the body, then the connection is closed.
    Cut(usize),
    /// The same for one request only, after so many others that it is about.
    CutOne(Arc<AtomicUsize>, usize),
    /// A part is answered with the whole.
    Whole,
    /// One bit of the body is another one.
    WrongBytes,
    /// A list says that it goes on, and not where.
    Endless,
    /// The answer takes so long to begin.
    Delay(Duration),
    /// A connection gives so many bytes a second.
    Rate(u64),
}

struct Rule {
    methods: Vec<&'static str>,
    part: String,
    fault: Fault,
}

/// What has a key, and since when.
struct Stored {
    bytes: Arc<Vec<u8>>,
    written: SystemTime,
}

impl Stored {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), written: SystemTime::now() }
    }
}

/// An upload in parts that was begun.
struct Upload {
    key: String,
    begun: SystemTime,
    parts: BTreeMap<u32, Vec<u8>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    begun: usize,
    rules: Vec<Rule>,
    asked: Vec<Asked>,
    ignores_conditions: bool,
    /// Keys with these parts are left out of lists.
    hidden: Vec<String>,
    /// Lists end after so many keys, and say that this is all; whether they look at where one is to begin.
    cut: Option<(usize, bool)>,
    /// Lists begin again, wherever they are to go on.
    repeats: bool,
    /// Addresses that are signed are not taken.
    refuses_signed: bool,
}

/// A store that listens until it is dropped.
pub struct Bucket {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    healed: watch::Sender<u64>,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type", "application/xml".to_owned())], body: body.into() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, format!("<Error><Code>{code}</Code><Message>it is so</Message></Error>"))
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Bucket {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::new(Notify::new()));
        let (healed, _) = watch::channel(0);
        let (own, stopped, own_healed) = (Arc::clone(&state), Arc::clone(&stop), healed.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let accepting = async {
                    loop {
                        if let Ok((stream, _)) = listener.accept().await {
                            let _ = stream.set_nodelay(true);
                            tokio::spawn(serve(stream, Arc::clone(&own), own_healed.clone()));
                        }
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    () = stopped.notified() => {}
                }
            });
        });
        Self { address, state, healed, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has something go wrong with requests of these methods whose key has this part.
    pub fn ill(&self, methods: &[&'static str], part: &str, fault: Fault) {
        let rule = Rule { methods: methods.to_vec(), part: part.to_owned(), fault };
        self.state().rules.push(rule);
    }

    /// Has everything go wrong.
    pub fn is_ill(&self, fault: Fault) {
        self.ill(&["GET", "HEAD", "PUT", "POST", "DELETE"], "", fault);
    }

    pub fn heal(&self) {
        self.state().rules.clear();
        self.healed.send_modify(|times| *times += 1);
    }

    /// Has it write whatever it is told to.
    pub fn ignore_conditions(&self) {
        self.state().ignores_conditions = true;
    }

    /// Has each list end after so many keys, as if there were no more; `goes_on` is whether one may be asked for that begins
    /// after a key.
    pub fn cut_lists(&self, keys: usize, goes_on: bool) {
        self.state().cut = Some((keys, goes_on));
    }

    /// Has each list begin again where it is to go on.
    pub fn repeat_pages(&self, repeats: bool) {
        self.state().repeats = repeats;
    }

    /// Takes no address that is signed.
    pub fn refuse_signed(&self) {
        self.state().refuses_signed = true;
    }

    /// Lists all again.
    pub fn show(&self) {
        let mut state = self.state();
        state.cut = None;
        state.hidden.clear();
    }

    /// Leaves keys with a part out of lists.
    pub fn hide(&self, part: &str) {
        self.state().hidden.push(part.to_owned());
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.state().objects.insert(key.to_owned(), Stored::new(bytes.to_vec()));
    }

    pub fn remove(&self, key: &str) {
        self.state().objects.remove(key);
    }

    /// What has a key, or `None`.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.state().objects.get(key).map(|stored| stored.bytes.to_vec())
    }

    /// The keys with a part, in their order.
    pub fn keys(&self, part: &str) -> Vec<String> {
        self.state().objects.keys().filter(|key| key.contains(part)).cloned().collect()
    }

    /// Makes all that is there older than it is, as if it had been written that much earlier.
    pub fn age(&self, by: Duration) {
        let mut state = self.state();
        state.objects.values_mut().for_each(|stored| stored.written -= by);
        state.uploads.values_mut().for_each(|upload| upload.begun -= by);
    }

    /// Makes one key older.
    pub fn age_of(&self, key: &str, by: Duration) {
        if let Some(stored) = self.state().objects.get_mut(key) {
            stored.written -= by;
        }
    }

    /// Begins an upload, and goes on with nothing.
    pub fn begin_upload(&self, key: &str) {
        let upload = Upload { key: key.to_owned(), begun: SystemTime::now(), parts: BTreeMap::new() };
        self.state().uploads.insert(format!("left-{key}"), upload);
    }

    /// How many uploads were begun and not ended.
    pub fn uploads(&self) -> usize {
        self.state().uploads.len()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// How many requests of a method there were whose key has this part.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.state().asked.iter().filter(|one| one.method == method && one.key.contains(part)).count()
    }

    pub fn forget(&self) {
        self.state().asked.clear();
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, healed: watch::Sender<u64>) {
    let mut stream = BufReader::new(stream);
    while let Some((mut asked, body)) = read(&mut stream).await {
        let faults: Vec<Fault> = {
            let mut state = state.lock().unwrap();
            state.asked.push(asked.clone());
            let is_about = |rule: &&Rule| {
                rule.methods.contains(&asked.method.as_str()) && asked.key.contains(&rule.part)
            };
            state.rules.iter().filter(is_about).map(|rule| rule.fault.clone()).collect()
        };
        let mut answer = None;
        let (mut cut, mut rate, mut is_wrong, mut is_endless) = (None, None, false, false);
        for fault in faults {
            match fault {
                Fault::Error(status, code) => answer = Some(Answer::error(status, code)),
                Fault::Hang => drop(healed.subscribe().changed().await),
                Fault::Close => return,
                Fault::Cut(at) => cut = Some(at),
                Fault::CutOne(before, at) => {
                    if before.fetch_sub(1, Ordering::Relaxed) == 0 {
                        cut = Some(at);
                    }
                }
                Fault::Whole => drop(asked.headers.remove("range")),
                Fault::WrongBytes => is_wrong = true,
                Fault::Endless => is_endless = true,
                Fault::Rate(bytes) => rate = Some(bytes),
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
            }
        }
        let mut answer = answer.unwrap_or_else(|| route(&mut state.lock().unwrap(), &asked, body));
        if is_endless && asked.key.is_empty() {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            answer.body = text.replace("<IsTruncated>false<", "<IsTruncated>true<").into_bytes();
        }
        let middle = answer.body.len() / 2;
        if let (true, Some(byte)) = (is_wrong, answer.body.get_mut(middle)) {
            *byte ^= 1;
        }
        if send(&mut stream, &asked, &answer, cut, rate).await.is_none() {
            return;
        }
    }
}

async fn send(
    stream: &mut BufReader<TcpStream>,
    asked: &Asked,
    answer: &Answer,
    cut: Option<usize>,
    rate: Option<u64>,
) -> Option<()> {
    let mut head =
        format!("HTTP/1.1 {} Whatever\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    if asked.method == "HEAD" {
        return Some(());
    }
    let length = cut.map_or(answer.body.len(), |cut| cut.min(answer.body.len()));
    match rate {
        None => stream.write_all(&answer.body[..length]).await.ok()?,
        Some(rate) => {
            let begun = tokio::time::Instant::now();
            let mut sent = 0;
            for piece in answer.body[..length].chunks(32 << 10) {
                stream.write_all(piece).await.ok()?;
                sent += piece.len() as u64;
                tokio::time::sleep_until(begun + Duration::from_micros(sent * 1_000_000 / rate)).await;
            }
        }
    }
    stream.flush().await.ok()?;
    (length == answer.body.len()).then_some(())
}

fn route(state: &mut State, asked: &Asked, body: Vec<u8>) -> Answer {
    let query = |name: &str| asked.query.get(name).map(String::as_str);
    match (asked.headers.get("authorization"), query("X-Amz-Signature")) {
        (Some(authorization), None) => {
            if !authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY}/")) {
                return Answer::error(403, "InvalidAccessKeyId");
            }
        }
        // What its signature is, real stores look at: `tests/interop/bucket`.
        (None, Some(_)) if asked.method == "GET" && !state.refuses_signed && is_signed(asked) => {}
        (None, Some(_)) => return Answer::error(403, "SignatureDoesNotMatch"),
        // Stores take one of them only.
        (Some(_), Some(_)) => return Answer::error(400, "InvalidArgument"),
        (None, None) => return Answer::error(403, "AccessDenied"),
    }
    let key = &asked.key;
    if key.is_empty() {
        return match (query("list-type"), query("uploads")) {
            (Some("2"), _) => list(state, asked),
            (_, Some(_)) => list_uploads(state, query("prefix").unwrap_or_default()),
            _ => Answer::error(400, "BadRequest"),
        };
    }
    match (asked.method.as_str(), query("uploadId")) {
        ("POST", None) if query("uploads").is_some() => {
            state.begun += 1;
            let id = format!("upload-{}", state.begun);
            let upload = Upload { key: key.clone(), begun: SystemTime::now(), parts: BTreeMap::new() };
            state.uploads.insert(id.clone(), upload);
            Answer::new(
                200,
                format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ),
            )
        }
        ("PUT", Some(id)) => match state.uploads.get_mut(id) {
            Some(upload) => {
                upload.parts.insert(query("partNumber").unwrap().parse().unwrap(), body);
                Answer::new(200, "").with("ETag", "\"part\"")
            }
            None => Answer::error(404, "NoSuchUpload"),
        },
        ("POST", Some(id)) => match state.uploads.remove(id) {
            Some(upload) => {
                let all: Vec<u8> = upload.parts.into_values().flatten().collect();
                // As AWS does, it is dated by when it was begun.
                let stored = Stored { bytes: Arc::new(all), written: upload.begun };
                state.objects.insert(key.clone(), stored);
                let done =
                    "<CompleteMultipartUploadResult><ETag>whole</ETag></CompleteMultipartUploadResult>";
                Answer::new(200, done)
            }
            None => Answer::error(404, "NoSuchUpload"),
        },
        ("DELETE", Some(id)) => {
            state.uploads.remove(id);
            Answer::new(204, "")
        }
        ("PUT", None) => {
            let is_there = state.objects.contains_key(key);
            let creates = asked.headers.get("if-none-match").is_some_and(|value| value == "*");
            let version = state.objects.get(key).map(|stored| version(&stored.bytes));
            let is_other =
                asked.headers.get("if-match").is_some_and(|wanted| version.as_ref() != Some(wanted));
            if (is_there && creates || is_other) && !state.ignores_conditions {
                return Answer::error(412, "PreconditionFailed");
            }
            let answer = Answer::new(200, "").with("ETag", self::version(&body));
            state.objects.insert(key.clone(), Stored::new(body));
            answer
        }
        ("DELETE", None) => {
            state.objects.remove(key);
            Answer::new(204, "")
        }
        ("GET" | "HEAD", _) => match state.objects.get(key) {
            Some(stored) => object(stored, asked),
            None => Answer::error(404, "NoSuchKey"),
        },
        _ => Answer::error(405, "MethodNotAllowed"),
    }
}

/// Whether the query has all that a signed address needs, and has not expired.
fn is_signed(asked: &Asked) -> bool {
    let query = |name: &str| asked.query.get(name).map_or("", String::as_str);
    let begun = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", query("X-Amz-Date"));
    let begun = begun.ok().and_then(|begun| begun.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let age = begun.map(|begun| jiff::Timestamp::now().as_second() - begun.timestamp().as_second());
    let holds: i64 = query("X-Amz-Expires").parse().unwrap_or_default();
    query("X-Amz-Algorithm") == "AWS4-HMAC-SHA256"
        && query("X-Amz-Credential").starts_with(&format!("{KEY}/"))
        && query("X-Amz-SignedHeaders") == "host"
        && query("X-Amz-Signature").len() == 64
        && age.is_some_and(|age| (-60..=holds).contains(&age))
}

/// What the store says of which bytes a key has.
fn version(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    // Large objects are written once: it is the small ones whose versions count.
    (bytes.len(), &bytes[..bytes.len().min(1024)]).hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn object(stored: &Stored, asked: &Asked) -> Answer {
    let bytes = &stored.bytes[..];
    let date = jiff::Timestamp::try_from(stored.written).unwrap();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let etag = |answer: Answer| answer.with("ETag", version(bytes)).with("Last-Modified", date.clone());
    let range = asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, last)) = range else { return etag(Answer::new(200, bytes)) };
    let from: usize = from.parse().unwrap();
    if from >= bytes.len() {
        return Answer::error(416, "InvalidRange");
    }
    let last = last.parse().map_or(bytes.len() - 1, |last: usize| last.min(bytes.len() - 1));
    let range = format!("bytes {from}-{last}/{}", bytes.len());
    etag(Answer::new(206, &bytes[from..=last])).with("Content-Range", range)
}

fn list(state: &State, asked: &Asked) -> Answer {
    let query = |name: &str| asked.query.get(name).map_or("", String::as_str);
    let most = query("max-keys").parse().unwrap_or(1000);
    let most = state.cut.map_or(most, |(cut, _)| cut.min(most));
    let after = if state.cut.is_some_and(|(_, goes_on)| !goes_on) {
        ""
    } else if state.repeats || query("continuation-token").is_empty() {
        query("start-after")
    } else {
        query("continuation-token")
    };
    let mut keys = state
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(query("prefix")) && (after.is_empty() || key.as_str() > after))
        .filter(|(key, _)| !state.hidden.iter().any(|part| key.contains(part)));
    let page: Vec<_> = keys.by_ref().take(most).collect();
    let has_more = keys.next().is_some() && state.cut.is_none();
    let mut xml = format!("<ListBucketResult><Name>{NAME}</Name><IsTruncated>{has_more}</IsTruncated>");
    if let (true, Some((last, _))) = (has_more, page.last()) {
        xml.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    for (key, stored) in page {
        let (size, date) = (stored.bytes.len(), jiff::Timestamp::try_from(stored.written).unwrap());
        xml.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>{date:.3}</LastModified><ETag>{}</ETag><Size>{size}</Size></Contents>",
            version(&stored.bytes)
        ));
    }
    Answer::new(200, xml + "</ListBucketResult>")
}

fn list_uploads(state: &State, prefix: &str) -> Answer {
    let all = state.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
    let each = all.map(|(id, upload)| {
        let date = jiff::Timestamp::try_from(upload.begun).unwrap();
        format!(
            "<Upload><Key>{}</Key><UploadId>{id}</UploadId><Initiated>{date:.3}</Initiated></Upload>",
            upload.key
        )
    });
    let each: String = each.collect();
    Answer::new(200, format!("<ListMultipartUploadsResult>{each}</ListMultipartUploadsResult>"))
}

/// Reads a request; `None` where the connection ends.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(Asked, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let key = path.trim_start_matches('/').strip_prefix(NAME)?.trim_start_matches('/');
    // In a path `+` is itself.
    let key = url::form_urlencoded::parse(format!("k={}", key.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, key)| key.into_owned())?;
    Some((Asked { method, key, query, headers }, body))
}
