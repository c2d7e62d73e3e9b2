#![expect(clippy::disallowed_methods, reason = "waits before a request is made again")]

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;

use super::platforms::NamedBy;
use super::work::{Failed, Mode, Work};
use crate::image::{Algorithm, Digest, Reference, TagOrDigest};
use crate::mirror::cause::Cause;
use crate::mirror::clients::{ACCEPT, request};
use crate::mirror::hops::PullHop;
use crate::mirror::verify::{classify, tags_of};
use crate::oci::{
    Answer, ClientError, Content, Descriptor, MAX_MANIFEST_SIZE, Manifest, ManifestKind, Method, Range,
    RegistryClient, RegistryRequest, RequestErrorKind, Verifier, digest_of,
};

/// How often a request is made; a layer goes on where it broke.
const ATTEMPTS: u32 = 4;
/// How long it is waited after the first failure; twice as long after each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// How many layers of one image are fetched at once.
const LAYERS: usize = 3;
/// How deep indexes of indexes are followed.
const MAX_DEPTH: usize = 4;
/// The longest time between two looks at what a mirror fetches by itself.
const POLL: Duration = Duration::from_secs(2);
/// How long a mirror may take to fetch a layer by itself. Harbor begins after 200 s (`src/controller/proxy`: 10 × 20 s).
const PATIENCE: Duration = Duration::from_mins(15);

/// What was fetched of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Manifests.
    pub manifests: usize,
    /// Layers and configurations, those that another image has too included.
    pub blobs: usize,
    /// Signatures and other things that refer to the image.
    pub referrers: usize,
    /// Bytes that were fetched for this image now.
    pub bytes: u64,
}

/// One image at one host.
pub(super) struct Pull<'a> {
    work: &'a Work,
    client: RegistryClient,
    hop: &'a PullHop,
    image: &'a Reference,
    progress: &'a (dyn Fn(u64) + Sync),
    warmed: Mutex<Warmed>,
}

impl<'a> Pull<'a> {
    pub(super) fn new(
        work: &'a Work,
        client: RegistryClient,
        hop: &'a PullHop,
        image: &'a Reference,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        Self { work, client, hop, image, progress, warmed: Mutex::default() }
    }

    /// Fetches the image and what refers to it.
    pub(super) async fn run(self) -> Result<Warmed, Failed> {
        let name = format!("manifests/{}", self.image.manifest());
        let root = self.manifest(&name, None).await?;
        let (digest, root) = root.ok_or_else(|| (Cause::ImageMissing, "it is not there (404)".to_owned()))?;
        let named = match self.image.manifest() {
            TagOrDigest::Digest(_) => NamedBy::Digest,
            TagOrDigest::Tag(_) => NamedBy::Tag,
        };
        let mut level = vec![root];
        for _ in 0..MAX_DEPTH {
            let mut below = Vec::new();
            for manifest in &level {
                match &manifest.content {
                    Content::Image { .. } => self.blobs_of(manifest).await?,
                    Content::Index(children) => {
                        for child in self.work.platforms.choose(children, named) {
                            below.push(self.child(&child.digest).await?);
                        }
                    }
                }
            }
            level = below;
        }
        self.referrers(&digest).await?;
        Ok(self.warmed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn child(&self, digest: &Digest) -> Result<Manifest, Failed> {
        let found = self.manifest(&format!("manifests/{digest}"), Some(digest)).await?;
        let missing = || (Cause::ImageMissing, format!("{digest} of the index is not there (404)"));
        found.map(|(_, manifest)| manifest).ok_or_else(missing)
    }

    fn request<'b>(&'b self, method: Method, what: &'b str) -> RegistryRequest<'b> {
        request(self.hop, self.image, method, what)
    }

    /// Sends a request; again after a while where the host fails or has too much to do.
    async fn send(&self, request: &RegistryRequest<'_>) -> Result<Answer, ClientError> {
        let mut attempt = 1;
        loop {
            match self.client.send(request).await {
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => pause(attempt).await,
                result => return result,
            }
            attempt += 1;
        }
    }

    /// Gets a manifest; [`None`] where it is not there.
    async fn manifest(
        &self,
        name: &str,
        wanted: Option<&Digest>,
    ) -> Result<Option<(Digest, Manifest)>, Failed> {
        let answer = match self.send(&self.request(Method::Get, name).accepting(ACCEPT)).await {
            Ok(answer) => answer,
            Err(error) if error.cause.kind() == RequestErrorKind::NotFound && wanted.is_some() => {
                return Ok(None);
            }
            // A tag that is missing may be one of a signature, or of an image whose path is wrong.
            Err(error) if error.cause.kind() == RequestErrorKind::NotFound && !self.is_image(name) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(&error)),
        };
        let media_type = answer.header(CONTENT_TYPE).map(str::to_owned);
        let bytes = answer.bytes(MAX_MANIFEST_SIZE).await.map_err(|error| failed(&error))?;
        let wanted = wanted.copied().or_else(|| match self.image.manifest() {
            TagOrDigest::Digest(digest) if self.is_image(name) => Some(digest),
            TagOrDigest::Digest(_) | TagOrDigest::Tag(_) => None,
        });
        let digest = digest_of(wanted.map_or(Algorithm::Sha256, |wanted| wanted.algorithm()), &bytes);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err((Cause::BlobDamaged, format!("a manifest has the digest {digest}, not {wanted}")));
        }
        let manifest = Manifest::parse(&bytes, media_type.as_deref());
        let manifest = manifest.map_err(|error| match bytes.trim_ascii_start().first() {
            Some(b'<') => (Cause::WebPage, "what came as a manifest is a web page".to_owned()),
            Some(_) | None => (Cause::AnswerInvalid, error.to_string()),
        })?;
        self.note(|warmed| warmed.manifests += 1);
        Ok(Some((digest, manifest)))
    }

