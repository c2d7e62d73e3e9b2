use std::fmt::Write;

use crate::secret::Secret;
use crate::yaml::{Node, Resolved, format_float};

/// What SOPS says a sealed value is: the `type:` of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text.
    Str,
    /// A whole number.
    Int,
    /// Any other number.
    Float,
    /// A truth value.
    Bool,
    /// A date or a date and time (sops 3.10 and later).
    Time,
    /// A comment, which no MAC covers.
    Comment,
}

impl Kind {
    /// Returns the word in the token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Time => "time",
            Self::Comment => "comment",
        }
    }

    /// Reads the word in a token; `bytes`, which old versions wrote, is text.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "str" | "bytes" => Self::Str,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "time" => Self::Time,
            "comment" => Self::Comment,
            _ => return None,
        })
    }
}

/// A value as SOPS hashes and seals it: its kind and the bytes that Go writes for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    kind: Kind,
    text: Secret<String>,
}

impl Value {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: Secret::new(text.into()) }
    }

    /// Makes a string.
    pub fn string(text: impl Into<String>) -> Self {
        Self::new(Kind::Str, text)
    }

    /// Makes a whole number.
    pub fn int(value: i64) -> Self {
        Self::new(Kind::Int, value.to_string())
    }

    /// Makes a number.
    pub fn float(value: f64) -> Self {
        Self::new(Kind::Float, format_float(value))
    }

    /// Makes a truth value.
    pub fn bool(value: bool) -> Self {
        Self::new(Kind::Bool, if value { "True" } else { "False" })
    }

    /// Returns what the value is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the bytes that are sealed and hashed.
    pub(super) fn text(&self) -> &str {
        self.text.expose()
    }

    /// Returns whether nothing is there to seal: SOPS leaves an empty string as it is.
    pub(super) fn is_blank(&self) -> bool {
        self.text().is_empty()
    }

    /// Brings the bytes behind a token into the form that Go would give them; [`None`] if they are not of that kind.
    pub(super) fn decoded(kind: Kind, text: String) -> Option<Self> {
        Some(match kind {
            Kind::Str | Kind::Comment | Kind::Time => Self::new(kind, text),
            Kind::Int => Self::int(text.parse().ok()?),
            Kind::Float => Self::float(text.parse().ok()?),
            // `strconv.ParseBool`
            Kind::Bool => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Self::bool(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Self::bool(false),
                _ => return None,
            },
        })
    }

    /// Returns the value as a YAML scalar in `{…}` or `[…]`, or on a line that goes on behind it.
    pub(super) fn to_flow(&self) -> String {
        match self.kind {
            Kind::Str | Kind::Comment => quoted(self.text()),
            Kind::Time if self.text().is_empty() => quoted(""),
            Kind::Int | Kind::Time => self.text().to_owned(),
            Kind::Bool => self.text().to_ascii_lowercase(),
            Kind::Float => match self.text() {
                "NaN" => ".nan".to_owned(),
                "+Inf" => ".inf".to_owned(),
                "-Inf" => "-.inf".to_owned(),
                // A float without a point would come back as a whole number.
                digits if digits.contains('.') => digits.to_owned(),
                digits => format!("{digits}.0"),
            },
        }
    }

    /// Returns the value as a YAML scalar; the lines of a block scalar stand at `column`.
    pub(super) fn to_block(&self, column: usize) -> String {
        match self.kind {
            Kind::Str => crate::yaml::scalar(self.text(), column),
            Kind::Int | Kind::Float | Kind::Bool | Kind::Time | Kind::Comment => self.to_flow(),
        }
    }
}

/// What stands at the end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Null, `{}` or `[]`: SOPS neither hashes nor seals it.
    Nothing(&'static str),
    /// A value.
    Value(Value),
}

/// Why a scalar is not one that SOPS can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsupported {
    /// A number above 2^63 - 1: sops says `unknown type: uint64`.
    Unsigned,
    /// A tag that changes what the scalar is, such as `!!binary`.
    Tag,
}

impl Content {
    /// Finds what a scalar or empty collection holds.
    pub(super) fn of(node: &Node) -> Result<Self, Unsupported> {
        let Some(resolved) = node.resolved() else {
            return Ok(Self::Nothing(if node.is_mapping() { "{}" } else { "[]" }));
        };
        let tag = node
            .tag
            .as_deref()
            .map(|tag| tag.trim_start_matches("tag:yaml.org,2002:").trim_start_matches("!!"));
        if !matches!(tag, None | Some("str" | "int" | "float" | "bool" | "null")) {
            return Err(Unsupported::Tag);
        }
        Ok(match (resolved, &node.value) {
            (Resolved::Bool(value), _) => Self::Value(Value::bool(value)),
            (Resolved::Int(value), _) => Self::Value(Value::int(value)),
            (Resolved::Unsigned(_), _) => return Err(Unsupported::Unsigned),
            (Resolved::Float(value), _) => Self::Value(Value::float(value)),
            (Resolved::Timestamp(text), _) => Self::Value(Value::new(Kind::Time, text)),
            (Resolved::String, crate::yaml::Value::Scalar(scalar)) => {
                Self::Value(Value::string(scalar.text.clone()))
            }
            (Resolved::Null | Resolved::String, _) => Self::Nothing("null"),
        })
    }

    /// Returns the value, if there is one.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Nothing(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// Writes a string in `"…"`, in a form that is JSON and that every YAML reader takes.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // YAML 1.1 takes these for line breaks or refuses them.
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_gos() {
        assert_eq!(Value::bool(true).text(), "True");
        assert_eq!(Value::float(1e21).text(), "1000000000000000000000");
        assert_eq!(Value::float(1.0).to_block(0), "1.0");
        assert_eq!(Value::decoded(Kind::Bool, "t".into()), Some(Value::bool(true)));
        assert_eq!(Value::decoded(Kind::Int, "x".into()), None);
        assert_eq!(Value::string("a\nb\u{2028}").to_flow(), "\"a\\nb\\u2028\"");
    }

    #[test]
    fn debug_shows_no_text() {
        assert_eq!(format!("{:?}", Value::string("hunter2")), "Value { kind: Str, text: [REDACTED] }");
    }
}
