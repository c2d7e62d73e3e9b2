//! The command line: arguments, one file a command, tables, prompts, errors with hints, exit codes.

mod args;
mod backup_file;
mod commands;
mod crypt;
mod current;
mod drift;
mod ending;
mod live;
mod load;
mod output;
mod plan;
mod progress;
mod roll;
mod signal_source;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command, Global};

pub use crate::ui::exit;
use crate::ui::{self, Ui, error, error::CliError};

/// Runs the command that the arguments name, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return ui::usage(error),
    };
    let mut ui = Ui::new(cli.global.color, cli.global.quiet);
    let result = run(&mut ui, &cli.global, cli.command).and_then(|exit| ui.flush().map(|()| exit));
    ui.exit(result)
}

fn run(ui: &mut Ui, global: &Global, command: Command) -> Result<exit::Exit, CliError> {
    match command {
        Command::Init(args) => commands::init::run(ui, global, args),
        Command::Import(args) => commands::import::run(ui, global, args),
        Command::Validate(args) => commands::validate::run(ui, global, args),
        Command::Explain(args) => commands::explain::run(ui, global, args),
        Command::Generate(args) => commands::generate::run(ui, global, args),
        Command::Diff(args) => commands::diff::run(ui, global, args),
        Command::Nodes(args) => commands::nodes::run(ui, global, args),
        Command::Rollout(args) => commands::rollout::run(ui, global, args),
        Command::Rollback(args) => commands::rollback::run(ui, global, args),
        Command::Backup(args) => commands::backup::run(ui, global, args),
        Command::Machineconfig(args) => commands::machineconfig::run(ui, global, args),
        Command::Encrypt(args) => commands::encrypt::run(ui, global, args),
        Command::Decrypt(args) => commands::decrypt::run(ui, global, args),
        Command::Rekey(args) => commands::rekey::run(ui, global, args),
        Command::Rotate(args) => commands::rotate::run(ui, global, args),
        Command::Schema(args) => commands::schema::run(ui, args),
        Command::Completion(args) => commands::completion::run(ui, &global.inventory, args),
        Command::Man(args) => commands::man::run(ui, args),
    }
}
