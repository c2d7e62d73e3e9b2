//! Tags: what upstream last said, how long that holds, and what happens when it says nothing.

use std::time::Duration;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_upstream::{Act, Auth, Bearer, OCI_INDEX, OCI_MANIFEST, Upstream};

const MANIFEST: &str = "/v2/docker.io/library/x/manifests/";
/// Longer than any test takes.
const LONG: &str = "1h";

fn path(reference: &str) -> String {
    format!("{MANIFEST}{reference}")
}

fn hub(upstream: &Upstream, ttl: &str) -> Cache {
    Start::new().upstream("docker.io", &upstream.url()).args(&["--tag-ttl", ttl]).run()
}

#[test]
fn a_head_says_all_and_keeps_the_manifest() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let other = upstream.image("library/x", "arm", &[b"other".to_vec()]);
    let index = upstream.index("library/x", "latest", &[&image, &other]);
    let cache = hub(&upstream, LONG);
    let head = cache.head(&path("latest"));
    assert_eq!(head.outcome(), (200, "MISS"));
    assert_eq!(head.header("docker-content-digest"), index);
    assert_eq!(head.header("content-type"), OCI_INDEX);
    assert!(head.header("content-length").parse::<usize>().unwrap() > 100);
    upstream.forget();
    // What the tag means is here, under its digest too.
    assert_eq!(cache.get(&path(&index)).outcome(), (200, "HIT"));
    assert_eq!(cache.get(&path("latest")).outcome(), (200, "HIT"));
    assert_eq!(upstream.seen().len(), 0);
    // Its parts are fetched when they are asked for, once.
    let part = cache.get(&path(&image.digest));
    assert_eq!((part.outcome(), part.body == image.manifest), ((200, "MISS"), true));
    assert_eq!(cache.get(&path(&image.digest)).outcome(), (200, "HIT"));
    assert_eq!(upstream.count("GET", "/manifests/"), 1);
}

/// A manifest that is taken late does not take its tag back with it.
#[test]
fn a_tag_that_has_moved_stays_where_it_is() {
    let upstream = Upstream::start();
    let old = upstream.image("library/x", "1", &[b"old".to_vec()]);
    let cache = hub(&upstream, "0s");
    assert_eq!(cache.head(&path("1")).status, 200);
    let new = upstream.image("library/x", "1", &[b"new".to_vec()]);
    eventually("the tag has moved", || cache.head(&path("1")).header("docker-content-digest") == new.digest);
    assert_eq!(cache.get(&path("1")).header("docker-content-digest"), new.digest);
    assert_eq!(cache.get(&path(&old.digest)).status, 200);
    drop(upstream);
    let cache = cache.restart();
    let stale = cache.get(&path("1"));
    assert_eq!((stale.status, stale.header("docker-content-digest")), (200, new.digest.as_str()));
}

#[test]
fn one_request_for_32_clients() {
    let upstream = Upstream::start();
    upstream.image("library/x", "1", &[b"layer".to_vec()]);
    upstream.always("/manifests/", Act::Delay(Duration::from_millis(300)));
    let cache = hub(&upstream, LONG);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert_eq!(cache.get(&path("1")).status, 200));
        }
    });
    assert_eq!((upstream.count("GET", "/manifests/"), upstream.count("HEAD", "/manifests/")), (1, 0));
}

#[test]
fn tags_are_checked_when_their_time_is_up() {
    let upstream = Upstream::start();
    let old = upstream.image("library/x", "1", &[b"old".to_vec()]);
    let cache = hub(&upstream, "0s");
    assert_eq!(cache.get(&path("1")).outcome(), (200, "MISS"));
    assert_eq!(cache.get(&path("1")).outcome(), (200, "REVALIDATED"));
    assert_eq!((upstream.count("GET", "/manifests/"), upstream.count("HEAD", "/manifests/")), (1, 1));
    let new = upstream.image("library/x", "1", &[b"new".to_vec()]);
    let moved = cache.get(&path("1"));
    assert_eq!(
        (moved.outcome(), moved.header("docker-content-digest")),
        ((200, "MISS"), new.digest.as_str())
    );
    // Back to what is here still: nothing is fetched.
    upstream.tag("library/x", "1", &old.digest);
    upstream.forget();
    assert_eq!(cache.get(&path("1")).header("docker-content-digest"), old.digest);
    assert_eq!(upstream.count("GET", "/manifests/"), 0);
}

