//! `why`: planted faults, each named at first try; and nothing where all is well.

use serde_json::Value;

use crate::authority::Authority;
use crate::cache_process::Start;
use crate::fake_upstream::{Act, Auth, Bearer, Upstream, noise};
use crate::rollout::{Site, options};
use crate::run::Place;
use crate::sim::Cluster;

fn why(place: &Place, line: &str) -> (i32, Value) {
    let ran = place.run(&format!("why {line} -o json")).ran();
    let value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    (ran.code, value)
}

/// Whether the image comes all the same, from the host after the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Comes,
    Fails,
}

/// A fault of a mirror that answers: what it is, how it is planted, and what `why` calls it.
struct Fault {
    what: &'static str,
    plant: fn(&Upstream, &Upstream),
    cause: &'static str,
    then: Then,
}

fn always(path: &str, act: Act) -> impl Fn(&Upstream) {
    let path = path.to_owned();
    move |mirror| mirror.always(&path, act.clone())
}

fn faults() -> Vec<Fault> {
    let fault = |what, plant, cause, then| Fault { what, plant, cause, then };
    vec![
        fault(
            "a wrong password",
            |mirror, _| mirror.auth(Auth::Basic("u".into(), "other".into())),
            "V307",
            Then::Comes,
        ),
        fault(
            "a password that the token server rejects",
            |mirror, _| {
                let user = Some(("u".to_owned(), "other".to_owned()));
                mirror.auth(Auth::Bearer(Bearer { user, ..Bearer::default() }));
            },
            "V307",
            Then::Comes,
        ),
        fault(
            "a token that has expired",
            |mirror, _| {
                mirror.auth(Auth::Bearer(Bearer::default()));
                let challenge = format!(
                    "Bearer realm=\"{}/token\",service=\"fake\",error=\"invalid_token\"",
                    mirror.url()
                );
                let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
                let body =
                    "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"token expired\"}]}".to_owned();
                mirror.always("/manifests/", Act::Answer { status: 401, headers, body });
            },
            "V307",
            Then::Comes,
        ),
        fault(
            "no credentials where they are wanted",
            |mirror, _| mirror.auth(Auth::Basic("u".into(), "s3cr3t-p".into())),
            "V308",
            Then::Comes,
        ),
        fault(
            "an account without the right to pull",
            |mirror, _| {
                let user = Some(("u".to_owned(), "s3cr3t-p".to_owned()));
                mirror.auth(Auth::Bearer(Bearer { user, ..Bearer::default() }));
                always("/manifests/", Act::error(403, "DENIED"))(mirror);
                // Of the rules for a request the last counts: the first one is asked to log in.
                let challenge = format!(
                    "Bearer realm=\"{}/token\",service=\"fake\",scope=\"repository:a/b:pull\"",
                    mirror.url()
                );
                let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
                mirror.times(1, "/manifests/", Act::Answer { status: 401, headers, body: String::new() });
            },
            "V309",
            Then::Comes,
        ),
        fault(
            "a host that refuses and asks for no credentials",
            |mirror, _| always("/manifests/", Act::error(403, "DENIED"))(mirror),
            "V309",
            Then::Comes,
        ),
        fault(
            "a token server that gives a web page",
            |mirror, _| {
                mirror.auth(Auth::Bearer(Bearer::default()));
                let body = "<html>".to_owned();
                mirror.always("/token", Act::Answer { status: 200, headers: vec![], body });
            },
            "V310",
            Then::Comes,
        ),
        fault(
            "a web page",
            |mirror, _| {
                let page = Act::Answer {
                    status: 200,
                    headers: vec![("Content-Type".into(), "text/html".into())],
                    body: "<html>".into(),
                };
                mirror.always("/manifests/", page);
            },
            "V311",
            Then::Fails,
        ),
        fault(
            "a path that the registry does not know",
            |mirror, _| always("/manifests/", Act::error(404, "NAME_UNKNOWN"))(mirror),
            "V313",
            Then::Comes,
        ),
        fault(
            "an image that is not there",
            |mirror, _| always("/manifests/", Act::error(404, "MANIFEST_UNKNOWN"))(mirror),
            "V314",
            Then::Comes,
        ),
        fault(
            "a blob that is missing behind a good manifest",
            |mirror, _| always("/blobs/", Act::error(404, "BLOB_UNKNOWN"))(mirror),
            "V315",
            Then::Comes,
        ),
        fault(
            "a manifest whose bytes are damaged",
            |mirror, _| mirror.rule(Some("GET"), "/manifests/", usize::MAX, Act::WrongBytes),
            "V316",
            Then::Fails,
        ),
        fault(
            "a quota that is empty",
            |mirror, _| always("/manifests/", Act::too_many(Some("5")))(mirror),
            "V317",
            Then::Comes,
        ),
        fault(
            "a server that fails",
            |mirror, _| always("/manifests/", Act::error(503, "UNAVAILABLE"))(mirror),
            "V318",
            Then::Comes,
        ),
        fault(
            "a redirect that cannot be followed",
            |mirror, _| always("/manifests/", Act::Redirect("ftp://h/x".into()))(mirror),
            "V319",
            Then::Fails,
        ),
        fault(
            "a 304 that nothing was asked for",
            |mirror, _| {
                let act = Act::Answer { status: 304, headers: vec![], body: String::new() };
                mirror.always("/manifests/", act);
            },
            "V319",
            Then::Fails,
        ),
        fault(
            "a signature that is lost on the way",
            |_, upstream| {
                let image = upstream.image("a/b", "1", &[noise(500, 1)]);
                upstream.referrer("a/b", &image.digest, "application/vnd.dev.sigstore.bundle.v0.3+json");
            },
            "V320",
            Then::Fails,
        ),
        fault(
            "a quota of which little is left",
            |mirror, _| {
                mirror.always("/manifests/", Act::With("ratelimit-limit", "100;w=21600".into()));
                mirror.always("/manifests/", Act::With("ratelimit-remaining", "3;w=21600".into()));
            },
            "V321",
            Then::Fails,
        ),
        fault("silence", |mirror, _| always("/manifests/", Act::Hang)(mirror), "V322", Then::Comes),
        fault(
            "a connection that is closed",
            |mirror, _| always("/manifests/", Act::Close)(mirror),
            "V323",
            Then::Comes,
        ),
    ]
}

