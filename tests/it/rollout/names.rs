//! Nodes are worked on by the names that they have, whatever they were called before, and however they are named.

use super::interrupts::{end, journal, run, until};
use super::{Site, TIMES, options, outcome};
use crate::run::Ran;
use crate::sim::{Authority, Cluster, Fault, Kind, Spec, State, Step, machine_config, old_registries};

fn back(site: &Site, more: &str) -> Ran {
    site.place.run(&format!("rollback --yes --settle 2500ms --timeout 2500ms {more}")).ran()
}

/// The stage in which a plan has a node.
fn stage<'a>(plan: &'a Ran, node: &str) -> Option<&'a str> {
    let words = plan.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.into_iter().find(|words| words.get(2) == Some(&node)).and_then(|words| words.get(1).copied())
}

/// The journal keeps a machine under the name that it has for it, and a rollback finds it by either.
#[test]
fn a_node_that_was_renamed_before_its_turn_goes_back() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::NotFound));
    assert_eq!(site.rollout("").code, 6);
    site.cluster.clear_faults();
    let text = site.place.read("mirrors.yaml");
    site.place.write("mirrors.yaml", text.replace("w-2: {", "node-a: {"));
    let ran = site.rollout("--resume");
    assert_eq!((ran.code, site.is_new("w-2")), (0, true), "{ran}");
    assert!(ran.stdout.contains("node-a"), "{ran}");
    let status = site.place.run("rollout status").ends(0);
    assert!(status.stdout.contains("w-2") && !status.stdout.contains("not begun"), "{status}");
    let plan = site.place.run("rollback --dry-run").ends(1);
    assert!(plan.stdout.contains("w-2"), "{plan}");
    let one = back(&site, "-n node-a");
    assert_eq!((one.code, outcome(&one)), (0, "w-2 back to the old config"), "{one}");
    assert!(site.is_old("w-2") && site.is_new("w-1") && site.is_new("cp-1"));
    let all = back(&site, "");
    assert!(all.code == 0 && site.cluster.names().iter().all(|name| site.is_old(name)), "{all}");
}

/// What is known of one machine is not written over with what is done to another that has its name by now.
#[test]
fn nodes_that_have_swapped_their_addresses_both_go_back() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    let mut child = run(&site, &format!("rollout --yes --verify never --pause 5m {TIMES}"));
    let is_done = |text: String| text.contains("\"done\"");
    until("the first node", || {
        journal(&site.place).and_then(|path| std::fs::read_to_string(path).ok()).is_some_and(is_done)
    });
    child.kill().unwrap();
    let _ = end(child);
    assert!(site.is_new("w-1") && site.is_old("w-2"));
    let address = |name: &str| site.cluster.node(name).address.clone();
    let (one, other) = (address("w-1"), address("w-2"));
    let text = site.place.read("mirrors.yaml");
    let swapped = text.replace(&format!("w-1: {{address: {one}}}"), &format!("w-1: {{address: {other}}}"));
    let swapped = swapped.replace(&format!("w-2: {{address: {other}}}"), &format!("w-2: {{address: {one}}}"));
    assert_ne!(text, swapped);
    site.place.write("mirrors.yaml", swapped);
    let ran = site.rollout("--resume");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(site.cluster.names().iter().all(|name| site.is_new(name)), "{ran}");
    let status = site.place.run("rollout status").ends(0);
    assert!(!status.stdout.contains("not begun"), "{status}");
    // What the journal calls a node counts.
    let one = back(&site, "-n w-1");
    assert_eq!(one.code, 0, "{one}");
    assert!(site.is_old("w-1") && site.is_new("w-2"), "{one}");
    let all = back(&site, "");
    assert!(all.code == 0 && site.cluster.names().iter().all(|name| site.is_old(name)), "{all}");
}

/// A node that has taken the place of one with the new config does not take its old config from it.
#[test]
fn a_node_in_the_place_of_another_has_a_name_of_its_own() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.fault("w-2", Fault::new(Step::Pull, Kind::NotFound));
    assert_eq!(site.rollout("").code, 6);
    site.cluster.clear_faults();
    assert!(site.is_new("w-1"));
    // Installed again.
    site.cluster.node("w-1").state().machine = "another".to_owned();
    site.set("w-1", &site.old["w-1"]);
    site.cluster.node("w-1").state().render_now();
    let ran = site.rollout("--resume");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(site.cluster.names().iter().all(|name| site.is_new(name)), "{ran}");
    let status = site.place.run("rollout status").ends(0);
    let address = site.cluster.node("w-1").address.clone();
    assert!(status.stdout.lines().any(|line| line.starts_with(&address)), "{status}");
    let all = back(&site, "");
    assert!(all.stderr.contains("another machine answers at its address"), "{all}");
    assert!(site.cluster.names().iter().all(|name| site.is_old(name)), "{all}");
}

