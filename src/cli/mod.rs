//! The command line: arguments, one file a command, tables, prompts, errors with hints, exit codes.

mod args;
mod artifacts;
mod code_list;
mod commands;
mod completion;
mod encryption;
mod images;
mod input;
mod inventory;
mod machine_config;
mod meant;
mod narrowing;
mod node_facts;
mod permission;
mod reports;
mod rollout;
mod sealer;
mod session;
mod warm;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use args::Global;

pub use crate::ui::exit;
use crate::ui::exit::Exit;
use crate::ui::{self, CliError, Ui, Verbosity};

/// Registry mirrors for Talos Linux clusters, from one inventory.
///
/// One file says which registries go through which mirrors; talmirror turns it into patches for Talos, keeps its
/// secrets encrypted so that sops reads them, and tells what is wrong before a node does.
#[derive(Debug, Parser)]
#[command(
    name = "talmirror",
    version,
    long_version = LONG_VERSION,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  talmirror init --kind harbor --url https://harbor.example --registries docker.io,ghcr.io
  talmirror validate
  talmirror generate --talos-version v1.13 | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin
  talmirror explain docker.io/library/alpine:3.22 --nodes n1")]
struct Cli {
    /// What all commands share.
    #[command(flatten)]
    global: Global,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What `--version` says; a test keeps the Talos versions to those that are known.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("TALMIRROR_COMMIT"), "\nTalos: v1.8 to v1.14");

/// The commands, in the order of help.
#[derive(Debug, Subcommand)]
enum Command {
    /// Write an inventory, a SOPS rule and a CI workflow to begin with
    Init(commands::init::InitArgs),
    /// Make an inventory of what exists: machine configs, patches, talhelper, k3s, containerd
    Import(commands::import::ImportArgs),
    /// List the images of a cluster, of files or of nodes, and which of them no mirror covers
    Scan(commands::scan::ScanArgs),
    /// Check the inventory without a network or a node
    Validate(commands::validate::ValidateArgs),
    /// Show where an image comes from on a node, or what a finding means
    Explain(commands::explain::ExplainArgs),
    /// Make patches for Talos
    Generate(commands::generate::GenerateArgs),
    /// Compare the inventory with live nodes, or with a machine config
    Diff(commands::diff::DiffArgs),
    /// Ask every host of every route as a node would, and say what is wrong with it
    Verify(commands::verify::VerifyArgs),
    /// Name the cause when an image's pull fails, is slow, or goes around the mirror
    Why(commands::why::WhyArgs),
    /// Pull images through their mirrors before nodes need them
    Warm(warm::WarmArgs),
    /// Show the nodes: versions, stages, configs that are pending
    Nodes(commands::nodes::NodesArgs),
    /// Bring live nodes to what the inventory gives, node by node: tried, verified, committed, else reverted
    Rollout(rollout::RolloutArgs),
    /// Put nodes back to what they had before a rollout
    Rollback(rollout::rollback::RollbackArgs),
    /// Set up a Harbor from the inventory: registries, proxy projects, robot account
    Harbor(commands::harbor::HarborArgs),
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
    /// Print a JSON schema: of the inventory, or of the cache's configuration
    Schema(commands::schema::SchemaArgs),
    /// Show the version, the commit and the range of Talos versions
    Version(commands::version::VersionArgs),
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
    let verbosity = Verbosity::of(cli.global.quiet, cli.global.verbose);
    ui::log_requests(cli.global.color, verbosity);
    let mut ui = Ui::new(cli.global.color, verbosity);
    let result = run(&mut ui, &cli.global, cli.command).and_then(|exit| ui.flush().map(|()| exit));
    ui.exit(result)
}

