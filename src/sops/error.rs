use std::fmt;

use super::cipher::CipherError;
use super::metadata::MetadataError;
use super::path::Path;
use super::recipient::{RecipientError, shortened};
use super::rule::RuleError;
use super::value::Kind;
use crate::yaml::{ParseError, Position};

/// Documents that a file may have at most.
pub(super) const MAX_DOCUMENTS: usize = 1000;

/// What keeps a SOPS file from being read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what its fields are")]
pub enum SopsError {
    /// The text is not YAML.
    #[error("the text is not valid YAML")]
    Yaml(#[from] ParseError),
    /// There is no `sops:` in it.
    #[error("the file is not encrypted: it has no `sops:`")]
    NotEncrypted,
    /// There is a `sops:` or a sealed value in it already.
    #[error("the text is encrypted already{}", at(.0.as_ref()))]
    AlreadyEncrypted(Option<Position>),
    /// It is talm's, not SOPS'.
    #[error("the file is encrypted by talm, in a format of its own (`ENC[AGE,…]`){}", at(.0.as_ref()))]
    Talm(Option<Position>),
    /// The `sops:` is wrong.
    #[error("the `sops:` of the file cannot be used")]
    Metadata(#[from] MetadataError),
    /// The selection is wrong.
    #[error("the selection of what to encrypt cannot be used")]
    Rule(#[from] RuleError),
    /// No key fits.
    #[error("none of the keys at hand opens the file: {0}")]
    NoKey(Box<NoKey>),
    /// The MAC is missing.
    #[error("the file has no MAC")]
    NoMac,
    /// The MAC is another.
    #[error("the MAC does not fit: something in the file was changed after it was encrypted")]
    MacMismatch,
    /// Clear parts are not where they were when the secrets beside them were sealed.
    #[error("the file is not as it was when its secrets were sealed: {}", moved(.0))]
    Moved(Vec<String>),
    /// One value cannot be opened.
    #[error("{path} cannot be decrypted{}", at(Some(position)))]
    Value { path: Path, position: Position, source: ValueError },
    /// The text holds what SOPS cannot keep.
    #[error("{}{refusal}{}", subject(path, refusal), at(position.as_ref()))]
    Refused { refusal: Refusal, path: Path, position: Option<Position> },
    /// A recipient cannot be used.
    #[error("a recipient cannot be used")]
    Recipient(#[from] RecipientError),
    /// Secrets would be left in clear text.
    #[error("{} in clear text", secrets(.0))]
    ClearSecrets(Vec<ClearSecret>),
    /// There is nothing at a path.
    #[error("there is nothing at {0}")]
    NothingAt(Path),
    /// What was written does not read back: a fault of this program, caught before anything is lost.
    #[error("what was encrypted does not read back as what was given")]
    ReadBack,
}

/// Why one value cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ValueError(#[from] CipherError);

/// A file's recipients, and the keys that do not fit them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoKey {
    /// Whom the file is for.
    pub recipients: Vec<String>,
    /// The keys that were tried.
    pub identities: Vec<String>,
    /// Keys behind a passphrase, when no user can be asked for it.
    pub locked: Vec<String>,
    /// Where keys were looked for.
    pub locations: Vec<String>,
    /// What went wrong there.
    pub problems: Vec<String>,
    /// How many groups of recipients have to be opened, and how many were.
    pub groups: Option<(usize, usize)>,
}

impl NoKey {
    /// Returns whether a key is there that the file is for: then what is wrapped for it is damaged.
    pub fn is_damaged(&self) -> bool {
        self.groups.is_none() && self.identities.iter().any(|key| self.recipients.contains(key))
    }
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |words: &[String]| {
            let shown: Vec<String> = words.iter().map(|word| shortened(word)).collect();
            if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
        };
        write!(f, "it is for {}; found {}", list(&self.recipients), list(&self.identities))?;
        if self.is_damaged() {
            write!(f, "; what the file holds for that key does not open: it was changed")?;
        }
        if let Some((needed, opened)) = self.groups {
            write!(f, "; {opened} of the {needed} groups needed could be opened")?;
        }
        if !self.locked.is_empty() {
            write!(f, "; locked by a passphrase: {}", self.locked.join(", "))?;
        }
        write!(f, "; looked in {}", list(&self.locations))?;
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// A secret that the rule leaves in clear text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearSecret {
    /// The value.
    pub path: Path,
    /// Where it stands.
    pub position: Position,
}

/// What SOPS cannot keep, or not so that every version reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A list at the top.
    #[error("the document is a list")]
    List,
    /// Neither mapping nor list at the top.
    #[error("the document is not a mapping")]
    NoMapping,
    /// Nothing at all.
    #[error("the text is empty")]
    Empty,
    /// A mapping written `{…}` at the top, to which no block can be added.
    #[error("the document is written as `{{…}}`")]
    FlowRoot,
    /// A mapping in block style at the top, for a file whose `sops:` stands in `{…}`.
    #[error("the document is not written as `{{…}}`, as the encrypted file is")]
    BlockRoot,
    /// A `sops` key that is not a metadata.
    #[error("the key `sops` is taken by SOPS itself")]
    SopsKey,
    /// An alias or merge key.
    #[error("is an alias or comes from a merge key")]
    Alias,
    /// A merge key that merges nothing.
    #[error("there is a merge key, `<<`")]
    Merge,
    /// A key that is a number, a date, a truth value or null.
    #[error("the key `{0}` is not a string")]
    KeyKind(String),
    /// A number above 2^63 - 1.
    #[error("is a number above 9223372036854775807")]
    Unsigned,
    /// A tag.
    #[error("has a tag that SOPS drops")]
    Tag,
    /// A date or time without quotes.
    #[error("is a date without quotes, which sops before 3.10 cannot read")]
    Timestamp,
    /// A number, date or truth value without quotes that SOPS stores in another form.
    #[error("is {} without quotes, and SOPS stores it in another form", kind_in_words(*.0))]
    Rewritten(Kind),
    /// A negative zero in clear text.
    #[error("is -0.0, which sops writes as 0")]
    NegativeZero,
    /// A line or paragraph separator in clear text.
    #[error("contains U+0085, U+2028 or U+2029, which sops takes for a line break")]
    Separator,
    /// A byte order mark that is not the first character of the text.
    #[error("begins a line with U+FEFF, which sops takes for text")]
    ByteOrderMark,
    /// A line break of the old Macintosh.
    #[error("ends a line with a carriage return alone")]
    CarriageReturn,
    /// A string that begins with a line break, in clear text: sops 3.9 drops it, and later ones do in a list.
    #[error("begins with a line break, which sops loses")]
    LeadingBreak,
    /// A comment in a list that is sealed.
    #[error("has a comment in a list that is encrypted, which sops 3.13.2 cannot read")]
    CommentInList,
    /// Several documents with a MAC over sealed values only.
    #[error("the text has several documents, and `mac_only_encrypted` would let anyone swap them")]
    LooseDocuments,
    /// More documents than a file may have.
    #[error("the text has {0} documents, and each gets a `sops:` of its own; {MAX_DOCUMENTS} are the most")]
    TooManyDocuments(usize),
    /// No recipient.
    #[error("there is no recipient")]
    NoRecipient,
    /// A recipient given twice.
    #[error("the recipient `{}` is given twice", shortened(.0))]
    TwoAlike(String),
    /// Recipients that only sops can serve.
    #[error("the file is also for {}, which only sops can serve", .0.join(", "))]
    Foreign(Vec<String>),
    /// A key split among groups.
    #[error("the data key is split among groups of recipients")]
    KeyGroups,
    /// A new key where none can go.
    #[error("cannot be added: what it would stand in is not a block mapping")]
    NoRoom,
    /// A collection where a value is to be set.
    #[error("is a mapping or a list")]
    NoScalar,
}

impl SopsError {
    /// Returns the exit code that sops itself would end with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Yaml(_) | Self::Metadata(_) => 2,
            Self::NotEncrypted | Self::Talm(_) | Self::Recipient(_) | Self::ReadBack => 1,
            Self::AlreadyEncrypted(_) => 203,
            Self::Rule(_) => 5,
            Self::NoKey(_) => 128,
            Self::NoMac | Self::MacMismatch | Self::Moved(_) => 51,
            Self::Value { .. } => 25,
            Self::Refused { .. } | Self::ClearSecrets(_) => 23,
            Self::NothingAt(_) => 91,
        }
    }

    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Yaml(error) => return error.help.clone(),
            Self::NotEncrypted => "encrypt it with `talmirror encrypt`, or use it as it is".to_owned(),
            Self::AlreadyEncrypted(_) => "decrypt it first, or edit it with `talmirror encrypt --update`".to_owned(),
            Self::Talm(_) => "decrypt it with `talm` and encrypt the result here".to_owned(),
            Self::Metadata(_) => "compare the `sops:` with the last version in your history".to_owned(),
            Self::Rule(_) => "sops would ignore it and leave every value in clear text; correct the pattern".to_owned(),
            Self::NoKey(no_key) if !no_key.locked.is_empty() => "run it where the passphrase can be asked for".to_owned(),
            Self::NoKey(no_key) if no_key.recipients.iter().all(|name| !name.starts_with("age1") && !name.starts_with("ssh-")) => {
                "only sops serves these recipients: use `sops decrypt`, or add an age recipient with `sops updatekeys`".to_owned()
            }
            Self::NoKey(no_key) if no_key.is_damaged() => "restore the `sops:` of the file from your history".to_owned(),
            Self::NoKey(_) => "set SOPS_AGE_KEY_FILE or SOPS_AGE_KEY to a key of one of these recipients".to_owned(),
            Self::NoMac | Self::MacMismatch | Self::Moved(_) => {
                "compare with the last version in your history; if every change is yours, `talmirror seal FILE` seals it again"
                    .to_owned()
            }
            Self::Value { source, .. } => match source.0 {
                CipherError::NotSealed => "the rule wants this value encrypted: restore it from your history".to_owned(),
                _ => "restore the value from your history; a value cannot be moved to another key".to_owned(),
            },
            Self::Refused { refusal, .. } => return refusal.help().map(str::to_owned),
            Self::Recipient(RecipientError::NoPlugin { program, .. }) => format!("install `{program}`"),
            Self::Recipient(_) => "a recipient begins with `age1` or `ssh-`".to_owned(),
            Self::ClearSecrets(_) => {
                "extend the rule so that it fits these keys, or leave it out: without one every value is encrypted"
                    .to_owned()
            }
            Self::NothingAt(_) => "`talmirror decrypt` shows what is there".to_owned(),
            Self::ReadBack => "please report this with the file's structure, without its secrets".to_owned(),
        })
    }

    /// Returns whether it is the text's form that SOPS cannot keep: sealed as one value, it could be kept.
    pub fn is_of_the_form(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => refusal.is_of_the_form(),
            Self::Yaml(_) | Self::AlreadyEncrypted(_) | Self::Talm(_) | Self::ReadBack => true,
            Self::NotEncrypted
            | Self::Metadata(_)
            | Self::Rule(_)
            | Self::NoKey(_)
            | Self::NoMac
            | Self::MacMismatch
            | Self::Moved(_)
            | Self::Value { .. }
            | Self::Recipient(_)
            | Self::ClearSecrets(_)
            | Self::NothingAt(_) => false,
        }
    }

    /// Returns where it is, if it is in one place.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Yaml(error) => Some(error.position),
            Self::AlreadyEncrypted(position) | Self::Talm(position) | Self::Refused { position, .. } => {
                *position
            }
            Self::Value { position, .. } => Some(*position),
            Self::ClearSecrets(secrets) => secrets.first().map(|secret| secret.position),
            Self::NotEncrypted
            | Self::Metadata(_)
            | Self::Rule(_)
            | Self::NoKey(_)
            | Self::NoMac
            | Self::MacMismatch
            | Self::Moved(_)
            | Self::Recipient(_)
            | Self::NothingAt(_)
            | Self::ReadBack => None,
        }
    }
}

