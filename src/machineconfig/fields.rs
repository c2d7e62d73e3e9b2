use crate::finding::{Code, Problems, UnknownKeys, did_you_mean};
use crate::yaml::{Node, Resolved, Value};

/// Takes typed values out of a tree as Talos' decoder does, and reports what it would refuse.
#[derive(Debug)]
pub struct Fields<'p, 'a> {
    /// Where findings go.
    pub problems: &'p mut Problems<'a>,
    /// Whether something was there that the result does not hold.
    pub lossy: bool,
}

impl<'p, 'a> Fields<'p, 'a> {
    /// Starts with nothing lost.
    pub fn new(problems: &'p mut Problems<'a>) -> Self {
        Self { problems, lossy: false }
    }

    /// Reports a value of another type than the field takes.
    pub fn wrong_type(&mut self, node: &Node, path: &str, wanted: &str) {
        self.lossy = true;
        let message = format!("found {} where {wanted} belongs", node.kind());
        self.problems.add(Code::WrongType, &node.span, path, message);
    }

    /// Reports the keys that are not known; Talos refuses the whole config for one of them.
    pub fn known(&mut self, node: &Node, path: &str, known: &[&str]) {
        // A `$patch` is told where it is looked for.
        let known = [known, &["$patch"]].concat();
        let unknown = node.entries().iter().filter(|entry| !known.contains(&entry.key.as_str()));
        let unknown = UnknownKeys::new(unknown, |key| did_you_mean(key, known.iter().copied()));
        for (entry, near) in unknown.shown {
            self.lossy = true;
            let message = format!("unknown field `{}`", entry.key);
            let problem = self.problems.add(Code::UnknownField, &entry.key_span, path, message);
            problem.reason = Some("Talos refuses a config with an unknown field".to_owned());
            problem.help = near.map(|near| format!("did you mean `{near}`?"));
        }
        if let Some((entry, more)) = unknown.rest {
            let message = format!("and {more} more unknown fields");
            self.problems.add(Code::UnknownField, &entry.key_span, path, message);
        }
    }

    /// Returns a mapping's node; null counts as an empty one where that is allowed.
    pub fn mapping<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n Node> {
        if node.is_mapping() {
            return Some(node);
        }
        self.wrong_type(node, path, "a mapping");
        None
    }

    /// Returns the items of a list; null is an empty one.
    pub fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        if !node.is_sequence() && !node.is_null() {
            self.wrong_type(node, path, "a list");
        }
        node.items()
    }

    /// Returns a scalar's text; numbers and truth values count by their text, as in Go, and null is absence.
    pub fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Scalar(_) if node.is_null() => None,
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            Value::Sequence { .. } | Value::Mapping { .. } => {
                self.wrong_type(node, path, "a string");
                None
            }
        }
    }

    /// Returns a field's text; an empty one is absence, as everywhere in Talos.
    pub fn field(&mut self, node: &Node, key: &str, path: &str) -> Option<String> {
        let node = node.get(key)?;
        self.text(node, &format!("{path}.{key}")).filter(|text| !text.is_empty())
    }

    /// Returns a truth value, also in the words of YAML 1.1, which yaml.v3 takes for a `bool`.
    pub fn flag(&mut self, node: &Node, key: &str, path: &str) -> bool {
        let Some(node) = node.get(key) else { return false };
        let word = match (node.resolved(), &node.value) {
            (Some(Resolved::Bool(value)), _) => return value,
            (Some(Resolved::Null), _) => return false,
            (Some(Resolved::String), Value::Scalar(scalar)) => scalar.text.as_str(),
            _ => "",
        };
        match word {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
            _ => {
                self.wrong_type(node, &format!("{path}.{key}"), "true or false");
                false
            }
        }
    }
}
