use serde_json::Value;

/// Returns an index of referrers with those of one artifact type only; [`None`] if it is not an index.
///
/// What else the index says stays, so that a client sees the same list that the registry would have filtered
/// (OCI distribution-spec 1.1, "Listing Referrers").
pub fn filter_referrers(index: &[u8], artifact_type: &str) -> Option<Vec<u8>> {
    let mut index: Value = serde_json::from_slice(index).ok()?;
    let manifests = index.get_mut("manifests")?.as_array_mut()?;
    manifests.retain(|manifest| manifest.get("artifactType").and_then(Value::as_str) == Some(artifact_type));
    serde_json::to_vec(&index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_type_stays() {
        let index = br#"{"schemaVersion":2,"manifests":[{"artifactType":"a/b","size":1},{"size":2},{"artifactType":"c/d"}],"x":1}"#;
        let filtered = |wanted: &str| String::from_utf8(filter_referrers(index, wanted).unwrap()).unwrap();
        assert_eq!(
            filtered("a/b"),
            r#"{"schemaVersion":2,"manifests":[{"artifactType":"a/b","size":1}],"x":1}"#
        );
        assert_eq!(filtered("e/f"), r#"{"schemaVersion":2,"manifests":[],"x":1}"#);
        for bad in ["", "{}", r#"{"manifests":1}"#] {
            assert_eq!(filter_referrers(bad.as_bytes(), "a"), None);
        }
    }
}
