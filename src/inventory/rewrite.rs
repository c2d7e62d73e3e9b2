use crate::secret::Secret;
use crate::yaml::{Edit, Node, ParseError, Value, apply, block_end, line_start, parse_one, scalar};

/// Credentials that cannot be written into an inventory.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The text cannot be read.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// There is no such mirror.
    #[error("there is no mirror `{0}`")]
    NoMirror(String),
    /// The secret does not stand in the file.
    #[error("the secret of `{0}` does not stand in the inventory")]
    Elsewhere(String),
    /// What would be written does not read back.
    #[error("the layout of `{0}` leaves no room for its credentials")]
    NoRoom(String),
}

impl RewriteError {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Syntax(error) => error.help.clone().unwrap_or_else(|| "check the file".to_owned()),
            Self::NoMirror(_) => "name one of `mirrors`".to_owned(),
            Self::Elsewhere(_) => {
                "write `password` in place of `passwordFrom`, or change the secret where it is".to_owned()
            }
            Self::NoRoom(_) => {
                "write `credentials:` with `username` and `password` on lines of their own".to_owned()
            }
        }
    }
}

/// Returns an inventory's text with other credentials of a mirror; every other byte stays.
///
/// `password` is [`None`] where it stays as it is. Fails if the secret is fetched from elsewhere and would have to change.
pub fn with_credentials(
    text: &str,
    mirror: &str,
    username: &str,
    password: Option<&Secret<String>>,
) -> Result<Secret<String>, RewriteError> {
    let document = parse_one(text)?;
    let root = &document.root;
    let node = find(root, mirror).ok_or_else(|| RewriteError::NoMirror(mirror.to_owned()))?;
    let edits = match node.entry("credentials").map(|entry| &entry.value) {
        Some(credentials) if credentials.is_mapping() => changed(credentials, mirror, username, password)?,
        _ => vec![added(text, root, node, mirror, username, password)?],
    };
    let changed = Secret::new(apply(text, &edits));
    let parsed = parse_one(changed.expose()).ok();
    let credentials = parsed.as_ref().and_then(|document| find(&document.root, mirror)?.get("credentials"));
    let reads = |key: &str, wanted: &str| {
        credentials.and_then(|credentials| credentials.get(key)?.as_str()) == Some(wanted)
    };
    if reads("username", username) && password.is_none_or(|password| reads("password", password.expose())) {
        Ok(changed)
    } else {
        Err(RewriteError::NoRoom(mirror.to_owned()))
    }
}

/// Returns the mapping of a mirror; in the short form it is the file itself.
fn find<'a>(root: &'a Node, mirror: &str) -> Option<&'a Node> {
    root.at(&["mirrors", mirror]).or_else(|| root.get("mirror").map(|_| root))
}

fn changed(
    credentials: &Node,
    mirror: &str,
    username: &str,
    password: Option<&Secret<String>>,
) -> Result<Vec<Edit>, RewriteError> {
    let flow = matches!(credentials.value, Value::Mapping { flow: true, .. });
    let put = |key: &str, value: &str| {
        let found = credentials.get(key)?;
        let lead = if found.span.is_empty() { " " } else { "" };
        Some(Edit::new(found.span.clone(), format!("{lead}{}", written(value, flow))))
    };
    let elsewhere = || RewriteError::Elsewhere(mirror.to_owned());
    let mut edits = vec![put("username", username).ok_or_else(elsewhere)?];
    if let Some(password) = password {
        edits.push(put("password", password.expose()).ok_or_else(elsewhere)?);
    }
    Ok(edits)
}

