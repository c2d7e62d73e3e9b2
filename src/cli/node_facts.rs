//! What a node says of its pulls over the Talos API; nothing on it is changed.

use std::sync::Arc;

use futures_util::StreamExt as _;

use super::inventory::LoadedInventory;
use super::session::{LiveNode, recognise};
use crate::finding::{Problems, one_line};
use crate::image::Reference;
use crate::inventory::{Target, VerificationRule};
use crate::machineconfig::MachineConfig;
use crate::mirror::verify::Finding;
use crate::mirror::why::{NodeFacts, cause_of, last_word, of_node, settings_differ};
use crate::mirror::{Cause, PullHop};
use crate::registries::Registries;
use crate::talos::{
    Image, Instance, NodeClient, Observation, TIME_STATUS, TalosError, Verification, observe,
};
use crate::yaml::Node;

/// How many of the last lines of containerd's log are read.
const LOG_LINES: u16 = 2000;
/// How many images a node verifies at once.
const VERIFIED_AT_ONCE: usize = 8;

/// What a node made of images by its rules for signatures, each with what is told of it.
type Verified = Vec<(Reference, Result<Verification, TalosError>)>;

/// What a node says.
pub(super) struct Seen {
    /// Why it does not answer.
    unreachable: Option<String>,
    /// What it is and does.
    observed: Option<Observation>,
    /// The registries that it has; [`None`] where its machine config cannot be read.
    registries: Option<Registries>,
    images: Vec<(Instance, Image)>,
    time_synced: Option<bool>,
    /// What it makes of the images that it was asked about, where its Talos can.
    verified: Verified,
    /// The log of its containerd.
    log: String,
}

/// Asks a node, about images too; that it does not answer is told by what is returned.
pub(super) async fn look(node: NodeClient, about: Arc<[Reference]>) -> Seen {
    match ask(&node, &about).await {
        Ok(seen) => seen,
        Err(error) => Seen {
            unreachable: Some(one_line(&error)),
            observed: None,
            registries: None,
            images: Vec::new(),
            time_synced: None,
            verified: Vec::new(),
            log: String::new(),
        },
    }
}

async fn ask(node: &NodeClient, about: &[Reference]) -> Result<Seen, TalosError> {
    let observed = observe(node).await?;
    let mut images = Vec::new();
    for instance in [Instance::System, Instance::Cri, Instance::TalosContainers] {
        // What the role may not see, and what the node's Talos does not have, is left out.
        let found = node.images(instance).await.unwrap_or_default();
        images.extend(found.into_iter().map(|image| (instance, image)));
    }
    let log = node.logs("cri", LOG_LINES).await.ok();
    let time_synced = match node.resource(TIME_STATUS).await {
        Ok(Some(status)) => status.spec().ok().and_then(|spec| synced(&spec)),
        Ok(None) | Err(_) => None,
    };
    let verified = match observed.talos_version() {
        Some(version) if !version.has_image_service() => Vec::new(),
        Some(_) | None => {
            // Where no rule matches, a node answers without asking a registry.
            let asked = about.iter().cloned().map(|image| async move {
                let answer = node.verify_image(&image.to_string()).await;
                (image, answer)
            });
            futures_util::stream::iter(asked).buffered(VERIFIED_AT_ONCE).collect().await
        }
    };
    Ok(Seen {
        unreachable: None,
        registries: registries_of(&observed),
        observed: Some(observed.without_texts()),
        images,
        time_synced,
        verified,
        log: log.map(|log| String::from_utf8_lossy(log.expose()).into_owned()).unwrap_or_default(),
    })
}

