use serde_json::{Value, json};

use super::hops::Attempt;
use crate::image::Reference;
use crate::inventory::{Inventory, VerificationRule};
use crate::mirror::signature_lookups;

/// Returns the rule that verifies an image, and what is looked up for it at each host, for scripts.
pub(super) fn to_json(inventory: &Inventory, image: &Reference, attempts: &[Attempt]) -> Value {
    let Some(rule) = inventory.verification_rule(image) else { return Value::Null };
    let lookups =
        |attempt: &Attempt| json!({"via": attempt.via, "urls": signature_lookups(&attempt.url, image)});
    let hops: Vec<Value> =
        if rule.method.wants_signatures() { attempts.iter().map(lookups).collect() } else { Vec::new() };
    json!({"rule": rule.image, "method": rule.method.as_str(), "lookups": hops})
}

/// Returns the same in notes for people.
pub(super) fn notes(inventory: &Inventory, image: &Reference, attempts: &[Attempt]) -> Vec<String> {
    let Some(rule) = inventory.verification_rule(image) else { return Vec::new() };
    let VerificationRule { image: pattern, method, .. } = rule;
    let mut notes = vec![format!("image verification: the rule `{pattern}` ({}) matches", method.as_str())];
    if method.wants_signatures() {
        for attempt in attempts {
            let urls = signature_lookups(&attempt.url, image).join(", then ");
            notes.push(format!("signatures at {}: {urls}", attempt.via));
        }
    }
    notes
}