/// Writes an inventory with one mirror and the registry itself after it.
fn write(place: &Place, mirror: &str, more: &str, upstream: &str) {
    place.write(
        "mirrors.yaml",
        format!(
            "apiVersion: talmirror/v1
kind: Inventory
talos: {{version: v1.13}}
mirrors: {{hub: {{kind: cache, url: '{mirror}'{more}}}}}
registries: {{reg.test: {{via: [hub, upstream], upstream: {{url: '{upstream}'}}}}}}
defaults: {{fallback: never}}
"
        ),
    );
}

fn serving() -> Upstream {
    let server = Upstream::start();
    server.image("a/b", "1", &[noise(500, 1)]);
    server
}

/// The credentials of a user of the fake registry.
const CREDENTIALS: &str = ", credentials: {username: u, password: s3cr3t-p}";

#[test]
fn faults_of_a_mirror() {
    let place = Place::new();
    for Fault { what, plant, cause, then } in faults() {
        let (mirror, upstream) = (serving(), serving());
        plant(&mirror, &upstream);
        let credentials = if cause == "V308" { "" } else { CREDENTIALS };
        write(&place, &mirror.url(), credentials, &upstream.url());
        let patience = if cause == "V322" { "3s" } else { "20s" };
        let (code, found) = why(&place, &format!("reg.test/a/b:1 --timeout {patience}"));
        let bypassed = then == Then::Comes;
        assert_eq!(
            (found["cause"].as_str(), found["bypassed"].as_bool(), code),
            (Some(cause), Some(bypassed), 1),
            "{what}: {found}"
        );
        assert!(found["fix"].is_string(), "{what}: {found}");
        assert!(found["evidence"].as_str().unwrap().starts_with("hub: "), "{what}: {found}");
        assert!(place.run(&format!("explain {cause}")).ok().starts_with(cause));
    }
}

