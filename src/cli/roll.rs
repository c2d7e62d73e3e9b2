#![expect(clippy::disallowed_methods, reason = "finds the folders of journals")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::args::{Global, TalosArgs};
use super::encryption;
use super::input;
use super::inventory::{self, Loaded};
use super::progress::Progress;
use super::session::Session;
use super::signal_source::{Asked, Signals};
use crate::file::Lock;
use crate::rollout::{self, Crew, Event, History, Journal, Pace, StoreError};
use crate::secret::Secret;
use crate::sops::{Encrypted, Recipient, Rule, Settings, SopsError, looks_encrypted};
use crate::talos::NodeClient;
use crate::ui::{CliError, Ui, exit};

/// How many earlier rollouts are asked what they have left.
const JOURNALS: usize = 50;

/// How a rollout is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: the plan and the end as results, the steps as the story.
    Text,
    /// One JSON object for each event, one a line.
    Json,
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let (exit, help) = match &error {
            StoreError::Write { .. } => (exit::WRITE, "is there room, and may you write there?"),
            StoreError::Read { .. } | StoreError::Journal { .. } => {
                (exit::INVALID, "name the folder of a rollout's journal with --journal")
            }
            StoreError::Taken(_) => (exit::USAGE, "go on with it: --resume; or name another folder"),
            StoreError::Locked(_) => (exit::STOPPED, "wait until it is done"),
            StoreError::Sops { .. } => (
                exit::SECRET,
                "the originals are encrypted for whoever may read the inventory: is your key at hand?",
            ),
            StoreError::Changed(_) => {
                (exit::INVALID, "put the original of this file back, or restore the node by hand")
            }
        };
        Self::from_error(exit, error).help(help)
    }
}

/// Returns the folder of a cluster's rollouts.
pub(super) fn cluster_folder(session: &Session) -> Result<PathBuf, CliError> {
    let state = input::environment("XDG_STATE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")));
    let state = state.ok_or_else(|| {
        CliError::usage("there is no home to keep a journal in").help("name a folder with --journal")
    })?;
    let name = rollout::file_name(&session.context_name, &session.fingerprint(), "d");
    Ok(state.join("talmirror").join(name.trim_end_matches(".d")))
}

/// Returns the folder of the rollout that is meant: the one that is named, else the latest.
pub(super) fn earlier(session: &Session, named: Option<&PathBuf>) -> Result<PathBuf, CliError> {
    if let Some(folder) = named {
        return Ok(folder.clone());
    }
    let folder = cluster_folder(session)?;
    rollout::latest(&folder).ok_or_else(|| {
        CliError::new(exit::INVALID, format!("there is no earlier rollout in `{}`", folder.display()))
            .help("name the folder of its journal with --journal")
    })
}

/// Writes down where the journal of a rollout lies, so that a later rollout without `--journal` reads it, too.
pub(super) fn remember(session: &Session, folder: &Path) -> Result<(), CliError> {
    Ok(rollout::remember(&cluster_folder(session)?, folder)?)
}

/// Reads the journals of a cluster's rollouts, the newest first, those that lie elsewhere among them.
pub(super) fn journals(
    ui: &mut Ui,
    session: &Session,
    folder: &Path,
) -> Result<Vec<(String, History)>, CliError> {
    let cluster = cluster_folder(session)?;
    let mut folders: Vec<PathBuf> = rollout::newest(&cluster).into_iter().take(JOURNALS).collect();
    let known = rollout::elsewhere(&cluster)?;
    for other in known.into_iter().rev().take(JOURNALS) {
        if other.join(rollout::JOURNAL).is_file() {
            folders.push(other);
            continue;
        }
        ui.warn(
            &format!(
                "the journal of an earlier rollout in `{}` is gone: nobody knows what that has left",
                other.display()
            ),
            Some(&format!(
                "see what `talmirror nodes` says of the nodes; then take its line out of `{}`",
                cluster.join(rollout::ELSEWHERE).display()
            )),
        );
    }
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if !folders.contains(&folder) && folder.join(rollout::JOURNAL).is_file() {
        folders.insert(0, folder);
    }
    let mut found = Vec::new();
    for folder in folders {
        match rollout::history(&folder) {
            // Its folder may have been given to another cluster since.
            Ok(history)
                if history.cluster.as_ref().is_some_and(|cluster| *cluster != session.fingerprint()) => {}
            Ok(history) => found.push((folder.display().to_string(), history)),
            Err(error) => ui.warn(
                &format!("what an earlier rollout has left cannot be read: {error}"),
                Some("see what `talmirror nodes` says of the nodes"),
            ),
        }
    }
    Ok(found)
}

