//! Secrets through the command line: encrypted, kept, rotated, refused.

use crate::run::{Place, repository};

const ALICE: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
const RULE: &str = "^(password|identityToken|key)$";

/// A place with a key, a `.sops.yaml` and an inventory of so many registries.
fn place(registries: usize) -> Place {
    let place = Place::new();
    let names: String = (0..registries).map(|n| format!("    r{n}.example:\n        upstream:\n            credentials: {{username: u{n}, password: s3cr3t-{n}}}\n")).collect();
    place
        .write("mirrors.yaml", format!("mirror: https://h.example # ours\nkind: harbor\ncredentials:\n    username: robot$x\n    password: s3cr3t-harbor\nregistries:\n{names}"))
        .write(".sops.yaml", format!("creation_rules:\n  - encrypted_regex: {RULE}\n    age: {ALICE}\n"))
        .write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap())
        .write("second.txt", std::fs::read(repository("tests/vectors/sops/keys-second.txt")).unwrap());
    place
}

const KEY: (&str, &str) = ("SOPS_AGE_KEY_FILE", "keys.txt");

/// The lines that differ between two texts of as many lines.
fn changed<'a>(old: &'a str, new: &'a str) -> Vec<&'a str> {
    assert_eq!(old.lines().count(), new.lines().count());
    old.lines().zip(new.lines()).filter(|(old, new)| old != new).map(|(_, new)| new.trim()).collect()
}

#[test]
fn one_password_of_forty_registries() {
    let place = place(40);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let old = place.read("mirrors.yaml");
    assert!(old.contains("# ours") && !old.contains("s3cr3t-"), "{old}");
    place.run("rotate r7.example --password-stdin").env(KEY.0, KEY.1).stdin("s3cr3t-new\n").ok();
    let new = place.read("mirrors.yaml");
    let lines = changed(&old, &new);
    assert_eq!(
        lines.len(),
        if lines.iter().any(|line| line.starts_with("lastmodified")) { 3 } else { 2 },
        "{lines:?}"
    );
    assert!(lines[0].contains("u7") && lines.last().unwrap().starts_with("mac: ENC["), "{lines:?}");
    let plain = place.run("decrypt mirrors.yaml").env(KEY.0, KEY.1).reveals().ok();
    // Braces need quotes round what is sealed, and they stay.
    assert!(plain.contains("username: u7, password: \"s3cr3t-new\""), "{plain}");
    assert!(plain.contains("password: \"s3cr3t-6\"}"), "{plain}");
}

#[test]
fn nothing_changed_means_no_byte_and_no_time() {
    let place = place(2);
    let generate = || place.run("generate --output-dir out --encrypt").env(KEY.0, KEY.1);
    generate().ok();
    let files = ["out/mirrors.yaml", "out/secrets.sops.yaml"];
    let state = || {
        files.map(|file| (place.read(file), std::fs::metadata(place.path(file)).unwrap().modified().unwrap()))
    };
    let before = state();
    generate().ok();
    assert_eq!(state(), before);
    place.run("generate --output-dir out --encrypt --check").env(KEY.0, KEY.1).ok();
    place.run("encrypt --in-place mirrors.yaml").ok();
    let ran = place.run("rotate harbor --password-stdin").env(KEY.0, KEY.1).stdin("s3cr3t-harbor").ends(0);
    assert!(ran.stderr.contains("unchanged"), "{ran}");
    // The encrypted inventory gives what the plain one gave.
    place.run("generate --output-dir out --encrypt --check").env(KEY.0, KEY.1).ok();
}

#[test]
fn check_tells_what_differs_and_writes_nothing() {
    let place = place(1);
    let run =
        |flags: &str| place.run(&format!("generate --output-dir out --encrypt {flags}")).env(KEY.0, KEY.1);
    let ran = run("--check").ends(1);
    assert_eq!(ran.stdout, "missing    out/mirrors.yaml\nmissing    out/secrets.sops.yaml\n");
    assert!(!place.path("out").exists());
    run("").ok();
    run("--check").ok();
    let old = place.read("out/secrets.sops.yaml");
    let inventory = place.read("mirrors.yaml").replace("s3cr3t-0", "s3cr3t-other");
    place.write("mirrors.yaml", inventory);
    assert_eq!(run("--check").ends(1).stdout, "differs    out/secrets.sops.yaml\n");
    assert_eq!(run("--dry-run").ends(0).stdout, "differs    out/secrets.sops.yaml\n");
    assert_eq!(place.read("out/secrets.sops.yaml"), old);
    run("").ok();
    let new = place.read("out/secrets.sops.yaml");
    let lines = changed(&old, &new);
    assert!(
        lines.len() <= 3 && lines.iter().filter(|line| line.starts_with("password:")).count() == 1,
        "{lines:?}"
    );
    // Without a key nobody can tell.
    let ran = place.run("generate --output-dir out --encrypt --check").ends(4);
    assert!(ran.stderr.contains("none of the keys at hand opens the file"), "{ran}");
    // And a user who only encrypts makes it again.
    let ran = place.run("generate --output-dir out --encrypt").ends(0);
    assert!(ran.stderr.contains("all of it is encrypted again"), "{ran}");
}

#[test]
fn a_recipient_is_enough() {
    let place = place(1);
    std::fs::remove_file(place.path(".sops.yaml")).unwrap();
    let sealed = place.args(&["generate", "--age", ALICE]).ok();
    assert!(sealed.contains("password: ENC[") && sealed.contains(ALICE), "{sealed}");
    // What sops takes for its own default is used when there is something to encrypt, and asks for nothing by itself.
    let sealed = place.run("encrypt mirrors.yaml").env("SOPS_AGE_RECIPIENTS", ALICE).ok();
    assert!(sealed.contains("password: ENC["), "{sealed}");
    place.run("generate").env("SOPS_AGE_RECIPIENTS", ALICE).reveals().ok();
    place.args(&["generate", "--age", "age1nobody"]).ends(4);
}

