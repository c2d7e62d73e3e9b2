#![expect(clippy::disallowed_methods, reason = "tells robots that expire soon")]

use clap::{Args, ValueEnum};

use super::connection::{Connection, ConnectionArgs};
use super::credentials::InventoryCredentials;
use super::plan_view;
use crate::cli::args::Global;
use crate::harbor::{Actual, CredentialStore as _, Options, Plan, observe, reconcile};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Ui};

/// Arguments of `harbor plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when there is nothing to do, and with 1 when there is. Nothing is changed.

Signs:
  +  is made
  ~  is changed
  -  is deleted

Examples:
  talmirror harbor plan
  talmirror harbor plan --prune -o markdown"
)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    plan: PlanOptions,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_HARBOR_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
}

/// What may be done besides what the inventory says.
#[derive(Clone, Debug, Args)]
pub(super) struct PlanOptions {
    /// Take over what is there and is not talmirror's
    #[arg(long, env = "TALMIRROR_ADOPT", value_parser = clap::builder::FalseyValueParser::new())]
    adopt: bool,
    /// Delete what is talmirror's and no longer in the inventory
    #[arg(long, env = "TALMIRROR_PRUNE", value_parser = clap::builder::FalseyValueParser::new())]
    prune: bool,
    /// Send the passwords of upstreams again: Harbor never shows them, so a change is not seen
    #[arg(long, env = "TALMIRROR_RENEW_SECRETS", value_parser = clap::builder::FalseyValueParser::new())]
    renew_secrets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// One object
    Json,
    /// One object
    Yaml,
    /// A comment on a pull request
    Markdown,
}

impl PlanOptions {
    /// Returns the options at this moment.
    pub(super) fn options(&self) -> Options {
        Options {
            adopt: self.adopt,
            prune: self.prune,
            renew_secrets: self.renew_secrets,
            now: jiff::Timestamp::now().as_second(),
            ..Options::default()
        }
    }
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: PlanArgs) -> Result<Exit, CliError> {
    let mut connection = Connection::open(ui, global, &args.connection)?;
    let mut store = InventoryCredentials::new(ui, global, &connection.name)?;
    let (actual, plan) = read_and_compare(&mut connection, &mut store, &args.plan.options())?;
    let object = || plan_view::object(&connection, &actual, &plan);
    match args.output {
        Format::Table => ui.result(&plan_view::text(&connection, &actual, &plan))?,
        Format::Json => ui.output(OutputFormat::Json, &object(), String::new)?,
        Format::Yaml => ui.output(OutputFormat::Yaml, &object(), String::new)?,
        Format::Markdown => ui.result(&plan_view::markdown(&connection, &actual, &plan))?,
    }
    Ok(if plan.is_settled() { exit::OK } else { exit::FOUND })
}

/// Reads what is there and tells what differs.
pub(super) fn read_and_compare(
    connection: &mut Connection,
    store: &mut InventoryCredentials<'_>,
    options: &Options,
) -> Result<(Actual, Plan), CliError> {
    let known = match store.current()? {
        Some(account) => Some(account),
        None => connection.robot()?,
    };
    if let Some(account) = &known {
        connection.harbor.hide(&account.password);
    }
    let secret = known.map(|account| account.password);
    let Connection { desired, harbor, runtime, .. } = &*connection;
    let actual = runtime.block_on(observe(harbor, desired, secret.as_ref()))?;
    let plan = reconcile(desired, &actual, options);
    Ok((actual, plan))
}
