use std::sync::Arc;

use super::previous::{PreviousRollout, Unfinished, may_be_on_trial};
use super::proof::{proves, unasked, unproven};
use super::state_machine::{Probe, Reboot, Route, Strict};
use super::variants::{ConfigDigest, ConfigError, Proof, Variants, registries_of};
use crate::inventory::Role;
use crate::machineconfig::{Change, diff};
use crate::registries::{Auth, Kind, Registries, TalosVersion, containerd_auth};
use crate::talos::{Observation, Pending};

/// What a rollout is to do, beside the registries.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The images that are pulled, each written out.
    pub images: Vec<String>,
    /// Whether mirrors have to prove themselves.
    pub require_hit: bool,
    /// Whether a node is rebooted for credentials to reach its pods' pulls.
    pub reboot: RebootPolicy,
}

/// Whether a node is rebooted for credentials to reach its pods' pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebootPolicy {
    /// Never.
    Never,
    /// Where they reach them no other way.
    IfNeeded,
}

/// Why a node needs a reboot for the credentials that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwedReboot {
    /// An earlier rollout was to reboot it after its commit, and has not. The text says where its journal is.
    Journal(String),
    /// Its containerd started before its credentials were written.
    Containerd,
}

impl OwedReboot {
    /// Returns where the journal is of the rollout that was to reboot it.
    pub fn journal(&self) -> Option<&str> {
        match self {
            Self::Journal(place) => Some(place),
            Self::Containerd => None,
        }
    }
}

/// What a rollout does to one node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Which machine it is, as it says itself.
    pub machine: Option<String>,
    /// What it is called in Kubernetes.
    pub nodename: Option<String>,
    /// Its version, as it says it.
    pub tag: String,
    /// Its version, as rules know it.
    pub version: TalosVersion,
    /// Its role; one that does not say is taken for a control plane node.
    pub role: Role,
    /// The config that it had when the plan was made.
    pub before: ConfigDigest,
    /// The config that it is to have.
    pub desired: ConfigDigest,
    /// What it is to have.
    pub wanted: Arc<Registries>,
    /// What changes; nothing: the node is left alone.
    pub changes: Vec<Change>,
    /// The way it takes.
    pub route: Route,
    /// What should be known beside the changes.
    pub notes: Vec<String>,
    /// Whether mirrors have to prove themselves.
    pub requires_hit: bool,
    /// What the pulls of images will not prove, though mirrors have to prove themselves.
    pub unproven: Vec<String>,
    /// Why it has its credentials only after a reboot, whatever changes now.
    pub owes_reboot: Option<OwedReboot>,
}

/// Why a node cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A config is on trial, or staged.
    #[error("{}", pending_text(*.pending))]
    Pending {
        /// Which of them.
        pending: Pending,
        /// What the two configs differ in, as far as registries go.
        changes: Vec<Change>,
    },
    /// An earlier rollout was cut off there.
    #[error("an earlier rollout has not ended on it: {}; its journal is `{place}`", .what.reason())]
    Unfinished {
        /// What it has left.
        what: Unfinished,
        /// Where its journal is.
        place: String,
    },
    /// It was given another config since it booted, and does not tell whether it is on trial.
    #[error("what it runs with was applied since it booted, and is on trial as far as it tells")]
    Unsure,
    /// The inventory does not know it, by name, address or group.
    #[error("the inventory does not know it, and it would get only what every node starts from")]
    Unlisted,
    /// Its address moves between control plane nodes.
    #[error("`{0}` is a virtual address: another control plane node may have it in the middle of a rollout")]
    Virtual(String),
    /// Its reboot would take etcd's quorum, however well the others are.
    #[error("it cannot be rebooted: {0}")]
    Quorum(String),
    /// It is in maintenance mode.
    #[error("it is in maintenance mode and has no config yet")]
    Maintenance,
    /// What its version takes is not known.
    #[error("its version `{0}` is not known")]
    Version(String),
    /// Its version breaks TLS settings.
    #[error("Talos {0} writes TLS settings so that no pull works")]
    BreaksTls(String),
    /// Its config may not be read.
    #[error("its config cannot be read: {0}")]
    Unreadable(String),
    /// Its config cannot be edited.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn pending_text(pending: Pending) -> &'static str {
    match pending {
        Pending::Trial => "a config is on trial, which the node takes back by itself",
        Pending::Staged | Pending::Nothing => "another config is staged for the next boot",
    }
}

