use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::named::{Named, What};
use super::super::snapshot::{Links, ShortLinks};
use super::*;

const NOW: u64 = 100 * 86_400;

fn blob(n: u8) -> Object {
    Object::blob(Digest::sha256([n; 32]))
}

fn manifest(n: u8) -> Object {
    Object::manifest(Digest::sha256([n; 32]))
}

/// A bucket in which what is added was written some days ago, and has ten bytes.
#[derive(Clone, Default)]
struct Holding {
    tags: Vec<Entry>,
    objects: BTreeMap<Object, Stored>,
    grants: Vec<(Object, u64)>,
    links: LinkMap,
}

const fn days_ago(days: u64) -> u64 {
    NOW - days * 86_400
}

impl Holding {
    fn object(mut self, object: Object, days: u64) -> Self {
        self.objects.insert(object, Stored { bytes: 10, written: days_ago(days) });
        self
    }

    fn links(mut self, own: Object, links: &Links) -> Self {
        self.links.insert(own.digest, ShortLinks::from(links));
        self
    }

    fn manifest(self, own: Object, days: u64, refers: &[Object]) -> Self {
        self.links(own, &Links { refers: refers.to_vec(), subject: None }).object(own, days)
    }

    fn signature(self, own: Object, days: u64, of: Object) -> Self {
        self.links(own, &Links { refers: Vec::new(), subject: Some(of.digest) }).object(own, days)
    }

    fn tag(mut self, tag: &str, days: u64, what: Option<Object>) -> Self {
        let key = format!("{tag}/{days:03}").into();
        let what = what.map(|object| object.digest);
        self.tags.push(Entry { tag: tag.len(), key, what, written: days_ago(days) });
        self
    }

    fn grant(mut self, object: Object, days: u64) -> Self {
        self.grants.push((object, days_ago(days)));
        self
    }

    fn snapshot(&self) -> Snapshot {
        let row = |(object, stored): (&Object, &Stored)| Row {
            object: *object,
            stored: *stored,
            grants: Grants::default(),
        };
        let mut snapshot = Snapshot::new(self.tags.clone(), self.objects.iter().map(row).collect());
        for (object, written) in &self.grants {
            snapshot.grant(*object, "docker.io/x", *written);
        }
        snapshot
    }

    fn judged(&self, limits: Limits) -> Judged {
        judge(&self.snapshot(), &self.links, NOW, limits, &Timing::USUAL)
    }

    fn plan(&self, limits: Limits) -> Plan {
        self.judged(limits).plan(&self.snapshot(), &self.links, usize::MAX)
    }

    fn condemned(&self, limits: Limits) -> Vec<Unit> {
        units(self.plan(limits).condemned)
    }

    /// What goes of what was condemned in another look.
    fn swept(&self, first: Plan) -> Vec<Unit> {
        units(self.judged(ANY).sweep(first, &self.snapshot()))
    }
}

fn units(condemned: Vec<Condemned>) -> Vec<Unit> {
    condemned.into_iter().map(|one| one.unit).collect()
}

const ANY: Limits = Limits { age: None, bytes: None, since: 0, every: Duration::ZERO };

#[test]
fn what_tags_lead_to_stays_and_the_rest_goes_after_a_grace() {
    let holding = Holding::default()
        .manifest(manifest(1), 90, &[manifest(2)])
        .manifest(manifest(2), 90, &[blob(3)])
        .object(blob(3), 90)
        .signature(manifest(4), 90, manifest(2))
        .tag("a", 90, Some(manifest(1)))
        .object(blob(5), 2)
        .object(blob(6), 0)
        .object(blob(7), 90)
        .grant(blob(7), 0)
        .manifest(manifest(8), 90, &[blob(9)])
        .object(blob(9), 90);
    let dead = [manifest(8), blob(5), blob(9)].map(Unit::Object);
    assert_eq!(holding.condemned(ANY), dead, "manifests first");
    let judged = holding.judged(ANY);
    assert_eq!((judged.kept, judged.kept_bytes), (6, 60));
    let plan = judged.plan(&holding.snapshot(), &holding.links, 2);
    assert_eq!((units(plan.condemned), plan.left), (dead[..2].to_vec(), 1));
}

#[test]
fn an_image_without_a_tag_stays_for_a_month() {
    let pulled = |days| Holding::default().manifest(manifest(1), days, &[blob(2)]).object(blob(2), 90);
    assert_eq!(pulled(29).condemned(ANY), []);
    assert_eq!(pulled(31).condemned(ANY), [manifest(1), blob(2)].map(Unit::Object));
}

