//! `warm`: images pulled through a mirror: each layer once, verified, resumed, and told where it cannot be.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cache_process::{Start, eventually};
use crate::fake_upstream::{Act, Upstream, noise};
use crate::run::{Place, Ran};

fn inventory(kind: &str, url: &str, more: &str) -> String {
    format!(
        "apiVersion: talmirror/v1
kind: Inventory
talos: {{version: v1.13}}
mirrors: {{hub: {{{kind}, url: '{url}'}}}}
registries: {{reg.test: {{}}{more}}}
defaults: {{via: [hub], fallback: never}}
lint: {{allow: [W220, W210]}}
"
    )
}

fn items(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"))
}

fn states(ran: &Ran) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    items(ran).iter().map(|item| (text(&item["image"]), text(&item["state"]))).collect()
}

/// Images that share a layer: `reg.test/a/0:1`, `reg.test/a/1:1` and so on.
fn images(server: &Upstream, prefix: &str, number: u64) -> String {
    let shared = noise(20_000, 99);
    let image = |at: u64| {
        server.image(&format!("{prefix}a/{at}"), "1", &[shared.clone(), noise(3000, at)]);
        format!("reg.test/a/{at}:1\n")
    };
    (0..number).map(image).collect()
}

/// How often each blob was asked for.
fn blobs(server: &Upstream) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for seen in server.seen().iter().filter(|seen| seen.path.contains("/blobs/")) {
        *counted.entry(seen.path.rsplit('/').next().unwrap().to_owned()).or_default() += 1;
    }
    counted
}

#[test]
fn many_images_through_the_cache() {
    let upstream = Upstream::start();
    let list = images(&upstream, "", 50);
    let cache = Start::new().upstream("reg.test", &upstream.url()).run();
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &cache.url(), ""));
    let ran = place.run("warm - -o json").stdin(&list).ends(0);
    assert_eq!(items(&ran).len(), 50);
    assert!(states(&ran).values().all(|state| state == "cached"), "{ran}");
    let counted = blobs(&upstream);
    // A layer of each image, its configuration, and the layer that all share.
    assert_eq!((counted.len(), counted.values().max()), (101, Some(&1)));
    // What is cached is served without the registry.
    upstream.forget();
    let warm = cache.get("/v2/a/7/manifests/1?ns=reg.test");
    assert_eq!(warm.outcome().0, 200);
    assert!(blobs(&upstream).is_empty());
}

#[test]
fn what_a_run_fetched_is_not_fetched_by_the_next_one() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 3);
    mirror.always("/a/2/manifests/", Act::error(500, "UNKNOWN"));
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    let ran = place.run("warm - -o json").stdin(&list).ends(1);
    let failed = items(&ran).into_iter().find(|item| item["state"] == "failed").unwrap();
    assert_eq!((failed["image"].as_str(), failed["cause"].as_str()), (Some("reg.test/a/2:1"), Some("V318")));
    let before = blobs(&mirror);
    mirror.heal();
    mirror.forget();
    place.run("warm -").stdin(&list).ends(0);
    let after = blobs(&mirror);
    assert!(after.keys().all(|blob| !before.contains_key(blob)), "{before:?} {after:?}");
    // All is done: the next run begins from the start.
    mirror.forget();
    place.run("warm -").stdin(&list).ends(0);
    assert!(blobs(&mirror).len() > before.len());
}

#[test]
fn a_run_that_is_stopped_goes_on() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 3);
    mirror.always("/a/2/manifests/", Act::Hang);
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), "")).write("list", &list);
    let mut child = place
        .run("warm list -o json")
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Two images have a layer of their own each, a configuration each, and one layer together.
    let state = place.path(".local/state/talmirror/warm");
    let noted = || {
        let files = std::fs::read_dir(&state).into_iter().flatten().flatten();
        files
            .map(|file| std::fs::read_to_string(file.path()).unwrap_or_default().lines().count())
            .sum::<usize>()
    };
    eventually("two images", || noted() == 5);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    mirror.heal();
    mirror.forget();
    let ran = place.run("warm list -o json").ends(0);
    assert_eq!(blobs(&mirror).len(), 2, "the third image's own layer and configuration\n{ran}");
}

