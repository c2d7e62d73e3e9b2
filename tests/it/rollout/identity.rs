//! A node is what it says it is, however it is named and whatever answers at its address.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::interrupts::{end, run, until};
use super::{Site, outcome};
use crate::sim::{CUSTOMIZATION, Fault, Kind, Step};

/// Writes the inventory again, without its nodes.
fn without_nodes(site: &Site, more: &str) {
    let text = site.place.read("mirrors.yaml");
    let nodes = text.find("nodes:").unwrap();
    site.place.write("mirrors.yaml", format!("{}{more}", &text[..nodes]));
}

#[test]
fn two_names_of_one_node_are_an_error_before_anything_is_sent() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let other = site.cluster.endpoint("w-1");
    let text = site.place.read("mirrors.yaml");
    site.place.write("mirrors.yaml", format!("{text}    w-1b: {{address: \"{other}\"}}\n"));
    let ran = site.rollout("");
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stderr.contains("`w-1` and `w-1b`") && ran.stderr.contains("lead to one node, w-1"), "{ran}");
    assert!(site.applies("w-1").is_empty() && site.applies("cp-1").is_empty());
}

#[test]
fn a_node_is_found_by_what_it_says_itself() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    // By host and port, which is not what the inventory has.
    let ran = site.rollout(&format!("-n {}", site.cluster.endpoint("w-1")));
    assert_eq!((ran.code, outcome(&ran)), (0, "w-1 updated"), "{ran}");
    assert!(site.is_new("w-1"));
}

#[test]
fn groups_take_nodes_by_address_wherever_they_come_from() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let address = site.cluster.node("w-1").address.clone();
    let cp = site.cluster.node("cp-1").address.clone();
    without_nodes(
        &site,
        &format!("groups:\n    edge: {{addresses: [{address}/32], registries: {{docker.io: null}}}}\n"),
    );
    let ran = site.rollout(&format!("-n {address}"));
    assert_eq!(ran.code, 0, "{ran}");
    assert!(!site.has("w-1").0.contains("/v2/docker.io") && site.has("w-1").0.contains("/v2/ghcr.io"));
    // What no group knows would get only what every node starts from.
    let refused = site.rollout(&format!("-n {cp}"));
    assert_eq!((refused.code, site.applies("cp-1").len()), (8, 0), "{refused}");
    assert!(refused.stderr.contains("the inventory does not know it"), "{refused}");
    let taken = site.rollout(&format!("-n {cp} --unknown-nodes"));
    assert_eq!(taken.code, 0, "{taken}");
}

#[test]
fn a_node_that_the_inventory_has_lost_is_left_out_of_a_resumed_rollout() {
    for grouped in [false, true] {
        let site = Site::new(1, 2, &["v1.13.9"]);
        site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::NotFound));
        assert_eq!(site.rollout("").code, 6);
        site.cluster.clear_faults();
        let text = site.place.read("mirrors.yaml");
        let address = site.cluster.node("w-2").address.clone();
        // A group that takes its address all the same does not bring it back.
        let group =
            format!("groups:\n    edge: {{addresses: [{address}/32], registries: {{docker.io: null}}}}\n");
        site.place.write("mirrors.yaml", unlisted(&text, "w-2") + if grouped { &group } else { "" });
        let ran = site.rollout("--resume");
        assert!(ran.stderr.contains("w-2: not in the inventory any more, and left out"), "{ran}");
        assert!(site.applies("w-2").is_empty() && site.is_new("w-1") && site.is_new("cp-1"), "{ran}");
        let named = site.rollout("--resume -n w-2");
        assert_eq!((named.code, site.applies("w-2").len()), (8, 0), "{named}");
        // And the other way round: it is listed again.
        site.place.write("mirrors.yaml", text);
        let ran = site.rollout("--resume");
        assert!(ran.code == 0 && site.is_new("w-2"), "{ran}");
    }
}

