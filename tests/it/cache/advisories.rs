//! Published advisories about registries, mirrors and their clients: none of them holds here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::acceptance_names::{Private, base64};
use crate::authority::Authority;
use crate::cache_process::{Cache, Start, eventually};
use crate::fake_upstream::{Act, Auth, Bearer, Seen, Upstream, noise};
use crate::run::Place;

const MIB: usize = 1 << 20;

fn with_users(private: &Private) -> Cache {
    let users = private.place.path("users");
    private.start().args(&["--htpasswd", users.to_str().unwrap()]).run()
}

fn ada() -> String {
    format!("Basic {}", base64("ada:s3cr3t-ada"))
}

fn as_ada(cache: &Cache, path: &str) -> (u16, Vec<u8>) {
    let answer = cache.ask("GET", path, &[("Authorization", &ada())]);
    (answer.status, answer.body)
}

/// CVE-2026-33540 (distribution): the realm of a challenge names a foreign host, which gets the credentials.
#[test]
fn credentials_go_to_no_realm_of_a_foreign_host() {
    let (private, thief) = (Private::new(), Upstream::start());
    private.upstream.image("a", "1", &[]);
    let cache = with_users(&private);
    for realm in [format!("{}/token", thief.url()), "https://thief.example/token".to_owned()] {
        private.upstream.auth(Auth::Bearer(Bearer { realm: Some(realm), ..Bearer::default() }));
        assert_eq!(as_ada(&cache, "/v2/private.example/a/manifests/1").0, 503);
    }
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());
    eventually("it says what to do if that one is meant", || cache.log().contains("tokenServers"));
}

/// CVE-2026-35172 (distribution): a blob goes out through a repository that does not have it.
#[test]
fn a_blob_goes_out_through_no_other_repository() {
    let private = Private::new();
    let layer = noise(100_000, 1);
    let image = private.upstream.image("a", "1", std::slice::from_ref(&layer));
    private.upstream.always("/v2/b/", Act::error(404, "NAME_UNKNOWN"));
    let cache = with_users(&private);
    let path = |repository: &str| format!("/v2/private.example/{repository}/blobs/{}", image.layers[0]);
    assert_eq!(as_ada(&cache, &path("a")), (200, layer));
    eventually("it is stored", || {
        cache.ask("GET", &path("a"), &[("Authorization", &ada())]).header("x-cache") == "HIT"
    });
    for method in ["GET", "HEAD"] {
        for more in [("Range", "bytes=0-99"), ("If-None-Match", "\"x\""), ("Accept", "*/*")] {
            let answer = cache.ask(method, &path("b"), &[("Authorization", &ada()), more]);
            assert_eq!(answer.status, 404, "{method} {more:?}");
        }
    }
}

/// CVE-2026-48978 (oras-go): the realm of a challenge is at a private address, or leads from https to http.
#[test]
fn no_realm_leads_into_private_networks_or_out_of_tls() {
    let (authority, place, plain) = (Authority::new(), Place::new(), Upstream::start());
    place.write("ca.pem", authority.pem.as_bytes());
    let upstream = Upstream::start_tls(&authority.server("127.0.0.1"));
    upstream.image("a", "1", &[]);
    let cache = Start::new()
        .upstream("reg.example", &upstream.url())
        .env("SSL_CERT_FILE", place.path("ca.pem").to_str().unwrap())
        .run();
    for realm in [
        format!("{}/token", plain.url()),
        format!("https://127.0.0.1:{}/token", plain.address.port()),
        "https://169.254.169.254/token".to_owned(),
        "https://[fd00:ec2::254]/token".to_owned(),
        "https://10.0.0.1/token".to_owned(),
    ] {
        upstream.auth(Auth::Bearer(Bearer { realm: Some(realm.clone()), ..Bearer::default() }));
        let answer = cache.get("/v2/reg.example/a/manifests/1");
        assert_eq!(answer.status, 503, "{realm}");
        assert!(answer.text().contains("token server is refused"), "{realm}: {}", answer.text());
    }
    assert!(plain.seen().is_empty(), "{:?}", plain.seen());
    // Its own is asked.
    upstream.auth(Auth::Bearer(Bearer::default()));
    assert_eq!(cache.get("/v2/reg.example/a/manifests/1").status, 200);
}

