//! A bad day upstream: one bad thing stays one bad thing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::acceptance_names::{Private, base64};
use crate::cache_process::{Answer, Cache, PATIENCE, Start, eventually};
use crate::fake_upstream::{Act, Auth, Bearer, Seen, Upstream, digest, noise};

fn registry(upstream: &Upstream) -> Cache {
    Cache::of("registry.example", &upstream.url())
}

fn manifest(repository: &str) -> String {
    format!("/v2/registry.example/{repository}/manifests/1")
}

fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/registry.example/{repository}/blobs/{digest}")
}

fn ask(cache: &Cache, path: &str, user: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = user.iter().map(|user| ("Authorization", *user)).collect();
    cache.ask("GET", path, &headers)
}

#[test]
fn one_broken_repository_takes_no_other_away() {
    let upstream = Upstream::start();
    for n in 0..20 {
        upstream.image(&format!("good{n}"), "1", &[]);
    }
    for act in [Act::error(500, "UNKNOWN"), Act::Close, Act::error(502, "UNKNOWN")] {
        upstream.heal();
        upstream.always("/v2/broken/", act.clone());
        let cache = registry(&upstream);
        for n in 0..20 {
            assert_eq!(cache.get(&manifest("broken")).status, 503);
            let answer = cache.get(&manifest(&format!("good{n}")));
            assert_eq!(answer.status, 200, "{act:?} {n}: {}", answer.text());
        }
        let asked = upstream.seen().iter().filter(|seen| seen.path.contains("/broken/")).count();
        assert!(asked < 20, "a repository that fails is left alone: {asked}");
        upstream.forget();
    }
}

/// A registry that has lost one manifest of a repository, or knows no referrers, and answers with an error for good.
#[test]
fn one_broken_tag_takes_no_other_of_its_repository_away() {
    let upstream = Upstream::start();
    upstream.image("app", "1", &[]);
    let second = upstream.image("app", "2", &[noise(5000, 2)]);
    let cache = Start::new().upstream("registry.example", &upstream.url()).args(&["--tag-ttl", "0s"]).run();
    let place = "/v2/registry.example/app";
    assert_eq!(cache.get(&manifest("app")).status, 200);
    for broken in ["manifests/bad", "referrers/"] {
        upstream.always(&format!("/v2/app/{broken}"), Act::error(500, "UNKNOWN"));
    }
    eventually("it is left alone", || {
        cache.get(&format!("{place}/manifests/bad")).text().contains("failing")
    });
    for n in 0..5 {
        let unknown = digest(&[n]);
        assert_eq!(cache.get(&format!("{place}/referrers/{unknown}")).status, 503);
    }
    let moved = upstream.image("app", "1", &[noise(100, 1)]);
    let answer = cache.get(&manifest("app"));
    assert_eq!((answer.outcome(), answer.body == moved.manifest), ((200, "MISS"), true));
    assert_eq!(cache.get(&format!("{place}/manifests/2")).outcome(), (200, "MISS"));
    assert_eq!(cache.get(&blob("app", &second.layers[0])).status, 200);
    let stats = cache.command(&["stats"]);
    assert!(stats.contains("app manifests/bad"), "{stats}");
    upstream.heal();
    eventually("it is asked again", || {
        cache.get(&format!("{place}/manifests/bad")).text().contains("MANIFEST_UNKNOWN")
    });
}

/// Makes a repository fail, and asks for it until it is left alone.
fn paused(upstream: &Upstream, cache: &Cache, repository: &str) {
    upstream.always(&format!("/v2/{repository}/"), Act::error(500, "UNKNOWN"));
    eventually("it is left alone", || cache.get(&manifest(repository)).text().contains("failing"));
    upstream.forget();
}

/// Methods of the requests for something of a repository.
fn methods(upstream: &Upstream, repository: &str) -> Vec<String> {
    let of = format!("/v2/{repository}/");
    upstream.seen().into_iter().filter(|seen| seen.path.starts_with(&of)).map(|seen| seen.method).collect()
}

