use std::sync::Arc;

/// Who asks, proved by a password; among the extensions of a request, and of the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Arc<str>);

impl Identity {
    /// Makes one of a user's name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the user's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
