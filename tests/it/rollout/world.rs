//! What real clusters have that the standard one lacks.

use super::{Site, last, options, outcome};
use crate::sim::{Authority, Cluster, Fault, Kind, Spec, State, Step, machine_config, old_registries};

#[test]
fn a_node_in_maintenance_mode_is_told_as_one() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.node("w-1").state().stage = "maintenance".to_owned();
    let ran = site.rollout("");
    assert_eq!(ran.code, 5, "{ran}");
    assert!(ran.stderr.contains("is it in maintenance mode, or of another cluster?"), "{ran}");
    assert!(last(&ran).contains("begin with the others: talmirror rollout -n cp-1"), "{ran}");
    assert!(site.applies("cp-1").is_empty());
}

#[test]
fn a_member_of_etcd_that_still_learns_is_waited_for() {
    let site = Site::new(3, 1, &["v1.13.9"]);
    site.cluster.node("cp-3").state().learner = true;
    let ran = site.rollout("");
    assert_eq!(ran.code, 8, "{ran}");
    assert!(site.is_new("w-1") && site.applies("cp-1").is_empty(), "{ran}");
    assert!(last(&ran).contains("etcd's member cp-3 is still a learner"), "{ran}");
    site.cluster.node("cp-3").state().learner = false;
    assert_eq!(site.rollout("--resume").code, 0);
}

#[test]
fn what_an_image_cache_may_have_served_proves_nothing() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    {
        let node = site.cluster.node("cp-1");
        let mut state = node.state();
        state.image_cache = Some("ready".to_owned());
        state.render_now();
    }
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(site.is_new("cp-1"), "{ran}");
    assert!(
        last(&ran).starts_with("cp-1 updated, not proven")
            && last(&ran).contains("the node's own image cache may have served the images"),
        "{ran}"
    );
    assert!(site.place.run("nodes").ran().stdout.contains(" ready "));
}

#[test]
fn nodes_may_have_addresses_of_ipv6() {
    let of = |name: &str, role: &str, address: &str| Spec {
        name: name.to_owned(),
        address: address.to_owned(),
        state: State::new("v1.13.9", role, &machine_config(name, role, "v1.13.9", old_registries())),
    };
    let specs = vec![of("cp-1", "controlplane", "fd00:5::1"), of("w-1", "worker", "fd00:5::2")];
    let cluster = Cluster::of(std::sync::Arc::new(Authority::new()), specs, options()).unwrap();
    let inventory = cluster.inventory();
    let site = Site::of(cluster, "");
    site.place.write("mirrors.yaml", inventory.replace("{address: fd00:5::1}", "{address: 'fd00:5::1'}"));
    let ran = site.rollout("");
    assert_eq!((ran.code, outcome(&ran)), (0, "w-1, cp-1 updated"), "{ran}");
    assert!(site.is_new("w-1") && site.is_new("cp-1"));
    // Another way to write the address is the same node.
    let same = site.rollout("-n fd00:0005:0:0::2");
    assert!(same.code == 0 && last(&same).starts_with("nothing to do"), "{same}");
}

#[test]
fn nodes_may_be_named_by_dns() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.node("w-1").state().names.push("w-1.nodes.example".to_owned());
    // The inventory has its address, and the user its name.
    let ran = site.rollout("-n w-1.nodes.example");
    assert_eq!((ran.code, outcome(&ran)), (0, "w-1 updated"), "{ran}");
    assert!(site.is_new("w-1"));
    let unknown = site.rollout("-n w-2.nodes.example");
    assert_eq!(unknown.code, 5, "{unknown}");
    assert!(unknown.stderr.contains("Names are looked up by the endpoint, not here"), "{unknown}");
}

/// What was planned for one version is not sent to another.
#[test]
fn an_upgrade_after_the_plan_leaves_the_node_untouched() {
    let site = Site::new(1, 1, &["v1.11.6"]);
    // The first is the plan's.
    site.cluster.fault("w-1", Fault::once(Step::Version, Kind::Upgrade("v1.14.1".to_owned())).after(1));
    let ran = site.rollout("");
    assert_eq!((ran.code, site.applies("w-1").len()), (8, 0), "{ran}");
    assert!(
        last(&ran).contains("w-1: it has Talos v1.14.1 by now, and had v1.11.6 when this was planned"),
        "{ran}"
    );
    let resumed = site.rollout("--resume");
    assert_eq!(resumed.code, 0, "{resumed}");
}

/// A machine with the same keys and the same config is another one all the same.
#[test]
fn a_node_that_is_replaced_after_the_plan_is_left_untouched() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::once(Step::Version, Kind::Replace).after(1));
    let ran = site.rollout("");
    assert_eq!((ran.code, site.applies("w-1").len()), (8, 0), "{ran}");
    assert!(
        last(&ran).contains("w-1: another machine answers by now at its address: the node was replaced"),
        "{ran}"
    );
    assert_eq!(site.rollout("--resume").code, 0);
}

#[test]
fn a_pull_that_never_ends_is_ended_and_the_node_is_brought_back() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let ran = site.place.run("rollout --yes --try-timeout 2500ms --settle 2s --timeout 2s").ran();
    assert_eq!(ran.code, 6, "{ran}");
    assert!(last(&ran).contains("w-1: the trial's 2.5 s are nearly over; --try-timeout"), "{ran}");
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty());
}

/// What controllers render at first is not what counts.
#[test]
fn a_config_that_is_rendered_twice_is_waited_for() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.fault("cp-1", Fault::new(Step::Render, Kind::Twice));
    let ran = site.place.run("rollout --yes --try-timeout 2m --settle 30s --timeout 30s").ran();
    assert_eq!((ran.code, outcome(&ran)), (0, "cp-1 updated"), "{ran}");
    assert!(site.is_new("cp-1"));
}

/// Before Talos 1.10 a node does not show what is on its disk: whatever ends a rollback early, it can be done again.
#[test]
fn a_rollback_on_an_old_talos_can_always_be_done_again() {
    let kinds = [Kind::Reject, Kind::DieBefore, Kind::DieAfter, Kind::Unreachable, Kind::Hang, Kind::Reboot];
    super::faults::at_once(&kinds, |kind| -> Result<(), String> {
        let site = Site::of(Cluster::start(1, 1, &["v1.9.5"], options()).unwrap(), "");
        let done = site.rollout("");
        if done.code != 0 {
            return Err(done.to_string());
        }
        site.cluster.fault("w-1", Fault::once(Step::Commit, kind.clone()));
        let first = site.place.run("rollback --yes --settle 1500ms --timeout 1500ms").ran();
        site.cluster.clear_faults();
        if *kind == Kind::Reboot {
            site.cluster.wait("the boot", |cluster| cluster.node("w-1").state().boots > 1);
        }
        let again = site.place.run("rollback --yes --settle 20s --timeout 20s").ran();
        if again.code != 0 || !site.is_old("w-1") || !site.is_old("cp-1") {
            return Err(format!("{kind:?}: {first}\n{again}"));
        }
        let forth = site.place.run("rollout --yes --try-timeout 60s --settle 20s --timeout 20s").ran();
        if forth.code != 0 || !site.is_new("w-1") || !site.is_new("cp-1") {
            return Err(format!("{kind:?}: {first}\n{again}\n{forth}"));
        }
        Ok(())
    });
}
