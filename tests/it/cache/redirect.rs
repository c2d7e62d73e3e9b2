//! Clients that are sent to the bucket for what is there, and those that are not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use super::bucket::{behind, ends, idle, pull, sharing, stored, written};
use crate::cache_process::{Answer, Cache, Start, eventually};
use crate::fake_bucket::{Bucket, Fault, KEY};
use crate::fake_upstream::{Act, Auth, Image, Upstream, noise};
use crate::run::Place;

/// An upstream with an image of one layer, a bucket in which it is, and that layer.
fn filled() -> (Upstream, Bucket, Image, Vec<u8>) {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(300_000, 1)];
    let image = upstream.image("library/x", "1.2.3", &layers);
    let first = sharing(&upstream, &bucket).run();
    pull(&first, "docker.io", "library/x", "1.2.3", &image, &layers);
    written(&first, &bucket, &image);
    upstream.forget();
    bucket.forget();
    let [layer] = layers;
    (upstream, bucket, image, layer)
}

fn sending(upstream: &Upstream, bucket: &Bucket) -> Start {
    sharing(upstream, bucket).args(&["--redirect", "docker.io"])
}

fn path(image: &Image) -> String {
    format!("/v2/docker.io/library/x/blobs/{}", image.layers[0])
}

/// Asks without credentials for what is at an address of the bucket; returns the status, and the body.
fn follow(bucket: &Bucket, location: &str, range: Option<&str>) -> (u16, Vec<u8>) {
    let target = location.strip_prefix(&bucket.url()).unwrap_or_else(|| panic!("elsewhere: {location}"));
    let mut stream = TcpStream::connect(bucket.address).unwrap();
    let range = range.map(|range| format!("Range: {range}\r\n")).unwrap_or_default();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {}\r\n{range}\r\n", bucket.address).unwrap();
    let (mut read, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let head = read.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&read[..head]).into_owned();
            let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if read.len() - head - 4 >= length.parse().unwrap() {
                let status = text.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, read.split_off(head + 4));
            }
        }
        match stream.read(&mut piece).unwrap() {
            0 => panic!("it broke off"),
            count => read.extend_from_slice(&piece[..count]),
        }
    }
}

fn sent(answer: &Answer) -> String {
    assert_eq!(answer.outcome(), (307, "REDIRECT"), "{:?}", answer.headers.keys());
    answer.header("location").to_owned()
}

#[test]
fn a_client_is_sent_to_the_bucket_for_what_is_there_and_not_in_the_folder() {
    let (upstream, bucket, image, layer) = filled();
    let cache = sending(&upstream, &bucket).args(&["--metrics-listen", "127.0.0.1:0"]).run();
    let key = format!("talmirror/blobs/{}", image.layers[0].replace(':', "/"));
    bucket.forget();

    // What is asked about, and manifests, are answered here.
    let head = cache.head(&path(&image));
    assert_eq!((head.status, head.header("content-length")), (200, "300000"));
    let manifest = cache.get(&format!("/v2/docker.io/library/x/manifests/{}", image.digest));
    assert_eq!((manifest.outcome(), &manifest.body), ((200, "BUCKET"), &image.manifest));

    let answer = cache.get(&path(&image));
    let location = sent(&answer);
    assert!(location.starts_with(&format!("{}/images/{key}?", bucket.url())), "it is the bucket");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("docker-content-digest"), image.layers[0]);
    assert_eq!((answer.header("content-length"), answer.body.len()), ("0", 0));
    assert!(location.contains("X-Amz-Expires=600&"), "ten minutes");
    let (status, body) = follow(&bucket, &location, None);
    assert!(status == 200 && body == layer, "{status}");
    // A part, as the client asks for it.
    let part = cache.ask("GET", &path(&image), &[("Range", "bytes=100-199")]);
    let (status, body) = follow(&bucket, &sent(&part), Some("bytes=100-199"));
    assert!(status == 206 && body == layer[100..200], "{status}");
    assert_eq!(bucket.count("GET", &key), 2, "only the client has read it");
    assert_eq!(bucket.count("HEAD", &key), 1, "many that ask at one moment cost one question");
    assert_eq!(upstream.count("GET", "/blobs/"), 0);

    // It is told, and the address nowhere.
    let stats = [cache.command(&["stats"]), cache.command(&["stats", "-o", "json"])].concat();
    let at = cache.log().lines().find_map(|line| {
        Some(line.strip_prefix("metrics on http://")?.split('/').next().unwrap().to_owned())
    });
    let mut metrics = String::new();
    let mut stream = TcpStream::connect(at.unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut metrics).unwrap();
    assert!(metrics.contains("requests_total{kind=\"blob\",outcome=\"redirect\"} 2"), "{metrics}");
    eventually("it is logged", || {
        cache.log().contains("cache=\"redirect\"") && cache.log().contains("status=307")
    });
    for said in [stats, metrics, cache.log()] {
        assert!(!said.contains("X-Amz") && !said.contains("s3cr3t"), "{said}");
    }

    // A client that comes back got nothing there: it comes through the cache, is checked, and kept.
    let again = cache.get(&path(&image));
    assert_eq!(again.outcome(), (200, "BUCKET"));
    assert!(again.body == layer);
    stored(&cache, 1);
    let kept = cache.ask("GET", &path(&image), &[("Range", "bytes=5-9")]);
    assert_eq!(kept.outcome(), (206, "HIT"));
    // So does the rest of what it wants, which is there, too: it would get nothing there, either.
    bucket.put(&format!("talmirror/blobs/{}", image.config.replace(':', "/")), b"{}");
    let config = format!("/v2/docker.io/library/x/blobs/{}", image.config);
    assert_eq!(cache.head(&config).status, 200);
    assert_eq!(cache.get(&config).status, 200);
}

