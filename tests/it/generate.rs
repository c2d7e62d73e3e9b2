use crate::run::{Place, golden};

/// The origin's mirror block, 28 lines by hand, in twelve lines.
const ORIGIN: &str = "\
mirror: https://registry.origin.example
kind: harbor
registries: [docker.io, gcr.io, ghcr.io, registry.k8s.io]
";

#[test]
fn the_origins_block_comes_from_twelve_lines_in_every_form() {
    assert!(ORIGIN.lines().count() <= 12);
    let place = Place::new();
    place.write("mirrors.yaml", ORIGIN);
    for (name, line) in [
        ("origin.json-patch.yaml", "generate --format json-patch --talos-version v1.11.6"),
        ("origin.strategic.yaml", "generate --format strategic --talos-version v1.13"),
        ("origin.documents.yaml", "generate --format documents --talos-version v1.14"),
        ("origin.json-patch.json", "generate --format json-patch --talos-version v1.11.6 -o json"),
        // Before 1.9 Talos' own pulls have no fallback: the upstream is listed.
        ("origin.v1.8.yaml", "generate --format strategic --talos-version v1.8"),
    ] {
        golden(name, &place.run(line).ok());
    }
}

/// Every kind of mirror, credential and TLS setting at once.
const EVERYTHING: &str = "\
apiVersion: talmirror/v1
kind: Inventory
mirrors:
    harbor:
        kind: harbor
        url: https://harbor.example:8443/
        project: proxy-{registry_dashed}
        projects: {docker.io: hub}
        credentials: {username: 'robot$proxy', password: s3cr3t-harbor}
        tls: {caFile: ca.crt}
    zot: {kind: path, url: 'https://zot.example', path: '/v2/{registry}'}
    hub: {kind: plain, url: 'https://hub.example:5001', serves: [docker.io]}
    rack: {kind: cache, url: 'http://10.0.1.5:5000'}
    gar: {kind: raw, url: https://mirror.gcr.io, serves: [docker.io]}
    art: {kind: raw, url: 'https://art.example/v2/docker', overridePath: true, credentials: {identityToken: s3cr3t-art}}
registries:
    docker.io:
        via: [harbor, zot, upstream, hub, gar]
        upstream: {credentials: {auth: dTpzM2NyM3QtaHVi}}
    ghcr.io: {fallback: never}
    quay.io: {via: [zot, art]}
    plain.example:5000: {upstream: {url: 'http://plain.example:5000'}}
    private.example: {via: [], upstream: {credentials: {username: u, password: s3cr3t-private}}}
    '*': {via: [rack]}
defaults: {via: [harbor]}
groups:
    edge: {nodes: [n2], registries: {docker.io: {via: [rack]}}}
nodes:
    n1: {address: 10.0.0.1, role: controlplane}
    n2: {address: 10.0.0.2, role: worker, registries: {quay.io: null}}
";

fn everything() -> Place {
    let place = Place::new();
    let ca = std::fs::read_to_string(crate::run::repository("examples/sites/ca.crt")).unwrap();
    place.write("mirrors.yaml", EVERYTHING).write("ca.crt", ca);
    place
}

#[test]
fn every_kind_in_every_form() {
    let place = everything();
    for version in ["v1.8", "v1.9", "v1.12.1", "v1.13", "v1.14"] {
        for format in ["json-patch", "strategic", "documents"] {
            let ran = place
                .run(&format!("generate --node n1 --format {format} --talos-version {version}"))
                .reveals()
                .ran();
            golden(&format!("everything/{version}.{format}.txt"), &ran.to_string());
        }
    }
}

#[test]
fn nodes_get_their_own() {
    let place = everything();
    golden("everything/n2.yaml", &place.run("generate --node n2 --talos-version v1.14").reveals().ok());
    let ran = place.run("generate --talos-version v1.14").reveals().ran();
    assert!(ran.stderr.contains("the settings of groups.edge, nodes.n2 are not in this patch"), "{ran}");
    // The patch of nothing would take away what a node has.
    let only = Place::new();
    let group = "mirrors:\n  a: {kind: cache, url: https://a.example}\ngroups:\n  cp: {role: controlplane, registries: {quay.io: {via: [a]}}}\n";
    only.write("mirrors.yaml", group);
    let ran = only.run("generate --talos-version v1.13").ends(2);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("of a group or a node (groups.cp)"), "{ran}");
    let ran = place.run("generate --node n3").ends(2);
    assert!(ran.stderr.contains("did you mean `n2`?") || ran.stderr.contains("did you mean `n1`?"), "{ran}");
}

#[test]
fn output_is_deterministic() {
    let place = everything();
    let once = place.run("generate --node n1").reveals().ok();
    assert_eq!(once, place.run("generate --node n1").reveals().ok());
}

