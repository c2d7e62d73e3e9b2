#![expect(clippy::disallowed_methods, reason = "dates lists")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use super::errors::{refusal, within_wait_budget};
use super::freshness::servable_stale;
use super::request::RepositoryRequest;
use crate::cache::download::FetchError;
use crate::cache::observe::Outcome;
use crate::cache::store::{ReferrersRecord, Store};
use crate::cache::upstream::TagList;
use crate::http::Body;
use crate::image::Digest;
use crate::oci::{self, Manifest, Refusal};

/// For how long a list of referrers is believed: signatures come after what they sign.
const REFERRERS_TTL: Duration = Duration::from_mins(5);

/// Lists of tags and of referrers.
pub(super) struct Lists {
    store: Arc<dyn Store>,
}

impl Lists {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Answers with a page of a repository's tags, as upstream has them now.
    pub(super) async fn tag_list(
        &self,
        request: &RepositoryRequest<'_>,
        n: Option<usize>,
        last: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let (registry, repository) = (&request.origin.registry, &request.origin.repository);
        let upstream = request.snapshot.upstream(registry)?;
        let listed = within_wait_budget(registry, Box::pin(upstream.tags(repository, n, last))).await?;
        let unknown = || Refusal::RepositoryUnknown(repository.to_string());
        let listed = listed.map_err(|error| refusal(registry, &error, unknown))?;
        // The link names the registry in its path: one after `ns` would have to repeat it.
        let path = format!("/v2/{registry}/{repository}/tags/list");
        let page = match listed {
            TagList { tags, has_more: false, is_rest } => {
                oci::tag_page(&path, repository, &tags, n, last.filter(|_| !is_rest))
            }
            // What is behind the last of these, upstream says when it is asked for that.
            TagList { tags, has_more: true, .. } => oci::tags_so_far(&path, repository, &tags, n),
        };
        Ok(request.context.tags(page.body, page.link.as_deref()))
    }

    /// Answers with what refers to a manifest.
    pub(super) async fn referrers(
        &self,
        request: &RepositoryRequest<'_>,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let record = self.store.referrers(&request.origin, subject).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read a list of referrers");
            None
        });
        let age = record
            .as_ref()
            .and_then(|record| Duration::try_from(Timestamp::now().duration_since(record.checked_at)).ok());
        let (index, outcome) = match record {
            Some(record) if age.is_some_and(|age| age < REFERRERS_TTL) => (record.index, Outcome::Hit),
            record => self.fetch_referrers(request, subject, record).await?,
        };
        let filtered = artifact_type.and_then(|wanted| oci::filter_referrers(&index, wanted));
        let is_filtered = filtered.is_some();
        Ok(request.context.referrers(filtered.map_or(index, Bytes::from), outcome, is_filtered))
    }

    async fn fetch_referrers(
        &self,
        request: &RepositoryRequest<'_>,
        subject: &Digest,
        known: Option<ReferrersRecord>,
    ) -> Result<(Bytes, Outcome), Refusal> {
        let registry = &request.origin.registry;
        let fetched =
            request.snapshot.upstream(registry)?.referrers(&request.origin.repository, subject).await;
        match (fetched, known) {
            (Ok(index), _) => {
                let record = ReferrersRecord {
                    origin: request.origin.clone(),
                    subject: *subject,
                    index: index.clone(),
                    checked_at: Timestamp::now(),
                };
                // An empty list is not kept: any client can ask about digests that do not exist.
                let is_empty = Manifest::parse(&index, None).is_ok_and(|index| index.children().is_empty());
                if !is_empty && let Err(error) = self.store.put_referrers(&record).await {
                    tracing::warn!(%error, "cannot keep a list of referrers");
                }
                Ok((index, Outcome::Miss))
            }
            // A registry without this API: clients then look for a tag, so that it must not look like an empty list.
            (Err(FetchError::NotFound), _) => Err(Refusal::ManifestUnknown(subject.to_string())),
            (Err(error), Some(known))
                if !matches!(error, FetchError::Denied { .. })
                    && servable_stale(
                        known.checked_at,
                        Timestamp::now(),
                        request.snapshot.config.tags.stale,
                    ) =>
            {
                Ok((known.index, Outcome::Stale))
            }
            (Err(error), _) => {
                Err(refusal(registry, &error, || Refusal::ManifestUnknown(subject.to_string())))
            }
        }
    }
}
