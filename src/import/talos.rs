use super::declared::{Declared, Deleted};
use super::jsonpatch;
use super::kind::{SourceKind, is_patch_list};
use super::readers::{NodeInfo, Purpose, Reading, Scope};
use super::source_file::SourceFile;
use super::talenv::parse_unfilled;
use crate::finding::Code;
use crate::inventory::engine_of;
use crate::machineconfig::is_resource;
use crate::yaml::{Node, Stream, parse};

/// Reads one of Talos' own files: a config, a resource, a patch, documents.
pub(super) fn read(
    reading: &mut Reading,
    file: &SourceFile<'_>,
    stream: &Stream,
    kind: SourceKind,
    alone: bool,
) {
    let roots: Vec<&Node> = stream.documents.iter().map(|document| &document.root).collect();
    match kind {
        SourceKind::JsonPatch => {
            for root in roots {
                json_patch(reading, file, root, &Scope::All);
            }
        }
        SourceKind::Resource => resources(reading, file, &roots),
        SourceKind::MachineConfig => {
            let (declared, mut node) = reading.talos(file, &roots, Purpose::Config);
            if let Some(name) = hostname(&roots) {
                node.name = name;
            }
            if node.name.is_empty() {
                stem(file.name).clone_into(&mut node.name);
            }
            whole(reading, node, declared, alone, file);
        }
        SourceKind::StrategicPatch | SourceKind::Documents => {
            let (declared, _) = reading.talos(file, &roots, Purpose::Patch);
            reading.push(Scope::All, declared, file);
        }
        SourceKind::Talhelper
        | SourceKind::Topf
        | SourceKind::K3s
        | SourceKind::Containerd
        | SourceKind::ServerClass
        | SourceKind::ClusterApi
        | SourceKind::Omni
        | SourceKind::K3d
        | SourceKind::KindCluster
        | SourceKind::DockerDaemon
        | SourceKind::HelmValues
        | SourceKind::ContainerdConfig
        | SourceKind::Podman => {}
    }
}

/// Reads a text of a patch within another file.
pub(super) fn patch(reading: &mut Reading, file: &SourceFile<'_>, scope: &Scope) {
    let parsed = if reading.fills_variables { parse_unfilled(file.text) } else { parse(file.text) };
    match parsed {
        Err(error) => match engine_of(file.text, error.position.line) {
            Some((engine, position)) => {
                let at = file.at_position(position, "");
                let message = format!("this patch is {}, and is left out", engine.template());
                reading.findings.lose(Code::Template, &at, message).help =
                    Some("render the file first, and import what comes of it".to_owned());
            }
            None => file.syntax(&error, &mut reading.findings),
        },
        Ok(stream) => {
            super::comments::collect(file.text, &stream, &mut reading.comments);
            let roots: Vec<&Node> = stream.documents.iter().map(|document| &document.root).collect();
            let lists = roots.iter().filter(|root| is_patch_list(root) && !root.items().is_empty());
            for root in lists.clone() {
                json_patch(reading, file, root, scope);
            }
            if lists.count() == 0 && mentions_registries(&roots) {
                let (declared, _) = reading.talos(file, &roots, Purpose::Config);
                reading.push(scope.clone(), declared, file);
            }
        }
    }
}

/// Reads RFC 6902 operations.
pub(super) fn json_patch(reading: &mut Reading, file: &SourceFile<'_>, root: &Node, scope: &Scope) {
    if !is_patch_list(root) && root.get("patch").is_none() && !root.is_null() {
        let message = format!("found {} where a list of operations belongs", root.kind());
        reading.findings.lose(Code::WrongType, &file.at(&root.span, ""), message);
        return;
    }
    let (mut removed, mut deleted) = (Vec::new(), Deleted::default());
    let tree = jsonpatch::tree(root, file, &mut reading.findings, &mut removed);
    for (path, at) in removed {
        let message = format!("`remove {}` is left out", at.path);
        reading.deletion(file, &path, &at, message, &mut deleted);
    }
    if tree.entries().is_empty() {
        reading.push(scope.clone(), Declared { deleted, ..Declared::default() }, file);
        return;
    }
    let at = file.at(&root.span, "");
    let problem = reading.findings.add(
        Code::JsonPatchDocuments,
        &at,
        "a JSON patch applies to single-document configs only",
    );
    problem.reason = Some("every config generated since Talos 1.12 has several documents".to_owned());
    problem.help = Some("`talmirror generate` writes a form that applies to both".to_owned());
    let (mut declared, _) = reading.talos(file, &[&tree], Purpose::Config);
    declared.replaces = jsonpatch::replaced(root);
    declared.deleted = deleted;
    reading.push(scope.clone(), declared, file);
}

