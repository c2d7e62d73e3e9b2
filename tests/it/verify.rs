//! `verify`: every host of every route asked by itself; each broken way named for what it is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::fake_upstream::{Act, Auth, Bearer, Image, OCI_MANIFEST, Upstream, noise};
use crate::run::{Place, Ran};

/// Whether the registry itself is asked after its mirror.
#[derive(Clone, Copy)]
enum Then {
    Upstream,
    Nothing,
}

/// An inventory with one mirror of one registry, which are both servers of the test.
///
/// containerd adds `https://reg.test` unless there is no fallback, so the upstream is a hop of its own here.
fn inventory(mirror: &str, upstream: &str, more: &str, then: Then) -> String {
    let via = match then {
        Then::Upstream => "hub, upstream",
        Then::Nothing => "hub",
    };
    format!(
        "apiVersion: talmirror/v1
kind: Inventory
talos: {{version: v1.13}}
mirrors:
  hub: {{kind: path, url: '{mirror}', path: 'v2/hub'{more}}}
registries:
  reg.test: {{via: [{via}], upstream: {{url: '{upstream}'}}}}
defaults: {{fallback: never}}
verify: {{images: ['reg.test/a/b:1']}}
"
    )
}

/// Serves the image at the registry, and under the mirror's path.
fn serve(server: &Upstream) -> (Image, Image) {
    let layers = [noise(4000, 1), noise(9000, 2)];
    (server.image("a/b", "1", &layers), server.image("hub/a/b", "1", &layers))
}

fn verify(place: &Place, line: &str) -> Ran {
    place.run(&format!("verify {line} --timeout 2s")).ran()
}

/// What was found, one line a host: its name and its cause.
fn causes(ran: &Ran) -> Vec<String> {
    let items: Vec<Value> =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    let keys: BTreeSet<&str> = items[0].as_object().unwrap().keys().map(String::as_str).collect();
    let want = ["image", "nodes", "via", "hop", "url", "ok", "cause", "evidence", "fix"];
    assert_eq!(keys, want.into_iter().collect());
    items
        .iter()
        .map(|item| format!("{} {}", item["via"].as_str().unwrap(), item["cause"].as_str().unwrap_or("-")))
        .collect()
}

#[test]
fn hosts_that_serve() {
    let (mirror, upstream) = (Upstream::start(), Upstream::start());
    serve(&mirror);
    serve(&upstream);
    let place = Place::new();
    place.write("mirrors.yaml", inventory(&mirror.url(), &upstream.url(), "", Then::Upstream));
    let ran = verify(&place, "-o json");
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(causes(&ran), ["hub -", "upstream -"]);
    // As containerd asks a mirror.
    let first = &mirror.seen()[0];
    assert_eq!(
        (first.method.as_str(), first.path.as_str(), first.query.as_str()),
        ("HEAD", "/v2/hub/a/b/manifests/1", "ns=reg.test")
    );
    assert!(first.header("accept").unwrap().contains("application/vnd.oci.image.index.v1+json"));
    assert!(mirror.seen().iter().all(|seen| seen.query.contains("ns=reg.test")), "{:?}", mirror.seen());
    assert!(mirror.sent() < 8000, "no layer is read: {} bytes", mirror.sent());
    // An image on the command line, and one that is nowhere.
    let ran = verify(&place, "reg.test/a/b:2 -o json");
    assert_eq!((ran.code, causes(&ran)), (1, vec!["hub V314".to_owned(), "upstream V314".to_owned()]));
}

/// What is done to a mirror.
type Break = Box<dyn Fn(&Upstream)>;

