//! What a node says of its pulls over the Talos API; nothing on it is changed.

use super::session::LiveNode;
use crate::finding::{Problems, one_line};
use crate::image::Reference;
use crate::machineconfig::MachineConfig;
use crate::mirror::PullHop;
use crate::mirror::verify::Finding;
use crate::mirror::why::{NodeFacts, last_word, mirrors_differ, of_node};
use crate::registries::Registries;
use crate::talos::{Image, Instance, NodeClient, Observation, TIME_STATUS, TalosError, observe};
use crate::yaml::Node;

/// How many of the last lines of containerd's log are read.
const LOG_LINES: u16 = 2000;

/// What a node says.
pub(super) struct Seen {
    /// Why it does not answer.
    unreachable: Option<String>,
    foreign_hosts: Vec<String>,
    foreign_credentials: Vec<String>,
    /// The registries that it has; [`None`] where its machine config cannot be read.
    registries: Option<Registries>,
    images: Vec<(Instance, Image)>,
    image_cache: Option<String>,
    time_synced: Option<bool>,
    /// The log of its containerd.
    log: String,
}

/// Asks a node; that it does not answer is told by what is returned.
pub(super) async fn look(node: NodeClient) -> Seen {
    match ask(&node).await {
        Ok(seen) => seen,
        Err(error) => Seen {
            unreachable: Some(one_line(&error)),
            foreign_hosts: Vec::new(),
            foreign_credentials: Vec::new(),
            registries: None,
            images: Vec::new(),
            image_cache: None,
            time_synced: None,
            log: String::new(),
        },
    }
}

async fn ask(node: &NodeClient) -> Result<Seen, TalosError> {
    let observed = observe(node).await?;
    let mut images = Vec::new();
    for instance in [Instance::System, Instance::Cri] {
        // What the role may not see is left out.
        let found = node.images(instance).await.unwrap_or_default();
        images.extend(found.into_iter().map(|image| (instance, image)));
    }
    let log = node.logs("cri", LOG_LINES).await.ok();
    let time_synced = match node.resource(TIME_STATUS).await {
        Ok(Some(status)) => status.spec().ok().and_then(|spec| synced(&spec)),
        Ok(None) | Err(_) => None,
    };
    Ok(Seen {
        unreachable: None,
        registries: registries_of(&observed),
        foreign_hosts: observed.foreign_hosts,
        foreign_credentials: observed.foreign_credentials,
        images,
        image_cache: observed.image_cache,
        time_synced,
        log: log.map(|log| String::from_utf8_lossy(log.expose()).into_owned()).unwrap_or_default(),
    })
}

impl Seen {
    /// Returns the registries that the node has, where its machine config could be read.
    pub(super) fn registries(&self) -> Option<&Registries> {
        self.registries.as_ref()
    }

    /// Returns what of it bears on the pull of an image.
    pub(super) fn facts(&self, image: &Reference, route: &[PullHop], wanted: &Registries) -> NodeFacts {
        let hosts: Vec<&str> = route.iter().map(|hop| hop.host.as_str()).collect();
        NodeFacts {
            unreachable: self.unreachable.clone(),
            foreign_hosts: self.foreign_hosts.clone(),
            differs: self.registries.as_ref().and_then(|has| mirrors_differ(has, wanted, image)),
            time_synced: self.time_synced,
            log: last_word(&self.log, image, &hosts),
        }
    }

    /// Returns what is worth knowing beside.
    pub(super) fn notes(&self, image: &Reference) -> Vec<String> {
        let mut notes = Vec::new();
        let is_it = |found: &Image| found.name.parse::<Reference>().as_ref() == Ok(image);
        for instance in [Instance::System, Instance::Cri] {
            if self.images.iter().any(|(own, found)| *own == instance && is_it(found)) {
                let what = instance.as_str();
                notes.push(format!(
                    "the node has the image ({what}): a pull asks nothing where its policy allows that"
                ));
            }
        }
        if let Some(status) = &self.image_cache {
            notes.push(format!("the node's image cache is {status}: it is asked before every mirror"));
        }
        if !self.foreign_credentials.is_empty() {
            let hosts = self.foreign_credentials.join(", ");
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
    ) -> Finding {
        let verdict = of_node(&self.facts(image, route, wanted), route.first());
        Finding {
            image: image.to_string(),
            nodes: vec![node.name.clone()],
            via: "node".to_owned(),
            hop: 0,
            url: format!("talos://{}", node.target),
            cause: verdict.as_ref().and_then(|verdict| verdict.cause),
            evidence: verdict.map(|verdict| verdict.evidence).unwrap_or_default(),
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