impl Refusal {
    /// Makes the error for a whole text.
    pub(super) fn whole(self) -> SopsError {
        SopsError::Refused { refusal: self, path: Path::default(), position: None }
    }

    /// Makes the error for a value.
    pub(super) fn at(self, path: &Path, position: Position) -> SopsError {
        SopsError::Refused { refusal: self, path: path.clone(), position: Some(position) }
    }

    fn is_of_the_form(&self) -> bool {
        match self {
            Self::List
            | Self::NoMapping
            | Self::FlowRoot
            | Self::BlockRoot
            | Self::SopsKey
            | Self::Alias
            | Self::Merge
            | Self::KeyKind(_)
            | Self::Unsigned
            | Self::Tag
            | Self::Timestamp
            | Self::Rewritten(_)
            | Self::NegativeZero
            | Self::Separator
            | Self::ByteOrderMark
            | Self::CarriageReturn
            | Self::LeadingBreak
            | Self::CommentInList => true,
            Self::Empty
            | Self::TooManyDocuments(_)
            | Self::LooseDocuments
            | Self::NoRecipient
            | Self::TwoAlike(_)
            | Self::Foreign(_)
            | Self::KeyGroups
            | Self::NoRoom
            | Self::NoScalar => false,
        }
    }

    fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::List => "put it below a key, such as `patch:`; SOPS needs a mapping at the top",
            Self::NoMapping | Self::Empty => "write a mapping of keys and values",
            Self::FlowRoot => "write it in block style, one key a line",
            Self::BlockRoot => "write it as JSON, as it was decrypted",
            Self::SopsKey => "give the key another name",
            Self::Alias | Self::Merge => {
                "write the value out: SOPS would do so, and the anchor would be lost"
            }
            Self::KeyKind(_) | Self::Unsigned | Self::Timestamp | Self::Rewritten(_) => "put it in quotes",
            Self::Tag => "leave the tag out",
            Self::NegativeZero => "write 0, or put it in quotes",
            Self::Separator | Self::LeadingBreak => "let the rule select it, or leave the character out",
            Self::ByteOrderMark => "leave the character out; it shows only in a hex dump",
            Self::CarriageReturn => "end every line with LF or CR LF",
            Self::CommentInList => "move the comment above the list's key",
            Self::LooseDocuments => {
                "leave `mac_only_encrypted` or the rule out, so that the MAC covers every value, or write one document a file"
            }
            Self::TooManyDocuments(_) => "split the file",
            Self::NoRecipient => "name one in `.sops.yaml`, or set SOPS_AGE_RECIPIENTS",
            Self::TwoAlike(_) => "name it once",
            Self::Foreign(_) | Self::KeyGroups => "use sops itself for this file",
            Self::NoRoom | Self::NoScalar => return None,
        })
    }
}

