use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::fields::Fields;
use crate::finding::{Code, Problems};
use crate::registries::{Auth, ClientIdentity, Endpoint, Kind, Mirror, Registries, Tls};
use crate::secret::{Secret, without_userinfo};
use crate::yaml::{Entry, Node};

/// In which of Talos' two schemas something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// `machine.registries`.
    Legacy,
    /// A `Registry*Config` document.
    Document,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// The bytes of its name.
    pub span: Range<usize>,
    /// The bytes of its parts: a mirror's endpoints, in order.
    pub parts: Vec<Range<usize>>,
    /// Which schema it is in.
    pub schema: Schema,
}

/// Registries as they stand in a text.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Mirrors by registry.
    pub mirrors: BTreeMap<String, Placed<Mirror>>,
    /// Credentials by host.
    pub auth: BTreeMap<String, Placed<Auth>>,
    /// TLS settings by host.
    pub tls: BTreeMap<String, Placed<Tls>>,
    /// What a `$patch: delete` takes away: its path and place.
    pub deleted: Vec<(String, Range<usize>)>,
    /// Whether the text says more than this holds; findings say what.
    pub lossy: bool,
}

impl Found {
    /// Returns the values without their places.
    pub fn registries(&self) -> Registries {
        fn values<T: Clone>(placed: &BTreeMap<String, Placed<T>>) -> BTreeMap<String, T> {
            placed.iter().map(|(name, placed)| (name.clone(), placed.value.clone())).collect()
        }
        Registries { mirrors: values(&self.mirrors), auth: values(&self.auth), tls: values(&self.tls) }
    }

    /// Returns whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.auth.is_empty() && self.tls.is_empty()
    }

    /// Adds another's entries; of two with one key, the other's stays (Talos `container.go`, document over legacy).
    pub fn overlay(&mut self, other: Self) {
        self.mirrors.extend(other.mirrors);
        self.auth.extend(other.auth);
        self.tls.extend(other.tls);
        self.deleted.extend(other.deleted);
        self.lossy |= other.lossy;
    }
}

/// Reads registries out of a parsed text.
#[derive(Debug)]
pub struct Reader<'p, 'a> {
    fields: Fields<'p, 'a>,
    found: Found,
}

impl<'p, 'a> Reader<'p, 'a> {
    /// Starts with nothing found.
    pub fn new(problems: &'p mut Problems<'a>) -> Self {
        Self { fields: Fields::new(problems), found: Found::default() }
    }

    /// Ends the reading.
    pub fn finish(mut self) -> Found {
        self.found.lossy |= self.fields.lossy;
        self.found
    }

    /// Reads the value of `machine.registries`.
    pub fn section(&mut self, node: &Node, path: &str) {
        if node.is_null() || self.deletes(node, path) || self.fields.mapping(node, path).is_none() {
            return;
        }
        self.fields.known(node, path, &["mirrors", "config"]);
        for (key, read) in [("mirrors", Self::mirror as fn(&mut Self, &Entry, &str)), ("config", Self::host)]
        {
            let path = format!("{path}.{key}");
            let Some(node) = node.get(key).filter(|node| !node.is_null()) else { continue };
            if self.deletes(node, &path) || self.fields.mapping(node, &path).is_none() {
                continue;
            }
            let entries = node.entries().iter().filter(|entry| entry.key != "$patch");
            entries.for_each(|entry| read(self, entry, &path));
        }
    }

    /// Reads one mirror of `machine.registries.mirrors`.
    pub fn mirror(&mut self, entry: &Entry, path: &str) {
        let (node, path) = (&entry.value, format!("{path}.{}", entry.key));
        if self.deletes(node, &path) || self.fields.mapping(node, &path).is_none() {
            return;
        }
        self.fields.known(node, &path, &["endpoints", "overridePath", "skipFallback"]);
        let override_path = self.fields.flag(node, "overridePath", &path);
        let mut value =
            Mirror { endpoints: Vec::new(), skip_fallback: self.fields.flag(node, "skipFallback", &path) };
        let mut parts = Vec::new();
        let list_path = format!("{path}.endpoints");
        for item in self.endpoints(node, &list_path) {
            let path = format!("{list_path}[{}]", parts.len());
            let Some(url) = self.fields.text(item, &path) else { continue };
            self.url(&url, item, &path);
            value.endpoints.push(Endpoint::new(url, override_path));
            parts.push(item.span.clone());
        }
        self.no_endpoint(&value, &entry.key_span, &path);
        let placed = Placed { value, span: entry.key_span.clone(), parts, schema: Schema::Legacy };
        self.found.mirrors.insert(entry.key.clone(), placed);
    }

