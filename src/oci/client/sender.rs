use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use url::Url;

use super::address_policy::AddressPolicy;
use super::endpoint::Endpoint;
use super::error::{ClientError, RequestError};
use super::http::{Answer, Http, Outgoing};
use super::redirect::{Pass, Redirect, follow};
use crate::secret::Secret;

/// Sends requests on behalf of one endpoint: redirects are followed, and no address is dialled that is not allowed.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) http: Http,
    pub(super) endpoint: Endpoint,
    /// What redirects and token servers may lead to.
    pub(super) policy: AddressPolicy,
    /// What redirects may lead to where the policy is [`AddressPolicy::Anywhere`].
    pub(super) onward: AddressPolicy,
    /// Headers that requests to the endpoint itself have, and no others.
    pub(super) own_headers: HeaderMap,
}

impl Sender {
    /// Sends a request and follows redirects; credentials stay with the origin that they are for. `policy` says where
    /// anything may be that is not the endpoint itself.
    pub(super) async fn send(
        &self,
        method: http::Method,
        url: Url,
        policy: AddressPolicy,
        mut headers: HeaderMap,
        authorization: Option<&Secret<String>>,
        mut form: Option<String>,
    ) -> Result<Answer, ClientError> {
        if let Some(authorization) = authorization {
            let value = HeaderValue::from_str(authorization.expose());
            let mut value = value.map_err(|_| {
                RequestError::Answer("the credentials have characters that a header cannot have".to_owned())
                    .at(&url)
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if self.endpoint.is_own(&url) {
            headers.extend(self.own_headers.clone());
        }
        let (mut next, mut left_origin) = (url, false);
        for before in 0.. {
            let outgoing = Outgoing {
                method: method.clone(),
                url: next.clone(),
                headers: headers.clone(),
                form: form.take(),
            };
            let mut answer = if self.endpoint.is_own(&next) {
                self.http.send(self.endpoint.own_policy(self.policy), outgoing).await?
            } else {
                let policy = if before == 0 { policy } else { self.onward_from(policy) };
                self.http.send_elsewhere(policy, outgoing, &self.endpoint).await?
            };
            if !matches!(answer.status(), 301 | 302 | 303 | 307 | 308) || method == http::Method::POST {
                answer.left_origin = left_origin;
                return Ok(answer);
            }
            let leads = follow(&next, answer.header(LOCATION), before, self.onward_from(policy));
            let Redirect { url, credentials } = leads.map_err(|refused| answer.failed(refused.into()))?;
            match credentials {
                Pass::Keep => {}
                Pass::Strip => {
                    headers.remove(AUTHORIZATION);
                    for name in self.own_headers.keys() {
                        headers.remove(name);
                    }
                    left_origin = true;
                }
            }
            answer.drain().await;
            next = url;
        }
        Err(RequestError::Answer("it redirects without end".to_owned()).at(&next))
    }

    /// Returns what a redirect may lead to: what the operator names is meant, wherever it is; what an answer names may
    /// be in a network of the operator's, and never where clouds keep secrets.
    const fn onward_from(&self, policy: AddressPolicy) -> AddressPolicy {
        match policy {
            AddressPolicy::Anywhere => self.onward,
            AddressPolicy::Public | AddressPolicy::OwnNetworks | AddressPolicy::PrivateOnly => policy,
        }
    }
}
