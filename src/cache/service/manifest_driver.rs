#![expect(clippy::disallowed_methods, reason = "dates manifests")]

use std::sync::Arc;

use http::Response;
use jiff::Timestamp;

use super::driver::{Asked, Inner, locked};
use super::headers::{By, Ready};
use super::refusals::{of_upstream, overloaded};
use super::world::World;
use crate::cache::observe::Outcome;
use crate::cache::store::{Document, Object, Origin, TagRecord};
use crate::cache::upstream::{Fetched, UpstreamError};
use crate::http::Body;
use crate::image::{Digest, TagOrDigest};
use crate::oci::Refusal;

/// What upstream gave for a reference.
#[derive(Clone, Debug)]
pub(super) enum Got {
    /// A manifest, which is kept.
    Kept(Arc<Ready>),
    /// One whose digest is not that of its bytes, or that nobody should have but who asked.
    Passing(Arc<Fetched>),
}

impl Inner {
    /// Answers with the manifest of a digest.
    pub(super) async fn manifest(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let object = Object::manifest(*digest);
        if let Some(ready) = self.ready(digest).await {
            self.may_have(asked, &object).await?;
            return Ok(asked.manifest(&ready, By::Digest, Outcome::Hit, None));
        }
        let (outcome, got) = self.fetch(asked, TagOrDigest::Digest(*digest)).await?;
        Ok(asked.got(&got, By::Digest, outcome))
    }

    /// Returns a manifest that is kept, from memory or from the store.
    pub(super) async fn ready(&self, digest: &Digest) -> Option<Arc<Ready>> {
        let found = locked(&self.manifests).get(digest);
        if let Some(ready) = found {
            self.store.touch(&Object::manifest(*digest));
            return Some(ready);
        }
        match self.store.manifest(digest).await {
            Ok(document) => document.map(|document| self.remember(*digest, document)),
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot read a stored manifest");
                None
            }
        }
    }

    fn remember(&self, digest: Digest, document: Document) -> Arc<Ready> {
        let ready = Arc::new(Ready::new(digest, document.media_type, document.bytes));
        locked(&self.manifests).put(digest, Arc::clone(&ready), ready.weight());
        ready
    }

    /// Fetches a manifest through a repository, once for all who want it at the same time, and keeps it.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        reference: TagOrDigest,
    ) -> Result<(Outcome, Got), Refusal> {
        let key = (asked.origin.clone(), reference.clone());
        let (part, run) = self.fetching.run(key, || {
            let (inner, world) = (Arc::clone(self), Arc::clone(asked.world));
            let origin = asked.origin.clone();
            async move { inner.fetch_now(&world, &origin, &reference).await }
        });
        let got = run.await.ok_or_else(overloaded)??;
        Ok((part.outcome(), got))
    }

    /// Fetches a manifest and keeps it under its digest, and what a tag is.
    pub(super) async fn fetch_now(
        &self,
        world: &World,
        origin: &Origin,
        reference: &TagOrDigest,
    ) -> Result<Got, Refusal> {
        let upstream = world.upstream(&origin.registry)?;
        let fetched = match upstream.manifest(&origin.repository, reference, None).await {
            Ok(fetched) => fetched,
            Err(error) => {
                if let (UpstreamError::NotFound, TagOrDigest::Tag(tag)) = (&error, reference) {
                    self.is_absent(origin, tag).await;
                }
                return Err(of_upstream(&origin.registry, &error, || {
                    Refusal::ManifestUnknown(reference.to_string())
                }));
            }
        };
        let Some(digest) = fetched.digest else { return Ok(Got::Passing(Arc::new(fetched))) };
        let document = Document { media_type: fetched.media_type, bytes: fetched.bytes };
        if let Err(error) = self.store.put_manifest(&digest, &document).await {
            // In memory it is served all the same.
            tracing::warn!(%digest, %error, "cannot store a manifest");
        }
        let ready = self.remember(digest, document);
        self.grant(origin, &Object::manifest(digest)).await;
        if let TagOrDigest::Tag(tag) = reference {
            let record = TagRecord {
                origin: origin.clone(),
                tag: tag.clone(),
                digest,
                media_type: ready.media_type.clone(),
                checked_at: Timestamp::now(),
            };
            self.put_tag(record).await;
        }
        Ok(Got::Kept(ready))
    }

    /// Fetches what a client asks for that does not take the kind of manifest that is kept; nothing of it is kept.
    pub(super) async fn pass_on(
        &self,
        asked: &Asked<'_>,
        reference: &TagOrDigest,
        accept: &str,
    ) -> Result<Response<Body>, Refusal> {
        let upstream = asked.world.upstream(&asked.origin.registry)?;
        let fetched = upstream.manifest(&asked.origin.repository, reference, Some(accept)).await;
        let fetched = fetched.map_err(|error| {
            of_upstream(&asked.origin.registry, &error, || Refusal::ManifestUnknown(reference.to_string()))
        })?;
        Ok(asked.frame.passed_on(&fetched.media_type, fetched.digest.as_ref(), fetched.bytes))
    }
}

impl Asked<'_> {
    /// Answers with what upstream gave.
    pub(super) fn got(&self, got: &Got, by: By, outcome: Outcome) -> Response<Body> {
        match got {
            Got::Kept(ready) => self.manifest(ready, by, outcome, None),
            Got::Passing(fetched) => {
                self.frame.passed_on(&fetched.media_type, fetched.digest.as_ref(), fetched.bytes.clone())
            }
        }
    }
}
