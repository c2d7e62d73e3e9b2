//! `scan`: the images of files, of standard input, of a cluster and of nodes; and which of them a mirror covers.

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::fake_upstream::{Act, Upstream};
use crate::run::{Place, golden, repository};
use crate::sim::{Cluster, Options};

/// What `kubectl … | grep image:` printed where talmirror began.
fn origin() -> Vec<u8> {
    std::fs::read(repository("tests/data/scan/origin-images.txt")).unwrap()
}

fn origin_inventory() -> String {
    std::fs::read_to_string(repository("examples/origin/mirrors.yaml")).unwrap()
}

const CODES: [&str; 2] = ["docker.io", "ghcr.io"];

#[test]
fn the_origins_listing() {
    let place = Place::new();
    place.write("mirrors.yaml", origin_inventory());
    let scan = |line: &str| place.run(&format!("scan - {line}")).stdin(origin()).ends(1);
    golden("scan/origin.txt", &scan("").to_string());
    for format in ["json", "yaml", "name", "wide", "markdown"] {
        golden(&format!("scan/origin.{format}"), &scan(&format!("-o {format} --quiet")).stdout);
    }
    let images: Vec<Value> = serde_json::from_str(&scan("-o json").stdout).unwrap();
    assert_eq!(images.len(), 26, "27 lines, of which two name the same image");
    let lacking: Vec<&Value> = images.iter().filter(|image| image["covered"] == false).collect();
    let of = |registry: &str| lacking.iter().filter(|image| image["registry"] == registry).count();
    assert_eq!((of("quay.io"), of("k8s.gcr.io"), lacking.len()), (10, 1, 11));
    assert!(images.iter().filter(|image| image["covered"] == true).all(|image| image["mirror"] == "harbor"));
    assert!(CODES.iter().all(|registry| of(registry) == 0));
}

#[test]
fn what_lacks_a_mirror_is_put_into_the_inventory() {
    let place = Place::new();
    place.write("mirrors.yaml", origin_inventory());
    let ran = place.run("scan - --add -q").stdin(origin()).ends(1);
    assert!(ran.stderr.contains("k8s.gcr.io is not added: it moved"), "{ran}");
    let text = place.read("mirrors.yaml");
    let added =
        origin_inventory().replace("    registry.k8s.io: {}\n", "    registry.k8s.io: {}\n    quay.io: {}\n");
    assert_eq!(text, added, "every other byte stays, comments too");
    // Nothing lacks a mirror that could have one.
    let kept: Vec<u8> = origin()
        .split_inclusive(|b| *b == b'\n')
        .filter(|line| !line.starts_with(b"image: k8s.gcr"))
        .flatten()
        .copied()
        .collect();
    place.run("scan -").stdin(kept).ok();
}

#[test]
fn an_encrypted_inventory_takes_registries_too() {
    let place = Place::new();
    let key = age::x25519::Identity::generate();
    let rule =
        format!("creation_rules:\n    - encrypted_regex: ^(password)$\n      age: {}\n", key.to_public());
    place.write(".sops.yaml", rule).write(
        "mirrors.yaml",
        "mirror: https://h.example\ncredentials: {username: u, password: s3cr3t-x}\nregistries: [docker.io] # all\n",
    );
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    place.run("encrypt --in-place mirrors.yaml").env("SOPS_AGE_KEY", &secret).ok();
    let ran = place.run("scan - --add").env("SOPS_AGE_KEY", &secret).stdin("quay.io/a/b:1").ends(0);
    assert!(ran.stderr.contains("mirrors.yaml: added quay.io"), "{ran}");
    let plain = place.run("decrypt mirrors.yaml").env("SOPS_AGE_KEY", &secret).reveals().ok();
    assert!(plain.contains("quay.io"), "{plain}");
}

