use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use url::Url;

use super::address_policy::AddressPolicy;
use super::auth::{Authenticator, Presented, Scheme, asked_as};
use super::credential_file::CredentialFile;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::error::{AskedAs, ClientError, RequestError};
use super::http::{Answer, Http};
use super::request::{Login, RegistryRequest};
use super::sender::Sender;
use crate::image::RegistryHost;
use crate::oci::protocol::Method;
use crate::secret::Secret;

/// How often a request is sent: as it is, with a token that was at hand, with a new one.
const ATTEMPTS: usize = 3;

/// A registry at one endpoint: challenges are met, redirects followed, and nothing is dialled that may not be.
///
/// Credentials and tokens go to the endpoint's own origin and, for a token, to its token server; never to where a
/// redirect leads.
#[derive(Debug)]
pub struct RegistryClient {
    sender: Sender,
    authenticator: Authenticator,
}

impl RegistryClient {
    /// Makes a client. `policy` says what redirects and token servers may lead to; `only` whether this is the one
    /// endpoint of its registry, so that credentials under the registry's name are meant for it.
    pub fn new(
        http: Http,
        registry: RegistryHost,
        endpoint: Endpoint,
        policy: AddressPolicy,
        credentials: Option<Arc<CredentialFile>>,
        only: bool,
    ) -> Self {
        let authenticator = Authenticator::new(registry, endpoint.clone(), policy, credentials, only);
        Self { sender: Sender { http, endpoint, policy }, authenticator }
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.sender.endpoint
    }

    /// Returns whether it has credentials to show.
    pub fn has_credentials(&self) -> bool {
        self.authenticator.has_credentials()
    }

    /// Sends a request and waits for the header of an answer that is a success, or 416 to a request for a part.
    pub async fn send(&self, request: &RegistryRequest<'_>) -> Result<Answer, ClientError> {
        let url = match request.object {
            None => self.sender.endpoint.root().clone(),
            Some((repository, what)) => self.sender.endpoint.object(repository, what),
        };
        let credential = self.authenticator.credential().map_err(|error| error.at(&url))?;
        let mut pass = self.authenticator.prepare(&self.sender, request, credential.as_ref()).await?;
        let mut resolved_again = false;
        for attempt in 1.. {
            let answer = self.hop(request, url.clone(), pass.as_ref().map(|pass| &pass.header)).await?;
            match answer.status() {
                401 if !answer.left_origin && attempt < ATTEMPTS => {
                    pass = Some(
                        self.authenticator
                            .answer(&self.sender, request, answer, credential.as_ref(), pass.as_ref())
                            .await?,
                    );
                }
                // A signed URL that has expired: the registry gives another one.
                401 | 403 | 410 if answer.left_origin && !resolved_again => resolved_again = true,
                200 | 206 | 416 => return Self::plain(answer),
                _ => return Err(answer.into_error(asked_as(pass.as_ref())).await),
            }
        }
        Err(RequestError::Answer("it asks for new credentials without end".to_owned()).at(&url))
    }

    /// Asks whether the registry is there, and logs in as far as it wants that.
    pub async fn login(&self) -> Result<Login, ClientError> {
        let (request, url) = (RegistryRequest::ping(), self.sender.endpoint.root().clone());
        let credential = self.authenticator.credential().map_err(|error| error.at(&url))?;
        let own = match &credential {
            Some(Credential::Token(token)) => {
                let header = Secret::new(format!("Bearer {}", token.expose()));
                Some(Presented { header, how: Scheme::Own })
            }
            Some(Credential::Password { .. } | Credential::Identity { .. }) | None => None,
        };
        let answer = self.hop(&request, url.clone(), own.as_ref().map(|shown| &shown.header)).await?;
        match answer.status() {
            200 if is_web_page(&answer) => {
                let problem = "it answers with a web page: this is not the URL of a registry's API";
                return Err(answer.failed(RequestError::Answer(problem.to_owned())));
            }
            200 if own.is_some() => return Ok(Login::Credentials),
            200 => return Ok(Login::Open),
            401 => {}
            _ => return Err(answer.into_error(asked_as(own.as_ref())).await),
        }
        let shown = self
            .authenticator
            .answer(&self.sender, &request, answer, credential.as_ref(), own.as_ref())
            .await?;
        let answer = self.hop(&request, url, Some(&shown.header)).await?;
        match (answer.status(), &credential) {
            (200, Some(_)) => Ok(Login::Credentials),
            // What a token without a scope allows differs; that anonymous ones are given is all that is asked.
            (200 | 401 | 403 | 404 | 405, None) => Ok(Login::Anonymous),
            _ => Err(answer.into_error(AskedAs::Rejected).await),
        }
    }

    /// Takes an answer whose bytes are those of the object.
    fn plain(answer: Answer) -> Result<Answer, ClientError> {
        let coding = answer.header(http::header::CONTENT_ENCODING).unwrap_or("identity").trim();
        if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
            return Ok(answer);
        }
        // Digest and length would be those of the compressed bytes, or of none at all.
        Err(answer
            .failed(RequestError::Answer("it answers compressed, though it was asked not to".to_owned())))
    }

    /// Sends a request and follows redirects.
    async fn hop(
        &self,
        request: &RegistryRequest<'_>,
        mut url: Url,
        authorization: Option<&Secret<String>>,
    ) -> Result<Answer, ClientError> {
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Head => http::Method::HEAD,
        };
        for (name, value) in &request.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        insert(&mut headers, ACCEPT, request.accept, &url)?;
        if let Some((range, etag)) = &request.part {
            insert(&mut headers, RANGE, Some(&range.to_string()), &url)?;
            insert(&mut headers, IF_RANGE, etag.as_deref(), &url)?;
        }
        self.sender.send(method, url, headers, authorization, None).await
    }
}

fn insert(
    headers: &mut HeaderMap,
    name: http::HeaderName,
    value: Option<&str>,
    url: &Url,
) -> Result<(), ClientError> {
    if let Some(value) = value {
        let value = HeaderValue::from_str(value);
        let value = value.map_err(|_| RequestError::Answer(format!("`{name}` cannot be sent")).at(url))?;
        headers.insert(name, value);
    }
    Ok(())
}
/// Returns whether an answer is for people, as that of a portal or of a landing page.
fn is_web_page(answer: &Answer) -> bool {
    let media_type = answer.header(http::header::CONTENT_TYPE).unwrap_or_default();
    media_type.trim_start().to_ascii_lowercase().starts_with("text/html")
}