#[test]
fn a_repository_that_failed_is_tried_by_a_request_of_our_own() {
    let upstream = Upstream::start();
    upstream.image("broken", "1", &[]);
    let cache = registry(&upstream);
    paused(&upstream, &cache, "broken");
    // It costs little, and no client's request goes out meanwhile.
    eventually("it is tried twice", || {
        assert_eq!(cache.get(&manifest("broken")).status, 503);
        methods(&upstream, "broken").len() >= 2
    });
    // What HEAD says may be of HEAD alone: GET follows, whose body is not waited for.
    let seen = upstream.seen();
    let is_cheap = |seen: &Seen| seen.method == "HEAD" || seen.header("connection") == Some("close");
    assert!(seen.iter().all(is_cheap) && seen[0].method == "HEAD", "{seen:?}");
    upstream.forget();
    upstream.heal();
    eventually("it is well again", || cache.get(&manifest("broken")).status == 200);
    assert_eq!(
        methods(&upstream, "broken").first().map(String::as_str),
        Some("HEAD"),
        "{:?}",
        upstream.seen()
    );
}

#[test]
fn a_blob_that_failed_is_tried_by_its_first_byte() {
    let upstream = Upstream::start();
    let digest = upstream.blob(noise(50_000, 1));
    let cache = Start::new()
        .upstream("registry.example", &upstream.url())
        .args(&["--retries", "registry.example=0"])
        .run();
    upstream.always("/v2/broken/", Act::error(502, "UNKNOWN"));
    let path = blob("broken", &digest);
    eventually("it is left alone", || cache.get(&path).text().contains("failing"));
    upstream.forget();
    eventually("it is tried", || {
        assert_eq!(cache.get(&path).status, 503);
        !upstream.seen().is_empty()
    });
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.header("range") == Some("bytes=0-0")), "{seen:?}");
    upstream.heal();
    eventually("it is well again", || cache.get(&path).whole && cache.get(&path).status == 200);
}

/// A probe that hangs costs a client a moment, and not the time that an upstream may take.
#[test]
fn no_client_waits_for_a_probe_that_is_not_answered() {
    let upstream = Upstream::start();
    upstream.image("broken", "1", &[]);
    let good = upstream.image("good", "1", &[noise(5000, 1)]);
    let cache = registry(&upstream);
    paused(&upstream, &cache, "broken");
    upstream.heal();
    upstream.always("/v2/broken/", Act::Hang);
    eventually("it is tried", || {
        let answer = cache.get(&manifest("broken"));
        assert_eq!(answer.status, 503);
        assert!(answer.took < Duration::from_secs(15), "{:?}", answer.took);
        !methods(&upstream, "broken").is_empty()
    });
    assert_eq!(cache.get(&blob("good", &good.layers[0])).status, 200);
    // One that was not answered is not the last: the next gets an answer, whatever became of the first.
    upstream.heal();
    eventually("it is well again", || cache.get(&manifest("broken")).status == 200);
    upstream.release();
}

/// A registry that takes long to say whether a tag has moved does so for one repository, perhaps.
#[test]
fn a_late_answer_about_a_tag_makes_no_other_stale() {
    let upstream = Upstream::start();
    upstream.image("late", "1", &[]);
    upstream.image("good", "1", &[]);
    let cache = Start::new().upstream("registry.example", &upstream.url()).args(&["--tag-ttl", "0s"]).run();
    for repository in ["late", "good"] {
        assert_eq!(cache.get(&manifest(repository)).status, 200);
    }
    upstream.always("/v2/late/", Act::Hang);
    assert_eq!(cache.get(&manifest("late")).outcome(), (200, "STALE"));
    let moved = upstream.image("good", "1", &[noise(100, 1)]);
    let answer = cache.get(&manifest("good"));
    assert_eq!((answer.outcome(), answer.body == moved.manifest), ((200, "MISS"), true));
    upstream.release();
}

#[test]
fn a_limit_of_one_repository_is_not_the_registrys() {
    let upstream = Upstream::start();
    upstream.image("good", "1", &[]);
    let maintenance = Act::Answer {
        status: 503,
        headers: vec![("Retry-After".to_owned(), "120".to_owned())],
        body: String::new(),
    };
    for act in [Act::too_many(None), Act::too_many(Some("60")), maintenance] {
        upstream.heal();
        upstream.always("/v2/busy/", act.clone());
        let cache = registry(&upstream);
        assert_eq!(cache.get(&manifest("busy")).status, 503);
        assert_eq!(cache.get(&manifest("good")).status, 200, "{act:?}");
    }
    // No pause is for longer than is sensible, whatever the registry says.
    for asked in ["86400", "Wed, 01 Jan 2200 00:00:00 GMT", "-1", "soon"] {
        upstream.heal();
        upstream.always("/v2/busy/", Act::too_many(Some(asked)));
        let cache = registry(&upstream);
        for _ in 0..2 {
            let answer = cache.get(&manifest("busy"));
            let told: u64 = answer.header("retry-after").parse().unwrap();
            assert!(told <= 300, "{asked}: {told}");
        }
    }
}

