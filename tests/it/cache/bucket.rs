//! Caches that share a bucket: what one of them fetched, the others read from there, and a bucket that is ill fails no pull.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde_json::Value;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_bucket::{Asked, Bucket, Fault, KEY};
use crate::fake_upstream::{Act, Auth, Image, Upstream, noise};
use crate::run::Place;

const MIB: usize = 1 << 20;

/// A cache of docker.io that shares a bucket.
pub(super) fn sharing(upstream: &Upstream, bucket: &Bucket) -> Start {
    behind(Start::new().upstream("docker.io", &upstream.url()), bucket)
}

pub(super) fn behind(start: Start, bucket: &Bucket) -> Start {
    start
        .args(&["--bucket", "s3://images/talmirror", "--s3-endpoint", &bucket.url(), "--s3-path-style"])
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
        .env("AWS_REGION", "eu-central-1")
}

fn state(cache: &Cache) -> Value {
    let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    stats["bucket"].clone()
}

/// Waits until the bucket is well, and nothing waits to be written to it.
pub(super) fn idle(cache: &Cache) {
    eventually("all is written", || {
        let state = state(cache);
        state["pending"] == 0 && state["trouble"].is_null()
    });
}

/// Waits until an image that was pulled is in the bucket: what a client has read to its end is kept, and then written, a
/// moment later.
pub(super) fn written(cache: &Cache, bucket: &Bucket, image: &Image) {
    let has = |folder: &str, digest: &str| {
        bucket.get(&format!("talmirror/{folder}/{}", digest.replace(':', "/"))).is_some()
    };
    eventually("the image is in the bucket", || {
        has("manifests", &image.digest)
            && image.layers.iter().all(|layer| has("blobs", layer))
            && !bucket.keys("/tags/").is_empty()
    });
    idle(cache);
}

/// Waits until so many blobs are in the folder.
pub(super) fn stored(cache: &Cache, blobs: usize) {
    eventually("it is stored", || {
        let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
        stats["blobs"] == blobs
    });
}

/// Pulls an image whole; returns where the manifest and each blob came from.
pub(super) fn pull(
    cache: &Cache,
    registry: &str,
    repository: &str,
    tag: &str,
    image: &Image,
    layers: &[Vec<u8>],
) -> Vec<String> {
    let path = format!("/v2/{registry}/{repository}");
    let manifest = cache.get(&format!("{path}/manifests/{tag}"));
    assert_eq!((manifest.status, &manifest.body), (200, &image.manifest), "{}", cache.log());
    let mut from = vec![manifest.header("x-cache").to_owned()];
    for (digest, layer) in image.layers.iter().zip(layers) {
        let blob = cache.get(&format!("{path}/blobs/{digest}"));
        assert_eq!((blob.status, blob.whole), (200, true), "{digest}\n{}", cache.log());
        assert!(blob.body == *layer, "other bytes");
        from.push(blob.header("x-cache").to_owned());
    }
    from
}

#[test]
fn what_one_cache_fetched_the_next_reads_from_the_bucket() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(300_000, 1), noise(18 * MIB, 2)];
    let image = upstream.image("library/x", "1.2.3", &layers);
    let first = sharing(&upstream, &bucket).run();
    assert_eq!(pull(&first, "docker.io", "library/x", "1.2.3", &image, &layers), ["MISS"; 3]);
    written(&first, &bucket, &image);
    for (digest, layer) in image.layers.iter().zip(&layers) {
        let key = format!("talmirror/blobs/{}", digest.replace(':', "/"));
        assert!(bucket.get(&key).as_ref() == Some(layer), "{key}");
    }
    assert_eq!(bucket.count("POST", &image.layers[1].replace(':', "/")), 2, "the large one in parts");
    assert!(
        bucket
            .asked()
            .iter()
            .filter(|asked| asked.method == "PUT" && !asked.query.contains_key("uploadId"))
            .all(|asked| asked.headers["if-none-match"] == "*"),
        "nothing is replaced"
    );

    // Nothing of it is fetched twice, and what is in the folder costs the bucket nothing.
    upstream.forget();
    let second = sharing(&upstream, &bucket).run();
    bucket.forget();
    assert_eq!(pull(&second, "docker.io", "library/x", "1.2.3", &image, &layers), ["BUCKET"; 3]);
    assert_eq!(bucket.count("GET", "/blobs/"), 2, "one request a blob");
    stored(&second, 2);
    idle(&second);
    bucket.forget();
    assert_eq!(pull(&second, "docker.io", "library/x", "1.2.3", &image, &layers), ["HIT"; 3]);
    let second = second.restart();
    bucket.forget();
    assert_eq!(pull(&second, "docker.io", "library/x", "1.2.3", &image, &layers), ["HIT"; 3]);
    // A cache that has just started looks which limits others have.
    let is_start = |asked: &Asked| asked.query.values().any(|prefix| prefix.contains("/collections/"));
    let asked: Vec<Asked> = bucket.asked().into_iter().filter(|asked| !is_start(asked)).collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());

    // Upstream is gone, and so is every folder.
    drop(upstream);
    let dead = Upstream::start();
    dead.always("/", Act::Close);
    let third = sharing(&dead, &bucket).run();
    assert_eq!(pull(&third, "docker.io", "library/x", "1.2.3", &image, &layers), ["BUCKET"; 3]);
    let stats = third.command(&["stats"]);
    assert!(stats.contains("s3://images/talmirror") && stats.contains("CAME FROM IT"), "{stats}");
}

