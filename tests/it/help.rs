//! What `--help` and the manual pages say, and that their examples work as they are printed.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::fake_harbor::ADMIN_PASSWORD;
use crate::help_servers::Servers;
use crate::run::{Place, repository};
use crate::sim::Cluster;

/// Every command of the program, by its words.
fn commands() -> Vec<String> {
    fn below(path: &str, out: &mut Vec<String>) {
        out.push(path.to_owned());
        let help = Place::new().run(&format!("{path} --help")).ok();
        let Some((_, list)) = help.split_once("Commands:\n") else { return };
        for line in list.lines().take_while(|line| !line.is_empty()) {
            let Some(name) = line.strip_prefix("  ").and_then(|line| line.split(' ').next()) else {
                continue;
            };
            if !name.is_empty() && name != "help" {
                below(format!("{path} {name}").trim(), out);
            }
        }
    }
    let mut out = Vec::new();
    below("", &mut out);
    out
}

/// The examples of a command's help, one a line; a line that ends in a backslash goes on.
fn examples(command: &str) -> Vec<String> {
    let help = Place::new().run(&format!("{command} --help")).ok();
    let Some((_, examples)) = help.split_once("Examples:\n") else {
        assert!(help.contains("\nCommands:\n"), "{command}: no examples");
        return Vec::new();
    };
    let lines = examples.lines().take_while(|line| !line.is_empty()).map(str::trim_start);
    let lines = lines.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    lines.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// A place as an operator has it: an inventory, a cluster, keys, files that were made earlier.
fn site(cluster: &Cluster) -> Place {
    let place = Place::new();
    let keys = std::fs::read_to_string(repository("tests/vectors/sops/keys.txt")).unwrap();
    let recipient = keys.lines().find_map(|line| line.split_once("public key: ")).unwrap().1.to_owned();
    place.write(".config/sops/age/keys.txt", keys);
    let rule = "^(key|token|password|secret|auth|identityToken|bootstraptoken|secretboxEncryptionSecret)$";
    place.write(
        ".sops.yaml",
        format!("creation_rules:\n    - encrypted_regex: {rule}\n      age: {recipient}\n"),
    );
    place.write(".talos/config", cluster.talosconfig());
    let inventory = cluster.inventory();
    let named = [
        ("mirror:\n        kind", "harbor:\n        kind"),
        ("[mirror]", "[harbor]"),
        ("cp-1", "n1"),
        ("w-1", "n2"),
        ("w-2", "w1"),
    ];
    let inventory = named.iter().fold(inventory, |text, (from, to)| text.replace(from, to));
    let inventory = inventory.replace(
        "docker.io: {}",
        "docker.io: {upstream: {credentials: {username: hub, password: s3cr3t-hub}}}",
    );
    place.write("mirrors.yaml", &inventory);
    place.run("encrypt --in-place mirrors.yaml").ok();
    place.write("new-plaintext.yaml", "password: s3cr3t-new\n");
    place.write("plain.yaml", "password: s3cr3t-plain\n");
    place.write("n1.yaml", cluster.node("cp-1").state().active.text.clone());
    for file in [
        "secret.sops.yaml",
        "secrets.sops.yaml",
        "talos/mirrors/secrets.sops.yaml",
        "talos/mirrors/n2.sops.yaml",
    ] {
        place.write(file, "password: s3cr3t-old\n");
        place.run(&format!("encrypt --in-place {file}")).ok();
    }
    place.write("patch.sops.yaml", "patch: [{op: add, path: /x, value: {password: s3cr3t-patch}}]\n");
    place.run("encrypt --in-place patch.sops.yaml").ok();
    place.write("token.txt", "s3cr3t-token\n");
    place.write("certs.d/docker.io/hosts.toml", "server = \"https://registry-1.docker.io\"\n[host.\"https://h.example/v2/docker.io\"]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n");
    place.write(".config/fish/completions/.keep", "");
    // Other programs that examples name: what they print is a machine config or a password, what they read is taken.
    let pass =
        format!("case \"$*\" in *harbor/admin*) echo {ADMIN_PASSWORD} ;; *) echo s3cr3t-of-pass ;; esac");
    let tools = [
        ("talosctl", "case \"$*\" in *get*|*gen*) cat \"$HOME/n1.yaml\" ;; *) cat >/dev/null ;; esac"),
        ("pass", &pass),
        ("kubectl", "case \"$*\" in *get*) cat \"$HOME/pods.json\" ;; *) cat >/dev/null ;; esac"),
        ("helm", "printf 'kind: Pod\\nspec: {containers: [{image: quay.io/a/b:1}]}\\n'"),
        ("man", "cat >/dev/null"),
        ("vi", "true"),
        ("code", "true"),
    ];
    for (tool, script) in tools {
        place.write(&format!("tools/{tool}"), format!("#!/bin/sh\n{script}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.path(&format!("tools/{tool}")), mode).unwrap();
    }
    place
}

/// Runs a line in a shell, with this program in the path.
fn shell(place: &Place, line: &str) -> (i32, String) {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_talmirror")).parent().unwrap();
    let path =
        format!("{}:{}:{}", place.path("tools").display(), binary.display(), std::env::var("PATH").unwrap());
    let mut child = Command::new("bash")
        .args(["-o", "pipefail", "-c", line])
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .env("PATH", path)
        .env("ALICE", "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl")
        .env("BOB", "age1l2du8jyzktfz588045wq04uck9mjsvlldpdhcvq6ql4rksuu0gjsnw82u6")
        // What is nowhere in these places is at no host of the network either.
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = std::io::Write::write_all(&mut stdin, b"password: s3cr3t-new\n");
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Examples that ask, and what is answered.
const ASKING: [(&str, &[(&str, &str)]); 5] = [
    ("talmirror harbor apply", &[("Do it?", "y")]),
    ("talmirror harbor apply --prune", &[("Do it?", "y")]),
    ("talmirror rotate harbor", &[("New secret of harbor", "s3cr3t-a\r"), ("Again", "s3cr3t-a\r")]),
    ("talmirror rollout", &[("Change 3 nodes?", "y")]),
    ("talmirror rollback", &[("Put 3 nodes back", "y")]),
];

/// Runs the examples of a command, in their order; returns those that fail.
fn run_examples(command: &str, place: &Place) -> Vec<String> {
    let mut failed = Vec::new();
    let servers = Servers::of(command, place);
    for example in examples(command) {
        let example = servers.as_ref().map_or_else(|| example.clone(), |servers| servers.found(&example));
        let empty = Place::new();
        let place = if example.starts_with("talmirror init") { &empty } else { place };
        if example == "talmirror init" {
            // It is the wizard, which has a test of its own.
            continue;
        }
        if command.starts_with("harbor") && example == "talmirror rollout" {
            // What comes next, and has examples of its own.
            continue;
        }
        // The inventory of these places has the password, too, for what no shell starts.
        let bare = example.trim_start_matches("HARBOR_PASSWORD=$(pass harbor/admin) ");
        if let Some((line, answers)) = ASKING.iter().find(|(line, _)| *line == bare) {
            crate::terminal::converse(place, line.strip_prefix("talmirror ").unwrap(), answers);
            continue;
        }
        let (code, said) = shell(place, &example);
        if !matches!(code, 0 | 1) {
            failed.push(format!("{command}: `{example}` ended with {code}:\n{said}"));
        }
    }
    failed
}

/// Brings a place to where a command's examples begin.
fn prepare(command: &str, place: &Place) {
    match command {
        "encrypt" => drop(place.run("decrypt --in-place mirrors.yaml").ok()),
        "import" => drop(place.write(
            "n1.yaml",
            "machine:\n  type: worker\n  registries:\n    mirrors:\n      docker.io:\n        endpoints: [https://h.example]\n",
        )),
        "keygen" => std::fs::remove_file(place.path(".config/sops/age/keys.txt")).unwrap(),
        "edit" | "validate" => {
            place.write("talos/mirrors.yaml", place.read("mirrors.yaml"));
        }
        "rollback" | "rollout history" | "rollout status" => {
            place.run("rollout --yes").ok();
            let journals = ".local/state/talmirror";
            let latest = place.files().into_iter().find(|file| file.ends_with("/journal.ndjson")).unwrap();
            let folder = place.path(latest.trim_end_matches("/journal.ndjson"));
            let copy = place.path(journals).join("home-1a2b3c4d/20260102T030405.678Z");
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            let done = Command::new("cp").arg("-r").args([folder, copy]).status().unwrap();
            assert!(done.success());
        }
        _ => {}
    }
}

#[test]
fn every_example_runs_as_it_is_printed() {
    let commands = commands();
    assert!(
        commands.iter().map(|command| examples(command).len()).sum::<usize>() > 40,
        "no examples are found"
    );
    let start = || Cluster::start(1, 2, &["v1.13.9"], crate::rollout::options()).unwrap();
    let shared = start();
    let mut failed = Vec::new();
    for command in commands {
        // What changes nodes has nodes of its own.
        let own = command.starts_with("roll").then(start);
        let place = site(own.as_ref().unwrap_or(&shared));
        prepare(&command, &place);
        failed.extend(run_examples(&command, &place));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// However narrow the terminal, an example is one line, and paragraphs end where the terminal does.
#[test]
fn help_fits_the_terminal_and_breaks_no_example() {
    let place = Place::new();
    for columns in ["40", "60", "100", "200"] {
        let help = place.run("generate --help").env("COLUMNS", columns).ok();
        assert!(
            help.contains("\n  talmirror generate --talos-version v1.13 | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin\n"),
            "{columns}: {help}"
        );
    }
    let help = place.run("backup -h").env("COLUMNS", "60").ok();
    let prose = help
        .split("\n\n")
        .filter(|text| text.starts_with(|c: char| c.is_alphabetic()) && !text.contains(":\n"));
    for line in prose.flat_map(str::lines).filter(|line| !line.starts_with(' ')) {
        assert!(line.chars().count() <= 60, "{line}");
    }
}

#[test]
fn help_has_headings_values_and_exit_codes() {
    let place = Place::new();
    let help = place.run("generate -h").ok();
    for heading in
        ["\nOptions:\n", "\nNodes:\n", "\nSecrets:\n", "\nOutput:\n", "\nGlobal options:\n", "\nExamples:\n"]
    {
        assert!(help.contains(heading), "{heading}: {help}");
    }
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("[possible values: auto, json-patch, strategic, documents]"), "{help}");
    assert!(!help.contains("Exit codes:"), "{help}");
    let long = place.run("generate --help").ok();
    assert!(long.contains("\nExit codes:\n    0  all is well, nothing differs\n    1  "), "{long}");
    assert!(place.run("--help").ok().contains("    8  stopped by a rollout's rules"));
    for command in ["nodes", "diff", "backup", "rollout", "generate", "explain", "machineconfig patch"] {
        let help = place.run(&format!("{command} -h")).ok();
        for flag in ["-n, --nodes", "-g, --group", "--role", "--match"] {
            assert!(help.contains(flag), "{command} has no {flag}: {help}");
        }
    }
}

#[test]
fn manual_pages_say_what_help_says_and_more() {
    let place = Place::new();
    place.run("man --output-dir man").ok();
    let page = place.read("man/talmirror-generate.1");
    for section in [
        "SYNOPSIS",
        "OPTIONS",
        "NOTES",
        "EXAMPLES",
        "\"EXIT STATUS\"",
        "\"ENVIRONMENT\"",
        "\"FILES\"",
        "\"SEE ALSO\"",
    ] {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{section}:\n{page}");
    }
    assert!(place.read("man/talmirror.1").contains("talmirror-rollout(1)"));
    assert!(place.run("man").ok().contains(".TH talmirror 1"));
}

#[test]
fn the_version_says_what_it_was_tested_with() {
    let place = Place::new();
    assert!(place.run("version").ok().contains("Talos       v1.8 to v1.14\n"));
    assert!(place.run("version -o json").ok().contains("\"newest\": \"v1.14\""));
    assert!(place.run("--version").ok().contains("\nTalos: v1.8 to v1.14\n"));
}

/// `-v` tells the calls to nodes, and nothing that they carry.
#[test]
fn requests_are_told_when_asked_for() {
    let site = crate::rollout::Site::new(1, 0, &["v1.13.9"]);
    let quiet = site.place.run("nodes").ends(0);
    assert!(!quiet.stderr.contains("answered"), "{quiet}");
    let told = site.place.run("nodes -v").ends(0);
    assert!(told.stderr.contains("answered node=cp-1") || told.stderr.contains("call=\"Version\""), "{told}");
    assert!(!told.stderr.contains("calling"), "{told}");
    assert!(site.place.run("nodes -vv").ends(0).stderr.contains("calling"));
}
