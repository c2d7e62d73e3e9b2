//! Answers that are put together once: the same bytes for everyone, until something changes that they follow from.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_bucket::{Bucket, Fault, KEY};
use crate::fake_upstream::{Act, OCI_MANIFEST, Upstream, noise};

const MANIFEST: &str = "/v2/docker.io/library/x/manifests/";

fn hub(upstream: &Upstream, ttl: &str) -> Cache {
    Start::new().upstream("docker.io", &upstream.url()).args(&["--tag-ttl", ttl]).run()
}

/// Sends all requests at once over one connection; returns the answers, which are as many.
fn over_one_connection(cache: &Cache, requests: &[String]) -> Vec<String> {
    let mut stream = TcpStream::connect(cache.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(requests.concat().as_bytes()).unwrap();
    let (mut answers, mut came) = (Vec::new(), Vec::new());
    while answers.len() < requests.len() {
        let head = came.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        let text = head.map(|end| String::from_utf8(came[..end].to_vec()).unwrap());
        let length = text.as_ref().map(|head| {
            let is_head = requests[answers.len()].starts_with("HEAD");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if is_head { 0 } else { length.map_or(0, |length| length.parse().unwrap()) }
        });
        let end = head.zip(length).map(|(head, length)| head + length);
        if let Some(end) = end.filter(|end| *end <= came.len()) {
            let rest = came.split_off(end);
            answers.push(String::from_utf8(std::mem::replace(&mut came, rest)).unwrap());
        } else {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "the connection ends after {answers:?}");
            came.extend_from_slice(&piece[..count]);
        }
    }
    assert!(came.is_empty());
    answers
}

fn request(method: &str, reference: &str, more: &str) -> String {
    format!("{method} {MANIFEST}{reference} HTTP/1.1\r\nHost: cache\r\n{more}\r\n")
}

/// An answer without what differs from one second to the next.
fn timeless(answer: &str) -> String {
    answer.lines().filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_answer_is_the_same_to_the_byte() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let cache = hub(&upstream, "1h");
    for reference in ["1", &image.digest] {
        assert_eq!(cache.get(&format!("{MANIFEST}{reference}")).status, 200);
        for method in ["GET", "HEAD"] {
            for more in
                ["", &format!("Accept: {OCI_MANIFEST}\r\n"), "User-Agent: a\r\naccept-encoding: gzip\r\n"]
            {
                // A header that nobody minds, so that the answer is not one of those that are ready.
                let made = request(method, reference, &format!("{more}X-Other: 1\r\n"));
                let same = request(method, reference, more);
                let answers = over_one_connection(&cache, &[made, same.clone(), same.clone(), same]);
                assert!(answers[0].starts_with("HTTP/1.1 200 OK\r\n"), "{answers:?}");
                assert!(answers[0].contains("\r\nDate: "), "{answers:?}");
                for answer in &answers[1..] {
                    assert_eq!(timeless(answer), timeless(&answers[0]), "{method} {reference} {more:?}");
                }
            }
        }
    }
    // A condition, and what a client does not take, are looked at.
    let etag = format!("If-None-Match: \"{}\"\r\n", image.digest);
    let odd = [
        request("GET", &image.digest, &etag),
        request("GET", "1", "Accept: text/plain\r\n"),
        request("GET", &image.digest, ""),
        request("DELETE", &image.digest, ""),
    ];
    let answers = over_one_connection(&cache, &odd);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.split(' ').nth(1).unwrap()).collect();
    assert_eq!(statuses, ["304", "200", "200", "405"], "{answers:?}");
    assert!(
        !answers[1].contains("X-Cache: HIT"),
        "upstream has to say what it has of that kind: {}",
        answers[1]
    );
}

