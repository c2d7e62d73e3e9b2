use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue,
    IF_RANGE, PROXY_AUTHORIZATION, RANGE, TRANSFER_ENCODING,
};
use url::Url;

use super::fields::UPSTREAM_TLS;
use super::model::{Connection, UpstreamProxy};
use super::read::Reader;
use crate::finding::{Code, Fields, join};
use crate::secret::Secret;

/// How one upstream is reached otherwise than all.
impl Reader<'_, '_> {
    pub(super) fn connection(&mut self, fields: &Fields<'_>, path: &str) -> Connection {
        let mut connection = Connection {
            proxy: self.parsed(fields, "proxy", proxy),
            headers: self.headers(fields, path),
            ..Connection::default()
        };
        let Some(node) = fields.get("tls") else { return connection };
        let fields = self.decoder.fields(node, &join(path, "tls"), UPSTREAM_TLS);
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
            match own_header(&entry.key, &value) {
                Err(wrong) => {
                    self.decoder.problems.add(Code::WrongType, &entry.key_span, path, wrong);
                }
                Ok(()) => out.push((entry.key.to_ascii_lowercase(), Secret::new(value))),
            }
        }
        out
    }
}

/// Reads a file of headers, a line `Name: value` each; what is wrong is told without the value.
pub fn header_lines(text: &str) -> Result<Vec<(String, Secret<String>)>, String> {
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |wrong: String| format!("line {}: {wrong}", number + 1);
        let (name, value) =
            line.split_once(':').ok_or_else(|| at("it is written `Name: value`".to_owned()))?;
        let (name, value) = (name.trim(), value.trim());
        own_header(name, value).map_err(at)?;
        out.push((name.to_ascii_lowercase(), Secret::new(value.to_owned())));
    }
    Ok(out)
}

/// Returns what is wrong with a header that requests to an upstream are to have.
fn own_header(name: &str, value: &str) -> Result<(), String> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => Err(format!("`{name}` is not a valid name of a header")),
        Ok(AUTHORIZATION) => Err("credentials are in a file: write `credentials: FILE`".to_owned()),
        Ok(name) if OWN.contains(&name) => Err(format!("`{name}` is the cache's own")),
        Ok(_) if HeaderValue::from_str(value).is_err() => {
            Err("it is not a valid value of a header".to_owned())
        }
        Ok(_) => Ok(()),
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
pub(super) fn proxy(text: &str) -> Result<UpstreamProxy, String> {
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
    use super::header_lines;

    fn read(own: &str) -> Parsed {
        let text = format!("apiVersion: talmirror/v1\nkind: Cache\nupstreams: {{ghcr.io: {{{own}}}}}\n");
        parse(&text, "cache.yaml", Path::new("/etc/cache"))
    }

    #[test]
    fn headers_of_a_file() {
        let read = |text: &str| header_lines(text);
        assert_eq!(
            read("X-Org: a:b\n\nx-key:hunter2\r\n").unwrap(),
            [("x-org".to_owned(), "a:b".into()), ("x-key".to_owned(), "hunter2".into())]
        );
        for (bad, want) in [
            ("X-Org: a\nhunter2", "line 2: it is written `Name: value`"),
            ("Authorization: hunter2", "line 1: credentials are in a file: write `credentials: FILE`"),
            ("Range: bytes=0-", "line 1: `range` is the cache's own"),
        ] {
            assert_eq!(read(bad).unwrap_err(), want);
        }
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
