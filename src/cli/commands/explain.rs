use clap::Args;
use serde_json::{Value, json};

use crate::cli::args::{Global, VersionArgs};
use crate::cli::inventory::{LoadedInventory, default_version, load, load_structure, warn_of_version};
use crate::cli::meant::SettingsOf;
use crate::image::Reference;
use crate::inventory::{Inventory, Target, Via};
use crate::registries::TalosVersion;
use crate::secret::{Hidden, without_userinfo};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Table, Ui};

mod code;
mod hops;
mod signatures;

use code::{explain_code, is_code, list_codes};
use hops::{Attempt, attempts, notes};

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror explain docker.io/library/alpine:3.22 --nodes n1
  talmirror explain ghcr.io
  talmirror explain ghcr.io --match '^n'
  talmirror explain E112
  talmirror explain --codes
  talmirror explain --nodes n1 -o json")]
pub(crate) struct ExplainArgs {
    /// An image, a registry, or the code of a finding; without it, all that the nodes are told
    #[arg(value_name = "IMAGE|REGISTRY|CODE")]
    subject: Option<String>,
    /// List all findings that there are, with their codes
    #[arg(long, env = "TALMIRROR_CODES", conflicts_with = "subject", value_parser = clap::builder::FalseyValueParser::new())]
    codes: bool,
    #[command(flatten)]
    which: SettingsOf,
    #[command(flatten)]
    versions: VersionArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_EXPLAIN_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
    /// Fetch secrets and print them
    #[arg(long, env = "TALMIRROR_SHOW_SECRETS", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Secrets")]
    show_secrets: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ExplainArgs) -> Result<Exit, CliError> {
    if args.codes {
        return list_codes(ui, args.output);
    }
    if let Some(subject) = &args.subject
        && is_code(subject)
    {
        return explain_code(ui, subject, args.output);
    }
    warn_of_version(ui, &args.versions);
    let mut loaded = if args.show_secrets { load(ui, global)? } else { load_structure(ui, global)? };
    let meant = args.which.meant(&loaded)?;
    let targets = meant.targets();
    let mut explained = Vec::new();
    for target in &targets {
        let version = loaded.talos_version(&args.versions, *target).unwrap_or_else(default_version);
        explained.push(match &args.subject {
            Some(subject) => match registry(&loaded.inventory, subject) {
                Some(name) => explain_registry(&loaded, *target, &version, &name)?,
                None => explain_image(&loaded, *target, &version, subject)?,
            },
            None => explain_target(global, &mut loaded, *target, &version, &args)?,
        });
    }
    if args.output != OutputFormat::Table && explained.iter().any(|explained| explained.hides) {
        ui.note("secrets are shown as <redacted>; --show-secrets fetches and shows them");
    }
    if args.output == OutputFormat::Table {
        for (at, Explained { mut table, .. }) in explained.into_iter().enumerate() {
            if let (None, true, Some(target)) = (&args.subject, args.which.chooses(), targets.get(at)) {
                table.above = format!("NODE  {}\n", who(*target));
            }
            if at > 0 {
                table.above.insert(0, '\n');
            }
            ui.table(&table)?;
        }
        return Ok(exit::OK);
    }
    let mut items: Vec<Value> = explained.into_iter().map(|explained| explained.value).collect();
    // Flags that may choose several give a list, however many they have chosen.
    let value = match items.pop() {
        Some(one) if !args.which.chooses() => one,
        last => {
            items.extend(last);
            json!({"apiVersion": "talmirror/v1", "kind": "ExplanationList", "items": items})
        }
    };
    ui.output(args.output, &value, Table::default)?;
    Ok(exit::OK)
}

/// What is said of one node or group.
struct Explained {
    /// For scripts.
    value: Value,
    /// For people.
    table: Table,
    /// Whether secrets in it are not shown.
    hides: bool,
}

fn explain_target(
    global: &Global,
    loaded: &mut LoadedInventory,
    target: Target<'_>,
    version: &TalosVersion,
    args: &ExplainArgs,
) -> Result<Explained, CliError> {
    loaded.only_look(global);
    let registries = if args.show_secrets {
        loaded.inventory.registries(target, version, &mut loaded.sources)?
    } else {
        loaded.inventory.registries(target, version, &mut Hidden(&mut loaded.sources))?
    };
    let hides = !args.show_secrets && !registries.secrets().is_empty();
    let routes = loaded.inventory.routes(target);
    let (node, group) = match target {
        Target::Base => (None, None),
        Target::Group(name) => (None, Some(name)),
        Target::Node(name) => (Some(name), None),
    };
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "EffectiveRegistries",
        "node": node,
        "group": group,
        "talosVersion": version.to_string(),
        "registries": registries.to_json(),
    });
    let table = {
        let rows = routes.iter().map(|(name, route)| {
            let endpoints = registries.mirrors.get(*name).map(|mirror| {
                mirror.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect::<Vec<_>>().join(" ")
            });
            let via: Vec<String> = route.via.iter().map(Via::to_string).collect();
            let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            vec![
                (*name).to_owned(),
                dash(via.join(",")),
                route.fallback.as_str().to_owned(),
                dash(endpoints.unwrap_or_default()),
                route.origin.to_string(),
            ]
        });
        Table::new(&["REGISTRY", "VIA", "FALLBACK", "ENDPOINTS", "SOURCE"], rows)
    };
    Ok(Explained { value, table, hides })
}

