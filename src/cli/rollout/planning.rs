//! What a rollout would do: every node is asked, and what it gets is worked out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::{RolloutArgs, images, pace};
use super::arrivals::await_arrivals;
use super::before::{control_plane, untouched};
use super::journals::{journals, witness};
use super::next_command::{back, begin, resume};
use super::plan_view::{Plan, PlannedNode};
use super::resuming::{is_lost, told_of};
use super::summary_view::end;
use crate::cli::args::Global;
use crate::cli::inventory::LoadedInventory;
use crate::cli::narrowing::RoleName;
use crate::cli::session::{LiveNode, Recognised, Session, recognise, tell_errors};
use crate::finding::one_line;
use crate::inventory::{Role, Target};
use crate::machineconfig::Drift;
use crate::registries::Registries;
use crate::rollout::{
    History, KnownBy, NodePlan, Ordering, Outcome, Placed, PlanOptions, PreviousRollout, RebootPolicy,
    Refusal, Summary, control_plane_flaws, quorum_obstacle, registries_of, waves,
};
use crate::talos::{Identity, Observation, TalosError, Target as TalosTarget, observe};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Asks every node and says what it gets; an exit code where one cannot be worked on. Flags that name a node call it by the
/// name that the inventory has for it from then on.
pub(super) fn make_plan(
    ui: &mut Ui,
    global: &Global,
    args: &mut RolloutArgs,
    loaded: &mut LoadedInventory,
    session: &Session,
    begun: &Begun<'_>,
) -> Result<Result<Plan, Exit>, CliError> {
    let options = plan_options(args, loaded);
    let Begun { folder, earlier, settled } = *begun;
    let (seen, journals) = look_at_rest(ui, session, folder, pace(args, loaded).landing())?;
    let mut nodes: Vec<PlannedNode> = Vec::new();
    let (mut errors, mut refusals) = (NodeErrors::new(), Refusals::new());
    let mut shared: Vec<Arc<Registries>> = Vec::new();
    let mut lost: Vec<String> = Vec::new();
    let mut met: Vec<(String, Identity)> = Vec::new();
    for (mut node, seen) in seen {
        let seen = match seen {
            Ok(Observation { active: Err(error), .. }) | Err(error) => {
                errors.push((node, error));
                continue;
            }
            Ok(seen) => seen,
        };
        let other = |role: RoleName| seen.role.as_deref() != Some(role.role().as_str());
        if args.which.narrowing.role.is_some_and(other) {
            continue;
        }
        let was_lost = args.resume && is_lost(earlier, &node);
        let recognised = name_node(args, loaded, &mut node, &seen);
        let is_left_out = match recognised {
            Recognised::Listed => false,
            // That a group has its address as well does not bring back a node that was taken off the list.
            Recognised::Grouped => was_lost,
            Recognised::No => true,
        };
        if let Some((twin, _)) = met.iter().find(|(_, identity)| identity.is_same(&seen.identity)) {
            let called = seen.identity.nodename.clone().unwrap_or_else(|| "the same machine".to_owned());
            return Err(CliError::usage(format!(
                "`{twin}` and `{}` ({}) lead to one node, {called}; {}",
                node.name,
                node.target,
                untouched(settled)
            ))
            .help("list it once: two would try their configs on top of each other"));
        }
        met.push((node.name.clone(), seen.identity.clone()));
        if let Some(address) = virtual_address(&node, &seen) {
            refusals.push((node.name, Refusal::Virtual(address)));
            continue;
        }
        if is_left_out && !args.unknown_nodes {
            if args.resume {
                lost.push(node.name);
            } else {
                refusals.push((node.name, Refusal::Unlisted));
            }
            continue;
        }
        let current = seen.active.as_ref().map(|active| registries_of(&active.text)).unwrap_or_default();
        let wanted = wanted(ui, loaded, &node, &seen, &current, &mut shared)?;
        match NodePlan::of(&seen, &wanted, &options, previous_of(&journals, &node, &seen)) {
            Ok(plan) => {
                let drift = Drift::new(current, Registries::clone(&wanted));
                let known = match recognised {
                    Recognised::Listed => KnownBy::Listed,
                    Recognised::Grouped => KnownBy::Group,
                    Recognised::No => KnownBy::Nothing,
                };
                nodes.push(PlannedNode { kept_as: node.name.clone(), node, known, plan, drift });
            }
            Err(refusal) => refusals.push((node.name, refusal)),
        }
    }
    refuse_reboots(ui, args, loaded, session, &mut nodes, &mut refusals);
    tell_etcd(ui, args, loaded, session, &nodes);
    if !lost.is_empty() {
        tell_lost(ui, global, args, earlier, &lost);
    }
    tell_errors(ui, errors.iter().map(|(node, error)| (node, error)));
    for (name, refusal) in &refusals {
        ui.warn(&format!("{name}: {refusal}"), Some(&refusal.help()));
        for change in refusal.changes() {
            ui.warn(&format!("{name}: against the config on disk, the one that runs has: {change}"), None);
        }
    }
    if !errors.is_empty() || !refusals.is_empty() {
        return refuse(ui, global, args, settled, &nodes, (&errors, &refusals)).map(Err);
    }
    if nodes.is_empty() && !lost.is_empty() {
        return none_is_left(ui, args, settled, lost).map(Err);
    }
    if nodes.is_empty() {
        return Err(CliError::usage("no node is of that role"));
    }
    let changed = nodes.iter().filter(|planned| !planned.plan.leaves_alone());
    let placed = changed.map(|planned| Placed {
        name: planned.node.name.clone(),
        role: planned.plan.role,
        reboots: planned.plan.route.reboot.is_wanted(),
    });
    let placed: Vec<Placed> = placed.collect();
    let inventory = &loaded.inventory.rollout;
    let canary = if args.canary.is_empty() { &inventory.canary } else { &args.canary };
    let max_parallel =
        args.max_parallel.map_or(inventory.max_parallel, |share| share.of(placed.len()).max(1));
    let waves = waves(&placed, &Ordering { stages: &inventory.order, canary, max_parallel });
    Ok(Ok(Plan { nodes, waves }))
}

