use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::generic_array::typenum::U32;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInPlace, AesGcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use super::value::{Kind, Value};
use crate::secret::Secret;

/// The key of one file: 32 random bytes, which each recipient holds wrapped.
pub(super) type DataKey = Secret<[u8; 32]>;

/// Bytes of the nonce: SOPS uses 32, not GCM's usual 12.
const NONCE: usize = 32;
const TAG: usize = 16;
const PREFIX: &str = "ENC[AES256_GCM,data:";

/// Returns whether a text begins as a sealed value does.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with("ENC[AES256_GCM,")
}

/// Why a token does not give its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CipherError {
    /// It is no `ENC[…]` at all.
    #[error("the value is not sealed")]
    NotSealed,
    /// It is written wrongly.
    #[error("the `ENC[…]` is damaged")]
    Malformed,
    /// Its type is not one that SOPS knows.
    #[error("the type in the `ENC[…]` is unknown")]
    UnknownType,
    /// It was made elsewhere or changed since: the tag does not fit.
    #[error("the value was changed, moved from another place, or sealed under another key")]
    Tampered,
    /// It is too long to seal.
    #[error("the value is too long to seal")]
    TooLong,
}

/// Seals and opens values under a data key.
pub(super) struct Cipher(AesGcm<Aes256, U32>);

impl Cipher {
    pub(super) fn new(key: &DataKey) -> Self {
        Self(AesGcm::new(GenericArray::from_slice(key.expose())))
    }

    /// Seals a value as `ENC[…]`, bound to `aad`.
    pub(super) fn seal(&self, value: &Value, aad: &str, nonce: &[u8; NONCE]) -> Result<String, CipherError> {
        let mut data = value.text().as_bytes().to_vec();
        let tag = self
            .0
            .encrypt_in_place_detached(GenericArray::from_slice(nonce), aad.as_bytes(), &mut data)
            .map_err(|_| CipherError::TooLong)?;
        let [data, nonce, tag] = [&data[..], nonce, &tag].map(|bytes| STANDARD.encode(bytes));
        Ok(format!("{PREFIX}{data},iv:{nonce},tag:{tag},type:{}]", value.kind().as_str()))
    }

    /// Opens an `ENC[…]`; what follows its `]` is ignored, as in sops.
    pub(super) fn open(&self, token: &str, aad: &str) -> Result<Value, CipherError> {
        let (mut data, nonce, tag, kind) = parse(token)?;
        let opened = self.0.decrypt_in_place_detached(
            GenericArray::from_slice(&nonce),
            aad.as_bytes(),
            &mut data,
            GenericArray::from_slice(&tag),
        );
        if opened.is_err() {
            return Err(CipherError::Tampered);
        }
        let text = String::from_utf8(data).map_err(|error| {
            error.into_bytes().zeroize();
            CipherError::Malformed
        })?;
        Value::decoded(kind, text).ok_or(CipherError::Malformed)
    }
}

type Parts = (Vec<u8>, [u8; NONCE], [u8; TAG], Kind);

/// Takes a token apart as `^ENC\[AES256_GCM,data:(.+),iv:(.+),tag:(.+),type:(.+)\]` does.
fn parse(token: &str) -> Result<Parts, CipherError> {
    let rest = token.strip_prefix(PREFIX).ok_or(CipherError::NotSealed)?;
    let rest = rest.split_once(']').map(|(body, _)| body).ok_or(CipherError::Malformed)?;
    let mut fields = rest.split(',');
    let mut field = |name: &str| {
        let text =
            if name.is_empty() { fields.next() } else { fields.next().and_then(|f| f.strip_prefix(name)) };
        text.filter(|text| !text.is_empty()).ok_or(CipherError::Malformed)
    };
    let (data, nonce, tag, kind) = (field("")?, field("iv:")?, field("tag:")?, field("type:")?);
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| CipherError::Malformed);
    Ok((
        decode(data)?,
        decode(nonce)?.try_into().map_err(|_| CipherError::Malformed)?,
        decode(tag)?.try_into().map_err(|_| CipherError::Malformed)?,
        Kind::parse(kind).ok_or(CipherError::UnknownType)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> Cipher {
        Cipher::new(&Secret::new([7; 32]))
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let token = cipher().seal(&Value::string("naïve"), "a:b:", &[1; 32]).unwrap();
        assert_eq!(cipher().open(&token, "a:b:"), Ok(Value::string("naïve")));
        assert_eq!(cipher().open(&format!("{token} junk]"), "a:b:"), Ok(Value::string("naïve")));
        assert_eq!(cipher().open(&token, "a:c:"), Err(CipherError::Tampered));
        assert_eq!(
            cipher().open(&token.replace("type:str", "type:int"), "a:b:"),
            Err(CipherError::Malformed)
        );
        assert_eq!(
            cipher().open(&token.replace("type:str", "type:x"), "a:b:"),
            Err(CipherError::UnknownType)
        );
        assert_eq!(cipher().open("hunter2", "a:b:"), Err(CipherError::NotSealed));
        assert_eq!(cipher().open("ENC[AES256_GCM,data:,iv:,tag:,type:]", ""), Err(CipherError::Malformed));
    }
}
