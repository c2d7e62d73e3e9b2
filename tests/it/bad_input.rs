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
    insta::assert_snapshot!(said("mirrors: {h: {kind: harbor, url: 'https://h.example', sevres: [x]}}\n"), @r"
    warning[W232]: no registry is named
      --> mirrors.yaml:1:1  registries
       |  patches made of this take every registry setting away

    error[E101]: unknown field `sevres` in `mirrors.h`
      --> mirrors.yaml:1:55  mirrors.h.sevres
    help: did you mean `serves`?
    ");
}

#[test]
fn duplicate_key() {
    insta::assert_snapshot!(said("mirror: https://a.example\nmirror: https://b.example\n"), @r"
    error[E100]: key `mirror` is there twice, first on line 1
      --> mirrors.yaml:2:1
    help: keep one of the two
    ");
}

#[test]
fn tab() {
    insta::assert_snapshot!(said("mirrors:\n\tharbor: {}\n"), @r"
    error[E100]: found a tab in the indentation
      --> mirrors.yaml:2:1
    help: indent with spaces
    ");
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(said("mirrors: [harbor]\nregistries: {docker.io: {via: harbor, fallback: 7}}\n"), @r#"
    error[E128]: `mirrors` takes a mapping of names, not a list
      --> mirrors.yaml:1:10  mirrors

    error[E128]: `registries."docker.io".via` takes a list, not a string
      --> mirrors.yaml:2:31  registries."docker.io".via
    help: write `[harbor]`

    error[E128]: `registries."docker.io".fallback` takes a string, not a number
      --> mirrors.yaml:2:49  registries."docker.io".fallback
    help: put it in quotes
    "#);
}

#[test]
fn empty_file() {
    insta::assert_snapshot!(said(""), @r"
    error[E100]: found nothing: the text is empty
      --> mirrors.yaml:1:1
    ");
    insta::assert_snapshot!(said("# only a comment\n"), @r"
    error[E100]: found nothing: the text is empty
      --> mirrors.yaml:1:1
    ");
}

#[test]
fn binary() {
    insta::assert_snapshot!(said(b"mirror: a\0b\n"), @r"
    error[E100]: found a NUL byte: this is not text
      --> mirrors.yaml:1:10
    ");
    insta::assert_snapshot!(said(b"mirror: \xff\xfe\n"), @r"
    error: `mirrors.yaml` is not UTF-8, first at mirrors.yaml:1:9
    help: is it a binary file, or text in another encoding?
    ");
}

#[test]
fn a_hundred_megabytes_of_brackets() {
    insta::assert_snapshot!(said("[".repeat(100 * 1024 * 1024)), @r"
    error: cannot read `mirrors.yaml`
      caused by: it is larger than 32 MiB
    ");
    insta::assert_snapshot!(said("[".repeat(1024 * 1024)), @r"
    error[E100]: recursion limit exceeded
      --> mirrors.yaml:1:129
    ");
}

#[test]
fn alias_bomb() {
    let mut bomb = String::from("x-0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let references = vec![format!("*a{}", i - 1); 10].join(",");
        bomb.push_str(&format!("x-{i}: &a{i} [{references}]\n"));
    }
    insta::assert_snapshot!(said(bomb), @r"
    error[E100]: expands to more than 2000000 values
      --> mirrors.yaml:7:11
    help: an alias that repeats itself? write the values out
    ");
}

#[test]
fn byte_order_mark_and_windows_line_ends_are_fine() {
    let place = Place::new();
    place.write("mirrors.yaml", "\u{feff}mirror: https://h.example\r\nregistries: [ghcr.io]\r\n");
    place.run("validate").ok();
}

#[test]
fn unknown_mirror() {
    insta::assert_snapshot!(said(format!("{HARBOR}registries: {{ghcr.io: {{via: [habor]}}}}\n")), @r#"
    error[E104]: no mirror is named `habor`
      --> mirrors.yaml:2:30  registries."ghcr.io".via[0]
    help: did you mean `harbor`?
    "#);
}

#[test]
fn version_typed_into_a_harbor_url() {
    insta::assert_snapshot!(said("mirror: https://h.example/v2\nregistries: [ghcr.io]\n"), @r"
    error[E103]: `https://h.example/v2` holds the path `/v2`, and for kind harbor the path is derived
      --> mirrors.yaml:1:9  mirrors.harbor.url
    help: remove `/v2` from the URL
    ");
}

#[test]
fn tls_on_http() {
    insta::assert_snapshot!(said("mirror: http://h.example\nregistries: [ghcr.io]\ntls: {insecureSkipVerify: true}\n"), @r"
    error[E107]: `mirrors.harbor` has TLS settings, but h.example is asked over plain http
      --> mirrors.yaml:1:1  mirrors.harbor.tls
       |  Talos then refuses every pull: TLS config specified for non-HTTPS registry
    help: drop `tls`, or use https
    ");
}

#[test]
fn credentials_on_the_wrong_key() {
    insta::assert_snapshot!(said(format!("{HARBOR}registries:\n    registry-1.docker.io:\n        via: [harbor]\n")), @r"
    error[E113]: no image reference resolves to `registry-1.docker.io`
      --> mirrors.yaml:3:5  registries.registry-1.docker.io
    help: use `docker.io`; the API's host is derived from it
    ");
}

#[test]
fn a_template() {
    insta::assert_snapshot!(said("mirror: {{ mirror_url }}\nregistries: [ghcr.io]\n"), @r"
    error[E126]: the file is a Jinja template that has not been rendered
      --> mirrors.yaml:1:9
    help: render it first: jinja2 mirrors.yaml | talmirror validate -f -
    ");
    insta::assert_snapshot!(said("{% for x in y %}\nmirror: a\n{% endfor %}\n"), @r"
    error[E126]: the file is a Jinja template that has not been rendered
      --> mirrors.yaml:1:1
    help: render it first: jinja2 mirrors.yaml | talmirror validate -f -
    ");
}

#[test]
fn missing_file() {
    insta::assert_snapshot!(Place::new().run("validate").ends(3), @r"
    --- stderr
    error: there is no inventory `mirrors.yaml`
    help: name one with -f, or begin with `talmirror init` or `talmirror import`
    --- exit 3
    ");
}

#[test]
fn a_secret_that_cannot_be_had() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, passwordFrom: {env: NOT_SET}}\n");
    insta::assert_snapshot!(place.run("generate").ends(4), @r"
    --- stderr
    error: cannot get `mirrors.harbor.credentials.password`
      caused by: environment variable `NOT_SET` is not set
    help: set NOT_SET, or change the reference
    --- exit 4
    ");
}

#[test]
fn an_output_directory_that_cannot_be_written() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n").write("out", "a file");
    insta::assert_snapshot!(place.run("generate --output-dir out").ends(9), @r"
    --- stderr
    note: where a node has a Registry*Config document of the same name, that document wins
    help: give the config with --against, or use `machineconfig patch`, and documents go
    error: cannot write `out/mirrors.yaml`
      caused by: File exists (os error 17)
    help: does the directory exist, and is it one?
    --- exit 9
    ");
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

#[test]
fn names_that_would_leave_the_output_directory() {
    for name in ["../evil", "/etc", "..", "''", "a b"] {
        let text = format!("mirror: https://h.example\nregistries: [ghcr.io]\nnodes: {{{name}: {{}}}}\n");
        assert!(said(text).contains("error[E132]"), "{name}");
    }
    assert!(
        said("mirror: https://h.example\nregistries: [ghcr.io]\ngroups: {base: {}}\n")
            .contains("error[E132]")
    );
}
