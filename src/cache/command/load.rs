#![expect(clippy::disallowed_methods, reason = "reads the configuration and the environment")]

use std::path::{Path, PathBuf};

use crate::cache::config::{self, Config, Overlay};
use crate::finding::Problem;
use crate::secret::read_limited;
use crate::ui::{error::CliError, exit};

/// The largest file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A configuration as it holds, and what was found about its file.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    /// Warnings and notes.
    pub(super) problems: Vec<Problem>,
}

/// Reads the configuration: the file, if one is named, and flags over it. Its errors end the command.
pub(super) fn load(file: Option<&Path>, overlay: &Overlay) -> Result<Loaded, CliError> {
    let (from_file, problems) = match file {
        None => (None, Vec::new()),
        Some(file) => {
            let (config, problems) = read(file)?;
            (Some(config), problems)
        }
    };
    let config = overlay.over(from_file).map_err(|error| {
        let help = error.help.clone();
        CliError::from_error(exit::USAGE, error).help(help)
    })?;
    Ok(Loaded { config, problems })
}

fn read(file: &Path) -> Result<(Config, Vec<Problem>), CliError> {
    let name = file.display().to_string();
    let failed = |error: std::io::Error| {
        CliError::from_error(exit::INVALID, error).context(format!("cannot read `{name}`"))
    };
    let bytes =
        std::fs::File::open(file).and_then(|opened| read_limited(opened, MAX_BYTES)).map_err(failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| CliError::new(exit::INVALID, format!("`{name}` is not UTF-8")))?;
    let base = file.parent().unwrap_or(Path::new(""));
    let parsed = config::parse(&text, &name, base);
    if let Some(config) = parsed.config {
        return Ok((config, parsed.problems));
    }
    Err(CliError::in_file(&name, parsed.problems))
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