#[test]
fn an_encrypted_json_patch_is_a_map() {
    let place = place(1);
    let sealed = place.run("generate --format json-patch --talos-version v1.11 --encrypt").ok();
    assert!(sealed.starts_with("patch:\n"), "{sealed}");
    place.write("patch.sops.yaml", &sealed);
    let list = place
        .args(&["decrypt", "--extract", "[\"patch\"]", "patch.sops.yaml"])
        .env(KEY.0, KEY.1)
        .reveals()
        .ok();
    assert_eq!(list, place.run("generate --format json-patch --talos-version v1.11").reveals().ok());
}

#[test]
fn plaintext_stays_out_of_git() {
    let place = place(1);
    std::fs::create_dir(place.path(".git")).unwrap();
    let ran = place.run("generate --output-dir out").ends(3);
    assert!(ran.stderr.contains("would hold plaintext secrets in the work tree"), "{ran}");
    assert!(!place.path("out").exists());
    place.run("generate --output-dir out --allow-plaintext").ok();
    assert!(place.read("out/secrets.yaml").contains("s3cr3t-0"));
    let ran = place.run("generate --output-dir out --encrypt").ends(0);
    assert!(
        ran.stderr.contains("`out/secrets.yaml` is of an earlier run and holds secrets in clear"),
        "{ran}"
    );
}

/// The variables of git make a folder a work tree that holds no `.git`, and that need not be there yet.
#[test]
fn work_trees_that_git_is_told_of_are_seen() {
    let place = place(1);
    std::fs::create_dir(place.path("plain")).unwrap();
    let git = |args: &[&str]| {
        let status = std::process::Command::new("git").args(args).current_dir(place.path("")).status();
        assert!(status.unwrap().success());
    };
    git(&["init", "--quiet", "--bare", "dot"]);
    git(&["init", "--quiet", "other"]);
    for (dir, tree) in [("dot", Some(".")), ("other/.git", None)] {
        let mut run = place.run("generate --output-dir out/deep").env("GIT_DIR", dir);
        if let Some(tree) = tree {
            run = run.env("GIT_WORK_TREE", tree);
        }
        let ran = run.ends(3);
        assert!(ran.stderr.contains("would hold plaintext secrets in the work tree"), "{dir}: {ran}");
        assert!(!place.path("out").exists());
    }
    place.run("generate --output-dir out").env("GIT_DIR", "dot").env("GIT_WORK_TREE", "plain").ends(0);
}

#[test]
#[cfg(unix)]
fn links_out_of_the_output_directory_are_refused() {
    use std::os::unix::fs::symlink;
    let place = place(1);
    place.write("precious", "mine\n").write("out/kept", "").write("elsewhere/kept", "");
    for (link, target) in [("mirrors.yaml", "precious"), ("secrets.yaml", "nowhere")] {
        symlink(place.path(target), place.path(&format!("out/{link}"))).unwrap();
        let ran = place.run("generate --output-dir out").ends(3);
        assert!(ran.stderr.contains(&format!("`out/{link}` is a link that leads out")), "{ran}");
        std::fs::remove_file(place.path(&format!("out/{link}"))).unwrap();
    }
    assert_eq!((place.read("precious").as_str(), place.path("nowhere").exists()), ("mine\n", false));
    symlink(place.path("elsewhere"), place.path("out/n1")).unwrap();
    let inventory = format!("{}nodes: [n1]\n", place.read("mirrors.yaml"));
    place.write("mirrors.yaml", inventory);
    let ran = place.run("generate --output-dir out --layout per-node").ends(3);
    assert!(ran.stderr.contains("`out/n1/mirrors.yaml` is a link that leads out"), "{ran}");
    assert!(!place.path("elsewhere/mirrors.yaml").exists());
    // Within the directory, and the directory itself, they may be.
    std::fs::remove_file(place.path("out/n1")).unwrap();
    symlink(place.path("out"), place.path("link")).unwrap();
    place.run("generate --output-dir link --layout single").ends(0);
    assert!(place.path("out/mirrors.yaml").exists());
}

