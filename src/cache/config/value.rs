use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::Url;

/// Reads an address to listen on: `10.0.0.1:5000`, `[::1]:5000`, `localhost:5000`; `:5000` is every address.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let full = match text.split_once(':') {
        Some(("", port)) => format!("[::]:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    full.parse()
        .map_err(|_| format!("`{text}` is not a valid address to listen on, such as 127.0.0.1:5000 or :5000"))
}

/// Reads a network, such as `10.0.0.0/8`, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().map(|network| network.trunc());
    network
        .or_else(|_| one())
        .map_err(|_| format!("`{text}` is not a valid address or network, such as 10.0.0.0/8"))
}

/// Reads the URL of an upstream: `http` or `https`, a host, perhaps a path; never credentials.
pub fn upstream_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not a valid URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("an upstream's URL begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL holds no credentials: put them into a file, and name it".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.fragment().is_some() {
        return Err("an upstream's URL is a host and perhaps a path".to_owned());
    }
    Ok(url)
}

/// Reads the URL by which other caches reach one: `http` or `https`, a host, perhaps a port, and nothing else.
pub fn peer_url(text: &str) -> Result<Url, String> {
    let url = upstream_url(text)?;
    if url.path() == "/" {
        Ok(url)
    } else {
        Err("the URL of a cache is a host and perhaps a port, such as http://10.0.0.11:5001: \
             remove the path"
            .to_owned())
    }
}

/// Reads a host, with a port or without.
pub(super) fn host(text: &str) -> Result<String, String> {
    let url = url::Url::parse(&format!("https://{text}"));
    let is_host = url.is_ok_and(|url| {
        url.has_host() && url.path() == "/" && url.query().is_none() && url.username().is_empty()
    });
    if is_host && !text.ends_with('/') {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is not a host, such as auth.example.com or auth.example.com:8443"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            (":5000", "[::]:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("localhost:80", "127.0.0.1:80"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), want);
        }
        for bad in ["", "5000", "host:5000", "1.2.3.4", ":", ":x", ":99999", "::1:5000x"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls() {
        for good in ["http://127.0.0.1:5000", "https://harbor.example/v2/hub", "https://[::1]:5000/"] {
            assert!(upstream_url(good).is_ok(), "{good}");
        }
        for bad in
            ["", "h", "ftp://h", "https://u:p@h", "https://u@h", "https://h?x", "https://h#x", "https://"]
        {
            assert!(upstream_url(bad).is_err(), "{bad}");
        }
        assert!(peer_url("http://[::1]:5001").is_ok() && peer_url("https://a.example/").is_ok());
        for bad in ["http://h/x", "http://h/?a", "http://h/#a", "http://u@h", "ftp://h"] {
            assert!(peer_url(bad).is_err(), "{bad}");
        }
        assert!(!upstream_url("https://u:hunter2@h").unwrap_err().contains("hunter2"));
    }
}
