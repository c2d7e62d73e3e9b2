#![expect(clippy::disallowed_methods, reason = "looks for journals, and names new ones for the time")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::args::{Format, RolloutArgs, VerifyWhen, images, pace};
use super::before::{ask, control_plane, untouched};
use super::carry_out::{Ended, Telling, carry_out};
use super::journals::{check_clear, cluster_folder, earlier, history, lock, remember, settings};
use super::next_command::{begin, owing, reboot_them, reboots, resume, without_reboot};
use super::past;
use super::plan_view::{Plan, PlannedNode, RolloutTerms, show};
use super::planning::{Begun, make_plan};
use super::resuming::{Since, address, in_journal, keep_names, settle_all};
use super::summary_view::{end, end_json, ended, exit_of, sentence, while_nothing_is_in_hand};
use super::verify_gate::{OnFailure, verify_mirrors};
use crate::cli::args::{Global, TargetArgs};
use crate::cli::inventory::{LoadedInventory, load};
use crate::cli::session::{LiveNode, Selection, Session, called, is_one_place, name_in};
use crate::file::Lock;
use crate::finding::did_you_mean;
use crate::inventory::{Role, Target};
use crate::rollout::{
    Address, History, Journal, NodeJob, Outcome, Policy, Record, RolloutContext, RolloutTimeouts, Summary,
    run_waves,
};
use crate::sops::Settings;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, count};

pub(crate) fn run(ui: &mut Ui, global: &Global, mut args: RolloutArgs) -> Result<Exit, CliError> {
    if let Some(past) = args.past.take() {
        return past::run(ui, global, past);
    }
    let output = args.output;
    ui.detach()?;
    while_nothing_is_in_hand(ui, output, "no node was touched")?;
    let result = roll_out(ui, global, args);
    ended(ui, output, result)
}

fn roll_out(ui: &mut Ui, global: &Global, mut args: RolloutArgs) -> Result<Exit, CliError> {
    let mut loaded = load(ui, global)?;
    if args.dry_run {
        loaded.only_look(global);
    }
    args.call_nodes(|name| Some(name_in(&loaded, name)));
    let RolloutTimeouts { trial, settle, .. } = pace(&args, &loaded);
    if trial <= settle {
        return Err(CliError::usage(format!(
            "a trial of {} s ends before a node has had its {} s to render the config",
            trial.as_secs(),
            settle.as_secs()
        ))
        .help("a longer --try-timeout or rollout.tryTimeout, or a shorter --settle"));
    }
    let mut session = Session::connect(ui, global, &args.talos, Some(&loaded))?;
    let folder = folder(&mut session, &loaded, &args)?;
    let Chosen { mut locks, earlier } = choose(ui, &args, &loaded, &mut session, &folder)?;
    args.call_nodes(|name| called(&session.nodes, name).first().map(|node| node.name.clone()));
    check_canary(&args, &loaded, &session.nodes)?;
    check_unhealthy(&args, &loaded, &session)?;
    let mut settled = Summary::default();
    if args.resume {
        check_clear(global, &folder)?;
        settled = match settle_all(ui, global, &args, &loaded, &session, &folder, &earlier)? {
            Ok(settled) => settled,
            Err(exit) => return Ok(exit),
        };
        while_nothing_is_in_hand(ui, args.output, untouched(&settled))?;
    }
    let begun = Begun { folder: &folder, earlier: &earlier, settled: &settled };
    let mut plan = match make_plan(ui, global, &mut args, &mut loaded, &session, &begun)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    check_canary(&args, &loaded, &who_they_are(&session, &plan))?;
    let is_whole = !args.resume || keep_names(&earlier, &mut plan, untouched(&settled))?;
    let terms = RolloutTerms {
        context: &session.context_name,
        max_failures: max_failures(&args, &loaded, &plan),
        trial: pace(&args, &loaded).trial,
        images: &images(&loaded),
    };
    show(ui, args.output, &terms, &plan)?;
    loaded.tell_not_run(ui);
    let since = args.resume.then(|| Since::of(&loaded, &earlier, &plan));
    if let Some(since) = &since {
        since.tell_at_plan(ui, global, &args);
    }
    ui.flush()?;
    if plan.waves.is_empty() {
        let mut ended = owing(&plan);
        let rebooted = |name: &String| ended.iter().all(|(owing, _)| owing != name);
        let others = plan.nodes.iter().map(|planned| planned.node.name.clone()).filter(rebooted);
        let others: Vec<_> = others.map(|name| (name, Outcome::Unchanged)).collect();
        let owes = (!ended.is_empty()).then(|| reboots(global, &args, &plan));
        ended.extend(others);
        let summary = Summary { ended, ..Summary::default() };
        if args.resume {
            let (journal, _) = Journal::open(&folder, None)?;
            journal.add(Record::Finish { complete: is_whole })?;
        }
        if let Some(next) = owes {
            let what = sentence(&summary);
            return end(ui, args.output, &summary, exit_of(&summary, exit::INTERRUPTED), &what, Some(&next));
        }
        let last = format!("nothing to do: {} as the inventory has it", are(plan.nodes.len()));
        let next = reboot_them(global, &args, &without_reboot(&plan), &summary);
        return end(ui, args.output, &summary, exit::OK, &last, next.as_deref());
    }
    // What was begun is finished or taken back, whatever became of the mirrors; the nodes prove them.
    if args.verify == VerifyWhen::Auto && !args.resume {
        let on_failure = if args.dry_run { OnFailure::Warn } else { OnFailure::Stop };
        verify_mirrors(ui, &mut loaded, &plan, args.talos.timeout, on_failure)?;
    }
    if args.dry_run {
        Ui::speak_last();
        let next = begin(global, &args, None);
        match args.output {
            Format::Text => ui.note(&format!("next: {next}")),
            Format::Json => ui.json_line(&end_json(exit::FOUND, "nothing was done", Some(&next)))?,
        }
        return Ok(exit::FOUND);
    }
    let untouched = untouched(&settled);
    let settings = settings(ui, global, untouched)?;
    check_clear(global, &folder)?;
    let only_reboots = plan.nodes.iter().all(|planned| planned.plan.changes.is_empty());
    let what = if only_reboots { "Reboot" } else { "Change" };
    ask(ui, global, &args, &format!("{what} {}?", count(plan.changed(), "node")), untouched)?;
    if !args.resume {
        locks = lock(&session, &folder)?;
    }
    let keeping = Keeping { folder: &folder, settings, is_whole, since };
    // The command that comes next knows the nodes of the journal and of the inventory.
    args.canary.retain(|name| {
        plan.waves.iter().any(|wave| wave.nodes.contains(name)) || loaded.inventory.nodes.contains_key(name)
    });
    let exit = carry(ui, global, &args, &loaded, &session, plan, keeping);
    drop(locks);
    exit
}

