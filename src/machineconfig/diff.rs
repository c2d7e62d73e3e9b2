use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::registries::{Auth, Kind, Mirror, Registries, Tls};
use crate::secret::{Secret, without_userinfo};

/// One difference between two states of a node's registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What kind of entry changed.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How.
    pub what: ChangeKind,
}

/// How an entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is gone; the details say what it was.
    Removed(Vec<Detail>),
    /// It is another.
    Changed(Vec<Detail>),
    /// It is new; the details say what it is.
    Added(Vec<Detail>),
}

/// One field, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The field, such as `endpoints[1]`.
    pub field: String,
    /// Before.
    pub old: ShownValue,
    /// After.
    pub new: ShownValue,
}

/// A value as a diff shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownValue {
    /// It is not there.
    Nothing,
    /// A text that anyone may see.
    Text(String),
    /// A certificate, too long to show.
    Pem,
    /// A secret, never shown.
    Secret,
}

impl ShownValue {
    /// Returns what is printed for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Nothing => "(none)",
            Self::Text(text) => text,
            Self::Pem => "(PEM)",
            Self::Secret => "<redacted>",
        }
    }
}

impl fmt::Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ChangeKind {
    /// Returns the word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Removed(_) => "removed",
            Self::Changed(_) => "changed",
            Self::Added(_) => "added",
        }
    }

    /// Returns the fields.
    pub fn details(&self) -> &[Detail] {
        match self {
            Self::Removed(details) | Self::Changed(details) | Self::Added(details) => details,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Removed(_) => 0,
            Self::Changed(_) => 1,
            Self::Added(_) => 2,
        }
    }
}

/// Prints a change on one line: `~ docker.io  endpoints[1]  https://a → https://b`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.what {
            ChangeKind::Removed(_) => '-',
            ChangeKind::Changed(_) => '~',
            ChangeKind::Added(_) => '+',
        };
        let kind = match self.kind {
            Kind::Mirror => "",
            Kind::Auth => "auth ",
            Kind::Tls => "tls ",
        };
        write!(f, "{sign} {kind}{}", without_userinfo(&self.name))?;
        for (at, detail) in self.what.details().iter().enumerate() {
            f.write_str(if at == 0 { "  " } else { ", " })?;
            match &self.what {
                ChangeKind::Changed(_) => write!(f, "{}  {} → {}", detail.field, detail.old, detail.new)?,
                ChangeKind::Removed(_) => write!(f, "{} {}", detail.field, detail.old)?,
                ChangeKind::Added(_) => write!(f, "{} {}", detail.field, detail.new)?,
            }
        }
        Ok(())
    }
}

impl Change {
    /// Returns the change as an object for scripts.
    pub fn to_json(&self) -> Value {
        let kind = match self.kind {
            Kind::Mirror => "mirror",
            Kind::Auth => "auth",
            Kind::Tls => "tls",
        };
        let shown = |shown: &ShownValue| match shown {
            ShownValue::Nothing => Value::Null,
            ShownValue::Text(_) | ShownValue::Pem | ShownValue::Secret => shown.as_str().into(),
        };
        let details = self.what.details().iter().map(
            |detail| json!({"field": detail.field, "old": shown(&detail.old), "new": shown(&detail.new)}),
        );
        json!({"kind": kind, "name": without_userinfo(&self.name), "what": self.what.as_str(), "details": details.collect::<Vec<_>>()})
    }
}

/// Compares two states of a node's registries; removals come first, then changes, then what is new.
pub fn diff(old: &Registries, new: &Registries) -> Vec<Change> {
    let mut changes = Vec::new();
    // Legacy config has one `overridePath` a mirror, so the same endpoint may be written in two ways.
    let mut mirrors = new.mirrors.clone();
    for (name, mirror) in &mut mirrors {
        for (at, endpoint) in mirror.endpoints.iter_mut().enumerate() {
            let old = old.mirrors.get(name).and_then(|old| old.endpoints.get(at));
            if let Some(old) = old.filter(|old| old.means_the_same(endpoint)) {
                *endpoint = old.clone();
            }
        }
    }
    compare(&mut changes, Kind::Mirror, &old.mirrors, &mirrors, mirror);
    compare(&mut changes, Kind::Auth, &old.auth, &new.auth, auth);
    compare(&mut changes, Kind::Tls, &old.tls, &new.tls, tls);
    changes.sort_by_key(|change| change.what.rank());
    changes
}

/// A field, how it is shown, and what it is compared by.
type Field = (String, ShownValue, Secret<String>);

fn compare<T: PartialEq>(
    changes: &mut Vec<Change>,
    kind: Kind,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    fields: impl Fn(&T) -> Vec<Field>,
) {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let what = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => ChangeKind::Changed(details(&fields(old), &fields(new))),
            (Some(old), None) => ChangeKind::Removed(details(&fields(old), &[])),
            (None, Some(new)) => ChangeKind::Added(details(&[], &fields(new))),
            (None, None) => continue,
        };
        changes.push(Change { kind, name: name.clone(), what });
    }
}

fn details(old: &[Field], new: &[Field]) -> Vec<Detail> {
    fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
        fields.iter().find(|(field, ..)| field == name)
    }
    let mut names: Vec<&str> = old.iter().chain(new).map(|(name, ..)| name.as_str()).collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    let details = names.into_iter().filter_map(|name| {
        let (old, new) = (find(old, name), find(new, name));
        let same = old.map(|(_, _, value)| value) == new.map(|(_, _, value)| value);
        let shown = |field: Option<&Field>| field.map_or(ShownValue::Nothing, |(_, shown, _)| shown.clone());
        (!same).then(|| Detail { field: name.to_owned(), old: shown(old), new: shown(new) })
    });
    details.collect()
}

fn text(name: impl Into<String>, value: &str) -> Field {
    (name.into(), ShownValue::Text(without_userinfo(value)), Secret::from(value))
}

fn flag(name: impl Into<String>, value: bool) -> Option<Field> {
    value.then(|| text(name, "true"))
}

fn mirror(mirror: &Mirror) -> Vec<Field> {
    let mut fields = Vec::new();
    for (at, endpoint) in mirror.endpoints.iter().enumerate() {
        fields.push(text(format!("endpoints[{at}]"), &endpoint.url));
        fields.extend(flag(format!("endpoints[{at}].overridePath"), endpoint.override_path));
    }
    fields.extend(flag("skipFallback", mirror.skip_fallback));
    fields
}

fn auth(auth: &Auth) -> Vec<Field> {
    let secrets =
        [("password", &auth.password), ("auth", &auth.auth), ("identityToken", &auth.identity_token)];
    let secrets = secrets
        .into_iter()
        .filter_map(|(name, secret)| Some((name.to_owned(), ShownValue::Secret, secret.clone()?)));
    auth.username.iter().map(|name| text("username", name)).chain(secrets).collect()
}

fn tls(tls: &Tls) -> Vec<Field> {
    let mut fields: Vec<Field> =
        tls.ca.iter().map(|ca| ("ca".to_owned(), ShownValue::Pem, Secret::from(ca.as_str()))).collect();
    if let Some(identity) = &tls.client_identity {
        let cert = Secret::from(identity.cert.as_str());
        fields.push(("clientIdentity.cert".to_owned(), ShownValue::Pem, cert));
        fields.push(("clientIdentity.key".to_owned(), ShownValue::Secret, identity.key.clone()));
    }
    fields.extend(flag("insecureSkipVerify", tls.insecure_skip_verify));
    fields
}
