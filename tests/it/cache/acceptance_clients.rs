//! Clients as they are: skopeo, containerd, docker-registry; caches behind caches.
//!
//! What is not installed is skipped with a word; CI installs it (`.ci/run`) and then demands it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::bucket::{sharing, written};
use crate::cache_process::{Cache, Start, eventually};
use crate::fake_bucket::Bucket;
use crate::fake_upstream::{Act, Image, Upstream};
use crate::run::Place;

/// Whether a program is there; where it has to be, that it is not is a failure.
fn has(program: &str) -> bool {
    let found =
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = std::env::var("TALMIRROR_CLIENTS").is_ok_and(|value| value == "required");
    assert!(found || !required, "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}

fn skopeo(from: &str, to: &str) -> String {
    run(Command::new("skopeo").args([
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        from,
        to,
    ]))
}

fn image(upstream: &Upstream) -> Image {
    upstream.image("library/x", "1", &[b"one layer".to_vec(), b"another".to_vec()])
}

#[test]
fn skopeo_pulls() {
    if !has("skopeo") {
        return;
    }
    let (upstream, place) = (Upstream::start(), Place::new());
    image(&upstream);
    let cache = Cache::of("docker.io", &upstream.url());
    for round in ["cold", "warm"] {
        let to = place.path(round);
        skopeo(
            &format!("docker://{}/docker.io/library/x:1", cache.address),
            &format!("dir:{}", to.display()),
        );
        assert!(to.join("manifest.json").exists());
    }
    assert_eq!(upstream.count("GET", "/blobs/"), 3, "each blob once");
    assert_eq!(upstream.count("GET", "/manifests/"), 1);
}

/// A registry of Debian's, with one image in it; it ends when it is dropped.
struct DockerRegistry {
    child: std::process::Child,
    port: u16,
    _place: Place,
}

impl DockerRegistry {
    fn start() -> Self {
        let place = Place::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        place.write(
            "registry.yml",
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
                place.path("data").display()
            ),
        );
        let child = Command::new("docker-registry")
            .args(["serve", place.path("registry.yml").to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("docker-registry listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, _place: place }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn caches_behind_caches_before_docker_registry() {
    if !has("skopeo") || !has("docker-registry") {
        return;
    }
    let (registry, seed, place) = (DockerRegistry::start(), Upstream::start(), Place::new());
    image(&seed);
    let origin = format!("docker://127.0.0.1:{}/library/x:1", registry.port);
    skopeo(&format!("docker://{}/library/x:1", seed.address), &origin);
    let inner = Cache::of("docker.io", &format!("http://127.0.0.1:{}", registry.port));
    let outer = Cache::of("docker.io", &format!("{}/v2/docker.io", inner.url()));
    // By HEAD, through both of them, while nothing is stored anywhere.
    let manifest = seed.image("library/x", "1", &[b"one layer".to_vec(), b"another".to_vec()]);
    let blob = format!("/v2/docker.io/library/x/blobs/{}", manifest.layers[0]);
    let head = outer.head(&blob);
    assert_eq!((head.status, head.header("content-length")), (200, "9"));
    let to = format!("dir:{}", place.path("out").display());
    skopeo(&format!("docker://{}/docker.io/library/x:1", outer.address), &to);
    // With everything behind it gone, the outermost serves all the same.
    drop((registry, inner));
    let to = format!("dir:{}", place.path("again").display());
    skopeo(&format!("docker://{}/docker.io/library/x:1", outer.address), &to);
}

#[test]
fn caches_behind_caches() {
    let upstream = Upstream::start();
    let image = image(&upstream);
    let inner = Cache::of("docker.io", &upstream.url());
    let outer = Cache::of("docker.io", &format!("{}/v2/docker.io", inner.url()));
    for path in
        [format!("blobs/{}", image.layers[0]), "manifests/1".into(), format!("blobs/{}", image.config)]
    {
        let path = format!("/v2/docker.io/library/x/{path}");
        let (head, get) = (outer.head(&path), outer.get(&path));
        assert_eq!((head.status, get.status), (200, 200), "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        assert_eq!(head.header("docker-content-digest"), get.header("docker-content-digest"), "{path}");
    }
    assert_eq!(outer.get("/v2/docker.io/library/x/manifests/none").status, 404);
}

/// containerd of Debian, which only fetches: nothing is unpacked, so that no privilege is needed for it but its own.
struct Containerd {
    child: std::process::Child,
    place: Place,
}

impl Containerd {
    /// Starts it; [`None`] where that cannot be.
    fn start() -> Option<Self> {
        if !has("containerd") || !has("ctr") {
            return None;
        }
        let place = Place::new();
        let path = |name: &str| place.path(name).display().to_string();
        place.write(
            "config.toml",
            format!(
                "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt']\n[grpc]\naddress = {:?}\n",
                path("root"),
                path("state"),
                path("socket")
            ),
        );
        let log = std::fs::File::create(place.path("log")).unwrap();
        let child = Command::new("containerd")
            .args(["--config", &path("config.toml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut this = Self { child, place };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !this.place.path("socket").exists() {
            if this.child.try_wait().unwrap().is_some() || std::time::Instant::now() > deadline {
                eprintln!(
                    "skipped: containerd does not start here (it takes root): {}",
                    this.place.read("log")
                );
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(this)
    }

    /// Fetches an image of Docker Hub through a mirror, with another registry in the place of Docker Hub.
    fn fetch(&self, reference: &str, mirror: &str, override_path: bool, server: &Upstream) -> String {
        let hosts = self.place.path("hosts");
        self.place.write(
            "hosts/docker.io/hosts.toml",
            format!(
                "server = \"{}\"\n[host.\"{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = {override_path}\n",
                server.url()
            ),
        );
        let socket = self.place.path("socket");
        run(Command::new("ctr")
            .args(["--address", socket.to_str().unwrap(), "--namespace", &unique(), "content", "fetch"])
            .args(["--hosts-dir", Path::new(&hosts).to_str().unwrap(), reference]))
    }
}

/// A namespace of its own for each fetch: containerd keeps what it has.
fn unique() -> String {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    format!("t{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn containerd_pulls() {
    let Some(containerd) = Containerd::start() else { return };
    let (upstream, server) = (Upstream::start(), Upstream::start());
    image(&upstream);
    image(&server);
    let cache = Cache::of("docker.io", &upstream.url());
    // By `ns`, by the path that Talos gives, and by a path without override_path.
    for (mirror, override_path) in [
        (cache.url(), false),
        (format!("{}/v2/docker.io", cache.url()), true),
        (format!("{}/docker.io", cache.url()), false),
    ] {
        containerd.fetch("docker.io/library/x:1", &mirror, override_path, &server);
    }
    assert_eq!(server.seen().len(), 0, "the mirror had everything");
    assert_eq!(upstream.count("GET", "/blobs/"), 3, "each blob once");
}

/// containerd takes what is in the bucket from there, and shows the bucket no credentials.
#[test]
fn containerd_goes_to_the_bucket() {
    let Some(containerd) = Containerd::start() else { return };
    let (upstream, server, bucket) = (Upstream::start(), Upstream::start(), Bucket::start());
    let image = image(&upstream);
    let first = sharing(&upstream, &bucket).run();
    containerd.fetch("docker.io/library/x:1", &first.url(), false, &server);
    written(&first, &bucket, &image);
    upstream.forget();
    bucket.forget();
    // What containerd has it does not fetch again.
    let containerd = Containerd::start().unwrap();
    let second = sharing(&upstream, &bucket).args(&["--redirect", "docker.io"]).run();
    containerd.fetch("docker.io/library/x:1", &second.url(), false, &server);
    let asked: Vec<_> =
        bucket.asked().into_iter().filter(|one| one.method == "GET" && one.key.contains("/blobs/")).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for one in asked {
        assert!(one.query.contains_key("X-Amz-Signature") && !one.headers.contains_key("authorization"));
    }
    assert_eq!((upstream.count("GET", "/blobs/"), server.seen().len()), (0, 0));
}

/// What the cache refuses, containerd gets from the registry itself; the pull never fails for it.
#[test]
fn containerd_falls_back() {
    let Some(containerd) = Containerd::start() else { return };
    // What containerd has from one pull it does not fetch for the next: each has an image of its own.
    let ill = |what: &str, act: Option<Act>| {
        let upstream = Upstream::start();
        upstream.image("library/x", what, &[what.as_bytes().to_vec(), format!("{what} too").into_bytes()]);
        if let Some(act) = act {
            upstream.always("/", act);
        }
        upstream
    };
    let mut upstreams = vec![
        ("403", ill("403", Some(Act::error(403, "DENIED"))), 403),
        ("404", ill("404", Some(Act::error(404, "NAME_UNKNOWN"))), 404),
        ("429", ill("429", Some(Act::too_many(None))), 503),
        ("500", ill("500", Some(Act::error(500, "UNKNOWN"))), 503),
        ("closes", ill("closes", Some(Act::Close)), 503),
    ];
    for (what, upstream, status) in upstreams.drain(..) {
        let server = ill(what, None);
        let cache = Cache::of("docker.io", &upstream.url());
        assert_eq!(cache.get(&format!("/v2/docker.io/x/manifests/{what}")).status, status, "{what}");
        containerd.fetch(&format!("docker.io/library/x:{what}"), &cache.url(), false, &server);
        assert_eq!(server.count("GET", "/blobs/"), 3, "{what}");
    }
    // A mirror that is for another registry only says so at once.
    let (server, other) = (ill("other", None), ill("other", None));
    let cache = Start::new().upstream("ghcr.io", &other.url()).run();
    containerd.fetch("docker.io/library/x:other", &cache.url(), false, &server);
    assert_eq!((server.count("GET", "/blobs/"), other.seen().len()), (3, 0));
}
