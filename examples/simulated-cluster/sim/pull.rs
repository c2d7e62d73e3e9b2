//! Talos' own puller: the mirrors of the node's registries in order, then the upstream where that is allowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use talmirror::image::{DOCKER_HUB, Reference, TagOrDigest};
use talmirror::registries::{Auth, Endpoint, IMAGE_CACHE_ENDPOINT, Registries, request_url};
use tonic::Status;

use super::event::What;
use super::node::Node;
use super::registry::{Said, ask};

/// How long the node waits before it tries again.
const AGAIN: Duration = Duration::from_millis(300);

/// Pulls an image; returns its name with the digest.
pub async fn pull(node: &Arc<Node>, instance: &'static str, reference: &str) -> Result<String, Status> {
    let image: Reference = reference.parse().map_err(|error| {
        Status::unknown(format!("failed to parse image reference \"{reference}\": {error}"))
    })?;
    let name = name(&image);
    let had =
        node.state().images.get(instance).into_iter().flatten().find(|(have, _)| *have == name).cloned();
    if let Some((_, digest)) = had {
        let (tried, served) = (Vec::new(), None);
        node.log(What::Pull { image: name, instance, tried, served, had: true });
        return Ok(pinned(&image, &digest));
    }
    loop {
        match attempt(node, instance, &image, &name).await {
            Ok(digest) => {
                node.state().images.entry(instance).or_default().push((name, digest.clone()));
                return Ok(pinned(&image, &digest));
            }
            Err(status) if status.code() == tonic::Code::NotFound => return Err(status),
            Err(status) if !node.state().rules().retries_pulls() => return Err(status),
            // For twenty minutes, or until the client has gone.
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Returns the name under which an image is kept.
pub fn name(image: &Reference) -> String {
    let sign = if matches!(image.manifest(), TagOrDigest::Digest(_)) { '@' } else { ':' };
    format!("{}/{}{sign}{}", image.registry(), image.repository(), image.manifest())
}

fn pinned(image: &Reference, digest: &str) -> String {
    format!("{}/{}@{digest}", image.registry(), image.repository())
}

async fn attempt(
    node: &Arc<Node>,
    instance: &'static str,
    image: &Reference,
    name: &str,
) -> Result<String, Status> {
    let Asked { tried, served, result } = ask_hosts(node, image).await;
    node.log(What::Pull { image: name.to_owned(), instance, tried, served, had: false });
    result
}

/// What the hosts of an image answered.
pub struct Asked {
    pub tried: Vec<(String, String)>,
    /// The URL that served it.
    pub served: Option<String>,
    /// The image's digest.
    pub result: Result<String, Status>,
}

/// Asks the hosts of an image in order, until one answers well.
pub async fn ask_hosts(node: &Arc<Node>, image: &Reference) -> Asked {
    let name = &name(image);
    let (registries, rules, cached) = {
        let state = node.state();
        let cached = state.image_cache.as_deref() == Some("ready") && state.rules().falls_back();
        (state.registries.clone(), state.rules(), cached)
    };
    let upstream = match image.registry() {
        DOCKER_HUB => "https://registry-1.docker.io".to_owned(),
        registry => format!("https://{registry}"),
    };
    let mut endpoints = Vec::new();
    // Where nothing listens for it, the node's own image cache has nothing.
    let listens = IMAGE_CACHE_ENDPOINT
        .strip_prefix("http://")
        .is_some_and(|host| node.world.names.lock().unwrap().contains_key(host));
    if cached && listens {
        endpoints.push(Endpoint::new(IMAGE_CACHE_ENDPOINT, false));
    }
    let mirror = registries.mirror_of(image.registry()).map(|(_, mirror)| mirror);
    let mirror = mirror.filter(|mirror| !mirror.endpoints.is_empty());
    endpoints.extend(mirror.into_iter().flat_map(|mirror| mirror.endpoints.clone()));
    if mirror.is_none_or(|mirror| rules.falls_back() && !mirror.skip_fallback) {
        endpoints.push(Endpoint::new(upstream, false));
    }
    let mut tried = Vec::new();
    let mut first: Option<Status> = None;
    for endpoint in endpoints {
        let hop = request_url(&endpoint, image);
        let (answer, outcome) = try_one(node, &registries, &endpoint, &hop.url, name).await;
        tried.push((hop.url.clone(), answer));
        match outcome {
            Outcome::Served(digest) => return Asked { tried, served: Some(hop.url), result: Ok(digest) },
            // What answers 200 is taken at its word: no other endpoint is asked.
            Outcome::Taken(status) => {
                first.get_or_insert(status);
                break;
            }
            Outcome::Passed(status) => {
                first.get_or_insert(status);
            }
        }
    }
    let result = Err(first.unwrap_or_else(|| Status::unknown("no endpoints")));
    Asked { tried, served: None, result }
}

enum Outcome {
    Served(String),
    Taken(Status),
    Passed(Status),
}

async fn try_one(
    node: &Arc<Node>,
    registries: &Registries,
    endpoint: &Endpoint,
    url: &str,
    name: &str,
) -> (String, Outcome) {
    let failed = |what: String| {
        Status::unknown(format!("failed to pull image \"{name}\": failed to resolve image: {what}"))
    };
    let host = endpoint.host();
    if endpoint.is_plain_http() && registries.tls.contains_key(host) {
        let what = "TLS config specified for non-HTTPS registry".to_owned();
        return (what.clone(), Outcome::Taken(failed(what)));
    }
    let known = node.world.names.lock().unwrap().get(host).copied();
    let literal = endpoint.is_plain_http().then(|| host.parse::<SocketAddr>().ok()).flatten();
    let Some(address) = known.or(literal) else {
        let what = format!("dial tcp: lookup {host}: no such host");
        return (what.clone(), Outcome::Passed(failed(what)));
    };
    let target = url.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    let basic = registries.auth.get(host).and_then(basic);
    match ask(address, host, target.unwrap_or("/"), basic.as_deref()).await {
        Ok(Said::Manifest(digest)) => ("200".to_owned(), Outcome::Served(digest)),
        Ok(Said::Other(404, _)) => {
            let text = format!(
                "error pulling image: failed to pull image \"{name}\": failed to resolve image: {name}: not found"
            );
            ("404".to_owned(), Outcome::Passed(Status::not_found(text)))
        }
        Ok(Said::Other(200, kind)) => {
            let what = format!("unexpected media type {kind}");
            (what.clone(), Outcome::Taken(failed(what)))
        }
        Ok(Said::Other(status, _)) => (
            status.to_string(),
            Outcome::Passed(failed(format!("unexpected status from GET request: {status}"))),
        ),
        Err(error) => (error.to_string(), Outcome::Passed(failed(format!("dial tcp {address}: {error}")))),
    }
}

fn basic(auth: &Auth) -> Option<String> {
    if let Some(raw) = &auth.auth {
        return Some(raw.expose().clone());
    }
    let (user, password) = (auth.username.as_ref()?, auth.password.as_ref()?);
    Some(BASE64.encode(format!("{user}:{}", password.expose())))
}
