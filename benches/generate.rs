//! How long the main job takes: `cargo bench --bench generate`.
//!
//! 1. Patches for many nodes, in one process without a disk: median of seven, and how it grows.
//! 2. One secret of a large encrypted file changed.
//! 3. One patch encrypted, as a whole process, in turn with the released sops where `SOPS` names its program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use talmirror::inventory::{self, Target};
use talmirror::patch::{Format, Versions, plain, split};
use talmirror::secret::Sources;
use talmirror::secret::os_random;
use talmirror::sops::{Encrypted, Identities, Rule, Settings, encrypt};
use talmirror::yaml::{Indent, emit_stream};

const RECIPIENT: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

/// Whether nodes get what others get, as most of a large cluster do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    Alike,
    Different,
}

fn inventory_text(registries: usize, nodes: usize, kind: Nodes) -> String {
    let registries: String = (0..registries)
        .map(|n| {
            format!("    r{n}.example: {{upstream: {{credentials: {{username: u, password: p{n}}}}}}}\n")
        })
        .collect();
    let nodes: String = (0..nodes)
        .map(|n| {
            format!(
                "    n{n}: {{address: 10.{}.{}.{}, registries: {{{}.example: {{via: [rack, harbor]}}}}}}\n",
                n >> 16,
                (n >> 8) & 255,
                n & 255,
                if kind == Nodes::Alike { "r0".to_owned() } else { format!("own{n}") },
            )
        })
        .collect();
    format!(
        "mirrors:\n    harbor: {{kind: harbor, url: 'https://h.example'}}\n    rack: {{kind: cache, url: 'https://r.example'}}\n\
         registries:\n{registries}defaults: {{via: [harbor]}}\nnodes:\n{nodes}"
    )
}

/// Makes every node's patch and returns how many bytes they are.
fn generate(text: &str) -> usize {
    let parsed = inventory::parse(text, "mirrors.yaml", &|_| None);
    let inventory = parsed.inventory.expect("a valid inventory");
    let versions = Versions { talos: Some("v1.13".parse().unwrap()), talosctl: None };
    let mut sources = Sources::new(".");
    // As `generate --output-dir` does: what was made for a node is copied for those with the same settings.
    let mut made: HashMap<_, Vec<String>> = HashMap::new();
    let mut files = Vec::new();
    for name in inventory.nodes.keys() {
        let target = Target::Node(name);
        let texts = made.entry(inventory.settings_of(target)).or_insert_with(|| {
            let talos = versions.talos.as_ref().unwrap();
            let registries = inventory.registries(target, talos, &mut sources).unwrap();
            let (open, secret) = plain(Format::Strategic, &split(registries), &versions);
            let documents = open.files.iter().chain(&secret.files);
            documents.map(|documents| emit_stream(documents, Indent::default())).collect()
        });
        files.extend(texts.iter().cloned());
    }
    files.iter().map(String::len).sum()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed(mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn main() {
    println!("patches of 50 registries, median of 7");
    for (kind, what) in [(Nodes::Alike, "nodes alike"), (Nodes::Different, "each different")] {
        println!("{what:>14}  {:>9}  {:>9}  {:>12}  {:>14}", "ms", "growth", "bytes", "of it reading");
        let mut before = None;
        for nodes in [250, 500, 1000, 2000] {
            before = Some(many(nodes, kind, before));
        }
    }
    rewrite();
    whole_process();
}

/// Prints what the patches of so many nodes take, and how that has grown.
fn many(nodes: usize, kind: Nodes, before: Option<Duration>) -> Duration {
    let text = inventory_text(50, nodes, kind);
    let mut bytes = 0;
    let time = median((0..7).map(|_| timed(|| bytes = generate(&text))).collect());
    let growth = before.map_or_else(
        || "-".to_owned(),
        |before: Duration| format!("x{:.2}", time.as_secs_f64() / before.as_secs_f64()),
    );
    let reading =
        median((0..7).map(|_| timed(|| drop(inventory::parse(&text, "mirrors.yaml", &|_| None)))).collect());
    let (total, reading) = (time.as_secs_f64() * 1000.0, reading.as_secs_f64() * 1000.0);
    println!("{nodes:>14}  {total:>9.1}  {growth:>9}  {bytes:>12}  {reading:>14.1}");
    time
}

/// One secret of a large machine config changed: decrypted, encrypted again, read back.
fn rewrite() {
    let (key, recipient) = (include_str!("../tests/vectors/sops/keys.txt"), RECIPIENT.parse().unwrap());
    let lines: String = (0..700)
        .map(|n| {
            if n % 50 == 0 {
                format!("    p{n}: {{key: secret-{n}}}\n")
            } else {
                format!("    # what p{n} is for\n    p{n}: {{value: {n}}}\n")
            }
        })
        .collect();
    let text = format!("machine:\n{lines}");
    let mut identities = Identities::default();
    identities.add(key, "keys.txt");
    let settings = Settings::new(Rule::encrypted_regex("^key$").unwrap(), vec![recipient]);
    let sealed = encrypt(&text, &settings, jiff::Timestamp::now(), &mut os_random).unwrap();
    let time = median(
        (0..21)
            .map(|_| {
                timed(|| {
                    let file = Encrypted::parse(&sealed).unwrap();
                    let open = file.open(&identities).unwrap();
                    let plain = open
                        .plaintext()
                        .expose()
                        .replace("secret-50}", "other}")
                        .replace("secret-50\"", "other\"");
                    open.reencrypt(&plain, jiff::Timestamp::now(), &mut os_random)
                        .unwrap()
                        .expect("a change");
                })
            })
            .collect(),
    );
    println!(
        "\none secret of an encrypted file of {} lines changed, median of 21: {:.1} ms",
        sealed.lines().count(),
        time.as_secs_f64() * 1000.0
    );
}

fn whole_process() {
    let dir = tempfile::tempdir().unwrap();
    let text = inventory_text(50, 0, Nodes::Alike);
    std::fs::write(dir.path().join("mirrors.yaml"), &text).unwrap();
    let talmirror = env!("CARGO_BIN_EXE_talmirror");
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program)
            .args(args)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{program} {args:?}");
    };
    let patch = Command::new(talmirror).args(["generate", "-q"]).current_dir(dir.path()).output().unwrap();
    std::fs::write(dir.path().join("patch.yaml"), patch.stdout).unwrap();
    let ours = ["encrypt", "--age", RECIPIENT, "patch.yaml"];
    let theirs =
        ["encrypt", "--age", RECIPIENT, "--encrypted-regex", "^(password|identityToken|key)$", "patch.yaml"];
    let sops = std::env::var("SOPS").ok();
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        own.push(timed(|| run(talmirror, &ours)));
        if let Some(sops) = &sops {
            other.push(timed(|| run(sops, &theirs)));
        }
    }
    let own = median(own).as_secs_f64() * 1000.0;
    println!("\none patch of 50 registries encrypted, whole process, median of 21");
    println!("talmirror  {own:>7.1} ms");
    if sops.is_some() {
        let other = median(other).as_secs_f64() * 1000.0;
        println!("sops       {other:>7.1} ms   talmirror/sops {:.2}", own / other);
    } else {
        println!("sops       not measured: SOPS=/path/to/sops names it");
    }
}
