use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::again::again;
use super::args::{Format, SETTLE, settle_flag};
use super::arrivals::{await_arrivals, told_of_all};
use super::carry_out::{Ended, Telling, carry_out};
use super::journals::{Authority, decrypt, earlier, history, lock, remember};
use super::rollback_plan::RollbackPlan;
use super::summary_view::{end, end_json, ended, exit_of, sentence, while_nothing_is_in_hand};
use crate::cli::args::{Global, NodeSelection, TalosArgs, TargetArgs};
use crate::cli::inventory::LoadedInventory;
use crate::cli::session::{LiveNode, Selection, Session, inventory_if_any, is_one_place, name_in};
use crate::rollout::{
    Address, History, Journal, Outcome, Record, RolloutContext, RolloutTimeouts, Summary, finish_rollback,
    roll_back_node,
};
use crate::talos::{Identity, Target};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, confirm, count, positive_duration};

/// Arguments of `rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each node gets the config back that it had before the rollout of the journal, byte by byte, the last one first. A node
whose config was changed since is left alone: putting the old one back would undo that, too. Credentials reach pods' pulls
before Talos 1.14 only after a reboot, on the way back as well. Nodes are those of the rollout, or of them the ones that are named. What changes is shown first; --dry-run only shows it.

Examples:
  talmirror rollback --dry-run
  talmirror rollback
  talmirror rollback -n n1,n2 --yes
  talmirror rollback --journal ~/.local/state/talmirror/home-1a2b3c4d/20260102T030405.678Z"
)]
pub(crate) struct RollbackArgs {
    /// The folder of the rollout's journal; without it, the latest of this cluster
    #[arg(long, env = "TALMIRROR_JOURNAL", value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Accept the journal of a cluster whose CA was another, as before its CA was rotated
    #[arg(long, env = "TALMIRROR_OTHER_CA", value_parser = clap::builder::FalseyValueParser::new())]
    other_ca: bool,
    /// How long a node may take to be well
    #[arg(long, env = "TALMIRROR_SETTLE", value_name = "TIME", default_value = SETTLE, value_parser = positive_duration)]
    settle: Duration,
    /// Show the plan and end: with 1 when there is something to do
    #[arg(long, env = "TALMIRROR_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long, env = "TALMIRROR_YES", value_parser = clap::builder::FalseyValueParser::new())]
    yes: bool,
    /// How it is told
    #[arg(
        short,
        long,
        env = "TALMIRROR_ROLLOUT_OUTPUT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
    #[command(flatten)]
    which: NodeSelection,
    #[command(flatten)]
    talos: TalosArgs,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: RollbackArgs) -> Result<Exit, CliError> {
    let output = args.output;
    ui.detach()?;
    while_nothing_is_in_hand(ui, output, "no node was touched")?;
    let result = roll_back(ui, global, args);
    ended(ui, output, result)
}

