//! X-Wing: ML-KEM-768 and X25519 as one key encapsulation, for HPKE.
//!
//! Sources: draft-connolly-cfrg-xwing-kem-09; draft-ietf-hpke-pq, KEM 0x647a. Both primitives are crates; what is here puts
//! them together. The release of `hpke` that has X-Wing does not build beside the one that `age` needs.

use hpke::generic_array::GenericArray;
use hpke::generic_array::typenum::{Sum, U32, U64, U128, U1024};
use hpke::kem::SharedSecret;
use hpke::rand_core::{CryptoRng, RngCore};
use hpke::{Deserializable, HpkeError, Serializable};
use ml_kem::kem::Decapsulate;
use ml_kem::{EncapsulateDeterministic, EncodedSizeUser, KemCore, MlKem768};
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{Digest, Sha3_256, Shake256};
use x25519_dalek::{PublicKey as X25519Public, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a private key.
pub(super) const SEED: usize = 32;
const PQ_PUBLIC: usize = 1184;
const PQ_SHARE: usize = 1088;
const PUBLIC: usize = PQ_PUBLIC + 32;
const SHARE: usize = PQ_SHARE + 32;
/// `\.//^\`, as the draft draws an X-wing.
const LABEL: &[u8; 6] = b"\\.//^\\";

type PqPrivate = <MlKem768 as KemCore>::DecapsulationKey;
type PqPublic = <MlKem768 as KemCore>::EncapsulationKey;

/// The seed that both private keys follow from.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(super) struct PrivateKey([u8; SEED]);

/// Both public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey(Box<[u8; PUBLIC]>);

/// What a sender hands over: a share of each.
#[derive(Clone)]
pub(super) struct EncappedKey(Box<[u8; SHARE]>);

/// The key encapsulation.
pub(super) struct XWing;

impl PrivateKey {
    /// Takes a seed.
    pub(super) fn new(seed: &[u8; SEED]) -> Self {
        Self(*seed)
    }

    fn expand(&self) -> (PqPrivate, PqPublic, StaticSecret) {
        let mut reader = Shake256::default().chain(self.0).finalize_xof();
        let mut take = || {
            let mut bytes = Zeroizing::new([0; 32]);
            reader.read(bytes.as_mut());
            bytes
        };
        let (d, z, classic) = (take(), take(), take());
        let (mut d, mut z) = (ml_kem::B32::from(*d), ml_kem::B32::from(*z));
        let (private, public) = MlKem768::generate_deterministic(&d, &z);
        d.as_mut_slice().zeroize();
        z.as_mut_slice().zeroize();
        (private, public, StaticSecret::from(*classic))
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        sized(bytes).map(|seed: &[u8; SEED]| Self(*seed))
    }
}

impl PublicKey {
    fn post_quantum(&self) -> Result<PqPublic, HpkeError> {
        let (bytes, _) = self.0.split_at(PQ_PUBLIC);
        let encoded = bytes.try_into().map_err(|_| HpkeError::ValidationError)?;
        let key = PqPublic::from_bytes(encoded);
        // FIPS 203 §7.2: a key whose coefficients are not reduced is not one.
        if key.as_bytes().as_slice() == bytes { Ok(key) } else { Err(HpkeError::ValidationError) }
    }

    fn classic(&self) -> [u8; 32] {
        last32(self.0.as_slice())
    }
}

impl Serializable for PublicKey {
    type OutputSize = Sum<U1024, Sum<U128, U64>>;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(self.0.as_slice());
    }
}

impl Deserializable for PublicKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let key = sized(bytes).map(|bytes: &[u8; PUBLIC]| Self(Box::new(*bytes)))?;
        key.post_quantum()?;
        Ok(key)
    }
}

impl Serializable for EncappedKey {
    type OutputSize = Sum<U1024, Sum<U64, U32>>;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(self.0.as_slice());
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        sized(bytes).map(|bytes: &[u8; SHARE]| Self(Box::new(*bytes)))
    }
}

