use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::header::{CONTENT_TYPE, HeaderName};

use super::classify::classify;
use super::signatures::{Signatures, lists_bundle, tags_of};
use crate::image::{Algorithm, Digest, Platform, Reference};
use crate::mirror::cause::Cause;
use crate::mirror::clients::{ACCEPT, Access, Clients, request};
use crate::mirror::hops::PullHop;
use crate::oci::{
    Answer, ClientError, Content, Credential, HttpSettings, MAX_MANIFEST_SIZE, Manifest, ManifestKind,
    Method, Quota, Range, RegistryClient, RegistryRequest, RequestError, digest_of,
};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// What caches say of an answer: `HIT`, `MISS`, and a warning that what they have may be old.
const CACHE_WORDS: [HeaderName; 2] = [HeaderName::from_static("x-cache"), HeaderName::from_static("warning")];
/// How much of a layer is asked for to see that it is there.
const FIRST_BYTES: u64 = 1024;

/// What is asked of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whether it is a registry and gives access.
    Registry,
    /// Whether it serves an image.
    Image,
}

/// What a host that serves an image proved.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// What is left of the pull quota, where it says so.
    pub quota: Option<Quota>,
    /// The signatures that it has.
    pub signatures: Signatures,
    /// Where it says that the image came from: its own store or upstream, and whether that is old.
    pub cache: Option<String>,
}

/// A host that does not serve what was asked for.
type Failed = (Cause, String);

/// Asks hosts as containerd does; connections are shared between the images of a host, tokens are not.
#[derive(Debug)]
pub struct Prober {
    clients: Clients,
    platform: Platform,
    /// Hosts and passwords that were not found to be rejected.
    passwords: Mutex<HashSet<(String, String)>>,
}

impl Prober {
    /// Makes a prober for images of a platform.
    pub fn new(settings: HttpSettings, platform: Platform) -> Self {
        Self { clients: Clients::new(settings), platform, passwords: Mutex::default() }
    }

    /// Asks one host for an image.
    pub async fn probe(
        &self,
        hop: &PullHop,
        image: &Reference,
        access: &Access,
        wanted: Wanted,
    ) -> Result<Proof, (Cause, String)> {
        if hop.endpoint.flaw() == Some(crate::registries::EndpointFlaw::NotARegistry) {
            // containerd asks it anyway, and is answered with a web page or a redirect to one.
            let (host, api) = (hop.host.as_str(), crate::image::DOCKER_HUB_API);
            let evidence = format!("{host} is a web site; the API of Docker Hub is https://{api}");
            return Err((Cause::NotARegistry, evidence));
        }
        let client = self.clients.client(hop, image, access)?;
        let asker = Asker { client: &client, hop, image };
        let proof = self.ask(&asker, access, wanted).await;
        proof.map_err(|(cause, evidence)| match cause {
            // Where it answers without a challenge, as 403 does, no client shows what it has.
            Cause::CredentialsMissing if access.credential.is_some() => (
                Cause::AccessDenied,
                format!("{evidence}; it asks for no credentials, so that none are shown"),
            ),
            cause => (cause, evidence),
        })
    }

    async fn ask(&self, asker: &Asker<'_>, access: &Access, wanted: Wanted) -> Result<Proof, Failed> {
        match wanted {
            Wanted::Registry => asker.ping().await.map(|()| Proof::default()),
            Wanted::Image => {
                let proof = asker.image(&self.platform).await?;
                self.password(asker.client, asker.hop, access).await.map(|()| proof)
            }
        }
    }

    /// Checks what a pull does not show: whether a Harbor takes the password. Once a host and password.
    async fn password(&self, client: &RegistryClient, hop: &PullHop, access: &Access) -> Result<(), Failed> {
        let Some(credential @ Credential::Password { .. }) = &access.credential else { return Ok(()) };
        let known = (hop.host.clone(), credential.id());
        if self.passwords.lock().unwrap_or_else(PoisonError::into_inner).contains(&known) {
            return Ok(());
        }
        // The image was served: other failures of this question are no failure of the host.
        if let Ok(Some(false)) = client.harbor_takes_password().await {
            let evidence = "Harbor rejects the username and password at /v2/ (401); the project is public, and served \
                            the image without them";
            return Err((Cause::CredentialsRejected, evidence.to_owned()));
        }
        self.passwords.lock().unwrap_or_else(PoisonError::into_inner).insert(known);
        Ok(())
    }
}

