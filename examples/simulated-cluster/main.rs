//! A Talos cluster to try talmirror on: `cargo run --example simulated-cluster`.
//!
//! It listens on this machine only and keeps nothing but the folder that it writes. `--help` says what can go wrong.
#![allow(clippy::print_stdout, reason = "it is what the example prints")]

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use anyhow::{Context as _, anyhow, bail};
use clap::Parser;

mod sim;

use sim::{Cluster, Fault, Listeners, Options, RegistryAnswer};

/// Starts simulated Talos nodes on this machine, and says what to try on them
#[derive(Debug, Parser)]
#[command(
    after_help = "Faults are NODE=STEP:KIND, with =VALUE behind a kind that takes one and xN for the first N times:
  steps  any version services config registryconfigs resource read apply try commit staged dryrun pull images remove etcd
         reboot logs render
  kinds  slow=3s late=3s hang refuse=TEXT deny reject unreachable die-before die-after down endpoint-dies reboot not-found
         stale missing broken wrong twice upgrade=v1.14.1 replace unhealthy

Examples:
  cargo run --example simulated-cluster -- --version 1.13.9 --dir /tmp/cluster
  cargo run --example simulated-cluster -- --fault w-1=pull:not-found
  cargo run --example simulated-cluster -- --fault cp-2=commit:die-afterx1 --events events.ndjson"
)]
struct Args {
    /// How many nodes there are in all
    #[arg(long, default_value_t = 5)]
    nodes: usize,
    /// How many of them are workers
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// The nodes' Talos; of several, each in turn
    #[arg(long, value_delimiter = ',', default_value = "1.13.9,1.13.9,1.14.1,1.12.7,1.11.6")]
    version: Vec<String>,
    /// Where the talosconfig and the inventory go [default: a fresh temporary folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Something that goes wrong
    #[arg(long, value_name = "NODE=STEP:KIND")]
    fault: Vec<String>,
    /// What the mirror answers: all, nothing, error, html, hang
    #[arg(long, default_value = "all")]
    mirror: String,
    /// Milliseconds until a node has rendered a new config
    #[arg(long, default_value_t = 300)]
    render_delay: u64,
    /// Milliseconds that every answer takes
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// A file for events, one JSON object a line
    #[arg(long)]
    events: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let planes = args.nodes.checked_sub(args.workers).filter(|planes| *planes > 0);
    let planes = planes.context("--workers leaves no node for the control plane")?;
    let versions: Vec<String> =
        args.version.iter().map(|text| format!("v{}", text.trim_start_matches('v'))).collect();
    for version in &versions {
        version.parse::<talmirror::registries::TalosVersion>()?;
    }
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let events = args
        .events
        .as_ref()
        .map(|path| std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display())));
    let options = Options {
        render_delay: Duration::from_millis(args.render_delay),
        reboot_time: Duration::from_secs(5),
        listeners: if args.nodes > 64 { Listeners::ControlPlanes } else { Listeners::All },
        events: events.transpose()?,
        ..Options::default()
    };
    let cluster = Cluster::start(planes, args.workers, &versions, options)?;
    for name in cluster.names() {
        cluster.node(&name).state().delay = Duration::from_millis(args.delay);
    }
    for text in &args.fault {
        let (node, fault) =
            text.split_once('=').with_context(|| format!("`{text}` is not NODE=STEP:KIND"))?;
        if !cluster.names().iter().any(|name| name == node) {
            bail!("no node {node}, but {}", cluster.names().join(", "));
        }
        cluster.fault(node, fault.parse::<Fault>().map_err(|error| anyhow!(error))?);
    }
    cluster.mirror.answer(match args.mirror.as_str() {
        "all" => RegistryAnswer::All,
        "nothing" => RegistryAnswer::Status(404),
        "error" => RegistryAnswer::Status(500),
        "html" => RegistryAnswer::Html,
        "hang" => RegistryAnswer::Hang,
        other => bail!("--mirror {other}: it is one of all, nothing, error, html, hang"),
    });
    // Nodes that pull through it show the credentials of the inventory.
    cluster.mirror.protect("robot$talos", "s3cr3t-mirror");
    let temporary = tempfile::Builder::new().prefix("simulated-cluster-").tempdir()?;
    let dir = args.dir.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    write(&dir.join("talosconfig"), &cluster.talosconfig())?;
    write(&dir.join("mirrors.yaml"), &cluster.inventory())?;
    let key = age::x25519::Identity::generate();
    let rule = r"^(key|token|password|auth|identityToken)$";
    let rules = format!("creation_rules:\n    - encrypted_regex: {rule}\n      age: {}\n", key.to_public());
    write(&dir.join(".sops.yaml"), &rules)?;
    write(&dir.join("keys.txt"), &format!("{}\n", key.to_string().expose_secret()))?;
    let shown = dir.display();
    println!(
        "{} nodes of Talos {} listen on this machine; the mirror is http://{}.\n\nTry, in another terminal:\n  cd {shown}\n  \
         export TALOSCONFIG=$PWD/talosconfig SOPS_AGE_KEY_FILE=$PWD/keys.txt\n  talmirror nodes\n  talmirror diff\n  talmirror rollout\n  talmirror backup \
         --output-dir configs\n  talmirror rollback\n\nCtrl-C ends it.",
        args.nodes,
        versions.join(", "),
        cluster.mirror.address,
    );
    std::io::stdout().flush()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

/// Writes a file that only its owner reads: it holds keys.
fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let file = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    file.with_context(|| format!("cannot write {}", path.display()))
}