#[test]
fn what_is_not_there_is_not_asked_for_again_at_once() {
    let upstream = Upstream::start();
    let cache = hub(&upstream, LONG);
    for _ in 0..5 {
        let answer = cache.get(&path("none"));
        assert_eq!(answer.status, 404);
        assert_eq!(
            answer.text(),
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"reference":"none"}}]}"#
        );
    }
    assert_eq!(upstream.count("GET", "/manifests/"), 1);
}

/// What a registry does that is not well.
fn ills() -> Vec<(&'static str, Act)> {
    vec![
        ("500", Act::error(500, "UNKNOWN")),
        ("429", Act::too_many(None)),
        ("429 with a time", Act::too_many(Some("600"))),
        ("closes", Act::Close),
        ("hangs", Act::Hang),
    ]
}

#[test]
fn what_was_known_is_served_when_upstream_is_ill() {
    for (what, ill) in ills() {
        let upstream = Upstream::start();
        let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
        let cache = hub(&upstream, "0s");
        assert_eq!(cache.get(&path("1")).status, 200);
        upstream.always("/", ill);
        let first = cache.get(&path("1"));
        assert_eq!(first.outcome(), (200, "STALE"), "{what}");
        assert!(first.took < Duration::from_millis(2700), "{what}: {:?}", first.took);
        assert!(first.header("warning").starts_with("299 - \"upstream docker.io "), "{what}: {first:?}");
        assert!(first.header("age").parse::<u64>().is_ok(), "{what}: {first:?}");
        // From then on nobody waits for it.
        eventually("answers come at once", || {
            let again = cache.get(&path("1"));
            assert_eq!(again.outcome(), (200, "STALE"), "{what}");
            again.took < Duration::from_millis(20)
        });
        let by_digest = cache.get(&path(&image.digest));
        assert_eq!(by_digest.outcome(), (200, "HIT"), "{what}");
        assert!(by_digest.header("warning").is_empty());
        upstream.release();
    }
}

/// The registry is well, and one of its answers is lost on the way: that holds nothing for longer than seconds.
#[test]
fn what_is_not_answered_is_asked_again() {
    let upstream = Upstream::start();
    upstream.auth(Auth::Bearer(Bearer::default()));
    upstream.image("library/x", "1", &[b"old".to_vec()]);
    upstream.image("library/y", "1", &[]);
    let cache = hub(&upstream, "0s");
    assert_eq!(cache.get(&path("1")).status, 200);
    let new = upstream.image("library/x", "1", &[b"new".to_vec()]);
    for lost in ["/manifests/1", "/blobs/"] {
        upstream.rule(Some("HEAD"), lost, 1, Act::Hang);
    }
    std::thread::scope(|scope| {
        // The first token of another repository.
        upstream.times(1, "/token", Act::Hang);
        scope.spawn(|| assert_eq!(cache.get("/v2/docker.io/library/y/manifests/1").status, 200));
        scope.spawn(|| {
            let blob = format!("/v2/docker.io/library/x/blobs/{}", new.layers[0]);
            assert_eq!(cache.head(&blob).status, 200);
        });
        let stale = cache.get(&path("1"));
        assert_eq!(
            stale.outcome(),
            (200, "STALE"),
            "no client waits for it longer than for one that is down"
        );
        eventually("it is asked again", || {
            cache.get(&path("1")).header("docker-content-digest") == new.digest
        });
    });
    upstream.release();
}

#[test]
fn what_is_not_known_is_503() {
    for (what, ill) in ills().into_iter().filter(|(what, _)| *what != "hangs") {
        let upstream = Upstream::start();
        upstream.always("/", ill);
        let cache = hub(&upstream, LONG);
        for path in [path("1"), blob_of("0")] {
            let answer = cache.get(&path);
            assert_eq!(answer.status, 503, "{what}: {}", answer.text());
            assert!(answer.took < Duration::from_secs(6), "{what}: {:?}", answer.took);
            assert!(!answer.text().contains("127.0.0.1"), "an address: {}", answer.text());
        }
    }
    // Nobody listens; no such name.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("http://127.0.0.1:{port}"), "http://registry.invalid".to_owned()] {
        let cache = Cache::of("docker.io", &url);
        let answer = cache.get(&path("1"));
        assert_eq!(answer.status, 503, "{url}");
        assert!(answer.took < Duration::from_secs(6), "{url}: {:?}", answer.took);
    }
}

fn blob_of(hex: &str) -> String {
    format!("/v2/docker.io/library/x/blobs/sha256:{}", hex.repeat(64))
}