/// Every broken way of a mirror, and what it is called; the registry itself is well.
#[test]
fn broken_mirrors() {
    let web = |mirror: &Upstream| {
        let page = Act::Answer { status: 200, headers: vec![], body: "<html>".into() };
        for act in [page, Act::Without("Content-Type"), Act::With("Content-Type", "text/html".into())] {
            mirror.always("/manifests/", act);
        }
    };
    let cases: Vec<(&str, Break, &str)> = vec![
        ("a wrong password", Box::new(|mirror| mirror.auth(Auth::Basic("u".into(), "other".into()))), "V307"),
        (
            "a token for another user",
            Box::new(|mirror| {
                mirror.auth(Auth::Bearer(Bearer {
                    user: Some(("u".into(), "other".into())),
                    ..Bearer::default()
                }));
            }),
            "V307",
        ),
        (
            "a pull that is not allowed",
            Box::new(|mirror| mirror.always("/manifests/", Act::error(403, "DENIED"))),
            "V308",
        ),
        ("a web page", Box::new(web), "V311"),
        (
            "a path that is unknown",
            Box::new(|mirror| mirror.always("/manifests/", Act::error(404, "NAME_UNKNOWN"))),
            "V313",
        ),
        (
            "an image that is gone",
            Box::new(|mirror| mirror.always("/manifests/", Act::error(404, "MANIFEST_UNKNOWN"))),
            "V314",
        ),
        (
            "a blob that is gone",
            Box::new(|mirror| mirror.always("/blobs/", Act::error(404, "BLOB_UNKNOWN"))),
            "V315",
        ),
        ("too many requests", Box::new(|mirror| mirror.always("/manifests/", Act::too_many(None))), "V317"),
        (
            "a server that fails",
            Box::new(|mirror| mirror.always("/manifests/", Act::error(500, "UNKNOWN"))),
            "V318",
        ),
        (
            "a redirect to nowhere",
            Box::new(|mirror| mirror.always("/manifests/", Act::Redirect("ftp://h/x".into()))),
            "V319",
        ),
        ("no answer", Box::new(|mirror| mirror.always("/manifests/", Act::Hang)), "V322"),
        (
            "a manifest that is none",
            Box::new(|mirror| mirror.rule(Some("GET"), "/manifests/", usize::MAX, Act::WrongBytes)),
            "V316",
        ),
        ("a connection that is closed", Box::new(|mirror| mirror.always("/manifests/", Act::Close)), "V323"),
    ];
    for (what, break_it, want) in cases {
        let (mirror, upstream) = (Upstream::start(), Upstream::start());
        serve(&mirror);
        serve(&upstream);
        break_it(&mirror);
        let place = Place::new();
        let anonymous = want == "V308";
        let credentials = if anonymous { "" } else { ", credentials: {username: u, password: s3cr3t-p}" };
        place.write("mirrors.yaml", inventory(&mirror.url(), &upstream.url(), credentials, Then::Upstream));
        let ran = verify(&place, "-o json");
        assert_eq!(
            (ran.code, causes(&ran)),
            (1, vec![format!("hub {want}"), "upstream -".to_owned()]),
            "{what}\n{ran}"
        );
        let text = verify(&place, "").stdout;
        assert!(text.contains(want) && !text.contains("s3cr3t"), "{what}\n{text}");
    }
}

#[test]
fn names_and_certificates() {
    let authority = Authority::new();
    let (good, other) = (
        Upstream::start_tls(&authority.server("127.0.0.1")),
        Upstream::start_tls(&authority.server("10.9.9.9")),
    );
    serve(&good);
    serve(&other);
    let upstream = Upstream::start();
    serve(&upstream);
    let place = Place::new();
    place.write("ca.crt", &authority.pem);
    for (url, tls, want) in [
        (good.url(), ", tls: {caFile: ca.crt}", "-"),
        (good.url(), "", "V303"),
        (other.url(), ", tls: {caFile: ca.crt}", "V304"),
        (other.url(), ", tls: {insecureSkipVerify: true}", "-"),
        (upstream.url().replace("http:", "https:"), "", "V306"),
        ("http://127.0.0.1:1".to_owned(), "", "V302"),
        ("http://no-such-host.invalid".to_owned(), "", "V301"),
    ] {
        place.write("mirrors.yaml", inventory(&url, &upstream.url(), tls, Then::Upstream));
        let ran = verify(&place, "-o json");
        assert_eq!(causes(&ran), [format!("hub {want}"), "upstream -".to_owned()], "{url}{tls}\n{ran}");
    }
}

