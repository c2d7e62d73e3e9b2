#![expect(clippy::disallowed_methods, reason = "resolves names, within time limits; dates answers")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::address_policy::AddressPolicy;
use super::endpoint::Endpoint;
use super::error::{AskedAs, ClientError, RequestError, Wait, shown};
use super::other_hosts::{OtherHosts, PausedHost, is_of_the_host};
use super::proxies::ProxyTable;
use crate::oci::protocol::{RemoteError, retry_after};
use crate::secret::Secret;
use crate::tls::{AnyCertificate, crypto_provider};

/// How long things may take. There is no limit on the whole of a transfer: layers are as large as they are.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until there is a connection, TLS included.
    pub connect: Duration,
    /// Until the header of an answer, the connection included; less than the 30 s that containerd waits for ours.
    pub header: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            header: Duration::from_secs(20),
            idle: Duration::from_mins(1),
        }
    }
}

/// Finds the addresses of names.
pub trait LookUp: Send + Sync + 'static {
    /// Returns the addresses of a name.
    fn look_up(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// Asks the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl LookUp for SystemNames {
    fn look_up(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// Whether requests go through proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Through those that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name.
    ///
    /// The proxy resolves the names of what is asked then, so that addresses are checked only where they stand in a
    /// URL: the operator of a proxy keeps it from private addresses.
    FromEnvironment,
    /// Through this one, by its URL.
    At(Secret<String>),
    /// Through none.
    None,
}

/// What holds for the requests of one registry otherwise than for all.
#[derive(Clone, Debug, Default)]
pub struct HttpOverrides {
    /// Authorities that are trusted besides, in DER.
    pub roots: Vec<CertificateDer<'static>>,
    /// What is shown to servers that ask for a certificate.
    pub identity: Option<Identity>,
    /// Other proxies.
    pub proxies: Option<Proxies>,
}

/// Whether a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerCheck {
    /// It is.
    #[default]
    Usual,
    /// Any will do.
    Skip,
}

/// A client certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, and those that lead to its authority.
    pub certificate: String,
    /// The key.
    pub key: Secret<String>,
}

/// How requests are made.
#[derive(Clone)]
pub struct HttpSettings {
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Authorities that are trusted besides those of the system, in DER.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether the certificates of servers are checked.
    pub server_check: ServerCheck,
    /// What is shown to servers that ask for a certificate.
    pub identity: Option<Identity>,
    /// What finds addresses.
    pub names: Arc<dyn LookUp>,
    /// Proxies.
    pub proxies: Proxies,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            roots: Vec::new(),
            server_check: ServerCheck::Usual,
            identity: None,
            names: Arc::new(SystemNames),
            proxies: Proxies::FromEnvironment,
        }
    }
}

impl std::fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSettings").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up HTTP: {0}")]
pub struct HttpError(String);

/// The connections of a process to registries; a clone shares them.
///
/// Those that may lead anywhere are kept apart from those that may not, so that none is used for what it was not
/// checked for. HTTP/1.1 only: HTTP/2 would send all bodies of a registry through one window.
#[derive(Clone, Debug)]
pub struct Http {
    public: reqwest::Client,
    own_networks: reqwest::Client,
    private_only: reqwest::Client,
    anywhere: reqwest::Client,
    timeouts: Timeouts,
    settings: HttpSettings,
    proxies: ProxyTable,
    /// How the hosts are to which registries lead; [`None`] where each is asked whenever one leads to it.
    other_hosts: Option<OtherHosts>,
    /// The longest pause that such a host can ask for.
    longest_pause: Duration,
    /// The connections to such hosts, where the registry itself is shown a certificate: no other host is.
    elsewhere: Option<Arc<Self>>,
}

/// How long what is read of an answer may take that could be done without.
const SOON: Duration = Duration::from_secs(2);
/// The longest pause that a host can ask for, if nothing else is said.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

