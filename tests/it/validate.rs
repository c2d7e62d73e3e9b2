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
    insta::assert_snapshot!(ran.to_string(), @r#"
    --- stderr
    error[E103]: `https://h.example/v2/docker.io` holds the path `/v2/docker.io`, and for kind harbor the path is derived
      --> mirrors.yaml:2:33  mirrors.harbor.url
    help: remove `/v2/docker.io` from the URL

    error[E109]: there is a username without a password
      --> mirrors.yaml:2:80  mirrors.harbor.credentials
       |  Talos takes username and password, or auth, or identityToken: one of them, whole

    warning[W203]: `https://docker.io/v2` is a web site and not a registry
      --> mirrors.yaml:3:27  mirrors.gar
    help: Docker Hub's API is https://registry-1.docker.io; `upstream` in `via` means it

    error[E101]: unknown field `overidePath` in `mirrors.gar`
      --> mirrors.yaml:3:49  mirrors.gar.overidePath
    help: did you mean `overridePath`?

    error[E107]: `mirrors.plain` has TLS settings, but p:5000 is asked over plain http
      --> mirrors.yaml:4:5  mirrors.plain.tls
       |  Talos then refuses every pull: TLS config specified for non-HTTPS registry
    help: drop `tls`, or use https

    note[W210]: when its mirrors fail, Docker Hub is asked without credentials
      --> mirrors.yaml:6:5  registries.docker.io
    help: registries.docker.io.upstream.credentials, if the nodes share one address

    error[E104]: no mirror is named `habor`
      --> mirrors.yaml:6:23  registries."docker.io".via[0]
    help: did you mean `harbor`?

    error[E113]: `https://quay.io`: a registry name has no scheme
      --> mirrors.yaml:7:5  registries.https://quay.io
    help: use `quay.io`

    error[E114]: `https://quay.io` is not a valid Harbor project name
      --> mirrors.yaml:7:5  mirrors.harbor.projects.https://quay.io
    help: name it in mirrors.harbor: projects: {"https://quay.io": https---quay.io}

    error[E106]: `ghcr.io` has no endpoint at all
      --> mirrors.yaml:8:5  registries.ghcr.io
       |  with no mirror and no fallback, Talos' two pullers do different things
    help: name a mirror in `via`, or use `fallback: upstream`

    error[E113]: no image reference resolves to `registry-1.docker.io`
      --> mirrors.yaml:9:5  registries.registry-1.docker.io
    help: use `docker.io`; the API's host is derived from it

    error[E105]: `*` cannot go through `harbor`: every registry needs a path of its own there
      --> mirrors.yaml:10:5  registries.*
    help: use a mirror of kind cache, or list the registries

    warning[W220]: every registry without an entry depends on this mirror
      --> mirrors.yaml:10:5  registries.*
    help: use `fallback: upstream` for `*`

    mirrors.yaml: 10 errors, 2 warnings, 1 note
    --- exit 1
    "#);
}

#[test]
fn json_and_annotations() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: http://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, passwordFrom: {env: X}}\n");
    insta::assert_snapshot!(place.run("validate -o json").ok(), @r#"
    {
      "apiVersion": "talmirror/v1",
      "kind": "ValidationResult",
      "file": "mirrors.yaml",
      "valid": true,
      "items": [
        {
          "code": "W204",
          "severity": "warning",
          "file": "mirrors.yaml",
          "line": 1,
          "column": 1,
          "path": "mirrors.harbor.credentials",
          "message": "`mirrors.harbor` sends credentials in clear to `http://h.example`",
          "reason": null,
          "help": null
        }
      ]
    }
    "#);
    insta::assert_snapshot!(place.run("validate -o github --deny warnings").ends(1).stdout, @"::warning file=mirrors.yaml,line=1,col=1,title=W204::`mirrors.harbor` sends credentials in clear to `http://h.example`");
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
    insta::assert_snapshot!(ran.to_string(), @r"
    --- stderr
    error[E115]: `groups.x.nodes`: there is no node `n9`
      --> mirrors.yaml:1:1  groups.x.nodes
    help: did you mean `n1`?

    error[E115]: `n2` and `n1` have the same address, 10.0.0.1
      --> mirrors.yaml:1:1  nodes.n2.address

    error[E115]: `rollout.canary`: there is no node `n3`
      --> mirrors.yaml:1:1  rollout.canary
    help: did you mean `n1`?

    error[E117]: the trial of 30 s is not longer than its verification, which may take 120 s
      --> mirrors.yaml:1:1  rollout.tryTimeout
    help: set rollout.tryTimeout to 180 s or more, or verify fewer images

    warning[W201]: `ghcr.io` depends on `b`, which runs in this cluster, and has no fallback
      --> mirrors.yaml:6:39  registries.ghcr.io
       |  after a power cut its own images come through the mirror that is not there yet
    help: use `fallback: upstream`

    warning[W213]: `x` and `y` share nodes (1), and both set `ghcr.io`
      --> mirrors.yaml:7:36  groups.y.registries.ghcr.io
    help: `y` wins, because it stands later

    mirrors.yaml: 4 errors, 2 warnings
    --- exit 1
    ");
}

#[test]
fn variables_of_other_tools_are_named() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "mirror: https://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, password: '${HARBOR_PASSWORD}'}\n",
    );
    insta::assert_snapshot!(place.run("validate --deny warnings -q").ends(1), @r"
    --- stderr
    warning[W226]: `credentials.password` is a reference that nothing fills in: nodes would get it as it stands
      --> mirrors.yaml:3:38  credentials.password
    help: write passwordFrom: {env: HARBOR_PASSWORD}

    --- exit 1
    ");
}

