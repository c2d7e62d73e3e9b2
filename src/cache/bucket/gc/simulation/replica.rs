//! A replica: what it holds and knows, and how it goes by the rules, with several things under way at once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join4;

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
    known: Known,
    view: Mutex<View>,
    /// Held by the one that looks for collections.
    looks: tokio::sync::Mutex<()>,
    /// What is being written, and whether it was to be written again meanwhile.
    busy: Mutex<Vec<(Todo, bool)>>,
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
    pub(super) fn new(
        site: Site,
        kept: Arc<Mutex<Kept>>,
        timing: Timing,
        upstream: Arc<Mutex<[usize; TAGS]>>,
        drains: Arc<Mutex<bool>>,
    ) -> Self {
        Self {
            site,
            kept,
            timing,
            upstream,
            drains,
            known: Known::default(),
            view: Mutex::default(),
            looks: tokio::sync::Mutex::default(),
            busy: Mutex::default(),
        }
    }

    pub(super) async fn run(self, dice: Dice) {
        let of = |n: u64| Dice(dice.0.wrapping_add(n << 32));
        join4(self.pull_all(of(0)), self.write_all(of(1)), self.write_all(of(2)), self.look_all(of(3))).await;
    }

    async fn pull_all(&self, mut dice: Dice) {
        loop {
            let drains = *self.drains.lock().unwrap();
            match dice.roll(6) {
                0 | 1 if !drains => self.pull(dice.roll(TAGS)).await,
                2 if !drains => self.evict(dice.roll(8)),
                _ => {
                    let time = if drains { 600 } else { [5, 20, 60][dice.roll(3)] };
                    self.site.sleep(Duration::from_secs(time)).await;
                }
            }
        }
    }

    async fn write_all(&self, mut dice: Dice) {
        loop {
            let todo = {
                let (kept, mut busy) = (self.kept.lock().unwrap(), self.busy.lock().unwrap());
                let is_busy = |todo: &Todo| busy.iter().any(|(other, _)| other == todo);
                let free: Vec<Todo> = kept.queue.iter().copied().filter(|todo| !is_busy(todo)).collect();
                let todo = (!free.is_empty()).then(|| free[dice.roll(free.len())]);
                busy.extend(todo.map(|todo| (todo, false)));
                todo
            };
            let Some(todo) = todo else {
                self.site.sleep(Duration::from_secs(20)).await;
                continue;
            };
            let is_done = self.try_write(todo).await;
            if !is_done {
                self.site.sleep(Duration::from_secs(5)).await;
            }
            let (mut kept, mut busy) = (self.kept.lock().unwrap(), self.busy.lock().unwrap());
            let at = busy.iter().position(|(other, _)| *other == todo).unwrap();
            let (_, has_changed) = busy.swap_remove(at);
            if is_done && !has_changed {
                kept.queue.retain(|other| *other != todo);
            }
        }
    }

    async fn look_all(&self, mut dice: Dice) {
        loop {
            let time = [10, 25, 80][dice.roll(3)];
            self.site.sleep(Duration::from_secs(time)).await;
            let _one = self.looks.lock().await;
            let forgets = |what: Forget<'_>| forget(&self.known, &self.timing, what);
            let _ = look(&self.site, &self.view, &self.timing, forgets).await;
        }
    }

    async fn ready(&self) -> Option<Duration> {
        let _one = self.looks.lock().await;
        let forgets = |what: Forget<'_>| forget(&self.known, &self.timing, what);
        ready(&self.site, &self.view, &self.timing, forgets).await.ok()
    }

    /// Takes note of what the store said, which was asked at a mark, if that may be believed.
    fn believe(&self, object: Object, mark: u64, is_grant: bool) -> bool {
        let view = self.view.lock().unwrap();
        let may = view.may_believe(&Unit::Object(object), mark, self.site.moment(), &self.timing);
        if may {
            self.known.lock().unwrap().insert((is_grant, object));
        }
        may
    }

    fn evict(&self, at: usize) {
        let mut kept = self.kept.lock().unwrap();
        if let Some(object) = kept.local.iter().nth(at).copied() {
            kept.local.remove(&object);
        }
    }

    fn push(&self, todo: Todo) {
        let is_known = match todo {
            Todo::Object(object) => self.known.lock().unwrap().contains(&(false, object)),
            Todo::Grant(object) => self.known.lock().unwrap().contains(&(true, object)),
            Todo::Tag(..) => false,
        };
        let mut kept = self.kept.lock().unwrap();
        if !is_known && let Some(one) = self.busy.lock().unwrap().iter_mut().find(|one| one.0 == todo) {
            one.1 = true;
        }
        if !is_known && !kept.queue.contains(&todo) {
            kept.queue.push_back(todo);
        }
    }

    /// A client pulls by tag: everything comes from the bucket or upstream, and is kept.
    async fn pull(&self, tag: usize) {
        let image = self.upstream.lock().unwrap()[tag];
        for object in closure(image) {
            let is_here = self.kept.lock().unwrap().local.contains(&object);
            if !is_here {
                let mark = self.view.lock().unwrap().mark();
                if self.site.ask(move |store| store.objects.contains_key(&object)).await {
                    self.believe(object, mark, false);
                }
                self.kept.lock().unwrap().local.insert(object);
            }
        }
        let all: BTreeSet<Object> = closure(image).into_iter().collect();
        for object in &all {
            self.push(Todo::Object(*object));
            self.push(Todo::Grant(*object));
        }
        self.push(Todo::Tag(tag, image));
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

    /// Sees to it that what an image refers to is known to be in the bucket, or to be written.
    fn ensure(&self, image: usize) {
        let known = &self.known;
        for object in closure(image) {
            // Both are to be known: one may have been written again without the other.
            if [false, true].iter().all(|grant| known.lock().unwrap().contains(&(*grant, object))) {
                continue;
            }
            if self.kept.lock().unwrap().local.contains(&object) {
                self.push(Todo::Object(object));
                self.push(Todo::Grant(object));
            } else if !known.lock().unwrap().contains(&(false, object)) {
                self.cancel(object);
            }
        }
    }

    /// Writes something under the rules; returns whether it is done.
    async fn try_write(&self, todo: Todo) -> bool {
        let timing = self.timing;
        let Some(until) = self.ready().await else { return false };
        let view = &self.view;
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
            self.ensure(image);
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
            let (object, is_grant) = match todo {
                Todo::Object(object) => (object, false),
                Todo::Grant(object) => (object, true),
                Todo::Tag(..) => return true,
            };
            // Without these rules, less is to be looked at.
            let keeps = timing.keeps(Rule::Look) && timing.keeps(Rule::Defer);
            if self.ready().await.is_none() || !self.believe(object, mark, is_grant) && keeps {
                return false;
            }
            if !keeps {
                self.known.lock().unwrap().insert((is_grant, object));
            }
            if !is_grant {
                // Its grants may have gone while it was not there.
                self.push(Todo::Grant(object));
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
