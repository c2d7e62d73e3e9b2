#![expect(clippy::disallowed_methods, reason = "accepts connections, within time limits")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::body::{Body, Piece};
use super::certificate::Certificate;
use super::config::{Limits, ServerConfig};
use super::connections::{Connections, Slot};
use super::context::Shared;
use super::error::ServerError;
use super::handler::{Handler, Rejected};
use super::http1;
use super::http2;
use super::observer::Observer;
use super::proxies::TrustedProxies;
use super::response_head::{ConnectionHeader, split_response, write_response_head};
use super::stream::ClientStream;

/// How many connections may wait to be accepted: all nodes of a cluster may come at once.
const BACKLOG: u32 = 4096;
/// How long accepting rests when the process has no descriptor left.
const REST: Duration = Duration::from_millis(20);
/// How many are told at once that there are too many; more are only hung up on.
const TOLD: usize = 64;
/// Descriptors besides those of connections: files, upstreams, logs.
const OTHER_FILES: u64 = 4096;

/// A server that listens, and serves once it runs.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    certificate: Option<Arc<Certificate>>,
    limits: Limits,
    proxies: TrustedProxies,
    observer: Arc<dyn Observer>,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every answer had ended.
    Wholly,
    /// This many connections were cut off, since they took longer than [`Limits::drain_timeout`].
    Without(usize),
}

impl Server {
    /// Begins to listen; from then on the kernel takes connections, which wait until the server runs.
    ///
    /// Has to be called inside a tokio runtime.
    pub fn bind(config: ServerConfig, observer: Arc<dyn Observer>) -> Result<Self, ServerError> {
        let certificate = config.tls.map(Certificate::read).transpose()?.map(Arc::new);
        let all = &config.listen;
        let listeners: Result<Vec<_>, _> = all
            .iter()
            .map(|&address| {
                // `[::]` takes IPv4 too, unless that has a socket of its own.
                let v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
                let v6_only = address.is_ipv6() && address.port() != 0 && all.iter().any(v4);
                listen(address, v6_only).map_err(|source| ServerError::Listen { address, source })
            })
            .collect();
        Self::over(listeners?, certificate, config.limits, config.proxies, observer)
    }

    /// Takes the sockets that systemd passes (`LISTEN_FDS`) in place of the addresses of the settings, if it does.
    ///
    /// With them a restart closes no acceptor: the kernel keeps the connections that come meanwhile.
    ///
    /// Has to be called inside a tokio runtime, and by one server of the process only.
    pub fn bind_or_take(config: ServerConfig, observer: Arc<dyn Observer>) -> Result<Self, ServerError> {
        let passed = passed().map_err(ServerError::Passed)?;
        if passed.is_empty() {
            return Self::bind(config, observer);
        }
        let certificate = config.tls.map(Certificate::read).transpose()?.map(Arc::new);
        Self::over(passed, certificate, config.limits, config.proxies, observer)
    }

    fn over(
        listeners: Vec<TcpListener>,
        certificate: Option<Arc<Certificate>>,
        limits: Limits,
        proxies: TrustedProxies,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ServerError> {
        if listeners.is_empty() {
            return Err(ServerError::NoAddress);
        }
        let addresses: io::Result<Vec<_>> = listeners.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(ServerError::Passed)?;
        raise_files(limits.connections as u64 * 2 + OTHER_FILES);
        Ok(Self { listeners, addresses, certificate, limits, proxies, observer })
    }

    /// Returns the addresses, with the ports that were free.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the certificate, to have it read again.
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// Serves until `shutdown` is done, then lets the answers that have begun end.
    pub async fn run<H: Handler>(self, handler: Arc<H>, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { listeners, certificate, limits, proxies, observer, .. } = self;
        let connections = Connections::new(&limits, proxies.clone(), Arc::clone(&observer));
        let too_many = rendered(handler.reject(Rejected::TooMany));
        let shared = Arc::new(Shared { handler, observer, limits, proxies, started: Instant::now() });
        let (stop, stopped) = watch::channel(false);
        let acceptor = Arc::new(Acceptor {
            connections: Arc::clone(&connections),
            certificate,
            told: Arc::new(Semaphore::new(TOLD)),
            too_many,
            shared,
        });
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(Arc::clone(&acceptor).accept(listener, stopped.clone()));
        }
        shutdown.await;
        connections.drain();
        let _ = stop.send(true);
        let drained = async {
            while accepting.join_next().await.is_some() {}
            connections.gone().await;
        };
        match tokio::time::timeout(limits.drain_timeout, drained).await {
            Ok(()) => Drained::Wholly,
            Err(_) => Drained::Without(connections.abort()),
        }
    }
}

