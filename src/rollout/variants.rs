use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::state_machine::{Persisted, Variant};
use crate::finding::Problems;
use crate::image::api_host;
use crate::machineconfig::{Form, MachineConfig, ReplaceError, TlsIn, Unlisted};
use crate::registries::{Registries, TalosVersion};
use crate::secret::Secret;
use crate::talos::ConfigResource;

/// The SHA-256 of a machine config, in hexadecimal.
///
/// A machine config holds keys of its own making, so that its digest tells nothing about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigDigest(String);

impl ConfigDigest {
    /// Takes the digest of a text.
    pub fn of(text: &Secret<String>) -> Self {
        let mut out = String::with_capacity(64);
        for byte in Sha256::digest(text.expose().as_bytes()) {
            let _ = write!(out, "{byte:02x}");
        }
        Self(out)
    }

    /// Takes over a digest that a journal holds.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The configs that a node may have while it is worked on, by their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantDigests {
    /// The original.
    pub original: ConfigDigest,
    /// The strict variant, where there is one.
    pub strict: Option<ConfigDigest>,
    /// The one that the inventory gives.
    pub desired: ConfigDigest,
}

impl VariantDigests {
    /// Finds out which of them a text is.
    pub fn which(&self, text: &Secret<String>) -> Variant {
        let digest = ConfigDigest::of(text);
        if digest == self.original {
            Variant::Original
        } else if digest == self.desired {
            Variant::Desired
        } else if self.strict.as_ref() == Some(&digest) {
            Variant::Strict
        } else {
            Variant::Foreign
        }
    }

    /// Finds out which of them a node has on disk: before Talos 1.10 it does not say.
    pub fn on_disk(&self, persistent: Option<&ConfigResource>, version: &TalosVersion) -> Persisted {
        match persistent {
            Some(persistent) => Persisted::Is(self.which(&persistent.text)),
            None if version.has_persistent_config() => Persisted::Unset,
            None => Persisted::Hidden,
        }
    }
}

/// The configs of a node, whole.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The original.
    pub original: Secret<String>,
    /// Whether the original is the strict variant of the desired one.
    pub is_strict: bool,
    /// The strict variant, where it is another than the original and the desired one.
    pub strict: Option<Secret<String>>,
    /// The one that the inventory gives.
    pub desired: Secret<String>,
}

/// Whether mirrors have to prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// On a variant of the config that has no way around them.
    Strict,
    /// They need not.
    None,
}

/// Why a node's config cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not valid YAML.
    #[error("its machine config cannot be read: {0}")]
    Parse(String),
    /// Its registries cannot be replaced in place.
    #[error("its machine config cannot be edited")]
    Replace(#[from] ReplaceError),
}

impl Variants {
    /// Writes wanted registries into a node's config; every other byte stays.
    pub fn of(
        original: &Secret<String>,
        wanted: &Registries,
        version: &TalosVersion,
        proof: Proof,
    ) -> Result<Self, ConfigError> {
        let config = MachineConfig::parse(original.expose());
        let config = config.map_err(|error| ConfigError::Parse(error.to_string()))?;
        let write = |registries: &Registries| -> Result<Secret<String>, ConfigError> {
            Ok(Secret::new(config.replace(registries, form(version), Unlisted::Drop)?.text))
        };
        let written = write(wanted)?;
        let strict = match proof {
            Proof::Strict => Some(write(&strict(wanted, version))?).filter(|strict| *strict != written),
            Proof::None => None,
        };
        // Each has a digest of its own, by which it is known again.
        let is_strict = strict.as_ref() == Some(original);
        let strict = strict.filter(|_| !is_strict);
        Ok(Self { original: original.clone(), is_strict, strict, desired: written })
    }

    /// Returns the digests.
    pub fn known(&self) -> VariantDigests {
        VariantDigests {
            original: ConfigDigest::of(&self.original),
            strict: self.strict.as_ref().map(ConfigDigest::of),
            desired: ConfigDigest::of(&self.desired),
        }
    }
}

/// Returns the schema that registries are written in on a version of Talos.
pub fn form(version: &TalosVersion) -> Form {
    if !version.has_documents() {
        return Form::Legacy;
    }
    let tls = if version.has_safe_tls_documents() { TlsIn::Documents } else { TlsIn::Legacy };
    Form::Documents { tls }
}

/// Returns registries from which no pull gets around the mirrors: no fallback, and no upstream among the endpoints.
///
/// A registry that is mirrored to itself only stays as it is. Before Talos 1.9 there is no `skipFallback`, and Talos' own
/// puller, which serves pulls over the API, has no fallback either.
pub fn strict(wanted: &Registries, version: &TalosVersion) -> Registries {
    let mut out = wanted.clone();
    for (name, mirror) in &mut out.mirrors {
        let upstream = api_host(name);
        let mut endpoints = mirror.endpoints.clone();
        endpoints.retain(|endpoint| endpoint.host() != upstream);
        if endpoints.is_empty() {
            continue;
        }
        mirror.endpoints = endpoints;
        mirror.skip_fallback |= version.has_skip_fallback();
    }
    out
}

