//! Commands that an inventory names: started where their secret is sent, never to look, and asked about once.

use crate::run::{Place, Ran};
use crate::terminal::{converse, converse_to, is_lent};

const CONFIG: &str = "version: v1alpha1\nmachine:\n  type: worker\ncluster: {}\n";

/// An inventory whose password a command gives; the command leaves its environment behind.
fn place() -> Place {
    let place = Place::new();
    place
        .write("mirrors.yaml", "apiVersion: talmirror/v1\nkind: Inventory\nmirrors:\n  m:\n    kind: cache\n    url: https://c.example\n    credentials:\n      username: u\n      passwordFrom: {command: [sh, -c, 'env > seen; echo pw']}\nregistries: {docker.io: {}}\ndefaults: {via: [m]}\n")
        .write("c.yaml", CONFIG);
    place
}

/// Returns whether the command was started by a run, and forgets it.
fn started(place: &Place) -> bool {
    std::fs::remove_file(place.path("seen")).is_ok()
}

fn run(place: &Place, line: &str) -> Ran {
    place.run(line).ran()
}

#[test]
fn looking_starts_nothing() {
    let place = place();
    for line in [
        "validate",
        "explain",
        "explain alpine",
        "explain --show-secrets -o json",
        "nodes --timeout 1s",
        "diff --against c.yaml",
        "diff --against c.yaml -o json",
        "generate --check --output-dir out",
        "generate --dry-run --output-dir out",
        "machineconfig patch --check c.yaml",
    ] {
        let ran = run(&place, line);
        assert!(!started(&place), "{line}: {ran}");
        assert!(!ran.stderr.contains("cannot get"), "{line}: {ran}");
    }
    let ran = run(&place, "diff --against c.yaml");
    assert!(ran.code == 1 && ran.stderr.contains("--run-commands starts it"), "{ran}");
    run(&place, "diff --against c.yaml --run-commands");
    assert!(started(&place));
    place.run("diff --against c.yaml").env("TALMIRROR_RUN_COMMANDS", "1").ran();
    assert!(started(&place));
}

#[test]
fn what_is_sent_is_fetched_without_keys_in_sight() {
    let place = place();
    for line in ["generate", "generate --output-dir out", "machineconfig patch c.yaml"] {
        let ran = place
            .run(line)
            .env("SOPS_AGE_KEY", "AGE-SECRET-KEY-1TEST")
            .env("TALMIRROR_AGE_KEY_FILE", "")
            .env("MINE", "AGE-SECRET-KEY-PQ-1TEST")
            .env("SOPS_AGE_KEY_FILE", "keys.txt")
            .env("OTHER", "kept")
            .ran();
        assert_eq!(ran.code, 0, "{line}: {ran}");
        let seen = place.read("seen");
        assert!(seen.contains("OTHER=kept") && seen.contains("PATH="), "{seen}");
        assert!(!["SOPS_", "TALMIRROR_", "AGE-"].iter().any(|word| seen.contains(word)), "{seen}");
        assert!(started(&place));
    }
    // What was written is what a check without the command finds.
    place.run("generate --output-dir out --check").ok();
    assert!(!started(&place));
    place.write("out/secrets.yaml", place.read("out/secrets.yaml").replace("username: u", "username: v"));
    place.run("generate --output-dir out --check").ends(1);
    // A config that has the password is no difference, whatever the password is.
    let patched = place.run("machineconfig patch c.yaml").ok();
    assert!(started(&place));
    place.write("n.yaml", patched.replace("password: pw", "password: another"));
    place.run("diff --against n.yaml").ok();
    place.run("machineconfig patch --check n.yaml").ok();
    assert!(!started(&place));
    place.run("diff --run-commands --against n.yaml").ends(1);
}

#[test]
fn an_encrypted_file_is_checked_without_its_command() {
    let place = place();
    place.write("keys.txt", std::fs::read(crate::run::repository("tests/vectors/sops/keys.txt")).unwrap());
    let age = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
    let check = |flags: &str| {
        place
            .run(&format!("generate --output-dir out --age {age} {flags}"))
            .env("SOPS_AGE_KEY_FILE", "keys.txt")
    };
    check("").ok();
    assert!(started(&place));
    check("--check").ok();
    let ran = check("--dry-run").ends(0);
    assert!(!started(&place) && ran.stdout.is_empty(), "{ran}");
    place.write("mirrors.yaml", place.read("mirrors.yaml").replace("username: u", "username: w"));
    assert!(check("--check").ends(1).stdout.contains("out/secrets.sops.yaml"));
    assert!(!started(&place));
}

#[test]
fn the_first_start_is_asked_about() {
    if !is_lent() {
        return;
    }
    let place = place();
    let said = converse_to(&place, "generate --output-dir out", &[("[y/N]", "n")], 4);
    assert!(said.contains("env > seen") && said.contains("--run-commands"), "{said}");
    assert!(!started(&place));
    let said = converse_to(&place, "generate --output-dir out --no-input", &[], 4);
    assert!(said.contains("not agreed to") && !started(&place), "{said}");
    converse(&place, "generate --output-dir out", &[("[y/N]", "y")]);
    assert!(started(&place));
    let said = converse(&place, "generate --output-dir out", &[]);
    assert!(started(&place) && !said.contains("[y/N]"), "{said}");
    // Another command, or the same one of another file, is asked about again.
    place.write("other.yaml", place.read("mirrors.yaml"));
    converse_to(&place, "generate -f other.yaml --output-dir out", &[("[y/N]", "n")], 4);
    place.write("mirrors.yaml", place.read("mirrors.yaml").replace("echo pw", "echo pw2"));
    converse_to(&place, "generate --output-dir out", &[("[y/N]", "n")], 4);
    assert!(!started(&place));
    converse(&place, "generate --output-dir out --run-commands", &[]);
    assert!(started(&place));
    // Nothing of the command is kept.
    let notes: Vec<String> = place.files().into_iter().filter(|file| file.contains("commands/")).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(!place.read(&notes[0]).contains("seen"));
}

#[test]
fn a_terminal_that_sees_no_secret_starts_nothing() {
    if !is_lent() {
        return;
    }
    let place = place();
    let said = converse(&place, "generate", &[]);
    assert!(said.contains("<redacted>") && !started(&place), "{said}");
}