impl Http {
    /// Makes a client; reads the system's authorities and, if so set, the proxies of the environment.
    pub fn new(settings: &HttpSettings) -> Result<Self, HttpError> {
        let tls = tls(settings)?;
        let proxies = match &settings.proxies {
            Proxies::FromEnvironment => ProxyTable::from_environment(),
            Proxies::At(url) => ProxyTable::at(url),
            Proxies::None => ProxyTable::none(),
        };
        let client = |policy| {
            let guard = Guard { policy, names: Arc::clone(&settings.names), proxies: proxies.hosts.clone() };
            let builder = reqwest::Client::builder()
                .user_agent(concat!("talmirror/", env!("CARGO_PKG_VERSION")))
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(guard)
                .redirect(Policy::none())
                .referer(false)
                .http1_only()
                .connect_timeout(settings.timeouts.connect)
                .tcp_keepalive(Duration::from_secs(30))
                .pool_idle_timeout(Duration::from_mins(1))
                .pool_max_idle_per_host(8);
            let builder = match &settings.proxies {
                Proxies::FromEnvironment => builder,
                Proxies::At(url) => {
                    let proxy =
                        reqwest::Proxy::all(url.expose()).map_err(|error| HttpError(innermost(&error)))?;
                    builder.proxy(proxy)
                }
                Proxies::None => builder.no_proxy(),
            };
            builder.build().map_err(|error| HttpError(innermost(&error)))
        };
        Ok(Self {
            public: client(AddressPolicy::Public)?,
            own_networks: client(AddressPolicy::OwnNetworks)?,
            private_only: client(AddressPolicy::PrivateOnly)?,
            anywhere: client(AddressPolicy::Anywhere)?,
            timeouts: settings.timeouts,
            settings: settings.clone(),
            proxies,
            other_hosts: None,
            longest_pause: LONGEST_PAUSE,
            elsewhere: None,
        })
    }

    /// Returns the same connections, where hosts to which redirects and challenges lead are left alone as long as they
    /// cannot be reached. Has to be used inside a tokio runtime.
    #[must_use]
    pub fn leaving_unreachable_hosts_alone(mut self) -> Self {
        self.other_hosts = Some(OtherHosts::default());
        self
    }

    /// Returns connections of their own, for which some things hold otherwise. A certificate is shown to the registry
    /// itself, not to the hosts to which it leads.
    pub fn with(&self, overrides: HttpOverrides) -> Result<Self, HttpError> {
        let mut settings = self.settings.clone();
        settings.roots.extend(overrides.roots);
        settings.proxies = overrides.proxies.unwrap_or(settings.proxies);
        // Whether a host can be reached is another question for other authorities, certificates and proxies.
        let other_hosts = self.other_hosts.as_ref().map(|_| OtherHosts::default());
        let own = |settings: &HttpSettings| {
            let own = Self::new(settings)?;
            let (timeouts, longest_pause) = (self.timeouts, self.longest_pause);
            Ok(Self { timeouts, longest_pause, other_hosts: other_hosts.clone(), ..own })
        };
        let without = own(&settings)?;
        let Some(identity) = overrides.identity else { return Ok(without) };
        settings.identity = Some(identity);
        Ok(Self { elsewhere: Some(Arc::new(without)), ..own(&settings)? })
    }

    /// Asks again whatever was left alone.
    pub fn end_pauses(&self) {
        if let Some(hosts) = &self.other_hosts {
            hosts.end_pauses();
        }
    }

    /// Returns the hosts to which the registry at an endpoint leads, and that are not asked now.
    pub(super) fn paused_hosts(&self, endpoint: &Endpoint) -> Vec<PausedHost> {
        self.other_hosts.as_ref().map(|hosts| hosts.paused(endpoint)).unwrap_or_default()
    }

    /// Sends a request to a host to which the registry at an endpoint led.
    pub(super) async fn send_elsewhere(
        &self,
        policy: AddressPolicy,
        request: Outgoing,
        from: &Endpoint,
    ) -> Result<Answer, ClientError> {
        if let Some(elsewhere) = &self.elsewhere {
            return Box::pin(elsewhere.send_elsewhere(policy, request, from)).await;
        }
        let Some(hosts) = &self.other_hosts else { return self.send(policy, request).await };
        let url = request.url.clone();
        hosts.admit(&url, from).map_err(|error| error.at(&url))?;
        let answer = self.send(policy, request).await;
        match &answer {
            Ok(answer) if answer.status() == 429 => {
                hosts.limits(&url, from, answer.pause(), self.longest_pause);
            }
            Ok(_) => hosts.answered(&url),
            Err(error) => {
                let (http, to) = (self.clone(), url.clone());
                hosts.note(&url, from, &error.cause, move || http.clone().answers(policy, to.clone()));
            }
        }
        answer
    }