#[test]
fn recipients_change() {
    let place = place(1);
    let bob: String = std::fs::read_to_string(place.path("second.txt")).unwrap();
    let bob = bob.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    place.run("encrypt --in-place mirrors.yaml").ok();
    let old = place.read("mirrors.yaml");
    place.write(
        ".sops.yaml",
        format!("creation_rules:\n  - encrypted_regex: {RULE}\n    age: {ALICE},{bob}\n"),
    );
    let ran = place.run("rekey mirrors.yaml").env(KEY.0, KEY.1).ends(0);
    assert!(ran.stderr.contains("added age1"), "{ran}");
    let both = place.read("mirrors.yaml");
    let sealed =
        |text: &str| text.lines().filter(|line| line.contains("ENC[")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(sealed(&old), sealed(&both));
    place.run("decrypt mirrors.yaml").env("SOPS_AGE_KEY_FILE", "second.txt").reveals().ok();
    place.write(".sops.yaml", format!("creation_rules:\n  - encrypted_regex: {RULE}\n    age: {bob}\n"));
    let ran = place.run("rekey mirrors.yaml").env(KEY.0, KEY.1).ends(0);
    assert!(ran.stderr.contains("new data key"), "{ran}");
    place.run("decrypt mirrors.yaml").env(KEY.0, KEY.1).ends(128);
    place.run("decrypt mirrors.yaml").env("SOPS_AGE_KEY_FILE", "second.txt").reveals().ok();
    let ran = place.run("rekey mirrors.yaml").env("SOPS_AGE_KEY_FILE", "second.txt").ends(0);
    assert!(ran.stderr.contains("these already"), "{ran}");
}

#[test]
fn identities_are_missing_or_wrong() {
    let place = place(0);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let ran = place.run("generate").ends(4);
    assert!(ran.stderr.contains("SOPS_AGE_KEY_FILE") && ran.stderr.contains(ALICE), "{ran}");
    let ran = place.run("generate").env("SOPS_AGE_KEY_FILE", "second.txt").ends(4);
    assert!(ran.stderr.contains("none of the keys at hand opens the file"), "{ran}");
    place.run("decrypt mirrors.yaml").ends(128);
    place.run("generate --age-key-file keys.txt").reveals().ok();
    // What needs no secret needs no key.
    place.run("validate").ok();
    place.run("explain ghcr.io/x").ok();
}

#[test]
fn a_file_that_was_tampered_with() {
    let place = place(1);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let good = place.read("mirrors.yaml");
    place.write("mirrors.yaml", good.replace("https://h.example", "https://evil.example"));
    let ran = place.run("decrypt mirrors.yaml").env(KEY.0, KEY.1).ends(51);
    assert!(ran.stderr.contains("the MAC does not fit"), "{ran}");
    let ran = place.run("validate").env(KEY.0, KEY.1).ends(0);
    assert!(ran.stderr.contains("warning[W238]"), "{ran}");
    place.run("generate").env(KEY.0, KEY.1).ends(4);
    place.run("rotate harbor --password-stdin").env(KEY.0, KEY.1).stdin("s3cr3t-n").ran();
    assert!(place.read("mirrors.yaml").contains("evil"), "a refused file is left as it was");
}

/// One cause is one finding, and a key that the file is for is not called a wrong one.
#[test]
fn a_sealed_file_that_was_damaged_is_told_as_that() {
    let place = place(1);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let sealed = place.read("mirrors.yaml");
    place.write("mirrors.yaml", sealed.replacen("https://h.example # ours", "[https://h.example", 1));
    let ran = place.run("validate").env(KEY.0, KEY.1).ends(1);
    assert!(ran.stderr.contains("error[E100]") && !ran.stderr.contains("E116"), "{ran}");
    let at = sealed.find("-----BEGIN AGE").unwrap() + 160;
    let other = if sealed.as_bytes()[at] == b'A' { "B" } else { "A" };
    place.write("mirrors.yaml", format!("{}{other}{}", &sealed[..at], &sealed[at + 1..]));
    let ran = place.run("validate").env(KEY.0, KEY.1).ends(1);
    assert!(ran.stderr.contains("E116") && ran.stderr.contains("does not open: it was changed"), "{ran}");
    let ran = place.run("generate").env(KEY.0, KEY.1).ends(4);
    assert!(ran.stderr.contains("restore the `sops:` of the file from your history"), "{ran}");
}

#[test]
fn rules_that_would_leak_are_refused() {
    let place = place(1);
    let plain = place.read("mirrors.yaml");
    for (rule, code, want) in [
        ("^(password$", 3, "cannot be followed"),
        ("^pasword$", 23, "in clear text"),
        ("^key$", 23, "in clear text"),
    ] {
        place.write(
            ".sops.yaml",
            format!("creation_rules:\n  - encrypted_regex: '{rule}'\n    age: {ALICE}\n"),
        );
        let ran = place.run("encrypt --in-place mirrors.yaml").ends(code);
        assert!(ran.stderr.contains(want), "{ran}");
        assert_eq!(place.read("mirrors.yaml"), plain);
    }
    let ran = place.run("validate").ends(0);
    assert!(ran.stderr.contains("warning[W218]"), "{ran}");
    place.write(".sops.yaml", format!("creation_rules:\n  - encrypted_regex: password\n    age: {ALICE}\n"));
    assert!(place.run("validate").ends(0).stderr.contains("warning[W219]"));
    place.write(".sops.yaml", format!("creation_rules:\n  - path_regex: other\n    age: {ALICE}\n"));
    let ran = place.run("encrypt mirrors.yaml").ends(3);
    assert!(ran.stderr.contains("no creation rule"), "{ran}");
    std::fs::remove_file(place.path(".sops.yaml")).unwrap();
    let ran = place.run("encrypt mirrors.yaml").ends(2);
    assert!(ran.stderr.contains("nothing says for whom"), "{ran}");
}

/// What a document is, is said in clear text only: a rule may seal its `kind` and leave the secret.
#[test]
fn a_secret_of_kubernetes_is_known_though_its_kind_is_sealed() {
    let place = place(1);
    std::fs::remove_file(place.path(".sops.yaml")).unwrap();
    let secret = "apiVersion: v1\nkind: Secret\n\n# of ours\ndata: {a: czNjcjN0}\nother: x\n";
    place.write("secret.yaml", secret);
    let flags = format!("--age {ALICE}");
    for rule in ["--unencrypted-regex ^data$", "--encrypted-regex ^(kind|other)$"] {
        let ran = place.run(&format!("encrypt {flags} {rule} secret.yaml")).ends(23);
        assert!(ran.stderr.contains(r#"["data"]["a"] (line 5)"#) && ran.stdout.is_empty(), "{ran}");
        assert!(ran.stderr.contains("secret.yaml:5:11"), "{ran}");
    }
    // A file that was sealed before the secret was in it.
    let map = place.write("map.yaml", "kind: ConfigMap\ndata: {a: x}\n");
    let sealed = map.run(&format!("encrypt {flags} --unencrypted-regex ^data$ map.yaml")).ok();
    place.write("map.yaml", sealed);
    let ran = place.run("encrypt --update map.yaml").env(KEY.0, KEY.1).stdin(secret).ends(23);
    assert!(ran.stderr.contains(r#"["data"]["a"] (line 5)"#), "{ran}");
}

#[test]
fn what_is_encrypted_already_and_what_is_not() {
    let place = place(1);
    let ran = place.run("decrypt mirrors.yaml").ends(1);
    assert!(ran.stderr.contains("not encrypted"), "{ran}");
    let ran = place.run("rotate harbor --password-stdin").stdin("x").ends(3);
    assert!(ran.stderr.contains("is not encrypted"), "{ran}");
    place.run("encrypt --in-place mirrors.yaml").ok();
    place.run("encrypt --in-place mirrors.yaml").ends(203);
    let ran = place.run("rotate habor --password-stdin").env(KEY.0, KEY.1).stdin("x").ends(2);
    assert!(ran.stderr.contains("did you mean `harbor`?"), "{ran}");
}

#[test]
fn an_update_keeps_what_did_not_change() {
    let place = place(3);
    let plain = place.read("mirrors.yaml");
    place.run("encrypt --in-place mirrors.yaml").ok();
    let old = place.read("mirrors.yaml");
    let run = |text: &str| place.run("encrypt --update mirrors.yaml").env(KEY.0, KEY.1).stdin(text).ok();
    run(&plain);
    assert_eq!(place.read("mirrors.yaml"), old);
    run(&plain.replace("s3cr3t-1", "s3cr3t-one"));
    assert!(changed(&old, &place.read("mirrors.yaml")).len() <= 3);
}

#[test]
fn machine_configs_are_compared_and_edited() {
    let place = place(1);
    let config = "\
version: v1alpha1 # ours
machine:
    type: worker
    registries:
        mirrors:
            quay.io:
                endpoints: [https://old.example]
        config:
            h.example:
                auth: {username: robot$x, password: s3cr3t-old}
    sysctls: {vm.nr_hugepages: '1'}
cluster: {}
";
    place.write("n1.yaml", config);
    let ran = place.run("diff --against n1.yaml --talos-version v1.11").ends(1);
    insta::assert_snapshot!(ran, @r"
    - quay.io  endpoints[0] https://old.example
    ~ auth h.example  password  <redacted> → <redacted>
    + r0.example  endpoints[0] https://h.example/v2/r0.example, endpoints[0].overridePath true
    + auth r0.example  username u0, password <redacted>
    --- stderr
    n1.yaml: 4 differences
    --- exit 1
    ");
    insta::assert_snapshot!(place.run("diff --against n1.yaml -o json").ends(1).stdout, @r#"
    {
      "apiVersion": "talmirror/v1",
      "kind": "Diff",
      "file": "n1.yaml",
      "changed": true,
      "items": [
        {
          "kind": "mirror",
          "name": "quay.io",
          "what": "removed",
          "details": [
            {
              "field": "endpoints[0]",
              "old": "https://old.example",
              "new": null
            }
          ]
        },
        {
          "kind": "auth",
          "name": "h.example",
          "what": "changed",
          "details": [
            {
              "field": "password",
              "old": "<redacted>",
              "new": "<redacted>"
            }
          ]
        },
        {
          "kind": "mirror",
          "name": "r0.example",
          "what": "added",
          "details": [
            {
              "field": "endpoints[0]",
              "old": null,
              "new": "https://h.example/v2/r0.example"
            },
            {
              "field": "endpoints[0].overridePath",
              "old": null,
              "new": "true"
            }
          ]
        },
        {
          "kind": "auth",
          "name": "r0.example",
          "what": "added",
          "details": [
            {
              "field": "username",
              "old": null,
              "new": "u0"
            },
            {
              "field": "password",
              "old": null,
              "new": "<redacted>"
            }
          ]
        }
      ]
    }
    "#);
    let ran = place.run("machineconfig patch n1.yaml --talos-version v1.11 --in-place").ends(0);
    insta::assert_snapshot!(ran, @r"
    --- stderr
    warning: mirror quay.io is not in the inventory and goes
    help: --keep-unlisted keeps it
    wrote n1.yaml
    --- exit 0
    ");
    let edited = place.read("n1.yaml");
    assert!(
        edited.starts_with("version: v1alpha1 # ours\nmachine:\n    type: worker\n    registries:\n"),
        "{edited}"
    );
    assert!(edited.ends_with("    sysctls: {vm.nr_hugepages: '1'}\ncluster: {}\n"), "{edited}");
    place.run("diff --against n1.yaml").ok();
    place.run("mc patch n1.yaml --talos-version v1.11 --check").ok();
    place.run("mc patch n1.yaml --talos-version v1.14 --in-place").ok();
    let documents = place.read("n1.yaml");
    assert!(
        documents.contains("kind: RegistryMirrorConfig") && !documents.contains("mirrors:"),
        "{documents}"
    );
    place.run("diff --against n1.yaml").ok();
    place.write("n1.yaml", config);
    let kept = place.run("mc patch n1.yaml --talos-version v1.14 --keep-unlisted").reveals().ok();
    assert!(kept.contains("name: quay.io"), "{kept}");
}

#[test]
fn patches_against_a_config_are_the_least() {
    let place = place(1);
    place.write("n1.yaml", "machine:\n    type: worker\n    registries: {}\ncluster: {}\n");
    let first =
        place.run("generate --format json-patch --talos-version v1.11 --against n1.yaml").reveals().ok();
    assert!(first.contains("path: /machine/registries/mirrors\n"), "{first}");
    place.run("mc patch n1.yaml --talos-version v1.11 --in-place").ok();
    for (format, version) in [("json-patch", "v1.11"), ("strategic", "v1.11"), ("auto", "v1.11")] {
        let ran = place
            .run(&format!("generate --format {format} --talos-version {version} --against n1.yaml"))
            .ends(0);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("nothing to change"), "{ran}");
    }
    let moved =
        place.run("generate --format documents --talos-version v1.13 --against n1.yaml").reveals().ok();
    assert!(moved.starts_with("machine:\n    registries:\n        $patch: delete\n---\n"), "{moved}");
    place.write(
        "n1.yaml",
        "machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: x\n",
    );
    let ran = place.run("generate --format json-patch --against n1.yaml").ends(3);
    assert!(ran.stderr.contains("has 2 documents"), "{ran}");
    place.write("n1.yaml", "a: b\n");
    let ran = place.run("diff --against n1.yaml").ends(3);
    assert!(ran.stderr.contains("is not a Talos machine config"), "{ran}");
}

#[test]
fn what_is_imported_may_be_encrypted() {
    let place = place(1);
    place.run("generate --output-dir out --encrypt --talos-version v1.13").env(KEY.0, KEY.1).ok();
    let ran = place.run("import out/secrets.sops.yaml").env(KEY.0, KEY.1).reveals().ends(0);
    assert!(ran.stdout.contains("password: s3cr3t-harbor"), "{ran}");
    assert!(ran.stderr.contains("the inventory holds secrets in clear"), "{ran}");
    let ran = place.run("import out/secrets.sops.yaml").ends(4);
    assert!(ran.stderr.contains("none of the keys at hand"), "{ran}");
    let json = place.run("import out/mirrors.yaml -o json").ok();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["source"], "strategic merge patch");
    assert!(value["inventory"].as_str().unwrap().contains("https://h.example"));
    place.write("nothing.yaml", "a: b\n");
    let ran = place.run("import nothing.yaml").ends(3);
    assert!(ran.stderr.contains("there is nothing to make an inventory of"), "{ran}");
}

/// A machine config, imported, gives an inventory that changes nothing in it but the form.
#[test]
fn import_then_patch_is_the_migration() {
    let place = Place::new();
    let config = "\
machine:
    type: worker
    registries:
        mirrors:
            docker.io:
                endpoints: [https://h.example/v2/docker.io, https://mirror.example/v2]
                overridePath: true
            ghcr.io:
                endpoints: [https://h.example/v2/ghcr.io]
                overridePath: true
                skipFallback: true
        config:
            h.example:
                auth: {username: u, password: s3cr3t-p}
                tls: {insecureSkipVerify: true}
cluster: {}
";
    place.write("n1.yaml", config);
    let inventory = place.run("import n1.yaml").reveals().ok();
    place.write("mirrors.yaml", inventory);
    place.run("mc patch n1.yaml --talos-version v1.14 --in-place").ok();
    let migrated = place.read("n1.yaml");
    assert!(migrated.starts_with("machine:\n    type: worker\ncluster: {}\n---\n"), "{migrated}");
    // Documents and legacy give the same inventory.
    assert_eq!(place.run("import n1.yaml").reveals().ok(), place.read("mirrors.yaml"));
    place.run("diff --against n1.yaml").ok();
}

#[test]
fn files_of_earlier_runs_are_findings() {
    let place = place(1);
    let generate =
        |flags: &str| place.run(&format!("generate --output-dir out --encrypt {flags}")).env(KEY.0, KEY.1);
    generate("").ok();
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n");
    generate("").ok();
    assert_eq!(generate("--check").ends(1).stdout, "stale      out/secrets.sops.yaml\n");
    std::fs::remove_file(place.path("out/secrets.sops.yaml")).unwrap();
    generate("--check").ok();
}

#[test]
#[cfg(unix)]
fn a_link_into_a_work_tree_is_followed() {
    let place = place(1);
    std::fs::create_dir_all(place.path("repo/.git")).unwrap();
    std::fs::create_dir_all(place.path("repo/talos")).unwrap();
    std::os::unix::fs::symlink(place.path("repo/talos"), place.path("link")).unwrap();
    let ran = place.run("generate --output-dir link").ends(3);
    assert!(ran.stderr.contains("would hold plaintext secrets"), "{ran}");
    assert_eq!(std::fs::read_dir(place.path("repo/talos")).unwrap().count(), 0);
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let place = Place::new();
    for text in [
        "mirror: https://u:s3cr3t-url@h.example/v2\nregistries: [ghcr.io]\n",
        "mirrors: {m: {kind: raw, url: 'http://u:s3cr3t-url@h.example/p', tls: {insecureSkipVerify: true}}}\nregistries: {ghcr.io: {via: [m]}}\n",
        "mirror: https://h.example\nregistries: ['https://u:s3cr3t-url@ghcr.io', 'u:s3cr3t-url@quay.io']\n",
        "mirror: https://h.example\nregistries: {ghcr.io: {upstream: {url: 'https://u:s3cr3t-url@h.example/x'}}}\n",
    ] {
        place.write("mirrors.yaml", text);
        place.run("validate").ends(1);
        place.run("validate -o json").ends(1);
    }
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n");
    place.write("n1.yaml", "machine:\n    registries:\n        config:\n            'https://me:s3cr3t-url@q.example':\n                auth: {username: u, password: p}\ncluster: {}\n");
    place.run("diff --against n1.yaml").ends(1);
    place.run("diff --against n1.yaml -o json").ends(1);
    place.run("mc patch n1.yaml --talos-version v1.11").ok();
    place.run("import n1.yaml").ran();
}

#[test]
fn keygen_makes_keys_that_encrypt_and_decrypt() {
    for (flags, prefix) in [("", "AGE-SECRET-KEY-1"), (" --post-quantum", "AGE-SECRET-KEY-PQ-1")] {
        let place = place(1);
        let ran = place.run(&format!("keygen -o new.txt{flags}")).ends(0);
        let key = place.read("new.txt");
        assert!(key.starts_with("# created: ") && key.lines().nth(2).unwrap().starts_with(prefix), "{ran}");
        assert!(!ran.to_string().contains("SECRET-KEY"), "{ran}");
        let recipient = key.lines().nth(1).unwrap().strip_prefix("# public key: ").unwrap();
        assert!(ran.stderr.contains(&format!("Public key: {recipient}")), "{ran}");
        place.write(
            ".sops.yaml",
            format!("creation_rules:\n  - age: {recipient}\n    encrypted_regex: {RULE}\n"),
        );
        place.run("encrypt --in-place mirrors.yaml").ok();
        let plain = place.run("decrypt mirrors.yaml").env(KEY.0, "new.txt").reveals().ok();
        assert!(plain.contains("s3cr3t-harbor"), "{plain}");
        let ran = place.run("decrypt mirrors.yaml").env(KEY.0, "keys.txt").ends(128);
        assert!(ran.stderr.len() < 1500, "a long recipient is cut: {ran}");
        assert_eq!(
            place.run(&format!("keygen -o new.txt{flags}")).ends(9).stdout,
            "",
            "a key is never overwritten"
        );
        assert_eq!(place.read("new.txt"), key);
    }
}

#[test]
fn an_edit_keeps_what_did_not_change_and_refuses_what_does_not_hold() {
    let place = place(2);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let old = place.read("mirrors.yaml");
    let edit = |script: &str| {
        place.write("editor.sh", format!("#!/bin/sh\n{script}\n"));
        place
            .run("edit mirrors.yaml")
            .env(KEY.0, KEY.1)
            .env("EDITOR", format!("sh {}", place.path("editor.sh").display()))
    };
    assert!(edit("true").ends(0).stderr.contains("unchanged"));
    assert_eq!(place.read("mirrors.yaml"), old);
    edit("sed -i 's/s3cr3t-1/s3cr3t-9/' \"$1\"").ok();
    let new = place.read("mirrors.yaml");
    let lines = changed(&old, &new);
    assert!(lines.len() <= 3 && lines[0].contains("u1"), "{lines:?}");
    for (script, code) in [
        ("echo 'unknown: 1' >> \"$1\"", 3),
        ("echo '[' >> \"$1\"", 3),
        ("sed -i 's/\"s3cr3t-9\"/0123/' \"$1\"", 3),
        ("exit 1", 8),
    ] {
        let ran = edit(script).ends(code);
        assert_eq!(place.read("mirrors.yaml"), new, "{ran}");
    }
    // Wherever the plaintext was, it is gone.
    place.write("editor.sh", "#!/bin/sh\necho \"$1\" > seen; ls -l \"$1\" > mode; dirname \"$1\" > folder\n");
    let script = format!("cd {}; sh editor.sh \"$1\"", place.path(".").display());
    edit(&script.replace("sh editor.sh", "echo \"$1\" > seen; ls -l")).ok();
    let seen = place.read("seen");
    assert!(!std::path::Path::new(seen.trim()).exists());
}

#[test]
fn an_editor_that_is_killed_leaves_no_plaintext() {
    for (signal, whom) in [("KILL", ""), ("KILL", "-"), ("QUIT", "-"), ("TERM", "-"), ("HUP", "-")] {
        killed(signal, whom);
    }
}

/// Ends an edit while the editor is open: the command alone, or with `-` all of its process group.
fn killed(signal: &str, whom: &str) {
    use std::os::unix::process::CommandExt as _;
    let place = place(1);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let old = place.read("mirrors.yaml");
    let seen = place.path("seen");
    place.write("editor.sh", format!("#!/bin/sh\necho \"$1\" > {}\nexec sleep 60\n", seen.display()));
    let editor = format!("sh {}", place.path("editor.sh").display());
    let mut command = place.run("edit mirrors.yaml").env(KEY.0, KEY.1).env("EDITOR", editor).command();
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.process_group(0).spawn().unwrap();
    let wait = |test: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if test() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        false
    };
    let read = || std::fs::read_to_string(&seen).unwrap_or_default();
    assert!(wait(&|| read().ends_with('\n')));
    let file = std::path::PathBuf::from(read().trim());
    assert!(file.exists());
    let kill = |signal: &str, whom: &str| {
        let target = format!("{whom}{}", child.id());
        std::process::Command::new("kill").args(["-s", signal, "--", &target]).status().unwrap()
    };
    assert!(kill(signal, whom).success());
    assert!(wait(&|| !file.parent().unwrap().exists()), "{signal} {whom}: {}", file.display());
    // The editor of a command that alone was killed.
    kill("KILL", "-");
    child.wait().unwrap();
    assert_eq!(place.read("mirrors.yaml"), old);
}

/// Killed at points all over an edit, from its start to its end: no plaintext stays, and the file is the old one or the new one.
#[test]
fn an_edit_that_is_killed_anywhere_leaves_no_plaintext() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    const POINTS: u32 = 24;
    let place = place(1);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let old = place.read("mirrors.yaml");
    std::fs::create_dir(place.path("run")).unwrap();
    place.write("editor.sh", "#!/bin/sh\nsed -i 's/s3cr3t-0/s3cr3t-9/' \"$1\"\n");
    let editor = format!("sh {}", place.path("editor.sh").display());
    let start = || {
        let run = place.run("edit mirrors.yaml").env(KEY.0, KEY.1).env("EDITOR", &editor);
        let mut command = run.env("XDG_RUNTIME_DIR", place.path("run").display().to_string()).command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begun = Instant::now();
    assert!(start().wait().unwrap().success());
    let whole = begun.elapsed();
    assert_ne!(place.read("mirrors.yaml"), old);
    let opens = |text: &str, secret: &str| {
        place.write("copy.yaml", text);
        place.run("decrypt copy.yaml").env(KEY.0, KEY.1).reveals().ok().contains(secret)
    };
    let mut ended = [0, 0];
    for point in 0..=POINTS {
        place.write("mirrors.yaml", &old);
        let mut child = start();
        std::thread::sleep(whole * point / POINTS);
        let _ = child.kill();
        child.wait().unwrap();
        // Killed before anything was written, the command leaves an empty folder.
        let files = |folder: std::fs::DirEntry| std::fs::read_dir(folder.path()).map_or(0, Iterator::count);
        let left = || {
            let folders = std::fs::read_dir(place.path("run")).unwrap();
            folders.map(|folder| files(folder.unwrap())).sum::<usize>()
        };
        let until = Instant::now() + Duration::from_secs(30);
        while left() > 0 {
            assert!(Instant::now() < until, "point {point}: plaintext is left");
            std::thread::sleep(Duration::from_millis(20));
        }
        let now = place.read("mirrors.yaml");
        let is_new = now != old;
        assert!(opens(&now, if is_new { "s3cr3t-9" } else { "s3cr3t-0" }), "point {point}: {now}");
        ended[usize::from(is_new)] += 1;
    }
    assert!(ended[0] > 0, "{ended:?}");
    for file in place.files() {
        let text = place.read(&file);
        assert!(file == "editor.sh" || !text.contains("s3cr3t-"), "{file}: {text}");
    }
}

/// Puts the inventory into a git repository.
fn commit(place: &Place) {
    for args in [&["init", "-q"][..], &["add", "mirrors.yaml"], &["commit", "-qm", "x"]] {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(place.path("."))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn seal_shows_what_changed_and_commands_refuse_until_then() {
    let place = place(1);
    place.run("encrypt --in-place mirrors.yaml").ok();
    commit(&place);
    let old = place.read("mirrors.yaml");
    // The url of another host beside the sealed password: sops would not notice a key that is renamed.
    place.write("mirrors.yaml", old.replace("https://h.example", "https://evil.example"));
    let refused = place.run("generate").env(KEY.0, KEY.1).ends(4);
    assert!(refused.stderr.contains("talmirror seal"), "{refused}");
    let warned = place.run("validate").env(KEY.0, KEY.1).ends(0);
    assert!(warned.stderr.contains("W238"), "{warned}");
    let shown = place.run("seal mirrors.yaml").env(KEY.0, KEY.1).ends(2);
    assert!(
        shown.stderr.contains("- mirror: https://h.example")
            && shown.stderr.contains("+ mirror: https://evil.example"),
        "{shown}"
    );
    place.run("seal --yes mirrors.yaml").env(KEY.0, KEY.1).ok();
    place.run("generate").env(KEY.0, KEY.1).reveals().ok();
    assert!(place.run("seal mirrors.yaml").env(KEY.0, KEY.1).ends(0).stderr.contains("nothing was changed"));
    // A secret in clear is refused before anything of the file is shown.
    let text = place.read("mirrors.yaml");
    place.write("mirrors.yaml", text.replacen("registries:", "identityToken: s3cr3t-clear\nregistries:", 1));
    let ran = place.run("seal --yes mirrors.yaml").env(KEY.0, KEY.1).ends(4);
    assert!(!ran.stderr.contains("from line"), "{ran}");
    // A value that was moved is never sealed again.
    place.write("mirrors.yaml", text.replacen("password:", "identityToken:", 1));
    let ran = place.run("seal --yes mirrors.yaml").env(KEY.0, KEY.1).ends(4);
    assert!(ran.stderr.contains("cannot be moved"), "{ran}");
}

/// What git has in clear text is not shown in the name of a comparison.
#[test]
fn seal_does_not_show_the_plaintext_that_git_has() {
    let place = place(1);
    let plain = place.read("mirrors.yaml");
    place.run("encrypt --in-place mirrors.yaml").ok();
    let sealed = place.read("mirrors.yaml");
    // In clear throughout, and in clear in one place.
    let gap = sealed.replacen(
        "username: u0, password: \"ENC[",
        "username: u0, auth: s3cr3t-gap, password: \"ENC[",
        1,
    );
    assert_ne!(gap, sealed);
    for committed in [plain, gap] {
        let place = self::place(1);
        place.write("mirrors.yaml", committed);
        commit(&place);
        place.write("mirrors.yaml", sealed.replace("https://h.example", "https://evil.example"));
        let shown = place.run("seal mirrors.yaml").env(KEY.0, KEY.1).ends(2);
        assert!(shown.stderr.contains("that git has holds secrets in clear text"), "{shown}");
    }
}

#[test]
fn encrypt_without_a_rule_seals_every_value_of_what_is_not_ours() {
    let place = place(1);
    place.write(".sops.yaml", format!("creation_rules:\n  - age: {ALICE}\n"));
    place
        .write(
            "secrets.yaml",
            "cluster: {id: x, secret: s3cr3t-1}\n"
                .replace("{id: x, secret: s3cr3t-1}", "\n  secret: s3cr3t-1")
                + "secrets:\n  bootstraptoken: s3cr3t-2\ntrustdinfo:\n  token: s3cr3t-3\n",
        )
        .write("talosconfig", "context: a\ncontexts:\n  a:\n    key: s3cr3t-4\n")
        .write("secret.yaml", "kind: Secret\ndata:\n  a: s3cr3t-5\n");
    for file in ["secrets.yaml", "talosconfig", "secret.yaml"] {
        let sealed = place.args(&["encrypt", "--age", ALICE, file]).ok();
        assert!(!sealed.contains("s3cr3t"), "{sealed}");
        // A rule with a gap is refused, whatever the file is.
        place.args(&["encrypt", "--age", ALICE, "--encrypted-regex", "^nothing$", file]).ends(23);
    }
}

/// sops stores 0123 as 83 and 1.10 as 1.1: a secret is refused, anything else is named, whichever command writes it.
#[test]
fn numbers_that_sops_changes_are_told_by_every_command() {
    let place = place(1);
    place.write(".sops.yaml", format!("creation_rules:\n  - age: {ALICE}\n"));
    place.write("plain.yaml", "password: 0123\n");
    let refused = place.run("encrypt --allow-plaintext plain.yaml").ran();
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused}");
    // What the flag is for: a secret that the rule leaves out.
    place.write("gap.yaml", "password: x\nother: y\n");
    let gap = ["encrypt", "--encrypted-regex", "^other$", "gap.yaml"];
    place.args(&gap).ends(23);
    let clear = place.args(&[&gap[..], &["--allow-plaintext"]].concat()).ok();
    assert!(clear.contains("password: x\n"), "{clear}");

    place.write("values.yaml", "name: x\nversion: '1'\n");
    place.run("encrypt --in-place values.yaml").ok();
    let sealed = place.read("values.yaml");
    let update =
        place.run("encrypt --update values.yaml").env(KEY.0, KEY.1).stdin("name: x\nversion: 1.10\n");
    let told = update.ends(0);
    assert!(told.stderr.contains("sops stores [\"version\"] (line 2) in another form"), "{told}");
    place.write("values.yaml", sealed);
    place.write("editor.sh", "sed -i 's/version: .*/version: 1.10/' \"$1\"\n");
    let editor = format!("sh {}", place.path("editor.sh").display());
    let told = place.run("edit values.yaml").env(KEY.0, KEY.1).env("EDITOR", editor).ends(0);
    assert!(told.stderr.contains("sops stores [\"version\"] (line 2) in another form"), "{told}");
}

/// The editor runs in a folder of its own; its path is one from where the command was given.
#[cfg(unix)]
#[test]
fn the_editors_path_is_from_here() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = place(1);
    place.write("values.yaml", "name: x\n");
    place.run("encrypt --in-place values.yaml").ok();
    place.write("ed.sh", "#!/bin/sh\nsed -i 's/name: .*/name: other/' \"$1\"\n");
    std::fs::set_permissions(place.path("ed.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.run("edit values.yaml").env(KEY.0, KEY.1).env("EDITOR", "./ed.sh").ok();
    assert!(place.run("decrypt values.yaml").env(KEY.0, KEY.1).reveals().ok().contains("name: other"));
}

#[test]
fn what_is_written_again_has_a_name() {
    let place = place(1);
    let before = place.files();
    for command in
        ["seal -", "rekey -", "rekey mirrors.yaml -", "edit -", "encrypt --in-place -", "encrypt --update -"]
    {
        let ran = place.run(command).stdin("a: b\n").ends(2);
        assert!(ran.stderr.contains("name a file"), "{command}: {ran}");
    }
    let key = place.run("keygen -o -").ok();
    assert!(key.contains("AGE-SECRET-KEY-1"), "{key}");
    assert_eq!(place.files(), before);
    let there = place.run("keygen -o keys.txt").ends(9);
    assert!(there.stderr.contains("name another"), "{there}");
    for flag in ["--age x", "--encrypted-regex x", "--mac-only-encrypted", "--allow-plaintext"] {
        let ran = place.run(&format!("encrypt --update {flag} mirrors.yaml")).stdin("a: b\n").ends(2);
        assert!(ran.stderr.contains("cannot be used with"), "{flag}: {ran}");
    }
}

#[test]
fn an_update_follows_the_file_whatever_variables_are_set_for_other_commands() {
    let place = place(1);
    place.write("values.yaml", "password: s3cr3t-one\n");
    place.run("encrypt --in-place values.yaml").ok();
    for flags in ["--update", "--in-place --update"] {
        let ran = place
            .run(&format!("encrypt {flags} values.yaml"))
            .env(KEY.0, KEY.1)
            .env("TALMIRROR_AGE", "age1other")
            .env("TALMIRROR_ALLOW_PLAINTEXT", "0")
            .stdin("password: s3cr3t-two\n");
        let ran = ran.ends(0);
        assert!(ran.stderr.contains("values.yaml"), "{ran}");
    }
}

#[test]
fn every_secret_of_registries_is_sealed_where_no_rule_says_what() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "mirror: https://h.example\nkind: harbor\ncredentials: {auth: czNjcjN0OnMzY3IzdC1h}\nregistries: [ghcr.io]\n",
    );
    let sealed = place.args(&["encrypt", "--age", ALICE, "mirrors.yaml"]).ok();
    assert!(sealed.contains("auth: \"ENC[") || sealed.contains("auth: ENC["), "{sealed}");
    place.write(".sops.yaml", format!("creation_rules:\n  - encrypted_regex: {RULE}\n    age: {ALICE}\n"));
    let warned = place.run("validate").ends(0);
    assert!(warned.stderr.contains("W218") && warned.stderr.contains("leaves auth in clear"), "{warned}");
}

#[test]
fn the_key_file_of_the_flag_is_tried_first() {
    let place = place(1);
    place.run("encrypt --in-place mirrors.yaml").ok();
    let ran = place.run("decrypt --age-key-file second.txt mirrors.yaml").env(KEY.0, "second.txt").ran();
    let at = |text: &str| ran.stderr.find(text).unwrap_or_else(|| panic!("{text}: {ran}"));
    assert!(ran.code == 128 && at("second.txt,") < at("second.txt (SOPS_AGE_KEY_FILE)"), "{ran}");
}
