#![expect(clippy::disallowed_methods, reason = "finds the folders of journals")]

use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input;
use crate::cli::inventory::{self, LoadedInventory};
use crate::cli::session::{LiveNode, Selection, Session};
use crate::file::{self, Lock};
use crate::rollout::{self, ConfigDigest, History, Witness};
use crate::secret::Secret;
use crate::sops::{Encrypted, Recipient, Rule, Settings, SopsError, looks_encrypted};
use crate::talos::{NodeClient, Observation, TalosError};
use crate::ui::{CliError, Ui, exit};

/// How many earlier rollouts are asked what they have left.
const JOURNALS: usize = 50;

/// How many journals of clusters with another CA are looked at.
const OTHERS: usize = 8;

/// Returns the folder of all clusters' rollouts.
fn state_folder() -> Result<PathBuf, CliError> {
    input::state_folder().ok_or_else(|| {
        CliError::usage("there is no home directory to keep a journal in")
            .help("name a folder with --journal")
    })
}

/// Returns the folder of a cluster's rollouts.
pub(super) fn cluster_folder(session: &Session) -> Result<PathBuf, CliError> {
    let state = state_folder()?;
    let folder = |fingerprint: &ConfigDigest| {
        let name = rollout::file_name(&session.context_name, fingerprint, "d");
        state.join(name.trim_end_matches(".d"))
    };
    // While the authority is replaced it has two keys, and the folder that is there stays the cluster's.
    let folders: Vec<PathBuf> = session.fingerprints().iter().map(folder).collect();
    let there = folders.iter().find(|folder| folder.is_dir()).or(folders.first());
    there.cloned().ok_or_else(|| CliError::new(exit::INVALID, "the context has no `ca`"))
}

/// Returns the folder of the rollout that is meant: the one that is named, else the latest of the cluster; where that has
/// none since its CA was rotated, the latest of a cluster that its nodes prove to be this one.
pub(super) fn earlier(
    session: &mut Session,
    loaded: Option<&LoadedInventory>,
    named: Option<&PathBuf>,
    authority: Authority,
) -> Result<PathBuf, CliError> {
    if let Some(folder) = named {
        return Ok(folder.clone());
    }
    let cluster = cluster_folder(session)?;
    if let Some(folder) = rollout::latest(&cluster) {
        return Ok(folder);
    }
    let others: Vec<_> = of_other_authorities(session, &cluster)?.into_iter().take(OTHERS).collect();
    let (mut silent, mut answered) = (Vec::new(), false);
    for (folder, history) in &others {
        match prove(session, loaded, history, &mut silent)? {
            Proven::Yes => return Ok(folder.clone()),
            // The message names the first.
            Proven::No => answered |= others.first().is_some_and(|(first, _)| first == folder),
            Proven::NoAnswer => {}
        }
    }
    if let (Authority::Any, Some((folder, _))) = (authority, others.first()) {
        return Ok(folder.clone());
    }
    let error =
        CliError::new(exit::INVALID, format!("there is no earlier rollout in `{}`", cluster.display()));
    Err(match others.first() {
        Some((folder, history)) => error.help(format!(
            "`{}` is of context `{}` with another CA, and {} that it is this cluster: if it is, --journal {} --other-ca takes it",
            folder.display(),
            history.context,
            if answered { "none of its nodes proves" } else { "none of its nodes answers to prove" },
            folder.display()
        )),
        None => error.help("name the folder of its journal with --journal"),
    })
}

/// Reads the journals of clusters with another CA that had the same context, the latest first, and at last those that lie
/// elsewhere: the CA may have been rotated since.
fn of_other_authorities(session: &Session, own: &Path) -> Result<Vec<(PathBuf, History)>, CliError> {
    let entries = std::fs::read_dir(state_folder()?).into_iter().flatten();
    let all = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path != own);
    let clusters: Vec<PathBuf> = all.filter(|path| context_in(path) == context_in(own)).collect();
    let mut folders: Vec<PathBuf> = clusters.iter().flat_map(|cluster| rollout::newest(cluster)).collect();
    folders.sort_by(|one, other| other.file_name().cmp(&one.file_name()));
    for cluster in &clusters {
        folders.extend(rollout::elsewhere(cluster)?.into_iter().rev());
    }
    let mut seen = std::collections::HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    let read = |folder: PathBuf| rollout::read_history(&folder).ok().map(|history| (folder, history));
    let of_context = |(_, history): &(PathBuf, History)| history.context == session.context_name;
    Ok(folders.into_iter().filter_map(read).filter(of_context).collect())
}