/// Adds the mapping behind the mirror's last field.
fn added(
    text: &str,
    root: &Node,
    node: &Node,
    mirror: &str,
    username: &str,
    password: Option<&Secret<String>>,
) -> Result<Edit, RewriteError> {
    let no_room = || RewriteError::NoRoom(mirror.to_owned());
    let password = password.ok_or_else(no_room)?.expose();
    let pairs = |flow| [("username", written(username, flow)), ("password", written(password, flow))];
    match &node.value {
        Value::Mapping { entries, flow: false } => {
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Err(no_room()) };
            let column = first.key_span.start - line_start(text, first.key_span.start);
            let step = step(text, root).unwrap_or(4);
            let end = block_end(text, last.value.span.end.max(last.key_span.end));
            let newline =
                if text.get(..end).is_some_and(|before| before.ends_with('\n')) { "" } else { "\n" };
            let (pad, below) = (" ".repeat(column), " ".repeat(column + step));
            let pairs: String =
                pairs(false).iter().map(|(key, value)| format!("{below}{key}: {value}\n")).collect();
            Ok(Edit::insert(end, format!("{newline}{pad}credentials:\n{pairs}")))
        }
        Value::Mapping { entries, flow: true } => {
            let end = node.span.end.checked_sub(1).ok_or_else(no_room)?;
            let comma = if entries.is_empty() { "" } else { ", " };
            let pairs = pairs(true).map(|(key, value)| format!("{key}: {value}")).join(", ");
            Ok(Edit::insert(end, format!("{comma}credentials: {{{pairs}}}")))
        }
        Value::Scalar(_) | Value::Sequence { .. } => Err(no_room()),
    }
}

/// Writes a scalar; within braces it is quoted, since commas and braces end one there.
fn written(value: &str, flow: bool) -> String {
    if flow { serde_json::Value::from(value).to_string() } else { scalar(value, 0) }
}

/// Returns how far the file's first nested mapping is indented.
fn step(text: &str, root: &Node) -> Option<usize> {
    let nested = root.entries().iter().find_map(|entry| match &entry.value.value {
        Value::Mapping { entries, flow: false } => entries.first(),
        Value::Mapping { .. } | Value::Scalar(_) | Value::Sequence { .. } => None,
    })?;
    Some(nested.key_span.start - line_start(text, nested.key_span.start)).filter(|step| *step > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        match with_credentials(text, "harbor", "robot$b", Some(&Secret::from("New1"))) {
            Ok(text) => text.expose().clone(),
            Err(error) => format!("{error}; {}", error.help()),
        }
    }

    #[test]
    fn nothing_else_changes() {
        let tail = "registries: [ghcr.io] # and more\n";
        assert_eq!(
            rewritten(&format!("# ours\nmirror: https://h.example\n{tail}")),
            format!(
                "# ours\nmirror: https://h.example\n{tail}credentials:\n    username: robot$b\n    password: New1\n"
            )
        );
        assert_eq!(
            rewritten(&format!(
                "mirror: https://h.example\ncredentials:\n  username: robot$a # who\n  password: Old1\n{tail}"
            )),
            format!(
                "mirror: https://h.example\ncredentials:\n  username: robot$b # who\n  password: New1\n{tail}"
            )
        );
        assert_eq!(
            rewritten(&format!(
                "mirrors:\n  harbor:\n    kind: harbor\n    url: https://h.example # here\n{tail}"
            )),
            format!(
                "mirrors:\n  harbor:\n    kind: harbor\n    url: https://h.example # here\n    credentials:\n      username: \
                 robot$b\n      password: New1\n{tail}"
            )
        );
        assert_eq!(
            rewritten(&format!("mirrors: {{harbor: {{kind: harbor, url: 'https://h.example'}}}}\n{tail}")),
            format!(
                "mirrors: {{harbor: {{kind: harbor, url: 'https://h.example', credentials: {{username: \"robot$b\", \
                 password: \"New1\"}}}}}}\n{tail}"
            )
        );
    }

    #[test]
    fn what_stands_elsewhere_stays_there() {
        let text = "mirror: https://h.example\ncredentials: {username: a, passwordFrom: {env: X}}\nregistries: [ghcr.io]\n";
        assert!(
            rewritten(text).starts_with("the secret of `harbor` does not stand in the inventory"),
            "{}",
            rewritten(text)
        );
        let only_name = with_credentials(text, "harbor", "robot$b", None).unwrap();
        assert!(only_name.expose().contains("{username: \"robot$b\", passwordFrom: {env: X}}"));
        assert_eq!(
            rewritten("registries: [ghcr.io]\n"),
            "there is no mirror `harbor`; name one of `mirrors`"
        );
    }
}