/// Returns the registry that a word names, where it names one and not an image of Docker Hub's.
fn registry(inventory: &Inventory, word: &str) -> Option<String> {
    let name = word.trim_end_matches('/');
    if name.contains(['/', '@']) {
        return None;
    }
    let known = inventory.base.registries.contains_key(name) || name == "*";
    let (host, port) = name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port)));
    let is_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    (known || (host.contains('.') && is_port)).then(|| name.to_owned())
}

/// Says whose settings are shown.
fn who(target: Target<'_>) -> String {
    match target {
        Target::Base => "any node without settings of its own".to_owned(),
        Target::Group(name) => format!("group {name}"),
        Target::Node(name) => name.to_owned(),
    }
}

/// Shows the way of all images of a registry.
fn explain_registry(
    loaded: &LoadedInventory,
    target: Target<'_>,
    version: &TalosVersion,
    name: &str,
) -> Result<Explained, CliError> {
    // The way is the same for every image: any will do.
    let host = if name == "*" { "registry.invalid" } else { name };
    let reference: Reference = format!("{host}/repository:tag").parse().map_err(|error| {
        CliError::from_error(exit::USAGE, error).context(format!("`{name}` is not a valid registry"))
    })?;
    let routes = loaded.inventory.routes(target);
    let found = routes.get_key_value(reference.registry()).or_else(|| routes.get_key_value("*"));
    let found = found.map(|(name, route)| (*name, route));
    let mut attempts = attempts(&loaded.inventory, &reference, &routes, version);
    if name == "*" {
        for attempt in attempts.iter_mut().filter(|attempt| attempt.via == "upstream") {
            "https://REGISTRY/v2".clone_into(&mut attempt.prefix);
        }
    }
    let notes = notes(&loaded.inventory, found, &attempts, version);
    let source =
        found.map_or_else(|| "not in the inventory".to_owned(), |(_, route)| route.origin.to_string());
    let fallback = found.map(|(_, route)| route.fallback.as_str());
    let who = who(target);
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "RegistryRoute",
        "registry": name,
        "entry": found.map(|(name, _)| name),
        "target": who,
        "talosVersion": version.to_string(),
        "source": source,
        "fallback": fallback,
        "hops": attempts.iter().enumerate().map(|(at, attempt)| json!({
            "hop": at + 1,
            "via": attempt.via,
            "endpoint": attempt.prefix,
            "authKey": attempt.auth_key,
            "username": attempt.username,
            "onFailure": attempt.on_failure,
        })).collect::<Vec<_>>(),
        "notes": notes,
    });
    let above = format!("REGISTRY  {name}   NODE  {who}   TALOS  {version}   SOURCE  {source}\n");
    let table = hop_table(above, "ENDPOINT", &attempts, |attempt| attempt.prefix.clone(), &notes);
    Ok(Explained { value, table, hides: false })
}

/// Lays the attempts of a pull out, with what they have in common above and notes below.
fn hop_table(
    above: String,
    column: &str,
    attempts: &[Attempt],
    shown: impl Fn(&Attempt) -> String,
    notes: &[String],
) -> Table {
    let rows = attempts.iter().enumerate().map(|(at, attempt)| {
        let (via, on_failure) = (attempt.via.clone(), attempt.on_failure.to_owned());
        vec![(at + 1).to_string(), via, shown(attempt), attempt.auth(), on_failure]
    });
    let below = notes.iter().map(|note| format!("note: {note}\n")).collect();
    Table { above, below, ..Table::new(&["HOP", "VIA", column, "AUTH (KEY)", "ON FAILURE"], rows) }
}

fn explain_image(
    loaded: &LoadedInventory,
    target: Target<'_>,
    version: &TalosVersion,
    image: &str,
) -> Result<Explained, CliError> {
    let reference: Reference = image.parse().map_err(|error| {
        CliError::from_error(exit::USAGE, error)
            .context(format!("`{}` is not a valid image reference", without_userinfo(image)))
    })?;
    let routes = loaded.inventory.routes(target);
    let registry = reference.registry();
    let found = routes.get_key_value(registry).or_else(|| routes.get_key_value("*"));
    let found = found.map(|(name, route)| (*name, route));
    let attempts = attempts(&loaded.inventory, &reference, &routes, version);
    let mut notes = notes(&loaded.inventory, found, &attempts, version);
    notes.extend(signatures::notes(&loaded.inventory, &reference, &attempts, version));
    let source =
        found.map_or_else(|| "not in the inventory".to_owned(), |(_, route)| route.origin.to_string());
    let who = who(target);
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "ImageRoute",
        "image": reference.to_string(),
        "registry": registry,
        "entry": found.map(|(name, _)| name),
        "target": who,
        "talosVersion": version.to_string(),
        "source": source,
        "hops": attempts.iter().enumerate().map(|(at, attempt)| json!({
            "hop": at + 1,
            "via": attempt.via,
            "url": attempt.url,
            "authKey": attempt.auth_key,
            "username": attempt.username,
            "onFailure": attempt.on_failure,
        })).collect::<Vec<_>>(),
        "verification": signatures::to_json(&loaded.inventory, &reference, &attempts, version),
        "notes": notes,
    });
    let above = format!("IMAGE  {reference}   NODE  {who}   TALOS  {version}   SOURCE  {source}\n");
    let table = hop_table(above, "REQUEST", &attempts, |attempt| format!("HEAD {}", attempt.url), &notes);
    Ok(Explained { value, table, hides: false })
}
