//! What a rollout asks for, before it sends anything: a yes, and the control plane nodes whose etcd counts.

use super::args::RolloutArgs;
use super::plan_view::PlannedNode;
use crate::cli::args::Global;
use crate::cli::inventory::LoadedInventory;
use crate::cli::session::{LiveNode, Session};
use crate::inventory::Role;
use crate::rollout::{ControlPlaneNode, Summary, Wanted};
use crate::ui::{CliError, Ui, confirm};

/// Returns what to say where nothing is sent: `settled` is what became of nodes that an earlier run had left in between.
pub(super) fn untouched(settled: &Summary) -> &'static str {
    if settled.ended.is_empty() { "no node was touched" } else { "nothing more was sent to any node" }
}

/// Asks whether to go on, unless that was answered by `--yes`; `untouched` says what did not happen where the answer is no.
pub(super) fn ask(
    ui: &mut Ui,
    global: &Global,
    args: &RolloutArgs,
    question: &str,
    untouched: &str,
) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    ui.settle(untouched)?;
    let help = "--yes carries the plan out without asking, --dry-run only shows it";
    confirm(global.asking(), question, untouched, help)
}

/// Returns the control plane nodes whose etcd is asked: those that are worked on, and those that the inventory names.
pub(super) fn control_plane(
    args: &RolloutArgs,
    loaded: &LoadedInventory,
    session: &Session,
    planned: &[PlannedNode],
) -> Vec<ControlPlaneNode> {
    let own = planned.iter().filter(|planned| planned.plan.role == Role::ControlPlane);
    let asked = |node: &LiveNode| ControlPlaneNode {
        name: node.name.clone(),
        node: session.node(node),
        health: if args.allow_unhealthy.contains(&node.name) { Wanted::Anything } else { Wanted::Well },
    };
    let mut out: Vec<ControlPlaneNode> = own.map(|planned| asked(&planned.node)).collect();
    for (name, node) in &loaded.inventory.nodes {
        let is_planned = planned.iter().any(|planned| planned.node.name == *name);
        if is_planned || node.role != Some(Role::ControlPlane) {
            continue;
        }
        if let Ok(target) = node.address.as_deref().unwrap_or(name).parse() {
            out.push(asked(&LiveNode { name: name.clone(), target, known: true }));
        }
    }
    out
}