/// What the nodes have that are meant, and no other.
#[test]
fn nodes_of_a_role_or_a_name() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "apiVersion: talmirror/v1
kind: Inventory
mirrors: {m: {kind: cache, url: 'http://m.test:5000'}}
registries: [ghcr.io]
defaults: {via: [m]}
groups: {front: {nodes: [w-1, w-2], registries: {quay.io: {}}}}
nodes: {cp-1: {role: controlplane}, w-1: {role: worker}, w-2: {role: worker}, x: {}}
",
    );
    for (flags, code, said) in [
        ("", 1, "without a mirror"),
        ("--match ^w-", 0, "all of them have a mirror"),
        ("--group front", 0, "all of them have a mirror"),
        ("--group front --match 2$", 0, "all of them have a mirror"),
        ("--group front --match ^cp", 2, "no node's name fits `^cp`"),
        ("--role worker", 2, "the inventory does not say the role of `x`"),
        ("--role worker --match ^w", 0, "all of them have a mirror"),
        ("--role controlplane --match ^w", 2, "none of the nodes has the role controlplane"),
    ] {
        let ran = place.run(&format!("scan - {flags}")).stdin("quay.io/a/b:1\n").ends(code);
        assert!(ran.stderr.contains(said), "{flags}: {ran}");
    }
}

#[test]
fn without_an_inventory_images_are_listed() {
    let place = Place::new();
    for flags in ["--role worker", "--match x", "--group g"] {
        let ran = place.run(&format!("scan - {flags}")).stdin("nginx:1\n").ends(2);
        assert!(ran.stderr.contains("there is no inventory `mirrors.yaml`, and so no nodes"), "{ran}");
    }
    place.write("bare.yaml", "mirror: https://h.test\nkind: harbor\nregistries: [docker.io]\n");
    let ran = place.run("scan - -f bare.yaml --match x").stdin("nginx:1\n").ends(2);
    assert!(ran.stderr.contains("`bare.yaml` lists no nodes"), "{ran}");
    let ran = place.run("scan - -o json").stdin("nginx:1.27\n").ok();
    let want = json!([{
        "image": "docker.io/library/nginx:1.27", "registry": "docker.io", "users": ["standard input"],
        "mirror": null, "covered": false,
    }]);
    assert_eq!(serde_json::from_str::<Value>(&ran).unwrap(), want);
}

#[test]
fn folders_of_manifests_and_what_talos_pulls() {
    let place = Place::new();
    place
        .write("clusters/apps/web.yaml", "kind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {template: {spec: {containers: [{image: 'ghcr.io/a/web:2'}]}}}\n")
        .write("clusters/.git/config.yaml", "image: quay.io/not/this:1\n")
        .write("clusters/notes.txt", "quay.io/not/this:1\n")
        .write("clusters/broken.json", "{\"image\": \n")
        .write("clusters/chart/templates/d.yaml", "{{- if .x }}\n    image: quay.io/a/sidecar:1\n    image: {{ .Values.image }}\n");
    let ran = place.run("scan clusters -o name").ends(0);
    assert_eq!(ran.stdout, "ghcr.io/a/web:2\nquay.io/a/sidecar:1\n");
    assert!(ran.stderr.contains("`clusters/broken.json` is not valid JSON"), "{ran}");
    let talos = place.run("scan --talos-version v1.14.1 --schematic abc -o wide").ok();
    assert!(talos.contains("factory.talos.dev/metal-installer/abc:v1.14.1"), "{talos}");
    assert!(talos.contains("Talos v1.14.1 (kubelet)"), "{talos}");
}

