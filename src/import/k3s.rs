use super::declared::{Declared, Listed, SecretSource, Tls, credentials};
use super::place::Located;
use super::readers::{Reading, Scope};
use super::source_file::SourceFile;
use crate::finding::Code;
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, api_host};
use crate::machineconfig::Fields;
use crate::registries::{Auth, Endpoint};
use crate::secret::Secret;
use crate::yaml::{Entry, Node};

/// Reads a `registries.yaml` of k3s or RKE2, in that dialect (k3s `pkg/agent/containerd/config.go`).
///
/// k3s adds `https://`, sets `override_path` for every path but `/` and `/v2`, and turns the endpoint `docker.io`
/// into Docker Hub's API. Talos does none of the three, so the result says what k3s makes of the file.
pub(super) fn read(reading: &mut Reading, file: &SourceFile<'_>, root: &Node) {
    reading.either_hub_name = true;
    let mut problems = file.problems();
    let mut fields = Fields::new(&mut problems);
    fields.known(root, "", &["mirrors", "configs"]);
    let mut declared = Declared::default();
    for entry in root.get("mirrors").map(Node::entries).unwrap_or_default() {
        mirror(&mut declared, reading, file, &mut fields, entry);
    }
    for entry in root.get("configs").map(Node::entries).unwrap_or_default() {
        host(&mut declared, reading, file, &mut fields, entry);
    }
    file.keep(problems, &mut reading.findings);
    reading.declared.push((Scope::All, declared));
}

fn mirror(
    declared: &mut Declared,
    reading: &mut Reading,
    file: &SourceFile<'_>,
    fields: &mut Fields<'_, '_>,
    entry: &Entry,
) {
    let (node, path) = (&entry.value, format!("mirrors.{}", entry.key));
    if node.is_null() || fields.mapping(node, &path).is_none() {
        return;
    }
    fields.known(node, &path, &["endpoint", "rewrite"]);
    let mut prefix = None;
    for rewrite in node.get("rewrite").map(Node::entries).unwrap_or_default() {
        let target = rewrite.value.as_str().unwrap_or_default();
        let whole = matches!(rewrite.key.as_str(), "(.*)" | "^(.*)$" | "^(.*)" | "(.*)$" | "(.+)" | "^(.+)$");
        match target.strip_suffix("/$1").or(target.strip_suffix("/${1}")) {
            Some(head) if whole && !head.is_empty() && !head.contains('$') => prefix = Some(head.to_owned()),
            _ => {
                let at = file.at(&rewrite.key_span, format!("{path}.rewrite"));
                let message = format!("the rewrite of `{}` to `{target}` is left out", rewrite.key);
                reading.findings.add(Code::Rewrite, &at, message).help =
                    Some("give the mirror a path of its own for this registry".to_owned());
            }
        }
    }
    let list_path = format!("{path}.endpoint");
    let mut endpoints: Vec<Located<Endpoint>> = Vec::new();
    for (at, item) in
        node.get("endpoint").map_or(&[][..], |node| fields.list(node, &list_path)).iter().enumerate()
    {
        let Some(text) = fields.text(item, &format!("{list_path}[{at}]")) else { continue };
        let value = endpoint(&entry.key, &text, prefix.as_deref());
        // k3s drops a URL that is there already.
        if !endpoints.iter().any(|known| known.value == value) {
            endpoints.push(Located { value, at: file.at(&item.span, format!("{list_path}[{at}]")) });
        }
    }
    let value = Listed { endpoints, never: false, one_override: false };
    declared.mirrors.insert(entry.key.clone(), Located { value, at: file.at(&entry.key_span, path) });
}

/// Returns the endpoint that k3s makes of a text; a registry's own host gets no rewrite.
fn endpoint(registry: &str, text: &str, prefix: Option<&str>) -> Endpoint {
    let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let plain = Endpoint::new(&url, false);
    let hub = plain.host() == DOCKER_HUB;
    let url = if hub { url.replacen(DOCKER_HUB, DOCKER_HUB_API, 1) } else { url };
    let bare = matches!(plain.flaw(), None | Some(crate::registries::EndpointFlaw::NotARegistry));
    let endpoint = Endpoint::new(url, !bare);
    match prefix {
        Some(prefix) if endpoint.host() != api_host(registry) => {
            let url = endpoint.with_override().url;
            Endpoint::new(format!("{url}/{prefix}"), true)
        }
        Some(_) | None => endpoint,
    }
}

fn host(
    declared: &mut Declared,
    reading: &mut Reading,
    file: &SourceFile<'_>,
    fields: &mut Fields<'_, '_>,
    entry: &Entry,
) {
    let (node, path) = (&entry.value, format!("configs.{}", entry.key));
    if node.is_null() || fields.mapping(node, &path).is_none() {
        return;
    }
    fields.known(node, &path, &["auth", "tls"]);
    if let Some(node) = node.get("auth").filter(|node| node.is_mapping()) {
        let path = format!("{path}.auth");
        fields.known(node, &path, &["username", "password", "auth", "identity_token"]);
        let mut secret = |key| fields.field(node, key, &path).map(Secret::new);
        let (password, auth, identity_token) = (secret("password"), secret("auth"), secret("identity_token"));
        let auth = Auth { username: fields.field(node, "username", &path), password, auth, identity_token };
        let at = file.at(&entry.key_span, path);
        if let Some(value) = credentials(auth, &at, &mut reading.findings) {
            declared.credentials.insert(entry.key.clone(), Located { value, at });
        }
    }
    if let Some(node) = node.get("tls").filter(|node| node.is_mapping()) {
        let path = format!("{path}.tls");
        fields.known(node, &path, &["ca_file", "cert_file", "key_file", "insecure_skip_verify"]);
        let mut path_of = |key| fields.field(node, key, &path).map(SecretSource::File);
        let (ca, cert, key) = (path_of("ca_file"), path_of("cert_file"), path_of("key_file"));
        let value = Tls { ca, cert, key, insecure: fields.flag(node, "insecure_skip_verify", &path) };
        declared.tls.insert(entry.key.clone(), Located { value, at: file.at(&entry.key_span, path) });
    }
}
