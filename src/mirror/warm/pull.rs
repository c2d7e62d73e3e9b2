#![expect(clippy::disallowed_methods, reason = "waits before a request is made again")]

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;

use super::platforms::NamedBy;
use super::work::{Failed, Mode, Sharing, Work};
use crate::image::{Algorithm, Digest, Reference, TagOrDigest};
use crate::mirror::cause::Cause;
use crate::mirror::clients::{ACCEPT, request};
use crate::mirror::hops::PullHop;
use crate::mirror::verify::{classify, tags_of};
use crate::oci::{
    Answer, ClientError, Coding, Content, Descriptor, MAX_MANIFEST_SIZE, Manifest, ManifestKind, Method,
    Range, RegistryClient, RegistryRequest, RequestError, RequestErrorKind, Verifier, digest_of,
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
    /// Where its blobs are, for all that share them.
    place: String,
    progress: &'a (dyn Fn(u64) + Sync),
    warmed: Mutex<Warmed>,
}

impl<'a> Pull<'a> {
    pub(super) fn new(
        work: &'a Work,
        client: RegistryClient,
        hop: &'a PullHop,
        image: &'a Reference,
        sharing: Sharing,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        let place = match sharing {
            Sharing::Host => hop.host.clone(),
            Sharing::Repository => {
                let repository = hop.url.split("/manifests/").next().unwrap_or_default();
                format!("{repository} {}", image.registry())
            }
        };
        Self { work, client, hop, image, place, progress, warmed: Mutex::default() }
    }