/// The requests for one image of one host.
struct Asker<'a> {
    client: &'a RegistryClient,
    hop: &'a PullHop,
    image: &'a Reference,
}

impl Asker<'_> {
    fn request<'a>(&'a self, method: Method, what: &'a str) -> RegistryRequest<'a> {
        request(self.hop, self.image, method, what)
    }

    async fn ping(&self) -> Result<(), Failed> {
        self.client.login().await.map(drop).map_err(|error| failed(&error))
    }

    async fn image(&self, platform: &Platform) -> Result<Proof, Failed> {
        let mut proof = Proof::default();
        let name = format!("manifests/{}", self.image.manifest());
        let head = self.client.send(&self.request(Method::Head, &name).accepting(ACCEPT)).await;
        let named = match head {
            Ok(head) => {
                proof.quota = Quota::parse(head.header(LIMIT), head.header(REMAINING));
                proof.cache = cache_words(&head);
                is_manifest(&head)?;
                head.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok())
            }
            // An answer to HEAD has no body: what is wrong stands in that to a GET.
            Err(ClientError {
                cause:
                    RequestError::NotFound(_)
                    | RequestError::Denied { .. }
                    // containerd repeats as GET what may not be asked by HEAD.
                    | RequestError::Status { status: 405, .. },
                ..
            }) => None,
            Err(error @ ClientError { cause: RequestError::Status { .. }, .. }) => {
                let (cause, evidence) = failed(&error);
                // The answer to HEAD counts; that to a GET may say more of the same.
                return Err(match self.manifest(None).await {
                    Err((same, said)) if same == cause => (same, said),
                    Ok(_) | Err(_) => (cause, evidence),
                });
            }
            Err(error) => return Err(failed(&error)),
        };
        // Where the answer does not say the digest, the bytes do; that GET counts as a pull on Docker Hub.
        let (digest, manifest) = self.manifest(named.as_ref()).await?;
        let manifest = match &manifest.content {
            Content::Image { .. } => manifest,
            Content::Index(children) => {
                let suits = |child: &&crate::oci::Descriptor| {
                    child.platform.as_ref().is_some_and(|own| own.suits(platform))
                };
                let Some(child) = children.iter().find(suits).or_else(|| children.first()) else {
                    return Err((Cause::AnswerInvalid, "the index of the image is empty".to_owned()));
                };
                self.manifest(Some(&child.digest)).await?.1
            }
        };
        self.blob(&manifest).await?;
        proof.signatures = self.signatures(&digest).await;
        Ok(proof)
    }

    /// Gets a manifest by its digest, or by the image's name where none is known.
    async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Manifest), Failed> {
        let name = match (digest, self.image.manifest()) {
            (Some(digest), _) => format!("manifests/{digest}"),
            (None, reference) => format!("manifests/{reference}"),
        };
        let answer = self.client.send(&self.request(Method::Get, &name).accepting(ACCEPT)).await;
        let answer = answer.map_err(|error| failed(&error))?;
        is_manifest(&answer)?;
        let media_type = answer.header(CONTENT_TYPE).map(str::to_owned);
        let bytes = answer.bytes(MAX_MANIFEST_SIZE).await.map_err(|error| failed(&error))?;
        let algorithm = digest.map_or(Algorithm::Sha256, Digest::algorithm);
        let found = digest_of(algorithm, &bytes);
        if let Some(wanted) = digest.filter(|wanted| **wanted != found) {
            let evidence = format!("the manifest has the digest {found}, not {wanted}");
            return Err((Cause::BlobDamaged, evidence));
        }
        let manifest = Manifest::parse(&bytes, media_type.as_deref());
        let manifest = manifest.map_err(|error| match bytes.trim_ascii_start().first() {
            Some(b'<') => (Cause::WebPage, "what came as a manifest is a web page".to_owned()),
            Some(_) | None => (Cause::AnswerInvalid, error.to_string()),
        })?;
        Ok((found, manifest))
    }

    /// Asks for the first bytes of the smallest layer; a HEAD of it may say that it is not there, as Harbor's does of
    /// what it has yet to fetch, when a GET gives it.
    async fn blob(&self, manifest: &Manifest) -> Result<(), Failed> {
        let Content::Image { layers, config } = &manifest.content else { return Ok(()) };
        let Some(layer) = layers.iter().filter(|layer| layer.urls.is_empty()).min_by_key(|layer| layer.size)
        else {
            return Ok(());
        };
        for (what, blob) in [("the configuration", config), ("a layer", layer)] {
            let name = format!("blobs/{}", blob.digest);
            let range = Range::Between(0, FIRST_BYTES.min(blob.size.max(1)) - 1);
            let answer = self.client.send(&self.request(Method::Get, &name).part(range, None)).await;
            let answer = match answer {
                Err(ClientError { cause: RequestError::NotFound(_), .. }) => {
                    return Err((Cause::BlobMissing, format!("{what} ({}) is not there (404)", blob.digest)));
                }
                answer => answer.map_err(|error| failed(&error))?,
            };
            if answer.status() == 200 && answer.content_length().is_some_and(|length| length != blob.size) {
                let length = answer.content_length().unwrap_or_default();
                let evidence = format!("{what} has {length} bytes, not {}", blob.size);
                return Err((Cause::BlobDamaged, evidence));
            }
            // A whole body is not read: that it begins is enough.
            if answer.status() == 206 {
                let limit = usize::try_from(FIRST_BYTES).unwrap_or(usize::MAX);
                answer.bytes(limit).await.map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    /// Looks for signatures in the three places that Talos looks at; what fails counts as not there.
    async fn signatures(&self, digest: &Digest) -> Signatures {
        let mut found = Signatures::default();
        let referrers = format!("referrers/{digest}");
        let request = self
            .request(Method::Get, &referrers)
            .with_query("artifactType", super::signatures::BUNDLE)
            .accepting(ManifestKind::OciIndex.media_type());
        if let Ok(answer) = self.client.send(&request).await
            && let Ok(bytes) = answer.bytes(MAX_MANIFEST_SIZE).await
        {
            found.referrers = lists_bundle(&bytes);
        }
        let [fallback, sig] = tags_of(digest);
        for (tag, there) in [(fallback, &mut found.fallback_tag), (sig, &mut found.sig_tag)] {
            let name = format!("manifests/{tag}");
            let answer = self.client.send(&self.request(Method::Head, &name).accepting(ACCEPT)).await;
            *there = answer.is_ok_and(|answer| is_manifest(&answer).is_ok());
        }
        found
    }
}

/// Returns what a cache says of its answer.
fn cache_words(answer: &Answer) -> Option<String> {
    let words = CACHE_WORDS.into_iter().filter_map(|name| {
        let word: String = answer.header(name)?.chars().take(200).collect();
        let text = word.split_once('"').and_then(|(_, text)| text.strip_suffix('"'));
        Some(text.map_or_else(|| format!("X-Cache: {word}"), str::to_owned))
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Refuses a 200 that is a web page.
fn is_manifest(answer: &Answer) -> Result<(), Failed> {
    let media_type = answer.header(CONTENT_TYPE).unwrap_or_default();
    if ManifestKind::of(media_type).is_some() {
        return Ok(());
    }
    let essence = crate::oci::essence(media_type);
    // Some registries answer HEAD without a type, or with JSON's.
    if matches!(essence, "" | "application/json" | "application/octet-stream") {
        return Ok(());
    }
    Err((Cause::WebPage, format!("it answers {} with `{essence}`", answer.status())))
}

fn failed(error: &ClientError) -> Failed {
    (classify(error), error.cause.to_string())
}