/// Reads the journals of clusters with another CA that are this one's: its nodes prove it of one journal of each CA, or
/// any is accepted. Returns how many are not proven, too.
pub(super) fn before_rotation(
    session: &mut Session,
    loaded: Option<&LoadedInventory>,
    authority: Authority,
) -> Result<(Vec<(PathBuf, History)>, usize), CliError> {
    let cluster = cluster_folder(session)?;
    let all = of_other_authorities(session, &cluster)?;
    if authority == Authority::Any {
        return Ok((all, 0));
    }
    // A journal of old does not tell its cluster.
    let (mut proven, mut proven_folders): (Vec<ConfigDigest>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    let (mut asked, mut silent) = (0, Vec::new());
    for (folder, history) in &all {
        let is_known = history.clusters.iter().any(|cluster| proven.contains(cluster));
        if is_known || asked == OTHERS {
            continue;
        }
        asked += 1;
        match prove(session, loaded, history, &mut silent)? {
            Proven::Yes => {
                proven.extend(history.clusters.iter().cloned());
                proven_folders.push(folder.clone());
            }
            Proven::No | Proven::NoAnswer => {}
        }
    }
    let count = all.len();
    let is_own = |(folder, history): &(PathBuf, History)| {
        proven_folders.contains(folder) || history.clusters.iter().any(|cluster| proven.contains(cluster))
    };
    let own: Vec<_> = all.into_iter().filter(is_own).collect();
    let others = count - own.len();
    Ok((own, others))
}

/// Returns what the name of a cluster's folder says of its context.
fn context_in(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()?.rsplit_once('-').map(|(context, _)| context)
}

/// What the nodes of a journal say of whether it is about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proven {
    /// It is.
    Yes,
    /// None says so.
    No,
    /// None answers.
    NoAnswer,
}

/// Asks the nodes of a journal whether it is about them. One that is silent is not waited for again, for another journal.
fn prove(
    session: &mut Session,
    loaded: Option<&LoadedInventory>,
    history: &History,
    silent: &mut Vec<String>,
) -> Result<Proven, CliError> {
    let touched = history.nodes.iter().filter(|node| history.by_node.contains_key(&node.name));
    let mut addresses: Vec<String> = touched.map(|node| node.address.clone()).collect();
    if addresses.is_empty() {
        return Ok(Proven::No);
    }
    addresses.retain(|address| !silent.contains(address));
    if addresses.is_empty() {
        return Ok(Proven::NoAnswer);
    }
    session.select(loaded, Selection::Nodes(&addresses))?;
    let nodes = session.each(|node| async move { tell(&node).await });
    let nodes = nodes.into_iter().filter_map(|(node, told)| {
        let address = node.target.to_string();
        let Some((machine, configs)) = told else {
            silent.push(address);
            return None;
        };
        Some(Witness { address, name: node.name, machine, configs })
    });
    let nodes: Vec<Witness> = nodes.collect();
    Ok(if history.is_proven_by(&nodes) {
        Proven::Yes
    } else if nodes.is_empty() {
        Proven::NoAnswer
    } else {
        Proven::No
    })
}

/// Asks a node what tells whether a journal is about it; what it refuses to tell is left out. [`None`]: it does not answer.
async fn tell(node: &NodeClient) -> Option<(Option<String>, Vec<ConfigDigest>)> {
    let identity = node.identity().await;
    if matches!(
        identity,
        Err(TalosError::TimedOut { .. }
            | TalosError::ConnectTimedOut { .. }
            | TalosError::Unreachable { .. }
            | TalosError::NodeUnreachable { .. })
    ) {
        return None;
    }
    let machine = identity.ok().and_then(|identity| identity.machine);
    let active = node.active_config().await.ok();
    let persistent = node.persistent_config().await.ok().flatten();
    let configs = active.iter().chain(&persistent).map(|config| ConfigDigest::of(&config.text));
    Some((machine, configs.collect()))
}

/// Returns what an observed node says that tells whether a journal is about it.
pub(super) fn witness(node: &LiveNode, seen: &Observation) -> Witness {
    let configs = seen.active.iter().chain(&seen.persistent);
    Witness {
        name: node.name.clone(),
        address: node.target.to_string(),
        machine: seen.identity.machine.clone(),
        configs: configs.map(|config| ConfigDigest::of(&config.text)).collect(),
    }
}

