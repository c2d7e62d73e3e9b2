use serde_json::Value;

use super::resolve::{Resolved, resolve};
use super::scalar::Style;

/// Spaces a level, 2 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indent(usize);

impl Indent {
    /// Takes a step as SOPS' `stores.yaml.indent` does: 2 to 9, anything else counts as 2.
    pub fn new(step: usize) -> Self {
        Self(if (2..=9).contains(&step) { step } else { 2 })
    }

    /// Returns the column of the children of a mapping or list at `column` (Go's yaml.v3, `emitterc.go`).
    pub fn below(self, column: usize) -> usize {
        self.0 * ((column + self.0) / self.0)
    }
}

/// Four spaces: what SOPS and Talos write.
impl Default for Indent {
    fn default() -> Self {
        Self(4)
    }
}

/// Writes a tree as Go's yaml.v3 would, so that `sops set` on the result changes no other line.
pub fn emit(value: &Value, indent: Indent) -> String {
    let mut out = String::new();
    push(&mut out, value, indent);
    out
}

fn push(out: &mut String, value: &Value, indent: Indent) {
    match value {
        Value::Object(map) if !map.is_empty() => entries(out, map, 0, indent, false),
        Value::Array(items) if !items.is_empty() => list(out, items, 0, indent, false),
        other => {
            push_leaf(out, other, 0);
            out.push('\n');
        }
    }
}

/// Writes several documents with `---` between them.
pub fn emit_stream(documents: &[Value], indent: Indent) -> String {
    let mut out = String::new();
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            out.push_str("---\n");
        }
        push(&mut out, document, indent);
    }
    out
}

fn pad(out: &mut String, column: usize) {
    const BLANKS: &str = "                                                                ";
    match BLANKS.get(..column) {
        Some(blanks) => out.push_str(blanks),
        None => out.extend(std::iter::repeat_n(' ', column)),
    }
}

fn entries(
    out: &mut String,
    map: &serde_json::Map<String, Value>,
    column: usize,
    indent: Indent,
    mut same_line: bool,
) {
    for (key, value) in map {
        if !std::mem::take(&mut same_line) {
            pad(out, column);
        }
        push_simple(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                entries(out, map, indent.below(column), indent, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                list(out, items, indent.below(column), indent, false);
            }
            other => {
                out.push(' ');
                push_leaf(out, other, indent.below(column));
                out.push('\n');
            }
        }
    }
}

fn list(out: &mut String, items: &[Value], column: usize, indent: Indent, mut same_line: bool) {
    for item in items {
        if !std::mem::take(&mut same_line) {
            pad(out, column);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => entries(out, map, column + 2, indent, true),
            Value::Array(items) if !items.is_empty() => list(out, items, column + 2, indent, true),
            other => {
                push_leaf(out, other, column + 2);
                out.push('\n');
            }
        }
    }
}

fn push_leaf(out: &mut String, value: &Value, column: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) if text.contains('\n') => out.push_str(&scalar(text, column)),
        Value::String(text) => push_simple(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Writes a string on one line; names and URLs, which are most of what is written, need no closer look.
fn push_simple(out: &mut String, text: &str) {
    if is_plainly_plain(text) { out.push_str(text) } else { out.push_str(&simple(text)) }
}

/// Returns whether a text is longer than any word with a meaning of its own, begins with a letter, and holds nothing
/// that YAML looks at.
fn is_plainly_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let safe = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'-' | b'_' | b':');
    bytes.len() > 5
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(safe)
        && !text.ends_with(':')
}

/// Writes a string so that it reads back as that string, choosing the style that Go's yaml.v3 chooses.
///
/// `column` is where the lines of a block scalar stand. The result has no line break at its end.
pub fn scalar(text: &str, column: usize) -> String {
    if !text.contains('\n') {
        return simple(text);
    }
    if Shape::of(text).literal { literal(text, column) } else { double_quoted(text) }
}

/// Writes a string on one line.
fn simple(text: &str) -> String {
    if resolve(text, Style::Plain, None) != Resolved::String
        || is_old_bool(text)
        || is_base60(text)
        || text == "<<"
    {
        return double_quoted(text);
    }
    let shape = Shape::of(text);
    if text.contains('\n') {
        double_quoted(text) // a key: block scalars cannot be one
    } else if shape.plain {
        text.to_owned()
    } else if shape.single_quoted {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        double_quoted(text)
    }
}

