//! Mistakes of a tired person: each has a message that names the way out, an exit code, and no effect.

use std::process::{Command, Stdio};

use crate::rollout::Site;
use crate::run::{Place, Ran};

const INVENTORY: &str = "\
mirrors: {harbor: {kind: harbor, url: https://harbor.example}}
registries: {docker.io: {}, ghcr.io: {}}
defaults: {via: [harbor]}
nodes: {n1: {address: 10.0.0.1}}
";

fn place(inventory: &str) -> Place {
    let place = Place::new();
    place.write("mirrors.yaml", inventory);
    place
}

/// An inventory whose mirror wants a password that comes from somewhere.
fn with_password(from: &str) -> Place {
    place(
        &INVENTORY
            .replace("harbor.example}", &format!("harbor.example, credentials: {{username: u, {from}}}}}")),
    )
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.stderr.contains(part), "`{part}` is missing in:\n{ran}");
    }
}

#[test]
fn no_inventory_here() {
    let ran = Place::new().run("generate").ends(3);
    says(&ran, &["there is no inventory `mirrors.yaml`", "name one with -f"]);
}

#[test]
fn the_inventory_is_named_as_an_argument_or_as_file() {
    let place = Place::new();
    place.write("other.yaml", INVENTORY);
    assert!(place.run("validate other.yaml").ends(0).stderr.contains("other.yaml: "));
    assert!(place.run("validate --file other.yaml").ends(0).stderr.contains("other.yaml: "));
    place.run("generate --file other.yaml").ok();
}

#[test]
fn a_command_or_a_flag_is_misspelt() {
    let place = place(INVENTORY);
    says(&place.run("vaildate").ends(2), &["similar subcommand exists: 'validate'"]);
    says(&place.run("generate --talos-verison v1.13").ends(2), &["--talos-version"]);
}

#[test]
fn versions_are_written_in_two_ways() {
    let place = place(INVENTORY);
    place.run("generate -q --talos-version 1.14").ok();
    place.run("generate -q --talos-version v1.14.1").ok();
}

#[test]
fn a_version_is_not_a_word() {
    let ran = place(INVENTORY).run("generate --talos-version latest").ends(2);
    says(&ran, &["`latest`", "v1.13"]);
}

#[test]
fn a_version_that_nobody_has_tested_is_warned_of() {
    let place = place(INVENTORY);
    for version in ["v1.99", "v2.0", "v1.2"] {
        let ran = place.run(&format!("generate --talos-version {version}")).ends(0);
        says(&ran, &["is not one of those that talmirror knows, v1.8 to v1.14"]);
    }
}

#[test]
fn a_registry_is_misspelt_by_a_letter() {
    for (name, meant) in [
        ("gchr.io", "ghcr.io"),
        ("dokcer.io", "docker.io"),
        ("quay.oi", "quay.io"),
        ("registry.k8s.oi", "registry.k8s.io"),
    ] {
        let place = place(&format!("mirror: https://h.example\nregistries: [{name}]\n"));
        says(
            &place.run("validate").ends(0),
            &["warning[W233]", &format!("`{name}` is one letter away from `{meant}`")],
        );
        place.run("validate --deny warnings").ends(1);
    }
    place("mirror: https://h.example\nregistries: [gcr.io, ghcr.io]\n").run("validate --deny warnings").ok();
    place("mirror: https://h.example\nregistries: [gchr.io]\nlint: {allow: [W233]}\n")
        .run("validate --deny warnings")
        .ok();
}

#[test]
fn a_registry_has_another_name() {
    for (name, code, part) in [
        ("docker", 0, "W227"),
        ("index.docker.io", 1, "use `docker.io`"),
        ("https://docker.io", 1, "E113"),
        ("ghcr.io/foo", 1, "E113"),
    ] {
        let place = place(&format!("mirror: https://h.example\nregistries: ['{name}']\n"));
        let ran = place.run("validate").ends(code);
        says(&ran, &[part]);
    }
}

#[test]
fn the_variable_of_a_secret_is_not_set() {
    let ran = with_password("passwordFrom: {env: HARBOR_PASSWORD}").run("generate").ends(4);
    says(&ran, &["environment variable `HARBOR_PASSWORD` is not set", "set HARBOR_PASSWORD"]);
}

