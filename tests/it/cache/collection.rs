//! What of a bucket no image needs goes, and nothing else, whatever caches do meanwhile.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_bucket::{Bucket, Fault, KEY};
use crate::fake_upstream::{Image, Upstream, noise};

const BUCKET: &str = "s3://images/talmirror";
const DAY: Duration = Duration::from_hours(24);
/// How many times as fast as usual collections are.
const HASTE: &str = "30";

/// What caches share: an upstream and a bucket.
struct Site {
    upstream: Upstream,
    bucket: Bucket,
}

impl Site {
    fn new() -> Self {
        Self { upstream: Upstream::start(), bucket: Bucket::start() }
    }

    fn start(&self) -> Start {
        Start::new()
            .upstream("docker.io", &self.upstream.url())
            .args(&["--tag-ttl", "0s"])
            .args(&["--bucket", BUCKET, "--s3-endpoint", &self.bucket.url(), "--s3-path-style"])
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
            .env("TALMIRROR_CACHE_BUCKET_HASTE", HASTE)
    }

    /// Collects by hand, on a machine that has nothing but the credentials.
    fn gc(&self, args: &[&str]) -> Output {
        self.gc_command(args).output().unwrap()
    }

    fn gc_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"));
        command
            .args(["gc", "--bucket", BUCKET, "--s3-endpoint", &self.bucket.url(), "--s3-path-style"])
            .args(args)
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
            .env("TALMIRROR_CACHE_BUCKET_HASTE", HASTE);
        command
    }

    fn collect(&self, args: &[&str]) -> Value {
        let output = self.gc(&[&["-o", "json"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn has(&self, folder: &str, digest: &str) -> bool {
        self.bucket.get(&format!("talmirror/{folder}/{}", digest.replace(':', "/"))).is_some()
    }

    /// Which of an image's parts are in the bucket: its manifest and its layers.
    fn parts(&self, image: &Image) -> Vec<bool> {
        let layers = image.layers.iter().map(|layer| self.has("blobs", layer));
        std::iter::once(self.has("manifests", &image.digest)).chain(layers).collect()
    }

    /// Pulls an image by its tag, and waits until all of it is in the bucket.
    fn pull(&self, cache: &Cache, repository: &str, image: &Image) {
        pull(cache, repository, "1.0.0", image);
        eventually("the image is in the bucket", || {
            let is_there = self.parts(image).into_iter().all(|is_there| is_there);
            let digest = image.digest.replace(':', "-");
            is_there && self.bucket.keys("/tags/").iter().any(|key| key.ends_with(&digest))
        });
        eventually("nothing waits", || state(cache)["pending"] == 0);
    }
}

fn pull(cache: &Cache, repository: &str, reference: &str, image: &Image) {
    let path = format!("/v2/docker.io/{repository}");
    let manifest = cache.get(&format!("{path}/manifests/{reference}"));
    assert_eq!((manifest.status, &manifest.body), (200, &image.manifest), "{}", cache.log());
    for layer in &image.layers {
        let blob = cache.get(&format!("{path}/blobs/{layer}"));
        assert_eq!((blob.status, blob.whole), (200, true), "{}", cache.log());
    }
}

fn state(cache: &Cache) -> Value {
    let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    stats["bucket"].clone()
}

#[test]
fn what_no_image_needs_goes_and_what_is_pulled_meanwhile_stays() {
    let site = Site::new();
    let layers = |n: u64| vec![noise(200_000, n), noise(100_000, 1)];
    let first = site.start().run();
    let again = site.upstream.image("library/again", "1.0.0", &layers(2));
    site.pull(&first, "library/again", &again);
    let gone = site.upstream.image("library/gone", "1.0.0", &layers(3));
    site.pull(&first, "library/gone", &gone);
    let stays = site.upstream.image("library/stays", "1.0.0", &layers(4));
    site.pull(&first, "library/stays", &stays);
    let other = |repository: &str, n| site.upstream.image(repository, "1.0.0", &layers(n));
    let (moved_again, moved_gone) = (other("library/again", 5), other("library/gone", 6));
    site.pull(&first, "library/again", &moved_again);
    site.pull(&first, "library/gone", &moved_gone);
    site.bucket.age(DAY * 40);

    let planned = site.collect(&["--dry-run"]);
    assert_eq!((&planned["manifests"], &planned["blobs"]), (&Value::from(2), &Value::from(2)), "{planned}");
    assert_eq!(planned["items"].as_array().unwrap().len(), 4);
    assert!(planned["items"].to_string().contains("docker.io/library/gone"), "{planned}");
    assert_eq!(planned["supersededTags"], 2);
    assert_eq!(site.bucket.keys("/collections/"), Vec::<String>::new(), "nothing is written");

    let collected = thread::scope(|scope| {
        let collected = scope.spawn(|| site.collect(&[]));
        eventually("it is said what is to go", || !site.bucket.keys("/condemned").is_empty());
        // One of the two images that nobody needs is what a tag stands for again, and a cache without a folder pulls it.
        site.upstream.manifest(
            "library/again",
            Some("1.0.0"),
            "application/vnd.oci.image.manifest.v1+json",
            &again.manifest,
        );
        let second = site.start().run();
        pull(&second, "library/again", "1.0.0", &again);
        eventually("what the tag is is written", || {
            let digest = again.digest.replace(':', "-");
            site.bucket.keys("/tags/").iter().any(|key| key.ends_with(&digest))
        });
        // And one that is needed is pulled as well.
        pull(&second, "library/stays", "1.0.0", &stays);
        let collected = collected.join().unwrap();
        eventually("nothing waits", || state(&second)["pending"] == 0);
        collected
    });
    assert_eq!(site.parts(&again), [true; 3], "it is in use again");
    assert_eq!(site.parts(&moved_gone), [true; 3]);
    assert_eq!(site.parts(&stays), [true; 3]);
    assert_eq!(site.parts(&gone), [false, false, true], "but for what it shares");
    assert_eq!((&collected["manifests"], &collected["blobs"]), (&Value::from(1), &Value::from(1)));
    assert!(collected["freedBytes"].as_u64().unwrap() > 200_000, "{collected}");
    let grants =
        |image: &Image| site.bucket.keys(&format!("/grants/manifests/{}", image.digest.replace(':', "/")));
    assert_eq!((grants(&gone).len(), grants(&again).len()), (0, 1));

    // Nothing of what is left is missing to a cache that has only the bucket.
    site.upstream.always("/blobs/", crate::fake_upstream::Act::Close);
    let third = site.start().run();
    pull(&third, "library/again", "1.0.0", &again);
    pull(&third, "library/stays", "1.0.0", &stays);
    pull(&third, "library/gone", "1.0.0", &moved_gone);
    // What the tag stood for in between is needed no more.
    let collected = site.collect(&[]);
    assert_eq!((&collected["manifests"], &collected["blobs"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(site.parts(&moved_again), [false, false, true]);
    assert_eq!((site.parts(&again), site.parts(&stays)), (vec![true; 3], vec![true; 3]));
    let nothing = site.collect(&[]);
    assert_eq!((&nothing["manifests"], &nothing["blobs"]), (&Value::from(0), &Value::from(0)), "{nothing}");
}

/// One of the caches does it by itself, and what that gave, all of them say.
#[test]
fn caches_collect_by_themselves() {
    let site = Site::new();
    let args = ["--metrics-listen", "127.0.0.1:0", "--bucket-max-age", "2000h"];
    let caches = [(); 2].map(|()| site.start().args(&args).run());
    let before = site.upstream.image("library/x", "1.0.0", &[noise(200_000, 2)]);
    site.pull(&caches[0], "library/x", &before);
    let after = site.upstream.image("library/x", "1.0.0", &[noise(200_000, 3)]);
    site.pull(&caches[0], "library/x", &after);
    eventually("it is said since when is collected", || !site.bucket.keys("/since-").is_empty());
    site.bucket.age(DAY * 40);
    eventually("what is old goes", || site.parts(&before) == [false; 2]);
    assert_eq!(site.parts(&after), [true; 2]);
    let is_told = |cache: &Cache| state(cache)["collection"]["blobs"] == 1;
    eventually("one of them says it", || caches.iter().any(is_told));
    let cache = caches.iter().find(|cache| is_told(cache)).unwrap();
    let collection = state(cache)["collection"].clone();
    assert_eq!(collection["trouble"], Value::Null, "{collection}");
    assert!(collection["freedBytes"].as_u64().unwrap() > 200_000 && collection["kept"] == 2, "{collection}");
    let stats = cache.command(&["stats"]);
    assert!(stats.contains("LAST COLLECTION") && stats.contains("1 manifests, 1 blobs"), "{stats}");
    let metrics = || {
        let log = cache.log();
        let url = log.lines().find_map(|line| line.strip_prefix("metrics on http://")).unwrap();
        let mut stream = std::net::TcpStream::connect(url.strip_suffix("/metrics").unwrap()).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    };
    eventually("the metrics say it", || {
        let metrics = metrics();
        ["objects 2\n", "not_collected 0\n"]
            .iter()
            .all(|what| metrics.contains(&format!("talmirror_cache_bucket_{what}")))
    });
}

/// What is served from folders is written again as often as limits need it: before there was one, it was not.
#[test]
fn what_was_there_before_a_limit_stays_until_caches_could_renew_it() {
    let site = Site::new();
    let cache = site.start().run();
    let before = site.upstream.image("library/x", "1.0.0", &[noise(200_000, 2)]);
    site.pull(&cache, "library/x", &before);
    let after = site.upstream.image("library/x", "1.0.0", &[noise(200_000, 3)]);
    site.pull(&cache, "library/x", &after);
    site.bucket.age(DAY * 40);
    assert_eq!(cache.stop(), 0);
    let cache = site.start().args(&["--bucket-max-age", "24h", "--bucket-max-size", "1KiB"]).run();
    eventually("a collection has ended", || state(&cache)["collection"]["endedAt"].is_string());
    assert_eq!((site.parts(&before), site.parts(&after)), (vec![true; 2], vec![true; 2]));
}

/// A list that is not whole would make of what is in use what nobody needs.
#[test]
fn a_store_that_does_not_say_where_a_list_goes_on_ends_a_collection() {
    let site = Site::new();
    let cache = site.start().run();
    let image = site.upstream.image("library/x", "1.0.0", &[noise(200_000, 2)]);
    site.pull(&cache, "library/x", &image);
    site.bucket.age(DAY * 40);
    site.bucket.ill(&["GET"], "", Fault::Endless);
    let output = site.gc(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(5) && said.contains("a list goes on"), "{said}");
    assert_eq!(site.parts(&image), [true; 2]);
}

#[test]
fn images_out_of_use_go_by_age_and_by_size() {
    let site = Site::new();
    let cache = site.start().run();
    let image = |name: &str, n| site.upstream.image(name, "1.0.0", &[noise(200_000, n)]);
    let (old, young) = (image("library/old", 2), image("library/young", 3));
    site.pull(&cache, "library/old", &old);
    site.bucket.age(DAY * 10);
    site.pull(&cache, "library/young", &young);
    site.bucket.age(DAY * 10);
    let freed = |args: &[&str]| {
        let planned = site.collect(&[&["--dry-run"], args].concat());
        (planned["tags"].as_u64().unwrap(), planned["blobs"].as_u64().unwrap())
    };
    assert_eq!(freed(&[]), (0, 0));
    assert_eq!(freed(&["--bucket-max-age", "720h"]), (0, 0));
    assert_eq!(freed(&["--bucket-max-age", "360h"]), (1, 1));
    assert_eq!(freed(&["--bucket-max-age", "200h"]), (2, 2));
    assert_eq!(freed(&["--bucket-max-size", "500KiB"]), (0, 0));
    assert_eq!(freed(&["--bucket-max-size", "100KiB"]), (2, 2));
    site.collect(&["--bucket-max-size", "300KiB"]);
    assert_eq!((site.parts(&old), site.parts(&young)), (vec![false; 2], vec![true; 2]));
    assert_eq!(site.bucket.keys("/tags/").len(), 1);
    let output = site.gc(&["--bucket-max-age", "1h"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("24h or more"), "{said}");
}

#[test]
fn what_caches_left_behind_goes() {
    let site = Site::new();
    let cache = site.start().run();
    site.pull(&cache, "library/x", &site.upstream.image("library/x", "1.0.0", &[noise(1000, 1)]));
    let hex = "07".repeat(32);
    for key in [&format!("leases/sha256/{hex}"), "members/68747470/00000001", "probes/0123", "else/x"] {
        site.bucket.put(&format!("talmirror/{key}"), b"");
    }
    // Of others, who keep things in the same bucket.
    let foreign = ["members/alice.json", "probes/blobs/x", "leases/manifests/x", "tags/tags/0/1"];
    for key in foreign {
        site.bucket.put(&format!("talmirror/{key}"), b"");
    }
    // Of other caches, under a prefix that begins alike, and under none.
    let (beside, above) = (format!("talmirror2/blobs/sha256/{hex}"), format!("blobs/sha256/{hex}"));
    for key in [&beside, &above] {
        site.bucket.put(key, b"");
    }
    site.bucket.begin_upload("talmirror/uploads/of-others");
    site.bucket.begin_upload(&format!("talmirror/blobs/sha256/{hex}"));
    site.bucket.begin_upload("another/upload");
    site.bucket.age(DAY * 2);
    site.bucket.put("talmirror/leases/sha256/young", b"");
    site.bucket.begin_upload("talmirror/blobs/young");
    let collected = site.collect(&[]);
    assert_eq!((&collected["leftovers"], &collected["uploads"]), (&Value::from(3), &Value::from(1)));
    assert_eq!(collected["trouble"], Value::Null);
    assert!(site.bucket.get("talmirror/leases/sha256/young").is_some());
    assert_eq!(site.bucket.keys("/else/").len(), 1, "what nobody knows is left alone");
    for key in foreign {
        assert!(site.bucket.get(&format!("talmirror/{key}")).is_some(), "{key}");
    }
    assert_eq!((site.bucket.keys("/members/").len(), site.bucket.uploads()), (1, 3));
    assert!(site.bucket.get(&beside).is_some() && site.bucket.get(&above).is_some());
}

#[test]
fn a_bucket_from_which_nothing_may_be_removed_is_told_of_and_used() {
    let site = Site::new();
    site.bucket.ill(&["DELETE"], "", Fault::Error(403, "AccessDenied"));
    let cache = site.start().args(&["--bucket-max-age", "2000h"]).run();
    let image = site.upstream.image("library/x", "1.0.0", &[noise(1000, 1)]);
    site.pull(&cache, "library/x", &image);
    let output = site.gc(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains("cannot remove `talmirror/probes/") && said.contains("cannot be removed"),
        "{said}"
    );
    eventually("the cache says it, too", || {
        let trouble = state(&cache)["collection"]["trouble"].as_str().unwrap_or_default().to_owned();
        trouble.contains("cannot remove")
    });
    assert_eq!(state(&cache)["trouble"], Value::Null, "it is written to all the same");
}

#[test]
fn two_do_not_collect_at_once() {
    let site = Site::new();
    let nothing = site.gc(&[]);
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(
        nothing.status.code() == Some(3) && said.contains("there is nothing of talmirror-cache"),
        "{said}"
    );
    site.bucket.is_ill(Fault::Error(403, "AccessDenied"));
    let refused = site.gc(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(5)
            && said.contains("cannot look into the bucket")
            && said.contains("help: "),
        "{said}"
    );
    site.bucket.heal();
    let cache = site.start().run();
    site.pull(&cache, "library/x", &site.upstream.image("library/x", "1.0.0", &[noise(1000, 1)]));
    site.bucket.put("talmirror/collections/00000000000000000007/claim", b"");
    let output = site.gc(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(5) && said.contains("is under way"), "{said}");
    // Nobody goes on with it.
    site.bucket.age(DAY);
    site.collect(&[]);
    let keys = site.bucket.keys("/collections/");
    assert!(
        keys.iter().all(|key| !key.contains("07/claim") || keys.iter().any(|key| key.contains("07/done")))
    );
    assert!(keys.iter().any(|key| key.contains("08/done")), "{keys:?}");
    // Two that may both write what only one may write cannot keep out of each other's way.
    site.bucket.ignore_conditions();
    let output = site.gc(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(5) && said.contains("conditions of writes"), "{said}");
}

/// One that is stopped holds up no other.
#[test]
fn a_collection_that_is_interrupted_lets_go() {
    let site = Site::new();
    let cache = site.start().run();
    site.pull(&cache, "library/x", &site.upstream.image("library/x", "1.0.0", &[noise(1000, 1)]));
    site.bucket.put(&format!("talmirror/blobs/sha256/{}", "07".repeat(32)), b"x");
    site.bucket.age(DAY * 2);
    let child = site.gc_command(&[]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("it is said what is to go", || !site.bucket.keys("/condemned").is_empty());
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(130) && said.contains("was stopped"), "{said}");
    assert_eq!(site.collect(&[])["blobs"], 1);
}

/// A folder that was filled before there was a bucket is written there.
#[test]
fn a_folder_is_uploaded() {
    let (site, folder) = (Site::new(), tempfile::tempdir().unwrap());
    let layers = [noise(200_000, 1), noise(9 << 20, 2)];
    let image = site.upstream.image("library/x", "1.0.0", &layers);
    let alone = || Start::new().upstream("docker.io", &site.upstream.url()).root(folder.path().join("cache"));
    let cache = alone().run();
    pull(&cache, "library/x", "1.0.0", &image);
    eventually("it is stored", || {
        let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
        stats["blobs"] == 2
    });
    let upload = |args: &[&str]| {
        let root = folder.path().join("cache");
        let upstream = format!("docker.io={}", site.upstream.url());
        Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
            .args(["upload", "-o", "json", "--root", root.to_str().unwrap(), "--upstream", &upstream])
            .args(["--bucket", BUCKET, "--s3-endpoint", &site.bucket.url(), "--s3-path-style"])
            .args(args)
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
            .output()
            .unwrap()
    };
    let uploaded = |args: &[&str]| -> Value {
        let output = upload(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // A server that has no bucket writes nothing.
    let said = String::from_utf8(upload(&[]).stderr).unwrap();
    assert!(said.contains("has no bucket"), "{said}");
    assert_eq!(cache.stop(), 0);
    let all = |said: &Value| ["manifests", "blobs", "tags"].map(|what| said[what].as_u64().unwrap());
    assert_eq!(all(&uploaded(&["--dry-run"])), [1, 2, 1]);
    assert_eq!(site.parts(&image), [false; 3]);
    // What cannot be written now is sent later, and what is there is not sent again.
    site.bucket.put(&format!("talmirror/blobs/{}", image.layers[0].replace(':', "/")), &layers[0]);
    assert_eq!(all(&uploaded(&[])), [1, 1, 1]);
    assert_eq!(site.parts(&image), [true; 3]);
    assert_eq!(all(&uploaded(&["--dry-run"])), [0, 0, 1]);
    site.upstream.always("/", crate::fake_upstream::Act::Close);
    let other = site.start().run();
    pull(&other, "library/x", "1.0.0", &image);
    // It would write again what is missing.
    drop(other);
    // A server that has a bucket does it by itself.
    for key in site.bucket.keys("/blobs/") {
        site.bucket.remove(&key);
    }
    let server = site.start().root(folder.path().join("cache")).run();
    assert_eq!(all(&uploaded(&[])), [0, 2, 1]);
    eventually("all of it is there again", || site.parts(&image) == [true; 3]);
    drop(server);
}
