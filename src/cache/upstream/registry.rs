#![expect(clippy::disallowed_methods, reason = "measures upstream")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName};
use url::Url;

use super::blob::{BlobSource, Quarantine, is_failing};
use super::circuit_breaker::PauseReason;
use super::endpoints::{CountsAgainstQuota, EndpointHealth, Endpoints, InvalidReply, Reply, Transfers};
use super::error::EndpointError;
use super::pull_quota::PullQuota;
use super::trust::{Trust, UpstreamError};
use super::verify::{FetchedManifest, InvalidManifest, verify};
use crate::cache::config::{UpstreamConfig, UpstreamLimits};
use crate::cache::download::{FetchError, Source};
use crate::cache::memory::{BoundedMap, locked};
use crate::cache::observe::Metrics;
use crate::image::{Digest, RegistryHost, Repository, Tag, TagOrDigest};
use crate::oci::{
    ACCEPT_MANIFESTS, AddressPolicy, Answer, ClientError, Coding, ContentRange, CredentialFile,
    CredentialSource, Endpoint, Hedging, Http, LoggedIn, MAX_MANIFEST_SIZE, Method, PausedHost, Range,
    RegistryClient, RegistryRequest, RequestError, RequestErrorKind, TokenServers, Wait,
};

/// The digest that a registry says that its answer has.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How long a login may take that is only to be checked: what takes longer is of no use to a client.
const LONGEST_LOGIN: Duration = Duration::from_secs(25);
/// How long the header of an answer may take where there is another endpoint to ask.
const BEFORE_OTHERS: Duration = Duration::from_secs(10);
/// When it is asked again how something is: it costs a registry little.
const ASK_AGAIN: Hedging =
    Hedging { first: Duration::from_secs(3), longest: Duration::from_secs(8), most: 6 };
/// When a manifest is fetched again: twice at most, as registries count it.
const FETCH_AGAIN: Hedging =
    Hedging { first: Duration::from_secs(5), longest: Duration::from_secs(10), most: 2 };
/// How many digests are remembered with the tag that they came from.
const TAGS: usize = 4096;
/// How many manifests are kept for a moment that were fetched only to learn their digest, and for how long.
const HASHED: usize = 16;
const HASHED_FOR: Duration = Duration::from_secs(10);

/// A registry as it is called in image references, and the chain of endpoints that stand for it.
#[derive(Debug)]
pub struct Upstream {
    pub(super) endpoints: Arc<Endpoints>,
    quarantine: Arc<Mutex<Quarantine>>,
    trust: Trust,
    /// Which tag a digest came from. Regions of one registry differ: what one of them knows by its tag, another may
    /// not know by its digest (kubernetes/registry.k8s.io#324).
    tags: Mutex<BoundedMap<(Repository, Digest), Tag>>,
    hashed: Mutex<BoundedMap<(Repository, Tag), (Instant, FetchedManifest)>>,
}

/// What came of logging in to an endpoint.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Where it is.
    pub endpoint: String,
    /// Whether there are credentials to show.
    pub has_credentials: bool,
    /// How it let us in, or why it did not.
    pub outcome: Result<LoggedIn, ClientError>,
}

impl Upstream {
    /// Makes an upstream of its configuration, within limits.
    pub fn new(
        registry: RegistryHost,
        config: &UpstreamConfig,
        http: &Http,
        metrics: Arc<Metrics>,
        limits: UpstreamLimits,
    ) -> Result<Self, UpstreamError> {
        let trust = Trust::read(&registry, &config.connection)?;
        let http = &trust.http(&registry, &config.connection, http)?;
        let credentials = config.credentials.as_ref().map(|path| Arc::new(CredentialFile::new(path)));
        let only = config.endpoints.len() == 1;
        let last = config.endpoints.len().saturating_sub(1);
        let clients = config.endpoints.iter().enumerate().map(|(place, url)| {
            let limit = limits.header.unwrap_or(http.header_limit());
            // Where another endpoint can be asked, waiting long for one helps no client.
            let limit = if place < last { limit.min(BEFORE_OTHERS) } else { limit };
            let http = http.clone().with_header_limit(limit).with_longest_pause(limits.pause);
            let credentials = credentials.clone().map(CredentialSource::from);
            let (registry, endpoint) = (registry.clone(), Endpoint::new(url)?);
            let policy = policy(config, url);
            let token_servers = TokenServers::Named(config.token_servers.clone());
            let client =
                RegistryClient::new(http, registry, endpoint, policy, credentials, only, token_servers);
            Ok(client.with_headers(trust.headers(&config.connection)))
        });
        let clients = clients.collect::<Result<Vec<_>, UpstreamError>>()?;
        let header = limits.header.unwrap_or(http.header_limit());
        let limits = UpstreamLimits { header: Some(header), ..limits };
        Ok(Self {
            endpoints: Arc::new(Endpoints::new(registry, clients, metrics, limits)),
            quarantine: Arc::default(),
            trust,
            tags: Mutex::new(BoundedMap::new(TAGS)),
            hashed: Mutex::new(BoundedMap::new(HASHED)),
        })
    }