/// What goes to itself must not fall to `*`, and what leads to one place is listed once.
#[test]
fn a_registry_beside_the_wildcard_goes_to_itself() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "mirrors: {c: {kind: cache, url: 'http://c:5000'}}\nregistries: {'*': {via: [c]}, quay.io: {via: []}}\n",
    );
    let out = place.run("generate --format documents --talos-version v1.14").ok();
    assert!(out.contains("name: quay.io\nendpoints:\n    - url: https://quay.io\n"), "{out}");
    let out = place.run("explain quay.io/a/b").ok();
    assert!(out.contains("HEAD https://quay.io/v2/a/b/") && !out.contains("c:5000"), "{out}");
    place.write(
        "mirrors.yaml",
        "mirrors:\n    h: {kind: harbor, url: 'https://h.example'}\n    a: {kind: plain, url: 'https://z.example'}\n    b: {kind: raw, url: 'https://z.example/v2'}\nregistries: {quay.io: {via: [h, a, b]}}\n",
    );
    let out = place.run("generate --format strategic").ok();
    assert_eq!(out.matches("z.example").count(), 1, "{out}");
}

#[test]
fn nodes_of_another_version_get_files_of_their_own() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "mirror: https://h.example\nregistries: [ghcr.io]\ntalos: {version: v1.14}\nnodes: {n1: {version: v1.11}, n2: {}}\n",
    );
    place.run("generate --output-dir out").ok();
    assert!(place.read("out/n1/mirrors.yaml").starts_with("- op: add"));
    assert!(place.read("out/n2/mirrors.yaml").contains("kind: RegistryMirrorConfig"));
    place.run("generate --output-dir one --talos-version v1.13").ok();
    assert!(place.path("one/mirrors.yaml").exists());
    place
        .run("generate")
        .env("TALMIRROR_NODES", "")
        .env("TALMIRROR_ENCRYPT", "")
        .env("TALMIRROR_QUIET", "1")
        .ok();
}

#[test]
fn the_inventory_may_name_the_directory() {
    let place = Place::new();
    place.write(
        "talos/mirrors.yaml",
        "mirror: https://h.example\nregistries: [ghcr.io]\noutput: {dir: out, layout: single}\n",
    );
    place.run("generate -f talos/mirrors.yaml --layout single").ok();
    assert!(place.path("talos/out/mirrors.yaml").exists());
    place.run("generate -f talos/mirrors.yaml --check").ok();
    assert!(place.run("generate -f talos/mirrors.yaml").ok().contains("https://h.example"));
    place.write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n");
    let ran = place.run("generate --check").ends(2);
    assert!(ran.stderr.contains("name a directory with --output-dir"), "{ran}");
}

const NODES: &str = "\
mirror: https://m.example
kind: harbor
registries: [docker.io]
groups: {edge: {nodes: [w1], registries: {docker.io: {fallback: never}}}}
nodes:
    cp1: {address: 10.0.0.1, role: controlplane}
    w1: {address: 10.0.0.2, role: worker}
    w2: {address: 10.0.0.3, role: worker}
    w3: {address: 10.0.0.4, role: worker}
";

/// Nodes are chosen as everywhere: by name or address, group, role and pattern.
#[test]
fn nodes_are_chosen_by_name_group_role_and_pattern() {
    let place = Place::new();
    place.write("mirrors.yaml", NODES);
    let one = place.run("generate --nodes w2 --talos-version v1.13").ok();
    for same in ["--node w2", "-n 10.0.0.3", "-n w2,w3,10.0.0.4", "--role worker --match [23]$"] {
        assert_eq!(place.run(&format!("generate {same} --talos-version v1.13")).ok(), one, "{same}");
    }
    let named = place.run("generate -n w1 --talos-version v1.13").ok();
    assert_eq!(place.run("generate -g edge --match ^w --talos-version v1.13").ok(), named);
    for (line, said) in [
        ("generate --role worker", "w1, w2, w3 do not get the same patch"),
        ("generate -n w1,w9", "has no node `w9`"),
        ("generate -n cp1 --role worker", "none of the nodes has the role worker"),
        ("generate --match ^zzz", "no node's name fits `^zzz`"),
        ("generate --role worker --layout single --output-dir out", "--layout single has none"),
        ("explain docker.io --match ^zzz", "no node's name fits `^zzz`"),
        ("explain docker.io -g nope", "has no group `nope`"),
    ] {
        let ran = place.run(line).ends(2);
        assert!(ran.stderr.contains(said), "{line}: {ran}");
    }
    // Files of the nodes that are chosen; those of the others are left alone, and not told as stale.
    place.run("generate --all --output-dir out").ok();
    let ran = place.run("generate --role worker --output-dir out --check").ends(0);
    assert!(!ran.to_string().contains("cp1"), "{ran}");
    place.run("generate --role worker --output-dir some").ok();
    assert!(place.path("some/w1/mirrors.yaml").exists() && !place.path("some/cp1").exists());

    let told = place.run("explain docker.io --role worker").ok();
    assert!(["NODE  w1 ", "NODE  w2 ", "NODE  w3 "].iter().all(|node| told.contains(node)), "{told}");
    let list = place.run("explain --match ^w -o json").ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["items"][2]["node"], "w3", "{list}");

    // A machine config is its own node's.
    let config = |name: &str| format!("machine:\n    type: worker\n    network:\n        hostname: {name}\n");
    place.write("w1.yaml", config("w1"));
    let named = place.run("machineconfig patch w1.yaml -n w1 --format legacy").ok();
    assert_eq!(place.run("machineconfig patch w1.yaml --role worker --format legacy").ok(), named);
    let ran = place.run("machineconfig patch w1.yaml --match ^w[23] --format legacy").ends(2);
    assert!(ran.stderr.contains("one machine config is one node's, and w2, w3 are meant"), "{ran}");
}