impl Refusal {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Pending { pending: Pending::Trial, .. } => {
                "wait until its time is up; `talmirror rollout --resume` puts an end to a trial of an earlier run"
                    .to_owned()
            }
            Self::Pending { .. } => {
                "reboot the node, or apply the config that runs: a rollout would destroy the staged one".to_owned()
            }
            Self::Unfinished { what, place } => {
                format!("`talmirror rollout --resume --journal {place}` {}", what.way_on())
            }
            Self::Unsure => "apply the config that it is to keep, with `--mode no-reboot`, or reboot it: it boots with \
                             what is on its disk"
                .to_owned(),
            Self::Unlisted => {
                "list it under `nodes`, or name its address in a group; --unknown-nodes takes it as it is".to_owned()
            }
            Self::Virtual(_) => "name the node by an address of its own".to_owned(),
            Self::Quorum(_) => "`--reboot never` changes its config without the reboot that its pods' pulls need for new \
                                credentials; it can reboot when more control plane nodes are well"
                .to_owned(),
            Self::Maintenance => "install Talos on it first".to_owned(),
            Self::Version(_) => "is it a release of Talos?".to_owned(),
            Self::BreaksTls(_) => "upgrade to 1.14.0-rc.1 or later".to_owned(),
            Self::Unreadable(_) => "a rollout is for the role os:admin".to_owned(),
            Self::Config(ConfigError::Replace(error)) => error.help().to_owned(),
            Self::Config(ConfigError::Parse(_)) => "correct it first".to_owned(),
        }
    }

    /// Returns what two configs differ in, where that is the reason.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Pending { changes, .. } => changes,
            _ => &[],
        }
    }
}

