use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::declared::{Declared, Listed, SecretSource, Tls};
use super::place::{At, Located};
use super::readers::{Reading, Scope};
use super::source_file::{Findings, SourceFile};
use crate::finding::{Code, did_you_mean};
use crate::image::api_host;
use crate::registries::Endpoint;
use crate::secret::without_userinfo;

/// The keys of a host that have a meaning for pulls.
const KNOWN: [&str; 5] = ["capabilities", "override_path", "ca", "client", "skip_verify"];

/// Reads one `hosts.toml` of containerd; its folder is named after the registry.
///
/// Source: containerd `docs/hosts.md` and `core/remotes/docker/config/hosts.go`.
pub(super) fn read(reading: &mut Reading, file: &SourceFile<'_>) {
    let top = At::top(file.name);
    let Some((folder, registry)) = registry_of(file.name) else {
        reading
            .findings
            .add(
                Code::MissingField,
                &top,
                "the name of the registry is that of the folder, and there is none",
            )
            .help = Some("import the folder that holds `docker.io/hosts.toml` and the like".to_owned());
        return;
    };
    let table = match DeTable::parse(file.text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let at = file.at(&error.span().unwrap_or(0..0), "");
            let message = error.message().lines().next().unwrap_or("this is not TOML").to_owned();
            reading.findings.lose(Code::Syntax, &at, message);
            return;
        }
    };
    let mut hosts = Hosts { file, reading, folder, declared: Declared::default() };
    hosts.all(&registry, &table, top);
    let declared = hosts.declared;
    reading.push(Scope::All, declared, file);
}

/// Returns the path of the folder and the registry it stands for: `_default` is all, `h_5000_` is `h:5000`.
fn registry_of(file: &str) -> Option<(&str, String)> {
    let (path, _) = file.rsplit_once(['/', '\\'])?;
    let name = path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty() && *name != ".")?;
    let port = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    let registry = match port {
        _ if name == "_default" => "*".to_owned(),
        Some((host, port)) if port.parse::<u16>().is_ok() => format!("{host}:{port}"),
        Some(_) | None => name.to_owned(),
    };
    Some((path, registry))
}

struct Hosts<'r, 'p> {
    file: &'r SourceFile<'p>,
    reading: &'r mut Reading,
    folder: &'r str,
    declared: Declared,
}

pub(super) type Entries<'e, 'i> = Vec<(&'e Spanned<DeString<'i>>, &'e Spanned<DeValue<'i>>)>;

impl Hosts<'_, '_> {
    fn all(&mut self, registry: &str, table: &DeTable<'_>, top: At) {
        let mut endpoints = Vec::new();
        let hosts = find(table, "host").and_then(|host| self.table(host, "host"));
        for (url, value) in hosts.map(in_order).unwrap_or_default() {
            let path = format!("host.\"{}\"", without_userinfo(url.get_ref()));
            let Some(settings) = self.table(value, &path) else { continue };
            endpoints.extend(self.host(url.get_ref(), &url.span(), settings));
        }
        let server =
            find(table, "server").and_then(|server| Some((server.span(), server.get_ref().as_str()?)));
        // An empty one is none to containerd.
        let server = server.filter(|(_, url)| !url.is_empty());
        let mut never = false;
        let own = format!("https://{}", api_host(registry));
        let (span, url) = server.clone().unwrap_or((0..0, own.as_str()));
        let host = Endpoint::new(with_scheme(url), false).host().to_owned();
        // containerd's own examples name Docker Hub by its site, which its default server replaces.
        let upstream = (host == api_host(registry) || host == registry) && !url.starts_with("http://");
        if server.is_some() && !upstream {
            // containerd tries `server` last, in place of the upstream: Talos writes its own `skipFallback` so.
            endpoints.extend(self.host(url, &span, table));
            never = true;
        } else if registry != "*" {
            self.tls(api_host(registry), &span, table);
        }
        if !endpoints.is_empty() || never {
            let value = Listed { endpoints, never, one_override: false };
            self.declared.mirrors.insert(registry.to_owned(), Located { value, at: top });
        }
    }

