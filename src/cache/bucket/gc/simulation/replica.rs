//! A replica: what it holds and knows, and how it goes by the rules.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::mark::Unit;
use super::super::place::Place;
use super::super::timing::{Rule, Timing};
use super::super::view::{Forget, View, look, ready};
use super::world::{Dice, IMAGES, Promise, Site, TAGS, closure, manifest};
use crate::cache::store::{Kind, Object};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Object(Object),
    Grant(Object),
    Tag(usize, usize),
}

/// What survives a crash.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) local: BTreeSet<Object>,
    pub(super) queue: VecDeque<Todo>,
}

/// What of a key a replica knows.
type Known = Mutex<BTreeSet<(bool, Object)>>;

pub(super) struct Replica {
    pub(super) site: Site,
    pub(super) kept: Arc<Mutex<Kept>>,
    pub(super) timing: Timing,
    pub(super) upstream: Arc<Mutex<[usize; TAGS]>>,
    /// No more pulls: what is left is written.
    pub(super) drains: Arc<Mutex<bool>>,
    pub(super) dice: Dice,
}

fn forget(known: &Known, timing: &Timing, what: Forget<'_>) {
    let mut known = known.lock().unwrap();
    match what {
        _ if !timing.keeps(Rule::Forget) => {}
        Forget::All => known.clear(),
        Forget::These(units) => known.retain(|(_, object)| !units.contains(&Unit::Object(*object))),
    }
}

impl Replica {
    pub(super) async fn run(mut self) {
        let (known, view) = (Known::default(), Mutex::new(View::default()));
        loop {
            let drains = *self.drains.lock().unwrap();
            match self.dice.roll(12) {
                0 | 1 if !drains => self.pull(&known, &view).await,
                2 if !drains => self.evict(),
                3 => {
                    let timing = self.timing;
                    let _ = look(&self.site, &view, &timing, |what| forget(&known, &timing, what)).await;
                }
                4 | 5 => {
                    let time = [1, 5, 30][self.dice.roll(3)];
                    self.site.sleep(Duration::from_secs(time)).await;
                }
                _ if self.kept.lock().unwrap().queue.is_empty() => {
                    self.site.sleep(Duration::from_secs(3)).await;
                }
                _ => self.write(&known, &view).await,
            }
        }
    }

    fn evict(&mut self) {
        let mut kept = self.kept.lock().unwrap();
        let at = self.dice.roll(8);
        if let Some(object) = kept.local.iter().nth(at).copied() {
            kept.local.remove(&object);
        }
    }

    fn push(&self, known: &Known, todo: Todo) {
        let is_known = match todo {
            Todo::Object(object) => known.lock().unwrap().contains(&(false, object)),
            Todo::Grant(object) => known.lock().unwrap().contains(&(true, object)),
            Todo::Tag(..) => false,
        };
        let mut kept = self.kept.lock().unwrap();
        if !is_known && !kept.queue.contains(&todo) {
            kept.queue.push_back(todo);
        }
    }

    /// A client pulls by tag: everything comes from the bucket or upstream, and is kept.
    async fn pull(&mut self, known: &Known, view: &Mutex<View>) {
        let tag = self.dice.roll(TAGS);
        let image = self.upstream.lock().unwrap()[tag];
        for object in closure(image) {
            let is_here = self.kept.lock().unwrap().local.contains(&object);
            if !is_here {
                let mark = view.lock().unwrap().mark();
                let found = self.site.ask(move |store| store.objects.contains_key(&object)).await;
                let is_sure = {
                    let (view, now) = (view.lock().unwrap(), self.site.moment());
                    let is_fresh = view.until(&self.timing).is_some_and(|until| now < until);
                    is_fresh && view.mark() == mark && !view.is_condemned(&Unit::Object(object))
                };
                if found && is_sure {
                    known.lock().unwrap().insert((false, object));
                }
                self.kept.lock().unwrap().local.insert(object);
            }
        }
        let all: BTreeSet<Object> = closure(image).into_iter().collect();
        for object in &all {
            self.push(known, Todo::Object(*object));
            self.push(known, Todo::Grant(*object));
        }
        self.push(known, Todo::Tag(tag, image));
        let actor = self.site.actor;
        self.site.with(|store| {
            store.log.push(format!("{} {actor} pulled {tag} {image}", store.now));
            store.promises.retain(|one| (one.actor, one.tag, one.image) != (actor, tag, image));
            store.promises.push(Promise { actor, tag, image, objects: all, is_pending: true });
        });
    }

    fn cancel(&self, object: Object) {
        let actor = self.site.actor;
        self.site.with(|store| {
            for promise in store.promises.iter_mut().filter(|promise| promise.actor == actor) {
                // Without its manifest nobody knows what the other objects are for.
                if object.kind == Kind::Manifest && object.digest == manifest(promise.image) {
                    promise.objects.clear();
                }
                promise.objects.remove(&object);
            }
        });
    }

