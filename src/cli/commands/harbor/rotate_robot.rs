use clap::Args;
use serde_json::json;

use super::connection::{Connection, ConnectionArgs};
use super::credentials::{InventoryCredentials, Writes};
use crate::cli::args::{Global, OutputArgs};
use crate::harbor::{Options, Overlap, Rotated, rotate};
use crate::secret::os_random;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, confirm};

/// Arguments of `harbor rotate-robot`.
#[derive(Debug, Args)]
#[command(
    after_help = "The new secret is made here and sealed into the inventory, where nothing else changes; then Harbor has it. Interrupted in \
between, the next run sets the secret that the inventory has.

Harbor ends the old secret at once. With --overlap a second robot has the new one, and both work until the nodes have it.

Examples:
  talmirror harbor rotate-robot --overlap
  talmirror rollout
  talmirror harbor apply --prune"
)]
pub(crate) struct RotateRobotArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Let a second robot take over, so that the old secret works until the nodes have the new one
    #[arg(long, env = "TALMIRROR_OVERLAP", value_parser = clap::builder::FalseyValueParser::new())]
    overlap: bool,
    /// Take the robot over where it is not talmirror's
    #[arg(long, env = "TALMIRROR_ADOPT", value_parser = clap::builder::FalseyValueParser::new())]
    adopt: bool,
    /// Do it without asking
    #[arg(short, long, env = "TALMIRROR_YES", value_parser = clap::builder::FalseyValueParser::new())]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: RotateRobotArgs) -> Result<Exit, CliError> {
    let mut connection = Connection::open(ui, global, &args.connection)?;
    let mut store = InventoryCredentials::new(ui, global, &connection.name)?;
    store.check(Writes::Secret)?;
    let overlap = if args.overlap { Overlap::Yes } else { Overlap::No };
    if overlap == Overlap::No && !args.yes {
        let question = "Nodes are refused until they have the new secret. Do it?";
        confirm(
            global.asking(),
            question,
            "nothing was changed",
            "--overlap keeps both working, --yes does it anyway",
        )?;
    }
    let Connection { harbor, desired, runtime, .. } = &mut connection;
    let options = Options { adopt: args.adopt, ..Options::default() };
    let mut random = os_random;
    let rotated = rotate(harbor, desired.clone(), &options, overlap, &mut store, &mut random);
    let rotated = runtime.block_on(rotated)?;
    let (kind, robot, old) = match &rotated {
        Rotated::Finished { robot } => ("finished", robot, None),
        Rotated::Replaced { robot } => ("replaced", robot, None),
        Rotated::TakesOver { old, new } => ("takes-over", new, Some(old)),
    };
    let value = json!({
        "apiVersion": "talmirror/v1", "kind": "HarborRotation", "result": kind, "robot": robot, "oldRobot": old,
    });
    ui.output(args.output.format, &value, || format!("{robot}\n"))?;
    ui.flush()?;
    let file = &global.inventory;
    ui.note(&match &rotated {
        Rotated::Finished { robot } => {
            format!("{robot}: an interrupted run is finished: Harbor has the secret that {file} has")
        }
        Rotated::Replaced { robot } => {
            format!("{robot}: has a new secret, and {file} has it; the old one is refused")
        }
        Rotated::TakesOver { old, new } => {
            format!("{new}: takes over, and {file} has it; {old} works until it is deleted")
        }
    });
    ui.note("next: talmirror rollout");
    if old.is_some() {
        ui.note("then: talmirror harbor apply --prune");
    }
    Ok(exit::OK)
}