/// Reads what the journal of a folder says; that of another cluster is refused.
pub(super) fn history(ui: &mut Ui, session: &Session, folder: &Path) -> Result<History, CliError> {
    let history = rollout::history(folder)?;
    if history.cluster.as_ref().is_some_and(|cluster| *cluster != session.fingerprint()) {
        let error = format!(
            "the journal in `{}` is of another cluster, that of context `{}`; context `{}` is of one with another CA",
            folder.display(),
            history.context,
            session.context_name
        );
        return Err(
            CliError::usage(error).help("name its context with --context, or another folder with --journal")
        );
    }
    for line in &history.unreadable {
        let path = folder.join(rollout::JOURNAL);
        ui.warn(&format!("{}:{line}: half a record; what it announces was not done", path.display()), None);
    }
    Ok(history)
}

/// Returns a command that goes on with a rollout, as it can be pasted: for the same inventory, cluster and journal.
pub(super) fn again(
    command: &str,
    global: &Global,
    talos: &TalosArgs,
    journal: Option<&PathBuf>,
    more: &[(&str, String)],
) -> String {
    let path = |path: &PathBuf| path.display().to_string();
    let own = (global.inventory != "mirrors.yaml").then(|| global.inventory.clone());
    let endpoints = (!talos.endpoints.is_empty()).then(|| talos.endpoints.join(","));
    let flags = [
        ("-f", own),
        ("--age-key-file", global.age_key_file.as_ref().map(path)),
        ("--talosconfig", talos.talosconfig.clone()),
        ("--context", talos.context.clone()),
        ("-e", endpoints),
        ("--journal", journal.map(path)),
    ];
    let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    let mut out = format!("talmirror {command}");
    for (flag, value) in flags.chain(more.iter().cloned()) {
        // What begins with a dash would be taken for a flag.
        let between = if value.starts_with('-') { '=' } else { ' ' };
        out.push_str(&format!(" {flag}{between}{}", quoted(&value)));
    }
    out
}

/// Writes a word so that a POSIX shell takes it as one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Takes the cluster's lock, and the journal's, where it lies elsewhere.
pub(super) fn lock(session: &Session, folder: &Path) -> Result<Vec<Lock>, CliError> {
    let cluster = cluster_folder(session)?;
    let mut locks = vec![rollout::lock(&cluster)?];
    if !folder.starts_with(&cluster) {
        locks.push(rollout::lock(folder)?);
    }
    Ok(locks)
}

/// Returns how originals are encrypted: for whoever may read the inventory.
pub(super) fn settings(ui: &mut Ui, global: &Global) -> Result<Option<Settings>, CliError> {
    let text = if global.inventory == "-" { String::new() } else { inventory::read_inventory(global)? };
    let recipients: Vec<Recipient> = if looks_encrypted(&text) {
        let file = Encrypted::parse(&text).map_err(|error| encryption::failed(error, &global.inventory))?;
        file.recipients().iter().filter_map(|name| name.parse().ok()).collect()
    } else {
        let path =
            std::path::absolute(&global.inventory).unwrap_or_else(|_| PathBuf::from(&global.inventory));
        let config = encryption::config()?;
        let rule =
            config.as_ref().and_then(|config| Some((config.creation_rule(&path).ok()?, config.indent)));
        rule.and_then(|(rule, indent)| rule.settings(indent).ok())
            .map_or_else(Vec::new, |found| found.recipients)
    };
    if recipients.is_empty() {
        ui.warn(
            "the nodes' old configs are kept in clear beside the journal; only you may read them",
            Some("an inventory encrypted for an age recipient, or a rule of .sops.yaml for it, has them encrypted"),
        );
        return Ok(None);
    }
    let rule = Rule::encrypted_regex("^config$");
    let rule = rule.map_err(|error| encryption::failed(SopsError::Rule(error), "the rule"))?;
    let settings = Settings::new(rule, recipients);
    // What nobody here can open is no way back.
    let sample = encryption::seal("config: sample\n", &settings, "a sample")?;
    if let Err(error) = encryption::open(&sample, global) {
        return Err(CliError::from_error(exit::SECRET, error)
            .context("the nodes' old configs are encrypted for whoever may read the inventory, and no key for that is at hand: neither --resume nor rollback could open them; no node was touched")
            .help("--age-key-file names a key; sops's SOPS_AGE_KEY_FILE and SOPS_AGE_KEY are looked at, too"));
    }
    Ok(Some(settings))
}

