use crate::image::{Algorithm, Digest, RegistryHost};
use crate::oci::digest_of;

/// The name of what an unfinished download leaves: what it is of, and the registry that gave it.
///
/// What one registry gave is not finished with what another one gives: it could be private.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartialKey(String);

impl PartialKey {
    /// Names what is left of a download from a registry.
    pub fn new(digest: &Digest, registry: &RegistryHost) -> Self {
        let registry = digest_of(Algorithm::Sha256, registry.as_str().as_bytes());
        let short = registry.hex().get(..16).unwrap_or_default().to_owned();
        Self(format!("{}-{}-{short}", digest.algorithm().as_str(), digest.hex()))
    }

    /// Takes the name back from that of a file.
    pub(super) fn of_file(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}