/// What was left in between on it is brought back, a commit that may be lost included.
#[test]
fn a_lost_node_that_was_left_in_between_gets_its_old_config_back() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Commit, Kind::Hold));
    let mut child = run(&site, "rollout --yes --try-timeout 10m --settle 1m --timeout 1m");
    until("the commit", || site.applies("w-1").len() == 2);
    child.kill().unwrap();
    let _ = end(child);
    site.cluster.clear_faults();
    let text = site.place.read("mirrors.yaml");
    site.place.write("mirrors.yaml", unlisted(&text, "w-1"));
    let ran = site.rollout("--resume");
    assert!(ran.stdout.contains("w-1 was left in between: its old config is sent again"), "{ran}");
    assert!(site.is_old("w-1") && site.is_new("cp-1"), "{ran}");
}

/// Takes a node out of an inventory.
fn unlisted(text: &str, name: &str) -> String {
    let kept = text.lines().filter(|line| !line.trim_start().starts_with(&format!("{name}:")));
    kept.map(|line| format!("{line}\n")).collect()
}

/// What a node's owner has given containerd beside Talos is told, and does not stand in the way.
#[test]
fn credentials_of_others_stay_and_are_told() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    {
        let node = site.cluster.node("w-1");
        let mut state = node.state();
        let part = "[plugins.'io.containerd.cri.v1.images'.registry.configs.'own.example'.auth]\nusername = 'me'\npassword = 's3cr3t-own'\n";
        state.files.insert(CUSTOMIZATION.to_owned(), part.to_owned());
        let spegel = "[host.'http://127.0.0.1:30021']\n";
        state.files.insert("/etc/cri/conf.d/hosts/_default/hosts.toml".to_owned(), spegel.to_owned());
        state.render_now();
    }
    let told = "containerd has credentials for own.example that are not from the config's registries";
    for (command, code) in [("nodes", 0), ("diff -n w-1", 1), ("rollout --dry-run", 1)] {
        let ran = site.place.run(command).ends(code);
        assert!(ran.to_string().contains(told), "{command}: {ran}");
        assert!(ran.to_string().contains("Talos did not write http://127.0.0.1:30021"), "{command}: {ran}");
        assert!(!ran.to_string().contains("s3cr3t-own"), "{command}: {ran}");
    }
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("and removes it when the config changes"), "{ran}");
    assert!(site.is_new("w-1") && site.is_new("cp-1"));
}

/// A node's own part of containerd's config may have credentials for the mirror itself: they count more, before and after.
#[test]
fn credentials_of_others_for_the_mirror_are_told_and_count() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let mirror = site.cluster.mirror.address.to_string();
    let customize = |password: &str| {
        let part = format!(
            "[plugins.'io.containerd.cri.v1.images'.registry.configs.'{mirror}'.auth]\n\
             username = 'robot$talos'\npassword = '{password}'\n"
        );
        let node = site.cluster.node("w-1");
        let mut state = node.state();
        state.files.insert(CUSTOMIZATION.to_owned(), part);
        state.render_now();
    };
    customize("s3cr3t-others");
    let told = format!("pods' pulls use other credentials for {mirror} than the inventory's");
    let plan = site.place.run("rollout --dry-run -n w-1").ends(1);
    assert!(plan.stdout.contains(&told) && !plan.to_string().contains("s3cr3t-"), "{plan}");
    let ran = site.rollout("-n w-1");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(super::last(&ran).starts_with(&format!("w-1 updated, not proven. w-1: {told}")), "{ran}");
    // The same there and in the inventory, which then loses them: they stay, and nothing is wrong with that.
    customize("s3cr3t-mirror");
    let text = site.place.read("mirrors.yaml");
    let own = "credentials: {username: robot$talos, password: s3cr3t-mirror}";
    assert!(text.contains(own));
    site.place.write("mirrors.yaml", text.replace(own, "credentials: null"));
    let ran = site.rollout("-n w-1");
    assert_eq!(ran.code, 0, "{ran}");
    let stay = format!(
        "containerd has credentials for {mirror} that are not from the config's registries: they stay"
    );
    assert!(ran.stdout.contains(&stay), "{ran}");
}

