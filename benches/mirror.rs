//! How long a look at a cluster's images and mirrors takes: `cargo bench --bench mirror`.
//!
//! 1. `scan` of 10,000 pods, as `kubectl get pods -A -o json` prints them: the median of five, and the peak memory (Linux: the
//!    high-water mark of the process).
//! 2. `verify` of 50 registries with three hosts each, every answer of which takes 20 ms: the median of three, and how it compares
//!    with the slowest host alone, which is asked in the same way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    unreachable_pub,
    dead_code,
    missing_docs
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[path = "../tests/support/upstream.rs"]
mod fake_upstream;
mod process;
#[path = "../examples/simulated-cluster/sim/mod.rs"]
mod sim;

use fake_upstream::{Act, Upstream, noise};
use sim::authority;

/// Runs the binary; returns how long it took, and its peak memory in KiB.
fn run(dir: &Path, args: &[&str]) -> (Duration, u64) {
    process::run(Command::new(env!("CARGO_BIN_EXE_talmirror")).args(args).current_dir(dir))
}

fn median(times: usize, dir: &Path, args: &[&str]) -> (Duration, u64) {
    let mut taken: Vec<(Duration, u64)> = (0..times).map(|_| run(dir, args)).collect();
    taken.sort_unstable();
    (taken[times / 2].0, taken.iter().map(|(_, peak)| *peak).max().unwrap_or(0))
}

/// Pods as the API server gives them, with what it adds: managed fields, status.
fn pods(number: usize) -> String {
    let mut out = String::from("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n");
    let status = "x".repeat(1500);
    for at in 0..number {
        let comma = if at == 0 { "" } else { "," };
        let _ = writeln!(
            out,
            "{comma}{{\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p-{at}\",\"namespace\":\"n-{}\",\"managedFields\":[{{\"fieldsV1\":\"{status}\"}}]}},\
             \"spec\":{{\"initContainers\":[{{\"name\":\"i\",\"image\":\"quay.io/i/i-{}:1\"}}],\"containers\":[{{\"name\":\"c\",\"image\":\"docker.io/a/b-{}:v1.2.3\"}}]}},\
             \"status\":{{\"message\":\"{status}\"}}}}",
            at % 50,
            at % 30,
            at % 300
        );
    }
    out.push_str("]}\n");
    out
}

fn scan() {
    let dir = tempfile::tempdir().unwrap();
    let text = pods(10_000);
    let size = text.len() / 1_000_000;
    std::fs::write(dir.path().join("pods.json"), text).unwrap();
    let (taken, peak) = median(5, dir.path(), &["scan", "pods.json", "-o", "json"]);
    println!("scan of 10,000 pods ({size} MB): {taken:.1?}, {} MiB", peak / 1024);
}

fn verify() {
    let servers: Vec<Upstream> = (0..3).map(|_| Upstream::start()).collect();
    for server in &servers {
        server.image("a/b", "1", &[noise(2000, 1)]);
        server.always("/v2/", Act::Delay(Duration::from_millis(20)));
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |registries: usize, mirrors: usize| {
        let mut text = String::from("apiVersion: talmirror/v1\nkind: Inventory\nmirrors:\n");
        for (at, server) in servers.iter().enumerate().take(mirrors) {
            let _ = writeln!(text, "  m{at}: {{kind: cache, url: '{}'}}", server.url());
        }
        let names: Vec<String> = (0..mirrors).map(|at| format!("m{at}")).collect();
        let _ = writeln!(text, "defaults: {{via: [{}], fallback: never}}\nregistries:", names.join(", "));
        for at in 0..registries {
            let _ = writeln!(text, "  r{at}.test: {{}}");
        }
        text.push_str("verify:\n  images:\n");
        for at in 0..registries {
            let _ = writeln!(text, "    - r{at}.test/a/b:1");
        }
        std::fs::write(dir.path().join("mirrors.yaml"), text).unwrap();
    };
    write(1, 1);
    let (one, _) = median(3, dir.path(), &["verify", "-o", "json"]);
    write(50, 3);
    let (all, peak) = median(3, dir.path(), &["verify", "-o", "json"]);
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    println!(
        "verify of 50 registries with 3 hosts: {all:.1?}, one host alone: {one:.1?}, {ratio:.2} times; {} MiB",
        peak / 1024
    );
}

fn main() {
    scan();
    verify();
}
