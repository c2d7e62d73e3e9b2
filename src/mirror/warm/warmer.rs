use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HeaderName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::platforms::Platforms;
use super::pull::{Pull, Warmed, failed};
use super::work::{Completed, Mode, Sharing, Work};
use crate::image::Reference;
use crate::mirror::cause::Cause;
use crate::mirror::clients::{ACCEPT, Access, Clients, request};
use crate::mirror::hops::PullHop;
use crate::oci::{HttpSettings, Method, Quota};

/// Pulls images through mirrors.
#[derive(Debug)]
pub struct Warmer {
    clients: Clients,
    work: Work,
    /// How many images of one registry at one host at once.
    parallel: usize,
    slots: Mutex<HashMap<(String, String), Arc<Semaphore>>>,
}

/// The right to pull an image; it ends when this is dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "is held")] Option<OwnedSemaphorePermit>);

impl Warmer {
    /// Makes a warmer of so many images of one registry at once.
    pub fn new(
        settings: HttpSettings,
        mode: Mode,
        platforms: Platforms,
        parallel: usize,
        completed: Box<dyn Completed>,
    ) -> Self {
        Self {
            clients: Clients::new(settings),
            work: Work::new(mode, platforms, completed),
            parallel: parallel.max(1),
            slots: Mutex::default(),
        }
    }

    /// Waits while as many images of a registry are under way at a host as may be at once.
    pub async fn slot(&self, hop: &PullHop, image: &Reference) -> Slot {
        let slots = {
            let mut all = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.parallel));
            Arc::clone(all.entry((hop.host.clone(), image.registry().to_owned())).or_insert_with(new))
        };
        // The semaphore is never closed.
        Slot(slots.acquire_owned().await.ok())
    }

    /// Pulls an image through a host; `progress` gets the numbers of bytes as they come.
    pub async fn warm(
        &self,
        _slot: &Slot,
        hop: &PullHop,
        image: &Reference,
        access: &Access,
        sharing: Sharing,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Warmed, (Cause, String)> {
        let client = self.clients.client(hop, image, access)?;
        Pull::new(&self.work, client, hop, image, sharing, progress).run().await
    }

    /// Asks a host how many pulls are left: a HEAD, which Docker Hub does not count. [`None`]: it does not say.
    pub async fn pulls_left(
        &self,
        hop: &PullHop,
        image: &Reference,
        access: &Access,
    ) -> Result<Option<u64>, (Cause, String)> {
        let client = self.clients.client(hop, image, access)?;
        let what = format!("manifests/{}", image.manifest());
        let answer = client.send(&request(hop, image, Method::Head, &what).accepting(ACCEPT)).await;
        let answer = answer.map_err(|error| failed(&error))?;
        let header = |name| answer.header(HeaderName::from_static(name));
        let quota = Quota::parse(header("ratelimit-limit"), header("ratelimit-remaining"));
        Ok(quota.map(|quota| quota.remaining))
    }
}