#[test]
fn a_layer_of_another_repository_is_read_from_the_bucket_once_upstream_says_that_it_is_there() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(300_000, 1)];
    let (a, b) =
        (upstream.image("library/a", "1.0.0", &layers), upstream.image("library/b", "1.0.0", &layers));
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "library/a", "1.0.0", &a, &layers);
    written(&first, &bucket, &a);
    let second = sharing(&upstream, &bucket).run();
    upstream.forget();
    assert_eq!(pull(&second, "docker.io", "library/b", "1.0.0", &b, &layers), ["MISS", "BUCKET"]);
    assert_eq!((upstream.count("GET", "/blobs/"), upstream.count("HEAD", "/blobs/")), (0, 1));
    let other = second.get(&format!("/v2/docker.io/library/c/blobs/{}", a.layers[0]));
    assert_eq!(other.status, 200, "this registry has a blob in every repository");
}

#[test]
fn a_private_image_in_the_bucket_stays_private() {
    let (private, public, bucket, place) =
        (Upstream::start(), Upstream::start(), Bucket::start(), Place::new());
    private.auth(Auth::Basic("ada".to_owned(), "s3cr3t-ada".to_owned()));
    let layers = [noise(300_000, 1)];
    let image = private.image("a", "1.0.0", &layers);
    // The other registry says that it has all of it, and gives nothing.
    let digest = &image.layers[0];
    let length = vec![("Content-Length".to_owned(), "300000".to_owned())];
    public.rule(
        Some("HEAD"),
        "/",
        usize::MAX,
        Act::Answer { status: 200, headers: length, body: String::new() },
    );
    place.write("login.json", r#"{"auths":{"private.example":{"username":"ada","password":"s3cr3t-ada"}}}"#);
    let login = format!("private.example={}", place.path("login.json").display());
    let start = || {
        let start =
            Start::new().upstream("private.example", &private.url()).upstream("docker.io", &public.url());
        behind(start.args(&["--credentials", &login]), &bucket)
    };
    let open = start().args(&["--anonymous", "private.example"]).run();
    pull(&open, "private.example", "a", "1.0.0", &image, &layers);
    written(&open, &bucket, &image);
    let closed = start().run();
    for path in
        [format!("blobs/{digest}"), format!("manifests/{}", image.digest), "manifests/1.0.0".to_owned()]
    {
        assert_eq!(closed.get(&format!("/v2/private.example/a/{path}")).status, 403, "{path}");
        let stolen = closed.get(&format!("/v2/docker.io/library/a/{path}"));
        assert_eq!((stolen.status, stolen.header("x-cache")), (404, ""), "{path}: {}", stolen.text());
    }
    assert_eq!(bucket.count("GET", "talmirror/blobs/"), 0);
    assert_eq!(
        bucket.count("GET", "talmirror/manifests/"),
        0,
        "for those who may not have it, nothing is read"
    );
}

/// A cache without credentials for a registry gives out nothing of what one with credentials has put into the bucket.
#[test]
fn what_needs_credentials_is_not_given_out_by_a_cache_that_has_none() {
    let (upstream, bucket, place) = (Upstream::start(), Bucket::start(), Place::new());
    upstream.auth(Auth::Basic("ada".to_owned(), "s3cr3t-ada".to_owned()));
    let layers = [noise(300_000, 1)];
    let image = upstream.image("a", "1.0.0", &layers);
    place.write("login.json", r#"{"auths":{"reg.example":{"username":"ada","password":"s3cr3t-ada"}}}"#);
    let login = format!("reg.example={}", place.path("login.json").display());
    place.write("users", format!("ada:{}\n", bcrypt::hash("s3cr3t-ada", 4).unwrap()));
    let start = || behind(Start::new().upstream("reg.example", &upstream.url()), &bucket);
    // It has users of its own, and so keeps the image for them.
    let users = place.path("users").display().to_string();
    let own = start().args(&["--credentials", &login, "--htpasswd", &users]).run();
    let user = "Basic YWRhOnMzY3IzdC1hZGE=";
    let digest = &image.layers[0];
    for path in ["manifests/1.0.0".to_owned(), format!("blobs/{digest}")] {
        let answer = own.ask("GET", &format!("/v2/reg.example/a/{path}"), &[("Authorization", user)]);
        assert_eq!(answer.status, 200, "{}", own.log());
    }
    eventually("it is in the bucket", || {
        bucket.keys("/grants-private/").len() >= 2 && !bucket.keys("/tags-private/").is_empty()
    });
    assert!(bucket.keys("/grants/").is_empty() && bucket.keys("/tags/").is_empty(), "{:?}", bucket.keys(""));
    let stranger = start().run();
    for path in
        ["manifests/1.0.0".to_owned(), format!("manifests/{}", image.digest), format!("blobs/{digest}")]
    {
        let answer = stranger.get(&format!("/v2/reg.example/a/{path}"));
        assert_ne!(answer.status, 200, "{path}: {}", stranger.log());
    }
    assert_eq!(bucket.count("GET", "talmirror/blobs/"), 0);
}

/// What is damaged in the bucket and cannot be removed from it is fetched from upstream.
#[test]
fn a_damaged_object_that_cannot_be_removed_is_left_alone() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(300_000, 1)];
    let image = upstream.image("a/b", "1.0.0", &layers);
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "a/b", "1.0.0", &image, &layers);
    written(&first, &bucket, &image);
    bucket.ill(&["GET"], "talmirror/blobs/", Fault::WrongBytes);
    bucket.ill(&["DELETE"], "talmirror/blobs/", Fault::Error(403, "AccessDenied"));
    let second = sharing(&upstream, &bucket).run();
    let path = format!("/v2/docker.io/a/b/blobs/{}", image.layers[0]);
    assert_eq!(second.get("/v2/docker.io/a/b/manifests/1.0.0").status, 200);
    // The first try may have given some of the wrong bytes, never all of them.
    let tried = second.get(&path);
    assert!(!tried.whole || tried.body == layers[0]);
    let again = second.get(&path);
    assert_eq!((again.status, again.whole), (200, true), "{}", second.log());
    assert!(again.body == layers[0], "other bytes");
}

