//! The status page of a running cache: what it shows, and to whom it does not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::acceptance_names::{Private, base64};
use crate::cache_process::{Cache, PATIENCE, Reading, Start, eventually};
use crate::fake_upstream::{Act, Upstream, noise};

const MIB: usize = 1 << 20;

/// A cache of an open and of a private registry: images of both are stored, a blob of each is being downloaded, and a
/// repository fails.
pub(super) struct Busy {
    pub(super) cache: Cache,
    pub(super) address: String,
    _open: Upstream,
    _private: Private,
    _transfers: [Reading; 2],
    /// What no stranger may see.
    secrets: Vec<String>,
}

/// Returns where metrics and the status page of a cache are.
fn admin_address(cache: &Cache) -> String {
    let log = cache.log();
    let line =
        log.lines().find_map(|line| line.strip_prefix("metrics on http://")).expect("a listener of metrics");
    line.split_once('/').unwrap().0.to_owned()
}

impl Busy {
    pub(super) fn start() -> Self {
        let (open, private) = (Upstream::start(), Private::new());
        open.image("some/thing", "1.2.3", &[noise(3 * MIB, 1)]);
        open.image("other/web", "2", &[noise(MIB, 2)]);
        open.always("/v2/broken/", Act::error(500, "UNKNOWN"));
        let hidden = private.upstream.image("team/hush", "1", &[noise(1000, 3)]);
        let users = private.place.path("users").display().to_string();
        let cache = private
            .start()
            .upstream("ghcr.io", &open.url())
            .upstream("down.example", "http://127.0.0.1:1")
            .args(&["--htpasswd", &users, "--metrics-listen", "127.0.0.1:0"])
            .run();
        let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
        let user = [("Authorization", ada.as_str())];
        for path in ["/v2/ghcr.io/some/thing/manifests/1.2.3", "/v2/ghcr.io/other/web/manifests/2"] {
            for _ in 0..3 {
                assert_eq!(cache.get(path).status, 200);
            }
        }
        assert_eq!(cache.ask("GET", "/v2/private.example/team/hush/manifests/1", &user).status, 200);
        assert_eq!(cache.get("/v2/down.example/app/manifests/1").status, 503);
        assert_eq!(cache.get("/v2/ghcr.io/broken/app/manifests/1").status, 503);
        let (running, secret) = (open.blob(noise(8 * MIB, 4)), private.upstream.blob(noise(8 * MIB, 5)));
        for upstream in [&open, &private.upstream] {
            upstream.always("/blobs/", Act::Stall(2 * MIB));
        }
        let mut transfers = [
            cache.open("GET", &format!("/v2/ghcr.io/some/thing/blobs/{running}"), &[]),
            cache.open("GET", &format!("/v2/private.example/team/hush/blobs/{secret}"), &user),
        ];
        for transfer in &mut transfers {
            assert_eq!(transfer.read(MIB).len(), MIB);
        }
        let address = admin_address(&cache);
        let secrets = [hidden.digest, secret].map(|digest| digest["sha256:".len()..][..12].to_owned());
        let secrets = secrets.into_iter().chain(["hush", "s3cr3t", "team/"].map(str::to_owned)).collect();
        Self { cache, address, _open: open, _private: private, _transfers: transfers, secrets }
    }

    fn ask(&self, method: &str, path: &str, accept: &str) -> (u16, String, String) {
        ask(&self.address, method, path, accept)
    }

    fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.ask("GET", path, "*/*");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// Returns status, headers in lower case, and body.
pub(super) fn ask(address: &str, method: &str, path: &str, accept: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: m\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

#[test]
fn it_shows_what_the_cache_holds_and_does() {
    let busy = Busy::start();
    eventually("the traffic is counted", || {
        busy.json("/status.json")["traffic"]["slots"].as_array().unwrap().iter().any(|slot| slot["hits"] == 4)
    });
    let status = busy.json("/status.json");
    assert_eq!((&status["apiVersion"], &status["kind"]), (&"talmirror/v1".into(), &"CacheStatus".into()));
    assert_eq!((&status["store"]["tags"], &status["store"]["manifests"]), (&3.into(), &3.into()), "{status}");
    assert_eq!(status["traffic"]["sinceStart"]["misses"], 3, "{status}");
    let downloads = status["downloads"].as_array().unwrap();
    assert_eq!(downloads.len(), 2, "{status}");
    let open = downloads.iter().find(|one| one["from"] == "ghcr.io/some/thing").expect("the open one");
    assert_eq!((&open["totalBytes"], &open["readers"]), (&(8 * MIB).into(), &1.into()), "{open}");
    assert!(open["receivedBytes"].as_u64().unwrap() >= MIB as u64, "{open}");
    let hidden = downloads.iter().find(|one| one["from"] == "private.example").expect("the private one");
    assert_eq!(hidden["digest"], Value::Null);
    let failure = &status["failures"][0];
    assert_eq!((&failure["status"], &failure["registry"]), (&503.into(), &"ghcr.io".into()), "{status}");
    let is_paused = || {
        let status = busy.json("/status.json");
        let down =
            status["upstreams"].as_array().unwrap().iter().find(|one| one["registry"] == "down.example");
        down.expect("it")["endpoints"][0]["pausedUntil"].is_string()
    };
    eventually("the dead upstream is left alone", is_paused);

    let (code, head, page) = busy.ask("GET", "/", "text/html,*/*;q=0.8");
    assert_eq!(code, 200);
    for header in ["content-security-policy: default-src 'none';", "cache-control: no-store", "nosniff"] {
        assert!(head.contains(header), "no {header} in\n{head}");
    }
    for text in
        ["Upstream registries", "ghcr.io/some/thing", "of 8 MiB", "upstream is not available", "broken/app"]
    {
        assert!(page.contains(text), "no {text} in\n{page}");
    }

    let images = busy.json("/images.json?q=SOME+1.2");
    assert_eq!(
        (&images["found"], &images["total"], &images["hidden"]),
        (&1.into(), &2.into(), &1.into()),
        "{images}"
    );
    assert_eq!(images["items"][0]["image"], "ghcr.io/some/thing:1.2.3");
    let (_, _, page) = busy.ask("GET", "/images?q=%22%3E%3Cscript%3E", "text/html");
    assert!(
        page.contains("value=\"&quot;&gt;&lt;script&gt;\"") && page.contains("No image is stored that fits"),
        "{page}"
    );

    // The same at the address of the page, for those who ask for JSON.
    let (_, head, body) = busy.ask("GET", "/images", "application/json");
    assert!(head.contains("content-type: application/json") && head.contains("vary: accept"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["total"], 2);

    for path in ["/", "/status.json", "/images", "/images.json", "/images?q=hush", "/metrics"] {
        let (_, _, body) = busy.ask("GET", path, "*/*");
        // What was searched for is shown again.
        let body = body.replace("value=\"hush\"", "").replace("q=hush", "");
        for secret in &busy.secrets {
            assert!(!body.contains(secret.as_str()), "{path} shows {secret}:\n{body}");
        }
    }
    assert_eq!(busy.ask("HEAD", "/", "*/*").2, "");
    assert_eq!(busy.ask("POST", "/", "*/*").0, 405);
    assert_eq!(busy.ask("GET", "/elsewhere", "*/*").0, 404);
    assert_eq!(busy.cache.get("/").status, 404, "clients of the registry see no page");
    let log = busy.cache.log();
    assert!(log.contains(&format!("status page on http://{}/", busy.address)), "{log}");
}

#[test]
fn it_can_be_left_out() {
    let upstream = Upstream::start();
    let start =
        || Start::new().upstream("ghcr.io", &upstream.url()).args(&["--metrics-listen", "127.0.0.1:0"]);
    let cache = start().args(&["--no-status-page"]).run();
    let address = admin_address(&cache);
    for (path, status) in [("/", 404), ("/status.json", 404), ("/metrics", 200), ("/livez", 200)] {
        assert_eq!(ask(&address, "GET", path, "*/*").0, status, "{path}");
    }
    assert!(!cache.log().contains("status page"), "{}", cache.log());
}

/// Where all have to say who they are, a stranger learns the name of no repository.
#[test]
fn nothing_is_named_where_all_have_to_be_users() {
    let (upstream, private) = (Upstream::start(), Private::new());
    upstream.image("some/thing", "1", &[noise(1000, 3)]);
    private.place.write(
        "cache.yaml",
        format!(
            "apiVersion: talmirror/v1\nkind: Cache\nhtpasswd: users\nauthenticate: all\nmetricsListen: 127.0.0.1:0\n\
             upstreams: {{ghcr.io: {{url: '{}'}}}}\n",
            upstream.url()
        ),
    );
    let config = private.place.path("cache.yaml").display().to_string();
    let cache = Start::new().args(&["--config", &config]).run();
    let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
    let path = "/v2/ghcr.io/some/thing/manifests/1";
    assert_eq!(cache.ask("GET", path, &[("Authorization", &ada)]).status, 200);
    let address = admin_address(&cache);
    let (_, _, body) = ask(&address, "GET", "/images.json", "*/*");
    let images: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&images["total"], &images["hidden"]), (&0.into(), &1.into()), "{images}");
    assert!(!body.contains("some/thing"));
}

/// Of a registry that is not open, a stranger learns neither a project nor where it leads.
#[test]
fn what_private_registries_lead_to_is_counted() {
    let (open, private) = (Upstream::start(), Private::new());
    open.always("/blobs/", Act::Redirect("http://127.0.0.2:1/cdn".to_owned()));
    private.upstream.always("/blobs/", Act::Redirect("http://127.0.0.3:1/cdn".to_owned()));
    let file = |name: &str| private.place.path(name).display().to_string();
    let cache = Start::new()
        .upstream("ghcr.io", &open.url())
        .upstream("private.example", &format!("{}/hush-project", private.upstream.url()))
        .args(&["--credentials", &format!("private.example={}", file("up.json"))])
        .args(&["--htpasswd", &file("users"), "--metrics-listen", "127.0.0.1:0"])
        .run();
    let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
    let blob = format!("blobs/sha256:{}", "0".repeat(64));
    for repository in ["ghcr.io/a", "private.example/a"] {
        let answer = cache.ask("GET", &format!("/v2/{repository}/{blob}"), &[("Authorization", &ada)]);
        assert_eq!(answer.status, 503, "{repository}: {}", answer.text());
    }
    let address = admin_address(&cache);
    let status = || serde_json::from_str::<Value>(&ask(&address, "GET", "/status.json", "*/*").2).unwrap();
    eventually("both hosts are left alone", || {
        let status = status();
        status["hosts"].as_array().unwrap().len() == 1 && status["hiddenHosts"] == 1
    });
    assert_eq!(status()["hosts"][0]["host"], "http://127.0.0.2:1");
    for path in ["/", "/status.json"] {
        let (_, _, body) = ask(&address, "GET", path, "*/*");
        assert!(!body.contains("127.0.0.3") && !body.contains("hush"), "{path}:\n{body}");
        assert!(body.contains(&private.upstream.url()), "{path}:\n{body}");
    }
    let stats = cache.command(&["stats", "-o", "json"]);
    assert!(stats.contains("127.0.0.3") && stats.contains("hush-project"), "{stats}");
}