/// Two projects of a registry limit requests, and the rest of it does not; where all of it does, few requests find that
/// out.
#[test]
fn two_limits_are_not_the_registrys() {
    let upstream = Upstream::start();
    for name in ["good", "well", "other"] {
        upstream.image(name, "1", &[]);
    }
    for busy in ["/v2/busy/", "/v2/bees/"] {
        upstream.always(busy, Act::too_many(Some("60")));
    }
    let cache = registry(&upstream);
    for _ in 0..2 {
        for busy in ["busy", "bees"] {
            assert_eq!(cache.get(&manifest(busy)).status, 503);
        }
        for name in ["good", "well", "other"] {
            assert_eq!(cache.get(&manifest(name)).status, 200, "{name}");
        }
    }
    assert_eq!(upstream.count("GET", "/v2/busy/"), 1, "it is left alone");
    upstream.heal();
    upstream.forget();
    upstream.always("/v2/", Act::too_many(Some("60")));
    let cache = registry(&upstream);
    for i in 0..20 {
        assert_eq!(cache.get(&manifest(&format!("r{i}"))).status, 503);
    }
    assert!(upstream.seen().len() <= 4, "{:?}", upstream.seen());
}

#[test]
fn the_operator_ends_all_pauses() {
    let upstream = Upstream::start();
    upstream.image("busy", "1", &[]);
    upstream.always("/v2/busy/", Act::too_many(Some("120")));
    let cache = registry(&upstream);
    assert_eq!(cache.get(&manifest("busy")).status, 503);
    upstream.heal();
    assert_eq!(cache.get(&manifest("busy")).status, 503);
    cache.signal("HUP");
    eventually("it is asked again", || cache.get(&manifest("busy")).status == 200);
}

/// A content delivery network that cannot be reached, as behind a firewall.
#[test]
fn a_host_that_a_registry_leads_to_has_a_fault_of_its_own() {
    let (upstream, cdn) = (Upstream::start(), Upstream::start());
    let address = cdn.address;
    drop(cdn);
    let far = noise(50_000, 1);
    let (name, near) = (upstream.blob(far.clone()), upstream.blob("near"));
    upstream.always(&name, Act::Redirect(format!("http://{address}/cdn/{name}")));
    let cache = registry(&upstream);
    let answer = cache.get(&blob("a", &name));
    assert_eq!(answer.status, 503, "{}", answer.text());
    eventually("it is left alone", || {
        cache.get(&blob("a", &name)).text().contains("a host that it leads to cannot be reached")
    });
    assert_eq!(cache.get(&blob("a", &near)).status, 200, "the registry is well");
    eventually("the log says so", || cache.log().contains("is left alone until it can"));
    assert_eq!(cache.log().matches("is left alone until it can").count(), 1, "{}", cache.log());
    let cdn = Upstream::start_at(address);
    cdn.blob(far.clone());
    eventually("it is asked again", || cache.get(&blob("a", &name)).body == far);
    let first = &cdn.seen()[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("HEAD", "/"), "the first request is our own");
}

/// What `stats` says of hosts to which registries lead, and that are not asked.
fn paused_hosts(cache: &Cache) -> Vec<serde_json::Value> {
    let stats: serde_json::Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    stats["hosts"].as_array().unwrap().clone()
}

