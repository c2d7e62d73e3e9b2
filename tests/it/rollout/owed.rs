//! A reboot that is owed stays visible: by what a node says itself, and by the journals of earlier rollouts.

use serde_json::Value;
use tonic::Code;

use super::{Site, last};
use crate::sim::{Fault, Kind, Step};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Before Talos 1.14 containerd has the credentials that it started with. No journal is needed to see that.
#[test]
fn a_reboot_that_was_skipped_is_told_until_it_comes() {
    let site = Site::new(1, 1, &["v1.13.9", "v1.14.1"]);
    let names = ["cp-1", "w-1"];
    let older: Vec<&str> =
        names.into_iter().filter(|name| site.cluster.node(name).state().version == "v1.13.9").collect();
    let [older] = older[..] else { panic!("one node of each version") };
    let before = site.place.run("nodes -o json").ends(0);
    assert!(json(&before.stdout)["items"].as_array().unwrap().iter().all(|node| node["owesReboot"] == false));
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    let next = format!(
        "Next: credentials reach the pulls of their pods only after a reboot: talmirror rollout -n {older} --reboot if-needed --verify never {}",
        super::TIMES
    );
    assert!(last(&ran).ends_with(&next), "{ran}");
    // What another machine knows, which has no journal.
    let other = crate::run::Place::new();
    for file in ["mirrors.yaml", ".talos/config"] {
        other.write(file, site.place.read(file));
    }
    let nodes = json(&other.run("nodes -o json").ends(0).stdout);
    for node in nodes["items"].as_array().unwrap() {
        assert_eq!(node["owesReboot"], node["name"] == older, "{node}");
    }
    let table = other.run("nodes").ends(0);
    assert!(table.stderr.contains(&format!("warning: {older}: containerd started before")), "{table}");
    let diff = other.run("diff").ends(0);
    assert_eq!(diff.stdout.matches("  ! containerd started before its credentials").count(), 1, "{diff}");
    let plain = other.run(&super::line("")).ends(0);
    assert!(
        last(&plain).starts_with("nothing to do: all 2 nodes are as the inventory has it. Next: "),
        "{plain}"
    );
    assert!(last(&plain).ends_with(&next), "{plain}");
    // The plan of the reboot, then the reboot alone.
    let plan = other.run("rollout --dry-run --reboot if-needed").ends(1);
    assert!(plan.stdout.starts_with("1 node of 2 to change"), "{plan}");
    assert!(plan.stdout.contains("it is rebooted, and nothing else is changed"), "{plan}");
    let (boots, applies) = (site.cluster.node(older).state().boots, site.applies(older).len());
    let done = other.run(&super::line("--reboot if-needed")).ends(0);
    assert!(site.is_new(older), "{done}");
    let node = site.cluster.node(older);
    assert_eq!((node.state().boots, site.applies(older).len()), (boots + 1, applies), "{done}");
    for command in ["nodes", "diff"] {
        let ran = other.run(command).ends(0);
        assert!(!ran.to_string().contains("containerd started before"), "{ran}");
    }
    // What has only rebooted a node is nothing to go back from.
    let back = other.run("rollback --yes").ends(3);
    assert!(back.stderr.contains("changed the config of none of these nodes"), "{back}");
    assert!(back.stderr.contains("rollout history"), "{back}");
    let again = other.run(&super::line("--reboot if-needed")).ends(0);
    assert_eq!(last(&again), "nothing to do: all 2 nodes are as the inventory has it", "{again}");
}

/// A reboot that does not come, or after which the node is not well, is no end that is told as one.
#[test]
fn a_reboot_alone_that_fails_is_told() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    assert_eq!(site.rollout("-n w-1").code, 0);
    let denied = Kind::Refuse(Code::PermissionDenied, "no".to_owned());
    site.cluster.fault("w-1", Fault::new(Step::Reboot, denied));
    let refused = site.rollout("--reboot if-needed -n w-1");
    assert_eq!(refused.code, 8, "{refused}");
    assert!(last(&refused).starts_with("w-1 updated, not rebooted. w-1: it has the new config"), "{refused}");
    site.cluster.clear_faults();
    assert_eq!(site.rollout("--reboot if-needed -n w-1").code, 0);
    assert!(site.is_new("w-1"));
}

