/// Why a cluster cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum KubernetesError {
    #[error("there is no kubeconfig: {}", .looked_at.join(", "))]
    NoKubeconfig { looked_at: Vec<String> },
    #[error("cannot read `{file}`")]
    Unreadable {
        file: String,
        #[source]
        error: std::io::Error,
    },
    #[error("`{file}` is not a valid kubeconfig: {why}")]
    Invalid { file: String, why: String },
    #[error("the kubeconfig has no context `{name}`")]
    NoContext { name: String, known: Vec<String> },
    #[error("the kubeconfig names no current context")]
    NoCurrentContext { known: Vec<String> },
    #[error("context `{context}` names the {noun} `{name}`, which is not in the kubeconfig")]
    Dangling { context: String, noun: &'static str, name: String },
    #[error("the server `{0}` is not a valid URL")]
    Server(String),
    #[error("the {what} of context `{context}` cannot be used: {why}")]
    Credentials { context: String, what: &'static str, why: String },
    #[error("the exec plugin `{command}` cannot be run")]
    PluginMissing {
        command: String,
        hint: Option<String>,
        #[source]
        error: std::io::Error,
    },
    #[error("the exec plugin `{command}` failed: {why}")]
    PluginFailed { command: String, why: String },
    #[error("cannot reach the API of context `{context}` at {server}: {why}")]
    Unreachable { context: String, server: String, why: String },
    #[error("{server} does not accept the credentials of context `{context}` (401)")]
    Unauthorized { context: String, server: String },
    #[error("context `{context}` may not list {what} (403): {message}")]
    Forbidden { context: String, what: &'static str, message: String },
    #[error("{server} answered {status} to a list of {what}: {message}")]
    Status { server: String, what: &'static str, status: u16, message: String },
    #[error("what {server} sent as a list of {what} cannot be read: {why}")]
    Answer { server: String, what: &'static str, why: String },
}

/// Returns what serde says, without the value that it says it of: that may be a secret.
pub(super) fn without_value(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quote = |text: &str| text.find(['`', '"']);
    match (text.strip_prefix("invalid type: "), text.rsplit_once(", expected ")) {
        (Some(found), Some((_, expected))) => {
            let found = found.split([',', '`', '"']).next().unwrap_or_default().trim();
            format!("invalid type: {found}, expected {expected}")
        }
        _ if text.starts_with("missing field") || text.starts_with("duplicate field") => text,
        // Messages of the parser show a place and no value.
        _ if quote(&text).is_none() => text,
        _ => "a value has another form than is expected".to_owned(),
    }
}

impl KubernetesError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoKubeconfig { .. } => {
                "name one with --kubeconfig or KUBECONFIG, or give files: kubectl get pods -A -o json | talmirror scan -"
                    .to_owned()
            }
            Self::Unreadable { .. } | Self::Server(_) | Self::Answer { .. } => return None,
            Self::Invalid { .. } => "`kubectl config view` shows what kubectl makes of it".to_owned(),
            Self::NoContext { known, .. } | Self::NoCurrentContext { known } if known.is_empty() => {
                "the kubeconfig defines no context at all".to_owned()
            }
            Self::NoContext { known, .. } | Self::NoCurrentContext { known } => {
                format!("name one with --context: {}", known.join(", "))
            }
            Self::Dangling { .. } => "`kubectl config view` shows what there is".to_owned(),
            Self::Credentials { .. } => "`talosctl kubeconfig` writes new ones for a Talos cluster".to_owned(),
            Self::PluginMissing { hint: Some(hint), .. } => hint.clone(),
            Self::PluginMissing { .. } => "install it, or put it on PATH".to_owned(),
            Self::PluginFailed { command, .. } => format!("run `{command}` by itself: does it log in?"),
            Self::Unreachable { .. } => {
                "check the address, firewalls and proxies; `kubectl version` asks the same server".to_owned()
            }
            Self::Unauthorized { .. } => {
                "they may have expired: `talosctl kubeconfig` writes new ones for a Talos cluster".to_owned()
            }
            Self::Forbidden { what, .. } => {
                format!("the account needs `list` on {what} in all namespaces, such as the cluster role `view` gives")
            }
            Self::Status { .. } => "try again, and see `kubectl get --raw /readyz`".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_serde_says_shows_no_value() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only its errors are looked at")]
        struct Form {
            token: Vec<u8>,
        }
        let said = |value: Value| without_value(&serde_json::from_value::<Form>(value).unwrap_err());
        for secret in
            [json!("s3cr3t, expected a \"`"), json!(987_654_321), json!([1, "s3cr3t"]), json!([987_654_321])]
        {
            let said = said(json!({"token": secret}));
            assert!(!said.contains("s3cr3t") && !said.contains("987"), "{said}");
        }
        assert_eq!(said(json!({"token": "s3cr3t"})), "invalid type: string, expected a sequence");
        assert_eq!(said(json!({})), "missing field `token`");
        let cut = serde_json::from_str::<Form>("{").unwrap_err();
        assert_eq!(without_value(&cut), "EOF while parsing an object at line 1 column 1");
    }
}
