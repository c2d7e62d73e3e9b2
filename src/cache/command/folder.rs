#![expect(clippy::disallowed_methods, reason = "reads the environment")]

use std::path::{Path, PathBuf};

use super::args::StoreArgs;
use crate::cache::config::{ConfigSource, Overlay};
use crate::ui::error::CliError;

/// Returns the folder of the store that a command is about.
pub(super) fn of_store(args: &StoreArgs) -> Result<PathBuf, CliError> {
    let overlay = Overlay { root: args.root.root.clone(), ..Overlay::default() };
    let source = ConfigSource { file: args.config.clone(), overlay };
    root(source.load()?.config.root.as_deref())
}

/// Returns the folder that content is kept in: the one that is named, else one for the user's data.
///
/// Source of the latter: the XDG Base Directory Specification.
pub(super) fn root(named: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    // systemd names the folder of a service that has `StateDirectory=`.
    let state = absolute("STATE_DIRECTORY");
    state.or_else(|| data.map(|data| data.join("talmirror-cache"))).ok_or_else(|| {
        CliError::usage("nothing says where content is kept").help("name a folder: --root DIR")
    })
}
