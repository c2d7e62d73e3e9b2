use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::legacy::auth_fields;
use super::model::{Mirror, Registries, Tls};

/// The kinds of registry documents (Talos `pkg/machinery/config/types/cri`, since 1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `RegistryMirrorConfig`, named after the registry.
    Mirror,
    /// `RegistryAuthConfig`, named after the endpoint's host.
    Auth,
    /// `RegistryTLSConfig`, named after the endpoint's host.
    Tls,
}

impl Kind {
    /// Returns the `kind` field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mirror => "RegistryMirrorConfig",
            Self::Auth => "RegistryAuthConfig",
            Self::Tls => "RegistryTLSConfig",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Mirror, Self::Auth, Self::Tls].into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// A registry document.
#[derive(Clone, PartialEq)]
pub struct RegistryDocument {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    value: Value,
}

/// Shows kind and name only: the rest may hold secrets.
impl fmt::Debug for RegistryDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl RegistryDocument {
    /// Returns all of the document, `apiVersion`, `kind` and `name` included.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the selector that deletes the document in a strategic merge patch.
    pub fn delete_selector(kind: Kind, name: &str) -> Value {
        json!({"apiVersion": "v1alpha1", "kind": kind.as_str(), "name": name, "$patch": "delete"})
    }
}

/// Writes registries as documents: mirrors, auth, TLS, each by name.
pub fn documents(registries: &Registries) -> Vec<RegistryDocument> {
    let mirrors = registries.mirrors.iter().map(|(name, value)| document(Kind::Mirror, name, mirror(value)));
    let auth = registries.auth.iter().map(|(name, value)| document(Kind::Auth, name, auth_fields(value)));
    let tls = registries.tls.iter().map(|(name, value)| document(Kind::Tls, name, tls(value)));
    mirrors.chain(auth).chain(tls).collect()
}

fn document(kind: Kind, name: &str, fields: Map<String, Value>) -> RegistryDocument {
    let mut value = Map::new();
    value.insert("apiVersion".to_owned(), "v1alpha1".into());
    value.insert("kind".to_owned(), kind.as_str().into());
    value.insert("name".to_owned(), name.into());
    value.extend(fields);
    RegistryDocument { kind, name: name.to_owned(), value: Value::Object(value) }
}

fn mirror(value: &Mirror) -> Map<String, Value> {
    let endpoints = value.endpoints.iter().map(|endpoint| {
        let mut out = Map::new();
        out.insert("url".to_owned(), endpoint.url.clone().into());
        if endpoint.override_path {
            out.insert("overridePath".to_owned(), true.into());
        }
        Value::Object(out)
    });
    let mut out = Map::new();
    out.insert("endpoints".to_owned(), endpoints.collect());
    if value.skip_fallback {
        out.insert("skipFallback".to_owned(), true.into());
    }
    out
}

fn tls(value: &Tls) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(identity) = &value.client_identity {
        out.insert("clientIdentity".to_owned(), json!({"cert": identity.cert, "key": identity.key.expose()}));
    }
    if let Some(ca) = &value.ca {
        out.insert("ca".to_owned(), ca.clone().into());
    }
    if value.insecure_skip_verify {
        out.insert("insecureSkipVerify".to_owned(), true.into());
    }
    out
}
