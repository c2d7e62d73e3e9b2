//! Secrets: a value that nothing prints, where one comes from, and hiding those that reach a text anyway.

mod random;
mod redact;
mod reference;
mod source;
mod value;

pub use random::{Random, os_random};
pub use redact::{Redactor, is_redacted, without_userinfo};
pub use reference::SecretRef;
pub use source::{
    Hidden, NOT_RUN, Permission, Permit, SourceError, Sources, Values, claim_stdin, read_limited, read_stdin,
};
pub use value::Secret;
