use serde_json::{Value, json};

use crate::cache::bucket::RedirectCheck;
use crate::cache::config::{BucketConfig, Config};
use crate::finding::{Code, Problem};

/// Returns what is doubtful about sending clients to the bucket that the findings of the file do not say yet; and a way out.
pub(super) fn doubts(config: &Config, said: &[Problem]) -> Vec<(String, String)> {
    let new = |code: Code, about: &str| {
        !said.iter().any(|problem| problem.code == code && problem.message.contains(about))
    };
    let mut out = Vec::new();
    for (host, why) in config.never_redirected() {
        if new(Code::NeverRedirected, host.as_str()) {
            let doubt = format!("no client is sent to the bucket for what comes from {host}: {why}");
            out.push((doubt, format!("leave --redirect {host} out: its blobs come through the cache")));
        }
    }
    let plain = config.bucket.as_ref().and_then(BucketConfig::plain_redirect);
    let is_redirected = config.redirected().next().is_some();
    if plain.is_some() && is_redirected && new(Code::PlainHttpCredentials, "clients are sent") {
        let doubt = "clients are sent to the bucket over plain http".to_owned();
        out.push((doubt, "--redirect-endpoint https://…, if it has one".to_owned()));
    }
    out
}

/// What came of asking the bucket as a client does that was sent there.
pub(super) struct Redirected {
    checked: Result<RedirectCheck, String>,
    registries: Vec<String>,
    /// Clients are sent to another endpoint than the cache asks.
    is_elsewhere: bool,
}

impl Redirected {
    pub(super) fn new(checked: Result<RedirectCheck, String>, config: &Config) -> Self {
        let registries = config.redirected().map(ToString::to_string).collect();
        let is_elsewhere = config.bucket.as_ref().is_some_and(|bucket| bucket.redirect_endpoint.is_some());
        Self { checked, registries, is_elsewhere }
    }

    /// Returns what is wrong for clients, as far as that can be said from here.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.checked {
            Err(why) => Some(why.clone()),
            Ok(RedirectCheck { answer: Ok(200 | 404), .. }) => None,
            Ok(RedirectCheck { answer: Ok(status), .. }) => Some(format!(
                "it answers {status} to a signed address: check the endpoint that clients are sent to, the region, and the clocks"
            )),
            // It may be reached by clients only.
            Ok(RedirectCheck { answer: Err(_), .. }) if self.is_elsewhere => None,
            Ok(RedirectCheck { answer: Err(why), .. }) => Some(format!("it cannot be reached: {why}")),
        }
    }

    /// Returns what may be wrong for clients, and a way out.
    pub(super) fn doubt(&self) -> Option<(String, &'static str)> {
        match &self.checked {
            Ok(RedirectCheck { answer: Err(why), endpoint }) if self.is_elsewhere => Some((
                format!("{endpoint}, where clients are sent, cannot be reached from here: {why}"),
                "ask it from where clients are",
            )),
            Ok(_) | Err(_) => None,
        }
    }

    pub(super) fn json(&self) -> Value {
        let failure = self.failure();
        json!({
            "endpoint": self.endpoint(),
            "registries": self.registries,
            "ok": failure.is_none(),
            "error": failure,
        })
    }

    pub(super) fn line(&self) -> Vec<String> {
        let result = self.failure().unwrap_or_else(|| "ok".to_owned());
        let endpoint = self.endpoint().unwrap_or_else(|| "-".to_owned());
        vec!["(clients to the bucket)".to_owned(), endpoint, "signed".to_owned(), result]
    }

    fn endpoint(&self) -> Option<String> {
        let checked = self.checked.as_ref().ok()?;
        Some(checked.endpoint.as_str().trim_end_matches('/').to_owned())
    }
}
