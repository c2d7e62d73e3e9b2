use serde::Serialize;
use serde_json::Value;

/// A result that scripts read, with its kind in front.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    result: &'a T,
}

/// Returns a result as the object that scripts read.
pub(super) fn object(kind: &'static str, result: &impl Serialize) -> Value {
    // A result is made of own types, all of which have a form in JSON.
    serde_json::to_value(Record { api_version: "talmirror/v1", kind, result }).unwrap_or_default()
}
