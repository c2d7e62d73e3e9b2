//! What a request means, and who may have what it asks for.

use crate::cache_process::{Cache, Start};
use crate::fake_upstream::{Act, Auth, Bearer, Upstream};
use crate::run::Place;

#[test]
fn every_shape_of_every_name() {
    let registries = ["docker.io", "registry.gitlab.com", "registry.k8s.io", "reg.example.com:5000"];
    let upstreams: Vec<Upstream> = registries.iter().map(|_| Upstream::start()).collect();
    let mut start = Start::new();
    for (name, upstream) in registries.iter().zip(&upstreams) {
        start = start.upstream(name, &upstream.url());
    }
    let cache = start.run();
    for (registry, asked, repository) in [
        ("docker.io", "alpine", "library/alpine"),
        ("docker.io", "rook/ceph", "rook/ceph"),
        ("registry.gitlab.com", "a/b/c/d", "a/b/c/d"),
        ("registry.k8s.io", "pause", "pause"),
        ("reg.example.com:5000", "a", "a"),
    ] {
        let at = registries.iter().position(|name| *name == registry).unwrap();
        let image = upstreams[at].image(repository, "1", &[repository.as_bytes().to_vec()]);
        let encoded = registry.replace(':', "%3A");
        for (path, ns) in [
            (format!("/v2/{asked}/manifests/1?ns={encoded}"), registry),
            (format!("/v2/{asked}/manifests/1?ns={}", encoded.to_uppercase()), registry),
            (format!("/v2/{registry}/{asked}/manifests/1"), ""),
            (format!("/v2/{registry}/{asked}/manifests/1?ns={encoded}"), registry),
            (format!("/v2/{registry}/{asked}/manifests/1?ns=docker.io.example"), ""),
            (format!("/{registry}/v2/{asked}/manifests/1"), ""),
            (format!("/v2/{registry}/v2/{asked}/manifests/1"), ""),
        ] {
            let answer = cache.get(&path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.header("docker-content-digest"), image.digest, "{path}");
            assert_eq!(answer.header("oci-namespace"), ns, "{path}");
        }
        assert_eq!(upstreams[at].count("GET", &format!("/v2/{repository}/manifests/1")), 1, "{registry}");
    }
    // A request that names no registry means Docker Hub.
    assert_eq!(cache.get("/v2/alpine/manifests/1").status, 200);
}

