use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::model::{Auth, Mirror, Registries, Tls};

/// Writes the value of `.machine.registries` (Talos `v1alpha1_types.go`, `RegistriesConfig`).
///
/// One `overridePath` holds for a whole mirror here, certificates are base64 of PEM, and `crt` is the client's.
pub fn legacy(registries: &Registries) -> Value {
    let mut out = Map::new();
    if !registries.mirrors.is_empty() {
        let mirrors = registries.mirrors.iter().map(|(name, value)| (name.clone(), legacy_mirror(value)));
        out.insert("mirrors".to_owned(), Value::Object(mirrors.collect()));
    }
    let mut config = Map::new();
    let mut hosts: Vec<&String> = registries.auth.keys().chain(registries.tls.keys()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for host in hosts {
        config.insert(host.clone(), legacy_host(registries, host));
    }
    if !config.is_empty() {
        out.insert("config".to_owned(), Value::Object(config));
    }
    Value::Object(out)
}

/// Writes one mirror of `.machine.registries.mirrors`.
pub fn legacy_mirror(value: &Mirror) -> Value {
    let (endpoints, override_path) = value.for_legacy();
    let urls = endpoints.into_iter().map(|endpoint| Value::String(endpoint.url)).collect();
    let mut out = Map::new();
    out.insert("endpoints".to_owned(), Value::Array(urls));
    if override_path {
        out.insert("overridePath".to_owned(), true.into());
    }
    if value.skip_fallback {
        out.insert("skipFallback".to_owned(), true.into());
    }
    Value::Object(out)
}

/// Writes one host of `.machine.registries.config`: its auth and its TLS.
pub fn legacy_host(registries: &Registries, host: &str) -> Value {
    let mut out = Map::new();
    if let Some(value) = registries.auth.get(host) {
        out.insert("auth".to_owned(), Value::Object(auth_fields(value)));
    }
    if let Some(value) = registries.tls.get(host) {
        out.insert("tls".to_owned(), tls(value));
    }
    Value::Object(out)
}

/// Writes the fields of a credential; the same in both schemas.
pub(super) fn auth_fields(auth: &Auth) -> Map<String, Value> {
    let secret =
        |value: &Option<crate::secret::Secret<String>>| value.as_ref().map(|value| value.expose().clone());
    let fields = [
        ("username", auth.username.clone()),
        ("password", secret(&auth.password)),
        ("auth", secret(&auth.auth)),
        ("identityToken", secret(&auth.identity_token)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

fn tls(value: &Tls) -> Value {
    let mut out = Map::new();
    if let Some(identity) = &value.client_identity {
        out.insert(
            "clientIdentity".to_owned(),
            json!({"crt": BASE64.encode(&identity.cert), "key": BASE64.encode(identity.key.expose())}),
        );
    }
    if let Some(ca) = &value.ca {
        out.insert("ca".to_owned(), BASE64.encode(ca).into());
    }
    if value.insecure_skip_verify {
        out.insert("insecureSkipVerify".to_owned(), true.into());
    }
    Value::Object(out)
}
