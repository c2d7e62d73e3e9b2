use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::corrections::{PullRoute, Step, routes};
use super::declared::Declared;
use super::hosts_settings::{Hosts, Upstream};
use super::inventory_text::{Draft, in_order};
use super::kind::{SourceKind, detect, of_other_text, of_stream, unfilled};
use super::layers::{Layer, Layers};
use super::mirrors::factor;
use super::place::At;
use super::readers::{Reading, Role, Scope};
use super::source_file::SourceFile;
use super::talenv::{self, Variable};
use super::{
    comments, grouping, hosts, k3s, settings, shapes, talhelper, talos, toml_files, topf, verification,
};
use crate::finding::{Code, Problem, Severity};
use crate::image::api_host;
use crate::inventory::{engine_of, engine_of_file, engine_of_toml, hidden_in, parse as parse_inventory};
use crate::registries::TalosVersion;
use crate::yaml::{Stream, parse};

/// A file to import, decrypted.
#[derive(Clone)]
pub struct Source {
    /// Its path as the user gave it; the folder of a `hosts.toml` is named after the registry.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The nodes that it is for by where it lies, if it is a patch.
    pub nodes: Nodes,
}

/// The nodes that a patch is for by the folder that it lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nodes {
    /// All of them.
    #[default]
    All,
    /// The control plane.
    Controlplane,
    /// The workers.
    Workers,
    /// One.
    Named(String),
}

impl Source {
    /// Takes a file that is for all nodes.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), nodes: Nodes::All }
    }

    fn scope(&self) -> Scope {
        match &self.nodes {
            Nodes::All => Scope::All,
            Nodes::Controlplane => Scope::Role(Role::Controlplane),
            Nodes::Workers => Scope::Role(Role::Worker),
            Nodes::Named(name) => Scope::Node(name.clone()),
        }
    }
}

/// Leaves the text out: it may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the user said about the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What they are, where that cannot be seen.
    pub kind: Option<SourceKind>,
    /// The cluster's Talos version; else what the files say.
    pub talos: Option<TalosVersion>,
    /// The files that [`super::related_files`] names, by those names.
    pub related: BTreeMap<String, String>,
    /// What is filled in into talhelper's files, by name.
    pub variables: BTreeMap<String, Variable>,
}

/// The result of an import.
#[derive(Clone)]
pub struct Imported {
    /// The inventory, secrets included; `None` where the files give none.
    pub inventory: Option<String>,
    /// What was found, in the order of the files.
    pub problems: Vec<Problem>,
    /// What the first readable file is.
    pub kind: Option<SourceKind>,
    /// Whether something of the files has a meaning that the inventory does not have.
    pub lost: bool,
}

/// Leaves the inventory out: it may hold secrets.
impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported")
            .field("kind", &self.kind)
            .field("problems", &self.problems)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Turns foreign files into an inventory.
pub fn import(sources: &[Source], options: &Options) -> Imported {
    match escaped_dollars(sources, options) {
        None => filled(sources, options),
        Some((sources, options)) => with_dollars(filled(&sources, &options)),
    }
}

/// Stands for a `$` that begins no variable, while files of talhelper are read: a character for private use.
const DOLLAR: &str = "\u{e0da}";

/// Takes the doubled dollars out of talhelper's files, which it gives to envsubst: `$$` is a `$` there.
fn escaped_dollars(sources: &[Source], options: &Options) -> Option<(Vec<Source>, Options)> {
    let doubled = |text: &String| text.contains("$$");
    if !sources.iter().any(|source| doubled(&source.text)) && !options.related.values().any(doubled) {
        return None;
    }
    let theirs = of_talhelper(sources, options);
    if !theirs.contains(&true) {
        return None;
    }
    let related = |text: &String| options.related.values().any(|related| related == text);
    let sources = sources.iter().zip(&theirs).map(|(source, theirs)| {
        let text = if *theirs || related(&source.text) {
            source.text.replace("$$", DOLLAR)
        } else {
            source.text.clone()
        };
        Source { text, ..source.clone() }
    });
    let related = options.related.iter().map(|(path, text)| (path.clone(), text.replace("$$", DOLLAR)));
    Some((sources.collect(), Options { related: related.collect(), ..options.clone() }))
}

/// Says which sources are talhelper's.
fn of_talhelper(sources: &[Source], options: &Options) -> Vec<bool> {
    let is = |kind| kind == SourceKind::Talhelper;
    let kind = |source: &Source| options.kind.map_or_else(|| detect(&source.text).is_some_and(is), is);
    sources.iter().map(kind).collect()
}

