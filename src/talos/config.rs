use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use indexmap::IndexMap;

use crate::secret::Secret;
use crate::yaml::{self, Node, ParseError};

/// A talosconfig: where clusters are reached, and what admits a client to them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The context that counts where none is named.
    pub current: Option<String>,
    /// The contexts, by name; one that cannot be used is an error once it is chosen.
    pub contexts: IndexMap<String, Result<Context, ConfigError>>,
}

/// How one cluster is reached.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The nodes that calls go to, as written; they pass them on to the node that is meant.
    pub endpoints: Vec<String>,
    /// The nodes that are meant where none is named.
    pub nodes: Vec<String>,
    /// The certificates of the cluster's authority, PEM: several while it is being replaced.
    pub ca: Option<String>,
    /// The client's certificate, PEM.
    pub crt: Option<String>,
    /// The client's key, PEM.
    pub key: Option<Secret<String>>,
    /// A user and a password, for a proxy that wants them.
    pub basic: Option<Basic>,
    /// The cluster's name, for a proxy that serves several.
    pub cluster: Option<String>,
    /// The proxy on the way to the endpoints: a URL, or `direct` for none.
    pub proxy_url: Option<String>,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Basic({})", self.username)
    }
}

/// Why a talosconfig cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not valid YAML.
    #[error("it is not valid YAML")]
    Yaml(#[source] ParseError),
    /// It holds nothing, such as the file that talosctl makes where there is none.
    #[error("it is empty")]
    Empty,
    /// It is YAML of something else.
    #[error("`{path}` is {found}, not {want}")]
    Shape {
        /// The place.
        path: String,
        /// What should be there.
        want: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// It holds something else.
    #[error("it has no `contexts`")]
    NoContexts,
    /// A certificate or key is not what it should be.
    #[error("`contexts.{context}.{field}` is not base64 of a PEM text")]
    Encoding {
        /// The context.
        context: String,
        /// The field.
        field: &'static str,
    },
    /// No context is chosen.
    #[error("it has no current context")]
    NoContext {
        /// The contexts that there are.
        known: Vec<String>,
    },
    /// The context that is chosen is not there.
    #[error("it has no context `{name}`")]
    UnknownContext {
        /// The context.
        name: String,
        /// The contexts that there are.
        known: Vec<String>,
    },
    /// The cluster is managed by Omni, whose signatures talmirror does not make.
    #[error("context `{context}` signs in through Omni (siderov1, {identity})")]
    Omni {
        /// The context.
        context: String,
        /// Who would sign.
        identity: String,
    },
}

impl ConfigError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Yaml(error) => error.help.clone(),
            Self::Empty => {
                Some("name another with --talosconfig; `talosctl gen config` makes one".to_owned())
            }
            Self::Shape { .. } | Self::NoContexts => {
                Some("is it a talosconfig, and not a machine config or a kubeconfig?".to_owned())
            }
            Self::Encoding { .. } => Some("was it cut short when it was copied?".to_owned()),
            Self::NoContext { known } | Self::UnknownContext { known, .. } => Some(match known.as_slice() {
                [] => "the file holds no contexts at all".to_owned(),
                known => format!("name one with --context: {}", known.join(", ")),
            }),
            Self::Omni { .. } => Some(
                "Omni owns the machine configs of its clusters and undoes changes made on nodes: put what \
                 `talmirror generate` prints into an Omni config patch"
                    .to_owned(),
            ),
        }
    }
}