/// A content delivery network that limits requests: that is not the registry's limit, nor the repository's.
#[test]
fn a_limit_of_a_host_that_a_registry_leads_to_is_that_hosts() {
    let (upstream, cdn) = (Upstream::start(), Upstream::start());
    let far = noise(50_000, 1);
    let (name, near) = (upstream.blob(far.clone()), upstream.blob("near"));
    cdn.blob(far.clone());
    upstream.image("a", "1", &[]);
    upstream.always(&name, Act::Redirect(format!("{}/cdn/{name}", cdn.url())));
    cdn.always("/cdn/", Act::too_many(Some("3600")));
    let cache = Start::new()
        .upstream("registry.example", &upstream.url())
        .args(&["--longest-pause", "registry.example=90s"])
        .run();
    for _ in 0..3 {
        let answer = cache.get(&blob("a", &name));
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("limits requests"), "{}", answer.text());
        assert!((60..=90).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
    }
    assert_eq!(cdn.count("GET", "/cdn/"), 1, "it is left alone");
    assert_eq!(cache.get(&blob("a", &near)).status, 200, "the same repository is asked");
    assert_eq!(cache.get(&manifest("a")).status, 200);
    let hosts = paused_hosts(&cache);
    assert_eq!((hosts.len(), hosts[0]["host"].as_str()), (1, Some(cdn.url().as_str())));
    assert_eq!(hosts[0]["paused"], "limits requests");
    assert!(hosts[0]["pausedSince"].is_string() && hosts[0]["pausedUntil"].is_string(), "{hosts:?}");
    let table = cache.command(&["stats"]);
    assert!(table.contains("HOST THAT A REGISTRY LEADS TO") && table.contains(&cdn.url()), "{table}");
    cdn.heal();
    cache.signal("HUP");
    eventually("it is asked again", || cache.get(&blob("a", &name)).body == far);
    assert_eq!(paused_hosts(&cache), [] as [serde_json::Value; 0]);
}

/// A token server that cannot be reached: it is left alone until it answers to a request of our own, and no other
/// registry waits for it.
#[test]
fn a_token_server_has_a_fault_of_its_own() {
    let (upstream, open, tokens) = (Upstream::start(), Upstream::start(), Upstream::start());
    let address = tokens.address;
    drop(tokens);
    upstream.image("a", "1", &[]);
    open.image("b", "1", &[]);
    let realm = Some(format!("http://{address}/token"));
    upstream.auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
    upstream.knows_token("s3cr3t-token-1");
    let cache = Start::new()
        .upstream("registry.example", &upstream.url())
        .upstream("open.example", &open.url())
        .args(&["--token-server", &format!("registry.example={address}")])
        .run();
    assert_eq!(cache.get(&manifest("a")).status, 503);
    eventually("it is left alone", || {
        cache.get(&manifest("a")).text().contains("a host that it leads to cannot be reached")
    });
    assert_eq!(cache.get("/v2/open.example/b/manifests/1").status, 200);
    let hosts = paused_hosts(&cache);
    assert_eq!(hosts[0]["host"], format!("http://{address}"));
    assert_eq!(hosts[0]["paused"], "unreachable");
    assert!(hosts[0]["pausedSince"].is_string() && hosts[0]["pausedUntil"].is_string(), "{hosts:?}");
    let tokens = Upstream::start_at(address);
    tokens.auth(Auth::Bearer(Bearer::default()));
    eventually("it is asked again", || cache.get(&manifest("a")).status == 200);
    let first = &tokens.seen()[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("HEAD", "/"), "the first request is our own");
    assert_eq!(paused_hosts(&cache), [] as [serde_json::Value; 0]);
}

/// A content delivery network that takes connections and never answers: those who wait for it hold no place of others.
#[test]
fn late_headers_hold_no_place() {
    let (upstream, cdn) = (Upstream::start(), Upstream::start());
    let near = upstream.blob(noise(2 << 20, 1));
    let far: Vec<String> = (2..4).map(|seed| upstream.blob(noise(2 << 20, seed))).collect();
    for name in &far {
        upstream.always(name, Act::Redirect(format!("{}/cdn/{name}", cdn.url())));
    }
    cdn.always("/cdn/", Act::Hang);
    let cache = Start::new()
        .upstream("registry.example", &upstream.url())
        .args(&["--per-upstream", "2", "--queue-timeout", "20s"])
        .run();
    std::thread::scope(|scope| {
        for name in &far {
            let cache = &cache;
            scope.spawn(move || cache.get(&blob("a", name)));
        }
        eventually("all wait", || cdn.count("GET", "/cdn/") >= 2);
        assert_eq!(cache.get(&blob("a", &near)).status, 200);
        cdn.heal();
        cdn.release();
    });
}

