//! The examples of every `--help` of talmirror-cache work as they are printed, but for what a test cannot have: ports and
//! folders that the whole machine shares.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::fake_bucket::{Bucket, KEY};
use crate::fake_upstream::Upstream;
use crate::run::Place;

/// A shell that has the program in its path, and one registry that it may ask.
fn shell(place: &Place, upstream: &Upstream, line: &str) -> Command {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_talmirror-cache")).parent().unwrap();
    let path =
        format!("{}:{}:{}", place.path("tools").display(), binary.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command
        .args(["-o", "pipefail", "-c", line])
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .env("PATH", path)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("TALMIRROR_CACHE_LISTEN", "127.0.0.1:0")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
        .env("AWS_REGION", "eu-central-1")
        .stdin(Stdio::null());
    if !line.contains("--upstream") && !line.contains("--config") {
        command.env("TALMIRROR_CACHE_UPSTREAM", format!("docker.io={}", upstream.url()));
    }
    command
}

/// The commands, `serve` first: it makes the folder that others look at.
fn commands(place: &Place, upstream: &Upstream) -> Vec<String> {
    let help = shell(place, upstream, "talmirror-cache --help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.retain(|name| name != "help");
    names.sort_by_key(|name| name != "serve");
    names.insert(1, String::new());
    names
}

/// What a test has in place of what the machine has.
fn here(example: &str, bucket: &Bucket) -> String {
    [
        ("https://rgw.example.com", bucket.url().as_str()),
        ("--peer-listen 10.0.0.11:5001", "--peer-listen 127.0.0.1:0"),
        ("--listen :5000", "--listen 127.0.0.1:0"),
        ("--metrics-listen :9090", "--metrics-listen 127.0.0.1:0"),
        (" /etc/", " etc/"),
        (" /var/lib/", " var/lib/"),
    ]
    .iter()
    .fold(example.to_owned(), |line, (from, to)| line.replace(from, to))
}

/// Starts a server, and waits until it names the next command.
fn start(mut command: Command) -> (Child, String) {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        said += &format!("{line}\n");
        if line.contains("next: talmirror-cache mirror-config") {
            break;
        }
    }
    // What it says later is read, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    (child, said)
}

/// Ends a server; returns its exit code.
fn end(mut server: Child) -> i32 {
    // One that could not begin has ended by itself.
    let pid = rustix::process::Pid::from_child(&server);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    server.wait().unwrap().code().unwrap_or(-1)
}

#[test]
fn every_example_runs_as_it_is_printed() {
    let (place, upstream, bucket) = (Place::new(), Upstream::start(), Bucket::start());
    place.write("hub.json", r#"{"auths":{"docker.io":{"username":"u","password":"s3cr3t-hub"}}}"#);
    let config = format!(
        "apiVersion: talmirror/v1\nkind: Cache\nlisten: 127.0.0.1:0\nroot: ../root\nupstreams: {{docker.io: {{url: '{}'}}}}\n",
        upstream.url()
    );
    place.write("etc/talmirror-cache.yaml", config).write("etc/containers/registries.conf.d/.keep", "");
    place.write("etc/talmirror-cache/peer-secret", "s3cr3t-of-all-caches\n");
    place.write(".config/fish/completions/.keep", "");
    for tool in ["talosctl", "man"] {
        place.write(&format!("tools/{tool}"), "#!/bin/sh\ncat >/dev/null\n");
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(place.path(&format!("tools/{tool}")), mode).unwrap();
    }
    let (mut failed, mut ran) = (Vec::new(), 0);
    for name in commands(&place, &upstream) {
        let help =
            shell(&place, &upstream, &format!("talmirror-cache {name} --help")).output().unwrap().stdout;
        let help = String::from_utf8(help).unwrap();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name}: no examples"));
        // Only a server asks registries.
        let server =
            (name == "refresh").then(|| start(shell(&place, &upstream, "exec talmirror-cache serve")));
        let of_bucket = |line: &str| {
            let mut command = shell(&place, &upstream, line);
            command
                .env("TALMIRROR_CACHE_S3_ENDPOINT", bucket.url())
                .env("TALMIRROR_CACHE_S3_PATH_STYLE", "true");
            if !line.contains("--bucket") {
                command.env("TALMIRROR_CACHE_BUCKET", "s3://images/talmirror");
            }
            command
        };
        let uses_bucket = ["gc", "upload"].contains(&name.as_str());
        if name == "gc" {
            // There has to be something in the buckets.
            for to in ["s3://images", "s3://images/talmirror"] {
                let line = format!("talmirror-cache upload --root var/lib/talmirror-cache --bucket {to}");
                let output = of_bucket(&line).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        for example in examples.lines().take_while(|line| !line.is_empty()).map(str::trim) {
            let line = here(example, &bucket);
            let is_of_bucket = uses_bucket || line.contains(" --tier ");
            let command = if is_of_bucket { of_bucket(&line) } else { shell(&place, &upstream, &line) };
            let (code, said) = if example.starts_with("talmirror-cache serve") {
                // The shell is the program then, which a signal reaches.
                let (server, said) =
                    start(shell(&place, &upstream, &format!("exec {}", here(example, &bucket))));
                (end(server), said)
            } else {
                let output = { command }.output().unwrap();
                let said = [output.stdout, output.stderr].concat();
                (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
            };
            ran += 1;
            if code != 0 {
                failed.push(format!("{name}: `{example}` ended with {code}:\n{said}"));
            }
        }
        if let Some((server, _)) = server {
            assert_eq!(end(server), 0);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(ran > 20, "{ran} examples");
}
