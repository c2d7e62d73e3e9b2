//! Every block of the README is run, and says what the README says.

use std::fmt::Write as _;
use std::process::Command;

use crate::run::{Place, repository};

/// Runs every `console` block in order, in one place, and puts what the commands print below them.
///
/// `UPDATE_GOLDEN=1` writes the result back.
#[test]
fn the_session_is_as_printed() {
    let path = repository("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let place = Place::new();
    for name in ["n1.yaml", "by-hand.yaml"] {
        place.write(name, std::fs::read(repository("tests/data/readme").join(name)).unwrap());
    }
    place.write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap());
    let (mut out, mut exports, mut in_block) = (String::new(), String::new(), false);
    for line in readme.lines() {
        match line {
            "```console" => in_block = true,
            "```" => in_block = false,
            _ => {}
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) else {
            if !in_block || line == "```console" {
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
            .output()
            .unwrap();
        out.push_str(&String::from_utf8(output.stdout).unwrap());
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
        readme.contains(
            "```sh\ncargo run --quiet -- generate -f examples/minimal/mirrors.yaml\ncargo test\n```"
        )
    );
    assert!(ci.contains("\nstep cargo test --locked\n"));
}