/// A rollback takes the addresses of the journal, and asks only those nodes where they are by now that are meant.
#[test]
fn a_rollback_takes_old_addresses_and_new_ones() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    let gone = site.cluster.node("w-1").address.clone();
    site.cluster.node("w-1").state().names.push("w-1.nodes.example".to_owned());
    let path = journal(&site.place).unwrap();
    let told = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, told.replace(&format!("\"{gone}\""), "\"10.5.77.77\"")).unwrap();
    let text = site.place.read("mirrors.yaml");
    site.place
        .write("mirrors.yaml", text.replace(&format!("{{address: {gone}}}"), "{address: w-1.nodes.example}"));
    let asked = site.cluster.events_of("w-1").len();
    let other = site.place.run("rollback --dry-run --timeout 2500ms -n w-2").ends(1);
    assert_eq!(site.cluster.events_of("w-1").len(), asked, "{other}");
    for name in ["10.5.77.77", "w-1", "w-1.nodes.example", "W-1.nodes.example:50000"] {
        let plan = site.place.run(&format!("rollback --dry-run --timeout 2500ms -n {name}")).ends(1);
        assert!(plan.stdout.contains("w-1") && !plan.stdout.contains("w-2"), "{name}: {plan}");
    }
    let refused = site.place.run("rollback --dry-run --timeout 2500ms -n 10.5.77.78").ends(2);
    assert!(refused.stderr.contains("did not change the config of `10.5.77.78`"), "{refused}");
    let one = back(&site, "-n 10.5.77.77");
    assert_eq!((one.code, outcome(&one)), (0, "w-1 back to the old config"), "{one}");
    assert!(site.is_old("w-1") && site.is_new("w-2"));
}

/// A flag that names a node means it still when it turns out what the inventory calls it.
#[test]
fn flags_follow_a_node_to_its_name() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    for name in ["w-2", "cp-1"] {
        site.cluster.node(name).state().names.push(format!("{name}.nodes.example"));
    }
    let nodes = "-n w-1,w-2.nodes.example,cp-1.nodes.example --allow-unhealthy cp-1.nodes.example";
    for canary in ["w-2.nodes.example", "w-2"] {
        let line = format!("rollout --dry-run --verify never {nodes} --canary {canary}");
        let plan = site.place.run(&line).ends(1);
        assert_eq!((stage(&plan, "w-2"), stage(&plan, "w-1")), (Some("canary"), Some("workers")), "{plan}");
        let flags = "--allow-unhealthy cp-1 --verify never --canary w-2\n";
        assert!(plan.stderr.contains(flags), "{plan}");
        // It is as good as the first one.
        let next = plan.stderr.lines().find_map(|line| line.strip_prefix("next: talmirror ")).unwrap();
        let again = site.place.run(&format!("{next} --dry-run")).ends(1);
        assert_eq!(stage(&again, "w-2"), Some("canary"), "{again}");
    }
    // One that is not among them is refused, though that shows only when they have said who they are.
    let refused = site.place.run("rollout --dry-run -n w-2.nodes.example --canary w-1").ends(2);
    assert!(refused.stderr.contains("--canary: `w-1` is not one of the nodes of this rollout"), "{refused}");
}

#[test]
fn a_canary_may_be_named_by_its_address_in_any_spelling() {
    let of = |name: &str, role: &str, address: &str| Spec {
        name: name.to_owned(),
        address: address.to_owned(),
        state: State::new("v1.13.9", role, &machine_config(name, role, "v1.13.9", old_registries())),
    };
    let specs = vec![
        of("cp-1", "controlplane", "fd00:5::9"),
        of("w-1", "worker", "fd00:5::1"),
        of("w-2", "worker", "fd00:5::2"),
    ];
    let site = Site::of(Cluster::of(std::sync::Arc::new(Authority::new()), specs, options()).unwrap(), "");
    for (node, canary) in
        [("fd00:5:0::2", "fd00:5:0::2"), ("fd00:5:0::2", "fd00:5::2"), ("w-2", "fd00:5:0::2")]
    {
        let line = format!("rollout --dry-run --verify never -n w-1,{node} --canary {canary}");
        let plan = site.place.run(&line).ends(1);
        assert_eq!((stage(&plan, "w-2"), stage(&plan, "w-1")), (Some("canary"), Some("workers")), "{plan}");
    }
}

/// An address may be another node's name: what is left out is the one of that name.
#[test]
fn what_is_left_out_by_name_is_no_other_by_address() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.node("w-1").state().names.push("b".to_owned());
    let text = site.place.read("mirrors.yaml");
    let one = site.cluster.node("w-1").address.clone();
    let text = text.replace(&format!("w-1: {{address: {one}}}"), "a: {address: b}").replace("w-2: {", "b: {");
    site.place.write("mirrors.yaml", text);
    let plan = site.place.run("rollout --dry-run --verify never --without b").ends(1);
    assert!(stage(&plan, "a").is_some() && stage(&plan, "b").is_none(), "{plan}");
    // By its address, in whichever order.
    let other = site.cluster.node("w-2").address.clone();
    let plan = site.place.run(&format!("rollout --dry-run --verify never --without a,{other}")).ends(1);
    assert!(stage(&plan, "a").is_none() && stage(&plan, "b").is_none(), "{plan}");
}