/// Imports with talhelper's variables in their places.
fn filled(sources: &[Source], options: &Options) -> Imported {
    let theirs = of_talhelper(sources, options);
    if options.variables.is_empty() || !theirs.contains(&true) {
        return imported(sources, options);
    }
    let mut told = Vec::new();
    let mut fill = |text: &str, name: &str| talenv::fill(text, name, &options.variables, &mut told);
    let of_related = |text: &String| options.related.values().any(|related| related == text);
    let is_theirs = |(source, theirs): &(&Source, &bool)| **theirs || of_related(&source.text);
    let sources: Vec<Source> = sources
        .iter()
        .zip(&theirs)
        .map(|source| {
            let text =
                if is_theirs(&source) { fill(&source.0.text, &source.0.name) } else { source.0.text.clone() };
            Source { text, ..source.0.clone() }
        })
        .collect();
    let related = options.related.iter().map(|(path, text)| (path.clone(), fill(text, path))).collect();
    let mut imported = imported(&sources, &Options { related, ..options.clone() });
    imported.problems.extend(grouping::group(told));
    imported
}

fn with_dollars(mut imported: Imported) -> Imported {
    let back = |text: &mut String| *text = text.replace(DOLLAR, "$");
    imported.inventory.as_mut().map(back);
    for problem in &mut imported.problems {
        [&mut problem.message, &mut problem.path].into_iter().for_each(back);
        [&mut problem.reason, &mut problem.help].into_iter().flatten().for_each(back);
    }
    imported
}

fn imported(sources: &[Source], options: &Options) -> Imported {
    let mut reading = Reading { related: options.related.clone(), ..Reading::default() };
    let mut refused = false;
    // A patch that another file names is read there, for the nodes that it is for.
    let named = |source: &Source| {
        let name = source.name.trim_start_matches("./");
        options.related.iter().any(|(path, text)| {
            *text == source.text && (name.ends_with(path.trim_start_matches("./")) || path.ends_with(name))
        })
    };
    let parsed: Vec<(&Source, Option<SourceKind>, Option<Stream>)> = sources
        .iter()
        .filter(|source| !named(source))
        .map(|source| open(source, options, &mut reading, &mut refused))
        .collect();
    let configs = parsed.iter().filter(|(_, kind, _)| *kind == Some(SourceKind::MachineConfig)).count();
    let kind = parsed.iter().find_map(|(_, kind, _)| *kind);
    // Its patches are applied to each other; those of other folders stand side by side.
    let topf = parsed.iter().find(|(_, kind, _)| *kind == Some(SourceKind::Topf));
    let topf = topf.map(|(source, ..)| source.name.clone());
    for (source, kind, stream) in &parsed {
        if let Some(kind) = kind {
            reading.source.clone_from(&topf);
            reading.fills_variables = *kind == SourceKind::Talhelper;
            read(&mut reading, source, *kind, stream.as_ref(), configs < 2);
        }
    }
    let silent = !reading.findings.lost
        && !reading.findings.list.iter().any(|problem| problem.code.severity() == Severity::Error);
    if silent && reading.declared.iter().all(|(_, declared)| declared.is_empty()) {
        let top = At::top(sources.first().map_or("", |source| &source.name));
        reading.findings.add(Code::MissingField, &top, "nothing is said about registries");
    }
    let inventory = (!refused).then(|| inventory(&mut reading, options, sources)).flatten();
    let order = |file: &str| sources.iter().position(|source| source.name == file);
    let lost = reading.findings.lost;
    let mut problems = reading.findings.list;
    problems.sort_by(|a, b| {
        let key = |p: &Problem| (order(&p.file), p.position, p.code.as_str());
        key(a).cmp(&key(b))
    });
    problems.dedup();
    Imported { inventory, problems: grouping::group(problems), kind, lost }
}