#[test]
fn what_is_not_configured_is_not_dialled() {
    let cache = Cache::of("docker.io", "http://127.0.0.1:9");
    for path in [
        "/v2/a/manifests/1?ns=evil.example",
        "/v2/a/manifests/1?ns=169.254.169.254",
        "/v2/evil.example/a/manifests/1",
        "/evil.example/v2/a/manifests/1",
        "/v2/ghcr.io/a/manifests/1",
    ] {
        let answer = cache.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains(r#""code":"NAME_UNKNOWN""#), "{path}: {}", answer.text());
        assert!(answer.took.as_millis() < 500, "{path}: {:?}", answer.took);
    }
}

#[test]
fn answers_that_need_no_upstream() {
    let cache = Cache::of("docker.io", "http://127.0.0.1:9");
    for path in ["/v2/", "/v2", "/docker.io/v2/", "/v2/docker.io/v2/"] {
        let answer = cache.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{path}");
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
    for (method, path, status, code) in [
        ("PUT", "/v2/a/manifests/1", 405, "UNSUPPORTED"),
        ("POST", "/v2/a/blobs/uploads/", 405, "UNSUPPORTED"),
        ("DELETE", "/v2/a/manifests/1", 405, "UNSUPPORTED"),
        ("GET", "/v2/A/manifests/1", 400, "NAME_INVALID"),
        ("GET", "/v2/../../etc/passwd/manifests/1", 400, "NAME_INVALID"),
        ("GET", "/v2/a/manifests/sha256:ab", 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/md5:00", 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/manifests/-x", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/_catalog", 404, "UNSUPPORTED"),
        ("GET", "/v2/evil.example/v2/", 404, "NAME_UNKNOWN"),
    ] {
        let answer = cache.ask(method, path, &[]);
        let want = format!(r#""code":"{code}""#);
        assert!(answer.status == status && answer.text().contains(&want), "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
    }
    assert_eq!(cache.ask("PUT", "/v2/", &[]).header("allow"), "GET, HEAD");
    for path in ["/livez", "/readyz"] {
        assert_eq!(cache.get(path).status, 200);
    }
}

/// A layer that came through one repository, wanted through another that lists it, while upstream is down.
#[test]
fn what_is_public_and_listed_is_served_without_upstream() {
    let upstream = Upstream::start();
    let shared = b"shared".to_vec();
    let (a, b) =
        (upstream.image("o/a", "1", std::slice::from_ref(&shared)), upstream.image("o/b", "1", &[shared]));
    let unlisted = upstream.image("o/c", "1", &[b"unlisted".to_vec()]);
    let cache = Cache::of("docker.io", &upstream.url());
    let get =
        |repository: &str, what: &str| cache.get(&format!("/v2/docker.io/{repository}/{what}")).outcome().0;
    assert_eq!(get("o/b", "manifests/1"), 200);
    for digest in [&a.layers[0], &unlisted.layers[0]] {
        let path = format!("/v2/docker.io/o/a/blobs/{digest}");
        crate::cache_process::eventually("it is stored", || cache.get(&path).outcome() == (200, "HIT"));
    }
    upstream.always("/", Act::Close);
    assert_eq!(get("o/b", &format!("blobs/{}", b.layers[0])), 200);
    assert_eq!(get("o/b", &format!("blobs/{}", unlisted.layers[0])), 503);
}

/// A registry that takes a password, its credentials in a file, and users of the cache.
pub(super) struct Private {
    pub(super) upstream: Upstream,
    pub(super) place: Place,
}

impl Private {
    pub(super) fn new() -> Self {
        let (upstream, place) = (Upstream::start(), Place::new());
        upstream.auth(Auth::Basic("robot".into(), "s3cr3t-robot".into()));
        let auth = base64("robot:s3cr3t-robot");
        place.write("up.json", format!(r#"{{"auths":{{"private.example":{{"auth":"{auth}"}}}}}}"#));
        place.write("users", format!("ada:{}\n", bcrypt::hash("s3cr3t-ada", 4).unwrap()));
        Self { upstream, place }
    }

    pub(super) fn start(&self) -> Start {
        let file = self.place.path("up.json");
        Start::new()
            .upstream("private.example", &self.upstream.url())
            .args(&["--credentials", &format!("private.example={}", file.display())])
    }
}

pub(super) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn private_content_is_for_users() {
    let private = Private::new();
    let image = private.upstream.image("a", "1", &[b"secret layer".to_vec()]);
    private.upstream.always("/v2/b/blobs/", Act::error(404, "BLOB_UNKNOWN"));
    private.upstream.always("/v2/b/manifests/", Act::error(404, "MANIFEST_UNKNOWN"));
    let hub = Upstream::start();
    hub.image("library/x", "1", &[b"open".to_vec()]);
    let users = private.place.path("users");
    let start = private.start().upstream("docker.io", &hub.url());
    let cache = start.clone().args(&["--htpasswd", users.to_str().unwrap()]).run();
    let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
    let wrong = format!("Basic {}", base64("ada:guess"));
    let blob = |place: &str| format!("/v2/{place}/blobs/{}", image.layers[0]);
    let ask = |path: &str, who: Option<&str>| {
        let headers: Vec<(&str, &str)> = who.iter().map(|who| ("Authorization", *who)).collect();
        cache.ask("GET", path, &headers).status
    };
    let manifest = "/v2/private.example/a/manifests/1";
    assert_eq!(
        (ask(manifest, None), ask(manifest, Some(&wrong)), ask(manifest, Some(&ada))),
        (401, 401, 200)
    );
    let challenge = cache.get(manifest);
    assert_eq!(challenge.header("www-authenticate"), r#"Basic realm="talmirror-cache""#);
    assert_eq!(ask(&blob("private.example/a"), Some(&ada)), 200);
    // Caches in between do not keep it for others.
    let layer = cache.ask("GET", &blob("private.example/a"), &[("Authorization", &ada)]);
    assert_eq!(layer.header("cache-control"), "private, max-age=31536000, immutable");
    // It is here now, and still nobody gets it who may not: not a stranger, not through another repository that does
    // not have it, not through a registry that is open.
    assert_eq!(ask(&blob("private.example/a"), None), 401);
    assert_eq!(ask(&blob("private.example/b"), Some(&ada)), 404);
    assert_eq!(ask(&format!("/v2/private.example/b/manifests/{}", image.digest), Some(&ada)), 404);
    assert_eq!(ask(&blob("docker.io/library/x"), None), 404);
    assert_eq!(ask(&blob("docker.io/library/x"), Some(&ada)), 404);
    // What is open stays open, whatever password comes along: Docker shows its own to mirrors.
    assert_eq!(
        (ask("/v2/docker.io/x/manifests/1", None), ask("/v2/x/manifests/1", Some(&wrong))),
        (200, 200)
    );
    // Nobody's password ever went upstream.
    assert!(private.upstream.seen().iter().all(|seen| !seen.headers.values().any(|value| *value == ada)));
    assert!(hub.seen().iter().all(|seen| !seen.authorized()));

    // Who may no longer have it upstream, may not have here what is older.
    let strict = start.clone().args(&["--htpasswd", users.to_str().unwrap(), "--tag-ttl", "0s"]).run();
    assert_eq!(strict.ask("GET", manifest, &[("Authorization", &ada)]).status, 200);
    private.upstream.always("/v2/a/manifests/", Act::error(403, "DENIED"));
    assert_eq!(strict.ask("GET", manifest, &[("Authorization", &ada)]).status, 403);
    private.upstream.heal();

    // Without users nobody may have it, unless the operator says that anybody may.
    let closed = start.clone().run();
    assert_eq!(closed.get(manifest).status, 403);
    let open = start.args(&["--anonymous", "private.example"]).run();
    assert_eq!(open.get(manifest).status, 200);
}

#[test]
fn a_url_that_is_not_taken_is_shown_without_its_password() {
    for (variable, command) in
        [("TALMIRROR_CACHE_UPSTREAM", "check"), ("TALMIRROR_CACHE_URL", "mirror-config")]
    {
        let url = if command == "check" { "x=http://u:s3cr3t-url@h" } else { "http://u:s3cr3t-url@h:5000" };
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
            .arg(command)
            .env(variable, url)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(2), "{said}");
        assert!(said.contains("credentials") && !said.contains("s3cr3t"), "{said}");
    }
}

/// What a file's findings say is said of flags, too, and before the first pull.
#[test]
fn what_is_doubtful_about_flags_is_said() {
    let place = Place::new();
    place.write("cache.yaml", "apiVersion: talmirror/v1\nkind: Cache\n");
    let file = place.path("cache.yaml");
    let args = ["--config", file.to_str().unwrap(), "--credentials", "private.example=/nowhere/secret"];
    let cache = Start::new().upstream("private.example", "http://192.0.2.1").args(&args).run();
    for doubt in [
        "no client may read what comes from private.example",
        "the credentials of private.example go over plain http",
        "the credentials of private.example cannot be read: `/nowhere/secret`",
    ] {
        assert!(cache.log().contains(doubt), "{doubt}: {}", cache.log());
    }
}

#[test]
fn tokens_stay_at_the_registry() {
    let (upstream, elsewhere) = (Upstream::start(), Upstream::start());
    upstream.auth(Auth::Bearer(Bearer::default()));
    let digest = elsewhere.blob("far away");
    upstream.always("/blobs/", Act::Redirect(format!("{}/cdn/{digest}", elsewhere.url())));
    let cache = Start::new().upstream("docker.io", &upstream.url()).args(&["--private", "docker.io"]).run();
    upstream.image("library/x", "1", &[b"layer".to_vec()]);
    assert_eq!(cache.get("/v2/docker.io/x/manifests/1").status, 200);
    let answer = cache.get(&format!("/v2/docker.io/x/blobs/{digest}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "far away"));
    assert!(upstream.seen().iter().any(|seen| seen.path.contains("/blobs/") && seen.authorized()));
    assert!(!elsewhere.seen().is_empty() && elsewhere.seen().iter().all(|seen| !seen.authorized()));
}

#[test]
fn redirects_into_private_networks() {
    let elsewhere = Upstream::start();
    let digest = elsewhere.blob("not for you");
    for target in [
        format!("http://169.254.169.254/{digest}"),
        format!("http://[fd00:ec2::254]/{digest}"),
        format!("http://[fe80::1]/{digest}"),
        "ftp://10.1.2.3/x".to_owned(),
    ] {
        let upstream = Upstream::start();
        upstream.always("/blobs/", Act::Redirect(target.clone()));
        let cache = Cache::of("docker.io", &upstream.url());
        let answer = cache.get(&format!("/v2/docker.io/x/blobs/{digest}"));
        assert_eq!(answer.status, 503, "{target}: {}", answer.text());
    }
    // One that is configured by an address of a private network is in one, and so may be what it leads to.
    let upstream = Upstream::start();
    upstream.always("/blobs/", Act::Redirect(format!("{}/cdn/{digest}", elsewhere.url())));
    let cache = Cache::of("docker.io", &upstream.url());
    assert_eq!(cache.get(&format!("/v2/docker.io/x/blobs/{digest}")).status, 200);
}

#[test]
fn patterns_of_repositories() {
    let upstream = Upstream::start();
    upstream.image("library/x", "1", &[b"x".to_vec()]);
    let place = Place::new();
    place.write(
        "cache.yaml",
        format!(
            "apiVersion: talmirror/v1\nkind: Cache\nupstreams:\n  docker.io: {{url: '{}', allow: [library/*], deny: [library/y*]}}\n",
            upstream.url()
        ),
    );
    let config = place.path("cache.yaml");
    let cache = Start::new().args(&["--config", config.to_str().unwrap()]).run();
    let status = |name: &str| cache.get(&format!("/v2/docker.io/{name}/manifests/1")).status;
    assert_eq!((status("x"), status("yy"), status("other/x")), (200, 403, 403));
    assert!(upstream.seen().iter().all(|seen| !seen.path.contains("yy") && !seen.path.contains("other")));
}
