//! `verify` where a Harbor is in the way: it gives a token to whoever asks, whatever the secret is.

use serde_json::{Value, json};

use super::{ORIGIN, ROBOT, ran, run};
use crate::fake_harbor::{Harbor, Upstream, Version};
use crate::run::Ran;

const INVENTORY: &str = "\
apiVersion: talmirror/v1
kind: Inventory
cluster: kronform
mirrors: {harbor: {kind: harbor, url: URL}}
registries: [docker.io]
defaults: {via: [harbor], fallback: never}
verify: {images: ['docker.io/library/bb:1']}
";

/// Puts an image into every registry behind the Harbor.
fn serve(harbor: &Harbor) {
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
            .to_string();
    let layer = "a layer, as far as anyone asks".to_owned();
    let digest = |text: &str| {
        talmirror::oci::digest_of(talmirror::image::Algorithm::Sha256, text.as_bytes()).to_string()
    };
    let part = |media_type: &str, text: &str| json!({"mediaType": media_type, "digest": digest(text), "size": text.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("application/vnd.oci.image.config.v1+json", &config),
        "layers": [part("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let artifact = json!({"digest": digest(&manifest.to_string()), "tags": [{"name": "1"}]});
    let mut state = harbor.state();
    state.blobs.extend([&config, &layer].map(|text| (digest(text), text.clone())));
    let upstreams: Vec<String> = state.registries.values().map(|registry| registry.url.clone()).collect();
    for url in upstreams {
        let behind = Upstream { manifest: manifest.clone(), artifact: artifact.clone() };
        state.upstreams.insert((url, "library/bb:1".to_owned()), behind);
    }
}

/// The cause and the evidence of the one hop.
fn cause(ran: &Ran) -> (String, String) {
    let items: Vec<Value> =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    let [item] = items.as_slice() else { panic!("{ran}") };
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
    (text("cause"), text("evidence"))
}

#[test]
fn a_wrong_secret_is_seen_on_a_public_project_too() {
    for version in [Version::V2_15_2, Version::V2_12_4, Version::V2_9_5] {
        let harbor = Harbor::new(version);
        let place = super::place(&harbor, INVENTORY);
        ran(&harbor, &place, "apply --yes", 0);
        serve(&harbor);
        let verify = |code: i32| {
            let line = "verify -o json --timeout 5s";
            cause(&place.run(line).env("SOPS_AGE_KEY_FILE", "keys.txt").ends(code))
        };
        let make = |public: &str| {
            let mut state = harbor.state();
            let project = state.projects.values_mut().find(|project| project.name == "docker.io").unwrap();
            project.metadata.insert("public".to_owned(), public.to_owned());
        };
        for public in ["false", "true"] {
            make(public);
            assert_eq!(verify(0), (String::new(), String::new()), "{public}");
        }
        // Set anew by another hand.
        let short = ROBOT.strip_prefix("robot$").unwrap();
        harbor.state().robots.values_mut().find(|robot| robot.name == short).unwrap().secret =
            "Other1Other1".to_owned();
        make("false");
        let (code, evidence) = verify(1);
        assert_eq!(code, "V307", "{evidence}");
        make("true");
        let (code, evidence) = verify(1);
        assert_eq!(code, "V307", "{evidence}");
        assert!(evidence.starts_with("Harbor rejects the username and password at /v2/ (401)"), "{evidence}");
        // What mends it.
        drop(run(&place, "rotate-robot --yes").ends(0));
        assert_eq!(verify(0), (String::new(), String::new()));
    }
}

/// The origin's seven upstreams: made in one command, and each of them serves.
#[test]
fn the_origins_registries_serve_through_it() {
    let names =
        ["docker.io", "ghcr.io", "gcr.io", "quay.io", "registry.k8s.io", "k8s.gcr.io", "public.ecr.aws"];
    let images: Vec<String> = names.iter().map(|name| format!("{name}/library/bb:1")).collect();
    let harbor = Harbor::new(Version::V2_15_2);
    let more = format!("defaults: {{fallback: never}}\nverify: {{images: [{}]}}\n", images.join(", "));
    let place = super::place(&harbor, &(ORIGIN.to_owned() + &more));
    ran(&harbor, &place, "apply --yes", 0);
    serve(&harbor);
    let patch = place
        .run("generate --format strategic --allow-plaintext")
        .env("SOPS_AGE_KEY_FILE", "keys.txt")
        .reveals()
        .ok();
    for name in names {
        assert!(patch.contains(&format!("{}/v2/{name}", harbor.url())), "{patch}");
    }
    let ran = place.run("verify -o json --timeout 5s").env("SOPS_AGE_KEY_FILE", "keys.txt").ends(0);
    let items: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let served: Vec<&str> =
        items.iter().filter(|item| item["ok"] == true).filter_map(|item| item["image"].as_str()).collect();
    assert_eq!((items.len(), served.len()), (7, 7), "{ran}");
}

/// `why` asks a Harbor in the way, and shows what it says.
#[test]
fn what_harbor_says_of_a_pull() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = super::place(&harbor, INVENTORY);
    ran(&harbor, &place, "apply --yes", 0);
    serve(&harbor);
    let notes = |password: &str| {
        let run = place.run("why docker.io/library/bb:1 -o json --timeout 5s");
        let ran = run.env("SOPS_AGE_KEY_FILE", "keys.txt").env("HARBOR_PASSWORD", password).ran();
        super::no_secret(&harbor, &ran);
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, found["cause"].clone(), found["notes"].to_string())
    };
    let admin = crate::fake_harbor::ADMIN_PASSWORD;
    let (code, cause, said) = notes(admin);
    assert_eq!((code, &cause), (0, &Value::Null), "{said}");
    assert!(said.contains("harbor (Harbor): it has cached the image (sha256:"), "{said}");
    assert!(!said.contains("unhealthy"), "{said}");
    // What stands behind it is away, and the robot is switched off.
    let urls: Vec<String> = harbor.state().registries.values().map(|registry| registry.url.clone()).collect();
    harbor.state().dead.extend(urls);
    harbor.state().robots.values_mut().for_each(|robot| robot.disable = true);
    let (code, cause, said) = notes(admin);
    assert_eq!((code, &cause), (1, &Value::from("V307")), "{said}");
    assert!(said.contains("harbor (Harbor): its registry `") && said.contains("is unhealthy"), "{said}");
    assert!(said.contains("is disabled"), "{said}");
    // Without an account for its API nothing is asked, and that is said.
    let (_, _, said) = notes("");
    assert!(
        said.contains("not asked: set HARBOR_USERNAME and HARBOR_PASSWORD, or `mirrors.harbor.admin`"),
        "{said}"
    );
    let (_, _, said) = notes("wrong");
    assert!(said.contains("harbor (Harbor): not asked: "), "{said}");
}

/// The password of the environment is that of one Harbor, and where there are several it is shown to none.
#[test]
fn a_password_goes_to_the_harbor_that_it_is_for() {
    let (one, other) = (Harbor::new(Version::V2_15_2), Harbor::new(Version::V2_15_2));
    let inventory = |more: &str| {
        format!(
            "apiVersion: talmirror/v1
kind: Inventory
mirrors:
    one: {{kind: harbor, url: '{}'{more}}}
    other: {{kind: harbor, url: '{}'}}
registries: [docker.io]
defaults: {{via: [one, other], fallback: never}}
",
            one.url(),
            other.url()
        )
    };
    let place = crate::run::Place::new();
    let notes = |inventory: String, password: &str| {
        place.write("mirrors.yaml", inventory);
        let run = place.run("why docker.io/library/bb:1 -o json --timeout 5s");
        let ran = run
            .env("HARBOR_PASSWORD", password)
            .env("OF_ONE", crate::fake_harbor::ADMIN_PASSWORD)
            .env("TOKEN", "s3cr3t-token")
            .ends(1);
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        found["notes"].to_string()
    };
    let as_admin = |harbor: &Harbor| harbor.seen().iter().any(|seen| seen.user.as_deref() == Some("admin"));
    let said = notes(inventory(""), "s3cr3t-env");
    assert!(!as_admin(&one) && !as_admin(&other), "{said}");
    let refused = "(Harbor): not asked: several Harbors; give each an `admin`";
    assert!(said.contains(&format!("one {refused}")) && said.contains(&format!("other {refused}")), "{said}");
    assert!(notes(inventory(""), "").contains("not asked: set `mirrors.one.admin`"));
    // Its own account, whatever the nodes have.
    let admin = ", admin: {username: admin, passwordFrom: {env: OF_ONE}}";
    let token = ", credentials: {identityTokenFrom: {env: TOKEN}}";
    let said = notes(inventory(&format!("{admin}{token}")), "s3cr3t-env");
    assert!(as_admin(&one) && !as_admin(&other), "{said}");
    assert!(said.contains("one (Harbor): it has no project `docker.io`"), "{said}");
    // An account of the inventory counts before the environment's, which may be meant for another Harbor.
    let alone = inventory(admin).replace("[one, other]", "[one]");
    let alone: String = alone
        .lines()
        .filter(|line| !line.starts_with("    other:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let said = notes(alone, "s3cr3t-wrong");
    assert!(said.contains("one (Harbor): it has no project `docker.io`"), "{said}");
}

/// A way in which a Harbor is well or broken.
type Way = (&'static str, fn(&Harbor));

/// What `verify` says of a Harbor is what containerd makes of it, which asks without credentials here.
#[test]
#[ignore = "needs containerd's resolver: tests/interop/run verify"]
fn verdicts_are_containerds() {
    let ways: [Way; 5] = [
        ("a public project", |_| {}),
        ("a private one", |harbor| {
            let mut state = harbor.state();
            let projects = state.projects.values_mut();
            projects
                .for_each(|project| drop(project.metadata.insert("public".to_owned(), "false".to_owned())));
        }),
        ("no project", |harbor| harbor.state().projects.clear()),
        ("an image that upstream has not", |harbor| harbor.state().upstreams.clear()),
        ("layers that are gone", |harbor| harbor.state().blobs.clear()),
    ];
    let programs = std::env::var("TALMIRROR_CONTAINERD").expect("TALMIRROR_CONTAINERD");
    let mut pulls = 0;
    for program in programs.split(':') {
        for (what, plant) in ways {
            let harbor = Harbor::new(Version::V2_15_2);
            let place = super::place(&harbor, INVENTORY);
            ran(&harbor, &place, "apply --yes", 0);
            serve(&harbor);
            for project in harbor.state().projects.values_mut() {
                project.metadata.insert("public".to_owned(), "true".to_owned());
            }
            plant(&harbor);
            place.write("mirrors.yaml", INVENTORY.replace("URL", &harbor.url()));
            let hosts = format!(
                "server = 'http://127.0.0.1:1'\n[host.'{}/v2/docker.io']\ncapabilities = ['pull', 'resolve']\noverride_path = true\n",
                harbor.url()
            );
            place.write("hosts/docker.io/hosts.toml", hosts).write("store/x", "");
            let pull = std::process::Command::new(program)
                .args(["--store", place.path("store").to_str().unwrap()])
                .args(["--hosts", place.path("hosts").to_str().unwrap(), "docker.io/library/bb:1"])
                .output()
                .unwrap();
            let pulled = pull.status.success();
            let ran = place.run("verify -o json --timeout 5s").ran();
            let said = String::from_utf8_lossy(&pull.stdout);
            assert_eq!(ran.code == 0, pulled, "{program}: {what}: {said}\n{ran}");
            pulls += usize::from(pulled);
        }
    }
    assert_eq!(pulls, programs.split(':').count(), "what is well is pulled, and nothing else");
}
