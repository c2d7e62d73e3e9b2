use std::collections::HashSet;
use std::sync::Arc;

use super::collection::CollectionError;
use super::contents::{Contents, Tell};
use super::gc::{Collected, Cycle, Cycled, Limits, Named, Place as _};
use super::key::Audience;
use super::probe::probe;

/// What went of what was named, or would.
#[derive(Clone, Debug, Default)]
pub(in crate::cache) struct Removed {
    /// The beginnings of the keys of tags that went.
    pub(in crate::cache) tags: HashSet<String>,
    /// How many blobs and manifests.
    pub(in crate::cache) objects: usize,
    /// How many bytes they had.
    pub(in crate::cache) bytes: u64,
    /// How much of what is named is younger than a day, and stays.
    pub(in crate::cache) young: usize,
    /// How much could not be removed, each with what it refers to.
    pub(in crate::cache) failed: usize,
    /// Why that is so.
    pub(in crate::cache) trouble: Option<String>,
}

impl Removed {
    fn of(collected: &Collected) -> Self {
        Self {
            objects: collected.manifests + collected.blobs,
            bytes: collected.bytes,
            young: collected.young,
            failed: collected.failed,
            ..Self::default()
        }
    }
}

impl Contents {
    /// Says what of the things that are named would go, and changes nothing.
    pub(in crate::cache) async fn plan_removal(
        &self,
        named: Named,
        tell: Tell<'_>,
    ) -> Result<Removed, CollectionError> {
        tell("lists what is in the bucket".to_owned());
        let removal = self.cycle(named).look().await.map_err(|error| self.failed(error))?;
        let id =
            |key: &String| Audience::ALL.into_iter().find_map(|audience| self.keys.read_tag(audience, key));
        let tags = removal.tags.iter().filter_map(id).collect();
        Ok(Removed { tags, ..Removed::of(&removal.collected) })
    }

    /// Takes away what is named and nothing else needs, by a collection, beside the caches that use the bucket; ends early
    /// when `stop` does.
    pub(in crate::cache) async fn remove(
        &self,
        named: Named,
        stop: impl Future<Output = ()> + Send,
        tell: Tell<'_>,
    ) -> Result<Removed, CollectionError> {
        let (url, failed) =
            (|| self.url.clone(), |why: String| CollectionError::Remove { url: self.url.clone(), why });
        let probed = probe(&self.client, &self.keys).await.map_err(|error| failed(error.to_string()))?;
        if probed.is_conditional == Some(false) {
            return Err(CollectionError::Unconditional(url()));
        }
        let wanted = named.tags.clone();
        let (told, mut seen) = tokio::sync::watch::channel(String::new());
        let cycle =
            self.cycle(named).watched(Arc::new(move |stage| drop(told.send_replace(stage.to_string()))));
        let cycled = {
            let run = cycle.run(stop);
            tokio::pin!(run);
            loop {
                tokio::select! {
                    cycled = &mut run => break cycled,
                    Ok(()) = seen.changed() => tell(seen.borrow_and_update().clone()),
                }
            }
        };
        match cycled.map_err(|error| failed(error.to_string()))? {
            Cycled::UnderWay => Err(CollectionError::UnderWay(url())),
            Cycled::GivenUp => Err(CollectionError::GivenUp(url())),
            Cycled::Stopped => Err(CollectionError::Stopped(url())),
            Cycled::Collected(collected, _, trouble) => {
                let mut tags = wanted;
                let listed = self.place();
                let listed = listed.tags(|entry| {
                    tags.remove(entry.tag());
                });
                listed.await.map_err(|error| self.failed(error))?;
                let trouble = trouble.map(|error| error.to_string());
                Ok(Removed { tags, trouble, ..Removed::of(&collected) })
            }
        }
    }

    fn cycle(&self, named: Named) -> Cycle {
        Cycle::new(&self.client, self.keys.clone(), self.timing, Limits::default()).named(named)
    }
}
