use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::cli::args::Cli;
use crate::cli::error::CliError;
use crate::cli::exit::{self, Exit};
use crate::cli::ui::Ui;

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror man | man -l -
  talmirror man --output-dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Where to write a page for each command; without it the main page goes to standard output
    #[arg(long, env = "TALMIRROR_OUTPUT_DIR", value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

pub(crate) fn run(ui: &mut Ui, args: ManArgs) -> Result<Exit, CliError> {
    match args.output_dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            ui.result(&String::from_utf8_lossy(&page))?;
        }
        Some(dir) => {
            std::fs::create_dir_all(&dir)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
                .map_err(|error| {
                    CliError::from_error(exit::WRITE, error)
                        .context(format!("cannot write to `{}`", dir.display()))
                })?;
            ui.note(&format!("wrote the manual pages to {}", dir.display()));
        }
    }
    Ok(exit::OK)
}
