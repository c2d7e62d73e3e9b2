use std::ops::Range;

use indexmap::IndexMap;

use super::fields::{DEFAULTS, GROUP, LINT, MIRROR, NODE, ONE_MIRROR, REGISTRY, ROOT, UPSTREAM};
use super::harbor::HarborSettings;
use super::model::{
    Fallback, Group, Inventory, Layer, Mirror, MirrorKind, Node as NodeEntry, Placed, Registry, Role, Set,
    Upstream, Via,
};
use crate::finding::Code;
use crate::finding::did_you_mean;
use crate::finding::{Decoder, Fields, join};
use crate::yaml::{Entry, Node};

/// Returns the name of the short form's mirror: that of its kind.
fn one_mirror_name(fields: &Fields<'_>) -> String {
    let kind =
        fields.get("kind").and_then(Node::as_str).filter(|kind| *kind != "Inventory").unwrap_or("harbor");
    let taken = fields.get("mirrors").is_some_and(|mirrors| mirrors.get(kind).is_some());
    if taken { "mirror".to_owned() } else { kind.to_owned() }
}

/// Writes a URL in one way: the scheme in lower case, no slash at the end.
fn plain_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            format!("{}://{rest}", scheme.to_ascii_lowercase())
        }
        Some(_) | None => url.to_owned(),
    }
}

impl Decoder<'_, '_> {
    /// Reads a whole inventory, in its full form or in the short one with `mirror:`.
    pub(super) fn inventory(&mut self, root: &Node) -> Inventory {
        let fields = self.fields(root, "", ROOT);
        self.names = fields
            .get("mirrors")
            .map(Node::entries)
            .unwrap_or_default()
            .iter()
            .map(|e| e.key.clone())
            .collect();
        if fields.get("mirror").is_some() {
            self.names.push(one_mirror_name(&fields));
        }
        let mut inventory = Inventory {
            cluster: self.string(&fields, "cluster"),
            talos: self.talos(&fields),
            base: self.layer(&fields),
            ..Inventory::default()
        };
        self.version(&fields);
        let mirrors = self.section(&fields, "mirrors", Decoder::mirror);
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
        inventory.groups = self.section(&fields, "groups", |decoder, entry, path| {
            decoder.check_name(&entry.key, &entry.key_span, path);
            decoder.group(&entry.value, path)
        });
        inventory.nodes = self.nodes(&fields);
        inventory.output = self.output(&fields);
        inventory.rollout = self.rollout(&fields);
        inventory.verify = self.verify(&fields);
        inventory.verification = self.verification(&fields);
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

    /// Checks a name that becomes a directory below the output's.
    fn check_name(&mut self, name: &str, span: &Range<usize>, path: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '[' | ']');
        let reserved = matches!(name, "" | "." | "..") || (name == "base" && path.starts_with("groups."));
        if reserved || !name.chars().all(allowed) {
            self.problems.add(Code::BadName, span, path, format!("`{name}` cannot be a name here")).help =
                Some("use letters, digits, `.`, `_`, `-` and `:`".to_owned());
        }
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
            "harbor" => &["project", "projects", "admin", "harbor"],
            "path" => &["path", "paths"],
            "raw" => &["overridePath"],
            _ => &[],
        };
        for key in ["project", "projects", "path", "paths", "overridePath", "admin", "harbor"] {
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
            url: plain_url(&url),
            serves: None,
            credentials: self.credentials(fields, "credentials").get().cloned(),
            tls: self.tls(fields, "tls").get().cloned(),
            in_cluster: self.boolean(fields, "inCluster").unwrap_or(false),
            admin: if own.contains(&"admin") {
                self.credentials(fields, "admin").get().cloned()
            } else {
                None
            },
            harbor: if own.contains(&"harbor") {
                self.harbor_settings(fields)
            } else {
                HarborSettings::default()
            },
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
                if !entry.value.is_mapping()
                    && !entry.value.is_null()
                    && REGISTRY.contains(&entry.key.as_str())
                {
                    let message = format!("`{}` is a setting of a registry, not a registry", entry.key);
                    decoder.problems.add(Code::WrongType, &entry.key_span, path, message).help =
                        Some("indent it below the registry's name".to_owned());
                    return Placed { value: None, span: entry.key_span.clone() };
                }
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
                    Set::To(url) => Set::To(plain_url(&url)),
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
        Registry {
            via: self.via(&fields, "via"),
            fallback: self.fallback(&fields, "fallback"),
            upstream,
            harbor: self.set(&fields, "harbor", |decoder, _| Some(decoder.harbor_project(&fields))),
        }
    }

    /// Tells a field that is not there from one that is null.
    pub(super) fn set<T>(
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
                if !decoder.names.contains(&name) {
                    let path = format!("{}[{at}]", fields.at(key));
                    let problem = decoder.problems.add(
                        Code::UnknownMirror,
                        &item.span,
                        path,
                        format!("no mirror is named `{name}`"),
                    );
                    let known = decoder.names.iter().map(String::as_str);
                    problem.help = Some(match did_you_mean(&name, known.chain(["upstream"])) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if decoder.names.is_empty() => "define it in `mirrors`".to_owned(),
                        None => format!("known: {}, and `upstream`", decoder.names.join(", ")),
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
                let message = format!("`{text}` is not a valid network, such as 10.9.0.0/16");
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
            for (address, item) in &addresses {
                self.check_name(address, &item.span, "nodes");
            }
            let node = |address: String| NodeEntry { address: Some(address), ..NodeEntry::default() };
            return addresses.into_iter().map(|(address, _)| (address.clone(), node(address))).collect();
        }
        self.section(fields, "nodes", |decoder, entry, path| {
            decoder.check_name(&entry.key, &entry.key_span, path);
            let fields = decoder.fields(&entry.value, path, NODE);
            NodeEntry {
                reported: Vec::new(),
                address: decoder.string(&fields, "address"),
                role: decoder.role(&fields),
                version: decoder.talos_version(&fields),
                layer: decoder.layer(&fields),
            }
        })
    }
}
