use std::collections::BTreeMap;

use super::place::{At, Located};
use super::source_file::{Findings, SourceFile};
use crate::finding::Code;
use crate::machineconfig::{Found, Schema};
use crate::registries::{Auth, Endpoint, Kind};
use crate::secret::{Secret, is_redacted, without_userinfo};

/// A secret or a file as a source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretSource {
    Inline(Secret<String>),
    Env(String),
    File(String),
    Command(Vec<String>),
}

/// Credentials as a source gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: Option<SecretSource>,
    pub(super) password: Option<SecretSource>,
    pub(super) identity_token: Option<SecretSource>,
}

/// TLS settings as a source gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) ca: Option<SecretSource>,
    pub(super) cert: Option<SecretSource>,
    pub(super) key: Option<SecretSource>,
    pub(super) insecure: bool,
}

/// The endpoints of one registry, as listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) endpoints: Vec<Located<Endpoint>>,
    pub(super) never: bool,
    /// Whether one `overridePath` was written for all endpoints.
    pub(super) one_override: bool,
}

/// What one source says about registries, whatever its format.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) mirrors: BTreeMap<String, Located<Listed>>,
    pub(super) credentials: BTreeMap<String, Located<Credentials>>,
    pub(super) tls: BTreeMap<String, Located<Tls>>,
    /// The source it belongs to: what one source says in several places is merged.
    pub(super) source: String,
    /// What of mirrors that are there it takes the place of: that of a JSON patch; others add endpoints.
    pub(super) replaces: Replaced,
    /// The mirrors of earlier patches that it deletes before it sets its own.
    pub(super) deleted: Deleted,
}

/// What a patch takes the place of, by registry.
#[derive(Clone, Debug, Default)]
pub(super) struct Replaced {
    /// Whether it sets all mirrors as a whole.
    pub(super) all: bool,
    pub(super) by_registry: BTreeMap<String, Onto>,
}

/// Which parts of a mirror that is there are replaced; the others are added to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Onto {
    pub(super) endpoints: bool,
    pub(super) fallback: bool,
}

impl Replaced {
    /// Returns what becomes of a registry's mirror that is there.
    pub(super) fn of(&self, registry: &str) -> Onto {
        let whole = Onto { endpoints: true, fallback: true };
        let own = self.by_registry.get(registry).copied();
        if self.all { whole } else { own.unwrap_or_default() }
    }
}

/// The mirrors that a patch deletes.
#[derive(Clone, Debug, Default)]
pub(super) struct Deleted {
    pub(super) all: bool,
    pub(super) names: Vec<String>,
}

impl Declared {
    /// Takes over what was found in Talos' own schemas.
    pub(super) fn from_found(found: &Found, file: &SourceFile<'_>, findings: &mut Findings) -> Self {
        let mut declared = Self::default();
        for (name, placed) in &found.mirrors {
            let path = match placed.schema {
                Schema::Legacy => format!("machine.registries.mirrors.{name}"),
                Schema::Document => format!("{}/{name}", Kind::Mirror),
            };
            let endpoints = placed.value.endpoints.iter().zip(&placed.parts).enumerate();
            let endpoints = endpoints.map(|(at, (endpoint, span))| Located {
                value: endpoint.clone(),
                at: file.at(span, format!("{path}.endpoints[{at}]")),
            });
            let value = Listed {
                endpoints: endpoints.collect(),
                never: placed.value.skip_fallback,
                one_override: placed.schema == Schema::Legacy,
            };
            declared.mirrors.insert(name.clone(), Located { value, at: file.at(&placed.span, path) });
        }
        for (name, placed) in &found.auth {
            let path = match placed.schema {
                Schema::Legacy => format!("machine.registries.config.{name}.auth"),
                Schema::Document => format!("{}/{name}", Kind::Auth),
            };
            let at = file.at(&placed.span, path);
            if placed.value == Auth::default() {
                let message = format!("the credentials of `{}` hold nothing", without_userinfo(name));
                findings.add(Code::AuthForms, &at, message).help = Some("they are left out".to_owned());
            } else if let Some(value) = credentials(placed.value.clone(), &at, findings) {
                declared.credentials.insert(name.clone(), Located { value, at });
            }
        }
        for (name, placed) in &found.tls {
            let path = match placed.schema {
                Schema::Legacy => format!("machine.registries.config.{name}.tls"),
                Schema::Document => format!("{}/{name}", Kind::Tls),
            };
            let at = file.at(&placed.span, path);
            let identity = placed.value.client_identity.as_ref();
            let value = Tls {
                ca: placed.value.ca.as_deref().and_then(|text| secret_source(text, "ca", &at, findings)),
                cert: identity.and_then(|identity| secret_source(&identity.cert, "cert", &at, findings)),
                key: identity.and_then(|identity| secret_source(identity.key.expose(), "key", &at, findings)),
                insecure: placed.value.insecure_skip_verify,
            };
            declared.tls.insert(name.clone(), Located { value, at });
        }
        declared
    }