/// Returns the registries of a config that Talos has taken, so that what is wrong with them is of no interest.
pub fn registries_of(text: &Secret<String>) -> Registries {
    let text = text.expose();
    MachineConfig::parse(text)
        .map(|config| config.registries(&mut Problems::new("", text)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::{Endpoint, Mirror};

    fn wanted(skip: bool) -> Registries {
        let mirror = |urls: &[&str]| Mirror {
            endpoints: urls.iter().map(|url| Endpoint::new(*url, true)).collect(),
            skip_fallback: skip,
        };
        let mut out = Registries::default();
        out.mirrors
            .insert("docker.io".to_owned(), mirror(&["https://h/v2/hub", "https://registry-1.docker.io/v2"]));
        out.mirrors.insert("ghcr.io".to_owned(), mirror(&["https://ghcr.io/v2"]));
        out
    }

    #[test]
    fn the_strict_variant_has_no_way_around_the_mirrors() {
        let strict = strict(&wanted(false), &TalosVersion::minor(1, 13));
        let hub = &strict.mirrors["docker.io"];
        assert_eq!((hub.endpoints.len(), hub.skip_fallback), (1, true));
        assert_eq!(strict.mirrors["ghcr.io"], wanted(false).mirrors["ghcr.io"]);
        let old = super::strict(&wanted(false), &TalosVersion::minor(1, 8));
        assert!(!old.mirrors["docker.io"].skip_fallback && old.mirrors["docker.io"].endpoints.len() == 1);
    }

    /// The desired config is committed from the strict one's trial: it has nothing else that is new to the node.
    #[test]
    fn the_desired_config_only_adds_ways() {
        let mut wanted = wanted(false);
        let auth = crate::registries::Auth { username: Some("u".to_owned()), ..Default::default() };
        wanted.auth.extend(["h", "registry-1.docker.io"].map(|host| (host.to_owned(), auth.clone())));
        for version in [8, 9, 11, 12, 13, 14].map(|minor| TalosVersion::minor(1, minor)) {
            let strict = strict(&wanted, &version);
            assert_eq!((&strict.auth, &strict.tls), (&wanted.auth, &wanted.tls));
            assert!(strict.mirrors.keys().eq(wanted.mirrors.keys()));
            for (name, mirror) in &strict.mirrors {
                let own = &wanted.mirrors[name];
                let added = own.endpoints.iter().filter(|endpoint| !mirror.endpoints.contains(endpoint));
                assert!(added.into_iter().all(|endpoint| endpoint.host() == api_host(name)), "{name}");
                let kept = own.endpoints.iter().filter(|endpoint| mirror.endpoints.contains(endpoint));
                assert!(
                    mirror.endpoints.iter().eq(kept) && mirror.skip_fallback >= own.skip_fallback,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_config_is_known_by_its_bytes() {
        let before = Secret::from("version: v1alpha1\nmachine:\n    type: worker # a comment\n");
        let version = TalosVersion::minor(1, 13);
        let configs = Variants::of(&before, &wanted(false), &version, Proof::Strict).unwrap();
        let known = configs.known();
        assert_eq!(known.which(&before), Variant::Original);
        assert_eq!(known.which(&configs.desired), Variant::Desired);
        assert_eq!(known.which(configs.strict.as_ref().unwrap()), Variant::Strict);
        assert_eq!(known.which(&"machine: {}\n".into()), Variant::Foreign);
        assert!(configs.desired.expose().contains("# a comment\n---\n"));
        assert_eq!(known.on_disk(None, &version), Persisted::Unset);
        assert_eq!(known.on_disk(None, &TalosVersion::minor(1, 9)), Persisted::Hidden);
        // Back from no fallback to one: the original is the strict variant, and known as the original.
        let back =
            Variants::of(configs.strict.as_ref().unwrap(), &wanted(false), &version, Proof::Strict).unwrap();
        assert!(back.is_strict && back.strict.is_none() && !configs.is_strict);
        let known = back.known();
        assert_eq!(known.which(&back.original), Variant::Original);
        assert_eq!(known.which(&back.desired), Variant::Desired);
        // Where nothing is left to take away, one trial is enough.
        let mut own = wanted(true);
        own.mirrors.remove("docker.io");
        assert!(Variants::of(&before, &own, &version, Proof::Strict).unwrap().strict.is_none());
    }
}
