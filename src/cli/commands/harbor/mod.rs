mod apply;
mod connection;
mod credentials;
mod export;
mod plan;
mod plan_view;
mod rotate_robot;
mod says;
mod status;

use clap::{Args, Subcommand};

use crate::cli::args::Global;
use crate::ui::exit::Exit;
use crate::ui::{CliError, Ui};

pub(in crate::cli) use says::{how_to_ask, says};

/// Arguments of `harbor`.
#[derive(Debug, Args)]
#[command(
    after_help = "The account is HARBOR_USERNAME and HARBOR_PASSWORD, or the mirror's `admin` in the inventory: an administrator, or \
a system robot that may create registries, projects and robots.

Examples:
  talmirror harbor plan
  talmirror harbor apply
  talmirror harbor rotate-robot --overlap
  talmirror harbor status docker.io/library/alpine:3.22"
)]
pub(crate) struct HarborArgs {
    #[command(subcommand)]
    command: HarborCommand,
}

#[derive(Debug, Subcommand)]
enum HarborCommand {
    /// Show what a Harbor lacks of what the inventory says
    Plan(plan::PlanArgs),
    /// Make a Harbor what the inventory says: registries, proxy projects, a robot that pulls
    Apply(apply::ApplyArgs),
    /// Give the robot a new secret, sealed into the inventory before Harbor has it
    RotateRobot(rotate_robot::RotateRobotArgs),
    /// Write an inventory of what a Harbor has
    Export(export::ExportArgs),
    /// Show how a Harbor is, and what it has cached
    Status(status::StatusArgs),
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: HarborArgs) -> Result<Exit, CliError> {
    match args.command {
        HarborCommand::Plan(args) => plan::run(ui, global, args),
        HarborCommand::Apply(args) => apply::run(ui, global, args),
        HarborCommand::RotateRobot(args) => rotate_robot::run(ui, global, args),
        HarborCommand::Export(args) => export::run(ui, global, args),
        HarborCommand::Status(args) => status::run(ui, global, args),
    }
}
