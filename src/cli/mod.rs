//! The command line: arguments, one file a command, tables, prompts, errors with hints, exit codes.

mod args;
mod artifacts;
mod commands;
mod encryption;
mod input;
mod inventory;
mod machine_config;
mod rollout;
mod sealer;
mod session;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use args::Global;

pub use crate::ui::exit;
use crate::ui::exit::Exit;
use crate::ui::{self, CliError, Ui};

/// Registry mirrors for Talos Linux clusters, from one inventory.
///
/// One file says which registries go through which mirrors; talmirror turns it into patches for Talos, keeps its
/// secrets encrypted so that sops reads them, and tells what is wrong before a node does.
#[derive(Debug, Parser)]
#[command(
    name = "talmirror",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  talmirror init --kind harbor --url https://harbor.example --registries docker.io,ghcr.io
  talmirror validate
  talmirror generate --talos-version v1.13 | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin
  talmirror explain docker.io/library/alpine:3.22 --node n1")]
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
    /// Write an inventory, a SOPS rule and a CI workflow to begin with
    Init(commands::init::InitArgs),
    /// Make an inventory of what exists: machine configs, patches, talhelper, k3s, containerd
    Import(commands::import::ImportArgs),
    /// Check the inventory without a network or a node
    Validate(commands::validate::ValidateArgs),
    /// Show where an image comes from on a node, or what a finding means
    Explain(commands::explain::ExplainArgs),
    /// Make patches for Talos
    Generate(commands::generate::GenerateArgs),
    /// Compare the inventory with live nodes, or with a machine config
    Diff(commands::diff::DiffArgs),
    /// Show the nodes: versions, stages, configs that are pending
    Nodes(commands::nodes::NodesArgs),
    /// Bring live nodes to what the inventory gives, node by node: tried, verified, committed, else reverted
    Rollout(rollout::RolloutArgs),
    /// Put nodes back to what they had before a rollout
    Rollback(rollout::rollback::RollbackArgs),
    /// Keep every node's machine config in an encrypted file
    Backup(commands::backup::BackupArgs),
    /// Work on machine config files
    #[command(visible_alias = "mc")]
    Machineconfig(commands::machineconfig::MachineconfigArgs),
    /// Encrypt a file as sops does
    Encrypt(commands::encrypt::EncryptArgs),
    /// Decrypt a file as sops does
    Decrypt(commands::decrypt::DecryptArgs),
    /// Edit an encrypted file: checked, then encrypted again
    Edit(commands::edit::EditArgs),
    /// Seal a file again whose clear parts were edited by hand
    Seal(commands::seal::SealArgs),
    /// Make an age key, classic or post-quantum
    Keygen(commands::keygen::KeygenArgs),
    /// Encrypt files for the recipients that .sops.yaml names now
    Rekey(commands::rekey::RekeyArgs),
    /// Put a new secret into the encrypted inventory
    Rotate(commands::rotate::RotateArgs),
    /// Write manifests, units and workflows that run the cache and check the inventory
    Template(commands::template::TemplateArgs),
    /// Print the JSON schema of the inventory
    Schema(commands::schema::SchemaArgs),
    /// Print a completion script for a shell
    Completion(commands::completion::CompletionArgs),
    /// Write the manual pages
    Man(commands::man::ManArgs),
}

/// Runs the command that the arguments name, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match ui::parse(arguments, &exits) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let mut ui = Ui::new(cli.global.color, cli.global.quiet);
    let result = run(&mut ui, &cli.global, cli.command).and_then(|exit| ui.flush().map(|()| exit));
    ui.exit(result)
}

/// Returns the exit codes that a command has beside those of sops, which stand in the help of the three that end as it does.
fn exits(path: &[&str]) -> Vec<Exit> {
    let lasting = |more: &[Exit]| {
        let all = [&[exit::OK], more, &[exit::INTERRUPTED, exit::CLOSED_PIPE]].concat();
        exit::ALL.iter().copied().filter(|exit| all.contains(exit)).collect()
    };
    match path.first().copied() {
        None | Some("rollout" | "rollback") => exit::ALL.to_vec(),
        Some("diff" | "backup") => {
            lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE, exit::WRITE])
        }
        Some("nodes") => lasting(&[exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE]),
        Some("import") => lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET]),
        Some("seal" | "edit") => {
            lasting(&[exit::USAGE, exit::INVALID, exit::SECRET, exit::STOPPED, exit::WRITE])
        }
        Some("validate") => lasting(&[exit::FOUND, exit::USAGE, exit::INVALID]),
        Some("generate" | "machineconfig") => {
            lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::WRITE])
        }
        Some("template") => lasting(&[exit::USAGE, exit::INVALID, exit::WRITE]),
        Some("completion" | "schema" | "man" | "keygen") => lasting(&[exit::USAGE, exit::WRITE]),
        Some(_) => lasting(&[exit::USAGE, exit::INVALID, exit::SECRET, exit::WRITE]),
    }
}

fn run(ui: &mut Ui, global: &Global, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => commands::init::run(ui, global, args),
        Command::Import(args) => commands::import::run(ui, global, args),
        Command::Validate(args) => commands::validate::run(ui, global, args),
        Command::Explain(args) => commands::explain::run(ui, global, args),
        Command::Generate(args) => commands::generate::run(ui, global, args),
        Command::Diff(args) => commands::diff::run(ui, global, args),
        Command::Nodes(args) => commands::nodes::run(ui, global, args),
        Command::Rollout(args) => rollout::run(ui, global, args),
        Command::Rollback(args) => rollout::rollback::run(ui, global, args),
        Command::Backup(args) => commands::backup::run(ui, global, args),
        Command::Machineconfig(args) => commands::machineconfig::run(ui, global, args),
        Command::Encrypt(args) => commands::encrypt::run(ui, global, args),
        Command::Decrypt(args) => commands::decrypt::run(ui, global, args),
        Command::Edit(args) => commands::edit::run(ui, global, args),
        Command::Seal(args) => commands::seal::run(ui, global, args),
        Command::Keygen(args) => commands::keygen::run(ui, args),
        Command::Rekey(args) => commands::rekey::run(ui, global, args),
        Command::Rotate(args) => commands::rotate::run(ui, global, args),
        Command::Template(args) => commands::template::run(ui, args),
        Command::Schema(args) => commands::schema::run(ui, args),
        Command::Completion(args) => commands::completion::run(ui, Cli::command(), &global.inventory, args),
        Command::Man(args) => commands::man::run(ui, Cli::command(), args),
    }
}
