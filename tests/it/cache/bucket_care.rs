//! `verify`, `ls` and `prune` see the folder and the bucket behind it.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_bucket::{Bucket, Fault, KEY};
use crate::fake_upstream::{Image, Upstream, noise};

const BUCKET: &str = "s3://images/talmirror";
const DAY: Duration = Duration::from_hours(24);

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
            .args(&["--reserve", "0"])
            .args(&["--bucket", BUCKET, "--s3-endpoint", &self.bucket.url(), "--s3-path-style"])
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
            .env("TALMIRROR_CACHE_BUCKET_HASTE", "30")
    }

    /// Pulls an image by its tag, and waits until all of it is in the bucket.
    fn pull(&self, cache: &Cache, repository: &str, image: &Image) {
        let path = format!("/v2/docker.io/{repository}");
        assert_eq!(cache.get(&format!("{path}/manifests/1.0.0")).status, 200, "{}", cache.log());
        for layer in &image.layers {
            assert_eq!(cache.get(&format!("{path}/blobs/{layer}")).status, 200, "{}", cache.log());
        }
        eventually("the image is in the bucket", || {
            let digest = image.digest.replace(':', "-");
            self.parts(image).into_iter().all(|is_there| is_there)
                && self.bucket.keys("/tags/").iter().any(|key| key.ends_with(&digest))
        });
        eventually("nothing waits", || {
            let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
            stats["bucket"]["pending"] == 0
        });
    }

    /// Which of an image's parts are in the bucket: its manifest and its layers.
    fn parts(&self, image: &Image) -> Vec<bool> {
        let layers = image.layers.iter().map(|layer| blob(layer));
        let keys = std::iter::once(manifest(&image.digest)).chain(layers);
        keys.map(|key| self.bucket.get(&key).is_some()).collect()
    }

    /// Runs a command that is told the bucket, on a machine that has the credentials.
    fn told(&self, args: &[&str]) -> Output {
        let bucket = ["--bucket", BUCKET, "--s3-endpoint", &self.bucket.url(), "--s3-path-style"];
        run(&[args, &bucket].concat())
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
        .args(args)
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-bucket")
        .env("TALMIRROR_CACHE_BUCKET_HASTE", "30")
        .output()
        .unwrap()
}

fn blob(digest: &str) -> String {
    format!("talmirror/blobs/{}", digest.replace(':', "/"))
}

fn manifest(digest: &str) -> String {
    format!("talmirror/manifests/{}", digest.replace(':', "/"))
}

/// What a command prints, and with which code it ends.
fn said(output: &Output) -> (Option<i32>, Value) {
    let story = String::from_utf8_lossy(&output.stderr);
    let result = serde_json::from_slice(&output.stdout);
    (output.status.code(), result.unwrap_or_else(|error| panic!("{error}: {story}")))
}

