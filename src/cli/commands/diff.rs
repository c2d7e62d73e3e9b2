use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::args::{Global, NodeSelection, TalosArgs, TargetArgs, VersionArgs};
use crate::cli::commands::nodes::schema;
use crate::cli::inventory::{LoadedInventory, default_version, load, warn_of_version};
use crate::cli::machine_config::MachineConfigFile;
use crate::cli::session::{LiveNode, Recognised, Session, recognise, tell_errors};
use crate::finding::{Problem, Problems, one_line};
use crate::inventory::Target;
use crate::machineconfig::{Cell, Change, Drift, MachineConfig, diff, matrix, same_as};
use crate::registries::{Kind, Registries};
use crate::talos::{Observation, Pending, TalosError, observe};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Table, Ui, count, table};
use crate::yaml::ParseError;

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --against, the live nodes of the inventory are asked over the Talos API. Ends with 0 when nothing differs, with 1 when
something does, with 5 when a node cannot be reached. Secrets are compared, never shown. With --against, -n or -g name the
node or group whose settings are meant.

Signs of the matrix; equal numbers in a row are equal values:
  =  as the inventory has it
  -  missing on the node
  ≠  another value
  +  not in the inventory
  ?  not known

Examples:
  talmirror diff
  talmirror diff -n n1,n2 --matrix
  talmirror diff --against n1.yaml -n n1
  talosctl get mc -n 10.0.0.1,10.0.0.2 -o yaml | talmirror diff --against -"
)]
pub(crate) struct DiffArgs {
    /// A machine config to compare with, or what `talosctl get mc -o yaml` prints, `-` for standard input, in place of live
    /// nodes
    #[arg(long, env = "TALMIRROR_AGAINST", value_name = "FILE")]
    against: Option<String>,
    #[command(flatten)]
    which: NodeSelection,
    /// Show which entry differs on which node
    #[arg(long, env = "TALMIRROR_MATRIX", value_parser = clap::builder::FalseyValueParser::new(), conflicts_with = "against", help_heading = "Output")]
    matrix: bool,
    #[command(flatten)]
    versions: VersionArgs,
    #[command(flatten)]
    talos: TalosArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_DIFF_OUTPUT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: DiffArgs) -> Result<Exit, CliError> {
    warn_of_version(ui, &args.versions);
    match &args.against {
        Some(file) => against_file(ui, global, &args, file),
        None => against_nodes(ui, global, &args),
    }
}

fn against_file(ui: &mut Ui, global: &Global, args: &DiffArgs, file: &str) -> Result<Exit, CliError> {
    let target = match args.which.nodes.as_slice() {
        [] | [_] => TargetArgs { node: args.which.nodes.first().cloned(), group: args.which.group.clone() },
        _ => return Err(CliError::usage("--against compares with one node").help("name one with --nodes")),
    };
    // Before secrets are asked for: a name that is misspelt is told first.
    let mut files = MachineConfigFile::read_all(file, global)?;
    let mut loaded = load(ui, global)?;
    loaded.only_look(global);
    let named = loaded.target(&target)?;
    let several = files.len() > 1;
    if target.node.is_some() {
        files = vec![MachineConfigFile::one_of(files, &loaded, &target)?];
    }
    let mut compared: Vec<(String, Vec<Change>)> = Vec::new();
    for file in &files {
        // Each of several is compared with what the inventory gives its own node.
        let own = file.known_node(&loaded).map(str::to_owned);
        let target = match &own {
            Some(name) if named == Target::Base && file.is_live => Target::Node(name),
            Some(_) | None => named,
        };
        if file.is_live && target == Target::Base && !loaded.inventory.nodes.is_empty() {
            ui.warn(
                &format!("{}: the inventory does not know this node", file.name),
                Some("it is compared with the settings that every node starts from"),
            );
        }
        let version = loaded.talos_version(&args.versions, target).unwrap_or_else(default_version);
        let mut wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
        let (current, problems) = file.registries();
        for problem in &problems {
            ui.problem(problem);
        }
        wanted.fill_not_run(&current);
        compared.push((file.name.clone(), diff(&current, &wanted)));
    }
    loaded.tell_not_run(ui);
    let objects = compared.iter().map(|(name, changes)| file_json(name, changes));
    match (args.output, several) {
        (Format::Json, false) => objects.into_iter().try_for_each(|object| ui.json(&object))?,
        (Format::Json, true) => ui.json(&json!({
            "apiVersion": "talmirror/v1",
            "kind": "DiffList",
            "changed": compared.iter().any(|(_, changes)| !changes.is_empty()),
            "items": objects.collect::<Vec<_>>(),
        }))?,
        (Format::Text, _) => {
            for (name, changes) in &compared {
                if several {
                    ui.result(&format!("{name}\n"))?;
                }
                for change in changes {
                    ui.signed(&format!("{}{change}\n", if several { "  " } else { "" }))?;
                }
            }
        }
        (Format::Markdown, _) => {
            for (name, changes) in &compared {
                ui.result(&markdown(name, changes))?;
            }
        }
    }
    ui.flush()?;
    for (name, changes) in &compared {
        ui.note(&format!("{name}: {}", count(changes.len(), "difference")));
    }
    let changed = compared.iter().any(|(_, changes)| !changes.is_empty());
    Ok(if changed { exit::FOUND } else { exit::OK })
}