/// Refuses originals in clear in a work tree of Mercurial, which has no ignore file for one folder.
pub(super) fn check_clear(global: &Global, folder: &Path) -> Result<(), CliError> {
    if !readers(global)?.is_empty() {
        return Ok(());
    }
    let Some(tree) = file::git_work_tree(&folder.join(rollout::JOURNAL)) else { return Ok(()) };
    if !tree.join(".hg").exists() || tree.join(".git").exists() || tree.join(".jj").exists() {
        // The folder gets an ignore file of its own.
        return Ok(());
    }
    let error = format!(
        "the journal in `{}` would hold the nodes' old configs in clear in the work tree `{}` [E119]; no node was touched",
        folder.display(),
        tree.display()
    );
    Err(CliError::new(exit::INVALID, error).help(
        "encrypt the inventory for an age recipient, or have a rule of .sops.yaml for it; or name another folder with --journal",
    ))
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
    nodes: &[Witness],
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
            Ok(history) if !is_of(&history, session) && !history.is_proven_by(nodes) => {}
            Ok(history) => found.push((folder.display().to_string(), history)),
            Err(error) => ui.warn(
                &format!("what an earlier rollout has left cannot be read: {error}"),
                Some("see what `talmirror nodes` says of the nodes"),
            ),
        }
    }
    for (folder, history) in of_other_authorities(session, &cluster)?.into_iter().take(OTHERS) {
        let place = folder.display().to_string();
        if history.is_proven_by(nodes) && found.iter().all(|(known, _)| *known != place) {
            found.push((place, history));
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
pub(super) fn is_of(history: &History, session: &Session) -> bool {
    let own = session.fingerprints();
    history.clusters.is_empty() || history.clusters.iter().any(|cluster| own.contains(cluster))
}

/// Reads what the journal of a folder says; that of another cluster is refused. Where only the CA is another, its nodes
/// may prove that the cluster is the same.
pub(super) fn history(
    ui: &mut Ui,
    session: &mut Session,
    loaded: Option<&LoadedInventory>,
    folder: &Path,
    authority: Authority,
) -> Result<History, CliError> {
    let history = rollout::read_history(folder)?;
    let is_other = !is_of(&history, session);
    let proven = if is_other { prove(session, loaded, &history, &mut Vec::new())? } else { Proven::Yes };
    if is_other && proven == Proven::Yes {
        ui.note(&format!(
            "the journal in `{}` is from before the cluster's CA was rotated: its nodes are the same",
            folder.display()
        ));
    }
    let doubt = match proven {
        Proven::Yes => None,
        Proven::No => Some("no node proves that it is the same"),
        Proven::NoAnswer => Some("whether it is the same is not known, because none of its nodes answers"),
    };
    if let (Authority::Own, Some(doubt)) = (authority, doubt) {
        let error = format!(
            "the journal in `{}` is of another cluster, that of context `{}`; context `{}` is of one with another CA, and {doubt}",
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

/// Returns those who may read the inventory.
fn readers(global: &Global) -> Result<Vec<Recipient>, CliError> {
    let text = if global.inventory == "-" { String::new() } else { inventory::read_inventory(global)? };
    if looks_encrypted(&text) {
        let file = Encrypted::parse(&text).map_err(|error| encryption::failed(error, &global.inventory))?;
        return Ok(file.recipients().iter().filter_map(|name| name.parse().ok()).collect());
    }
    let path = std::path::absolute(&global.inventory).unwrap_or_else(|_| PathBuf::from(&global.inventory));
    let config = encryption::config()?;
    let rule = config.as_ref().and_then(|config| Some((config.creation_rule(&path).ok()?, config.indent)));
    let found = rule.and_then(|(rule, indent)| rule.settings(indent).ok());
    Ok(found.map_or_else(Vec::new, |found| found.recipients))
}

/// Returns how originals are encrypted: for those who may read the inventory; `untouched` says what did not happen where no
/// key opens them.
pub(super) fn settings(ui: &mut Ui, global: &Global, untouched: &str) -> Result<Option<Settings>, CliError> {
    let recipients = readers(global)?;
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
            .context(format!(
                "the nodes' old configs are encrypted for those who may read the inventory, and no key for that is at hand: neither --resume nor rollback could open them; {untouched}"
            ))
            .help("--age-key-file names a key; sops's SOPS_AGE_KEY_FILE and SOPS_AGE_KEY are looked at, too"));
    }
    Ok(Some(settings))
}

/// Decrypts what a journal keeps.
pub(super) fn decrypt(global: &Global) -> impl Fn(&str) -> Result<Secret<String>, SopsError> + '_ {
    |text| encryption::open(text, global)
}
