use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ipnet::IpNet;
use url::Url;

use super::endpoint::Endpoint;
use crate::secret::Secret;

/// A proxy that connects to an endpoint when it is asked by `CONNECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`, if it wants one.
    pub(super) authorization: Option<Secret<String>>,
}

/// Why a proxy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It is not a valid URL.
    #[error("{0} is not a valid URL")]
    NotUrl(&'static str),
    /// It is a kind of proxy that talmirror does not use.
    #[error("{setting} names a proxy of kind `{scheme}`; only http is used")]
    Scheme {
        /// Who names it.
        setting: &'static str,
        /// Its kind.
        scheme: String,
    },
}

/// Finds the proxy on the way to an endpoint as talosctl does: the context's `proxy-url`, or `HTTPS_PROXY` for what
/// `NO_PROXY` does not name; loopback addresses need none.
pub fn choose(
    context: Option<&str>,
    variable: &dyn Fn(&str) -> Option<String>,
    endpoint: &Endpoint,
) -> Result<Option<Proxy>, ProxyError> {
    let set = |names: [&str; 2]| names.into_iter().find_map(variable).filter(|value| !value.is_empty());
    match context {
        Some("direct") => return Ok(None),
        Some(url) => return parse(url, "the context's proxy-url").map(Some),
        None => {}
    }
    let Some(url) = set(["HTTPS_PROXY", "https_proxy"]) else { return Ok(None) };
    let excepted = set(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if is_local(endpoint.host()) || excepted.split(',').any(|entry| excepts(entry.trim(), endpoint)) {
        return Ok(None);
    }
    parse(&url, "HTTPS_PROXY").map(Some)
}

fn parse(text: &str, setting: &'static str) -> Result<Proxy, ProxyError> {
    // Go takes `proxy:3128` for http as well.
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.map_err(|_| ProxyError::NotUrl(setting))?;
    if url.scheme() != "http" {
        return Err(ProxyError::Scheme { setting, scheme: url.scheme().to_owned() });
    }
    let host = url.host_str().ok_or(ProxyError::NotUrl(setting))?;
    let decoded = |text: &str| percent_decoded(text);
    let authorization = (!url.username().is_empty()).then(|| {
        let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        Secret::new(format!("Basic {}", BASE64.encode(Secret::new(pair).expose())))
    });
    Ok(Proxy {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port_or_known_default().unwrap_or(80),
        authorization,
    })
}

fn percent_decoded(text: &str) -> String {
    let pairs = format!("k={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pairs.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns whether an entry of `NO_PROXY` names an endpoint.
fn excepts(entry: &str, endpoint: &Endpoint) -> bool {
    let host = endpoint.host();
    if entry == "*" {
        return true;
    }
    if let (Ok(network), Ok(address)) = (entry.parse::<IpNet>(), host.parse::<IpAddr>()) {
        return network.contains(&address);
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse::<u16>().ok()),
        Some(_) | None => (entry, None),
    };
    let name = name.trim_matches(['[', ']']);
    if name.is_empty() || port.is_some_and(|port| port != endpoint.port()) {
        return false;
    }
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let domain = name.trim_start_matches("*.").trim_start_matches('.');
    // `.example` names what is below it; `example` names itself too.
    (host == domain && name == domain) || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(
        context: Option<&str>,
        variables: &[(&str, &str)],
        endpoint: &str,
    ) -> Result<Option<Proxy>, ProxyError> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        choose(context, &get, &endpoint.parse().unwrap())
    }

    #[test]
    fn exceptions_as_go_reads_them() {
        for (excepted, endpoint, direct) in [
            ("", "10.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.0/24", "10.0.0.1", true),
            ("10.1.0.0/24,x", "10.0.0.1", false),
            ("10.0.0.1:6443", "10.0.0.1", false),
            ("10.0.0.1:50000", "10.0.0.1", true),
            ("example", "cp.example", true),
            (".example", "cp.example", true),
            (".example", "example", false),
            ("*.example", "cp.example", true),
            ("ample", "cp.example", false),
            ("*", "cp.example", true),
            ("fd00::/8", "[fd00::1]:50000", true),
            ("fd00::1", "fd00::1", true),
        ] {
            let variables = [("HTTPS_PROXY", "http://p:3128"), ("NO_PROXY", excepted)];
            assert_eq!(
                choice(None, &variables, endpoint).unwrap().is_none(),
                direct,
                "{excepted} {endpoint}"
            );
        }
        assert_eq!(choice(None, &[("https_proxy", "p:3128")], "127.0.0.2"), Ok(None));
    }

    #[test]
    fn the_context_comes_first() {
        let variables = [("HTTPS_PROXY", "http://p:3128")];
        assert_eq!(choice(Some("direct"), &variables, "10.0.0.1"), Ok(None));
        let proxy =
            choice(Some("http://u%40x:p%2Bq@[fd00::2]:8080"), &variables, "10.0.0.1").unwrap().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("fd00::2", 8080));
        assert_eq!(proxy.authorization.unwrap().expose(), &format!("Basic {}", BASE64.encode("u@x:p+q")));
        let error = choice(Some("socks5://p"), &[], "10.0.0.1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the context's proxy-url names a proxy of kind `socks5`; only http is used"
        );
    }
}