fn at(position: Option<&Position>) -> String {
    position.map_or_else(String::new, |at| format!(" at line {}, column {}", at.line, at.column))
}

/// Names what a refusal speaks of, unless it does so itself.
fn subject(path: &Path, refusal: &Refusal) -> String {
    if refusal.to_string().starts_with("the") {
        String::new()
    } else if path.0.is_empty() {
        "the document ".to_owned()
    } else {
        format!("{path} ")
    }
}

fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Int | Kind::Float => "a number",
        Kind::Bool => "a truth value",
        Kind::Time => "a date",
        Kind::Str => "text",
        Kind::Comment => "a comment",
    }
}

/// Names paths, but not hundreds of them.
fn moved(paths: &[String]) -> String {
    match paths {
        [] => "parts of it stand in another order, or are missing".to_owned(),
        [only] => format!("{only} was changed or moved"),
        paths => {
            let shown: Vec<&str> = paths.iter().take(5).map(String::as_str).collect();
            let more = paths.len() - shown.len();
            let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("{}{rest} were changed or moved", shown.join(", "))
        }
    }
}

fn secrets(secrets: &[ClearSecret]) -> String {
    let names: Vec<_> =
        secrets.iter().map(|secret| format!("{} (line {})", secret.path, secret.position.line)).collect();
    format!("{} would be left", names.join(", "))
}
