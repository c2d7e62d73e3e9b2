use super::*;

const NOW: u64 = 100 * 86_400;

fn blob(n: u8) -> Object {
    Object::blob(Digest::sha256([n; 32]))
}

fn manifest(n: u8) -> Object {
    Object::manifest(Digest::sha256([n; 32]))
}

/// A bucket in which what is added was written some days ago, and has ten bytes.
#[derive(Default)]
struct Holding(Snapshot);

impl Holding {
    fn object(mut self, object: Object, days: u64) -> Self {
        self.0.objects.insert(object, Stored { bytes: 10, written: NOW - days * 86_400 });
        self
    }

    fn manifest(mut self, own: Object, days: u64, refers: &[Object]) -> Self {
        let links = Links { refers: refers.to_vec(), subject: None };
        self.0.links.insert(own.digest, links);
        self.object(own, days)
    }

    fn signature(mut self, own: Object, days: u64, of: Object) -> Self {
        self.0.links.insert(own.digest, Links { refers: Vec::new(), subject: Some(of.digest) });
        self.object(own, days)
    }

    fn tag(mut self, tag: &str, days: u64, what: Option<Object>) -> Self {
        let key = format!("{tag}/{days:03}");
        let what = what.map(|object| object.digest);
        self.0.tags.push(Entry { tag: tag.to_owned(), key, what, written: NOW - days * 86_400 });
        self
    }

    fn grant(mut self, object: Object, days: u64) -> Self {
        let grants = self.0.grants.entry(object).or_default();
        grants.insert("docker.io/x".to_owned(), NOW - days * 86_400);
        self
    }

    fn plan(&self, limits: Limits) -> Plan {
        plan(&self.0, NOW, limits, &Timing::USUAL)
    }

    fn condemned(&self, limits: Limits) -> Vec<Unit> {
        self.plan(limits).condemned
    }
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
    let plan = holding.plan(ANY);
    assert_eq!(plan.condemned, dead, "manifests first");
    assert_eq!((plan.bytes, plan.kept_bytes), (30, 60));
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
    assert_eq!(plan.condemned, [Unit::Object(manifest(1))]);
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
    assert_eq!(holding.plan(bytes(49)).kept_bytes, 30);
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
    assert_eq!(first.condemned, [blob(3), blob(4), blob(5), blob(1)].map(Unit::Object));
    let mut after = Holding(before.0.clone()).grant(blob(4), 0).object(blob(5), 0).object(blob(1), 0).0;
    let second = plan(&after, NOW, ANY, &Timing::USUAL);
    assert_eq!(sweep(&first, &before.0, &second, &after), [Unit::Object(blob(3))]);
    // Also where the store dates something by when its upload began.
    after.objects.insert(blob(3), Stored { bytes: 10, written: NOW - 8 * 86_400 });
    let second = plan(&after, NOW, ANY, &Timing::USUAL);
    assert_eq!(sweep(&first, &before.0, &second, &after), []);
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
