use std::sync::Arc;

use http::Response;

use super::access::Grants;
use super::authorize::Authorizer;
use super::errors::refusal;
use super::request::RepositoryRequest;
use crate::cache::download::{Download, Downloads, FetchError, Joined, Opened, Source};
use crate::cache::observe::Outcome;
use crate::cache::store::{Object, Origin, Store};
use crate::http::Body;
use crate::image::{Digest, RegistryHost};
use crate::oci::{Method, Refusal};
use futures_util::future::BoxFuture;

/// A blob's bytes from upstream; that they come through a repository is noted as soon as they begin to.
struct GrantingSource {
    grants: Arc<Grants>,
    origin: Origin,
    digest: Digest,
    source: Arc<dyn Source>,
}

impl Source for GrantingSource {
    fn open(&self, from: u64) -> BoxFuture<'_, Result<Opened, FetchError>> {
        Box::pin(async move {
            let opened = self.source.open(from).await?;
            if from == 0 {
                self.grants.grant(&self.origin, &Object::blob(self.digest)).await;
            }
            Ok(opened)
        })
    }

    fn mismatch(&self, endpoints: &[usize]) {
        self.source.mismatch(endpoints);
    }
}

/// Blobs: stored ones, and those that are being downloaded.
pub(super) struct Blobs {
    store: Arc<dyn Store>,
    downloads: Downloads,
    grants: Arc<Grants>,
    authorizer: Arc<Authorizer>,
}

impl Blobs {
    pub(super) fn new(
        store: Arc<dyn Store>,
        downloads: Downloads,
        grants: Arc<Grants>,
        authorizer: Arc<Authorizer>,
    ) -> Self {
        Self { store, downloads, grants, authorizer }
    }

    /// Answers with a blob, or with a part of it.
    pub(super) async fn blob(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let stored = self.store.open(digest).await.unwrap_or_else(|error| {
            tracing::warn!(%digest, %error, "cannot open a stored blob");
            None
        });
        if let Some(blob) = stored {
            self.authorizer.authorize_object(request, &Object::blob(*digest)).await?;
            if request.has(digest) {
                return Ok(request.context.unchanged_blob(digest, Outcome::Hit));
            }
            let selection = request.selection(digest, blob.len());
            return Ok(request
                .context
                .blob(digest, blob.len(), selection, Outcome::Hit, |span| blob.body(span)));
        }
        match request.context.method {
            Method::Head => self.blob_head(request, digest).await,
            Method::Get => self.blob_download(request, digest).await,
        }
    }

    /// Answers to HEAD for what is not stored: a client that asks how large it is does not want all of it.
    async fn blob_head(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let (outcome, total) = match self.downloads.running(digest) {
            Some(download) if self.grants.is_granted(&request.origin, &Object::blob(*digest)).await => {
                let total = download.headers().await;
                (Outcome::Follow, total.map_err(|error| unknown(&request.origin.registry, digest, &error))?)
            }
            Some(_) | None => (Outcome::Miss, self.authorizer.blob_size(request, digest).await?),
        };
        let selection = request.selection(digest, total);
        Ok(request.context.blob(digest, total, selection, outcome, |_| Body::Empty))
    }

    /// Answers with a blob that is being downloaded, after starting the download where it is not under way.
    async fn blob_download(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let (download, total) = self.join(request, digest).await?;
        let object = Object::blob(*digest);
        if !self.grants.is_granted(&request.origin, &object).await {
            // It came through another repository. Whether this one has it, upstream says.
            self.authorizer.authorize_object(request, &object).await?;
        }
        let outcome = match download.joined() {
            Joined::Started => Outcome::Miss,
            Joined::Existing => Outcome::Follow,
        };
        let selection = request.selection(digest, total);
        Ok(request.context.blob(digest, total, selection, outcome, |span| download.body(span, total)))
    }

    /// Joins the download of a blob, or starts it, and waits for its length.
    async fn join(
        &self,
        request: &RepositoryRequest<'_>,
        digest: &Digest,
    ) -> Result<(Download, u64), Refusal> {
        let registry = &request.origin.registry;
        loop {
            let upstream = request.snapshot.upstream(registry)?;
            let source = GrantingSource {
                grants: Arc::clone(&self.grants),
                origin: request.origin.clone(),
                digest: *digest,
                source: upstream.blob(&request.origin.repository, digest),
            };
            let download =
                self.downloads.get(digest, None, Arc::new(source)).map_err(|_| Refusal::Overloaded)?;
            match (download.headers().await, download.joined()) {
                (Ok(total), _) => return Ok((download, total)),
                (Err(error), Joined::Started) => return Err(unknown(registry, digest, &error)),
                // It failed for another repository, perhaps, or just before this client came.
                (Err(error), Joined::Existing) => {
                    tracing::debug!(%digest, %error, "a download failed that was joined; starting one");
                }
            }
        }
    }
}

/// Returns what a client is told that could not be given a blob.
fn unknown(registry: &RegistryHost, digest: &Digest, error: &FetchError) -> Refusal {
    refusal(registry, error, || Refusal::BlobUnknown(digest.to_string()))
}
