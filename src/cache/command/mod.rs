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

use args::{Cli, Command};

use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{self, Ui};

/// Runs the command that the arguments name, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match ui::parse(arguments, &exits) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let mut ui = Ui::new(cli.global.color, cli.global.quiet);
    let result = run(&mut ui, cli.command).and_then(|exit| ui.flush().map(|()| exit));
    ui.exit(result)
}

/// Returns the exit codes that a command has.
fn exits(path: &[&str]) -> Vec<Exit> {
    let all = [exit::OK, exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE, exit::WRITE];
    let last = [exit::INTERRUPTED, exit::CLOSED_PIPE];
    match path.first().copied() {
        Some("completion" | "man" | "mirror-config") => {
            vec![exit::OK, exit::USAGE, exit::WRITE, exit::CLOSED_PIPE]
        }
        None | Some(_) => all.into_iter().chain(last).collect(),
    }
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
