use std::path::PathBuf;

use clap::Args;

use super::narrowing::Narrowing;
use crate::ui::{Asking, Color, OutputFormat, positive_duration};

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The inventory, `-` for standard input
    #[arg(
        short = 'f',
        long = "inventory",
        alias = "file",
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
    /// Tell requests to nodes and servers and their answers; -vv before they are answered, too
    #[arg(short, long, env = "TALMIRROR_VERBOSE", global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Never ask; fail instead
    #[arg(long, env = "TALMIRROR_NO_INPUT", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_input: bool,
    /// An age key file; it is tried before those that sops looks for
    #[arg(long, env = "TALMIRROR_AGE_KEY_FILE", global = true, value_name = "FILE")]
    pub(crate) age_key_file: Option<PathBuf>,
    /// Start the commands that the inventory names (passwordFrom) without asking, and where one only looks, too
    #[arg(long, env = "TALMIRROR_RUN_COMMANDS", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) run_commands: bool,
}

/// Which node or group is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct TargetArgs {
    /// The node whose settings are meant, by name
    #[arg(short, long, env = "TALMIRROR_NODE", value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// The group whose settings are meant, by name
    #[arg(short, long, env = "TALMIRROR_GROUP", value_name = "GROUP", conflicts_with = "node")]
    pub(crate) group: Option<String>,
}

/// Which live nodes are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct NodeSelection {
    /// The nodes, by name in the inventory or by address; HOST:PORT is dialled itself
    #[arg(short, long, alias = "node", env = "TALMIRROR_NODES", value_name = "NODE", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// The nodes of a group
    #[arg(short, long, env = "TALMIRROR_GROUP", value_name = "GROUP", conflicts_with = "nodes")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) narrowing: Narrowing,
}

/// Which versions are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct VersionArgs {
    /// The Talos version of the nodes; overrides the inventory's
    #[arg(long, env = "TALMIRROR_TALOS_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(crate::registries::TalosVersion))]
    pub(crate) talos_version: Option<crate::registries::TalosVersion>,
}

/// How long one answer may take, where nothing says otherwise.
pub(crate) const TIMEOUT: &str = "20s";

/// How many nodes are asked at once, where nothing says otherwise.
pub(crate) const CONCURRENCY: &str = "16";

/// Which cluster is meant, and how long it is waited for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Nodes")]
pub(crate) struct TalosArgs {
    /// The talosconfig, encrypted or not; without it, the one that talosctl would take
    #[arg(long, env = "TALMIRROR_TALOSCONFIG", value_name = "FILE")]
    pub(crate) talosconfig: Option<String>,
    /// The context in it; overrides the inventory's and the current one
    #[arg(long, env = "TALMIRROR_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The control plane nodes that calls go to; overrides the context's
    #[arg(short, long, env = "TALMIRROR_ENDPOINTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// How long one answer may take
    #[arg(long, env = "TALMIRROR_TIMEOUT", value_name = "TIME", default_value = TIMEOUT, value_parser = positive_duration)]
    pub(crate) timeout: std::time::Duration,
    /// How many nodes are asked at once
    #[arg(long, env = "TALMIRROR_CONCURRENCY", value_name = "NUMBER", default_value = CONCURRENCY)]
    pub(crate) concurrency: std::num::NonZeroUsize,
}

/// How a command prints what it has found.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How it is printed
    #[arg(
        short = 'o',
        long = "output",
        env = "TALMIRROR_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(crate) format: OutputFormat,
}

impl Global {
    /// Returns whether questions can be asked.
    pub(crate) fn asking(&self) -> Asking {
        if self.no_input { Asking::Impossible } else { Asking::here() }
    }
}