#[test]
fn a_request_that_would_be_refused_is_not_answered_because_its_words_are_known() {
    let upstream = Upstream::start();
    upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let cache = hub(&upstream, "1h");
    let known = request("GET", "1", "");
    over_one_connection(&cache, &[known.clone(), known.clone(), known]);
    for head in [
        format!("GET {MANIFEST}1 HTTP/1.1\nHost: cache\n\n"),
        format!("GET {MANIFEST}1 HTTP/1.1\r\n\r\n"),
        format!("GET {MANIFEST}1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        format!("GET {MANIFEST}1 HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        format!("GET {MANIFEST}1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"),
    ] {
        let answers = over_one_connection(&cache, std::slice::from_ref(&head));
        assert!(answers[0].starts_with("HTTP/1.1 400 "), "{head:?}: {answers:?}");
    }
}

#[test]
fn nothing_is_answered_that_has_changed() {
    let upstream = Upstream::start();
    let old = upstream.image("library/x", "1", &[b"old".to_vec()]);
    let config = tempfile::NamedTempFile::new().unwrap();
    let write = |deny: &str| {
        let text = format!(
            "apiVersion: talmirror/v1\nkind: Cache\nupstreams:\n  docker.io:\n    endpoints: [{}]\n    deny: [{deny}]\n",
            upstream.url()
        );
        std::fs::write(config.path(), text).unwrap();
    };
    write("");
    let path = config.path().to_str().unwrap();
    let cache = Start::new().args(&["--config", path, "--tag-ttl", "1h"]).run();
    let ask = |reference: &str| {
        let known = request("GET", reference, "");
        let answers = over_one_connection(&cache, &[known.clone(), known.clone(), known]);
        answers.into_iter().next_back().unwrap()
    };
    let digest = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(digest(&ask("1")), old.digest);
    assert_eq!(digest(&ask(&old.digest)), old.digest);
    // The tag moves, and an administrator wants to see it.
    let new = upstream.image("library/x", "1", &[b"new".to_vec()]);
    assert_eq!(digest(&ask("1")), old.digest, "its time is not up");
    cache.command(&["refresh", "docker.io/library/x:1"]);
    assert_eq!(digest(&ask("1")), new.digest);
    // What is removed is not here any more.
    upstream.remove_manifest("library/x", &old.digest);
    assert_eq!(digest(&ask(&old.digest)), old.digest);
    cache.command(&["prune", "docker.io/library/x"]);
    assert!(ask(&old.digest).starts_with("HTTP/1.1 404 "));
    // What may be had is what the new configuration says.
    write("library/x");
    cache.signal("HUP");
    eventually("it is denied", || ask("1").starts_with("HTTP/1.1 403 "));
    assert!(ask(&new.digest).starts_with("HTTP/1.1 403 "));
}

/// What an outage lets out ends with it: a repository whose manifest lists what another has.
#[test]
fn what_goes_out_while_upstream_is_down_is_asked_for_again_afterwards() {
    let upstream = Upstream::start();
    let layer = b"of library/x".to_vec();
    let image = upstream.image("library/x", "1", std::slice::from_ref(&layer));
    upstream.image("library/y", "1", &[layer]);
    let missing = format!("/v2/library/y/blobs/{}", image.layers[0]);
    upstream.always(&missing, Act::error(404, "BLOB_UNKNOWN"));
    let cache = hub(&upstream, "1h");
    let (x, y) = ("/v2/docker.io/library/x", "/v2/docker.io/library/y");
    assert_eq!(cache.get(&format!("{x}/manifests/1")).status, 200);
    assert_eq!(cache.get(&format!("{x}/blobs/{}", image.layers[0])).status, 200);
    assert_eq!(cache.get(&format!("{y}/manifests/1")).status, 200);
    let blob = format!("{y}/blobs/{}", image.layers[0]);
    upstream.heal();
    upstream.always("/", Act::error(503, "UNAVAILABLE"));
    eventually("it goes out meanwhile", || cache.get(&blob).status == 200);
    upstream.heal();
    upstream.always(&missing, Act::error(404, "BLOB_UNKNOWN"));
    eventually("upstream is asked again", || cache.get(&blob).status == 404);
}

/// What the cap has pushed out is fetched, and stored, again.
#[test]
fn what_was_evicted_is_not_answered_from_memory() {
    let upstream = Upstream::start();
    let layers: Vec<Vec<u8>> = (0..12).map(|seed| noise(1 << 20, seed)).collect();
    let image = upstream.image("library/x", "1", &layers);
    let cache = Start::new()
        .upstream("docker.io", &upstream.url())
        .args(&["--size-cap", "8MiB", "--tag-ttl", "1h"])
        .run();
    assert_eq!(cache.get(&format!("{MANIFEST}1")).status, 200);
    let path = |digest: &str| format!("/v2/docker.io/library/x/blobs/{digest}");
    let first = path(&image.layers[0]);
    eventually("it is stored", || cache.get(&first).header("x-cache") == "HIT");
    for _ in 0..3 {
        assert_eq!(cache.head(&first).header("x-cache"), "HIT");
    }
    let hex = image.layers[0].strip_prefix("sha256:").unwrap();
    let file = cache.root.join("blobs/sha256").join(&hex[..2]).join(hex);
    assert!(file.exists(), "{}", file.display());
    eventually("it was evicted", || {
        for layer in &image.layers[1..] {
            assert_eq!(cache.get(&path(layer)).status, 200);
        }
        !file.exists()
    });
    assert_eq!(cache.head(&first).header("x-cache"), "MISS");
    assert_eq!(cache.get(&first).header("x-cache"), "MISS");
}

/// containerd asks what a tag is, and then for the manifest by its digest, which others may have asked for before.
fn pull(cache: &Cache, tag: &str, digest: &str) -> (u16, u16) {
    (cache.head(&format!("{MANIFEST}{tag}")).status, cache.get(&format!("{MANIFEST}{digest}")).status)
}

#[test]
fn a_tag_is_kept_though_its_manifest_is_ready() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1.2.3", &[b"layer".to_vec()]);
    upstream.tag("library/x", "1.2", &image.digest);
    let cache = hub(&upstream, "1h");
    for tag in ["1.2.3", "1.2.3", "1.2.3", "1.2"] {
        assert_eq!(pull(&cache, tag, &image.digest), (200, 200));
    }
    upstream.always("/", Act::error(503, "UNAVAILABLE"));
    let cache = cache.restart();
    for tag in ["1.2.3", "1.2"] {
        assert_eq!(pull(&cache, tag, &image.digest), (200, 200), "{tag}");
    }
}