fn file_json(name: &str, changes: &[Change]) -> Value {
    json!({
        "apiVersion": "talmirror/v1",
        "kind": "Diff",
        "file": name,
        "changed": !changes.is_empty(),
        "items": changes.iter().map(Change::to_json).collect::<Vec<_>>(),
    })
}

fn markdown(name: &str, changes: &[Change]) -> String {
    let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
    let body = if lines.is_empty() { "no differences\n".to_owned() } else { lines.concat() };
    format!("**{name}**\n\n```diff\n{body}```\n")
}

/// A node, compared.
struct Compared {
    node: LiveNode,
    result: Result<(Observation, Drift), TalosError>,
}

impl Compared {
    fn drift(&self) -> Option<&Drift> {
        self.result.as_ref().ok().map(|(_, drift)| drift)
    }
}

fn against_nodes(ui: &mut Ui, global: &Global, args: &DiffArgs) -> Result<Exit, CliError> {
    let mut loaded = load(ui, global)?;
    loaded.only_look(global);
    let session = Session::of(ui, global, &args.talos, Some(&loaded), &args.which)?;
    let seen = session.each(|node| async move {
        let seen = observe(&node).await?;
        let current = current(&seen)?;
        Ok((seen.without_texts(), current))
    });
    let mut nodes = Vec::new();
    for (mut node, seen) in seen {
        let result = match seen {
            Ok((seen, current)) => Ok(compare(ui, &mut loaded, args, &mut node, seen, current)?),
            Err(error) => Err(error),
        };
        nodes.push(Compared { node, result });
    }
    loaded.tell_not_run(ui);
    let same = same_as(&nodes.iter().map(Compared::drift).collect::<Vec<_>>());
    match (args.matrix, args.output) {
        (_, Format::Json) => ui.json(&to_json(&nodes, &same))?,
        (true, Format::Text) => ui.table(&Table { rows: matrix_rows(&nodes), ..Table::default() })?,
        (true, Format::Markdown) => ui.result(&format!("```\n{}```\n", table(&matrix_rows(&nodes))))?,
        (false, Format::Text) => ui.signed(&text(&nodes, &same))?,
        (false, Format::Markdown) => ui.result(&format!("```diff\n{}```\n", text(&nodes, &same)))?,
    }
    ui.flush()?;
    let errors = nodes.iter().filter_map(|compared| Some((&compared.node, compared.result.as_ref().err()?)));
    tell_errors(ui, errors);
    let changed = nodes.iter().filter_map(Compared::drift).filter(|drift| !drift.changes.is_empty()).count();
    let lost = nodes.iter().filter(|compared| compared.result.is_err()).count();
    let lost_text = if lost == 0 { String::new() } else { format!(", {lost} unknown") };
    let unchanged = nodes.len() - changed - lost;
    ui.note(&format!(
        "{}: {changed} to change, {unchanged} unchanged{lost_text}",
        count(nodes.len(), "node")
    ));
    Ok(match (lost, changed) {
        (0, 0) => exit::OK,
        (0, _) => exit::FOUND,
        _ => exit::REMOTE,
    })
}

