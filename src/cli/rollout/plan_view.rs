use std::time::Duration;

use serde_json::{Value, json};

use super::args::Format;
use crate::cli::commands::diff::summary as changes_summary;
use crate::cli::session::LiveNode;
use crate::machineconfig::{Change, Drift, same_as};
use crate::rollout::{KnownBy, NodePlan, Wave};
use crate::ui::{CliError, Table, Ui, count};

/// A node, and what is to be done to it.
pub(super) struct PlannedNode {
    pub(super) node: LiveNode,
    /// What the journal calls it: another name, where it had that when the rollout began.
    pub(super) kept_as: String,
    /// How the inventory knows it.
    pub(super) known: KnownBy,
    pub(super) plan: NodePlan,
    pub(super) drift: Drift,
}

/// The plan for all nodes.
pub(super) struct Plan {
    pub(super) nodes: Vec<PlannedNode>,
    pub(super) waves: Vec<Wave>,
}

impl Plan {
    /// Returns how many nodes change.
    pub(super) fn changed(&self) -> usize {
        self.waves.iter().map(|wave| wave.nodes.len()).sum()
    }
}

/// What a rollout goes by, beside the plan.
pub(super) struct RolloutTerms<'a> {
    pub(super) context: &'a str,
    pub(super) max_failures: usize,
    pub(super) trial: Duration,
    pub(super) images: &'a [String],
}

/// Shows the plan.
pub(super) fn show(
    ui: &mut Ui,
    output: Format,
    terms: &RolloutTerms<'_>,
    plan: &Plan,
) -> Result<(), CliError> {
    if output == Format::Json {
        return ui.json_line(&to_json(terms, plan));
    }
    if plan.waves.is_empty() {
        return Ok(());
    }
    let changed = plan.changed();
    let stops = if terms.max_failures >= changed {
        "failures do not stop it".to_owned()
    } else {
        format!("stops after {}", count(terms.max_failures + 1, "failure"))
    };
    ui.result(&format!(
        "{} of {} to change; a trial lasts {} s; {stops}\n",
        count(changed, "node"),
        plan.nodes.len(),
        terms.trial.as_secs_f32(),
    ))?;
    let mut rows = vec![["WAVE", "STAGE", "NODE", "ROLE", "VERSION", "CHANGES"].map(str::to_owned).to_vec()];
    for (at, wave) in plan.waves.iter().enumerate() {
        for name in &wave.nodes {
            let Some(planned) = plan.nodes.iter().find(|planned| planned.node.name == *name) else {
                continue;
            };
            rows.push(vec![
                (at + 1).to_string(),
                wave.stage.to_string(),
                name.clone(),
                planned.plan.role.as_str().to_owned(),
                planned.plan.tag.clone(),
                if planned.plan.changes.is_empty() {
                    "reboot".to_owned()
                } else {
                    changes_summary(&planned.plan.changes)
                },
            ]);
        }
    }
    ui.table(&Table { rows, ..Table::default() })?;
    for (names, changes) in groups(&plan.nodes) {
        ui.result(&format!("{names}\n"))?;
        for change in changes {
            ui.signed(&format!("  {change}\n"))?;
        }
    }
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for planned in &plan.nodes {
        for note in &planned.plan.notes {
            match notes.iter_mut().find(|(other, _)| other == note) {
                Some((_, names)) => names.push(&planned.node.name),
                None => notes.push((note, vec![&planned.node.name])),
            }
        }
    }
    for (note, names) in notes {
        ui.signed(&format!("! {}: {note}\n", names.join(", ")))?;
    }
    if terms.images.is_empty() {
        ui.result("! verify.images names no image: that the mirrors serve is not proven\n")?;
    }
    Ok(())
}

/// Groups nodes whose changes are the same, secrets included.
fn groups(nodes: &[PlannedNode]) -> Vec<(String, &[Change])> {
    let drifts: Vec<Option<&Drift>> = nodes.iter().map(|planned| Some(&planned.drift)).collect();
    let same = same_as(&drifts);
    let mut out = Vec::new();
    for (at, planned) in nodes.iter().enumerate() {
        if planned.plan.changes.is_empty() || same.get(at).copied().flatten().is_some() {
            continue;
        }
        let others = nodes.iter().zip(&same).filter(|(_, same)| **same == Some(at));
        let names = std::iter::once(planned).chain(others.map(|(other, _)| other));
        let names: Vec<&str> = names.map(|planned| planned.node.name.as_str()).collect();
        out.push((names.join(", "), planned.plan.changes.as_slice()));
    }
    out
}

fn to_json(terms: &RolloutTerms<'_>, plan: &Plan) -> Value {
    let waves = plan.waves.iter().map(|wave| json!({"stage": wave.stage.as_str(), "nodes": wave.nodes}));
    let nodes = plan.nodes.iter().map(|planned| {
        json!({
            "name": planned.node.name,
            "address": planned.node.target.to_string(),
            "role": planned.plan.role.as_str(),
            "version": planned.plan.tag,
            "changed": !planned.plan.changes.is_empty(),
            "reboots": planned.plan.route.reboot.is_wanted(),
            "items": planned.plan.changes.iter().map(Change::to_json).collect::<Vec<_>>(),
            "notes": planned.plan.notes,
            "unproven": planned.plan.unproven,
        })
    });
    json!({
        "apiVersion": "talmirror/v1",
        "kind": "RolloutEvents",
        "event": "plan",
        "context": terms.context,
        "tryTimeoutSeconds": terms.trial.as_secs_f64(),
        "maxFailures": terms.max_failures,
        "images": terms.images,
        "waves": waves.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
    })
}
