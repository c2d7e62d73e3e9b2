use clap::Args;
use serde_json::{Value, json};

use crate::cli::args::{Global, NodeSelection, OutputArgs, TalosArgs};
use crate::cli::session::{LiveNode, Session, inventory_if_any, tell_errors};
use crate::finding::one_line;
use crate::machineconfig::Change;
use crate::talos::{Observation, Pending, TalosError, observe};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Table, Ui, count};

/// Arguments of `nodes`.
#[derive(Debug, Args)]
#[command(
    after_help = "Nodes are those of -n, else of the inventory, else of the talosconfig's context. Ends with 5 when one cannot be reached.

SCHEMA is what the node's Talos takes: registries as documents, or as legacy machine.registries only. PENDING is a
config on trial or staged for the next boot; trial?: what runs was applied since the boot, and the node does not show whether for good.
REBOOT: owed where containerd started before its credentials were last written (before Talos 1.14 only a reboot restarts it). HOSTS counts entries in containerd's directory that Talos did not write, such
as Spegel's: they take the place of mirrors.

Examples:
  talmirror nodes
  talmirror nodes -n n1,n2 -o json"
)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    which: NodeSelection,
    #[command(flatten)]
    talos: TalosArgs,
    #[command(flatten)]
    output: OutputArgs,
}

type Observed = Result<Observation, TalosError>;

pub(crate) fn run(ui: &mut Ui, global: &Global, args: NodesArgs) -> Result<Exit, CliError> {
    let loaded = inventory_if_any(ui, global)?;
    let session = Session::of(ui, global, &args.talos, loaded.as_ref(), &args.which)?;
    let nodes = session.each(|node| async move { observe(&node).await.map(Observation::without_texts) });
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "Nodes",
        "items": nodes.iter().map(|(node, seen)| to_json(node, seen)).collect::<Vec<_>>(),
    });
    ui.output(args.output.format, &value, || {
        let header =
            ["NODE", "ADDRESS", "VERSION", "ROLE", "STAGE", "SCHEMA", "PENDING", "REBOOT", "CACHE", "HOSTS"];
        Table::new(&header, nodes.iter().map(|(node, seen)| row(node, seen)))
    })?;
    ui.flush()?;
    for (node, seen) in &nodes {
        if let Ok(seen) = seen {
            tell(ui, node, seen);
        }
    }
    let error_of = |seen: &'_ Observed| match seen {
        Ok(seen) => seen.active.as_ref().err().cloned(),
        Err(error) => Some(error.clone()),
    };
    let errors: Vec<_> = nodes.iter().filter_map(|(node, seen)| Some((node, error_of(seen)?))).collect();
    tell_errors(ui, errors.iter().map(|(node, error)| (*node, error)));
    let lost = nodes.iter().filter(|(_, seen)| seen.is_err()).count();
    let lost_text = if lost == 0 { String::new() } else { format!(", {lost} unreachable") };
    ui.note(&format!("{}{lost_text}", count(nodes.len(), "node")));
    Ok(if lost == 0 { exit::OK } else { exit::REMOTE })
}

/// Tells what is wrong with a node that answers.
fn tell(ui: &mut Ui, node: &LiveNode, seen: &Observation) {
    if let Some(status) = seen.status.as_ref().filter(|status| !status.ready) {
        let unmet: Vec<String> =
            status.unmet.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        ui.warn(&format!("{} is not ready: {}", node.name, unmet.join("; ")), None);
    }
    if let Some(pending @ (Pending::Trial | Pending::Staged)) = seen.pending() {
        let (what, help) = match pending {
            Pending::Trial => (
                "a config is on trial, and the node takes it back when its time is up",
                "`talmirror rollout --resume` ends a trial of an earlier run of this machine at once",
            ),
            Pending::Staged | Pending::Nothing => (
                "another config waits for the next boot",
                "a reboot brings it; a rollout would refuse the node",
            ),
        };
        let changes: Vec<String> = seen.pending_changes.iter().map(ToString::to_string).collect();
        let changes = if changes.is_empty() {
            "its registries are the same".to_owned()
        } else {
            format!("against the one on disk, the one that runs has: {}", changes.join("; "))
        };
        ui.warn(&format!("{}: {what}; {changes}", node.name), Some(help));
    } else if seen.may_be_on_trial {
        ui.warn(
            &format!(
                "{}: what it runs with was applied since it booted, and may be on trial; what is on its disk it does not show",
                node.name
            ),
            Some("a trial ends by itself when its time is up; `talmirror rollout` tells whether one of its own is open"),
        );
    }
    if seen.owes_reboot == Some(true) {
        ui.warn(
            &format!(
                "{}: containerd started before its credentials were last written, by a change or a trial: pods' pulls may use older ones",
                node.name
            ),
            Some("`talmirror rollout --reboot if-needed` reboots it; cordon and drain it first"),
        );
    }
    if !seen.foreign_hosts.is_empty() {
        ui.warn(
            &format!("{}: Talos did not write {}", node.name, seen.foreign_hosts.join(", ")),
            Some("does Spegel run there? It takes the place of mirrors, see `prependExisting`"),
        );
    }
    if !seen.foreign_credentials.is_empty() {
        let hosts = seen.foreign_credentials.join(", ");
        ui.warn(
            &format!("{}: containerd has credentials for {hosts} that are not from the config's registries", node.name),
            Some("see `/etc/cri/conf.d/20-customization.part`, or a CRICustomizationConfig; a rollout leaves them there"),
        );
    }
}

