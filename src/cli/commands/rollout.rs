#![expect(clippy::disallowed_methods, reason = "looks for journals, and asks whether there is a terminal")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use regex::Regex;

use crate::cli::args::{Global, TalosArgs, TargetArgs};
use crate::cli::ending::{exit_of, sentence, summary_json};
use crate::cli::inventory::{Loaded, load};
use crate::cli::plan::{Plan, Planned, Terms, show};
use crate::cli::roll::{
    Format, Gear, carry_out, cluster_folder, earlier, history, images, lock, remember, settings,
};
use crate::cli::session::{LiveNode, Selection, Session};
use crate::file::Lock;
use crate::inventory::{Role, Target};
use crate::rollout::{Address, History, Journal, Outcome, Pace, Policy, Record, Subject, Summary, roll};
use crate::sops::Settings;
use crate::talos::NodeClient;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, confirm, count, duration, positive_duration};

mod next;
mod planning;
mod resuming;

use next::{begin, owing, reboots, resume};
use planning::make_plan;
use resuming::{address, settle_all};

/// Arguments of `rollout`.
#[derive(Debug, Args)]
#[command(
    after_help = "The plan comes first, and is carried out when it is confirmed. Then node by node: the config is read and saved,
registries are replaced in it and every other byte stays; it goes on trial (Talos takes it back by itself when
--try-timeout is over); Talos must have rendered it, and the images of verify.images must come from the mirrors: first on a
variant without fallback, then the old config is put back, then the wanted one is tried, so that whenever a node is left
alone it goes back to exactly what it had. Then it is committed and read back. Any failure: the old config again at once.

Images of verify.images that are on a node already are removed from it first (Talos 1.13 and later): name some that nothing
needs. Changed credentials reach pods' pulls before Talos 1.14 only after a reboot; --reboot if-needed reboots such nodes one
after another. They are neither cordoned nor drained: do that first with kubectl; a kubeconfig is not read.

Control plane nodes come last, one by one, each when etcd is well. Ctrl-C brings the node in hand to its old or its new
config and stops; twice leaves at once and says what the node does by itself. --resume goes on: what the nodes say counts
more than the journal, what was left in between is shown and asked for first, and -n or --group leaves nodes out that do
not answer. Originals are encrypted for whoever may read the inventory, and a key for that must be at hand. Ends with 6, 7 or 8 when something failed: see the README.

