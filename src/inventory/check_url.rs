use std::ops::Range;

use crate::finding::{Code, Problems};
use crate::secret::without_userinfo;

pub(super) fn check_url(
    url: &str,
    span: &Range<usize>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<url::Url> {
    let shown = without_userinfo(url);
    if url.contains("${") || url.contains("{{") || url.starts_with('$') {
        problems
            .add(Code::Reference, span, path, format!("`{shown}` holds a variable that nothing fills in"))
            .help = Some("write the URL, or `{env: NAME}` to read it from the environment".to_owned());
        return None;
    }
    let literal = url.starts_with("http://") || url.starts_with("https://");
    // The parser mends what Go's does not: a slash too few, blanks, a backslash.
    let clean = !url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\');
    let parsed = url::Url::parse(url).ok().filter(|url| literal && clean && url.has_host());
    let Some(parsed) = parsed else {
        let message = format!("`{}` is not a valid http or https URL", shown.escape_debug());
        let problem = problems.add(Code::UrlScheme, span, path, message);
        problem.help = match url.split_once("://") {
            None if clean && !shown.trim_start_matches("https:").trim_matches('/').is_empty() => {
                Some(format!(
                    "did you mean https://{}?",
                    shown.trim_start_matches("https:").trim_start_matches('/')
                ))
            }
            Some(_) if clean && !literal => Some("the scheme is http or https, in lower case".to_owned()),
            _ => None,
        };
        return None;
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        problems.add(Code::UrlScheme, span, path, format!("`{shown}` holds a user or password")).help =
            Some("move them to `credentials`".to_owned());
        return None;
    }
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let no_port = authority.ends_with(':').then(|| "there is no port behind the colon".to_owned());
    if let Some(flaw) = host_flaw(&parsed).or(no_port) {
        problems.add(Code::UrlScheme, span, path, format!("`{shown}`: {flaw}")).help =
            Some("write a host name or an address, and a port from 1 to 65535".to_owned());
        return None;
    }
    if let Some(name) = cluster_name(&parsed) {
        let message =
            format!("`{name}` is the name of a service in the cluster, and nodes do not resolve it");
        problems.add(Code::ClusterName, span, path, message).help = Some(
            "give it an address that the nodes reach, such as a node port or a load balancer".to_owned(),
        );
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        problems.add(Code::UrlScheme, span, path, format!("`{shown}` holds a query or fragment"));
    }
    let default = if parsed.scheme() == "https" { ":443" } else { ":80" };
    if authority.ends_with(default) {
        problems.add(Code::DefaultPort, span, path, format!("`{shown}` names the scheme's own port")).help =
            Some(format!("leave `{default}` out"));
    }
    Some(parsed)
}

/// Returns what keeps a URL from being one of a host, as a fragment.
pub(crate) fn url_flaw(url: &str) -> Option<String> {
    match url::Url::parse(url) {
        Err(_) => Some("it is not a valid http or https URL".to_owned()),
        Ok(parsed) => host_flaw(&parsed),
    }
}

/// Returns what is wrong with the host or port of a URL.
fn host_flaw(url: &url::Url) -> Option<String> {
    if url.port() == Some(0) {
        return Some("0 is not a valid port".to_owned());
    }
    let Some(url::Host::Domain(host)) = url.host() else { return None };
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.starts_with("__")
            && !label.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (host.len() > 253 || !host.split('.').all(label)).then(|| format!("`{host}` is not a valid host name"))
}

/// Returns the host of a URL where it is a name that only pods can resolve.
fn cluster_name(url: &url::Url) -> Option<&str> {
    let host = url.host_str()?;
    let bare = host.trim_end_matches('.');
    let labels: Vec<&str> = bare.split('.').collect();
    matches!(labels.as_slice(), [.., "svc"] | [.., "cluster", "local"]).then_some(host)
}
