//! A Harbor to test against: its answers are those that the versions 2.15.2, 2.12.4 and 2.9.5 gave, exchange by exchange
//! (`tests/vectors/harbor`, which a test replays). It has a state, takes notes, and can be stopped at any call.
//!
//! It runs on threads of its own and ends when it is dropped.
#![allow(dead_code)]

mod api;
mod objects;
mod pages;
mod pulls;
mod robots;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::Pair;

pub use api::{ADMIN_PASSWORD, Version};
pub use objects::{Project, Registry, State, Upstream};
pub use robots::Robot;
pub use wire::{Request, Response};

/// A call, as it came in, and the status of its answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub body: String,
    /// The user of the Basic credentials.
    pub user: Option<String>,
    pub cookie: bool,
    pub status: u16,
}

/// Where a call stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Before it has any effect.
    Before,
    /// After its effect, before its answer.
    After,
}

#[derive(Default)]
struct Gate {
    /// Which call stops, counted from 0.
    at: Option<(usize, Stop)>,
    calls: usize,
    reached: bool,
    open: bool,
}

struct Shared {
    state: Mutex<State>,
    gate: Mutex<Gate>,
    turn: Condvar,
}

/// A Harbor that listens until it is dropped.
pub struct Harbor {
    scheme: &'static str,
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Harbor {
    pub fn new(version: Version) -> Self {
        Self::start(version, None)
    }

    /// Starts with TLS and this certificate.
    pub fn with_tls(version: Version, pair: &Pair) -> Self {
        let certificate = CertificateDer::from_pem_slice(pair.crt.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(talmirror::tls::crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start(version, Some(Arc::new(config)))
    }

    fn start(version: Version, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(version, address)),
            gate: Mutex::new(Gate::default()),
            turn: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else { continue };
                if lock(&shared.state).closed {
                    return;
                }
                let tls = tls.clone();
                std::thread::spawn(move || match tls {
                    None => wire::serve(stream, |request| shared.answer(request)),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).unwrap();
                        let stream = rustls::StreamOwned::new(connection, stream);
                        wire::serve(stream, |request| shared.answer(request));
                    }
                });
            }
        });
        Self { scheme, address, shared }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The state, to be looked at or changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Every call so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Calls that ask for a change, as `METHOD PATH`.
    pub fn changes(&self) -> Vec<String> {
        let seen = self.seen().into_iter().filter(|seen| seen.method != "GET" && seen.method != "HEAD");
        seen.map(|seen| format!("{} {} {}", seen.method, seen.path, seen.status)).collect()
    }

    /// Lets the call of that number stop, counted from now.
    pub fn stop_at(&self, call: usize, stop: Stop) {
        *lock(&self.shared.gate) = Gate { at: Some((call, stop)), ..Gate::default() };
    }

    /// Waits until a call has stopped, or `ended` says that there will be none; returns whether one has.
    pub fn stopped(&self, mut ended: impl FnMut() -> bool) -> bool {
        let mut gate = lock(&self.shared.gate);
        loop {
            if gate.reached {
                return true;
            }
            if ended() {
                return false;
            }
            let waited = self.shared.turn.wait_timeout(gate, std::time::Duration::from_millis(5));
            gate = waited.unwrap().0;
        }
    }

    /// Lets the stopped call go on, and no other stop.
    pub fn go_on(&self) {
        let mut gate = lock(&self.shared.gate);
        gate.open = true;
        gate.at = None;
        self.shared.turn.notify_all();
    }
}

impl Drop for Harbor {
    fn drop(&mut self) {
        self.state().closed = true;
        self.go_on();
        drop(std::net::TcpStream::connect(self.address));
    }
}

impl Shared {
    fn answer(&self, request: &Request) -> Response {
        let stop = {
            let mut gate = lock(&self.gate);
            let call = gate.calls;
            gate.calls += 1;
            gate.at.filter(|(at, _)| *at == call).map(|(_, stop)| stop)
        };
        if stop == Some(Stop::Before) {
            self.wait();
        }
        let response = {
            let mut state = lock(&self.state);
            let response = api::handle(&mut state, request);
            state.seen.push(Seen {
                method: request.method.clone(),
                path: request.target.clone(),
                body: request.body.clone(),
                user: request.basic().map(|(user, _)| user),
                cookie: request.header("cookie").is_some(),
                status: response.status,
            });
            response
        };
        if stop == Some(Stop::After) {
            self.wait();
        }
        response
    }

    fn wait(&self) {
        let mut gate = lock(&self.gate);
        gate.reached = true;
        self.turn.notify_all();
        while !gate.open {
            gate = self.turn.wait(gate).unwrap();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