impl Seen {
    /// Finds the inventory's node that it is; returns whose settings it should have.
    pub(super) fn target<'a>(&self, loaded: &mut LoadedInventory, node: &'a mut LiveNode) -> Target<'a> {
        if let Some(observed) = &self.observed {
            recognise(loaded, node, observed);
        }
        if node.known { Target::Node(&node.name) } else { Target::Base }
    }

    /// Returns the registries that the node has, where its machine config could be read.
    pub(super) fn registries(&self) -> Option<&Registries> {
        self.registries.as_ref()
    }

    /// Returns what of it bears on the pull of an image.
    ///
    /// `rule` is that of the inventory for its signatures.
    pub(super) fn facts(
        &self,
        image: &Reference,
        route: &[PullHop],
        wanted: &Registries,
        rule: Option<&VerificationRule>,
    ) -> NodeFacts {
        let hosts: Vec<&str> = route.iter().map(|hop| hop.host.as_str()).collect();
        NodeFacts {
            unreachable: self.unreachable.clone(),
            foreign_hosts: self
                .observed
                .as_ref()
                .map(|observed| observed.foreign_hosts.clone())
                .unwrap_or_default(),
            differs: self.registries.as_ref().and_then(|has| settings_differ(has, wanted, image)),
            time_synced: self.time_synced,
            verification: self.verification(image, rule),
            log: last_word(&self.log, image, &hosts),
        }
    }

    /// Returns what the node makes of an image by its rules for signatures.
    fn verification(
        &self,
        image: &Reference,
        rule: Option<&VerificationRule>,
    ) -> Option<Result<String, (Cause, String)>> {
        let version = self.observed.as_ref()?.talos_version();
        let answer = self.verified.iter().find(|(about, _)| about == image).map(|(_, answer)| answer);
        let refused = |cause, text: &str| {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            Some(Err((cause, lines.join("; "))))
        };
        match answer {
            Some(Ok(Verification::Verified(how))) => Some(Ok(format!("signature: {how}"))),
            Some(Ok(Verification::NotWanted(why))) => {
                let rule = rule.filter(|rule| rule.method.wants_signatures())?;
                Some(Ok(format!(
                    "signature not asked for: {why}; the inventory's rule `{}` is not what the node has",
                    rule.image
                )))
            }
            Some(Ok(Verification::Denied(text))) => refused(Cause::VerificationDenied, text),
            Some(Ok(Verification::Refused(text))) => refused(Cause::VerificationFailed, text),
            Some(Err(TalosError::NotFound { message, .. })) => refused(Cause::ImageMissing, message),
            Some(Err(TalosError::Failed { message, .. })) if cause_of(message).is_some() => {
                refused(cause_of(message)?, message)
            }
            // A rule that cannot be applied lets no pull through (Talos `internal/pkg/containers/image/verify`).
            Some(Err(TalosError::Failed { message, .. })) if message.contains("verification rule") => {
                refused(Cause::VerificationFailed, message)
            }
            // Talos before 1.13 knows no rules; that matters where the inventory has one.
            Some(Err(TalosError::Unimplemented { .. })) | None => {
                let rule = rule.filter(|rule| rule.method.wants_signatures())?;
                let version = version?;
                Some(Ok(format!(
                    "signature not asked for: Talos {version} does not verify images, and the inventory has the rule `{}`",
                    rule.image
                )))
            }
            // A certificate without the role, no answer in time, or an image that the node cannot resolve for a reason of its
            // own: nothing is known of its signature, and what hosts say is not hidden by it.
            Some(Err(error)) => Some(Ok(format!("signature not asked for: {}", one_line(error)))),
        }
    }

    /// Returns what is worth knowing beside.
    pub(super) fn notes(&self, image: &Reference, facts: &NodeFacts) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(Ok(told)) = &facts.verification {
            notes.push(format!("the node's {told}"));
        }
        let is_it = |found: &Image| found.name.parse::<Reference>().as_ref() == Ok(image);
        for instance in [Instance::System, Instance::Cri, Instance::TalosContainers] {
            if self.images.iter().any(|(own, found)| *own == instance && is_it(found)) {
                let what = instance.as_str();
                notes.push(format!(
                    "the node has the image ({what}): a pull asks nothing where its policy allows that"
                ));
            }
        }
        if let Some(status) = self.observed.as_ref().and_then(|observed| observed.image_cache.as_ref()) {
            notes.push(format!("the node's image cache is {status}: it is asked before every mirror"));
        }
        let foreign = self.observed.as_ref().map(|observed| observed.foreign_credentials.join(", "));
        if let Some(hosts) = foreign.filter(|hosts| !hosts.is_empty()) {
            notes.push(format!(
                "containerd has credentials that the machine config did not give it, for {hosts}"
            ));
        }
        if self.registries.is_none() && self.unreachable.is_none() {
            let note =
                "the node's machine config cannot be read: its mirrors are taken to be the inventory's";
            notes.push(note.to_owned());
        }
        notes
    }

    /// Returns what the node says of an image, in the form of what hosts answer.
    pub(super) fn finding(
        &self,
        node: &LiveNode,
        image: &Reference,
        route: &[PullHop],
        wanted: &Registries,
        rule: Option<&VerificationRule>,
    ) -> Finding {
        let facts = self.facts(image, route, wanted, rule);
        let verdict = of_node(&facts, route);
        let told = facts.verification.and_then(Result::ok);
        Finding {
            image: image.to_string(),
            nodes: vec![node.name.clone()],
            via: "node".to_owned(),
            hop: 0,
            url: format!("talos://{}", node.target),
            cause: verdict.as_ref().and_then(|verdict| verdict.cause),
            evidence: verdict.map(|verdict| verdict.evidence).or(told).unwrap_or_default(),
        }
    }
}

fn registries_of(observed: &Observation) -> Option<Registries> {
    let text = observed.active.as_ref().ok()?.text.expose();
    let config = MachineConfig::parse(text).ok()?;
    Some(config.registries(&mut Problems::new("", text)))
}

/// Returns whether a node's time is synchronised; [`None`] where it is not to be.
fn synced(spec: &Node) -> Option<bool> {
    let is = |key| spec.get(key).and_then(Node::as_bool);
    (is("syncDisabled") != Some(true)).then(|| is("synced")).flatten()
}
