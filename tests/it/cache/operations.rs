//! What operators see and do: reasons in the log, its level, proxies in front, one image removed, memory of clients.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::authority::Authority;
use crate::cache_process::{Cache, Start, eventually};
use crate::fake_upstream::{Act, Auth, Bearer, Upstream, noise};
use crate::run::Place;

const MIB: usize = 1 << 20;

/// Waits for a line of the access log with all of these parts.
fn logged(cache: &Cache, parts: &[&str]) {
    let is_there = || {
        let log = cache.log();
        log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    eventually(&format!("a line with {parts:?}"), is_there);
}

#[test]
fn the_log_says_why_a_request_was_not_served() {
    let upstream = Upstream::start();
    upstream.image("a", "1", &[b"layer".to_vec()]);
    upstream.always("/v2/b/", Act::error(403, "DENIED"));
    upstream.always("/v2/c/", Act::error(500, "UNKNOWN"));
    let cache = Cache::of("ghcr.io", &upstream.url());
    for (path, parts) in [
        ("/v2/ghcr.io/a/manifests/2", ["status=404", "reason=\"manifest unknown", "upstream=\"ghcr.io\""]),
        (
            "/v2/ghcr.io/none/tags/list",
            ["status=404", "reason=\"repository unknown: none", "upstream=\"ghcr.io\""],
        ),
        ("/v2/ghcr.io/b/manifests/1", ["status=403", "reason=\"upstream denied", "upstream=\"ghcr.io\""]),
        ("/v2/ghcr.io/c/manifests/1", ["status=503", "reason=\"upstream is not", "upstream=\"ghcr.io\""]),
        ("/v2/other.example/a/manifests/1?ns=quay.io", ["status=404", "reason=\"no upstream is", "quay.io"]),
        ("/v2/ghcr.io/A/manifests/1", ["status=400", "reason=\"invalid repository name", "path"]),
        ("/elsewhere", ["status=404", "reason=\"nothing is served under this path\"", "path"]),
    ] {
        assert!(cache.get(path).status >= 400, "{path}");
        logged(&cache, &parts);
    }
    // Also at a glance, and not once a request.
    let warned =
        || cache.log().lines().filter(|line| line.contains("no upstream is configured for a")).count();
    assert_eq!(warned(), 1, "{}", cache.log());
    assert_eq!(cache.get("/v2/ghcr.io/a/manifests/1").status, 200);
    logged(&cache, &["status=200", "/v2/ghcr.io/a/manifests/1"]);
    assert!(!cache.log().lines().any(|line| line.contains("status=200") && line.contains("reason=")));
}

#[test]
fn what_a_registry_says_acts_on_no_terminal() {
    let upstream = Upstream::start();
    let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b]0;title\\u0007 \\u001b[2J\\nWARN no line\"}]}";
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    upstream.always("/v2/a/", Act::Answer { status: 403, headers, body: body.to_owned() });
    let cache = Cache::of("ghcr.io", &upstream.url());
    assert_eq!(cache.get("/v2/ghcr.io/a/manifests/1").status, 403);
    logged(&cache, &["status=403"]);
    let log = cache.log();
    assert!(!log.contains(['\u{1b}', '\u{7}']) && !log.lines().any(|line| line.starts_with("WARN")), "{log}");
}

#[test]
fn the_level_of_the_log_changes_while_the_server_runs() {
    let (upstream, place) = (Upstream::start(), Place::new());
    let write = |level: &str| {
        let url = upstream.url();
        let text = format!(
            "apiVersion: talmirror/v1\nkind: Cache\nlog: {{filter: {level}}}\nupstreams: {{ghcr.io: {{url: '{url}'}}}}\n"
        );
        place.write("cache.yaml", text);
    };
    write("error");
    let config = place.path("cache.yaml").display().to_string();
    let cache = Start::new().args(&["--config", &config]).run();
    assert_eq!(cache.get("/v2/ghcr.io/a/manifests/1").status, 404);
    write("info");
    cache.signal("HUP");
    eventually("requests are logged", || {
        cache.get("/v2/ghcr.io/b/manifests/1");
        cache.log().contains("/v2/ghcr.io/b/manifests/1")
    });
    assert!(!cache.log().contains("/v2/ghcr.io/a/manifests/1"), "{}", cache.log());
    let quiet = Start::new().args(&["--config", &config, "--log-level", "error"]).run();
    quiet.get("/v2/ghcr.io/a/manifests/1");
    assert!(!quiet.log().contains("manifests"), "{}", quiet.log());
}

#[test]
fn a_proxy_that_is_dead_is_named() {
    let upstream = Upstream::start();
    upstream.image("library/x", "1", &[]);
    let cache = Start::new()
        .upstream("docker.io", &upstream.url())
        .env("HTTP_PROXY", "http://ada:s3cr3t-ada@127.0.0.1:1")
        .run();
    assert_eq!(cache.get("/v2/docker.io/library/x/manifests/1").status, 503);
    eventually("the log names it", || cache.log().contains("the proxy `127.0.0.1:1` gives no connection"));
    assert!(!cache.log().contains("s3cr3t"), "{}", cache.log());
    // One that does not take our password says so in a way that no registry has.
    let proxy = Upstream::start();
    proxy.always("/v2/", Act::error(407, "WHO"));
    let proxied = proxy.url().replace("http://", "http://ada:s3cr3t-ada@");
    let cache = Start::new().upstream("docker.io", "http://docker.example").env("HTTP_PROXY", &proxied).run();
    assert_eq!(cache.get("/v2/docker.io/library/x/manifests/1").status, 503);
    let named = format!("the proxy `{}` wants a user and a password", proxy.address);
    eventually("the log names it", || cache.log().contains(&named));
    assert!(!cache.log().contains("s3cr3t"), "{}", cache.log());
}

/// A registry with a certificate of its own authority, behind no proxy, with a header of its own.
#[test]
fn one_upstream_is_reached_in_its_own_way() {
    let (authority, place) = (Authority::new(), Place::new());
    let upstream = Upstream::start_mutual_tls(&authority.server("127.0.0.1"), &authority.pem);
    let image = upstream.image("a", "1", &[b"layer".to_vec()]);
    place.write("ca.pem", authority.pem.as_bytes());
    let pair = authority.server("127.0.0.1");
    place.write("client.pem", pair.crt.as_bytes());
    place.write("client.key", pair.key.as_bytes());
    let config = |own: &str| {
        format!(
            "apiVersion: talmirror/v1\nkind: Cache\nupstreams:\n  reg.example: {{url: '{}', {own}}}\n",
            upstream.url()
        )
    };
    place.write("cache.yaml", config("private: true"));
    let start = || {
        Start::new()
            .args(&["--config", place.path("cache.yaml").to_str().unwrap()])
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
    };
    let manifest = "/v2/reg.example/a/manifests/1";
    let cache = start().run();
    assert_eq!(cache.get(manifest).status, 503, "the proxy of the environment is dead");
    let own =
        "proxy: none, headers: {X-Team: s3cr3t-team}, tls: {ca: ca.pem, cert: client.pem, key: client.key}";
    place.write("cache.yaml", config(own));
    cache.signal("HUP");
    eventually("it is reached", || cache.get(manifest).status == 200);
    assert!(upstream.seen().iter().all(|seen| seen.header("x-team") == Some("s3cr3t-team")));
    assert!(upstream.seen().iter().all(|seen| seen.certified));
    // Neither header nor certificate goes to another host, which is trusted by the same authority.
    let cdn = Upstream::start_mutual_tls(&authority.server("127.0.0.1"), &authority.pem);
    let layer = cdn.blob(b"layer".to_vec());
    upstream.always("/blobs/", Act::Redirect(format!("{}/v2/a/blobs/{layer}", cdn.url())));
    assert_eq!(cache.get(&format!("/v2/reg.example/a/blobs/{}", image.layers[0])).text(), "layer");
    assert!(!cdn.seen().is_empty() && cdn.seen().iter().all(|seen| seen.header("x-team").is_none()));
    assert!(cdn.seen().iter().all(|seen| !seen.certified));
    // The same by flags and variables.
    place.write("headers", "X-Team: s3cr3t-team\n");
    let named = |file: &str| format!("reg.example={}", place.path(file).display());
    let flags = Start::new()
        .upstream("reg.example", &upstream.url())
        .args(&["--private", "reg.example", "--upstream-ca", &named("ca.pem")])
        .args(&["--upstream-cert", &named("client.pem"), "--upstream-key", &named("client.key")])
        .env("TALMIRROR_CACHE_UPSTREAM_HEADERS", &named("headers"))
        .env("TALMIRROR_CACHE_UPSTREAM_PROXY", " reg.example=none  ")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .run();
    upstream.forget();
    assert_eq!(flags.get(manifest).status, 200, "{}", flags.log());
    assert!(
        upstream.seen().iter().all(|seen| seen.certified && seen.header("x-team") == Some("s3cr3t-team"))
    );
    // A file that is not there is said with its name, and the server goes on as it was.
    place.write("cache.yaml", config("proxy: none, tls: {ca: other.pem}"));
    cache.signal("HUP");
    eventually("the log says so", || cache.log().contains("other.pem"));
    assert_eq!(cache.get(manifest).status, 200);
}

#[test]
fn stored_tags_are_refreshed_on_purpose() {
    let upstream = Upstream::start();
    let old = upstream.image("library/x", "1", &[b"old".to_vec()]);
    upstream.image("library/y", "1", &[]);
    let cache = Start::new().upstream("docker.io", &upstream.url()).args(&["--tag-ttl", "24h"]).run();
    for name in ["x", "y"] {
        assert_eq!(cache.get(&format!("/v2/docker.io/library/{name}/manifests/1")).status, 200);
    }
    let refresh = || -> serde_json::Value {
        let text = cache.command(&["refresh", "x:1", "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    };
    let said = refresh();
    let item = &said["items"][0];
    assert_eq!(
        (&item["result"], &item["digest"]),
        (&"unchanged".into(), &old.digest.clone().into()),
        "{said}"
    );
    let new = upstream.image("library/x", "1", &[b"new".to_vec()]);
    assert_eq!(cache.get("/v2/docker.io/library/x/manifests/1").header("docker-content-digest"), old.digest);
    let said = refresh();
    assert_eq!(said["items"].as_array().unwrap().len(), 1, "{said}");
    assert_eq!(said["items"][0]["movedTo"], new.digest, "{said}");
    let now = cache.get("/v2/docker.io/library/x/manifests/1");
    assert_eq!((now.outcome(), now.header("docker-content-digest")), ((200, "HIT"), new.digest.as_str()));
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let upstream = Upstream::start();
    let header = [("X-Forwarded-For", "198.51.100.1, 192.0.2.7")];
    let trusting =
        Start::new().upstream("ghcr.io", &upstream.url()).args(&["--trusted-proxy", "127.0.0.0/8"]).run();
    trusting.ask("GET", "/v2/", &header);
    logged(&trusting, &["peer=192.0.2.7", "status=200"]);
    let other = Cache::of("ghcr.io", &upstream.url());
    other.ask("GET", "/v2/", &header);
    logged(&other, &["peer=127.0.0.1", "status=200"]);
}

#[test]
fn one_image_goes_with_what_it_alone_needs() {
    let (upstream, place) = (Upstream::start(), Place::new());
    let (shared, own) = (noise(MIB, 1), noise(3 * MIB, 2));
    let first = upstream.image("m", "1", &[shared.clone(), own]);
    let second = upstream.image("m", "2", &[shared, noise(MIB, 3)]);
    let cache = Cache::of("ghcr.io", &upstream.url());
    for (tag, image) in [("1", &first), ("2", &second)] {
        assert_eq!(cache.get(&format!("/v2/ghcr.io/m/manifests/{tag}")).status, 200);
        for blob in image.layers.iter().chain([&image.config]) {
            assert_eq!(cache.get(&format!("/v2/ghcr.io/m/blobs/{blob}")).status, 200);
        }
    }
    // By the configuration alone: nothing else says where the store is.
    let root = cache.root.display().to_string();
    place.write("cache.yaml", format!("apiVersion: talmirror/v1\nkind: Cache\nroot: {root}\n"));
    let config = place.path("cache.yaml").display().to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"));
        let output = command.args(args).args(["--config", &config]).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(run(&["prune", "ghcr.io/m:9"]).1.contains("no image is stored that fits `ghcr.io/m:9`"));
    let dry = run(&["prune", "ghcr.io/m:1", "--dry-run", "-o", "json"]).0;
    let (pruned, story) = run(&["prune", "ghcr.io/m:1"]);
    assert_eq!(pruned, "ghcr.io/m:1\n");
    // The layer, the configuration and the manifest.
    assert!(story.contains("removed 1 tag, 3 blobs and manifests, 3"), "{story}");
    let dry: serde_json::Value = serde_json::from_str(&dry).unwrap();
    assert_eq!((&dry["objects"], &dry["dryRun"]), (&3.into(), &true.into()));
    upstream.forget();
    for blob in second.layers.iter().chain([&second.config]) {
        assert_eq!(cache.get(&format!("/v2/ghcr.io/m/blobs/{blob}")).outcome(), (200, "HIT"));
    }
    assert_eq!(upstream.seen().len(), 0);
    let (list, _) = run(&["ls"]);
    assert!(list.contains("ghcr.io/m:2") && !list.contains("ghcr.io/m:1"), "{list}");
    assert!(run(&["stats", "-o", "yaml"]).0.contains("kind: CacheStats"));
    let stats = run(&["stats"]).0;
    assert!(stats.contains("REGISTRY") && stats.contains("ghcr.io") && stats.contains("asked"), "{stats}");
}

#[test]
fn stats_say_how_each_upstream_is() {
    let (upstream, place) = (Upstream::start(), Place::new());
    upstream.always("/v2/bad/", Act::error(500, "UNKNOWN"));
    let layer = upstream.blob(noise(MIB, 1));
    upstream.always(&layer, Act::Stall(1000));
    upstream.image("m", "1", &[]);
    upstream.always("/v2/m/manifests/", Act::With("RateLimit-Limit", "100;w=21600".to_owned()));
    upstream.always("/v2/m/manifests/", Act::With("RateLimit-Remaining", "42;w=21600".to_owned()));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cache = Start::new()
        .upstream("ghcr.io", &upstream.url())
        .upstream("gone.example", &format!("http://{closed}"));
    let cache = cache.args(&["--per-upstream", "ghcr.io=1"]).run();
    drop(place);
    assert_eq!(cache.get("/v2/ghcr.io/m/manifests/1").status, 200);
    assert_eq!(cache.get("/v2/gone.example/a/manifests/1").status, 503);
    for _ in 0..4 {
        assert_eq!(cache.get("/v2/ghcr.io/bad/manifests/1").status, 503);
    }
    let slow = cache.open("GET", &format!("/v2/ghcr.io/m/blobs/{layer}"), &[]);
    assert_eq!(slow.status, 200);
    let stats: serde_json::Value = serde_json::from_str(&cache.command(&["stats", "-o", "json"])).unwrap();
    let ghcr = &stats["upstreams"][0];
    assert_eq!((&ghcr["registry"], &ghcr["transfers"]), (&"ghcr.io".into(), &1.into()), "{stats}");
    assert_eq!((&ghcr["transfersLimit"], &ghcr["queued"]), (&1.into(), &0.into()), "{stats}");
    let endpoint = &ghcr["endpoints"][0];
    assert_eq!((&endpoint["paused"], &endpoint["quotaRemaining"]), (&serde_json::Value::Null, &42.into()));
    let paused = &endpoint["repositories"][0];
    assert_eq!((&paused["repository"], &paused["paused"]), (&"bad".into(), &"failing".into()), "{stats}");
    assert!(paused["pausedSince"].is_string() && paused["pausedUntil"].is_string(), "{stats}");
    let gone = &stats["upstreams"][1]["endpoints"][0];
    assert_eq!(gone["paused"], "unreachable", "{stats}");
    let time = |name: &str| gone[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("pausedSince") < time("pausedUntil"), "{stats}");
    let table = cache.command(&["stats"]);
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("ghcr.io").contains("asked") && row("ghcr.io").contains("42 of 100"), "{table}");
    assert!(row("gone.example").contains("unreachable"), "{table}");
    assert!(table.contains("REPOSITORY") && table.contains("bad"), "{table}");
    upstream.release();
}

/// A proxy resolves names itself, so that nothing is known of the addresses: the operator of the proxy keeps it.
#[test]
fn a_private_registry_behind_a_proxy_has_its_token_server_under_any_name() {
    let (proxy, place) = (Upstream::start(), Place::new());
    proxy.image("a", "1", &[]);
    let realm = Some("http://git.corp.example/token".to_owned());
    let user = Some(("u".to_owned(), "s3cr3t-p".to_owned()));
    proxy.auth(Auth::Bearer(Bearer { user, realm, ..Bearer::default() }));
    place.write("up.json", r#"{"auths":{"reg.example":{"username":"u","password":"s3cr3t-p"}}}"#);
    let credentials = format!("reg.example={}", place.path("up.json").display());
    let cache = |private: &[&str]| {
        let start =
            Start::new().upstream("reg.example", "http://reg.example").env("HTTP_PROXY", &proxy.url());
        start.args(&["--credentials", &credentials, "--anonymous", "reg.example"]).args(private).run()
    };
    let path = "/v2/reg.example/a/manifests/1";
    assert_eq!(cache(&["--private", "reg.example"]).get(path).status, 200);
    assert_eq!(cache(&[]).get(path).status, 503);
}

/// Asks over many connections with a window of `window` bytes a stream, and takes nothing.
async fn take_nothing(
    address: std::net::SocketAddr,
    path: &str,
    window: u32,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut held = Vec::new();
    for _ in 0..40 {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 30);
        let (mut send, connection) = builder.handshake::<_, Bytes>(tcp).await.unwrap();
        let driver = tokio::spawn(async {
            let _ = connection.await;
        });
        let mut answers = Vec::new();
        for _ in 0..64 {
            send = send.ready().await.unwrap();
            let request = Request::get(format!("http://cache{path}")).body(()).unwrap();
            answers.push(send.send_request(request, true).unwrap().0);
        }
        let mut bodies = Vec::new();
        for answer in answers {
            bodies.push(answer.await.unwrap());
        }
        held.push(tokio::spawn(async move {
            let _all = (bodies, send, driver);
            std::future::pending::<()>().await;
        }));
    }
    held
}

#[test]
fn what_http2_clients_do_not_take_is_not_held_for_them() {
    let upstream = Upstream::start();
    let digest = upstream.blob(noise(8 * MIB, 1));
    let cache = Cache::of("ghcr.io", &upstream.url());
    let path = format!("/v2/ghcr.io/x/blobs/{digest}");
    assert_eq!(cache.get(&path).status, 200);
    let before = cache.memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let held = runtime.block_on(take_nothing(cache.address, &path, 1));
    let grown = cache.memory().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB for 2560 answers of which nothing is taken");
    // Others are served meanwhile.
    assert!(cache.get(&path).whole);
    held.iter().for_each(tokio::task::JoinHandle::abort);
    runtime.shutdown_timeout(Duration::from_secs(5));
    eventually("memory is given back", || cache.memory().saturating_sub(before) < 64 << 10);
}