impl NodePlan {
    /// Makes the plan for a node from what it is and has.
    ///
    /// What runs is taken for the node's own only where it is on disk, or was found there by an earlier rollout.
    pub fn of(
        seen: &Observation,
        wanted: &Arc<Registries>,
        options: &PlanOptions,
        earlier: PreviousRollout,
    ) -> Result<Self, Refusal> {
        let version = seen.talos_version().ok_or_else(|| Refusal::Version(seen.version.tag.clone()))?;
        if seen.status.as_ref().is_some_and(|status| status.stage == "maintenance") {
            return Err(Refusal::Maintenance);
        }
        let active = seen.active.as_ref().map_err(|error| Refusal::Unreadable(error.to_string()))?;
        match Pending::between(active, seen.persistent.as_ref()) {
            Pending::Nothing => {}
            pending @ (Pending::Trial | Pending::Staged) => {
                return Err(Refusal::Pending { pending, changes: seen.pending_changes.clone() });
            }
        }
        let owes_reboot = match earlier {
            PreviousRollout::Unfinished(what, place) => return Err(Refusal::Unfinished { what, place }),
            // What the node says of it itself counts more.
            PreviousRollout::WantsReboot(place) => {
                (seen.owes_reboot != Some(false)).then_some(OwedReboot::Journal(place))
            }
            PreviousRollout::Nothing if may_be_on_trial(active, seen.persistent.as_ref(), &version) => {
                return Err(Refusal::Unsure);
            }
            // What was tried and put back counts as written, too, and containerd has what it started with.
            PreviousRollout::Original => None,
            PreviousRollout::Nothing => (seen.owes_reboot == Some(true)).then_some(OwedReboot::Containerd),
        };
        if version.breaks_tls_paths() && !wanted.tls.is_empty() {
            return Err(Refusal::BreaksTls(seen.version.tag.clone()));
        }
        let proof = proof(wanted, options);
        // The edit is tried now, so that what refuses it does so before any node is touched.
        let configs = Variants::of(&active.text, wanted, &version, proof)?;
        let changes = diff(&registries_of(&active.text), wanted);
        let auth = changes.iter().any(|change| change.kind == Kind::Auth);
        // What an earlier rollout still owes comes with this one's.
        let needed = (auth || owes_reboot.is_some()) && !version.reloads_auth();
        let reboot = match options.reboot {
            RebootPolicy::IfNeeded if needed && changes.is_empty() => Reboot::Alone,
            RebootPolicy::IfNeeded if needed => Reboot::After,
            RebootPolicy::IfNeeded | RebootPolicy::Never => Reboot::Never,
        };
        let mut doubts = unproven(&options.images, wanted, seen.image_cache.as_deref());
        let overruled = overruled(seen, wanted, &version);
        if !overruled.is_empty() {
            doubts.push(overruled_note(&overruled));
        }
        let mut notes =
            if changes.is_empty() { Vec::new() } else { notes(seen, &version, auth, reboot, options) };
        notes.extend(owes_reboot.as_ref().map(|owed| owed_note(owed, reboot)));
        if !options.require_hit && !changes.is_empty() && !overruled.is_empty() {
            notes.push(overruled_note(&overruled));
        }
        if options.require_hit && !changes.is_empty() {
            notes.extend(doubts.iter().map(|doubt| format!("not proven: {doubt}")));
        }
        let unasked = unasked(&options.images, wanted, &changes);
        if !options.images.is_empty() && !unasked.is_empty() {
            let names = unasked.join(", ");
            notes.push(format!(
                "no image of verify.images goes through {names}: that they serve is not proven"
            ));
        }
        Ok(Self {
            machine: seen.identity.machine.clone(),
            nodename: seen.identity.nodename.clone(),
            tag: seen.version.tag.clone(),
            role: match seen.role.as_deref() {
                Some("worker") => Role::Worker,
                Some(_) | None => Role::ControlPlane,
            },
            before: ConfigDigest::of(&active.text),
            desired: ConfigDigest::of(&configs.desired),
            wanted: Arc::clone(wanted),
            route: Route {
                strict: match configs.strict {
                    Some(_) => Strict::First,
                    None if configs.is_strict => Strict::Original,
                    None => Strict::None,
                },
                probe: if options.images.is_empty() { Probe::None } else { Probe::Pull },
                reboot,
            },
            requires_hit: options.require_hit,
            unproven: if options.require_hit && !changes.is_empty() { doubts } else { Vec::new() },
            notes,
            changes,
            version,
            owes_reboot,
        })
    }

    /// Leaves it without the reboot that it was to have alone, because it cannot be rebooted: no command is named that would
    /// bring it. What the journal of an earlier rollout owes it is still owed.
    pub fn give_up_reboot(&mut self) {
        if self.route.reboot == Reboot::Alone {
            self.route.reboot = Reboot::Never;
            self.notes.clear();
            self.owes_reboot.take_if(|owed| owed.journal().is_none());
        }
    }

    /// Returns whether nothing is done to it.
    pub fn leaves_alone(&self) -> bool {
        self.changes.is_empty() && !self.route.reboot.is_wanted()
    }

    /// Returns whether its pods' pulls lack credentials after the rollout, which a reboot would bring.
    pub fn will_owe_reboot(&self) -> bool {
        let auth = self.changes.iter().any(|change| change.kind == Kind::Auth);
        let needed = (auth || self.owes_reboot.is_some()) && !self.version.reloads_auth();
        needed && !self.route.reboot.is_wanted()
    }

