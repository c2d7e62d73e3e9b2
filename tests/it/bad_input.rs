//! Bad input: each kind has its message, and loses nothing.

use std::process::Stdio;

use crate::run::Place;

/// Runs `validate` on a text and returns what is said of it.
fn said(text: impl AsRef<[u8]>) -> String {
    let place = Place::new();
    place.write("mirrors.yaml", text);
    let ran = place.run("validate -q").ran();
    assert!(ran.code == 1 || ran.code == 3, "{ran}");
    ran.stderr
}

const HARBOR: &str = "mirrors: {harbor: {kind: harbor, url: 'https://h.example'}}\n";

#[test]
fn unknown_key() {
    insta::assert_snapshot!(said("mirrors: {h: {kind: harbor, url: 'https://h.example', sevres: [x]}}\n"), @"");
}

#[test]
fn duplicate_key() {
    insta::assert_snapshot!(said("mirror: https://a.example\nmirror: https://b.example\n"), @"");
}

#[test]
fn tab() {
    insta::assert_snapshot!(said("mirrors:\n\tharbor: {}\n"), @"");
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(said("mirrors: [harbor]\nregistries: {docker.io: {via: harbor, fallback: 7}}\n"), @"");
}

#[test]
fn empty_file() {
    insta::assert_snapshot!(said(""), @"");
    insta::assert_snapshot!(said("# only a comment\n"), @"");
}

#[test]
fn binary() {
    insta::assert_snapshot!(said(b"mirror: a\0b\n"), @"");
    insta::assert_snapshot!(said(b"mirror: \xff\xfe\n"), @"");
}

#[test]
fn a_hundred_megabytes_of_brackets() {
    insta::assert_snapshot!(said("[".repeat(100 * 1024 * 1024)), @"");
    insta::assert_snapshot!(said("[".repeat(1024 * 1024)), @"");
}

#[test]
fn alias_bomb() {
    let mut bomb = String::from("x-0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let references = vec![format!("*a{}", i - 1); 10].join(",");
        bomb.push_str(&format!("x-{i}: &a{i} [{references}]\n"));
    }
    insta::assert_snapshot!(said(bomb), @"");
}

#[test]
fn byte_order_mark_and_windows_line_ends_are_fine() {
    let place = Place::new();
    place.write("mirrors.yaml", "\u{feff}mirror: https://h.example\r\nregistries: [ghcr.io]\r\n");
    place.run("validate").ok();
}

#[test]
fn unknown_mirror() {
    insta::assert_snapshot!(said(format!("{HARBOR}registries: {{ghcr.io: {{via: [habor]}}}}\n")), @"");
}

#[test]
fn version_typed_into_a_harbor_url() {
    insta::assert_snapshot!(said("mirror: https://h.example/v2\nregistries: [ghcr.io]\n"), @"");
}

#[test]
fn tls_on_http() {
    insta::assert_snapshot!(said("mirror: http://h.example\nregistries: [ghcr.io]\ntls: {insecureSkipVerify: true}\n"), @"");
}

#[test]
fn credentials_on_the_wrong_key() {
    insta::assert_snapshot!(said(format!("{HARBOR}registries:\n    registry-1.docker.io:\n        via: [harbor]\n")), @"");
}

#[test]
fn a_template() {
    insta::assert_snapshot!(said("mirror: {{ mirror_url }}\nregistries: [ghcr.io]\n"), @"");
    insta::assert_snapshot!(said("{% for x in y %}\nmirror: a\n{% endfor %}\n"), @"");
}

#[test]
fn missing_file() {
    insta::assert_snapshot!(Place::new().run("validate").ends(3), @"");
}

#[test]
fn a_secret_that_cannot_be_had() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, passwordFrom: {env: NOT_SET}}\n");
    insta::assert_snapshot!(place.run("generate").ends(4), @"");
}

#[test]
fn an_output_directory_that_cannot_be_written() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n").write("out", "a file");
    insta::assert_snapshot!(place.run("generate --output-dir out").ends(9), @"");
}

#[test]
fn a_closed_pipe_ends_in_silence() {
    let place = Place::new();
    let registries: String = (0..5000).map(|n| format!("    r{n}.example: {{}}\n")).collect();
    place.write("mirrors.yaml", format!("mirror: https://h.example\nregistries:\n{registries}"));
    let mut child =
        place.run("generate -q").command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
