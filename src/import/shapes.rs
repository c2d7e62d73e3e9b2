use super::k3s;
use super::kind::{SourceKind, is_block, is_k3s_block, is_operation, is_text_of_registries};
use super::place::At;
use super::readers::{Purpose, Reading, Role, Scope};
use super::source_file::SourceFile;
use super::talos;
use super::toml_files;
use crate::finding::Code;
use crate::machineconfig::Role as Document;
use crate::registries::Endpoint;
use crate::yaml::{Node, Stream, Value, parse};

/// Reads a file that holds patches or registries of other tools: Sidero, Cluster API, Omni, k3d, kind, Docker, Helm.
pub(super) fn read(reading: &mut Reading, file: &SourceFile<'_>, stream: &Stream, kind: SourceKind) {
    let mut roots: Vec<&Node> = stream.documents.iter().map(|document| &document.root).collect();
    if kind == SourceKind::Omni {
        // Omni applies what is for the cluster first, wherever it stands.
        roots.sort_by_key(|root| omni_rank(root));
        roots = of_one_cluster(reading, file, roots);
    }
    for root in roots {
        match kind {
            SourceKind::ServerClass => sidero(reading, file, root),
            SourceKind::ClusterApi => cluster_api(reading, file, root, &Scope::All),
            SourceKind::Omni => omni(reading, file, root),
            SourceKind::K3d => k3d(reading, file, root),
            SourceKind::KindCluster => {
                let key = "containerdConfigPatches";
                let patches = reading.items(file, root.get(key), key);
                for patch in patches {
                    if let Some(inner) = file.within(patch) {
                        toml_files::containerd_config(reading, &inner);
                    }
                }
                if let Some(list) = root.get("containerdConfigPatchesJSON6902") {
                    let at = file.at(&list.span, "containerdConfigPatchesJSON6902");
                    let message = "JSON patches of containerd's config are left out";
                    reading.findings.lose(Code::Dropped, &at, message).help =
                        Some("write them as containerdConfigPatches, which are merged".to_owned());
                }
            }
            SourceKind::DockerDaemon => docker(reading, file, root),
            SourceKind::HelmValues => values(reading, file, root, "", &Scope::All),
            SourceKind::MachineConfig
            | SourceKind::Resource
            | SourceKind::JsonPatch
            | SourceKind::StrategicPatch
            | SourceKind::Documents
            | SourceKind::Talhelper
            | SourceKind::Topf
            | SourceKind::K3s
            | SourceKind::Containerd
            | SourceKind::ContainerdConfig
            | SourceKind::Podman => {}
        }
    }
}

/// Reads a `ServerClass` of Sidero, which is for all, or a `Server`, which is one machine.
fn sidero(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
    let name = root.at(&["metadata", "name"]).and_then(Node::as_str);
    let scope = match (root.get("kind").and_then(Node::as_str), name) {
        (Some("Server"), Some(name)) => {
            reading.know(name, None);
            Scope::Node(name.to_owned())
        }
        _ => Scope::All,
    };
    if let Some(list) = root.at(&["spec", "configPatches"]) {
        talos::json_patch(reading, file, list, &scope);
    }
    strategic(reading, file, root.at(&["spec", "strategicPatches"]), &scope);
}

/// Reads a config of k3d: the text for k3s. Registries that k3d starts itself are of its own network.
fn k3d(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
    if let Some(config) = root.at(&["registries", "config"]) {
        embedded(reading, file, config, &Scope::All);
    }
    let there =
        |path: &[&str]| root.at(path).filter(|node| !node.entries().is_empty() || !node.items().is_empty());
    let (own, proxy) = (["registries", "create"], ["registries", "create", "proxy"]);
    let started: &[&str] = if there(&proxy).is_some() { &proxy } else { &own };
    for (path, what) in [
        (&["registries", "use"][..], "a registry that k3d connects"),
        (
            started,
            if started.len() == 3 {
                "a registry that k3d starts as a proxy"
            } else {
                "a registry that k3d starts"
            },
        ),
    ] {
        let Some(node) = there(path) else { continue };
        let name = path.join(".");
        let message = format!("`{name}`: {what} is left out");
        reading.findings.lose(Code::Dropped, &file.at(&node.span, name), message).help = Some(
            "the nodes of another cluster do not reach it: name the mirror that is to take its place"
                .to_owned(),
        );
    }
}

