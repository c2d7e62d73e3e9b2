//! How long a look at a cluster's images and mirrors takes: `cargo bench --bench mirror`.
//!
//! 1. `scan` of 10,000 pods, as `kubectl get pods -A -o json` prints them: the median of five, and the peak memory (Linux: the
//!    high-water mark of the process).
//! 2. `verify` of 50 registries with three hosts each, every answer of which takes 20 ms: the median of three, and how it compares
//!    with the slowest host alone, which is asked in the same way.
//! 3. `warm` of 200 images that share layers, through talmirror-cache, whose upstream is behind a link of 64 MiB a second: how often
//!    each blob came from upstream, how the time compares with what the link or the disk alone would take for the same bytes,
//!    and the peak memory of both processes. Then the same once more with a delay of 20 ms in each answer of upstream, against
//!    `warm` straight through the link.

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

#[path = "../../tests/support/cache.rs"]
mod cache_process;
#[path = "../../tests/support/upstream.rs"]
mod fake_upstream;
mod link;
#[path = "../process/mod.rs"]
mod process;
#[path = "../../examples/simulated-cluster/sim/mod.rs"]
mod sim;

/// What caches of tests are looked through for.
mod run {
    pub const SECRET: &str = "s3cr3t";
}

use cache_process::Start;
use fake_upstream::{Act, Upstream, noise};
use link::Link;
use sim::authority;

/// The link to upstream, in bytes a second.
const RATE: u64 = 64 << 20;
/// How many images are pulled.
const IMAGES: u64 = 200;

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
    let time = |registries: usize, mirrors: usize| {
        let mut text = String::from("apiVersion: talmirror/v1\nkind: Inventory\nmirrors:\n");
        for (at, server) in servers.iter().enumerate().take(mirrors) {
            let _ = writeln!(text, "  m{at}: {{kind: cache, url: '{}'}}", server.url());
        }
        let names: Vec<String> = (0..mirrors).map(|at| format!("m{at}")).collect();
        let _ = writeln!(text, "defaults: {{via: [{}], fallback: never}}\nregistries:", names.join(", "));
        for at in 0..registries {
            let _ = writeln!(text, "  r{at}.test: {{}}");
        }
        std::fs::write(dir.path().join("mirrors.yaml"), text).unwrap();
        // In `verify.images` so many would need a longer trial in rollouts.
        let images: Vec<String> = (0..registries).map(|at| format!("r{at}.test/a/b:1")).collect();
        let args: Vec<&str> =
            ["verify", "-o", "json"].into_iter().chain(images.iter().map(String::as_str)).collect();
        median(3, dir.path(), &args)
    };
    let (one, _) = time(1, 1);
    let (all, peak) = time(50, 3);
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    println!(
        "verify of 50 registries with 3 hosts: {all:.1?}, one host alone: {one:.1?}, {ratio:.2} times; {} MiB",
        peak / 1024
    );
}

/// Puts images into a registry: each has a layer of its own, one that ten share, and one that forty share.
fn images(server: &Upstream) -> String {
    let base: Vec<Vec<u8>> = (0..5).map(|at| noise(8 << 20, 1000 + at)).collect();
    let shared: Vec<Vec<u8>> = (0..20).map(|at| noise(2 << 20, 2000 + at)).collect();
    let mut list = String::new();
    for (at, number) in (0..IMAGES).zip(0_usize..) {
        let layers = [base[number % 5].clone(), shared[number % 20].clone(), noise(1 << 20, at)];
        server.image(&format!("a/{at}"), "1", &layers);
        let _ = writeln!(list, "reg.test/a/{at}:1");
    }
    list
}

/// Returns how long the disk alone takes for so many bytes.
fn disk(dir: &Path, bytes: u64) -> Duration {
    let begun = std::time::Instant::now();
    let mut file = std::fs::File::create(dir.join("disk")).unwrap();
    let piece = noise(1 << 20, 1);
    for _ in 0..bytes.div_ceil(1 << 20) {
        std::io::Write::write_all(&mut file, &piece).unwrap();
    }
    file.sync_all().unwrap();
    begun.elapsed()
}

/// The high-water mark of a process, in KiB (Linux).
fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn warm() {
    let upstream = Upstream::start();
    let list = images(&upstream);
    let link = Link::open(upstream.address, RATE);
    let through = format!("http://{}", link.address);
    let once = |mirror: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("list"), &list).unwrap();
        let inventory = format!(
            "apiVersion: talmirror/v1\nkind: Inventory\nmirrors: {{hub: {{kind: cache, url: '{mirror}'}}}}\n\
             registries: {{reg.test: {{}}}}\ndefaults: {{via: [hub], fallback: never}}\n"
        );
        std::fs::write(dir.path().join("mirrors.yaml"), inventory).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_talmirror"));
        command.args(["warm", "list", "-o", "json"]).current_dir(dir.path()).env("HOME", dir.path());
        let (taken, peak) = process::run(command.env_remove("XDG_STATE_HOME"));
        let seen = upstream.seen();
        let blobs = seen.iter().filter(|seen| seen.method == "GET" && seen.path.contains("/blobs/"));
        let mut often = std::collections::BTreeMap::<&str, usize>::new();
        blobs.for_each(|seen| *often.entry(seen.path.rsplit('/').next().unwrap()).or_default() += 1);
        let told = (often.len(), often.values().copied().max().unwrap_or(0));
        drop(seen);
        upstream.forget();
        (taken, peak, told, link.taken())
    };
    let cache = Start::new().upstream("reg.test", &through).run();
    let (taken, peak, (blobs, most), bytes) = once(&cache.url());
    let of_link = link::takes(bytes, RATE);
    let dir = tempfile::tempdir().unwrap();
    let of_disk = disk(dir.path(), bytes);
    let ratio = taken.as_secs_f64() / of_link.max(of_disk).as_secs_f64();
    println!(
        "warm of {IMAGES} images through the cache ({} MiB, {blobs} blobs, each fetched {most} times at most): {taken:.1?}; the link \
         alone: {of_link:.1?}, the disk alone: {of_disk:.1?}, {ratio:.2} times; {} MiB, the cache {} MiB",
        bytes >> 20,
        peak / 1024,
        high_water(cache.pid()) / 1024
    );
    drop(cache);
    upstream.always("/v2/", Act::Delay(Duration::from_millis(20)));
    let (direct, ..) = once(&through);
    let cache = Start::new().upstream("reg.test", &through).run();
    let (taken, peak, (_, most), _) = once(&cache.url());
    let ratio = taken.as_secs_f64() / direct.as_secs_f64();
    println!(
        "the same with answers that take 20 ms longer: {taken:.1?}, without the cache {direct:.1?}, {ratio:.2} times; each blob \
         {most} times at most; {} MiB",
        peak / 1024
    );
}

fn main() {
    scan();
    verify();
    warm();
}
