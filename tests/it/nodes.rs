//! `nodes` and the live `diff`, against an API of our own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use tonic::Code;

use crate::run::{Place, repository};
use crate::sim::{State, Step, Text};
use crate::talos::{Api, Place as Cluster, refuses, worker};

const INVENTORY: &str = "\
mirrors:
    harbor: {kind: harbor, url: https://harbor.example, credentials: {username: 'robot$p', password: s3cr3t-new}}
registries: {docker.io: {}, ghcr.io: {}}
defaults: {via: [harbor]}
nodes: {n1: {address: 10.0.0.1}, n2: {address: 10.0.0.2}, n3: {address: 10.0.0.3}, n4: {address: 10.0.0.4}}
groups: {edge: {nodes: [n3]}}
";

/// A config whose registries have a password, and Docker Hub behind a URL.
fn config(password: &str, url: &str) -> String {
    format!(
        "version: v1alpha1\nmachine:\n    registries:\n        mirrors:\n            docker.io:\n                \
         endpoints: ['{url}']\n                overridePath: true\n            ghcr.io:\n                endpoints: \
         ['https://harbor.example/v2/ghcr.io']\n                overridePath: true\n        config:\n            \
         harbor.example:\n                auth: {{username: robot$p, password: {password}}}\n"
    )
}

const HUB: &str = "https://harbor.example/v2/docker.io";

fn start(cluster: &Cluster) -> (Place, Api) {
    let node =
        |version: &str, password: &str, url: &str| State::new(version, "worker", &config(password, url));
    let mut staged = node("v1.11.6", "s3cr3t-old", "https://docker.io/v2");
    staged.persistent = Some(Text::new(&config("s3cr3t-new", HUB)));
    let spegel = "[host.'http://10.0.0.2:30021']\n".to_owned();
    staged.files.insert("/etc/cri/conf.d/hosts/_default/hosts.toml".to_owned(), spegel);
    let api = cluster.start(&[
        ("10.0.0.1", State::new("v1.14.1", "controlplane", &config("s3cr3t-new", HUB))),
        ("10.0.0.2", staged),
        ("10.0.0.3", node("v1.13.9", "s3cr3t-old", "https://docker.io/v2")),
        ("10.0.0.4", node("v1.13.9", "s3cr3t-older", "https://docker.io/v2")),
    ]);
    let place = Place::new();
    place.write("mirrors.yaml", INVENTORY);
    place.write(".talos/config", cluster.authority.talosconfig(&[api.endpoint()], Some(&cluster.admin)));
    (place, api)
}

#[test]
fn nodes_are_shown() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    insta::assert_snapshot!(place.run("nodes").ends(0), @r"
    NODE   ADDRESS    VERSION   ROLE           STAGE     SCHEMA      PENDING   REBOOT   CACHE   HOSTS
    n1     10.0.0.1   v1.14.1   controlplane   running   documents   -         -        -       -
    n2     10.0.0.2   v1.11.6   worker         running   legacy      staged    -        -       1 foreign
    n3     10.0.0.3   v1.13.9   worker         running   documents   -         -        -       -
    n4     10.0.0.4   v1.13.9   worker         running   documents   -         -        -       -
    --- stderr
    warning: n2: another config waits for the next boot; against the one on disk, the one that runs has: ~ docker.io  endpoints[0]  https://harbor.example/v2/docker.io → https://docker.io/v2; ~ auth harbor.example  password  <redacted> → <redacted>
    help: a reboot brings it; a rollout would refuse the node
    warning: n2: Talos did not write http://10.0.0.2:30021
    help: does Spegel run there? It takes the place of mirrors, see `prependExisting`
    4 nodes
    --- exit 0
    ");
    api.0.remove("10.0.0.3");
    api.change("10.0.0.1", |node| {
        node.faults.push(refuses(Step::Read, Code::PermissionDenied, "not authorized"));
    });
    let ran = place.run("nodes -o json").ends(5);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["items"][1]["pending"], "staged");
    assert_eq!(json["items"][2]["reachable"], false);
    assert_eq!(json["items"][2]["error"]["reason"], "unreachable");
    assert!(ran.stderr.contains("warning: n3: 127.0.0.1:"), "{ran}");
}