#[test]
fn referrers() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let referrer = upstream.referrer("library/x", &image.digest, "application/vnd.sig");
    upstream.referrer("library/x", &image.digest, "application/vnd.sbom");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let cache =
        Start::new().upstream("docker.io", &upstream.url()).args(&["--tag-ttl", LONG]).root(&root).run();
    let path = format!("/v2/docker.io/library/x/referrers/{}", image.digest);
    // What anybody can ask about, and nobody has, leaves nothing on the disk.
    for hex in ["0", "1", "2"] {
        let nothing = format!("/v2/docker.io/library/x/referrers/sha256:{}", hex.repeat(64));
        assert_eq!(cache.get(&nothing).status, 200);
    }
    let files = |place: &std::path::Path| std::fs::read_dir(place).map_or(0, Iterator::count);
    assert_eq!(files(&root.join("referrers")), 0);
    let all = cache.get(&path);
    assert_eq!((all.outcome(), all.header("content-type")), ((200, "MISS"), OCI_INDEX));
    assert!(files(&root.join("referrers")) > 0);
    let index: serde_json::Value = serde_json::from_slice(&all.body).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(index["manifests"][0]["annotations"]["made.by"], "test");
    let some = cache.get(&format!("{path}?artifactType=application/vnd.sig"));
    assert_eq!((some.outcome(), some.header("oci-filters-applied")), ((200, "HIT"), "artifactType"));
    let index: serde_json::Value = serde_json::from_slice(&some.body).unwrap();
    assert_eq!(index["manifests"][0]["digest"], referrer.as_str());
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(cache.get("/v2/docker.io/library/x/referrers/sha256:0").status, 400);

    // A registry that has no such API: the client has to look for a tag.
    upstream.without_referrers();
    let other = upstream.image("library/x", "2", &[b"other".to_vec()]);
    assert_eq!(cache.get(&format!("/v2/docker.io/library/x/referrers/{}", other.digest)).status, 404);
    let tag = other.digest.replace(':', "-") + ".sig";
    upstream.image("library/x", &tag, &[b"signature".to_vec()]);
    assert_eq!(cache.get(&format!("{MANIFEST}{tag}")).status, 200);
}

/// registry.k8s.io: by its tag a manifest is there, by its digest another region has never heard of it.
#[test]
fn an_upstream_that_contradicts_itself() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let cache = hub(&upstream, "0s");
    upstream.always("/manifests/sha256:", Act::error(404, "MANIFEST_UNKNOWN"));
    let by_tag = cache.head(&path("1"));
    assert_eq!(by_tag.status, 200);
    let by_digest = cache.get(&path(by_tag.header("docker-content-digest")));
    assert_eq!((by_digest.outcome(), by_digest.body == image.manifest), ((200, "HIT"), true));
    assert_eq!(cache.get(&path("1")).status, 200);
}

#[test]
fn a_client_that_takes_another_kind_gets_what_upstream_has_for_it() {
    let upstream = Upstream::start();
    let image = upstream.image("library/x", "1", &[b"layer".to_vec()]);
    upstream.index("library/x", "latest", &[&image]);
    let cache = hub(&upstream, LONG);
    let narrow = [("Accept", OCI_MANIFEST)];
    assert_eq!(cache.get(&path("latest")).outcome(), (200, "MISS"));
    upstream.forget();
    cache.ask("GET", &path("latest"), &narrow);
    let passed = upstream.seen().into_iter().find(|seen| seen.path.contains("/manifests/latest")).unwrap();
    assert_eq!(passed.header("accept"), Some(OCI_MANIFEST));
    assert_eq!(cache.ask("GET", &path("latest"), &[("Accept", OCI_INDEX)]).outcome(), (200, "HIT"));
}

#[test]
fn lists_of_tags() {
    let upstream = Upstream::start();
    for tag in ["b", "a", "c"] {
        upstream.image("library/x", tag, &[b"layer".to_vec()]);
    }
    upstream.pages_of(2);
    let cache = hub(&upstream, LONG);
    let page = cache.get("/v2/x/tags/list?n=2&ns=docker.io");
    assert_eq!(page.text(), r#"{"name":"library/x","tags":["a","b"]}"#);
    let link = page.header("link");
    assert_eq!(link, r#"</v2/docker.io/library/x/tags/list?n=2&last=b>; rel="next""#);
    let next = cache.get(link.trim_start_matches('<').split('>').next().unwrap());
    assert_eq!((next.text().as_str(), next.header("link")), (r#"{"name":"library/x","tags":["c"]}"#, ""));
    assert_eq!(
        cache.get("/v2/docker.io/library/x/tags/list?n=0").text(),
        r#"{"name":"library/x","tags":[]}"#
    );
}
