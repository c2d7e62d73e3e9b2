use super::declared::{Declared, Deleted, Listed};
use super::place::{At, Located};
use super::source_file::{Findings, SourceFile};
use crate::finding::Code;
use crate::image::RegistryHost;
use crate::machineconfig::{Fields, Found, Reader, Role as Document};
use crate::registries::Endpoint;
use crate::yaml::Node;

/// The kind of Talos' document with the rules for the verification of images.
const IMAGE_VERIFICATION: &str = "ImageVerificationConfig";

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Controlplane,
    Worker,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Controlplane => "controlplane",
            Self::Worker => "worker",
        }
    }
}

/// Which nodes something is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Role(Role),
    /// One node; what is for all and for its role comes first.
    Node(String),
    /// All that one node has.
    Whole(String),
}

/// A node that a source names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeInfo {
    pub(super) name: String,
    pub(super) address: Option<String>,
    pub(super) role: Option<Role>,
    /// Whether what is for its role is not for it.
    pub(super) overrides_group: bool,
}

/// All that the sources say.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) declared: Vec<(Scope, Declared)>,
    pub(super) nodes: Vec<NodeInfo>,
    /// The Talos version, as some file gives it.
    pub(super) version: Option<String>,
    /// Whether the source is another tool's, which finds credentials by either name of Docker Hub.
    pub(super) either_hub_name: bool,
    /// Files that sources name, by the paths they name them by.
    pub(super) related: std::collections::BTreeMap<String, String>,
    /// The source that what is read now belongs to, where that is not the file itself.
    pub(super) source: Option<String>,
    /// Whether variables in patches are filled in before they are read.
    pub(super) fills_variables: bool,
    /// Rules for the verification of images, as Talos has them.
    pub(super) verification: Vec<serde_json::Value>,
    /// What people wrote about registries.
    pub(super) comments: super::comments::Comments,
    pub(super) findings: Findings,
}

/// What a text of Talos' own documents is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A config: what else is in it is of no concern.
    Config,
    /// A patch: what else is in it is left out, and that is said.
    Patch,
}

impl Reading {
    /// Keeps what a file declares for some nodes.
    pub(super) fn push(&mut self, scope: Scope, declared: Declared, file: &SourceFile<'_>) {
        let source = self.source.clone().unwrap_or_else(|| file.name.to_owned());
        self.declared.push((scope, Declared { source, ..declared }));
    }

    /// Notes a node, and what is said of it in another place.
    pub(super) fn know(&mut self, name: &str, role: Option<Role>) -> &mut NodeInfo {
        let known = self.nodes.iter().position(|node| node.name == name);
        let at = known.unwrap_or_else(|| {
            self.nodes.push(NodeInfo { name: name.to_owned(), ..NodeInfo::default() });
            self.nodes.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        let node = &mut self.nodes[at];
        node.role = node.role.or(role);
        node
    }

    /// Returns the items of a list; what is there and is none is told.
    pub(super) fn items<'n>(
        &mut self,
        file: &SourceFile<'_>,
        node: Option<&'n Node>,
        path: &str,
    ) -> &'n [Node] {
        let Some(node) = node else { return &[] };
        let mut problems = file.problems();
        let items = Fields::new(&mut problems).list(node, path);
        file.keep(problems, &mut self.findings);
        items
    }

