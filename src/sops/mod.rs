//! SOPS files: reading what every version since 3.6 wrote, writing what every version since 3.9 reads.
//!
//! A file is edited as the text it is. Values are replaced where they stand, the `sops:` block is added or renewed, and
//! every other byte stays: comments, quotes, order. A value that did not change keeps its ciphertext, recipients of kinds
//! that only sops serves stay as they are, and a file that holds what it should hold already is not touched at all. The
//! order of work is [`Encrypted::parse`], [`Encrypted::open`], then [`Opened`]'s methods; [`encrypt`] makes a new file.
//!
//! # Why an own layer
//!
//! It is thin: [`age`] wraps the data key, `aes-gcm` seals values, `sha2` makes the MAC. The `rops` crate does all three,
//! but as of 0.1.7 no release of sops reads its output as written: it names no `version`, and leaves `lastmodified`
//! without quotes. sops 3.9.4 says `Version string empty`; sops 3.13.3 says `'lastmodified' expected type 'string', got
//! unconvertible type 'time.Time'`. It also leaves a secret in clear text where the rule has to match a key with a `:`
//! in it, as every `host:port` of a registry is; it drops comments and other people's PGP and KMS recipients; and it
//! reads one document only. It serves the tests as a second reader of what is written here.
//!
//! # What a MAC does not say
//!
//! It covers values, not keys, types or comments: who can write the file can rename a clear key, such as a mirror's host,
//! and sops will not notice. With `mac_only_encrypted`, clear values are not covered either. A file that talmirror made of
//! an inventory therefore holds a sealed value of its own ([`STRUCTURE`]), which is compared when the file is opened.
//!
//! # Pure and not
//!
//! Time and randomness are arguments. Files, variables and commands are touched by `key_locations.rs`,
//! `config_lookup.rs` alone; age takes randomness of its own when it wraps a key, and starts plugins.

mod binding;
mod block;
mod cipher;
mod config;
mod config_lookup;
mod draft;
mod encrypt;
mod encrypted;
mod error;
mod guard;
mod identity;
mod key_locations;
mod keygen;
mod known_secrets;
mod mac;
mod metadata;
mod opened;
mod path;
mod pattern;
mod plain;
mod post_quantum;
mod recipient;
mod rekey;
mod rewritten;
mod rule;
mod shamir;
mod stash;
mod structure;
#[cfg(test)]
mod tests;
mod value;
mod walk;
mod x_wing;

pub use config::{Config, ConfigError, CreationRule, Warning};
pub use encrypt::{Bound, InClear, Sealed, Settings, VERSION, encrypt, encrypt_and_tell};
pub use encrypted::{Encrypted, is_encrypted, looks_encrypted, metadata_of, sealed_values};
pub use error::{ClearSecret, NoKey, Refusal, SopsError, ValueError};
pub use guard::guard;
pub use identity::{Identities, PassphrasePrompt};
pub use key_locations::Surroundings;
pub use keygen::{KeyKind, NewKey, new_key_pair};
pub use known_secrets::{
    IsSecret, REGISTRY_RULE, SECRET_RULE, clear_secrets, is_machine_secret, is_registry_secret, is_secret,
};
pub use mac::MacScope;
pub use metadata::MetadataError;
pub use opened::{IntegrityFault, Opened};
pub use path::{Path, PathError, Step};
pub use pattern::{Pattern, PatternError};
pub use recipient::{Recipient, RecipientError, shortened};
pub use rekey::{KeyChange, Rekeyed};
pub use rewritten::Rewritten;
pub use rule::{Rule, RuleError};
pub use structure::STRUCTURE;
pub use value::{Kind, Value};