/// Asks for something of a private registry that redirects it elsewhere; returns whether credentials went along.
fn credentials_along(kind: &str, bearer: bool) -> (u16, Vec<bool>) {
    let (private, cdn) = (Private::new(), Upstream::start());
    let image = private.upstream.image("a", "1", &[b"layer".to_vec()]);
    let target = cdn.image("a", "1", &[b"layer".to_vec()]);
    assert_eq!(image.digest, target.digest);
    if bearer {
        let user = Some(("robot".to_owned(), "s3cr3t-robot".to_owned()));
        private.upstream.auth(Auth::Bearer(Bearer { user, ..Bearer::default() }));
    }
    let cache = with_users(&private);
    // So that the first request for it goes out with credentials.
    private.upstream.image("b", "1", &[]);
    assert_eq!(as_ada(&cache, "/v2/private.example/b/manifests/1").0, 200);
    let path = match kind {
        "blobs" => format!("/v2/a/blobs/{}", image.layers[0]),
        _ => "/v2/a/manifests/1".to_owned(),
    };
    private.upstream.always(&format!("/v2/a/{kind}/"), Act::Redirect(format!("{}{path}", cdn.url())));
    let (status, _) = as_ada(&cache, &path.replace("/v2/", "/v2/private.example/"));
    let mut asked =
        private.upstream.seen().into_iter().filter(|seen| seen.path.starts_with(&format!("/v2/a/{kind}")));
    assert!(asked.next_back().unwrap().authorized());
    (status, cdn.seen().iter().map(Seen::authorized).collect())
}

/// CVE-2026-50151 (oras-go): credentials go along where `Location` leads.
#[test]
fn credentials_do_not_go_along_a_location() {
    assert_eq!(credentials_along("blobs", false), (200, vec![false]));
    assert_eq!(credentials_along("blobs", true), (200, vec![false]));
}

/// GHSA-vh4v-2xq2-g5cg (oras-go): credentials go along the redirect of a manifest.
#[test]
fn credentials_do_not_go_along_the_redirect_of_a_manifest() {
    for bearer in [false, true] {
        let (status, along) = credentials_along("manifests", bearer);
        assert!(status == 200 && !along.is_empty() && !along.contains(&true), "{status} {along:?}");
    }
}

/// Asserts that only the owner may read what is in a folder.
fn assert_owned(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let mode = meta.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has the mode {mode:o}", entry.path().display());
        if meta.is_dir() {
            assert_owned(&entry.path());
        }
    }
}

/// GHSA-4j4m-fchf-gr9r (NORA): a gate is forgotten on ranges, on what is stored whole, on HEAD, on temporary files.
#[test]
fn every_way_to_a_private_blob_has_the_gate() {
    let private = Private::new();
    let (stored, coming) = (noise(100_000, 1), noise(4 * MIB, 2));
    let image = private.upstream.image("a", "1", &[stored.clone(), coming]);
    let cache = with_users(&private);
    let path = |what: &str| format!("/v2/private.example/a/{what}");
    let (stored_at, coming_at) =
        (path(&format!("blobs/{}", image.layers[0])), path(&format!("blobs/{}", image.layers[1])));
    assert_eq!(as_ada(&cache, &path("manifests/1")).0, 200);
    assert_eq!(as_ada(&cache, &stored_at), (200, stored));
    // One that is being fetched, with a part of it in a file: slowly, so that the file has a name.
    private.upstream.always(&image.layers[1], Act::Pace(1 << 20));
    private.upstream.always(&image.layers[1], Act::Stall(3 * MIB));
    let mut coming = cache.open("GET", &coming_at, &[("Authorization", &ada())]);
    assert_eq!(coming.read(5 * MIB / 2).len(), 5 * MIB / 2);
    assert_eq!(std::fs::read_dir(cache.root.join("partial")).unwrap().count(), 1);
    assert_owned(&cache.root);
    let manifest_at = path(&format!("manifests/{}", image.digest));
    for path in [&stored_at, &coming_at, &manifest_at, &path("manifests/1"), &path("tags/list")] {
        for method in ["GET", "HEAD"] {
            for more in [
                ("Accept", "*/*"),
                ("Range", "bytes=0-9"),
                ("Range", "bytes=-9"),
                ("If-None-Match", &*format!("\"{}\"", image.layers[0])),
                ("Authorization", &*format!("Basic {}", base64("ada:guess"))),
            ] {
                let answer = cache.ask(method, path, &[more]);
                assert_eq!(answer.status, 401, "{method} {path} {more:?}");
                assert!(answer.header("content-range").is_empty() && answer.header("etag").is_empty());
            }
        }
    }
}