#[test]
fn names_addresses_and_certificates() {
    let authority = Authority::new();
    let good = Upstream::start_tls(&authority.server("127.0.0.1"));
    let other = Upstream::start_tls(&authority.server("10.9.9.9"));
    let expired = Upstream::start_tls(&authority.expired_server("127.0.0.1"));
    for server in [&good, &other, &expired] {
        server.image("a/b", "1", &[noise(500, 1)]);
    }
    let (upstream, place) = (serving(), Place::new());
    place.write("ca.crt", &authority.pem);
    let authority = ", tls: {caFile: ca.crt}";
    for (what, url, tls, cause) in [
        ("a mirror that is well", good.url(), authority, None),
        ("an own authority that is not given", good.url(), "", Some("V303")),
        ("a certificate for another name", other.url(), authority, Some("V304")),
        ("a certificate that has expired", expired.url(), authority, Some("V305")),
        ("http behind https", upstream.url().replace("http:", "https:"), "", Some("V306")),
        ("nothing at the address", "http://127.0.0.1:1".to_owned(), "", Some("V302")),
        ("a name without an address", "http://no-such-host.invalid".to_owned(), "", Some("V301")),
    ] {
        write(&place, &url, tls, &upstream.url());
        let (code, found) = why(&place, "reg.test/a/b:1");
        assert_eq!(found["cause"].as_str(), cause, "{what}: {found}");
        assert_eq!((code, found["bypassed"].as_bool()), (i32::from(cause.is_some()), Some(cause.is_some())));
    }
    // What is said to people.
    write(&place, "http://127.0.0.1:1", "", &upstream.url());
    let ran = place.run("why reg.test/a/b:1").ends(1);
    assert!(
        ran.stdout.starts_with("reg.test/a/b:1: V302 no connection to the host\nevidence: hub: "),
        "{ran}"
    );
    assert!(ran.stdout.contains("note: upstream serves it: pulls look green"), "{ran}");
    let ran = place.run("why Not/Valid").ends(2);
    assert!(ran.stderr.contains("`Not/Valid` is not a valid image reference"), "{ran}");
}

/// Docker Hub's web site in place of its API, and a registry that no mirror serves.
#[test]
fn hosts_that_cannot_help() {
    let (mirror, place) = (serving(), Place::new());
    let docker = "mirrors:
  hand: {kind: raw, url: 'https://docker.io/v2', overridePath: true}
registries: {docker.io: {via: [hand], fallback: never}, reg.test: {via: [upstream], fallback: never, upstream: {url: 'URL'}}}
lint: {allow: [W203]}
";
    place.write(
        "mirrors.yaml",
        format!("apiVersion: talmirror/v1\nkind: Inventory\n{docker}").replace("URL", &mirror.url()),
    );
    assert_eq!(why(&place, "a/b:1").1["cause"], "V312");
    let (code, found) = why(&place, "reg.test/a/b:1");
    assert_eq!((code, found["cause"].as_str()), (1, Some("V338")), "{found}");
}

/// The inventory of a simulated cluster, without the registries themselves: tests dial nothing but loopback.
fn of_mirrors_only(cluster: &Cluster) -> String {
    let inventory = cluster.inventory();
    let strict = inventory.replace("via: [mirror]", "via: [mirror], fallback: never");
    assert_ne!(inventory, strict);
    strict
}

