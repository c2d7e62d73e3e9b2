use std::io::Read;
use std::path::Path as FilePath;

use age::armor::ArmoredReader;
use sha2::Digest;

use super::*;

/// Reads a vector: its fields by name, and the age file behind the empty line.
fn parts(bytes: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    (fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), bytes[end + 2..].to_vec())
}

fn decrypt(file: &[u8], identity: &dyn age::Identity) -> Option<Vec<u8>> {
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(file)).ok()?;
    let mut out = Vec::new();
    decryptor.decrypt(std::iter::once(identity)).ok()?.read_to_end(&mut out).ok()?;
    Some(out)
}

#[test]
fn files_of_age_are_read_and_wrong_ones_refused() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/age");
    let mut opened = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("README") {
            continue;
        }
        let (fields, file) = parts(&std::fs::read(&path).unwrap());
        let field =
            |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let identities = fields.iter().filter(|(name, _)| name == "identity").map(|(_, value)| value);
        let name = path.file_name().and_then(|name| FilePath::new(name).to_str()).unwrap();
        let plain = identities.filter(|text| text.starts_with("AGE-SECRET-KEY-PQ-")).find_map(|text| {
            let identity: super::super::post_quantum::Identity = text.parse().unwrap();
            decrypt(&file, &identity)
        });
        let hash = plain
            .map(|plain| sha2::Sha256::digest(plain).iter().map(|b| format!("{b:02x}")).collect::<String>());
        if field("expect") == Some("success") {
            assert_eq!(hash.as_deref(), field("payload"), "{name}");
            opened += 1;
        } else {
            assert_eq!(hash, None, "{name}");
        }
    }
    assert!(opened >= 3);
}

fn new_key(kind: KeyKind) -> NewKey {
    let zoned: jiff::Zoned = "2026-11-17T12:15:17+01:00[+01:00]".parse().unwrap();
    new_key_pair(kind, &zoned, &mut |bytes: &mut [u8]| bytes.fill(9))
}

#[test]
fn a_key_file_reads_as_age_keygen_writes_it() {
    for (kind, prefix, length) in
        [(KeyKind::Classic, "AGE-SECRET-KEY-1", 62), (KeyKind::PostQuantum, "AGE-SECRET-KEY-PQ-1", 1959)]
    {
        let key = new_key(kind);
        assert_eq!(key.recipient.len(), length);
        let text = key.file.expose();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# created: 2026-11-17T12:15:17+01:00");
        assert_eq!(lines[1], format!("# public key: {}", key.recipient));
        assert!(lines[2].starts_with(prefix) && lines.len() == 3, "{}", lines[1]);
        let mut identities = Identities::default();
        identities.add(text, "key.txt");
        assert_eq!(identities.names(), std::slice::from_ref(&key.recipient));
        assert!(key.recipient.parse::<Recipient>().is_ok());
    }
}

#[test]
fn a_file_moves_from_a_classic_key_to_a_post_quantum_one() {
    let (old, new) = (new_key(KeyKind::Classic), new_key(KeyKind::PostQuantum));
    let open = |text: &str, key: &NewKey| -> Result<String, SopsError> {
        let mut identities = Identities::default();
        identities.add(key.file.expose(), "key.txt");
        Ok(Encrypted::parse(text)?.open(&identities)?.plaintext().expose().clone())
    };
    let recipients =
        |keys: &[&NewKey]| keys.iter().map(|key| key.recipient.parse().unwrap()).collect::<Vec<Recipient>>();
    let plain = "user: u\npassword: hunter2\n";
    let rule = Rule::encrypted_regex("^password$").unwrap();
    let settings = Settings::new(rule, recipients(&[&old]));
    let first = encrypt(plain, &settings, now(), &mut counter()).unwrap();
    let rekey = |text: &str, key: &NewKey, to: &[&NewKey]| {
        let mut identities = Identities::default();
        identities.add(key.file.expose(), "key.txt");
        let file = Encrypted::parse(text).unwrap();
        let opened = file.open(&identities).unwrap();
        opened.rekey(&recipients(to), now(), &mut counter()).unwrap().unwrap().text
    };
    let both = rekey(&first, &old, &[&old, &new]);
    assert_eq!(open(&both, &old).unwrap(), plain);
    assert_eq!(open(&both, &new).unwrap(), plain);
    let last = rekey(&both, &new, &[&new]);
    assert_eq!(open(&last, &new).unwrap(), plain);
    let error = open(&last, &old).unwrap_err().to_string();
    assert!(error.contains("age1pq1") && error.contains('…') && error.len() < 400, "{error}");
}

#[test]
fn what_is_wrong_with_a_key_is_told_without_it() {
    let key = new_key(KeyKind::PostQuantum);
    let damaged = key.recipient.replacen("age1pq1", "age1pq1q", 1);
    let error = damaged.parse::<Recipient>().unwrap_err().to_string();
    assert!(error.contains("invalid Bech32 encoding") && error.len() < 120, "{error}");
    let mut identities = Identities::default();
    identities.add("AGE-SECRET-KEY-PQ-1QQQQ\n", "key.txt");
    assert_eq!(identities.problems(), ["key.txt, line 1: invalid Bech32 encoding"]);
}
