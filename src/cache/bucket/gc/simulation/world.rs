//! The bucket, the clock, and the requests that are under way.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::mark::Unit;
use super::super::place::{Body, Created, Failed, Listed, Part, Place};
use super::super::snapshot::{Entry, Links, Stored};
use crate::cache::store::{Kind, Object};
use crate::image::Digest;

/// Random numbers that a seed decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
}

pub(super) const IMAGES: usize = 4;
pub(super) const TAGS: usize = 2;

pub(super) fn manifest(image: usize) -> Digest {
    Digest::sha256([100 + u8::try_from(image).unwrap(); 32])
}

pub(super) fn blobs(image: usize) -> Vec<Object> {
    [image, image + 1].map(|n| Object::blob(Digest::sha256([u8::try_from(n).unwrap(); 32]))).to_vec()
}

pub(super) fn closure(image: usize) -> Vec<Object> {
    let mut all = blobs(image);
    all.push(Object::manifest(manifest(image)));
    all
}

/// What a replica relies on since it has pulled, until the tag is something else.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) actor: usize,
    pub(super) tag: usize,
    pub(super) image: usize,
    pub(super) objects: BTreeSet<Object>,
    /// What the tag is is still to be written.
    pub(super) is_pending: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<Object, u64>,
    pub(super) grants: BTreeMap<Object, u64>,
    pub(super) tags: BTreeMap<String, (usize, usize, u64)>,
    pub(super) collections: BTreeMap<(u64, Part), (u64, Vec<Unit>)>,
    /// When collections were begun.
    pub(super) begun: BTreeMap<u64, u64>,
    /// Collections that came to their end, and were not given up.
    pub(super) whole: BTreeSet<u64>,
    pub(super) now: u64,
    pub(super) written: u64,
    pub(super) promises: Vec<Promise>,
    pub(super) log: Vec<String>,
    /// By which some removals fail.
    pub(super) flaky: Dice,
    /// None fails any more.
    pub(super) is_reliable: bool,
}

impl Store {
    /// Removes something, or fails; what has failed may have been done all the same.
    fn remove(&mut self, remove: impl FnOnce(&mut Self)) -> Result<(), Failed> {
        let outcome = if self.is_reliable { 2 } else { self.flaky.roll(8) };
        if outcome != 0 {
            remove(self);
        }
        if outcome <= 1 { Err(Failed("it was not to be".to_owned())) } else { Ok(()) }
    }
}

pub(super) type Apply = Box<dyn FnOnce(&mut Store) + Send>;

pub(super) enum Kindly {
    /// A request, which ends by a time.
    Request(Apply),
    /// A wait until a time.
    Sleep(Apply),
}

pub(super) struct Pending {
    pub(super) actor: usize,
    pub(super) time: u64,
    pub(super) what: Kindly,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) store: Store,
    pub(super) pending: Vec<Pending>,
}

/// What one actor sees of the world.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) actor: usize,
    pub(super) within: u64,
}

pub(super) type Slot<T> = Arc<Mutex<Option<T>>>;

pub(super) struct Op<T>(Slot<T>);

impl<T> Future for Op<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.0.lock().unwrap().take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Site {
    pub(super) fn ask<T: Send + 'static>(&self, run: impl FnOnce(&mut Store) -> T + Send + 'static) -> Op<T> {
        let slot: Slot<T> = Arc::default();
        let own = Arc::clone(&slot);
        let mut world = self.world.lock().unwrap();
        let time = world.store.now + self.within;
        let apply: Apply = Box::new(move |store| *own.lock().unwrap() = Some(run(store)));
        world.pending.push(Pending { actor: self.actor, time, what: Kindly::Request(apply) });
        Op(slot)
    }

    pub(super) fn with<T>(&self, run: impl FnOnce(&mut Store) -> T) -> T {
        run(&mut self.world.lock().unwrap().store)
    }
}

impl Place for Site {
    fn moment(&self) -> Duration {
        Duration::from_secs(self.with(|store| store.now))
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        let slot: Slot<()> = Arc::default();
        let own = Arc::clone(&slot);
        let mut world = self.world.lock().unwrap();
        let time = world.store.now + time.as_secs();
        let apply: Apply = Box::new(move |_| *own.lock().unwrap() = Some(()));
        world.pending.push(Pending { actor: self.actor, time, what: Kindly::Sleep(apply) });
        Op(slot)
    }

