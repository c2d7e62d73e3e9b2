use std::fmt;
use std::path::PathBuf;

use super::value::Secret;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// It stands in the file itself.
    Inline(Secret<String>),
    /// An environment variable.
    Env(String),
    /// A file; one line break at its end is dropped.
    File(PathBuf),
    /// The standard output of a program, started without a shell; one line break at its end is dropped.
    Command(Vec<String>),
    /// Standard input, up to its end; one line break at its end is dropped.
    Stdin,
}

/// Names the place, never the value.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("inline"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            // Arguments may hold a token; the program's name is enough to find the line.
            Self::Command(argv) => write!(f, "command {}", argv.first().map_or("", String::as_str)),
            Self::Stdin => f.write_str("stdin"),
        }
    }
}
