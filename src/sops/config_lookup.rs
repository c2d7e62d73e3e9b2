#![expect(clippy::disallowed_methods, reason = "reads .sops.yaml")]

use std::path::Path;

use super::config::{Config, ConfigError, Warning};

/// The name that sops looks for.
const NAME: &str = ".sops.yaml";
/// How far up it looks.
const LEVELS: usize = 100;

impl Config {
    /// Finds the `.sops.yaml` in a folder or the nearest one above it, and reads it; [`None`] if there is none.
    ///
    /// sops begins at the working directory, not at the file that is encrypted: so should `folder` be.
    ///
    /// Fails if the file is there but cannot be read or followed.
    pub fn find(folder: &Path) -> Result<Option<Self>, ConfigError> {
        let mut misnamed = None;
        for folder in folder.ancestors().take(LEVELS) {
            let path = folder.join(NAME);
            if path.is_file() {
                let mut config = Self::load(&path)?;
                config.warnings.extend(misnamed);
                return Ok(Some(config));
            }
            let other = folder.join(".sops.yml");
            if misnamed.is_none() && other.is_file() {
                let message = format!("sops does not read `{}`; it looks for `{NAME}`", other.display());
                misnamed = Some(Warning { line: 1, message });
            }
        }
        Ok(None)
    }

    /// Reads the configuration at a path, such as `SOPS_CONFIG` names.
    ///
    /// Fails if it cannot be read or followed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, &std::path::absolute(path).map_err(unreadable)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_one_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.path().join(NAME), "creation_rules: []\n").unwrap();
        std::fs::write(deep.join(".sops.yml"), "").unwrap();
        let config = Config::find(&deep).unwrap().unwrap();
        assert_eq!(config.path, root.path().join(NAME));
        assert_eq!(config.warnings.len(), 1);
        assert_eq!(config.relative(&deep.join("x.yaml")), "a/b/x.yaml");
    }
}
