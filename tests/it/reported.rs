//! Files that people reported, or of their kinds: `tests/data/cases`.

use std::path::Path;

use crate::run::{Place, Ran, repository};

const ALICE: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
const KEY: (&str, &str) = ("SOPS_AGE_KEY_FILE", "keys.txt");

/// A copy of a case, with the key of Alice.
fn case(name: &str) -> Place {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
            if path.is_dir() { copy(&path, &to) } else { assert!(std::fs::copy(&path, &to).is_ok()) }
        }
    }
    let place = Place::new();
    copy(&repository("tests/data/cases").join(name), &place.path(""));
    place.write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap());
    place
}

/// Imports a file into the inventory.
fn import(place: &Place, file: &str) -> Ran {
    let ran = place.run(&format!("import {file}")).reveals().ran();
    place.write("mirrors.yaml", &ran.stdout);
    ran
}

/// What nodes get, as `explain` resolves it.
fn effective(place: &Place, flags: &str) -> serde_json::Value {
    let text = place.run(&format!("explain -o json --show-secrets {flags}")).reveals().ok();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["registries"].clone()
}

/// The URLs of a registry's endpoints.
fn endpoints(registries: &serde_json::Value, name: &str) -> Vec<String> {
    let list = registries["mirrors"][name]["endpoints"].as_array().cloned().unwrap_or_default();
    list.iter().map(|endpoint| endpoint["url"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn base64_over_several_lines_is_credentials() {
    let place = case("auth-wrapped");
    assert_eq!(import(&place, "config.yaml").code, 0);
    let auth = &effective(&place, "")["auth"]["reg.example.com"];
    assert_eq!(auth["username"], "AWS");
    let password = auth["password"].as_str().unwrap();
    assert!(password.len() > 150 && password.chars().all(|c| c.is_ascii_digit()), "{password}");
}

/// Machine configs, talsecret, talosconfig, a Secret of Kubernetes, kubeconfig, an inventory: with no rule, with one that
/// fits, and with one that has a gap.
#[test]
fn no_secret_of_any_file_stays_in_clear() {
    let place = case("encrypt-machine-config");
    place
        .write("talosconfig", "context: c\ncontexts:\n  c:\n    endpoints: [10.0.0.2]\n    ca: Y2E=\n    crt: Y3J0\n    key: SECRETkeySECRET\n")
        .write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  password: SECRETdataSECRET\nstringData:\n  token: SECRETstringSECRET\n")
        .write("kubeconfig", "apiVersion: v1\nkind: Config\nusers:\n  - name: u\n    user:\n      token: SECRETtokenSECRET\n      client-key-data: SECRETclientSECRET\n")
        .write("inventory.yaml", "apiVersion: talmirror/v1\nkind: Inventory\nmirrors:\n  h: {kind: harbor, url: https://h.example, credentials: {username: u, password: SECRETmirrorSECRET}}\nregistries: {docker.io: {via: [h]}}\n");
    let known = [
        (
            "talsecret.yaml",
            &[
                "bm90IGEgc2VjcmV0IGJ1dCBsb29rcyBsaWtlIG9uZQ==",
                "abcdef.0123456789abcdef",
                "ghijkl.0123456789abcdef",
                "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t",
            ][..],
        ),
        ("machine.yaml", &["abcdef.0123456789abcdef", "ghijkl.0123456789abcdef", "bm90IGEgc2VjcmV0"]),
        ("talosconfig", &["SECRETkeySECRET"]),
        ("secret.yaml", &["SECRETdataSECRET", "SECRETstringSECRET"]),
        ("kubeconfig", &["SECRETtokenSECRET", "SECRETclientSECRET"]),
        ("inventory.yaml", &["SECRETmirrorSECRET"]),
    ];
    let in_clear = |text: &str, secrets: &[&str]| secrets.iter().any(|secret| text.contains(secret));
    for (file, secrets) in known {
        assert!(secrets.iter().all(|secret| place.read(file).contains(secret)), "{file}");
        let sealed = place.args(&["encrypt", "--age", ALICE, file]).ok();
        assert!(!in_clear(&sealed, secrets), "{file}: {sealed}");
        for rule in ["^(password|identityToken|key)$", "^nothing$", ".*"] {
            place.write(
                ".sops.yaml",
                format!("creation_rules:\n  - encrypted_regex: '{rule}'\n    age: {ALICE}\n"),
            );
            let ran = place.run(&format!("encrypt {file}")).ran();
            assert!(
                ran.code == 23 || (ran.code == 0 && !in_clear(&ran.stdout, secrets)),
                "{file} {rule}: {ran}"
            );
            assert!(rule != ".*" || ran.code == 0, "{file}: {ran}");
            assert!(rule != "^nothing$" || ran.code == 23, "{file}: {ran}");
            let in_place = place
                .run(&format!("encrypt --in-place {file} --age {ALICE} --encrypted-regex ^nothing$"))
                .ran();
            assert_eq!(in_place.code, 23, "{file}: {in_place}");
            assert!(!place.read(file).contains("ENC["), "{file} was written");
            std::fs::remove_file(place.path(".sops.yaml")).unwrap();
        }
    }
}

#[test]
fn numbers_that_sops_would_change_are_no_passwords() {
    let place = case("encrypt-numbers");
    let plain = place.read("patch.yaml");
    for flags in ["", "--in-place"] {
        let ran = place.run(&format!("encrypt {flags} --age {ALICE} patch.yaml")).ran();
        assert!(ran.code != 0 && ran.stderr.contains("quote"), "{ran}");
        assert_eq!(place.read("patch.yaml"), plain);
    }
    // Quoted, they are texts and stay.
    let quoted = regex::Regex::new(r"password: ([^}]+)\}").unwrap().replace_all(&plain, "password: '$1'}");
    place.write("patch.yaml", quoted.as_bytes());
    place.run(&format!("encrypt --in-place --age {ALICE} patch.yaml")).ok();
    let back = place.run("decrypt patch.yaml").env(KEY.0, KEY.1).ok();
    for text in ["0123456", "12345_54321", "1e10", "007", "99999999999999999999999"] {
        assert!(
            back.contains(&format!("\"{text}\"")) || back.contains(&format!("'{text}'")),
            "{text}: {back}"
        );
    }
}

#[test]
fn an_inventory_without_registries_gives_a_patch_that_deletes() {
    let place = case("generate-empty-documents");
    for version in ["v1.11", "v1.12", "v1.13", "v1.14"] {
        let patch = place.run(&format!("generate --talos-version {version}")).ok();
        if version == "v1.11" {
            assert!(patch.contains("path: /machine/registries"), "{patch}");
        } else {
            assert_eq!(patch, "machine:\n    registries:\n        $patch: delete\n", "{version}");
        }
    }
}

#[test]
fn an_import_that_loses_a_mirror_or_a_rewrite_fails() {
    let place = case("import-lossy-exit");
    for file in ["k3s-rewrite.yaml", "k3s-string.yaml", "typo.yaml", "certs.d/gcr.io", "certs.d"] {
        let ran = import(&place, file);
        assert!(ran.code == 1 || (ran.code == 3 && ran.stdout.is_empty()), "{file}: {ran}");
        assert!(!ran.stderr.contains("says what was meant"), "{file}: {ran}");
    }
}

#[test]
fn a_path_without_override_path_is_a_mirror_by_path() {
    let place = case("import-path-without-override");
    let ran = import(&place, "config.yaml");
    assert!(ran.code == 0 && !ran.stderr.contains("error"), "{ran}");
    place.run("validate").ok();
    let effective = effective(&place, "");
    assert_eq!(endpoints(&effective, "docker.io"), ["https://mirrors.example.com/docker-io/v2"]);
    assert_eq!(endpoints(&effective, "quay.io"), ["https://nexus.example.com/repository/docker-hub/v2"]);
}

#[test]
fn registries_with_credentials_alone_go_the_way_of_all_others() {
    for (file, registries) in
        [("config.yaml", &["docker.io", "ghcr.io"][..]), ("registries.yaml", &["docker.io"])]
    {
        let place = case("import-star-credentials");
        import(&place, file);
        let effective = effective(&place, "");
        for name in registries {
            let own = endpoints(&effective, name);
            let own = if own.is_empty() { endpoints(&effective, "*") } else { own };
            assert_eq!(own.first().map(String::as_str), Some("http://10.0.0.5:5001"), "{file} {name}");
        }
        assert_eq!(effective["auth"]["registry-1.docker.io"]["password"], "hub-token", "{file}");
        assert!(file != "config.yaml" || effective["auth"]["ghcr.io"]["password"] == "gh-token");
    }
}

#[test]
fn settings_of_another_port_stay_there() {
    let place = case("import-two-ports");
    import(&place, "config.yaml");
    let effective = effective(&place, "");
    assert_eq!(effective["auth"]["registry.lan:5001"]["password"], "private-secret");
    assert_eq!(effective["tls"]["registry.lan:5001"]["insecureSkipVerify"], true);
    assert!(effective["auth"].get("registry.lan:5000").is_none(), "{effective}");
    assert!(effective["tls"].get("registry.lan:5000").is_none(), "{effective}");
}

#[test]
fn the_embedded_mirror_of_k3s_is_named() {
    let place = case("k3s-embedded");
    let ran = place.run("import registries.yaml").ran();
    assert!(ran.stderr.contains("embedded"), "{ran}");
    let ran = place.run("import mixed.yaml").ran();
    assert!(["docker.io", "ghcr.io"].iter().all(|name| ran.stderr.contains(name)), "{ran}");
    assert!(ran.stdout.contains("q.example.com"), "{ran}");
}

#[test]
fn a_rewrite_on_the_registry_itself_is_not_lost_in_silence() {
    let place = case("k3s-own-rewrite");
    let ran = import(&place, "registries.yaml");
    let kept = ran.stdout.contains("team-proxy");
    assert!(kept || (ran.stderr.contains("E127") && ran.code == 1), "{ran}");
}

#[test]
fn mac_only_encrypted_takes_documents_of_which_every_value_is_sealed() {
    let place = case("mac-only-encrypted");
    place.write(".sops.yaml", place.read("sops.yaml").replace("RECIPIENT", ALICE));
    place.run("generate --talos-version v1.14 --output-dir talos --encrypt").ok();
    std::fs::rename(place.path("two.sops.yaml"), place.path("talos/two.sops.yaml")).unwrap();
    let sealed = place.run("encrypt talos/two.sops.yaml").ok();
    place.write("sealed.yaml", &sealed);
    assert!(place.run("decrypt sealed.yaml").env(KEY.0, KEY.1).ok().contains("password: pb"));
    // The documents cannot change places.
    let (one, two) = sealed.split_once("\n---\n").unwrap();
    place.write("swapped.yaml", format!("{}\n---\n{one}", two.trim_end()));
    place.run("decrypt swapped.yaml").env(KEY.0, KEY.1).ends(51);
    // Where values stay in clear, the refusal names a way that works.
    let ran = place.run("encrypt --encrypted-regex ^password$ talos/two.sops.yaml").ran();
    assert!(ran.code != 0 && ran.stderr.contains("help:"), "{ran}");
}

#[test]
fn the_patches_of_an_omni_template_are_read() {
    let place = case("omni-template");
    let ran = import(&place, "cluster.yaml");
    assert_eq!(ran.code, 0, "{ran}");
    let (all, workers) = (effective(&place, ""), effective(&place, "--group workers"));
    assert_eq!(endpoints(&all, "docker.io"), ["https://harbor.example.com/v2/hub"]);
    assert_eq!(endpoints(&workers, "ghcr.io"), ["https://harbor.example.com/v2/ghcr"]);
}

/// Machines have the patches of their set, whether they have a document of their own or not.
#[test]
fn machines_of_an_omni_template_have_what_their_set_has() {
    let mirror = |name: &str, host: &str| {
        format!(
            "{{machine: {{registries: {{mirrors: {{{name}: {{endpoints: [https://{host}.example]}}}}}}}}}}"
        )
    };
    let text = format!(
        "kind: Cluster\nname: prod\ntalos: {{version: v1.13.4}}\n---\n\
         kind: ControlPlane\nmachines: [m-1]\npatches:\n  - inline: {}\n---\n\
         kind: Workers\nmachines: [m-2]\npatches:\n  - inline:\n      - {}\n---\n\
         kind: Workers\nname: gpu\nmachines: [m-3]\npatches:\n  - inline: {}\n---\n\
         kind: Machine\nname: m-1\npatches:\n  - inline: {}\n",
        mirror("quay.io", "cp"),
        mirror("gcr.io", "g"),
        mirror("ghcr.io", "gpu"),
        mirror("docker.io", "m")
    );
    let place = Place::new();
    place.write("cluster.yaml", text);
    let ran = import(&place, "cluster.yaml");
    assert_eq!(ran.code, 0, "{ran}");
    let has = |node: &str| {
        let found = effective(&place, &format!("-n {node}"));
        ["quay.io", "gcr.io", "ghcr.io", "docker.io"].map(|name| !endpoints(&found, name).is_empty())
    };
    assert_eq!(has("m-1"), [true, false, false, true], "{ran}");
    assert_eq!(has("m-2"), [false, true, false, false], "{ran}");
    assert_eq!(has("m-3"), [false, false, true, false], "{ran}");
}

/// What is said of a host that is asked over http anyway is neither lost nor an error.
#[test]
fn settings_of_tls_for_hosts_over_http_are_passed_over() {
    let place = Place::new();
    place.write(
        "daemon.json",
        r#"{"registry-mirrors":["http://10.3.0.1:5000"],"insecure-registries":["10.3.0.1:5000"]}"#,
    );
    let ran = import(&place, "daemon.json");
    assert!(ran.code == 0 && !ran.stderr.contains("W230"), "{ran}");
    place.write(
        "registries.yaml",
        "mirrors: {docker.io: {endpoint: [\"http://10.0.0.1:5000\"]}}\nconfigs: {\"*\": {tls: {insecure_skip_verify: true}}}\n",
    );
    let ran = import(&place, "registries.yaml");
    assert!(ran.code == 0 && !ran.stderr.contains("E107"), "{ran}");
}

#[test]
fn talhelper_applies_the_patches_of_a_node_before_those_of_all() {
    let place = case("talhelper-order");
    assert_eq!(import(&place, "talconfig.yaml").code, 0);
    assert_eq!(
        endpoints(&effective(&place, "-n w-1"), "docker.io"),
        ["http://rack-cache.example.com:5000", "https://central.example.com"]
    );
}

#[test]
fn override_patches_keeps_the_patches_of_the_role_away() {
    let place = case("talhelper-override-patches");
    assert_eq!(import(&place, "talconfig.yaml").code, 0);
    let (one, two) = (effective(&place, "-n w-1"), effective(&place, "-n w-2"));
    assert_eq!(endpoints(&one, "quay.io"), ["https://quay-cache.example.com"]);
    assert!(endpoints(&two, "quay.io").is_empty() && !endpoints(&two, "ghcr.io").is_empty(), "{two}");
}

#[test]
fn a_document_that_is_deleted_and_set_is_no_deletion() {
    let place = case("tls-delete-and-set");
    let ran = import(&place, "patch.yaml");
    assert!(!ran.stderr.contains("W230") && ran.code == 0, "{ran}");
    assert_eq!(effective(&place, "")["tls"]["z.example.com"]["insecureSkipVerify"], true);
}

/// What one node has and another has not is neither given to both nor lost in silence.
#[test]
fn credentials_of_one_node_are_not_given_to_others_in_silence() {
    let place = Place::new();
    let config = |name: &str, more: &str| {
        format!(
            "version: v1alpha1\nmachine:\n  type: worker\n  network: {{hostname: {name}}}\n  registries:\n    mirrors:\n      docker.io: {{endpoints: [https://m.example]}}\n{more}"
        )
    };
    for (more, what) in [
        ("    config:\n      m.example: {auth: {username: u, password: p}}\n", "credentials"),
        ("    config:\n      ghcr.io: {auth: {username: u, password: p}}\n", "credentials"),
        ("    config:\n      m.example: {tls: {insecureSkipVerify: true}}\n", "TLS settings"),
        ("    config:\n      docker.io: {auth: {username: u, password: p}}\n", "credentials"),
        (
            "    config:\n      m.example: {tls: {}}\n      m.example:5000: {auth: {username: u, password: p}}\n",
            "credentials",
        ),
    ] {
        place.write("n1.yaml", config("n1", more)).write("n2.yaml", config("n2", ""));
        let ran = place.run("import n1.yaml n2.yaml").ends(1);
        assert!(ran.stderr.contains("n2") && ran.stderr.contains(what), "{ran}");
        assert!(!ran.stderr.contains("E135") && !ran.stderr.contains("says what was meant"), "{ran}");
        // What both have is theirs.
        place.write("n2.yaml", config("n2", more));
        let ran = place.run("import n1.yaml n2.yaml").ends(0);
        assert!(!ran.stderr.contains("W230"), "{ran}");
    }
}

/// A folder of patches is read with the folders in it; what is no patch is passed over, and a template is named.
#[test]
fn folders_of_patches_are_read_with_what_is_in_them() {
    let place = Place::new();
    let patch = |host: &str| {
        format!(
            "machine: {{registries: {{mirrors: {{ghcr.io: {{endpoints: ['https://{host}.example'], overridePath: true}}}}}}}}\n"
        )
    };
    place
        .write("c/topf.yaml", "clusterName: c\nnodes:\n- {host: n1, ip: 10.0.0.1, role: control-plane}\n")
        .write("c/all/01-mirrors.yaml", patch("all"))
        .write("c/all/00-disk.yaml", "machine: {install: {disk: /dev/vda}}\n")
        .write("c/worker/taints.yaml", "machine: {nodeTaints: {a: b}}\n")
        .write("c/node/n1/own.yaml", patch("own"))
        .write("c/manifest.yaml", "kind: ConfigMap\napiVersion: v1\n")
        .write("talos/patches/deep/mirrors.yaml", patch("deep"))
        .write("talos/patches/credentials.json", r#"{"machine": {"registries": {"config": {"deep.example": {"auth": {"username": "u", "password": "of-json"}}}}}}"#)
        .write("talos/package.json", "{\"name\": \"x\"}\n")
        .write("talos/values.yaml", "mirrors: {}\nregistries: {mirrors: {quay.io: {endpoints: ['https://values.example']}}}\n")
        .write("talos/charts/x.yaml", "{{ .Values }}\n")
        .write("tpl/all/mirrors.yaml.tpl", "machine:\n  registries: {{ .Data.registries }}\n");
    let inventory = place.run("import c").ends(0).stdout;
    let n1 = place.write("mirrors.yaml", &inventory).run("explain ghcr.io --node n1").ok();
    assert!(n1.contains("https://all.example") && n1.contains("https://own.example"), "{n1}\n{inventory}");
    let inventory = place.run("import talos").ends(0).stdout;
    for part in ["https://deep.example", "password: of-json", "https://values.example"] {
        assert!(inventory.contains(part), "{inventory}");
    }
    let ran = place.run("import tpl").ends(3);
    assert!(
        ran.stderr.contains("tpl/all/mirrors.yaml.tpl:") && ran.stderr.contains("this is a Go template"),
        "{ran}"
    );
    for (name, text, engine) in [
        ("a.cue", "machine: registries: mirrors: {}\n", "a CUE"),
        (
            "b.yaml",
            "machine: {registries: {mirrors: {ghcr.io: {endpoints: ['https://@@HOST@@']}}}}\n",
            "a @@NAME@@",
        ),
        (
            "c.yaml",
            "machine:\n  registries:\n    mirrors:\n      ghcr.io: {endpoints: ['<%= url %>']}\n",
            "an ERB",
        ),
        (
            "d.yaml",
            "machine: {registries: {mirrors: {ghcr.io: {endpoints: ['https://%%HOST%%']}}}}\n",
            "a %%NAME%%",
        ),
        (
            "e.yaml",
            "machine: {registries: {config: {a.example: {auth: {username: u, password: '{{ .Values.p }}'}}}}}\n",
            "a Helm",
        ),
        (
            "f.toml",
            "[plugins.cri.registry.mirrors.'docker.io']\n  endpoint = ['https://{{ host }}']\n",
            "a Jinja",
        ),
    ] {
        let ran = place.write(name, text).run(&format!("import {name}")).ends(3);
        assert!(ran.stderr.contains(&format!("this is {engine} template")), "{ran}");
    }
}

/// talhelper fills in what its files beside the config say, and the last of them counts; what is encrypted needs a key.
/// One folder's variables are not another's.
#[test]
fn talhelper_configs_of_two_folders_are_not_filled_in() {
    let place = Place::new();
    for (folder, host) in [("a", "a.example"), ("b", "b.example")] {
        let config = format!(
            "clusterName: {folder}\nendpoint: https://10.0.0.1:6443\nnodes:\n- {{hostname: {folder}-1, ipAddress: 10.0.0.1, controlPlane: true}}\n\
             patches:\n- |-\n  machine: {{registries: {{mirrors: {{docker.io: {{endpoints: ['https://${{HOST}}']}}}}}}}}\n"
        );
        place.write(&format!("{folder}/talconfig.yaml"), config);
        place.write(&format!("{folder}/talenv.yaml"), format!("HOST: {host}\n"));
    }
    let ran = place.run("import a/talconfig.yaml b/talconfig.yaml").ran();
    assert!(!ran.stdout.contains("a.example") && !ran.stdout.contains("b.example"), "{ran}");
    assert!(ran.stderr.contains("of several folders: their variables stay"), "{ran}");
    let one = place.run("import b/talconfig.yaml").ran();
    assert!(one.stdout.contains("https://b.example"), "{one}");
}

#[test]
fn talhelper_fills_in_variables() {
    let place = Place::new();
    let config = "nodes: [{hostname: n1, ipAddress: 10.0.0.1, controlPlane: true}]
patches:
  - |-
    machine:
      registries:
        mirrors:
          docker.io: {endpoints: ['https://${MIRROR}', 'https://hub.${DOMAIN}']}
        config:
          ${MIRROR}: {auth: {username: '${USER_NAME}', password: '${PASSWORD}'}}
";
    place.write("cluster/talconfig.yaml", config);
    place.write("cluster/talenv.yaml", "MIRROR: old.example\nUSER_NAME: puller\nDOMAIN: other.example\n");
    place.write("cluster/talenv.sops.yaml", "DOMAIN: hidden.example\nPASSWORD: s3cr3t-talenv\n");
    place.write("cluster/talenv.yml", "MIRROR: m.example\n");
    place.run("keygen -o key.txt").ok();
    let recipient = place.run("keygen -y key.txt").ran();
    let recipient = format!("{}{}", recipient.stdout, recipient.stderr);
    let key = place.read("key.txt");
    let recipient =
        recipient.split_whitespace().chain(key.split_whitespace()).find(|word| word.starts_with("age1"));
    let encrypt = format!("encrypt --in-place --age {} cluster/talenv.sops.yaml", recipient.unwrap());
    place.run(&encrypt).ok();
    let ran = place.run("import cluster/talconfig.yaml --age-key-file key.txt").ends(0);
    assert!(ran.stdout.contains("url: https://m.example\n"), "{ran}");
    assert!(ran.stdout.contains("url: https://hub.hidden.example\n"), "{ran}");
    assert!(ran.stdout.contains("username: puller\n") && ran.stdout.contains("env: PASSWORD\n"), "{ran}");
    assert!(!ran.to_string().contains("s3cr3t"), "{ran}");
    assert!(ran.stderr.contains("`DOMAIN` is of `talenv.sops.yaml`, which is encrypted"), "{ran}");
    // Without the key the variables stay, and are told.
    let ran = place.run("import cluster/talconfig.yaml").ran();
    assert!(ran.stderr.contains("talenv.sops.yaml` cannot be opened: its variables stay"), "{ran}");
    assert!(ran.stdout.contains("url: https://m.example\n"), "{ran}");
}
