use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::{HarborError, Refused};
use crate::oci::{AddressPolicy, Answer, Http, Outgoing, RemoteError, basic};
use crate::secret::{Redactor, Secret, without_userinfo};

/// The largest answer that is read.
const LARGEST: usize = 16 * 1024 * 1024;
/// How many items a page has; Harbor answers 422 to more.
const PAGE: usize = 100;
/// How many pages a list may have: more objects than any Harbor holds.
const MOST_PAGES: usize = 1000;

/// A user name and a password.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user, or the robot's whole name.
    pub user: String,
    /// The password, the CLI secret, or the robot's secret.
    pub password: Secret<String>,
}

/// A Harbor's API.
///
/// Every request brings the account with it. No cookie is ever sent back: Harbor takes a request with a session cookie for
/// one of a browser, and refuses changes without a CSRF token then.
#[derive(Clone, Debug)]
pub struct Harbor {
    http: Http,
    base: Url,
    account: Account,
    secrets: Redactor,
}

/// An answer that is a success.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The body; empty where Harbor has nothing to say.
    pub body: bytes::Bytes,
    /// What was made.
    pub location: Option<String>,
    url: String,
    doing: String,
}

impl Harbor {
    /// Makes a client of the Harbor at a URL; nothing is asked yet.
    pub fn new(http: Http, url: &str, account: Account) -> Result<Self, HarborError> {
        let failed = || HarborError::Url { url: without_userinfo(url) };
        let base: Url = url.parse().map_err(|_| failed())?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(HarborError::Userinfo { url: without_userinfo(url) });
        }
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() || base.path() != "/" {
            return Err(failed());
        }
        let mut secrets = Redactor::default();
        secrets.add(&account.password);
        Ok(Self { http, base, account, secrets })
    }

    /// Returns who asks.
    pub fn user(&self) -> &str {
        &self.account.user
    }

    /// Remembers a secret that is going to be sent, so that no message of Harbor's shows it.
    pub fn hide(&mut self, secret: &Secret<String>) {
        self.secrets.add(secret);
    }

    /// Asks for something that is read as JSON; an empty answer counts as `null`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, doing: &str) -> Result<T, HarborError> {
        self.call(http::Method::GET, path, None, doing).await?.json()
    }

    /// Asks for every page of a list.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, doing: &str) -> Result<Vec<T>, HarborError> {
        let endless = |why| HarborError::Endless { doing: doing.to_owned(), url: self.shown(path), why };
        let mut all = Vec::new();
        let mut before = bytes::Bytes::new();
        let sign = if path.contains('?') { '&' } else { '?' };
        for page in 1..=MOST_PAGES {
            let path = format!("{path}{sign}page={page}&page_size={PAGE}");
            let reply = self.call(http::Method::GET, &path, None, doing).await?;
            let items = reply.json::<Option<Vec<T>>>()?.unwrap_or_default();
            if items.len() < PAGE {
                all.extend(items);
                return Ok(all);
            }
            if reply.body == before {
                return Err(endless(format!("pages {} and {page} are the same", page - 1)));
            }
            all.extend(items);
            before = reply.body;
        }
        Err(endless(format!("there are more than {MOST_PAGES} pages")))
    }

    /// Sends a body, or a request without one.
    pub async fn call(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
        doing: &str,
    ) -> Result<Reply, HarborError> {
        let body = body.map(Value::to_string);
        let answer = self.send(method, path, body, &self.account, doing).await?;
        let url = self.shown(path);
        let (status, location) = (answer.status(), answer.header(http::header::LOCATION).map(str::to_owned));
        let request_id = answer.header(HeaderName::from_static("x-request-id")).map(str::to_owned);
        let failed = |source| HarborError::Request { doing: doing.to_owned(), source };
        let bytes = answer.bytes(LARGEST).await.map_err(failed)?;
        if (200..300).contains(&status) {
            return Ok(Reply { body: bytes, location, url, doing: doing.to_owned() });
        }
        let said = RemoteError::parse_all(&bytes)
            .into_iter()
            .map(|error| RemoteError { message: self.secrets.apply(&error.message), ..error });
        Err(HarborError::Answer {
            doing: doing.to_owned(),
            url,
            status,
            said: said.collect(),
            request_id,
            location: location.map(|location| without_userinfo(&location)),
        })
    }

    /// Returns whether the registry of this Harbor takes an account: `GET /v2/` with it.
    ///
    /// Only that tells: the token service gives a token to a wrong secret as well, and on a public project even the manifest
    /// comes with it.
    pub async fn admits(&self, account: &Account) -> Result<bool, HarborError> {
        let doing = format!("log in as `{}`", account.user);
        let answer = self.send(http::Method::GET, "/v2/", None, account, &doing).await?;
        match answer.status() {
            200 => Ok(true),
            401 | 403 => Ok(false),
            status => Err(HarborError::Answer {
                doing,
                url: self.shown("/v2/"),
                status,
                said: Vec::new(),
                request_id: None,
                location: answer.header(http::header::LOCATION).map(without_userinfo),
            }),
        }
    }

    /// Tells whether something is there: a 404 is not a failure.
    pub async fn find<T: DeserializeOwned>(&self, path: &str, doing: &str) -> Result<Option<T>, HarborError> {
        match self.get(path, doing).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.refused() == Refused::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        method: http::Method,
        path: &str,
        body: Option<String>,
        account: &Account,
        doing: &str,
    ) -> Result<Answer, HarborError> {
        let url = self.base.join(path).map_err(|_| HarborError::Url { url: self.shown(path) })?;
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::from_str(basic(&account.user, &account.password).expose())
            .map_err(|_| HarborError::Login { user: account.user.clone(), auth_mode: String::new() })?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        // A project that is named by digits is taken for a number otherwise.
        headers.insert(HeaderName::from_static("x-is-resource-name"), HeaderValue::from_static("true"));
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let outgoing = Outgoing { method, url, headers, form: body };
        let sent = self.http.send(AddressPolicy::Anywhere, outgoing).await;
        sent.map_err(|source| HarborError::Request { doing: doing.to_owned(), source })
    }

    pub(super) fn shown(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap_or_default();
        self.base.join(path).map_or_else(|_| self.base.to_string(), |url| without_userinfo(url.as_str()))
    }
}

impl Reply {
    /// Reads the body; an empty one counts as `null`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HarborError> {
        let body: &[u8] = if self.body.iter().all(u8::is_ascii_whitespace) { b"null" } else { &self.body };
        serde_json::from_slice(body).map_err(|source| HarborError::Unreadable {
            doing: self.doing.clone(),
            url: self.url.clone(),
            source,
        })
    }

    /// Returns the number of what was made.
    pub fn made(&self) -> Option<i64> {
        self.location.as_deref()?.rsplit('/').next()?.parse().ok()
    }
}