/// What Spegel has written for a registry of its own list goes when the config changes: that is said before.
#[test]
fn hosts_that_others_wrote_for_any_registry_are_told() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    {
        let node = site.cluster.node("w-1");
        let mut state = node.state();
        let spegel = "[host.'http://127.0.0.1:30021']\n";
        for registry in ["ghcr.io", "quay.io"] {
            state.files.insert(format!("/etc/cri/conf.d/hosts/{registry}/hosts.toml"), spegel.to_owned());
        }
        state.render_now();
    }
    for (command, code) in [("nodes", 0), ("diff -n w-1", 1), ("rollout --dry-run", 1)] {
        let ran = site.place.run(command).ends(code).to_string();
        assert_eq!(ran.matches("Talos did not write http://127.0.0.1:30021").count(), 1, "{command}: {ran}");
    }
}

/// The addresses of two nodes are swapped in the inventory while one of them is on trial: the machine is what counts.
#[test]
fn a_node_whose_address_is_anothers_now_is_found_by_what_it_is() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let mut child = run(&site, "rollout --yes --verify never --try-timeout 5m --settle 30s --timeout 30s");
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    child.kill().unwrap();
    let _ = end(child);
    site.cluster.clear_faults();
    let address = |name: &str| site.cluster.node(name).address.clone();
    let (one, other) = (address("w-1"), address("w-2"));
    let text = site.place.read("mirrors.yaml");
    let swapped = text.replace(&format!("w-1: {{address: {one}}}"), &format!("w-1: {{address: {other}}}"));
    let swapped = swapped.replace(&format!("w-2: {{address: {other}}}"), &format!("w-2: {{address: {one}}}"));
    assert_ne!(text, swapped);
    site.place.write("mirrors.yaml", swapped);
    let plain = site.rollout("");
    assert_eq!(plain.code, 8, "{plain}");
    assert!(plain.stderr.contains("w-2: an earlier rollout has not ended on it"), "{plain}");
    let ran = site.rollout("--resume");
    assert_eq!(ran.code, 0, "{ran}");
    site.check_applies();
    assert!(site.is_new("w-1") && site.is_new("w-2") && site.is_new("cp-1"), "{ran}");
    let back = site.place.run("rollback --yes --settle 2500ms --timeout 2500ms").ran();
    assert_eq!(back.code, 0, "{back}");
    assert!(site.cluster.names().iter().all(|name| site.is_old(name)), "{back}");
}

/// A rollback finds a node where the inventory has it by now, and by the name that it has there.
#[test]
fn a_rollback_finds_a_node_that_has_moved_or_has_another_name() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    let text = site.place.read("mirrors.yaml");
    // It is at another address, and no longer where it was.
    let gone = site.cluster.node("w-1").address.clone();
    site.cluster.node("w-1").state().names.push("w-1.nodes.example".to_owned());
    let journal = super::interrupts::journal(&site.place).unwrap();
    let told = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, told.replace(&format!("\"{gone}\""), "\"10.5.77.77\"")).unwrap();
    let moved = text.replace(&format!("{{address: {gone}}}"), "{address: w-1.nodes.example}");
    let moved = moved.replace("w-2: {", "worker-2: {");
    assert_ne!(text, moved);
    site.place.write("mirrors.yaml", moved);
    for (name, own) in [("w-1", "w-1"), ("worker-2", "w-2")] {
        assert_eq!(site.place.run(&format!("rollback --dry-run -n {own}")).ran().code, 1);
        let line = format!("rollback --yes -n {name} --settle 2500ms --timeout 2500ms");
        let back = site.place.run(&line).ran();
        assert_eq!(
            (back.code, outcome(&back)),
            (0, format!("{own} back to the old config").as_str()),
            "{back}"
        );
        assert!(site.is_old(own) && site.is_new("cp-1"), "{back}");
    }
}

#[test]
fn a_replaced_node_is_not_given_another_machines_config() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    site.cluster.node("w-1").state().machine = "another".to_owned();
    let before = site.applies("w-1").len();
    let ran = site.place.run("rollback --yes --settle 2500ms --timeout 2500ms").ran();
    assert!(ran.stderr.contains("another machine answers at its address"), "{ran}");
    assert_eq!(site.applies("w-1").len(), before, "{ran}");
    assert!(site.is_old("cp-1"), "{ran}");
}

