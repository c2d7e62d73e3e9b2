use std::collections::BTreeMap;

use clap::Args;

use super::connection::{
    Connection, ConnectionArgs, account_of_environment, ca_file, client, no_account, runtime, tell_clear,
};
use crate::cli::args::Global;
use crate::harbor::{Harbor, export, survey};
use crate::inventory;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `harbor export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Harbor never shows a password: where one is needed, the inventory takes it from an environment variable, which is named.

Examples:
  HARBOR_PASSWORD=$(pass harbor/admin) talmirror harbor export --url https://harbor.example > mirrors.yaml
  HARBOR_PASSWORD=$(pass harbor/admin) talmirror harbor export"
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// The Harbor's URL, where there is no inventory yet
    #[arg(long, env = "TALMIRROR_HARBOR_URL", value_name = "URL", help_heading = "Harbor")]
    url: Option<String>,
    /// Authorities of the Harbor's certificate, with --url
    #[arg(long, env = "TALMIRROR_CA_FILE", value_name = "FILE", requires = "url", help_heading = "Harbor")]
    ca_file: Option<String>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ExportArgs) -> Result<Exit, CliError> {
    let named = args.url.as_deref().filter(|url| !url.is_empty());
    let (harbor, url, name, runtime) = if let Some(url) = named {
        let name = args.connection.mirror.clone().unwrap_or_else(|| "harbor".to_owned());
        let account = account_of_environment().ok_or_else(|| no_account(&name))?;
        let ca = ca_file(args.ca_file.as_deref())?;
        let harbor: Harbor = client(url, account, ca.as_deref(), args.connection.timeout)?;
        tell_clear(ui, url);
        (harbor, url.trim_end_matches('/').to_owned(), name, runtime()?)
    } else {
        let connection = Connection::open(ui, global, &args.connection)?;
        let url = connection.url();
        (connection.harbor, url, connection.name, connection.runtime)
    };
    let actual = runtime.block_on(survey(&harbor))?;
    let exported = export(&actual, &url, &name);
    // What is written has to be an inventory.
    let given: BTreeMap<&str, &str> = exported.variables.iter().map(|name| (name.as_str(), "x")).collect();
    let parsed = inventory::parse(&exported.text, "the inventory", &|name| {
        given.get(name).map(|value| (*value).to_owned())
    });
    ui.result(&exported.text)?;
    ui.flush()?;
    for problem in &parsed.problems {
        ui.problem(problem);
    }
    for lost in &exported.lost {
        ui.warn(&format!("not in the inventory: {lost}"), None);
    }
    for variable in &exported.variables {
        ui.note(&format!(
            "note: a secret is taken from {variable}; `password:` holds one in the file, encrypted"
        ));
    }
    Ok(if parsed.inventory.is_some() { exit::OK } else { exit::INVALID })
}
