use age::secrecy::ExposeSecret;
use jiff::Zoned;

use super::post_quantum;
use crate::secret::{Random, Secret};

/// The kinds of keys that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// X25519: what every age and every sops reads.
    Classic,
    /// ML-KEM-768 with X25519: for age 1.3 and sops 3.12, and later ones.
    PostQuantum,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// The public half.
    pub recipient: String,
    /// The text of a key file, as age-keygen writes it.
    pub file: Secret<String>,
}

/// Makes a key; age takes the randomness of a classic one from the operating system.
pub fn new_key_pair(kind: KeyKind, now: &Zoned, random: &mut Random<'_>) -> NewKey {
    let (recipient, identity) = match kind {
        KeyKind::Classic => {
            let identity = age::x25519::Identity::generate();
            (identity.to_public().to_string(), Secret::from(identity.to_string().expose_secret()))
        }
        KeyKind::PostQuantum => {
            let identity = post_quantum::Identity::generate(random);
            (identity.recipient().to_string(), identity.text())
        }
    };
    let created = now.strftime("%Y-%m-%dT%H:%M:%S%:z");
    let file =
        Secret::new(format!("# created: {created}\n# public key: {recipient}\n{}\n", identity.expose()));
    NewKey { recipient, file }
}