#[test]
fn live_nodes_are_compared() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    insta::assert_snapshot!(place.run("diff").ends(1), @r"
    n1 controlplane v1.14.1 documents   no differences
    n2 worker v1.11.6 legacy   ~ 2 changed
      ~ docker.io  endpoints[0]  https://docker.io/v2 → https://harbor.example/v2/docker.io
      ~ auth harbor.example  password  <redacted> → <redacted>
      ! another config is staged for the next boot
      ! credentials reach pods' pulls only after a reboot
      ! Talos did not write http://10.0.0.2:30021 on the node
    n3 worker v1.13.9 documents   = same change as n2
      ! credentials reach pods' pulls only after a reboot
    n4 worker v1.13.9 documents   ~ 2 changed
      ~ docker.io  endpoints[0]  https://docker.io/v2 → https://harbor.example/v2/docker.io
      ~ auth harbor.example  password  <redacted> → <redacted>
      ! credentials reach pods' pulls only after a reboot
    --- stderr
    4 nodes: 3 to change, 1 unchanged
    --- exit 1
    ");
    insta::assert_snapshot!(place.run("diff --matrix -q").ends(1), @r"
    KIND     NAME             n1   n2   n3   n4
    mirror   docker.io        =    ≠1   ≠1   ≠1
    mirror   ghcr.io          =    =    =    =
    auth     harbor.example   =    ≠1   ≠1   ≠2
    --- stderr
    --- exit 1
    ");
    assert!(
        place
            .run("diff -o markdown -n n2,n3")
            .ends(1)
            .stdout
            .contains("n3 worker v1.13.9 documents   = same change as n2\n")
    );
    assert_eq!(
        place.run("diff -n n1").ends(0).stdout,
        "n1 controlplane v1.14.1 documents   no differences\n"
    );
    let group = place.run("diff -g edge -o json").ends(1);
    let json: serde_json::Value = serde_json::from_str(&group.stdout).unwrap();
    assert_eq!((json["items"].as_array().unwrap().len(), &json["items"][0]["name"]), (1, &"n3".into()));
    assert_eq!(json["matrix"][0]["nodes"]["n3"]["is"], "other");
    // By address it is the same node.
    assert!(place.run("diff -n 10.0.0.1").ok().starts_with("n1 controlplane"));
    // A node that the inventory does not know has the settings that every node starts from.
    api.0.add("10.0.0.9", "10.0.0.9", worker());
    let unknown = place.run("diff -n 10.0.0.9").ends(1);
    assert!(unknown.stdout.starts_with("10.0.0.9 worker v1.13.9 documents   + 3 added\n"), "{unknown}");
    assert!(unknown.stderr.contains("the inventory does not know this node"), "{unknown}");
    api.change("10.0.0.1", |node| {
        node.faults.push(refuses(Step::Config, Code::PermissionDenied, "not authorized"));
    });
    let denied = place.run("diff").ends(5);
    assert!(denied.stdout.starts_with("n1   unknown: MachineConfigs"), "{denied}");
}

#[test]
fn a_talosconfig_that_cannot_be_used_is_told_before_anything_is_dialled() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    let expired = cluster.authority.client("os:admin", 0, 1000);
    place.write("expired", cluster.authority.talosconfig(&[api.endpoint()], Some(&expired)));
    place.write("bare", cluster.authority.talosconfig(&[api.endpoint()], None));
    place.write("omni", "context: o\ncontexts: {o: {auth: {siderov1: {identity: me@example}}}}\n");
    let soon = cluster.authority.client("os:admin", 0, now() + 3600 * 30);
    place.write("soon", cluster.authority.talosconfig(&[api.endpoint()], Some(&soon)));
    let error = |args: &str, code| place.run(args).ends(code).stderr;
    insta::assert_snapshot!(error("nodes --talosconfig expired", 5), @r"
    error: context `c` cannot be used
      caused by: its client certificate expired on 1970-01-01 00:16 UTC
    help: make another with `talosctl config new` on a machine that still has access, or from the cluster's secrets with `talosctl gen config --with-secrets`
    ");
    insta::assert_snapshot!(error("nodes --talosconfig bare", 5), @r"
    error: context `c` cannot be used
      caused by: it has no client certificate
    help: is it the whole talosconfig? A context needs ca, crt and key
    ");
    insta::assert_snapshot!(error("nodes --talosconfig omni", 3), @r"
    error: cannot use the talosconfig `omni`
      caused by: context `o` signs in through Omni (siderov1, me@example)
    help: Omni owns the machine configs of its clusters and undoes changes made on nodes: put what `talmirror generate` prints into an Omni config patch
    ");
    insta::assert_snapshot!(error("nodes --context other --talosconfig soon", 3), @r"
    error: cannot use the talosconfig `soon`
      caused by: it has no context `other`
    help: name one with --context: c
    ");
    insta::assert_snapshot!(error("nodes -n a/b", 2), @r"
    error: `a/b` is not a valid address: use HOST, HOST:PORT or [IPV6]:PORT
    ");
    assert!(api.calls().is_empty());
    assert!(error("nodes -q --talosconfig soon", 0).contains("of context `c` expires in 29 hours"));
    let missing = place.run("nodes").env("TALOSCONFIG", "gone").ends(0);
    assert!(missing.stderr.contains("warning: TALOSCONFIG names `gone`, which does not exist"), "{missing}");
    place.write("mirrors.yaml", INVENTORY.split("nodes:").next().unwrap());
    insta::assert_snapshot!(error("nodes --talosconfig .talos/config", 2), @r"
    error: no node is named
    help: name some with -n, under `nodes` in the inventory, or in the context of `.talos/config`
    ");
}

#[test]
fn nodes_that_fail_alike_are_told_once() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    let down = api.endpoint();
    drop(api);
    let told = place.run("nodes").ends(5).stderr.replace(&down, "CP");
    insta::assert_snapshot!(told, @r"
    warning: n1, n2, n3, n4: cannot reach CP: Connection refused (os error 111)
    help: is it the right address, and does a firewall let port 50000 through?
    4 nodes, 4 unreachable
    ");
}

#[test]
fn many_nodes_are_asked_at_once() {
    let cluster = Cluster::new();
    let slow = State { delay: std::time::Duration::from_millis(20), ..worker() };
    let names: Vec<String> = (0..100).map(|number| format!("10.1.0.{number}")).collect();
    let nodes: Vec<(&str, State)> = names.iter().map(|name| (name.as_str(), slow.clone())).collect();
    let api = cluster.start(&nodes);
    let place = Place::new();
    place.write(".talos/config", cluster.authority.talosconfig(&[api.endpoint()], Some(&cluster.admin)));
    // How many nodes are asked for the first time before the first one is asked for the last time.
    let at_once = |concurrency: &str| {
        let before = api.calls().len();
        let nodes = names.join(",");
        let args = ["nodes", "-o", "json", "--concurrency", concurrency, "-n", &nodes];
        let json: serde_json::Value = serde_json::from_str(&place.args(&args).ok()).unwrap();
        let seen: Vec<&str> =
            json["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(seen, names, "in the order in which they were asked for");
        let calls = api.calls().split_off(before);
        let last = calls.iter().rposition(|node| node.as_ref() == Some(&names[0])).unwrap();
        calls[..last].iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    let (few, many) = (at_once("10"), at_once("100"));
    assert!((2..60).contains(&few) && many > few, "{few} {many}");
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_talosconfig_may_be_encrypted() {
    let cluster = Cluster::new();
    let (place, _api) = start(&cluster);
    place.write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap());
    let age = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
    std::fs::rename(place.path(".talos/config"), place.path("talosconfig.yaml")).unwrap();
    place.run(&format!("encrypt -i --age {age} talosconfig.yaml")).ok();
    assert!(place.read("talosconfig.yaml").contains("key: ENC["));
    let line = "nodes -q --talosconfig talosconfig.yaml --age-key-file keys.txt";
    assert!(place.run(line).ok().contains("v1.14.1"));
}

/// A proxy that notes whom it connects.
fn proxy() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let request = String::from_utf8(request).unwrap();
        let mut server = TcpStream::connect(request.split(' ').nth(1).unwrap()).unwrap();
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
        let _ = std::io::copy(&mut server, &mut client);
        request
    });
    (address, thread)
}

#[test]
fn a_context_may_have_a_proxy() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    let (address, thread) = proxy();
    let config = place.read(".talos/config");
    place.write(".talos/config", format!("{config}        proxy-url: http://u:p@{address}\n"));
    assert!(place.run("nodes -q -n n1").ok().contains("v1.14.1"));
    drop(api);
    let request = thread.join().unwrap();
    assert!(request.contains("Proxy-Authorization: Basic dTpw\r\n"), "{request}");
    place.write(".talos/config", format!("{config}        proxy-url: socks5://{address}\n"));
    assert!(place.run("nodes").ends(2).stderr.contains("only http is used"));
}