    /// Returns whether a URL's host answers at all.
    async fn answers(self, policy: AddressPolicy, mut url: Url) -> bool {
        url.set_path("/");
        url.set_query(None);
        let request = Outgoing { method: http::Method::HEAD, url, headers: HeaderMap::new(), form: None };
        match Box::pin(self.send(policy, request)).await {
            Ok(_) => true,
            Err(error) => !is_of_the_host(&error.cause),
        }
    }

    /// Returns how long the header of an answer may take.
    pub fn header_limit(&self) -> Duration {
        self.timeouts.header
    }

    /// Returns the same connections with another limit for the header of an answer.
    #[must_use]
    pub fn with_header_limit(mut self, limit: Duration) -> Self {
        self.timeouts.header = limit;
        let with = |elsewhere| Arc::new(Arc::<Self>::unwrap_or_clone(elsewhere).with_header_limit(limit));
        self.elsewhere = self.elsewhere.map(with);
        self
    }

    /// Returns the same connections with another limit for the pauses that hosts can ask for to which a registry leads.
    #[must_use]
    pub fn with_longest_pause(mut self, limit: Duration) -> Self {
        self.longest_pause = limit;
        let with = |elsewhere| Arc::new(Arc::<Self>::unwrap_or_clone(elsewhere).with_longest_pause(limit));
        self.elsewhere = self.elsewhere.map(with);
        self
    }

    /// Sends a request and waits for the header of the answer, whatever its status; redirects are not followed.
    pub(crate) async fn send(&self, policy: AddressPolicy, request: Outgoing) -> Result<Answer, ClientError> {
        let Outgoing { method, url, headers, form } = request;
        // A name is checked when it has been resolved; an address never is.
        if !policy.allows_host(&url) {
            let host = url.host_str().unwrap_or_default().to_owned();
            return Err(refused(policy, host).at(&url));
        }
        let client = match policy {
            AddressPolicy::Public => &self.public,
            AddressPolicy::OwnNetworks => &self.own_networks,
            AddressPolicy::PrivateOnly => &self.private_only,
            AddressPolicy::Anywhere => &self.anywhere,
        };
        let limit = self.timeouts.header;
        let once = async || {
            let mut builder = client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(form) = &form {
                builder = builder.body(form.clone());
            }
            let sent = builder.send().await;
            sent.map_err(|error| self.request_error(&error, &url))
        };
        let sent = async {
            match once().await {
                // A server may close a connection that it has not used for a while just when it is used again.
                Err(RequestError::Broken(_)) if form.is_none() => once().await,
                sent => sent,
            }
        };
        let sent = tokio::time::timeout(limit, sent).await;
        let sent = sent.unwrap_or(Err(RequestError::TimedOut { waited: Wait::Header, after: limit }));
        if tracing::enabled!(tracing::Level::DEBUG) {
            tell(&method, &url, sent.as_ref().map(|response| response.status().as_u16()));
        }
        match sent {
            // That is what proxies say, and no registry.
            Ok(response)
                if response.status() == 407
                    && let Some(proxy) = self.proxies.of(&url) =>
            {
                let problem =
                    format!("the proxy `{proxy}` wants a user and a password, or takes others (407)");
                Err(RequestError::Connect(problem).at(&url))
            }
            Ok(response) => Ok(Answer { response, url, left_origin: false, idle: self.timeouts.idle }),
            Err(error) => Err(error.at(&url)),
        }
    }

    /// Returns what happened, in words without the URL.
    fn request_error(&self, error: &reqwest::Error, url: &Url) -> RequestError {
        if let Some(AddressRefused { policy, what }) = find::<AddressRefused>(error) {
            return refused(*policy, what.clone());
        }
        if let Some(LookUpFailed { host, why }) = find::<LookUpFailed>(error) {
            return RequestError::Resolve { host: host.clone(), why: why.clone() };
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            return RequestError::Tls(tls.to_string());
        }
        let closed = causes(error).into_iter().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        let closed = closed.map(std::io::Error::kind).any(|kind| kind == ErrorKind::UnexpectedEof);
        if error.is_connect() && closed && url.scheme() == "https" {
            return RequestError::Tls("the connection was closed before there was an agreement".to_owned());
        }
        if error.is_connect()
            && let Some(proxy) = self.proxies.of(url)
        {
            return RequestError::Connect(format!(
                "the proxy `{proxy}` gives no connection: {}",
                innermost(error)
            ));
        }
        if error.is_connect() && error.is_timeout() {
            return RequestError::TimedOut { waited: Wait::Connection, after: self.timeouts.connect };
        }
        if error.is_connect() {
            RequestError::Connect(innermost(error))
        } else {
            RequestError::Broken(innermost(error))
        }
    }
}

