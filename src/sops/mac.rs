use std::fmt::Write;

use sha2::{Digest, Sha512};

use super::value::Value;

/// sha256("sops"), fed first when only sealed values are hashed.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b,
    0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Which values the MAC of a file covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacScope {
    /// All of them, so that clear ones cannot be changed either.
    #[default]
    All,
    /// Those that are sealed (`mac_only_encrypted: true`).
    Encrypted,
}

/// The hash over the values of a file, in order; keys, nesting, types and nulls do not count.
pub(super) struct Mac {
    hash: Sha512,
    scope: MacScope,
}

impl Mac {
    pub(super) fn new(scope: MacScope) -> Self {
        let mut hash = Sha512::new();
        match scope {
            MacScope::All => {}
            MacScope::Encrypted => hash.update(ONLY_ENCRYPTED),
        }
        Self { hash, scope }
    }

    pub(super) fn add(&mut self, value: &Value, selected: bool) {
        if selected || self.scope == MacScope::All {
            self.hash.update(value.text().as_bytes());
        }
    }

    /// Returns the hash as the text that is sealed in the file.
    pub(super) fn finish(self) -> Value {
        let mut hex = String::with_capacity(128);
        for byte in self.hash.finalize() {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02X}");
        }
        Value::string(hex)
    }
}