#[test]
fn slow_layers_keep_no_other_away() {
    let upstream = Upstream::start();
    let layers: Vec<Vec<u8>> = (0..12).map(|n| noise(400_000, n)).collect();
    let slow = upstream.image("slow", "1", &layers);
    let small = upstream.image("small", "1", &[noise(2000, 99)]);
    for digest in &slow.layers {
        upstream.always(digest, Act::Stall(1000));
    }
    let cache = registry(&upstream);
    assert_eq!(cache.get(&manifest("slow")).status, 200);
    let mut open: Vec<_> =
        slow.layers.iter().map(|digest| cache.open("GET", &blob("slow", digest), &[])).collect();
    assert!(open.iter().all(|reading| reading.status == 200));
    assert_eq!(cache.get(&manifest("small")).status, 200);
    assert!(cache.get(&blob("small", &small.layers[0])).whole);
    upstream.heal();
    upstream.release();
    for (reading, layer) in open.iter_mut().zip(&layers) {
        assert!(reading.read(layer.len()) == *layer);
    }
}

#[test]
fn what_a_client_was_told_503_for_goes_on() {
    let upstream = Upstream::start();
    let image = upstream.image("late", "1", &[noise(100_000, 1)]);
    upstream.always("/blobs/", Act::Delay(Duration::from_secs(28)));
    let cache = registry(&upstream);
    assert_eq!(cache.get(&manifest("late")).status, 200);
    let path = blob("late", &image.layers[0]);
    let first = cache.get(&path);
    assert_eq!(first.status, 503, "{}", first.text());
    assert!(first.text().contains("try again"), "{}", first.text());
    let second = cache.get(&path);
    assert_eq!((second.status, second.whole), (200, true));
    assert_eq!(upstream.count("GET", "/blobs/"), 1, "the second joins what goes on");
}

#[test]
fn lengths_that_upstream_does_not_say_are_the_manifests() {
    let upstream = Upstream::start();
    let layers: Vec<Vec<u8>> = (0..3).map(|n| noise(300_000, n)).collect();
    let image = upstream.image("app", "1", &layers);
    upstream.always("/blobs/", Act::Chunked);
    let cache = registry(&upstream);
    assert_eq!(cache.get(&manifest("app")).status, 200);
    let head = cache.head(&blob("app", &image.layers[0]));
    assert_eq!((head.status, head.header("content-length")), (200, "300000"));
    let range = cache.ask("GET", &blob("app", &image.layers[0]), &[("Range", "bytes=1000-1999")]);
    assert_eq!((range.status, range.body == layers[0][1000..2000]), (206, true));
    // One that says of everything that it is empty.
    let empty = Act::Answer { status: 200, headers: vec![], body: String::new() };
    upstream.rule(Some("HEAD"), &image.config, usize::MAX, empty);
    let head = cache.head(&blob("app", &image.config));
    let listed: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    let size = listed["config"]["size"].to_string();
    assert_eq!((head.status, head.header("content-length")), (200, size.as_str()));
    // The header comes long before the end.
    upstream.always(&image.layers[1], Act::Stall(100_000));
    let mut slow = cache.open("GET", &blob("app", &image.layers[1]), &[]);
    assert_eq!((slow.status, slow.header("content-length")), (200, "300000"));
    upstream.release();
    assert!(slow.read(300_000) == layers[1]);
    // A repository that was not seen to have the manifest has no word in this.
    upstream.always("/blobs/", Act::IgnoreRange);
    let other = cache.head(&blob("other", &image.layers[2]));
    assert_eq!(other.status, 503, "{}", other.text());
}