    async fn collections(&self) -> Result<Vec<Listed>, Failed> {
        let list = |store: &mut Store| {
            let all = store.collections.iter();
            all.map(|((number, part), (written, _))| Listed {
                number: *number,
                part: *part,
                written: *written,
            })
            .collect()
        };
        Ok(self.ask(list).await)
    }

    async fn clock(&self) -> Result<u64, Failed> {
        Ok(self.ask(|store| store.now).await)
    }

    async fn create(&self, number: u64, part: Part, body: Body) -> Result<Created, Failed> {
        let is_end = matches!(body, Body::Ended(_));
        let units = if let Body::Condemned(units) = body { units } else { Vec::new() };
        let create = move |store: &mut Store| {
            if store.collections.contains_key(&(number, part)) {
                return Created::Existed;
            }
            store.log.push(format!("{} collection {number} {part:?} {units:?}", store.now));
            store.collections.insert((number, part), (store.now, units));
            if is_end {
                store.whole.insert(number);
            }
            if part == Part::Claim {
                store.begun.insert(number, store.now);
            }
            Created::Yes
        };
        Ok(self.ask(create).await)
    }

    async fn beat(&self, number: u64) -> Result<(), Failed> {
        self.ask(move |store| {
            store.collections.insert((number, Part::Beat), (store.now, Vec::new()));
        })
        .await;
        Ok(())
    }

    async fn condemned(&self, number: u64) -> Result<Option<HashSet<Unit>>, Failed> {
        let read = move |store: &mut Store| {
            store
                .collections
                .get(&(number, Part::Condemned))
                .map(|(_, units)| units.iter().cloned().collect())
        };
        Ok(self.ask(read).await)
    }

    async fn tags(&self, each: impl FnMut(Entry) + Send) -> Result<(), Failed> {
        let list = |store: &mut Store| {
            let all = store.tags.iter();
            let all = all.map(|(key, (_, image, written))| Entry {
                tag: key.find('/').unwrap(),
                key: key.clone().into(),
                what: Some(manifest(*image)),
                written: *written,
            });
            all.collect::<Vec<_>>()
        };
        self.ask(list).await.into_iter().for_each(each);
        Ok(())
    }

    async fn objects(&self, kind: Kind, mut each: impl FnMut(Object, Stored) + Send) -> Result<(), Failed> {
        let list = move |store: &mut Store| {
            let all = store.objects.iter().filter(|(object, _)| object.kind == kind);
            all.map(|(object, written)| (*object, *written)).collect::<Vec<_>>()
        };
        for (object, written) in self.ask(list).await {
            each(object, Stored { bytes: 1, written });
        }
        Ok(())
    }

    async fn grants(&self, mut each: impl FnMut(Object, String, u64) + Send) -> Result<(), Failed> {
        let all = self.ask(|store| store.grants.clone()).await;
        for (object, written) in all {
            each(object, object.digest.to_string(), written);
        }
        Ok(())
    }

    async fn is_there(&self, object: Object) -> Result<bool, Failed> {
        Ok(self.ask(move |store| store.objects.contains_key(&object)).await)
    }

    async fn think<T: Send + 'static>(&self, run: impl FnOnce() -> T + Send + 'static) -> T {
        run()
    }

    async fn links(&self, digest: Digest) -> Result<Option<Links>, Failed> {
        let read = move |store: &mut Store| {
            store.objects.get(&Object::manifest(digest))?;
            let image = (0..IMAGES).find(|image| manifest(*image) == digest)?;
            Some(Links { refers: blobs(image), subject: None })
        };
        Ok(self.ask(read).await)
    }

    async fn remove(&self, object: Object) -> Result<(), Failed> {
        let remove = move |store: &mut Store| {
            store.log.push(format!("{} removed {object:?}", store.now));
            store.objects.remove(&object);
        };
        self.ask(move |store| store.remove(remove)).await
    }

    async fn remove_part(&self, number: u64, part: Part) -> Result<(), Failed> {
        self.ask(move |store| drop(store.collections.remove(&(number, part)))).await;
        Ok(())
    }

    async fn remove_key(&self, key: String) -> Result<(), Failed> {
        let remove = move |store: &mut Store| {
            store.log.push(format!("{} removed {key}", store.now));
            if let Some((tag, ..)) = store.tags.remove(&key)
                && !store.tags.values().any(|entry| entry.0 == tag)
            {
                // Whoever has it removed has let go of what others had written before.
                store.promises.retain(|one| one.tag != tag || one.is_pending);
            }
            store.grants.retain(|object, _| object.digest.to_string() != key);
        };
        self.ask(move |store| store.remove(remove)).await
    }
}
