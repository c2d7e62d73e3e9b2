//! Registries as upstreams, and everything that can be wrong with them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, join_all};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use talmirror::cache::config::{UpstreamConfig, UpstreamLimits};
use talmirror::cache::download::{FetchError, Source};
use talmirror::cache::observe::Metrics;
use talmirror::cache::upstream::{PauseReason, Upstream};
use talmirror::image::{Digest, Repository, Tag, TagOrDigest};
use talmirror::oci::{Http, HttpSettings, Login, LookUp, Proxies, Timeouts};

use crate::authority::Authority;
use crate::fake_upstream::{Act, Auth, Bearer, OCI_MANIFEST, Seen, Upstream as Fake, noise};
use crate::run::Place;

/// Names of the tests: everything below `.test` is here, and other ends are elsewhere.
struct Names;

impl LookUp for Names {
    fn look_up(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let (here, public) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([1, 1, 1, 1]));
            match name.rsplit('.').next() {
                Some("test") => Ok(vec![here]),
                Some("public") => Ok(vec![public]),
                Some("both") => Ok(vec![public, here]),
                Some("metadata") => Ok(vec![IpAddr::from([169, 254, 169, 254])]),
                _ => Err(std::io::Error::other("there is no such name")),
            }
        })
    }
}

fn timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(2), header: Duration::from_secs(5), idle: Duration::from_secs(5) }
}

/// A registry whose endpoints are these.
fn upstream_with(
    urls: &[&str],
    timeouts: Timeouts,
    bodies: usize,
    edit: impl FnOnce(&mut UpstreamConfig),
) -> Upstream {
    let settings =
        HttpSettings { timeouts, names: Arc::new(Names), proxies: Proxies::None, ..HttpSettings::default() };
    let http = Http::new(&settings).unwrap();
    let endpoints = urls.iter().map(|url| url.parse().unwrap()).collect();
    let mut config = UpstreamConfig { endpoints, ..UpstreamConfig::default() };
    edit(&mut config);
    let registry = "reg.example".parse().unwrap();
    let limits = UpstreamLimits { bodies, ..UpstreamLimits::default() };
    Upstream::new(registry, &config, &http, Arc::new(Metrics::new()), limits).unwrap()
}

fn upstream(urls: &[&str]) -> Upstream {
    upstream_with(urls, timeouts(), 8, |_| {})
}

fn private(urls: &[&str]) -> Upstream {
    upstream_with(urls, timeouts(), 8, |config| config.private = true)
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn by_tag(name: &str) -> TagOrDigest {
    TagOrDigest::Tag(tag(name))
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

fn by_digest(text: &str) -> TagOrDigest {
    TagOrDigest::Digest(digest(text))
}

/// Everything that an opened blob gives, and how it ended.
async fn read(source: &dyn Source, from: u64) -> Result<(u64, Option<u64>, Vec<u8>, bool), FetchError> {
    let mut opened = source.open(from).await?;
    let (mut bytes, mut whole) = (Vec::new(), true);
    while let Some(piece) = opened.body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(_) => whole = false,
        }
    }
    Ok((opened.starts_at, opened.total, bytes, whole))
}

async fn pull(upstream: &Upstream, blob: &str) -> Result<Vec<u8>, FetchError> {
    let source = upstream.blob(&repository("a"), &digest(blob), None);
    read(source.as_ref(), 0).await.map(|(_, _, bytes, _)| bytes)
}