#[test]
fn bad_input_is_told_by_what_is_wrong_with_it() {
    let place = Place::new();
    place.write("bad.yaml", "clusters: [\n").write("empty", "");
    for (line, stdin, code, want) in [
        (
            "scan -",
            "{\"kind\": \"Pod\", ",
            3,
            "`standard input` is not valid JSON: EOF while parsing a value at line 1 column 16",
        ),
        ("scan gone.yaml", "", 3, "cannot read `gone.yaml`"),
        ("scan", "", 3, "there is no kubeconfig: `"),
        ("scan --kubeconfig gone", "", 3, "cannot read `gone`"),
        ("scan --kubeconfig bad.yaml", "", 3, "`bad.yaml` is not a valid kubeconfig"),
        ("scan --kubeconfig empty", "", 3, "the kubeconfig names no current context"),
        ("scan --talos-version v1.2", "", 2, "the images of Talos v1.2 are not known"),
        ("scan --schematic abc", "", 2, "--talos-version"),
    ] {
        let ran = place.run(line).stdin(stdin).ends(code);
        assert!(ran.stderr.contains(want), "{line}\n{ran}");
    }
    let ran = place
        .run("scan -")
        .stdin("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: 'Not an image'}]}\n")
        .ends(1);
    assert!(ran.stderr.contains("Pod p: `Not an image` is not a valid image name: "), "{ran}");
    // What names no image at all is seldom meant.
    let ran = place.run("scan - -o json").stdin("").ends(1);
    assert_eq!(ran.stdout, "[]\n");
    assert!(ran.stderr.contains("warning: no image was found\n"), "{ran}");
    for line in ["scan - -", "scan - -f -"] {
        let ran = place.run(line).stdin("nginx:1\n").ends(2);
        assert!(ran.stderr.contains("standard input is named twice, and can be read once"), "{ran}");
    }
}

fn pod(name: &str, image: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"image": image}]}})
}

fn page(kind: &str, next: &str, items: &[Value]) -> Act {
    let list = json!({"kind": kind, "apiVersion": "v1", "metadata": {"continue": next}, "items": items});
    Act::Answer { status: 200, headers: vec![], body: list.to_string() }
}

fn status(code: u16, message: &str) -> Act {
    let body = json!({"kind": "Status", "message": message, "code": code}).to_string();
    Act::Answer { status: code, headers: vec![], body }
}

/// An API server with pods in two pages, a deployment, and nothing else.
pub fn api(server: &Upstream) {
    server.times(
        1,
        "/api/v1/pods",
        page("PodList", "two", &[pod("a", "nginx:1"), pod("b", "quay.io/a/b:1")]),
    );
    // Of the rules for a request the last counts: the first page once, then the second.
    server.always("/api/v1/pods", page("PodList", "", &[pod("c", "ghcr.io/c/d:3")]));
    server.times(
        1,
        "/api/v1/pods",
        page("PodList", "two", &[pod("a", "nginx:1"), pod("b", "quay.io/a/b:1")]),
    );
    let mut deployment = pod("web", "unused:1");
    deployment["spec"] = json!({"template": {"spec": {"containers": [{"image": "ghcr.io/a/web:2"}]}}});
    server.always("/apis/apps/v1/deployments", page("DeploymentList", "", &[deployment]));
    server.always("/apis/apps/v1/statefulsets", page("StatefulSetList", "", &[]));
    server.always("/apis/apps/v1/daemonsets", page("DaemonSetList", "", &[]));
    server.always("/apis/batch/v1/cronjobs", status(403, "cronjobs.batch is forbidden"));
    server.always("/apis/batch/v1/jobs", page("JobList", "", &[]));
    server.always("/api/v1/nodes", page("NodeList", "", &[]));
}

pub fn kubeconfig(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "current-context: c\nclusters: [{{name: k, cluster: {{server: '{server}'{cluster}}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

const FOUND: &str = "docker.io/library/nginx:1\nghcr.io/a/web:2\nghcr.io/c/d:3\nquay.io/a/b:1\n";

#[test]
fn a_cluster_is_read_page_by_page_with_what_an_exec_plugin_gives() {
    let server = Upstream::start();
    api(&server);
    let place = Place::new();
    let script = "printf '{\"status\":{\"token\":\"s3cr3t-token\"}}'";
    place.write("login", format!("#!/bin/sh\n{script}\n"));
    // The program is sh, found on PATH; the script lies where the command runs.
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [login]}";
    place.write(".kube/config", kubeconfig(&server.url(), "", exec));
    let ran = place.run("scan -o name").ends(0);
    assert_eq!(ran.stdout, FOUND);
    assert!(
        ran.stderr.contains("context `c` may not list cronjobs (403): cronjobs.batch is forbidden"),
        "{ran}"
    );
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some("Bearer s3cr3t-token")), "{seen:?}");
    assert_eq!(
        seen.iter()
            .filter(|seen| seen.path == "/api/v1/pods")
            .map(|seen| seen.query.as_str())
            .collect::<Vec<_>>(),
        ["limit=500", "limit=500&continue=two"]
    );
}

