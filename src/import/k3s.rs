use super::declared::{Declared, Listed, SecretSource, Tls, credentials};
use super::place::Located;
use super::readers::{Reading, Scope};
use super::source_file::SourceFile;
use crate::finding::{Code, UnknownKeys, did_you_mean};
use crate::image::{DOCKER_HUB, DOCKER_HUB_API, api_host};
use crate::machineconfig::Fields;
use crate::registries::{Auth, Endpoint};
use crate::secret::Secret;
use crate::yaml::{Entry, Node, Value};

/// Reads a `registries.yaml` of k3s or RKE2, in that dialect (k3s `pkg/agent/containerd/config.go`).
///
/// k3s adds a scheme, sets `override_path` for every path but `/` and `/v2`, and turns the endpoint `docker.io` into Docker
/// Hub's API. Talos does none of the three, so the result says what k3s makes of the file.
pub(super) fn read(reading: &mut Reading, file: &SourceFile<'_>, root: &Node, scope: &Scope) {
    reading.either_hub_name = true;
    let mut problems = file.problems();
    let mut fields = Fields::new(&mut problems);
    unknown(reading, file, root, "", &["mirrors", "configs"]);
    let mut declared = Declared::default();
    let mut embedded = Vec::new();
    let mut of = |key: &str| {
        let node = root.get(key).filter(|node| !node.is_null());
        node.and_then(|node| fields.mapping(node, key)).map(Node::entries).unwrap_or_default()
    };
    let (mirrors, configs) = (of("mirrors"), of("configs"));
    for entry in mirrors {
        let endpoints = entry.value.get("endpoint");
        let none = entry.value.is_null()
            || entry.value.is_mapping()
                && endpoints
                    .is_none_or(|list| list.is_null() || list.is_sequence() && list.items().is_empty());
        if none {
            embedded.push(entry);
        }
        mirror(&mut declared, reading, file, &mut fields, entry);
    }
    if let Some(first) = embedded.first() {
        let names: Vec<String> = embedded.iter().map(|entry| format!("`{}`", entry.key)).collect();
        let verb = if names.len() == 1 { "has" } else { "have" };
        let message =
            format!("{} {verb} no endpoint: k3s pulls through its embedded mirror", names.join(", "));
        let problem = reading.findings.lose(Code::Dropped, &file.at(&first.key_span, "mirrors"), message);
        problem.reason =
            Some("Talos has no embedded mirror; Spegel is one that runs in the cluster".to_owned());
    }
    for entry in configs.iter().filter(|entry| entry.key != "*") {
        host(&mut declared, reading, file, &mut fields, entry);
    }
    // What is for `*` is for every host that has no settings of its own.
    if let Some(all) = configs.iter().find(|entry| entry.key == "*") {
        let endpoints = declared.mirrors.values().flat_map(|mirror| &mirror.value.endpoints);
        let hosts = endpoints
            .map(|endpoint| (endpoint.value.host().to_owned(), endpoint.value.url.starts_with("http://")));
        let mut hosts: Vec<(String, bool)> = hosts.collect();
        hosts.sort_unstable();
        hosts.dedup_by(|one, other| one.0 == other.0);
        hosts.retain(|(host, _)| !configs.iter().any(|entry| entry.key == *host));
        for (name, over_http) in hosts {
            let mut entry = Entry { key: name, ..all.clone() };
            if let (true, Value::Mapping { entries, .. }) = (over_http, &mut entry.value.value) {
                // TLS settings say nothing of a host that is asked over http.
                entries.retain(|field| field.key != "tls");
            }
            host(&mut declared, reading, file, &mut fields, &entry);
        }
        if all.value.get("auth").is_some() || all.value.get("tls").is_some() {
            let at = file.at(&all.key_span, "configs.*");
            let message = "k3s gives what is under `*` to every other host, too; the inventory has it for the mirrors that are listed";
            reading.findings.add(Code::Dropped, &at, message).help =
                Some("name the registries that want it, with `upstream: {credentials: …}`".to_owned());
        }
    }
    file.keep(problems, &mut reading.findings);
    reading.push(scope.clone(), declared, file);
}

/// Says which keys k3s does not know and passes over.
fn unknown(reading: &mut Reading, file: &SourceFile<'_>, node: &Node, path: &str, known: &[&str]) {
    let unknown = node.entries().iter().filter(|entry| !known.contains(&entry.key.as_str()));
    let unknown = UnknownKeys::new(unknown, |key| did_you_mean(key, known.iter().copied()));
    for (entry, near) in unknown.shown {
        let at = file.at(&entry.key_span, path);
        let message = format!("k3s does not use `{}`, and it is left out", entry.key);
        // A slip of the pen is a setting that was meant; another tool's key is not.
        let problem = match near {
            Some(_) => reading.findings.lose(Code::Dropped, &at, message),
            None => reading.findings.add(Code::Dropped, &at, message),
        };
        problem.help = near.map(|near| format!("did you mean `{near}`?"));
    }
    if let Some((entry, more)) = unknown.rest {
        let message = format!("and {more} more keys that k3s does not use are left out");
        reading.findings.lose(Code::Dropped, &file.at(&entry.key_span, path), message);
    }
}

