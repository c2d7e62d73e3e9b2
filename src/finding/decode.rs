use std::ops::Range;
use std::time::Duration;

use super::code::Code;
use super::excerpt::may_name_a_secret;
use super::problem::{Problems, did_you_mean};
use super::unknown::UnknownKeys;
use crate::yaml::{Entry, Node};

/// Fields by the names that other tools have for them.
const MEANT: [(&str, &str); 9] = [
    ("auth", "credentials"),
    ("login", "credentials"),
    ("username", "credentials"),
    ("password", "credentials"),
    ("endpoint", "url"),
    ("endpoints", "url"),
    ("address", "url"),
    ("mirror", "via"),
    ("skipFallback", "fallback"),
];

/// Reads typed values out of a tree and keeps every problem it meets, so that all are told at once.
pub(crate) struct Decoder<'a, 'e> {
    pub(crate) problems: Problems<'a>,
    /// Looks up environment variables that the file names for values that are no secrets.
    pub(crate) env: &'e dyn Fn(&str) -> Option<String>,
    /// Names that the file defines and may use in other places; an inventory's mirrors.
    pub(crate) names: Vec<String>,
    /// What the file is called where a message means all of it.
    pub(crate) noun: &'static str,
}

/// A mapping whose keys have been checked.
#[derive(Clone)]
pub(crate) struct Fields<'n> {
    node: Option<&'n Node>,
    pub(crate) path: String,
    pub(crate) span: Range<usize>,
}

impl<'n> Fields<'n> {
    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.node.and_then(|node| node.entry(key))
    }

    /// Returns a key's value unless it is left out or null.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    /// Points problems of the mapping as a whole at its key.
    pub(crate) fn named_at(mut self, key_span: &Range<usize>) -> Self {
        self.span = key_span.clone();
        self
    }

    pub(crate) fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// Returns how a word that stands alone is written where a list is wanted.
fn one_as_list(node: &Node, path: &str) -> Option<String> {
    let is_plain = |text: &&str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'))
    };
    let word = node.as_str().filter(is_plain).filter(|_| !may_name_a_secret(path))?;
    Some(format!("write `[{word}]`"))
}

/// Returns the path of a key below another; keys with dots are quoted.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

