use crate::image::Reference;
use crate::mirror::cause::Cause;

/// What a node's containerd logged last about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// What it means.
    pub cause: Cause,
    /// What stands in the log: the error of the line.
    pub text: String,
    /// Which host of the image's route the line names: 0 is the first.
    pub hop: Option<usize>,
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
/// `hosts` are those of its route: a line that names one of them and the image's repository is about a pull of it, unless
/// it asks for another tag.
pub fn last_word(log: &str, image: &Reference, hosts: &[&str]) -> Option<LogLine> {
    let repository = format!("/{}/", image.repository());
    let manifest = image.manifest().to_string();
    let name = image.to_string();
    let short = name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/"));
    let names_image = |line: &str| has_word(line, &name) || short.is_some_and(|short| has_word(line, short));
    let asks_for = |line: &str| {
        line.match_indices(&repository).any(|(at, _)| {
            let rest = line.get(at + repository.len()..).unwrap_or_default();
            let Some(asked) = rest.strip_prefix("manifests/") else { return true };
            let asked = asked.split(|c: char| c != ':' && !is_of_word(c)).next().unwrap_or_default();
            asked == manifest || asked.contains(':')
        })
    };
    let mut last = None;
    for line in log.lines() {
        let names_image = names_image(line);
        if names_image && line.contains("returns image reference") {
            last = None;
            continue;
        }
        let hop = hosts.iter().position(|host| has_word(line, host));
        if !names_image && (hop.is_none() || !asks_for(line)) {
            continue;
        }
        if let Some(cause) = cause_of(line) {
            last = Some(LogLine { cause, text: without_queries(error_of(line)), hop });
        }
    }
    last
}

/// Returns what an error of Go's or containerd's means, where its words are known.
pub fn cause_of(error: &str) -> Option<Cause> {
    WORDS.iter().find(|(words, _)| error.contains(words)).map(|(_, cause)| *cause)
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Returns whether a line has a name that is not part of a longer one.
fn has_word(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + name.len()..).and_then(|after| after.chars().next());
        let begins = before.is_none_or(|c| !is_of_word(c) && (c != '/' || is_in_url(line, at)));
        begins && after.is_none_or(|c| !is_of_word(c))
    })
}

/// Returns whether a name is the host of a URL.
fn is_in_url(line: &str, at: usize) -> bool {
    line.get(..at).is_some_and(|before| before.ends_with("://"))
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

    #[test]
    fn other_images_are_not_it() {
        for other in
            ["docker.io/library/alpine:3.22", "alpine:3.22", "myalpine:3", "me/alpine:3", "myalpine:3.22"]
        {
            let failed =
                format!("msg=\"PullImage \\\"{other}\\\" failed\" error=\"dial tcp: connection refused\"");
            assert_eq!(word(&failed), None, "{other}");
            let pulled = PULLED.replace("docker.io/library/alpine:3", other);
            assert!(word(&format!("{LOOKUP}\n{pulled}\n")).is_some(), "{other}");
        }
        assert!(word("msg=\"PullImage \\\"alpine:3\\\" failed\" error=\"connection refused\"").is_some());
        assert_eq!(word(&LOOKUP.replace("library/alpine", "library/myalpine")), None);
        assert_eq!(word(&LOOKUP.replace("library/alpine", "my-library/alpine")), None);
        assert_eq!(word(&LOOKUP.replace("manifests/3", "manifests/3.22")), None);
        assert_eq!(word(&LOOKUP.replace("harbor.example", "my-harbor.example")), None);
        let digest = format!("manifests/sha256:{}", "a".repeat(64));
        assert!(word(&LOOKUP.replace("manifests/3", &digest)).is_some(), "of an index that the tag names");
        assert!(word(&LOOKUP.replace("manifests/3", "blobs/sha256:1")).is_some());
    }

    #[test]
    fn which_host_a_line_is_about() {
        let image = "alpine:3".parse().unwrap();
        let of = |hosts: &[&str]| last_word(LOOKUP, &image, hosts).and_then(|line| line.hop);
        assert_eq!(of(&["harbor.example", "cache.example:5000"]), Some(0));
        assert_eq!(of(&["cache.example:5000", "harbor.example"]), Some(1));
    }
}