#[test]
fn the_variable_of_a_secret_is_empty() {
    let place = with_password("passwordFrom: {env: HARBOR_PASSWORD}");
    let ran = place.run("generate").env("HARBOR_PASSWORD", "").ends(4);
    says(&ran, &["gave nothing", "it is there and empty"]);
    assert!(!ran.stderr.contains("paths are relative"), "{ran}");
}

#[test]
fn an_auth_that_is_fetched_is_base64_of_user_and_password() {
    let place =
        place("mirror: https://h.example\ncredentials: {authFrom: {env: AUTH}}\nregistries: [docker.io]\n");
    for (auth, want) in
        [("dTpw%%", "is not base64"), ("dQ==", "without a colon"), ("dTpwCg==", "a line break")]
    {
        let ran = place.run("generate").env("AUTH", auth).ends(4);
        says(&ran, &["mirrors.harbor.credentials", want, "user:password"]);
    }
    let patch = place.run("generate --talos-version v1.11").env("AUTH", "dTpw").ok();
    assert!(patch.contains("username: u\n") && patch.contains("password: p\n"), "{patch}");
}

#[test]
fn a_file_that_is_not_there_is_told_before_secrets_are_asked_for() {
    let place = with_password("passwordFrom: {env: NOT_SET}");
    for command in ["diff --against nothere.yaml", "generate --against nothere.yaml", "mc patch nothere.yaml"]
    {
        says(&place.run(command).ends(3), &["cannot read `nothere.yaml`"]);
    }
}

#[test]
fn no_key_fits() {
    let place = with_password("password: s3cr3t-p");
    place.run("encrypt --in-place --age age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl mirrors.yaml").ok();
    says(&place.run("generate").ends(4), &["age1g5ysx9", "SOPS_AGE_KEY_FILE"]);
    place.run("decrypt mirrors.yaml").ends(128);
}

#[test]
fn there_is_no_sops_yaml() {
    let place = with_password("password: s3cr3t-p");
    let ran = place.run("generate --encrypt").ends(2);
    says(&ran, &["nothing says for whom", "--age", "creation_rules:"]);
    assert!(!ran.stderr.contains("talmirror init"), "it would be refused: {ran}");
}

#[test]
fn a_secret_that_does_not_stand_in_the_inventory_is_rotated_elsewhere() {
    let place = with_password("passwordFrom: {env: HARBOR_PASSWORD}");
    let ran = place.run("rotate harbor --password-stdin").stdin("s3cr3t-new").ends(3);
    says(&ran, &["HARBOR_PASSWORD", "change it where it is"]);
    assert!(!ran.stderr.contains("encrypt it first"), "{ran}");
}

#[test]
fn a_password_in_clear_in_a_file_that_git_tracks_is_a_finding() {
    let place = with_password("password: s3cr3t-p");
    place.run("validate --deny warnings").ok();
    for arguments in [&["init", "--quiet"][..], &["add", "mirrors.yaml"]] {
        let git = std::process::Command::new("git").args(arguments).current_dir(place.path(".")).status();
        assert!(git.unwrap().success());
    }
    let ran = place.run("validate").ends(0);
    says(&ran, &["warning[W234]", "mirrors.yaml:1:", "talmirror encrypt --in-place"]);
}

#[test]
fn plaintext_is_not_written_into_a_git_work_tree() {
    let place = with_password("password: s3cr3t-p");
    std::fs::create_dir(place.path(".git")).unwrap();
    says(&place.run("generate --output-dir out").ends(3), &["[E119]", "--encrypt", "nothing was written"]);
    assert!(!place.path("out").exists());
}

#[test]
fn hidden_secrets_are_said_to_be_hidden() {
    let place = with_password("password: s3cr3t-p");
    let ran = place.run("explain -o yaml").ends(0);
    assert!(ran.stdout.contains("<redacted>"), "{ran}");
    says(&ran, &["--show-secrets"]);
}

#[test]
fn files_of_another_layout_are_named() {
    let place = place(INVENTORY);
    place.run("generate -q --output-dir out").ok();
    std::fs::create_dir(place.path("out/n7")).unwrap();
    place.write("out/n7/mirrors.yaml", "old");
    let ran = place.run("generate --output-dir out --check").ends(1);
    assert!(ran.stdout.contains("stale      out/n7/mirrors.yaml"), "{ran}");
}

