//! The module against files that SOPS wrote (`tests/vectors/sops`), and against itself.
use std::path::PathBuf;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::yaml::{self, Indent, emit, emit_stream};

mod changed;
/// What real SOPS makes of our files, and we of its: `SOPS_ORACLES=sops-3.9.4:sops-3.13.3 cargo test -- --ignored`.
mod oracle;
mod post_quantum;
mod random;
mod refuse;
mod rewrite;
#[cfg(unix)]
mod rops;

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
fn other_files_are_told_apart() {
    assert!(matches!(Encrypted::parse("a: 1\n"), Err(SopsError::NotEncrypted)));
    assert!(matches!(Encrypted::parse("a:\n  - ENC[AGE,data:x]\n"), Err(SopsError::Talm(Some(_)))));
    assert!(looks_encrypted(&vector("v3.9.4/full.yaml")) && !looks_encrypted("a: 1"));
    assert!(is_encrypted(&yaml::parse(&vector("v3.9.4/full.yaml")).unwrap()));
}
