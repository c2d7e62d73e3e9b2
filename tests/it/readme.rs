//! Every block of the README is run, and says what the README says.

use std::fmt::Write as _;
use std::process::Command;

use crate::run::{Place, repository};
use crate::sim::{Cluster, Options, RegistryAnswer};

/// Runs every `console` block in order, in one place, and puts what the commands print below them.
///
/// `UPDATE_GOLDEN=1` writes the result back.
#[test]
fn the_session_is_as_printed() {
    let place = Place::new();
    for name in ["n1.yaml", "by-hand.yaml"] {
        place.write(name, std::fs::read(repository("tests/data/readme").join(name)).unwrap());
    }
    place.write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap());
    replay("```console", &place, None, &str::to_owned);
}

/// Runs every `console simulated` block in order, against three simulated nodes and a mirror.
#[test]
fn the_session_with_nodes_is_as_printed() {
    let quick = Options { render_delay: std::time::Duration::ZERO, ..Options::default() };
    let cluster = Cluster::start(1, 2, &["v1.14.1", "v1.13.9", "v1.13.9"], quick).unwrap();
    cluster.mirror.protect("robot$talos", "s3cr3t-mirror");
    let place = Place::new();
    place.write(".talos/config", cluster.talosconfig());
    // Nodes know the mirror by its name, too; the port of this run would be another each time.
    let here = format!("http://{}", cluster.mirror.address);
    place.write("mirrors.yaml", cluster.inventory().replace(&here, "https://harbor.example"));
    let keys = std::fs::read_to_string(repository("tests/vectors/sops/keys.txt")).unwrap();
    let recipient = keys.lines().find_map(|line| line.split_once("public key: ")).unwrap().1;
    let rule = "^(key|token|password|secret|auth|identityToken|bootstraptoken|secretboxEncryptionSecret)$";
    place.write(
        ".sops.yaml",
        format!("creation_rules:\n    - encrypted_regex: {rule}\n      age: {recipient}\n"),
    );
    place.write(".config/sops/age/keys.txt", keys);
    let mut act = |remark: &str| match remark {
        "Harbor has no proxy project yet." => cluster.mirror.answer(RegistryAnswer::Status(404)),
        "Harbor has its proxy project." => cluster.mirror.answer(RegistryAnswer::All),
        other => panic!("nothing is done at `{other}`"),
    };
    replay("```console simulated", &place, Some(&mut act), &without_times);
}

/// Puts fixed times, durations and names of journals in the place of a run's own.
fn without_times(text: &str) -> String {
    let same = [
        (r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-11-25T02:00:00Z"),
        (r"\b\d+\.\d s\b", "0.1 s"),
        (r"\S*/talmirror/[\w.-]+/\d{8}T[\d.]+Z", "~/.local/state/talmirror/c-6643e849/20261125T020000.000Z"),
    ];
    same.into_iter().fold(text.to_owned(), |text, (from, to)| {
        regex::Regex::new(from).unwrap().replace_all(&text, to).into_owned()
    })
}

/// Runs the blocks that begin with `fence`: a line `$ COMMAND` is run, `# REMARK` is acted on where something can be done, the
/// rest is what is printed.
fn replay(fence: &str, place: &Place, mut act: Option<&mut dyn FnMut(&str)>, tidy: &dyn Fn(&str) -> String) {
    // Both sessions write the same file back: one after the other.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = repository("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (mut out, mut exports, mut in_block) = (String::new(), String::new(), false);
    for line in readme.lines() {
        match line {
            _ if line == fence => in_block = true,
            "```" => in_block = false,
            _ => {}
        }
        if in_block && let (Some(act), Some(remark)) = (&mut act, line.strip_prefix("# ")) {
            act(remark);
            writeln!(out, "{line}").unwrap();
            continue;
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) else {
            if !in_block || line == fence {
                writeln!(out, "{line}").unwrap();
            }
            continue;
        };
        writeln!(out, "{line}").unwrap();
        if command.starts_with("export ") {
            writeln!(exports, "{command}").unwrap();
            continue;
        }
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_talmirror")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", &format!("{exports}exec 2>&1\n{command}")])
            .current_dir(place.path(""))
            .env_clear()
            .env("HOME", place.path(""))
            .env("PATH", path)
            // The mirror's name is one that only the nodes know.
            .env("TALMIRROR_VERIFY", "never")
            .output()
            .unwrap();
        out.push_str(&tidy(&String::from_utf8(output.stdout).unwrap()));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &out).unwrap();
    }
    assert!(out == readme, "README.md is not what its commands print; UPDATE_GOLDEN=1 writes it");
}

/// The two commands are the ones that CI calls.
#[test]
fn ci_runs_the_test_command() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let ci = std::fs::read_to_string(repository(".ci/run")).unwrap();
    assert!(
        readme.contains("```sh\ncargo run -- generate -f examples/minimal/mirrors.yaml\ncargo test\n```")
    );
    assert!(ci.contains("step cargo test --locked "));
    // Of the two binaries, `cargo run` takes this one.
    let manifest = std::fs::read_to_string(repository("Cargo.toml")).unwrap();
    assert!(manifest.contains("\ndefault-run = \"talmirror\"\n"));
}