#[test]
fn entries_that_say_what_a_tag_was_go_the_oldest_first() {
    let holding = Holding::default()
        .manifest(manifest(1), 40, &[])
        .manifest(manifest(2), 3, &[])
        .tag("a", 40, Some(manifest(1)))
        .tag("a", 50, Some(manifest(2)))
        .tag("a", 3, Some(manifest(2)))
        .tag("gone", 4, None)
        .tag("gone", 5, Some(manifest(1)))
        .tag("long-gone", 5, None);
    let plan = holding.plan(ANY);
    // That a tag is gone is said until no older entry says what it was.
    assert_eq!(plan.superseded, ["a/050", "a/040", "gone/005", "long-gone/005"]);
    assert_eq!(units(plan.condemned), [Unit::Object(manifest(1))]);
}

#[test]
fn by_age_and_by_size_the_oldest_images_go() {
    let holding = Holding::default()
        .manifest(manifest(1), 30, &[blob(11), blob(10)])
        .manifest(manifest(2), 20, &[blob(12), blob(10)])
        .manifest(manifest(3), 10, &[blob(13), blob(10)])
        .object(blob(10), 30)
        .object(blob(11), 30)
        .object(blob(12), 30)
        .object(blob(13), 30)
        .tag("a", 30, Some(manifest(1)))
        .tag("b", 20, Some(manifest(2)))
        .tag("c", 40, Some(manifest(3)));
    assert_eq!(holding.condemned(ANY), []);
    let first = [Unit::Tag("a/030".to_owned()), Unit::Object(manifest(1)), Unit::Object(blob(11))];
    let age = |days: u64| Limits { age: Some(Duration::from_secs(days * 86_400)), ..ANY };
    assert_eq!(holding.condemned(age(25)), first);
    // A manifest that was renewed makes its image younger than what its tag says.
    assert_eq!(holding.condemned(age(15)).len(), 6);
    let bytes = |bytes| Limits { bytes: Some(bytes), ..ANY };
    assert_eq!(holding.condemned(bytes(50)), first);
    assert_eq!(holding.judged(bytes(49)).kept_bytes, 30);
    assert_eq!(holding.condemned(bytes(70)), []);
    // What is young stays, whatever the limits say.
    let young = Holding::default().manifest(manifest(1), 0, &[]).tag("a", 0, Some(manifest(1)));
    assert_eq!(young.condemned(Limits { age: Some(Duration::ZERO), bytes: Some(0), ..ANY }), []);
}

#[test]
fn grants_of_what_is_not_there_go_and_nothing_that_changed_meanwhile() {
    let before = Holding::default()
        .grant(blob(1), 9)
        .grant(blob(2), 0)
        .object(blob(3), 9)
        .grant(blob(3), 9)
        .object(blob(4), 9)
        .object(blob(5), 9);
    let first = before.plan(ANY);
    let condemned = [blob(3), blob(4), blob(5), blob(1)].map(Unit::Object);
    assert_eq!(units(first.condemned.clone()), condemned);
    let after = before.clone().grant(blob(4), 0).object(blob(5), 0).object(blob(1), 0);
    assert_eq!(after.swept(first.clone()), [Unit::Object(blob(3))]);
    // Also where the store dates something by when its upload began.
    assert_eq!(after.object(blob(3), 8).swept(first.clone()), []);
    // What was granted anew, at a date that is as old.
    assert_eq!(
        before.grant(blob(3), 9).swept(first),
        condemned.into_iter().filter(|one| *one != Unit::Object(blob(3))).collect::<Vec<_>>()
    );
}

#[test]
fn what_a_list_leaves_out_is_seen() {
    let holding = Holding::default()
        .manifest(manifest(1), 40, &[])
        .manifest(manifest(2), 40, &[])
        .tag("a", 40, Some(manifest(1)))
        .tag("gone", 5, None);
    let seen = holding.snapshot().seen();
    assert_eq!(holding.snapshot().lacks(&seen), None);
    let more = holding.clone().tag("a", 1, Some(manifest(2))).object(manifest(3), 0);
    assert_eq!(more.snapshot().lacks(&seen), None);
    let mut less = holding.clone();
    less.tags.retain(|entry| entry.tag() != "gone");
    assert_eq!(less.snapshot().lacks(&seen), None, "that is taken away where nothing older is left");
    less.tags.clear();
    assert_eq!(less.snapshot().lacks(&seen), Some("tag"));
    let mut less = holding.clone();
    less.objects.remove(&manifest(2));
    assert_eq!(less.snapshot().lacks(&seen), Some("manifest"));
    // What tags and grants name is to be asked for.
    let named =
        holding.tag("b", 9, Some(manifest(4))).grant(manifest(5), 9).grant(manifest(6), 0).grant(blob(7), 9);
    let old = days_ago(1);
    assert_eq!(named.snapshot().missing(old), [manifest(4), manifest(5)]);
}