/// Calls a node by the name that the inventory has for it, in the flags that name it, too.
fn name_node(
    args: &mut RolloutArgs,
    loaded: &mut LoadedInventory,
    node: &mut LiveNode,
    seen: &Observation,
) -> Recognised {
    let given = node.name.clone();
    let recognised = recognise(loaded, node, seen);
    args.call_nodes(|name| (name == given).then(|| node.name.clone()));
    recognised
}

/// What was there before a plan is made.
#[derive(Clone, Copy)]
pub(super) struct Begun<'a> {
    /// The folder of the journal.
    pub(super) folder: &'a Path,
    /// What the journal tells of the rollout that is resumed.
    pub(super) earlier: &'a History,
    /// What became of nodes that it had left in between.
    pub(super) settled: &'a Summary,
}

/// What nodes say of themselves, or why they do not.
type Seen = Vec<(LiveNode, Result<Observation, TalosError>)>;

type NodeErrors = Vec<(LiveNode, TalosError)>;
type Refusals = Vec<(String, Refusal)>;

/// Asks every node and the journals; once more where something has to be waited for.
fn look_at_rest(
    ui: &mut Ui,
    session: &Session,
    folder: &Path,
    landing: Duration,
) -> Result<(Seen, Vec<(String, History)>), CliError> {
    let looked = look(ui, session, folder)?;
    let told = told_of(looked.1.iter().map(|(_, history)| history), &session.nodes);
    if await_arrivals(ui, session, told, landing) { look(ui, session, folder) } else { Ok(looked) }
}

/// Asks every node, and then the journals: what one of them runs with was announced before it was sent.
fn look(ui: &mut Ui, session: &Session, folder: &Path) -> Result<(Seen, Vec<(String, History)>), CliError> {
    let seen = session.each(|node| async move { observe(&node).await });
    let witnesses = seen.iter().filter_map(|(node, seen)| Some(witness(node, seen.as_ref().ok()?)));
    let journals = journals(ui, session, folder, &witnesses.collect::<Vec<_>>())?;
    Ok((seen, journals))
}

