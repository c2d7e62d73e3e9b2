use crate::registries::Registries;

/// Registries in two parts: what anyone may read, and what holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Mirrors, and TLS without a client's key.
    pub open: Registries,
    /// Credentials, and TLS with a client's key.
    pub secret: Registries,
}

impl Parts {
    /// Keeps registries whole, for a single patch that may be read by those who may read its secrets.
    pub fn whole(registries: Registries) -> Self {
        Self { open: registries, secret: Registries::default() }
    }
}

/// Parts registries, so that the mirrors stay readable when the secrets are encrypted.
pub fn split(registries: Registries) -> Parts {
    let (mut open, mut secret) = (Registries::default(), Registries::default());
    open.mirrors = registries.mirrors;
    secret.auth = registries.auth;
    let (keyed, keyless) = registries.tls.into_iter().partition(|(_, tls)| tls.client_identity.is_some());
    secret.tls = keyed;
    open.tls = keyless;
    Parts { open, secret }
}
