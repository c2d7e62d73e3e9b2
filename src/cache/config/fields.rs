//! The fields that every mapping of a cache's configuration may have.

/// The fields of every mapping, by its name in the JSON schema; a test holds the two together.
pub(super) const FIELDS: &[(&str, &[&str])] = &[
    ("cache", ROOT),
    ("bucket", BUCKET),
    ("peers", PEERS),
    ("upstream", UPSTREAM),
    ("upstreamLimits", OWN_LIMITS),
    ("upstreamTls", UPSTREAM_TLS),
    ("redirect", REDIRECT),
    ("tags", TAGS),
    ("tagRule", TAG_RULE),
    ("tls", TLS),
    ("log", LOG),
    ("limits", LIMITS),
];

pub(super) const ROOT: &[&str] = &[
    "apiVersion",
    "kind",
    "listen",
    "metricsListen",
    "statusPage",
    "root",
    "sizeCap",
    "reserve",
    "bucket",
    "peers",
    "pins",
    "default",
    "builtin",
    "upstreams",
    "tags",
    "tls",
    "htpasswd",
    "authenticate",
    "log",
    "trustedProxies",
    "limits",
];
pub(super) const BUCKET: &[&str] = &[
    "url",
    "endpoint",
    "pathStyle",
    "region",
    "ca",
    "instanceMetadata",
    "encryption",
    "maxAge",
    "maxSize",
    "redirectEndpoint",
    "redirectExpiry",
];
pub(super) const PEERS: &[&str] = &["listen", "url", "secret"];
pub(super) const UPSTREAM: &[&str] = &[
    "url",
    "endpoints",
    "credentials",
    "anonymous",
    "private",
    "allow",
    "deny",
    "tagTtl",
    "limits",
    "tokenServers",
    "tls",
    "proxy",
    "headers",
    "redirect",
];
pub(super) const REDIRECT: &[&str] = &["clients"];
pub(super) const OWN_LIMITS: &[&str] =
    &["headerTimeout", "perUpstream", "queueTimeout", "longestPause", "retries"];
pub(super) const TAGS: &[&str] = &["ttl", "rules", "stale"];
pub(super) const TAG_RULE: &[&str] = &["match", "ttl"];
pub(super) const UPSTREAM_TLS: &[&str] = &["ca", "cert", "key"];
pub(super) const TLS: &[&str] = &["cert", "key", "clientCa"];
pub(super) const LOG: &[&str] = &["format", "filter"];
pub(super) const LIMITS: &[&str] = &[
    "connections",
    "perClient",
    "drainTimeout",
    "fills",
    "perUpstream",
    "headerTimeout",
    "queueTimeout",
    "longestPause",
    "retries",
];