#[test]
fn the_talosconfig_is_missing_or_another_file() {
    let place = place(INVENTORY);
    says(&place.run("nodes").ends(3), &["--talosconfig", ".talos/config"]);
    place.write("kubeconfig", "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\n");
    says(&place.run("nodes --talosconfig kubeconfig").ends(3), &["talosconfig", "kubeconfig"]);
    let cut = "context: c\ncontexts: {c: {endpoints: [127.0.0.1], ca: QUJDR, crt: QUJD, key: QUJD}}\n";
    place.write("cut", cut);
    says(&place.run("nodes --talosconfig cut").ends(3), &["base64", "was it cut short when it was copied?"]);
}

#[test]
fn a_context_that_is_not_there() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    let known = site.cluster.talosconfig();
    let (_, known) = known.split_once("context: ").unwrap();
    let known = format!("name one with --context: {}", known.lines().next().unwrap());
    says(&site.place.run("nodes --context other").ends(3), &["it has no context `other`", &known]);
}

#[test]
fn a_node_that_is_down_is_named_with_what_was_tried() {
    let place = place(INVENTORY);
    let site = Site::new(1, 0, &["v1.13.9"]);
    place.write(".talos/config", site.cluster.talosconfig());
    let ran = place.run("nodes -n n1 -e 127.0.0.1:1 --timeout 2s").ends(5);
    says(&ran, &["n1: cannot reach 127.0.0.1:1: Connection refused"]);
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.node("w-1").go_down();
    let ran = site.place.run("rollout --yes").ends(5);
    assert!(ran.stdout.contains("begin with the others: talmirror rollout -n cp-1"), "{ran}");
    says(&ran, &["w-1: ", "does not reach"]);
    assert!(site.is_old("cp-1"));
}

#[test]
fn numbers_and_times_have_their_form() {
    let place = place(INVENTORY);
    says(&place.run("nodes --timeout 5").ends(2), &["a time looks like 20s"]);
    says(&place.run("rollout --max-parallel half").ends(2), &["a number of nodes, such as 3"]);
}

#[test]
fn a_canary_that_is_not_there() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let ran = site.place.run("rollout --dry-run --canary zzz").ends(2);
    says(&ran, &["no node `zzz`"]);
    says(&site.place.run("rollout --dry-run --canary w-2").ends(2), &["did you mean `w-1`?"]);
    let ran = site.place.run("rollout --dry-run -n cp-1 --canary w-1").ends(2);
    says(&ran, &["`w-1` is not one of the nodes of this rollout", "these are: cp-1"]);
    says(&site.place.run("rollout --dry-run --match ^zzz").ends(2), &["no node's name fits `^zzz`"]);
    says(&site.place.run("rollout --dry-run --group zzz").ends(2), &["has no group `zzz`"]);
}

#[test]
fn a_node_that_is_not_there() {
    says(&place(INVENTORY).run("explain --node n9").ends(2), &["has no node `n9`", "did you mean `n1`?"]);
}

#[test]
fn a_registry_is_explained_as_one() {
    let place = place(INVENTORY);
    insta::assert_snapshot!(place.run("explain docker.io").ok(), @"
    REGISTRY  docker.io   NODE  any node without settings of its own   TALOS  v1.13   SOURCE  defaults.via
    HOP   VIA        ENDPOINT                              AUTH (KEY)   ON FAILURE
    1     harbor     https://harbor.example/v2/docker.io   -            next
    2     upstream   https://registry-1.docker.io/v2       -            fail
    note: when all hops fail, the kubelet often shows the first one's error (containerd#7321)
    ");
    assert!(place.run("explain quay.io").ok().contains("every node goes to the registry itself"));
    assert!(place.run("explain alpine").ok().starts_with("IMAGE  docker.io/library/alpine:latest"));
    assert!(place.run("explain alpine:3.22").ok().starts_with("IMAGE"));
}

#[test]
fn a_finding_that_is_not_there() {
    let place = Place::new();
    says(&place.run("explain E999").ends(2), &["there is no finding `E999`", "talmirror explain --codes"]);
    let codes = place.run("explain --codes").ok();
    assert!(codes.contains("\nE101   error      a field that does not exist\n"), "{codes}");
    let own: Vec<&str> = codes.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(own.is_sorted() && own.len() > 50, "{own:?}");
}

#[test]
fn a_machine_config_is_not_an_inventory() {
    let place = Place::new();
    place.write("n1.yaml", "version: v1alpha1\nmachine: {type: worker}\n");
    let ran = place.run("validate n1.yaml").ends(3);
    says(&ran, &["`n1.yaml` is a machine config", "talmirror import n1.yaml"]);
}

#[test]
fn a_configuration_of_the_cache_is_not_an_inventory() {
    let place = Place::new();
    place.write(
        "cache.yaml",
        "listen: ':5000'\nupstreams: {docker.io: {url: 'https://registry-1.docker.io'}}\n",
    );
    let ran = place.run("validate cache.yaml").ends(3);
    says(&ran, &["a configuration of talmirror-cache", "talmirror-cache check --config cache.yaml"]);
}

#[test]
fn yaml_that_is_not_as_it_was_meant() {
    says(
        &place("mirrors:\n\tharbor: {}\n").run("validate").ends(1),
        &["found a tab", "mirrors.yaml:2:1", "indent with spaces"],
    );
    says(
        &place("mirror: https://a.example\nmirror: https://b.example\n").run("validate").ends(1),
        &["there twice"],
    );
    says(
        &place("mirror: https://h.example\nregistries:\n    docker.io\n    - ghcr.io\n")
            .run("validate")
            .ends(1),
        &["mirrors.yaml:3:5", "write `- docker.io`: every item of a list begins with `- `"],
    );
    let secret =
        "mirrors:\n    h: {url: 'https://h.example', credentials: hunter2 - x}\nregistries: [docker.io]\n";
    let ran = place(secret).run("validate").ends(1);
    assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("begins with `- `"), "{ran}");
    let lost =
        "mirrors: {h: {kind: harbor, url: 'https://h.example'}}\nregistries:\n    docker.io:\n    via: [h]\n";
    says(
        &place(lost).run("validate").ends(1),
        &["`via` is a setting of a registry", "mirrors.yaml:4:5", "indent it below the registry's name"],
    );
}