#[test]
fn only_clients_of_the_networks_that_are_named_are_sent() {
    let (upstream, bucket, image, layer) = filled();
    let start = sharing(&upstream, &bucket).args(&[
        "--redirect",
        "docker.io=10.0.0.0/8,docker.io=fd00::/8",
        "--redirect-expiry",
        "5m",
        "--trusted-proxy",
        "127.0.0.1",
    ]);
    let of = |client: &str| {
        let cache = start.clone().run();
        cache.ask("GET", &path(&image), &[("X-Forwarded-For", client)])
    };
    for client in ["10.1.2.3", "fd00::7"] {
        assert!(sent(&of(client)).contains("X-Amz-Expires=300&"));
    }
    for client in ["192.0.2.7", "2001:db8::7"] {
        let answer = of(client);
        assert_eq!(answer.outcome(), (200, "BUCKET"), "{client}");
        assert!(answer.body == layer);
    }
    // Others may be sent for another registry.
    let other =
        sharing(&upstream, &bucket).upstream("ghcr.io", &upstream.url()).args(&["--redirect", "ghcr.io"]);
    assert_eq!(other.run().get(&path(&image)).outcome(), (200, "BUCKET"));
}

#[test]
fn content_that_is_not_for_everyone_comes_through_the_cache() {
    let (upstream, bucket, image, layer) = filled();
    let place = Place::new();
    place.write("login.json", r#"{"auths":{"docker.io":{"username":"ada","password":"s3cr3t-ada"}}}"#);
    place.write("users", format!("ada:{}\n", bcrypt::hash("s3cr3t-ada", 4).unwrap()));
    let login = format!("docker.io={}", place.path("login.json").display());
    let users = place.path("users").display().to_string();
    let basic = ("Authorization", "Basic YWRhOnMzY3IzdC1hZGE=");
    for flags in [
        vec!["--credentials", &login, "--anonymous", "docker.io"],
        vec!["--credentials", &login, "--htpasswd", &users],
    ] {
        let cache = sending(&upstream, &bucket).args(&flags).run();
        let answer = cache.ask("GET", &path(&image), &[basic]);
        assert_eq!(answer.outcome(), (200, "BUCKET"), "{flags:?} {}", cache.log());
        assert!(answer.body == layer);
        assert!(cache.log().contains("no client is sent to the bucket"), "{}", cache.log());
    }
    // Everyone has to say who they are: an address would be good for others, too.
    place.write(
        "cache.yaml",
        format!(
            "apiVersion: talmirror/v1\nkind: Cache\nhtpasswd: users\nauthenticate: all\nupstreams: {{docker.io: {{url: '{}', redirect: true}}}}\n",
            upstream.url()
        ),
    );
    let config = place.path("cache.yaml").display().to_string();
    let cache = behind(Start::new().args(&["--config", &config]), &bucket).run();
    assert_eq!(cache.get(&path(&image)).status, 401);
    let answer = cache.ask("GET", &path(&image), &[basic]);
    assert_eq!(answer.outcome(), (200, "BUCKET"), "{}", cache.log());
    assert!(cache.log().contains("W242"), "{}", cache.log());
    // Users of a cache whose public content anyone may have are sent as anyone is.
    let cache = sending(&upstream, &bucket).args(&["--htpasswd", &users]).run();
    sent(&cache.ask("GET", &path(&image), &[basic]));
}

/// What is in the bucket through another registry, or a repository that does not have it, leads nobody there.
#[test]
fn a_repository_leads_only_to_what_it_has() {
    let (private, public, bucket, place) =
        (Upstream::start(), Upstream::start(), Bucket::start(), Place::new());
    private.auth(Auth::Basic("ada".to_owned(), "s3cr3t-ada".to_owned()));
    let layers = [noise(300_000, 1)];
    let image = private.image("a", "1.0.0", &layers);
    let length = vec![("Content-Length".to_owned(), "300000".to_owned())];
    // It says that it has all of it, and gives nothing.
    public.rule(
        Some("HEAD"),
        "/",
        usize::MAX,
        Act::Answer { status: 200, headers: length, body: String::new() },
    );
    place.write("login.json", r#"{"auths":{"private.example":{"username":"ada","password":"s3cr3t-ada"}}}"#);
    let login = format!("private.example={}", place.path("login.json").display());
    let start = || {
        let start =
            Start::new().upstream("private.example", &private.url()).upstream("docker.io", &public.url());
        behind(start.args(&["--credentials", &login]), &bucket)
    };
    let open = start().args(&["--anonymous", "private.example"]).run();
    pull(&open, "private.example", "a", "1.0.0", &image, &layers);
    written(&open, &bucket, &image);
    let cache = start().args(&["--redirect", "docker.io,private.example"]).run();
    let blob = &image.layers[0];
    assert_eq!(cache.get(&format!("/v2/private.example/a/blobs/{blob}")).status, 403);
    assert_eq!(cache.get(&format!("/v2/docker.io/library/a/blobs/{blob}")).status, 404);
}

#[test]
fn a_running_download_is_shared() {
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layer = noise(2 << 20, 1);
    let image = upstream.image("library/x", "1.2.3", std::slice::from_ref(&layer));
    let cache = sending(&upstream, &bucket).run();
    let key = format!("talmirror/blobs/{}", image.layers[0].replace(':', "/"));
    // Its repository is known to have it.
    assert_eq!(cache.head(&path(&image)).status, 200);
    upstream.rule(Some("GET"), "/blobs/", 1, Act::Stall(1 << 20));
    let mut first = cache.open("GET", &path(&image), &[]);
    assert_eq!(first.status, 200);
    bucket.put(&key, &layer);
    let mut second = cache.open("GET", &path(&image), &[]);
    assert_eq!((second.status, second.headers["x-cache"].as_str()), (200, "FOLLOW"));
    upstream.release();
    assert!(first.read(2 << 20) == layer && second.read(2 << 20) == layer);
}

#[test]
fn a_bucket_that_gives_nothing_of_use_fails_no_pull() {
    let (upstream, bucket, image, layer) = filled();
    let key = format!("talmirror/blobs/{}", image.layers[0].replace(':', "/"));
    // It is gone, though nobody has said so.
    let cache = sending(&upstream, &bucket).run();
    let bytes = bucket.get(&key).unwrap();
    bucket.remove(&key);
    let answer = cache.get(&path(&image));
    assert_eq!(answer.outcome(), (200, "MISS"), "{}", cache.log());
    assert!(answer.body == layer);
    bucket.put(&key, &bytes);
    // It cannot be asked.
    let cache = sending(&upstream, &bucket).run();
    bucket.ill(&["HEAD", "GET"], "talmirror/blobs/", Fault::Error(503, "SlowDown"));
    let answer = cache.get(&path(&image));
    assert_eq!(answer.outcome(), (200, "MISS"), "{}", cache.log());
    bucket.heal();
    // What is there is damaged: a client that comes back gets what is right, and the next one, too.
    let cache = sending(&upstream, &bucket).run();
    let mut wrong = bytes.clone();
    wrong[1000] ^= 1;
    bucket.put(&key, &wrong);
    let (status, body) = follow(&bucket, &sent(&cache.get(&path(&image))), None);
    assert!(status == 200 && body == wrong);
    cache.get(&path(&image));
    eventually("what is right comes", || cache.get(&path(&image)).body == layer);
    idle(&cache);
}

#[test]
fn the_bucket_may_be_elsewhere_for_clients() {
    let (upstream, bucket, image, _) = filled();
    let cache = sending(&upstream, &bucket).args(&["--redirect-endpoint", "https://s3.example:8443/x"]).run();
    let location = sent(&cache.get(&path(&image)));
    assert!(location.starts_with("https://s3.example:8443/x/images/talmirror/blobs/sha256/"), "elsewhere");
    assert!(!cache.log().contains("plain http"), "{}", cache.log());
}

#[test]
fn skopeo_goes_to_the_bucket() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let (upstream, bucket) = (Upstream::start(), Bucket::start());
    let layers = [noise(300_000, 1), noise(9 << 20, 2)];
    let image = upstream.image("library/x", "1.2.3", &layers);
    let place = Place::new();
    let copy = |cache: &Cache, to: &str| {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false"])
            .args(["--src-creds", "ada:s3cr3t-ada"])
            .arg(format!("docker://{}/docker.io/library/x:1.2.3", cache.address))
            .arg(format!("dir:{}", place.path(to).display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), cache.log());
    };
    let first = sharing(&upstream, &bucket).run();
    copy(&first, "first");
    written(&first, &bucket, &image);
    upstream.forget();
    let second = sending(&upstream, &bucket).run();
    bucket.forget();
    copy(&second, "second");
    for (digest, layer) in image.layers.iter().zip(&layers) {
        let hex = digest.strip_prefix("sha256:").unwrap();
        assert!(std::fs::read(place.path("second").join(hex)).unwrap() == *layer);
    }
    let asked: Vec<_> =
        bucket.asked().into_iter().filter(|one| one.method == "GET" && one.key.contains("/blobs/")).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for one in asked {
        assert!(one.query.contains_key("X-Amz-Signature") && !one.headers.contains_key("authorization"));
    }
    assert_eq!(upstream.count("GET", "/blobs/"), 0);
}

#[test]
fn a_check_asks_as_a_client_does() {
    let bucket = Bucket::start();
    let url = bucket.url();
    let login = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", "s3cr3t-x")];
    let check = |more: &[&str], login: &[(&str, &str)]| {
        let args = [&["check", "--bucket", "s3://images/a", "--s3-endpoint", &url][..], more].concat();
        ends(&args, login)
    };
    let (_, said, warned) = check(&["--redirect", "docker.io", "-o", "json"], &login);
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&value["redirect"]["ok"], &value["redirect"]["registries"][0]),
        (&true.into(), &"docker.io".into())
    );
    assert!(warned.contains("over plain http"), "{warned}");
    assert!(!said.contains("X-Amz") && !warned.contains("X-Amz"));
    let (_, said, _) = check(&["-o", "json"], &login);
    assert!(!said.contains("redirect"), "{said}");
    bucket.refuse_signed();
    let (code, said, _) = check(&["--redirect", "docker.io"], &login);
    assert!(code == 5 && said.contains("it answers 403 to a signed address"), "{code} {said}");
    // Where clients only get, the cache need not.
    let elsewhere = ["--redirect", "docker.io", "--redirect-endpoint", "http://127.0.0.1:1", "-o", "json"];
    let (_, said, warned) = check(&elsewhere, &login);
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(&value["redirect"]["ok"], &Value::from(true), "{said}");
    assert!(warned.contains("cannot be reached from here"), "{warned}");
    let place = Place::new();
    place.write("login.json", r#"{"auths":{}}"#);
    let credentials = format!("docker.io={}", place.path("login.json").display());
    let (_, said, warned) = check(&["--redirect", "docker.io", "--credentials", &credentials], &login);
    assert!(warned.contains("no client is sent to the bucket for what comes from docker.io"), "{warned}");
    assert!(!said.contains("signed"), "{said}");

    for (args, want) in [
        (&["check", "--redirect", "docker.io"][..], "--bucket s3://NAME/PREFIX"),
        (
            &["check", "--bucket", "s3://images", "--redirect", "docker.io=10.0.0.0/33"],
            "is not a valid address or network",
        ),
        (&["check", "--bucket", "s3://images", "--redirect", "dokcer.io"], "did you mean `docker.io`"),
        (&["check", "--bucket", "s3://images", "--redirect-expiry", "2h"], "1m to 1h"),
        (&["check", "--redirect-expiry", "5m"], "there is no bucket"),
    ] {
        let (code, _, said) = ends(args, &login);
        assert!(code == 2 && said.contains(want), "{args:?}: {code} {said}");
    }
}
