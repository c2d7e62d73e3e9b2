use std::collections::BTreeMap;

use crate::finding::{Code, Problem};
use crate::secret::Secret;
use crate::yaml::{LineIndex, Value, parse_one};

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

/// Fills variables in, as talhelper does before it reads a file. Passwords and keys stay references, and so do
/// names of users that are encrypted; what of an encrypted file stands in the open then is told.
pub(super) fn fill(
    text: &str,
    file: &str,
    variables: &BTreeMap<String, Variable>,
    told: &mut Vec<Problem>,
) -> String {
    let lines = LineIndex::new(text);
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices('$') {
        if at < done {
            continue;
        }
        let Some((length, name)) = text.get(at..).and_then(variable) else { continue };
        let Some(variable) = variables.get(name).filter(|variable| stays_in_line(variable)) else { continue };
        if is_comment(text, at) || is_secret_place(text, at, variable.sealed) {
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

/// An empty one is an error to talhelper; one of several lines would move what is below.
fn stays_in_line(variable: &Variable) -> bool {
    let value = variable.value.expose();
    !value.is_empty() && !value.contains(['\n', '\r'])
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

fn is_comment(text: &str, at: usize) -> bool {
    line_before(text, at).trim_start().starts_with('#')
}

fn line_before(text: &str, at: usize) -> &str {
    let head = text.get(..at).unwrap_or_default();
    head.rsplit('\n').next().unwrap_or_default()
}

/// Tells whether a value is a secret by the key before it, or by the path of the operation that it is of.
///
/// In doubt it is one: it then stays a reference.
fn is_secret_place(text: &str, at: usize, sealed: bool) -> bool {
    let line = line_before(text, at);
    let is_value_of = |key: &str| values_of(line, key).any(is_open);
    let is_below = |key: &str| values_of(parent(text, at), key).any(is_block);
    let is_secret = |key: &str| is_value_of(key) || is_below(key);
    // The mapping of that name has secrets and others.
    let is_auth = values_of(line, "auth").any(|value| is_open(value) && !value.contains('{'))
        || values_of(parent(text, at), "auth").any(|value| is_block(value) && !value.trim().is_empty());
    if ["password", "identityToken", "key"].into_iter().any(is_secret)
        || is_auth
        || sealed && is_secret("username")
    {
        return true;
    }
    let around: Vec<&str> = {
        let before = text.get(..at).unwrap_or_default().lines().rev().take(3);
        let after = text.get(at..).unwrap_or_default().lines().take(2);
        before.chain(after).collect()
    };
    let secrets = ["/auth/password", "/auth/identityToken", "/auth/auth"];
    is_secret("value") && around.iter().any(|line| secrets.iter().any(|secret| line.contains(secret)))
}

/// Returns what stands behind a key and its colon, wherever the key stands in a line, quoted or not.
fn values_of<'a>(line: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let key = key.to_owned();
    let starts: Vec<usize> = line.match_indices(&key).map(|(start, _)| start + key.len()).collect();
    starts.into_iter().filter_map(move |start| {
        line.get(start..)?.trim_start_matches(['\'', '"']).trim_start().strip_prefix(':')
    })
}

/// Returns whether a value goes on to the end of a text: a comma or a brace outside quotes and variables ends it.
fn is_open(value: &str) -> bool {
    let (mut quote, mut in_variable, mut before) = (None, false, ' ');
    for c in value.chars() {
        match c {
            '{' if before == '$' => in_variable = true,
            '}' if in_variable => in_variable = false,
            '\'' | '"' if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            ',' | '}' if quote.is_none() && !in_variable => return false,
            _ => {}
        }
        before = c;
    }
    true
}

/// Returns whether a value stands on the lines below its key.
fn is_block(value: &str) -> bool {
    let value = value.trim();
    value.is_empty() || value.starts_with(['|', '>', '"', '\''])
}

/// Returns the nearest line above that is indented less than the one of a place.
fn parent(text: &str, at: usize) -> &str {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let before = text.get(..at).unwrap_or_default();
    let mut above = before.rsplit('\n');
    let own = indent(above.next().unwrap_or_default());
    above.find(|line| !line.trim().is_empty() && indent(line) < own).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, Variable> {
        let mut variables = BTreeMap::new();
        read_variables(
            "HOST: m.example\nU: user\nP: s3cr3t\nPORT: 5000\n",
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
    fn variables_are_filled_in_where_no_secret_stands() {
        let mut told = Vec::new();
        let mut filled = |text: &str| fill(text, "talconfig.yaml", &variables(), &mut told);
        for (text, want) in [
            ("a: https://${HOST}:${PORT}/v2\n", "a: https://last.example:5000/v2\n"),
            ("a: $HOST/x ${HOST:-other} ${HOST-o}\n", "a: last.example/x last.example last.example\n"),
            ("a: ${OTHER} ${HOST+x} ${} $5 \n", "a: ${OTHER} ${HOST+x} ${} $5 \n"),
            ("auth: {username: '${U}', password: '${P}'}\n", "auth: {username: 'u', password: '${P}'}\n"),
            ("auth: {password: '${P}', username: '${U}'}\n", "auth: {password: '${P}', username: 'u'}\n"),
            ("username: ${DOMAIN}\n", "username: ${DOMAIN}\n"),
            ("# ${HOST}\n", "# ${HOST}\n"),
            (
                "- path: /machine/registries/config/a.b/auth/password\n  value: ${P}\n",
                "- path: /machine/registries/config/a.b/auth/password\n  value: ${P}\n",
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
            "- path: /machine/registries/config/a.b/auth/auth\n  value: ${P}\n",
            "- path: /machine/registries/config/a.b/auth/password\n  value: >-\n    ${P}\n",
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
