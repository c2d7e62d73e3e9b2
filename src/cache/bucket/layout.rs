use serde_json::{Value, json};

/// The layout that this version writes and reads.
pub(super) const LAYOUT: u64 = 1;

/// Writes the key that says which layout a bucket has.
pub(super) fn write() -> Vec<u8> {
    let mut text = json!({ "kind": "talmirror-cache", "layout": LAYOUT }).to_string();
    text.push('\n');
    text.into_bytes()
}

/// Reads which layout a bucket has; [`None`] where that key is not of this program.
pub(super) fn read(bytes: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.get("kind").filter(|kind| *kind == "talmirror-cache")?;
    value.get("layout")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(read(&write()), Some(LAYOUT));
        assert_eq!(read(br#"{"kind":"talmirror-cache","layout":2,"since":"0.9"}"#), Some(2));
        for bad in ["", "{}", "1", r#"{"kind":"other","layout":1}"#, r#"{"kind":"talmirror-cache"}"#] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }
}
