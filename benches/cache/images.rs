//! Many small images, as containerd asks for them: HEAD and GET of the tag, then each blob that the manifest lists.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::upstream::Upstream;

/// How many nodes pull at the same time, each over a connection of its own.
const NODES: usize = 16;

/// An image: its tag, and its blobs with their lengths.
pub struct Image {
    pub tag: String,
    pub blobs: Vec<(String, usize)>,
}

/// Makes up images of a config and four layers of 1 to 8 KiB.
pub fn make(upstream: &Upstream, count: usize, mark: &str) -> Arc<Vec<Image>> {
    let images = (0..count).map(|at| {
        let blobs: Vec<_> = (0..5)
            .map(|part| {
                let len = 1024 + (at * 5 + part) * 7919 % (7 * 1024);
                (upstream.blob(len), len)
            })
            .collect();
        let tag = format!("{mark}-{at}");
        upstream.image(&tag, &blobs);
        Image { tag, blobs }
    });
    Arc::new(images.collect())
}

/// Pulls all of them; returns how long that took.
pub fn pull(address: SocketAddr, base: &str, images: &Arc<Vec<Image>>) -> Duration {
    let (next, start) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let nodes: Vec<_> = (0..NODES)
        .map(|_| {
            let (next, images, base) = (Arc::clone(&next), Arc::clone(images), base.to_owned());
            thread::spawn(move || {
                let mut node = Node::new(address);
                while let Some(image) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tag = format!("{base}/manifests/{}", image.tag);
                    let length = node.ask("HEAD", &tag);
                    assert_eq!(node.ask("GET", &tag), length);
                    for (digest, len) in &image.blobs {
                        assert_eq!(node.ask("GET", &format!("{base}/blobs/{digest}")), *len);
                    }
                }
            })
        })
        .collect();
    for node in nodes {
        node.join().unwrap();
    }
    start.elapsed()
}

/// A connection that is kept.
struct Node {
    reader: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Node {
    fn new(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { reader: BufReader::with_capacity(16 * 1024, tcp), body: vec![0; 16 * 1024] }
    }

    /// Asks for a path; returns the length that the answer has.
    fn ask(&mut self, method: &str, path: &str) -> usize {
        let accept =
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: registry.example\r\nUser-Agent: containerd/2.3\r\nAccept: {accept}\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        self.reader.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut length, mut line) = (0, String::new());
        self.reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{method} {path}: {line}");
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                Some(_) => {}
                None => break,
            }
        }
        if method == "GET" {
            self.reader.read_exact(&mut self.body[..length]).unwrap();
        }
        length
    }
}