#[test]
fn a_clusters_own_authority_is_trusted_and_no_other() {
    let authority = Authority::new();
    let pair = authority.server("127.0.0.1");
    let server = Upstream::start_tls(&pair);
    api(&server);
    let place = Place::new();
    place.write("ca.crt", &authority.pem);
    place.write("config", kubeconfig(&server.url(), ", certificate-authority: ca.crt", "token: s3cr3t-x"));
    assert_eq!(place.run("scan -o name --kubeconfig config").ends(0).stdout, FOUND);
    place.write("config", kubeconfig(&server.url(), "", "token: s3cr3t-x"));
    let ran = place.run("scan --kubeconfig config").ends(5);
    assert!(ran.stderr.contains("cannot reach the API of context `c` at https://127.0.0.1:"), "{ran}");
    assert!(ran.stderr.contains("certificate"), "{ran}");
    server.heal();
    api(&server);
    place.write("config", kubeconfig(&server.url(), ", insecure-skip-tls-verify: true", "token: s3cr3t-x"));
    assert_eq!(place.run("scan -o name --kubeconfig config").ends(0).stdout, FOUND);
}

#[test]
fn a_cluster_that_refuses_says_so() {
    let server = Upstream::start();
    let place = Place::new();
    place.write("config", kubeconfig(&server.url(), "", "username: u, password: s3cr3t-x"));
    for (act, want) in [
        (status(401, "Unauthorized"), "does not accept the credentials of context `c` (401)"),
        (
            status(403, "pods is forbidden: User \"u\""),
            "context `c` may not list pods (403): pods is forbidden",
        ),
        (status(500, "etcd is away"), "answered 500 to a list of pods: etcd is away"),
        (Act::Answer { status: 200, headers: vec![], body: "{\"kind\":".to_owned() }, "cannot be read: EOF"),
        (Act::Close, "cannot reach the API of context `c`"),
    ] {
        server.heal();
        server.always("/api/v1/pods", act);
        let ran = place.run("scan --kubeconfig config").ends(5);
        assert!(ran.stderr.contains(want), "{want}\n{ran}");
    }
    drop(server);
    let ran = place.run("scan --kubeconfig config").ends(5);
    assert!(ran.stderr.contains("cannot reach the API"), "{ran}");
}

#[test]
fn what_a_kubeconfig_keeps_secret_is_not_shown() {
    let place = Place::new();
    place.write("config", kubeconfig("https://u:s3cr3t-pw@127.0.0.1:1", "", "token: s3cr3t-x"));
    let ran = place.run("scan --kubeconfig config").ends(5);
    assert!(ran.stderr.contains("cannot reach the API of context `c` at https://127.0.0.1:1/"), "{ran}");
    place.write("config", kubeconfig("ftp://u:s3cr3t-pw@h", "", "token: s3cr3t-x"));
    let ran = place.run("scan --kubeconfig config").ends(3);
    assert!(ran.stderr.contains("the server `ftp://h` is not a valid URL"), "{ran}");
    place.write("config", kubeconfig("https://h", "", "exec: s3cr3t-command"));
    let ran = place.run("scan --kubeconfig config").ends(3);
    assert!(ran.stderr.contains("invalid type: string, expected struct Exec"), "{ran}");
}

