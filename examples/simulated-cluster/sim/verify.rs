//! `ImageVerificationConfig`: the rule that counts for an image, and signatures, looked up through the node's mirrors.
//!
//! Texts are those of Talos' `internal/pkg/containers/image/verify`. A signature that is there counts as valid.

use std::sync::Arc;

use talmirror::image::{Reference, glob_matches};
use talmirror::yaml::{self, Node as Yaml};
use tonic::Status;

use super::node::Node;
use super::proto::machine::ImageServiceVerifyResponse;
use super::pull::{self, Asked};

/// What the rule that counts wants.
enum Rule {
    Skip,
    Deny,
    Signature,
}

/// Verifies an image by the node's rules; nothing is pulled.
pub async fn verify(node: &Arc<Node>, reference: &str) -> Result<ImageServiceVerifyResponse, Status> {
    let image: Reference = reference
        .parse()
        .map_err(|error| Status::invalid_argument(format!("image reference is invalid: {error}")))?;
    let config = node.state().active.text.clone();
    let not_wanted = |message: String| {
        Ok(ImageServiceVerifyResponse { verified: false, message, digested_image_ref: String::new() })
    };
    let (id, rule) = match rule_of(&config, &image) {
        None => return not_wanted("no matched rule".to_owned()),
        Some((at, rule)) => (format!("{at:04}"), rule),
    };
    match rule {
        Rule::Deny => {
            return Err(Status::permission_denied(format!("verification denied by matched rule ({id})")));
        }
        Rule::Skip => return not_wanted(format!("verification skipped by matched rule ({id})")),
        Rule::Signature => {}
    }
    let Asked { result, .. } = pull::ask_hosts(node, &image).await;
    let digest = result.map_err(|status| match status.code() {
        tonic::Code::NotFound => {
            let text = format!("image reference not found during resolution: {}", pull::name(&image));
            Status::not_found(format!("{text}: not found"))
        }
        _ => Status::internal(format!("failed to resolve image reference: {}", status.message())),
    })?;
    let repository = format!("{}/{}", image.registry(), image.repository());
    let tag = digest.replace(':', "-");
    for (name, message) in [
        (tag.clone(), "verified via bundle tag"),
        (format!("{tag}.sig"), "verified via legacy signature (bundle verified true)"),
    ] {
        let signature: Reference = format!("{repository}:{name}").parse().expect("it is a tag");
        if pull::ask_hosts(node, &signature).await.result.is_ok() {
            return Ok(ImageServiceVerifyResponse {
                verified: true,
                message: message.to_owned(),
                digested_image_ref: format!("{repository}@{digest}"),
            });
        }
    }
    let text =
        "image verification failed: no valid signature found: bundle tag not found\nsignature tag not found";
    Err(Status::permission_denied(text))
}

/// Finds the first rule whose pattern matches.
fn rule_of(config: &str, image: &Reference) -> Option<(usize, Rule)> {
    let stream = yaml::parse(config).ok()?;
    let is_it = |root: &&Yaml| root.get("kind").and_then(Yaml::as_str) == Some("ImageVerificationConfig");
    let document = stream.documents.iter().map(|document| &document.root).find(is_it)?;
    let rules = document.get("rules").map(Yaml::items).unwrap_or_default();
    let matches = |rule: &Yaml| {
        let name = format!("{}/{}", image.registry(), image.repository());
        rule.get("image").and_then(Yaml::as_str).is_some_and(|pattern| glob_matches(pattern, &name))
    };
    let (at, rule) = rules.iter().enumerate().find(|(_, rule)| matches(rule))?;
    let is = |key| rule.get(key).and_then(Yaml::as_bool) == Some(true);
    let rule = if is("deny") {
        Rule::Deny
    } else if is("skip") {
        Rule::Skip
    } else {
        Rule::Signature
    };
    Some((at, rule))
}
