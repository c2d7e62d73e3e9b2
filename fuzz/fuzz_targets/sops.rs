//! What is encrypted opens to the same text, what is not ours is refused, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::sops::{Encrypted, Identities, Rule, Settings, encrypt};

const KEY: &str = include_str!("../../tests/vectors/sops/keys.txt");
const RECIPIENT: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

fuzz_target!(|text: &str| {
    let mut identities = Identities::default();
    identities.add(KEY, "keys.txt");
    if let Ok(file) = Encrypted::parse(text) {
        let _ = file.open(&identities).map(|open| open.plaintext());
    }
    let rule = Rule::encrypted_regex("^(password|key)$").expect("a pattern that compiles");
    let settings = Settings::new(rule, vec![RECIPIENT.parse().expect("a recipient")]);
    let mut next = 0u64;
    let mut count = |bytes: &mut [u8]| {
        next += 1;
        bytes.fill(0);
        bytes[..8].copy_from_slice(&next.to_le_bytes());
    };
    // `encrypt` reads back what it wrote, and says so if that is not what was given.
    match encrypt(text, &settings, jiff::Timestamp::UNIX_EPOCH, &mut count) {
        Err(talmirror::sops::SopsError::ReadBack) => panic!("does not read back"),
        Err(_) => {}
        Ok(sealed) => {
            let file = Encrypted::parse(&sealed).expect("a file just written");
            let open = file.open(&identities).expect("a file for this key");
            let plain = open.plaintext();
            let same = open.reencrypt(plain.expose(), jiff::Timestamp::UNIX_EPOCH, &mut count);
            assert_eq!(same.expect("what was just decrypted"), None);
        }
    }
});
