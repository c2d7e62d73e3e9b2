use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::backup::file_name;
use crate::cli::args::{Global, NodeSelection, TalosArgs};
use crate::cli::encryption::{self, EncryptionOptions, Holds, Rules};
use crate::cli::sealer::{Sealer, check_place};
use crate::cli::session::{LiveNode, Session, inventory_if_any, tell_errors};
use crate::file::{self, Privacy};
use crate::finding::one_line;
use crate::talos::{BootConfig, Origin, Pending, TalosError, boot_config};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Table, Ui, count};

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each node's config goes into DIR/NODE.yaml, encrypted by the rules of .sops.yaml; where no rule fits, for --age or for whom
the inventory is encrypted for. In a name, every character but letters, digits, `.`, `_` and `-` becomes `-`. Comments stay in clear,
as with sops. Nothing is written in clear, not even for a moment.

Kept is what the node boots with: the config on its disk. A config on trial is not kept, a staged one is; both are told.
A file that holds its config already is not touched; of another only changed values, `lastmodified` and `mac` change.
What SOPS cannot keep in YAML, such as aliases or a comment in a list that is encrypted, is kept as one value under
`data`, as in sops' binary files: `talmirror decrypt --extract '[\"data\"]' FILE` gives the config back byte for byte.

Ends with 1 when --check finds a difference, with 5 when a node cannot be asked; what can be kept is kept anyway.

Examples:
  talmirror backup --output-dir backups
  talmirror backup --output-dir backups --check
  talmirror decrypt backups/n1.yaml | talosctl apply-config -n 10.0.0.1 -f /dev/stdin --mode no-reboot"
)]
pub(crate) struct BackupArgs {
    /// The directory that the files go into
    #[arg(long, env = "TALMIRROR_BACKUP_DIR", value_name = "DIR", help_heading = "Output")]
    output_dir: PathBuf,
    /// Write nothing; end with 1 when a file is missing or holds another config
    #[arg(long, env = "TALMIRROR_CHECK", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    check: bool,
    #[command(flatten)]
    which: NodeSelection,
    /// An age recipient; with one, those of `.sops.yaml` do not count
    #[arg(
        long,
        env = "TALMIRROR_AGE",
        value_name = "RECIPIENT",
        value_delimiter = ',',
        help_heading = "Secrets"
    )]
    age: Vec<String>,
    #[command(flatten)]
    talos: TalosArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_BACKUP_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

/// What became of a node's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Updated,
    Unchanged,
    /// It would have been created.
    Missing,
    /// It would have been updated.
    Differs,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Missing => "missing",
            Self::Differs => "differs",
        }
    }
}

/// What is told of a node's backup.
struct Kept {
    state: State,
    origin: Origin,
    pending: Pending,
    /// Why the config is kept as one value.
    whole: Option<String>,
}

/// Why a node has no backup.
enum Failure {
    Node(TalosError),
    File(CliError),
}

struct Backup {
    node: LiveNode,
    path: PathBuf,
    result: Result<Kept, Failure>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: BackupArgs) -> Result<Exit, CliError> {
    let loaded = inventory_if_any(ui, global)?;
    let session = Session::of(ui, global, &args.talos, loaded.as_ref(), &args.which)?;
    let paths = paths(&session.nodes, &args)?;
    let rules = Rules::load(ui)?;
    let age_at_last =
        if loaded.is_some() { encryption::inventory_recipients(global, &rules) } else { Vec::new() };
    let options = EncryptionOptions {
        age: args.age.clone(),
        age_at_last,
        holds: Holds::MachineConfig,
        ..EncryptionOptions::default()
    };
    let mut sealer = Sealer::new(global, rules, options);
    for path in &paths {
        check_place(&args.output_dir, path)?;
        sealer.settings(path)?;
    }
    let mut backups: Vec<Option<Backup>> = paths.iter().map(|_| None).collect();
    let total = count(paths.len(), "node");
    let mut done = 0;
    let tell = |ui: &mut Ui, done: usize| {
        if ui.is_live() {
            ui.live(&[format!("{done} of {total}")]);
        }
    };
    tell(ui, done);
    session.as_they_come(
        |node| async move { boot_config(&node).await },
        |at, node, answer| {
            let (Some(path), Some(slot)) = (paths.get(at), backups.get_mut(at)) else { return };
            let result = match answer {
                Ok(found) => keep(ui, &mut sealer, &args, node, path, found).map_err(Failure::File),
                Err(error) => Err(Failure::Node(error)),
            };
            *slot = Some(Backup { node: node.clone(), path: path.clone(), result });
            done += 1;
            tell(ui, done);
        },
    );
    ui.live(&[]);
    let backups: Vec<Backup> = backups.into_iter().flatten().collect();
    ui.output(args.output, &to_json(&args, &backups), || {
        Table::new(&["NODE", "FILE", "BACKUP", "NOTE"], backups.iter().map(row))
    })?;
    ui.flush()?;
    Ok(close(ui, &args, &backups))
}

/// Returns the nodes' files; two nodes never share one, whatever the file system thinks of upper case.
fn paths(nodes: &[LiveNode], args: &BackupArgs) -> Result<Vec<PathBuf>, CliError> {
    let names: Vec<String> = nodes.iter().map(|node| file_name(&node.name)).collect();
    for (at, name) in names.iter().enumerate() {
        let twin = names.iter().take(at).position(|other| other.eq_ignore_ascii_case(name));
        if let (Some(node), Some(twin)) = (nodes.get(at), twin.and_then(|twin| nodes.get(twin))) {
            let message = format!("`{}` and `{}` would share the file `{name}`", twin.name, node.name);
            return Err(CliError::usage(message).help("name one of them otherwise in the inventory"));
        }
    }
    Ok(names.iter().map(|name| args.output_dir.join(name)).collect())
}