#[test]
fn layers_are_verified_and_resumed() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 1);
    let layer = mirror.blob(noise(3000, 0));
    mirror.rule(Some("GET"), &layer, 1, Act::Cut(1000));
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    place.run("warm -").stdin(&list).ends(0);
    let asked: Vec<String> = (mirror.seen().iter())
        .filter(|seen| seen.path.ends_with(&layer))
        .map(|seen| seen.header("range").unwrap_or("-").to_owned())
        .collect();
    assert_eq!(asked, ["-", "bytes=1000-"]);
    // A connection that breaks after the last byte: all is there.
    let late = mirror.image("a/late", "1", &[noise(3000, 77)]);
    mirror.always(&late.layers[0], Act::LongLength(10));
    place.run("warm -").stdin("reg.test/a/late:1").ends(0);
    assert_eq!(mirror.count("GET", &late.layers[0]), 1);
    let packed = mirror.image("a/packed", "1", &[noise(3000, 78)]);
    mirror.always(&packed.layers[0], Act::Gzip { says: true });
    let ran = place.run("warm - -o json").stdin("reg.test/a/packed:1").ends(1);
    assert_eq!(items(&ran)[0]["cause"], "V323", "{ran}");
    assert!(items(&ran)[0]["evidence"].as_str().unwrap().contains("answers compressed"), "{ran}");
    mirror.always("/blobs/", Act::WrongBytes);
    let ran = place.run("warm - -o json").stdin(&list).ends(1);
    assert_eq!(items(&ran)[0]["cause"], "V316", "{ran}");
}

/// A layer that one repository does not serve is no fault of the other one that has it.
#[test]
fn a_layer_that_fails_is_asked_for_by_each_image() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 4);
    let shared = mirror.blob(noise(20_000, 99));
    mirror.always(&format!("/a/2/blobs/{shared}"), Act::error(404, "BLOB_UNKNOWN"));
    let place = Place::new();
    // What one repository of a Harbor has says nothing of the others.
    place.write("mirrors.yaml", inventory("kind: plain", &mirror.url(), ""));
    let ran = place.run("warm - -o json").stdin(&list).ends(1);
    let failed: Vec<String> =
        states(&ran).into_iter().filter(|(_, state)| state == "failed").map(|(image, _)| image).collect();
    assert_eq!(failed, ["reg.test/a/2:1"], "{ran}");
    assert_eq!(mirror.count("GET", &shared), 4, "once for each repository");
}

/// Wrong bytes are wrong for every image: one download says so.
#[test]
fn a_layer_that_is_damaged_is_fetched_once() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 4);
    let shared = mirror.blob(noise(20_000, 99));
    mirror.always(&format!("/blobs/{shared}"), Act::WrongBytes);
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    let ran = place.run("warm - -o json").stdin(&list).ends(1);
    assert!(items(&ran).iter().all(|item| item["cause"] == "V316"), "{ran}");
    assert_eq!(mirror.count("GET", &shared), 1, "{ran}");
}

#[test]
fn a_body_that_goes_on_behind_the_layer_is_not_read() {
    let mirror = Upstream::start();
    let image = mirror.image("a/b", "1", &[noise(3000, 1)]);
    mirror.blob_as(&image.layers[0], noise(9000, 1));
    // It goes on when the test ends, and not before.
    mirror.always(&image.layers[0], Act::Stall(4000));
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    let ran = place.run("warm - -o json").stdin("reg.test/a/b:1").ends(1);
    let item = &items(&ran)[0];
    assert_eq!(item["cause"], "V316", "{ran}");
    let said = item["evidence"].as_str().unwrap();
    assert!(said.contains("has more than the 3000 bytes that its manifest says"), "{ran}");
}

/// What stands behind a `?` may be a signature, and is not told.
#[test]
fn requests_are_told_when_asked_for() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 1);
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    let told = place.run("warm - -v").stdin(&list).ends(0);
    let line = told.stderr.lines().find(|line| line.contains("/manifests/"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("answered method=GET") && line.contains("status=200"), "{line}");
    assert!(!told.stderr.contains('?'), "{told}");
    assert!(!place.run("warm -").stdin(&list).ends(0).stderr.contains("answered"));
}

#[test]
fn signatures_that_cannot_be_asked_for() {
    let mirror = Upstream::start();
    let list = images(&mirror, "", 1);
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    for (status, cause) in [(503, Some("V318")), (429, Some("V317")), (404, None), (405, None)] {
        mirror.heal();
        mirror.always("/referrers/", Act::error(status, "UNSUPPORTED"));
        let ran = place.run("warm - -o json").stdin(&list).ran();
        assert_eq!(items(&ran)[0]["cause"].as_str(), cause, "{status}: {ran}");
    }
}