/// Reads one file as what it is.
fn read(reading: &mut Reading, source: &Source, kind: SourceKind, stream: Option<&Stream>, alone: bool) {
    let file = SourceFile::new(&source.name, &source.text);
    if let Some(stream) = stream {
        comments::collect(&source.text, stream, &mut reading.comments);
    }
    let roots = || stream.into_iter().flat_map(|stream| &stream.documents).map(|document| &document.root);
    match kind {
        SourceKind::Containerd => hosts::read(reading, &file),
        SourceKind::ContainerdConfig => toml_files::containerd_config(reading, &file),
        SourceKind::Podman => toml_files::podman(reading, &file),
        SourceKind::Talhelper => roots().for_each(|root| talhelper::read(reading, &file, root)),
        SourceKind::Topf => roots().for_each(|root| topf::read(reading, &file, root)),
        SourceKind::JsonPatch | SourceKind::StrategicPatch | SourceKind::Documents
            if source.nodes != Nodes::All =>
        {
            if let Nodes::Named(name) = &source.nodes {
                reading.know(name, None);
            }
            talos::patch(reading, &file, &source.scope());
        }
        SourceKind::K3s => roots().for_each(|root| k3s::read(reading, &file, root, &Scope::All)),
        SourceKind::MachineConfig
        | SourceKind::Resource
        | SourceKind::JsonPatch
        | SourceKind::StrategicPatch
        | SourceKind::Documents => {
            if let Some(stream) = stream {
                talos::read(reading, &file, stream, kind, alone);
            }
        }
        SourceKind::ServerClass
        | SourceKind::ClusterApi
        | SourceKind::Omni
        | SourceKind::K3d
        | SourceKind::KindCluster
        | SourceKind::DockerDaemon
        | SourceKind::HelmValues => {
            if let Some(stream) = stream {
                shapes::read(reading, &file, stream, kind);
            }
        }
    }
}

/// Parses a file, or says why it cannot be: a template by the name of its engine.
fn open<'s>(
    source: &'s Source,
    options: &Options,
    reading: &mut Reading,
    refused: &mut bool,
) -> (&'s Source, Option<SourceKind>, Option<Stream>) {
    let file = SourceFile::new(&source.name, &source.text);
    let is_theirs = matches!(options.kind, None | Some(SourceKind::Talhelper));
    let parsed = parse(&source.text).or_else(|error| match unfilled(&source.text) {
        Some((stream, _)) if is_theirs => Ok(stream),
        _ => Err(error),
    });
    // One without nodes has nothing that tells it from other files.
    let is_topf = source.name.rsplit(['/', '\\']).next() == Some("topf.yaml");
    let yaml = parsed
        .as_ref()
        .ok()
        .and_then(|stream| if is_topf { Some(SourceKind::Topf) } else { of_stream(stream) });
    let kind = options.kind.or(yaml).or_else(|| of_other_text(&source.text));
    let engine = engine_of_file(&source.name, &source.text).or_else(|| match &parsed {
        _ if is_toml(kind) => engine_of_toml(&source.text),
        Ok(stream) => hidden_in(&source.text, stream),
        Err(error) => engine_of(&source.text, error.position.line),
    });
    if let Some((engine, position)) = engine {
        *refused = true;
        let at = At { file: source.name.clone(), position, path: String::new() };
        let message = format!("this is {}", engine.template());
        let problem = reading.findings.add(Code::Template, &at, message);
        problem.reason = Some("what it says is known when it is rendered".to_owned());
        problem.help = Some(engine.help(&source.name, "talmirror import -"));
        return (source, None, None);
    }
    if is_toml(kind) {
        return (source, kind, None);
    }
    match parsed {
        Err(error) => {
            *refused = true;
            file.syntax(&error, &mut reading.findings);
            (source, None, None)
        }
        Ok(stream) => {
            let kind = options.kind.or(yaml);
            if kind.is_none() {
                let top = At::top(&source.name);
                let known = "a machine config, a patch, registry documents, talconfig.yaml, registries.yaml or hosts.toml";
                let problem = reading.findings.add(Code::MissingField, &top, "this file cannot be imported");
                problem.help = Some(format!("give {known}"));
            }
            (source, kind, Some(stream))
        }
    }
}

fn is_toml(kind: Option<SourceKind>) -> bool {
    matches!(kind, Some(SourceKind::Containerd | SourceKind::ContainerdConfig | SourceKind::Podman))
}

