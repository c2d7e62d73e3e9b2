#![expect(clippy::disallowed_methods, reason = "finds the folders of journals")]

use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input;
use crate::cli::inventory;
use crate::cli::session::Session;
use crate::file::Lock;
use crate::rollout::{self, ConfigDigest, History};
use crate::secret::Secret;
use crate::sops::{Encrypted, Recipient, Rule, Settings, SopsError, looks_encrypted};
use crate::ui::{CliError, Ui, exit};

/// How many earlier rollouts are asked what they have left.
const JOURNALS: usize = 50;

/// Returns the folder of a cluster's rollouts.
pub(super) fn cluster_folder(session: &Session) -> Result<PathBuf, CliError> {
    let state = input::state_folder().ok_or_else(|| {
        CliError::usage("there is no home directory to keep a journal in")
            .help("name a folder with --journal")
    })?;
    let folder = |fingerprint: &ConfigDigest| {
        let name = rollout::file_name(&session.context_name, fingerprint, "d");
        state.join(name.trim_end_matches(".d"))
    };
    // While the authority is replaced it has two keys, and the folder that is there stays the cluster's.
    let folders: Vec<PathBuf> = session.fingerprints().iter().map(folder).collect();
    let there = folders.iter().find(|folder| folder.is_dir()).or(folders.first());
    there.cloned().ok_or_else(|| CliError::new(exit::INVALID, "the context has no `ca`"))
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
                "the journal of an earlier rollout in `{}` is gone: what that has left is not known",
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
        match rollout::read_history(&folder) {
            // Its folder may have been given to another cluster since.
            Ok(history) if !is_of(&history, session) => {}
            Ok(history) => found.push((folder.display().to_string(), history)),
            Err(error) => ui.warn(
                &format!("what an earlier rollout has left cannot be read: {error}"),
                Some("see what `talmirror nodes` says of the nodes"),
            ),
        }
    }
    Ok(found)
}

/// Whose journals are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// Those of a cluster that shares a key with the context's `ca`.
    Own,
    /// Any: the user says that the cluster is the same.
    Any,
}

/// Returns whether a journal is of the cluster; journals of old do not tell.
fn is_of(history: &History, session: &Session) -> bool {
    history.cluster.as_ref().is_none_or(|cluster| session.fingerprints().contains(cluster))
}

/// Reads what the journal of a folder says; that of another cluster is refused.
pub(super) fn history(
    ui: &mut Ui,
    session: &Session,
    folder: &Path,
    authority: Authority,
) -> Result<History, CliError> {
    let history = rollout::read_history(folder)?;
    if authority == Authority::Own && !is_of(&history, session) {
        let error = format!(
            "the journal in `{}` is of another cluster, that of context `{}`; context `{}` is of one with another CA",
            folder.display(),
            history.context,
            session.context_name
        );
        return Err(
            CliError::usage(error).help("name its context with --context, or another folder with --journal; where the CA was rotated since, --other-ca accepts it")
        );
    }
    for line in &history.unreadable {
        let path = folder.join(rollout::JOURNAL);
        ui.warn(&format!("{}:{line}: half a record; what it announces was not done", path.display()), None);
    }
    Ok(history)
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

/// Returns how originals are encrypted: for those who may read the inventory.
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
    // What cannot be opened here is not a way back.
    let sample = encryption::seal("config: sample\n", &settings, "a sample")?;
    if let Err(error) = encryption::open(&sample, global) {
        return Err(CliError::from_error(exit::SECRET, error)
            .context("the nodes' old configs are encrypted for those who may read the inventory, and no key for that is at hand: neither --resume nor rollback could open them; no node was touched")
            .help("--age-key-file names a key; sops's SOPS_AGE_KEY_FILE and SOPS_AGE_KEY are looked at, too"));
    }
    Ok(Some(settings))
}

/// Decrypts what a journal keeps.
pub(super) fn decrypt(global: &Global) -> impl Fn(&str) -> Result<Secret<String>, SopsError> + '_ {
    |text| encryption::open(text, global)
}