/// What a node's config says of registries, and what is wrong with it.
type Current = Result<(Registries, Vec<Problem>), ParseError>;

/// Reads the registries of the config that a node runs with.
fn current(seen: &Observation) -> Result<Current, TalosError> {
    let text = seen.active.as_ref().map_err(Clone::clone)?.text.expose();
    let config = match MachineConfig::parse(text) {
        Ok(config) => config,
        Err(error) => return Ok(Err(error)),
    };
    let mut problems = Problems::new("machine config", text);
    let registries = config.registries(&mut problems);
    Ok(Ok((registries, problems.into_sorted())))
}

/// Compares what a node runs with and what the inventory gives it.
fn compare(
    ui: &mut Ui,
    loaded: &mut LoadedInventory,
    args: &DiffArgs,
    node: &mut LiveNode,
    seen: Observation,
    current: Current,
) -> Result<(Observation, Drift), CliError> {
    let recognised = recognise(loaded, node, &seen);
    let target = if node.known {
        Target::Node(&node.name)
    } else {
        if recognised == Recognised::No {
            ui.warn(
                &format!("{}: the inventory does not know this node", node.name),
                Some("it is compared with the settings that every node starts from"),
            );
        }
        Target::Base
    };
    let version = args.versions.talos_version.clone().or_else(|| seen.talos_version());
    let version =
        version.or_else(|| loaded.inventory.version(target).cloned()).unwrap_or_else(default_version);
    let mut wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
    let (current, problems) = current.map_err(|error| {
        CliError::from(error).context(format!("{}: the node's machine config cannot be read", node.name))
    })?;
    for problem in problems {
        let file = format!("{}: machine config", node.name);
        ui.problem(&Problem { file, ..problem });
    }
    wanted.fill_not_run(&current);
    Ok((seen, Drift::new(current, wanted)))
}

/// Returns what should be known beside the changes.
fn notes(seen: &Observation, drift: &Drift) -> Vec<String> {
    let mut notes = Vec::new();
    let pending = match seen.pending() {
        Some(Pending::Trial) => Some("a config is on trial: what is compared will be taken back"),
        Some(Pending::Staged) => Some("another config is staged for the next boot"),
        Some(Pending::Nothing) | None => None,
    };
    notes.extend(pending.map(str::to_owned));
    let reloads = seen.talos_version().is_some_and(|version| version.reloads_auth());
    if !reloads && drift.changes.iter().any(|change| change.kind == Kind::Auth) {
        notes.push("credentials reach pods' pulls only after a reboot".to_owned());
    }
    if seen.owes_reboot == Some(true) {
        let note = "containerd started before its credentials were last written, by a change or a trial, and may use older ones: \
                    `talmirror rollout --reboot if-needed` reboots it";
        notes.push(note.to_owned());
    }
    if !seen.foreign_hosts.is_empty() {
        notes.push(format!("Talos did not write {} on the node", seen.foreign_hosts.join(", ")));
    }
    if !seen.foreign_credentials.is_empty() {
        notes.push(format!(
            "containerd has credentials for {} that are not from the config's registries",
            seen.foreign_credentials.join(", ")
        ));
    }
    notes
}