/// What a journal tells of a reboot that was refused holds until the node has booted, and no longer.
#[test]
fn a_reboot_that_was_refused_is_made_up_for_once() {
    for version in ["v1.9.6", "v1.13.9"] {
        let site = Site::new(1, 1, &[version]);
        let denied = Kind::Refuse(Code::PermissionDenied, "no".to_owned());
        site.cluster.fault("w-1", Fault::new(Step::Reboot, denied));
        assert_eq!(site.rollout("--reboot if-needed -n w-1").code, 8, "{version}");
        site.cluster.clear_faults();
        let boots = site.cluster.node("w-1").state().boots;
        for _ in 0..2 {
            let ran = site.rollout("--reboot if-needed -n w-1");
            assert_eq!(
                (ran.code, site.cluster.node("w-1").state().boots),
                (0, boots + 1),
                "{version}: {ran}"
            );
        }
    }
}

/// A node that its user has rebooted meanwhile says so itself: nothing of it is left to a resumed rollout.
#[test]
fn a_reboot_that_came_by_hand_is_not_made_up_for() {
    for version in ["v1.9.6", "v1.13.9"] {
        let site = Site::new(1, 1, &[version]);
        let denied = Kind::Refuse(Code::PermissionDenied, "no".to_owned());
        site.cluster.fault("w-1", Fault::new(Step::Reboot, denied));
        assert_eq!(site.rollout("--reboot if-needed -n w-1").code, 8, "{version}");
        site.cluster.clear_faults();
        site.cluster.node("w-1").boot();
        let (boots, applies) = (site.cluster.node("w-1").state().boots, site.applies("w-1").len());
        let resumed = site.rollout("--resume --reboot if-needed");
        let now = (site.cluster.node("w-1").state().boots, site.applies("w-1").len());
        assert_eq!((resumed.code, now), (0, (boots, applies)), "{version}: {resumed}");
        assert!(!resumed.stdout.contains("left in between"), "{version}: {resumed}");
        site.place.run("rollout status").ends(0);
    }
}

/// What is named next is for the nodes that were chosen, however they were.
#[test]
fn no_other_node_is_rebooted_by_what_is_named_next() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let ran = site.rollout("--match ^w-");
    let next = format!("rollout -n w-1 --reboot if-needed --verify never {}", super::TIMES);
    assert!(last(&ran).ends_with(&next), "{ran}");
}

/// Where a control plane node can never be rebooted, the others get the reboots that they need, and no command is named that
/// cannot work.
#[test]
fn a_reboot_alone_that_can_never_come_is_given_up() {
    let site = Site::new(2, 1, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    let boots = |name: &str| site.cluster.node(name).state().boots;
    let before = ["w-1", "cp-1", "cp-2"].map(boots);
    let ran = site.rollout("--reboot if-needed");
    assert_eq!((ran.code, super::outcome(&ran)), (0, "w-1 updated"), "{ran}");
    assert_eq!(["w-1", "cp-1", "cp-2"].map(boots), [before[0] + 1, before[1], before[2]], "{ran}");
    for name in ["cp-1", "cp-2"] {
        let why = "needs a reboot for its credentials, and cannot be rebooted: etcd would lose its quorum: 2 of 2 members";
        assert!(ran.stderr.contains(&format!("warning: {name}: {why}")), "{ran}");
    }
    assert!(!last(&ran).contains("Next: "), "{ran}");
    let again = site.rollout("--reboot if-needed");
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(last(&again), "nothing to do: all 3 nodes are as the inventory has it", "{again}");
    let nodes = json(&site.place.run("nodes -o json").ends(0).stdout);
    for node in nodes["items"].as_array().unwrap() {
        assert_eq!(node["owesReboot"], node["name"] != "w-1", "{node}");
    }
}

/// A trial that was taken back is no reason to reboot.
#[test]
fn what_was_put_back_owes_no_reboot() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.fault("cp-1", Fault::new(Step::Render, Kind::Stale));
    assert_eq!(site.rollout("").code, 6);
    site.cluster.clear_faults();
    let plan = site.place.run("rollout --dry-run --reboot if-needed").ends(1);
    assert!(!plan.stdout.contains("containerd started before"), "{plan}");
}

