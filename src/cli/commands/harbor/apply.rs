use clap::Args;
use serde_json::json;

use super::connection::{Connection, ConnectionArgs};
use super::credentials::{InventoryCredentials, Writes};
use super::plan::{PlanOptions, read_and_compare};
use super::plan_view;
use crate::cli::args::{Global, OutputArgs};
use crate::harbor::{Applied, Change, ChangeView, Event, Notice, Plan, SecretFrom, Weight, apply};
use crate::secret::os_random;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Ui, confirm, count};

/// Arguments of `harbor apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "Shows the plan, asks, and makes it true. It can be run again at any time, after it was interrupted too, and beside \
another one. Nothing is deleted without --prune, and nothing that is not talmirror's is changed without --adopt.

A secret that is made for the robot is sealed into the inventory before Harbor has it.

Examples:
  HARBOR_PASSWORD=$(pass harbor/admin) talmirror harbor apply
  talmirror harbor apply --yes --prune -o json"
)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    plan: PlanOptions,
    /// Do it without asking
    #[arg(short, long, env = "TALMIRROR_YES", value_parser = clap::builder::FalseyValueParser::new())]
    yes: bool,
    /// Show the plan and do nothing
    #[arg(long, env = "TALMIRROR_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ApplyArgs) -> Result<Exit, CliError> {
    let mut connection = Connection::open(ui, global, &args.connection)?;
    let mut store = InventoryCredentials::new(ui, global, &connection.name)?;
    let options = args.plan.options();
    let (actual, plan) = read_and_compare(&mut connection, &mut store, &options)?;
    let text = plan_view::text(&connection, &actual, &plan);
    if args.dry_run {
        let object = plan_view::object(&connection, &actual, &plan);
        ui.output(args.output.format, &object, || text)?;
        return Ok(if plan.is_settled() { exit::OK } else { exit::FOUND });
    }
    ui.note(text.trim_end());
    // What stands on standard input was read, and cannot be written to.
    let writes = writes(&plan).or((global.inventory == "-").then_some(Writes::Name));
    if let Some(writes) = writes {
        store.check(writes)?;
    }
    if !plan.changes.is_empty() && !args.yes {
        let help = "--yes does it without asking, `talmirror harbor plan` only shows it";
        confirm(global.asking(), "Do it?", "Harbor was not touched", help)?;
    }
    let Connection { harbor, desired, runtime, .. } = &mut connection;
    let mut lines = Vec::new();
    let told = plan.notices.clone();
    let mut written = Ok(());
    let mut tell = |event: Event<'_>| match event {
        Event::Done(change) => {
            let line = plan_view::line(change);
            if args.output.format == OutputFormat::Table {
                let told = ui.result(&format!("{line}\n")).and_then(|()| ui.flush());
                written = std::mem::replace(&mut written, Ok(())).and(told);
            } else {
                ui.note(&line);
            }
            lines.push(change.view());
        }
        Event::Failed(change, _) => ui.note(&format!("failed: {}", plan_view::line(change))),
        Event::Raced(change) => {
            let view = change.view();
            ui.note(&format!("{} {}: another process was faster; reading again", view.object, view.name));
        }
    };
    let start = (actual, plan);
    let mut random = os_random;
    let applied = apply(harbor, desired.clone(), options, start, &mut store, &mut random, &mut tell);
    let applied = runtime.block_on(applied);
    written?;
    report(ui, global, args.output.format, &connection, (&lines, &told), applied?)
}

/// Returns what of the inventory a plan writes.
fn writes(plan: &Plan) -> Option<Writes> {
    let made = |change: &Change| match change {
        Change::CreateRobot { secret, .. } | Change::SetRobotSecret { secret, .. } => {
            *secret == SecretFrom::Made
        }
        _ => false,
    };
    if plan.changes.iter().any(made) {
        return Some(Writes::Secret);
    }
    plan.changes.iter().any(Change::writes_the_inventory).then_some(Writes::Name)
}

fn report(
    ui: &mut Ui,
    global: &Global,
    output: OutputFormat,
    connection: &Connection,
    (done, told): (&[ChangeView], &[Notice]),
    applied: Applied,
) -> Result<Exit, CliError> {
    let Applied { made, failures, plan, sealed } = applied;
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "HarborApply",
        "mirror": connection.name,
        "url": connection.url(),
        "made": done.iter().map(|view| json!({
            "action": view.action.as_str(), "object": view.object, "name": view.name,
        })).collect::<Vec<_>>(),
        "failures": failures.iter().map(|failure| json!({
            "action": failure.change.action.as_str(),
            "object": failure.change.object,
            "name": failure.change.name,
            "error": failure.error.to_string(),
            "help": failure.error.help(),
        })).collect::<Vec<_>>(),
        "inventoryWritten": sealed,
        "notices": plan.to_json().get("notices"),
    });
    // For people, each change was told when it was made.
    ui.output(output, &value, String::new)?;
    ui.flush()?;
    let (mut failed, blocked) = (None, plan.blocked().count());
    let is_new = |notice: &&Notice| notice.weight != Weight::Note && !told.contains(notice);
    for notice in plan.notices.iter().filter(is_new) {
        ui.warn(&format!("{}: {}", notice.object, notice.message), notice.help.as_deref());
    }
    for failure in failures {
        let error = CliError::from(failure.error);
        ui.error(&error);
        failed = Some(exit::REMOTE);
    }
    if sealed {
        ui.note(&format!(
            "{}: has the robot's credentials; next: commit it, then `talmirror generate` or `talmirror rollout`",
            global.inventory
        ));
    }
    let rest = match (&failed, blocked) {
        (Some(_), _) => "; what failed is done by the next run".to_owned(),
        (None, 0) => String::new(),
        (None, blocked) => format!("; {blocked} blocked"),
    };
    ui.note(&format!("{}{rest}", if made == 0 { "nothing to do".to_owned() } else { count(made, "change") }));
    Ok(failed.unwrap_or(if blocked > 0 { exit::FOUND } else { exit::OK }))
}
