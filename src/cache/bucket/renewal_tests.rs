use super::super::fake_bucket::Fault;
use super::super::gc::Limits;
use super::super::testing::Site;
use super::*;
use crate::cache::store::Store as _;

#[tokio::test]
async fn what_is_served_and_not_kept_here_any_more_is_renewed() {
    let site = Site::new(1, Limits::default()).await;
    let (digest, document) = Site::manifest(&[]);
    let key = site.keys.object(&Object::manifest(digest));
    site.put_old(&key, &document.write(), 40);
    assert_eq!(renew(site.bucket.inner(), digest, Renew::IfOld).await, Ok(()));
    assert_eq!(site.fake.count("PUT", "a/manifests/"), 1);
    assert_eq!(site.fake.get(&key).unwrap(), document.write());
    assert_eq!(renew(site.bucket.inner(), digest, Renew::IfOld).await, Ok(()));
    assert_eq!(site.fake.count("PUT", "a/manifests/"), 1, "it is young now");
}

#[tokio::test]
async fn after_a_renewal_that_was_overtaken_all_is_written_again() {
    let site = Site::new(30, Limits::default()).await;
    let inner = site.bucket.inner();
    let blob = site.blob(b"a blob").await;
    let (digest, document) = Site::manifest(&[blob]);
    site.store.put_manifest(&digest, &document).await.unwrap();
    let key = site.keys.object(&Object::manifest(digest));
    site.put_old(&key, &document.write(), 40);
    site.put_old(&site.keys.object(&blob), b"a blob", 40);
    inner.ready().await.unwrap();
    assert!(inner.believe(blob, inner.mark(), |known| known.note(blob)));
    // While it is written, a collection condemns what it is made of, and takes that away.
    site.fake.ill(&["PUT"], "a/manifests/", Fault::Delay(inner.timing.fresh + Duration::from_millis(100)));
    let said = format!("blob {}\nend\n", blob.digest);
    site.fake.put(&site.keys.collection(7, "claim"), b"");
    site.fake.put(&site.keys.collection(7, "condemned"), said.as_bytes());
    let overtaken = renew(inner, digest, Renew::IfOld).await.unwrap_err();
    assert_eq!(overtaken.next, Renew::Anyway, "{overtaken:?}");
    site.fake.heal();
    site.fake.remove(&site.keys.object(&blob));
    site.fake.put(&site.keys.collection(7, "done"), b"");
    assert_eq!(locked(&inner.queue).len(), 0);
    assert_eq!(renew(inner, digest, overtaken.next).await, Ok(()));
    assert_eq!(locked(&inner.queue).len(), 1, "it is written again, though its manifest is young");
}

#[tokio::test]
async fn whether_writes_have_conditions_is_asked_again_where_nothing_could_be_written() {
    let site = Site::new(1, Limits::default()).await;
    let inner = site.bucket.inner();
    assert!(inner.is_conditional());
    site.fake.ill(&["PUT"], "a/probes/", Fault::Error(403, "AccessDenied"));
    inner.look().await.unwrap();
    assert!(!inner.is_conditional());
    inner.ask_conditional().await;
    assert!(!inner.is_conditional());
    site.fake.heal();
    inner.ask_conditional().await;
    assert!(inner.is_conditional());
}

#[tokio::test]
async fn a_collection_that_cannot_be_read_holds_up_writes_until_nobody_goes_on_with_it() {
    let site = Site::new(60, Limits::default()).await;
    let inner = site.bucket.inner();
    site.fake.put(&site.keys.collection(7, "claim"), b"");
    site.fake.put(&site.keys.collection(7, "condemned"), b"torn");
    assert!(inner.ready().await.is_err());
    let begun = inner.place.moment();
    // It has to be seen for so long that nobody goes on with it.
    while inner.ready().await.is_err() {
        assert!(inner.place.moment() < begun + inner.timing.dead * 2);
        sleep(inner.timing.dead / 20).await;
    }
    assert!(inner.place.moment() + inner.timing.fresh > begun + inner.timing.dead);
    assert!(site.fake.get(&site.keys.collection(7, "done")).is_some());
}

#[tokio::test]
async fn since_when_what_is_in_use_is_renewed_is_said_once() {
    let site = Site::new(1, Limits::default()).await;
    let (place, hours) = (&site.bucket.inner().place, Duration::from_hours);
    let first = place.since(hours(24)).await.unwrap();
    site.fake.age_of(&site.keys.since(24 * 3600), hours(48));
    let aged = place.since(hours(24)).await.unwrap();
    assert!(first - aged >= 48 * 3600 - 1, "{first} {aged}");
    assert_eq!(place.since(hours(24)).await.unwrap(), aged);
    assert!(place.since(hours(6)).await.unwrap() >= first, "those that do it more often begin anew");
    site.fake.age_of(&site.keys.since(6 * 3600), hours(48));
    // A limit that was lifted for a while: meanwhile nobody renewed that often.
    assert!(place.since(hours(100)).await.unwrap() >= first);
    assert!(place.since(hours(6)).await.unwrap() >= first);
    place.forget_since(hours(24 * 7)).await.unwrap();
    assert_eq!(site.fake.keys("/since-"), [] as [String; 0]);
}

#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let site = Site::new(1, Limits::default()).await;
    let place = &site.bucket.inner().place;
    for n in 0..2500_u32 {
        let digest = crate::oci::digest_of(crate::image::Algorithm::Sha256, &n.to_le_bytes());
        site.fake.put(&site.keys.object(&Object::blob(digest)), b"");
    }
    let count = async || {
        let mut count = 0;
        place.objects(crate::cache::store::Kind::Blob, |_, _| count += 1).await.map(|()| count)
    };
    assert_eq!(count().await, Ok(2500));
    // A page that comes again and again is no list.
    site.fake.repeat_pages(true);
    assert!(count().await.unwrap_err().to_string().contains("the same page again"));
    site.fake.repeat_pages(false);
    // A store that says nothing of what it leaves out is asked for what comes after.
    site.fake.cut_lists(700, true);
    assert_eq!(count().await, Ok(2500));
}