/// Decrypts what a journal keeps.
pub(super) fn decrypt(global: &Global) -> impl Fn(&str) -> Result<Secret<String>, SopsError> + '_ {
    |text| encryption::open(text, global)
}

/// What a rollout's nodes share.
pub(super) struct Gear {
    pub(super) journal: Journal,
    pub(super) pace: Pace,
    pub(super) images: Vec<String>,
    pub(super) control_plane: Vec<(String, NodeClient)>,
    /// The command that goes on where the user has left it in the middle.
    pub(super) again: String,
}

/// Carries out work on nodes, and tells what happens meanwhile; [`None`]: the user has left it in the middle.
///
/// Where the output cannot be written any more, the nodes in hand are brought to one config or the other all the same,
/// as when the user wants to stop; that it could not be written is told after that.
pub(super) fn carry_out<T, F>(
    ui: &mut Ui,
    session: &Session,
    gear: Gear,
    format: Format,
    work: impl FnOnce(Arc<Crew>) -> F,
) -> Result<Option<T>, CliError>
where
    F: Future<Output = T>,
{
    let names = session.nodes.iter().map(|node| node.name.as_str());
    let mut progress = Progress::new(names);
    let again = gear.again;
    let done = session.wait(async {
        let (events, mut told) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let crew = Arc::new(Crew {
            journal: gear.journal,
            pace: gear.pace,
            images: gear.images,
            control_plane: gear.control_plane,
            events,
            stop: stopped,
        });
        let mut work = pin!(work(crew));
        let mut signals = Signals::new().map_err(|error| CliError::from_error(exit::WRITE, error))?;
        let mut asked = false;
        let mut listener = Ok(());
        let done = loop {
            tokio::select! {
                biased;
                Some(event) = told.recv() => {
                    let had = listener.is_ok();
                    tell(ui, &mut progress, format, &event, &mut listener);
                    if had && listener.is_err() {
                        stop.send_replace(true);
                        ui.warn("the output cannot be written any more; stopping: the node in hand is brought to its old or its new config first", None);
                    }
                }
                signal = signals.next() => match signal {
                    Asked::Once if asked => break None,
                    Asked::HungUp => drop(stop.send_replace(true)),
                    Asked::Once => {
                        asked = true;
                        stop.send_replace(true);
                        ui.warn(
                            "stopping: the node in hand is brought to its old or its new config first",
                            Some("once more leaves at once"),
                        );
                    }
                },
                done = &mut work => break Some(done),
            }
        };
        while let Ok(event) = told.try_recv() {
            tell(ui, &mut progress, format, &event, &mut listener);
        }
        Ok::<_, CliError>((done, listener))
    });
    let (done, listener) = match done.transpose()? {
        Some((done, listener)) => (done, listener),
        None => (None, Ok(())),
    };
    if done.is_none() {
        ui.live(&[]);
        let now = Timestamp::now();
        for line in progress.abandoned(now) {
            ui.warn(&line, None);
        }
        let last = format!("left in the middle; next: {again}");
        match format {
            Format::Text => ui.result(&format!("{last}\n"))?,
            Format::Json => ui.json_line(
                &json!({"at": now.to_string(), "event": "abandoned", "nodes": progress.abandoned(now)}),
            )?,
        }
    }
    listener.map(|()| done)
}

/// Tells an event, unless nobody has listened to one before.
fn tell(
    ui: &mut Ui,
    progress: &mut Progress,
    format: Format,
    event: &Event,
    listener: &mut Result<(), CliError>,
) {
    let line = progress.add(event);
    if format == Format::Json {
        if listener.is_ok() {
            *listener = ui.json_line(&event.to_json());
        }
        return;
    }
    if ui.is_live() {
        let lasting = !matches!(event.what, rollout::What::Begins { .. } | rollout::What::Ends { .. });
        if let Some(line) = line.filter(|_| lasting) {
            ui.note(&line);
        }
        ui.live(&progress.lines());
    } else if let Some(line) = line {
        let at = event.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        for line in line.lines() {
            ui.note(&format!("{at} {line}"));
        }
    }
}

/// Returns the images that prove something, each written out.
pub(super) fn images(loaded: &Loaded) -> Vec<String> {
    let images = loaded.inventory.verify.images.iter();
    let full = images.filter_map(|image| image.parse::<crate::image::Reference>().ok());
    full.map(|image| {
        let full = image.to_string();
        let bare = format!("{}/{}", image.registry(), image.repository());
        if full == bare { format!("{full}:latest") } else { full }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, want) in
            [("a/b-1.yaml", "a/b-1.yaml"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(word), want);
        }
    }
}
