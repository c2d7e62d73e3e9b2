//! What a rollout goes by: parts of the nodes, and nodes that are known to be down.

use super::{Site, last, outcome};

#[test]
fn a_part_of_the_nodes_may_be_meant() {
    let site = Site::new(1, 4, &["v1.13.9"]);
    let plan = site.place.run("rollout --dry-run -o json --max-parallel 45% --max-failures 40%").ends(1);
    let plan: serde_json::Value = serde_json::from_str(plan.stdout.lines().next().unwrap()).unwrap();
    let waves = plan["waves"].as_array().unwrap();
    let sizes: Vec<usize> = waves.iter().map(|wave| wave["nodes"].as_array().unwrap().len()).collect();
    // Two of five at once, after the first, and two of them may fail.
    assert_eq!((sizes, plan["maxFailures"].as_u64()), (vec![1, 2, 1, 1], Some(2)));
    for (share, stops) in [("0%", "; stops after 1 failure\n"), ("100%", "; failures do not stop it\n")] {
        let plan = site.place.run(&format!("rollout --dry-run --max-failures {share}")).ends(1);
        assert!(plan.stdout.contains(stops), "{plan}");
    }
    for wrong in ["--max-parallel 0", "--max-parallel 0%", "--max-parallel 101%", "--max-failures x"] {
        let ran = site.place.run(&format!("rollout --dry-run {wrong}")).ends(2);
        assert!(ran.stderr.contains("it takes "), "{ran}");
    }
}

/// With two members, a reboot of one takes the quorum whatever happens: that is said before the first node.
#[test]
fn a_reboot_that_can_never_be_is_said_before_the_first_node() {
    let site = Site::new(2, 1, &["v1.13.9"]);
    let ran = site.rollout("--reboot if-needed");
    assert_eq!(ran.code, 8, "{ran}");
    assert!(
        ran.stderr.contains(
            "it cannot be rebooted: etcd would lose its quorum: 2 of 2 members are known to be well"
        ),
        "{ran}"
    );
    assert!(ran.stderr.contains("--reboot never"), "{ran}");
    assert!(site.cluster.names().iter().all(|name| site.applies(name).is_empty()), "{ran}");
    assert!(
        last(&ran).contains("begin with the others: talmirror rollout -n w-1 --reboot if-needed"),
        "{ran}"
    );
    assert_eq!(site.rollout("--reboot never").code, 0);
}

#[test]
fn nodes_that_may_be_down_are_nodes() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let wrong = site.rollout("--allow-unhealthy cp1");
    assert_eq!(wrong.code, 2, "{wrong}");
    assert!(wrong.stderr.contains("--allow-unhealthy: there is no node `cp1`"), "{wrong}");
    assert!(wrong.stderr.contains("did you mean `cp-1`?"), "{wrong}");
    assert_eq!(site.rollout("--allow-unhealthy cp-1 --dry-run").code, 1);
}

#[test]
fn a_control_plane_node_that_is_known_to_be_down_may_be() {
    let site = Site::new(3, 0, &["v1.13.9"]);
    // The inventory says which they are.
    let text = site.place.read("mirrors.yaml");
    let line = |line: &str| {
        let role = if line.trim_start().starts_with("cp-") { ", role: controlplane}" } else { "}" };
        line.replace('}', role) + "\n"
    };
    site.place.write("mirrors.yaml", text.lines().map(line).collect::<String>());
    // What may be down and is well counts.
    site.place.run("rollout --dry-run --reboot if-needed --allow-unhealthy cp-3").ends(1);
    site.cluster.node("cp-3").go_down();
    let ran = site.rollout("-n cp-1");
    assert_eq!((ran.code, site.applies("cp-1").len()), (8, 0), "{ran}");
    assert!(last(&ran).contains("(--allow-unhealthy cp-3 goes on without it"), "{ran}");
    // It is said with the plan, before the nodes that come first are changed, and names the way to go on.
    let plan = site.place.run("rollout --dry-run -n cp-1").ends(1);
    assert!(
        plan.stderr.contains(
            "control plane nodes are not changed as long as this holds: etcd on cp-3 does not answer"
        ) && plan.stderr.contains("(--allow-unhealthy cp-3 goes on without it"),
        "{plan}"
    );
    let ran = site.rollout("-n cp-1 --allow-unhealthy cp-3");
    assert!(!ran.stderr.contains("as long as this holds"), "{ran}");
    assert_eq!((ran.code, outcome(&ran)), (0, "cp-1 updated"), "{ran}");
    // Never below the quorum, whatever is allowed.
    let ran = site.rollout("-n cp-2 --reboot if-needed --allow-unhealthy cp-3");
    assert_eq!((ran.code, site.applies("cp-2").len()), (8, 0), "{ran}");
    assert!(ran.stderr.contains("etcd would lose its quorum: 2 of 3 members are known to be well"), "{ran}");
}

/// A node is meant however it is written, as everywhere else.
#[test]
fn nodes_of_flags_may_be_named_by_their_addresses() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    let address = |name: &str| site.cluster.node(name).address.clone();
    let (w1, w2, cp) = (address("w-1"), address("w-2"), address("cp-1"));
    let line = format!("--canary {w2} --allow-unhealthy {cp}:50000 --without {w1}:50000 --dry-run -o json");
    let plan = site.place.run(&format!("rollout {line}")).ends(1);
    let plan: serde_json::Value = serde_json::from_str(plan.stdout.lines().next().unwrap()).unwrap();
    let nodes: Vec<_> = plan["waves"].as_array().unwrap().iter().map(|wave| wave["nodes"].clone()).collect();
    assert_eq!(nodes, [serde_json::json!(["w-2"]), serde_json::json!(["cp-1"])]);
    let wrong = site.place.run(&format!("rollout --dry-run --without {w1}:50001")).ends(2);
    assert!(wrong.stderr.contains("no chosen node has this name or address"), "{wrong}");
}