#[test]
fn a_list_that_does_not_end_is_given_up() {
    let server = Upstream::start();
    let place = Place::new();
    place.write("config", kubeconfig(&server.url(), "", "token: s3cr3t-x"));
    server.always("/api/v1/pods", page("PodList", "same", &[pod("a", "nginx:1")]));
    let ran = place.run("scan --kubeconfig config").ends(5);
    assert!(
        ran.stderr
            .contains("as a list of pods cannot be read: two pages name the same next one (`continue`)"),
        "{ran}"
    );
    server.heal();
    let body = format!("{{\"items\": []}}{}", " ".repeat(64 << 20));
    server.always("/api/v1/pods", Act::Answer { status: 200, headers: vec![], body });
    let ran = place.run("scan --kubeconfig config").ends(5);
    assert!(ran.stderr.contains("as a list of pods cannot be read: it is larger than 64 MiB"), "{ran}");
}

#[test]
fn a_plugin_does_not_read_what_is_piped_in() {
    let server = Upstream::start();
    api(&server);
    let place = Place::new();
    place.write("login", "read -r word && exit 9\nprintf '{\"status\":{\"token\":\"s3cr3t-token\"}}'\n");
    let exec = |mode: &str| format!("exec: {{command: sh, args: [login]{mode}}}");
    place.write(".kube/config", kubeconfig(&server.url(), "", &exec("")));
    assert_eq!(place.run("scan -o name").stdin("swallowed\n").ends(0).stdout, FOUND);
    place.write(".kube/config", kubeconfig(&server.url(), "", &exec(", interactiveMode: Always")));
    let ran = place.run("scan -o name").stdin("swallowed\n").ends(4);
    assert!(ran.stderr.contains("standard input is not a terminal"), "{ran}");
}

#[test]
fn what_nodes_have() {
    let cluster = Cluster::start(1, 1, &["v1.14.1"], Options::default()).unwrap();
    let give = |node: &str, instance: &'static str, image: &str| {
        let node = cluster.node(node);
        node.state().images.entry(instance).or_default().push((image.to_owned(), "sha256:0".to_owned()));
    };
    give("cp-1", "system", "ghcr.io/siderolabs/kubelet:v1.36.3");
    give("cp-1", "cri", "registry.k8s.io/pause:3.10");
    give("w-1", "cri", "registry.k8s.io/pause:3.10");
    give("w-1", "cri", "sha256:0123");
    give("w-1", "taloscontainers", "ghcr.io/own/vpn:2");
    let node = cluster.node("w-1");
    let documents = "---\napiVersion: v1alpha1\nkind: UnattendedInstallConfig\nimage: factory.talos.dev/metal-installer/abc:v1.14.1\n\
                     ---\napiVersion: v1alpha1\nkind: ContainerConfig\nname: vpn\nimage: ghcr.io/own/vpn:3\n";
    node.state().active.text.push_str(documents);
    let place = Place::new();
    place.write("talosconfig", cluster.talosconfig()).write("mirrors.yaml", cluster.inventory());
    let images: Vec<Value> =
        serde_json::from_str(&place.run("scan --talosconfig talosconfig --nodes -o json").ran().stdout)
            .unwrap();
    let line = |image: &Value| format!("{} {}", image["image"].as_str().unwrap(), image["users"]);
    assert_eq!(
        images.iter().map(line).collect::<Vec<_>>(),
        [
            "factory.talos.dev/metal-installer/abc:v1.14.1 [\"node w-1 (machine config)\"]",
            "ghcr.io/own/vpn:2 [\"node w-1\"]",
            "ghcr.io/own/vpn:3 [\"node w-1 (machine config)\"]",
            "ghcr.io/siderolabs/kubelet:v1.34.1 [\"node cp-1 (machine config)\",\"node w-1 (machine config)\"]",
            "ghcr.io/siderolabs/kubelet:v1.36.3 [\"node cp-1\"]",
            "registry.k8s.io/pause:3.10 [\"node cp-1\",\"node w-1\"]",
        ]
    );
}