/// Ends a resumed rollout whose nodes the inventory has lost, all of them.
fn none_is_left(
    ui: &mut Ui,
    args: &RolloutArgs,
    settled: &Summary,
    mut lost: Vec<String>,
) -> Result<Exit, CliError> {
    lost.retain(|name| settled.ended.iter().all(|(ended, _)| ended != name));
    let summary = Summary { left: lost, ended: settled.ended.clone(), ..Summary::default() };
    let last = format!("no node of the rollout is in the inventory any more; {}", untouched(settled));
    end(ui, args.output, &summary, exit::STOPPED, &last, None)
}

/// Names the nodes that a resumed rollout leaves out because the inventory has lost them.
fn tell_lost(ui: &mut Ui, global: &Global, args: &RolloutArgs, earlier: &History, lost: &[String]) {
    let touched = lost.iter().filter(|name| earlier.by_node.contains_key(*name));
    let touched: Vec<String> = touched.cloned().collect();
    let all_the_same = "list them again under `nodes`; --unknown-nodes takes them all the same";
    let help = if touched.is_empty() {
        all_the_same.to_owned()
    } else {
        format!("`{}` puts back what the rollout changed; {all_the_same}", back(global, args, &touched))
    };
    ui.warn(&format!("{}: not in the inventory any more, and left out", lost.join(", ")), Some(&help));
}

/// Returns the virtual address that a node is named by, if it is.
fn virtual_address(node: &LiveNode, seen: &Observation) -> Option<String> {
    let host = match &node.target {
        TalosTarget::Through(host) => host.clone(),
        TalosTarget::At(endpoint) => endpoint.host().to_owned(),
    };
    let address = host.parse::<std::net::IpAddr>().ok()?;
    seen.virtual_addresses.contains(&address).then_some(host)
}

/// Refuses reboots of control plane nodes that no state of the others would allow: better now than when all others are done.
fn refuse_reboots(
    ui: &mut Ui,
    args: &RolloutArgs,
    loaded: &LoadedInventory,
    session: &Session,
    nodes: &mut Vec<PlannedNode>,
    refusals: &mut Vec<(String, Refusal)>,
) {
    let reboots = |planned: &PlannedNode| {
        planned.plan.role == Role::ControlPlane && planned.plan.route.reboot.is_wanted()
    };
    if !nodes.iter().any(reboots) {
        return;
    }
    let planes = control_plane(args, loaded, session, nodes);
    let Some(Some(why)) = session.wait(async { quorum_obstacle(&planes).await }) else { return };
    // Nothing else is to change there: that is not a reason to leave the others as they are.
    for planned in nodes.iter_mut().filter(|planned| reboots(planned)) {
        if planned.plan.changes.is_empty() {
            planned.plan.give_up_reboot();
            ui.warn(
                &format!(
                    "{}: needs a reboot for its credentials, and cannot be rebooted: {why}",
                    planned.node.name
                ),
                Some(&Refusal::Quorum(why.clone()).help()),
            );
        }
    }
    let refused: Vec<String> =
        nodes.iter().filter(|planned| reboots(planned)).map(|planned| planned.node.name.clone()).collect();
    nodes.retain(|planned| !refused.contains(&planned.node.name));
    refusals.extend(refused.into_iter().map(|name| (name, Refusal::Quorum(why.clone()))));
}

/// Tells what speaks against changing control plane nodes now: better than when all others are done.
fn tell_etcd(
    ui: &mut Ui,
    args: &RolloutArgs,
    loaded: &LoadedInventory,
    session: &Session,
    nodes: &[PlannedNode],
) {
    let changes =
        |planned: &PlannedNode| planned.plan.role == Role::ControlPlane && !planned.plan.leaves_alone();
    if !nodes.iter().any(changes) {
        return;
    }
    let planes = control_plane(args, loaded, session, nodes);
    let flaws = session.wait(async { control_plane_flaws(&planes).await }).unwrap_or_default();
    if !flaws.is_empty() {
        ui.warn(
            &format!("control plane nodes are not changed as long as this holds: {}", flaws.join("; ")),
            Some("the other nodes come first; `--role worker` leaves the control plane out"),
        );
    }
}

