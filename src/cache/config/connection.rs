use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue,
    IF_RANGE, PROXY_AUTHORIZATION, RANGE, TRANSFER_ENCODING,
};
use url::Url;

use super::model::{Connection, UpstreamProxy};
use super::read::Reader;
use crate::finding::{Code, Fields, join};
use crate::secret::Secret;

const TLS: &[&str] = &["ca", "cert", "key"];

/// How one upstream is reached otherwise than all.
impl Reader<'_, '_> {
    pub(super) fn connection(&mut self, fields: &Fields<'_>, path: &str) -> Connection {
        let mut connection = Connection {
            proxy: self.parsed(fields, "proxy", proxy),
            headers: self.headers(fields, path),
            ..Connection::default()
        };
        let Some(node) = fields.get("tls") else { return connection };
        let fields = self.decoder.fields(node, &join(path, "tls"), TLS);
        connection.ca = self.path(&fields, "ca");
        match (self.path(&fields, "cert"), self.path(&fields, "key")) {
            (Some(certificate), Some(key)) => connection.identity = Some((certificate, key)),
            (Some(_), None) => self.decoder.missing(&fields, "key", "the file of its key, PEM"),
            (None, Some(_)) => self.decoder.missing(&fields, "cert", "a file of certificates, PEM"),
            (None, None) => {}
        }
        connection
    }

    fn headers(&mut self, fields: &Fields<'_>, path: &str) -> Vec<(String, Secret<String>)> {
        let Some(node) = fields.get("headers") else { return Vec::new() };
        let path = join(path, "headers");
        if !node.is_mapping() {
            self.decoder.wrong_type(node, &path, "a mapping of names and values");
        }
        let mut out = Vec::new();
        for entry in node.entries() {
            let path = join(&path, &entry.key);
            let Some(value) = self.decoder.text(&entry.value, &path) else { continue };
            let wrong = match HeaderName::from_bytes(entry.key.as_bytes()) {
                Err(_) => Some(format!("`{}` is not a valid name of a header", entry.key)),
                Ok(AUTHORIZATION) => Some("credentials are in a file: write `credentials: FILE`".to_owned()),
                Ok(name) if OWN.contains(&name) => Some(format!("`{name}` is the cache's own")),
                Ok(_) if HeaderValue::from_str(&value).is_err() => {
                    Some("it is not a valid value of a header".to_owned())
                }
                Ok(_) => None,
            };
            match wrong {
                Some(wrong) => {
                    self.decoder.problems.add(Code::WrongType, &entry.key_span, path, wrong);
                }
                None => out.push((entry.key.to_ascii_lowercase(), Secret::new(value))),
            }
        }
        out
    }
}

/// Headers that requests have for what they ask.
const OWN: [HeaderName; 9] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    IF_RANGE,
    PROXY_AUTHORIZATION,
    RANGE,
    TRANSFER_ENCODING,
];

/// Reads the URL of a proxy, which may hold credentials, or `none`.
fn proxy(text: &str) -> Result<UpstreamProxy, String> {
    if text == "none" {
        return Ok(UpstreamProxy::Direct);
    }
    let is_good = Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())
    });
    if is_good {
        Ok(UpstreamProxy::At(Secret::new(text.to_owned())))
    } else {
        Err("it is not a valid proxy, such as http://proxy.example.com:3128, or `none`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::read::{Parsed, parse};

    fn read(own: &str) -> Parsed {
        let text = format!("apiVersion: talmirror/v1\nkind: Cache\nupstreams: {{ghcr.io: {{{own}}}}}\n");
        parse(&text, "cache.yaml", Path::new("/etc/cache"))
    }

    #[test]
    fn one_upstream_is_reached_in_its_own_way() {
        let own = "proxy: 'http://u:hunter2@p.example:3128', tls: {ca: ca.pem, cert: /c, key: k}, headers: {X-Org: a}";
        let config = read(own).config.unwrap();
        let connection = &config.upstreams[0].connection;
        assert_eq!(connection.ca.as_deref(), Some(Path::new("/etc/cache/ca.pem")));
        assert_eq!(connection.identity, Some(("/c".into(), "/etc/cache/k".into())));
        assert_eq!(connection.headers, [("x-org".to_owned(), "a".into())]);
        assert!(!format!("{config:?}").contains("hunter2"));
        for (bad, want) in [
            ("proxy: p.example", "is not a valid proxy"),
            ("tls: {cert: c}", "key"),
            ("headers: {Authorization: x}", "credentials are in a file"),
            ("headers: {Host: x}", "the cache's own"),
            ("headers: {'a b': x}", "is not a valid name of a header"),
        ] {
            let found: Vec<String> = read(bad).problems.iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|found| found.contains(want)), "{bad}: {found:?}");
        }
    }
}
