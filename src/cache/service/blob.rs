use std::sync::Arc;

use http::Response;

use super::access::Grants;
use super::authorize::{Authorized, Authorizer};
use super::errors::{refusal, within, within_wait_budget};
use super::freshness::BUDGET;
use super::manifest::Manifests;
use super::ready::ReadyAnswers;
use super::redirect::Redirects;
use super::request::RepositoryRequest;
use crate::cache::download::{CameFrom, Download, Downloads, FetchError, Joined, Opened, Provenance, Source};
use crate::cache::observe::Outcome;
use crate::cache::replica::{Asker, Asks, Member, Readers, ReplicaSource, Replicas};
use crate::cache::store::{Blob, Object, Origin, Store};
use crate::http::Body;
use crate::image::{Digest, RegistryHost};
use crate::oci::{Method, Refusal, Selection, Span};
use futures_util::future::BoxFuture;

/// A blob's bytes from upstream; that they come through a repository is noted when they have proved right.
struct GrantingSource {
    grants: Arc<Grants>,
    origin: Origin,
    digest: Digest,
    source: Arc<dyn Source>,
}

impl Source for GrantingSource {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        self.source.open(from)
    }

    fn open_part(&self, from: u64, end: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        self.source.open_part(from, end)
    }

    fn mismatch(&self, endpoints: &[usize]) {
        self.source.mismatch(endpoints);
    }

    fn complete(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.grants.note(&self.origin, &Object::blob(self.digest)) })
    }

    fn kept(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.grants.grant(&self.origin, &Object::blob(self.digest)).await;
            self.source.kept().await;
        })
    }

    fn may_use_stored(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.grants.is_granted(&self.origin, &Object::blob(self.digest)).await })
    }

    fn provenance(&self) -> Option<&Provenance> {
        self.source.provenance()
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }
}

/// Blobs: stored ones, and those that are being downloaded.
pub(super) struct Blobs {
    store: Arc<dyn Store>,
    downloads: Downloads,
    grants: Arc<Grants>,
    manifests: Arc<Manifests>,
    ready: Arc<ReadyAnswers>,
    authorizer: Arc<Authorizer>,
    redirects: Redirects,
    /// The other caches on the bucket, if they are asked.
    replicas: Option<Replicas>,
}

impl Blobs {
    pub(super) fn new(
        store: Arc<dyn Store>,
        downloads: Downloads,
        grants: Arc<Grants>,
        manifests: Arc<Manifests>,
        ready: Arc<ReadyAnswers>,
        authorizer: Arc<Authorizer>,
        replicas: Option<Replicas>,
    ) -> Self {
        let redirects = Redirects::new(Arc::clone(&store), Arc::clone(&grants), downloads.clone());
        Self { store, downloads, grants, manifests, ready, authorizer, redirects, replicas }
    }

    /// Answers with a blob, or with a part of it.
    pub(super) async fn blob(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        if let Some(Member { readers: Readers::Everyone, .. }) = request.member
            && request.context.is_private
        {
            // That cache would give it to clients which may not have it here.
            return Err(Refusal::BlobUnknown(digest.to_string()));
        }
        let stored = self.store.open(digest).await.unwrap_or_else(|error| {
            tracing::warn!(%digest, %error, "cannot open a stored blob");
            None
        });
        let object = Object::blob(*digest);
        if let Some(blob) = stored {
            match self.authorizer.authorize_object(request, &object).await? {
                Authorized::Stored => {
                    let response = stored_blob(request, digest, &blob);
                    self.ready.keep(request.ready_key, &response, object, None);
                    return Ok(response);
                }
                Authorized::StoredMeanwhile => return Ok(stored_blob(request, digest, &blob)),
                Authorized::OnceFetched => {}
            }
        }
        match request.context.method {
            Method::Head => self.blob_head(request, digest).await,
            Method::Get => match request.member {
                Some(member) => self.blob_for_member(request, digest, member).await,
                None => self.blob_download(request, digest).await,
            },
        }
    }

    /// Answers to HEAD for what is not stored: a client that asks how large it is does not want all of it.
    async fn blob_head(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let running = self.downloads.running(digest, Some(request.scope()));
        let (outcome, total) = match running.filter(|running| running.origin() == Some(&request.origin)) {
            Some(download) => (Outcome::Follow, headers(request, digest, &download).await??),
            None => (Outcome::Miss, self.authorizer.blob_size(request, digest).await?),
        };
        let selection = request.selection(digest, total);
        Ok(request.context.blob(digest, total, selection, outcome, |_| Body::Empty))
    }

    /// Answers with a blob that is being downloaded, after starting the download where it is not under way; or with where it
    /// is in the bucket.
    async fn blob_download(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        self.authorize_tier(request, digest).await?;
        if let Some(answer) = self.redirects.answer(request, digest).await {
            return Ok(answer);
        }
        let (download, total) = self.join(request, digest).await?;
        let object = Object::blob(*digest);
        if download.origin() != Some(&request.origin)
            && !self.grants.is_granted(&request.origin, &object).await
        {
            // It comes through another repository. Whether this one has it, upstream says.
            self.authorizer.blob_size(request, digest).await?;
        }
        let outcome = match (download.came_from(), download.joined()) {
            (CameFrom::Tier, _) => Outcome::Bucket,
            (CameFrom::Member, _) => Outcome::Peer,
            (CameFrom::Unknown | CameFrom::Upstream, Joined::Started) => Outcome::Miss,
            (CameFrom::Unknown | CameFrom::Upstream, Joined::Existing) => Outcome::Follow,
        };
        let selection = request.selection(digest, total);
        Ok(request.context.blob(digest, total, selection, outcome, |span| download.body(span, total)))
    }

