//! Registries as upstreams, and everything that can be wrong with them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::fake_upstream::{Act, Upstream};

/// One request, without any client's help.
fn raw(upstream: &Upstream, request: &str) -> String {
    let mut stream = TcpStream::connect(upstream.address).unwrap();
    stream.write_all(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_fake_does_what_it_is_told() {
    let upstream = Upstream::start();
    let digest = upstream.blob("0123456789");
    upstream.times(1, "/blobs/", Act::Cut(4));
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1");
    let answer = raw(&upstream, &get);
    assert!(answer.contains("Content-Length: 10\r\n") && answer.ends_with("\r\n\r\n0123"), "{answer}");
    let answer = raw(&upstream, &format!("{get}\r\nRange: bytes=4-"));
    assert!(
        answer.contains("Content-Range: bytes 4-9/10\r\n") && answer.ends_with("\r\n\r\n456789"),
        "{answer}"
    );
    assert_eq!((upstream.count("GET", &digest), upstream.sent()), (2, 10));
}