/// An old config in clear holds every secret of the cluster.
#[test]
fn a_journal_in_a_work_tree_is_never_added() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    assert_eq!(site.rollout("--journal j").code, 0);
    assert_eq!(site.place.read("j/.gitignore"), "*\n");
}

/// Groups take nodes by address however the inventory writes it, and by what a node reports where it writes a name.
#[test]
fn groups_take_listed_nodes_by_address_however_it_is_written() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    let text = site.place.read("mirrors.yaml");
    let (one, other) = (site.cluster.node("w-1").address.clone(), site.cluster.node("w-2").address.clone());
    // As `ADDRESS:PORT` it is dialled itself, and the simulated node listens elsewhere: what counts is told without it.
    let written = text
        .replace(&format!("{{address: {one}}}"), &format!("{{address: '{one}:50000'}}"))
        .replace(&format!("{{address: {other}}}"), "{address: w-2}");
    let group = format!(
        "groups:\n    edge: {{addresses: [{one}/32, {other}/32], registries: {{docker.io: null}}}}\n"
    );
    site.place.write("mirrors.yaml", written + &group);
    let offline = site.place.run("explain docker.io/library/alpine:3.22 --nodes w-1").ends(0);
    assert!(!offline.stdout.contains("/v2/docker.io"), "{offline}");
    let ran = site.rollout("-n w-2");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        !site.has("w-2").0.contains("/v2/docker.io") && site.has("w-2").0.contains("/v2/ghcr.io"),
        "{ran}"
    );
}

#[test]
fn nodes_are_left_out_by_name() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    let ran = site.rollout("--without w-1,cp-1");
    assert_eq!((ran.code, outcome(&ran)), (0, "w-2 updated"), "{ran}");
    assert!(site.applies("w-1").is_empty() && site.applies("cp-1").is_empty());
    assert_eq!(site.rollout("--without w-9").code, 2);
}

/// While the authority is replaced the talosconfig has both: the journal is the cluster's anyway.
#[test]
fn a_journal_is_found_again_while_the_authority_is_replaced() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    let config = site.place.read(".talos/config");
    let own = config.lines().find_map(|line| line.trim().strip_prefix("ca: ")).unwrap().to_owned();
    let pem = |text: &str| STANDARD.decode(text).unwrap();
    let other = crate::sim::Authority::new().pem;
    let both = [pem(&own), other.into_bytes()].concat();
    let both = STANDARD.encode(both);
    site.place.write(".talos/config", config.replace(&own, &both));
    let ran = site.place.run("rollback --yes --settle 2500ms --timeout 2500ms").ran();
    assert_eq!(ran.code, 0, "{ran}");
    assert!(site.is_old("w-1") && site.is_old("cp-1"), "{ran}");
}

/// After the authority was replaced in full, no key is shared: the nodes prove that the journal is theirs.
#[test]
fn a_journal_is_found_again_after_the_authority_was_replaced() {
    replace_the_authority("");
}

#[test]
fn a_journal_elsewhere_is_found_again_after_the_authority_was_replaced() {
    replace_the_authority("--journal j");
}

