//! How long many nodes take, and how much memory: `cargo bench --bench cluster`.
//!
//! 1. What a rollout of 200 simulated nodes begins with, each answering after 20 ms: at once as many as the default of
//!    `--concurrency` allows, and one after another. Medians of five and of three, and their ratio.
//! 2. Peak memory of `nodes`, `diff` and a plan for 1,000 nodes whose configs are 22 KiB each (Linux: the high-water mark of the
//!    process). `cargo bench --bench cluster -- memory` measures this only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

mod process;
#[path = "../examples/simulated-cluster/sim/mod.rs"]
mod sim;

use sim::{Cluster, Listeners, Options};

/// What asks every node: what they are, what differs, and the plan of a rollout.
const COMMANDS: [&[&str]; 3] = [&["nodes", "-o", "json"], &["diff", "-o", "json"], &["rollout", "--dry-run"]];

/// Three control plane nodes and workers, each answering after a while; its files lie in a folder.
fn cluster(nodes: usize, delay: Duration) -> (Cluster, tempfile::TempDir) {
    let options = Options { listeners: Listeners::ControlPlanes, ..Options::default() };
    let cluster = Cluster::start(3, nodes - 3, &["v1.13.9", "v1.14.1"], options).unwrap();
    for name in cluster.names() {
        let node = cluster.node(&name);
        let mut state = node.state();
        state.delay = delay;
        // As long as one that `talosctl gen config` makes, most of which are comments.
        state.active.text.push_str(&"# A field that may be set, and what it does.\n".repeat(500));
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("talosconfig"), cluster.talosconfig()).unwrap();
    std::fs::write(dir.path().join("mirrors.yaml"), cluster.inventory()).unwrap();
    (cluster, dir)
}

/// Runs the binary; returns how long it took, and its peak memory in KiB.
fn run(dir: &Path, args: &[&str]) -> (Duration, u64) {
    process::run(
        Command::new(env!("CARGO_BIN_EXE_talmirror"))
            .args(args)
            .current_dir(dir)
            .env("TALOSCONFIG", dir.join("talosconfig"))
            .env("XDG_STATE_HOME", dir.join("state")),
    )
}

fn median(times: usize, dir: &Path, args: &[&str]) -> Duration {
    let mut taken: Vec<Duration> = (0..times).map(|_| run(dir, args).0).collect();
    taken.sort_unstable();
    taken[times / 2]
}

fn main() {
    if !std::env::args().any(|arg| arg == "memory") {
        time();
    }
    memory();
}

fn time() {
    let (_cluster, dir) = cluster(200, Duration::from_millis(20));
    for args in COMMANDS {
        let many = median(5, dir.path(), args);
        let one = median(3, dir.path(), &[args, &["--concurrency", "1"]].concat());
        let ratio = one.as_secs_f64() / many.as_secs_f64();
        println!("{} of 200 nodes: {many:?} at once, {one:?} one after another: {ratio:.1} x", args[0]);
    }
}

fn memory() {
    let (_cluster, dir) = cluster(1000, Duration::ZERO);
    for args in COMMANDS {
        let (time, peak) = run(dir.path(), args);
        println!("{} of 1,000 nodes: {time:?}, {} MiB at most", args[0], peak.div_ceil(1024));
    }
}
