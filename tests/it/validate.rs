use crate::run::Place;

#[test]
fn every_finding_is_told_at_once_with_its_place() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "\
mirrors:
    harbor: {kind: harbor, url: 'https://h.example/v2/docker.io', credentials: {username: u}}
    gar: {kind: raw, url: https://docker.io/v2, overidePath: true}
    plain: {kind: plain, url: 'http://p:5000', tls: {insecureSkipVerify: true}}
registries:
    docker.io: {via: [habor]}
    https://quay.io: {}
    ghcr.io: {via: [], fallback: never}
    registry-1.docker.io: {via: [plain]}
    '*': {via: [harbor], fallback: never}
",
    );
    let ran = place.run("validate").ends(1);
    insta::assert_snapshot!(ran.to_string(), @"");
}

#[test]
fn json_and_annotations() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: http://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, passwordFrom: {env: X}}\n");
    insta::assert_snapshot!(place.run("validate -o json").ok(), @"");
    insta::assert_snapshot!(place.run("validate -o github --deny warnings").ends(1).stdout, @"");
    place.write("mirrors.yaml", "mirror: http://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, passwordFrom: {env: X}}\nlint: {allow: [W204]}\n");
    insta::assert_snapshot!(place.run("validate --deny warnings").ok(), @"");
}

#[test]
fn groups_and_nodes_are_checked_too() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "\
mirrors:
    a: {kind: cache, url: 'https://a.example'}
    b: {kind: cache, url: 'https://b.example', inCluster: true}
registries: {ghcr.io: {via: [a]}}
groups:
    x: {nodes: [n1, n9], registries: {ghcr.io: {via: [b], fallback: never}}}
    y: {role: worker, registries: {ghcr.io: {via: [a]}}}
nodes:
    n1: {address: 10.0.0.1, role: worker}
    n2: {address: 10.0.0.1}
rollout: {canary: [n3], tryTimeout: 30s}
verify: {images: [alpine, quay.io/x/y], timeout: 1m}
",
    );
    let ran = place.run("validate").ends(1);
    insta::assert_snapshot!(ran.to_string(), @"");
}
