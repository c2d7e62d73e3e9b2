//! age's post-quantum keys: X-Wing (ML-KEM-768 with X25519) under HPKE, as age 1.3 and sops 3.12 have them.
//!
//! Source: C2SP `age.md`, the recipient type `mlkem768x25519`. The `age` crate knows these keys through a plugin only.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use aes_gcm::aead::OsRng;
use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::{bech32_decode, bech32_encode, hpke_open, hpke_seal};
use age_core::secrecy::ExposeSecret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::Hrp;
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use zeroize::{Zeroize, Zeroizing};

use super::x_wing::{self, XWing};
use crate::secret::{Random, Secret};

/// The beginning of a recipient, `1` included.
pub(super) const RECIPIENT: &str = "age1pq1";
/// The beginning of an identity, `1` included.
pub(super) const IDENTITY: &str = "AGE-SECRET-KEY-PQ-1";

const RECIPIENT_PREFIX: Hrp = Hrp::parse_unchecked("age1pq");
const IDENTITY_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-pq-");
const TAG: &str = "mlkem768x25519";
const LABEL: &[u8] = b"age-encryption.org/mlkem768x25519";
/// The bytes of the AEAD's tag behind the file key.
const OVERHEAD: usize = 16;

/// The public half of a key.
#[derive(Clone)]
pub(super) struct Recipient(x_wing::PublicKey);

/// The private half: 32 bytes, from which both of its keys follow.
pub(super) struct Identity(x_wing::PrivateKey);

impl FromStr for Recipient {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode(text, RECIPIENT_PREFIX, |bytes| {
            x_wing::PublicKey::from_bytes(bytes).map(Self).map_err(|_| "not a post-quantum recipient")
        })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32_encode(RECIPIENT_PREFIX, &self.0.to_bytes()))
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (share, body) = hpke_seal::<XWing, _>(&self.0, LABEL, key.expose_secret(), &mut OsRng);
        let stanza =
            Stanza { tag: TAG.to_owned(), args: vec![STANDARD_NO_PAD.encode(share.to_bytes())], body };
        // The label keeps a file from being for a classic recipient too, which would undo the protection.
        Ok((vec![stanza], HashSet::from(["postquantum".to_owned()])))
    }
}

impl FromStr for Identity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode(text, IDENTITY_PREFIX, |bytes| {
            x_wing::PrivateKey::from_bytes(bytes).map(Self).map_err(|_| "not a post-quantum identity")
        })
    }
}

impl Identity {
    /// Makes a new identity.
    pub(super) fn generate(random: &mut Random<'_>) -> Self {
        let mut seed = Zeroizing::new([0; x_wing::SEED]);
        random(seed.as_mut());
        Self(x_wing::PrivateKey::new(&seed))
    }

    /// Returns the public half.
    pub(super) fn recipient(&self) -> Recipient {
        Recipient(XWing::sk_to_pk(&self.0))
    }

    /// Returns the identity as it is written.
    pub(super) fn text(&self) -> Secret<String> {
        let mut bytes = self.0.to_bytes();
        let lower = Zeroizing::new(bech32_encode(IDENTITY_PREFIX, &bytes));
        bytes.as_mut_slice().zeroize();
        Secret::new(lower.to_ascii_uppercase())
    }

    fn open(&self, stanza: &Stanza) -> Result<Option<FileKey>, DecryptError> {
        let [share] = stanza.args.as_slice() else { return Err(DecryptError::InvalidHeader) };
        let share = STANDARD_NO_PAD.decode(share).map_err(|_| DecryptError::InvalidHeader)?;
        let share = x_wing::EncappedKey::from_bytes(&share).map_err(|_| DecryptError::InvalidHeader)?;
        if stanza.body.len() != FILE_KEY_BYTES + OVERHEAD {
            return Err(DecryptError::InvalidHeader);
        }
        let key = match hpke_open::<XWing>(&share, &self.0, LABEL, &stanza.body) {
            Ok(key) => Zeroizing::new(key),
            // Another key's share opens to nothing: that shows here only.
            Err(HpkeError::OpenError) => return Ok(None),
            Err(_) => return Err(DecryptError::InvalidHeader),
        };
        FileKey::try_init_with_mut(|out| {
            if key.len() != out.len() {
                return Err(DecryptError::InvalidHeader);
            }
            out.copy_from_slice(&key);
            Ok(())
        })
        .map(Some)
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != TAG {
            return None;
        }
        self.open(stanza).transpose()
    }
}

/// Decodes a Bech32 text with a known prefix; the bytes are cleared.
fn decode<T>(
    text: &str,
    prefix: Hrp,
    read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    bech32_decode(
        text,
        |_| "invalid Bech32 encoding",
        |found| if found == prefix { Ok(()) } else { Err("another prefix") },
        |_, bytes| read(&Zeroizing::new(bytes.collect::<Vec<u8>>())),
    )
}