    /// Returns whether the files of certificates that a configuration names hold what they held when it was made.
    pub fn has_same_files(&self, config: &UpstreamConfig) -> bool {
        Trust::read(self.registry(), &config.connection).is_ok_and(|trust| trust == self.trust)
    }

    /// Returns the registry's name in image references.
    pub fn registry(&self) -> &RegistryHost {
        &self.endpoints.registry
    }

    /// Returns why nothing can be asked now; [`None`] where something can.
    pub fn pause(&self) -> Option<PauseReason> {
        self.endpoints.pause(None).map(|(why, _)| why)
    }

    /// Returns why a repository cannot be asked for a tag now; [`None`] where it can.
    pub fn pause_of(&self, repository: &Repository, tag: &Tag) -> Option<PauseReason> {
        self.endpoints.pause(Some((repository, tag))).map(|(why, _)| why)
    }

    /// Ends all pauses: the operator says that the upstream is well.
    pub fn end_pauses(&self) {
        self.endpoints.end_pauses();
        *locked(&self.quarantine) = Quarantine::default();
    }

    /// Returns how each endpoint is, in the order in which they are asked.
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.endpoints.health()
    }

    /// Returns the hosts to which registries lead, and that are not asked now.
    pub fn paused_hosts(&self) -> Vec<PausedHost> {
        self.endpoints.clients().flat_map(RegistryClient::paused_hosts).collect()
    }

    /// Returns how many blobs are being transferred from it.
    pub fn transfers(&self) -> Transfers {
        self.endpoints.transfers()
    }

    /// Returns what the registry said last about how much may be pulled, if it says so at all.
    pub fn quota(&self) -> Option<PullQuota> {
        self.endpoints.budget()
    }

    /// Returns the digest that a tag stands for now.
    ///
    /// A registry that does not say it with HEAD is asked for the manifest, whose digest is computed.
    pub async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Digest, FetchError> {
        let what = format!("manifests/{tag}");
        let ask = RegistryRequest::new(Method::Head, repository, &what).accepting(ACCEPT_MANIFESTS);
        let digest = match self.head(&ask).await {
            Ok(reply) => announced(&reply),
            Err(failed) if failed.iter().any(head_refused) => None,
            Err(failed) => return Err(Endpoints::failed(&failed)),
        };
        if let Some(digest) = digest {
            self.came_from(repository, digest, tag);
            return Ok(digest);
        }
        let reference = TagOrDigest::Tag(tag.clone());
        let fetched = self.fetch(repository, &reference, ACCEPT_MANIFESTS, None).await;
        let fetched = fetched.map_err(|failed| Endpoints::failed(&failed))?;
        let unknown = || FetchError::Unavailable { what: "the tag has no digest".to_owned() };
        let digest = fetched.digest.ok_or_else(unknown)?;
        locked(&self.hashed).put((repository.clone(), tag.clone()), (Instant::now(), fetched), 1);
        Ok(digest)
    }

    /// Returns whether a repository has a manifest, as an error if it has not.
    pub async fn has_manifest(&self, repository: &Repository, digest: &Digest) -> Result<(), FetchError> {
        let what = format!("manifests/{digest}");
        let ask = RegistryRequest::new(Method::Head, repository, &what).accepting(ACCEPT_MANIFESTS);
        match self.head(&ask).await {
            Ok(_) => Ok(()),
            // Another region may have it under the tag that it came from.
            Err(failed)
                if failed.iter().any(head_refused)
                    || all_absent(&failed) && self.tag_of(repository, digest).is_some() =>
            {
                self.manifest(repository, &TagOrDigest::Digest(*digest), None).await.map(drop)
            }
            Err(failed) => Err(Endpoints::failed(&failed)),
        }
    }

    /// Fetches a manifest, whose bytes are checked against the digest that is wanted, if one is, and against the one
    /// that is announced. `accept` is what a client takes that does not take everything.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &TagOrDigest,
        accept: Option<&str>,
    ) -> Result<FetchedManifest, FetchError> {
        if let (TagOrDigest::Tag(tag), None) = (reference, accept)
            && let Some((at, fetched)) = locked(&self.hashed).remove(&(repository.clone(), tag.clone()))
            && at.elapsed() < HASHED_FOR
        {
            return Ok(fetched);
        }
        let accept = accept.unwrap_or(ACCEPT_MANIFESTS);
        let failed = match self.fetch(repository, reference, accept, None).await {
            Ok(fetched) => return Ok(fetched),
            Err(failed) => failed,
        };
        if let TagOrDigest::Digest(digest) = reference
            && all_absent(&failed)
            && let Some(tag) = self.tag_of(repository, digest)
        {
            // Another region may answer to the tag, and with the same manifest; any other will not do.
            let by_tag = self.fetch(repository, &TagOrDigest::Tag(tag), accept, Some(digest)).await;
            if let Ok(fetched) = by_tag {
                return Ok(fetched);
            }
        }
        Err(Endpoints::failed(&failed))
    }

    async fn head(&self, ask: &RegistryRequest<'_>) -> Result<Reply, Vec<EndpointError>> {
        let request = || self.endpoints.ask(ask, CountsAgainstQuota::No, MAX_MANIFEST_SIZE, &|_| Ok(()));
        ASK_AGAIN.send(request, is_said).await
    }

    async fn fetch(
        &self,
        repository: &Repository,
        reference: &TagOrDigest,
        accept: &str,
        wanted: Option<&Digest>,
    ) -> Result<FetchedManifest, Vec<EndpointError>> {
        let (what, wanted) = match reference {
            TagOrDigest::Tag(tag) => (format!("manifests/{tag}"), wanted),
            TagOrDigest::Digest(digest) => (format!("manifests/{digest}"), Some(digest)),
        };
        let verified = |reply: &Reply| {
            verify(reply.body.clone(), reply.header(CONTENT_TYPE), reply.header(CONTENT_DIGEST), wanted)
        };
        let check = |reply: &Reply| match verified(reply) {
            Ok(_) => Ok(()),
            Err(wrong @ InvalidManifest::Digest(_)) => Err(InvalidReply::Mismatch(wrong.to_string())),
            Err(wrong @ InvalidManifest::Content(_)) => Err(InvalidReply::Malformed(wrong.to_string())),
        };
        let ask = RegistryRequest::new(Method::Get, repository, &what).accepting(accept);
        let request = || self.endpoints.ask(&ask, CountsAgainstQuota::Yes, MAX_MANIFEST_SIZE, &check);
        let reply = FETCH_AGAIN.send(request, is_said).await?;
        let fetched = verified(&reply).map_err(|wrong| vec![EndpointError::Mismatch(wrong.to_string())])?;
        if let (TagOrDigest::Tag(tag), Some(digest)) = (reference, fetched.digest) {
            self.came_from(repository, digest, tag);
        }
        Ok(fetched)
    }

    /// Returns how many bytes a blob has; [`None`] where the registry has it and does not say.
    ///
    /// Some registries do not answer to HEAD, or with an error, or with 404 for what they would fetch for GET (Harbor's
    /// proxy projects): those are asked for the first byte.
    pub async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, FetchError> {
        let what = format!("blobs/{digest}");
        let head = RegistryRequest::new(Method::Head, repository, &what);
        let byte = RegistryRequest::new(Method::Get, repository, &what).part(Range::Between(0, 0), None);
        self.endpoints.settle(Some((repository, &what))).await;
        let mut failed = Vec::new();
        for endpoint in 0..self.endpoints.len() {
            let request = || self.endpoints.answer(endpoint, &head, CountsAgainstQuota::No);
            match ASK_AGAIN.send(request, |answer| answer.as_ref().err().is_none_or(is_final)).await {
                Ok(answer) => {
                    if let (Coding::Identity, Some(size)) = (answer.coding(), answer.content_length()) {
                        return Ok(Some(size));
                    }
                }
                Err(error) if head_refused(&error) || is_absent(&error) || is_failing(&error) => {}
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            }
            match self.endpoints.answer(endpoint, &byte, CountsAgainstQuota::No).await {
                Ok(answer) => return Ok(size_of(&answer)),
                Err(error) => failed.push(error),
            }
        }
        Err(Endpoints::failed(&failed))
    }

    /// Returns where a blob's bytes come from, of which it may be known how large it is; nothing is asked before it
    /// is opened.
    pub fn blob(&self, repository: &Repository, digest: &Digest, size: Option<u64>) -> Arc<dyn Source> {
        let (endpoints, quarantine) = (Arc::clone(&self.endpoints), Arc::clone(&self.quarantine));
        Arc::new(BlobSource::new(endpoints, quarantine, repository.clone(), *digest, size))
    }

    /// Logs in to every endpoint; somebody waits for it.
    pub async fn check(&self) -> Vec<Checked> {
        let checks = self.endpoints.clients().map(async |client| {
            let endpoint = client.endpoint().to_string();
            let late = || ClientError {
                url: endpoint.clone(),
                cause: RequestError::TimedOut { waited: Wait::Header, after: LONGEST_LOGIN },
            };
            let outcome = tokio::time::timeout(LONGEST_LOGIN, Box::pin(client.login())).await;
            let outcome = outcome.unwrap_or_else(|_| Err(late()));
            Checked { has_credentials: client.has_credentials(), outcome, endpoint }
        });
        futures_util::future::join_all(checks).await
    }

    fn came_from(&self, repository: &Repository, digest: Digest, tag: &Tag) {
        locked(&self.tags).put((repository.clone(), digest), tag.clone(), 1);
    }

    fn tag_of(&self, repository: &Repository, digest: &Digest) -> Option<Tag> {
        locked(&self.tags).get(&(repository.clone(), *digest))
    }
}