/// Returns the head that a rewrite puts before every repository; [`None`] for a rewrite that does something else.
fn head_of<'t>(pattern: &str, target: &'t str) -> Option<&'t str> {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let (head, whole) = match inner {
        "(.*)" | "(.+)" => (target.strip_suffix("$1").or(target.strip_suffix("${1}"))?, true),
        ".*" | ".+" => (target.strip_suffix("$0").or(target.strip_suffix("${0}"))?, true),
        "" => (target, pattern == "^"),
        _ => return None,
    };
    let head = head.strip_suffix('/')?;
    (whole && !head.is_empty() && !head.contains('$')).then_some(head)
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
    unknown(reading, file, node, &path, &["endpoint", "rewrite"]);
    let mut prefix = None;
    let rewrites = node.get("rewrite").filter(|node| !node.is_null());
    let rewrites = rewrites.and_then(|node| fields.mapping(node, &format!("{path}.rewrite")));
    for rewrite in rewrites.map(Node::entries).unwrap_or_default() {
        let target = rewrite.value.as_str().unwrap_or_default();
        if let Some(head) = head_of(&rewrite.key, target) {
            prefix = Some(head.to_owned());
            continue;
        }
        let at = file.at(&rewrite.key_span, format!("{path}.rewrite"));
        let message = format!("the rewrite of `{}` to `{target}` is left out", rewrite.key);
        reading.findings.lose(Code::Rewrite, &at, message).help =
            Some("give the mirror a path of its own for this registry".to_owned());
    }
    let list_path = format!("{path}.endpoint");
    let mut endpoints: Vec<Located<Endpoint>> = Vec::new();
    let list = node.get("endpoint").map_or(&[][..], |node| {
        // One text is told to be no list, and read as what was meant.
        let items = fields.list(node, &list_path);
        if node.as_str().is_some() { std::slice::from_ref(node) } else { items }
    });
    for (at, item) in list.iter().enumerate() {
        let Some(text) = fields.text(item, &format!("{list_path}[{at}]")) else { continue };
        let value = endpoint(&entry.key, &text, prefix.as_deref());
        // k3s drops a URL that is there already.
        if !endpoints.iter().any(|known| known.value.means_the_same(&value)) {
            endpoints.push(Located { value, at: file.at(&item.span, format!("{list_path}[{at}]")) });
        }
    }
    if endpoints.is_empty() {
        return;
    }
    if prefix.is_some() && endpoints.iter().all(|known| is_own(&entry.key, &known.value)) {
        let at = file.at(&entry.key_span, format!("{path}.rewrite"));
        let message = format!("the rewrite of `{}` is for its own host alone, and is left out", entry.key);
        reading.findings.lose(Code::Rewrite, &at, message).reason =
            Some("k3s applies rewrites to mirrors, and Talos has none".to_owned());
    }
    let value = Listed { endpoints, never: false, one_override: false };
    declared.mirrors.insert(entry.key.clone(), Located { value, at: file.at(&entry.key_span, path) });
}

fn is_own(registry: &str, endpoint: &Endpoint) -> bool {
    endpoint.host() == api_host(registry)
}

/// Returns the endpoint that k3s makes of a text; a registry's own host gets no rewrite.
fn endpoint(registry: &str, text: &str, prefix: Option<&str>) -> Endpoint {
    let local = ["localhost", "127.", "[::1]"].iter().any(|name| text.starts_with(name));
    let url = match text.contains("://") {
        true => text.to_owned(),
        // containerd's own default: this machine is asked over http.
        false if local => format!("http://{text}"),
        false => format!("https://{text}"),
    };
    let plain = Endpoint::new(&url, false);
    let hub = plain.host() == DOCKER_HUB;
    let url = if hub { url.replacen(DOCKER_HUB, DOCKER_HUB_API, 1) } else { url };
    let endpoint = Endpoint::new(&url, false);
    let bare = endpoint.prefix() == "/v2";
    let endpoint = Endpoint::new(url, !bare);
    match prefix {
        Some(prefix) if !is_own(registry, &endpoint) => {
            Endpoint::new(format!("{}/{prefix}", endpoint.with_override().url), true)
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
    unknown(reading, file, node, &path, &["auth", "tls"]);
    let mut of = |key: &str| {
        let node = node.get(key).filter(|node| !node.is_null())?;
        fields.mapping(node, &format!("{path}.{key}"))
    };
    let (auth, tls) = (of("auth"), of("tls"));
    if let Some(node) = auth {
        let path = format!("{path}.auth");
        unknown(reading, file, node, &path, &["username", "password", "auth", "identity_token"]);
        let mut secret = |key| fields.field(node, key, &path).map(Secret::new);
        let (password, auth, identity_token) = (secret("password"), secret("auth"), secret("identity_token"));
        let auth = Auth { username: fields.field(node, "username", &path), password, auth, identity_token };
        let at = file.at(&entry.key_span, path);
        if let Some(value) = credentials(auth, &at, &mut reading.findings) {
            declared.credentials.insert(entry.key.clone(), Located { value, at });
        }
    }
    if let Some(node) = tls {
        let path = format!("{path}.tls");
        unknown(reading, file, node, &path, &["ca_file", "cert_file", "key_file", "insecure_skip_verify"]);
        let mut path_of = |key| fields.field(node, key, &path).map(SecretSource::File);
        let (ca, cert, key) = (path_of("ca_file"), path_of("cert_file"), path_of("key_file"));
        let value = Tls { ca, cert, key, insecure: fields.flag(node, "insecure_skip_verify", &path) };
        declared.tls.insert(entry.key.clone(), Located { value, at: file.at(&entry.key_span, path) });
    }
}