#[test]
fn platforms_signatures_and_what_has_no_mirror() {
    let mirror = Upstream::start();
    let (amd, arm) =
        (mirror.image("a/b", "amd", &[noise(100, 1)]), mirror.image("a/b", "arm", &[noise(100, 2)]));
    let index = mirror.index("a/b", "1", &[&amd, &arm]);
    mirror.referrer("a/b", &index, "application/vnd.dev.sigstore.bundle.v0.3+json");
    let sig = mirror.image("a/b", "sig", &[noise(100, 3)]);
    mirror.tag("a/b", &format!("{}.sig", index.replace(':', "-")), &sig.digest);
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), ""));
    let had = |line: &str, list: &str| {
        mirror.forget();
        let ran = place.run(&format!("warm - -o json {line}")).stdin(list).ran();
        let has = |layer: &str| mirror.count("GET", layer) > 0;
        let got = (has(&amd.layers[0]), has(&arm.layers[0]), has(&sig.layers[0]));
        (got, items(&ran)[0]["referrers"].clone())
    };
    assert_eq!(had("", "reg.test/a/b:1"), ((true, false, true), json!(2)));
    assert_eq!(had("--platform linux/arm64", "reg.test/a/b:1"), ((false, true, true), json!(2)));
    assert_eq!(had("--platform all", "reg.test/a/b:1"), ((true, true, true), json!(2)));
    let pinned = format!("reg.test/a/b@{index}");
    assert_eq!(had("", &pinned).0, (true, true, true), "an image by digest needs all of its index");
    let ran = place.run("warm - -o json").stdin("other.test/x/y:1").ends(1);
    assert_eq!(
        (&items(&ran)[0]["state"], &items(&ran)[0]["evidence"]),
        (&json!("skipped"), &json!("no mirror is in its route"))
    );
    assert!(place.run("warm - --platform x").stdin("a:1").ends(2).stderr.contains("platform"));
}

#[test]
fn a_mirror_that_fetches_by_itself_is_asked_until_it_has_them() {
    let mirror = Upstream::start();
    let list = images(&mirror, "hub/", 1);
    mirror.rule(Some("HEAD"), "/blobs/", 1, Act::error(404, "BLOB_UNKNOWN"));
    let place = Place::new();
    place.write("mirrors.yaml", inventory("kind: path, path: v2/hub", &mirror.url(), ""));
    place.run("warm - --mode manifests").stdin(&list).ends(0);
    assert_eq!(mirror.count("GET", "/blobs/"), 0, "no layer is read");
    assert_eq!(mirror.count("HEAD", "/blobs/"), 4);
}

#[test]
fn a_reserve_of_docker_hubs_quota_is_left_alone() {
    let (mirror, hub) = (Upstream::start(), Upstream::start());
    for server in [&mirror, &hub] {
        server.image("library/nginx", "1", &[noise(100, 1)]);
    }
    hub.always("/manifests/", Act::With("RateLimit-Limit", "100;w=21600".into()));
    hub.always("/manifests/", Act::With("RateLimit-Remaining", "30;w=21600".into()));
    let place = Place::new();
    let more = format!(", docker.io: {{via: [hub, upstream], upstream: {{url: '{}'}}}}", hub.url());
    place.write("mirrors.yaml", inventory("kind: cache", &mirror.url(), &more));
    let ran = place.run("warm - -o json --hub-reserve 30").stdin("nginx:1").ends(1);
    assert_eq!(
        items(&ran)[0]["evidence"],
        "30 pulls of Docker Hub are left, 0 images are under way, and 30 are reserved",
        "{ran}"
    );
    assert!(mirror.seen().is_empty() && hub.seen().iter().all(|seen| seen.method == "HEAD"));
    // What was fetched beside it is not fetched again by the run that has quota left.
    mirror.image("a/b", "1", &[noise(100, 2)]);
    let list = "nginx:1\nreg.test/a/b:1\n";
    place.run("warm - --hub-reserve 30").stdin(list).ends(1);
    assert_eq!(mirror.count("GET", "/a/b/blobs/"), 2);
    place.run("warm - --hub-reserve 29").stdin(list).ends(0);
    assert_eq!(mirror.count("GET", "/a/b/blobs/"), 2);
    // Images that wait for others take nothing of the quota.
    let names = ["nginx", "redis", "httpd"].map(|name| {
        for server in [&mirror, &hub] {
            server.image(&format!("library/{name}"), "1", &[noise(100, 1)]);
        }
        format!("{name}:1\n")
    });
    place.run("warm - --hub-reserve 29 --parallel 1").stdin(names.concat()).ends(0);
}

/// An upgrade's images before the upgrade, of a Talos that is newer than this program.
#[test]
fn what_an_upgrade_needs() {
    let mirror = Upstream::start();
    mirror.image("metal-installer/abc", "v1.15.0", &[noise(100, 1)]);
    let place = Place::new();
    let inventory = inventory("kind: cache", &mirror.url(), ", factory.talos.dev: {}");
    place.write("mirrors.yaml", inventory);
    let ran = place.run("warm --talos-version v1.15.0 --schematic abc -o json").ends(0);
    let wanted = json!([{"image": "factory.talos.dev/metal-installer/abc:v1.15.0", "state": "cached"}]);
    let got: Vec<Value> =
        items(&ran).iter().map(|item| json!({"image": item["image"], "state": item["state"]})).collect();
    assert_eq!(Value::from(got), wanted, "{ran}");
    assert!(
        ran.stderr.contains("does not know its versions of etcd, pause, CoreDNS, flannel, kubelet"),
        "{ran}"
    );
    let ran = place.run("warm --talos-version v1.15 --schematic abc").ends(2);
    assert!(ran.stderr.contains("name the patch, such as v1.15.0, and --kubernetes-version"), "{ran}");
}
