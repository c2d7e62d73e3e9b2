//! The module against files that SOPS wrote (`tests/vectors/sops`), and against itself.
use std::path::PathBuf;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::yaml::{self, Indent, emit, emit_stream};

const REGISTRY: &str = "^(password|auth|identityToken|key)$";
const ALICE: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sops")
}

fn vector(name: &str) -> String {
    std::fs::read_to_string(vectors().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn every_vector() -> Vec<String> {
    let mut names = Vec::new();
    for version in ["v3.9.4", "v3.12.2", "v3.13.1", "v3.13.3"] {
        for file in std::fs::read_dir(vectors().join(version)).unwrap() {
            names.push(format!("{version}/{}", file.unwrap().file_name().to_string_lossy()));
        }
    }
    names.sort();
    names
}

fn alice() -> Identities {
    let mut identities = Identities::default();
    identities.add(&vector("keys.txt"), "keys.txt");
    identities
}

fn bob() -> (Identities, Recipient) {
    let mut identities = Identities::default();
    identities.add(&vector("keys-second.txt"), "keys-second.txt");
    let recipient = identities.names()[0].parse().unwrap();
    (identities, recipient)
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Bytes that count up, so that no nonce comes twice.
fn counter() -> impl FnMut(&mut [u8]) {
    let mut next = 0u64;
    move |bytes| {
        bytes.fill(0);
        next += 1;
        bytes[..8].copy_from_slice(&next.to_le_bytes());
    }
}

fn settings(rule: &str) -> Settings {
    Settings::new(Rule::encrypted_regex(rule).unwrap(), vec![ALICE.parse().unwrap()])
}

fn sealed(plaintext: &str, rule: &str) -> String {
    encrypt(plaintext, &settings(rule), now(), &mut counter())
        .unwrap_or_else(|error| panic!("{error}\n{plaintext}"))
}

fn opened(text: &str) -> String {
    let file = Encrypted::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plaintext = file.open(&alice()).unwrap_or_else(|error| panic!("{error}\n{text}")).plaintext();
    plaintext.expose().clone()
}

fn trees(text: &str) -> Vec<Json> {
    yaml::parse(text).unwrap().documents.iter().map(|document| document.root.to_json()).collect()
}

/// The lines that two texts do not share, by their trimmed beginning up to the first `ENC[` or blank behind the key.
fn changed(old: &str, new: &str) -> Vec<String> {
    assert_eq!(old.lines().count(), new.lines().count(), "{old}\n{new}");
    let pairs = old.lines().zip(new.lines()).filter(|(old, new)| old != new);
    pairs.map(|(_, new)| new.trim().split(": ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_vector_decrypts_to_what_was_encrypted() {
    let names = every_vector();
    assert!(names.len() >= 30, "{names:?}");
    for name in names {
        let plain = match name.split('/').nth(1).unwrap() {
            "full.yaml" => "comments.yaml",
            "ssh-recipient.yaml" => "v1alpha1.yaml",
            other if other.starts_with("v1alpha1") => "v1alpha1.yaml",
            other => other,
        };
        let (got, want) = (opened(&vector(&name)), vector(&format!("plain/{plain}")));
        // SOPS writes a date in full.
        let want = if name.contains("scalars") {
            want.replace("date: 2024-01-02", "date: 2024-01-02T00:00:00Z")
        } else {
            want
        };
        assert_eq!(trees(&got), trees(&want), "{name}\n{got}");
        let comments = |text: &str| {
            let mut all: Vec<String> = yaml::parse(text)
                .unwrap()
                .documents
                .iter()
                .flat_map(|d| d.comments.clone())
                .map(|c| c.text)
                .collect();
            all.sort();
            all
        };
        assert_eq!(comments(&got), comments(&want), "{name}\n{got}");
        assert!(!got.contains("ENC["), "{name}\n{got}");
        assert!(sealed_values(&yaml::parse(&got).unwrap()).is_empty());
    }
}

#[test]
fn a_second_recipient_and_an_ssh_key_open_too() {
    let (bob, _) = bob();
    assert!(Encrypted::parse(&vector("v3.13.3/multidoc.yaml")).unwrap().open(&alice()).is_ok());
    let file = vector("v3.13.3/v1alpha1.regex.yaml");
    assert!(Encrypted::parse(&file).unwrap().open(&bob).is_ok());
    let mut ssh = Identities::default();
    ssh.add_ssh(&vector("id_ed25519_fixture"), "id_ed25519_fixture");
    let file = Encrypted::parse(&vector("v3.13.3/ssh-recipient.yaml")).unwrap();
    assert!(file.open(&ssh).is_ok());
    assert!(file.open(&bob).is_err());
}

#[test]
fn a_split_key_needs_enough_groups() {
    let file = Encrypted::parse(&vector("other/key-groups.yaml")).unwrap();
    // The first key opens the first and the third group.
    let open = file.open(&alice()).unwrap();
    assert_eq!(open.plaintext().expose(), "name: zot:5000\npassword: pw-A\n");
    assert!(open.rotate(now(), &mut counter()).is_err());
    let again = open.reencrypt("name: zot:5000\npassword: new\n", now(), &mut counter()).unwrap().unwrap();
    assert_eq!(changed(file.text(), &again), ["password", "lastmodified", "mac"]);
    let error = file.open(&bob().0).unwrap_err();
    assert!(error.to_string().contains("1 of the 2 groups needed could be opened"), "{error}");
}

#[test]
fn only_what_changed_changes() {
    for name in every_vector() {
        let text = vector(&name);
        let file = Encrypted::parse(&text).unwrap();
        let open = file.open(&alice()).unwrap();
        let plain = open.plaintext();
        assert_eq!(open.reencrypt(plain.expose(), now(), &mut counter()).unwrap(), None, "{name}");
        let (old, new) =
            [("s3cr3t-A", "changed"), ("pw-B", "changed"), ("a: one", "a: two"), ("line1", "line9")]
                .into_iter()
                .find(|(old, _)| plain.expose().contains(old))
                .unwrap();
        let edited = plain.expose().replace(old, new);
        let again = open.reencrypt(&edited, now(), &mut counter()).unwrap().unwrap();
        let documents = trees(&edited).len();
        let want: Vec<&str> = match old {
            "a: one" => vec!["a"],
            "line1" => vec!["ml"],
            _ => vec!["password"],
        };
        let count = |word: &str| changed(&text, &again).iter().filter(|line| *line == word).count();
        assert_eq!((count("mac"), count("lastmodified")), (documents, documents), "{name}");
        let mut rest = changed(&text, &again);
        rest.retain(|line| line != "mac" && line != "lastmodified");
        assert_eq!(rest, want, "{name}\n{again}");
        assert_eq!(trees(&opened(&again)), trees(&edited), "{name}");
    }
}

#[test]
fn layout_alone_is_no_change() {
    let text = sealed("a:\n    password: x\n    b: [1, 2]\n", REGISTRY);
    let file = Encrypted::parse(&text).unwrap();
    let open = file.open(&alice()).unwrap();
    let same = "a:\n  password: 'x'\n  b:\n  - 1\n  - 2\n";
    assert_eq!(open.reencrypt(same, now(), &mut counter()).unwrap(), None);
    for other in [
        "a:\n  b: [1, 2]\n  password: x\n",
        "a:\n  password: x\n  b: [1, '2']\n",
        "# c\na:\n  password: x\n  b: [1, 2]\n",
    ] {
        assert!(open.reencrypt(other, now(), &mut counter()).unwrap().is_some(), "{other}");
    }
}

#[test]
fn the_users_text_survives() {
    let plain = "\
# head
---
machine:   # inline
  registries:
    config:
      'zot.example.com:5000':   {auth: {username: u, password: \"p:w\"}}
      a:
        tls:
          clientIdentity:
            crt: |
              CERT
            key: |
              -----BEGIN KEY-----
              abc

              -----END KEY-----

        auth: {} # nothing
  # tail
list:
- a
# between
- password: x   # inline
  empty: ''
  password_unused:
...
";
    let text = sealed(plain, "^(password|key)$");
    assert!(!text.contains("BEGIN KEY") && !text.contains("p:w"), "{text}");
    let again = opened(&text);
    assert_eq!(trees(&again), trees(plain));
    // Only the block scalar is indented by another step.
    let dedent = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(dedent(&again), dedent(plain));
    assert!(text.ends_with("    version: 3.9.4\n...\n"), "{text}");
}

#[test]
fn windows_line_breaks_survive() {
    let plain = "# c\r\na: 1 # i\r\npassword: x # j\r\nb: |\r\n  l1\r\n  l2\r\n";
    for rule in [Rule::default(), Rule::encrypted_regex("^password$").unwrap()] {
        let text = encrypt(plain, &Settings { rule, ..settings("x") }, now(), &mut counter()).unwrap();
        assert_eq!(trees(&opened(&text)), trees(plain), "{text}");
        assert_eq!(yaml::parse(&opened(&text)).unwrap().documents[0].comments[0].text, " c");
    }
    assert!(opened(&sealed(plain, "^password$")).starts_with(&plain[..30]));
}

/// A generated machine config of some 700 lines, most of them comments.
fn machine_config() -> String {
    let mut text = String::from("version: v1alpha1\nmachine:\n");
    for i in 0..115 {
        text.push_str(&format!("    # What section {i} is for.\n    # It has defaults.\n    section{i}:\n        key: secret-{i}\n        list:\n            - a{i} # inline\n"));
    }
    text
}

#[test]
#[ignore = "measures; run it with --release"]
fn a_machine_config_takes_milliseconds() {
    let text = sealed(&machine_config(), "^key$");
    let (alice, mut best) = (alice(), std::time::Duration::MAX);
    for _ in 0..20 {
        let start = std::time::Instant::now();
        let file = Encrypted::parse(&text).unwrap();
        let open = file.open(&alice).unwrap();
        let plain = open.plaintext().expose().replace("secret-9\n", "other\n");
        let new = open.reencrypt(&plain, now(), &mut counter()).unwrap().unwrap();
        best = best.min(start.elapsed());
        assert_eq!(changed(&text, &new), ["key", "mac"]);
    }
    println!("decrypt, change and encrypt {} lines: {best:?}", text.lines().count());
}

#[test]
fn our_layout_is_that_of_sops() {
    // What `sops encrypt` made of the same text, ciphertext and key left out.
    let mask = |text: &str| {
        let armored =
            regex::Regex::new(r"(?s)-----BEGIN.*?-----END").unwrap().replace_all(text, "ARMOR").into_owned();
        let sealed = regex::Regex::new(r"data:[^,]*,iv:[^,]*,tag:[^,]*")
            .unwrap()
            .replace_all(&armored, "X")
            .into_owned();
        let timed = regex::Regex::new("2026-[^\"]*").unwrap().replace_all(&sealed, "TIME").into_owned();
        timed.replace("3.13.3", "3.9.4")
    };
    for (name, plain, rule, scope) in [
        ("multidoc", "multidoc", REGISTRY, MacScope::All),
        ("v1alpha1.moe", "v1alpha1", "^(password|identityToken|key)$", MacScope::Encrypted),
    ] {
        let settings = Settings { mac_scope: scope, ..settings(rule) };
        let ours =
            encrypt(&vector(&format!("plain/{plain}.yaml")), &settings, now(), &mut counter()).unwrap();
        assert_eq!(mask(&ours), mask(&vector(&format!("v3.13.3/{name}.yaml"))), "{name}");
    }
}

#[test]
fn json_of_sops_is_read_and_rewritten() {
    let text = vector("other/patch.json");
    let file = Encrypted::parse(&text).unwrap();
    let open = file.open(&alice()).unwrap();
    let plain = open.plaintext();
    assert_eq!(
        serde_json::from_str::<Json>(plain.expose()).unwrap(),
        json!({"name": "zot:5000", "a": {"password": "pw-A", "n": 1}, "l": ["x"]})
    );
    assert_eq!(open.reencrypt(plain.expose(), now(), &mut counter()).unwrap(), None);
    let new = open.set(
        0,
        &"[\"a\"][\"password\"]".parse().unwrap(),
        &Value::string("a\"b\n"),
        now(),
        &mut counter(),
    );
    let new = new.unwrap().unwrap();
    assert_eq!(changed(&text, &new), ["\"password\"", "\"lastmodified\"", "\"mac\""]);
    assert_eq!(serde_json::from_str::<Json>(&opened(&new)).unwrap()["a"]["password"], "a\"b\n");
}

#[test]
fn json_is_read_and_rewritten() {
    let text = sealed("a:\n    password: x\n    n: 1\n", REGISTRY);
    let tree = trees(&text).remove(0);
    let json = serde_json::to_string_pretty(&tree).unwrap();
    assert_eq!(trees(&opened(&json)), [json!({"a": {"password": "x", "n": 1}})]);
    let file = Encrypted::parse(&json).unwrap();
    let open = file.open(&alice()).unwrap();
    let plain = open.plaintext();
    let again =
        open.reencrypt(&plain.expose().replace("\"x\"", "\"y\""), now(), &mut counter()).unwrap().unwrap();
    assert!(serde_json::from_str::<Json>(&again).is_ok(), "{again}");
    assert_eq!(changed(&json, &again), ["\"password\"", "\"mac\""]);
}

#[test]
fn set_changes_one_value() {
    let text = vector("v3.13.3/multidoc.yaml");
    let file = Encrypted::parse(&text).unwrap();
    let open = file.open(&alice()).unwrap();
    let set = |document, path: &str, value: Value| {
        open.set(document, &path.parse().unwrap(), &value, now(), &mut counter())
            .map_err(|error| error.to_string())
    };
    assert_eq!(set(1, "[\"password\"]", Value::string("pw-B")), Ok(None));
    let new = set(1, "[\"password\"]", Value::string("x\ny: #")).unwrap().unwrap();
    assert_eq!(changed(&text, &new), ["lastmodified", "mac", "password", "lastmodified", "mac"]);
    assert_eq!(trees(&opened(&new))[1]["password"], "x\ny: #");
    let new = set(0, "[\"username\"]", Value::string("l1\nl2")).unwrap().unwrap();
    assert!(new.contains("username: |-\n    l1\n    l2\npassword: ENC["), "{new}");
    let new = set(0, "[\"identityToken\"]", Value::string("t")).unwrap().unwrap();
    assert!(new.contains("\nidentityToken: ENC[") && trees(&opened(&new))[0]["identityToken"] == "t");
    assert_eq!(set(0, "[\"a\"][\"b\"]", Value::int(1)), Err("there is nothing at [\"a\"][\"b\"]".into()));
    assert_eq!(set(0, "", Value::int(1)), Err("is a mapping or a list at line 1, column 1".into()));
    assert_eq!(open.extract(0, &"[\"password\"]".parse().unwrap()).unwrap().expose(), "pw-A");
    assert_eq!(open.extract(0, &"[\"x\"]".parse().unwrap()).unwrap_err().exit_code(), 91);
}

#[test]
fn an_encrypted_patch_is_a_map() {
    let text = sealed("patch:\n    - op: add\n      path: /a\n      value: {password: x}\n", REGISTRY);
    let file = Encrypted::parse(&text).unwrap();
    let patch = file.open(&alice()).unwrap().extract(0, &"[\"patch\"]".parse().unwrap()).unwrap();
    assert_eq!(patch.expose(), "- op: add\n  path: /a\n  value:\n    password: x\n");
}

#[test]
fn recipients_come_and_go() {
    let (bob_key, bob) = bob();
    let alice_name: Recipient = ALICE.parse().unwrap();
    for name in ["v3.9.4/multidoc.yaml", "v3.13.3/v1alpha1.moe.yaml"] {
        let text = vector(name);
        let file = Encrypted::parse(&text).unwrap();
        let only: Vec<Recipient> = file.recipients().iter().map(|r| r.parse().unwrap()).collect();
        let open = file.open(&alice()).unwrap();
        assert_eq!(open.rekey(&only, now(), &mut counter()).unwrap(), None);
        let both = open.rekey(&[bob.clone(), alice_name.clone()], now(), &mut counter()).unwrap();
        let Some(both) = both else { continue };
        assert_eq!(both.change, KeyChange::Wrapped { added: vec![bob.to_string()] });
        // Lines are only added.
        let mut kept = both.text.lines();
        assert!(text.lines().all(|line| kept.any(|other| other == line)), "{}", both.text);
        let file = Encrypted::parse(&both.text).unwrap();
        assert_eq!(trees(file.open(&bob_key).unwrap().plaintext().expose()), trees(&opened(&text)));

        let open = file.open(&bob_key).unwrap();
        let rotated = open.rekey(std::slice::from_ref(&bob), now(), &mut counter()).unwrap().unwrap();
        assert_eq!(rotated.change, KeyChange::Rotated { added: vec![], removed: vec![ALICE.to_owned()] });
        let file = Encrypted::parse(&rotated.text).unwrap();
        assert_eq!(file.open(&alice()).unwrap_err().exit_code(), 128);
        assert_eq!(trees(file.open(&bob_key).unwrap().plaintext().expose()), trees(&opened(&text)));
        let tokens = |text: &str| {
            text.lines()
                .filter(|l| l.contains("ENC["))
                .map(str::to_owned)
                .collect::<std::collections::HashSet<_>>()
        };
        assert!(tokens(&rotated.text).is_disjoint(&tokens(&text)));
    }
    // Lists with sealed comments can be rotated too.
    let file = Encrypted::parse(&vector("v3.13.3/full.yaml")).unwrap();
    let rotated = file.open(&alice()).unwrap().rotate(now(), &mut counter()).unwrap();
    assert_eq!(opened(&rotated), opened(&vector("v3.13.3/full.yaml")));
}

#[test]
fn what_is_not_ours_stays() {
    let text = sealed("password: x\n", REGISTRY);
    let foreign = "    pgp:\n        - created_at: \"2026-01-01T00:00:00Z\"\n          enc: |-\n            -----BEGIN PGP MESSAGE-----\n          fp: ABCD # whose\n    version";
    let text = text.replace("    version", foreign);
    let file = Encrypted::parse(&text).unwrap();
    assert_eq!(file.recipients(), [ALICE, "pgp ABCD"]);
    let open = file.open(&alice()).unwrap();
    let new = open.reencrypt("password: y\n", now(), &mut counter()).unwrap().unwrap();
    assert_eq!(changed(&text, &new), ["password", "mac"]);
    assert!(open.rekey(&[bob().1], now(), &mut counter()).unwrap_err().to_string().contains("pgp ABCD"));
    assert!(
        open.rekey(&[ALICE.parse().unwrap(), bob().1], now(), &mut counter())
            .unwrap()
            .unwrap()
            .text
            .contains(foreign)
    );
}

#[test]
fn tampering_is_told_as_sops_tells_it() {
    let plain = "\
mirrors:
    docker.io:
        endpoints:
            - https://a
            - https://b
        port: 65535
        on: true
    ghcr.io: 1
config:
    one:
        password: secret-1
        username: u1
    two:
        password: secret-2
        username: u2
";
    let text = sealed(plain, "^password$");
    let token = |of: usize| {
        text.lines().filter_map(|line| line.trim().strip_prefix("password: ")).nth(of).unwrap().to_owned()
    };
    let (first, second) = (token(0), token(1));
    let try_open = |text: &str| match Encrypted::parse(text).and_then(|file| file.open(&alice()).map(|_| ()))
    {
        Ok(()) => 0,
        Err(error) => error.exit_code(),
    };
    let swap = |a: &str, b: &str| text.replace(a, "\u{1}").replace(b, a).replace('\u{1}', b);
    for (what, edited, want) in [
        ("nothing", text.clone(), 0),
        (
            "a flipped ciphertext",
            text.replace(&first, &first.replacen("data:", "data:A", 1).replacen("A=", "=", 1)),
            25,
        ),
        ("two secrets swapped", swap(&first, &second), 25),
        ("a secret's ancestor renamed", text.replace("    one:", "    three:"), 25),
        ("a clear value changed", text.replace("https://a", "https://c"), 51),
        ("a clear value deleted", text.replace("        username: u1\n", ""), 51),
        ("clear values reordered", swap("https://a", "https://b"), 51),
        ("a secret blanked", text.replace(&first, "\"\""), 51),
        ("plaintext in place of a secret", text.replace(&first, "hunter2"), 25),
        ("a number in place of a secret", text.replace(&first, "5"), 25),
        ("lastmodified edited", text.replace("12:00:00Z", "12:00:01Z"), 51),
        (
            "mac_only_encrypted injected",
            text.replace("    version", "    mac_only_encrypted: true\n    version"),
            51,
        ),
        ("the MAC gone", text.replacen("    mac: ", "    no_mac: ", 1), 51),
        // What SOPS does not authenticate.
        ("a clear key renamed", text.replace("ghcr.io", "quay.io"), 0),
        ("two clear keys swapped", swap("docker.io", "ghcr.io"), 0),
        (
            "a type changed",
            text.replace("ghcr.io: 1", "ghcr.io: \"1\"").replace("on: true", "on: \"True\""),
            0,
        ),
        ("nulls and empties added", format!("n: null\ne: {{}}\nl: []\ns: \"\"\n{text}"), 0),
        ("one value split", text.replace("port: 65535", "port: 655\n        more: 35"), 0),
        ("a comment added", format!("# hello\n{text}"), 0),
        (
            "the rule widened",
            text.replace("encrypted_regex: ^password$", "encrypted_regex: ^(password|x)$"),
            0,
        ),
        ("metadata added", text.replace("    version", "    note: x\n    version"), 0),
        ("junk behind a token", text.replace(&first, &format!("{first}junk")), 0),
        ("another notation of the time", text.replace("12:00:00Z", "12:00:00.5+00:00"), 0),
    ] {
        assert!(what == "nothing" || edited != text, "{what}");
        assert_eq!(try_open(&edited), want, "{what}\n{edited}");
    }
}

#[test]
fn a_missing_key_is_explained() {
    let file = Encrypted::parse(&vector("v3.13.3/v1alpha1.moe.yaml")).unwrap();
    let (mut bob, recipient) = bob();
    bob.missed("SOPS_AGE_KEY", None);
    let error = file.open(&bob).unwrap_err();
    assert_eq!(error.exit_code(), 128);
    assert_eq!(
        error.to_string(),
        format!(
            "none of the keys at hand opens the file: it is for {ALICE}; found {recipient}; looked in keys-second.txt, SOPS_AGE_KEY"
        )
    );
    let none = file.open(&Identities::default()).unwrap_err().to_string();
    assert!(none.ends_with("found nothing; looked in nothing"), "{none}");
}

#[test]
fn what_sops_cannot_keep_is_refused() {
    let refuse = |plain: &str| encrypt(plain, &settings("^password$"), now(), &mut counter()).unwrap_err();
    for (plain, want, code) in [
        ("", "the text is empty", 23),
        ("- op: add\n", "the document is a list at line 1, column 1", 23),
        ("a: 1\n---\n# nothing\n---\nb: 2\n", "the document is no mapping at line 2, column 4", 23),
        ("{a: 1}\n", "the document is written as `{…}`", 23),
        ("sops: 1\n", "the key `sops` is taken by SOPS itself at line 1, column 1", 23),
        ("sops: {mac: x}\n", "the text is encrypted already at line 1, column 1", 203),
        (
            "a: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n",
            "the text is encrypted already at line 1, column 4",
            203,
        ),
        (
            "a: ENC[AGE,data:x]\n",
            "the file is encrypted by talm, in a format of its own (`ENC[AGE,…]`) at line 1, column 4",
            1,
        ),
        ("a: &x 1\nb: *x\n", "[\"b\"] is an alias or comes from a merge key at line 2, column 4", 23),
        (
            "a: &x {k: 1}\nb:\n    <<: *x\n",
            "[\"b\"][\"k\"] is an alias or comes from a merge key at line 1, column 11",
            23,
        ),
        ("a:\n    5000: x\n", "[\"a\"] has a key that is no string: `5000` at line 2, column 5", 23),
        ("2024-01-02: x\n", "has a key that is no string: `2024-01-02` at line 1, column 1", 23),
        ("a: 9223372036854775808\n", "[\"a\"] is a number above 9223372036854775807 at line 1, column 4", 23),
        ("a: !!binary eA==\n", "[\"a\"] has a tag that SOPS drops at line 1, column 13", 23),
        ("password: !!int 5\n", "[\"password\"] has a tag that SOPS drops at line 1, column 17", 23),
        (
            "a: 2024-01-02\n",
            "[\"a\"] is a date without quotes, which sops before 3.10 cannot read at line 1, column 4",
            23,
        ),
        ("a: -0.0\n", "[\"a\"] is -0.0, which sops writes as 0 at line 1, column 4", 23),
        ("a: \"x\\L\"\n", "[\"a\"] contains U+2028 or U+2029, which sops damages at line 1, column 4", 23),
        (
            "a: [\"\\nx\"]\n",
            "[\"a\"][0] is a list item that begins with a line break, which sops damages at line 1, column 5",
            23,
        ),
        (
            "password:\n    # why\n    - x\n",
            "[\"password\"] has a comment in a list that is encrypted, which sops 3.13.2 cannot read at line 2, column 5",
            23,
        ),
        ("a: [\n", "the text is no YAML that can be read", 2),
    ] {
        let error = refuse(plain);
        assert_eq!((error.to_string().as_str(), error.exit_code()), (want, code), "{plain}");
        assert!(plain == "a: [\n" || error.help().is_some(), "{plain}");
    }
    let mut two = settings("x");
    two.recipients.push(ALICE.parse().unwrap());
    assert!(
        encrypt("a: 1\n", &two, now(), &mut counter()).unwrap_err().to_string().ends_with("is given twice")
    );
    two.recipients.clear();
    assert_eq!(
        encrypt("a: 1\n", &two, now(), &mut counter()).unwrap_err().to_string(),
        "there is no recipient"
    );
    let loose = Settings { mac_scope: MacScope::Encrypted, ..settings("x") };
    assert!(encrypt("a: 1\n---\nb: 1\n", &loose, now(), &mut counter()).is_err());
}

#[test]
fn a_rule_with_a_gap_is_caught() {
    let plain =
        "config:\n    a:\n        auth:\n            password: x\n            identityToken: hunter2\n";
    let guarded = Settings { is_secret: Some(is_registry_secret), ..settings("^password$") };
    let error = encrypt(plain, &guarded, now(), &mut counter()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[\"config\"][\"a\"][\"auth\"][\"identityToken\"] (line 5) would be left in clear text"
    );
    assert!(Rule::encrypted_regex("^(password$").is_err());
    // A file with a rule that does not compile is not followed either.
    let text = sealed(plain, "^password$").replace("^password$", "^(password$");
    assert_eq!(Encrypted::parse(&text).unwrap_err().to_string(), "the `sops:` of the file cannot be used");
}

#[test]
fn other_files_are_told_apart() {
    assert!(matches!(Encrypted::parse("a: 1\n"), Err(SopsError::NotEncrypted)));
    assert!(matches!(Encrypted::parse("a:\n  - ENC[AGE,data:x]\n"), Err(SopsError::Talm(Some(_)))));
    assert!(looks_encrypted(&vector("v3.9.4/full.yaml")) && !looks_encrypted("a: 1"));
    assert!(is_encrypted(&yaml::parse(&vector("v3.9.4/full.yaml")).unwrap()));
}

/// What real SOPS makes of our files, and we of its: `SOPS_ORACLES=sops-3.9.4:sops-3.13.3 cargo test -- --ignored`.
mod oracle;
#[cfg(unix)]
mod rops;

/// Trees with the scalars and shapes that meet in machine configs, and some that do not.
fn tree() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        "(\\PC|[ \\n\\t:#'\"{}\\[\\],&*!|>%@`-]){0,20}",
        "[a-z0-9.:/$-]{0,12}",
        "(yes|null|012|1e3|~|2024-01-02|0x1f)"
    ];
    let leaf = prop_oneof![
        text.prop_filter("sops damages it", |text| {
            !text.starts_with('\n')
                && !text.contains(['\u{2028}', '\u{2029}', '\u{85}', '\u{feff}'])
                && !text.starts_with("ENC[")
        })
        .prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        (-1e9f64..1e9).prop_filter("sops damages it", |f| *f != 0.0).prop_map(Json::from),
        Just(Json::Null),
    ];
    let inner = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    });
    prop::collection::vec((key(), inner), 1..5).prop_map(|pairs| Json::Object(pairs.into_iter().collect()))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("password".to_owned()), "[a-z.]{1,6}(:[0-9]{1,4})?", "\\PC{1,8}"]
        .prop_filter("taken", |key| key != "sops")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(documents in prop::collection::vec(tree(), 1..3), step in 2usize..5, all in any::<bool>()) {
        let plain = emit_stream(&documents, Indent::new(step));
        let rule = if all { Rule::default() } else { Rule::encrypted_regex("^password$").unwrap() };
        let settings = Settings { rule, indent: Indent::new(step), ..settings("x") };
        let text = encrypt(&plain, &settings, now(), &mut counter());
        let text = match text {
            Ok(text) => text,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{plain}"))),
        };
        let back = opened(&text);
        prop_assert_eq!(trees(&back), documents, "{}", text);
        // Our own layout comes back to the byte.
        prop_assert_eq!(back, plain);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC|[\\n :#'\"{}\\[\\]-]){0,80}", at in 0usize..900, cut in 0usize..60) {
        let _ = Encrypted::parse(&text).map(|file| file.open(&alice()).is_ok());
        let _ = encrypt(&text, &settings("x"), now(), &mut counter());
        let mut file = vector("v3.13.3/comments.yaml");
        let start = file.floor_char_boundary(at);
        let end = file.floor_char_boundary(start + cut);
        file.replace_range(start..end, &text);
        let _ = Encrypted::parse(&file).map(|file| file.open(&alice()).is_ok());
    }
}

#[test]
fn our_emitter_and_sops_agree_on_secrets_that_are_pem_keys() {
    let tree = json!({"config": {"zot:5000": {"tls": {"clientIdentity": {"crt": "C\n", "key": "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"}}}}});
    let plain = emit(&tree, Indent::default());
    assert_eq!(opened(&sealed(&plain, REGISTRY)), plain);
}
