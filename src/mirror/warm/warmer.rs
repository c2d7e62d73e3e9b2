use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HeaderName;
use tokio::sync::Semaphore;

use super::platforms::Platforms;
use super::pull::{Pull, Warmed, failed};
use super::work::{Completed, Mode, Work};
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

    /// Pulls an image through a host; `progress` gets the numbers of bytes as they come.
    ///
    /// Waits while as many images of its registry are under way as may be at once.
    pub async fn warm(
        &self,
        hop: &PullHop,
        image: &Reference,
        access: &Access,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Warmed, (Cause, String)> {
        let slots = {
            let mut all = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.parallel));
            Arc::clone(all.entry((hop.host.clone(), image.registry().to_owned())).or_insert_with(new))
        };
        // The semaphore is never closed.
        let _slot = slots.acquire().await;
        let client = self.clients.client(hop, image, access)?;
        Pull::new(&self.work, client, hop, image, progress).run().await
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
