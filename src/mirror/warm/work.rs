use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::platforms::Platforms;
use crate::mirror::cause::Cause;

/// Why an image was not warmed.
pub(super) type Failed = (Cause, String);

/// What is fetched of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Manifests and layers.
    Blobs,
    /// Manifests only: the mirror fetches the layers by itself, and is asked until it has them.
    Manifests,
}

/// Layers that were fetched before, and where those that are fetched now are noted.
pub trait Completed: Send + Sync + std::fmt::Debug {
    /// Returns whether something was fetched.
    fn has(&self, key: &str) -> bool;
    /// Notes that something was fetched.
    fn add(&self, key: &str);
}

/// Which images a blob is fetched for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All of the host: it stores a blob once.
    Host,
    /// Those of the same repository: a host may store the blobs of each by themselves.
    Repository,
}

/// The one fetch of a blob that images share; a failure is kept where each of them would meet the same.
pub(super) type Shared = Arc<OnceCell<Result<(), Failed>>>;

/// What all pulls of one run share.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) mode: Mode,
    pub(super) platforms: Platforms,
    pub(super) completed: Box<dyn Completed>,
    blobs: Mutex<HashMap<String, Shared>>,
}

impl Work {
    pub(super) fn new(mode: Mode, platforms: Platforms, completed: Box<dyn Completed>) -> Self {
        Self { mode, platforms, completed, blobs: Mutex::default() }
    }

    /// Returns the fetch of a blob, by where it is and its digest.
    pub(super) fn shared(&self, key: &str) -> Shared {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(blobs.entry(key.to_owned()).or_default())
    }
}
