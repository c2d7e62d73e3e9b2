//! `backup`: machine configs in SOPS files, with the smallest change.

use crate::run::{Place, Run, repository};
use crate::sim::{State, Text};
use crate::talos::{Api, Place as Cluster};

const ALICE: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
const INVENTORY: &str = "\
mirror: https://h.example
registries: [ghcr.io]
nodes: {n1: {address: 10.0.0.1}, n2: {address: 10.0.0.2}, n3: {address: 10.0.0.3}}
";
const RULES: &str = "\
creation_rules:
  - path_regex: ^backups/
    encrypted_regex: ^(secret|token|key|password|auth|identityToken|privateKey)$
    age: age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl
";

/// A config as Talos generates it: comments, block scalars, several documents.
const CONFIG: &str = "\
version: v1alpha1 # Indicates the schema used to decode the contents.
debug: false
machine:
    type: worker # Defines the role of the machine within the cluster.
    token: s3cr3t-machine # The `token` is used by a machine to join the PKI of the cluster.
    ca:
        crt: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t
        key: \"\"
    # Extra certificate subject alternative names for the machine's certificate.
    certSANs: []
    #   # Uncomment this to enable SANs.
    #   - 10.0.0.10

    registries:
        mirrors:
            h.example:5000:
                endpoints: # in order
                    - http://h.example:5000 # the first
        config:
            h.example:5000:
                auth:
                    username: robot$x
                    password: s3cr3t-registry
cluster:
    secret: s3cr3t-cluster
---
apiVersion: v1alpha1
kind: RegistryTLSConfig
name: h.example:5000
clientIdentity:
    cert: |
        -----BEGIN CERTIFICATE-----
        MIIB
        -----END CERTIFICATE-----
    key: |
        -----BEGIN PRIVATE KEY-----
        s3cr3t-pem
        -----END PRIVATE KEY-----
---
# The hostname.
apiVersion: v1alpha1
kind: HostnameConfig
auto: stable
";

const KEY: (&str, &str) = ("SOPS_AGE_KEY_FILE", "keys.txt");

fn node(config: &str) -> State {
    State::new("v1.13.9", "worker", config)
}

/// Gives a node another config.
fn put(api: &Api, address: &str, config: &str) {
    api.change(address, |node| node.active = Text::new(config));
}

/// A cluster of three, and a place with an inventory, a key and rules.
fn start(cluster: &Cluster) -> (Place, Api) {
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let api = cluster.start(&addresses.map(|address| (address, node(CONFIG))));
    let place = Place::new();
    place
        .write("mirrors.yaml", INVENTORY)
        .write(".sops.yaml", RULES)
        .write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap())
        .write(".talos/config", cluster.authority.talosconfig(&[api.endpoint()], Some(&cluster.admin)));
    (place, api)
}

fn backup<'a>(place: &'a Place, flags: &str) -> Run<'a> {
    place.run(&format!("backup --output-dir backups {flags}")).env(KEY.0, KEY.1)
}

fn decrypted(place: &Place, file: &str) -> String {
    place.run(&format!("decrypt {file}")).env(KEY.0, KEY.1).reveals().ok()
}

/// Every file of the backups, and when it was written.
fn state(place: &Place) -> Vec<(String, String, std::time::SystemTime)> {
    let files = place.files().into_iter().filter(|file| file.starts_with("backups/"));
    files
        .map(|file| {
            let modified = std::fs::metadata(place.path(&file)).unwrap().modified().unwrap();
            (file.clone(), place.read(&file), modified)
        })
        .collect()
}

/// The lines that differ between two texts of as many lines.
fn changed<'a>(old: &'a str, new: &'a str) -> Vec<&'a str> {
    assert_eq!(old.lines().count(), new.lines().count());
    old.lines().zip(new.lines()).filter(|(old, new)| old != new).map(|(_, new)| new.trim()).collect()
}

