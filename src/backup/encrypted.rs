use jiff::Timestamp;
use serde_json::json;

use crate::secret::Random;
use crate::sops::{
    Encrypted, Identities, IsSecret, MacScope, Opened, Recipient, Refusal, Rule, Settings, SopsError,
    encrypt, guard,
};
use crate::yaml::emit;

/// The key, and the selection, of a file that holds a config as one value: those of sops' binary files.
const WHOLE: (&str, &str) = ("data", "^data$");

/// A file that is there already.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a> {
    /// The file.
    pub file: &'a Encrypted,
    /// The file, opened.
    pub opened: &'a Opened<'a>,
    /// What has opened it.
    pub identities: &'a Identities,
    /// Whom it is for from now on.
    pub recipients: Recipients,
}

/// Whom a file is for that is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Those of the settings.
    OfSettings,
    /// Its own.
    Kept,
}

/// What a node's file is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its text; [`None`]: it holds that already.
    pub text: Option<String>,
    /// Why the config is kept as one value, where it is.
    pub as_one_value: Option<String>,
}

/// Encrypts a config for a node's file, with the smallest change to what is there.
///
/// What SOPS cannot keep in YAML is kept as one value, as in sops' binary files.
pub fn seal(
    old: Option<Old<'_>>,
    config: &str,
    settings: &Settings,
    now: Timestamp,
    random: &mut Random<'_>,
) -> Result<Sealed, SopsError> {
    let result = match attempt(old, config, settings, now, random) {
        // The rule's author thought of one document; several need every value under the MAC.
        Err(SopsError::Refused { refusal: Refusal::LooseDocuments, .. }) => {
            attempt(None, config, &Settings { mac_scope: MacScope::All, ..settings.clone() }, now, random)
        }
        Err(SopsError::Refused { refusal: Refusal::BlockRoot, .. }) => {
            attempt(None, config, settings, now, random)
        }
        result => result,
    };
    match result {
        Err(error) if error.is_of_the_form() => {
            let (key, pattern) = WHOLE;
            let rule = Rule::encrypted_regex(pattern)?;
            let settings = Settings { rule, mac_scope: MacScope::All, is_secret: None, ..settings.clone() };
            let text = attempt(old, &emit(&json!({ key: config }), settings.indent), &settings, now, random)?;
            Ok(Sealed { text, as_one_value: Some(error.to_string()) })
        }
        result => Ok(Sealed { text: result?, as_one_value: None }),
    }
}

fn attempt(
    old: Option<Old<'_>>,
    text: &str,
    settings: &Settings,
    now: Timestamp,
    random: &mut Random<'_>,
) -> Result<Option<String>, SopsError> {
    let same_rule = |old: &Old<'_>| {
        (old.file.rule().key(), old.file.rule().text()) == (settings.rule.key(), settings.rule.text())
    };
    let Some(Old { file, opened, identities, recipients }) = old.filter(same_rule) else {
        return encrypt(text, settings, now, random).map(Some);
    };
    let changed = opened.reencrypt(text, now, random)?;
    let current = changed.as_deref().unwrap_or(file.text());
    if let Some(is_secret) = settings.is_secret {
        guard(current, is_secret)?;
    }
    if recipients == Recipients::Kept {
        return Ok(changed);
    }
    let current = Encrypted::parse(current)?;
    let rekeyed = current.open(identities)?.rekey(&settings.recipients, now, random)?;
    Ok(rekeyed.map(|rekeyed| rekeyed.text).or(changed))
}

/// Returns how a file is encrypted that nothing but itself tells about.
///
/// `default` is the rule of a file that holds its config as one value, `is_secret` what has to be encrypted.
pub fn own_settings(file: &Encrypted, default: &Rule, is_secret: IsSecret) -> Settings {
    let recipients: Result<Vec<Recipient>, _> = file.recipients().iter().map(|name| name.parse()).collect();
    let rule = if file.rule().text() == WHOLE.1 { default } else { file.rule() }.clone();
    // Without its recipients of other kinds nothing is encrypted again: they would lose it.
    let settings = Settings::new(rule, recipients.unwrap_or_default());
    Settings { mac_scope: file.mac_scope(), is_secret: Some(is_secret), ..settings }
}