fn replace_the_authority(journal: &str) {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::NotFound));
    assert_eq!(site.rollout(journal).code, 6);
    site.cluster.clear_faults();
    let states = site.cluster.names().into_iter().map(|name| {
        let node = site.cluster.node(&name);
        let state = node.state().clone();
        (name, node.address.clone(), state)
    });
    let specs = |states: &[(String, String, crate::sim::State)]| {
        let spec = |(name, address, state): &(String, String, crate::sim::State)| crate::sim::Spec {
            name: name.clone(),
            address: address.clone(),
            state: state.clone(),
        };
        states.iter().map(spec).collect::<Vec<_>>()
    };
    let states: Vec<_> = states.collect();
    let rotated = |states: &[(String, String, crate::sim::State)]| {
        let authority = std::sync::Arc::new(crate::sim::Authority::new());
        let cluster = crate::sim::Cluster::of(authority, specs(states), super::options()).unwrap();
        cluster.name("harbor.example", &site.cluster.mirror);
        site.place.write(".talos/config", cluster.talosconfig());
        cluster
    };
    let other = rotated(&states);
    let listed = |more: &str| {
        let ran = site.place.run(&format!("rollout history -o json {more}")).ends(0);
        let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        (value["items"].as_array().unwrap().len(), ran.stderr)
    };
    assert_eq!(listed("").0, 1);
    let resumed = site.rollout("--resume");
    assert_eq!(resumed.code, 0, "{resumed}");
    assert!(
        resumed.stderr.contains("is from before the cluster's CA was rotated: its nodes are the same"),
        "{resumed}"
    );
    drop(other);
    // And once more, for a rollback of what the nodes have by now.
    let other = rotated(&states);
    for name in other.names() {
        let node = other.node(&name);
        let mut state = node.state();
        state.active.set(&site.new[&name]);
        (state.persistent, state.disk) = (Some(state.active.clone()), state.active.text.clone());
        state.render_now();
    }
    let back = site.place.run("rollback --yes --settle 2500ms --timeout 2500ms").ran();
    assert_eq!(back.code, 0, "{back}");
    for name in other.names() {
        assert_eq!(other.node(&name).state().disk, site.old[&name], "{back}");
    }
    drop(other);
    // Other machines with other configs prove nothing.
    let mut strangers = states.clone();
    for (name, _, state) in &mut strangers {
        state.machine.push_str("-other");
        state.active.set(&format!("{}# of {name}, elsewhere\n", state.active.text));
        (state.persistent, state.disk) = (None, state.active.text.clone());
    }
    let other = rotated(&strangers);
    let (number, told) = listed("");
    assert!(number == 0 && told.contains("no node proves that it is this cluster; --other-ca"), "{told}");
    assert_eq!(listed("--other-ca").0, 1);
    for command in ["rollback --yes --settle 2500ms --timeout 2500ms".to_owned(), super::line("--resume")] {
        let refused = site.place.run(&command).ran();
        assert_ne!(refused.code, 0, "{refused}");
        assert!(refused.stderr.contains("--other-ca"), "{refused}");
    }
    // That nothing answers is another thing than that what answers is something else.
    let journal = super::interrupts::journal(&site.place).unwrap();
    let place = journal.parent().unwrap().display();
    let line = format!("rollback --yes --settle 2500ms --timeout 2500ms --journal {place}");
    let refused = site.place.run(&line).ends(2);
    assert!(refused.stderr.contains("no node proves that it is the same"), "{refused}");
    drop(other);
    let refused = site.place.run(&line).ends(2);
    assert!(refused.stderr.contains("because none of its nodes answers"), "{refused}");
}

/// After a rotation of the CA the newest journal whose nodes prove it is the one that is meant: a node that does not answer
/// ends the search as little as one that says something else, and is waited for once.
#[test]
fn the_search_for_a_journal_goes_on_past_a_silent_node() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::NotFound));
    site.cluster.fault("w-2", Fault::new(Step::Pull, Kind::NotFound));
    for nodes in ["-n w-1", "-n w-2", "-n w-2", "-n w-2"] {
        assert_eq!(site.rollout(nodes).code, 6);
    }
    site.cluster.clear_faults();
    let specs = site.cluster.names().into_iter().map(|name| {
        let node = site.cluster.node(&name);
        let state = node.state().clone();
        crate::sim::Spec { address: node.address.clone(), name, state }
    });
    let authority = std::sync::Arc::new(crate::sim::Authority::new());
    let cluster = crate::sim::Cluster::of(authority, specs.collect(), super::options()).unwrap();
    cluster.name("harbor.example", &site.cluster.mirror);
    site.place.write(".talos/config", cluster.talosconfig());
    cluster.fault("w-2", Fault::new(Step::Any, Kind::Hang));
    let began = std::time::Instant::now();
    let status = site.place.run("rollout status --timeout 4s -o json").ends(1);
    let value: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(value["nodes"][0]["name"], "w-1", "{status}");
    assert!(began.elapsed().as_secs() < 11, "{:?}", began.elapsed());
    let ran = site.rollout("--resume");
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(cluster.node("w-1").state().disk, site.new["w-1"], "{ran}");
}