/// Brings a node's file to its config.
fn keep(
    ui: &mut Ui,
    sealer: &mut Sealer<'_>,
    args: &BackupArgs,
    node: &LiveNode,
    path: &std::path::Path,
    found: BootConfig,
) -> Result<Kept, CliError> {
    let step = sealer.step(path, found.config.text.expose())?;
    if let (Some(locations), false) = (&step.locked, args.check) {
        ui.warn(
            &format!("{}: `{}` cannot be opened, so all of it is encrypted again", node.name, path.display()),
            Some(&format!(
                "with an identity only what changed would change; looked in {}",
                locations.join(", ")
            )),
        );
    }
    if step.locked.is_some() && args.check {
        let message = format!("`{}` cannot be opened, so what it holds is not known", path.display());
        return Err(CliError::new(exit::SECRET, message)
            .help("set SOPS_AGE_KEY_FILE or SOPS_AGE_KEY to a key of one of its recipients"));
    }
    let state = match (&step.text, step.exists, args.check) {
        (None, ..) => State::Unchanged,
        (Some(_), true, true) => State::Differs,
        (Some(_), false, true) => State::Missing,
        (Some(text), exists, false) => {
            file::replace(path, text.as_bytes(), Privacy::Private)?;
            if exists { State::Updated } else { State::Created }
        }
    };
    Ok(Kept { state, origin: found.origin, pending: found.pending, whole: step.whole })
}

fn notes(kept: &Kept) -> Vec<String> {
    let mut notes = Vec::new();
    match (kept.pending, kept.origin) {
        (Pending::Trial, _) => notes.push("another config is on trial, and not kept".to_owned()),
        (Pending::Staged, _) => notes.push("kept is the config staged for the next boot".to_owned()),
        (Pending::Nothing, Origin::Unsure) => notes.push("kept is what runs, maybe on trial".to_owned()),
        (Pending::Nothing, Origin::Disk | Origin::Running) => {}
    }
    if kept.whole.is_some() {
        notes.push("kept as one value".to_owned());
    }
    notes
}

fn row(backup: &Backup) -> Vec<String> {
    let (state, note) = match &backup.result {
        Ok(kept) => (kept.state.as_str(), notes(kept).join("; ")),
        Err(_) => ("failed", String::new()),
    };
    vec![backup.node.name.clone(), backup.path.display().to_string(), state.to_owned(), note]
}

/// Tells what went wrong and what came of it all.
fn close(ui: &mut Ui, args: &BackupArgs, backups: &[Backup]) -> Exit {
    let mut exit = exit::OK;
    let number = |state: State| {
        backups.iter().filter(|backup| backup.result.as_ref().is_ok_and(|kept| kept.state == state)).count()
    };
    if number(State::Missing) + number(State::Differs) > 0 {
        ui.note("run the same command without --check to write them");
        exit = exit::FOUND;
    }
    for backup in backups {
        if let Ok(Kept { whole: Some(reason), .. }) = &backup.result {
            let path = backup.path.display();
            ui.warn(
                &format!("{}: the config is kept as one value: {reason}", backup.node.name),
                Some(&format!("`talmirror decrypt --extract '[\"data\"]' {path}` gives it back")),
            );
        }
    }
    let lost = backups.iter().filter_map(|backup| match &backup.result {
        Err(Failure::Node(error)) => Some((&backup.node, error)),
        Ok(_) | Err(Failure::File(_)) => None,
    });
    let lost: Vec<(&LiveNode, &TalosError)> = lost.collect();
    if !lost.is_empty() {
        exit = exit::REMOTE;
    }
    tell_errors(ui, lost.into_iter());
    for backup in backups {
        if let Err(Failure::File(error)) = &backup.result {
            ui.warn(&format!("{}: {}", backup.node.name, error.render()), None);
            exit = error.exit;
        }
    }
    let states = [State::Created, State::Updated, State::Missing, State::Differs, State::Unchanged];
    let states = states.into_iter().map(|state| (number(state), state.as_str()));
    let failed = backups.iter().filter(|backup| backup.result.is_err()).count();
    let parts = states.chain([(failed, "failed")]).filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts.map(|(number, word)| format!("{number} {word}")).collect();
    let checked = if args.check { ", nothing was written" } else { "" };
    ui.note(&format!("{}: {}{checked}", count(backups.len(), "node"), parts.join(", ")));
    exit
}

fn to_json(args: &BackupArgs, backups: &[Backup]) -> Value {
    let item = |backup: &Backup| {
        let mut item = json!({
            "name": backup.node.name,
            "address": backup.node.target.to_string(),
            "inInventory": backup.node.known,
            "file": backup.path,
        });
        let more = match &backup.result {
            Ok(kept) => json!({
                "state": kept.state.as_str(),
                "origin": kept.origin.as_str(),
                "pending": kept.pending.as_str(),
                "asOneValue": kept.whole,
            }),
            Err(Failure::Node(error)) => json!({
                "state": "failed",
                "error": {"reason": error.as_str(), "message": one_line(error)},
            }),
            Err(Failure::File(error)) => json!({
                "state": "failed",
                "error": {"reason": "file", "message": error.render()},
            }),
        };
        if let (Value::Object(item), Value::Object(more)) = (&mut item, more) {
            item.extend(more);
        }
        item
    };
    let changed = |backup: &Backup| backup.result.as_ref().is_ok_and(|kept| kept.state != State::Unchanged);
    json!({
        "apiVersion": "talmirror/v1",
        "kind": "Backup",
        "check": args.check,
        "changed": backups.iter().any(changed),
        "items": backups.iter().map(item).collect::<Vec<_>>(),
    })
}