    /// Reads one host of `machine.registries.config`.
    pub fn host(&mut self, entry: &Entry, path: &str) {
        let (node, path) = (&entry.value, format!("{path}.{}", entry.key));
        if self.deletes(node, &path) || self.fields.mapping(node, &path).is_none() {
            return;
        }
        self.fields.known(node, &path, &["auth", "tls"]);
        if let Some(node) = node.get("auth").filter(|node| !node.is_null()) {
            let path = format!("{path}.auth");
            if !self.deletes(node, &path) && self.fields.mapping(node, &path).is_some() {
                self.fields.known(node, &path, &AUTH);
                let value = self.auth(node, &path);
                self.add_auth(&entry.key, &entry.key_span, value, Schema::Legacy);
            }
        }
        if let Some(node) = node.get("tls").filter(|node| !node.is_null()) {
            let path = format!("{path}.tls");
            if !self.deletes(node, &path) && self.fields.mapping(node, &path).is_some() {
                self.fields.known(node, &path, &TLS);
                let value = self.tls(node, &path, Schema::Legacy);
                self.add_tls(&entry.key, &entry.key_span, value, Schema::Legacy);
            }
        }
    }

    /// Reads a registry document.
    pub fn document(&mut self, kind: Kind, node: &Node) {
        let Some((name, span)) = self.name(kind, node) else { return };
        let path = format!("{kind}/{name}");
        if self.deletes(node, &path) {
            return;
        }
        let taken = match kind {
            Kind::Mirror => self.found.mirrors.contains_key(&name),
            Kind::Auth => self.found.auth.contains_key(&name),
            Kind::Tls => self.found.tls.contains_key(&name),
        };
        if taken {
            self.fields.lossy = true;
            let problem = self.fields.problems.add(
                Code::DuplicateDocument,
                &span,
                path.clone(),
                format!("a second document `{path}`"),
            );
            problem.help = Some("keep one of the two".to_owned());
        }
        let known = |fields: &[&'static str]| [&["apiVersion", "kind", "name"], fields].concat();
        match kind {
            Kind::Mirror => {
                self.fields.known(node, &path, &known(&["endpoints", "skipFallback"]));
                self.mirror_document(name, span, node, &path);
            }
            Kind::Auth => {
                self.fields.known(node, &path, &known(&AUTH));
                let value = self.auth(node, &path);
                self.add_auth(&name, &span, value, Schema::Document);
            }
            Kind::Tls => {
                self.fields.known(node, &path, &known(&TLS));
                let value = self.tls(node, &path, Schema::Document);
                self.add_tls(&name, &span, value, Schema::Document);
            }
        }
    }

    fn mirror_document(&mut self, name: String, span: Range<usize>, node: &Node, path: &str) {
        let mut value =
            Mirror { endpoints: Vec::new(), skip_fallback: self.fields.flag(node, "skipFallback", path) };
        let mut parts = Vec::new();
        let list_path = format!("{path}.endpoints");
        for item in self.endpoints(node, &list_path) {
            let path = format!("{list_path}[{}]", parts.len());
            if self.deletes(item, &path) || self.fields.mapping(item, &path).is_none() {
                continue;
            }
            self.fields.known(item, &path, &["url", "overridePath"]);
            let (Some(url), Some(place)) = (self.fields.field(item, "url", &path), item.get("url")) else {
                self.fields.lossy = true;
                self.fields.problems.add(Code::MissingField, &item.span, path, "an endpoint without `url`");
                continue;
            };
            self.url(&url, place, &format!("{path}.url"));
            value.endpoints.push(Endpoint::new(url, self.fields.flag(item, "overridePath", &path)));
            parts.push(place.span.clone());
        }
        self.no_endpoint(&value, &span, path);
        self.found.mirrors.insert(name, Placed { value, span, parts, schema: Schema::Document });
    }

    fn name(&mut self, kind: Kind, node: &Node) -> Option<(String, Range<usize>)> {
        let name = self.fields.field(node, "name", kind.as_str());
        if let (Some(name), Some(place)) = (name, node.get("name")) {
            return Some((name, place.span.clone()));
        }
        self.fields.lossy = true;
        let message = format!("a {kind} without `name`");
        self.fields.problems.add(Code::MissingField, &node.span, kind.as_str(), message);
        None
    }

    /// Returns the items of a list of endpoints, which a patch may delete as a whole.
    fn endpoints<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match node.get("endpoints") {
            Some(node) if !self.deletes(node, path) => self.fields.list(node, path),
            Some(_) | None => &[],
        }
    }

    /// Notes a `$patch: delete`, whose siblings Talos discards.
    fn deletes(&mut self, node: &Node, path: &str) -> bool {
        let Some(marker) = node.get("$patch") else { return false };
        if marker.as_str() != Some("delete") {
            self.fields.lossy = true;
            let message = "`$patch` is not a field, unless it says `delete`";
            let problem = self.fields.problems.add(Code::UnknownField, &marker.span, path, message);
            problem.reason = Some("Talos refuses a config with an unknown field".to_owned());
            return false;
        }
        self.found.deleted.push((path.to_owned(), marker.span.clone()));
        true
    }

    fn url(&mut self, url: &str, node: &Node, path: &str) {
        if url.starts_with("https://") || url.starts_with("http://") {
            return;
        }
        let shown = without_userinfo(url);
        let problem = self.fields.problems.add(
            Code::UrlScheme,
            &node.span,
            path,
            format!("`{shown}` is not an http or https URL"),
        );
        if !url.is_empty() && !url.contains("://") {
            problem.help = Some(format!("write `https://{shown}`"));
        }
    }