#[test]
fn a_bucket_that_is_ill_fails_no_pull_and_is_used_again_when_it_is_well() {
    let faults = [
        (Fault::Error(503, "SlowDown"), "limits requests (503 SlowDown)"),
        (Fault::Error(403, "RequestTimeTooSkewed"), "set the clock"),
        (Fault::Error(400, "ExpiredToken"), "credentials have expired"),
        (Fault::Close, "cannot be reached"),
    ];
    std::thread::scope(|scope| {
        for (fault, why) in faults {
            scope.spawn(move || {
                let (upstream, bucket) = (Upstream::start(), Bucket::start());
                let layers = [noise(500_000, 1)];
                let image = upstream.image("library/x", "1.0.0", &layers);
                let cache = sharing(&upstream, &bucket).run();
                bucket.is_ill(fault.clone());
                let from = pull(&cache, "docker.io", "library/x", "1.0.0", &image, &layers);
                assert_eq!(from, ["MISS"; 2], "{fault:?}");
                // An answer to HEAD has no body that says why; the next one has.
                eventually(&format!("it is told: {why}"), || {
                    state(&cache)["trouble"].as_str().is_some_and(|trouble| trouble.contains(why))
                });
                bucket.heal();
                written(&cache, &bucket, &image);
            });
        }
    });
}