impl XWing {
    /// Makes a share for a public key out of 64 random bytes: 32 for each half.
    fn encapsulate(
        public: &PublicKey,
        random: &[u8; 64],
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        let (for_pq, for_classic) = random.split_at(32);
        let for_pq = ml_kem::B32::try_from(for_pq).map_err(|_| HpkeError::EncapError)?;
        let (pq_share, pq_secret) =
            public.post_quantum()?.encapsulate_deterministic(&for_pq).map_err(|()| HpkeError::EncapError)?;
        let ephemeral = StaticSecret::from(last32(for_classic));
        let share = X25519Public::from(&ephemeral);
        let secret = ephemeral.diffie_hellman(&X25519Public::from(public.classic()));
        if !secret.was_contributory() {
            return Err(HpkeError::EncapError);
        }
        let combined = combine(&pq_secret, secret.as_bytes(), share.as_bytes(), &public.classic());
        let mut bytes = Box::new([0; SHARE]);
        let (pq_part, classic_part) = bytes.split_at_mut(PQ_SHARE);
        pq_part.copy_from_slice(&pq_share);
        classic_part.copy_from_slice(share.as_bytes());
        Ok((combined, EncappedKey(bytes)))
    }
}

impl hpke::Kem for XWing {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;
    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(private: &PrivateKey) -> PublicKey {
        let (_, pq, classic) = private.expand();
        let mut bytes = Box::new([0; PUBLIC]);
        let (pq_part, classic_part) = bytes.split_at_mut(PQ_PUBLIC);
        pq_part.copy_from_slice(&pq.as_bytes());
        classic_part.copy_from_slice(X25519Public::from(&classic).as_bytes());
        PublicKey(bytes)
    }

    fn derive_keypair(material: &[u8]) -> (PrivateKey, PublicKey) {
        // SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", 32), draft-ietf-hpke-pq §4.
        let label = b"DeriveKeyPair";
        let mut reader = Shake256::default()
            .chain(material)
            .chain(b"HPKE-v1KEM")
            .chain(Self::KEM_ID.to_be_bytes())
            .chain([0, 13])
            .chain(label)
            .chain([0, 32])
            .finalize_xof();
        let mut seed = [0; SEED];
        reader.read(&mut seed);
        let private = PrivateKey(seed);
        seed.zeroize();
        let public = Self::sk_to_pk(&private);
        (private, public)
    }

    fn decap(
        private: &PrivateKey,
        sender: Option<&PublicKey>,
        share: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError); // X-Wing authenticates no sender
        }
        let (pq, _, classic) = private.expand();
        let (pq_share, _) = share.0.split_at(PQ_SHARE);
        let pq_share = pq_share.try_into().map_err(|_| HpkeError::DecapError)?;
        let pq_secret = pq.decapsulate(pq_share).map_err(|()| HpkeError::DecapError)?;
        let classic_share = last32(share.0.as_slice());
        let secret = classic.diffie_hellman(&X25519Public::from(classic_share));
        if !secret.was_contributory() {
            return Err(HpkeError::DecapError);
        }
        let public = X25519Public::from(&classic);
        Ok(combine(&pq_secret, secret.as_bytes(), &classic_share, public.as_bytes()))
    }

    fn encap<R: CryptoRng + RngCore>(
        public: &PublicKey,
        sender: Option<(&PrivateKey, &PublicKey)>,
        random: &mut R,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let mut bytes = Zeroizing::new([0; 64]);
        random.try_fill_bytes(bytes.as_mut()).map_err(|_| HpkeError::EncapError)?;
        Self::encapsulate(public, &bytes)
    }
}

fn combine(pq: &[u8], classic: &[u8; 32], share: &[u8; 32], public: &[u8; 32]) -> SharedSecret<XWing> {
    let mut hash = Sha3_256::new();
    for part in [pq, classic, share, public, LABEL] {
        Digest::update(&mut hash, part);
    }
    SharedSecret(GenericArray::clone_from_slice(&hash.finalize()))
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], HpkeError> {
    bytes.try_into().map_err(|_| HpkeError::IncorrectInputLength(N, bytes.len()))
}

/// Returns the last 32 bytes; fewer are filled up with zeros in front.
fn last32(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().rev().zip(bytes.iter().rev()) {
        *to = *from;
    }
    out
}