fn story(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn root(cache: &Cache) -> &str {
    cache.root.to_str().unwrap()
}

#[test]
fn what_is_wrong_in_a_bucket_is_found_and_named() {
    let site = Site::new();
    let cache = site.start().run();
    let image = |name: &str, n| site.upstream.image(name, "1.0.0", &[noise(200_000, n), noise(100_000, 1)]);
    let (first, second) = (image("library/first", 2), image("library/second", 3));
    site.pull(&cache, "library/first", &first);
    site.pull(&cache, "library/second", &second);
    let verify = |args: &[&str]| site.told(&[&["verify", "--tier", "bucket", "-o", "json"], args].concat());
    drop(cache);
    // Nobody has pulled the configurations.
    let (code, all) = said(&verify(&[]));
    assert_eq!(
        (code, &all["checked"], &all["damaged"]),
        (Some(0), &5.into(), &Value::Array(vec![])),
        "{all}"
    );
    assert_eq!((&all["tiers"][0]["tier"], &all["incomplete"][0]["missing"]), (&"bucket".into(), &1.into()));
    assert!(all["bytes"].as_u64().unwrap() > 500_000 && all.get("danglingTags").is_none(), "{all}");

    // One bit of a layer, and a manifest that is another text.
    let mut bytes = site.bucket.get(&blob(&first.layers[0])).unwrap();
    bytes[1000] ^= 1;
    site.bucket.put(&blob(&first.layers[0]), &bytes);
    site.bucket.put(&manifest(&second.digest), b"application/json\n{}");
    let (code, only) = said(&verify(&["docker.io/library/second:*"]));
    assert_eq!((code, only["damaged"].as_array().unwrap().len()), (Some(1), 1), "{only}");
    let damaged = &only["damaged"][0];
    assert_eq!((&damaged["kind"], &damaged["key"]), (&"manifest".into(), &manifest(&second.digest).into()));
    assert_eq!(damaged["repositories"], serde_json::json!(["docker.io/library/second"]));
    assert_eq!((site.parts(&first), site.parts(&second)), (vec![true; 3], vec![false, true, true]));

    // What may not be removed is named all the same.
    site.bucket.ill(&["DELETE"], "", Fault::Error(403, "AccessDenied"));
    let output = site.told(&["verify", "--tier", "bucket"]);
    let (out, told) = (String::from_utf8_lossy(&output.stdout).into_owned(), story(&output));
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(out.starts_with("blob ") && out.contains(&format!("bucket:{}", blob(&first.layers[0]))), "{out}");
    assert!(told.contains("still there") && told.contains("denies access"), "{told}");
    site.bucket.heal();
    let (code, all) = said(&verify(&[]));
    assert_eq!(
        (code, &all["damaged"][0]["digest"]),
        (Some(1), &Value::from(first.layers[0].clone())),
        "{all}"
    );
    assert_eq!(site.parts(&first), [true, false, true]);
    // The tag of the manifest that has gone is no damage, and neither are blobs that have gone.
    let (code, all) = said(&verify(&[]));
    assert_eq!(
        (code, &all["danglingTags"][0]["image"]),
        (Some(0), &"docker.io/library/second:1.0.0".into()),
        "{all}"
    );
    assert_eq!((&all["checked"], &all["incomplete"][0]["missing"]), (&3.into(), &2.into()));

    // An entry of a tag that does not say what its name says.
    let tag =
        site.bucket.keys("/tags/").into_iter().find(|key| key.ends_with(&first.digest.replace(':', "-")));
    let tag = tag.unwrap();
    site.bucket.put(&tag, b"{}");
    let (code, all) = said(&verify(&[]));
    let damaged = &all["damaged"][0];
    assert_eq!(
        (code, &damaged["kind"], &damaged["key"]),
        (Some(1), &"tag".into(), &tag.clone().into()),
        "{all}"
    );
    assert!(site.bucket.get(&tag).is_some(), "what the tag was before would count again");
}

/// A server looks into its own bucket, with its own credentials, and writes again what it has.
#[test]
fn a_server_checks_both_tiers() {
    let site = Site::new();
    let cache = site.start().run();
    let image = site.upstream.image("library/x", "1.0.0", &[noise(200_000, 2)]);
    site.pull(&cache, "library/x", &image);
    let sound = site.bucket.get(&blob(&image.layers[0])).unwrap();
    site.bucket.put(&blob(&image.layers[0]), b"something else");
    let (code, both) = said(&run(&["verify", "-o", "json", "--root", root(&cache)]));
    assert_eq!(
        (code, &both["checked"], &both["damaged"][0]["tier"]),
        (Some(1), &4.into(), &"bucket".into()),
        "{both}"
    );
    let tiers = ["local", "bucket"].map(|tier| serde_json::json!({"tier": tier, "checked": 2}));
    for (found, wanted) in both["tiers"].as_array().unwrap().iter().zip(&tiers) {
        assert_eq!((&found["tier"], &found["checked"]), (&wanted["tier"], &wanted["checked"]), "{both}");
    }
    eventually("the cache writes it again", || {
        site.bucket.get(&blob(&image.layers[0])) == Some(sound.clone())
    });
    let (code, both) = said(&run(&["verify", "-o", "json", "--root", root(&cache)]));
    assert_eq!((code, &both["damaged"]), (Some(0), &Value::Array(vec![])), "{both}");
    // The folder alone asks the bucket nothing.
    site.bucket.forget();
    let (code, local) = said(&run(&["verify", "-o", "json", "--tier", "local", "--root", root(&cache)]));
    assert_eq!(
        (code, &local["checked"], site.bucket.count("GET", "talmirror/blobs")),
        (Some(0), &2.into(), 0),
        "{local}"
    );
}

#[test]
fn a_bucket_that_cannot_be_read_is_told_of() {
    let site = Site::new();
    let cache = site.start().run();
    let layers = [noise(200_000, 2), noise(100_000, 3)];
    let image = site.upstream.image("library/x", "1.0.0", &layers);
    site.pull(&cache, "library/x", &image);
    // What can be read is checked.
    site.bucket.ill(&["GET"], &blob(&image.layers[0]), Fault::Error(500, "InternalError"));
    let output = run(&["verify", "-o", "json", "--root", root(&cache)]);
    let (code, both) = said(&output);
    assert_eq!((code, &both["checked"]), (Some(5), &5.into()), "{both}");
    assert_eq!(both["unread"][0]["digest"], Value::from(image.layers[0].clone()));
    assert!(both["unread"][0]["why"].as_str().unwrap().contains("500"), "{both}");
    assert!(story(&output).contains("1 object in the bucket could not be read"), "{}", story(&output));
    let stats: Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    assert_eq!(stats["bucket"]["trouble"], Value::Null, "no pull waits for that");
    site.bucket.heal();
    site.bucket.is_ill(Fault::Error(403, "AccessDenied"));
    for output in [
        run(&["verify", "--root", root(&cache)]),
        site.told(&["verify", "--tier", "both", "--root", "/nonexistent"]),
    ] {
        let told = story(&output);
        assert_eq!(output.status.code(), Some(5), "{told}");
        assert!(told.contains("--tier local") && told.contains("denies access"), "{told}");
    }
    let local = run(&["verify", "--tier", "local", "--root", root(&cache)]);
    assert_eq!(local.status.code(), Some(0), "{}", story(&local));
    let none = run(&["verify", "--tier", "bucket"]);
    assert!(
        none.status.code() == Some(2) && story(&none).contains("nothing says which bucket"),
        "{}",
        story(&none)
    );
}

#[test]
fn a_list_says_where_each_thing_is() {
    let site = Site::new();
    let cache = site.start().run();
    let image = |name: &str, n| site.upstream.image(name, "1.0.0", &[noise(200_000, n), noise(100_000, 1)]);
    let (both, old) = (image("library/both", 2), image("library/old", 3));
    site.pull(&cache, "library/both", &both);
    site.pull(&cache, "library/old", &old);
    let removed = run(&["prune", "docker.io/library/old", "--root", root(&cache)]);
    assert!(removed.status.success(), "{}", story(&removed));
    let list = |args: &[&str]| -> Vec<(String, Value)> {
        let (code, list) = said(&run(&[&["ls", "-o", "json", "--root", root(&cache)], args].concat()));
        assert_eq!(code, Some(0), "{list}");
        let said = |item: &Value| {
            let name = item.get("image").or(item.get("digest")).unwrap().as_str().unwrap().to_owned();
            (name, item["tiers"].clone())
        };
        list["items"].as_array().unwrap().iter().map(said).collect()
    };
    let named =
        |name: &str, tiers: &[&str]| (format!("docker.io/library/{name}:1.0.0"), serde_json::json!(tiers));
    assert_eq!(list(&[]), [named("both", &["local", "bucket"]), named("old", &["bucket"])]);
    assert_eq!(list(&["--tier", "local"]), [named("both", &["local"])]);
    assert_eq!(list(&["--tier", "bucket", "*/old"]), [named("old", &["bucket"])]);
    let objects = list(&["--objects"]);
    let tiers =
        |digest: &str| objects.iter().find(|(name, _)| name == digest).map(|(_, tiers)| tiers.clone());
    assert_eq!(objects.len(), 5);
    assert_eq!(tiers(&old.layers[0]), Some(serde_json::json!(["bucket"])));
    assert_eq!(tiers(&both.layers[0]), Some(serde_json::json!(["local", "bucket"])));

    // A command that is told the bucket looks into it by itself, without a server and without a folder.
    let table = site.told(&["ls", "--tier", "bucket"]);
    let table = String::from_utf8(table.stdout).unwrap();
    let row = table.lines().find(|line| line.contains("library/old")).unwrap_or_else(|| panic!("{table}"));
    assert!(table.contains("TIERS") && row.contains("293.5 KiB") && row.contains("1 missing"), "{table}");
    assert!(row.ends_with("bucket"), "{table}");
    let folder = tempfile::tempdir().unwrap();
    let none = site.told(&["ls", "--root", folder.path().to_str().unwrap()]);
    assert!(none.status.code() == Some(3) && story(&none).contains("--tier bucket"), "{}", story(&none));
    // A server that has another bucket is asked about its folder alone.
    let other = Start::new().upstream("docker.io", &site.upstream.url()).run();
    let (code, all) = said(&site.told(&["ls", "-o", "json", "--root", root(&other)]));
    assert_eq!((code, all["items"].as_array().unwrap().len()), (Some(0), 2), "{all}");
    let one = run(&["ls", "--root", root(&other)]);
    assert!(!String::from_utf8_lossy(&one.stdout).contains("TIERS"), "there is one place alone");
    // Half a list is none.
    site.bucket.is_ill(Fault::Error(503, "SlowDown"));
    let output = run(&["ls", "--root", root(&cache)]);
    assert!(output.status.code() == Some(5) && output.stdout.is_empty(), "{}", story(&output));
    assert!(
        story(&output).contains("--tier local") && story(&output).contains("limits requests"),
        "{}",
        story(&output)
    );
    assert_eq!(list(&["--tier", "local"]), [named("both", &["local"])]);
}

/// A large bucket is listed page by page, and its manifests are read some at a time.
#[test]
fn a_large_bucket_is_listed() {
    let site = Site::new();
    let cache = site.start().run();
    let image = site.upstream.image("library/x", "1.0.0", &[noise(1000, 1)]);
    site.pull(&cache, "library/x", &image);
    for n in 0..30_000_u32 {
        site.bucket.put(&format!("talmirror/blobs/sha256/{n:064x}"), b"x");
    }
    site.bucket.forget();
    let (code, all) = said(&site.told(&["ls", "--objects", "--tier", "bucket", "-o", "json"]));
    assert_eq!((code, all["items"].as_array().unwrap().len()), (Some(0), 30_002));
    assert!(site.bucket.asked().len() < 60, "{}", site.bucket.asked().len());
}

fn names(tags: &Value) -> Vec<&str> {
    tags.as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect()
}

#[test]
fn what_is_named_goes_from_a_bucket_and_what_others_need_stays() {
    let site = Site::new();
    let cache = site.start().run();
    let layers = |n| vec![noise(200_000, n), noise(100_000, 1)];
    let image = |name: &str, n| site.upstream.image(name, "1.0.0", &layers(n));
    let (old, stays, again) = (image("old/a", 2), image("library/stays", 3), image("old/again", 4));
    site.pull(&cache, "old/a", &old);
    site.pull(&cache, "library/stays", &stays);
    site.pull(&cache, "old/again", &again);
    let prune = |args: &[&str]| site.told(&[&["prune", "-o", "json", "--tier", "bucket"], args].concat());
    drop(cache);

    // What is young stays, whatever is wanted.
    let (code, young) = said(&prune(&["docker.io/old/*"]));
    assert_eq!((code, &young["objects"], &young["young"]), (Some(0), &0.into(), &6.into()), "{young}");
    assert_eq!(site.parts(&old), [true; 3]);
    site.bucket.age(DAY * 40);
    let before = site.bucket.keys("").len();
    let (code, planned) = said(&prune(&["docker.io/old/*", "--dry-run"]));
    assert_eq!(names(&planned["tags"]), ["docker.io/old/a:1.0.0", "docker.io/old/again:1.0.0"], "{planned}");
    assert_eq!(
        (code, &planned["objects"], &planned["dryRun"]),
        (Some(0), &4.into(), &true.into()),
        "{planned}"
    );
    assert!(planned["bytes"].as_u64().unwrap() > 400_000, "{planned}");
    assert_eq!(site.bucket.keys("").len(), before, "nothing is written");

    let (code, pruned) = thread::scope(|scope| {
        let pruned = scope.spawn(|| said(&prune(&["docker.io/old/*"])));
        eventually("it is said what is to go", || {
            site.bucket.keys("/condemned").iter().any(|key| !key.contains("done"))
        });
        // One of them is pulled meanwhile, by a cache without a folder.
        let second = site.start().args(&["--tag-ttl", "0s"]).run();
        site.pull(&second, "old/again", &again);
        let pruned = pruned.join().unwrap();
        site.pull(&second, "old/again", &again);
        pruned
    });
    assert_eq!((code, names(&pruned["tags"])), (Some(0), vec!["docker.io/old/a:1.0.0"]), "{pruned}");
    assert_eq!((&pruned["objects"], &pruned["tiers"][0]["tier"]), (&2.into(), &"bucket".into()), "{pruned}");
    assert_eq!(site.parts(&old), [false, false, true], "but for what it shares");
    assert_eq!((site.parts(&stays), site.parts(&again)), (vec![true; 3], vec![true; 3]));
    let grants = site.bucket.keys(&format!("/grants/manifests/{}", old.digest.replace(':', "/")));
    assert_eq!(grants, Vec::<String>::new());
    let (_, nothing) = said(&prune(&["docker.io/old/a:*"]));
    assert_eq!((&nothing["objects"], names(&nothing["tags"]).len()), (&0.into(), 0));
    // Nothing of what is left is missing to a cache that has only the bucket.
    site.upstream.always("/blobs/", crate::fake_upstream::Act::Close);
    let third = site.start().run();
    site.pull(&third, "library/stays", &stays);
}

/// The folder and the bucket of a running server, by age; without a word, the folder alone.
#[test]
fn both_tiers_are_pruned_by_age_and_only_on_purpose() {
    let site = Site::new();
    let cache = site.start().run();
    let image = |name: &str, n| site.upstream.image(name, "1.0.0", &[noise(200_000, n), noise(100_000, 1)]);
    let (old, young) = (image("library/old", 2), image("library/young", 3));
    site.pull(&cache, "library/old", &old);
    site.bucket.age(DAY * 20);
    site.pull(&cache, "library/young", &young);
    site.bucket.age(DAY * 5);
    let prune =
        |args: &[&str]| said(&run(&[&["prune", "-o", "json", "--root", root(&cache)], args].concat()));
    let short = run(&["prune", "--unused-for", "240h", "--tier", "both", "--root", root(&cache)]);
    assert!(short.status.code() == Some(2) && story(&short).contains("336h or more"), "{}", story(&short));
    let (code, by_age) = prune(&["--unused-for", "400h", "--tier", "bucket"]);
    assert_eq!((code, &by_age["objects"]), (Some(0), &2.into()), "{by_age}");
    assert_eq!(names(&by_age["tags"]), ["docker.io/library/old:1.0.0"]);
    assert_eq!((site.parts(&old), site.parts(&young)), (vec![false, false, true], vec![true; 3]));
    let (code, local) = prune(&["--all", "--yes"]);
    assert_eq!(
        (code, &local["objects"], local["tiers"].as_array().unwrap().len()),
        (Some(0), &5.into(), 1),
        "{local}"
    );
    assert_eq!(site.parts(&young), [true; 3], "the bucket is left alone");
    let asked = run(&["prune", "--all", "--tier", "both", "--root", root(&cache)]);
    assert!(asked.status.code() == Some(2) && story(&asked).contains("--yes"), "{}", story(&asked));
    let output = run(&["prune", "--all", "--yes", "--tier", "both", "--root", root(&cache)]);
    let told = story(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("local: removed 0 tags, 0 blobs") && told.contains("bucket: removed 1 tag, 3 blobs"),
        "{told}"
    );
    assert_eq!(site.parts(&young), [false; 3]);
}

#[test]
fn where_nothing_can_be_removed_by_name_it_is_said_why() {
    let site = Site::new();
    let cache = site.start().run();
    let image = site.upstream.image("library/x", "1.0.0", &[noise(1000, 1)]);
    site.pull(&cache, "library/x", &image);
    drop(cache);
    site.bucket.age(DAY * 2);
    let prune = || site.told(&["prune", "docker.io/library/x", "--tier", "bucket"]);
    let fails = |what: &str| {
        let output = prune();
        let told = story(&output);
        assert!(output.status.code() == Some(5) && told.contains(what) && told.contains("help: "), "{told}");
        assert_eq!(site.parts(&image), [true; 2]);
    };
    site.bucket.ill(&["DELETE"], "", Fault::Error(403, "AccessDenied"));
    fails("denies access");
    site.bucket.heal();
    for key in site.bucket.keys("/probes/") {
        site.bucket.remove(&key);
    }
    site.bucket.put("talmirror/collections/00000000000000000007/claim", b"");
    fails("is under way");
    site.bucket.age(DAY);
    site.bucket.ignore_conditions();
    fails("conditions of writes");
}