    /// Returns a mapping; what is there and is none is told.
    pub(super) fn mapping<'n>(
        &mut self,
        file: &SourceFile<'_>,
        node: Option<&'n Node>,
        path: &str,
    ) -> Option<&'n Node> {
        let node = node.filter(|node| !node.is_null())?;
        let mut problems = file.problems();
        let mapping = Fields::new(&mut problems).mapping(node, path);
        file.keep(problems, &mut self.findings);
        mapping
    }

    /// Keeps the endpoints of one registry for all nodes.
    pub(super) fn mirror_of(
        &mut self,
        registry: &str,
        endpoints: Vec<(Endpoint, At)>,
        at: At,
        file: &SourceFile<'_>,
    ) {
        let endpoints = endpoints.into_iter().map(|(value, at)| Located { value, at }).collect::<Vec<_>>();
        if endpoints.is_empty() {
            return;
        }
        let mut declared = Declared::default();
        let value = Listed { endpoints, never: false, one_override: false };
        declared.mirrors.insert(registry.to_owned(), Located { value, at });
        self.push(Scope::All, declared, file);
    }

    /// Reads a block of registries in Talos' legacy form, wherever it stands.
    pub(super) fn section(&mut self, file: &SourceFile<'_>, node: &Node, path: &str) -> Declared {
        let mut problems = file.problems();
        let mut reader = Reader::new(&mut problems);
        reader.section(node, path);
        let found = reader.finish();
        file.keep(problems, &mut self.findings);
        Declared::from_found(&found, file, &mut self.findings)
    }

    /// Reads Talos' own documents: the v1alpha1 one and those of registries.
    pub(super) fn talos(
        &mut self,
        file: &SourceFile<'_>,
        roots: &[&Node],
        purpose: Purpose,
    ) -> (Declared, NodeInfo) {
        let mut problems = file.problems();
        let (mut legacy, mut documents) = (Reader::new(&mut problems), Found::default());
        let mut node = NodeInfo::default();
        for root in roots {
            if Document::of(root) == Document::Machine {
                if let Some(registries) = root.at(&["machine", "registries"]) {
                    legacy.section(registries, "machine.registries");
                }
                self.files(file, root);
                self.describe(root, &mut node);
            }
        }
        let mut found = legacy.finish();
        let mut reader = Reader::new(&mut problems);
        for root in roots {
            if let Document::Registry(kind, _) = Document::of(root) {
                reader.document(kind, root);
            }
        }
        documents.overlay(reader.finish());
        found.overlay(documents);
        file.keep(problems, &mut self.findings);
        for root in roots {
            self.image_verification(file, root);
        }
        if purpose == Purpose::Patch {
            self.others(file, roots);
        }
        let mut deleted = Deleted::default();
        for (path, span) in &found.deleted {
            let names = found.mirrors.keys().chain(found.auth.keys()).chain(found.tls.keys());
            let replaced = match path.rsplit_once('.') {
                _ if path == "machine.registries" => !found.is_empty(),
                _ => names.into_iter().any(|name| path.ends_with(name.as_str())),
            };
            let at = file.at(span, path.clone());
            let told = self.findings.list.len();
            let message = format!("the deletion of `{path}` is left out");
            self.deletion(file, path, &at, message, &mut deleted);
            if replaced && !self.is_of_earlier(file, path) {
                self.findings.list.truncate(told);
            }
        }
        let declared = Declared::from_found(&found, file, &mut self.findings);
        (Declared { deleted, ..declared }, node)
    }

    /// Returns what earlier patches of the source that is read now say.
    fn earlier(&self, file: &SourceFile<'_>) -> impl Iterator<Item = &Declared> {
        let source = self.source.clone().unwrap_or_else(|| file.name.to_owned());
        let all = self.declared.iter().map(|(_, declared)| declared);
        all.filter(move |declared| declared.source == source)
    }

    /// Tells whether a path is one of what earlier patches of the source say, or holds some of it.
    fn is_of_earlier(&self, file: &SourceFile<'_>, path: &str) -> bool {
        self.earlier(file).any(|declared| {
            let mirrors = declared.mirrors.values().map(|mirror| &mirror.at.path);
            let credentials = declared.credentials.values().map(|value| &value.at.path);
            let settings = declared.tls.values().map(|value| &value.at.path);
            let mut all = mirrors.chain(credentials).chain(settings);
            all.any(|known| known.starts_with(path) || path.starts_with(known.as_str()))
        })
    }

    /// Takes over what a patch deletes of earlier patches' mirrors, or tells that it is left out.
    pub(super) fn deletion(
        &mut self,
        file: &SourceFile<'_>,
        path: &str,
        at: &At,
        message: String,
        deleted: &mut Deleted,
    ) {
        if !self.is_of_earlier(file, path) {
            self.findings.add(Code::Dropped, at, message).reason =
                Some("an inventory says what is there".to_owned());
            return;
        }
        let settings = self.earlier(file).any(|known| !known.credentials.is_empty() || !known.tls.is_empty());
        if matches!(path, "machine.registries.mirrors" | "machine.registries") {
            deleted.all = true;
            if path == "machine.registries.mirrors" || !settings {
                return;
            }
        }
        let rest = path.strip_prefix("machine.registries.mirrors.");
        let rest = rest.or_else(|| path.strip_prefix("RegistryMirrorConfig/"));
        let named = |declared: &Declared| {
            let of = |name: &&String| {
                rest.is_some_and(|rest| rest.strip_suffix(".endpoints").unwrap_or(rest) == **name)
            };
            declared.mirrors.keys().find(of).cloned()
        };
        let name = self.earlier(file).find_map(named);
        if let Some(name) = name {
            deleted.names.push(name);
            return;
        }
        self.findings.lose(Code::Dropped, at, message).reason =
            Some("an earlier patch sets what it deletes".to_owned());
    }

    /// Keeps the rules of a document for the verification of images; an inventory has one list of them.
    fn image_verification(&mut self, file: &SourceFile<'_>, root: &Node) {
        if root.get("kind").and_then(Node::as_str) != Some(IMAGE_VERIFICATION) {
            return;
        }
        let at = file.at(&root.span, "rules");
        let rules = root.get("rules").filter(|rules| rules.is_sequence() && root.get("$patch").is_none());
        let Some(rules) = rules else {
            let message = format!("`{IMAGE_VERIFICATION}` without a list of rules is left out");
            self.findings.lose(Code::Dropped, &at, message);
            return;
        };
        let rules: Vec<serde_json::Value> = rules.items().iter().map(Node::to_json).collect();
        if self.verification.is_empty() {
            self.verification = rules;
        } else if self.verification != rules {
            let message = "other rules for the verification of images than in an earlier source are left out";
            self.findings.lose(Code::Dropped, &at, message).reason =
                Some("an inventory has one list of them for all nodes".to_owned());
        }
    }

    /// Tells the files of a machine that are for containerd's registries: they stay in its config, beside the inventory.
    fn files(&mut self, file: &SourceFile<'_>, root: &Node) {
        for item in root.at(&["machine", "files"]).map(Node::items).unwrap_or_default() {
            let text = |key: &str| item.get(key).and_then(Node::as_str).unwrap_or_default();
            let (path, content) = (text("path"), text("content"));
            if path.ends_with("/hosts.toml")
                || content.contains(".registry.")
                || content.contains(".registry]")
            {
                let message =
                    format!("`{path}` sets registries of containerd, which the inventory does not have");
                let problem =
                    self.findings.add(Code::Dropped, &file.at(&item.span, "machine.files"), message);
                problem.reason =
                    Some("the file stays in the machine config, and containerd reads it".to_owned());
                problem.help =
                    Some("import what it holds as a file of its own, and take it out there".to_owned());
            }
        }
    }

    /// Takes the name, role and version out of a v1alpha1 document.
    fn describe(&mut self, root: &Node, node: &mut NodeInfo) {
        let text = |path: &[&str]| root.at(path).and_then(Node::as_str).map(str::to_owned);
        if let Some(name) = text(&["machine", "network", "hostname"]) {
            node.name = name;
        }
        node.role = match text(&["machine", "type"]).as_deref() {
            Some("controlplane" | "init") => Some(Role::Controlplane),
            Some("worker" | "join") => Some(Role::Worker),
            _ => node.role,
        };
        let image = text(&["machine", "install", "image"]);
        let tag = image.as_deref().and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag.to_owned());
        self.version =
            tag.filter(|tag| tag.parse::<crate::registries::TalosVersion>().is_ok()).or(self.version.take());
    }

    /// Says which parts of a patch are not about registries.
    fn others(&mut self, file: &SourceFile<'_>, roots: &[&Node]) {
        let mut others = Vec::new();
        for root in roots {
            match Document::of(root) {
                Document::Machine => {
                    let machine = root.get("machine").map(Node::entries).unwrap_or_default().iter();
                    let machine =
                        machine.filter(|entry| !matches!(entry.key.as_str(), "registries" | "$patch"));
                    others.extend(
                        machine.map(|entry| (format!("machine.{}", entry.key), entry.key_span.clone())),
                    );
                    let known = ["machine", "version", "debug", "persist", "sops"];
                    let top = root.entries().iter().filter(|entry| !known.contains(&entry.key.as_str()));
                    others.extend(top.map(|entry| (entry.key.clone(), entry.key_span.clone())));
                }
                Document::Other => {
                    let kind = root.get("kind").and_then(Node::as_str);
                    if let Some(kind) = kind.filter(|kind| *kind != IMAGE_VERIFICATION) {
                        others.push((kind.to_owned(), root.span.clone()));
                    }
                }
                Document::Registry(..) => {}
            }
        }
        if let Some((_, span)) = others.first() {
            let names: Vec<String> = others.iter().map(|(name, _)| format!("`{name}`")).collect();
            let at = file.at(span, "");
            let verb = if names.len() == 1 { "is" } else { "are" };
            let message = format!("{} {verb} not about registries, and {verb} left out", names.join(", "));
            self.findings.add(Code::Dropped, &at, message);
        }
    }
}

/// Tells whether a text can be the key of credentials: a host, perhaps with a port.
pub(super) fn is_host(text: &str) -> bool {
    text.parse::<RegistryHost>().is_ok()
}