#[test]
fn what_breaks_in_the_middle_goes_on_from_upstream() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(2 * MIB, 1)];
    let image = upstream.image("library/x", "1.0.0", &layers);
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "library/x", "1.0.0", &image, &layers);
    written(&first, &bucket, &image);
    let second = sharing(&upstream, &bucket).run();
    upstream.forget();
    bucket.ill(&["GET"], "talmirror/blobs/", Fault::Cut(MIB));
    assert_eq!(pull(&second, "docker.io", "library/x", "1.0.0", &image, &layers), ["BUCKET"; 2]);
    let asked: Vec<_> =
        upstream.seen().iter().filter_map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(asked.len(), 1, "upstream gives the rest: {asked:?}");
    assert!(asked[0].starts_with("bytes=") && asked[0] != "bytes=0-", "{asked:?}");

    // What is damaged there goes, and is written again from what upstream gives. A client that had some of it comes back.
    bucket.heal();
    let key = format!("talmirror/blobs/{}", image.layers[0].replace(':', "/"));
    let mut damaged = layers[0].clone();
    damaged[MIB] ^= 1;
    bucket.put(&key, &damaged);
    let third = sharing(&upstream, &bucket).run();
    let path = format!("/v2/docker.io/library/x/blobs/{}", image.layers[0]);
    let blob = third.get(&path);
    assert!(!blob.whole, "wrong bytes are never a whole body");
    eventually("the next pull is right", || {
        let blob = third.get(&path);
        blob.status == 200 && blob.whole && blob.body == layers[0]
    });
    eventually("it is written again", || bucket.get(&key).as_ref() == Some(&layers[0]));
}

#[test]
fn a_bucket_that_does_not_answer_makes_one_pull_wait_and_no_other() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(100_000, 1)];
    let image = upstream.image("library/x", "1.0.0", &layers);
    let cache = sharing(&upstream, &bucket).run();
    bucket.is_ill(Fault::Hang);
    assert_eq!(pull(&cache, "docker.io", "library/x", "1.0.0", &image, &layers), ["MISS"; 2]);
    let trouble = state(&cache)["trouble"].as_str().unwrap_or_default().to_owned();
    assert!(trouble.contains("does not answer in time"), "{trouble}");
    stored(&cache, 1);
    assert_eq!(pull(&cache, "docker.io", "library/x", "1.0.0", &image, &layers), ["HIT"; 2]);
    bucket.heal();
    written(&cache, &bucket, &image);
}

#[test]
fn what_is_not_written_yet_is_written_after_a_restart() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(100_000, 1), noise(9 * MIB, 2)];
    let image = upstream.image("library/x", "1.0.0", &layers);
    let cache = sharing(&upstream, &bucket).run();
    bucket.ill(&["PUT", "POST"], "", Fault::Error(503, "SlowDown"));
    pull(&cache, "docker.io", "library/x", "1.0.0", &image, &layers);
    eventually("it is told", || {
        state(&cache)["trouble"].as_str().is_some_and(|trouble| trouble.contains("not written to"))
    });
    let journal = cache.root.join("bucket-pending");
    let is_noted = |what: &str| std::fs::read_to_string(&journal).unwrap().contains(what);
    eventually("it is noted", || {
        image.layers.iter().all(|layer| is_noted(&format!("[\"blob\",\"{layer}\"]}}"))) && is_noted("\"tag\"")
    });
    assert_eq!(bucket.keys("talmirror/blobs/"), Vec::<String>::new());
    let cache = cache.kill_and_restart();
    bucket.heal();
    written(&cache, &bucket, &image);
    assert_eq!(bucket.keys("talmirror/blobs/").len(), 2);
    assert_eq!(bucket.keys("/tags/").len(), 1);
    eventually("nothing is left", || {
        let text = std::fs::read_to_string(&journal).unwrap();
        text.lines().filter(|line| line.starts_with("- ")).count() * 2 >= text.lines().count()
    });
}

