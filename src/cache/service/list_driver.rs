#![expect(clippy::disallowed_methods, reason = "dates lists")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use super::driver::{Asked, Inner};
use super::freshness::bearable;
use super::refusals::of_upstream;
use crate::cache::observe::Outcome;
use crate::cache::store::ReferrersRecord;
use crate::cache::upstream::UpstreamError;
use crate::http::Body;
use crate::image::Digest;
use crate::oci::{self, Manifest, Refusal};

/// For how long a list of referrers is believed: signatures come after what they sign.
const REFERRERS_TTL: Duration = Duration::from_mins(5);

impl Inner {
    /// Answers with a page of a repository's tags, as upstream has them now.
    pub(super) async fn tag_list(
        &self,
        asked: &Asked<'_>,
        n: Option<usize>,
        last: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let (registry, repository) = (&asked.origin.registry, &asked.origin.repository);
        let tags = asked.world.upstream(registry)?.tags(repository).await.map_err(|error| {
            of_upstream(registry, &error, || Refusal::NameUnknown(repository.to_string()))
        })?;
        // The link names the registry in its path: one after `ns` would have to repeat it.
        let path = format!("/v2/{registry}/{repository}/tags/list");
        let page = oci::tag_page(&path, repository, &tags, n, last);
        Ok(asked.frame.tags(page.body, page.link.as_deref()))
    }

    /// Answers with what refers to a manifest.
    pub(super) async fn referrers(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let record = self.store.referrers(&asked.origin, subject).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read a list of referrers");
            None
        });
        let age = record
            .as_ref()
            .and_then(|record| Duration::try_from(Timestamp::now().duration_since(record.checked_at)).ok());
        let (index, outcome) = match record {
            Some(record) if age.is_some_and(|age| age < REFERRERS_TTL) => (record.index, Outcome::Hit),
            record => self.fetch_referrers(asked, subject, record).await?,
        };
        let filtered = artifact_type.and_then(|wanted| oci::filter_referrers(&index, wanted));
        let is_filtered = filtered.is_some();
        Ok(asked.frame.referrers(filtered.map_or(index, Bytes::from), outcome, is_filtered))
    }

    async fn fetch_referrers(
        &self,
        asked: &Asked<'_>,
        subject: &Digest,
        known: Option<ReferrersRecord>,
    ) -> Result<(Bytes, Outcome), Refusal> {
        let registry = &asked.origin.registry;
        let fetched = asked.world.upstream(registry)?.referrers(&asked.origin.repository, subject).await;
        match (fetched, known) {
            (Ok(index), _) => {
                let record = ReferrersRecord {
                    origin: asked.origin.clone(),
                    subject: *subject,
                    index: index.clone(),
                    checked_at: Timestamp::now(),
                };
                // An empty list is not kept: anybody can ask about digests that nobody has.
                let is_empty = Manifest::parse(&index, None).is_ok_and(|index| index.children().is_empty());
                if !is_empty && let Err(error) = self.store.put_referrers(&record).await {
                    tracing::warn!(%error, "cannot keep a list of referrers");
                }
                Ok((index, Outcome::Miss))
            }
            // A registry without this API: clients then look for a tag, so that it must not look like an empty list.
            (Err(UpstreamError::NotFound), _) => Err(Refusal::ManifestUnknown(subject.to_string())),
            (Err(error), Some(known))
                if !matches!(error, UpstreamError::Denied { .. })
                    && bearable(known.checked_at, Timestamp::now(), asked.world.config.tags.stale) =>
            {
                Ok((known.index, Outcome::Stale))
            }
            (Err(error), _) => {
                Err(of_upstream(registry, &error, || Refusal::ManifestUnknown(subject.to_string())))
            }
        }
    }
}
