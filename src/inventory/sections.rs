use std::path::PathBuf;

use indexmap::IndexMap;

use super::code::Code;
use super::decode::{Decoder, Fields, join};
use super::model::{
    Credentials, Fallback, Group, Inventory, Layer, Mirror, MirrorKind, Node as NodeEntry, Output, Placed,
    Registry, Role, Rollout, Set, Talos, Text, Tls, Upstream, Verify, Via,
};
use super::problem::did_you_mean;
use crate::secret::{Secret, SecretRef};
use crate::yaml::{Entry, Node};

/// The fields of every mapping, by its name in the JSON schema; a test holds the two together.
pub(super) const FIELDS: &[(&str, &[&str])] = &[
    ("inventory", ROOT),
    ("mirror", MIRROR),
    ("registry", REGISTRY),
    ("upstream", UPSTREAM),
    ("credentials", CREDENTIALS),
    ("reference", REFERENCE),
    ("tls", TLS),
    ("clientIdentity", CLIENT_IDENTITY),
    ("defaults", DEFAULTS),
    ("group", GROUP),
    ("node", NODE),
    ("talos", TALOS),
    ("output", OUTPUT),
    ("rollout", ROLLOUT),
    ("verify", VERIFY),
    ("lint", LINT),
];

const ROOT: &[&str] = &[
    "apiVersion",
    "kind",
    "cluster",
    "talos",
    "mirrors",
    "registries",
    "defaults",
    "groups",
    "nodes",
    "output",
    "rollout",
    "verify",
    "lint",
    "mirror",
    "project",
    "projects",
    "path",
    "paths",
    "overridePath",
    "credentials",
    "tls",
    "inCluster",
    "fallback",
    "sops",
];
const MIRROR: &[&str] = &[
    "kind",
    "url",
    "project",
    "projects",
    "path",
    "paths",
    "overridePath",
    "serves",
    "credentials",
    "tls",
    "inCluster",
];
/// What of a mirror may stand at the top of an inventory that has but one.
const ONE_MIRROR: &[&str] =
    &["project", "projects", "path", "paths", "overridePath", "credentials", "tls", "inCluster"];
const REGISTRY: &[&str] = &["via", "fallback", "upstream"];
const UPSTREAM: &[&str] = &["url", "credentials", "tls"];
const CREDENTIALS: &[&str] =
    &["username", "password", "passwordFrom", "auth", "authFrom", "identityToken", "identityTokenFrom"];
const REFERENCE: &[&str] = &["env", "file", "command", "stdin"];
const TLS: &[&str] = &["ca", "caFile", "clientIdentity", "insecureSkipVerify"];
const CLIENT_IDENTITY: &[&str] = &["cert", "certFile", "key", "keyFrom"];
const DEFAULTS: &[&str] = &["via", "fallback"];
const GROUP: &[&str] = &["nodes", "role", "addresses", "registries", "defaults"];
const NODE: &[&str] = &["address", "role", "version", "registries", "defaults"];
const TALOS: &[&str] = &["version", "talosconfig", "context"];
const OUTPUT: &[&str] = &["dir", "format", "layout", "encrypt"];
const ROLLOUT: &[&str] = &["order", "canary", "maxParallel", "maxFailures", "tryTimeout", "reboot", "pause"];
const VERIFY: &[&str] = &["images", "requireMirrorHit", "timeout"];
const LINT: &[&str] = &["allow", "denyWarnings"];

/// Returns the name of the short form's mirror: that of its kind.
fn one_mirror_name(fields: &Fields<'_>) -> String {
    let kind =
        fields.get("kind").and_then(Node::as_str).filter(|kind| *kind != "Inventory").unwrap_or("harbor");
    let taken = fields.get("mirrors").is_some_and(|mirrors| mirrors.get(kind).is_some());
    if taken { "mirror".to_owned() } else { kind.to_owned() }
}