/// Reads strategic patches: texts, or mappings in their place.
fn strategic(reading: &mut Reading, file: &SourceFile<'_>, list: Option<&Node>, scope: &Scope) {
    for patch in reading.items(file, list, "strategicPatches") {
        fragment(reading, file, patch, scope);
    }
}

/// Reads a patch in whatever form it stands there.
pub(super) fn fragment(reading: &mut Reading, file: &SourceFile<'_>, patch: &Node, scope: &Scope) {
    match &patch.value {
        Value::Scalar(_) => {
            if let Some(inner) = file.within(patch) {
                talos::patch(reading, &inner, scope);
            }
        }
        // Documents in a list.
        Value::Sequence { items, .. }
            if items.iter().all(|item| item.is_mapping() && item.get("op").is_none()) =>
        {
            for item in items {
                fragment(reading, file, item, scope);
            }
        }
        Value::Sequence { .. } if is_mixed(patch) => mixed(reading, file, patch),
        Value::Sequence { .. } => talos::json_patch(reading, file, patch, scope),
        Value::Mapping { .. } => {
            let (declared, _) = reading.talos(file, &[patch], Purpose::Config);
            reading.push(scope.clone(), declared, file);
        }
    }
}

/// Tells whether a list holds documents and operations of a JSON patch.
fn is_mixed(node: &Node) -> bool {
    let items = node.items();
    items.iter().any(|item| item.get("op").is_some())
        && items.iter().any(|item| item.is_mapping() && !is_operation(item))
}

fn mixed(reading: &mut Reading, file: &SourceFile<'_>, list: &Node) {
    let message = "documents and operations of a JSON patch stand in one list, and none of it is read";
    reading.findings.lose(Code::WrongType, &file.at(&list.span, ""), message).help =
        Some("make two patches of them".to_owned());
}

/// Reads the patches of Cluster API's resources for Talos, wherever their versions keep them.
fn cluster_api(reading: &mut Reading, file: &SourceFile<'_>, node: &Node, scope: &Scope) {
    let scope = match node.get("generateType").and_then(Node::as_str) {
        Some("controlplane" | "init") => Scope::Role(Role::Controlplane),
        Some("worker" | "join") => Scope::Role(Role::Worker),
        _ => scope.clone(),
    };
    for entry in node.entries() {
        match entry.key.as_str() {
            // What of other providers, such as kubeadm's, is a file of registries.
            _ if entry
                .value
                .as_str()
                .is_some_and(|text| text.contains("endpoint") && is_text_of_registries(text)) =>
            {
                values(reading, file, &entry.value, "", &scope);
            }
            "strategicPatches" => strategic(reading, file, Some(&entry.value), &scope),
            "configPatches" => talos::json_patch(reading, file, &entry.value, &scope),
            "data" if entry.value.as_str().is_some() => fragment(reading, file, &entry.value, &scope),
            _ => cluster_api(reading, file, &entry.value, &scope),
        }
    }
    for item in node.items() {
        cluster_api(reading, file, item, &scope);
    }
}

/// The label of Omni that says which cluster a patch is for.
const OMNI_CLUSTER: &str = "omni.sidero.dev/cluster";
/// The label of Omni for a patch of one set of machines.
const OMNI_SET: &str = "omni.sidero.dev/machine-set";
/// The labels of Omni for a patch of one machine, in the order in which Omni applies them.
const OMNI_MACHINE: [&str; 2] = ["omni.sidero.dev/cluster-machine", "omni.sidero.dev/machine"];

fn label<'n>(root: &'n Node, name: &str) -> Option<&'n str> {
    root.at(&["metadata", "labels", name]).and_then(Node::as_str)
}

/// Tells whether a document is a `ConfigPatches` resource of Omni.
fn is_omni_resource(root: &Node) -> bool {
    let kind = root.at(&["metadata", "type"]).and_then(Node::as_str);
    kind.is_some_and(|kind| kind.starts_with("ConfigPatches."))
}