#[test]
fn a_bucket_that_takes_no_writes_is_read() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(100_000, 1)];
    let image = upstream.image("library/x", "1.0.0", &layers);
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "library/x", "1.0.0", &image, &layers);
    written(&first, &bucket, &image);
    bucket.ill(&["PUT", "POST", "DELETE"], "", Fault::Error(403, "AccessDenied"));
    let second = sharing(&upstream, &bucket).run();
    let other = upstream.image("library/y", "1.0.0", &layers);
    assert_eq!(pull(&second, "docker.io", "library/x", "1.0.0", &image, &layers), ["BUCKET"; 2]);
    assert_eq!(second.get("/v2/docker.io/library/y/manifests/1.0.0").body, other.manifest);
    eventually("it is told", || {
        let trouble = state(&second)["trouble"].as_str().unwrap_or_default().to_owned();
        trouble.contains("not written to") && trouble.contains("AccessDenied")
    });
}

#[test]
fn a_tag_that_is_gone_is_gone_for_all() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let image = upstream.image("library/x", "1.0.0", &[]);
    let first = sharing(&upstream, &bucket).args(&["--tag-ttl", "0s"]).run();
    assert_eq!(first.get("/v2/docker.io/library/x/manifests/1.0.0").body, image.manifest);
    written(&first, &bucket, &image);
    upstream.always("/manifests/1.0.0", Act::error(404, "MANIFEST_UNKNOWN"));
    assert_eq!(first.get("/v2/docker.io/library/x/manifests/1.0.0").status, 404);
    eventually("it is told", || bucket.keys("/tags/").len() == 2);
    let keys = bucket.keys("/tags/");
    assert!(keys.len() == 2 && keys[0].ends_with("-gone"), "the newest comes first: {keys:?}");
    upstream.heal();
    upstream.always("/", Act::Close);
    let second = sharing(&upstream, &bucket).run();
    assert_eq!(second.get("/v2/docker.io/library/x/manifests/1.0.0").status, 503, "not what it once was");
}

#[test]
fn a_bucket_that_is_away_at_the_start_is_used_when_it_is_there() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(100_000, 1)];
    let image = upstream.image("library/x", "1.0.0", &layers);
    bucket.is_ill(Fault::Close);
    let cache = sharing(&upstream, &bucket).args(&["--metrics-listen", "127.0.0.1:0"]).run();
    pull(&cache, "docker.io", "library/x", "1.0.0", &image, &layers);
    assert!(state(&cache)["trouble"].as_str().unwrap().contains("cannot be reached"), "{}", state(&cache));
    bucket.heal();
    written(&cache, &bucket, &image);
    assert_eq!(bucket.keys("talmirror/blobs/").len(), 1);
    assert_eq!(state(&cache)["conditionalWrites"], true);
}

#[test]
fn a_store_without_conditional_writes_is_told_of_and_used() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    bucket.ignore_conditions();
    let layers = [noise(100_000, 1)];
    let image = upstream.image("library/x", "1.0.0", &layers);
    let cache = sharing(&upstream, &bucket).run();
    pull(&cache, "docker.io", "library/x", "1.0.0", &image, &layers);
    written(&cache, &bucket, &image);
    assert_eq!(state(&cache)["conditionalWrites"], false);
    assert!(cache.log().contains("does not look at the conditions of writes"), "{}", cache.log());
    assert_eq!(bucket.keys("talmirror/blobs/").len(), 1);
}

/// Runs the program to its end; returns its exit code, and what it says on standard output and on standard error.
pub(super) fn ends(args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
        .args(args)
        .env_clear()
        .env("HOME", place.path(""))
        .env("TALMIRROR_CACHE_UPSTREAM", "docker.io=http://127.0.0.1:1")
        .env("TALMIRROR_CACHE_ROOT", place.path("cache"))
        .env("TALMIRROR_CACHE_LISTEN", "127.0.0.1:0")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(!out.contains("s3cr3t") && !err.contains("s3cr3t"), "{out}{err}");
    (output.status.code().unwrap(), out, err)
}

#[test]
fn a_bucket_that_can_never_be_used_ends_the_start() {
    let bucket = Bucket::start();
    let url = bucket.url();
    let credentials = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "s3cr3t-x")];
    let serve = ["serve", "--bucket", "s3://images", "--s3-endpoint", &url];
    bucket.put("layout", br#"{"kind":"talmirror-cache","layout":2}"#);
    let (code, _, said) = ends(&serve, &credentials);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("s3://images") && said.contains("layout 2") && said.contains("newer"), "{said}");
    bucket.put("layout", b"something else");
    let (code, _, said) = ends(&serve, &credentials);
    assert!(code == 3 && said.contains("another prefix"), "{code} {said}");
    let (code, _, said) = ends(&serve, &[]);
    assert!(code == 3 && said.contains("AWS_SECRET_ACCESS_KEY"), "{code} {said}");
    let (code, _, said) = ends(&["serve", "--s3-path-style"], &credentials);
    assert!(code == 2 && said.contains("--bucket s3://NAME/PREFIX"), "{code} {said}");
}