fn roll_back(ui: &mut Ui, global: &Global, args: RollbackArgs) -> Result<Exit, CliError> {
    let loaded = inventory_if_any(ui, global)?;
    let mut session = Session::connect(ui, global, &args.talos, loaded.as_ref())?;
    let authority = if args.other_ca { Authority::Any } else { Authority::Own };
    let folder = earlier(&mut session, loaded.as_ref(), args.journal.as_ref(), authority)?;
    let _locks = lock(&session, &folder)?;
    let history = history(ui, &mut session, loaded.as_ref(), &folder, authority)?;
    let chosen = choose(&args, loaded.as_ref(), &mut session, &folder, &history)?;
    let pace = RolloutTimeouts { trial: Duration::from_mins(5), settle: args.settle, pull: args.settle };
    await_arrivals(ui, &session, told_of_all(&history), pace.landing());
    let (journal, _) = Journal::open(&folder, None)?;
    let open = decrypt(global);
    let plan = RollbackPlan::make(&session, &journal, &history, &chosen, &open)?;
    plan.show(ui, args.output, &journal)?;
    if plan.is_done() {
        let ended = chosen.iter().map(|node| (node.name.clone(), Outcome::Unchanged)).collect();
        let summary = Summary { ended, ..Summary::default() };
        let last = format!("nothing to do: {} the old config", have(chosen.len()));
        return end(ui, args.output, &summary, exit::OK, &last, None);
    }
    let go_on = |names: &[&str]| {
        let mut more = if names.is_empty() { Vec::new() } else { vec![("-n", names.join(","))] };
        more.extend(args.other_ca.then(|| ("--other-ca", String::new())));
        more.extend(settle_flag(args.settle));
        again("rollback", global, &args.talos, args.journal.as_ref(), &more)
    };
    let is_whole = chosen.len() == touched(loaded.as_ref(), &history).len();
    let names: Vec<&str> = chosen.iter().map(|node| node.name.as_str()).rev().collect();
    let again = go_on(if is_whole { &[] } else { &names });
    if args.dry_run {
        Ui::speak_last();
        match args.output {
            Format::Text => ui.note(&format!("next: {again}")),
            Format::Json => ui.json_line(&end_json(exit::FOUND, "nothing was done", Some(&again)))?,
        }
        return Ok(exit::FOUND);
    }
    ask(ui, global, &args, &chosen.iter().map(|node| node.name.as_str()).collect::<Vec<_>>())?;
    remember(&session, &folder)?;
    journal.add(Record::Rollback { cluster: session.fingerprints().into_iter().next() })?;
    let nodes: Vec<_> = chosen
        .iter()
        .filter_map(|told| {
            let node = session.nodes.iter().find(|node| node.target.to_string() == told.address)?;
            Some((told.name.clone(), session.node(node)))
        })
        .collect();
    let (context, handle) = RolloutContext::new(journal, pace, Vec::new(), Vec::new());
    let names = nodes.iter().map(|(name, _)| name.clone()).collect();
    let telling = Telling { format: args.output, names, again };
    let done = carry_out(ui, &session, handle, telling, async move {
        let mut summary = Summary::default();
        for (name, node) in nodes {
            summary.interrupted |= context.is_stopping();
            // One that was left alone is not a reason to leave the others with what they have.
            let failed = summary.ended.iter().any(|(_, outcome)| matches!(outcome, Outcome::Unknown { .. }));
            let Some(node_history) = history.by_node.get(&name).filter(|_| !failed && !summary.interrupted)
            else {
                summary.left.push(name);
                continue;
            };
            let outcome = roll_back_node(&context, &name, &node, node_history, &open).await;
            summary.ended.push((name, outcome));
        }
        summary.interrupted |= context.is_stopping();
        finish_rollback(&context, &summary);
        summary
    })?;
    let (summary, stopped) = match done {
        Ended::Done(summary, stopped) => (summary, stopped),
        Ended::Abandoned(exit) => return Ok(exit),
    };
    let failed = summary.ended.iter().any(|(_, outcome)| is_failure(outcome));
    let exit = if !failed && summary.left.is_empty() { exit::OK } else { exit_after(&summary, stopped) };
    let mut rest = summary.named(is_failure);
    rest.extend(summary.left.iter().map(String::as_str));
    let next = (exit != exit::OK).then(|| format!("fix the cause, then: {}", go_on(&rest)));
    let summary = clean(summary);
    end(ui, args.output, &summary, exit, &sentence(&summary), next.as_deref())
}

/// Chooses the nodes that are meant, the last that was changed first, which is the first that goes back.
fn choose(
    args: &RollbackArgs,
    loaded: Option<&LoadedInventory>,
    session: &mut Session,
    folder: &Path,
    history: &History,
) -> Result<Vec<Address>, CliError> {
    let all = touched(loaded, history);
    let named = &args.which.nodes;
    let target_of = |text: &str| loaded.and_then(|loaded| target_in(loaded, &name_in(loaded, text)));
    // What the journal calls it counts; a name that it does not have is the inventory's.
    let is_named = |node: &Address, text: &String| {
        if all.iter().any(|told| told.name == *text) {
            return node.name == *text;
        }
        let mut told = all.iter().filter(|told| is_at(&told.address, text)).peekable();
        if told.peek().is_some() {
            return told.any(|told| told.name == node.name);
        }
        let nodename = history.by_node.get(&node.name).and_then(|history| history.nodename.as_ref());
        target_of(text).is_some_and(|target| is_at(&node.address, &target.to_string()))
            || nodename == Some(text)
    };
    // Where the inventory has it by now: whether it is the same machine is asked next.
    let may_be = |node: &Address, text: &String| {
        let target = target_of(text).filter(|target| target_of(&node.name).as_ref() == Some(target));
        is_named(node, text) || target.is_some()
    };
    let check = |nodes: &[Address], is_it: &dyn Fn(&Address, &String) -> bool| {
        let missing = named.iter().find(|name| !nodes.iter().any(|node| is_it(node, name)));
        missing.map_or(Ok(()), |name| {
            let folder = folder.display();
            Err(CliError::usage(format!("the rollout of `{folder}` did not change the config of `{name}`")))
        })
    };
    check(&all, &may_be)?;
    let is_meant = |node: &&Address| named.is_empty() || named.iter().any(|name| may_be(node, name));
    let mut chosen: Vec<Address> = all.iter().filter(is_meant).cloned().collect();
    find_again(loaded, session, history, &mut chosen)?;
    check(&chosen, &is_named)?;
    if !named.is_empty() {
        chosen.retain(|node| named.iter().any(|name| is_named(node, name)));
    }
    if let Some(group) = &args.which.group {
        let Some(loaded) = loaded else {
            return Err(CliError::usage("--group: groups are of an inventory, and there is none")
                .help("-f names its file; -n names nodes"));
        };
        loaded.target(&TargetArgs { node: None, group: Some(group.clone()) })?;
        session.select(Some(loaded), Selection::Group(group))?;
        let is_of = |told: &Address| {
            let same = |node: &LiveNode| node.name == told.name || node.target.to_string() == told.address;
            session.nodes.iter().any(same)
        };
        chosen.retain(is_of);
    }
    if chosen.is_empty() {
        return Err(CliError::new(
            exit::INVALID,
            format!("the rollout of `{}` changed the config of none of these nodes", folder.display()),
        )
        .help("`talmirror rollout history` lists the others; --journal names one of them"));
    }
    chosen.reverse();
    let addresses: Vec<String> = chosen.iter().map(|node| node.address.clone()).collect();
    session.select(loaded, Selection::Nodes(&addresses))?;
    for node in &mut session.nodes {
        let target = node.target.to_string();
        if let Some(told) = chosen.iter().find(|told| told.address == target) {
            node.name.clone_from(&told.name);
        }
    }
    session.narrow(loaded, &args.which.narrowing)?;
    chosen.retain(|told| session.nodes.iter().any(|node| node.target.to_string() == told.address));
    Ok(chosen)
}