/// Returns the word for the schema that a node's Talos takes.
pub(in crate::cli) fn schema(seen: &Observation) -> Option<&'static str> {
    let version = seen.talos_version()?;
    Some(if version.has_documents() { "documents" } else { "legacy" })
}

fn stage(seen: &Observation) -> Option<String> {
    let status = seen.status.as_ref()?;
    Some(if status.ready { status.stage.clone() } else { format!("{}, not ready", status.stage) })
}

fn row(node: &LiveNode, seen: &Observed) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut cells = vec![node.name.clone(), node.target.to_string()];
    let Ok(seen) = seen else {
        cells.extend(["-", "-", "unreachable", "-", "-", "-", "-", "-"].map(str::to_owned));
        return cells;
    };
    let pending = match seen.pending() {
        None => "?",
        Some(Pending::Nothing) if seen.may_be_on_trial => "trial?",
        Some(Pending::Nothing) => "-",
        Some(pending @ (Pending::Trial | Pending::Staged)) => pending.as_str(),
    };
    let hosts = match seen.foreign_hosts.len() {
        _ if seen.active.is_err() => "?".to_owned(),
        0 => "-".to_owned(),
        number => format!("{number} foreign"),
    };
    cells.extend([
        seen.version.tag.clone(),
        or_dash(seen.role.clone()),
        or_dash(stage(seen)),
        or_dash(schema(seen).map(str::to_owned)),
        pending.to_owned(),
        if seen.owes_reboot == Some(true) { "owed" } else { "-" }.to_owned(),
        or_dash(seen.image_cache.clone()),
        hosts,
    ]);
    cells
}

fn to_json(node: &LiveNode, seen: &Observed) -> Value {
    let base = json!({"name": node.name, "address": node.target.to_string(), "inInventory": node.known});
    let more = match seen {
        Err(error) => {
            json!({"reachable": false, "error": {"reason": error.as_str(), "message": one_line(error)}})
        }
        Ok(seen) => json!({
            "reachable": true,
            "version": seen.version.tag,
            "arch": seen.version.arch,
            "platform": seen.version.platform,
            "role": seen.role,
            "stage": seen.status.as_ref().map(|status| &status.stage),
            "ready": seen.status.as_ref().map(|status| status.ready),
            "unmet": seen.status.iter().flat_map(|status| &status.unmet).map(|(name, reason)| {
                json!({"name": name, "reason": reason})
            }).collect::<Vec<_>>(),
            "schema": schema(seen),
            "pending": seen.pending().map(Pending::as_str),
            "pendingChanges": seen.pending_changes.iter().map(Change::to_json).collect::<Vec<_>>(),
            "mayBeOnTrial": seen.may_be_on_trial,
            "owesReboot": seen.owes_reboot,
            "virtualAddresses": seen.virtual_addresses,
            "imageCache": seen.image_cache,
            "foreignHosts": seen.foreign_hosts,
            "foreignCredentials": seen.foreign_credentials,
            "configError": seen.active.as_ref().err().map(|error| one_line(error)),
        }),
    };
    merge(base, more)
}

fn merge(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}
