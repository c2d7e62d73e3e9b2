#![expect(clippy::disallowed_methods, reason = "writes man pages")]

use std::path::Path;

use super::error::CliError;
use super::exit::{self, Exit};
use super::terminal::Ui;

/// Writes a page for each command into a directory, or the main page to standard output.
pub(crate) fn manual(ui: &mut Ui, command: clap::Command, dir: Option<&Path>) -> Result<Exit, CliError> {
    match dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            ui.result(&String::from_utf8_lossy(&page))?;
        }
        Some(dir) => {
            std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir)).map_err(
                |error| {
                    CliError::from_error(exit::WRITE, error)
                        .context(format!("cannot write to `{}`", dir.display()))
                },
            )?;
            ui.note(&format!("wrote the manual pages to {}", dir.display()));
        }
    }
    Ok(exit::OK)
}
