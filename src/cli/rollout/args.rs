use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::journals::Authority;
use super::past::Past;
use super::share::Share;
use crate::cli::args::{NodeSelection, TalosArgs};
use crate::cli::inventory::LoadedInventory;
use crate::rollout::RolloutTimeouts;
use crate::ui::{duration, duration_text, positive_duration};

/// How a rollout is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: the plan and the end as results, the steps as the story.
    Text,
    /// One JSON object for each event, one a line.
    Json,
}

/// Whether a rollout asks the mirrors before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum VerifyWhen {
    /// Those that can be reached from here
    Auto,
    /// None
    Never,
}

/// How long a node may take to be well, where nothing says otherwise.
pub(super) const SETTLE: &str = "1m";

/// Returns the flag that lets a node take as long to be well as it was let before.
pub(super) fn settle_flag(settle: Duration) -> Option<(&'static str, String)> {
    (duration(SETTLE) != Ok(settle)).then(|| ("--settle", duration_text(settle)))
}

/// Arguments of `rollout`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The plan comes first; then the mirrors are asked from here, as `talmirror verify` asks them: one that fails ends the rollout
before a node is touched, one that cannot be reached from here is told and left to the nodes. What is confirmed is carried
out, node by node: the config is read and saved,
registries are replaced in it and every other byte stays; it goes on trial (Talos takes it back by itself when
--try-timeout is over); Talos must have rendered it, and the images of verify.images must come from the mirrors: what is on
trial is a variant without fallback, from which the desired config is committed, so that whenever a node is left alone
before that it goes back to exactly what it had. Then it is read back, and Talos must have rendered what was committed.
Any failure: the old config again at once.

Images of verify.images that are on a node already are removed from it first (Talos 1.13 and later): name some that nothing
needs. Changed credentials reach pods' pulls before Talos 1.14 only after a reboot; --reboot if-needed reboots such nodes one
after another. They are neither cordoned nor drained: do that first with kubectl; a kubeconfig is not read.

Control plane nodes come last, one by one, each when etcd is well. Ctrl-C brings the node in hand to its old or its new
config and stops; twice leaves at once and says what the node does by itself. --resume finishes an earlier rollout: what the nodes say counts
more than the journal, what was left in between is shown and asked for first, and -n or --group leaves nodes out that do
not answer. --unknown-nodes is for nodes that the inventory does not know, --without leaves nodes out, --allow-unhealthy names control plane
nodes that are known to be down, and --other-ca accepts a journal of before a rotation of the CA that no node proves. Originals are encrypted for those who may read the inventory, and a key for that must be at hand. Ends with 6, 7 or 8 when something failed.

Words of the display, for each node; what runs comes first, then what is done:
  reading, checking     its config is read, before and between the steps
  trying strict         the config without fallback is on trial
  trying                the config is on trial: Talos takes it back by itself
  read back, rendered   the node has the config, and Talos has made of it what it should
  proving               the images of verify.images are pulled through the mirrors
  reverted              the old config is sent again, after a failure
  committed             the config stays, on disk too