/// Methods and paths of what came in.
fn lines(fake: &Fake) -> Vec<String> {
    fake.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

fn authorized(fake: &Fake) -> Vec<bool> {
    fake.seen().iter().map(Seen::authorized).collect()
}

/// One request, without any client's help.
fn raw(upstream: &Fake, request: &str) -> String {
    let mut stream = TcpStream::connect(upstream.address).unwrap();
    stream.write_all(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_fake_does_what_it_is_told() {
    let upstream = Fake::start();
    let digest = upstream.blob("0123456789");
    upstream.times(1, "/blobs/", Act::Cut(4));
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1");
    let answer = raw(&upstream, &get);
    assert!(answer.contains("Content-Length: 10\r\n") && answer.ends_with("\r\n\r\n0123"), "{answer}");
    let answer = raw(&upstream, &format!("{get}\r\nRange: bytes=4-"));
    assert!(
        answer.contains("Content-Range: bytes 4-9/10\r\n") && answer.ends_with("\r\n\r\n456789"),
        "{answer}"
    );
    assert_eq!((upstream.count("GET", &digest), upstream.sent()), (2, 10));
}

#[tokio::test]
async fn a_registry_for_everybody() {
    let fake = Fake::start();
    let image = fake.image("a/b", "1", &[noise(100_000, 1)]);
    let upstream = upstream(&[&fake.url()]);
    let repo = repository("a/b");
    assert_eq!(upstream.resolve(&repo, &tag("1")).await.unwrap().to_string(), image.digest);
    for reference in [by_tag("1"), by_digest(&image.digest)] {
        let fetched = upstream.manifest(&repo, &reference, None).await.unwrap();
        assert_eq!(fetched.bytes, image.manifest);
        assert_eq!(
            (fetched.media_type.as_str(), fetched.digest),
            (OCI_MANIFEST, Some(digest(&image.digest)))
        );
    }
    upstream.has_manifest(&repo, &digest(&image.digest)).await.unwrap();
    assert_eq!(upstream.blob_size(&repo, &digest(&image.layers[0])).await, Ok(Some(100_000)));
    let source = upstream.blob(&repo, &digest(&image.layers[0]), None);
    let read = read(source.as_ref(), 0).await.unwrap();
    assert_eq!(read, (0, Some(100_000), noise(100_000, 1), true));
    let (manifest, layer) = (&image.digest, &image.layers[0]);
    assert_eq!(
        lines(&fake),
        [
            "HEAD /v2/a/b/manifests/1".to_owned(),
            "GET /v2/a/b/manifests/1".to_owned(),
            format!("GET /v2/a/b/manifests/{manifest}"),
            format!("HEAD /v2/a/b/manifests/{manifest}"),
            format!("HEAD /v2/a/b/blobs/{layer}"),
            format!("GET /v2/a/b/blobs/{layer}"),
        ]
    );
    for seen in fake.seen() {
        assert_eq!(seen.header("accept-encoding"), Some("identity"), "{seen:?}");
        assert!(seen.header("user-agent").unwrap().starts_with("talmirror/"), "{seen:?}");
        assert!(!seen.authorized() && seen.header("range").is_none(), "{seen:?}");
        let manifest = seen.path.contains("/manifests/");
        assert_eq!(seen.header("accept").unwrap().contains("oci.image.index"), manifest, "{seen:?}");
    }
    let absent = upstream.manifest(&repo, &by_tag("2"), None).await;
    assert_eq!(absent, Err(FetchError::NotFound));
    assert_eq!(pull(&upstream, &digest_of_nothing()).await, Err(FetchError::NotFound));
    assert_eq!(upstream.pause(), None);
}

fn digest_of_nothing() -> String {
    format!("sha256:{}", "0".repeat(64))
}

#[tokio::test]
async fn tokens_are_asked_for_once() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    fake.image("b", "1", &[]);
    fake.auth(Auth::Bearer(Bearer::default()));
    let upstream = upstream(&[&fake.url()]);
    let (a, one) = (repository("a"), tag("1"));
    let all = join_all((0..16).map(|_| upstream.resolve(&a, &one))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(fake.count("GET", "/token"), 1);
    let seen = fake.seen();
    let token = seen.iter().find(|seen| seen.path == "/token").unwrap();
    assert_eq!(token.query, "service=fake&scope=repository%3Aa%3Apull");
    assert!(!token.authorized());
    // How it wants to be asked is known now: no second request for a repository that is new.
    fake.forget();
    upstream.resolve(&repository("b"), &one).await.unwrap();
    upstream.resolve(&a, &one).await.unwrap();
    assert_eq!(lines(&fake), ["GET /token", "HEAD /v2/b/manifests/1", "HEAD /v2/a/manifests/1"]);
    // A token that is not taken any more is replaced, once.
    fake.revoke_tokens();
    fake.forget();
    upstream.resolve(&a, &one).await.unwrap();
    assert_eq!(lines(&fake), ["HEAD /v2/a/manifests/1", "GET /token", "HEAD /v2/a/manifests/1"]);
}

#[tokio::test]
async fn a_registry_that_takes_no_token_is_not_asked_for_ever() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    fake.auth(Auth::Bearer(Bearer::default()));
    let challenge =
        format!("Bearer realm=\"{}/token\",service=\"fake\",error=\"insufficient_scope\"", fake.url());
    let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
    fake.always("/manifests/", Act::Answer { status: 401, headers, body: String::new() });
    let upstream = upstream(&[&fake.url()]);
    let error = upstream.resolve(&repository("a"), &tag("1")).await.unwrap_err();
    assert!(matches!(error, FetchError::Denied { .. }), "{error:?}");
    assert_eq!(error.to_string(), "access denied: check the name; a private one takes `credentials`");
    assert_eq!((fake.count("HEAD", "/manifests/"), fake.count("GET", "/token")), (3, 2));
}

#[tokio::test]
async fn scopes_that_are_not_a_repositorys() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    fake.image("b", "1", &[]);
    for (scope, want) in [
        (Some("aws"), "service=fake&scope=aws"),
        (None, "service=fake&scope=repository%3Aa%3Apull"),
        (Some("repository:other/a:pull,push"), "service=fake&scope=repository%3Aother%2Fa%3Apull"),
    ] {
        let scope = scope.map(str::to_owned);
        fake.auth(Auth::Bearer(Bearer { scope, ..Bearer::default() }));
        fake.forget();
        let upstream = upstream(&[&fake.url()]);
        upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
        let token = fake.seen().into_iter().find(|seen| seen.path == "/token").unwrap();
        assert_eq!(token.query, want);
        upstream.resolve(&repository("b"), &tag("1")).await.unwrap();
        if want.ends_with("aws") {
            assert_eq!(fake.count("GET", "/token"), 1, "one token for all");
        }
    }
}

fn credentials(place: &Place, host: &str, entry: &str) -> std::path::PathBuf {
    place.write("config.json", format!(r#"{{"auths":{{"{host}":{entry}}}}}"#));
    place.path("config.json")
}

fn with_credentials(fake: &Fake, path: &std::path::Path) -> Upstream {
    upstream_with(&[&fake.url()], timeouts(), 8, |config| config.credentials = Some(path.to_owned()))
}

#[tokio::test]
async fn credentials_from_a_file_that_changes() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.image("a", "1", &[]);
    let (a, one) = (repository("a"), tag("1"));
    let entry = |password: &str| format!(r#"{{"username":"u","password":"{password}"}}"#);
    for auth in [
        Auth::Basic("u".into(), "s3cr3t-b".into()),
        Auth::Bearer(Bearer { user: Some(("u".into(), "s3cr3t-b".into())), ..Bearer::default() }),
    ] {
        fake.auth(auth);
        let path = credentials(&place, "reg.example", &entry("s3cr3t-a"));
        let upstream = with_credentials(&fake, &path);
        let error = upstream.resolve(&a, &one).await.unwrap_err();
        assert!(matches!(error, FetchError::Denied { .. }), "{error:?}");
        credentials(&place, &fake.address.to_string(), &entry("s3cr3t-b"));
        upstream.resolve(&a, &one).await.unwrap();
        fake.forget();
        upstream.resolve(&a, &one).await.unwrap();
        assert_eq!(authorized(&fake), [true], "what it wants is known");
        // What is shown to nobody else: a file without an entry for this registry.
        credentials(&place, "other.example", &entry("s3cr3t-b"));
        fake.forget();
        let error = upstream.resolve(&a, &one).await.unwrap_err();
        assert_eq!(error.to_string(), "our credentials cannot be read");
        assert_eq!(fake.seen().len(), 0);
    }
}

#[tokio::test]
async fn identity_tokens_and_tokens_as_they_are() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.image("a", "1", &[]);
    let (a, one) = (repository("a"), tag("1"));
    let path = credentials(&place, "reg.example", r#"{"identitytoken":"s3cr3t-i","username":"u"}"#);
    let identity = Some("s3cr3t-i".to_owned());
    fake.auth(Auth::Bearer(Bearer { identity, ..Bearer::default() }));
    with_credentials(&fake, &path).resolve(&a, &one).await.unwrap();
    assert_eq!(
        fake.seen().iter().find(|seen| seen.path == "/token").unwrap().body,
        "grant_type=refresh_token&client_id=talmirror&service=fake&scope=repository%3Aa%3Apull&refresh_token=s3cr3t-i"
    );
    // A token server without POST.
    fake.auth(Auth::Bearer(Bearer { user: Some(("u".into(), "s3cr3t-i".into())), ..Bearer::default() }));
    fake.rule(Some("POST"), "/token", 1, Act::error(404, "NOT_FOUND"));
    fake.forget();
    with_credentials(&fake, &path).resolve(&a, &one).await.unwrap();
    assert_eq!((fake.count("POST", "/token"), fake.count("GET", "/token")), (1, 1));

    let token = raw(&fake, "GET /token HTTP/1.1\r\nAuthorization: Basic dTpzM2NyM3QtaQ==");
    let token = token.split('"').find(|word| word.starts_with("s3cr3t-token")).unwrap().to_owned();
    let path = credentials(&place, "reg.example", &format!(r#"{{"registrytoken":"{token}"}}"#));
    fake.forget();
    with_credentials(&fake, &path).resolve(&a, &one).await.unwrap();
    assert_eq!(authorized(&fake), [true]);
    fake.revoke_tokens();
    let error = with_credentials(&fake, &path).resolve(&a, &one).await.unwrap_err();
    assert_eq!(error.to_string(), "access denied: log in again and renew the file of credentials");
}

#[tokio::test]
async fn of_several_endpoints_only_its_own_gets_credentials() {
    let (mirror, origin, place) = (Fake::start(), Fake::start(), Place::new());
    origin.image("a", "1", &[]);
    origin.auth(Auth::Basic("u".into(), "s3cr3t-p".into()));
    let entry = r#"{"username":"u","password":"s3cr3t-p"}"#;
    let path = credentials(&place, &origin.address.to_string(), entry);
    let upstream = upstream_with(&[&mirror.url(), &origin.url()], timeouts(), 8, |config| {
        config.credentials = Some(path.clone());
    });
    mirror.auth(Auth::Basic("x".into(), "y".into()));
    upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
    assert_eq!((authorized(&mirror), authorized(&origin)), (vec![false], vec![false, true]));
    // The name of the registry is no name of a mirror.
    credentials(&place, "reg.example", entry);
    origin.forget();
    let error = upstream.resolve(&repository("a"), &tag("1")).await.unwrap_err();
    assert!(matches!(error, FetchError::Denied { .. }), "{error:?}");
    assert_eq!(authorized(&origin), [false]);
}

#[tokio::test]
async fn credentials_do_not_follow_redirects() {
    let (fake, cdn, place) = (Fake::start(), Fake::start(), Place::new());
    let blob = fake.blob(noise(50_000, 2));
    cdn.blob(noise(50_000, 2));
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    for auth in [
        Auth::Basic("u".into(), "s3cr3t-p".into()),
        Auth::Bearer(Bearer { user: Some(("u".into(), "s3cr3t-p".into())), ..Bearer::default() }),
    ] {
        fake.auth(auth);
        for target in [
            format!("{}/cdn/{blob}?sig=s3cr3t-s", cdn.url()),
            format!("http://cdn.test:{}/cdn/{blob}", cdn.address.port()),
            // The same machine by another name is another origin.
            format!("http://registry.test:{}/cdn/{blob}", fake.address.port()),
        ] {
            fake.heal();
            fake.forget();
            cdn.forget();
            fake.rule(None, "/blobs/", 2, Act::Redirect(target.clone()));
            let upstream = upstream_with(&[&fake.url()], timeouts(), 8, |config| {
                config.private = true;
                config.credentials = Some(path.clone());
            });
            // The rule answers before the registry asks for credentials, so they are known from another request.
            fake.image("a", "1", &[]);
            upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
            assert_eq!(pull(&upstream, &blob).await.unwrap(), noise(50_000, 2), "{target}");
            let asked = fake.seen().into_iter().find(|seen| seen.path.contains("/blobs/")).unwrap();
            assert!(asked.authorized(), "{asked:?}");
            let target = [fake.seen(), cdn.seen()].concat();
            let target: Vec<Seen> = target.into_iter().filter(|seen| seen.path.contains("/cdn/")).collect();
            assert_eq!(target.len(), 1, "{target:?}");
            assert!(!target[0].authorized(), "{target:?}");
        }
    }
}

#[tokio::test]
async fn redirects_within_the_registry_keep_credentials() {
    let (fake, place) = (Fake::start(), Place::new());
    let image = fake.image("a", "1", &[]);
    fake.auth(Auth::Basic("u".into(), "s3cr3t-p".into()));
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    let upstream = with_credentials(&fake, &path);
    fake.always("/manifests/x", Act::Redirect("1".to_owned()));
    fake.always("/manifests/y", Act::Redirect("/v2/a/manifests/x".to_owned()));
    let digest = upstream.resolve(&repository("a"), &tag("y")).await;
    assert_eq!(digest.unwrap().to_string(), image.digest);
    let last = fake.seen().pop().unwrap();
    assert_eq!((last.path.as_str(), last.authorized()), ("/v2/a/manifests/1", true));
}

#[tokio::test]
async fn nothing_private_is_dialled() {
    let (fake, other) = (Fake::start(), Fake::start());
    let blob = fake.blob("x");
    other.blob("x");
    for (target, want) in [
        (other.url(), "its redirect is refused"),
        (format!("http://localhost:{}", other.address.port()), "its redirect is refused"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "its redirect is refused"),
        ("http://10.0.0.1/x".to_owned(), "its redirect is refused"),
        ("http://[::ffff:127.0.0.1]/x".to_owned(), "its redirect is refused"),
        ("file:///etc/passwd".to_owned(), "its redirect is refused"),
        // A name is looked at when it is resolved.
        (format!("http://rebound.test:{}/cdn/{blob}", other.address.port()), "it leads to a private address"),
        ("http://nowhere.example/x".to_owned(), "its name cannot be resolved"),
    ] {
        fake.heal();
        fake.always("/blobs/", Act::Redirect(target.clone()));
        let upstream = upstream(&[&format!("http://registry.test:{}", fake.address.port())]);
        let error = pull(&upstream, &blob).await.unwrap_err();
        assert_eq!(error, FetchError::unavailable(want), "{target}");
    }
    assert_eq!(other.seen().len(), 0);
    // A name under https that is configured may not move into this network either, unless that is said.
    let moved = upstream(&[&format!("https://registry.test:{}", fake.address.port())]);
    let error = moved.resolve(&repository("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.to_string(), "it leads to a private address");
    let checked = moved.check().await;
    let error = checked[0].outcome.as_ref().unwrap_err();
    assert!(
        error.to_string().ends_with("`registry.test (127.0.0.1)` is a private address, and is not contacted")
    );
    assert_eq!(error.help(), Some("if it is in your own network, mark it `private: true`"));
    // With plain http it is meant as it is written.
    fake.heal();
    let named = upstream(&[&format!("http://registry.test:{}", fake.address.port())]);
    assert_eq!(pull(&named, &blob).await.unwrap(), b"x");
}

#[tokio::test]
async fn what_is_configured_by_a_private_address_leads_to_such() {
    let (fake, other) = (Fake::start(), Fake::start());
    let blob = fake.blob("x");
    other.blob("x");
    fake.always("/blobs/", Act::Redirect(format!("{}/cdn/{blob}", other.url())));
    assert_eq!(pull(&upstream(&[&fake.url()]), &blob).await.unwrap(), b"x");
    for target in ["http://169.254.169.254/latest/", "http://[fe80::1]/x", "http://[fd00:ec2::254]/x"] {
        fake.heal();
        fake.always("/blobs/", Act::Redirect(target.to_owned()));
        for upstream in [upstream(&[&fake.url()]), private(&[&fake.url()])] {
            let error = pull(&upstream, &blob).await.unwrap_err();
            assert_eq!(error, FetchError::unavailable("its redirect is refused"), "{target}");
        }
    }
    // Nor by a name, of which is known only when it has been resolved where it leads.
    fake.heal();
    fake.always("/blobs/", Act::Redirect("http://cloud.metadata/latest/".to_owned()));
    let error = pull(&private(&[&fake.url()]), &blob).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("it leads to a private address"));
}

/// As cr.l5d.io leads to ghcr.io, whose token is anonymous; credentials stay where they belong.
#[tokio::test]
async fn a_registry_behind_a_redirect() {
    let (front, real, place) = (Fake::start(), Fake::start(), Place::new());
    let image = real.image("a", "1", &[noise(1000, 1)]);
    real.auth(Auth::Bearer(Bearer::default()));
    for path in ["/manifests/1", &image.digest, &image.layers[0]] {
        let path = path.trim_start_matches('/');
        let kind = if path == image.layers[0] { "blobs/" } else { "manifests/" };
        let path = path.trim_start_matches("manifests/");
        front.always(path, Act::Redirect(format!("{}/v2/a/{kind}{path}", real.url())));
    }
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    let upstream =
        upstream_with(&[&front.url()], timeouts(), 8, |config| config.credentials = Some(path.clone()));
    assert_eq!(upstream.resolve(&repository("a"), &tag("1")).await.unwrap().to_string(), image.digest);
    assert_eq!(pull(&upstream, &image.layers[0]).await.unwrap(), noise(1000, 1));
    let shown = real.seen().into_iter().filter_map(|seen| seen.header("authorization").map(str::to_owned));
    assert!(shown.into_iter().all(|shown| shown.starts_with("Bearer ")));
}

#[tokio::test]
async fn a_token_server_elsewhere_is_named() {
    let (fake, other, place) = (Fake::start(), Fake::start(), Place::new());
    let image = fake.image("a", "1", &[]);
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    // Tokens are given by the registry itself, at whatever name.
    let realm = Some(format!("http://rebound.test:{}/token", fake.address.port()));
    fake.auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
    let named = |names: &[&str]| {
        upstream_with(&[&fake.url()], timeouts(), 8, |config| {
            config.credentials = Some(path.clone());
            config.token_servers = names.iter().map(ToString::to_string).collect();
        })
    };
    for names in [&[][..], &["other.example"], &["rebound.test:1"]] {
        let error = named(names).resolve(&repository("a"), &tag("1")).await.unwrap_err();
        assert_eq!(error.to_string(), "its token server is refused");
    }
    let host = format!("rebound.test:{}", fake.address.port());
    let resolved = named(&[&host]).resolve(&repository("a"), &tag("1")).await;
    assert_eq!(resolved.unwrap().to_string(), image.digest);
    assert_eq!(other.seen().len(), 0);
}

/// Names are given in a network of one's own as one likes; outside of it, a token server of another name is a stranger.
#[tokio::test]
async fn a_private_registry_has_its_token_server_in_private_networks() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.image("a", "1", &[]);
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    let user = Some(("u".to_owned(), "s3cr3t-p".to_owned()));
    let checked = async |host: &str| {
        let realm = Some(format!("http://{host}:{}/token", fake.address.port()));
        fake.auth(Auth::Bearer(Bearer { realm, user: user.clone(), ..Bearer::default() }));
        let upstream = upstream_with(&[&fake.url()], timeouts(), 8, |config| {
            config.private = true;
            config.credentials = Some(path.clone());
        });
        let checked = upstream.check().await.remove(0).outcome;
        (checked.map(|login| login.login).map_err(|error| (error.to_string(), error.help())), upstream)
    };
    for host in ["keycloak.test", "keycloak.both"] {
        let (checked, upstream) = checked(host).await;
        assert_eq!(checked, Ok(Login::Credentials), "{host}");
        assert!(upstream.resolve(&repository("a"), &tag("1")).await.is_ok());
    }
    let (failed, upstream) = checked("evil.public").await;
    let (text, help) = failed.unwrap_err();
    assert!(text.ends_with("the token realm at `evil.public` has nothing to do with `127.0.0.1`"), "{text}");
    assert_eq!(help, Some("if this token server is meant, name it in `tokenServers`"));
    let error = upstream.resolve(&repository("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.to_string(), "its token server is refused");
    assert!(checked("evil.metadata").await.0.is_err());
    // Nor does it lead there.
    for target in ["http://evil.metadata/x", "http://169.254.169.254/x", "http://evil.public/x"] {
        fake.heal();
        fake.always("/token", Act::Redirect(target.to_owned()));
        let (text, _) = checked("keycloak.test").await.0.unwrap_err();
        assert!(text.contains("not in a private network") || text.contains("private address"), "{text}");
    }
}

#[tokio::test]
async fn a_check_follows_to_another_registry() {
    let (front, real) = (Fake::start(), Fake::start());
    front.always("/v2/", Act::Redirect(format!("{}/v2/?x=1", real.url())));
    let checked = async || {
        let outcome = upstream(&[&front.url()]).check().await.remove(0).outcome;
        outcome.map_err(|error| error.to_string())
    };
    let leads_to = Some(real.url());
    let logged_in = checked().await.unwrap();
    assert_eq!((logged_in.login, logged_in.leads_to), (Login::Open, leads_to.clone()));
    real.auth(Auth::Bearer(Bearer::default()));
    let logged_in = checked().await.unwrap();
    assert_eq!((logged_in.login, logged_in.leads_to), (Login::Anonymous, leads_to));
    real.auth(Auth::Basic("u".into(), "p".into()));
    assert!(checked().await.unwrap_err().contains("401"));
}

#[tokio::test]
async fn lists_of_tags_are_read_page_by_page() {
    let fake = Fake::start();
    let image = fake.image("a", "v01", &[]);
    for n in 2..=9 {
        fake.tag("a", &format!("v0{n}"), &image.digest);
    }
    fake.pages_of(2);
    let (upstream, a) = (upstream(&[&fake.url()]), repository("a"));
    let all = upstream.tags(&a, None, None).await.unwrap();
    assert_eq!((all.tags.len(), all.has_more), (9, false));
    fake.forget();
    let some = upstream.tags(&a, Some(3), Some("v02")).await.unwrap();
    assert_eq!((some.has_more, some.is_rest), (true, true));
    assert_eq!(some.tags, ["v03", "v04", "v05"]);
    assert_eq!(fake.seen().len(), 1);
    // A link that leads to where it is leads nowhere.
    fake.always("/tags/list", Act::With("Link", "</v2/a/tags/list?n=2&last=v02>; rel=\"next\"".to_owned()));
    let looped = upstream.tags(&a, None, None).await.unwrap();
    assert!(!looped.has_more && fake.seen().len() < 20, "{looped:?}");
}

#[tokio::test]
async fn redirects_have_an_end() {
    let fake = Fake::start();
    let blob = fake.blob("x");
    fake.always("/blobs/", Act::Redirect("?again".to_owned()));
    assert!(pull(&upstream(&[&fake.url()]), &blob).await.is_err());
    assert_eq!(fake.count("GET", "/blobs/"), 6);
    fake.heal();
    fake.always("/blobs/", Act::Answer { status: 307, headers: vec![], body: String::new() });
    let error = pull(&upstream(&[&fake.url()]), &blob).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("its redirect is refused"));
}

#[tokio::test]
async fn token_servers_of_others_are_not_asked() {
    let (fake, other, place) = (Fake::start(), Fake::start(), Place::new());
    fake.image("a", "1", &[]);
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    for realm in [
        format!("{}/token", other.url()),
        format!("http://rebound.test:{}/token", other.address.port()),
        "http://169.254.169.254/token".to_owned(),
        "https://evil.example/token".to_owned(),
        "/token".to_owned(),
    ] {
        let realm = Some(realm);
        fake.auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
        let error = with_credentials(&fake, &path).resolve(&repository("a"), &tag("1")).await.unwrap_err();
        assert_eq!(error.to_string(), "its token server is refused");
    }
    assert_eq!(other.seen().len(), 0);
    // A token server that sends us on gets credentials itself, and nobody else does.
    let user = Some(("u".to_owned(), "s3cr3t-p".to_owned()));
    fake.auth(Auth::Bearer(Bearer { user, ..Bearer::default() }));
    fake.always("/token", Act::Redirect(format!("{}/elsewhere", other.url())));
    let upstream = upstream_with(&[&fake.url()], timeouts(), 8, |config| {
        config.private = true;
        config.credentials = Some(path.clone());
    });
    assert!(upstream.resolve(&repository("a"), &tag("1")).await.is_err());
    assert_eq!(authorized(&other), [false]);
}

#[tokio::test]
async fn a_token_server_that_is_down_is_asked_once_for_all() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    fake.auth(Auth::Bearer(Bearer::default()));
    fake.always("/token", Act::Delay(Duration::from_millis(300)));
    fake.always("/token", Act::error(500, "INTERNAL"));
    let upstream = upstream(&[&fake.url()]);
    let (a, one) = (repository("a"), tag("1"));
    let all = join_all((0..8).map(|_| upstream.resolve(&a, &one))).await;
    assert!(all.iter().all(|one| matches!(one, Err(FetchError::Unavailable { .. }))), "{all:?}");
    assert_eq!(fake.count("GET", "/token"), 1);
}

/// The operator of a registry moves its tokens to another server: no client hears of it.
#[tokio::test]
async fn a_registry_that_changes_its_token_server() {
    for is_down in [true, false] {
        let (fake, old, new) = (Fake::start(), Fake::start(), Fake::start());
        fake.image("a", "1", &[]);
        fake.image("b", "1", &[]);
        let bearer = |server: &Fake| {
            server.auth(Auth::Bearer(Bearer::default()));
            let realm = Some(format!("{}/token", server.url()));
            fake.auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
            fake.knows_token("s3cr3t-token-1");
        };
        let upstream = upstream_with(&[&fake.url()], timeouts(), 8, |config| {
            config.token_servers = vec![old.address.to_string(), new.address.to_string()];
        });
        bearer(&old);
        upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
        bearer(&new);
        if is_down {
            drop(old);
        } else {
            old.always("/token", Act::error(404, "GONE"));
        }
        upstream.resolve(&repository("b"), &tag("1")).await.unwrap();
        assert_eq!(new.count("GET", "/token"), 1, "{is_down}");
        // Where it is the same one still that gives none, it is not asked twice.
        new.always("/token", Act::error(404, "GONE"));
        new.forget();
        upstream.resolve(&repository("c"), &tag("1")).await.unwrap_err();
        assert_eq!(new.count("GET", "/token"), 1, "{is_down}");
        // What a registry tells strangers is not what it has: it may hide names from them, or deny all.
        for (status, code) in [(404, "MANIFEST_UNKNOWN"), (403, "DENIED"), (404, "NAME_UNKNOWN")] {
            fake.heal();
            fake.always("/v2/", Act::error(status, code));
            for _ in 0..2 {
                let error = upstream.resolve(&repository("c"), &tag("1")).await.unwrap_err();
                assert!(matches!(error, FetchError::Unavailable { .. }), "{status}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn digests_that_head_does_not_tell() {
    let fake = Fake::start();
    let image = fake.image("a", "1", &[]);
    for act in [Act::Without("Docker-Content-Digest"), Act::error(405, "UNSUPPORTED"), Act::error(400, "X")] {
        fake.heal();
        fake.forget();
        fake.rule(Some("HEAD"), "/manifests/", usize::MAX, act);
        fake.rule(Some("GET"), "/manifests/", usize::MAX, Act::Without("Docker-Content-Digest"));
        let upstream = upstream(&[&fake.url()]);
        let (a, one) = (repository("a"), tag("1"));
        assert_eq!(upstream.resolve(&a, &one).await.unwrap().to_string(), image.digest);
        let fetched = upstream.manifest(&a, &by_tag("1"), None).await.unwrap();
        assert_eq!(fetched.bytes, image.manifest);
        assert_eq!(fake.count("GET", "/manifests/"), 1, "what was fetched to be hashed need not be again");
        upstream.manifest(&a, &by_tag("1"), None).await.unwrap();
        assert_eq!(fake.count("GET", "/manifests/"), 2);
    }
}

#[tokio::test]
async fn manifests_that_are_others_than_they_should_be() {
    let (wrong, right) = (Fake::start(), Fake::start());
    let image = wrong.image("a", "1", &[]);
    right.image("a", "1", &[]);
    let alone = upstream(&[&wrong.url()]);
    let both = upstream(&[&wrong.url(), &right.url()]);
    let a = repository("a");
    wrong.always("/manifests/", Act::WrongBytes);
    for reference in [by_tag("1"), by_digest(&image.digest)] {
        let error = alone.manifest(&a, &reference, None).await.unwrap_err();
        assert!(matches!(error, FetchError::Mismatch(_)), "{error:?}");
        assert_eq!(both.manifest(&a, &reference, None).await.unwrap().bytes, image.manifest);
    }
    let (page, large) = ("<html>log in</html>".to_owned(), "x".repeat(4 * 1024 * 1024 + 1));
    for (body, want) in [(page, "its answer is malformed"), (large, "its answer is malformed")] {
        wrong.heal();
        wrong.always("/manifests/", Act::Answer { status: 200, headers: vec![], body });
        let error = alone.manifest(&a, &by_tag("1"), None).await.unwrap_err();
        assert_eq!(error.to_string(), want);
        assert_eq!(both.manifest(&a, &by_tag("1"), None).await.unwrap().bytes, image.manifest);
    }
}

/// A manifest that was cut off where nothing says how long it is, or that is empty: its registry announces no digest.
#[tokio::test]
async fn manifests_of_which_a_part_came_are_not_taken() {
    let fake = Fake::start();
    let image = fake.image("a", "1", &[noise(1, 1)]);
    let (upstream, a) = (upstream(&[&fake.url()]), repository("a"));
    let body = String::from_utf8(image.manifest.clone()).unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    for length in [0, 1, body.len() / 2, body.len() - 1] {
        fake.heal();
        let headers = vec![("Content-Type".to_owned(), media_type.to_owned())];
        fake.always("/manifests/", Act::Answer { status: 200, headers, body: body[..length].to_owned() });
        let error = upstream.manifest(&a, &by_tag("1"), None).await.unwrap_err();
        assert_eq!(error, FetchError::unavailable("its answer is malformed"), "{length}");
    }
    fake.heal();
    fake.always("/manifests/", Act::Without("Docker-Content-Digest"));
    assert_eq!(upstream.manifest(&a, &by_tag("1"), None).await.unwrap().bytes, image.manifest);
}

#[tokio::test]
async fn schema_1_is_passed_on_and_not_kept() {
    let fake = Fake::start();
    let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    fake.manifest("a", Some("old"), media_type, br#"{"schemaVersion":1,"fsLayers":[]}"#);
    fake.always("/manifests/", Act::Without("Docker-Content-Digest"));
    fake.always("/manifests/", Act::With("Docker-Content-Digest", digest_of_nothing()));
    let upstream = upstream(&[&fake.url()]);
    let fetched = upstream.manifest(&repository("a"), &by_tag("old"), Some("*/*")).await.unwrap();
    assert_eq!((fetched.media_type.as_str(), fetched.digest), (media_type, None));
    assert_eq!(fake.seen()[0].header("accept"), Some("*/*"));
}

#[tokio::test]
async fn a_registry_whose_regions_differ() {
    let fake = Fake::start();
    let image = fake.image("a", "1", &[]);
    let upstream = upstream(&[&fake.url()]);
    let a = repository("a");
    upstream.resolve(&a, &tag("1")).await.unwrap();
    fake.always(&image.digest, Act::error(404, "MANIFEST_UNKNOWN"));
    let fetched = upstream.manifest(&a, &by_digest(&image.digest), None).await.unwrap();
    assert_eq!(fetched.bytes, image.manifest);
    upstream.has_manifest(&a, &digest(&image.digest)).await.unwrap();
    // Once the tag is another's, it helps no more.
    fake.image("a", "1", &[noise(1, 1)]);
    let gone = upstream.manifest(&a, &by_digest(&image.digest), None).await;
    assert_eq!(gone, Err(FetchError::NotFound));
    // Nor does it help in another repository.
    let other = upstream.manifest(&repository("b"), &by_digest(&image.digest), None).await;
    assert_eq!(other, Err(FetchError::NotFound));
}

#[tokio::test]
async fn a_registry_that_wants_fewer_requests_is_left_alone() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    fake.times(1, "/manifests/", Act::too_many(Some("7")));
    let upstream = upstream(&[&fake.url()]);
    let (a, one) = (repository("a"), tag("1"));
    let error = upstream.resolve(&a, &one).await.unwrap_err();
    assert_eq!(error, FetchError::TooMany { retry_after: Some(Duration::from_secs(7)) });
    let Err(FetchError::TooMany { retry_after: Some(left) }) = upstream.resolve(&a, &one).await else {
        panic!()
    };
    assert!(left > Duration::from_secs(5) && left < Duration::from_secs(9), "{left:?}");
    assert_eq!((upstream.pause_of(&a, &one), fake.seen().len()), (Some(PauseReason::TooMany), 1));
    assert_eq!(upstream.pause(), None, "it is one repository that is limited");
    let blob = pull(&upstream, &digest_of_nothing()).await.unwrap_err();
    assert!(matches!(blob, FetchError::TooMany { retry_after: Some(_) }), "{blob:?}");
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_fails() {
    let (first, second) = (Fake::start(), Fake::start());
    let image = second.image("a", "1", &[noise(1000, 3)]);
    let (a, one) = (repository("a"), tag("1"));
    let refused = "http://127.0.0.1:1";
    for act in [
        Some(Act::error(500, "X")),
        Some(Act::error(403, "DENIED")),
        Some(Act::too_many(None)),
        Some(Act::Close),
        Some(Act::Hang),
        Some(Act::With("Content-Encoding", "gzip".to_owned())),
        None,
    ] {
        first.heal();
        first.image("a", "1", &[noise(1000, 3)]);
        let url = match &act {
            Some(act) => {
                first.always("/", act.clone());
                first.url()
            }
            None => refused.to_owned(),
        };
        let short = Timeouts { header: Duration::from_millis(400), ..timeouts() };
        let upstream = upstream_with(&[&url, &second.url()], short, 8, |_| {});
        let resolved = upstream.resolve(&a, &one).await;
        assert_eq!(resolved.unwrap().to_string(), image.digest, "{act:?}");
        assert_eq!(pull(&upstream, &image.layers[0]).await.unwrap(), noise(1000, 3), "{act:?}");
        assert_eq!(upstream.pause(), None);
    }
}

#[tokio::test]
async fn what_nobody_knows_is_not_missing() {
    let fake = Fake::start();
    let (a, one) = (repository("a"), tag("1"));
    for urls in [["http://127.0.0.1:1".to_owned(), fake.url()], [fake.url(), "http://127.0.0.1:1".to_owned()]]
    {
        let upstream = upstream(&[&urls[0], &urls[1]]);
        let error = upstream.resolve(&a, &one).await.unwrap_err();
        assert_eq!(error.to_string(), "no connection");
        let error = pull(&upstream, &digest_of_nothing()).await.unwrap_err();
        assert_eq!(error, FetchError::unavailable("unreachable"));
    }
}

#[tokio::test]
async fn a_host_that_is_down_is_left_alone_until_a_probe_gets_an_answer() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    let address = fake.address;
    drop(fake);
    let upstream = upstream(&[&format!("http://{address}")]);
    let (a, one) = (repository("a"), tag("1"));
    assert_eq!(upstream.resolve(&a, &one).await.unwrap_err().to_string(), "no connection");
    let deadline = Instant::now() + Duration::from_secs(10);
    while upstream.resolve(&a, &one).await.unwrap_err().to_string() != "unreachable" {
        assert!(Instant::now() < deadline, "it is asked again and again");
    }
    assert_eq!(upstream.pause(), Some(PauseReason::Unreachable));
    // It is found to be there by a probe, not by a client's request.
    let fake = Fake::start_at(address);
    let image = fake.image("a", "1", &[]);
    while upstream.pause().is_some() {
        assert!(Instant::now() < deadline + Duration::from_secs(10), "it stays down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(fake.seen().iter().all(|seen| seen.path == "/v2/"), "{:?}", fake.seen());
    assert_eq!(upstream.resolve(&a, &one).await.unwrap().to_string(), image.digest);
}

#[tokio::test]
async fn a_late_header_is_the_repositorys_fault() {
    let fake = Fake::start();
    let image = fake.image("b", "1", &[]);
    fake.always("/v2/a/", Act::Hang);
    let short = Timeouts { header: Duration::from_millis(200), ..timeouts() };
    let upstream = upstream_with(&[&fake.url()], short, 8, |_| {});
    let (a, b, one) = (repository("a"), repository("b"), tag("1"));
    for _ in 0..3 {
        assert_eq!(upstream.resolve(&a, &one).await.unwrap_err().to_string(), "timed out");
    }
    assert_eq!(upstream.pause_of(&a, &one), Some(PauseReason::Failing));
    assert_eq!(upstream.pause_of(&b, &one), None);
    assert_eq!(upstream.resolve(&b, &one).await.unwrap().to_string(), image.digest);
}

/// Some registries know no HEAD, and fail for a while: that it is well again, GET tells.
#[tokio::test]
async fn a_registry_that_knows_no_head_is_found_well_again() {
    for status in [405, 501, 500] {
        let fake = Fake::start();
        let image = fake.image("a", "1", &[]);
        fake.rule(Some("HEAD"), "/manifests/", usize::MAX, Act::error(status, "UNSUPPORTED"));
        fake.rule(Some("GET"), "/manifests/", usize::MAX, Act::error(500, "X"));
        let upstream = upstream(&[&fake.url()]);
        let a = repository("a");
        let deadline = Instant::now() + Duration::from_secs(30);
        while upstream.pause_of(&a, &tag("1")).is_none() {
            upstream.manifest(&a, &by_tag("1"), None).await.unwrap_err();
            assert!(Instant::now() < deadline, "{status}: it is not left alone");
        }
        fake.heal();
        fake.rule(Some("HEAD"), "/manifests/", usize::MAX, Act::error(status, "UNSUPPORTED"));
        loop {
            if let Ok(found) = upstream.manifest(&a, &by_tag("1"), None).await {
                assert_eq!(found.bytes, image.manifest);
                break;
            }
            assert!(Instant::now() < deadline, "{status}: it stays so");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn several_repositories_make_the_host_suspect_and_a_probe_decides() {
    let fake = Fake::start();
    fake.always("/manifests/", Act::error(500, "X"));
    let upstream = upstream(&[&fake.url()]);
    let deadline = Instant::now() + Duration::from_secs(10);
    for name in ["a", "b", "c"] {
        upstream.resolve(&repository(name), &tag("1")).await.unwrap_err();
    }
    while fake.count("GET", "/v2/") == 0 {
        assert!(Instant::now() < deadline, "nothing probes it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(upstream.pause(), None, "it answers to /v2/");
    fake.always("/v2/", Act::error(503, "X"));
    for name in ["d", "e", "f"] {
        upstream.resolve(&repository(name), &tag("1")).await.unwrap_err();
    }
    while upstream.pause().is_none() {
        assert!(Instant::now() < deadline, "it is not left alone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(upstream.pause(), Some(PauseReason::Failing));
    fake.heal();
    while upstream.pause().is_some() {
        assert!(Instant::now() < deadline + Duration::from_secs(10), "it stays so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn where_a_redirect_leads_is_not_the_registry() {
    let fake = Fake::start();
    let blob = fake.blob(noise(1000, 3));
    let image = fake.image("b", "1", &[]);
    fake.always("/blobs/", Act::Redirect("http://127.0.0.1:1/cdn".to_owned()));
    let upstream = upstream_with(&[&fake.url()], timeouts(), 8, |config| config.private = true);
    for _ in 0..5 {
        pull(&upstream, &blob).await.unwrap_err();
    }
    assert_eq!(upstream.pause(), None);
    assert_eq!(upstream.resolve(&repository("b"), &tag("1")).await.unwrap().to_string(), image.digest);
}

/// Some registries compress whatever is asked for, and some say of what is compressed by itself that it was for transport.
#[tokio::test]
async fn what_comes_compressed_is_decoded_where_its_digest_then_fits() {
    let (a, one) = (repository("a"), tag("1"));
    for says in [true, false] {
        let fake = Fake::start();
        let layer = noise(200_000, 3);
        let image = fake.image("a", "1", std::slice::from_ref(&layer));
        let size = Some(layer.len() as u64);
        fake.always("/v2/a/", Act::Gzip { says });
        let upstream = upstream(&[&fake.url()]);
        // With a digest that is asked for, that is announced, or with none at all.
        let by_digest = upstream.manifest(&a, &by_digest(&image.digest), None).await.unwrap();
        assert_eq!(by_digest.bytes, image.manifest, "{says}");
        assert_eq!(upstream.manifest(&a, &by_tag("1"), None).await.unwrap().bytes, image.manifest);
        assert_eq!(upstream.tags(&a, None, None).await.unwrap().tags, ["1"]);
        fake.always("/manifests/", Act::Without("Docker-Content-Digest"));
        let found = upstream.manifest(&a, &by_tag("1"), None).await.unwrap();
        assert_eq!(
            (found.digest.unwrap().to_string(), found.bytes),
            (image.digest.clone(), image.manifest.into())
        );
        assert_eq!(upstream.resolve(&a, &one).await.unwrap().to_string(), image.digest);

        let blob = digest(&image.layers[0]);
        let (starts_at, total, bytes, whole) =
            read(upstream.blob(&a, &blob, size).as_ref(), 0).await.unwrap();
        assert!((starts_at, total, whole) == (0, size, true) && bytes == layer, "{says}");
        // Of what is decoded, no part can be asked for: it begins with the first byte, and its reader skips what it has.
        let source = upstream.blob(&a, &blob, size);
        // The second time as one that broke off goes on, by what was found out before.
        for _ in 0..2 {
            let (starts_at, _, bytes, _) = read(source.as_ref(), 150_000).await.unwrap();
            assert!(starts_at == 0 && bytes == layer, "{says}");
        }
    }
}

/// Without a manifest that says how large it is, only its digest tells which of the two forms is meant.
#[tokio::test]
async fn a_blob_of_unknown_size_is_decoded_the_next_time() {
    for says in [true, false] {
        let fake = Fake::start();
        let layer = noise(100_000, 4);
        let blob = digest(&fake.blob(layer.clone()));
        fake.always("/blobs/", Act::Gzip { says });
        let upstream = upstream(&[&fake.url()]);
        let source = || upstream.blob(&repository("a"), &blob, None);
        let first = source();
        let (_, _, bytes, _) = read(first.as_ref(), 0).await.unwrap();
        assert!(bytes == crate::fake_upstream::gzip(&layer), "{says}");
        first.mismatch(&[0]);
        assert!(first.open(0).await.is_err(), "the same download has told its length");
        assert!(read(source().as_ref(), 0).await.unwrap().2 == layer, "{says}");
    }
}

#[tokio::test]
async fn what_is_compressed_by_itself_stays_as_it_is() {
    let fake = Fake::start();
    let layer = crate::fake_upstream::gzip(&noise(200_000, 3));
    let name = fake.blob(layer.clone());
    fake.always("/blobs/", Act::With("Content-Encoding", "gzip".to_owned()));
    let upstream = upstream(&[&fake.url()]);
    let blob = digest(&name);
    for size in [Some(layer.len() as u64), None] {
        let source = upstream.blob(&repository("a"), &blob, size);
        let (_, total, bytes, whole) = read(source.as_ref(), 0).await.unwrap();
        assert!(whole && total == Some(layer.len() as u64) && bytes == layer, "{size:?}");
        let (from, _, rest, _) = read(source.as_ref(), 1000).await.unwrap();
        assert!(from == 1000 && rest == layer[1000..], "{size:?}");
    }
}

#[tokio::test]
async fn a_blob_is_worth_another_try() {
    for act in [Act::error(500, "X"), Act::Close] {
        let (fake, cdn) = (Fake::start(), Fake::start());
        let blob = noise(100_000, 3);
        let digest = fake.blob(blob.clone());
        cdn.blob(blob.clone());
        fake.always("/blobs/", Act::Redirect(format!("{}/cdn/{digest}", cdn.url())));
        cdn.times(2, "/cdn/", act.clone());
        let upstream = upstream_with(&[&fake.url()], timeouts(), 8, |config| config.private = true);
        assert_eq!(pull(&upstream, &digest).await.unwrap(), blob, "{act:?}");
    }
}

#[tokio::test]
async fn small_blobs_do_not_wait_behind_large_ones() {
    let fake = Fake::start();
    let (large, small) = (fake.blob(noise(1000, 9)), fake.blob(noise(1000, 10)));
    let upstream = upstream_with(&[&fake.url()], timeouts(), 1, |_| {});
    let (large, small) = (digest(&large), digest(&small));
    let large = upstream.blob(&repository("a"), &large, Some(5 << 20)).open(0).await.unwrap();
    upstream.blob(&repository("a"), &small, Some(1000)).open(0).await.unwrap();
    drop(large);
}

#[tokio::test]
async fn errors_of_a_registry_are_borne_for_a_while() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    let upstream = upstream(&[&fake.url()]);
    let (a, one) = (repository("a"), tag("1"));
    fake.times(2, "/", Act::error(502, "X"));
    for _ in 0..2 {
        assert_eq!(upstream.resolve(&a, &one).await.unwrap_err().to_string(), "it answers with an error");
    }
    upstream.resolve(&a, &one).await.unwrap();
    fake.times(3, "/", Act::error(502, "X"));
    for _ in 0..3 {
        upstream.resolve(&a, &one).await.unwrap_err();
    }
    assert_eq!(upstream.resolve(&a, &one).await.unwrap_err().to_string(), "failing");
    assert_eq!((upstream.pause_of(&a, &one), upstream.pause()), (Some(PauseReason::Failing), None));
    // The operator says that it is well.
    upstream.end_pauses();
    upstream.resolve(&a, &one).await.unwrap();
}

#[tokio::test]
async fn a_request_that_no_client_waits_for_says_nothing() {
    let fake = Fake::start();
    fake.always("/", Act::Hang);
    let upstream = upstream(&[&fake.url()]);
    let (a, one) = (repository("a"), tag("1"));
    for _ in 0..5 {
        let soon = tokio::time::timeout(Duration::from_millis(50), upstream.resolve(&a, &one)).await;
        assert!(soon.is_err());
    }
    assert_eq!((upstream.pause_of(&a, &one), upstream.pause()), (None, None));
}

#[tokio::test]
async fn a_limit_of_the_whole_api_is_not_about_pulls() {
    let fake = Fake::start();
    let image = fake.image("a", "1", &[]);
    fake.always("/manifests/", Act::With("ratelimit-limit", "5000".to_owned()));
    fake.always("/manifests/", Act::With("ratelimit-remaining", "0".to_owned()));
    let upstream = upstream(&[&fake.url()]);
    for _ in 0..2 {
        upstream.manifest(&repository("a"), &by_digest(&image.digest), None).await.unwrap();
    }
}

#[tokio::test]
async fn what_docker_hub_grants_is_not_overdrawn() {
    let fake = Fake::start();
    let image = fake.image("a", "1", &[]);
    let upstream = upstream(&[&fake.url()]);
    let a = repository("a");
    assert!(upstream.quota().is_none());
    for (left, scarce) in [("50;w=21600", false), ("5;w=21600", true), ("0;w=21600", true)] {
        fake.heal();
        fake.always("/manifests/", Act::With("ratelimit-limit", "100;w=21600".to_owned()));
        fake.always("/manifests/", Act::With("ratelimit-remaining", left.to_owned()));
        upstream.resolve(&a, &tag("1")).await.unwrap();
        let quota = upstream.quota().unwrap();
        assert_eq!((quota.quota().unwrap().limit, quota.is_scarce()), (100, scarce));
    }
    fake.forget();
    let error = upstream.manifest(&a, &by_digest(&image.digest), None).await.unwrap_err();
    assert!(matches!(error, FetchError::TooMany { retry_after: Some(_) }), "{error:?}");
    assert_eq!(fake.seen().len(), 0);
    // The operator says that there is more, which the registry does not say again.
    upstream.end_pauses();
    upstream.manifest(&a, &by_digest(&image.digest), None).await.unwrap();
    upstream.manifest(&a, &by_digest(&image.digest), None).await.unwrap_err();
    // HEAD is not counted, and says when there is more.
    fake.heal();
    fake.always("/manifests/", Act::With("ratelimit-limit", "100;w=21600".to_owned()));
    fake.always("/manifests/", Act::With("ratelimit-remaining", "1;w=21600".to_owned()));
    upstream.resolve(&a, &tag("1")).await.unwrap();
    upstream.manifest(&a, &by_digest(&image.digest), None).await.unwrap();
}

#[tokio::test]
async fn blobs_go_on_where_they_broke() {
    let fake = Fake::start();
    let bytes = noise(300_000, 4);
    let blob = fake.blob(bytes.clone());
    let upstream = upstream(&[&fake.url()]);
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    fake.times(1, "/blobs/", Act::Cut(100_000));
    let (starts_at, total, head, whole) = read(source.as_ref(), 0).await.unwrap();
    assert_eq!((starts_at, total, whole), (0, Some(300_000), false));
    assert_eq!(head, bytes[..head.len()]);
    let from = head.len() as u64;
    let (starts_at, total, tail, whole) = read(source.as_ref(), from).await.unwrap();
    assert_eq!((starts_at, total, whole), (from, Some(300_000), true));
    assert_eq!([head, tail].concat(), bytes);
    let seen = fake.seen().pop().unwrap();
    assert_eq!(seen.header("range"), Some(format!("bytes={from}-").as_str()));
    assert_eq!(seen.header("if-range"), Some(format!("\"{blob}\"").as_str()));
    // A server that does not know ranges begins from the beginning, and that is said.
    fake.times(1, "/blobs/", Act::IgnoreRange);
    let (starts_at, _, again, _) = read(source.as_ref(), from).await.unwrap();
    assert_eq!((starts_at, again), (0, bytes.clone()));
    // So does one whose object has another tag by now.
    fake.times(1, "/blobs/", Act::Without("ETag"));
    fake.times(1, "/blobs/", Act::With("ETag", "\"other\"".to_owned()));
    read(source.as_ref(), 0).await.unwrap();
    let (starts_at, _, again, _) = read(source.as_ref(), from).await.unwrap();
    assert_eq!((starts_at, again), (0, bytes));
}

#[tokio::test]
async fn another_endpoint_goes_on_with_what_one_began() {
    let (first, second) = (Fake::start(), Fake::start());
    let bytes = noise(200_000, 5);
    let blob = first.blob(bytes.clone());
    second.blob(bytes.clone());
    let upstream = upstream(&[&first.url(), &second.url()]);
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    first.times(1, "/blobs/", Act::Cut(50_000));
    let (_, _, head, _) = read(source.as_ref(), 0).await.unwrap();
    first.always("/", Act::error(404, "BLOB_UNKNOWN"));
    let opened = source.open(head.len() as u64).await.unwrap();
    assert_eq!((opened.starts_at, opened.endpoint), (head.len() as u64, 1));
    assert_eq!(second.seen()[0].header("if-range"), None, "a tag of another server says nothing");
    // And it stays with the one that works.
    drop(opened);
    source.open(head.len() as u64).await.unwrap();
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
}

#[tokio::test]
async fn parts_that_do_not_fit_are_not_taken() {
    let fake = Fake::start();
    let blob = fake.blob(noise(1000, 6));
    let upstream = upstream(&[&fake.url()]);
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    source.open(0).await.unwrap();
    for range in
        ["bytes 0-999/1000", "bytes 501-999/1000", "bytes 500-998/1000", "bytes 500-1000/1001", "junk"]
    {
        fake.heal();
        fake.always("/blobs/", Act::Without("Content-Range"));
        fake.always("/blobs/", Act::With("Content-Range", range.to_owned()));
        let error = source.open(500).await.unwrap_err();
        assert_eq!(error, FetchError::unavailable("its answer is malformed"), "{range}");
    }
    fake.heal();
    fake.blob_as(&blob, noise(999, 6));
    assert!(source.open(500).await.is_err(), "another length");
    fake.always("/blobs/", Act::IgnoreRange);
    assert!(source.open(500).await.is_err(), "another length of the whole");
}

#[tokio::test]
async fn bodies_without_a_length_and_bodies_that_stall() {
    let fake = Fake::start();
    let blob = fake.blob(noise(100_000, 7));
    fake.times(1, "/blobs/", Act::Chunked);
    let short = Timeouts { idle: Duration::from_millis(300), ..timeouts() };
    let upstream = upstream_with(&[&fake.url()], short, 8, |_| {});
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    let read_all = read(source.as_ref(), 0).await.unwrap();
    assert_eq!(read_all, (0, None, noise(100_000, 7), true));
    fake.times(1, "/blobs/", Act::Stall(10_000));
    let (_, _, bytes, whole) = read(source.as_ref(), 0).await.unwrap();
    assert_eq!((bytes.as_slice(), whole), (&noise(100_000, 7)[..10_000], false));
    fake.always("/blobs/", Act::LongLength(5));
    let (_, total, bytes, whole) = read(source.as_ref(), 0).await.unwrap_or_default();
    assert!(!whole || bytes.is_empty(), "{total:?}");
}

/// A request that is accepted and never answered is made once more before its header is given up: its digest is not held
/// until then.
#[tokio::test]
async fn a_blob_whose_answer_is_lost_is_asked_for_once_more() {
    let fake = Fake::start();
    let blob = fake.blob(noise(100_000, 7));
    fake.times(1, "/blobs/", Act::Hang);
    let short = Timeouts { header: Duration::from_secs(6), ..timeouts() };
    let upstream = upstream_with(&[&fake.url()], short, 8, |_| {});
    let begun = Instant::now();
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    let (_, _, bytes, whole) = read(source.as_ref(), 0).await.unwrap();
    assert!(whole && bytes == noise(100_000, 7));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(fake.count("GET", "/blobs/"), 2);
    // One that is only slow answers the first, and is asked a second time at most.
    fake.forget();
    fake.always("/blobs/", Act::Delay(Duration::from_secs(5)));
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    assert!(read(source.as_ref(), 0).await.unwrap().3);
    assert_eq!(fake.count("GET", "/blobs/"), 2);
}

/// Where other blobs of the same registry come promptly, one that does not is asked for again within seconds.
#[tokio::test]
async fn a_blob_whose_answer_alone_is_lost_is_soon_asked_for_once_more() {
    let fake = Fake::start();
    let (lost, other) = (fake.blob(noise(100_000, 7)), fake.blob("other"));
    fake.times(1, &lost, Act::Hang);
    let header = Duration::from_secs(100);
    let upstream = upstream_with(&[&fake.url()], Timeouts { header, ..timeouts() }, 8, |_| {});
    assert_eq!(pull(&upstream, &other).await.unwrap(), b"other");
    let begun = Instant::now();
    assert_eq!(pull(&upstream, &lost).await.unwrap(), noise(100_000, 7));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(fake.count("GET", &lost), 2);
}

/// An endpoint that breaks off at the same byte each time keeps no other from going on there.
#[tokio::test]
async fn another_endpoint_goes_on_where_one_is_stuck() {
    let (first, second) = (Fake::start(), Fake::start());
    let blob = first.blob(noise(100_000, 7));
    second.blob(noise(100_000, 7));
    first.always("/blobs/", Act::Cut(30_000));
    let upstream = upstream(&[&first.url(), &second.url()]);
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    first.always("/blobs/", Act::IgnoreRange);
    for (from, endpoint) in [(0, 0), (30_000, 0), (30_000, 1), (60_000, 1)] {
        let mut opened = source.open(from).await.unwrap();
        assert_eq!(opened.endpoint, endpoint);
        while let Some(Ok(_)) = opened.body.next().await {}
    }
}

#[tokio::test]
async fn an_endpoint_that_sent_other_bytes_is_not_asked_for_them_again() {
    let (first, second) = (Fake::start(), Fake::start());
    let blob = second.blob("right");
    first.blob_as(&blob, "wrong");
    let upstream = upstream(&[&first.url(), &second.url()]);
    let a = repository("a");
    let source = upstream.blob(&a, &digest(&blob), None);
    assert_eq!(read(source.as_ref(), 0).await.unwrap().2, b"wrong");
    source.mismatch(&[0]);
    assert_eq!(read(source.as_ref(), 0).await.unwrap().2, b"right");
    // For whoever asks for that digest, and for no other.
    assert_eq!(pull(&upstream, &blob).await.unwrap(), b"right");
    let other = first.blob("other");
    assert_eq!(pull(&upstream, &other).await.unwrap(), b"other");
    source.mismatch(&[1]);
    let error = pull(&upstream, &blob).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("it has sent other bytes for this digest just now"));
}

#[tokio::test]
async fn a_signed_url_that_has_expired_is_asked_for_again() {
    let (fake, cdn) = (Fake::start(), Fake::start());
    let blob = cdn.blob("x");
    fake.always("/blobs/", Act::Redirect(format!("{}/cdn/{blob}?sig=s3cr3t-s", cdn.url())));
    for status in [401, 403, 410] {
        fake.forget();
        cdn.forget();
        cdn.times(1, "/cdn/", Act::error(status, "EXPIRED"));
        assert_eq!(pull(&private(&[&fake.url()]), &blob).await.unwrap(), b"x");
        assert_eq!((fake.seen().len(), cdn.seen().len()), (2, 2));
    }
    cdn.always("/cdn/", Act::error(403, "FORBIDDEN"));
    let error = pull(&private(&[&fake.url()]), &blob).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("it answers with an error"));
}

#[tokio::test]
async fn sizes_of_blobs_that_head_does_not_tell() {
    let fake = Fake::start();
    let blob = fake.blob(noise(5000, 8));
    for act in [Act::error(404, "BLOB_UNKNOWN"), Act::error(405, "X"), Act::error(500, "X"), Act::Chunked] {
        for ignored in [false, true] {
            fake.heal();
            fake.forget();
            fake.rule(Some("HEAD"), "/blobs/", 1, act.clone());
            if ignored {
                fake.always("/blobs/", Act::IgnoreRange);
            }
            let size = upstream(&[&fake.url()]).blob_size(&repository("a"), &digest(&blob)).await;
            assert_eq!((size, fake.count("GET", "/blobs/")), (Ok(Some(5000)), 1), "{act:?}");
        }
    }
    let absent = upstream(&[&fake.url()]).blob_size(&repository("a"), &digest(&digest_of_nothing())).await;
    assert_eq!(absent, Err(FetchError::NotFound));
}

#[tokio::test]
async fn so_many_bodies_at_once() {
    let fake = Fake::start();
    let blob = fake.blob(noise(2 << 20, 9));
    let upstream = upstream_with(&[&fake.url()], timeouts(), 1, |_| {});
    let source = upstream.blob(&repository("a"), &digest(&blob), None);
    let first = source.open(0).await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(200), source.open(0)).await;
    assert!(second.is_err(), "it waits");
    assert_eq!(fake.seen().len(), 1);
    drop(first);
    source.open(0).await.unwrap();
}

#[tokio::test]
async fn lists_of_tags_and_referrers() {
    let fake = Fake::start();
    let image = fake.image("a", "v1", &[]);
    for name in ["v2", "v3", "v4", "v5"] {
        fake.tag("a", name, &image.digest);
    }
    let upstream = upstream(&[&fake.url()]);
    let a = repository("a");
    let all = ["v1", "v2", "v3", "v4", "v5"];
    assert_eq!(upstream.tags(&a, None, None).await.unwrap().tags, all);
    fake.pages_of(2);
    fake.forget();
    assert_eq!(upstream.tags(&a, None, None).await.unwrap().tags, all);
    let queries: Vec<String> = fake.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(queries, ["", "n=2&last=v2", "n=2&last=v4"]);
    assert_eq!(upstream.tags(&repository("b"), None, None).await, Err(FetchError::NotFound));
    fake.always("/tags/list", Act::Answer { status: 200, headers: vec![], body: "<html>".to_owned() });
    assert!(matches!(upstream.tags(&a, None, None).await, Err(FetchError::Unavailable { .. })));

    let subject = digest(&image.digest);
    let empty = upstream.referrers(&a, &subject).await.unwrap();
    assert!(String::from_utf8_lossy(&empty).contains(r#""manifests":[]"#));
    let referrer = fake.referrer("a", &image.digest, "application/vnd.test");
    let index = upstream.referrers(&a, &subject).await.unwrap();
    assert!(String::from_utf8_lossy(&index).contains(&referrer));
    fake.without_referrers();
    assert_eq!(upstream.referrers(&a, &subject).await, Err(FetchError::NotFound));
    for act in [Act::error(400, "X"), Act::Answer { status: 200, headers: vec![], body: "<html>".to_owned() }]
    {
        fake.heal();
        fake.always("/referrers/", act);
        assert_eq!(upstream.referrers(&a, &subject).await, Err(FetchError::NotFound));
    }
    fake.heal();
    fake.always("/referrers/", Act::error(503, "X"));
    assert!(matches!(upstream.referrers(&a, &subject).await, Err(FetchError::Unavailable { .. })));
}

#[tokio::test]
async fn endpoints_with_a_path() {
    let fake = Fake::start();
    let image = fake.image("hub/a", "1", &[]);
    fake.auth(Auth::Bearer(Bearer { scope: None, ..Bearer::default() }));
    for path in ["/hub", "/v2/hub", "/v2/hub/"] {
        fake.forget();
        let upstream = upstream(&[&format!("{}{path}", fake.url())]);
        let resolved = upstream.resolve(&repository("a"), &tag("1")).await;
        assert_eq!(resolved.unwrap().to_string(), image.digest, "{path}");
        let token = fake.seen().into_iter().find(|seen| seen.path == "/token").unwrap();
        assert_eq!(token.query, "service=fake&scope=repository%3Ahub%2Fa%3Apull");
    }
}

#[tokio::test]
async fn a_check_says_what_is_wrong() {
    let (fake, place) = (Fake::start(), Place::new());
    let outcome = async |upstream: Upstream| {
        let mut all = upstream.check().await;
        assert_eq!(all.len(), 1);
        let outcome = all.remove(0).outcome;
        outcome.map(|logged_in| logged_in.login).map_err(|error| (error.to_string(), error.help()))
    };
    let anonymous = || upstream(&[&fake.url()]);
    assert_eq!(outcome(anonymous()).await, Ok(Login::Open));
    fake.auth(Auth::Bearer(Bearer::default()));
    assert_eq!(outcome(anonymous()).await, Ok(Login::Anonymous));
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-p"}"#);
    let user = Some(("u".to_owned(), "s3cr3t-p".to_owned()));
    fake.auth(Auth::Bearer(Bearer { user: user.clone(), ..Bearer::default() }));
    assert_eq!(outcome(with_credentials(&fake, &path)).await, Ok(Login::Credentials));
    fake.auth(Auth::Basic("u".into(), "s3cr3t-p".into()));
    assert_eq!(outcome(with_credentials(&fake, &path)).await, Ok(Login::Credentials));
    let at = |path: &str| format!("{}{path}", fake.url());
    let help = Some("check the name; a private one takes `credentials`");
    let want = format!("{}: it is not public, or not there (401): UNAUTHORIZED unauthorized", at("/v2/"));
    assert_eq!(outcome(anonymous()).await, Err((want, help)));
    let path = credentials(&place, "reg.example", r#"{"username":"u","password":"s3cr3t-q"}"#);
    let help = Some("log in again and renew the file of credentials");
    let want = format!("{}: it rejects the credentials (401): UNAUTHORIZED unauthorized", at("/v2/"));
    assert_eq!(outcome(with_credentials(&fake, &path)).await, Err((want, help)));
    fake.auth(Auth::Bearer(Bearer { user, ..Bearer::default() }));
    let want = format!("{}: it rejects the credentials (401): UNAUTHORIZED unauthorized", at("/token"));
    assert_eq!(outcome(with_credentials(&fake, &path)).await, Err((want, help)));
    fake.auth(Auth::None);
    fake.always("/v2/", Act::error(404, "X"));
    assert_eq!(
        outcome(anonymous()).await,
        Err((format!("{}: it is not there: X X it is", at("/v2/")), None))
    );
    let gone = place.path("gone.json");
    let (text, help) = outcome(with_credentials(&fake, &gone)).await.unwrap_err();
    assert!(text.contains("gone.json`: No such file"), "{text}");
    assert_eq!(
        help,
        Some("name a dockerconfigjson, as `docker login` writes it, with an entry for the host")
    );
    let tls = upstream_with(&[&fake.url().replace("http", "https")], timeouts(), 8, |_| {});
    let (text, help) = outcome(tls).await.unwrap_err();
    assert!(text.contains("TLS failed"), "{text}");
    assert!(help.unwrap().contains("certificate"));
    let (text, help) = outcome(upstream(&["http://127.0.0.1:1"])).await.unwrap_err();
    assert!(text.contains("cannot connect: "), "{text}");
    assert!(help.is_some());
    let (text, _) = outcome(upstream(&["http://nowhere.example"])).await.unwrap_err();
    assert!(text.contains("the name `nowhere.example` cannot be resolved: there is no such name"), "{text}");
}

#[tokio::test]
async fn a_registry_under_tls() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let fake = Fake::start_tls(&ours.server("127.0.0.1"));
    let plain = Fake::start();
    let image = fake.image("a", "1", &[noise(200_000, 10)]);
    fake.auth(Auth::Bearer(Bearer::default()));
    let with_root = |authority: &Authority| {
        let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
        let settings = HttpSettings { timeouts: timeouts(), roots: vec![root], ..HttpSettings::default() };
        let http = Http::new(&HttpSettings { proxies: Proxies::None, ..settings }).unwrap();
        let endpoints = vec![fake.url().parse().unwrap()];
        let config = UpstreamConfig { endpoints, private: true, ..UpstreamConfig::default() };
        let (registry, limits) = ("reg.example".parse().unwrap(), UpstreamLimits::default());
        Upstream::new(registry, &config, &http, Arc::new(Metrics::new()), limits).unwrap()
    };
    let upstream = with_root(&ours);
    upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
    assert_eq!(pull(&upstream, &image.layers[0]).await.unwrap(), noise(200_000, 10));
    // From https to http nothing is followed, wherever it leads.
    fake.always("/blobs/", Act::Redirect(format!("{}/cdn/{}", plain.url(), image.layers[0])));
    let error = pull(&upstream, &image.layers[0]).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("its redirect is refused"));
    assert_eq!(plain.seen().len(), 0);
    let error = with_root(&theirs).resolve(&repository("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.to_string(), "TLS failed");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let fake = Fake::start();
    fake.image("a", "1", &[]);
    let upstream = upstream(&[&fake.url()]);
    upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
    fake.times(1, "/", Act::Close);
    upstream.resolve(&repository("a"), &tag("1")).await.unwrap();
    assert_eq!(fake.seen().len(), 3);
}
