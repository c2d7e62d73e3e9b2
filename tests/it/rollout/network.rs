//! A network that fails between the client and one of two endpoints, at every call of a rollout: with one endpoint well, the
//! rollout ends well, and no trial begins on top of another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::faults::at_once;
use super::{Site, last};
use crate::run::Ran;

/// What a network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Passes,
    /// Nothing passes, and nothing says so.
    BlackHole,
    /// What is open is cut, and nothing new is let in.
    Reset,
    /// What the client sends passes, the answers do not.
    HalfOpen,
    /// Everything comes seconds later.
    Delay,
    /// Each third packet has to be sent again.
    Loss,
}

const FAULTS: [Mode; 5] = [Mode::BlackHole, Mode::Reset, Mode::HalfOpen, Mode::Delay, Mode::Loss];

/// The way to one endpoint.
struct Relay {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Relay {
    fn to(endpoint: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(AtomicU8::new(Mode::Passes as u8));
        let own = Arc::clone(&mode);
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mode = Arc::clone(&own);
                tokio::spawn(async move {
                    if mode.load(Ordering::SeqCst) == Mode::Reset as u8 {
                        return;
                    }
                    let Ok(far) = TcpStream::connect(endpoint).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    let cut = async {
                        while mode.load(Ordering::SeqCst) != Mode::Reset as u8 {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    };
                    tokio::select! {
                        () = pump(near_in, far_out, &mode, false) => {}
                        () = pump(far_in, near_out, &mode, true) => {}
                        () = cut => {}
                    }
                });
            }
        });
        Self { address, mode, runtime: Some(runtime) }
    }

    fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Passes bytes on, as the network lets them.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &AtomicU8, is_answer: bool) {
    let mut bytes = vec![0; 16 * 1024];
    let mut packets = 0;
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        packets += 1;
        let mode = mode.load(Ordering::SeqCst);
        let is = |other: Mode| mode == other as u8;
        if is(Mode::BlackHole) || (is(Mode::HalfOpen) && is_answer) {
            continue;
        }
        if is(Mode::Delay) {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        if is(Mode::Loss) && packets % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Calls that have reached any node.
fn calls(site: &Site) -> usize {
    site.cluster.names().iter().map(|name| site.cluster.events_of(name).len()).sum()
}

/// Runs a rollout of two nodes; at the call of a number, the network to both endpoints begins to fail, for good.
fn run_cut_off(at: usize, fault: Mode) -> Result<(), String> {
    let site = Site::new(2, 2, &["v1.13.9"]);
    let relays = Relays::of(&site);
    let short = "--try-timeout 30s --settle 2s --timeout 2s";
    let ran = relays.fail_at(&site, at, &[0, 1], fault, &format!("-n w-1,w-2 {short}"));
    let context = |flaw: &str| format!("{fault:?} of both endpoints at call {at}: {flaw}: {ran}");
    let last = last(&ran).to_owned();
    let touched = |name: &str| !site.applies(name).is_empty();
    if touched("w-2") && !last.contains("w-1 updated") && ran.code != 0 && !last.starts_with("w-1, w-2") {
        return Err(context("w-2 was touched though w-1 failed"));
    }
    site.check_nodes().and_then(|()| site.check_told(&ran)).map_err(|flaw| context(&flaw))?;
    relays.set(Mode::Passes);
    // Where it ended before anything was sent, there is nothing to resume.
    let resume = if ran.stderr.contains("journal: ") { "--resume" } else { "-n w-1,w-2" };
    let long = "--try-timeout 10m --settle 1m --timeout 1m";
    let resumed = site.place.run(&format!("rollout --yes {resume} -e {} {long}", relays.endpoints())).ran();
    if resumed.code != 0 || !site.is_new("w-1") || !site.is_new("w-2") {
        return Err(context(&format!("it cannot be resumed: {resumed}")));
    }
    site.check_applies();
    Ok(())
}

/// Returns how many calls a rollout of two nodes makes where nothing fails.
fn calls_until_the_end() -> usize {
    let site = Site::new(2, 2, &["v1.13.9"]);
    let relays = Relays::of(&site);
    let more = "-n w-1,w-2 --try-timeout 60s --settle 20s --timeout 20s";
    let ran = relays.fail_at(&site, usize::MAX, &[], Mode::Passes, more);
    assert_eq!(ran.code, 0, "{ran}");
    calls(&site)
}

/// The ways to both endpoints.
struct Relays([Relay; 2]);

impl Relays {
    fn of(site: &Site) -> Self {
        for name in site.cluster.names() {
            site.cluster.node(&name).state().delay = Duration::from_millis(8);
        }
        Self(["cp-1", "cp-2"].map(|name| Relay::to(site.cluster.endpoint(name).parse().unwrap())))
    }

    fn endpoints(&self) -> String {
        self.0.each_ref().map(|relay| relay.address.to_string()).join(",")
    }

    fn set(&self, mode: Mode) {
        self.0.iter().for_each(|relay| relay.set(mode));
    }

    /// Runs a rollout; at the call of a number, the network to some endpoints begins to fail.
    fn fail_at(&self, site: &Site, at: usize, endpoints: &[usize], fault: Mode, more: &str) -> Ran {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    if calls(site) >= at {
                        for endpoint in endpoints {
                            self.0[*endpoint].set(fault);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let ran = site.place.run(&format!("rollout --yes -e {} {more}", self.endpoints())).ran();
            over.store(true, Ordering::SeqCst);
            ran
        })
    }
}

/// Runs a rollout of one node; at the call of a number, the network to one endpoint begins to fail.
fn run(at: usize, endpoint: usize, fault: Mode) -> Result<usize, String> {
    let site = Site::new(2, 1, &["v1.13.9"]);
    let relays = Relays::of(&site);
    let more = "-n w-1 --try-timeout 60s --settle 6s --timeout 16s";
    let ran = relays.fail_at(&site, at, &[endpoint], fault, more);
    let context = format!("{fault:?} of endpoint {endpoint} at call {at}");
    if ran.code != 0 || !site.is_new("w-1") {
        return Err(format!("{context}: {ran}"));
    }
    site.check_applies();
    Ok(calls(&site))
}

/// Lists the calls of a rollout with each fault on each endpoint.
fn every_fault() -> Vec<(usize, usize, Mode)> {
    let calls = run(usize::MAX, 0, Mode::Passes).unwrap();
    assert!(calls > 20, "{calls}");
    let at_call = |at| [0, 1].into_iter().flat_map(move |end| FAULTS.map(|fault| (at, end, fault)));
    (1..=calls).flat_map(at_call).collect()
}

/// A part of the matrix, in which each fault strikes each endpoint at calls of every phase.
#[test]
fn with_one_endpoint_well_a_rollout_ends_well() {
    let all = every_fault();
    let work: Vec<_> = all.into_iter().step_by(37).collect();
    at_once(&work, |(at, endpoint, fault)| run(*at, *endpoint, *fault).map(drop));
}

/// A part of the faults that leave no way to the nodes: what is said of them is true, and the rollout can be resumed.
#[test]
fn with_no_endpoint_well_what_is_said_is_true() {
    let calls = calls_until_the_end();
    let work: Vec<_> = (4..calls)
        .step_by(calls / 9)
        .zip([Mode::BlackHole, Mode::Reset, Mode::HalfOpen].into_iter().cycle())
        .collect();
    at_once(&work, |(at, fault)| run_cut_off(*at, *fault));
}

#[test]
#[ignore = "takes minutes: cargo test --test it no_endpoint_well_at_any_call -- --ignored"]
fn no_endpoint_well_at_any_call() {
    let all = (1..=calls_until_the_end())
        .flat_map(|at| [Mode::BlackHole, Mode::Reset, Mode::HalfOpen].map(|fault| (at, fault)));
    let work: Vec<_> = all.collect();
    at_once(&work, |(at, fault)| run_cut_off(*at, *fault));
}

#[test]
#[ignore = "takes minutes: cargo test --test it every_call_of_a_rollout -- --ignored"]
fn every_call_of_a_rollout_may_meet_any_fault_of_one_endpoint() {
    at_once(&every_fault(), |(at, endpoint, fault)| run(*at, *endpoint, *fault).map(drop));
}