/// Returns when Omni applies a document: those of the cluster, of sets of machines, of machines.
fn omni_rank(root: &Node) -> usize {
    if is_omni_resource(root) {
        let of_machine = OMNI_MACHINE.iter().position(|name| label(root, name).is_some());
        return of_machine.map_or(usize::from(label(root, OMNI_SET).is_some()), |at| 2 + at);
    }
    match root.get("kind").and_then(Node::as_str) {
        Some("ControlPlane" | "Workers") => 1,
        Some("Machine") => 2,
        _ => 0,
    }
}

/// Leaves out the resources of other clusters than the first that is named: an inventory is of one.
fn of_one_cluster<'n>(reading: &mut Reading, file: &SourceFile<'_>, roots: Vec<&'n Node>) -> Vec<&'n Node> {
    let cluster = |root: &'n Node| label(root, OMNI_CLUSTER).filter(|_| is_omni_resource(root));
    let start = |root: &&&Node| root.span.start;
    let named = roots.iter().filter(|root| cluster(root).is_some()).min_by_key(start);
    let Some(first) = named.and_then(|root| cluster(root)) else { return roots };
    let mut others: Vec<&str> = Vec::new();
    for root in &roots {
        let Some(other) = cluster(root).filter(|name| *name != first && !others.contains(name)) else {
            continue;
        };
        others.push(other);
        let at = file.at(&root.span, "metadata.labels");
        let message =
            format!("the patches of the cluster `{other}` are left out: those of `{first}` are read");
        reading.findings.lose(Code::Dropped, &at, message).help =
            Some("give each cluster a file of its own, and import one at a time".to_owned());
    }
    roots.into_iter().filter(|root| cluster(root).is_none_or(|name| name == first)).collect()
}

/// Reads a document of an Omni cluster template, or one of its `ConfigPatches` resources.
fn omni(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
    let text = |path: &[&str]| root.at(path).and_then(Node::as_str).map(str::to_owned);
    if is_omni_resource(root) {
        let scope = match OMNI_MACHINE.iter().find_map(|name| label(root, name)) {
            Some(machine) => {
                reading.know(machine, None);
                Scope::Node(machine.to_owned())
            }
            None => match label(root, OMNI_SET) {
                Some(set) if set.ends_with("-control-planes") => Scope::Role(Role::Controlplane),
                Some(set) if set.ends_with("-workers") => Scope::Role(Role::Worker),
                Some(set) => {
                    let at = file.at(&root.span, "metadata.labels");
                    let message = format!(
                        "which machines are in the set `{set}` is not said here: its patch is taken for all"
                    );
                    reading.findings.lose(Code::Dropped, &at, message);
                    Scope::All
                }
                None => Scope::All,
            },
        };
        if let Some(data) = root.at(&["spec", "data"]) {
            fragment(reading, file, data, &scope);
        }
        return;
    }
    let (kind, name) = (text(&["kind"]), text(&["name"]));
    let role = match kind.as_deref() {
        Some("ControlPlane") => Some(Role::Controlplane),
        Some("Workers") => Some(Role::Worker),
        _ => None,
    };
    // A cluster may have several sets of workers; only the first needs no name.
    let set = name.as_ref().filter(|name| role == Some(Role::Worker) && *name != "workers");
    let machines = root.get("machines").map(Node::items).unwrap_or_default().iter().filter_map(Node::as_str);
    let machines: Vec<&str> = machines.collect();
    for machine in &machines {
        reading.know(machine, role).overrides_group |= set.is_some();
    }
    let patches = reading.items(file, root.get("patches"), "patches");
    let scopes = match (role, set, name.as_deref()) {
        (_, Some(_), _) if !machines.is_empty() => {
            machines.iter().map(|machine| Scope::Node((*machine).to_owned())).collect()
        }
        (Some(role), set, _) => {
            if let (Some(set), false) = (set, patches.is_empty()) {
                let message = format!(
                    "which machines are in the set `{set}` is not said here: its patches are taken for all workers"
                );
                reading.findings.lose(Code::Dropped, &file.at(&root.span, "machineClass"), message);
            }
            vec![Scope::Role(role)]
        }
        (None, _, Some(name)) if kind.as_deref() == Some("Machine") => {
            reading.know(name, None);
            vec![Scope::Node(name.to_owned())]
        }
        (None, _, None) if kind.as_deref() == Some("Machine") => return,
        (None, ..) => vec![Scope::All],
    };
    if let Some(version) = text(&["talos", "version"]) {
        reading.version = Some(version);
    }
    for scope in &scopes {
        for (at, patch) in patches.iter().enumerate() {
            let inline = patch.get("inline").filter(|inline| !inline.is_null());
            match (inline, patch.get("file").and_then(Node::as_str)) {
                (Some(inline), _) => fragment(reading, file, inline, scope),
                (None, Some(path)) => {
                    let place = file.at(&patch.span, format!("patches[{at}].file"));
                    related(reading, path, &place, scope);
                }
                (None, None) => {
                    let place = file.at(&patch.span, format!("patches[{at}]"));
                    let message = "a patch has neither `inline` nor `file`, and is left out";
                    reading.findings.lose(Code::MissingField, &place, message);
                }
            }
        }
    }
}