    async fn write(&mut self, known: &Known, view: &Mutex<View>) {
        let todo = {
            let kept = self.kept.lock().unwrap();
            let at = self.dice.roll(kept.queue.len());
            kept.queue[at]
        };
        if self.try_write(todo, known, view).await {
            self.kept.lock().unwrap().queue.retain(|other| *other != todo);
        }
    }

    /// Sees to it that what an image refers to is known to be in the bucket, or to be written.
    fn ensure(&self, image: usize, known: &Known) {
        for object in closure(image) {
            // Both are to be known: one may have been written again without the other.
            if [false, true].iter().all(|grant| known.lock().unwrap().contains(&(*grant, object))) {
                continue;
            }
            if self.kept.lock().unwrap().local.contains(&object) {
                self.push(known, Todo::Object(object));
                self.push(known, Todo::Grant(object));
            } else if !known.lock().unwrap().contains(&(false, object)) {
                self.cancel(object);
            }
        }
    }

    /// Writes something under the rules; returns whether it is done.
    async fn try_write(&mut self, todo: Todo, known: &Known, view: &Mutex<View>) -> bool {
        let timing = self.timing;
        let forgets = |what: Forget<'_>| forget(known, &timing, what);
        let Ok(until) = ready(&self.site, view, &timing, forgets).await else { return false };
        let mark = view.lock().unwrap().mark();
        let unit = match todo {
            Todo::Object(object) | Todo::Grant(object) => Unit::Object(object),
            Todo::Tag(_, image) => Unit::Object(Object::manifest(manifest(image))),
        };
        let is_deferred = || view.lock().unwrap().is_condemned(&unit) && timing.keeps(Rule::Defer);
        let is_own = !matches!(todo, Todo::Tag(..));
        if is_own && is_deferred() {
            return false;
        }
        let reference = match todo {
            Todo::Tag(_, image) => Some(image),
            Todo::Object(object) => (0..IMAGES).find(|image| Object::manifest(manifest(*image)) == object),
            Todo::Grant(_) => None,
        };
        if let Some(image) = reference.filter(|_| timing.keeps(Rule::Ensure)) {
            self.ensure(image, known);
        }
        match todo {
            Todo::Object(object) => {
                if !self.kept.lock().unwrap().local.contains(&object) {
                    self.cancel(object);
                    return true;
                }
                self.site
                    .ask(move |store| {
                        let now = store.now;
                        store.objects.entry(object).or_insert(now);
                    })
                    .await;
            }
            Todo::Grant(object) => {
                self.site
                    .ask(move |store| {
                        let now = store.now;
                        store.grants.entry(object).or_insert(now);
                    })
                    .await;
            }
            Todo::Tag(tag, image) => {
                let actor = self.site.actor;
                self.site
                    .ask(move |store| {
                        store.written += 1;
                        let key = format!("{tag}/{:020}-{image}", u64::MAX - store.written);
                        store.log.push(format!("{} {actor} tag {key}", store.now));
                        store.tags.insert(key, (tag, image, store.now));
                        store.promises.retain(|one| one.tag != tag || one.image == image || one.is_pending);
                    })
                    .await;
            }
        }
        if is_own {
            let forgets = |what: Forget<'_>| forget(known, &timing, what);
            if ready(&self.site, view, &timing, forgets).await.is_err()
                || is_deferred()
                || view.lock().unwrap().mark() != mark
            {
                return false;
            }
            match todo {
                Todo::Object(object) => {
                    known.lock().unwrap().insert((false, object));
                    // Its grants may have gone while it was not there.
                    self.push(known, Todo::Grant(object));
                }
                Todo::Grant(object) => drop(known.lock().unwrap().insert((true, object))),
                Todo::Tag(..) => {}
            }
            let actor = self.site.actor;
            self.site.with(|store| store.log.push(format!("{} {actor} done {todo:?}", store.now)));
            return true;
        }
        // A reference that came too late may say what is not so any more.
        let is_done = self.site.moment() <= until;
        if let (true, Todo::Tag(tag, image)) = (is_done, todo) {
            let actor = self.site.actor;
            self.site.with(|store| {
                let own = |one: &&mut Promise| (one.actor, one.tag, one.image) == (actor, tag, image);
                for promise in store.promises.iter_mut().filter(own) {
                    promise.is_pending = false;
                }
                // Another replica may have said meanwhile that it is something else.
                let newest = store.tags.values().find(|entry| entry.0 == tag).map(|entry| entry.1);
                store.promises.retain(|one| {
                    (one.actor, one.tag, one.image) != (actor, tag, image) || newest == Some(image)
                });
            });
        }
        is_done
    }
}