    fn is_image(&self, name: &str) -> bool {
        name.strip_prefix("manifests/") == Some(self.image.manifest().to_string().as_str())
    }

    fn note(&self, change: impl FnOnce(&mut Warmed)) {
        change(&mut self.warmed.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn blobs_of(&self, manifest: &Manifest) -> Result<(), Failed> {
        let blobs = manifest.blobs().filter(|blob| blob.urls.is_empty());
        let fetches: Vec<_> = blobs.map(|blob| self.blob(blob)).collect();
        let mut results = futures_util::stream::iter(fetches).buffer_unordered(LAYERS);
        while let Some(result) = results.next().await {
            result?;
        }
        Ok(())
    }

    /// Fetches a blob, once for all images of a host that have it.
    async fn blob(&self, blob: &Descriptor) -> Result<(), Failed> {
        let key = format!("{} {}", self.hop.host, blob.digest);
        let shared = self.work.shared(&key);
        let fetched = shared.get_or_init(|| async {
            if self.work.completed.has(&key) {
                return Ok(());
            }
            match self.work.mode {
                Mode::Blobs => self.fetch(blob).await?,
                Mode::Manifests => self.wait_for(blob).await?,
            }
            self.work.completed.add(&key);
            Ok(())
        });
        fetched.await.clone()?;
        self.note(|warmed| warmed.blobs += 1);
        Ok(())
    }

    /// Streams a blob, checks that it is what its digest says, and keeps nothing of it.
    async fn fetch(&self, blob: &Descriptor) -> Result<(), Failed> {
        let name = format!("blobs/{}", blob.digest);
        let mut verifier = Verifier::new(blob.digest);
        let mut attempt = 1;
        loop {
            let from = verifier.seen();
            let mut asked = self.request(Method::Get, &name);
            if from > 0 {
                asked = asked.part(Range::From(from), None);
            }
            let answer = match self.send(&asked).await {
                Err(error) if error.cause.kind() == RequestErrorKind::NotFound => {
                    return Err((Cause::BlobMissing, format!("{} is not there (404)", blob.digest)));
                }
                answer => answer.map_err(|error| failed(&error))?,
            };
            // A host that does not resume begins again.
            if from > 0 && answer.status() != 206 {
                verifier = Verifier::new(blob.digest);
            }
            match self.stream(answer, &mut verifier).await {
                Ok(()) if verifier.seen() >= blob.size || attempt >= ATTEMPTS => break,
                Err(error) if attempt >= ATTEMPTS => return Err(error),
                Ok(()) | Err(_) => pause(attempt).await,
            }
            attempt += 1;
        }
        verifier.finish().map(drop).map_err(|error| (Cause::BlobDamaged, error.to_string()))
    }

    async fn stream(&self, answer: Answer, verifier: &mut Verifier) -> Result<(), Failed> {
        let mut body = answer.into_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| failed(&error))?;
            verifier.update(&chunk);
            let length = u64::try_from(chunk.len()).unwrap_or_default();
            self.note(|warmed| warmed.bytes += length);
            (self.progress)(length);
        }
        Ok(())
    }

