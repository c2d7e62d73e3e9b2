use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::corrections::{Step, routes};
use super::hosts_settings::{Hosts, Upstream};
use super::inventory_text::{Draft, in_order};
use super::kind::{SourceKind, detect, of_stream};
use super::layers::Layers;
use super::mirrors::factor;
use super::place::At;
use super::readers::Reading;
use super::source_file::SourceFile;
use super::{hosts, k3s, talhelper, talos};
use crate::finding::{Code, Problem, Severity};
use crate::image::api_host;
use crate::inventory::{engine_of, hidden_in};
use crate::registries::TalosVersion;
use crate::yaml::{Stream, parse};

/// A file to import, decrypted.
#[derive(Clone)]
pub struct Source {
    /// Its name as the user gave it; of containerd's, the path from the folder that holds them all.
    pub name: String,
    /// Its text.
    pub text: String,
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
}

/// Leaves the inventory out: it may hold secrets.
impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported")
            .field("kind", &self.kind)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

/// Turns foreign files into an inventory.
pub fn import(sources: &[Source], options: &Options) -> Imported {
    let mut reading = Reading::default();
    let mut kind = None;
    let mut refused = false;
    let parsed: Vec<(&Source, Option<SourceKind>, Option<Stream>)> =
        sources.iter().map(|source| open(source, options, &mut reading, &mut refused)).collect();
    let configs = parsed.iter().filter(|(_, kind, _)| *kind == Some(SourceKind::MachineConfig)).count();
    for (source, found, stream) in &parsed {
        let file = SourceFile::new(&source.name, &source.text);
        kind = kind.or(*found);
        match (found, stream) {
            (Some(SourceKind::Containerd), _) => hosts::read(&mut reading, &file),
            (Some(SourceKind::Talhelper), Some(stream)) => {
                stream
                    .documents
                    .iter()
                    .for_each(|document| talhelper::read(&mut reading, &file, &document.root));
            }
            (Some(SourceKind::K3s), Some(stream)) => {
                stream.documents.iter().for_each(|document| k3s::read(&mut reading, &file, &document.root));
            }
            (Some(kind), Some(stream)) => talos::read(&mut reading, &file, stream, *kind, configs < 2),
            _ => {}
        }
    }
    let silent = !reading.findings.0.iter().any(|problem| problem.code.severity() == Severity::Error);
    if silent && reading.declared.iter().all(|(_, declared)| declared.is_empty()) {
        let top = At::top(sources.first().map_or("", |source| &source.name));
        reading.findings.add(Code::MissingField, &top, "nothing is said about registries");
    }
    let inventory = (!refused).then(|| inventory(&mut reading, options)).flatten();
    let order = |file: &str| sources.iter().position(|source| source.name == file);
    let mut problems = reading.findings.0;
    problems.sort_by(|a, b| {
        let key = |p: &Problem| (order(&p.file), p.position, p.code.as_str());
        key(a).cmp(&key(b))
    });
    problems.dedup();
    Imported { inventory, problems, kind }
}

/// Parses a file, or says why it cannot be: a template by the name of its engine.
fn open<'s>(
    source: &'s Source,
    options: &Options,
    reading: &mut Reading,
    refused: &mut bool,
) -> (&'s Source, Option<SourceKind>, Option<Stream>) {
    let file = SourceFile::new(&source.name, &source.text);
    if options.kind.or_else(|| detect(&source.text)) == Some(SourceKind::Containerd) {
        return (source, Some(SourceKind::Containerd), None);
    }
    let parsed = parse(&source.text);
    let engine = match &parsed {
        Ok(stream) => hidden_in(&source.text, stream),
        Err(error) => engine_of(&source.text, error.position.line),
    };
    if let Some((engine, position)) = engine {
        *refused = true;
        let at = At { file: source.name.clone(), position, path: String::new() };
        let message = format!("this is a {} template", engine.as_str());
        let problem = reading.findings.add(Code::Template, &at, message);
        problem.reason = Some("what it says is known when it is rendered".to_owned());
        problem.help = Some(engine.help(&source.name, "talmirror import -"));
        return (source, None, None);
    }
    match parsed {
        Err(error) => {
            *refused = true;
            file.syntax(&error, &mut reading.findings);
            (source, None, None)
        }
        Ok(stream) => {
            let kind = options.kind.or_else(|| of_stream(&stream));
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

/// Builds the inventory from what was read.
fn inventory(reading: &mut Reading, options: &Options) -> Option<String> {
    if reading.declared.iter().all(|(_, declared)| declared.is_empty()) {
        return None;
    }
    let declared = reading.declared.clone();
    let tidied = declared
        .iter()
        .map(|(scope, declared)| (scope.clone(), routes(declared, &mut reading.findings)))
        .collect();
    let layers = Layers::new(tidied, &reading.nodes, &mut reading.findings);

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
    Some(Draft { mirrors: &mirrors, upstreams: &upstreams, layers: &layers, nodes, version }.text())
}