#[test]
fn a_check_looks_at_the_bucket() {
    let bucket = Bucket::start();
    let url = bucket.url();
    let check = ["check", "--bucket", "s3://images/a", "--s3-endpoint", &url, "-o", "json"];
    let good = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "s3cr3t-x")];
    let (_, said, _) = ends(&check, &good);
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&value["bucket"]["ok"], &value["bucket"]["url"]), (&true.into(), &"s3://images/a".into()));
    assert!(bucket.keys("").is_empty(), "nothing is written");
    let bad = [("AWS_ACCESS_KEY_ID", "OTHER"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t-x")];
    let (code, said, _) = ends(&check[..5], &bad);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("s3://images/a") && said.contains("InvalidAccessKeyId"), "{said}");
}

#[test]
fn without_a_bucket_nothing_says_so() {
    let upstream = Upstream::start();
    upstream.image("library/x", "1.0.0", &[]);
    let cache = Cache::of("docker.io", &upstream.url());
    assert_eq!(cache.get("/v2/docker.io/library/x/manifests/1.0.0").status, 200);
    let said = [cache.command(&["stats"]), cache.command(&["stats", "-o", "json"]), cache.log()].concat();
    assert!(!said.to_lowercase().contains("bucket"), "{said}");
    assert!(!cache.root.join("bucket-pending").exists());
}

/// How many files there are in a cache's folder.
fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// A client that only asks what a tag of the bucket is makes no file; one that takes it does.
#[test]
fn asking_about_the_buckets_tags_makes_no_file() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(100_000, 1)];
    let first = sharing(&upstream, &bucket).run();
    let images: Vec<_> =
        (0..4).map(|n| upstream.image("a/b", &format!("1.0.{n}"), &[noise(1000, n)])).collect();
    for n in 0..4 {
        assert_eq!(first.get(&format!("/v2/docker.io/a/b/manifests/1.0.{n}")).status, 200);
    }
    let image = upstream.image("a/b", "2.0.0", &layers);
    pull(&first, "docker.io", "a/b", "2.0.0", &image, &layers);
    written(&first, &bucket, &image);
    eventually("all tags are there", || bucket.keys("/tags/").len() == 5);
    idle(&first);

    let second = sharing(&upstream, &bucket).run();
    idle(&second);
    upstream.forget();
    let before = files(&second.root);
    for (n, image) in images.iter().enumerate() {
        let head = second.head(&format!("/v2/docker.io/a/b/manifests/1.0.{n}"));
        assert_eq!((head.status, head.header("docker-content-digest")), (200, image.digest.as_str()));
        let head = second.head(&format!("/v2/docker.io/a/b/manifests/{}", image.digest));
        assert_eq!(head.status, 200, "{}", head.text());
    }
    assert_eq!(files(&second.root), before, "HEAD makes no file");
    for n in 0..4 {
        assert_eq!(second.get(&format!("/v2/docker.io/a/b/manifests/1.0.{n}")).status, 200);
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    // What was taken is here, and needs neither.
    let second = second.restart();
    bucket.is_ill(Fault::Close);
    drop(upstream);
    for (n, image) in images.iter().enumerate() {
        let manifest = second.get(&format!("/v2/docker.io/a/b/manifests/1.0.{n}"));
        assert_eq!((manifest.status, &manifest.body), (200, &image.manifest), "{}", second.log());
    }
}