impl Decoder<'_, '_> {
    /// Reads a whole inventory, in its full form or in the short one with `mirror:`.
    pub(super) fn inventory(&mut self, root: &Node) -> Inventory {
        let fields = self.fields(root, "", ROOT);
        self.mirrors = fields
            .get("mirrors")
            .map(Node::entries)
            .unwrap_or_default()
            .iter()
            .map(|e| e.key.clone())
            .collect();
        if fields.get("mirror").is_some() {
            self.mirrors.push(one_mirror_name(&fields));
        }
        let mut inventory = Inventory {
            cluster: self.string(&fields, "cluster"),
            talos: self.talos(&fields),
            base: self.layer(&fields),
            ..Inventory::default()
        };
        self.version(&fields);
        let mirrors = self.section(&fields, "mirrors", super::decode::Decoder::mirror);
        inventory.mirrors = mirrors.into_iter().filter_map(|(name, mirror)| Some((name, mirror?))).collect();
        for entry in fields.get("mirrors").map(Node::entries).unwrap_or_default() {
            if entry.key == "upstream" {
                let message = "a mirror cannot be named `upstream`";
                self.problems.add(Code::UnknownMirror, &entry.key_span, "mirrors.upstream", message).reason =
                    Some("in `via` that word means the registry itself".to_owned());
            }
        }
        if fields.get("mirror").is_some() {
            self.one_mirror(&fields, &mut inventory);
        } else {
            for key in ONE_MIRROR.iter().copied().chain(["fallback"]) {
                if let Some(entry) = fields.entry(key) {
                    let message = format!("`{key}` stands at the top, but there is no `mirror: URL` there");
                    self.problems.add(Code::UnknownField, &entry.key_span, key, message).help = Some(
                        if key == "fallback" {
                            "write `defaults: {fallback: …}`"
                        } else {
                            "move it to its mirror"
                        }
                        .to_owned(),
                    );
                }
            }
        }
        inventory.groups =
            self.section(&fields, "groups", |decoder, entry, path| decoder.group(&entry.value, path));
        inventory.nodes = self.nodes(&fields);
        inventory.output = self.output(&fields);
        inventory.rollout = self.rollout(&fields);
        inventory.verify = self.verify(&fields);
        if let Some(node) = fields.get("lint") {
            let lint = self.fields(node, "lint", LINT);
            for (code, item) in self.strings(&lint, "allow").unwrap_or_default() {
                if Code::find(&code).is_none() {
                    let message = format!("there is no finding `{code}`");
                    self.problems.add(Code::WrongType, &item.span, "lint.allow", message);
                }
                inventory.allow.push(code);
            }
            inventory.deny_warnings = self.boolean(&lint, "denyWarnings").unwrap_or(false);
        }
        inventory
    }

    fn version(&mut self, fields: &Fields<'_>) {
        if let Some(version) = self.string(fields, "apiVersion")
            && version != "talmirror/v1"
            && let Some(node) = fields.get("apiVersion")
        {
            let message = format!("`apiVersion` is talmirror/v1, not `{version}`");
            self.problems.add(Code::WrongType, &node.span, "apiVersion", message);
        }
        // In the short form `kind` is the mirror's.
        if fields.get("mirror").is_none() {
            self.word(fields, "kind", &["Inventory"]);
        }
    }

    fn talos(&mut self, fields: &Fields<'_>) -> Talos {
        let Some(node) = fields.get("talos") else { return Talos::default() };
        let fields = self.fields(node, "talos", TALOS);
        Talos {
            version: self.talos_version(&fields),
            talosconfig: self.string(&fields, "talosconfig").map(PathBuf::from),
            context: self.string(&fields, "context"),
        }
    }

    fn talos_version(&mut self, fields: &Fields<'_>) -> Option<crate::registries::TalosVersion> {
        let node = fields.get("version")?;
        let path = fields.at("version");
        let text = self.text(node, &path)?;
        text.parse()
            .map_err(|error| self.problems.add(Code::WrongType, &node.span, path, format!("{error}")))
            .ok()
    }