/// Where connections come in.
struct Acceptor<H> {
    connections: Arc<Connections>,
    certificate: Option<Arc<Certificate>>,
    told: Arc<Semaphore>,
    /// The answer to a client that there is no room for.
    too_many: Bytes,
    shared: Arc<Shared<H>>,
}

impl<H: Handler> Acceptor<H> {
    /// Takes connections until told to stop, and then those that the kernel has accepted already.
    async fn accept(self: Arc<Self>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                // On a socket that takes both, an IPv4 address comes mapped into an IPv6 one.
                Ok((tcp, peer)) => self.admit(tcp, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
                Err(error) if is_shortage(&error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.connections.displace();
                    tokio::time::sleep(REST).await;
                }
                // Of that one connection only: it was gone before it was taken.
                Err(_) => {}
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, peer: SocketAddr) {
        let Some(slot) = self.connections.admit(peer.ip(), self.shared.millis(Instant::now())) else {
            if let Ok(permit) = Arc::clone(&self.told).try_acquire_owned()
                && self.certificate.is_none()
            {
                let answer = self.too_many.clone();
                tokio::spawn(async move {
                    turn_away(tcp, &answer).await;
                    drop(permit);
                });
            }
            return;
        };
        let aborter = slot.aborter();
        let task = tokio::spawn(Arc::clone(self).serve(tcp, peer, slot));
        aborter.set(task.abort_handle());
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, slot: Slot) {
        // Answers are written whole, so waiting for more to go with them only costs time.
        let _ = tcp.set_nodelay(true);
        let shared = Arc::clone(&self.shared);
        let Some(certificate) = &self.certificate else {
            drop(self);
            return http1::serve(ClientStream::Plain(tcp), peer, slot, shared).await;
        };
        let handshake = TlsAcceptor::from(certificate.config()).accept(tcp);
        let tls = tokio::select! {
            tls = tokio::time::timeout(shared.limits.head_timeout, handshake) => tls,
            () = std::future::poll_fn(|cx| slot.poll_displaced(cx)) => return,
        };
        drop(self);
        match tls {
            Ok(Ok(tls)) => {
                let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = ClientStream::Tls(Box::new(tls));
                if http2 {
                    http2::serve(stream, Bytes::new(), peer, slot, shared).await;
                } else {
                    http1::serve(stream, peer, slot, shared).await;
                }
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }
}

/// Writes an answer, after which the connection ends; of its body only what is in memory.
fn rendered(response: Response<Body>) -> Bytes {
    let (response, body) = split_response(response, false);
    let mut out = Vec::new();
    write_response_head(&mut out, &response, None, ConnectionHeader::Close);
    if let Body::Piece(Piece::Bytes(bytes)) = body {
        out.extend_from_slice(&bytes);
    }
    out.into()
}

/// Answers that there are too many, whatever is asked, so that the client goes elsewhere at once.
async fn turn_away(tcp: TcpStream, answer: &[u8]) {
    let stream = ClientStream::Plain(tcp);
    // A fresh socket takes this much, once it is known to take anything.
    if stream.writable().await.is_ok() && stream.try_write(answer, false).is_ok() {
        stream.close().await;
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| shortages.contains(&error))
}

fn listen(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait until the kernel has forgotten the connections of before.
    socket.set_reuseaddr(true)?;
    if v6_only {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes the sockets that the service manager passes.
fn passed() -> io::Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        if let Some(listener) = passed.take_tcp_listener(index)? {
            listener.set_nonblocking(true)?;
            listeners.push(TcpListener::from_std(listener)?);
        }
    }
    Ok(listeners)
}

/// Asks for as many descriptors as connections may need, as far as the process may without privilege.
fn raise_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    if limit.current.is_some_and(|current| current < most) {
        // Where this is not allowed the limit shows when it is reached, and is handled there.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    }
}
