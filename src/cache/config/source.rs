#![expect(clippy::disallowed_methods, reason = "reads the configuration file")]

use std::io;
use std::path::{Path, PathBuf};

use super::model::Config;
use super::overlay::{Overlay, OverlayError};
use super::read::parse;
use crate::file::Stamp;
use crate::finding::{Problem, Severity};
use crate::secret::read_limited;

/// The largest file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Where a configuration comes from: a file, and flags over it.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What flags and variables say.
    pub overlay: Overlay,
}

/// A configuration as it holds, and what was found about its file.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// Warnings and notes.
    pub problems: Vec<Problem>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The file is not text.
    #[error("`{}` is not UTF-8", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
    },
    /// The file has errors.
    #[error("`{}` holds {}", file.display(), counted(problems))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Its errors, and what else was found.
        problems: Vec<Problem>,
    },
    /// A flag does not fit the rest.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

fn counted(problems: &[Problem]) -> String {
    match problems.iter().filter(|problem| problem.code.severity() == Severity::Error).count() {
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    }
}

impl ConfigSource {
    /// Reads the configuration.
    pub fn load(&self) -> Result<LoadedConfig, LoadError> {
        let (from_file, problems) = match &self.file {
            None => (None, Vec::new()),
            Some(file) => {
                let (config, problems) = read(file)?;
                (Some(config), problems)
            }
        };
        Ok(LoadedConfig { config: self.overlay.over(from_file)?, problems })
    }

    /// Returns the stamp of the file, which is another one when the file has changed.
    pub fn stamp(&self) -> Option<Stamp> {
        self.file.as_deref().and_then(Stamp::of)
    }
}

fn read(file: &Path) -> Result<(Config, Vec<Problem>), LoadError> {
    let opened = std::fs::File::open(file).and_then(|opened| read_limited(opened, MAX_BYTES));
    let bytes = opened.map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| LoadError::NotUtf8 { file: file.to_owned() })?;
    let parsed = parse(&text, &file.display().to_string(), file.parent().unwrap_or(Path::new("")));
    match parsed.config {
        Some(config) => Ok((config, parsed.problems)),
        None => Err(LoadError::Invalid { file: file.to_owned(), problems: parsed.problems }),
    }
}
