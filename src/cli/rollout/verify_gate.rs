//! The first gate of a rollout: the mirrors that nodes are to get are asked from here, before any node is touched.

use std::time::Duration;

use super::plan_view::Plan;
use crate::cli::args::VersionArgs;
use crate::cli::commands::verify::{About, ask, questions};
use crate::cli::inventory::LoadedInventory;
use crate::image::{Platform, Reference};
use crate::inventory::Target;
use crate::mirror::Cause;
use crate::mirror::verify::{Finding, fix, group};
use crate::ui::{CliError, Ui, count, exit};

/// What is done about a mirror that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// The rollout ends before it begins.
    Stop,
    /// It is told: nothing is to be done anyway.
    Warn,
}

/// Asks every mirror that the nodes which change are to get, as `verify` does; says which cannot be asked from here.
///
/// The registries themselves are not asked: a rollout does not change them, and nodes reach the internet their own way.
pub(super) fn verify_mirrors(
    ui: &mut Ui,
    loaded: &mut LoadedInventory,
    plan: &Plan,
    timeout: Duration,
    on_failure: OnFailure,
) -> Result<(), CliError> {
    let changing = |name: &str| plan.waves.iter().any(|wave| wave.nodes.iter().any(|node| node == name));
    let names: Vec<&str> =
        plan.nodes.iter().map(|planned| planned.node.name.as_str()).filter(|name| changing(name)).collect();
    let listed = |name: &&str| loaded.inventory.nodes.contains_key(*name);
    let mut targets: Vec<Target<'_>> = names.iter().copied().filter(listed).map(Target::Node).collect();
    if targets.len() < names.len() {
        targets.push(Target::Base);
    }
    let images = loaded.inventory.verify.images.iter().filter_map(|image| image.parse::<Reference>().ok());
    let images: Vec<Reference> = images.collect();
    let versions = VersionArgs::default();
    let mut questions = questions(loaded, &targets, &versions, &images, About::ImagesAndRegistries)?;
    questions.retain(|question| question.hop.via != "upstream");
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
    let findings = ask(&questions, &platform, timeout)?;
    let (away, here): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| finding.cause.is_some_and(is_elsewhere));
    for group in group(&away) {
        let (via, why) = (&group.first.via, &group.first.evidence);
        ui.warn(
            &format!(
                "mirror `{via}` cannot be asked from here, and is not verified before the rollout: {why}"
            ),
            Some("the nodes prove it, with the images of verify.images"),
        );
    }
    let failed: Vec<Finding> = here.into_iter().filter(|finding| !finding.is_ok()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let groups = group(&failed);
    for group in &groups {
        let Finding { via, url, evidence, .. } = group.first;
        let Some(cause) = group.first.cause else { continue };
        ui.warn(
            &format!(
                "mirror `{via}`: {} {}: {evidence} ({})",
                cause.as_str(),
                cause.title(),
                group.images.join(", ")
            ),
            Some(&fix(cause, via, url)),
        );
    }
    match on_failure {
        OnFailure::Warn => Ok(()),
        OnFailure::Stop => {
            let what = count(groups.len(), "failure");
            let message = format!("no node was touched: {what} of mirrors that the nodes are to get");
            Err(CliError::new(exit::STOPPED, message)
                .help("`talmirror verify` says more; --verify never begins without asking the mirrors"))
        }
    }
}

/// Returns whether a cause may be one of this machine's network alone.
fn is_elsewhere(cause: Cause) -> bool {
    matches!(cause, Cause::NameUnresolved | Cause::Unreachable | Cause::TooSlow)
}