/// Logs what came of a request. What stands behind the `?` of a URL may be a signature, which is as good as a password.
fn tell(method: &http::Method, url: &Url, answer: Result<u16, &RequestError>) {
    let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
    match answer {
        Ok(status) => tracing::debug!(%method, url = place, status, "answered"),
        Err(error) => tracing::debug!(%method, url = place, %error, "failed"),
    }
}

/// A request.
pub(crate) struct Outgoing {
    pub(crate) method: http::Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// A body.
    pub(crate) form: Option<String>,
}

/// How a body is coded (RFC 9110, section 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// As gzip: its length is that of the coded form.
    Gzip,
    /// In another way.
    Other,
}

/// An answer whose header has come.
#[derive(Debug)]
pub struct Answer {
    response: reqwest::Response,
    url: Url,
    /// Whether a redirect led to another origin.
    pub(super) left_origin: bool,
    idle: Duration,
}

impl Answer {
    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Returns a header, if it is there and is text.
    pub fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.response.headers().get(name.into())?.to_str().ok()
    }

    /// Returns all headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns where it came from; its query may hold a signature and belongs into no log.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns how many bytes the header says that there are.
    pub fn content_length(&self) -> Option<u64> {
        // Not what is known of the body, which after a HEAD is nothing.
        self.header(http::header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// Returns how the body is coded, whatever was asked for.
    pub fn coding(&self) -> Coding {
        match self.header(http::header::CONTENT_ENCODING).unwrap_or("identity").trim() {
            coding if coding.is_empty() || coding.eq_ignore_ascii_case("identity") => Coding::Identity,
            coding if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => {
                Coding::Gzip
            }
            _ => Coding::Other,
        }
    }

    /// Returns an error at what was asked.
    pub fn failed(&self, error: RequestError) -> ClientError {
        error.at(&self.url)
    }

    /// Reads the body, if it is not larger than `limit`.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, ClientError> {
        let announced = self.content_length().and_then(|length| usize::try_from(length).ok());
        let mut all = BytesMut::with_capacity(announced.unwrap_or(0).min(limit).min(64 * 1024));
        while let Some(chunk) =
            next(&mut self.response, self.idle).await.map_err(|error| error.at(&self.url))?
        {
            if all.len() + chunk.len() > limit {
                return Err(self.failed(RequestError::TooLarge(limit)));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Returns the body as it comes.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, ClientError>> {
        let shown = shown(&self.url);
        let state = Some((self.response, shown, self.idle));
        stream::unfold(state, async |state| {
            let (mut response, url, idle) = state?;
            match next(&mut response, idle).await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some((response, url, idle)))),
                Ok(None) => None,
                Err(cause) => Some((Err(ClientError { url, cause }), None)),
            }
        })
        .boxed()
    }

    /// Returns for how long it asks to be left alone.
    fn pause(&self) -> Option<Duration> {
        self.header(RETRY_AFTER).and_then(|pause| retry_after(pause, Timestamp::now()))
    }

    /// Returns the error that an answer is which is not a success.
    pub(super) async fn into_error(self, asked_as: AskedAs) -> ClientError {
        let (status, url, left_origin) = (self.status(), self.url.clone(), self.left_origin);
        let pause = self.pause();
        let error = match status {
            404 => RequestError::NotFound(self.remote_errors().await),
            // Where a redirect leads, our credentials are not known, so that they are not to blame.
            401 | 403 if left_origin => {
                RequestError::Status { status, remote_errors: self.remote_errors().await }
            }
            401 | 403 => RequestError::Denied { asked_as, status, remote_errors: self.remote_errors().await },
            429 => RequestError::TooMany(pause),
            _ => RequestError::Status { status, remote_errors: self.remote_errors().await },
        };
        error.at(&url)
    }

    /// Reads a short body that is not needed: a connection whose body is left unread cannot be used again.
    pub(super) async fn drain(self) {
        let _ = self.remote_errors().await;
    }

    /// Reads how the body begins, if that comes soon.
    pub(super) async fn first_piece(mut self) -> Bytes {
        let first = tokio::time::timeout(SOON, self.response.chunk()).await;
        first.ok().and_then(Result::ok).flatten().unwrap_or_default()
    }

    /// Reads what an answer says about its failure; as far as it says anything, and not for long.
    pub(super) async fn remote_errors(self) -> Vec<RemoteError> {
        let read = tokio::time::timeout(SOON, self.bytes(64 * 1024)).await;
        read.ok().and_then(Result::ok).map(|body| RemoteError::parse_all(&body)).unwrap_or_default()
    }
}