/// Returns the exit codes that a command has beside those of sops, which stand in the help of the three that end as it does.
fn exits(path: &[&str]) -> Vec<Exit> {
    let lasting = |more: &[Exit]| {
        // What is printed may go to a file on a full disk.
        let all = [&[exit::OK], more, &[exit::WRITE, exit::INTERRUPTED, exit::CLOSED_PIPE]].concat();
        exit::ALL.iter().copied().filter(|exit| all.contains(exit)).collect()
    };
    match path.first().copied() {
        Some("rollout") if path.len() > 1 => {
            lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE])
        }
        None | Some("rollout" | "rollback") => exit::ALL.to_vec(),
        Some("diff" | "backup" | "scan" | "verify" | "why") => {
            lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE])
        }
        Some("warm") => lasting(&[
            exit::FOUND,
            exit::USAGE,
            exit::INVALID,
            exit::SECRET,
            exit::REMOTE,
            exit::CLOSED_TERMINAL,
        ]),
        Some("harbor") => match path.get(1).copied() {
            None | Some("apply" | "rotate-robot") => {
                lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE, exit::STOPPED])
            }
            Some("export") => lasting(&[exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE]),
            Some(_) => lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE]),
        },
        Some("nodes") => lasting(&[exit::USAGE, exit::INVALID, exit::SECRET, exit::REMOTE]),
        Some("init" | "seal" | "edit") => lasting(&[exit::USAGE, exit::INVALID, exit::SECRET, exit::STOPPED]),
        Some("validate") => lasting(&[exit::FOUND, exit::USAGE, exit::INVALID]),
        Some("generate" | "machineconfig" | "import") => {
            lasting(&[exit::FOUND, exit::USAGE, exit::INVALID, exit::SECRET])
        }
        Some("template") => lasting(&[exit::USAGE, exit::INVALID]),
        Some("completion" | "schema" | "man" | "version" | "keygen") => lasting(&[exit::USAGE]),
        Some(_) => lasting(&[exit::USAGE, exit::INVALID, exit::SECRET]),
    }
}

fn run(ui: &mut Ui, global: &Global, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => commands::init::run(ui, global, args),
        Command::Import(args) => commands::import::run(ui, global, args),
        Command::Scan(args) => commands::scan::run(ui, global, args),
        Command::Validate(args) => commands::validate::run(ui, global, args),
        Command::Explain(args) => commands::explain::run(ui, global, args),
        Command::Generate(args) => commands::generate::run(ui, global, args),
        Command::Diff(args) => commands::diff::run(ui, global, args),
        Command::Verify(args) => commands::verify::run(ui, global, args),
        Command::Why(args) => commands::why::run(ui, global, args),
        Command::Warm(args) => warm::run(ui, global, args),
        Command::Nodes(args) => commands::nodes::run(ui, global, args),
        Command::Rollout(args) => rollout::run(ui, global, args),
        Command::Rollback(args) => rollout::rollback::run(ui, global, args),
        Command::Harbor(args) => commands::harbor::run(ui, global, args),
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
        Command::Schema(args) => commands::schema::run(ui, global, args),
        Command::Version(args) => commands::version::run(ui, args),
        Command::Completion(args) => commands::completion::run(ui, Cli::command(), args),
        Command::Man(args) => commands::man::run(ui, Cli::command(), exits, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::TalosVersion;

    #[test]
    fn the_version_names_the_talos_versions_that_are_known() {
        let range = format!("\nTalos: {} to {}", TalosVersion::OLDEST, TalosVersion::NEWEST);
        assert!(LONG_VERSION.ends_with(&range), "{LONG_VERSION}");
    }

    /// CI sets `1`, which clap's own reader of truth values refuses.
    #[test]
    fn every_flag_takes_1_from_the_environment() {
        fn walk(command: &clap::Command, refuse: &mut Vec<String>, flags: &mut usize) {
            for arg in command.get_arguments() {
                if arg.get_env().is_some() && matches!(arg.get_action(), clap::ArgAction::SetTrue) {
                    *flags += 1;
                    if format!("{:?}", arg.get_value_parser()) == "ValueParser::bool" {
                        refuse.push(format!("{} --{}", command.get_name(), arg.get_id()));
                    }
                }
            }
            command.get_subcommands().for_each(|below| walk(below, refuse, flags));
        }
        let (mut refuse, mut flags) = (Vec::new(), 0);
        walk(&Cli::command(), &mut refuse, &mut flags);
        assert!(flags > 20 && refuse.is_empty(), "{flags}: {refuse:?}");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