Examples:
  talmirror rollout --dry-run
  talmirror rollout
  talmirror rollout --role worker --max-parallel 3 --canary w1 --yes
  talmirror rollout --resume --yes -o json"
)]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    pub(super) past: Option<Past>,
    /// Of these, not the nodes of these names
    #[arg(long, env = "TALMIRROR_WITHOUT", value_name = "NODE", value_delimiter = ',')]
    pub(super) without: Vec<String>,
    /// The nodes that go first; overrides the inventory's
    #[arg(long, env = "TALMIRROR_CANARY", value_name = "NODE", value_delimiter = ',')]
    pub(super) canary: Vec<String>,
    /// How many workers at once, or which part of the nodes that change (10%); overrides the inventory's
    #[arg(long, env = "TALMIRROR_MAX_PARALLEL", value_name = "NUMBER", value_parser = some_nodes)]
    pub(super) max_parallel: Option<Share>,
    /// How many nodes, or which part of them (10%), may fail before the rest is left alone; overrides the inventory's
    #[arg(long, env = "TALMIRROR_MAX_FAILURES", value_name = "NUMBER")]
    pub(super) max_failures: Option<Share>,
    /// Control plane nodes that may be down while others are changed; etcd keeps its quorum anyway
    #[arg(long, env = "TALMIRROR_ALLOW_UNHEALTHY", value_name = "NODE", value_delimiter = ',')]
    pub(super) allow_unhealthy: Vec<String>,
    /// How long to wait between waves; overrides the inventory's
    #[arg(long, env = "TALMIRROR_PAUSE", value_name = "TIME", value_parser = duration)]
    pub(super) pause: Option<Duration>,
    /// How long a node tries a config before it takes it back; overrides the inventory's
    #[arg(long, env = "TALMIRROR_TRY_TIMEOUT", value_name = "TIME", value_parser = positive_duration)]
    pub(super) try_timeout: Option<Duration>,
    /// How long a node may take to be well, and to render a config
    #[arg(long, env = "TALMIRROR_SETTLE", value_name = "TIME", default_value = SETTLE, value_parser = positive_duration)]
    pub(super) settle: Duration,
    /// Whether nodes are rebooted for credentials to reach pods' pulls; overrides the inventory's
    #[arg(long, env = "TALMIRROR_REBOOT", value_name = "WHEN", value_parser = ["never", "if-needed"])]
    pub(super) reboot: Option<String>,
    /// Whether the mirrors are asked from here first, unless an earlier rollout is resumed: one that fails ends the rollout
    /// before a node is touched
    #[arg(long, env = "TALMIRROR_VERIFY", value_name = "WHEN", default_value = "auto")]
    pub(super) verify: VerifyWhen,
    /// Do not ask
    #[arg(short, long, env = "TALMIRROR_YES", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) yes: bool,
    /// Show the plan and end: with 1 when there is something to do
    #[arg(long, env = "TALMIRROR_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) dry_run: bool,
    /// Resume an earlier rollout: the one of --journal, else the latest of this cluster
    #[arg(long, env = "TALMIRROR_RESUME", conflicts_with = "dry_run", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) resume: bool,
    /// Give nodes that the inventory does not know the settings that every node starts from
    #[arg(long, env = "TALMIRROR_UNKNOWN_NODES", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) unknown_nodes: bool,
    /// With --resume, accept the journal of a cluster whose CA was another, as before its CA was rotated
    #[arg(long, env = "TALMIRROR_OTHER_CA", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) other_ca: bool,
    /// The folder of the journal; without it, one of its own below the user's state folder
    #[arg(long, env = "TALMIRROR_JOURNAL", value_name = "DIR")]
    pub(super) journal: Option<PathBuf>,
    /// How it is told
    #[arg(
        short,
        long,
        env = "TALMIRROR_ROLLOUT_OUTPUT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) which: NodeSelection,
    #[command(flatten)]
    pub(super) talos: TalosArgs,
}

impl RolloutArgs {
    /// Returns whose journals are accepted.
    pub(super) fn authority(&self) -> Authority {
        if self.other_ca { Authority::Any } else { Authority::Own }
    }

    /// Has flags about single nodes call them by the names that they go by; `name` returns [`None`] where that is no other.
    pub(super) fn call_nodes(&mut self, name: impl Fn(&str) -> Option<String>) {
        for names in [&mut self.canary, &mut self.allow_unhealthy] {
            for known in names {
                if let Some(name) = name(known) {
                    *known = name;
                }
            }
        }
    }
}

/// Reads how many nodes are meant, one at the least.
fn some_nodes(text: &str) -> Result<Share, String> {
    match text.parse()? {
        Share::Number(0) | Share::Percent(0) => Err("it takes one node at the least".to_owned()),
        share @ (Share::Number(_) | Share::Percent(_)) => Ok(share),
    }
}

/// Returns how long things may take.
pub(super) fn pace(args: &RolloutArgs, loaded: &LoadedInventory) -> RolloutTimeouts {
    RolloutTimeouts {
        trial: args.try_timeout.unwrap_or(loaded.inventory.rollout.try_timeout),
        settle: args.settle,
        pull: loaded.inventory.verify.timeout,
    }
}

/// Returns the images that prove something, each written out.
pub(super) fn images(loaded: &LoadedInventory) -> Vec<String> {
    let images = loaded.inventory.verify.images.iter();
    let full = images.filter_map(|image| image.parse::<crate::image::Reference>().ok());
    full.map(|image| {
        let full = image.to_string();
        let bare = format!("{}/{}", image.registry(), image.repository());
        if full == bare { format!("{full}:latest") } else { full }
    })
    .collect()
}
