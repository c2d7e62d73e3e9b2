use tokio::sync::watch;

/// Where the bytes of an object come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameFrom {
    /// That is not decided yet, or does not matter.
    Unknown,
    /// From upstream.
    Upstream,
    /// From another cache on the bucket.
    Member,
    /// From the tier behind the store.
    Tier,
}

/// Where the bytes of one download come from now; a copy is the same.
#[derive(Clone, Debug)]
pub struct Provenance(watch::Sender<CameFrom>);

impl Default for Provenance {
    fn default() -> Self {
        Self(watch::Sender::new(CameFrom::Unknown))
    }
}

impl Provenance {
    /// Takes note where they come from now.
    pub fn set(&self, now: CameFrom) {
        self.0.send_replace(now);
    }

    /// Returns where they come from.
    pub fn get(&self) -> CameFrom {
        *self.0.borrow()
    }

    /// Waits until that is decided.
    pub(super) async fn decided(&self) -> CameFrom {
        let mut changes = self.0.subscribe();
        // The sender is ours: the wait cannot fail.
        let decided = changes.wait_for(|now| *now != CameFrom::Unknown).await.map(|now| *now);
        decided.unwrap_or(CameFrom::Unknown)
    }
}