#[test]
fn a_private_image_that_is_stored_is_served_offline() {
    let private = Private::new();
    let (shared, own) = (noise(5000, 1), noise(3000, 2));
    private.upstream.image("team/base", "1", std::slice::from_ref(&shared));
    private.upstream.image("team/app", "1", &[shared.clone(), own.clone()]);
    private.upstream.image("team/denied", "1", &[noise(1000, 3)]);
    let users = private.place.path("users");
    let cache = private.start().args(&["--htpasswd", users.to_str().unwrap()]).run();
    let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
    let get = |path: &str| {
        let answer = ask(&cache, &format!("/v2/private.example/{path}"), Some(&ada));
        (answer.status, answer.body)
    };
    for path in ["base/manifests/1", "app/manifests/1"] {
        assert_eq!(get(&format!("team/{path}")).0, 200);
    }
    let layer = |repository: &str, bytes: &[u8]| format!("team/{repository}/blobs/{}", digest(bytes));
    assert_eq!(get(&layer("base", &shared)).0, 200);
    assert_eq!(get(&layer("app", &own)).0, 200);
    eventually("it is stored", || cache.command(&["stats", "-o", "json"]).contains("\"blobs\": 2"));
    private.upstream.always("/", Act::Close);
    assert_eq!(get("team/app/manifests/1").0, 200);
    assert_eq!(get(&layer("app", &shared)), (200, shared.clone()));
    assert_eq!(get(&layer("app", &own)), (200, own));
    private.upstream.heal();
    private.upstream.auth(Auth::None);
    // Nor does one that takes connections and never answers take it away.
    private.upstream.image("team/late", "1", std::slice::from_ref(&shared));
    assert_eq!(get("team/late/manifests/1").0, 200);
    private.upstream.always("/", Act::Hang);
    let begun = std::time::Instant::now();
    assert_eq!(get(&layer("late", &shared)), (200, shared.clone()));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    private.upstream.release();
    private.upstream.heal();
    private.upstream.always("/", Act::Close);
    // What no manifest of a repository lists does not go out through it.
    assert_eq!(get(&layer("base", &noise(3000, 2))).0, 503);
    assert_eq!(ask(&cache, "/v2/private.example/team/app/manifests/1", None).status, 401);
}

/// A registry could say that it has what is stored from a private one (CVE-2026-35172 is of this kind).
#[test]
fn a_registry_that_lies_opens_no_private_content() {
    let (private, evil) = (Private::new(), Upstream::start());
    let (layer, late) = (noise(300_000, 1), noise(200_000, 2));
    let image = private.upstream.image("team/app", "1", &[layer.clone(), late.clone()]);
    for path in [&image.layers[0], &image.layers[1], &image.digest] {
        evil.rule(
            Some("HEAD"),
            path,
            usize::MAX,
            Act::Answer { status: 200, headers: vec![], body: "x".repeat(300_000) },
        );
        evil.blob_as(path, "x".repeat(200_000));
    }
    let moved = Act::With("docker-content-digest", image.digest.clone());
    evil.image("thing", "1", &[]);
    let users = private.place.path("users");
    let start = private.start().upstream("evil.example", &evil.url());
    let cache = start.args(&["--htpasswd", users.to_str().unwrap(), "--tag-ttl", "0s"]).run();
    let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
    let mine = |path: &str| ask(&cache, &format!("/v2/private.example/team/app/{path}"), Some(&ada));
    let theirs = |path: &str| ask(&cache, &format!("/v2/evil.example/thing/{path}"), None);
    assert_eq!(mine("manifests/1").status, 200);
    assert_eq!(mine(&format!("blobs/{}", image.layers[0])).body, layer);
    eventually("it is stored", || mine(&format!("blobs/{}", image.layers[0])).header("x-cache") == "HIT");
    let stolen = theirs(&format!("blobs/{}", image.layers[0]));
    assert_ne!(stolen.body, layer, "{}", stolen.status);
    let stolen = theirs(&format!("manifests/{}", image.digest));
    assert!(!stolen.text().contains("schemaVersion"), "{}", stolen.text());
    // Nor does a tag that is said to be it.
    assert_eq!(theirs("manifests/1").status, 200);
    evil.rule(Some("HEAD"), "/manifests/1", usize::MAX, moved);
    let stolen = theirs("manifests/1");
    assert_ne!(stolen.body, image.manifest);
    // Wrong bytes leave no grant behind.
    theirs(&format!("blobs/{}", image.layers[1]));
    evil.heal();
    evil.always("/blobs/", Act::error(404, "BLOB_UNKNOWN"));
    assert_eq!(mine(&format!("blobs/{}", image.layers[1])).body, late);
    eventually("it is stored", || mine(&format!("blobs/{}", image.layers[1])).header("x-cache") == "HIT");
    let stolen = theirs(&format!("blobs/{}", image.layers[1]));
    assert_ne!(stolen.body, late, "{}", stolen.status);
}

#[test]
fn what_is_missing_is_not_asked_for_again_and_again() {
    let upstream = Upstream::start();
    let cache = registry(&upstream);
    let absent = digest(b"nothing has this");
    for path in [blob("a", &absent), format!("/v2/registry.example/a/manifests/{absent}")] {
        upstream.forget();
        for _ in 0..10 {
            assert_eq!(cache.get(&path).status, 404);
        }
        assert_eq!(upstream.seen().len(), 1, "{path}");
    }
}

