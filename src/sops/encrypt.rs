use jiff::Timestamp;
use zeroize::Zeroize;

use super::binding::bound;
use super::block::Addition;
use super::cipher::{Cipher, DataKey};
use super::draft::{Draft, Reader};
use super::error::{Refusal, SopsError};
use super::guard::guard_parsed;
use super::known_secrets::IsSecret;
use super::mac::MacScope;
use super::metadata::{Group, Metadata, Wrapped, format_time};
use super::opened::{read_back, seal_mac};
use super::plain::Plain;
use super::recipient::Recipient;
use super::rewritten::{Rewritten, rewritten};
use super::rule::Rule;
use crate::secret::Random;
use crate::secret::Secret;
use crate::yaml::Indent;

/// The version that new files name: every sops from 3.9 on reads what this module writes.
pub const VERSION: &str = "3.9.4";

/// How a new file is encrypted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which values are sealed.
    pub rule: Rule,
    /// What the MAC covers.
    pub mac_scope: MacScope,
    /// Whom the file is for.
    pub recipients: Vec<Recipient>,
    /// The step of indentation of the `sops:`.
    pub indent: Indent,
    /// The version of sops to name.
    pub version: String,
    /// Which values are secrets: none is stored in another form than its text.
    pub is_secret: Option<IsSecret>,
    /// What becomes of such a value that the rule does not select.
    pub in_clear: InClear,
    /// Whether the file says, in a sealed value of its own, what stands where in it.
    pub structure: Bound,
}

/// What becomes of a secret that would be left in clear text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InClear {
    /// It is refused.
    #[default]
    Refused,
    /// It stays in clear text.
    Allowed,
}

/// Whether sealed values are bound to the clear parts around them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// No: the file is one for other tools, which take no key of ours.
    #[default]
    No,
    /// Yes, below [`super::STRUCTURE`], where the rule selects a name for it.
    Yes,
}

impl Settings {
    /// Makes settings with sops' defaults for all but the rule and the recipients.
    pub fn new(rule: Rule, recipients: Vec<Recipient>) -> Self {
        Self {
            rule,
            mac_scope: MacScope::All,
            recipients,
            indent: Indent::default(),
            version: VERSION.to_owned(),
            is_secret: None,
            in_clear: InClear::Refused,
            structure: Bound::No,
        }
    }
}

/// A text that was encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The text.
    pub text: String,
    /// The values that sops writes in another form when it decrypts or edits the file.
    pub rewritten: Vec<Rewritten>,
}

/// Encrypts a text: values are replaced in place, a `sops:` is added to every document, all else stays as it is.
///
/// age takes the randomness for wrapping the data key from the operating system; all other comes from `random`.
///
/// Fails if the text is encrypted already or holds what SOPS cannot keep, if there is no usable recipient, and if a
/// value that [`Settings::is_secret`] names would be left in clear text.
pub fn encrypt(
    plaintext: &str,
    settings: &Settings,
    now: Timestamp,
    random: &mut Random<'_>,
) -> Result<String, SopsError> {
    Ok(encrypt_and_tell(plaintext, settings, now, random)?.text)
}

/// Encrypts a text as [`encrypt`] does, and tells which values will not come back as they are written.
pub fn encrypt_and_tell(
    plaintext: &str,
    settings: &Settings,
    now: Timestamp,
    random: &mut Random<'_>,
) -> Result<Sealed, SopsError> {
    let reader = Reader::of(&settings.version);
    let mut plain = Plain::parse(Secret::from(plaintext))?;
    if settings.structure == Bound::Yes
        && let Some(text) = bound(&plain, &settings.rule, settings.indent, reader, None, random)?
    {
        plain = Plain::parse(text)?;
    }
    let draft = Draft::new(&plain, &settings.rule, settings.indent, reader)?;
    if let Some(is_secret) = settings.is_secret {
        draft.refuse_rewritten(is_secret)?;
        if settings.in_clear == InClear::Refused {
            draft.refuse_clear(is_secret)?;
        }
    }
    if draft.documents() > 1 && settings.mac_scope == MacScope::Encrypted && !draft.is_all_selected() {
        return Err(Refusal::LooseDocuments.whole());
    }
    if plain
        .stream
        .documents
        .iter()
        .any(|document| matches!(document.root.value, crate::yaml::Value::Mapping { flow: true, .. }))
    {
        return Err(Refusal::FlowRoot.whole());
    }
    let key = new_key(random);
    let age = wrap(&settings.recipients, &key)?;
    let cipher = Cipher::new(&key);
    let sealed = draft.seal(&cipher, settings.mac_scope, &mut super::stash::Stash::default(), random)?;
    let last_modified = format_time(now);
    let metadata = Metadata {
        groups: vec![Group { age, foreign: Vec::new() }],
        threshold: 1,
        rule: settings.rule.clone(),
        scope: settings.mac_scope,
        mac: seal_mac(&cipher, &sealed.mac, &last_modified, random)?,
        last_modified,
        version: settings.version.clone(),
    };
    let block = metadata.write(settings.indent);
    let text = draft.write(sealed, |_| Addition::new(block.clone()));
    let file = read_back(&text, &key, &draft)?;
    if let (Some(is_secret), InClear::Refused) = (settings.is_secret, settings.in_clear) {
        guard_parsed(&text, file.stream(), is_secret)?;
    }
    Ok(Sealed { text, rewritten: rewritten(&draft) })
}

/// Makes a data key.
pub(super) fn new_key(random: &mut Random<'_>) -> DataKey {
    let mut bytes = [0; 32];
    random(&mut bytes);
    let key = DataKey::new(bytes);
    bytes.zeroize();
    key
}

/// Wraps a data key for everyone, each once.
pub(super) fn wrap(recipients: &[Recipient], key: &DataKey) -> Result<Vec<Wrapped>, SopsError> {
    if recipients.is_empty() {
        return Err(Refusal::NoRecipient.whole());
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = recipients.iter().find(|recipient| !seen.insert(recipient.as_str())) {
        return Err(Refusal::TwoAlike(twice.to_string()).whole());
    }
    recipients.iter().map(|recipient| Ok(Wrapped::new(recipient, recipient.wrap(key)?))).collect()
}
