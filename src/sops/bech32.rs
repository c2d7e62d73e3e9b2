//! Bech32 without its limit on length, for the one conversion that age does not offer: a post-quantum identity as that
//! of its plugin (`AGE-SECRET-KEY-PQ-1…` to `AGE-PLUGIN-PQ-1…`).
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Gives a text another human-readable part; the data stays as it is.
pub(super) fn with_prefix(text: &str, from: &str, to: &str) -> Option<Zeroizing<String>> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let body = lower.strip_prefix(from)?.strip_prefix('1')?;
    let values = body.bytes().map(value).collect::<Option<Vec<u8>>>().map(Zeroizing::new)?;
    if checksum(from, &values) != 1 {
        return None;
    }
    Some(Zeroizing::new(join(to, values.get(..values.len().checked_sub(6)?)?)))
}

/// Encodes bytes.
#[cfg(test)]
pub(super) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let groups =
        bits.chunks(5).map(|bits| (0..5).fold(0, |value, i| value << 1 | bits.get(i).copied().unwrap_or(0)));
    join(prefix, &groups.collect::<Vec<_>>())
}

fn join(prefix: &str, data: &[u8]) -> String {
    let padded = Zeroizing::new([data, &[0; 6]].concat());
    let sum = checksum(prefix, &padded) ^ 1;
    let tail = (0..6u32).map(|i| (sum >> (5 * (5 - i)) & 31) as u8);
    let letter = |value: u8| char::from(ALPHABET.get(usize::from(value)).copied().unwrap_or_default());
    format!("{prefix}1") + &data.iter().copied().chain(tail).map(letter).collect::<String>()
}

fn value(letter: u8) -> Option<u8> {
    ALPHABET.iter().position(|&other| other == letter).and_then(|at| u8::try_from(at).ok())
}

/// BIP 173's polynomial over the prefix and the data.
fn checksum(prefix: &str, data: &[u8]) -> u32 {
    let high = prefix.bytes().map(|b| b >> 5);
    let low = prefix.bytes().map(|b| b & 31);
    high.chain([0]).chain(low).chain(data.iter().copied()).fold(1, |sum: u32, value| {
        let top = sum >> 25;
        let sum = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
            .iter()
            .enumerate()
            .fold(sum, |sum, (bit, generator)| if top >> bit & 1 == 1 { sum ^ generator } else { sum })
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn a_new_prefix_keeps_the_data() {
        let old = encode("age-secret-key-pq-", &[9; 32]).to_uppercase();
        let new = with_prefix(&old, "age-secret-key-pq-", "age-plugin-pq-").unwrap();
        assert_eq!(*new, encode("age-plugin-pq-", &[9; 32]));
        assert_eq!(age::plugin::Identity::from_str(&new.to_uppercase()).unwrap().plugin(), "pq");
        assert_eq!(with_prefix("AGE-SECRET-KEY-PQ-1QQQQQQQ", "age-secret-key-pq-", "age-plugin-pq-"), None);
        assert_eq!(with_prefix("age-secret-key-pq-1", "age-secret-key-pq-", "x"), None);
    }
}