/// Returns the chosen nodes, each by the name that it has now that it was asked.
fn who_they_are(session: &Session, plan: &Plan) -> Vec<LiveNode> {
    let asked = plan.nodes.iter().map(|planned| &planned.node);
    let all = session.nodes.iter().filter(|node| node.known).chain(asked).cloned();
    // One that the inventory does not know is none of its nodes, for sure.
    all.map(|node| LiveNode { known: true, ..node }).collect()
}

/// Refuses a canary that is not one of the nodes: without it the rollout would begin elsewhere.
///
/// That one of the inventory is missing may be all right: of a rollout that goes on, it may be among those that are done, and
/// as long as a node was not asked who it is, it may be that one.
fn check_canary(args: &RolloutArgs, loaded: &LoadedInventory, nodes: &[LiveNode]) -> Result<(), CliError> {
    let may_be_missing = args.resume || nodes.iter().any(|node| !node.known);
    let chosen = || nodes.iter().map(|node| node.name.as_str());
    for name in &args.canary {
        let known = loaded.inventory.nodes.contains_key(name);
        if chosen().any(|node| node == name) || (known && may_be_missing) {
            continue;
        }
        if known {
            let nodes: Vec<&str> = chosen().collect();
            return Err(CliError::usage(format!(
                "--canary: `{name}` is not one of the nodes of this rollout"
            ))
            .help(format!("these are: {}", nodes.join(", "))));
        }
        let error = CliError::usage(format!("--canary: there is no node `{name}`"));
        let near = did_you_mean(name, chosen()).map(|near| format!("did you mean `{near}`?"));
        return Err(error.help_if(near));
    }
    Ok(())
}

