use std::collections::BTreeMap;

use crate::finding::{Code, Problem};
use crate::secret::Secret;
use crate::yaml::{LineIndex, Node, ParseError, Stream, Value, parse, parse_one};

use super::fillable::{MARK, fillable};
use super::place::At;

/// The files that talhelper takes variables of, beside its config; what a later one says counts
/// (`cmd/genconfig.go`, `--env-file`).
pub const TALENV_FILES: [&str; 4] = ["talenv.yaml", "talenv.sops.yaml", "talenv.yml", "talenv.sops.yml"];

/// A variable of a talenv file.
#[derive(Clone, Debug)]
pub struct Variable {
    /// What it is filled in with.
    pub value: Secret<String>,
    /// The file that gives it.
    pub file: String,
    /// Whether that file is encrypted.
    pub sealed: bool,
}

/// Reads the variables of a talenv file, decrypted; they take the place of those that are there.
pub fn read_variables(text: &str, file: &str, sealed: bool, into: &mut BTreeMap<String, Variable>) {
    let mut add = |name: &str, value: &str| {
        let variable = Variable { value: Secret::from(value), file: file.to_owned(), sealed };
        into.insert(name.to_owned(), variable);
    };
    if let Ok(document) = parse_one(text)
        && document.root.is_mapping()
    {
        for entry in document.root.entries() {
            if let Value::Scalar(scalar) = &entry.value.value {
                add(&entry.key, &scalar.text);
            }
        }
        return;
    }
    // talhelper reads them as a file of an environment: `NAME=value` is as good.
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        if let Some((name, value)) = line.split_once('=') {
            let value = value.trim();
            let inner = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
            add(name.trim(), inner('"').or_else(|| inner('\'')).unwrap_or(value));
        }
    }
}