#[test]
fn faults_of_nodes() {
    let cluster = Cluster::start(1, 1, &["v1.13.9"], options()).unwrap();
    let inventory = of_mirrors_only(&cluster);
    let site = Site::with(cluster, &inventory);
    let image = "registry.k8s.io/pause:3.10";
    let at = |node: &str| why(&site.place, &format!("{image} --node {node}"));
    let node = site.cluster.node("w-1");
    // Other mirrors than the inventory's.
    let mirror = site.cluster.mirror.address.to_string();
    site.set("w-1", &site.new["w-1"].replace(&mirror, "127.0.0.1:1"));
    let (code, found) = at("w-1");
    assert_eq!((code, found["cause"].as_str()), (1, Some("V331")), "{found}");
    assert!(found["evidence"].as_str().unwrap().contains("the inventory gives http://"), "{found}");
    // A password that was rotated and not rolled out: the node is foretold with the one that it has.
    site.cluster.mirror.protect("robot$talos", "s3cr3t-mirror");
    site.set("w-1", &site.new["w-1"].replace("s3cr3t-mirror", "s3cr3t-before"));
    let (code, found) = at("w-1");
    assert_eq!((code, found["cause"].as_str()), (1, Some("V331")), "{found}");
    let evidence = format!("the node has other credentials or TLS settings for {mirror}");
    assert_eq!(
        (&found["evidence"], &found["hops"][0]["cause"]),
        (&evidence.into(), &"V307".into()),
        "{found}"
    );
    // Then it has them.
    site.set("w-1", &site.new["w-1"]);
    node.state().render_now();
    let (code, found) = at("w-1");
    assert_eq!((code, &found["cause"]), (0, &Value::Null), "a healthy node: {found}");
    // Another program's file in the place of the mirrors, as Spegel writes it.
    let path = "/etc/cri/conf.d/hosts/_default/hosts.toml".to_owned();
    node.state().files.insert(path.clone(), "[host.'http://127.0.0.1:29999']\n".to_owned());
    assert_eq!(at("w-1").1["cause"], "V330");
    node.state().files.remove(&path);
    // A clock that is not set.
    node.state().time_synced = false;
    assert_eq!(at("w-1").1["cause"], "V334");
    node.state().time_synced = true;
    // What the node's containerd says of a mirror that answers well from here.
    let host = site.cluster.mirror.address.to_string();
    for (error, cause) in [
        ("dial tcp: lookup harbor.example on 10.0.0.53:53: no such host", "V333"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "V303"),
        ("dial tcp 10.0.0.9:443: connect: connection refused", "V302"),
        ("tls: failed to verify certificate: x509: certificate has expired or is not yet valid", "V305"),
        ("unexpected status from HEAD request to http://h/v2/x: 403 Forbidden", "V309"),
    ] {
        node.state().log = format!(
            "level=info msg=\"trying next host\" error=\"failed to do request: Head \\\"http://{host}/v2/registry.k8s.io/pause/manifests/3.10\\\": {error}\" host={host}\n"
        );
        let (code, found) = at("w-1");
        assert_eq!((code, found["cause"].as_str()), (1, Some(cause)), "{error}: {found}");
        assert!(found["evidence"].as_str().unwrap().starts_with("the node's containerd: "), "{found}");
    }
    node.state().log.push_str(&format!("msg=\"PullImage \\\"{image}\\\" returns image reference\"\n"));
    assert_eq!(at("w-1").1["cause"], Value::Null, "it was pulled since");
    // The same, asked of all nodes at once.
    node.state().time_synced = false;
    let ran = site.place.run("verify --nodes -o json").ends(1);
    let found: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let of = |name: &str| {
        let own = |item: &&Value| item["via"] == "node" && item["nodes"][0] == name;
        found.iter().find(own).unwrap()["cause"].clone()
    };
    assert_eq!((of("w-1"), of("cp-1")), ("V334".into(), "V331".into()), "{ran}");
    node.go_down();
    assert_eq!(at("w-1").1["cause"], "V336");
    // What can be seen from here is worth more than that.
    site.cluster.mirror.protect("robot$talos", "s3cr3t-other");
    assert_eq!(at("w-1").1["cause"], "V307");
}

/// A node that is named by its address has its own settings, not those that all nodes start from.
#[test]
fn a_node_by_its_address() {
    let cluster = Cluster::start(1, 1, &["v1.13.9"], options()).unwrap();
    let address = cluster.node("w-1").address.clone();
    let own =
        format!("w-1: {{address: {address}, registries: {{registry.k8s.io: {{via: [mirror, down]}}}}}}");
    let inventory = of_mirrors_only(&cluster)
        .replace("mirrors:\n", "mirrors:\n    down: {kind: cache, url: 'http://127.0.0.1:1'}\n")
        .replace(&format!("w-1: {{address: {address}}}"), &own);
    let site = Site::with(cluster, &inventory);
    for node in ["w-1", "cp-1"] {
        site.set(node, &site.new[node]);
        site.cluster.node(node).state().render_now();
    }
    let (code, found) = why(&site.place, &format!("registry.k8s.io/pause:3.10 --node {address}"));
    assert_eq!((code, &found["cause"]), (0, &Value::Null), "{found}");
    assert_eq!(found["hops"].as_array().unwrap().len(), 2, "{found}");
    let ran = site.place.run(&format!("verify --nodes={address} -o json")).ran();
    let found: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let node = found.iter().find(|item| item["via"] == "node").unwrap();
    assert_eq!((&node["nodes"][0], &node["cause"]), (&"w-1".into(), &Value::Null), "{ran}");
}