#[test]
fn configs_are_kept_and_only_what_changed_changes() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    insta::assert_snapshot!(backup(&place, "--check").ends(1), @r"
    NODE   FILE              BACKUP    NOTE
    n1     backups/n1.yaml   missing
    n2     backups/n2.yaml   missing
    n3     backups/n3.yaml   missing
    --- stderr
    run the same command without --check to write them
    3 nodes: 3 missing, nothing was written
    --- exit 1
    ");
    assert!(!place.path("backups").exists());
    insta::assert_snapshot!(backup(&place, "").ends(0), @r"
    NODE   FILE              BACKUP    NOTE
    n1     backups/n1.yaml   created
    n2     backups/n2.yaml   created
    n3     backups/n3.yaml   created
    --- stderr
    3 nodes: 3 created
    --- exit 0
    ");
    let first = state(&place);
    assert_eq!(first.len(), 3, "nothing but the backups is left behind");
    for (file, text, _) in &first {
        assert!(!text.contains("s3cr3t-") && text.contains("# The hostname."), "{text}");
        assert_eq!(text.matches("\nsops:\n").count(), 3, "every document has its own");
        assert_eq!(decrypted(&place, file), CONFIG);
    }
    insta::assert_snapshot!(backup(&place, "").ends(0), @r"
    NODE   FILE              BACKUP      NOTE
    n1     backups/n1.yaml   unchanged
    n2     backups/n2.yaml   unchanged
    n3     backups/n3.yaml   unchanged
    --- stderr
    3 nodes: 3 unchanged
    --- exit 0
    ");
    assert_eq!(state(&place), first, "no byte, no time");
    backup(&place, "--check").ok();

    let config = CONFIG.replace("s3cr3t-registry", "s3cr3t-other");
    put(&api, "10.0.0.2", &config);
    insta::assert_snapshot!(backup(&place, "--check").ends(1), @r"
    NODE   FILE              BACKUP      NOTE
    n1     backups/n1.yaml   unchanged
    n2     backups/n2.yaml   differs
    n3     backups/n3.yaml   unchanged
    --- stderr
    run the same command without --check to write them
    3 nodes: 1 differs, 2 unchanged, nothing was written
    --- exit 1
    ");
    assert_eq!(state(&place), first);
    insta::assert_snapshot!(backup(&place, "").ends(0), @r"
    NODE   FILE              BACKUP      NOTE
    n1     backups/n1.yaml   unchanged
    n2     backups/n2.yaml   updated
    n3     backups/n3.yaml   unchanged
    --- stderr
    3 nodes: 1 updated, 2 unchanged
    --- exit 0
    ");
    let second = state(&place);
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    let lines = changed(&first[1].1, &second[1].1);
    let (value, rest) = lines.split_first().unwrap();
    assert!(value.starts_with("password: ENC["), "{lines:?}");
    // The MAC and the time stand in every document.
    assert!(rest.iter().all(|line| line.starts_with("lastmodified: ") || line.starts_with("mac: ENC[")));
    assert!(rest.len() <= 6, "{lines:?}");
    assert_eq!(decrypted(&place, "backups/n2.yaml"), config);
}

#[test]
fn what_a_node_boots_with_is_kept() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    let other = CONFIG.replace("s3cr3t-cluster", "s3cr3t-next");
    // A config on disk was set after the one that runs, and is staged, or before it, and that is on trial.
    api.change("10.0.0.2", |node| node.persistent = Some(Text::new(&other)));
    let earlier = Text { at: std::time::UNIX_EPOCH, ..Text::new(&other) };
    api.change("10.0.0.3", |node| node.persistent = Some(earlier));
    insta::assert_snapshot!(backup(&place, "").ends(0), @r"
    NODE   FILE              BACKUP    NOTE
    n1     backups/n1.yaml   created
    n2     backups/n2.yaml   created   kept is the config staged for the next boot
    n3     backups/n3.yaml   created   another config is on trial, and not kept
    --- stderr
    3 nodes: 3 created
    --- exit 0
    ");
    assert_eq!(decrypted(&place, "backups/n1.yaml"), CONFIG);
    assert_eq!(decrypted(&place, "backups/n2.yaml"), other);
    assert_eq!(decrypted(&place, "backups/n3.yaml"), other);
    let json: serde_json::Value = serde_json::from_str(&backup(&place, "-o json").ok()).unwrap();
    let pending: Vec<_> = json["items"].as_array().unwrap().iter().map(|item| &item["pending"]).collect();
    assert_eq!(pending, ["nothing", "staged", "trial"]);
    assert_eq!((&json["kind"], &json["changed"]), (&"Backup".into(), &false.into()));
    // Nothing was applied for good, but something was set since the boot: the node does not tell what is on its disk.
    api.change("10.0.0.1", |node| node.active.version = 2);
    assert!(backup(&place, "-n n1").ok().contains("unchanged   kept is what runs, maybe on trial\n"));
}

#[test]
fn one_node_or_file_harms_no_other() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    backup(&place, "").ok();
    api.0.remove("10.0.0.1");
    let ran = backup(&place, "").ends(5);
    insta::assert_snapshot!(ran.to_string().replace(&api.endpoint(), "CP"), @r"
    NODE   FILE              BACKUP      NOTE
    n1     backups/n1.yaml   failed
    n2     backups/n2.yaml   unchanged
    n3     backups/n3.yaml   unchanged
    --- stderr
    warning: n1: CP does not reach 10.0.0.1: dial tcp 10.0.0.1:50000: connect: connection refused
    help: is the node up? Names are looked up by the endpoint, not here
    3 nodes: 2 unchanged, 1 failed
    --- exit 5
    ");
    let json: serde_json::Value = serde_json::from_str(&backup(&place, "-o json").ends(5).stdout).unwrap();
    assert_eq!(json["items"][0]["state"], "failed");
    assert_eq!(json["items"][0]["error"]["reason"], "unreachable");
    assert_eq!(json["items"][1]["state"], "unchanged");

    let tampered = place.read("backups/n2.yaml").replace("type: worker", "type: controlplane");
    place.write("backups/n2.yaml", &tampered);
    std::fs::remove_file(place.path("backups/n3.yaml")).unwrap();
    insta::assert_snapshot!(backup(&place, "-n n2,n3").ends(4), @r"
    NODE   FILE              BACKUP    NOTE
    n2     backups/n2.yaml   failed
    n3     backups/n3.yaml   created
    --- stderr
    warning: n2: cannot use `backups/n2.yaml`
      caused by: the MAC does not fit: something in the file was changed after it was encrypted
    help: compare with the last version in your history; if every change is yours, `talmirror seal FILE` seals it again
    2 nodes: 1 created, 1 failed
    --- exit 4
    ");
    assert_eq!(place.read("backups/n2.yaml"), tampered, "a refused file is left as it was");
    assert_eq!(decrypted(&place, "backups/n3.yaml"), CONFIG);

    place.write("backups/n2.yaml", "version: v1alpha1\n");
    let ran = backup(&place, "-n n2").ends(3);
    assert!(ran.stderr.contains("`backups/n2.yaml` exists and is not encrypted"), "{ran}");
    assert_eq!(place.read("backups/n2.yaml"), "version: v1alpha1\n");
}

#[test]
fn a_rule_with_a_gap_is_refused() {
    let cluster = Cluster::new();
    let (place, _api) = start(&cluster);
    place.write(".sops.yaml", RULES.replace("secret|token|key|password|", "password|"));
    insta::assert_snapshot!(backup(&place, "-n n1").ends(3), @r#"
    NODE   FILE              BACKUP   NOTE
    n1     backups/n1.yaml   failed
    --- stderr
    warning: n1: `backups/n1.yaml` cannot hold the config
      caused by: its rule would leave ["machine"]["token"], ["cluster"]["secret"], ["clientIdentity"]["key"] in clear text
    help: extend the rule: encrypted_regex: ^(token|key|secret|clusterSecret|aescbcEncryptionSecret|secretboxEncryptionSecret|password|auth|identityToken|passphrase|privateKey|presharedKey|apiToken|uniqueToken|apiUrl|content|contents|env|environment|variables)$
    1 node: 1 failed
    --- exit 3
    "#);
    assert!(!place.path("backups").exists());
    place.write(".sops.yaml", RULES.replace("^(secret", "^(secret(?!x)"));
    let ran = backup(&place, "-n n1").ends(3);
    assert!(ran.stderr.contains("cannot be followed"), "{ran}");
}

#[test]
fn recipients_come_from_flags_rules_or_the_inventory() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    std::fs::remove_file(place.path(".sops.yaml")).unwrap();
    insta::assert_snapshot!(backup(&place, "-n n1").ends(2), @r"
    --- stderr
    error: nothing says for whom `backups/n1.yaml` is encrypted
    help: name a recipient with --age, or write a `.sops.yaml`, for example:
    creation_rules:
        - encrypted_regex: ^(password|auth|identity_?[tT]oken|key)$
          age: age1…
    --- exit 2
    ");
    assert!(api.calls().is_empty(), "nothing is asked before it is known for whom the files are");
    backup(&place, &format!("-n n1 --age {ALICE}")).ok();
    let rule = "encrypted_regex: ^(token|key|secret|clusterSecret|";
    assert!(place.read("backups/n1.yaml").contains(rule), "{}", place.read("backups/n1.yaml"));
    // A file of which nothing else says for whom it is stays for whom it is.
    let before = place.read("backups/n1.yaml");
    assert!(backup(&place, "-n n1").ok().contains("unchanged"));
    put(&api, "10.0.0.1", &CONFIG.replace("robot$x", "robot$y"));
    backup(&place, "-n n1").ok();
    assert!(changed(&before, &place.read("backups/n1.yaml")).len() <= 7);
    // The inventory's are taken where no rule fits.
    place.run(&format!("encrypt --in-place --age {ALICE} mirrors.yaml")).ok();
    place.write(".sops.yaml", RULES.replace("^backups/", "^other/"));
    backup(&place, "-n n2").ok();
    assert!(place.read("backups/n2.yaml").contains(ALICE));
    assert_eq!(decrypted(&place, "backups/n2.yaml"), CONFIG);
}

#[test]
fn recipients_and_rules_that_change_are_followed() {
    let cluster = Cluster::new();
    let (place, _api) = start(&cluster);
    backup(&place, "-n n1").ok();
    let second: String = std::fs::read_to_string(repository("tests/vectors/sops/keys-second.txt")).unwrap();
    let bob = second.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    place.write(".sops.yaml", RULES.replace(ALICE, &format!("{ALICE},{bob}")));
    let old = place.read("backups/n1.yaml");
    assert!(backup(&place, "-n n1 --check").ends(1).stdout.contains("differs"));
    backup(&place, "-n n1").ok();
    let new = place.read("backups/n1.yaml");
    assert!(new.contains(bob));
    let sealed = |text: &str| text.lines().filter(|line| line.contains("ENC[")).count();
    let kept = new.lines().filter(|line| line.contains("ENC[") && old.contains(*line)).count();
    assert_eq!(sealed(&old), kept, "a new recipient changes no value");
    place.write(".sops.yaml", RULES.replace("secret|", "secret|username|"));
    backup(&place, "-n n1").ok();
    assert!(place.read("backups/n1.yaml").contains("username: ENC["));
    backup(&place, "-n n1 --check").ok();
}

#[test]
fn what_yaml_cannot_keep_is_kept_as_one_value() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    let strange = "\
machine: &m # an anchor
    token: s3cr3t-machine
    env: {a: [1, 2]}
also: *m
---
{\"kind\": \"X\"}
";
    put(&api, "10.0.0.1", strange);
    insta::assert_snapshot!(backup(&place, "-n n1").ends(0), @r#"
    NODE   FILE              BACKUP    NOTE
    n1     backups/n1.yaml   created   kept as one value
    --- stderr
    warning: n1: the config is kept as one value: ["also"] is an alias or comes from a merge key at line 4, column 7
    help: `talmirror decrypt --extract '["data"]' backups/n1.yaml` gives it back
    1 node: 1 created
    --- exit 0
    "#);
    let extract = || {
        place
            .args(&["decrypt", "--extract", "[\"data\"]", "backups/n1.yaml"])
            .env(KEY.0, KEY.1)
            .reveals()
            .ok()
    };
    assert!(!place.read("backups/n1.yaml").contains("s3cr3t"));
    assert_eq!(extract(), strange, "byte for byte");
    let first = state(&place);
    assert!(backup(&place, "-n n1").ok().contains("unchanged"));
    assert_eq!(state(&place), first);
    let other = strange.replace("s3cr3t-machine", "s3cr3t-new");
    put(&api, "10.0.0.1", &other);
    backup(&place, "-n n1").ok();
    assert_eq!(extract(), other);
    assert!(changed(&first[0].1, &place.read("backups/n1.yaml")).len() <= 3);
    // Without a rule the file's own is for one value, not for a config.
    std::fs::remove_file(place.path(".sops.yaml")).unwrap();
    assert!(backup(&place, "-n n1").ok().contains("unchanged"));
    put(&api, "10.0.0.1", CONFIG);
    backup(&place, "-n n1").ok();
    assert_eq!(decrypted(&place, "backups/n1.yaml"), CONFIG);
}

#[test]
fn several_documents_are_under_one_mac() {
    let cluster = Cluster::new();
    let (place, _api) = start(&cluster);
    place.write(".sops.yaml", format!("{RULES}    mac_only_encrypted: true\n"));
    backup(&place, "-n n1").ok();
    assert!(!place.read("backups/n1.yaml").contains("mac_only_encrypted"));
    backup(&place, "-n n1 --check").ok();
    let text = place.read("backups/n1.yaml").replace("name: h.example:5000", "name: evil.example");
    place.write("backups/n1.yaml", text);
    backup(&place, "-n n1").ends(4);
}

#[test]
fn without_a_key_all_is_encrypted_again() {
    let cluster = Cluster::new();
    let (place, _api) = start(&cluster);
    backup(&place, "-n n1").ok();
    let ran = place.run("backup --output-dir backups -n n1 --check").ends(4);
    assert!(ran.stderr.contains("what it holds is not known"), "{ran}");
    let ran = place.run("backup --output-dir backups -n n1").ends(0);
    assert!(ran.stderr.contains("all of it is encrypted again"), "{ran}");
    assert_eq!(decrypted(&place, "backups/n1.yaml"), CONFIG);
}

#[test]
fn files_stay_in_their_directory() {
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    let names = ["fd00::1", "[fd00::2]", "10.0.0.7", ".."];
    for (name, host) in names.iter().zip(["fd00::1", "fd00::2", "10.0.0.7", ".."]) {
        api.0.add(host, host, node(CONFIG));
        backup(&place, &format!("-n {name}")).ok();
    }
    let files: Vec<String> = state(&place).into_iter().map(|(file, ..)| file).collect();
    assert_eq!(
        files,
        ["backups/-..yaml", "backups/10.0.0.7.yaml", "backups/fd00--1.yaml", "backups/fd00--2.yaml"]
    );
    assert!(backup(&place, "-n ../x").ends(2).stderr.contains("is not a valid address"));
    let ran = backup(&place, "-n a-b,A-B").ends(2);
    assert!(ran.stderr.contains("`a-b` and `A-B` would share the file"), "{ran}");
}

#[test]
#[cfg(unix)]
fn links_out_of_the_directory_are_refused() {
    use std::os::unix::fs::symlink;
    let cluster = Cluster::new();
    let (place, api) = start(&cluster);
    place.write("precious", "mine\n").write("backups/kept.yaml", "");
    for target in ["precious", "nowhere"] {
        symlink(place.path(target), place.path("backups/n1.yaml")).unwrap();
        let ran = backup(&place, "").ends(3);
        assert!(ran.stderr.contains("`backups/n1.yaml` is a link that leads out"), "{ran}");
        std::fs::remove_file(place.path("backups/n1.yaml")).unwrap();
    }
    assert_eq!((place.read("precious").as_str(), place.path("nowhere").exists()), ("mine\n", false));
    assert!(api.calls().is_empty());
    // The directory itself may be one: it is named.
    symlink(place.path("backups"), place.path("link")).unwrap();
    place.write(".sops.yaml", RULES.replace("^backups/", "^link/"));
    place.run("backup --output-dir link -n n1").ok();
    assert_eq!(decrypted(&place, "backups/n1.yaml"), CONFIG);
    // Where no file can be, nothing is lost.
    place.write("file", "").write(".sops.yaml", RULES.replace("^backups/", ""));
    let ran = place.run("backup --output-dir file -n n1").ends(9);
    assert!(ran.stderr.contains("cannot write"), "{ran}");
}
