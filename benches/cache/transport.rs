//! The cache's transports alone, under a handler that has its answers ready: what the service adds shows against it.
//!
//! `cargo bench --bench transport -- serve ADDRESS FOLDER [WORKERS]` serves a manifest of 1 KiB under
//! `/v2/a/manifests/` and the folder's files under `/v2/a/blobs/`, until it is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use talmirror::cache::observe::Metrics;
use talmirror::cache::{refusal, rejection};
use talmirror::http::{Body, Handler, Piece, Rejected, Server, ServerConfig};
use talmirror::oci::{Range, Refusal, Selection};

struct Static {
    manifest: Bytes,
    folder: PathBuf,
}

impl Handler for Static {
    async fn handle(&self, request: Request<()>, _: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        let (body, media_type) = if path.starts_with("/v2/a/manifests/") {
            let manifest = Piece::Bytes(self.manifest.clone());
            (Body::Piece(manifest), "application/vnd.oci.image.manifest.v1+json")
        } else if let Some(name) = path.strip_prefix("/v2/a/blobs/")
            && let Ok(file) = File::open(self.folder.join(name))
        {
            let len = file.metadata().unwrap().len();
            let range = request.headers().get("range").and_then(|range| Range::parse(range.to_str().ok()?));
            let (offset, len) = match range.map(|range| range.of(len)) {
                Some(Selection::Part(span)) => (span.first(), span.last() - span.first() + 1),
                _ => (0, len),
            };
            (Body::Piece(Piece::File { file: Arc::new(file), offset, len }), "application/octet-stream")
        } else {
            return refusal(&Refusal::NotServed);
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.reserve(10);
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        headers.insert("content-type", HeaderValue::from_static(media_type));
        headers.insert("docker-content-digest", HeaderValue::from_static(digest));
        headers.insert("etag", HeaderValue::from_static(digest));
        headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
        headers.insert("cache-control", HeaderValue::from_static("public, max-age=31536000, immutable"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("x-cache", HeaderValue::from_static("HIT"));
        response
    }

    fn reject(&self, rejected: Rejected) -> Response<Body> {
        rejection(rejected)
    }
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip_while(|argument| argument != "serve").skip(1).collect();
    let [address, folder, workers @ ..] = arguments.as_slice() else { return };
    let workers = workers.first().and_then(|workers| workers.parse().ok()).unwrap_or(2);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).enable_all().build().unwrap().block_on(async {
        let config = ServerConfig::new(vec![address.parse().unwrap()]);
        let server = Server::bind(config, Arc::new(Metrics::new())).unwrap();
        eprintln!("listening on {}", server.addresses().first().unwrap());
        let handler = Static { manifest: Bytes::from(vec![b' '; 1024]), folder: folder.into() };
        server.run(Arc::new(handler), std::future::pending()).await;
    });
}