    fn no_endpoint(&mut self, mirror: &Mirror, span: &Range<usize>, path: &str) {
        if mirror.skip_fallback && mirror.endpoints.is_empty() {
            self.fields.problems.add(
                Code::NoEndpoint,
                span,
                path,
                "`skipFallback` without an endpoint leaves nowhere to pull from",
            );
        }
    }

    fn auth(&mut self, node: &Node, path: &str) -> Auth {
        let auth = Auth {
            username: self.fields.field(node, "username", path),
            password: self.fields.field(node, "password", path).map(Secret::new),
            auth: self.fields.field(node, "auth", path).map(Secret::new),
            identity_token: self.fields.field(node, "identityToken", path).map(Secret::new),
        };
        let pair = auth.username.is_some() || auth.password.is_some();
        let forms =
            usize::from(pair) + usize::from(auth.auth.is_some()) + usize::from(auth.identity_token.is_some());
        if forms > 1 {
            self.fields.problems.add(
                Code::AuthForms,
                &node.span,
                path,
                "only one of username and password, `auth`, `identityToken` can be there",
            );
        } else if pair && (auth.username.is_none() || auth.password.is_none()) {
            let (there, missing) =
                if auth.username.is_some() { ("username", "password") } else { ("password", "username") };
            self.fields.problems.add(
                Code::AuthForms,
                &node.span,
                path,
                format!("`{there}` without `{missing}`"),
            );
        }
        auth
    }

    fn tls(&mut self, node: &Node, path: &str, schema: Schema) -> Tls {
        let mut identity = None;
        if let Some(node) = node.get("clientIdentity").filter(|node| !node.is_null()) {
            let path = format!("{path}.clientIdentity");
            let cert = if schema == Schema::Legacy { "crt" } else { "cert" };
            if !self.deletes(node, &path) && self.fields.mapping(node, &path).is_some() {
                self.fields.known(node, &path, &[cert, "key"]);
                identity = match (self.pem(node, cert, &path, schema), self.pem(node, "key", &path, schema)) {
                    (Some(cert), Some(key)) => Some(ClientIdentity { cert, key: Secret::new(key) }),
                    (None, None) => None,
                    (there, _) => {
                        self.fields.lossy = true;
                        let missing = if there.is_some() { "key" } else { cert };
                        self.fields.problems.add(
                            Code::ClientIdentity,
                            &node.span,
                            path,
                            format!("`{missing}` is missing"),
                        );
                        None
                    }
                };
            }
        }
        Tls {
            ca: self.pem(node, "ca", path, schema),
            client_identity: identity,
            insecure_skip_verify: self.fields.flag(node, "insecureSkipVerify", path),
        }
    }

    /// Returns a PEM text, which legacy config keeps in base64.
    fn pem(&mut self, node: &Node, key: &str, path: &str, schema: Schema) -> Option<String> {
        let text = self.fields.field(node, key, path)?;
        let (span, path) = (node.get(key)?.span.clone(), format!("{path}.{key}"));
        let text = match schema {
            Schema::Document => text,
            Schema::Legacy => {
                let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
                let plain = BASE64.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let Some(plain) = plain else {
                    self.fields.lossy = true;
                    let problem = self.fields.problems.add(Code::BadPem, &span, path, "this is not base64");
                    if text.contains("-----BEGIN") {
                        problem.help = Some("legacy config takes base64 of the PEM text".to_owned());
                    }
                    return None;
                };
                plain
            }
        };
        if !is_pem(&text, key == "key") {
            let wanted = if key == "key" { "a private key" } else { "a certificate" };
            self.fields.problems.add(Code::BadPem, &span, path, format!("this is not PEM of {wanted}"));
        }
        Some(text)
    }

    fn add_auth(&mut self, name: &str, span: &Range<usize>, value: Auth, schema: Schema) {
        let placed = Placed { value, span: span.clone(), parts: Vec::new(), schema };
        self.found.auth.insert(name.to_owned(), placed);
    }

    fn add_tls(&mut self, name: &str, span: &Range<usize>, value: Tls, schema: Schema) {
        let placed = Placed { value, span: span.clone(), parts: Vec::new(), schema };
        self.found.tls.insert(name.to_owned(), placed);
    }
}

const AUTH: [&str; 4] = ["username", "password", "auth", "identityToken"];
const TLS: [&str; 3] = ["clientIdentity", "ca", "insecureSkipVerify"];

/// Tells whether a text holds PEM of the wanted sort; a reference that another tool fills in passes.
fn is_pem(text: &str, key: bool) -> bool {
    if text.contains("${") || text.starts_with("op://") || text.starts_with("ENC[") {
        return true;
    }
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes());
    if key {
        blocks.any(|block| block.is_ok_and(|block| block.label.ends_with("PRIVATE KEY")))
    } else {
        blocks.any(|block| block.is_ok_and(|block| block.parse_x509().is_ok()))
    }
}
