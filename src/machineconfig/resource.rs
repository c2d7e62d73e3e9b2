use std::borrow::Cow;

use serde_json::Value;

use crate::yaml::{Indent, Node, ParseError, emit, emit_stream, parse};

/// A machine config as `talosctl get machineconfig` prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct LiveConfig {
    /// The node's address, as the output names it.
    pub node: Option<String>,
    /// The config.
    pub text: String,
}

/// Leaves the text out: it holds secrets.
impl std::fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveConfig").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Tells whether a document is a COSI resource that holds a machine config.
pub fn is_resource(root: &Node) -> bool {
    let kind = root.at(&["metadata", "type"]).and_then(Node::as_str);
    root.get("spec").is_some() && kind.is_some_and(|kind| kind.to_lowercase().starts_with("machineconfig"))
}

/// Writes `---` before each JSON object that follows another, as `talosctl get -o json` prints those of several nodes.
///
/// Lines keep their numbers. Any other text is returned as it is.
pub fn separated(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with('{') {
        return Cow::Borrowed(text);
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut ends = Vec::new();
    while let Some(value) = values.next() {
        if value.is_err() {
            return Cow::Borrowed(text);
        }
        ends.push(values.byte_offset());
    }
    ends.pop();
    if ends.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut out, mut from) = (String::with_capacity(text.len() + 5 * ends.len()), 0);
    for end in ends {
        let rest = text.get(end..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        out.push_str(text.get(from..end + blank).unwrap_or_default());
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str("--- ");
        from = end + blank;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// Takes the configs out of what `talosctl get machineconfig -o yaml` or `-o json` prints; none of any other text.
///
/// Of a node's two resources, the active one counts. Where a resource holds its config as a tree (talosctl up to 1.7),
/// the config is written again, and the documents behind it belong to it.
///
/// Fails where the text is not YAML.
pub fn live_configs(text: &str) -> Result<Vec<LiveConfig>, ParseError> {
    if !text.contains("metadata") {
        return Ok(Vec::new()); // most files: not read twice
    }
    let stream = parse(&separated(text))?;
    let mut found: Vec<(LiveConfig, bool)> = Vec::new();
    for document in &stream.documents {
        let root = &document.root;
        if !is_resource(root) {
            if let Some((last, _)) = found.last_mut()
                && !root.is_null()
            {
                last.text = format!("{}---\n{}", last.text, emit(&root.to_json(), Indent::default()));
            }
            continue;
        }
        let node = root.get("node").and_then(Node::as_str).map(str::to_owned);
        let text = match root.get("spec") {
            Some(spec) if spec.is_mapping() => emit_stream(&[spec.to_json()], Indent::default()),
            Some(spec) => spec.as_str().unwrap_or_default().to_owned(),
            None => continue,
        };
        let active = root.at(&["metadata", "id"]).and_then(Node::as_str) == Some("v1alpha1");
        found.push((LiveConfig { node, text }, active));
    }
    let has_active =
        |node: &Option<String>| found.iter().any(|(other, active)| *active && other.node == *node);
    let keep: Vec<bool> = found.iter().map(|(config, active)| *active || !has_active(&config.node)).collect();
    let configs = found.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|((config, _), _)| config);
    Ok(configs.collect())
}

/// Returns a JSON text for a value in braces: on one line, or with each entry on a line of its own from a column on.
pub(super) fn json(value: &Value, lines: Option<(usize, usize, &str)>) -> String {
    let Some((column, step, eol)) = lines else { return value.to_string() };
    let indent = " ".repeat(step);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    let written = serde::Serialize::serialize(value, &mut writer);
    match (written, String::from_utf8(bytes)) {
        (Ok(()), Ok(text)) => text.replace('\n', &format!("{eol}{}", " ".repeat(column))),
        (Err(_), _) | (_, Err(_)) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(node: &str, id: &str, spec: &str) -> String {
        format!(
            "node: {node}\nmetadata:\n    type: MachineConfigs.config.talos.dev\n    id: {id}\nspec: {spec}\n"
        )
    }

    #[test]
    fn configs_of_several_nodes_are_found() {
        let text = [
            resource("10.0.0.2", "persistent", "|\n    machine: {type: init}"),
            resource("10.0.0.2", "v1alpha1", "\"machine:\\n    type: worker\\n\""),
            resource("10.0.0.3", "persistent", "\n    machine:\n        type: controlplane"),
            "kind: RegistryMirrorConfig\nname: a\n".to_owned(),
        ];
        let found = live_configs(&text.join("---\n")).unwrap();
        let of = |at: usize| (found[at].node.as_deref().unwrap(), found[at].text.as_str());
        assert_eq!(found.len(), 2);
        assert_eq!(of(0), ("10.0.0.2", "machine:\n    type: worker\n"));
        assert_eq!(
            of(1),
            ("10.0.0.3", "machine:\n    type: controlplane\n---\nkind: RegistryMirrorConfig\nname: a\n")
        );
        assert_eq!(live_configs("machine: {}\nmetadata: 1\n").unwrap(), []);
    }

    #[test]
    fn json_objects_one_behind_the_other_are_documents() {
        let one = "{\"node\": \"n\", \"metadata\": {\"type\": \"MachineConfigs.config.talos.dev\", \"id\": \"v1alpha1\"},\n \"spec\": \"machine: {}\\n\"}";
        let two = format!("{one}\n{}\n", one.replace("\"n\"", "\"m\""));
        let text = separated(&two);
        assert_eq!(text.matches("\n--- {").count(), 1);
        assert_eq!(text.lines().count(), two.lines().count());
        let found = live_configs(&two).unwrap();
        assert_eq!(found.iter().filter_map(|config| config.node.as_deref()).collect::<Vec<_>>(), ["n", "m"]);
        for same in ["{\"a\": 1}\n", "a: 1\n", "{a: 1}\n", ""] {
            assert_eq!(separated(same), same);
        }
    }
}