/// The endpoint that was written by hand where talmirror began: a web site in place of Docker Hub's API.
#[test]
fn docker_io_is_not_a_registry() {
    let mirror = Upstream::start();
    serve(&mirror);
    let place = Place::new();
    let text = format!(
        "apiVersion: talmirror/v1
kind: Inventory
mirrors:
  hand: {{kind: raw, url: 'https://docker.io/v2', overridePath: true}}
  good: {{kind: path, url: '{}', path: 'v2/hub'}}
registries: {{docker.io: {{via: [good, hand], fallback: never}}}}
lint: {{allow: [W203]}}
",
        mirror.url()
    );
    place.write("mirrors.yaml", text);
    let ran = verify(&place, "docker.io/a/b:1 -o json");
    assert_eq!((ran.code, causes(&ran)), (1, vec!["good -".to_owned(), "hand V312".to_owned()]), "{ran}");
    let items: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        items[1]["evidence"],
        "docker.io is a web site; the API of Docker Hub is https://registry-1.docker.io"
    );
    assert!(items[1]["fix"].as_str().unwrap().starts_with("use https://registry-1.docker.io"), "{ran}");
}

#[test]
fn signatures_and_quota_are_warnings() {
    let (mirror, upstream) = (Upstream::start(), Upstream::start());
    let (_, _) = serve(&mirror);
    let (image, _) = serve(&upstream);
    upstream.referrer("a/b", &image.digest, "application/vnd.dev.sigstore.bundle.v0.3+json");
    let sig = format!("{}.sig", image.digest.replace(':', "-"));
    let digest = upstream.manifest("a/b", None, OCI_MANIFEST, &image.manifest);
    upstream.tag("a/b", &sig, &digest);
    let place = Place::new();
    place.write("mirrors.yaml", inventory(&mirror.url(), &upstream.url(), "", Then::Upstream));
    let ran = verify(&place, "-o json");
    assert_eq!((ran.code, causes(&ran)), (0, vec!["hub V320".to_owned(), "upstream -".to_owned()]), "{ran}");
    let items: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(items[0]["evidence"], "not passed on: referrers, the tag sha256-….sig");
    upstream.always("/manifests/", Act::With("ratelimit-limit", "100;w=21600".into()));
    upstream.always("/manifests/", Act::With("ratelimit-remaining", "3;w=21600".into()));
    let ran = verify(&place, "-o json");
    assert_eq!(
        (ran.code, causes(&ran)),
        (0, vec!["hub V320".to_owned(), "upstream V321".to_owned()]),
        "{ran}"
    );
}

#[test]
fn what_a_mirror_that_is_down_leaves() {
    let (mirror, upstream) = (Upstream::start(), Upstream::start());
    serve(&mirror);
    serve(&upstream);
    let place = Place::new();
    place.write("mirrors.yaml", inventory(&mirror.url(), &upstream.url(), "", Then::Upstream));
    let ran = verify(&place, "--drill");
    assert!(ran.stdout.ends_with("with hub down: 1 image still served\n"), "{ran}");
    place.write("mirrors.yaml", inventory(&mirror.url(), &upstream.url(), "", Then::Nothing));
    let ran = verify(&place, "--drill -o json");
    let drill = serde_json::from_str::<Value>(&ran.stdout).unwrap()["drill"].clone();
    assert_eq!(
        drill,
        json!([{
            "mirror": "hub",
            "withoutAWay": [{"image": "reg.test/a/b:1", "nodes": []}],
            "withoutAWorkingWay": [],
            "served": 0,
        }])
    );
}