    /// Returns whether mirrors have to prove themselves.
    pub fn proof(&self) -> Proof {
        match self.route.strict {
            Strict::First | Strict::Original => Proof::Strict,
            Strict::None => Proof::None,
        }
    }
}

/// Returns whether mirrors have to prove themselves: where one of the images goes through one.
fn proof(wanted: &Registries, options: &PlanOptions) -> Proof {
    if options.require_hit && proves(&options.images, wanted) { Proof::Strict } else { Proof::None }
}

/// Returns the hosts whose credentials do not reach pods' pulls, because the node's own parts of containerd's config have others
/// for them.
fn overruled(seen: &Observation, wanted: &Registries, version: &TalosVersion) -> Vec<String> {
    let wanted = containerd_auth(wanted, version);
    // Some write user and password, and some base64 of both.
    let pair = |auth: &Auth| auth.clone().with_plain_pair();
    let other =
        |(host, own): &(&String, &Auth)| wanted.get(*host).is_some_and(|auth| pair(auth) != pair(own));
    seen.customized.iter().filter(other).map(|(host, _)| host.clone()).collect()
}

fn overruled_note(hosts: &[String]) -> String {
    format!(
        "pods' pulls use other credentials for {} than the inventory's: the node's 20-customization.part or \
         CRICustomizationConfig has them, and counts more",
        hosts.join(", ")
    )
}

fn owed_note(owed: &OwedReboot, reboot: Reboot) -> String {
    let why = match owed {
        OwedReboot::Journal(_) => "an earlier rollout was to reboot it after its commit, and has not",
        OwedReboot::Containerd => {
            "containerd started before its credentials were last written, by a change or a trial, and may use older ones"
        }
    };
    match (reboot, owed) {
        (Reboot::Alone, _) => {
            format!("{why}: it is rebooted, and nothing else is changed; cordon and drain it first")
        }
        (Reboot::After, _) => why.to_owned(),
        (Reboot::Never, OwedReboot::Journal(place)) => {
            format!("{why}: `talmirror rollout --resume --journal {place}` does")
        }
        (Reboot::Never, OwedReboot::Containerd) => format!("{why}: `--reboot if-needed` reboots it"),
    }
}

fn notes(
    seen: &Observation,
    version: &TalosVersion,
    auth: bool,
    reboot: Reboot,
    options: &PlanOptions,
) -> Vec<String> {
    let mut notes = Vec::new();
    if auth {
        notes.push(if reboot.is_wanted() {
            "credentials reach pods' pulls only after a reboot: the node is rebooted after the commit; cordon and \
             drain it first"
                .to_owned()
        } else if version.reloads_auth() {
            "new credentials restart containerd, at the trial and at each way back: pulls fail for seconds, \
             containers run on"
                .to_owned()
        } else {
            "credentials reach pods' pulls only after a reboot".to_owned()
        });
    }
    if !version.has_persistent_config() {
        notes.push("this Talos does not tell whether another config is staged: none must be".to_owned());
    }
    if !options.images.is_empty() && !version.has_image_service() {
        notes.push("this Talos removes no images: one that is there already proves nothing".to_owned());
    }
    if !options.images.is_empty() && version.has_image_service() {
        let images = options.images.join(", ");
        notes.push(format!("removed and pulled again where it is there already: {images}"));
    }
    if !seen.foreign_hosts.is_empty() {
        let hosts = seen.foreign_hosts.join(", ");
        notes.push(format!(
            "Talos did not write {hosts} on the node, and removes it when the config changes: what wrote it may write it again"
        ));
    }
    if !seen.foreign_credentials.is_empty() {
        let hosts = seen.foreign_credentials.join(", ");
        notes.push(format!(
            "containerd has credentials for {hosts} that are not from the config's registries: they stay"
        ));
    }
    if let Some(status) = seen.status.as_ref().filter(|status| status.stage != "running" || !status.ready) {
        notes.push(format!("it is {} and not ready: its turn comes when it is", status.stage));
    }
    notes
}