/// A bucket whose answers all come late is left alone: no pull waits for each of them.
#[test]
fn a_bucket_whose_answers_come_late_is_left_alone() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let cache = sharing(&upstream, &bucket).run();
    bucket.is_ill(Fault::Delay(std::time::Duration::from_millis(2200)));
    for n in 0..4 {
        let layers = [noise(1000, n)];
        let image = upstream.image("a/b", &format!("1.0.{n}"), &layers);
        pull(&cache, "docker.io", "a/b", &format!("1.0.{n}"), &image, &layers);
    }
    let trouble = state(&cache)["trouble"].as_str().unwrap_or_default().to_owned();
    assert!(trouble.contains("does not answer in time"), "{trouble}");
    let layers = [noise(1000, 9)];
    let image = upstream.image("a/b", "2.0.0", &layers);
    let begun = std::time::Instant::now();
    pull(&cache, "docker.io", "a/b", "2.0.0", &image, &layers);
    assert!(begun.elapsed().as_millis() < 2000, "{:?}", begun.elapsed());
    bucket.heal();
    written(&cache, &bucket, &image);
}

/// A store that gives a connection little is asked for several parts of a large blob at once.
#[test]
fn a_large_blob_comes_by_several_transfers_where_one_is_slow() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(31 * MIB, 1), noise(96 * MIB, 2)];
    let image = upstream.image("library/x", "1.2.3", &layers);
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "library/x", "1.2.3", &image, &layers);
    written(&first, &bucket, &image);
    let second = sharing(&upstream, &bucket).run();
    // 16 MiB a second to each connection.
    bucket.ill(&["GET"], "talmirror/blobs/", Fault::Rate(16 << 20));
    bucket.forget();
    upstream.forget();
    let [small, large] = [0, 1].map(|at| {
        let blob = second.get(&format!("/v2/docker.io/library/x/blobs/{}", image.layers[at]));
        assert_eq!(blob.outcome(), (200, "BUCKET"), "{}", second.log());
        assert!(blob.whole && blob.body == layers[at], "other bytes");
        blob.took
    });
    let asked = |at: usize| bucket.count("GET", &image.layers[at].replace(':', "/"));
    assert_eq!(asked(0), 1, "a small one by one request");
    assert_eq!(asked(1), 1 + (96 - 24) / 8, "a large one by parts");
    // Two thirds of the bytes took longer.
    assert!(large < small * 2, "{large:?} for 96 MiB after {small:?} for 31 MiB");
    assert!(second.memory() < 160 << 10, "{} KiB", second.memory());
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    stored(&second, 2);
}

/// One transfer of several that breaks off, another object that cannot be read and a store that gives no parts end no
/// download, whatever the bucket is taken for by then.
#[test]
fn a_large_blob_goes_on_from_the_bucket_where_one_of_several_transfers_fails() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(64 * MIB, 1), noise(1000, 2)];
    let image = upstream.image("library/x", "1.2.3", &layers);
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "library/x", "1.2.3", &image, &layers);
    written(&first, &bucket, &image);
    upstream.always("/blobs/", Act::Close);
    let [large, small] = [0, 1].map(|at| image.layers[at].replace(':', "/"));
    let get =
        |cache: &Cache, at: usize| cache.get(&format!("/v2/docker.io/library/x/blobs/{}", image.layers[at]));
    let is_whole = |cache: &Cache| {
        let blob = get(cache, 0);
        assert_eq!(blob.outcome(), (200, "BUCKET"), "{}", cache.log());
        assert!(blob.whole && blob.body == layers[0], "{} bytes came: {}", blob.body.len(), cache.log());
    };
    // Another cache each time: one that has seen a part fail asks for none for a while.
    let slow = || {
        bucket.heal();
        let cache = sharing(&upstream, &bucket).run();
        bucket.ill(&["GET"], "talmirror/blobs/", Fault::Rate(16 << 20));
        bucket.forget();
        cache
    };

    let cache = slow();
    bucket.ill(&["GET"], &large, Fault::CutOne(Arc::new(AtomicUsize::new(3)), MIB));
    is_whole(&cache);
    assert!(bucket.count("GET", &large) > 4, "it came by parts");

    let cache = slow();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| is_whole(&cache));
        eventually("several are under way", || bucket.count("GET", &large) >= 4);
        // Nor is it found out for a while that the bucket is well.
        for part in [small.as_str(), "/layout", "/grants", "/tags"] {
            bucket.ill(&["GET", "HEAD"], part, Fault::Close);
        }
        get(&cache, 1);
        assert!(cache.log().contains("the bucket is not asked for a while"), "{}", cache.log());
        reader.join().unwrap();
    });

    let cache = slow();
    bucket.ill(&["GET"], &large, Fault::Whole);
    is_whole(&cache);
    assert!(bucket.count("GET", &large) > 1, "parts were asked for");
}
