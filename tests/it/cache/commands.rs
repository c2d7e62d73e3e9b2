//! The commands of talmirror-cache beside `serve`.

use std::process::{Command, Output};

use crate::fake_upstream::{Act, Auth, Upstream};
use crate::run::Place;

fn run(place: &Place, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
        .args(args)
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .output()
        .unwrap();
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    let text = String::from_utf8_lossy(&all);
    assert!(!text.contains(crate::run::SECRET) && !text.contains("panicked"), "{text}");
    output
}

fn ok(place: &Place, args: &[&str]) -> String {
    let output = run(place, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(place: &Place, args: &[&str], code: i32) -> String {
    let output = run(place, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn check_says_what_fails_and_why() {
    let (good, locked, place) = (Upstream::start(), Upstream::start(), Place::new());
    locked.auth(Auth::Basic("u".into(), "s3cr3t-right".into()));
    place.write("up.json", r#"{"auths":{"b.example":{"username":"u","password":"s3cr3t-wrong"}}}"#);
    let (a, b) = (format!("a.example={}", good.url()), format!("b.example={}", locked.url()));
    let all = ["check", "--upstream", &a, "--upstream", &b, "--credentials", "b.example=up.json"];
    let output = run(&place, &all);
    assert_eq!(output.status.code(), Some(5));
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("REGISTRY") && rows[1].ends_with("ok"), "{table}");
    assert!(rows[2].starts_with("b.example") && rows[2].contains("401"), "{table}");
    let json = run(&place, &[all.as_slice(), &["-o", "json"]].concat()).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        (&json["ok"], &json["items"][0]["ok"], &json["items"][1]["ok"]),
        (&false.into(), &true.into(), &false.into())
    );
    place.write("up.json", r#"{"auths":{"b.example":{"username":"u","password":"s3cr3t-right"}}}"#);
    assert!(ok(&place, &all).lines().skip(1).all(|row| row.ends_with("ok")));
}

#[test]
fn check_is_not_fooled_by_a_web_page() {
    let (page, place) = (Upstream::start(), Place::new());
    page.always("/v2/", Act::Without("Content-Type"));
    page.always("/v2/", Act::With("Content-Type", "text/html; charset=utf-8".to_owned()));
    let output = run(&place, &["check", "--upstream", &format!("a.example={}", page.url())]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stdout).contains("a web page"));
    // Whatever it says that it is.
    for (media_type, body) in [
        ("text/plain", "\n<!doctype html>"),
        ("", "<html>"),
        ("application/xhtml+xml", "<?xml version='1.0'?>"),
    ] {
        let headers = vec![("Content-Type".to_owned(), media_type.to_owned())];
        let portal = Upstream::start();
        portal.always("/v2/", Act::Answer { status: 200, headers, body: body.to_owned() });
        let output = run(&place, &["check", "--upstream", &format!("a.example={}", portal.url())]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.code() == Some(5) && said.contains("a web page"), "{media_type}: {said}");
    }
    for body in ["", "{}", "true", "[]"] {
        let bare = Upstream::start();
        let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
        bare.always("/v2/", Act::Answer { status: 200, headers, body: body.to_owned() });
        ok(&place, &["check", "--upstream", &format!("a.example={}", bare.url())]);
    }
    // A registry of static files says that it is one.
    page.always("/v2/", Act::With("Docker-Distribution-API-Version", "registry/2.0".to_owned()));
    ok(&place, &["check", "--upstream", &format!("a.example={}", page.url())]);
}

#[test]
fn check_tells_a_registry_that_redirects_what_to_configure() {
    let (front, real, place) = (Upstream::start(), Upstream::start(), Place::new());
    front.always("/v2/", Act::Redirect(format!("{}/v2/", real.url())));
    let args = ["check", "--upstream", &format!("a.example={}", front.url())];
    let output = run(&place, &args);
    let story = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{story}");
    assert!(story.contains(&format!("`url: {}`", real.url())), "{story}");
    // Credentials are for the registry that is configured, and so of no use.
    place.write("up.json", r#"{"auths":{"a.example":{"username":"u","password":"s3cr3t-p"}}}"#);
    let output = run(&place, &[&args[..], &["--credentials", "a.example=up.json", "-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(5));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["items"][0]["leadsTo"], real.url());
    assert!(json["items"][0]["error"].as_str().unwrap().contains("is not given the credentials"));
    assert!(json["items"][0]["help"].as_str().unwrap().contains("--upstream a.example="));
}

#[test]
fn mirror_config_points_at_the_cache() {
    let place = Place::new();
    let base = ["mirror-config", "--upstream", "docker.io=https://registry-1.docker.io", "--url"];
    let all = ok(&place, &[base.as_slice(), &["http://10.0.0.5:5000"]].concat());
    for part in [
        "# Talos: talosctl patch mc -p @FILE\nmachine:\n    registries:\n        $patch: delete\n",
        "- http://10.0.0.5:5000/v2/docker.io",
        "# /etc/containerd/certs.d/docker.io/hosts.toml",
        "[host.'http://10.0.0.5:5000/v2/docker.io']",
        "[[registry.mirror]]\nlocation = \"10.0.0.5:5000/docker.io\"\ninsecure = true",
    ] {
        assert!(all.contains(part), "no {part} in\n{all}");
    }
    let json = ok(&place, &[base.as_slice(), &["https://cache.example", "-o", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["talos"][1]["machine"]["registries"]["mirrors"]["docker.io"]["endpoints"][0],
        "https://cache.example/v2/docker.io"
    );
    assert_eq!(json["containerd"][0]["path"], "/etc/containerd/certs.d/docker.io/hosts.toml");
    assert!(fails(&place, &["mirror-config", "--listen", ":5000"], 2).contains("--url http://HOST:PORT"));
    assert!(ok(&place, &["mirror-config", "podman"]).contains("location = \"127.0.0.1:5000/ghcr.io\""));
}

/// Of the same registries the two programs print the same patch, whatever the version.
#[test]
fn mirror_config_is_what_generate_gives() {
    let place = Place::new();
    let base = ["mirror-config", "talos", "--upstream", "docker.io=https://registry-1.docker.io"];
    for (url, fallback) in [("http://10.0.0.5:5000", "upstream"), ("https://cache.example", "never")] {
        // Its name in the path, as clients of every kind say it.
        let mirror = format!("{{kind: path, url: '{url}', path: 'v2/{{registry}}'}}");
        let inventory = format!(
            "mirrors: {{m: {mirror}}}\nregistries: [docker.io]\ndefaults: {{via: [m], fallback: {fallback}}}\n"
        );
        place.write("mirrors.yaml", inventory);
        for version in ["", "v1.8", "v1.11", "v1.13.2", "v1.14.1"] {
            let of_version = if version.is_empty() { vec![] } else { vec!["--talos-version", version] };
            let mine =
                ok(&place, &[&base[..], &["--url", url, "--fallback", fallback], &of_version[..]].concat());
            if (version, fallback) == ("v1.8", "never") {
                // There is no such setting there, and an inventory with it is refused.
                continue;
            }
            let args = [&["generate", "-q"][..], &of_version[..]].concat();
            assert_eq!(place.args(&args).ok(), mine, "{url} {version}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let place = Place::new();
    place.write("cache.yaml", "apiVersion: talmirror/v1\nkind: Cache\nsizecap: 1\n");
    let text = fails(&place, &["serve", "--config", "cache.yaml"], 3);
    assert!(text.contains("error[E101]") && text.contains("cache.yaml:3:1"), "{text}");
    assert!(text.contains("did you mean `sizeCap`?"), "{text}");
    for (args, want) in [
        (&["serve", "--upstream", "*=https://h"][..], "name each registry"),
        (&["serve", "--upstream", "docker.io=https://u:p@h"], "a URL holds no credentials"),
        (&["serve", "--credentials", "ghrc.io=f"], "did you mean `ghcr.io`?"),
        (&["serve", "--size-cap", "big"], "not a valid size"),
        (&["prune"], "required"),
        (&["prune", "docker.io/library/x@sha256:00"], "or be NAME@DIGEST"),
        (&["gc", "--bucket", "s3://x"], "3 to 255 letters"),
        (&["prune", "--all"], "there is no terminal to ask on; nothing was removed"),
    ] {
        let text = fails(&place, args, 2);
        assert!(text.contains(want), "{args:?}: {text}");
    }
    // A name that was mistyped makes no folder.
    for args in [&["ls", "--root", "none"][..], &["upload", "--root", "none", "--bucket", "s3://images"]] {
        assert!(fails(&place, args, 3).contains("there is no cache in `none`"), "{args:?}");
        assert!(!place.path("none").exists());
    }
    assert!(fails(&place, &["serve", "--config", "none.yaml"], 3).contains("cannot read `none.yaml`"));
    let text = fails(&place, &["serve", "--listen", "192.0.2.1:5000"], 5);
    assert!(text.contains("cannot listen on 192.0.2.1:5000"), "{text}");
}

#[test]
fn every_flag_has_an_environment_variable() {
    let place = Place::new();
    for command in ["serve", "check", "ls", "prune", "stats", "mirror-config"] {
        let help = ok(&place, &[command, "--help"]);
        assert!(help.contains("Examples:"), "{command} has no examples");
        let flags = help.split("Options:").nth(1).unwrap();
        for flag in flags.split("\n  -").skip(1).flat_map(|part| part.split("\n      --")) {
            assert!(
                flag.contains("[env: TALMIRROR_CACHE_") || flag.contains("help") || flag.contains("version"),
                "{command}: {flag}"
            );
        }
    }
    assert!(ok(&place, &["completion", "bash"]).contains("talmirror-cache"));
    assert!(ok(&place, &["man"]).contains(".TH talmirror-cache 1"));
}

#[test]
fn the_example_is_good() {
    let place = Place::new();
    let example = crate::run::repository("examples/cache/cache.yaml");
    ok(&place, &["mirror-config", "--config", example.to_str().unwrap(), "--url", "https://cache.example"]);
}