#[test]
fn earlier_rollouts_are_listed_and_the_latest_is_shown() {
    let site = Site::new(1, 1, &["v1.14.1"]);
    let none = site.place.run("rollout history").ends(0);
    assert!(none.stderr.contains("0 rollouts of context"), "{none}");
    site.place.run("rollout status").ends(3);
    assert_eq!(site.rollout("-n w-1").code, 0);
    site.place.run("rollback --yes --settle 500ms").ends(0);
    site.cluster.fault("cp-1", Fault::new(Step::Render, Kind::Stale));
    assert_eq!(site.rollout("").code, 6);
    site.cluster.clear_faults();
    let history = json(&site.place.run("rollout history -o json").ends(0).stdout);
    let states = history["items"].as_array().unwrap().iter();
    let states: Vec<&str> = states.map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["unfinished", "rolled back"], "the latest first");
    let status = site.place.run("rollout status").ends(1);
    assert!(status.stdout.contains("cp-1"), "{status}");
    assert!(status.stdout.contains("reverted"), "{status}");
    assert!(
        status.stderr.contains("the rollout is unfinished. Next: talmirror rollout --resume\n"),
        "{status}"
    );
    assert_eq!(site.rollout("--resume").code, 0);
    site.place.run("rollout status").ends(0);
    // What is said of a rollout that begins is no concern of those that were, and their flags may stand before their names.
    for command in ["history", "status"] {
        let ran = site.place.run(&format!("rollout {command}"));
        ran.env("TALMIRROR_MAX_FAILURES", "abc").env("TALMIRROR_CANARY", "nowhere").ends(0);
        let config = site.place.path(".talos/config");
        let flags = format!("--talosconfig {} -f mirrors.yaml --timeout 3s", config.display());
        let plain = site.place.run(&format!("rollout {command} {flags}")).ends(0);
        let before = site.place.run(&format!("rollout {flags} {command}")).ends(0);
        assert_eq!((before.stdout, before.stderr), (plain.stdout, plain.stderr));
        let wrong = site.place.run(&format!("rollout --canary w-1 {command}")).ends(2);
        assert!(wrong.stderr.contains("unexpected argument '--canary' found"), "{wrong}");
    }
    let wrong = site.place.run("rollout --dry-run").env("TALMIRROR_MAX_FAILURES", "abc").ends(2);
    assert!(wrong.stderr.contains("it takes a number of nodes"), "{wrong}");
    // A node may be called as a command is.
    let named = site.place.run("rollout --dry-run -n status").ends(5);
    assert!(named.stderr.contains("status"), "{named}");
    // Some, and then the others.
    let plan = site.place.run("rollback --dry-run --match ^w-").ends(1);
    assert!(plan.stderr.contains("next: talmirror rollback -n w-1"), "{plan}");
    site.place.run("rollback --yes --settle 500ms --match ^w-").ends(0);
    assert!(site.is_old("w-1") && site.is_new("cp-1"));
    assert!(site.place.run("rollback --group edge").ends(2).stderr.contains("edge"));
    site.place.run("rollout status").ends(1);
    site.place.run("rollback --yes --settle 500ms").ends(0);
    let status = site.place.run("rollout status").ends(0);
    assert!(status.stderr.contains("the rollout is rolled back"), "{status}");
}
