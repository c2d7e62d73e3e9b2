//! talmirror-cache beside nginx, docker-registry and any other: `benches/cache/run`, which says what it needs.
//!
//! Every figure is the median of interleaved rounds (`ROUNDS`, 5). Clients and servers share the machine, so ratios
//! count and not figures. Where a case says so, server and client are on one processor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub
)]

mod client;
mod images;
mod peers;
mod upstream;

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use client::{Got, get, get_many};
use peers::{Pair, Peer};
use upstream::Upstream;

const MIB: usize = 1024 * 1024;
const WARM: usize = 256 * MIB;
const COLD: usize = 64 * MIB;
/// How many images are pulled in a round.
const IMAGES: usize = 1500;
/// The narrow link: bytes a second.
const LINK: u64 = 100 * 1024 * 1024;

/// A table of figures: a line a case, a column a server.
struct Table {
    columns: Vec<String>,
}

impl Table {
    fn new(columns: Vec<String>) -> Self {
        let names: String = columns.iter().map(|name| format!("{name:>20}")).collect();
        println!("{:<44}{names}", "");
        Self { columns }
    }

    /// Prints a line: the figures, and behind each how many times the first column's it is.
    fn line(&self, case: &str, figures: &[Option<f64>]) {
        let ours = figures.first().copied().flatten();
        let cells: String = self
            .columns
            .iter()
            .zip(figures)
            .map(|(_, figure)| match (figure, ours) {
                (None, _) => format!("{:>20}", "-"),
                (Some(figure), Some(ours)) if ours > 0.0 => {
                    format!("{:>12} {:>7}", number(*figure), format!("{:.2}x", figure / ours))
                }
                (Some(figure), _) => format!("{:>12} {:>7}", number(*figure), ""),
            })
            .collect();
        println!("{case:<44}{cells}");
    }
}

