//! What a command reads: files, standard input, the environment; and how it names them.

#![expect(clippy::disallowed_methods, reason = "reads files and the environment")]

use std::path::{Path, PathBuf};

use crate::secret::{read_limited, read_stdin};
use crate::ui::{CliError, exit};
use crate::yaml::LineIndex;

/// The largest file that is read: far above any inventory or machine config.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Reads a text file, or standard input for `-`.
pub(super) fn read(file: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| {
        CliError::from_error(exit::INVALID, error).context(format!("cannot read `{file}`"))
    };
    let bytes = if file == "-" {
        read_stdin(MAX_BYTES).map_err(failed)?
    } else {
        std::fs::File::open(file).and_then(|opened| read_limited(opened, MAX_BYTES)).map_err(failed)?
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
        let position = LineIndex::new(&text).position(valid);
        let place = format!("{file}:{}:{}", position.line, position.column);
        CliError::new(exit::INVALID, format!("`{file}` is not UTF-8, first at {place}"))
            .help("is it a binary file, or text in another encoding?")
    })
}

/// Returns the directory that a file's relative paths start at.
pub(super) fn directory_of(file: &str) -> PathBuf {
    match Path::new(file).parent() {
        Some(parent) if file != "-" && !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Returns how a file is called in messages.
pub(super) fn display_name(file: &str) -> &str {
    if file == "-" { "<stdin>" } else { file }
}

/// Returns the folder of what talmirror keeps for its user between runs; nothing is made.
pub(super) fn state_folder() -> Option<PathBuf> {
    let state = environment("XDG_STATE_HOME").map(PathBuf::from);
    // A relative one counts as none (XDG Base Directory Specification).
    let state = state.filter(|folder| folder.is_absolute());
    let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(state.join("talmirror"))
}

/// Looks up a variable of the environment.
pub(super) fn environment(name: &str) -> Option<String> {
    // What talmirror reads itself is unset where it is set to nothing, as CI does.
    std::env::var(name).ok().filter(|value| !name.starts_with("TALMIRROR_") || !value.is_empty())
}
