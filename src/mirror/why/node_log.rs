use crate::image::Reference;
use crate::mirror::cause::Cause;

/// What a node's containerd logged last about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// What it means.
    pub cause: Cause,
    /// What stands in the log: the error of the line.
    pub text: String,
}

/// What Go's and containerd's words mean, the more telling ones first.
///
/// Sources: Go `net/dnsclient_unix.go`, `crypto/x509/verify.go`, `net/http/transport.go`; containerd
/// `core/remotes/docker/fetcher.go` and `resolver.go`.
const WORDS: &[(&str, Cause)] = &[
    ("no such host", Cause::NameUnresolvedOnNode),
    ("server misbehaving", Cause::NameUnresolvedOnNode),
    ("dial tcp: lookup", Cause::NameUnresolvedOnNode),
    ("signed by unknown authority", Cause::TlsUntrusted),
    ("has expired or is not yet valid", Cause::TlsExpired),
    ("certificate is valid for", Cause::TlsName),
    ("certificate is not valid for any names", Cause::TlsName),
    ("gave HTTP response to HTTPS client", Cause::TlsFailed),
    ("tls: ", Cause::TlsFailed),
    ("unexpected commit digest", Cause::BlobDamaged),
    ("timeout awaiting response headers", Cause::TooSlow),
    ("connection refused", Cause::Unreachable),
    ("no route to host", Cause::Unreachable),
    ("network is unreachable", Cause::Unreachable),
    ("i/o timeout", Cause::Unreachable),
    ("401 Unauthorized", Cause::CredentialsRejected),
    ("403 Forbidden", Cause::AccessDenied),
    ("429 Too Many Requests", Cause::RateLimited),
    ("500 Internal Server Error", Cause::ServerFails),
    ("502 Bad Gateway", Cause::ServerFails),
    ("503 Service Unavailable", Cause::ServerFails),
    ("504 Gateway Timeout", Cause::ServerFails),
];

/// Returns what the log of a node's containerd says last about an image; [`None`]: nothing, or that it was pulled.
///
/// `hosts` are those of its route: a line that names one of them and the image's repository is about a pull of it.
pub fn last_word(log: &str, image: &Reference, hosts: &[&str]) -> Option<LogLine> {
    let repository = image.repository().to_string();
    let name = image.to_string();
    let short = name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/"));
    let names_image = |line: &str| line.contains(&name) || short.is_some_and(|short| line.contains(short));
    let mut last = None;
    for line in log.lines() {
        let names_image = names_image(line);
        if names_image && line.contains("returns image reference") {
            last = None;
            continue;
        }
        let is_about =
            names_image || (line.contains(&repository) && hosts.iter().any(|host| line.contains(host)));
        if !is_about {
            continue;
        }
        if let Some((_, cause)) = WORDS.iter().find(|(words, _)| line.contains(words)) {
            last = Some(LogLine { cause: *cause, text: without_queries(error_of(line)) });
        }
    }
    last
}

/// Returns the error of a line, or the line where none is marked.
fn error_of(line: &str) -> &str {
    let text = line
        .split_once("error=\"")
        .or_else(|| line.split_once("\"error\":\""))
        .map_or(line, |(_, rest)| rest);
    let mut end = text.len();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped && text.len() != line.len() => {
                end = at;
                break;
            }
            _ => escaped = false,
        }
    }
    text.get(..end).unwrap_or(text).trim()
}

/// Returns a text without the queries of its URLs, which may be signed.
fn without_queries(text: &str) -> String {
    let mut out = String::new();
    let mut in_query = false;
    for c in text.chars() {
        match c {
            '"' | '\\' | ' ' => in_query = false,
            '?' if !in_query => {
                in_query = true;
                out.push_str("?…");
            }
            _ => {}
        }
        if !in_query {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUP: &str = r#"time="2026-01-02T03:04:05Z" level=info msg="trying next host" error="failed to do request: Head \"https://harbor.example/v2/hub/library/alpine/manifests/3?ns=docker.io\": dial tcp: lookup harbor.example on 10.0.0.53:53: no such host" host=harbor.example"#;
    const PULLED: &str =
        r#"level=info msg="PullImage \"docker.io/library/alpine:3\" returns image reference \"sha256:1\"""#;

    fn word(log: &str) -> Option<LogLine> {
        last_word(log, &"alpine:3".parse().unwrap(), &["harbor.example"])
    }

    #[test]
    fn the_last_word_about_an_image() {
        let found = word(LOOKUP).unwrap();
        assert_eq!(found.cause, Cause::NameUnresolvedOnNode);
        assert!(found.text.starts_with("failed to do request: Head"), "{}", found.text);
        assert!(found.text.ends_with("no such host"), "{}", found.text);
        assert!(found.text.contains("manifests/3?…\\\": dial"), "{}", found.text);
        let json = r#"{"level":"info","msg":"trying next host","error":"failed to do request: Head \"https://harbor.example/v2/hub/library/alpine/manifests/3\": tls: failed to verify certificate: x509: certificate signed by unknown authority","host":"harbor.example"}"#;
        assert_eq!(word(json).unwrap().cause, Cause::TlsUntrusted);
        // What was pulled since is no fault any more.
        assert_eq!(word(&format!("{LOOKUP}\n{PULLED}\n")), None);
        assert!(word(&format!("{PULLED}\n{LOOKUP}\n")).is_some());
        // Another image, or another host of one that is called alike.
        assert_eq!(word(&LOOKUP.replace("library/alpine", "library/debian")), None);
        assert_eq!(word(&LOOKUP.replace("harbor.example", "other.example")), None);
        assert_eq!(word("level=info msg=\"PullImage docker.io/library/alpine:3\""), None);
    }
}
