#![expect(clippy::disallowed_methods, reason = "asks a server, within time limits")]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::error::{KubernetesError, without_value};
use super::kubeconfig::Access;
use super::{exec, tls};
use crate::secret::without_userinfo;

/// How many objects one answer holds.
const PAGE: &str = "500";
/// How many answers a list may have: more objects than a cluster holds.
const MOST_PAGES: usize = 10_000;
/// The largest answer that is read: 500 objects at the 1.5 MiB that etcd takes are more, and no cluster has such pods.
const LARGEST: usize = 64 * 1024 * 1024;

/// A kind of object that is listed, in all namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kinds of Kubernetes")]
pub enum ListOf {
    Nodes,
    Pods,
    Deployments,
    StatefulSets,
    DaemonSets,
    CronJobs,
    Jobs,
}

impl ListOf {
    /// The kinds that name images, pods first.
    pub const WITH_IMAGES: [Self; 6] =
        [Self::Pods, Self::Deployments, Self::StatefulSets, Self::DaemonSets, Self::CronJobs, Self::Jobs];

    /// Returns the word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::CronJobs => "cronjobs",
            Self::Jobs => "jobs",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Nodes => "api/v1/nodes",
            Self::Pods => "api/v1/pods",
            Self::Deployments => "apis/apps/v1/deployments",
            Self::StatefulSets => "apis/apps/v1/statefulsets",
            Self::DaemonSets => "apis/apps/v1/daemonsets",
            Self::CronJobs => "apis/batch/v1/cronjobs",
            Self::Jobs => "apis/batch/v1/jobs",
        }
    }
}

/// The API of a cluster.
#[derive(Debug)]
pub struct Api {
    http: reqwest::Client,
    server: Url,
    /// The server without credentials.
    shown: String,
    access: Access,
    timeout: Duration,
}

#[derive(Deserialize)]
struct ListPage {
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    message: Option<String>,
}

