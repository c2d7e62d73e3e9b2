use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gc::{Failed, Forget, Place as _, Unit, links, look, ready};
use super::known::Known;
use super::pending::Pending;
use super::probe::is_conditional;
use super::shared_bucket::{Inner, Phase};
use crate::cache::memory::locked;
use crate::cache::store::{Document, Kind, Object};
use crate::image::Digest;

/// For how long what is known is kept fresh after the bucket was used last.
const USED_FOR: Duration = Duration::from_mins(10);

/// What a cache knows of the bucket, and the rules by which it may rely on that while others collect what is not needed:
/// see `gc`.
impl Inner {
    /// Returns whether a blob or a manifest is known to be there.
    pub(super) fn is_known(&self, object: &Object) -> bool {
        locked(&self.known).has(object)
    }

    /// Returns whether it is known to be noted by this key that a repository has something.
    pub(super) fn is_granted(&self, object: &Object, key: &str) -> bool {
        locked(&self.known).has_grant(object, key)
    }

    /// Returns a mark, which is to be had before the store is asked for something.
    pub(super) fn mark(&self) -> u64 {
        locked(&self.view).mark()
    }

    /// Takes note of what the store said, which was asked at a mark, if that may be believed; returns whether it may.
    pub(super) fn believe(&self, object: Object, mark: u64, note: impl FnOnce(&mut Known)) -> bool {
        self.is_used_now();
        // Held meanwhile: nothing is to be forgotten between the question and the note.
        let view = locked(&self.view);
        let may = view.may_believe(&Unit::Object(object), mark, self.place.moment(), &self.timing);
        if may {
            note(&mut locked(&self.known));
        }
        may
    }

    fn forget(&self, what: Forget<'_>) {
        let mut known = locked(&self.known);
        match what {
            Forget::All => known.clear(),
            Forget::These(units) => {
                for unit in units {
                    if let Unit::Object(object) = unit {
                        known.forget(object);
                    }
                }
            }
        }
    }

    /// Sees to it that what is known can be relied on; returns by when what relies on it has to be done.
    pub(super) async fn ready(&self) -> Result<Duration, Failed> {
        self.is_used_now();
        let _one = self.looks.lock().await;
        ready(&self.place, &self.view, &self.timing, |what| self.forget(what)).await
    }

    /// Looks for collections, if what was seen of them would soon be old and is of use to somebody.
    pub(super) async fn look_again(&self) -> Result<(), Failed> {
        let _one = self.looks.lock().await;
        let now = self.place.moment();
        let used_at = Duration::from_secs(self.used_at.load(Ordering::Relaxed));
        let is_of_use = now.saturating_sub(used_at) < USED_FOR || locked(&self.queue).aside() > 0;
        let until = locked(&self.view).until(&self.timing);
        let is_fresh = until.is_some_and(|until| now + self.timing.fresh / 2 < until);
        if is_of_use && !is_fresh {
            look(&self.place, &self.view, &self.timing, |what| self.forget(what)).await?;
        }
        Ok(())
    }

    fn is_used_now(&self) {
        self.used_at.store(self.place.moment().as_secs(), Ordering::Relaxed);
    }

    /// Returns whether the store looks at the conditions of writes.
    pub(super) fn is_conditional(&self) -> bool {
        matches!(&*locked(&self.phase), Phase::Used(probed) if probed.is_conditional == Some(true))
    }

    /// Finds out whether it does, where that could not be found out before.
    pub(super) async fn ask_conditional(&self) {
        let is_unknown =
            matches!(&*locked(&self.phase), Phase::Used(probed) if probed.is_conditional.is_none());
        if !is_unknown {
            return;
        }
        let found = is_conditional(&self.client, &self.keys).await;
        if let Phase::Used(probed) = &mut *locked(&self.phase) {
            probed.is_conditional = found;
        }
    }

    /// Begins to write something; [`None`] where a collection condemns it, so that it is to be written later.
    pub(super) fn begin(&self, unit: &Unit) -> Option<u64> {
        let view = locked(&self.view);
        (!view.is_condemned(unit)).then(|| view.mark())
    }

    /// Returns whether something is condemned by no collection that is under way.
    pub(super) fn may_write(&self, pending: &Pending) -> bool {
        !locked(&self.view).is_condemned(&self.unit(pending))
    }

    /// Returns as part of what something is condemned.
    pub(super) fn unit(&self, pending: &Pending) -> Unit {
        match pending {
            Pending::Object(object) | Pending::Grant(object, _) => Unit::Object(*object),
            Pending::Tag(_) | Pending::Gone(..) => Unit::Tag(self.entry(pending).unwrap_or_default()),
        }
    }

    /// Takes note that something is there that was begun to be written at a mark; returns whether that can be relied on.
    pub(super) async fn settle(
        &self,
        object: Object,
        mark: u64,
        note: impl FnOnce(&mut Known) + Send,
    ) -> Result<bool, Failed> {
        self.ready().await?;
        Ok(self.believe(object, mark, note))
    }

    /// Sees to it that all that is here of an image is known to be there, or is to be written, with who has it.
    pub(super) async fn ensure(&self, manifest: Digest) -> io::Result<()> {
        self.ensure_all(vec![Object::manifest(manifest)]).await
    }

    /// Sees to that for what a manifest refers to.
    pub(super) async fn ensure_below(&self, document: &Document) -> io::Result<()> {
        self.ensure_all(links(document).refers).await
    }

    async fn ensure_all(&self, mut left: Vec<Object>) -> io::Result<()> {
        let mut seen = HashSet::new();
        while let Some(object) = left.pop() {
            if !seen.insert(object) {
                continue;
            }
            // What is not here cannot be written.
            let is_here = match object.kind {
                Kind::Manifest => match self.local.manifest(&object.digest).await? {
                    Some(document) => {
                        left.extend(links(&document).refers);
                        true
                    }
                    None => false,
                },
                Kind::Blob => self.is_known(&object) || self.local.open(&object.digest).await?.is_some(),
            };
            if is_here {
                self.push_needed(Pending::Object(object))?;
                self.ensure_grants(object).await?;
            }
        }
        Ok(())
    }

    /// Has something written on which a reference relies, which is not to be written without it.
    fn push_needed(&self, pending: Pending) -> io::Result<()> {
        if self.push(pending) {
            return Ok(());
        }
        Err(io::Error::other("there is no room for what it refers to, as too much is to be written"))
    }

    /// Sees to it that all that is known here about who has something is known to be there, or is to be written.
    pub(super) async fn ensure_grants(&self, object: Object) -> io::Result<()> {
        for origin in self.local.origins(&object).await? {
            self.push_needed(Pending::Grant(object, origin))?;
        }
        Ok(())
    }
}