fn literal(text: &str, column: usize) -> String {
    let mut out = String::from("|");
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(body) if body.is_empty() || body.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(&mut out, column);
            out.push_str(line);
        }
    }
    out
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{a0}' => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// `is_printable` of yaml.v3's `yamlprivateh.go`: nothing beyond the basic plane, no byte order mark; nor U+2028 and
/// U+2029, which yaml.v3 writes as they are and reads as line breaks.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// The styles a text may take: `yaml_emitter_analyze_scalar` of yaml.v3's `emitterc.go`, outside flow collections.
struct Shape {
    plain: bool,
    single_quoted: bool,
    literal: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let (mut indicators, mut special, mut space_break, mut tab) = (false, false, false, false);
        indicators |= text.starts_with("---") || text.starts_with("...");
        let mut chars = text.chars().peekable();
        let (mut first, mut after_space) = (true, true);
        while let Some(c) = chars.next() {
            let before_blank = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t' | '\n' | '\r'));
            indicators |= match c {
                '#' if first || after_space => true,
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    first
                }
                '?' | '-' => first && before_blank,
                ':' => before_blank,
                _ => false,
            };
            tab |= c == '\t';
            special |= c != '\t' && !is_printable(c);
            space_break |= c == '\n' && after_space && !first;
            after_space = matches!(c, ' ' | '\t');
            first = false;
        }
        let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        let awkward = special || space_break || tab;
        Self {
            plain: !indicators && !edges && !awkward && !text.is_empty() && !text.contains('\n'),
            single_quoted: !awkward,
            // yaml.v3 would write an indentation hint here that is wrong below a list: SOPS cannot read it back.
            literal: !special && !space_break && !text.starts_with([' ', '\n']),
        }
    }
}

fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
    )
}

/// yaml.v3's `isBase60Float`: what YAML 1.1 reads as a number in base 60, such as `1:30`.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let Some(head) = parts.next() else { return false };
    if !head.starts_with(|c: char| c.is_ascii_digit()) || !digits(head) || !text.contains(':') {
        return false;
    }
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let part = match (parts.peek(), part.split_once('.')) {
            (None, Some((part, fraction))) if digits(fraction) => part,
            (None | Some(_), _) => part,
        };
        let sexagesimal = match part.as_bytes() {
            [a] => a.is_ascii_digit(),
            [a, b] => matches!(a, b'0'..=b'5') && b.is_ascii_digit(),
            _ => false,
        };
        if !sexagesimal {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::yaml::{Node, parse_one};

    #[test]
    fn layout_is_gos() {
        let tree = json!({
            "machine": {"registries": {"mirrors": {"*": {"endpoints": ["http://a:5000", "https://b"]}}}},
            "list": [{"name": "x", "sub": {"k": 1}, "empty": []}, ["a", "b"], "|"],
            "ca": "-----BEGIN\nxx\n", "strip": "a\nb", "keep": "a\n\n",
        });
        let want = "\
machine:
    registries:
        mirrors:
            '*':
                endpoints:
                    - http://a:5000
                    - https://b
list:
    - name: x
      sub:
        k: 1
      empty: []
    - - a
      - b
    - '|'
ca: |
    -----BEGIN
    xx
strip: |-
    a
    b
keep: |+
    a

";
        assert_eq!(emit(&tree, Indent::default()), want);
    }

    #[test]
    fn quotes_what_another_reader_would_change() {
        for (text, want) in [
            ("yes", "\"yes\""),
            ("1:30", "\"1:30\""),
            ("007", "\"007\""),
            ("1_000", "\"1_000\""),
            ("2024-01-02", "\"2024-01-02\""),
            ("", "\"\""),
            ("null", "\"null\""),
            ("a\u{2028}b", "\"a\\Lb\""),
            ("<<", "\"<<\""),
            ("robot$proxy-cache", "robot$proxy-cache"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("it's", "it's"),
            ("'x", "'''x'"),
            ("*", "'*'"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("a\tb", "\"a\\tb\""),
            ("\u{1F511}", "\"\\U0001F511\""),
            ("tail ", "'tail '"),
        ] {
            assert_eq!(scalar(text, 4), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_string_reads_back(text in "(\\PC|[ \\n\\t:#'\"-]){0,40}", step in 2usize..5) {
            let tree = json!({ "a": { "k": text, "l": [text, {"m": text}] }, text.clone(): 1 });
            let out = emit(&tree, Indent::new(step));
            let back = parse_one(&out).map(|doc| Node::to_json(&doc.root));
            prop_assert_eq!(back.map_err(|e| e.to_string()), Ok(tree), "{}", out);
        }
    }
}