    /// Fetches the image and what refers to it.
    pub(super) async fn run(self) -> Result<Warmed, Failed> {
        let name = format!("manifests/{}", self.image.manifest());
        let (digest, root) = self.manifest(&name, None).await?;
        let named = match self.image.manifest() {
            TagOrDigest::Digest(_) => NamedBy::Digest,
            TagOrDigest::Tag(_) => NamedBy::Tag,
        };
        // What refers to it is looked up while layers are on their way.
        let layers = Box::pin(self.levels(root, named));
        let (layers, referrers) = futures_util::future::join(layers, Box::pin(self.referrers(&digest))).await;
        layers.and(referrers)?;
        Ok(self.warmed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches an image's layers, or those of the images that an index names.
    async fn levels(&self, root: Manifest, named: NamedBy) -> Result<(), Failed> {
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
        Ok(())
    }

    async fn child(&self, digest: &Digest) -> Result<Manifest, Failed> {
        let found = self.manifest(&format!("manifests/{digest}"), Some(digest)).await;
        found.map(|(_, manifest)| manifest).map_err(|error| match error {
            (Cause::ImageMissing | Cause::PathUnknown, _) => {
                (Cause::ImageMissing, format!("{digest} of the index is not there (404)"))
            }
            error => error,
        })
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

    /// Gets a manifest.
    async fn manifest(&self, name: &str, wanted: Option<&Digest>) -> Result<(Digest, Manifest), Failed> {
        let answer = self.send(&self.request(Method::Get, name).accepting(ACCEPT)).await;
        let answer = answer.map_err(|error| failed(&error))?;
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
        Ok((digest, manifest))
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

    /// Fetches a blob, once for all images that share it.
    async fn blob(&self, blob: &Descriptor) -> Result<(), Failed> {
        let key = format!("{} {}", self.place, blob.digest);
        let shared = self.work.shared(&key);
        let fetched = shared.get_or_try_init(|| async {
            if self.work.completed.has(&key) {
                return Ok(Ok(()));
            }
            let result = match self.work.mode {
                Mode::Blobs => self.fetch(blob).await,
                Mode::Manifests => self.wait_for(blob).await,
            };
            match (self.work.mode, result) {
                (_, Ok(())) => {
                    self.work.completed.add(&key);
                    Ok(Ok(()))
                }
                // Wrong bytes, and a mirror that was waited for, are the same for all images.
                (_, Err(error @ (Cause::BlobDamaged, _)))
                | (Mode::Manifests, Err(error @ (Cause::BlobMissing, _))) => Ok(Err(error)),
                (_, Err(error)) => Err(error),
            }
        });
        fetched.await?.clone()?;
        self.note(|warmed| warmed.blobs += 1);
        Ok(())
    }

    /// Streams a blob, checks that it is what its digest says, and keeps nothing of it.
    async fn fetch(&self, blob: &Descriptor) -> Result<(), Failed> {
        let name = format!("blobs/{}", blob.digest);
        let mut verifier = Verifier::new(blob.digest);
        let mut attempt = 1;
        let coding = loop {
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
            let (status, coding) = (answer.status(), answer.coding());
            // A host that does not resume begins again.
            if from > 0 && status != 206 {
                verifier = Verifier::new(blob.digest);
            }
            let streamed = if status == 416 {
                Err((Cause::AnswerInvalid, "it answers that the layer has no such part (416)".to_owned()))
            } else {
                self.stream(answer, &mut verifier, blob.size).await
            };
            // However it ended: whether all is there the digest says.
            let is_whole = verifier.seen() >= blob.size || (streamed.is_ok() && coding != Coding::Identity);
            match streamed {
                _ if is_whole => break coding,
                Ok(()) if attempt >= ATTEMPTS => break coding,
                Err(error) if attempt >= ATTEMPTS => return Err(error),
                Ok(()) | Err(_) => pause(attempt).await,
            }
            attempt += 1;
        };
        let error = if verifier.seen() > blob.size {
            format!("{} has more than the {} bytes that its manifest says", blob.digest, blob.size)
        } else if let Err(error) = verifier.finish() {
            error.to_string()
        } else {
            return Ok(());
        };
        Err(match coding {
            Coding::Identity => (Cause::BlobDamaged, error),
            Coding::Gzip | Coding::Other => {
                (Cause::AnswerInvalid, format!("it answers compressed, though it was asked not to: {error}"))
            }
        })
    }

    /// Reads a body to its end, or until it is longer than `size`.
    async fn stream(&self, answer: Answer, verifier: &mut Verifier, size: u64) -> Result<(), Failed> {
        let mut body = answer.into_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| failed(&error))?;
            verifier.update(&chunk);
            let length = u64::try_from(chunk.len()).unwrap_or_default();
            self.note(|warmed| warmed.bytes += length);
            (self.progress)(length);
            if verifier.seen() > size {
                break;
            }
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
        let answer = match self.send(&asked).await {
            Ok(answer) => Some(answer),
            // A host without the API says so; what it has stands under the tags then.
            Err(error) if may_pass(&error) || error.cause.kind() == RequestErrorKind::Down => {
                let (cause, why) = failed(&error);
                return Err((cause, format!("what refers to it is not known: {why}")));
            }
            Err(_) => None,
        };
        let bytes = match answer {
            Some(answer) => answer.bytes(MAX_MANIFEST_SIZE).await.map_err(|error| failed(&error))?,
            None => bytes::Bytes::new(),
        };
        if let Ok(index) = Manifest::parse(&bytes, Some(ManifestKind::OciIndex.media_type())) {
            let listed = index.children().iter();
            names.extend(listed.map(|child| (format!("manifests/{}", child.digest), Some(child.digest))));
        }
        names.extend(tags_of(digest).map(|tag| (format!("manifests/{tag}"), None)));
        let mut seen = HashSet::new();
        let mut at = 0;
        while let Some((name, wanted)) = names.get(at).cloned() {
            at += 1;
            let found = match self.manifest(&name, wanted.as_ref()).await {
                Ok(found) => found,
                Err((Cause::ImageMissing | Cause::PathUnknown, _)) => continue,
                // A tag that a registry denies is, as a rule, one that is not there.
                Err((Cause::CredentialsMissing | Cause::AccessDenied, _)) => continue,
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

/// Returns whether the same request may go well in a moment; a host that does not answer has had its time, and what it
/// does not know it will not know then.
fn may_pass(error: &ClientError) -> bool {
    if let RequestError::Status { status: 300..=499 | 501, .. } = &error.cause {
        return false;
    }
    matches!(error.cause.kind(), RequestErrorKind::TooMany | RequestErrorKind::Failing)
}

pub(super) fn failed(error: &ClientError) -> Failed {
    (classify(error), error.cause.to_string())
}
