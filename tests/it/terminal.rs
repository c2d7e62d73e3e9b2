//! What a person on a terminal is asked; `script` (util-linux) lends the terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::run::Place;

/// Runs a command on a terminal of its own and answers each prompt when it is there.
fn converse(place: &Place, command: &str, answers: &[(&str, &str)]) -> String {
    let binary = env!("CARGO_BIN_EXE_talmirror");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("{binary} {command}"), "/dev/null"])
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .env("TERM", "xterm")
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` of util-linux");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut said, mut seen) = (String::new(), 0);
    let mut buffer = [0; 4096];
    for (prompt, answer) in answers {
        while !said[seen..].contains(prompt) {
            let read = stdout.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "no prompt `{prompt}` in:\n{said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        seen += said[seen..].find(prompt).unwrap() + prompt.len();
        stdin.write_all(answer.as_bytes()).unwrap();
    }
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    said.push_str(&String::from_utf8_lossy(&rest));
    assert!(child.wait().unwrap().success(), "{said}");
    said
}

#[test]
fn init_asks_for_what_is_missing() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `script` to lend a terminal");
        return;
    }
    let place = Place::new();
    let said = converse(
        &place,
        "init --ci none",
        &[
            ("What is the mirror?", "\r"),
            ("Its URL", "harbor.example\r"),
            ("Registries that go through it", "\r"),
            ("want a user and password?", "y"),
            ("User", "robot$talos\r"),
            ("Where does the password come from?", "\u{1b}[B\u{1b}[B\r"),
            ("Password", "s3cr3t-typed\r"),
            ("age recipient", "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl\r"),
        ],
    );
    assert!(!said.contains("s3cr3t-typed"), "{said}");
    assert_eq!(place.files(), [".sops.yaml", "mirrors.yaml"]);
    let text = place.read("mirrors.yaml");
    assert!(text.contains("url: https://harbor.example\n") && text.contains("password: ENC["), "{text}");
    let keys = std::fs::read_to_string(crate::run::repository("tests/vectors/sops/keys.txt")).unwrap();
    place.write("keys.txt", keys);
    let plain = place.run("decrypt mirrors.yaml").env("SOPS_AGE_KEY_FILE", "keys.txt").reveals().ok();
    assert!(plain.contains("password: s3cr3t-typed\n"), "{plain}");
    place.run("validate").ok();
}

/// On a terminal a rollout asks, and a node's line grows in its place.
#[test]
fn a_rollout_asks_and_shows_a_line_a_node() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `script` to lend a terminal");
        return;
    }
    let site = crate::rollout::Site::new(1, 0, &["v1.13.9"]);
    let said = converse(&site.place, "rollout", &[("Change 1 node?", "y")]);
    assert!(said.contains("cp-1  inspect ✓ · try-strict ✓ · read-back ✓ · rendered …"), "{said}");
    assert!(said.contains("\r\u{1b}[J"), "{said}");
    assert!(said.trim_end().ends_with("cp-1 updated"), "{said}");
    assert!(site.is_new("cp-1"));
}