#[test]
fn a_tag_of_the_bucket_is_kept_though_its_manifest_is_ready() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let image = upstream.image("library/x", "1.2.3", &[b"layer".to_vec()]);
    upstream.tag("library/x", "1.2", &image.digest);
    let start = || {
        Start::new()
            .upstream("docker.io", &upstream.url())
            .args(&[
                "--bucket",
                "s3://images",
                "--s3-endpoint",
                &bucket.url(),
                "--s3-path-style",
                "--tag-ttl",
                "1h",
            ])
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
            .env("AWS_REGION", "eu-central-1")
    };
    let pull = |cache: &Cache, tag: &str| pull(cache, tag, &image.digest);
    let other = start().run();
    for tag in ["1.2.3", "1.2"] {
        assert_eq!(pull(&other, tag), (200, 200));
    }
    eventually("both tags are in the bucket", || bucket.keys("tags/").len() == 2);
    let cache = start().run();
    for tag in ["1.2.3", "1.2.3", "1.2.3", "1.2", "1.2"] {
        assert_eq!(pull(&cache, tag), (200, 200));
    }
    bucket.is_ill(Fault::Close);
    upstream.always("/", Act::error(503, "UNAVAILABLE"));
    let cache = cache.restart();
    for tag in ["1.2.3", "1.2"] {
        assert_eq!(pull(&cache, tag), (200, 200), "{tag}");
    }
}
