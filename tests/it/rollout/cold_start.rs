//! A cluster that starts while its mirror is down: which images its nodes still get, and from where. `docs/deploy.md`
//! draws the conclusions.

use std::collections::BTreeSet;

use super::Site;
use crate::sim::{Cluster, Registry, RegistryAnswer, pull};

/// What a node needs before anything else runs in the cluster, the cache's own image included.
const NEEDED: [&str; 3] = [
    "registry.k8s.io/pause:3.10",
    "ghcr.io/siderolabs/flannel:v0.27.4",
    "ghcr.io/talmirror/talmirror-cache:0.1.0",
];

/// Nodes with these settings, without an image, whose mirror is down.
fn cold(fallback: &str) -> Site {
    let cluster = Cluster::start(1, 0, &["v1.14.1"], super::options()).unwrap();
    let inventory = cluster.inventory().replace("defaults: {via: [mirror]}", fallback);
    assert!(inventory.contains(fallback));
    let site = Site::with(cluster, &inventory);
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    site.cluster.mirror.answer(RegistryAnswer::Status(503));
    site.cluster.node("cp-1").state().images.clear();
    site
}

/// Gives the node an image cache with these repositories.
fn image_cache(site: &Site, repositories: &[&str]) -> Registry {
    let repositories: BTreeSet<String> = repositories.iter().map(ToString::to_string).collect();
    let cache = site.cluster.registry(RegistryAnswer::Only(repositories));
    site.cluster.name("127.0.0.1:3172", &cache);
    let node = site.cluster.node("cp-1");
    let mut state = node.state();
    state.image_cache = Some("ready".to_owned());
    state.render_now();
    cache
}

/// Returns which of the images the node gets.
fn pulled(site: &Site, images: &[&'static str]) -> Vec<&'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = site.cluster.node("cp-1");
    images.iter().copied().filter(|image| runtime.block_on(pull(&node, "cri", image)).is_ok()).collect()
}

#[test]
fn without_a_fallback_nothing_starts() {
    let site = cold("defaults: {via: [mirror], fallback: never}");
    assert!(pulled(&site, &NEEDED).is_empty());
    assert!(site.cluster.upstream.hits().is_empty());
}

#[test]
fn with_the_fallback_the_registries_themselves_are_asked() {
    let site = cold("defaults: {via: [mirror], fallback: upstream}");
    assert_eq!(pulled(&site, &NEEDED), NEEDED);
    assert_eq!(site.cluster.upstream.served().len(), NEEDED.len());
}

#[test]
fn what_is_in_the_image_cache_needs_neither() {
    let site = cold("defaults: {via: [mirror], fallback: never}");
    let cache = image_cache(&site, &["pause", "siderolabs/flannel", "talmirror/talmirror-cache"]);
    assert_eq!(pulled(&site, &NEEDED), NEEDED);
    assert_eq!(cache.served().len(), NEEDED.len());
    // What is not in it still depends on the mirror, and comes once the cache in the cluster runs.
    assert!(pulled(&site, &["docker.io/library/postgres:17"]).is_empty());
    site.cluster.mirror.answer(RegistryAnswer::All);
    assert_eq!(pulled(&site, &["docker.io/library/postgres:17"]).len(), 1);
    assert!(site.cluster.upstream.hits().is_empty());
}
