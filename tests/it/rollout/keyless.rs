//! `--resume` where the journal's originals are encrypted and no key is at hand: what a node has itself needs none.

use super::interrupts::{end, run, until};
use super::{Site, last, line, options, outcome};
use crate::sim::{Cluster, Fault, Kind, Step};

const AGE: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

/// A cluster whose originals are encrypted.
fn site(version: &str) -> Site {
    let site = Site::of(Cluster::start(1, 1, &[version], options()).unwrap(), "");
    let keys = std::fs::read(crate::run::repository("tests/vectors/sops/keys.txt")).unwrap();
    site.place.write("keys.txt", keys);
    site.place.write(".sops.yaml", format!("creation_rules: [{{age: {AGE}}}]\n"));
    site
}

/// A run that was killed while the strict variant of `w-1`'s config was on trial.
fn killed_during_the_trial(version: &str) -> Site {
    let site = site(version);
    // It was applied for good since the node has booted, and is shown where Talos does so.
    site.set("w-1", &site.old["w-1"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let mut child = run(&site, &line("--age-key-file keys.txt"));
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    child.kill().unwrap();
    let _ = end(child);
    site.cluster.clear_faults();
    assert_eq!(site.applies("w-1").len(), 1);
    site
}

#[test]
fn what_a_node_has_itself_is_put_back_without_a_key() {
    let site = killed_during_the_trial("v1.13.9");
    let ran = site.rollout("--resume");
    // The old config is on the node's disk; nothing new is begun, because that could not be taken back.
    assert!(site.is_old("w-1") && site.cluster.node("w-1").state().trial.is_none(), "{ran}");
    assert!(site.applies("cp-1").is_empty() && site.applies("w-1").len() == 2, "{ran}");
    assert_eq!(ran.code, 4, "{ran}");
    assert!(ran.stderr.contains("no key for that is at hand"), "{ran}");
    // It was touched, and is said to have been.
    assert!(!ran.stderr.contains("no node was touched"), "{ran}");
    assert!(ran.stderr.contains("w-1  back to the old config"), "{ran}");
    let done = site.rollout("--resume --age-key-file keys.txt");
    assert_eq!((done.code, outcome(&done)), (0, "w-1, cp-1 updated"), "{done}");
}

/// Before Talos 1.10 a node on trial does not show what is on its disk.
#[test]
fn what_only_the_journal_has_is_told_as_sealed() {
    let site = killed_during_the_trial("v1.9.5");
    let ran = site.rollout("--resume");
    assert_eq!((ran.code, site.applies("w-1").len()), (7, 1), "{ran}");
    assert!(
        last(&ran).contains("w-1 UNKNOWN") && ran.stderr.contains("none of the keys at hand opens the file"),
        "{ran}"
    );
    site.check_told(&ran).unwrap();
    let done = site.rollout("--resume --age-key-file keys.txt");
    assert_eq!((done.code, outcome(&done)), (0, "w-1, cp-1 updated"), "{done}");
}

/// A run that was killed when its commit had arrived.
fn killed_after_the_commit(version: &str, more: &str, faults: &[Fault]) -> Site {
    let site = site(version);
    for fault in faults {
        site.cluster.fault("w-1", fault.clone());
    }
    let line = format!("rollout --yes --verify never --try-timeout 10m --settle 5m --timeout 1m {more}");
    let mut child = run(&site, &format!("{line} --age-key-file keys.txt"));
    until("the commit", || site.is_new("w-1"));
    child.kill().unwrap();
    let _ = end(child);
    site
}

#[test]
fn a_commit_that_is_rendered_well_is_finished_without_a_key() {
    let site = killed_after_the_commit("v1.13.9", "-n w-1", &[]);
    let ran = site.rollout("--resume");
    assert_eq!((ran.code, site.applies("w-1").len()), (0, 2), "{ran}");
    assert!(ran.stderr.contains("w-1  updated") && site.is_new("w-1"), "{ran}");
}

#[test]
fn a_commit_that_is_rendered_badly_cannot_be_taken_back_without_a_key() {
    let wrong = Fault::once(Step::Render, Kind::Wrong).after(1);
    let site = killed_after_the_commit("v1.13.9", "-n w-1", &[wrong]);
    let ran = site.rollout("--resume");
    assert_eq!((ran.code, site.applies("w-1").len()), (7, 2), "{ran}");
    assert!(ran.to_string().contains("its old config cannot be sent"), "{ran}");
    site.check_told(&ran).unwrap();
    let back = site.rollout("--resume --age-key-file keys.txt");
    assert!(back.stderr.contains("its old config is sent again") || site.is_new("w-1"), "{back}");
    assert_eq!(back.code, 0, "{back}");
}

/// The last line of a resumed run that cannot go on does not deny what it has brought back.
#[test]
fn a_resumed_rollout_that_is_refused_says_what_it_has_brought_back() {
    let site = killed_during_the_trial("v1.13.9");
    site.cluster.node("cp-1").state().stage = "maintenance".to_owned();
    let ran = site.rollout("--resume --age-key-file keys.txt -o json");
    let end: serde_json::Value = serde_json::from_str(last(&ran)).expect(&ran.stdout);
    assert!(site.is_old("w-1") && ran.code == 5, "{ran}");
    assert!(!ran.to_string().contains("no node was touched"), "{ran}");
    let of = |name: &str| {
        let mut nodes = end["nodes"].as_array().unwrap().iter().filter(|node| node["name"] == name);
        let outcome = nodes.next().unwrap()["outcome"].clone();
        assert!(nodes.next().is_none(), "{name} twice: {end}");
        outcome
    };
    assert_eq!((of("w-1"), of("cp-1")), ("reverted".into(), "untouched".into()), "{end}");
}
