//! The commands of talmirror-cache: arguments, and what each does.

mod args;
mod check;
mod completion;
mod errors;
mod folder;
mod gc;
mod ls;
mod man;
mod mirror_config;
mod prune;
mod record;
mod redirect;
mod refresh;
mod runtime;
mod serve;
mod stats;
mod tier;
mod upload;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use args::Global;

use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{self, Ui};

/// A pull-through cache for many container registries: one port, one folder.
///
/// Nodes pull through it, and it pulls each thing once. It serves the registries that it is told and dials nothing
/// else. Without a word of configuration it listens on loopback and serves the well-known registries.
#[derive(Debug, Parser)]
#[command(
    name = "talmirror-cache",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  talmirror-cache serve
  talmirror-cache serve --listen :5000 --root /var/lib/talmirror-cache --size-cap 50GiB
  talmirror-cache serve --upstream docker.io=https://registry-1.docker.io --upstream ghcr.io=https://ghcr.io
  talmirror-cache mirror-config talos --url http://10.0.0.5:5000 | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin")]
struct Cli {
    /// What all commands share.
    #[command(flatten)]
    global: Global,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The commands, in the order of help.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve registries from the cache
    Serve(Box<serve::ServeArgs>),
    /// Log in to every upstream; say what fails and why
    Check(Box<check::CheckArgs>),
    /// List what is stored
    #[command(visible_alias = "list")]
    Ls(Box<ls::LsArgs>),
    /// Remove what is stored, by name or by age
    Prune(Box<prune::PruneArgs>),
    /// Remove from a bucket what no image needs
    Gc(Box<gc::GcArgs>),
    /// Ask registries now what stored tags stand for
    Refresh(Box<refresh::RefreshArgs>),
    /// Check what is stored against its digests; remove what is damaged
    Verify(Box<verify::VerifyArgs>),
    /// Write to a bucket what is stored
    Upload(Box<upload::UploadArgs>),
    /// Show how full the cache is
    Stats(stats::StatsArgs),
    /// Print configuration that points clients at the cache: Talos, containerd, podman
    MirrorConfig(Box<mirror_config::MirrorConfigArgs>),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
    /// Write the manual pages
    Man(man::ManArgs),
}

/// Runs the command that the arguments name, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match ui::parse(arguments, &exits) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let mut ui = Ui::new(cli.global.color, ui::Verbosity::of(cli.global.quiet, 0));
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
        Command::Ls(args) => ls::run(ui, &args),
        Command::Prune(args) => prune::run(ui, &args),
        Command::Gc(args) => gc::run(ui, &args),
        Command::Refresh(args) => refresh::run(ui, &args),
        Command::Verify(args) => verify::run(ui, &args),
        Command::Upload(args) => upload::run(ui, &args),
        Command::Stats(args) => stats::run(ui, &args),
        Command::MirrorConfig(args) => mirror_config::run(ui, &args),
        Command::Completion(args) => completion::run(ui, &args, Cli::command()),
        Command::Man(args) => {
            ui::write_manual(ui, Cli::command(), &man::manual(exits), args.output_dir.as_deref())
        }
    }
}
