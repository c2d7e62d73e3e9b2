use std::fmt;
use std::io::Write;
use std::str::FromStr;

use age::armor::{ArmoredWriter, Format};

use super::cipher::DataKey;
use super::post_quantum;

/// Someone a file is encrypted for: an age recipient, classic or post-quantum, or one of SSH or of a plugin.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Recipient(String);

/// Why a recipient cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what its fields are")]
pub enum RecipientError {
    /// The text is none.
    #[error("`{}` is not a valid age recipient: {reason}", shortened(.recipient))]
    Invalid { recipient: String, reason: String },
    /// Its plugin is not installed.
    #[error("the recipient `{}` needs the program `{program}`, which is not on PATH", shortened(.recipient))]
    NoPlugin { recipient: String, program: String },
    /// age failed.
    #[error("cannot encrypt for `{}`", shortened(.recipient))]
    Age { recipient: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl Recipient {
    /// Returns the recipient as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Wraps a data key as an armored age file; age takes its own randomness from the operating system.
    pub(super) fn wrap(&self, key: &DataKey) -> Result<String, RecipientError> {
        let recipient = self.resolve()?;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| RecipientError::Age {
            recipient: self.0.clone(),
            source,
        };
        let wrap = || -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient.as_ref()))?;
            let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
            let mut output = encryptor.wrap_output(armor)?;
            output.write_all(key.expose())?;
            Ok(output.finish()?.finish()?)
        };
        let mut text = String::from_utf8(wrap().map_err(failed)?).map_err(|error| failed(Box::new(error)))?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    fn resolve(&self) -> Result<Box<dyn age::Recipient>, RecipientError> {
        let text = self.0.as_str();
        let invalid = |reason: String| RecipientError::Invalid { recipient: self.0.clone(), reason };
        if text.starts_with("ssh-") {
            return match age::ssh::Recipient::from_str(text) {
                Ok(recipient) => Ok(Box::new(recipient)),
                Err(error) => Err(invalid(format!("{error:?}"))),
            };
        }
        if text.starts_with(post_quantum::RECIPIENT) {
            let recipient =
                post_quantum::Recipient::from_str(text).map_err(|reason| invalid(reason.to_owned()))?;
            return Ok(Box::new(recipient));
        }
        let native = match age::x25519::Recipient::from_str(text) {
            Ok(recipient) => return Ok(Box::new(recipient)),
            Err(reason) => reason,
        };
        if let Ok(recipient) = age::tag::Recipient::from_str(text) {
            return Ok(Box::new(recipient));
        }
        if let Ok(recipient) = age::tagpq::Recipient::from_str(text) {
            return Ok(Box::new(recipient));
        }
        let recipient = age::plugin::Recipient::from_str(text).map_err(|_| invalid(native.to_owned()))?;
        let name = recipient.plugin().to_owned();
        match age::plugin::RecipientPluginV1::new(&name, &[recipient], &[], age::NoCallbacks) {
            Ok(plugin) => Ok(Box::new(plugin)),
            Err(_) => Err(RecipientError::NoPlugin {
                recipient: self.0.clone(),
                program: format!("age-plugin-{name}"),
            }),
        }
    }
}

/// Returns a recipient as messages show it: a post-quantum one has 1,959 characters.
pub fn shortened(recipient: &str) -> String {
    let length = recipient.chars().count();
    if length <= LONGEST_SHOWN {
        return recipient.to_owned();
    }
    let head: String = recipient.chars().take(16).collect();
    let tail: String = recipient.chars().skip(length - 6).collect();
    format!("{head}…{tail}")
}

/// Characters of the longest recipient that is shown whole; an SSH key of RSA is cut, one of ed25519 is not.
const LONGEST_SHOWN: usize = 140;

impl FromStr for Recipient {
    type Err = RecipientError;

    /// Parses a recipient; whether its plugin is there is found out when it is used.
    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let recipient = Self(text.trim().to_owned());
        match recipient.resolve() {
            Ok(_) | Err(RecipientError::NoPlugin { .. }) => Ok(recipient),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let ok = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
        let ssh = include_str!("../../tests/vectors/sops/id_ed25519_fixture.pub");
        assert_eq!(ok.parse::<Recipient>().unwrap().to_string(), ok);
        assert!(ssh.parse::<Recipient>().is_ok());
        let bad = ok.replace("age1g", "age1h").parse::<Recipient>().unwrap_err();
        assert_eq!(
            bad.to_string(),
            format!(
                "`{}` is not a valid age recipient: invalid Bech32 encoding",
                ok.replace("age1g", "age1h")
            )
        );
        assert!("".parse::<Recipient>().is_err());
        assert!("ssh-ed25519 AAAA".parse::<Recipient>().is_err());
    }

    #[test]
    fn a_missing_plugin_is_named_when_used() {
        // A valid recipient of a plugin that does not exist.
        let recipient = Recipient(age_core::primitives::bech32_encode(
            bech32::Hrp::parse("age1talmirrortest").unwrap(),
            &[1, 2, 3],
        ));
        assert!(recipient.as_str().parse::<Recipient>().is_ok());
        let error = recipient.wrap(&DataKey::new([0; 32])).unwrap_err();
        assert!(
            error.to_string().ends_with("needs the program `age-plugin-talmirrortest`, which is not on PATH"),
            "{error}"
        );
    }
}