/// Refuses a node that may be down and is not a control plane node of the inventory: what is wrong about it would show late.
fn check_unhealthy(args: &RolloutArgs, loaded: &LoadedInventory, session: &Session) -> Result<(), CliError> {
    let nodes = &loaded.inventory.nodes;
    let chosen = || session.nodes.iter().map(|node| node.name.as_str());
    for name in &args.allow_unhealthy {
        if nodes.get(name).is_some_and(|node| node.role == Some(Role::Worker)) {
            return Err(CliError::usage(format!("--allow-unhealthy: `{name}` is a worker, and has no etcd")));
        }
        if nodes.contains_key(name) || chosen().any(|node| node == name) {
            continue;
        }
        let error = CliError::usage(format!("--allow-unhealthy: there is no node `{name}`"));
        let names = nodes.keys().map(String::as_str).chain(chosen());
        let near = did_you_mean(name, names).map(|near| format!("did you mean `{near}`?"));
        return Err(error.help_if(near));
    }
    Ok(())
}

/// What choosing nodes brings along.
struct Chosen {
    /// Held until the end; a rollout that begins takes them after its question.
    locks: Vec<Lock>,
    earlier: History,
}

/// Chooses the nodes that are meant: of an earlier rollout, where it is to go on.
fn choose(
    ui: &mut Ui,
    args: &RolloutArgs,
    loaded: &LoadedInventory,
    session: &mut Session,
    folder: &Path,
) -> Result<Chosen, CliError> {
    let mut locks = Vec::new();
    let group = TargetArgs { node: None, group: args.which.group.clone() };
    let selection = match loaded.target(&group)? {
        Target::Group(group) => Selection::Group(group),
        Target::Base | Target::Node(_) if args.which.nodes.is_empty() => Selection::All,
        Target::Base | Target::Node(_) => Selection::Nodes(&args.which.nodes),
    };
    let mut earlier = History::default();
    if args.resume {
        locks = lock(session, folder)?;
        earlier = history(ui, session, Some(loaded), folder, args.authority())?;
        remember(session, folder)?;
        let names: Vec<String> = earlier.nodes.iter().map(|node| address(loaded, node)).collect();
        let narrow = !matches!(selection, Selection::All);
        if let Selection::Nodes(given) = selection {
            let given: Vec<String> = given.iter().map(|name| reached(&earlier, loaded, name)).collect();
            session.select(Some(loaded), Selection::Nodes(&given))?;
        } else if narrow {
            session.select(Some(loaded), selection)?;
        }
        let chosen = session.nodes.clone();
        session.select(Some(loaded), Selection::Nodes(&names))?;
        if narrow {
            let is_chosen =
                |node: &LiveNode| chosen.iter().any(|other| is_one_place(&other.target, &node.target));
            session.nodes.retain(is_chosen);
        }
        for node in session.nodes.iter_mut().filter(|node| !node.known) {
            if let Some(told) = in_journal(&earlier, node) {
                node.name.clone_from(&told.name);
            }
        }
        if session.nodes.is_empty() {
            return Err(CliError::usage(format!(
                "the rollout of `{}` has none of these nodes",
                folder.display()
            )));
        }
    } else {
        session.select(Some(loaded), selection)?;
    }
    args.which.narrowing.keep_names(&mut session.nodes, |node| &node.name)?;
    let chosen = session.nodes.clone();
    for name in &args.without {
        let named = called(&chosen, name);
        session.nodes.retain(|node| !named.contains(&node));
        if named.is_empty() {
            return Err(CliError::usage(format!(
                "--without {name}: no chosen node has this name or address"
            )));
        }
    }
    if session.nodes.is_empty() {
        return Err(CliError::usage("--without leaves no node"));
    }
    if let Some(role) = args.which.narrowing.role {
        // What the inventory knows need not be asked.
        let nodes = &loaded.inventory.nodes;
        let other = |node: &LiveNode| {
            nodes.get(&node.name).and_then(|node| node.role).is_some_and(|own| own != role.role())
        };
        session.nodes.retain(|node| !other(node));
    }
    Ok(Chosen { locks, earlier })
}

/// Returns what a node that the user names is reached by, where the journal still knows the name and the inventory does not.
fn reached(earlier: &History, loaded: &LoadedInventory, name: &str) -> String {
    let told = earlier.nodes.iter().find(|told| told.name == name);
    told.map_or_else(|| name.to_owned(), |told| address(loaded, told))
}