fn mentions_registries(roots: &[&Node]) -> bool {
    roots.iter().any(|root| {
        root.at(&["machine", "registries"]).is_some()
            || matches!(crate::machineconfig::Role::of(root), crate::machineconfig::Role::Registry(..))
    })
}

/// Reads resources; documents without one of their own belong to the resource before them (Talos up to 1.11).
fn resources(reading: &mut Reading, file: &SourceFile<'_>, roots: &[&Node]) {
    let mut configs: Vec<(&Node, Vec<&Node>)> = Vec::new();
    for root in roots {
        match configs.last_mut() {
            _ if is_resource(root) => configs.push((root, Vec::new())),
            Some((_, more)) => more.push(root),
            None => {}
        }
    }
    let name_of = |root: &Node| root.get("node").and_then(Node::as_str).unwrap_or_default().to_owned();
    let id_of =
        |root: &Node| root.at(&["metadata", "id"]).and_then(Node::as_str).unwrap_or_default().to_owned();
    let mut names: Vec<String> = configs.iter().map(|(root, _)| name_of(root)).collect();
    names.sort_unstable();
    names.dedup();
    let alone = names.len() < 2;
    for (root, more) in &configs {
        let name = name_of(root);
        let active = configs.iter().any(|(other, _)| name_of(other) == name && id_of(other) == "v1alpha1");
        if active && id_of(root) != "v1alpha1" {
            let at = file.at(&root.span, "metadata.id");
            let message = format!("the `{}` config is left out", id_of(root));
            reading.findings.add(Code::Dropped, &at, message).reason =
                Some("the node's active config, `v1alpha1`, is there too".to_owned());
            continue;
        }
        let Some(spec) = root.get("spec") else { continue };
        let (declared, mut node) = if spec.is_mapping() {
            let roots: Vec<&Node> = std::iter::once(spec).chain(more.iter().copied()).collect();
            reading.talos(file, &roots, Purpose::Config)
        } else {
            let Some(inner) = file.within(spec) else { continue };
            match parse(inner.text) {
                Ok(stream) => {
                    let roots: Vec<&Node> = stream.documents.iter().map(|document| &document.root).collect();
                    let (declared, mut node) = reading.talos(&inner, &roots, Purpose::Config);
                    node.name = hostname(&roots).unwrap_or(node.name);
                    (declared, node)
                }
                Err(error) => {
                    inner.syntax(&error, &mut reading.findings);
                    continue;
                }
            }
        };
        if node.name.is_empty() {
            node.name.clone_from(&name);
        }
        node.address = Some(name).filter(|name| !name.is_empty());
        whole(reading, node, declared, alone, file);
    }
}

/// Adds all that a node has; where it is the only one, its name does not matter.
fn whole(reading: &mut Reading, node: NodeInfo, declared: Declared, alone: bool, file: &SourceFile<'_>) {
    if alone {
        reading.push(Scope::All, declared, file);
    } else {
        reading.push(Scope::Whole(node.name.clone()), declared, file);
        reading.nodes.push(node);
    }
}

fn hostname(roots: &[&Node]) -> Option<String> {
    let document =
        roots.iter().find(|root| root.get("kind").and_then(Node::as_str) == Some("HostnameConfig"))?;
    document.get("hostname").and_then(Node::as_str).map(str::to_owned)
}

/// Returns a file's name without folder and extensions.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.split('.').find(|part| !part.is_empty()).unwrap_or(name)
}