#[test]
fn nodes_are_asked_for_each_with_what_it_has() {
    let (mirror, upstream) = (Upstream::start(), Upstream::start());
    serve(&mirror);
    serve(&upstream);
    mirror.auth(Auth::Basic("u".into(), "s3cr3t-p".into()));
    let place = Place::new();
    let text = inventory(
        &mirror.url(),
        &upstream.url(),
        ", credentials: {username: u, password: s3cr3t-p}",
        Then::Upstream,
    );
    let nodes = "nodes:
  n1: {}
  n2: {}
  n3: {registries: {reg.test: {via: [hub]}}}
  n4: {registries: {reg.test: {upstream: {credentials: {username: u, password: s3cr3t-other}}}}}
";
    place.write("mirrors.yaml", text + nodes);
    upstream.auth(Auth::Basic("u".into(), "s3cr3t-other".into()));
    let ran = verify(&place, "-o json");
    let items: Vec<Value> =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    let line =
        |item: &Value| format!("{} {} {}", item["via"].as_str().unwrap(), item["cause"], item["nodes"]);
    assert_eq!(
        items.iter().map(line).collect::<Vec<_>>(),
        [
            "hub null [\"n1\",\"n2\",\"n4\"]",
            "upstream \"V308\" [\"n1\",\"n2\"]",
            "hub null [\"n3\"]",
            "upstream null [\"n4\"]",
        ],
        "{ran}"
    );
    let text = verify(&place, "--drill").stdout;
    assert!(text.starts_with("VIA        HOST"), "{text}");
    assert!(
        text.contains(
            "with hub down: 1 image not served any more\n  no other host: reg.test/a/b:1 (on n3)\n  no other host that \
             works: reg.test/a/b:1 (on n1, n2)\n"
        ),
        "{text}"
    );
    let junit = verify(&place, "-o junit").stdout;
    assert!(junit.contains(" on n1, n2\">"), "{junit}");
    for format in ["junit", "github"] {
        let refused = place.run(&format!("verify --drill -o {format}")).ends(2);
        assert!(refused.stderr.contains("it is printed with -o table, json and markdown"), "{refused}");
    }
}

#[test]
fn reports_for_ci() {
    let (mirror, upstream) = (Upstream::start(), Upstream::start());
    serve(&mirror);
    serve(&upstream);
    mirror.always("/manifests/", Act::error(500, "UNKNOWN"));
    let place = Place::new();
    place.write("mirrors.yaml", inventory(&mirror.url(), &upstream.url(), "", Then::Upstream));
    let junit = verify(&place, "-o junit").stdout;
    assert!(junit.contains("tests=\"2\" failures=\"1\""), "{junit}");
    assert!(junit.contains("<failure type=\"V318\" message=\"the server fails\">"), "{junit}");
    let github = verify(&place, "-o github").stdout;
    assert!(github.starts_with("::error file=mirrors.yaml,title=V318::hub: the server fails: "), "{github}");
    assert_eq!(github.lines().count(), 1);
    let markdown = verify(&place, "-o markdown").stdout;
    assert!(markdown.starts_with("| VIA | HOST |"), "{markdown}");
    let explained = place.run("explain V318").ok();
    assert!(explained.starts_with("V318 (error): the server fails\n"), "{explained}");
}

#[test]
fn a_registry_without_an_image_is_asked_whether_it_is_there() {
    let mirror = Upstream::start();
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        inventory(&mirror.url(), &mirror.url(), "", Then::Nothing)
            .replace("verify: {images: ['reg.test/a/b:1']}\n", ""),
    );
    let ran = verify(&place, "-o json");
    assert_eq!((ran.code, causes(&ran)), (0, vec!["hub -".to_owned()]), "{ran}");
    assert_eq!(mirror.seen()[0].path, "/v2/");
    assert!(
        place.run("verify Not/Valid").ends(2).stderr.contains("`Not/Valid` is not a valid image reference")
    );
}
