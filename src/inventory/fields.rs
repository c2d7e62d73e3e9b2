//! The fields that every mapping of an inventory may have.

/// The fields of every mapping, by its name in the JSON schema; a test holds the two together.
pub(super) const FIELDS: &[(&str, &[&str])] = &[
    ("inventory", ROOT),
    ("mirror", MIRROR),
    ("harbor", HARBOR),
    ("harborProject", HARBOR_PROJECT),
    ("registry", REGISTRY),
    ("upstream", UPSTREAM),
    ("credentials", CREDENTIALS),
    ("reference", REFERENCE),
    ("tls", TLS),
    ("clientIdentity", CLIENT_IDENTITY),
    ("defaults", DEFAULTS),
    ("group", GROUP),
    ("node", NODE),
    ("talos", TALOS),
    ("output", OUTPUT),
    ("rollout", ROLLOUT),
    ("verify", VERIFY),
    ("verificationRule", VERIFICATION_RULE),
    ("keyless", KEYLESS),
    ("publicKey", PUBLIC_KEY),
    ("lint", LINT),
];

pub(super) const ROOT: &[&str] = &[
    "apiVersion",
    "kind",
    "cluster",
    "talos",
    "mirrors",
    "registries",
    "defaults",
    "groups",
    "nodes",
    "output",
    "rollout",
    "verify",
    "imageVerification",
    "lint",
    "mirror",
    "project",
    "projects",
    "path",
    "paths",
    "overridePath",
    "credentials",
    "tls",
    "inCluster",
    "admin",
    "harbor",
    "fallback",
    "sops",
];
pub(super) const MIRROR: &[&str] = &[
    "kind",
    "url",
    "project",
    "projects",
    "path",
    "paths",
    "overridePath",
    "serves",
    "credentials",
    "tls",
    "inCluster",
    "admin",
    "harbor",
];
/// What of a mirror may stand at the top of an inventory that has but one.
pub(super) const ONE_MIRROR: &[&str] = &[
    "project",
    "projects",
    "path",
    "paths",
    "overridePath",
    "credentials",
    "tls",
    "inCluster",
    "admin",
    "harbor",
];
pub(super) const HARBOR: &[&str] =
    &["robot", "retention", "quota", "gc", "public", "speedKbps", "maxConnections"];
pub(super) const HARBOR_PROJECT: &[&str] = &["adapter", "retention", "quota", "speedKbps", "maxConnections"];
pub(super) const REGISTRY: &[&str] = &["via", "fallback", "upstream", "harbor"];
pub(super) const UPSTREAM: &[&str] = &["url", "credentials", "tls"];
pub(super) const CREDENTIALS: &[&str] = &[
    "username",
    "usernameFrom",
    "password",
    "passwordFrom",
    "auth",
    "authFrom",
    "identityToken",
    "identityTokenFrom",
];
pub(super) const REFERENCE: &[&str] = &["env", "file", "command", "stdin"];
pub(super) const TLS: &[&str] = &["ca", "caFile", "clientIdentity", "insecureSkipVerify"];
pub(super) const CLIENT_IDENTITY: &[&str] = &["cert", "certFile", "key", "keyFrom"];
pub(super) const DEFAULTS: &[&str] = &["via", "fallback"];
pub(super) const GROUP: &[&str] = &["nodes", "role", "addresses", "registries", "defaults"];
pub(super) const NODE: &[&str] = &["address", "role", "version", "registries", "defaults"];
pub(super) const TALOS: &[&str] = &["version", "talosconfig", "context"];
pub(super) const OUTPUT: &[&str] = &["dir", "format", "layout", "encrypt"];
pub(super) const ROLLOUT: &[&str] =
    &["order", "canary", "maxParallel", "maxFailures", "tryTimeout", "reboot", "pause"];
pub(super) const VERIFY: &[&str] = &["images", "requireMirrorHit", "timeout"];
pub(super) const VERIFICATION_RULE: &[&str] = &["image", "skip", "deny", "keyless", "publicKey"];
pub(super) const KEYLESS: &[&str] = &["issuer", "subject", "subjectRegex"];
pub(super) const PUBLIC_KEY: &[&str] = &["certificate"];
pub(super) const LINT: &[&str] = &["allow", "denyWarnings"];
