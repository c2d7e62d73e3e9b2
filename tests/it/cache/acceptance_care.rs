//! Care of the store: what is damaged, what goes, what is asked for again.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use super::acceptance_names::{Private, base64};
use crate::cache_process::{Cache, Start, eventually};
use crate::fake_upstream::{Upstream, noise};

fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/registry.example/{repository}/blobs/{digest}")
}

fn manifest(repository: &str, tag: &str) -> String {
    format!("/v2/registry.example/{repository}/manifests/{tag}")
}

/// Makes one byte of a stored blob another one; its length and its times stay.
fn damage(cache: &Cache, digest: &str) {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let path: PathBuf = cache.root.join("blobs/sha256").join(&hex[..2]).join(hex);
    eventually("it is stored", || path.exists());
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();
    file.set_modified(modified).unwrap();
}

fn run(cache: &Cache, args: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
        .args(args)
        .env_clear()
        .env("TALMIRROR_CACHE_ROOT", &cache.root)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn damage_is_found_by_verify_and_after_a_crash() {
    let upstream = Upstream::start();
    let layers = [noise(50_000, 1), noise(60_000, 2)];
    let image = upstream.image("app", "1", &layers);
    let cache = Cache::of("registry.example", &upstream.url());
    assert_eq!(cache.get(&manifest("app", "1")).status, 200);
    for (digest, layer) in image.layers.iter().zip(&layers) {
        assert_eq!(cache.get(&blob("app", digest)).body, *layer);
    }
    damage(&cache, &image.layers[0]);
    for other in ["other.example/*", "registry.example/app:2", "registry.example/ap"] {
        let (code, said) = run(&cache, &["verify", other]);
        assert_eq!((code, said.contains("removed 0 damaged")), (Some(0), true), "{said}");
        assert!(said.contains(&format!("no image is stored that fits `{other}`")), "{said}");
    }
    // By every name that an image has.
    let by_digest = format!("registry.example/app@{}", image.digest);
    for name in ["registry.example/app:1", "registry.example/app", &by_digest] {
        let (code, said) = run(&cache, &["verify", name]);
        assert_eq!((code, said.contains("removed 1 damaged")), (Some(1), true), "{name}: {said}");
        assert_eq!(cache.get(&blob("app", &image.layers[0])).body, layers[0], "it is fetched again");
        damage(&cache, &image.layers[0]);
    }
    let (code, said) = run(&cache, &["verify"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("blob {} registry.example/app", image.layers[0])), "{said}");
    assert_eq!(cache.get(&blob("app", &image.layers[0])).body, layers[0], "it is fetched again");
    assert_eq!(run(&cache, &["verify"]).0, Some(0));

    damage(&cache, &image.layers[1]);
    let cache = cache.kill_and_restart();
    assert_eq!(cache.get(&blob("app", &image.layers[1])).body, layers[1]);
}

#[test]
fn pruning_an_image_frees_what_only_it_needs() {
    let upstream = Upstream::start();
    let (shared, old, new) = (noise(100_000, 1), noise(500_000, 2), noise(500_000, 3));
    let first = upstream.image("app", "1", &[shared.clone(), old]);
    let second = upstream.image("app", "2", &[shared, new]);
    let cache = Cache::of("registry.example", &upstream.url());
    for (image, tag) in [(&first, "1"), (&second, "2")] {
        assert_eq!(cache.get(&manifest("app", tag)).status, 200);
        for digest in image.layers.iter().chain([&image.config]) {
            assert_eq!(cache.get(&blob("app", digest)).status, 200);
        }
    }
    eventually("all is stored", || cache.command(&["stats", "-o", "json"]).contains("\"blobs\": 5"));
    let (code, said) = run(&cache, &["prune", "registry.example/app:1", "--dry-run"]);
    assert_eq!((code, said.contains("1 tag, 3 blobs and manifests")), (Some(0), true), "{said}");
    let (code, said) = run(&cache, &["prune", "registry.example/app:1"]);
    assert_eq!((code, said.contains("1 tag, 3 blobs and manifests")), (Some(0), true), "{said}");
    upstream.forget();
    for digest in second.layers.iter().chain([&second.config]) {
        assert_eq!(cache.get(&blob("app", digest)).outcome(), (200, "HIT"));
    }
    assert_eq!(cache.get(&blob("app", &first.layers[1])).outcome(), (200, "MISS"));
    let (_, said) = run(&cache, &["prune", "registry.example/ap:9"]);
    assert!(said.contains("no image is stored that fits `registry.example/ap:9`"), "{said}");
    // What was pulled by its digest goes by it, and with it the tag that stands for the same.
    let third = upstream.image("app", "3", &[noise(1000, 4)]);
    for (image, digest) in [(&third, &third.digest), (&second, &second.digest)] {
        assert_eq!(cache.get(&manifest("app", digest)).status, 200);
        assert_eq!(cache.get(&blob("app", &image.layers[0])).status, 200);
    }
    let nothing = format!("registry.example/app@sha256:{}", "0".repeat(64));
    let (_, said) = run(&cache, &["prune", &nothing]);
    assert!(said.contains(&format!("no image is stored that fits `{nothing}`")), "{said}");
    let (_, said) = run(&cache, &["prune", &format!("registry.example/app:9@{}", third.digest)]);
    assert!(said.contains("removed 0 tags, 2 blobs and manifests"), "{said}");
    let (_, said) = run(&cache, &["prune", &format!("registry.example/app@{}", second.digest)]);
    assert!(said.starts_with("registry.example/app:2\n") && said.contains("removed 1 tag"), "{said}");
}

#[test]
fn users_may_ask_for_what_upstream_has_now() {
    let private = Private::new();
    let first = private.upstream.image("team/app", "1.2.3", &[noise(10, 1)]);
    let users = private.place.path("users");
    let cache = private.start().args(&["--htpasswd", users.to_str().unwrap()]).run();
    let ada = format!("Basic {}", base64("ada:s3cr3t-ada"));
    let path = "/v2/private.example/team/app/manifests/1.2.3";
    let get = |more: &[(&str, &str)]| {
        let mut headers = vec![("Authorization", ada.as_str())];
        headers.extend(more);
        cache.ask("GET", path, &headers).header("docker-content-digest").to_owned()
    };
    assert_eq!(get(&[]), first.digest);
    let second = private.upstream.image("team/app", "1.2.3", &[noise(10, 2)]);
    assert_eq!(get(&[]), first.digest, "a release is believed for a day");
    assert_eq!(get(&[("Cache-Control", "no-cache")]), second.digest);
    assert_eq!(get(&[]), second.digest);
}

/// A volume of Kubernetes: root owns it, and a pod's group may write to it.
#[test]
fn a_volume_of_root_is_used_by_a_folder_below_it() {
    const USER: u32 = 65532;
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    if std::os::unix::fs::chown(&volume, Some(0), Some(USER)).is_err() {
        return; // Only root can make one.
    }
    for (path, mode) in [(dir.path(), 0o755), (&volume, 0o2770)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // Where it stands now, the user may not get to it.
    let program = dir.path().join("talmirror-cache");
    std::fs::copy(env!("CARGO_BIN_EXE_talmirror-cache"), &program).unwrap();
    let serve = |root: &std::path::Path| {
        let mut command = std::process::Command::new(&program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--root", root.to_str().unwrap()]);
        command.uid(USER).gid(USER).env_clear().current_dir("/").stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let refused = serve(&volume).wait_with_output().unwrap();
    let (said, below) = (String::from_utf8_lossy(&refused.stderr), volume.join("store"));
    assert_eq!(refused.status.code(), Some(9), "{said}");
    assert!(said.contains(&format!("choose a folder below it, such as `{}`", below.display())), "{said}");
    let mut child = serve(&below);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("listening on ")));
    assert_eq!(std::fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_folder_of_others_is_narrowed_and_links_are_refused() {
    let upstream = Upstream::start();
    upstream.image("app", "1", &[]);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("open");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
    let cache = Start::new().upstream("registry.example", &upstream.url()).root(&root).run();
    assert_eq!(cache.get(&manifest("app", "1")).status, 200);
    assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(cache.log().contains("other users could write to this folder"), "{}", cache.log());
    drop(cache);
    for name in ["lock", "manifests"] {
        let root = dir.path().join(format!("linked-{name}"));
        std::fs::create_dir(&root).unwrap();
        let victim = dir.path().join(format!("victim-{name}"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, root.join(name)).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
            .args(["serve", "--listen", "127.0.0.1:0", "--root", root.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("is a link"), "{said}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