impl Api {
    /// Makes a client; runs the exec plugin if the access has one. Nothing is dialled yet.
    pub fn new(mut access: Access, timeout: Duration) -> Result<Self, KubernetesError> {
        let shown = without_userinfo(&access.server);
        let invalid = || KubernetesError::Server(shown.clone());
        let mut server: Url = access.server.parse().map_err(|_| invalid())?;
        if !matches!(server.scheme(), "http" | "https") || server.host_str().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        if !server.path().ends_with('/') {
            server.set_path(&format!("{}/", server.path()));
        }
        exec::fill(&mut access)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("talmirror/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls::config(&access)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(timeout);
        if let Some(proxy) = &access.proxy {
            let proxy = reqwest::Proxy::all(proxy).map_err(|_| KubernetesError::Credentials {
                context: access.context.clone(),
                what: "proxy-url",
                why: "it is not a valid URL".to_owned(),
            })?;
            builder = builder.no_proxy().proxy(proxy);
        }
        let http = builder.build().map_err(|error| KubernetesError::Unreachable {
            context: access.context.clone(),
            server: shown.clone(),
            why: innermost(&error),
        })?;
        let shown = without_userinfo(server.as_str());
        Ok(Self { http, server, shown, access, timeout })
    }

    /// Lists objects of all namespaces page by page; `take` gets each page as it came.
    ///
    /// A list that grew too old between two pages begins again, so that an object may come twice. Fails where an answer is
    /// larger than 64 MiB, and where the list does not end.
    pub async fn list(
        &self,
        what: ListOf,
        take: &mut dyn FnMut(Bytes) -> Result<(), KubernetesError>,
    ) -> Result<(), KubernetesError> {
        let mut next: Option<String> = None;
        let mut begun_again = false;
        let unusable =
            |why: String| KubernetesError::Answer { server: self.shown.clone(), what: what.as_str(), why };
        let mut named = BTreeSet::new();
        for _ in 0..MOST_PAGES {
            let page = match self.page(what, next.as_deref()).await {
                Err(KubernetesError::Status { status: 410, .. }) if next.is_some() && !begun_again => {
                    (next, begun_again) = (None, true);
                    named.clear();
                    continue;
                }
                page => page?,
            };
            let read = serde_json::from_slice::<ListPage>(&page);
            let read = read.map_err(|error| unusable(without_value(&error)))?;
            take(page)?;
            next = read.metadata.and_then(|metadata| metadata.next).filter(|next| !next.is_empty());
            match &next {
                None => return Ok(()),
                Some(next) if named.insert(next.clone()) => {}
                Some(_) => return Err(unusable("two pages name the same next one (`continue`)".to_owned())),
            }
        }
        Err(unusable(format!("it has more than {MOST_PAGES} pages")))
    }

    async fn page(&self, what: ListOf, next: Option<&str>) -> Result<Bytes, KubernetesError> {
        let mut url =
            self.server.join(what.path()).map_err(|_| KubernetesError::Server(self.shown.clone()))?;
        url.query_pairs_mut().append_pair("limit", PAGE).extend_pairs(next.map(|next| ("continue", next)));
        let unreachable = |why: String| KubernetesError::Unreachable {
            context: self.access.context.clone(),
            server: self.shown.clone(),
            why,
        };
        let mut request = self.http.get(url).header(ACCEPT, "application/json");
        if let Some(token) = &self.access.token {
            request = request.bearer_auth(token.expose());
        } else if let Some((user, password)) = &self.access.basic {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(user) = &self.access.act_as {
            request = request.header(HeaderName::from_static("impersonate-user"), header(user));
            for group in &self.access.act_as_groups {
                request = request.header(HeaderName::from_static("impersonate-group"), header(group));
            }
        }
        let send = async {
            let answer = request.send().await.map_err(|error| unreachable(innermost(&error)))?;
            let status = answer.status().as_u16();
            let body = body(answer).await.map_err(|error| match error {
                BodyError::Broken(error) => unreachable(innermost(&error)),
                BodyError::TooLarge => KubernetesError::Answer {
                    server: self.shown.clone(),
                    what: what.as_str(),
                    why: format!("it is larger than {} MiB", LARGEST / 1024 / 1024),
                },
            })?;
            Ok((status, body))
        };
        let sent = tokio::time::timeout(self.timeout, send).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(unreachable(format!("it did not answer within {} s", self.timeout.as_secs_f64())))
        });
        match &sent {
            Ok((status, _)) => {
                tracing::debug!(server = self.shown, list = what.as_str(), status, "answered");
            }
            Err(error) => tracing::debug!(server = self.shown, list = what.as_str(), %error, "failed"),
        }
        let (status, body) = sent?;
        let message = || {
            let message = serde_json::from_slice::<Status>(&body).ok().and_then(|status| status.message);
            let message = message.unwrap_or_else(|| "it does not say why".to_owned());
            message.chars().filter(|c| !c.is_control()).take(300).collect::<String>()
        };
        let (server, context) = (self.shown.clone(), self.access.context.clone());
        match status {
            200 => Ok(body),
            401 => Err(KubernetesError::Unauthorized { context, server }),
            403 => Err(KubernetesError::Forbidden { context, what: what.as_str(), message: message() }),
            status => {
                Err(KubernetesError::Status { server, what: what.as_str(), status, message: message() })
            }
        }
    }
}

/// Why a body was not read to its end.
enum BodyError {
    Broken(reqwest::Error),
    TooLarge,
}

/// Reads a body that is not too large.
async fn body(mut answer: reqwest::Response) -> Result<Bytes, BodyError> {
    let announced = answer.content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > LARGEST) {
        return Err(BodyError::TooLarge);
    }
    let mut all = BytesMut::with_capacity(announced.unwrap_or(0));
    while let Some(chunk) = answer.chunk().await.map_err(BodyError::Broken)? {
        if all.len() + chunk.len() > LARGEST {
            return Err(BodyError::TooLarge);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// Makes a header's value; one that cannot be sent is sent empty, and refused by the server.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Returns the words of the innermost cause; the outer ones repeat it, and name the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