/// Nodes of every kind of Talos, whose mirrors are the inventory's: nothing is named.
#[test]
fn a_healthy_cluster() {
    let versions = ["v1.11.6", "v1.12.7", "v1.13.9", "v1.14.1"];
    let cluster = Cluster::start(1, 3, &versions, options()).unwrap();
    let inventory = of_mirrors_only(&cluster);
    let site = Site::with(cluster, &inventory);
    let names = site.cluster.names();
    for node in &names {
        site.set(node, &site.new[node]);
        site.cluster.node(node).state().render_now();
    }
    for node in &names {
        let (code, found) = why(&site.place, &format!("registry.k8s.io/pause:3.10 --node {node}"));
        assert_eq!((code, &found["cause"]), (0, &Value::Null), "{node}: {found}");
    }
    let ran = site.place.run("verify --nodes -o json").ends(0);
    let found: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let nodes = found.iter().filter(|item| item["via"] == "node");
    assert_eq!(nodes.filter(|item| item["cause"].is_null()).count(), names.len(), "{ran}");
    // Only those that are meant.
    for (flags, want) in
        [("--match ^cp-", &names[..1]), ("--match ^w-", &names[1..]), ("--node w-2", &names[2..3])]
    {
        let ran = site.place.run(&format!("verify --nodes -o json {flags}")).ends(0);
        let found: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
        let nodes = found.iter().filter(|item| item["via"] == "node");
        let nodes: Vec<&str> = nodes.filter_map(|item| item["nodes"][0].as_str()).collect();
        assert_eq!(nodes, want, "{ran}");
    }
}