fn number(figure: f64) -> String {
    if figure >= 1000.0 { format!("{figure:.0}") } else { format!("{figure:.3}") }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Measures every server once a round, in turn, and returns the medians of each figure.
fn rounds<const N: usize>(
    rounds: usize,
    peers: &[Peer],
    mut measure: impl FnMut(&Peer) -> Option<[f64; N]>,
) -> [Vec<Option<f64>>; N] {
    let mut all = vec![vec![Vec::new(); N]; peers.len()];
    for _ in 0..rounds {
        for (peer, all) in peers.iter().zip(&mut all) {
            if let Some(figures) = measure(peer) {
                all.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
            }
        }
    }
    std::array::from_fn(|n| all.iter().map(|peer| median(peer[n].clone())).collect())
}

fn whole(all: &[Got], len: usize, who: &str) {
    assert!(
        all.iter().all(|got| got.bytes == len as u64),
        "{who} sent {:?} of {len}",
        all.iter().map(|got| got.bytes)
    );
}

fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn pin_self(processors: &str) {
    let id = std::process::id().to_string();
    let status =
        Command::new("taskset").args(["-a", "-c", "-p", processors, &id]).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
}

/// Returns requests a second, and microseconds of the server's processor time for each.
fn wrk(peer: &Peer, scheme: &str, path: &str) -> Option<[f64; 2]> {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let url = format!("{scheme}://{}{path}", peer.address);
    let before = peer.cpu();
    let run = Command::new("wrk").args(["-t2", "-c64", "-d4s", "-H", accept, &url]).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(!text.contains("Non-2xx"), "{}: {text}", peer.name);
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    let count: f64 = text.lines().find_map(|line| line.split_once(" requests in "))?.0.trim().parse().ok()?;
    Some([rate.trim().parse().ok()?, (peer.cpu() - before) * 1e6 / count])
}

/// Returns what follows each `--peer`.
fn named() -> Vec<String> {
    let all: Vec<String> = std::env::args().collect();
    let peers = all.windows(2).filter(|pair| pair[0] == "--peer").map(|pair| pair[1].clone());
    peers.chain(all.iter().filter_map(|word| word.strip_prefix("--peer=").map(str::to_owned))).collect()
}

fn main() {
    if !std::env::args().any(|argument| argument == "side-by-side") {
        println!("benches/cache/run starts this");
        return;
    }
    let count = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(WARM);
    let warm = upstream.blob(WARM);
    let mut peers = vec![
        Peer::ours(dir.path(), &upstream),
        Peer::nginx(dir.path(), Some(&upstream), None),
        Peer::docker_registry(dir.path(), &upstream),
        Peer::nginx(dir.path(), None, None),
    ];
    peers.extend(named().iter().map(|peer| Peer::named(peer, dir.path(), &upstream)));
    let files = Peer::files(dir.path());
    let many = upstream.blob(COLD);
    for digest in [&warm, &many] {
        upstream.write(digest, std::fs::File::create(files.join("blobs").join(digest)).unwrap());
    }
    for reference in ["t", upstream.manifest_digest()] {
        std::fs::write(files.join("manifests").join(reference), upstream.manifest()).unwrap();
    }
    let table = Table::new(peers.iter().map(|peer| peer.name.clone()).collect());
    thread::sleep(Duration::from_secs(1));
    let idle: Vec<_> = peers.iter().map(|peer| Some(peer.memory())).collect();
    table.line("idle, MiB", &idle);
    let only = std::env::var("ONLY").ok();
    let wanted = |case: &str| only.as_deref().is_none_or(|only| only == case);
    if wanted("warm") {
        warm_cases(count, &table, &peers, &warm);
    }
    if wanted("manifests") {
        for (case, reference) in [("by digest", upstream.manifest_digest()), ("by tag", "t")] {
            let [rate, cpu] = rounds(count, &peers, |peer| {
                let path = peer.manifest(reference);
                whole(&[get(peer.address, &path)], 1024, &peer.name);
                wrk(peer, "http", &path)
            });
            table.line(&format!("manifests {case}, a second"), &rate);
            table.line(&format!("manifests {case}: server CPU-us each"), &cpu);
        }
    }
    if wanted("images") {
        images_cases(count, &table, &peers, &upstream);
    }
    if wanted("tls") {
        tls_case(count, dir.path(), &upstream);
    }
    if wanted("memory") {
        memory_case(count, &table, &peers, &many);
    }
    if wanted("cold") {
        cold_cases(count, &table, &peers, &upstream);
    }
    if std::env::var_os("STARTUP").is_some() {
        startup_case(dir.path(), &upstream, peers);
    }
}

fn warm_cases(count: usize, table: &Table, peers: &[Peer], warm: &str) {
    for peer in peers {
        whole(&[get(peer.address, &peer.blob(warm))], WARM, &peer.name);
        // What is stored after the answer is stored by now.
        thread::sleep(Duration::from_millis(500));
    }
    let gib = WARM as f64 / (1024.0 * MIB as f64);
    pin_self("0");
    let [rate, cpu] = rounds(count, peers, |peer| {
        peer.pin("0");
        let before = peer.cpu();
        let all: Vec<_> = (0..4).map(|_| get(peer.address, &peer.blob(warm))).collect();
        whole(&all, WARM, &peer.name);
        let took: f64 = all.iter().map(|got| got.whole.as_secs_f64()).sum();
        let cpu = peer.cpu() - before;
        peer.pin("0,1");
        Some([4.0 * gib / took, cpu / (4.0 * gib)])
    });
    pin_self("0,1");
    table.line("warm x 1, one processor: GiB/s", &rate);
    table.line("warm x 1, one processor: server CPU-s/GiB", &cpu);
    let [rate, cpu] = rounds(count, peers, |peer| {
        let before = peer.cpu() + own_cpu();
        let (all, took) = get_many(peer.address, &peer.blob(warm), 8);
        whole(&all, WARM, &peer.name);
        let cpu = peer.cpu() + own_cpu() - before;
        Some([8.0 * gib / took.as_secs_f64(), cpu / (8.0 * gib)])
    });
    table.line("warm x 8: GiB/s", &rate);
    table.line("warm x 8: both ends' CPU-s/GiB", &cpu);
}

fn memory_case(count: usize, table: &Table, peers: &[Peer], blob: &str) {
    for peer in peers {
        // docker-registry fails requests for what it has not yet written to its disk.
        let is_stored = || (0..3).all(|_| get(peer.address, &peer.blob(blob)).bytes == COLD as u64);
        let stored = (0..20).any(|_| {
            thread::sleep(Duration::from_millis(500));
            is_stored()
        });
        assert!(stored, "{} does not store the blob", peer.name);
    }
    let [peak] = rounds(count, peers, |peer| {
        let (address, path) = (peer.address, peer.blob(blob));
        let clients = thread::spawn(move || get_many(address, &path, 256));
        let mut peak = 0.0_f64;
        while !clients.is_finished() {
            peak = peak.max(peer.memory());
            thread::sleep(Duration::from_millis(100));
        }
        whole(&clients.join().unwrap().0, COLD, &peer.name);
        Some([peak])
    });
    table.line("256 warm transfers, peak MiB", &peak);
}

fn cold_cases(count: usize, table: &Table, peers: &[Peer], upstream: &Upstream) {
    for (link, rate, clients) in [("", 0, &[1, 4, 16, 64][..]), (" over 100 MiB/s", LINK, &[1, 16][..])] {
        for &clients in clients {
            upstream.set_rate(rate);
            let direct = median(
                (0..count.min(3))
                    .map(|_| {
                        let digest = upstream.blob(COLD);
                        get_many(upstream.address, &format!("/v2/a/blobs/{digest}"), clients).1.as_secs_f64()
                    })
                    .collect(),
            );
            let one = median(
                (0..count.min(3))
                    .map(|_| {
                        get(upstream.address, &format!("/v2/a/blobs/{}", upstream.blob(COLD)))
                            .whole
                            .as_secs_f64()
                    })
                    .collect(),
            );
            let gib = COLD as f64 / (1024.0 * MIB as f64);
            let [wall, gets, spread, cpu] = rounds(count, peers, |peer| {
                if peer.name == "nginx static" {
                    return None;
                }
                let path = peer.blob(&upstream.blob(COLD));
                let (before, used) = (upstream.gets.load(Ordering::SeqCst), peer.cpu());
                let (all, took) = get_many(peer.address, &path, clients);
                whole(&all, COLD, &peer.name);
                // A second download that runs behind counts too.
                thread::sleep(Duration::from_millis(300));
                let gets = upstream.gets.load(Ordering::SeqCst) - before;
                let first = all.iter().map(|got| got.first).min().unwrap_or_default();
                let last = all.iter().map(|got| got.first).max().unwrap_or_default();
                let apart = last.saturating_sub(first).as_secs_f64() * 1000.0;
                Some([took.as_secs_f64(), gets as f64, apart, (peer.cpu() - used) / gib])
            });
            upstream.set_rate(0);
            let case = format!("cold x {clients}{link}");
            let (direct, one) = (direct.unwrap_or_default(), one.unwrap_or_default());
            table.line(&format!("{case}: s (direct {direct:.2}, one {one:.2})"), &wall);
            table.line(&format!("{case}: upstream GETs"), &gets);
            if clients == 1 && rate == 0 {
                table.line(&format!("{case}: server CPU-s/GiB"), &cpu);
            }
            if clients > 1 {
                table.line(&format!("{case}: first bytes apart, ms"), &spread);
            }
        }
    }
}

/// Manifests behind a certificate, beside files of the static nginx behind the same.
fn tls_case(count: usize, dir: &std::path::Path, upstream: &Upstream) {
    let pair = Pair::make(dir);
    let peers = [Peer::ours_tls(dir, upstream, &pair), Peer::nginx(dir, None, Some(&pair))];
    let files = Peer::files(&dir.join("tls")).join("manifests");
    std::fs::write(files.join(upstream.manifest_digest()), upstream.manifest()).unwrap();
    let table = Table::new(peers.iter().map(|peer| format!("{}, TLS", peer.name)).collect());
    let [rate, cpu] =
        rounds(count, &peers, |peer| wrk(peer, "https", &peer.manifest(upstream.manifest_digest())));
    table.line("manifests by digest, a second", &rate);
    table.line("manifests by digest: server CPU-us each", &cpu);
}

/// Pulls small images through, and again when they are there; the server has one processor, clients and upstream the other.
fn images_cases(count: usize, table: &Table, peers: &[Peer], upstream: &Arc<Upstream>) {
    let mut sets = HashMap::<String, usize>::new();
    pin_self("1");
    let [through, warm, cpu] = rounds(count, peers, |peer| {
        if peer.name == "nginx static" {
            return None;
        }
        let round = sets.entry(peer.name.clone()).or_default();
        *round += 1;
        let images = images::make(upstream, IMAGES, &format!("{}-{round}", peer.name.replace(' ', "-")));
        peer.pin("0");
        let through = images::pull(peer.address, &peer.base, &images);
        // What is stored after the answer is stored by now.
        thread::sleep(Duration::from_secs(1));
        let before = peer.cpu();
        let warm: Duration = (0..3).map(|_| images::pull(peer.address, &peer.base, &images)).sum();
        let cpu = (peer.cpu() - before) * 1e6 / (3 * IMAGES) as f64;
        peer.pin("0,1");
        let rate = |images: usize, took: Duration| images as f64 / took.as_secs_f64();
        Some([rate(IMAGES, through), rate(3 * IMAGES, warm), cpu])
    });
    pin_self("0,1");
    table.line("images through, one processor: a second", &through);
    table.line("images warm, one processor: a second", &warm);
    table.line("images warm: server CPU-us each", &cpu);
}

/// Fills the cache with 100,000 blobs and starts it again.
fn startup_case(dir: &std::path::Path, upstream: &Upstream, peers: Vec<Peer>) {
    let peer = peers.into_iter().next().unwrap();
    for _ in 0..100_000 {
        let digest = upstream.blob(16);
        whole(&[get(peer.address, &peer.blob(&digest))], 16, &peer.name);
    }
    drop(peer);
    let again = Peer::ours(dir, upstream);
    println!(
        "start with 100,000 blobs: {:.0} ms, {:.1} MiB",
        again.started.as_secs_f64() * 1000.0,
        again.memory()
    );
}