Examples:
  talmirror rollout --dry-run
  talmirror rollout
  talmirror rollout --role worker --max-parallel 3 --canary w1 --yes
  talmirror rollout --resume --yes -o json"
)]
pub(crate) struct RolloutArgs {
    /// The nodes, by name in the inventory or by address; HOST:PORT is dialled itself
    #[arg(short, long, env = "TALMIRROR_NODES", value_name = "NODE", value_delimiter = ',')]
    nodes: Vec<String>,
    /// The nodes of a group
    #[arg(short, long, env = "TALMIRROR_GROUP", value_name = "GROUP", conflicts_with = "nodes")]
    group: Option<String>,
    /// Of these, the nodes of a role
    #[arg(long, env = "TALMIRROR_ROLE", value_name = "ROLE")]
    role: Option<RoleName>,
    /// Of these, the nodes whose names fit
    #[arg(long = "match", env = "TALMIRROR_MATCH", value_name = "REGEX")]
    pattern: Option<Regex>,
    /// The nodes that go first, before the inventory's
    #[arg(long, env = "TALMIRROR_CANARY", value_name = "NODE", value_delimiter = ',')]
    canary: Vec<String>,
    /// How many workers at once, before the inventory's
    #[arg(long, env = "TALMIRROR_MAX_PARALLEL", value_name = "NUMBER")]
    max_parallel: Option<NonZeroUsize>,
    /// How many nodes may fail before the rest is left alone, before the inventory's
    #[arg(long, env = "TALMIRROR_MAX_FAILURES", value_name = "NUMBER")]
    max_failures: Option<usize>,
    /// How long to wait between waves, before the inventory's
    #[arg(long, env = "TALMIRROR_PAUSE", value_name = "TIME", value_parser = duration)]
    pause: Option<Duration>,
    /// How long a node tries a config before it takes it back, before the inventory's
    #[arg(long, env = "TALMIRROR_TRY_TIMEOUT", value_name = "TIME", value_parser = positive_duration)]
    try_timeout: Option<Duration>,
    /// How long a node may take to be well, and to render a config
    #[arg(long, env = "TALMIRROR_SETTLE", value_name = "TIME", default_value = "1m", value_parser = positive_duration)]
    settle: Duration,
    /// Whether nodes are rebooted for credentials to reach pods' pulls, before the inventory's
    #[arg(long, env = "TALMIRROR_REBOOT", value_name = "WHEN", value_parser = ["never", "if-needed"])]
    reboot: Option<String>,
    /// Do not ask
    #[arg(short, long, env = "TALMIRROR_YES", value_parser = clap::builder::FalseyValueParser::new())]
    yes: bool,
    /// Show the plan and end: with 1 when there is something to do
    #[arg(long, env = "TALMIRROR_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    dry_run: bool,
    /// Go on with an earlier rollout: the one of --journal, else the latest of this cluster
    #[arg(long, env = "TALMIRROR_RESUME", conflicts_with = "dry_run", value_parser = clap::builder::FalseyValueParser::new())]
    resume: bool,
    /// The folder of the journal; without it, one of its own below the user's state folder
    #[arg(long, env = "TALMIRROR_JOURNAL", value_name = "DIR")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    talos: TalosArgs,
    /// How it is told
    #[arg(short, long, env = "TALMIRROR_ROLLOUT_OUTPUT", default_value = "text", value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Controlplane,
    Worker,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            Self::Controlplane => Role::ControlPlane,
            Self::Worker => Role::Worker,
        }
    }
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: RolloutArgs) -> Result<Exit, CliError> {
    let mut loaded = load(ui, global)?;
    let Pace { trial, settle, .. } = pace(&args, &loaded);
    if trial <= settle {
        return Err(CliError::usage(format!(
            "a trial of {} s ends before a node has had its {} s to render the config",
            trial.as_secs(),
            settle.as_secs()
        ))
        .help("a longer --try-timeout or rollout.tryTimeout, or a shorter --settle"));
    }
    let mut session = Session::connect(ui, global, &args.talos, Some(&loaded))?;
    let folder = folder(&session, &args)?;
    let Chosen { mut locks, earlier } = choose(ui, &args, &loaded, &mut session, &folder)?;
    if args.resume {
        let settled = settle_all(ui, global, &args, &loaded, &session, &folder, &earlier)?;
        if let Some(exit) = settled {
            return Ok(exit);
        }
    }
    let plan = match make_plan(ui, global, &args, &mut loaded, &session, &folder)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    let is_whole = !args.resume || plan.nodes.len() == earlier.nodes.len();
    let terms = Terms {
        context: &session.context_name,
        max_failures: args.max_failures.unwrap_or(loaded.inventory.rollout.max_failures),
        trial: pace(&args, &loaded).trial,
        images: &images(&loaded),
    };
    show(ui, args.output, &terms, &plan)?;
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
            return end(ui, args.output, &summary, exit_of(&summary), &what, Some(&next));
        }
        let last = format!("nothing to do: {} as the inventory has it", are(plan.nodes.len()));
        return end(ui, args.output, &summary, exit::OK, &last, None);
    }
    if args.dry_run {
        ui.note(&format!("next: {}", begin(global, &args, None)));
        return Ok(exit::FOUND);
    }
    let settings = settings(ui, global)?;
    let nodes = plan.waves.iter().map(|wave| wave.nodes.len()).sum();
    ask(global, &args, &format!("Change {}?", count(nodes, "node")))?;
    if !args.resume {
        locks = lock(&session, &folder)?;
    }
    let keeping = Keeping { folder: &folder, settings, is_whole };
    let exit = carry(ui, global, &args, &loaded, &session, plan, keeping);
    drop(locks);
    exit
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
    loaded: &Loaded,
    session: &mut Session,
    folder: &Path,
) -> Result<Chosen, CliError> {
    let mut locks = Vec::new();
    let group = TargetArgs { node: None, group: args.group.clone() };
    let selection = match loaded.target(&group)? {
        Target::Group(group) => Selection::Group(group),
        Target::Base | Target::Node(_) if args.nodes.is_empty() => Selection::All,
        Target::Base | Target::Node(_) => Selection::Nodes(&args.nodes),
    };
    let mut earlier = History::default();
    if args.resume {
        locks = lock(session, folder)?;
        earlier = history(ui, session, folder)?;
        remember(session, folder)?;
        let names: Vec<String> = earlier.nodes.iter().map(|node| address(loaded, node)).collect();
        let narrow = !matches!(selection, Selection::All);
        if narrow {
            session.select(Some(loaded), selection)?;
        }
        let chosen = session.nodes.clone();
        session.select(Some(loaded), Selection::Nodes(&names))?;
        if narrow {
            session.nodes.retain(|node| chosen.iter().any(|other| other.target == node.target));
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
    if let Some(pattern) = &args.pattern {
        session.nodes.retain(|node| pattern.is_match(&node.name));
        if session.nodes.is_empty() {
            return Err(CliError::usage(format!("no node's name fits `{pattern}`")));
        }
    }
    if let Some(role) = args.role {
        // What the inventory knows need not be asked.
        let nodes = &loaded.inventory.nodes;
        let other = |node: &LiveNode| {
            nodes.get(&node.name).and_then(|node| node.role).is_some_and(|own| own != role.role())
        };
        session.nodes.retain(|node| !other(node));
    }
    Ok(Chosen { locks, earlier })
}

/// Returns the folder of the journal: the one that is named, the latest, or a new one.
fn folder(session: &Session, args: &RolloutArgs) -> Result<PathBuf, CliError> {
    if args.resume {
        return earlier(session, args.journal.as_ref());
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

fn are(nodes: usize) -> String {
    if nodes == 1 { "the node is".to_owned() } else { format!("all {nodes} nodes are") }
}

fn pace(args: &RolloutArgs, loaded: &Loaded) -> Pace {
    Pace {
        trial: args.try_timeout.unwrap_or(loaded.inventory.rollout.try_timeout),
        settle: args.settle,
        pull: loaded.inventory.verify.timeout,
    }
}

fn ask(global: &Global, args: &RolloutArgs, question: &str) -> Result<(), CliError> {
    let help = "--yes carries the plan out without asking, --dry-run only shows it";
    if args.yes { Ok(()) } else { confirm(global.asking(), question, "no node was touched", help) }
}

/// How a rollout's journal is kept.
struct Keeping<'a> {
    folder: &'a std::path::Path,
    settings: Option<Settings>,
    /// Whether all its nodes are meant.
    is_whole: bool,
}

/// Carries the plan out.
fn carry(
    ui: &mut Ui,
    global: &Global,
    args: &RolloutArgs,
    loaded: &Loaded,
    session: &Session,
    plan: Plan,
    keeping: Keeping<'_>,
) -> Result<Exit, CliError> {
    let Keeping { folder, settings, is_whole } = keeping;
    let journal = if args.resume {
        Journal::open(folder, settings)?.0
    } else {
        let journal = Journal::create(folder, settings)?;
        remember(session, folder)?;
        let order = plan.waves.iter().flat_map(|wave| &wave.nodes);
        let nodes = order.filter_map(|name| {
            let node = session.nodes.iter().find(|node| node.name == *name)?;
            Some(Address { name: name.clone(), address: node.target.to_string() })
        });
        journal.add(Record::Start {
            id: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            context: session.context_name.clone(),
            cluster: Some(session.fingerprint().as_str().to_owned()),
            nodes: nodes.collect(),
        })?;
        journal
    };
    ui.note(&format!("journal: {}", folder.display()));
    let control_plane = control_plane(loaded, session, &plan.nodes);
    let (owing, owed) = (owing(&plan), reboots(global, args, &plan));
    let subjects: BTreeMap<String, Subject> = plan
        .nodes
        .into_iter()
        .map(|planned| {
            let node = session.node(&planned.node);
            (planned.node.name.clone(), Subject { name: planned.node.name, node, plan: planned.plan })
        })
        .collect();
    let gear = Gear {
        journal,
        pace: pace(args, loaded),
        images: images(loaded),
        control_plane,
        again: resume(global, args, None),
    };
    let inventory = &loaded.inventory.rollout;
    let policy = Policy {
        max_failures: args.max_failures.unwrap_or(inventory.max_failures),
        pause: args.pause.unwrap_or(inventory.pause),
        is_whole,
    };
    let (waves, output) = (plan.waves, args.output);
    let done =
        carry_out(
            ui,
            session,
            gear,
            output,
            |crew| async move { roll(&crew, &waves, subjects, policy).await },
        )?;
    let Some(mut summary) = done else { return Ok(exit::INTERRUPTED) };
    let only_owing = summary.is_complete() && !owing.is_empty();
    summary.ended.extend(owing);
    let exit = exit_of(&summary);
    let resume = resume(global, args, None);
    let next = match exit {
        exit::OK => None,
        _ if only_owing => Some(owed),
        exit::UNKNOWN => Some(format!("see what talmirror nodes says of it, then: {resume}")),
        exit::INTERRUPTED => Some(resume),
        _ => Some(format!("mend the cause, then: {resume}")),
    };
    end(ui, output, &summary, exit, &sentence(&summary), next.as_deref())
}

/// Returns the control plane nodes whose etcd is asked: those that are worked on, and those that the inventory names.
fn control_plane(loaded: &Loaded, session: &Session, planned: &[Planned]) -> Vec<(String, NodeClient)> {
    let own = planned.iter().filter(|planned| planned.plan.role == Role::ControlPlane);
    let mut out: Vec<(String, NodeClient)> =
        own.map(|planned| (planned.node.name.clone(), session.node(&planned.node))).collect();
    for (name, node) in &loaded.inventory.nodes {
        let asked = planned.iter().any(|planned| planned.node.name == *name);
        if asked || node.role != Some(Role::ControlPlane) {
            continue;
        }
        if let Ok(target) = node.address.as_deref().unwrap_or(name).parse() {
            out.push((name.clone(), session.node(&LiveNode { name: name.clone(), target, known: true })));
        }
    }
    out
}

/// Says what happened and what to do next, last of all.
fn end(
    ui: &mut Ui,
    output: Format,
    summary: &Summary,
    exit: Exit,
    what: &str,
    next: Option<&str>,
) -> Result<Exit, CliError> {
    match output {
        Format::Json => ui.json_line(&summary_json(summary, exit, next))?,
        Format::Text => {
            let next = next.map(|next| format!(". Next: {next}")).unwrap_or_default();
            ui.live(&[]);
            ui.result(&format!("{what}{next}\n"))?;
        }
    }
    Ok(exit)
}
