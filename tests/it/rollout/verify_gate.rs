//! The mirrors are asked from here before a rollout touches a node.

use super::{Site, outcome};
use crate::sim::RegistryAnswer as Answer;

/// A rollout that asks the mirrors.
const LINE: &str = "rollout --yes --try-timeout 60s --settle 20s";

#[test]
fn a_mirror_that_fails_ends_it_before_a_node_is_touched() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.mirror.answer(Answer::Status(500));
    let ran = site.place.run(LINE).ends(8);
    assert!(ran.stderr.contains("mirror `mirror`: V318 the server fails"), "{ran}");
    assert!(ran.stderr.contains("no node was touched: 1 failure of mirrors"), "{ran}");
    assert!(site.is_old("w-1") && site.applies("w-1").is_empty() && site.applies("cp-1").is_empty());
    // A dry run shows its plan all the same.
    let ran = site.place.run("rollout --dry-run").ends(1);
    assert!(ran.stderr.contains("V318") && ran.stdout.contains("w-1"), "{ran}");
    let ran = site.place.run("rollout --dry-run --verify never").ends(1);
    assert!(!ran.stderr.contains("V318") && ran.stderr.contains("--verify never"), "{ran}");
    site.cluster.mirror.answer(Answer::All);
    let ran = site.place.run(LINE).ends(0);
    assert_eq!(outcome(&ran), "w-1, cp-1 updated", "{ran}");
    assert!(site.is_new("w-1") && site.is_new("cp-1"));
}

#[test]
fn a_mirror_that_cannot_be_asked_from_here_is_told() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    let text = site.place.read("mirrors.yaml");
    let address = site.cluster.mirror.address.to_string();
    let text = text.replace(&format!("http://{address}"), "http://no-such-host.invalid");
    site.place.write("mirrors.yaml", text);
    let ran = site.place.run("rollout --dry-run").ends(1);
    assert!(ran.stderr.contains("mirror `mirror` cannot be asked from here"), "{ran}");
}

/// What listens at this machine's own address is not the mirror of the nodes.
#[test]
fn a_mirror_on_the_nodes_themselves_is_not_asked_from_here() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    let text = site.place.read("mirrors.yaml");
    site.place
        .write("mirrors.yaml", text.replace("kind: harbor\n", "kind: harbor\n        inCluster: true\n"));
    site.cluster.mirror.answer(Answer::Status(403));
    let ran = site.place.run("rollout --dry-run").ends(1);
    let told = "mirror `mirror` is on the nodes themselves, and is not asked from here";
    assert_eq!(ran.stderr.matches(told).count(), 1, "{ran}");
    assert!(!ran.stderr.contains(": V3") && site.cluster.mirror.hits().is_empty(), "{ran}");
}

/// What stands in for a secret is shown to no mirror.
#[test]
fn a_mirror_whose_password_is_not_known_is_not_asked_from_here() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.mirror.protect("robot$talos", "s3cr3t-mirror");
    let text = site.place.read("mirrors.yaml");
    let from = "passwordFrom: {command: [echo, s3cr3t-mirror]}";
    site.place.write("mirrors.yaml", text.replace("password: s3cr3t-mirror", from));
    let ran = site.place.run("rollout --dry-run").ends(1);
    let told = "not asked from here: `mirror`; their credentials come from commands that were not started";
    assert_eq!(ran.stderr.matches(told).count(), 1, "{ran}");
    assert!(!ran.stderr.contains("V307") && site.cluster.mirror.hits().is_empty(), "{ran}");
    let ran = site.place.run("rollout --dry-run --run-commands").ends(1);
    assert!(!ran.stderr.contains("not asked from here") && !ran.stderr.contains("V307"), "{ran}");
    assert!(!site.cluster.mirror.hits().is_empty(), "{ran}");
}