    /// Returns whether nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.credentials.is_empty() && self.tls.is_empty()
    }
}

/// Returns credentials in the inventory's forms; a raw `auth` is split.
pub(super) fn credentials(auth: Auth, at: &At, findings: &mut Findings) -> Option<Credentials> {
    let auth = auth.with_plain_pair();
    if let Some(raw) = &auth.auth {
        let code = if is_reference(raw.expose()) { Code::Reference } else { Code::AuthForms };
        findings.lose(code, at, "`auth` cannot be split into username and password, and is left out").help =
            Some("give `username` and `password`".to_owned());
    }
    let username = auth.username.and_then(|name| secret_source(&name, "username", at, findings));
    let mut secret = |value: Option<Secret<String>>, field| {
        value.and_then(|value| secret_source(value.expose(), field, at, findings))
    };
    let password = secret(auth.password, "password");
    let identity_token = secret(auth.identity_token, "identityToken");
    let credentials = Credentials { username, password, identity_token };
    (credentials != Credentials::default()).then_some(credentials)
}

/// Returns a value as it stands, or the variable or item that it names.
pub(super) fn secret_source(
    text: &str,
    field: &str,
    at: &At,
    findings: &mut Findings,
) -> Option<SecretSource> {
    if is_encrypted(text) {
        encrypted(field, at, findings);
        return None;
    }
    if is_redacted(text) && field != "username" {
        let message = format!("`{field}` reads as if it had been hidden");
        findings.add(Code::RedactedSecret, at, message).help = Some(
            "read the file where the secret is shown, or write the secret into the inventory".to_owned(),
        );
    }
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).or(text.strip_prefix('$'));
    let name = name.filter(|name| is_variable(name));
    if let Some(name) = name {
        let problem = findings.add(Code::Reference, at, format!("`{field}` is the variable `{name}`"));
        problem.help = Some(format!("it is kept as `{field}From: {{env: {name}}}`"));
        return Some(SecretSource::Env(name.to_owned()));
    }
    if text.starts_with("op://") {
        let problem = findings.add(Code::Reference, at, format!("`{field}` is a 1Password reference"));
        problem.help = Some(format!("it is kept as `{field}From: {{command: [op, read, …]}}`"));
        return Some(SecretSource::Command(vec!["op".to_owned(), "read".to_owned(), text.to_owned()]));
    }
    if text.starts_with("ref+") && text.contains("://") {
        let problem = findings.add(Code::Reference, at, format!("`{field}` is a reference of vals"));
        problem.help = Some(format!("it is kept as `{field}From: {{command: [vals, get, …]}}`"));
        return Some(SecretSource::Command(vec!["vals".to_owned(), "get".to_owned(), text.to_owned()]));
    }
    if text.contains("${") || text.contains("{{") {
        reference(&format!("`{field}`"), "", at, findings);
    }
    Some(SecretSource::Inline(Secret::from(text)))
}

/// Reports a variable that stays as it is.
pub(super) fn reference(what: &str, text: &str, at: &At, findings: &mut Findings) {
    let shown = if text.is_empty() { String::new() } else { format!(", `{text}`") };
    let message = format!("{what} holds a variable{shown}");
    findings.add(Code::Reference, at, message).help =
        Some("it is kept as it is: write the value in its place".to_owned());
}

fn encrypted<'f>(field: &str, at: &At, findings: &'f mut Findings) -> &'f mut crate::finding::Problem {
    let problem = findings.add(Code::CannotDecrypt, at, format!("`{field}` is still encrypted"));
    problem.help = Some(format!("decrypt the file first; `{field}` is left out"));
    problem
}

fn is_encrypted(text: &str) -> bool {
    text.starts_with("ENC[")
}

/// Tells whether a text holds what another tool fills in.
pub(super) fn is_reference(text: &str) -> bool {
    text.contains("${")
        || text.contains("{{")
        || text.starts_with("op://")
        || text.strip_prefix('$').is_some_and(is_variable)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
