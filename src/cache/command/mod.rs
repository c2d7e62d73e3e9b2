//! The commands of talmirror-cache: arguments, and what each does.

mod args;
mod check;
mod completion;
mod contents;
mod control;
mod load;
mod man;
mod mirror_config;
mod prune;
mod serve;
mod stats;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{self, Ui};

/// Runs the command that the arguments name, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return ui::usage(error),
    };
    let mut ui = Ui::new(cli.global.color, cli.global.quiet);
    let result = run(&mut ui, cli.command).and_then(|exit| ui.flush().map(|()| exit));
    ui.exit(result)
}

fn run(ui: &mut Ui, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Serve(args) => serve::run(ui, &args),
        Command::Check(args) => check::run(ui, &args),
        Command::Ls(args) => contents::run(ui, &args),
        Command::Prune(args) => prune::run(ui, &args),
        Command::Stats(args) => stats::run(ui, &args),
        Command::MirrorConfig(args) => mirror_config::run(ui, &args),
        Command::Completion(args) => completion::run(ui, &args),
        Command::Man(args) => man::run(ui, &args),
    }
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// One object
    Json,
}

/// Returns what runs asynchronous work of a command that is not the server.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot start"))
}