#[test]
fn what_was_out_of_use_before_anybody_noted_it_stays() {
    let holding = Holding::default()
        .manifest(manifest(1), 40, &[blob(2)])
        .object(blob(2), 40)
        .manifest(manifest(3), 40, &[])
        .tag("a", 40, Some(manifest(3)));
    let since = |days: u64| Limits { since: NOW - days * 86_400, every: Duration::from_hours(24 * 7), ..ANY };
    // Without a limit there is the month after which an image without a tag goes.
    assert_eq!(holding.condemned(since(29)), []);
    assert_eq!(holding.condemned(since(31)).len(), 2);
    let age = |days| Limits { age: Some(Duration::from_hours(24 * 20)), ..since(days) };
    assert_eq!(holding.condemned(age(19)), []);
    assert_eq!(holding.condemned(age(21)).len(), 4);
    // By size, the oldest may be what is in use, until all that is in use was written again.
    let bytes = |days| Limits { bytes: Some(0), ..since(days) };
    assert_eq!(holding.condemned(bytes(6)), []);
    assert_eq!(holding.condemned(bytes(7)).len(), 4);
}

/// What is named goes as far as nothing else needs it, and nothing else goes.
#[test]
fn what_is_named_goes_as_far_as_nothing_else_needs_it() {
    let image = |holding: Holding, n: u8, tag: &str| {
        let holding = holding.manifest(manifest(n), 90, &[blob(n), blob(100)]);
        holding.object(blob(n), 90).tag(tag, 90, Some(manifest(n)))
    };
    let holding = image(image(Holding::default(), 1, "a"), 2, "b").object(blob(100), 90);
    // What is garbage is none of this.
    let holding =
        holding.object(blob(50), 90).manifest(manifest(51), 90, &[]).tag("a", 95, Some(manifest(51)));
    let named = |tags: &[&str], objects: &[Object]| {
        let tags = tags.iter().map(ToString::to_string).collect();
        What::Named(Arc::new(Named { tags, objects: objects.iter().copied().collect() }))
    };
    let judged =
        |holding: &Holding, what: &What| what.judge(&holding.snapshot(), &holding.links, NOW, &Timing::USUAL);
    let plan = |holding: &Holding, what: &What| {
        judged(holding, what).plan(&holding.snapshot(), &holding.links, usize::MAX)
    };
    let own = [manifest(1), blob(1), blob(100)];
    let what = named(&["a"], &own);
    let first = plan(&holding, &what);
    assert_eq!(first.superseded, ["a/095"], "an older entry would count again");
    let gone = [Unit::Tag("a/090".to_owned()), Unit::Object(manifest(1)), Unit::Object(blob(1))];
    assert_eq!(units(first.condemned.clone()), gone);
    // Another tag stands for it.
    let second = holding.clone().tag("c", 90, Some(manifest(1)));
    assert_eq!(units(plan(&second, &what).condemned), gone[..1]);
    // So does a manifest that is not named.
    let index = holding.clone().manifest(manifest(9), 90, &[manifest(1)]);
    assert_eq!(units(plan(&index, &what).condemned), gone[..1]);
    // What is named without its tag stays with it.
    assert_eq!(units(plan(&holding, &named(&[], &own)).condemned), []);
    // One who wants all has all, but for what is young.
    let all: Vec<Object> = holding.objects.keys().copied().collect();
    let young = holding.clone().object(blob(60), 0);
    let all = named(&["a", "b"], &[all, vec![blob(60)]].concat());
    assert_eq!(plan(&young, &all).condemned.len(), 2 + 7);
    assert_eq!(judged(&young, &all).young, 1);

    // What was written, granted, or said of a tag after the first look stays.
    let swept = |later: &Holding| units(judged(later, &what).sweep(first.clone(), &later.snapshot()));
    assert_eq!(swept(&holding), gone);
    assert_eq!(swept(&holding.clone().tag("a", 0, Some(manifest(1)))), []);
    assert_eq!(swept(&holding.clone().tag("new", 0, Some(manifest(1)))), gone[..1]);
    assert_eq!(swept(&holding.clone().manifest(manifest(1), 0, &[blob(1)])), gone[..1]);
    assert_eq!(swept(&holding.clone().grant(manifest(1), 0)), gone[..1]);
    assert_eq!(swept(&holding.clone().grant(blob(1), 0)), gone[..2]);
    assert_eq!(swept(&holding.clone().manifest(manifest(70), 0, &[blob(1)])), gone[..2]);
    // A tag of which something young is known stays as it is.
    let moved = holding.clone().tag("a", 0, None);
    assert_eq!(units(plan(&moved, &what).condemned), gone[1..]);
}