async fn next(response: &mut reqwest::Response, idle: Duration) -> Result<Option<Bytes>, RequestError> {
    match tokio::time::timeout(idle, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(RequestError::Broken(innermost(&error))),
        Err(_) => Err(RequestError::TimedOut { waited: Wait::Body, after: idle }),
    }
}

/// Makes TLS settings: the system's authorities and some more; none at all is found out at the first connection.
fn tls(settings: &HttpSettings) -> Result<ClientConfig, HttpError> {
    let mut store = RootCertStore::empty();
    for root in &settings.roots {
        store.add(root.clone()).map_err(|error| HttpError(error.to_string()))?;
    }
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "an authority of the system cannot be read");
    }
    store.add_parsable_certificates(system.certs);
    let builder =
        ClientConfig::builder_with_provider(crypto_provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| HttpError(error.to_string()))?;
    let builder = match settings.server_check {
        ServerCheck::Usual => builder.with_root_certificates(store),
        ServerCheck::Skip => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(crypto_provider())))
        }
    };
    let Some(identity) = &settings.identity else { return Ok(builder.with_no_client_auth()) };
    let chain =
        CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| HttpError("the client certificate is not valid PEM".to_owned()))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes());
    let key = key.map_err(|_| HttpError("the client key is not valid PEM".to_owned()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| HttpError(error.to_string()))
}

/// Resolves names, and gives only addresses that may be dialled. It is asked for every connection, since names move.
struct Guard {
    policy: AddressPolicy,
    names: Arc<dyn LookUp>,
    proxies: BTreeSet<String>,
}

/// No address of a name may be dialled.
#[derive(Debug, thiserror::Error)]
#[error("`{what}` is at an address that may not be dialled")]
struct AddressRefused {
    policy: AddressPolicy,
    what: String,
}

/// Returns the error that an address is which a policy does not allow.
fn refused(policy: AddressPolicy, what: String) -> RequestError {
    match policy {
        AddressPolicy::Public | AddressPolicy::OwnNetworks | AddressPolicy::Anywhere => {
            RequestError::PrivateAddress(what)
        }
        AddressPolicy::PrivateOnly => RequestError::OtherNetwork(what),
    }
}

/// A name has no addresses.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` cannot be resolved: {why}")]
struct LookUpFailed {
    host: String,
    why: String,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_ascii_lowercase();
        let policy = if self.proxies.contains(&host) { AddressPolicy::Anywhere } else { self.policy };
        let looking = self.names.look_up(host.clone());
        Box::pin(async move {
            let failed = |why: String| LookUpFailed { host: host.clone(), why };
            let all = looking.await.map_err(|error| failed(error.to_string()))?;
            let good: Vec<SocketAddr> =
                all.iter().filter(|ip| policy.allows(**ip)).map(|ip| SocketAddr::new(*ip, 0)).collect();
            match (good.is_empty(), all.first()) {
                (false, _) => Ok(Box::new(good.into_iter()) as Addrs),
                (true, Some(address)) => {
                    Err(AddressRefused { policy, what: format!("{host} ({address})") }.into())
                }
                (true, None) => Err(failed("it has no address".to_owned()).into()),
            }
        })
    }
}

/// Returns an error and its causes, from the outermost to the innermost.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let (mut all, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        all.push(error);
        // The source of an I/O error is that of the error within, which would be passed over.
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = within.map(|within| within as &(dyn Error + 'static)).or_else(|| error.source());
    }
    all
}

/// Finds an error among the causes of another.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).into_iter().find_map(|cause| cause.downcast_ref::<E>())
}

/// Returns the words of the innermost cause; the outer ones repeat it, and name the URL.
fn innermost(error: &reqwest::Error) -> String {
    let source = error.source().map(causes).and_then(|causes| causes.last().map(ToString::to_string));
    source.unwrap_or_else(|| "the request cannot be made".to_owned())
}
