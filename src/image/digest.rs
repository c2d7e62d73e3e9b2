use std::fmt;
use std::str::FromStr;

/// A hash algorithm that content is addressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which nearly everything uses.
    Sha256,
    /// SHA-512, which the specification allows too.
    Sha512,
}

impl Algorithm {
    /// Returns the word before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// The digest of some content: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128, in lower case.
///
/// A value rather than a text: it is copied freely, and two that are equal name the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Value);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// A text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid digest: `sha256:` and 64 hexadecimal digits, or `sha512:` and 128")]
pub struct DigestError(pub String);

impl Digest {
    /// Makes a digest of what SHA-256 gave.
    pub const fn sha256(bytes: [u8; 32]) -> Self {
        Self(Value::Sha256(bytes))
    }

    /// Makes a digest of what SHA-512 gave.
    pub const fn sha512(bytes: [u8; 64]) -> Self {
        Self(Value::Sha512(bytes))
    }

    /// Returns the algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Value::Sha256(_) => Algorithm::Sha256,
            Value::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Returns the hash itself.
    pub const fn bytes(&self) -> &[u8] {
        match &self.0 {
            Value::Sha256(bytes) => bytes,
            Value::Sha512(bytes) => bytes,
        }
    }

    /// Returns the hexadecimal digits after the colon.
    pub fn hex(&self) -> String {
        let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
        self.bytes().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = match text.split_once(':') {
            Some(("sha256", hex)) => unhex(hex).map(Value::Sha256),
            Some(("sha512", hex)) => unhex(hex).map(Value::Sha512),
            Some(_) | None => None,
        };
        value.map(Self).ok_or_else(|| DigestError(text.to_owned()))
    }
}

/// Reads exactly `N` bytes of lower-case hexadecimal digits; the specification knows no upper case.
fn unhex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (to, [high, low]) in out.iter_mut().zip(pairs) {
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_two_algorithms_and_lower_case() {
        let a64 = "a".repeat(64);
        for bad in [
            String::new(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            a64.clone(),
            format!("sha256:{}", "A".repeat(64)),
            format!("SHA256:{a64}"),
            format!("sha256:{}", "a".repeat(63)),
            format!("sha256:{a64}a"),
            format!("sha256:{a64}aa"),
            format!("sha512:{a64}"),
            format!("sha384:{}", "a".repeat(96)),
            format!("sha256+b64:{a64}"),
            format!("sha256:{}é", "a".repeat(62)),
            format!(" sha256:{a64}"),
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError(bad)));
        }
    }

    proptest! {
        #[test]
        fn printing_reads_back(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            let mut long = [0; 64];
            long[..32].copy_from_slice(&a);
            long[32..].copy_from_slice(&b);
            for digest in [Digest::sha256(a), Digest::sha512(long)] {
                prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
                prop_assert_eq!(digest.hex().len(), digest.bytes().len() * 2);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}|sha(256|512):[0-9a-fA-Fé]{0,130}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