#[test]
fn credentials_and_urls_that_do_not_go_together() {
    says(
        &place("mirror: https://h.example/v2\nregistries: [ghcr.io]\n").run("validate").ends(1),
        &["E103", "remove `/v2`"],
    );
    let plain = "mirror: http://h.example\nregistries: [ghcr.io]\ncredentials: {username: u, passwordFrom: {env: X}}\n";
    says(&place(plain).run("validate").ends(0), &["W204"]);
    says(
        &place("mirror: https://h.example\nregistries: [ghcr.io]\ncredentials: {username: u}\n")
            .run("validate")
            .ends(1),
        &["E109"],
    );
}

#[test]
fn a_field_by_another_tools_name() {
    let text = "mirrors: {h: {kind: harbor, url: 'https://h.example', auth: {username: u}}}\nregistries: [ghcr.io]\n";
    says(&place(text).run("validate").ends(1), &["unknown field `auth`", "did you mean `credentials`?"]);
    let text = "mirrors: {h: {kind: harbor, endpoint: 'https://h.example'}}\nregistries: [ghcr.io]\n";
    says(&place(text).run("validate").ends(1), &["did you mean `url`?"]);
}

#[test]
fn without_a_terminal_nothing_is_asked_and_nothing_is_done() {
    says(&Place::new().run("init").ends(2), &["missing: --kind, --url, --registries"]);
    let site = Site::new(1, 0, &["v1.13.9"]);
    says(
        &site.place.run("rollout").ends(2),
        &["there is no terminal to ask on; no node was touched", "--yes"],
    );
    assert!(site.is_old("cp-1"));
    site.place.run("rollout --yes").ends(0);
    let new = site.cluster.node("cp-1").state().active.text.clone();
    says(
        &site.place.run("rollback").ends(2),
        &["there is no terminal to ask on; no node was touched", "--yes"],
    );
    assert!(site.cluster.node("cp-1").state().active.text == new);
}

#[test]
fn a_key_that_is_not_at_hand_stops_a_rollout_before_it_begins() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.place.run("encrypt --in-place --age age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl mirrors.yaml").ok();
    site.place.run("rollout --yes").ends(4);
    assert!(site.is_old("cp-1"));
}

/// What `head` does not read is no failure, and a rollout goes on to its end.
#[test]
fn a_reader_that_goes_is_no_failure() {
    let place = place(INVENTORY);
    let mut child =
        place.run("generate -q").command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 141)), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// The port is taken: one message, and what to do.
#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    let output = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
        .args(["serve", "--root", "root", "--listen", &taken.local_addr().unwrap().to_string()])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another program has it, choose another port"), "{said}");
    assert_eq!(said.to_lowercase().matches("address already in use").count(), 1, "{said}");
}