    /// Waits until a mirror that fetches by itself has a blob: Harbor says 404 to a HEAD until then.
    async fn wait_for(&self, blob: &Descriptor) -> Result<(), Failed> {
        let name = format!("blobs/{}", blob.digest);
        let (mut waited, mut pause) = (Duration::ZERO, PAUSE);
        loop {
            match self.send(&self.request(Method::Head, &name)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.cause.kind() == RequestErrorKind::NotFound => {}
                Err(error) => return Err(failed(&error)),
            }
            if waited >= PATIENCE {
                let minutes = PATIENCE.as_secs() / 60;
                let why = format!("the mirror does not have {} after {minutes} minutes", blob.digest);
                return Err((Cause::BlobMissing, why));
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(POLL);
        }
    }

    /// Fetches what refers to the image: signatures and attestations, by the three ways that Talos looks them up.
    async fn referrers(&self, digest: &Digest) -> Result<(), Failed> {
        let mut names: Vec<(String, Option<Digest>)> = Vec::new();
        let name = format!("referrers/{digest}");
        let asked = self.request(Method::Get, &name).accepting(ManifestKind::OciIndex.media_type());
        // A host without the API says 404; what it has stands under the tags then.
        if let Ok(answer) = self.client.send(&asked).await
            && let Ok(bytes) = answer.bytes(MAX_MANIFEST_SIZE).await
            && let Ok(index) = Manifest::parse(&bytes, Some(ManifestKind::OciIndex.media_type()))
        {
            let listed = index.children().iter();
            names.extend(listed.map(|child| (format!("manifests/{}", child.digest), Some(child.digest))));
        }
        names.extend(tags_of(digest).map(|tag| (format!("manifests/{tag}"), None)));
        let mut seen = HashSet::new();
        let mut at = 0;
        while let Some((name, wanted)) = names.get(at).cloned() {
            at += 1;
            let found = match self.manifest(&name, wanted.as_ref()).await {
                Ok(Some(found)) => found,
                // A tag that a registry denies is, as a rule, one that is not there.
                Ok(None) | Err((Cause::CredentialsMissing | Cause::AccessDenied, _)) => continue,
                Err(error) => return Err(error),
            };
            if !seen.insert(found.0) {
                continue;
            }
            match &found.1.content {
                Content::Image { .. } => {
                    self.blobs_of(&found.1).await?;
                    self.note(|warmed| warmed.referrers += 1);
                }
                // The tag of a registry without the API: an index of what refers to the image.
                Content::Index(children) => {
                    names.extend(
                        children
                            .iter()
                            .map(|child| (format!("manifests/{}", child.digest), Some(child.digest))),
                    );
                }
            }
        }
        Ok(())
    }
}

async fn pause(attempt: u32) {
    tokio::time::sleep(PAUSE * 2_u32.saturating_pow(attempt - 1)).await;
}

/// Returns whether the same request may go well in a moment; a host that does not answer has had its time.
fn may_pass(error: &ClientError) -> bool {
    matches!(error.cause.kind(), RequestErrorKind::TooMany | RequestErrorKind::Failing)
}

pub(super) fn failed(error: &ClientError) -> Failed {
    (classify(error), error.cause.to_string())
}