/// The rules of nodes for signatures, which they look up through their mirrors.
#[test]
fn images_that_nodes_verify() {
    let cluster = Cluster::start(1, 2, &["v1.14.1", "v1.13.9", "v1.12.7"], options()).unwrap();
    let rule = "imageVerification:
    - {image: registry.k8s.io/skipped, skip: true}
    - {image: registry.k8s.io/pause, publicKey: {certificate: PEM}}
";
    let inventory = of_mirrors_only(&cluster) + rule;
    let site = Site::with(cluster, &inventory);
    let rules = "---
apiVersion: v1alpha1
kind: ImageVerificationConfig
rules:
    - image: registry.k8s.io/skipped
      skip: true
    - image: registry.k8s.io/own/*
      deny: true
    - image: registry.k8s.io/*
      publicKey:
          certificate: PEM
";
    let names = site.cluster.names();
    for node in &names {
        let known = site.cluster.node(node).state().version != "v1.12.7";
        site.set(node, &(site.new[node].clone() + if known { rules } else { "" }));
        site.cluster.node(node).state().render_now();
    }
    let of = |node: &str, image: &str| {
        let (code, found) = why(&site.place, &format!("registry.k8s.io/{image}:3 --node {node}"));
        (code, found["cause"].as_str().unwrap_or("-").to_owned(), found["notes"].to_string())
    };
    for node in ["cp-1", "w-1"] {
        let (code, cause, notes) = of(node, "pause");
        assert_eq!((code, cause.as_str()), (0, "-"), "{notes}");
        assert!(notes.contains("the node's signature: verified via bundle tag"), "{notes}");
        assert_eq!(of(node, "own/app").1, "V335");
        assert_eq!(of(node, "skipped"), (0, "-".to_owned(), "[]".to_owned()));
    }
    // Told, and no failure: that Talos has no such call.
    let (code, cause, notes) = of("w-2", "pause");
    assert_eq!((code, cause.as_str()), (0, "-"), "{notes}");
    let told = "signature not asked for: Talos v1.12.7 does not verify images, and the inventory has the rule `registry.k8s.io/pause`";
    assert!(notes.contains(told), "{notes}");
    // A rule that wants no signature misses nothing.
    assert_eq!(of("w-2", "skipped"), (0, "-".to_owned(), "[]".to_owned()));
    let ran =
        site.place.run("verify --nodes registry.k8s.io/pause:3 registry.k8s.io/own/app:3 -o json").ends(1);
    let found: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let found: Vec<(&str, &str, &str)> = (found.iter().filter(|item| item["via"] == "node"))
        .map(|item| {
            (
                item["nodes"][0].as_str().unwrap(),
                item["cause"].as_str().unwrap_or("-"),
                item["evidence"].as_str().unwrap_or("-"),
            )
        })
        .collect();
    let verified = "signature: verified via bundle tag";
    let denied = "the node: verification denied by matched rule (0001)";
    let want = [
        ("cp-1", "-", verified),
        ("cp-1", "V335", denied),
        ("w-1", "-", verified),
        ("w-1", "V335", denied),
        ("w-2", "-", told),
        ("w-2", "-", "-"),
    ];
    assert_eq!(found, want, "{ran}");
    // A mirror that loses signatures, where there is no way around it.
    site.cluster.mirror.lose_signatures();
    let (code, cause, _) = of("w-1", "pause");
    assert_eq!((code, cause.as_str()), (1, "V332"));
    // What the node says of a registry that it cannot ask.
    let lookup = "failed to resolve image reference: dial tcp: lookup harbor.example: no such host";
    let kind = crate::sim::Kind::Refuse(tonic::Code::Internal, lookup.to_owned());
    let fault = crate::sim::Fault { step: crate::sim::Step::Verify, kind, after: 0, times: None };
    site.cluster.fault("w-1", fault.clone());
    assert_eq!(of("w-1", "pause").1, "V333");
    // What is no word on the signature is a note, and hides nothing that the hosts say.
    let failed = |code: tonic::Code, text: &str| {
        let kind = crate::sim::Kind::Refuse(code, text.to_owned());
        site.cluster.fault("cp-1", crate::sim::Fault { kind, times: Some(1), ..fault.clone() });
        of("cp-1", "pause")
    };
    let strange = "failed to resolve image reference: unexpected media type text/html";
    for (code, text) in
        [(tonic::Code::Internal, strange), (tonic::Code::ResourceExhausted, "too many requests")]
    {
        let (code, cause, notes) = failed(code, text);
        assert_eq!((code, cause.as_str()), (0, "-"), "{notes}");
        assert!(notes.contains("signature not asked for: ") && notes.contains(text), "{notes}");
    }
    let rules = "failed to convert verification rule to cosign check options: failed to load public key: PEM";
    assert_eq!(failed(tonic::Code::Internal, rules).1, "V332");
}

/// What a cache in the way says of its answers, and why it has none.
#[test]
fn what_a_cache_says() {
    let upstream = Upstream::start();
    upstream.image("a/b", "1", &[noise(500, 1)]);
    let cache = Start::new().upstream("reg.test", &upstream.url()).args(&["--tag-ttl", "0s"]).run();
    let place = Place::new();
    write(&place, &cache.url(), "", &upstream.url());
    let answer = |code: i32| {
        let (ended, found) = why(&place, "reg.test/a/b:1");
        assert_eq!(ended, code, "{found}");
        found["hops"][0]["evidence"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(answer(0), "X-Cache: MISS");
    assert_eq!(answer(0), "X-Cache: REVALIDATED");
    upstream.always("/", Act::error(500, "UNKNOWN"));
    assert!(answer(0).starts_with("X-Cache: STALE; upstream reg.test "), "{}", answer(0));
    let (code, found) = why(&place, "reg.test/a/other:1");
    assert_eq!((code, &found["cause"]), (1, &Value::from("V318")), "{found}");
    let said = found["hops"][0]["evidence"].as_str().unwrap();
    assert!(said.starts_with("it answered 503: ") && said.contains("reg.test"), "{said}");
}

#[test]
fn the_settings_of_a_group_count() {
    let (place, own, base) = (Place::new(), serving(), serving());
    own.always("/manifests/", Act::error(503, "UNAVAILABLE"));
    place.write(
        "mirrors.yaml",
        format!(
            "apiVersion: talmirror/v1
kind: Inventory
talos: {{version: v1.13}}
mirrors: {{near: {{kind: cache, url: '{}'}}, far: {{kind: cache, url: '{}'}}}}
registries: {{reg.test: {{via: [far]}}}}
groups: {{edge: {{registries: {{reg.test: {{via: [near]}}}}}}}}
defaults: {{fallback: never}}
",
            own.url(),
            base.url()
        ),
    );
    let (code, found) = why(&place, "reg.test/a/b:1");
    assert_eq!((code, &found["cause"]), (0, &Value::Null), "{found}");
    let (code, found) = why(&place, "reg.test/a/b:1 --group edge");
    assert_eq!((code, &found["cause"], &found["group"]), (1, &"V318".into(), &"edge".into()), "{found}");
    let unknown = place.run("why reg.test/a/b:1 -g edg").ends(2);
    assert!(unknown.stderr.contains("did you mean `edge`?"), "{unknown}");
    assert!(base.count("HEAD", "/manifests/") + base.count("GET", "/manifests/") > 0);
}