/// Says which nodes cannot be worked on, and what can be done with the others.
fn refuse(
    ui: &mut Ui,
    global: &Global,
    args: &RolloutArgs,
    settled: &Summary,
    nodes: &[PlannedNode],
    (errors, refusals): (&NodeErrors, &Refusals),
) -> Result<Exit, CliError> {
    let exit = if errors.is_empty() { exit::STOPPED } else { exit::REMOTE };
    let reason = |text: String| Outcome::Untouched { reason: text };
    let errors = errors.iter().map(|(node, error)| (node.name.clone(), reason(one_line(error))));
    let refused = refusals.iter().map(|(name, refusal)| (name.clone(), reason(refusal.to_string())));
    let ended: Vec<_> = errors.chain(refused).collect();
    let names: Vec<&str> = ended.iter().map(|(name, _)| name.as_str()).collect();
    let last = format!("{}, because of {}", untouched(settled), names.join(", "));
    let has_ended = |name: &String| settled.ended.iter().any(|(ended, _)| ended == name);
    let others: Vec<&str> = nodes.iter().map(|planned| planned.node.name.as_str()).collect();
    let left = nodes.iter().map(|planned| planned.node.name.clone()).filter(|name| !has_ended(name));
    let left = left.collect();
    let mut ended: Vec<_> = ended.into_iter().filter(|(name, _)| !has_ended(name)).collect();
    ended.splice(0..0, settled.ended.iter().cloned());
    let summary = Summary { ended, left, interrupted: false };
    let next = if others.is_empty() {
        "fix that".to_owned()
    } else if args.resume {
        format!("fix that, or resume the others: {}", resume(global, args, Some(&others)))
    } else {
        format!("fix that, or begin with the others: {}", begin(global, args, Some(&others)))
    };
    end(ui, args.output, &summary, exit, &last, Some(&next))
}

/// Returns what journals tell of the config that a node runs with.
fn previous_of(journals: &[(String, History)], node: &LiveNode, seen: &Observation) -> PreviousRollout {
    let (Ok(active), Some(version)) = (&seen.active, seen.talos_version()) else {
        return PreviousRollout::Nothing;
    };
    let configs = (active, seen.persistent.as_ref());
    let address = node.target.to_string();
    PreviousRollout::of(journals, &node.name, &address, &seen.identity, configs, &version)
}

fn plan_options(args: &RolloutArgs, loaded: &LoadedInventory) -> PlanOptions {
    let reboot = args.reboot.as_deref().unwrap_or(&loaded.inventory.rollout.reboot);
    PlanOptions {
        images: images(loaded),
        require_hit: loaded.inventory.verify.require_mirror_hit,
        reboot: if reboot == "if-needed" { RebootPolicy::IfNeeded } else { RebootPolicy::Never },
    }
}

/// Returns what a node is to have; nodes that are to have the same share it.
fn wanted(
    ui: &mut Ui,
    loaded: &mut LoadedInventory,
    node: &LiveNode,
    seen: &Observation,
    current: &Registries,
    shared: &mut Vec<Arc<Registries>>,
) -> Result<Arc<Registries>, CliError> {
    let target = if node.known {
        Target::Node(&node.name)
    } else {
        if !loaded.inventory.nodes.is_empty() || !loaded.inventory.groups.is_empty() {
            ui.warn(
                &format!("{}: the inventory does not know this node", node.name),
                Some("it gets the settings that every node starts from"),
            );
        }
        Target::Base
    };
    let version = seen.talos_version().or_else(|| loaded.inventory.version(target).cloned());
    let version = version.unwrap_or_else(crate::cli::inventory::default_version);
    loaded.check_version(target, &version).map_err(|error| error.context(node.name.clone()))?;
    let mut wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
    wanted.fill_not_run(current);
    if let Some(same) = shared.iter().find(|other| ***other == wanted) {
        return Ok(Arc::clone(same));
    }
    let wanted = Arc::new(wanted);
    shared.push(Arc::clone(&wanted));
    Ok(wanted)
}
