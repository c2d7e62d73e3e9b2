use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::commands;
use super::ui::Color;

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
pub(crate) struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The inventory, `-` for standard input
    #[arg(
        short = 'f',
        long = "inventory",
        env = "TALMIRROR_INVENTORY",
        default_value = "mirrors.yaml",
        global = true,
        value_name = "FILE"
    )]
    pub(crate) inventory: String,
    /// When to colour
    #[arg(long, env = "TALMIRROR_COLOR", default_value = "auto", global = true, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Say nothing but results, warnings and errors
    #[arg(short, long, env = "TALMIRROR_QUIET", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) quiet: bool,
    /// Never ask; fail instead
    #[arg(long, env = "TALMIRROR_NO_INPUT", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_input: bool,
    /// An age key file, before those that sops would look for
    #[arg(long, env = "TALMIRROR_AGE_KEY_FILE", global = true, value_name = "FILE")]
    pub(crate) age_key_file: Option<PathBuf>,
}

/// The commands, in the order of help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
    Rollout(commands::rollout::RolloutArgs),
    /// Put nodes back to what they had before a rollout
    Rollback(commands::rollback::RollbackArgs),
    /// Keep every node's machine config in an encrypted file
    Backup(commands::backup::BackupArgs),
    /// Work on machine config files
    #[command(visible_alias = "mc")]
    Machineconfig(commands::machineconfig::MachineconfigArgs),
    /// Encrypt a file as sops does
    Encrypt(commands::encrypt::EncryptArgs),
    /// Decrypt a file as sops does
    Decrypt(commands::decrypt::DecryptArgs),
    /// Encrypt files for the recipients that .sops.yaml names now
    Rekey(commands::rekey::RekeyArgs),
    /// Put a new secret into the encrypted inventory
    Rotate(commands::rotate::RotateArgs),
    /// Print the JSON schema of the inventory
    Schema(commands::schema::SchemaArgs),
    /// Print a completion script for a shell
    Completion(commands::completion::CompletionArgs),
    /// Write the manual pages
    Man(commands::man::ManArgs),
}

/// Which node or group is meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TargetArgs {
    /// The node whose settings are meant, by name
    #[arg(short, long, env = "TALMIRROR_NODE", value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// The group whose settings are meant, by name
    #[arg(short, long, env = "TALMIRROR_GROUP", value_name = "GROUP", conflicts_with = "node")]
    pub(crate) group: Option<String>,
}

/// Which versions are meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct VersionArgs {
    /// The Talos version of the nodes, before what the inventory says
    #[arg(long, env = "TALMIRROR_TALOS_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(crate::registries::TalosVersion))]
    pub(crate) talos_version: Option<crate::registries::TalosVersion>,
}

/// Which cluster is meant, and how long it is waited for.
#[derive(Clone, Debug, Args)]
pub(crate) struct TalosArgs {
    /// The talosconfig, encrypted or not; without it, the one that talosctl would take
    #[arg(long, env = "TALMIRROR_TALOSCONFIG", value_name = "FILE")]
    pub(crate) talosconfig: Option<String>,
    /// The context in it, before the inventory's and the current one
    #[arg(long, env = "TALMIRROR_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The control plane nodes that calls go to, before the context's
    #[arg(short, long, env = "TALMIRROR_ENDPOINTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// How long one answer may take
    #[arg(long, env = "TALMIRROR_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) timeout: std::time::Duration,
    /// How many nodes are asked at once
    #[arg(long, env = "TALMIRROR_CONCURRENCY", value_name = "NUMBER", default_value = "16")]
    pub(crate) concurrency: std::num::NonZeroUsize,
}

/// Reads `20s`, `2m`, `1m30s`, `0s`.
pub(super) fn pause(text: &str) -> Result<std::time::Duration, String> {
    if text == "0" || text == "0s" { Ok(std::time::Duration::ZERO) } else { duration(text) }
}

/// Reads `20s`, `2m`, `1m30s`.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let duration: Option<jiff::SignedDuration> = text.parse().ok();
    let duration = duration.and_then(|duration| std::time::Duration::try_from(duration).ok());
    duration.filter(|duration| !duration.is_zero()).ok_or_else(|| "a time looks like 20s or 2m".to_owned())
}