impl Decoder<'_, '_> {
    /// Takes a mapping apart; unknown keys and anything that is not a mapping are problems.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Fields<'n> {
        let mut fields = Fields { node: Some(node), path: path.to_owned(), span: node.span.clone() };
        if node.is_null() {
            fields.node = None;
        } else if !node.is_mapping() {
            self.wrong_type(node, path, "a mapping");
            fields.node = None;
        }
        let unknown = |entry: &&Entry| !known.contains(&entry.key.as_str()) && !entry.key.starts_with("x-");
        let meant = |key: &str| {
            let meant = || MEANT.iter().find(|(word, field)| *word == key && known.contains(field));
            did_you_mean(key, known.iter().copied()).or_else(|| meant().map(|(_, field)| *field))
        };
        let unknown = UnknownKeys::new(node.entries().iter().filter(unknown), meant);
        for (entry, near) in unknown.shown {
            let place = self.place(path);
            let problem = self.problems.add(
                Code::UnknownField,
                &entry.key_span,
                join(path, &entry.key),
                format!("unknown field `{}` in {place}", entry.key),
            );
            problem.help = Some(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            });
        }
        if let Some((entry, more)) = unknown.rest {
            let message = format!("and {more} more unknown fields");
            self.problems.add(Code::UnknownField, &entry.key_span, join(path, &entry.key), message);
        }
        fields
    }

    /// Returns what a message calls the value at a path.
    fn place(&self, path: &str) -> String {
        if path.is_empty() { self.noun.to_owned() } else { format!("`{path}`") }
    }

    pub(crate) fn wrong_type(&mut self, node: &Node, path: &str, wanted: &str) {
        let place = self.place(path);
        let message = format!("{place} takes {wanted}, not {}", node.kind());
        let quotes = wanted == "a string" && matches!(node.kind(), "a number" | "a truth value");
        // Lines of a list that a line without its `- ` stands before are text that goes on.
        let takes_list =
            wanted.starts_with("a list") || path == "registries" || path.ends_with(".registries");
        let list = node.as_str().filter(|_| takes_list).and_then(|text| text.split_once(" - "));
        self.problems.add(Code::WrongType, &node.span, path, message).help = match list {
            Some((first, _)) if !may_name_a_secret(path) && !may_name_a_secret(first) => {
                Some(format!("write `- {first}`: every item of a list begins with `- `"))
            }
            Some(_) => Some("every item of a list begins with `- `".to_owned()),
            None if wanted == "a list" => one_as_list(node, path),
            None => quotes.then(|| "put it in quotes".to_owned()),
        };
    }

    pub(crate) fn string(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let node = fields.get(key)?;
        self.text(node, &fields.at(key))
    }

    /// Reads a string; numbers and truth values are told to stand in quotes.
    pub(crate) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        if let Some(text) = node.as_str() {
            return Some(text.to_owned());
        }
        self.wrong_type(node, path, "a string");
        None
    }

    pub(crate) fn boolean(&mut self, fields: &Fields<'_>, key: &str) -> Option<bool> {
        let node = fields.get(key)?;
        let value = node.as_bool();
        if value.is_none() {
            self.wrong_type(node, &fields.at(key), "true or false");
        }
        value
    }

    pub(crate) fn count(&mut self, fields: &Fields<'_>, key: &str) -> Option<usize> {
        let node = fields.get(key)?;
        match node.resolved() {
            Some(crate::yaml::Resolved::Int(value)) if value >= 0 => usize::try_from(value).ok(),
            _ => {
                self.wrong_type(node, &fields.at(key), "a whole number");
                None
            }
        }
    }

    /// Reads one of a few words.
    pub(crate) fn word(&mut self, fields: &Fields<'_>, key: &str, words: &[&str]) -> Option<String> {
        let node = fields.get(key)?;
        let path = fields.at(key);
        let text = self.text(node, &path)?;
        if words.contains(&text.as_str()) {
            return Some(text);
        }
        let near = did_you_mean(&text, words.iter().copied());
        let problem = self.problems.add(
            Code::WrongType,
            &node.span,
            path.clone(),
            format!("`{path}` is one of {}, not `{text}`", words.join(", ")),
        );
        problem.help = near.map(|near| format!("did you mean `{near}`?"));
        None
    }

    /// Reads a list of strings, each with its node.
    pub(crate) fn strings<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<Vec<(String, &'n Node)>> {
        let node = fields.get(key)?;
        let path = fields.at(key);
        if !node.is_sequence() {
            self.wrong_type(node, &path, "a list");
            return None;
        }
        let items = node.items().iter().enumerate();
        Some(
            items.filter_map(|(at, item)| Some((self.text(item, &format!("{path}[{at}]"))?, item))).collect(),
        )
    }

    /// Reads a duration such as `30s` or `5m`.
    pub(crate) fn duration(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        let node = fields.get(key)?;
        let parsed = node.as_str().and_then(|text| text.parse::<jiff::SignedDuration>().ok());
        let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
        if parsed.is_none() {
            self.wrong_type(node, &fields.at(key), "a duration such as 30s or 5m");
        }
        parsed
    }

    /// Reads a value that may stand in the environment: `text` or `{env: NAME}`.
    pub(crate) fn text_or_env(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let node = fields.get(key)?;
        let path = fields.at(key);
        if !node.is_mapping() {
            return self.text(node, &path);
        }
        let reference = self.fields(node, &path, &["env"]);
        let Some(name) = self.string(&reference, "env") else {
            self.missing(&reference, "env", "the variable's name");
            return None;
        };
        let value = (self.env)(&name);
        if value.is_none() {
            self.problems
                .add(
                    Code::MissingField,
                    &node.span,
                    path.clone(),
                    format!("environment variable `{name}` is not set"),
                )
                .help = Some(format!("set it, or write the value to `{path}`"));
        }
        value
    }

    pub(crate) fn missing(&mut self, fields: &Fields<'_>, key: &str, what: &str) {
        let at = fields.at(key);
        self.problems.add(Code::MissingField, &fields.span, at.clone(), format!("`{at}` is missing: {what}"));
    }
}