/// Reads a patch that lies in a file of its own.
pub(super) fn related(reading: &mut Reading, path: &str, at: &At, scope: &Scope) {
    let Some(text) = reading.related.get(path).cloned() else {
        let message = format!("the patch `{path}` cannot be read");
        reading.findings.lose(Code::Dropped, at, message).help =
            Some("paths are relative to the file that names them".to_owned());
        return;
    };
    let own = SourceFile::new(path, &text);
    let source = reading.source.replace(at.file.clone());
    talos::patch(reading, &own, scope);
    reading.source = source;
}

/// Reads a text that holds a `registries.yaml` of k3s.
fn embedded(reading: &mut Reading, file: &SourceFile<'_>, node: &Node, scope: &Scope) {
    if node.is_mapping() {
        k3s::read(reading, file, node, scope);
    } else if let Some(inner) = file.within(node) {
        match parse(inner.text) {
            Ok(stream) => {
                for root in stream.documents.iter().map(|document| &document.root) {
                    if let Some(path) = root.as_str().filter(|path| !path.contains('\n')) {
                        let message = format!("its registries are in the file `{path}`, which is not read");
                        reading.findings.lose(Code::Dropped, &file.at(&node.span, ""), message).help =
                            Some(format!("import that file: talmirror import {path}"));
                    } else {
                        k3s::read(reading, &inner, root, scope);
                    }
                }
            }
            Err(error) => inner.syntax(&error, &mut reading.findings),
        }
    }
}

/// Reads Docker's `daemon.json`: its mirrors are Docker Hub's.
fn docker(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
    reading.either_hub_name = true;
    let mirrors = root.get("registry-mirrors");
    let mut endpoints = Vec::new();
    for (at, item) in reading.items(file, mirrors, "registry-mirrors").iter().enumerate() {
        let Some(url) = item.as_str() else { continue };
        let place = file.at(&item.span, format!("registry-mirrors[{at}]"));
        endpoints.push((Endpoint::new(url.trim_end_matches('/'), false), place));
    }
    // A mirror that is asked over http needs no word for it, unless it is asked over https too.
    let hosts = |scheme: &str| -> Vec<String> {
        let endpoints = endpoints.iter().filter(|(endpoint, _)| endpoint.url.starts_with(scheme));
        endpoints.map(|(endpoint, _)| endpoint.host().to_owned()).collect()
    };
    let (over_http, over_https) = (hosts("http://"), hosts("https://"));
    let at = mirrors.map_or_else(|| At::top(file.name), |node| file.at(&node.span, "registry-mirrors"));
    reading.mirror_of(crate::image::DOCKER_HUB, endpoints, at, file);
    for item in reading.items(file, root.get("insecure-registries"), "insecure-registries") {
        let place = file.at(&item.span, "insecure-registries");
        let name = item.as_str().unwrap_or_default();
        let is_named = |host: &String| host == name;
        if over_http.iter().any(is_named) && !over_https.iter().any(is_named) {
            continue;
        }
        let message =
            format!("`{name}` may be asked over http or without its certificate checked; that is left out");
        reading.findings.lose(Code::Dropped, &place, message).help =
            Some("give it an `upstream: {url: http://…}`, or `tls: {insecureSkipVerify: true}`".to_owned());
    }
}

