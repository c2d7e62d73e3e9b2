//! A link of a set rate between a client and a server: all that is sent back shares it, whatever the connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A link; it is open until the process ends.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    sent: Arc<AtomicU64>,
}

impl Link {
    /// Opens a link of so many bytes a second to a server.
    pub(crate) fn open(server: SocketAddr, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Self { address: listener.local_addr().unwrap(), sent: Arc::default() };
        let (sent, free) = (Arc::clone(&link.sent), Arc::new(Mutex::new(Instant::now())));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let (sent, free) = (Arc::clone(&sent), Arc::clone(&free));
                std::thread::spawn(move || forward(server, client, rate, &sent, &free));
            }
        });
        link
    }

    /// Returns how many bytes came through it since this was asked last.
    pub(crate) fn taken(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }
}

/// Returns how long a link takes for so many bytes.
pub(crate) fn takes(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate)
}

fn forward(mut from: TcpStream, mut to: TcpStream, rate: u64, sent: &AtomicU64, free: &Mutex<Instant>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let takes = takes(count as u64, rate);
        let until = {
            let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + takes;
            *free
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        sent.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