/// Returns the folder of the journal: the one that is named, the latest, or a new one.
fn folder(session: &mut Session, loaded: &LoadedInventory, args: &RolloutArgs) -> Result<PathBuf, CliError> {
    if args.resume {
        return earlier(session, Some(loaded), args.journal.as_ref(), args.authority());
    }
    match &args.journal {
        Some(folder) if folder.join(crate::rollout::JOURNAL).exists() => {
            Err(crate::rollout::StoreError::Taken(folder.clone()).into())
        }
        Some(folder) => Ok(folder.clone()),
        None => {
            let id = Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
            Ok(cluster_folder(session)?.join(id))
        }
    }
}

/// Returns how many of the nodes that change may fail.
fn max_failures(args: &RolloutArgs, loaded: &LoadedInventory, plan: &Plan) -> usize {
    args.max_failures.map_or(loaded.inventory.rollout.max_failures, |share| share.of(plan.changed()))
}

fn are(nodes: usize) -> String {
    if nodes == 1 { "the node is".to_owned() } else { format!("all {nodes} nodes are") }
}

/// How a rollout's journal is kept.
struct Keeping<'a> {
    folder: &'a std::path::Path,
    settings: Option<Settings>,
    /// Whether all its nodes are meant.
    is_whole: bool,
    /// What the inventory has changed since it began, where it is resumed.
    since: Option<Since>,
}

/// Carries the plan out.
fn carry(
    ui: &mut Ui,
    global: &Global,
    args: &RolloutArgs,
    loaded: &LoadedInventory,
    session: &Session,
    plan: Plan,
    keeping: Keeping<'_>,
) -> Result<Exit, CliError> {
    let Keeping { folder, settings, is_whole, since } = keeping;
    let journal = if args.resume {
        Journal::open(folder, settings)?.0
    } else {
        let journal = Journal::create(folder, settings)?;
        remember(session, folder)?;
        let order = plan.waves.iter().flat_map(|wave| &wave.nodes);
        let nodes = order.filter_map(|name| {
            let planned = plan.nodes.iter().find(|planned| planned.node.name == *name)?;
            let known = Some(planned.known);
            let planned_configs = Some((planned.plan.before.clone(), planned.plan.desired.clone()));
            let address = planned.node.target.to_string();
            Some(Address { name: name.clone(), address, planned: planned_configs, known })
        });
        journal.add(Record::Start {
            id: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            context: session.context_name.clone(),
            cluster: session.fingerprints().into_iter().next(),
            nodes: nodes.collect(),
        })?;
        journal
    };
    ui.note(&format!("journal: {}", folder.display()));
    let control_plane = control_plane(args, loaded, session, &plan.nodes);
    let max_failures = max_failures(args, loaded, &plan);
    let (owing, owed) = (owing(&plan), reboots(global, args, &plan));
    let unrebooted = without_reboot(&plan);
    let names = plan.nodes.iter().map(|planned| planned.node.name.clone()).collect();
    let jobs: BTreeMap<String, NodeJob> = plan
        .nodes
        .into_iter()
        .map(|planned| {
            let node = session.node(&planned.node);
            let PlannedNode { node: LiveNode { name, .. }, kept_as, plan, .. } = planned;
            (name.clone(), NodeJob { name, kept_as, node, plan })
        })
        .collect();
    let (context, handle) = RolloutContext::new(journal, pace(args, loaded), images(loaded), control_plane);
    let telling = Telling { format: args.output, names, again: resume(global, args, None) };
    let inventory = &loaded.inventory.rollout;
    let policy = Policy { max_failures, pause: args.pause.unwrap_or(inventory.pause), is_whole };
    let (waves, output) = (plan.waves, args.output);
    let work = async move { run_waves(&context, &waves, jobs, policy).await };
    let (mut summary, stopped) = match carry_out(ui, session, handle, telling, work)? {
        Ended::Done(summary, stopped) => (summary, stopped),
        Ended::Abandoned(exit) => return Ok(exit),
    };
    let only_owing = summary.is_complete() && !owing.is_empty();
    summary.ended.extend(owing);
    let exit = exit_of(&summary, stopped);
    if let Some(since) = &since {
        since.tell_at_end(ui, global, args, &summary);
    }
    let resume = resume(global, args, None);
    let next = match exit {
        exit::OK => reboot_them(global, args, &unrebooted, &summary),
        _ if only_owing => Some(owed),
        exit::UNKNOWN => Some(format!("see what talmirror nodes says of it, then: {resume}")),
        exit::INTERRUPTED | exit::CLOSED_TERMINAL => Some(resume),
        _ => Some(format!("fix the cause, then: {resume}")),
    };
    end(ui, output, &summary, exit, &sentence(&summary), next.as_deref())
}
