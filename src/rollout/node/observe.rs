//! What is read of a node while it is worked on.

use super::context::{ControlPlaneNode, Wanted};
use crate::finding::one_line;
use crate::registries::{CRI_TOML, IMAGE_CACHE_ENDPOINT, TalosVersion, hosts_path};
use crate::rollout::health::{Absence, etcd_flaws, node_flaws, reboot_obstacle};
use crate::rollout::rendered::{Rendered, hosts_to_read, rendering_flaws};
use crate::rollout::state_machine::{Persisted, StepResult, Variant};
use crate::rollout::variants::{VariantDigests, registries_of};
use crate::secret::Secret;
use crate::talos::{
    CUSTOMIZATION, ConfigResource, MACHINE_STATUS, NodeClient, TalosError, customized_credentials,
};

/// The file that is another after each boot (Linux `Documentation/admin-guide/sysctl/kernel.rst`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads which config a node runs with, and which it has on disk; and what runs, where it can be read.
pub(super) async fn runs(
    node: &NodeClient,
    known: &VariantDigests,
    version: &TalosVersion,
) -> (StepResult, Option<ConfigResource>) {
    let configs = async {
        let mut active = node.active_config().await?;
        let persistent = if version.has_persistent_config() { node.persistent_config().await? } else { None };
        if known.on_disk(persistent.as_ref(), version) == Persisted::Is(Variant::Foreign) {
            // What was applied between the two answers is not only staged.
            active = node.active_config().await?;
        }
        Ok::<_, TalosError>((active, persistent))
    };
    match configs.await {
        Ok((active, persistent)) => {
            let disk = known.on_disk(persistent.as_ref(), version);
            (StepResult::Runs(known.which(&active.text), disk), Some(active))
        }
        Err(error) => (StepResult::Failed(one_line(&error)), None),
    }
}

/// Returns what speaks against a node: its stage and its services.
pub(in crate::rollout) async fn health_flaws(node: &NodeClient) -> Vec<String> {
    let health = async {
        let status = node.resource(MACHINE_STATUS).await?.and_then(|status| status.machine_status().ok());
        Ok::<_, TalosError>(node_flaws(status.as_ref(), &node.services().await?))
    };
    health.await.unwrap_or_else(|error| vec![one_line(&error)])
}

/// Returns what speaks against changing control plane nodes that stay up meanwhile.
pub async fn control_plane_flaws(control_plane: &[ControlPlaneNode]) -> Vec<String> {
    quorum_flaws(control_plane, Absence::Stays).await
}

/// Returns what speaks against touching a control plane node.
pub(super) async fn quorum_flaws(control_plane: &[ControlPlaneNode], absence: Absence) -> Vec<String> {
    let mut answers = Vec::new();
    for ControlPlaneNode { name, node, .. } in control_plane {
        answers.push((name.clone(), node.etcd().await.map_err(|error| one_line(&error))));
    }
    let may_be_down = control_plane.iter().filter(|node| node.health == Wanted::Anything);
    let may_be_down: Vec<&str> = may_be_down.map(|node| node.name.as_str()).collect();
    etcd_flaws(&answers, absence, &may_be_down)
}

/// Returns why no control plane node can reboot, however well the others are. Of the nodes that may be down,
/// those that are well count; the others that do not answer say nothing.
pub async fn quorum_obstacle(control_plane: &[ControlPlaneNode]) -> Option<String> {
    let (mut voters, mut down) = (0, 0);
    for ControlPlaneNode { node, health, .. } in control_plane {
        let etcd = node.etcd().await;
        if let Ok(etcd) = &etcd {
            voters = voters.max(etcd.members.iter().filter(|member| !member.learner).count());
        }
        let is_well = etcd.is_ok_and(|etcd| etcd.flaws().is_empty());
        // The others are waited for until they are well.
        down += usize::from(*health == Wanted::Anything && !is_well);
    }
    reboot_obstacle(voters, down)
}

/// Returns how what Talos has rendered differs from what a config says.
pub(super) async fn render_flaws(
    node: &NodeClient,
    before: &Secret<String>,
    now: &Secret<String>,
    version: &TalosVersion,
) -> Result<Vec<String>, TalosError> {
    let (before, config) = (registries_of(before), registries_of(now));
    let registries = if version.has_image_cache() { node.registry_configs().await? } else { None };
    let image_cache = registries.as_ref().is_some_and(|found| {
        let mut endpoints = found.mirrors.values().flat_map(|mirror| &mirror.endpoints);
        endpoints.any(|endpoint| endpoint.url == IMAGE_CACHE_ENDPOINT)
    });
    let mut rendered = Rendered { registries, image_cache, ..Rendered::default() };
    for registry in hosts_to_read(&before, &config, image_cache) {
        let file = text(node, &hosts_path(&registry)).await?;
        rendered.hosts.insert(registry, file);
    }
    rendered.cri = text(node, CRI_TOML).await?;
    let flaws = rendering_flaws(&before, &config, version, &rendered);
    if flaws.is_empty() {
        return Ok(flaws);
    }
    // What the node's own parts of containerd's config say is not a flaw of the rendering.
    let part = text(node, CUSTOMIZATION).await?;
    rendered.customized =
        customized_credentials(now.expose(), part.as_ref().map(|part| part.expose().as_str()));
    Ok(rendering_flaws(&before, &config, version, &rendered))
}

async fn text(node: &NodeClient, path: &str) -> Result<Option<Secret<String>>, TalosError> {
    let bytes = node.read(path).await?;
    Ok(bytes.map(|bytes| Secret::new(String::from_utf8_lossy(bytes.expose()).into_owned())))
}

/// Returns what tells one boot of a node from the next, where it says it.
pub(in crate::rollout) async fn boot_mark(node: &NodeClient) -> Result<Option<String>, TalosError> {
    match node.read(BOOT_ID).await {
        Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes.expose()).trim().to_owned())),
        Err(TalosError::Failed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