/// Returns the nodes whose configs a rollout has changed, or was about to: it may have rebooted others, and sent them nothing.
fn touched(loaded: Option<&LoadedInventory>, history: &History) -> Vec<Address> {
    let mut all = history.all_nodes();
    all.retain(|node| history.has_original_of(&node.name));
    for node in &mut all {
        let is_new = history.nodes.iter().all(|told| told.name != node.name);
        // The journal does not tell where it is.
        if is_new && let Some(target) = loaded.and_then(|loaded| target_in(loaded, &node.name)) {
            node.address = target.to_string();
        }
    }
    all.retain(|node| node.address.parse::<Target>().is_ok());
    all
}

/// Returns whether two texts are one address.
fn is_at(address: &str, text: &str) -> bool {
    let parse = |text: &str| text.parse::<Target>().ok();
    parse(address).zip(parse(text)).is_some_and(|(one, other)| is_one_place(&one, &other))
}

/// Finds nodes again that the inventory has at another address than the journal: where the machine answers that the journal is
/// about, or else where it was.
fn find_again(
    loaded: Option<&LoadedInventory>,
    session: &mut Session,
    history: &History,
    chosen: &mut [Address],
) -> Result<(), CliError> {
    let Some(loaded) = loaded else { return Ok(()) };
    let now = |told: &Address| {
        let now = target_in(loaded, &told.name)?.to_string();
        (now != told.address).then_some(now)
    };
    let places: Vec<String> = chosen.iter().filter_map(now).collect();
    if places.is_empty() {
        return Ok(());
    }
    session.select(Some(loaded), Selection::Nodes(&places))?;
    let answers = session.each(|node| async move { node.identity().await.ok() });
    for told in chosen.iter_mut().filter(|told| now(told).is_some()) {
        let Some(history) = history.by_node.get(&told.name) else { continue };
        let is_it =
            |identity: &Option<Identity>| identity.as_ref().and_then(|it| history.is_of(it)) == Some(true);
        // Where two have changed their addresses, it may be at the other's.
        if let Some((node, _)) = answers.iter().find(|(_, identity)| is_it(identity)) {
            told.address = node.target.to_string();
        }
    }
    Ok(())
}

/// Returns how the inventory reaches a node.
fn target_in(loaded: &LoadedInventory, name: &str) -> Option<Target> {
    let node = loaded.inventory.nodes.get(name)?;
    node.address.as_deref().unwrap_or(name).parse().ok()
}

fn have(nodes: usize) -> String {
    if nodes == 1 { "the node has".to_owned() } else { format!("all {nodes} nodes have") }
}

/// What a rollback is for is not a failure.
fn is_failure(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Untouched { .. } | Outcome::Unknown { .. })
}

fn exit_after(summary: &Summary, stopped: Exit) -> Exit {
    match exit_of(summary, stopped) {
        exit::ROLLED_BACK | exit::OK => exit::STOPPED,
        exit => exit,
    }
}

/// Takes the reason off nodes that went back: it is the purpose, and nothing went wrong with them.
fn clean(mut summary: Summary) -> Summary {
    for (_, outcome) in &mut summary.ended {
        if let Outcome::Reverted { reason } = outcome {
            reason.clear();
        }
    }
    summary
}

fn ask(ui: &mut Ui, global: &Global, args: &RollbackArgs, names: &[&str]) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    ui.settle("no node was touched")?;
    let question = format!("Put {} back ({})?", count(names.len(), "node"), names.join(", "));
    confirm(global.asking(), &question, "no node was touched", "--yes does not ask")
}
