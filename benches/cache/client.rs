//! Clients that read and throw away.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    /// Until the first byte of the body.
    pub first: Duration,
    /// Until the last.
    pub whole: Duration,
    pub bytes: u64,
}

/// Gets a path once.
pub fn get(address: SocketAddr, path: &str) -> Got {
    let start = Instant::now();
    let mut tcp = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/vnd.oci.image.manifest.v1+json, */*\r\nConnection: close\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (mut have, mut first, mut bytes, mut len) = (Vec::new(), None, 0_u64, u64::MAX);
    while bytes < len {
        let Ok(read @ 1..) = tcp.read(&mut buffer) else { break };
        if first.is_none() {
            have.extend_from_slice(&buffer[..read]);
            let Some(end) = have.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&have[..end]).to_ascii_lowercase();
            let value = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            len = value.and_then(|value| value.parse().ok()).unwrap_or(u64::MAX);
            bytes = (have.len() - end - 4) as u64;
            if bytes == 0 {
                continue;
            }
            first = Some(start.elapsed());
        } else {
            bytes += read as u64;
        }
    }
    Got { first: first.unwrap_or_default(), whole: start.elapsed(), bytes }
}

/// Gets a path so many times at once.
pub fn get_many(address: SocketAddr, path: &str, count: usize) -> (Vec<Got>, Duration) {
    let barrier = Arc::new(Barrier::new(count + 1));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let (barrier, path) = (Arc::clone(&barrier), path.to_owned());
            thread::spawn(move || {
                barrier.wait();
                get(address, &path)
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    let all = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    (all, start.elapsed())
}