    /// Answers another cache with what is being downloaded from upstream, or is to be. What is read from a third cache is
    /// not passed on: that one may come to read from here.
    async fn blob_for_member(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
        member: Member,
    ) -> Result<Response<Body>, Refusal> {
        match (self.downloads.running(digest, Some(request.scope())), member.asks) {
            (Some(download), _) => match download.decided().await {
                CameFrom::Upstream | CameFrom::Tier => self.blob_download(request, digest).await,
                CameFrom::Unknown | CameFrom::Member => Ok(request.context.reads_elsewhere()),
            },
            (None, Asks::Fetch) => self.blob_download(request, digest).await,
            (None, Asks::Have) => Err(Refusal::BlobUnknown(digest.to_string())),
        }
    }

    /// Puts the other caches on the bucket before upstream.
    fn before_upstream(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
        upstream: Arc<dyn Source>,
    ) -> Arc<dyn Source> {
        let Some(replicas) = &self.replicas else { return upstream };
        let readers = if request.context.is_private { Readers::Users } else { Readers::Everyone };
        let asker = if request.member.is_some() { Asker::Member } else { Asker::Client };
        let (replicas, origin) = (replicas.clone(), request.origin.clone());
        Arc::new(ReplicaSource::new(replicas, origin, *digest, readers, asker, upstream))
    }

    /// Asks upstream whether a repository has what came to the tier through another one: the tier gives it then, and
    /// upstream need not.
    async fn authorize_tier(&self, request: &RepositoryRequest<'_>, digest: &Digest) -> Result<(), Refusal> {
        let object = Object::blob(*digest);
        if !self.store.has_tier()
            || self.grants.is_granted(&request.origin, &object).await
            || !self.authorizer.head_counts(request.snapshot, &request.origin, &object).await
        {
            return Ok(());
        }
        let asked = self.authorizer.blob_size(request, digest);
        match within(BUDGET, &request.origin.registry, asked).await {
            Ok(Err(refusal @ Refusal::BlobUnknown(_))) => Err(refusal),
            // What upstream cannot say now, it says when it is asked for the bytes.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Joins the download of a blob, or starts it, and waits for its length.
    async fn join(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<(Download, u64), Refusal> {
        let (registry, object) = (&request.origin.registry, Object::blob(*digest));
        let size = self.manifests.blob_size(&request.origin, digest).await;
        loop {
            self.authorizer.reject_known_missing(request, &object)?;
            let upstream = request.snapshot.upstream(registry)?;
            let fetched = upstream.blob(&request.origin.repository, digest, size);
            let source = GrantingSource {
                grants: Arc::clone(&self.grants),
                origin: request.origin.clone(),
                digest: *digest,
                source: self.before_upstream(request, digest, fetched),
            };
            let part = size.and_then(|size| part(request.selection(digest, size)));
            let scope = Some(request.scope());
            let download = self.downloads.get_part(digest, size, part, scope, Arc::new(source));
            let download = download.map_err(|_| Refusal::Overloaded)?;
            match (headers(request, digest, &download).await?, download.joined()) {
                (Ok(total), _) => return Ok((download, total)),
                (Err(refusal), Joined::Started) => {
                    self.authorizer.note_missing(request, &object, &refusal);
                    return Err(refusal);
                }
                (Err(refusal @ Refusal::BlobUnknown(_)), Joined::Existing)
                    if download.origin() == Some(&request.origin) =>
                {
                    self.authorizer.note_missing(request, &object, &refusal);
                    return Err(refusal);
                }
                // It failed for another repository, perhaps, or just before this client came.
                (Err(refusal), Joined::Existing) => {
                    tracing::debug!(%digest, ?refusal, "a download failed that was joined; starting one");
                    // Until it is off the list.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Returns the part that is selected, where it is one.
fn part(selection: Selection) -> Option<Span> {
    match selection {
        Selection::Part(span) => Some(span),
        Selection::Whole | Selection::Unsatisfiable => None,
    }
}

/// Waits for the length of a download, as long as a client waits.
async fn headers(
    request: &RepositoryRequest<'_>,
    digest: &Digest,
    download: &Download,
) -> Result<Result<u64, Refusal>, Refusal> {
    let registry = &request.origin.registry;
    let total = within_wait_budget(registry, download.headers()).await?;
    Ok(total.map_err(|error| unknown(registry, digest, &error)))
}

/// Answers with a blob that is stored.
fn stored_blob(request: &RepositoryRequest<'_>, digest: &Digest, blob: &Blob) -> Response<Body> {
    if request.has(digest) {
        return request.context.unchanged_blob(digest, Outcome::Hit);
    }
    let selection = request.selection(digest, blob.len());
    request.context.blob(digest, blob.len(), selection, Outcome::Hit, |span| blob.body(span))
}

/// Returns what a client is told that could not be given a blob.
fn unknown(registry: &RegistryHost, digest: &Digest, error: &FetchError) -> Refusal {
    refusal(registry, error, || Refusal::BlobUnknown(digest.to_string()))
}