fn text(nodes: &[Compared], same: &[Option<usize>]) -> String {
    let mut lines = Vec::new();
    for (compared, same) in nodes.iter().zip(same) {
        let name = &compared.node.name;
        let (seen, drift) = match &compared.result {
            Ok((seen, drift)) => (seen, drift),
            Err(error) => {
                lines.push(format!("{name}   unknown: {error}"));
                continue;
            }
        };
        let about = [seen.role.as_deref(), Some(seen.version.tag.as_str()), schema(seen)];
        let about = about.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let twin = same.and_then(|at| nodes.get(at)).map(|twin| &twin.node.name);
        if let Some(twin) = twin {
            lines.push(format!("{name} {about}   = same change as {twin}"));
        } else {
            lines.push(format!("{name} {about}   {}", summary(&drift.changes)));
            lines.extend(drift.changes.iter().map(|change| format!("  {change}")));
        }
        lines.extend(notes(seen, drift).iter().map(|note| format!("  ! {note}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

pub(in crate::cli) fn summary(changes: &[Change]) -> String {
    let words = [('-', "removed"), ('~', "changed"), ('+', "added")];
    let number = |word: &str| changes.iter().filter(|change| change.what.as_str() == word).count();
    let parts = words.into_iter().map(|(sign, word)| (sign, number(word), word));
    let parts = parts.filter(|(_, number, _)| *number > 0);
    let parts: Vec<String> = parts.map(|(sign, number, word)| format!("{sign} {number} {word}")).collect();
    if parts.is_empty() { "no differences".to_owned() } else { parts.join(", ") }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Mirror => "mirror",
        Kind::Auth => "auth",
        Kind::Tls => "tls",
    }
}

fn matrix_rows(nodes: &[Compared]) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["KIND".to_owned(), "NAME".to_owned()]];
    if let Some(header) = rows.first_mut() {
        header.extend(nodes.iter().map(|compared| compared.node.name.clone()));
    }
    for row in matrix(&nodes.iter().map(Compared::drift).collect::<Vec<_>>()) {
        let cells = row.cells.iter().map(|cell| cell.sign());
        rows.push([kind(row.kind).to_owned(), row.name].into_iter().chain(cells).collect());
    }
    rows
}

fn to_json(nodes: &[Compared], same: &[Option<usize>]) -> Value {
    let name = |at: &usize| nodes.get(*at).map(|compared| compared.node.name.as_str());
    let item = |(compared, same): (&Compared, &Option<usize>)| match &compared.result {
        Err(error) => json!({
            "name": compared.node.name,
            "address": compared.node.target.to_string(),
            "error": {"reason": error.as_str(), "message": one_line(error)},
        }),
        Ok((seen, drift)) => json!({
            "name": compared.node.name,
            "address": compared.node.target.to_string(),
            "inInventory": compared.node.known,
            "role": seen.role,
            "version": seen.version.tag,
            "schema": schema(seen),
            "pending": seen.pending().map(Pending::as_str),
            "changed": !drift.changes.is_empty(),
            "sameAs": same.as_ref().and_then(name),
            "items": drift.changes.iter().map(Change::to_json).collect::<Vec<_>>(),
            "notes": notes(seen, drift),
        }),
    };
    let rows = matrix(&nodes.iter().map(Compared::drift).collect::<Vec<_>>()).into_iter().map(|row| {
        let cells = nodes.iter().zip(&row.cells).map(|(compared, cell): (&Compared, &Cell)| {
            (compared.node.name.clone(), json!({"is": cell.as_str(), "sign": cell.sign()}))
        });
        let cells: serde_json::Map<String, Value> = cells.collect();
        json!({"kind": kind(row.kind), "name": row.name, "nodes": cells})
    });
    json!({
        "apiVersion": "talmirror/v1",
        "kind": "NodesDiff",
        "changed": nodes.iter().filter_map(Compared::drift).any(|drift| !drift.changes.is_empty()),
        "items": nodes.iter().zip(same).map(item).collect::<Vec<_>>(),
        "matrix": rows.collect::<Vec<_>>(),
    })
}
