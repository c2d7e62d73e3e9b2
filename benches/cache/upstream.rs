//! An upstream registry of blobs that are made up, over a link that may be narrow; it counts what it is asked.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// A repository `a` with a manifest under the tag `t`, and any number of blobs.
pub struct Upstream {
    pub address: SocketAddr,
    pub gets: AtomicU64,
    pub sent: AtomicU64,
    /// The bytes that all blobs share, after the eight that tell them apart.
    base: Vec<u8>,
    /// By digest: what tells it apart, and its length.
    blobs: Mutex<HashMap<String, (u64, usize)>>,
    manifest: Manifest,
    /// The manifests of made-up images, by tag and by digest.
    images: Mutex<HashMap<String, Arc<Manifest>>>,
    /// Bytes a second that the link takes, 0 if any number, and when it is free again.
    rate: AtomicU64,
    free: Mutex<Instant>,
}

/// A manifest, after its digest.
type Manifest = (String, Vec<u8>);

/// Length of the manifest.
pub const MANIFEST: usize = 1024;
const BURST: usize = 64 * 1024;

fn hex(digest: impl AsRef<[u8]>) -> String {
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Upstream {
    pub fn start(largest: usize) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut state = 1_u64;
        let base = (0..largest.div_ceil(8)).flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()
        });
        let config = hex(Sha256::digest(b"{}"));
        let mut manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[],"annotations":{{"x":""#
        );
        manifest.push_str(&"x".repeat(MANIFEST - manifest.len() - 3));
        manifest.push_str("\"}}");
        let manifest = manifest.into_bytes();
        let upstream = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            gets: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            base: base.collect(),
            blobs: Mutex::default(),
            manifest: (hex(Sha256::digest(&manifest)), manifest),
            images: Mutex::default(),
            rate: AtomicU64::new(0),
            free: Mutex::new(Instant::now()),
        });
        let server = Arc::clone(&upstream);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                // A client that hangs up ends its thread, and nothing else.
                thread::spawn(move || drop(server.serve(tcp)));
            }
        });
        upstream
    }

    /// Makes up a blob and returns its digest.
    pub fn blob(&self, len: usize) -> String {
        let mut blobs = self.blobs.lock().unwrap();
        let mark = blobs.len() as u64;
        let mut hash = Sha256::new();
        hash.update(mark.to_be_bytes());
        hash.update(&self.base[8..len]);
        let digest = hex(hash.finalize());
        blobs.insert(digest.clone(), (mark, len));
        digest
    }

    /// Makes up the manifest of an image, whose first blob is its config.
    pub fn image(&self, tag: &str, blobs: &[(String, usize)]) {
        let part = |(digest, len): &(String, usize), kind: &str| {
            format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{len}}}"#)
        };
        let layers: Vec<_> = blobs[1..].iter().map(|blob| part(blob, "layer.v1.tar+gzip")).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
            part(&blobs[0], "config.v1+json"),
            layers.join(",")
        );
        let manifest = Arc::new((hex(Sha256::digest(&manifest)), manifest.into_bytes()));
        let mut images = self.images.lock().unwrap();
        images.insert(manifest.0.clone(), Arc::clone(&manifest));
        images.insert(tag.to_owned(), manifest);
    }

    pub fn manifest_digest(&self) -> &str {
        &self.manifest.0
    }

    pub fn manifest(&self) -> &[u8] {
        &self.manifest.1
    }

    /// Writes a blob where nginx finds it.
    pub fn write(&self, digest: &str, mut to: impl std::io::Write) {
        let (mark, len) = self.blobs.lock().unwrap()[digest];
        to.write_all(&mark.to_be_bytes()).unwrap();
        to.write_all(&self.base[8..len]).unwrap();
    }

    /// Makes the link narrow: so many bytes a second for all together; 0 makes it wide.
    pub fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
        *self.free.lock().unwrap() = Instant::now();
    }

    fn pass(&self, bytes: usize) {
        let rate = self.rate.load(Ordering::SeqCst);
        if rate > 0 {
            let until = {
                let mut free = self.free.lock().unwrap();
                *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
                *free
            };
            thread::sleep(until.saturating_duration_since(Instant::now()));
        }
    }

    fn serve(&self, tcp: TcpStream) -> std::io::Result<()> {
        tcp.set_nodelay(true)?;
        let mut reader = BufReader::new(tcp.try_clone()?);
        let mut tcp = tcp;
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let path = path.split('?').next().unwrap_or_default();
            let from = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": bytes=")?;
                name.eq_ignore_ascii_case("range").then(|| value.split('-').next()?.parse::<usize>().ok())?
            });
            let name = path.rsplit('/').next().unwrap_or_default();
            let found = self.blobs.lock().unwrap().get(name).copied();
            match found {
                _ if path == "/v2/" => tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?,
                Some((mark, len)) => {
                    let from = from.unwrap_or(0).min(len);
                    let (status, range) = if from == 0 {
                        ("200 OK", String::new())
                    } else {
                        ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{len}\r\n", len - 1))
                    };
                    tcp.write_all(
                        format!(
                            "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n\
                             Docker-Content-Digest: {name}\r\n{range}\r\n",
                            len - from
                        )
                        .as_bytes(),
                    )?;
                    if method == "GET" {
                        self.gets.fetch_add(1, Ordering::SeqCst);
                        self.body(&mut tcp, mark, from, len)?;
                    }
                }
                None if path.contains("/manifests/") => {
                    let image = self.images.lock().unwrap().get(name).cloned();
                    let (digest, manifest) = image.as_deref().unwrap_or(&self.manifest);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {}\r\n\
                         Docker-Content-Digest: {digest}\r\n\r\n",
                        manifest.len()
                    );
                    tcp.write_all(head.as_bytes())?;
                    if method == "GET" {
                        tcp.write_all(manifest)?;
                    }
                }
                None => tcp.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
            }
        }
    }

    fn body(&self, tcp: &mut TcpStream, mark: u64, from: usize, len: usize) -> std::io::Result<()> {
        let mut at = from;
        if at < 8 {
            tcp.write_all(&mark.to_be_bytes()[at..])?;
            at = 8;
        }
        while at < len {
            let end = (at + BURST).min(len);
            self.pass(end - at);
            tcp.write_all(&self.base[at..end])?;
            self.sent.fetch_add((end - at) as u64, Ordering::Relaxed);
            at = end;
        }
        Ok(())
    }
}