#[test]
fn a_path_without_v2_is_seen() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "mirrors: {zot: {kind: path, url: 'https://z.example', paths: {docker.io: hub}}}\nregistries: {docker.io: {via: [zot]}}\n",
    );
    insta::assert_snapshot!(place.run("validate -q").ends(1), @r"
    --- stderr
    error[E125]: `https://z.example/hub` with overridePath has no /v2 in its path
      --> mirrors.yaml:2:14  registries.docker.io
    help: a registry's path begins with /v2, such as /v2/project, or ends with it, such as /project/v2

    --- exit 1
    ");
}

#[test]
fn a_robots_dollar_in_a_file_that_another_tool_fills_in() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "mirror: https://h.example\nregistries: [ghcr.io]\ncredentials: {username: 'robot$x', passwordFrom: {env: P}}\ncluster: ${CLUSTER}\n",
    );
    let ran = place.run("validate").ends(0);
    assert!(ran.stderr.contains("warning[W214]: `robot$x` holds a `$`"), "{ran}");
}

/// Talos keeps settings by host: TLS for one owner breaks another's plain http, and of two credentials one is lost.
#[test]
fn hosts_are_checked_across_owners_and_layers() {
    let said = |text: &str| {
        let place = Place::new();
        place.write("mirrors.yaml", text);
        place.run("validate").ends(1).stderr
    };
    let text = "mirrors: {zot: {kind: cache, url: 'http://zot.local:5000'}}\nregistries:\n    docker.io: {via: [zot]}\n    zot.local:5000: {via: [], upstream: {tls: {insecureSkipVerify: true}}}\n";
    assert!(said(text).contains("error[E107]"));
    let text = "registries: {'reg.local:5000': {upstream: {tls: {insecureSkipVerify: true}}}}\ngroups: {edge: {nodes: [n1], registries: {'reg.local:5000': {upstream: {url: 'http://reg.local:5000'}}}}}\nnodes: {n1: {}}\n";
    assert!(said(text).contains("error[E107]"));
    let text = "mirrors: {h: {kind: harbor, url: 'https://h.example', credentials: {username: a, passwordFrom: {env: A}}}}\nregistries: {ghcr.io: {via: [h]}}\nnodes: {n1: {registries: {h.example: {via: [], upstream: {credentials: {username: b, passwordFrom: {env: B}}}}}}}\n";
    assert!(said(text).contains("error[E108]"));
    for url in ["https:/harbor.example", "https:h", " https://h.example", "https://h\\\\x"] {
        let text = format!("mirror: \"{url}\"\nregistries: [ghcr.io]\n");
        assert!(said(&text).contains("error[E102]"), "{url}");
    }
    let text = "mirrors: {z: {kind: path, url: 'https://z.example', path: '/v2/{regsitry}'}}\nregistries: {ghcr.io: {via: [z]}}\n";
    assert!(said(text).contains("error[E102]"));
    assert!(
        said("verify: {images: [a, b], timeout: 9223372036854775807s}\nregistries: [ghcr.io]\n")
            .contains("error[E117]")
    );
}

/// Talos' rules for signatures: kept by import, explained, and told where a mirror may lose what they want.
#[test]
fn rules_for_signatures() {
    let place = Place::new();
    place.write(
        "n1.yaml",
        "machine:
  type: worker
  registries:
    mirrors:
      ghcr.io: {endpoints: [https://harbor.example/v2/ghcr.io], overridePath: true, skipFallback: true}
---
apiVersion: v1alpha1
kind: ImageVerificationConfig
rules:
  - image: ghcr.io/own/*
    publicKey:
      certificate: |
        -----BEGIN PUBLIC KEY-----
        MFkw
        -----END PUBLIC KEY-----
",
    );
    let text = place.run("import n1.yaml").ok();
    assert!(text.contains("imageVerification:\n"), "{text}");
    assert!(text.contains("image: ghcr.io/own/*") && text.contains("-----BEGIN PUBLIC KEY-----"), "{text}");
    place.write("mirrors.yaml", &text);
    let found = place.run("validate").ran();
    assert!((found.stdout + &found.stderr).contains("W241"), "a Harbor without a fallback");
    let told = place.run("explain ghcr.io/own/app:1").ok();
    assert!(
        told.contains("note: image verification: the rule `ghcr.io/own/*` (publicKey) matches"),
        "{told}"
    );
    assert!(told.contains("/own/app/referrers/sha256:DIGEST?ns=ghcr.io&artifactType="), "{told}");
    assert!(!place.run("explain ghcr.io/other/app:1").ok().contains("image verification"));
    let json = place.run("explain ghcr.io/own/app:1 -o json").ok();
    assert!(
        json.contains("\"method\": \"publicKey\"") || json.contains("\"method\":\"publicKey\""),
        "{json}"
    );
    // Talos 1.13 has another name for Docker Hub in its rules.
    place.write("hub.yaml", "mirror: https://m.example\nkind: harbor\nregistries: [docker.io]\nimageVerification: [{image: 'docker.io/*', deny: true}]\n");
    let told = place.run("explain alpine:3 -f hub.yaml --talos-version v1.13").ok();
    assert!(
        told.contains("`docker.io/*` does not match on Talos v1.13") && !told.contains("(deny) matches"),
        "{told}"
    );
    let told = place.run("explain alpine:3 -f hub.yaml --talos-version v1.14").ok();
    assert!(
        told.contains("the rule `docker.io/*` (deny) matches") && !told.contains("does not match"),
        "{told}"
    );
    // A patch of the registries leaves the rules to the node.
    assert!(!place.run("generate").ok().contains("ImageVerification"));
    let edited = place.run("machineconfig patch n1.yaml").ran();
    assert!(
        edited.code != 0
            || edited.stdout.contains("kind: ImageVerificationConfig\nrules:\n  - image: ghcr.io/own/*"),
        "{edited}"
    );
}