impl Config {
    /// Reads a talosconfig.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if yaml::parse(text).map_err(ConfigError::Yaml)?.documents.is_empty() {
            return Err(ConfigError::Empty);
        }
        let root = yaml::parse_one(text).map_err(ConfigError::Yaml)?.root;
        if root.is_null() {
            return Err(ConfigError::Empty);
        }
        let current = text_of(&root, "context", "context")?;
        let contexts = match root.get("contexts") {
            Some(node) if node.is_mapping() => node.entries(),
            Some(node) if node.is_null() => &[],
            Some(node) => return Err(shape("contexts", "a mapping", node)),
            None if current.is_some() => &[],
            None => return Err(ConfigError::NoContexts),
        };
        let contexts = contexts.iter().map(|entry| (entry.key.clone(), context(&entry.key, &entry.value)));
        Ok(Self { current, contexts: contexts.collect() })
    }

    /// Returns the named context, or the current one, and its name.
    pub fn select(&self, name: Option<&str>) -> Result<(&str, &Context), ConfigError> {
        let known = || self.contexts.keys().cloned().collect();
        let name =
            name.or(self.current.as_deref()).ok_or_else(|| ConfigError::NoContext { known: known() })?;
        let found = self.contexts.get_key_value(name);
        let (name, context) =
            found.ok_or_else(|| ConfigError::UnknownContext { name: name.to_owned(), known: known() })?;
        Ok((name, context.as_ref().map_err(Clone::clone)?))
    }
}

fn shape(path: impl Into<String>, want: &'static str, node: &Node) -> ConfigError {
    ConfigError::Shape { path: path.into(), want, found: node.kind() }
}

/// Returns the text of a scalar, whatever it looks like: `nodes: [cp1, 10]` holds two names.
fn scalar(node: &Node, path: &str) -> Result<String, ConfigError> {
    match &node.value {
        yaml::Value::Scalar(scalar) => Ok(scalar.text.clone()),
        yaml::Value::Sequence { .. } | yaml::Value::Mapping { .. } => Err(shape(path, "a string", node)),
    }
}

/// Returns the text of a field; [`None`] where it is missing, null or empty.
fn text_of(node: &Node, key: &str, path: &str) -> Result<Option<String>, ConfigError> {
    match node.get(key) {
        Some(value) if !value.is_null() => Ok(Some(scalar(value, path)?).filter(|text| !text.is_empty())),
        Some(_) | None => Ok(None),
    }
}