/// Returns what an endpoint may lead to. One that is configured by an address of a private network is in one, and so
/// may be what it leads to.
fn policy(config: &UpstreamConfig, url: &Url) -> AddressPolicy {
    if config.private {
        AddressPolicy::Anywhere
    } else if AddressPolicy::Public.allows_host(url) {
        AddressPolicy::Public
    } else {
        AddressPolicy::OwnNetworks
    }
}

fn announced(reply: &Reply) -> Option<Digest> {
    reply.header(CONTENT_DIGEST)?.trim().parse().ok()
}

/// Returns how large something is of which the first byte was asked for.
fn size_of(answer: &Answer) -> Option<u64> {
    // That of what is compressed says nothing of the blob.
    if answer.coding() != Coding::Identity {
        return None;
    }
    match answer.status() {
        200 => answer.content_length(),
        _ => match answer.header(CONTENT_RANGE)?.parse().ok()? {
            ContentRange::Part(_, size) => size,
            ContentRange::Unsatisfied(size) => Some(size),
        },
    }
}

/// Returns whether an endpoint did not like HEAD.
fn head_refused(failed: &EndpointError) -> bool {
    matches!(
        failed,
        EndpointError::Asked(ClientError { cause: RequestError::Status { status: 400..=499 | 501, .. }, .. })
    )
}

/// Returns whether every endpoint has said what it has to say, as far as one was asked.
fn is_said(answer: &Result<Reply, Vec<EndpointError>>) -> bool {
    answer.as_ref().err().is_none_or(|failed| failed.iter().all(is_final))
}

/// Returns whether an endpoint says the same the next time.
fn is_final(failed: &EndpointError) -> bool {
    match failed {
        EndpointError::Asked(error) => match error.cause.kind() {
            RequestErrorKind::NotFound | RequestErrorKind::Denied | RequestErrorKind::Setup => true,
            RequestErrorKind::TooMany | RequestErrorKind::Down | RequestErrorKind::Failing => false,
        },
        EndpointError::Mismatch(_) => true,
        EndpointError::Paused(..) | EndpointError::Quarantined | EndpointError::Busy => false,
    }
}

fn is_absent(failed: &EndpointError) -> bool {
    matches!(failed, EndpointError::Asked(error) if error.cause.kind() == RequestErrorKind::NotFound)
}

/// Returns whether every endpoint was asked and does not have it.
fn all_absent(failed: &[EndpointError]) -> bool {
    !failed.is_empty() && failed.iter().all(is_absent)
}
