//! What is read of a node before its rollout is resumed, or rolled back.

use super::journal::{Leftover, NodeHistory, StoreError, leftover};
use super::node::RolloutContext;
use super::state_machine::Variant;
use super::variants::{ConfigDigest, VariantDigests};
use crate::finding::one_line;
use crate::inventory::Role;
use crate::registries::TalosVersion;
use crate::secret::Secret;
use crate::sops::SopsError;
use crate::talos::{ConfigResource, Identity, MACHINE_TYPE, NodeClient, TalosError, owes_reboot};

/// Decrypts what a journal keeps.
pub type Decrypt<'a> = dyn Fn(&str) -> Result<Secret<String>, SopsError> + 'a;

/// What is read of a node before its rollout is resumed, or rolled back.
pub(super) struct Found {
    pub(super) version: TalosVersion,
    pub(super) role: Role,
    identity: Identity,
    pub(super) active: Secret<String>,
    pub(super) persistent: Option<ConfigResource>,
    /// Whether what runs is what it has booted with.
    is_booted: bool,
    /// Whether the node needs a reboot for the credentials that it has, where it tells.
    owes_reboot: Option<bool>,
}

/// Reads it.
pub(super) async fn find(node: &NodeClient) -> Result<Found, String> {
    let tag = node.version().await.map_err(|error| one_line(&error))?.tag;
    let version = tag.parse::<TalosVersion>().map_err(|error| error.to_string())?;
    let found = async {
        let role = node.resource(MACHINE_TYPE).await?.and_then(|role| role.word().ok());
        let role = if role.as_deref() == Some("worker") { Role::Worker } else { Role::ControlPlane };
        let active = node.active_config().await?;
        // That it does not tell is not a reason to leave it as it is.
        let owes_reboot = owes_reboot(node, &active, &version).await.ok().flatten();
        let shows = version.has_persistent_config();
        let persistent = if shows { node.persistent_config().await? } else { None };
        let is_booted = shows && persistent.is_none() && !active.was_set_again();
        Ok::<_, TalosError>((role, active.text, persistent, is_booted, owes_reboot))
    };
    let (role, active, persistent, is_booted, owes_reboot) = found.await.map_err(|error| one_line(&error))?;
    let identity = node.identity().await.map_err(|error| one_line(&error))?;
    Ok(Found { version, role, identity, active, persistent, is_booted, owes_reboot })
}

impl Found {
    /// Returns whether another machine answers where the node was: it was replaced, and what a journal says of the node
    /// does not hold for it.
    pub(super) fn is_replaced(&self, history: &NodeHistory) -> bool {
        history.is_of(&self.identity) == Some(false)
    }

    /// Returns what is left to do on the node.
    pub(super) fn leftover(&self, history: &NodeHistory, known: &VariantDigests) -> Leftover {
        let disk = known.on_disk(self.persistent.as_ref(), &self.version);
        let left = leftover(history, known.which(&self.active), disk);
        if left == Leftover::Foreign && self.is_booted {
            return Leftover::Nothing;
        }
        if left == Leftover::Reboot && self.owes_reboot == Some(false) {
            // What the node says of it itself counts more: it has booted since, or needs no reboot for what it has.
            let without = NodeHistory { reboots: false, ..history.clone() };
            return leftover(&without, known.which(&self.active), disk);
        }
        left
    }

    /// Returns whether the node keeps what another operator or tool has applied in the middle of what the journal tells of.
    pub(super) fn keeps_foreign(&self, history: &NodeHistory, known: &VariantDigests) -> bool {
        !history.is_settled() && known.which(&self.active) == Variant::Foreign
    }

    /// Returns a node's original: from the node, if it has it, so that no key is needed; else from the journal.
    pub(super) fn original(
        &self,
        context: &RolloutContext,
        file: &str,
        before: &ConfigDigest,
        decrypt: &Decrypt<'_>,
    ) -> Result<Secret<String>, StoreError> {
        let own = self.persistent.iter().map(|persistent| &persistent.text).chain([&self.active]);
        match own.into_iter().find(|text| ConfigDigest::of(text) == *before) {
            Some(text) => Ok(text.clone()),
            None => context.journal.load(file, before, decrypt),
        }
    }
}