/// Looks for registries anywhere in values of Helm and the like; what stands below the name of a role is that role's.
fn values(reading: &mut Reading, file: &SourceFile<'_>, node: &Node, path: &str, scope: &Scope) {
    let is_patch = node.items().iter().all(|item| item.get("op").is_some());
    if is_patch && !node.items().is_empty() {
        talos::json_patch(reading, file, node, scope);
        return;
    }
    if is_mixed(node) {
        mixed(reading, file, node);
        return;
    }
    // A document, as a list of patches has it.
    if matches!(Document::of(node), Document::Registry(..)) {
        fragment(reading, file, node, scope);
        return;
    }
    if is_k3s_block(node) {
        k3s::read(reading, file, node, scope);
        return;
    }
    for entry in node.entries() {
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        if entry.key == "registries" && is_block(&entry.value) {
            block(reading, file, &entry.value, &path, scope);
        } else {
            let scope = role_of(&entry.key).map_or_else(|| scope.clone(), Scope::Role);
            values(reading, file, &entry.value, &path, &scope);
        }
    }
    for item in node.items() {
        values(reading, file, item, path, scope);
    }
    if let Value::Scalar(scalar) = &node.value
        && is_text_of_registries(&scalar.text)
        && let Some(inner) = file.within(node)
        && let Ok(stream) = parse(inner.text)
    {
        let k3s = |root: &Node| root.get("mirrors").is_some_and(Node::is_mapping);
        if stream.documents.iter().any(|document| k3s(&document.root)) {
            embedded(reading, file, node, scope);
        } else {
            talos::patch(reading, &inner, scope);
        }
    }
}

/// Returns the role that a key of values is named after, however it is written.
fn role_of(key: &str) -> Option<Role> {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    match plain.as_str() {
        "controlplane" | "controlplanes" => Some(Role::Controlplane),
        "worker" | "workers" => Some(Role::Worker),
        _ => None,
    }
}

fn block(reading: &mut Reading, file: &SourceFile<'_>, node: &Node, path: &str, scope: &Scope) {
    let mirrors = node.get("mirrors").map(Node::entries).unwrap_or_default();
    let k3s =
        node.get("configs").is_some() || mirrors.iter().any(|entry| entry.value.get("endpoint").is_some());
    if k3s {
        k3s::read(reading, file, node, scope);
    } else {
        let declared = reading.section(file, node, path);
        reading.push(scope.clone(), declared, file);
    }
}

/// Returns the files that a text names its patches by: talhelper's `@path`, Omni's `file: path`.
pub fn related_files(text: &str) -> Vec<String> {
    fn collect(node: &Node, omni: bool, out: &mut Vec<String>) {
        let mut add = |path: &str| {
            if !path.is_empty() && !out.iter().any(|known| known == path) {
                out.push(path.to_owned());
            }
        };
        match &node.value {
            Value::Scalar(scalar) => {
                if let Some(path) = scalar.text.trim().strip_prefix('@').filter(|path| !path.contains('\n')) {
                    add(path.trim());
                }
            }
            Value::Sequence { items, .. } => items.iter().for_each(|item| collect(item, omni, out)),
            Value::Mapping { entries, .. } => {
                for entry in entries {
                    if let (true, "file", Some(path)) = (omni, entry.key.as_str(), entry.value.as_str()) {
                        add(path);
                    }
                }
                for entry in entries {
                    collect(&entry.value, omni, out);
                }
            }
        }
    }
    let mut out = Vec::new();
    let Ok(stream) = parse(text) else { return out };
    let kind = super::kind::of_stream(&stream);
    if matches!(kind, Some(SourceKind::Talhelper | SourceKind::Omni)) {
        let omni = kind == Some(SourceKind::Omni);
        stream.documents.iter().for_each(|document| collect(&document.root, omni, &mut out));
    }
    out
}