fn metrics(cache: &Cache) -> String {
    let log = cache.log();
    let url = log.lines().find_map(|line| line.strip_prefix("metrics on http://")).unwrap();
    let (address, path) = url.split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(format!("GET /{path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Clients that have asked and read no answer.
fn waiting(cache: &Cache, method: &str, path: &str, count: usize) -> Vec<TcpStream> {
    let client = |_| {
        let mut client = TcpStream::connect(cache.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(format!("{method} {path} HTTP/1.1\r\nHost: cache\r\n\r\n").as_bytes()).unwrap();
        client
    };
    (0..count).map(client).collect()
}

fn statuses(clients: &mut [TcpStream]) -> Vec<String> {
    let status = |client: &mut TcpStream| {
        let mut line = [0; 12];
        client.read_exact(&mut line).unwrap();
        String::from_utf8_lossy(&line["HTTP/1.1 ".len()..]).into_owned()
    };
    clients.iter_mut().map(status).collect()
}

fn with_metrics(upstream: &Upstream) -> Cache {
    let start = Start::new().upstream("registry.example", &upstream.url());
    start.args(&["--metrics-listen", "127.0.0.1:0"]).run()
}

#[test]
fn what_many_ask_for_at_once_and_is_missing_is_asked_for_once() {
    let upstream = Upstream::start();
    let cache = with_metrics(&upstream);
    upstream.always("/blobs/", Act::Hang);
    let mut clients = waiting(&cache, "GET", &blob("a", &digest(b"nothing has this")), 32);
    eventually("all wait for one", || metrics(&cache).contains("talmirror_cache_followers_total 31\n"));
    upstream.heal();
    upstream.release();
    assert_eq!(statuses(&mut clients), ["404"; 32]);
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

#[test]
fn how_large_a_blob_is_many_ask_with_one_request() {
    let upstream = Upstream::start();
    let there = upstream.blob(noise(1000, 1));
    let absent = digest(b"nothing has this");
    for (digest, status) in [(&there, "200"), (&absent, "404")] {
        let cache = with_metrics(&upstream);
        upstream.heal();
        upstream.forget();
        upstream.rule(Some("HEAD"), "/blobs/", usize::MAX, Act::Hang);
        let mut clients = waiting(&cache, "HEAD", &blob("a", digest), 16);
        eventually("all are there", || metrics(&cache).contains("talmirror_cache_connections 16\n"));
        eventually("upstream is asked", || upstream.count("HEAD", "/blobs/") > 0);
        upstream.heal();
        upstream.release();
        assert_eq!(statuses(&mut clients), [status; 16]);
        // One whose connection is there may be read after the answer is, and then asks again.
        assert!(upstream.seen().len() < 16, "{status}: {:?}", upstream.seen().len());
    }
}

/// A repository that had it when a client asked whether it has, and then took it, has it later, too.
#[test]
fn what_went_out_through_a_repository_does_so_after_a_restart() {
    let upstream = Upstream::start();
    let layer = noise(5000, 1);
    let digest = upstream.blob(layer.clone());
    let cache = registry(&upstream);
    eventually("it is stored", || cache.get(&blob("a", &digest)).outcome() == (200, "HIT"));
    assert_eq!(cache.head(&blob("b", &digest)).status, 200);
    assert_eq!(cache.head(&blob("c", &digest)).status, 200);
    assert!(cache.get(&blob("b", &digest)).body == layer);
    upstream.always("/", Act::Close);
    let cache = cache.restart();
    assert!(cache.get(&blob("b", &digest)).body == layer);
    assert_eq!(cache.get(&blob("c", &digest)).status, 503, "what was only asked about is not known for good");
}

#[test]
fn limits_are_set_in_the_file_and_by_flags() {
    let upstream = Upstream::start();
    upstream.image("late", "1", &[]);
    upstream.always("/v2/late/", Act::Hang);
    let flags = ["--header-timeout", "registry.example=200ms", "--per-upstream", "3", "--retries", "0"];
    let cache = Start::new().upstream("registry.example", &upstream.url()).args(&flags).run();
    let answer = cache.get(&manifest("late"));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("timed out"), "{}", answer.text());
}
