//! The first gate of a rollout: the mirrors that nodes are to get are asked from here, before any node is touched.

use std::time::Duration;

use super::plan_view::Plan;
use crate::cli::args::VersionArgs;
use crate::cli::commands::verify::{About, Question, ask, questions};
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
    leave_out(ui, loaded, &mut questions);
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

/// Leaves out what only the nodes can ask, and says of which mirrors.
fn leave_out(ui: &mut Ui, loaded: &LoadedInventory, questions: &mut Vec<Question>) {
    let is_on_nodes = |question: &Question| {
        let mirror = loaded.inventory.mirrors.get(&question.hop.via);
        mirror.is_some_and(|mirror| mirror.in_cluster) && is_loopback(&question.hop.url)
    };
    for mirror in take(questions, is_on_nodes) {
        ui.note(&format!("mirror `{mirror}` is on the nodes themselves, and is not asked from here"));
    }
    let unknown = take(questions, |question| question.access.has_stand_in());
    if !unknown.is_empty() {
        let mirrors: Vec<String> = unknown.iter().map(|mirror| format!("`{mirror}`")).collect();
        ui.note(&format!(
            "not asked from here: {}; their credentials come from commands that were not started: --run-commands starts them",
            mirrors.join(", ")
        ));
    }
}

/// Takes questions away, and returns the mirrors that they are of, each once.
fn take(questions: &mut Vec<Question>, which: impl Fn(&Question) -> bool) -> Vec<String> {
    let taken = questions.extract_if(.., |question| which(question));
    let mut mirrors: Vec<String> = taken.map(|question| question.hop.via).collect();
    mirrors.sort_unstable();
    mirrors.dedup();
    mirrors
}

fn is_loopback(url: &str) -> bool {
    let url = url::Url::parse(url);
    url.is_ok_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

/// Returns whether a cause may be one of this machine's network alone.
fn is_elsewhere(cause: Cause) -> bool {
    matches!(cause, Cause::NameUnresolved | Cause::Unreachable | Cause::TooSlow)
}