/// Fills variables in, as talhelper does before it reads a file. Secrets stay references, and so do names of users that
/// are encrypted, and all in comments; what of an encrypted file stands in the open then is told.
pub(super) fn fill(
    text: &str,
    file: &str,
    variables: &BTreeMap<String, Variable>,
    told: &mut Vec<Problem>,
) -> String {
    let lines = LineIndex::new(text);
    let all: Vec<(usize, usize, &str)> = occurrences(text).collect();
    let parts = fillable(&with_words(text, &all));
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (at, length, name) in all {
        let Some(variable) = variables.get(name).filter(|variable| is_one_value(variable)) else { continue };
        let before = parts.partition_point(|part| part.span.start <= at);
        let part = before.checked_sub(1).and_then(|index| parts.get(index));
        if !part.is_some_and(|part| part.span.contains(&at) && !(part.is_user && variable.sealed)) {
            continue;
        }
        out.push_str(text.get(done..at).unwrap_or_default());
        out.push_str(variable.value.expose());
        done = at + length;
        if variable.sealed {
            let position = lines.position(at);
            told.push(Problem {
                code: Code::Reference,
                file: file.to_owned(),
                position,
                path: At::top(file).path,
                message: format!("`{name}` is of `{}`, which is encrypted", variable.file),
                reason: None,
                help: Some(
                    "its value stands in the inventory in clear: encrypt that, or write another name"
                        .to_owned(),
                ),
                excerpt: None,
            });
        }
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// Parses a text in which variables are still to be filled in: in `{password: ${P}}` the braces are no YAML.
pub(super) fn parse_unfilled(text: &str) -> Result<Stream, ParseError> {
    parse(text).or_else(|error| {
        let mut unused = b"~^;=+()<>?!".iter().map(|byte| char::from(*byte)).filter(|c| !text.contains(*c));
        let (Some(open), Some(close)) = (unused.next(), unused.next()) else { return Err(error) };
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for (at, length, _) in occurrences(text) {
            masked.push_str(text.get(done..at).unwrap_or_default());
            done = at + length;
            let name = text.get(at..done).unwrap_or_default();
            masked.push_str(&name.replacen("${", &format!("${open}"), 1).replace('}', &close.to_string()));
        }
        masked.push_str(text.get(done..).unwrap_or_default());
        let mut stream = parse(&masked).map_err(|_| error)?;
        let back = |text: &mut String| {
            if text.contains([open, close]) {
                *text = text.replace(open, "{").replace(close, "}");
            }
        };
        for document in &mut stream.documents {
            texts(&mut document.root, &back);
            document.comments.iter_mut().for_each(|comment| back(&mut comment.text));
        }
        Ok(stream)
    })
}

/// Changes every text of a tree.
fn texts(node: &mut Node, change: &impl Fn(&mut String)) {
    match &mut node.value {
        Value::Scalar(scalar) => change(&mut scalar.text),
        Value::Sequence { items, .. } => items.iter_mut().for_each(|item| texts(item, change)),
        Value::Mapping { entries, .. } => {
            for entry in entries {
                change(&mut entry.key);
                texts(&mut entry.value, change);
            }
        }
    }
}

/// An empty one is an error to talhelper; one of several lines would move what is below, and one with keys of its own may
/// hold a secret.
fn is_one_value(variable: &Variable) -> bool {
    let value = variable.value.expose();
    !value.is_empty() && !value.contains(['\n', '\r', '{', '[']) && !value.contains(": ")
}

/// Returns where variables stand in a text, how long they are, and their names.
fn occurrences(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let mut done = 0;
    text.match_indices('$').filter_map(move |(at, _)| {
        let (length, name) = text.get(at..).filter(|_| at >= done).and_then(variable)?;
        done = at + length;
        Some((at, length, name))
    })
}

/// Returns a text of the same length in which variables are plain words that begin with the mark: what stands there after
/// they are filled in can be read as YAML before they are.
fn with_words(text: &str, variables: &[(usize, usize, &str)]) -> String {
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (at, length, _) in variables {
        out.push_str(text.get(done..*at).unwrap_or_default());
        out.push(MARK);
        let rest = text.get(at + MARK.len_utf8()..at + length).unwrap_or_default();
        out.extend(
            rest.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '_' }),
        );
        done = at + length;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// Returns the length and the name of the variable that a text begins with: `$NAME`, `${NAME}`, `${NAME:-default}`.
fn variable(text: &str) -> Option<(usize, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = text.strip_prefix('$')?;
    let braced = rest.strip_prefix('{');
    let rest = braced.unwrap_or(rest);
    let name = rest.get(..rest.find(|c| !is_name(c)).unwrap_or(rest.len()))?;
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if braced.is_none() {
        return Some((1 + name.len(), name));
    }
    let after = rest.get(name.len()..)?;
    // What stands for a variable that is not set is nothing to one that is; `+` takes another text then.
    let default = [":-", "-", ":=", "="].into_iter().any(|sign| after.starts_with(sign));
    let end = if default { after.find('}')? } else { after.starts_with('}').then_some(0)? };
    Some((2 + name.len() + end + 1, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, Variable> {
        let mut variables = BTreeMap::new();
        read_variables(
            "HOST: m.example\nU: user\nP: s3cr3t\nPORT: 5000\nMAP: '{password: s3cr3t}'\n",
            "talenv.yaml",
            false,
            &mut variables,
        );
        read_variables("---\nDOMAIN: hidden.example\n", "talenv.sops.yaml", true, &mut variables);
        read_variables(
            "# no YAML: [\nexport HOST=\"last.example\"\nU='u'\n",
            "talenv.yml",
            false,
            &mut variables,
        );
        variables
    }

    #[test]
    fn variables_in_braces_are_read_before_they_are_filled_in() {
        let text = "a: {b: ${P}, ${K}: [x${P:-d}y, ${Q}]} # ${P}\nc: ~\nd: 'a^b'\n";
        assert!(parse(text).is_err());
        let stream = parse_unfilled(text).unwrap();
        let root = &stream.documents[0].root;
        assert_eq!(root.at(&["a", "b"]).unwrap().as_str(), Some("${P}"));
        let list = root.at(&["a", "${K}"]).unwrap();
        assert_eq!(list.items().iter().filter_map(Node::as_str).collect::<Vec<_>>(), ["x${P:-d}y", "${Q}"]);
        assert_eq!(&text[list.items()[1].span.clone()], "${Q}");
        assert!(root.get("c").unwrap().is_null());
        assert_eq!(root.get("d").unwrap().as_str(), Some("a^b"));
        assert_eq!(stream.documents[0].comments[0].text, " ${P}");
        for broken in ["a: {b: ${P}\n", "a: {b: {{ x }}}\n", "a: [${P\n"] {
            assert_eq!(parse_unfilled(broken).unwrap_err(), parse(broken).unwrap_err());
        }
    }

    #[test]
    fn variables_are_filled_in_where_no_secret_stands() {
        let mut told = Vec::new();
        let mut filled = |text: &str| fill(text, "talconfig.yaml", &variables(), &mut told);
        for (text, want) in [
            ("a: https://${HOST}:${PORT}/v2\n", "a: https://last.example:5000/v2\n"),
            ("a: $HOST/x ${HOST:-other} ${HOST-o}\n", "a: last.example/x last.example last.example\n"),
            ("a: ${OTHER} ${HOST+x} ${} $5 \n", "a: ${OTHER} ${HOST+x} ${} $5 \n"),
            ("x: {url: ${HOST}, port: ${PORT}}\n", "x: {url: last.example, port: 5000}\n"),
            ("${HOST}: 1\n'${PORT}': 2\n${NONE}: 3\n", "last.example: 1\n'5000': 2\n${NONE}: 3\n"),
            (
                "p:\n  - |-\n    m: {${HOST}: {e: ['https://${HOST}'], auth: {username: ${U}, password: ${P}}}}\n",
                "p:\n  - |-\n    m: {last.example: {e: ['https://last.example'], auth: {username: u, password: ${P}}}}\n",
            ),
            ("auth: {username: '${U}', password: '${P}'}\n", "auth: {username: 'u', password: '${P}'}\n"),
            ("auth: {password: '${P}', username: '${U}'}\n", "auth: {password: '${P}', username: 'u'}\n"),
            ("username: ${DOMAIN}\n", "username: ${DOMAIN}\n"),
            ("# ${HOST}\n", "# ${HOST}\n"),
            (
                "- op: add\n  path: /machine/registries/config/a.b/auth/password\n  value: ${P}\n",
                "- op: add\n  path: /machine/registries/config/a.b/auth/password\n  value: ${P}\n",
            ),
        ] {
            assert_eq!(filled(text), want);
        }
        for secret in [
            "password: \"${P}-${U}\"\n",
            "password: \"a,b}${P}\"\n",
            "password: password-${P}\n",
            "'password': '${P}'\n",
            "\"password\" : \"${P}\"\n",
            "auth: {'password' : ${P}, x: 1}\n",
            "  password: >-\n    ${P}\n",
            "  password:\n    ${P}\n",
            "  password: |\n    first\n\n    ${P}\n",
            "  password: \"a\n    ${P}\"\n",
            "auth: {auth: '${P}'}\n",
            "auth:\n  auth: ${P}\n",
            "  auth: |-\n    ${P}\n",
            "- op: add\n  path: /machine/registries/config/a.b/auth/auth\n  value: ${P}\n",
            "- op: add\n  path: /machine/registries/config/a.b/auth/password\n  value: >-\n    ${P}\n",
            "- op: add\n  path: /machine/registries/config/a.b/auth\n  value: {password: '${P}'}\n",
            "a: '[{\"op\":\"add\",\"path\":\"/machine/registries/config/a/auth/password\",\"value\":\"${P}\"}]'\n",
            "a:\n- |-\n  auth:\n    'password': \"${P}-${U}\" # ${P}\n",
            "a: \"auth:\\n  password: ${P}\\n\"\n",
            // Named once, and a secret elsewhere; nothing of it can be read; keys of its own; a comment.
            "a: &p ${P}\nauth: {password: *p}\n",
            "a: [${P}\n",
            "a: ${MAP}\n",
            "a: b # ${P}\n",
            "machine:\n  token: ${P}\n",
            "url: https://u:${P}@h.example\n",
        ] {
            assert_eq!(filled(secret), secret);
        }
        assert!(told.is_empty());
        let text = fill("\nurl: https://h.${DOMAIN}\n", "talconfig.yaml", &variables(), &mut told);
        assert_eq!(text, "\nurl: https://h.hidden.example\n");
        assert_eq!((told.len(), told[0].position.line), (1, 2));
        assert!(!format!("{told:?}").contains("hidden.example"));
    }
}
