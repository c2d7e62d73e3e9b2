use sha2::Digest as _;

use crate::image::{Algorithm, Digest};

/// A running hash.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Box<sha2::Sha256>),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// Begins a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Box::default()),
            Algorithm::Sha512 => State::Sha512(Box::default()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Returns the digest of all bytes taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hash) => Digest::sha256(hash.finalize().into()),
            State::Sha512(hash) => Digest::sha512(hash.finalize().into()),
        }
    }
}

/// Returns the digest of some bytes.
pub fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// Checks, while content passes, that it is what its digest says.
#[derive(Clone, Debug)]
pub struct Verifier {
    wanted: Digest,
    seen: u64,
    hasher: Hasher,
}

/// Content is not what its digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{size} bytes have the digest `{found}`, not `{wanted}`")]
pub struct DigestMismatch {
    /// What was asked for.
    pub wanted: Digest,
    /// What came.
    pub found: Digest,
    /// How many bytes came.
    pub size: u64,
}

impl Verifier {
    /// Begins a check.
    pub fn new(wanted: Digest) -> Self {
        Self { wanted, seen: 0, hasher: Hasher::new(wanted.algorithm()) }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.hasher.update(bytes);
    }

    /// Returns how many bytes came so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns how many bytes there were, if they are the right ones.
    pub fn finish(self) -> Result<u64, Box<DigestMismatch>> {
        let found = self.hasher.finish();
        if found == self.wanted {
            Ok(self.seen)
        } else {
            Err(Box::new(DigestMismatch { wanted: self.wanted, found, size: self.seen }))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answers() {
        for (algorithm, bytes, want) in [
            (
                Algorithm::Sha256,
                "",
                "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                Algorithm::Sha256,
                "{}",
                "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            ),
            (
                Algorithm::Sha512,
                "abc",
                "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(digest_of(algorithm, bytes.as_bytes()).to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200, flip in 0usize..200) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let wanted = digest_of(algorithm, &bytes);
                let (head, tail) = bytes.split_at(at.min(bytes.len()));
                let mut verifier = Verifier::new(wanted);
                verifier.update(head);
                verifier.update(tail);
                prop_assert_eq!(verifier.finish(), Ok(bytes.len() as u64));

                let mut wrong = bytes.clone();
                if let Some(byte) = wrong.get_mut(flip) {
                    *byte ^= 1;
                } else {
                    wrong.push(0);
                }
                let mut verifier = Verifier::new(wanted);
                verifier.update(&wrong);
                let error = verifier.finish().unwrap_err();
                prop_assert_eq!((error.wanted, error.size), (wanted, wrong.len() as u64));
            }
        }
    }
}