    /// Reads a mapping of names.
    fn section<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        mut read: impl FnMut(&mut Self, &Entry, &str) -> T,
    ) -> IndexMap<String, T> {
        let Some(node) = fields.get(key) else { return IndexMap::new() };
        let path = fields.at(key);
        if !node.is_mapping() {
            self.wrong_type(node, &path, "a mapping of names");
        }
        let entries = node.entries().iter();
        entries.map(|entry| (entry.key.clone(), read(self, entry, &join(&path, &entry.key)))).collect()
    }

    fn mirror(&mut self, entry: &Entry, path: &str) -> Option<Mirror> {
        let fields = self.fields(&entry.value, path, MIRROR).named_at(&entry.key_span);
        let url = self.text_or_env(&fields, "url");
        if fields.get("url").is_none() {
            self.missing(&fields, "url", "the mirror's URL");
        }
        if fields.get("kind").is_none() {
            self.missing(&fields, "kind", "one of harbor, path, plain, cache, raw");
        }
        let kind = self.word(&fields, "kind", MirrorKind::NAMES)?;
        let mut mirror = self.mirror_of(&fields, &kind, url?);
        mirror.serves =
            self.strings(&fields, "serves").map(|names| names.into_iter().map(|(name, _)| name).collect());
        mirror.span = entry.key_span.clone();
        Some(mirror)
    }

    /// Reads what a mirror has in both forms.
    fn mirror_of(&mut self, fields: &Fields<'_>, kind: &str, url: String) -> Mirror {
        let own: &[&str] = match kind {
            "harbor" => &["project", "projects"],
            "path" => &["path", "paths"],
            "raw" => &["overridePath"],
            _ => &[],
        };
        for key in ["project", "projects", "path", "paths", "overridePath"] {
            if let Some(entry) = fields.entry(key)
                && !own.contains(&key)
            {
                let message = format!("a mirror of kind {kind} takes no `{key}`");
                let problem = self.problems.add(Code::UnknownField, &entry.key_span, fields.at(key), message);
                problem.help = Some(match key {
                    "overridePath" => {
                        "leave it out: it is derived. For a URL used as it stands there is kind raw"
                            .to_owned()
                    }
                    "path" | "paths" => "that is kind path".to_owned(),
                    _ => "that is kind harbor".to_owned(),
                });
            }
        }
        let kind = match kind {
            "harbor" => MirrorKind::Harbor {
                project: self.string(fields, "project").unwrap_or_else(|| "{registry}".to_owned()),
                projects: self.texts(fields, "projects"),
            },
            "path" => MirrorKind::Path {
                path: self.string(fields, "path").unwrap_or_else(|| "/v2/{registry}".to_owned()),
                paths: self.texts(fields, "paths"),
            },
            "plain" => MirrorKind::Plain,
            "cache" => MirrorKind::Cache,
            _ => MirrorKind::Raw { override_path: self.boolean(fields, "overridePath").unwrap_or(false) },
        };
        Mirror {
            kind,
            url: url.trim_end_matches('/').to_owned(),
            serves: None,
            credentials: self.credentials(fields, "credentials").get().cloned(),
            tls: self.tls(fields, "tls").get().cloned(),
            in_cluster: self.boolean(fields, "inCluster").unwrap_or(false),
            span: fields.span.clone(),
            url_span: fields
                .get("url")
                .or(fields.get("mirror"))
                .map(|url| url.span.clone())
                .unwrap_or_default(),
        }
    }

    fn texts(&mut self, fields: &Fields<'_>, key: &str) -> IndexMap<String, String> {
        let texts = self.section(fields, key, |decoder, entry, path| decoder.text(&entry.value, path));
        texts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
    }

    /// Reads the short form: one mirror at the top, and the registries that go through it.
    fn one_mirror(&mut self, fields: &Fields<'_>, inventory: &mut Inventory) {
        let kind = match fields.get("kind").and_then(Node::as_str) {
            None | Some("Inventory") => Some("harbor".to_owned()),
            Some(_) => self.word(fields, "kind", MirrorKind::NAMES),
        };
        let (Some(kind), Some(url)) = (kind, self.text_or_env(fields, "mirror")) else { return };
        let name = one_mirror_name(fields);
        let mut mirror = self.mirror_of(fields, &kind, url);
        mirror.span = fields.entry("mirror").map(|entry| entry.key_span.clone()).unwrap_or_default();
        inventory.mirrors.insert_before(0, name.clone(), mirror);
        if inventory.base.via == Set::Keep {
            inventory.base.via = Set::To(vec![Via::Mirror(name)]);
        }
        let fallback = self.fallback(fields, "fallback");
        inventory.base.fallback = inventory.base.fallback.then(&fallback);
    }

    fn layer(&mut self, fields: &Fields<'_>) -> Layer {
        let mut layer = Layer::default();
        if let Some(node) = fields.get("defaults") {
            let defaults = self.fields(node, &fields.at("defaults"), DEFAULTS);
            layer.via = self.via(&defaults, "via");
            layer.fallback = self.fallback(&defaults, "fallback");
        }
        let Some(node) = fields.get("registries") else { return layer };
        let path = fields.at("registries");
        if node.is_sequence() {
            for (name, item) in self.strings(fields, "registries").unwrap_or_default() {
                let placed = Placed { value: Some(Registry::default()), span: item.span.clone() };
                if layer.registries.insert(name.clone(), placed).is_some() {
                    self.problems.add(
                        Code::Syntax,
                        &item.span,
                        path.clone(),
                        format!("`{name}` is there twice"),
                    );
                }
            }
        } else {
            layer.registries = self.section(fields, "registries", |decoder, entry, path| {
                let value = if entry.value.is_null() && !entry.value.span.is_empty() {
                    None
                } else {
                    Some(decoder.registry(&entry.value, path))
                };
                Placed { value, span: entry.key_span.clone() }
            });
        }
        layer
    }

    fn registry(&mut self, node: &Node, path: &str) -> Registry {
        let fields = self.fields(node, path, REGISTRY);
        let upstream = match fields.entry("upstream") {
            Some(entry) if entry.value.is_null() => {
                Upstream { url: Set::Clear, credentials: Set::Clear, tls: Set::Clear }
            }
            Some(entry) => {
                let upstream = self.fields(&entry.value, &fields.at("upstream"), UPSTREAM);
                let url = self.set(&upstream, "url", |decoder, _| decoder.text_or_env(&upstream, "url"));
                let url = match url {
                    Set::To(url) => Set::To(url.trim_end_matches('/').to_owned()),
                    other => other,
                };
                Upstream {
                    url,
                    credentials: self.credentials(&upstream, "credentials"),
                    tls: self.tls(&upstream, "tls"),
                }
            }
            None => Upstream::default(),
        };
        Registry { via: self.via(&fields, "via"), fallback: self.fallback(&fields, "fallback"), upstream }
    }

    /// Tells a field that is not there from one that is null.
    fn set<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        read: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) -> Set<T> {
        match fields.entry(key) {
            None => Set::Keep,
            Some(entry) if entry.value.is_null() => Set::Clear,
            Some(entry) => read(self, &entry.value).map_or(Set::Keep, Set::To),
        }
    }

    fn via(&mut self, fields: &Fields<'_>, key: &str) -> Set<Vec<Via>> {
        self.set(fields, key, |decoder, _| {
            let names = decoder.strings(fields, key)?;
            let mut hops = Vec::new();
            for (at, (name, item)) in names.into_iter().enumerate() {
                if name == "upstream" {
                    hops.push(Via::Upstream);
                    continue;
                }
                if !decoder.mirrors.contains(&name) {
                    let path = format!("{}[{at}]", fields.at(key));
                    let problem = decoder.problems.add(
                        Code::UnknownMirror,
                        &item.span,
                        path,
                        format!("no mirror is named `{name}`"),
                    );
                    let known = decoder.mirrors.iter().map(String::as_str);
                    problem.help = Some(match did_you_mean(&name, known.chain(["upstream"])) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if decoder.mirrors.is_empty() => "define it in `mirrors`".to_owned(),
                        None => format!("known: {}, and `upstream`", decoder.mirrors.join(", ")),
                    });
                }
                hops.push(Via::Mirror(name));
            }
            Some(hops)
        })
    }

    fn fallback(&mut self, fields: &Fields<'_>, key: &str) -> Set<Fallback> {
        self.set(fields, key, |decoder, _| {
            let word = decoder.word(fields, key, &["upstream", "never"])?;
            Some(if word == "never" { Fallback::Never } else { Fallback::Upstream })
        })
    }

    fn credentials(&mut self, fields: &Fields<'_>, key: &str) -> Set<Credentials> {
        let path = fields.at(key);
        self.set(fields, key, |decoder, node| {
            let fields = decoder.fields(node, &path, CREDENTIALS);
            let username = decoder.string(&fields, "username");
            let password = decoder.secret(&fields, "password", "passwordFrom");
            let auth = decoder.secret(&fields, "auth", "authFrom");
            let token = decoder.secret(&fields, "identityToken", "identityTokenFrom");
            let wrong = |decoder: &mut Self, message: &str| {
                decoder.problems.add(Code::AuthForms, &fields.span, path.clone(), message).reason = Some(
                    "Talos takes username and password, or auth, or identityToken: one of them, whole"
                        .to_owned(),
                );
                None
            };
            match (username, password, auth, token) {
                (Some(username), Some(password), None, None) => {
                    Some(Credentials::Pair { username, password })
                }
                (None, None, Some(auth), None) => Some(Credentials::Raw(auth)),
                (None, None, None, Some(token)) => Some(Credentials::IdentityToken(token)),
                (Some(_), None, None, None) => wrong(decoder, "there is a username without a password"),
                (None, Some(_), None, None) => wrong(decoder, "there is a password without a username"),
                (None, None, None, None) => wrong(decoder, "there are no credentials in it"),
                _ => wrong(decoder, "there is more than one form of credentials"),
            }
        })
    }

    /// Reads a secret that stands under one key or is fetched by what stands under the other.
    fn secret(&mut self, fields: &Fields<'_>, key: &str, from: &str) -> Option<SecretRef> {
        let inline = self.string(fields, key);
        if let (Some(text), Some(node)) = (&inline, fields.get(key)) {
            self.check_variable(text, node, &fields.at(key), from);
        }
        let Some(node) = fields.get(from) else {
            return inline.map(|text| SecretRef::Inline(Secret::new(text)));
        };
        let path = fields.at(from);
        if fields.get(key).is_some() {
            let message = format!("`{key}` and `{from}` are both there");
            self.problems.add(Code::TwoSources, &node.span, path.clone(), message).help =
                Some("keep one".to_owned());
        }
        let reference = self.fields(node, &path, REFERENCE);
        let named: Vec<&str> = REFERENCE.iter().copied().filter(|key| reference.get(key).is_some()).collect();
        match named.as_slice() {
            ["env"] => self.string(&reference, "env").map(SecretRef::Env),
            ["file"] => self.string(&reference, "file").map(|path| SecretRef::File(path.into())),
            ["stdin"] => self.boolean(&reference, "stdin").filter(|on| *on).map(|_| SecretRef::Stdin),
            ["command"] => {
                let argv = self.strings(&reference, "command")?;
                Some(SecretRef::Command(argv.into_iter().map(|(word, _)| word).collect()))
            }
            _ => {
                let message = format!("`{path}` names one place");
                self.problems.add(Code::MissingField, &node.span, path, message).help = Some(
                    "write {env: NAME}, {file: PATH}, {command: [PROGRAM, ARGUMENT]} or {stdin: true}"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// Finds a variable or a reference of another tool where the secret itself should stand.
    fn check_variable(&mut self, text: &str, node: &Node, path: &str, from: &str) {
        let name = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
        let name = name.or_else(|| text.strip_prefix('$'));
        let is_name = |name: &&str| {
            let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && name.chars().all(word)
        };
        let help = match name.filter(is_name) {
            Some(name) => format!("write {from}: {{env: {name}}}"),
            None if text.starts_with("op://") => format!("write {from}: {{command: [op, read, 'op://…']}}"),
            None => return,
        };
        let message =
            format!("`{path}` is a reference that nothing fills in: nodes would get it as it stands");
        self.problems.add(Code::Reference, &node.span, path, message).help = Some(help);
    }

    fn tls(&mut self, fields: &Fields<'_>, key: &str) -> Set<Tls> {
        let path = fields.at(key);
        self.set(fields, key, |decoder, node| {
            let fields = decoder.fields(node, &path, TLS);
            let tls = Tls {
                ca: decoder.inline_or_file(&fields, "ca", "caFile"),
                client_identity: fields
                    .get("clientIdentity")
                    .and_then(|node| decoder.client_identity(node, &fields)),
                insecure_skip_verify: decoder.boolean(&fields, "insecureSkipVerify").unwrap_or(false),
            };
            if tls == Tls::default() && node.entries().iter().all(|entry| entry.key == "insecureSkipVerify") {
                decoder
                    .problems
                    .add(Code::EmptyTls, &fields.span, path.clone(), format!("`{path}` sets nothing"))
                    .help = Some("leave it out".to_owned());
            }
            Some(tls)
        })
    }

    fn client_identity(&mut self, node: &Node, tls: &Fields<'_>) -> Option<(Text, SecretRef)> {
        let fields = self.fields(node, &tls.at("clientIdentity"), CLIENT_IDENTITY);
        let cert = self.inline_or_file(&fields, "cert", "certFile");
        let key = self.secret(&fields, "key", "keyFrom");
        if cert.is_none() || key.is_none() {
            let message = format!("`{}` needs both a certificate and a key", fields.path);
            self.problems.add(Code::ClientIdentity, &fields.span, fields.path.clone(), message).help =
                Some("cert or certFile, and key or keyFrom".to_owned());
        }
        Some((cert?, key?))
    }

    fn inline_or_file(&mut self, fields: &Fields<'_>, key: &str, file: &str) -> Option<Text> {
        let inline = self.string(fields, key);
        let Some(entry) = fields.entry(file).filter(|entry| !entry.value.is_null()) else {
            return inline.map(Text::Inline);
        };
        if inline.is_some() {
            let message = format!("`{key}` and `{file}` are both there");
            self.problems.add(Code::TwoSources, &entry.key_span, fields.at(file), message).help =
                Some("keep one".to_owned());
        }
        self.string(fields, file).map(|path| Text::File(path.into()))
    }

    fn group(&mut self, node: &Node, path: &str) -> Group {
        let fields = self.fields(node, path, GROUP);
        let nodes = self.strings(&fields, "nodes").unwrap_or_default();
        let mut addresses = Vec::new();
        for (text, item) in self.strings(&fields, "addresses").unwrap_or_default() {
            if let Ok(network) =
                text.parse::<ipnet::IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(Into::into))
            {
                addresses.push(network);
            } else {
                let message = format!("`{text}` is no network such as 10.9.0.0/16");
                self.problems.add(Code::WrongType, &item.span, fields.at("addresses"), message);
            }
        }
        Group {
            nodes: nodes.into_iter().map(|(name, _)| name).collect(),
            role: self.role(&fields),
            addresses,
            layer: self.layer(&fields),
        }
    }

    fn role(&mut self, fields: &Fields<'_>) -> Option<Role> {
        let word = self.word(fields, "role", &["controlplane", "worker"])?;
        Some(if word == "worker" { Role::Worker } else { Role::ControlPlane })
    }

    fn nodes(&mut self, fields: &Fields<'_>) -> IndexMap<String, NodeEntry> {
        if fields.get("nodes").is_some_and(Node::is_sequence) {
            let addresses = self.strings(fields, "nodes").unwrap_or_default();
            let node = |address: String| NodeEntry { address: Some(address), ..NodeEntry::default() };
            return addresses.into_iter().map(|(address, _)| (address.clone(), node(address))).collect();
        }
        self.section(fields, "nodes", |decoder, entry, path| {
            let fields = decoder.fields(&entry.value, path, NODE);
            NodeEntry {
                address: decoder.string(&fields, "address"),
                role: decoder.role(&fields),
                version: decoder.talos_version(&fields),
                layer: decoder.layer(&fields),
            }
        })
    }

    fn output(&mut self, fields: &Fields<'_>) -> Output {
        let Some(node) = fields.get("output") else { return Output::default() };
        let fields = self.fields(node, "output", OUTPUT);
        Output {
            dir: self.string(&fields, "dir").map(PathBuf::from),
            format: self.word(&fields, "format", &["auto", "json-patch", "strategic", "documents"]),
            layout: self.word(&fields, "layout", &["single", "per-group", "per-node"]),
            encrypt: self.word(&fields, "encrypt", &["sops", "none"]).map(|word| word == "sops"),
        }
    }

    fn rollout(&mut self, fields: &Fields<'_>) -> Rollout {
        let defaults = Rollout::default();
        let Some(node) = fields.get("rollout") else { return defaults };
        let fields = self.fields(node, "rollout", ROLLOUT);
        let names = |list: Option<Vec<(String, &Node)>>| -> Option<Vec<String>> {
            Some(list?.into_iter().map(|(name, _)| name).collect())
        };
        Rollout {
            order: names(self.strings(&fields, "order")).unwrap_or(defaults.order),
            canary: names(self.strings(&fields, "canary")).unwrap_or(defaults.canary),
            max_parallel: self.count(&fields, "maxParallel").unwrap_or(defaults.max_parallel),
            max_failures: self.count(&fields, "maxFailures").unwrap_or(defaults.max_failures),
            try_timeout: self.duration(&fields, "tryTimeout").unwrap_or(defaults.try_timeout),
            reboot: self.word(&fields, "reboot", &["never", "if-needed"]).unwrap_or(defaults.reboot),
            pause: self.duration(&fields, "pause").unwrap_or(defaults.pause),
        }
    }

    fn verify(&mut self, fields: &Fields<'_>) -> Verify {
        let defaults = Verify::default();
        let Some(node) = fields.get("verify") else { return defaults };
        let fields = self.fields(node, "verify", VERIFY);
        let mut images = Vec::new();
        for (text, item) in self.strings(&fields, "images").unwrap_or_default() {
            if let Err(error) = text.parse::<crate::image::Reference>() {
                self.problems.add(Code::WrongType, &item.span, fields.at("images"), error.to_string());
            }
            images.push(text);
        }
        Verify {
            images,
            require_mirror_hit: self
                .boolean(&fields, "requireMirrorHit")
                .unwrap_or(defaults.require_mirror_hit),
            timeout: self.duration(&fields, "timeout").unwrap_or(defaults.timeout),
        }
    }
}