    /// Returns the table that a value is, or tells that it is none.
    fn table<'t, 'i>(&mut self, value: &'t Spanned<DeValue<'i>>, path: &str) -> Option<&'t DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            wrong_type(self.file, &mut self.reading.findings, value, path, "a table");
        }
        table
    }

    fn host(&mut self, url: &str, span: &Range<usize>, settings: &DeTable<'_>) -> Option<Located<Endpoint>> {
        let at = self.file.at(span, format!("host.\"{url}\""));
        for (key, _) in in_order(settings) {
            let known = KNOWN.contains(&key.get_ref().as_ref())
                || matches!(key.get_ref().as_ref(), "server" | "host");
            if !known {
                let message = format!("`{}` is left out", key.get_ref());
                let problem = self.reading.findings.lose(
                    Code::Dropped,
                    &self.file.at(&key.span(), at.path.clone()),
                    message,
                );
                problem.reason = Some("Talos has no such setting".to_owned());
                problem.help =
                    did_you_mean(key.get_ref(), KNOWN).map(|near| format!("did you mean `{near}`?"));
            }
        }
        if let Some(list) = find(settings, "capabilities") {
            let list = list_of_texts(self.file, &mut self.reading.findings, list, "capabilities");
            let can = |word: &str| list.iter().any(|item| item == word);
            if !can("pull") {
                let message = format!("`{}` serves no pulls, and is left out", without_userinfo(url));
                self.reading.findings.add(Code::Dropped, &at, message);
                return None;
            }
            if !can("resolve") {
                let message =
                    format!("`{}` resolves no tags here; through Talos it will", without_userinfo(url));
                self.reading.findings.lose(Code::Dropped, &at, message).reason =
                    Some("Talos gives every mirror the capabilities pull and resolve".to_owned());
            }
        }
        let override_path = flag(self.file, &mut self.reading.findings, settings, "override_path");
        let value = Endpoint::new(with_scheme(url), override_path);
        self.tls(value.host(), span, settings);
        Some(Located { value, at })
    }

    fn tls(&mut self, host: &str, span: &Range<usize>, settings: &DeTable<'_>) {
        let at = self.file.at(span, "");
        let mut files = |key: &str| -> Vec<String> {
            let texts = find(settings, key).map(|value| texts(value.get_ref())).unwrap_or_default();
            let kept = if key == "ca" { 1 } else { 2 };
            if texts.len() > kept {
                let message = format!("more files in `{key}` than Talos takes: only the first is kept");
                self.reading.findings.lose(Code::Dropped, &at, message);
            }
            texts
                .into_iter()
                .map(|file| if file.starts_with('/') { file } else { format!("{}/{file}", self.folder) })
                .collect()
        };
        let (ca, client) = (files("ca"), files("client"));
        let cert = client.first().cloned();
        // One file may hold both.
        let key = client.get(1).cloned().or_else(|| cert.clone());
        let value = Tls {
            ca: ca.first().cloned().map(SecretSource::File),
            cert: cert.map(SecretSource::File),
            key: key.map(SecretSource::File),
            insecure: flag(self.file, &mut self.reading.findings, settings, "skip_verify"),
        };
        if value != Tls::default() {
            self.declared.tls.insert(host.to_owned(), Located { value, at });
        }
    }
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("https://{url}") }
}

pub(super) fn find<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
}

/// The order of the file is the order of the tries.
pub(super) fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Entries<'t, 'i> {
    let mut entries: Entries<'_, '_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Returns a truth value; one of another type is told, and counts as `false`.
pub(super) fn flag(file: &SourceFile<'_>, findings: &mut Findings, table: &DeTable<'_>, name: &str) -> bool {
    let Some(value) = find(table, name) else { return false };
    value.get_ref().as_bool().unwrap_or_else(|| {
        wrong_type(file, findings, value, name, "true or false");
        false
    })
}

/// Returns the texts of a list; one text is told to be none, and read as what was meant.
pub(super) fn list_of_texts(
    file: &SourceFile<'_>,
    findings: &mut Findings,
    value: &Spanned<DeValue<'_>>,
    path: &str,
) -> Vec<String> {
    let texts = texts(value.get_ref());
    let is_list = value.get_ref().as_array().is_some_and(|list| list.len() == texts.len());
    if !is_list {
        wrong_type(file, findings, value, path, "a list of strings");
    }
    texts
}

/// Tells that a value has another type than containerd takes, which then takes nothing of the file.
pub(super) fn wrong_type(
    file: &SourceFile<'_>,
    findings: &mut Findings,
    value: &Spanned<DeValue<'_>>,
    path: &str,
    wanted: &str,
) {
    let found = match value.get_ref().type_str() {
        "string" => "a string",
        "integer" | "float" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "table" => "a table",
        _ => "a date",
    };
    let message = format!("found {found} where {wanted} belongs");
    findings.lose(Code::WrongType, &file.at(&value.span(), path), message);
}

/// Returns the texts of a value: one, a list, or a list of lists.
pub(super) fn texts(value: &DeValue<'_>) -> Vec<String> {
    match (value.as_str(), value.as_array()) {
        (Some(text), _) => vec![text.to_owned()],
        (None, Some(list)) => list.iter().flat_map(|item| texts(item.get_ref())).collect(),
        (None, None) => Vec::new(),
    }
}