/// Builds the inventory from what was read, reads it back, and compares.
fn inventory(reading: &mut Reading, options: &Options, sources: &[Source]) -> Option<String> {
    if reading.declared.iter().all(|(_, declared)| declared.is_empty()) {
        return None;
    }
    let declared = reading.declared.clone();
    let corrected = declared.iter().map(|(scope, declared)| Layer {
        scope: scope.clone(),
        routes: routes(declared, &mut reading.findings),
        deleted: declared.deleted.clone(),
        source: declared.source.clone(),
    });
    let corrected: Vec<Layer> = corrected.collect();
    let mut layers = Layers::new(&corrected, &reading.nodes, &mut reading.findings);
    without_untrue(&layers, reading);
    let settings = |declared: &Declared| !declared.credentials.is_empty() || !declared.tls.is_empty();
    let said = reading.declared.iter().any(|(_, declared)| settings(declared));
    without_detours(&mut layers, reading, !said && !reading.findings.lost);
    if !said && !reading.findings.lost && layers.all().all(BTreeMap::is_empty) {
        return None;
    }

    let (mut uses, mut upstreams) = (Vec::new(), BTreeMap::<String, Upstream>::new());
    let (mut https, mut http) = (BTreeSet::new(), BTreeSet::new());
    for (registry, route) in layers.all().flat_map(in_order) {
        for step in &route.steps {
            match step {
                Step::Mirror(listed) => {
                    let hosts = if listed.value.is_plain_http() { &mut http } else { &mut https };
                    hosts.insert(listed.value.host().to_owned());
                    uses.push((registry.clone(), listed.value.clone()));
                }
                Step::Upstream(None) => {
                    https.insert(api_host(registry).to_owned());
                }
                Step::Upstream(Some(url)) => {
                    http.insert(api_host(registry).to_owned());
                    upstreams.entry(registry.clone()).or_default().url = Some(url.clone());
                }
            }
        }
    }
    let mut mirrors = factor(&uses);
    let registries = layers.all().flat_map(|routes| routes.keys().cloned()).collect();
    let mut all = Hosts { mirrors: &mut mirrors, registries, upstreams, https, http };
    all.assign(reading);
    let upstreams = all.upstreams;
    let nodes = &reading.nodes;
    let version = options.talos.as_ref().map(ToString::to_string).or_else(|| reading.version.clone());
    let verification = &reading.verification;
    let draft =
        Draft { mirrors: &mirrors, upstreams: &upstreams, layers: &layers, nodes, version, verification };
    let text = draft.text();
    let text = comments::put(&text, &reading.comments);
    let top = At::top(sources.first().map_or("", |source| &source.name));
    let parsed = parse_inventory(&text, &top.file, &|_| None);
    for problem in parsed.problems.iter().filter(|problem| problem.code.severity() == Severity::Error) {
        if reading.findings.list.iter().any(|known| known.code == problem.code) {
            reading.findings.lost = true; // it is told where it stands
            continue;
        }
        let message = format!("the inventory made of it does not hold: {}", problem.message);
        let added = reading.findings.lose(problem.code, &top, message);
        added.help.clone_from(&problem.help);
    }
    if let Some(inventory) = &parsed.inventory {
        for place in verification::differences(inventory, &layers, &reading.nodes) {
            let message = format!("the inventory gives {place} other endpoints than the source");
            reading.findings.lose(Code::ImportFault, &top, message);
        }
        settings::compare(inventory, reading);
    }
    Some(text)
}

/// Takes back that a mirror has no endpoint where another patch gives it one.
fn without_untrue(layers: &Layers, reading: &mut Reading) {
    let has_endpoints = |registry: &str| {
        let mut routes = layers.all().filter_map(|routes| routes.get(registry)).peekable();
        routes.peek().is_some() && routes.all(|route| !route.steps.is_empty())
    };
    reading.findings.list.retain(|problem| {
        let name = problem.path.strip_prefix("machine.registries.mirrors.");
        let name = name.or_else(|| problem.path.strip_prefix("RegistryMirrorConfig/")).unwrap_or_default();
        problem.code != Code::NoEndpoint || !has_endpoints(name)
    });
}

/// Leaves out registries whose only endpoint is themselves: Talos asks them anyway, and twice where a pull fails.
///
/// Beside `*` they stay: there the entry keeps a registry from the way of all others. They stay, too, where an inventory
/// would say nothing without them (`alone`).
fn without_detours(layers: &mut Layers, reading: &mut Reading, alone: bool) {
    if layers.all().any(|routes| routes.contains_key("*")) {
        return;
    }
    let is_detour =
        |route: &PullRoute| matches!(route.steps.as_slice(), [Step::Upstream(None)]) && !route.never;
    let kept = alone && layers.all().flat_map(BTreeMap::values).all(is_detour);
    for routes in layers.all_mut() {
        routes.retain(|registry, route| {
            let detour = is_detour(route);
            if detour {
                let message = format!("the only endpoint of {registry} is itself, which Talos asks anyway");
                let help = if kept { "name a mirror for it in the inventory" } else { "it is left out" };
                reading.findings.add(Code::RedundantUpstream, &route.at, message).help =
                    Some(help.to_owned());
            }
            kept || !detour
        });
    }
}
