//! The process: hostile clients, another configuration, the end.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cache_process::{Cache, Start, eventually};
use crate::fake_upstream::{Act, Auth, Upstream, noise};
use crate::run::Place;

const MIB: usize = 1 << 20;

#[test]
fn clients_that_never_finish_their_request() {
    // Sockets of both ends are this machine's.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit { current: files.maximum, maximum: files.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    let upstream = Upstream::start();
    let digest = upstream.blob(noise(MIB, 1));
    let cache = Cache::of("docker.io", &upstream.url());
    let path = format!("/v2/docker.io/x/blobs/{digest}");
    assert_eq!(cache.get(&path).status, 200);
    let before = cache.memory();
    let slow: Vec<TcpStream> = (0..2000)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(cache.address).ok()?;
            stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: slow\r\nX-Slow: ").ok()?;
            Some(stream)
        })
        .collect();
    assert!(slow.len() > 1500, "{}", slow.len());
    for _ in 0..20 {
        let answer = cache.get(&path);
        assert_eq!((answer.status, answer.whole), (200, true));
        assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    }
    let grown = cache.memory().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
}

#[test]
fn another_configuration_cuts_no_transfer() {
    let (upstream, other, place) = (Upstream::start(), Upstream::start(), Place::new());
    let bytes = noise(8 * MIB, 2);
    let digest = upstream.blob(bytes.clone());
    other.image("a", "1", &[b"layer".to_vec()]);
    upstream.always("/blobs/", Act::Stall(4 * MIB));
    let write = |more: &str| {
        place.write(
            "cache.yaml",
            format!(
                "apiVersion: talmirror/v1\nkind: Cache\nupstreams:\n  docker.io: {{url: '{}'}}\n{more}",
                upstream.url()
            ),
        );
    };
    write("");
    let config = place.path("cache.yaml").display().to_string();
    let cache = Start::new().args(&["--config", &config]).run();
    let mut transfer = cache.open("GET", &format!("/v2/docker.io/x/blobs/{digest}"), &[]);
    assert!(transfer.read(MIB) == bytes[..MIB]);
    assert_eq!(cache.get("/v2/other.example/a/manifests/1").status, 404);

    // Broken: all stays as it was, and the log says where it is wrong.
    write("  other.example: {ulr: x}\n");
    cache.signal("HUP");
    eventually("the log says it", || cache.log().contains("cache.yaml:5:"));
    assert_eq!(cache.get("/v2/other.example/a/manifests/1").status, 404);

    // One more, with a password, by signal; another password, by the file alone.
    other.auth(Auth::Basic("u".into(), "s3cr3t-1".into()));
    let credentials = |password: &str| {
        let auth = base64(&format!("u:{password}"));
        place.write("up.json", format!(r#"{{"auths":{{"other.example":{{"auth":"{auth}"}}}}}}"#));
    };
    credentials("s3cr3t-1");
    write(&format!(
        "  other.example: {{url: '{}', credentials: up.json, anonymous: true, tagTtl: 0s}}\n",
        other.url()
    ));
    cache.signal("HUP");
    eventually("it is served", || cache.get("/v2/other.example/a/manifests/1").status == 200);
    other.auth(Auth::Basic("u".into(), "s3cr3t-2-longer".into()));
    credentials("s3cr3t-2-longer");
    eventually("the new password is shown", || {
        cache.get("/v2/other.example/a/manifests/1").outcome() == (200, "REVALIDATED")
    });

    upstream.heal();
    upstream.release();
    let rest = transfer.read(7 * MIB);
    assert!(rest == bytes[MIB..], "{} bytes", rest.len());
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn transfers_end_before_it_does() {
    let upstream = Upstream::start();
    let bytes = noise(4 * MIB, 3);
    let digest = upstream.blob(bytes.clone());
    upstream.always("/blobs/", Act::Stall(2 * MIB));
    let cache = Cache::of("docker.io", &upstream.url());
    let mut transfer = cache.open("GET", &format!("/v2/docker.io/x/blobs/{digest}"), &[]);
    transfer.read(MIB);
    cache.signal("TERM");
    eventually("no more is taken", || TcpStream::connect(cache.address).is_err());
    upstream.release();
    assert!(transfer.read(3 * MIB) == bytes[MIB..]);
    let begun = Instant::now();
    assert_eq!(cache.ends(), 0);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn numbers_are_on_a_listener_of_their_own() {
    let upstream = Upstream::start();
    upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let cache =
        Start::new().upstream("docker.io", &upstream.url()).args(&["--metrics-listen", "127.0.0.1:0"]).run();
    assert_eq!(cache.get("/v2/docker.io/x/manifests/1").status, 200);
    assert_eq!(cache.get("/v2/docker.io/x/manifests/1").status, 200);
    assert_eq!(cache.get("/metrics").status, 404);
    let log = cache.log();
    let url = log.lines().find_map(|line| line.strip_prefix("metrics on http://")).unwrap().to_owned();
    let (address, path) = url.split_once('/').unwrap();
    let mut text = String::new();
    eventually("the store is counted", || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(format!("GET /{path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        text.clear();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        text.contains("talmirror_cache_store_blobs 1")
    });
    for line in [
        r#"talmirror_cache_requests_total{kind="manifest",outcome="hit"} 1"#,
        r#"talmirror_cache_requests_total{kind="manifest",outcome="miss"} 1"#,
        r#"talmirror_cache_upstream_requests_total{registry="docker.io",result="ok"}"#,
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains("library/x"), "names of repositories are nobody's business");
}

#[test]
fn users_over_tls() {
    let (place, upstream) = (Place::new(), Upstream::start());
    upstream.image("library/x", "1", &[b"layer".to_vec()]);
    let authority = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    place.write("tls.crt", authority.cert.pem());
    place.write("tls.key", authority.signing_key.serialize_pem());
    let path = |name: &str| place.path(name).display().to_string();
    let cache = Start::new()
        .upstream("docker.io", &upstream.url())
        .args(&["--tls-cert", &path("tls.crt"), "--tls-key", &path("tls.key")])
        .run();
    let log = cache.log();
    assert!(
        log.contains("listening on https://") && log.contains("keeps ") && log.contains("serves "),
        "{log}"
    );
    let output = Command::new("curl")
        .args(["--silent", "--cacert", &path("tls.crt"), "--write-out", " %{http_version}"])
        .arg(format!("https://localhost:{}/v2/", cache.address.port()))
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: curl is not installed");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{} 2");
}
