use serde_json::{Value, json};

use super::hops::Attempt;
use crate::image::Reference;
use crate::inventory::{Inventory, VerificationRule};
use crate::mirror::signature_lookups;
use crate::registries::TalosVersion;

/// Returns the rule that verifies an image, and what is looked up for it at each host, for scripts.
pub(super) fn to_json(
    inventory: &Inventory,
    image: &Reference,
    attempts: &[Attempt],
    version: &TalosVersion,
) -> Value {
    let Some(rule) = inventory.verification_rule(image, version) else { return Value::Null };
    let lookups =
        |attempt: &Attempt| json!({"via": attempt.via, "urls": signature_lookups(&attempt.url, image)});
    let hops: Vec<Value> =
        if rule.method.wants_signatures() { attempts.iter().map(lookups).collect() } else { Vec::new() };
    json!({"rule": rule.image, "method": rule.method.as_str(), "lookups": hops})
}

/// Returns the same in notes for people.
pub(super) fn notes(
    inventory: &Inventory,
    image: &Reference,
    attempts: &[Attempt],
    version: &TalosVersion,
) -> Vec<String> {
    let rule = inventory.verification_rule(image, version);
    let meant = inventory.verification_rule(image, &TalosVersion::NEWEST);
    let mut notes = Vec::new();
    if let Some(meant) = meant.filter(|meant| rule.is_none_or(|rule| rule.image != meant.image)) {
        notes.push(format!(
            "image verification: the rule `{}` does not match on Talos {version}, which takes Docker Hub's images for `{}/…`",
            meant.image,
            version.docker_hub_in_rules()
        ));
    }
    let Some(rule) = rule else { return notes };
    let VerificationRule { image: pattern, method, .. } = rule;
    notes.push(format!("image verification: the rule `{pattern}` ({}) matches", method.as_str()));
    if method.wants_signatures() {
        for attempt in attempts {
            let urls = signature_lookups(&attempt.url, image).join(", then ");
            notes.push(format!("signatures at {}: {urls}", attempt.via));
        }
    }
    notes
}