fn context(name: &str, node: &Node) -> Result<Context, ConfigError> {
    let path = |key: &str| format!("contexts.{name}.{key}");
    let text = |key: &str| text_of(node, key, &path(key));
    let list = |key: &str| match node.get(key) {
        Some(value) if value.is_sequence() => {
            value.items().iter().map(|item| scalar(item, &path(key))).collect()
        }
        Some(value) if !value.is_null() => Err(shape(path(key), "a list", value)),
        Some(_) | None => Ok(Vec::new()),
    };
    let pem = |field: &'static str| {
        let failed = || ConfigError::Encoding { context: name.to_owned(), field };
        let Some(text) = text(field)?.map(Secret::new) else { return Ok(None) };
        let joined = Secret::new(text.expose().split_ascii_whitespace().collect::<String>());
        let decoded = Secret::new(BASE64.decode(joined.expose()).map_err(|_| failed())?);
        let pem = std::str::from_utf8(decoded.expose()).map_err(|_| failed())?;
        if pem.contains("-----BEGIN ") { Ok(Some(Secret::from(pem))) } else { Err(failed()) }
    };
    if !node.is_mapping() && !node.is_null() {
        return Err(shape(format!("contexts.{name}"), "a mapping", node));
    }
    if let Some(omni) = node.at(&["auth", "siderov1"]).filter(|omni| !omni.is_null()) {
        let identity = text_of(omni, "identity", &path("auth.siderov1.identity"))?;
        let identity = identity.unwrap_or_else(|| "no identity".to_owned());
        return Err(ConfigError::Omni { context: name.to_owned(), identity });
    }
    let basic = node.at(&["auth", "basic"]).filter(|basic| !basic.is_null());
    let basic = basic.map(|basic| {
        let part = |key: &str| text_of(basic, key, &path(&format!("auth.basic.{key}")));
        let (username, password) = (part("username")?, part("password")?);
        let (username, password) = (username.unwrap_or_default(), password.unwrap_or_default());
        Ok(Basic { username, password: Secret::new(password) })
    });
    let mut endpoints: Vec<String> = list("endpoints")?;
    // What the field was called before there were several; talosctl appends it, too.
    endpoints.extend(text("target")?.filter(|target| !endpoints.contains(target)));
    Ok(Context {
        endpoints,
        nodes: list("nodes")?,
        ca: pem("ca")?.map(|pem| pem.expose().clone()),
        crt: pem("crt")?.map(|pem| pem.expose().clone()),
        key: pem("key")?,
        basic: basic.transpose()?,
        cluster: text("cluster")?,
        proxy_url: text("proxy-url")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str) -> String {
        BASE64.encode(format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"))
    }

    #[test]
    fn a_context_is_read_whole() {
        let text = format!(
            "context: prod\ncontexts:\n  prod:\n    endpoints: [10.0.0.1, '[fd00::1]:50000']\n    \
             nodes: [cp1, 10]\n    target: 10.0.0.9\n    ca: {}\n    crt: >-\n      {}\n    key: {}\n    \
             auth: {{basic: {{username: u, password: s3cr3t-p}}}}\n    proxy-url: direct\n    cluster: c\n    \
             unknown: 1\n",
            pem("CERTIFICATE"),
            pem("CERTIFICATE").split_at(20).0.to_owned() + "\n      " + pem("CERTIFICATE").split_at(20).1,
            pem("ED25519 PRIVATE KEY"),
        );
        let config = Config::parse(&text).unwrap();
        let (name, context) = config.select(None).unwrap();
        assert_eq!(name, "prod");
        assert_eq!(context.endpoints, ["10.0.0.1", "[fd00::1]:50000", "10.0.0.9"]);
        assert_eq!(context.nodes, ["cp1", "10"]);
        assert_eq!(context.ca, context.crt);
        assert!(context.key.as_ref().unwrap().expose().starts_with("-----BEGIN ED25519 PRIVATE KEY"));
        assert_eq!(context.basic.as_ref().unwrap().password.expose(), "s3cr3t-p");
        assert_eq!((context.proxy_url.as_deref(), context.cluster.as_deref()), (Some("direct"), Some("c")));
        let debug = format!("{config:?}");
        assert!(!debug.contains("s3cr3t") && !debug.contains("PRIVATE"), "{debug}");
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, want) in [
            ("", "it is empty"),
            ("# nothing\n", "it is empty"),
            ("a: [", "it is not valid YAML"),
            ("machine: {}\n", "it has no `contexts`"),
            ("- a\n", "it has no `contexts`"),
            ("contexts: []\n", "`contexts` is a list, not a mapping"),
            ("contexts: {a: {}}\n", "it has no current context"),
            ("context: b\ncontexts: {a: {}}\n", "it has no context `b`"),
            ("context: b\n", "it has no context `b`"),
            ("context: a\ncontexts: {a: {nodes: n1}}\n", "`contexts.a.nodes` is a string, not a list"),
            ("context: a\ncontexts: {a: [x]}\n", "`contexts.a` is a list, not a mapping"),
            ("context: a\ncontexts: {a: {ca: '%'}}\n", "`contexts.a.ca` is not base64 of a PEM text"),
            ("context: a\ncontexts: {a: {key: QUJD}}\n", "`contexts.a.key` is not base64 of a PEM text"),
            (
                "context: a\ncontexts: {a: {auth: {siderov1: {identity: me@x}}}}\n",
                "context `a` signs in through Omni (siderov1, me@x)",
            ),
        ] {
            let error = Config::parse(text).and_then(|config| config.select(None).map(|_| ())).unwrap_err();
            assert_eq!(error.to_string(), want, "{text}");
            assert!(error.help().is_some() || matches!(error, ConfigError::Yaml(_)), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_answer_or_an_error(text in "context: a\ncontexts:\n( *(a|b|ca|key|nodes|auth|basic|target): ?[\\[\\]{}a-z0-9=+]*\n){0,6}") {
            if let Ok(config) = Config::parse(&text) {
                let _ = config.select(None);
            }
        }
    }

    #[test]
    fn a_broken_context_harms_no_other() {
        let config = Config::parse("context: a\ncontexts: {a: {}, b: {ca: '%'}}\n").unwrap();
        assert!(config.select(None).is_ok());
        assert!(config.select(Some("b")).is_err());
        let error = config.select(Some("c")).unwrap_err();
        assert_eq!(error.help().unwrap(), "name one with --context: a, b");
    }
}