/// Resumed, it says what the inventory has changed, apart from what is new, and what was left out.
#[test]
fn a_resumed_rollout_names_what_has_changed_and_what_is_new() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.fault("w-2", Fault::new(Step::Pull, Kind::NotFound));
    assert_eq!(site.rollout("--without cp-1 --journal j").code, 6);
    site.cluster.clear_faults();
    let text = site.place.read("mirrors.yaml");
    let address = site.cluster.node("w-1").address.clone();
    let own = format!("w-1: {{address: {address}, registries: {{ghcr.io: null}}}}");
    site.place.write("mirrors.yaml", text.replace(&format!("w-1: {{address: {address}}}"), &own));
    let some = site.place.run(&super::line("--resume --journal j -n w-2")).ran();
    assert_eq!(some.code, 0, "{some}");
    assert!(
        some.stderr.contains(
            "of this rollout, and not chosen now: w-1; they come with: talmirror rollout --resume --journal j -n w-1"
        ),
        "{some}"
    );
    let ran = site.rollout("--resume --journal j");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        ran.stderr.contains("changed in the inventory since this rollout began: w-1; resumed, it gives"),
        "{ran}"
    );
    // A rollout that begins takes neither the journal nor what only resuming takes.
    let next = "not part of this rollout: cp-1; they come with: talmirror rollout -n cp-1 --verify never";
    let new = &format!("{next} {}\n", super::TIMES);
    assert!(ran.stderr.contains(new), "{ran}");
    assert!(!site.has("w-1").0.contains("/v2/ghcr.io") && site.has("w-2").0.contains("/v2/ghcr.io"), "{ran}");
    assert!(site.applies("cp-1").is_empty());
    // Another name does not make a node new, and with nothing to do what is new is told once.
    let text = site.place.read("mirrors.yaml");
    site.place.write("mirrors.yaml", text.replace("w-2: {", "worker-2: {"));
    let ran = site.rollout("--resume --other-ca --journal j");
    assert_eq!((ran.code, ran.stderr.matches(new).count()), (0, 1), "{ran}");
    assert!(!ran.stderr.contains("worker-2; they come with"), "{ran}");
}

/// A virtual address leads to another node tomorrow: it is not a node's identity.
#[test]
fn a_virtual_address_is_not_a_node() {
    let site = Site::new(2, 0, &["v1.13.9"]);
    let vip = "10.5.9.9";
    let node = site.cluster.node("cp-2");
    {
        let mut state = node.state();
        let interfaces = format!(
            "network:\n        interfaces:\n            - {{interface: eth0, vip: {{ip: {vip}}}}}\n    features:"
        );
        let text = state.active.text.replacen("features:", &interfaces, 1);
        (state.active, state.disk) = (crate::sim::Text::new(&text), text);
        state.addresses.push(vip.to_owned());
        state.render_now();
    }
    let text = site.place.read("mirrors.yaml");
    site.place.write("mirrors.yaml", format!("{text}    vip: {{address: {vip}}}\n"));
    let refused = site.rollout("-n vip");
    assert_eq!((refused.code, site.applies("cp-2").len()), (8, 0), "{refused}");
    assert!(refused.stderr.contains("`10.5.9.9` is a virtual address"), "{refused}");
    // By another name it is found for what it is, and not as the one that has the virtual address.
    let plan = site.place.run(&format!("rollout --dry-run -n {}", site.cluster.endpoint("cp-2"))).ends(1);
    assert!(plan.stdout.contains("cp-2") && !plan.stdout.contains("vip"), "{plan}");
}

/// Mercurial has no ignore file for one folder: originals in clear do not go there.
#[test]
fn originals_in_clear_are_refused_in_a_mercurial_work_tree() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.place.write("tree/.hg/requires", "store\n");
    let refused = site.rollout("--journal tree/j");
    assert_eq!((refused.code, site.applies("cp-1").len()), (3, 0), "{refused}");
    assert!(
        refused.stderr.contains("old configs in clear in the work tree") && refused.stderr.contains("[E119]"),
        "{refused}"
    );
    site.place.write("jj/.jj/repo", "");
    assert_eq!(site.rollout("--journal jj/j").code, 0);
    assert_eq!(site.place.read("jj/j/.gitignore"), "*\n");
}
