//! A commit whose answer is lost and that arrives later all the same: it is the rollout's own, and waited for before a node is
//! said to have its old config.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use tonic::Code;

use super::interrupts::{end, journal, run as start, slow, until};
use super::{Site, last, outcome};
use crate::run::Ran;
use crate::sim::{Fault, Kind, Step, Text};

/// Has a commit arrive that was on its way.
fn land(site: &Site, name: &str) {
    let node = site.cluster.node(name);
    let mut state = node.state();
    let new = &site.new[name];
    state.active.set(new);
    (state.persistent, state.disk, state.trial) = (Some(Text::new(new)), new.clone(), None);
    state.render_now();
}

/// Runs a rollout of `w-1`, whose commit arrives a moment after so many applies have reached the node.
fn run(site: &Site, applies: usize, after: Duration) -> Ran {
    std::thread::scope(|scope| {
        let ran = scope.spawn(|| {
            site.place
                .run("rollout --yes --verify never -n w-1 --try-timeout 60s --settle 3s --timeout 3s")
                .ran()
        });
        until("the applies", || site.applies("w-1").len() >= applies);
        std::thread::sleep(after);
        land(site, "w-1");
        ran.join().unwrap()
    })
}

#[test]
fn a_commit_that_lands_on_the_old_config_is_waited_for() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    // Each of the two commits is sent twice.
    site.cluster.fault("w-1", Fault { times: Some(4), ..Fault::new(Step::Commit, Kind::DieBefore) });
    // The trial, four commits, the old config.
    let ran = run(&site, 6, Duration::from_millis(400));
    assert_eq!((ran.code, outcome(&ran).starts_with("w-1 back to the old config")), (6, true), "{ran}");
    assert!(site.is_old("w-1"), "{ran}");
}

#[test]
fn a_commit_that_lands_late_is_not_another_operators() {
    for lenient in [false, true] {
        let site = Site::new(1, 1, &["v1.13.9"]);
        if lenient {
            site.be_lenient();
        }
        site.cluster.fault("w-1", Fault { times: Some(2), ..Fault::new(Step::Commit, Kind::DieBefore) });
        // The first is still at work when it is sent once more.
        let busy = "another apply configuration is already in progress".to_owned();
        let busy = Kind::Refuse(Code::FailedPrecondition, busy);
        site.cluster.fault("w-1", Fault::once(Step::Commit, busy));
        let ran = run(&site, 4, Duration::ZERO);
        assert!(!ran.to_string().contains("another operator"), "{ran}");
        assert!(ran.code == 0 && last(&ran).starts_with("w-1 updated") && site.is_new("w-1"), "{ran}");
    }
}

/// Times that leave a run enough of them, and a resumed one not too much to wait for.
const LONG: &str = "--try-timeout 60s --settle 5s --timeout 5s";

/// A run that is killed when it has sent the old config again; its commits are still on their way.
fn killed_during_a_lost_commit() -> Site {
    let site = slow();
    site.cluster.fault("w-1", Fault { times: Some(4), ..Fault::new(Step::Commit, Kind::DieBefore) });
    let mut child = start(&site, &format!("rollout --yes --verify never {LONG}"));
    let is_back = || {
        let text = journal(&site.place).and_then(|path| std::fs::read_to_string(path).ok());
        text.unwrap_or_default().contains("\"record\":\"sent\",\"node\":\"w-1\",\"what\":\"revert\"")
    };
    until("the old config", is_back);
    child.kill().unwrap();
    let _ = end(child);
    assert!(site.is_old("w-1"));
    site
}

/// Runs a command, and has the commit arrive while it says that it waits for it; at its end where it does not.
fn run_and_land(site: &Site, line: &str) -> (Option<i32>, String) {
    let mut child = start(site, line);
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("may still arrive") && lines.read_line(&mut told).unwrap() > 0 {}
    land(site, "w-1");
    lines.read_to_string(&mut told).unwrap();
    let (output, text) = end(child);
    (output.status.code(), text + &told)
}

#[test]
fn a_lost_commit_is_waited_for_by_the_run_that_resumes_a_killed_one() {
    let site = killed_during_a_lost_commit();
    let (code, text) = run_and_land(&site, &format!("rollout --resume --yes --verify never {LONG}"));
    assert!(
        text.contains("what an earlier run has sent to w-1 has no answer, and may still arrive"),
        "{text}"
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(site.is_new("w-1") && site.is_new("cp-1"), "{text}");
    // It was seen when it had arrived: nothing but what the killed run sent has reached the node.
    assert_eq!(site.applies("w-1").len(), 6, "{text}");
    // Once is enough.
    let again = site.rollout("--resume");
    assert!(again.code == 0 && !again.stderr.contains("may still arrive"), "{again}");
}

#[test]
fn a_lost_commit_is_waited_for_by_what_comes_after_a_killed_run() {
    // The node is named as having its old config only when that is what it keeps.
    let site = killed_during_a_lost_commit();
    let (code, text) = run_and_land(&site, "rollback --yes --settle 5s --timeout 5s");
    assert_eq!(code, Some(0), "{text}");
    assert!(site.is_old("w-1") && site.is_old("cp-1"), "{text}");
    // Without --resume, too.
    let site = killed_during_a_lost_commit();
    let (code, text) = run_and_land(&site, &format!("rollout --yes --verify never {LONG}"));
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("an earlier rollout has not ended on it"), "{text}");
    assert!(site.is_new("w-1") && site.applies("cp-1").is_empty(), "{text}");
}

/// Of a node that the inventory has lost meanwhile it is told what it has, however late that arrives, and the way back.
#[test]
fn a_lost_commit_on_a_node_that_the_inventory_has_lost_is_told() {
    let site = killed_during_a_lost_commit();
    let inventory = site.place.read("mirrors.yaml");
    let without: String =
        inventory.lines().filter(|line| !line.contains("w-1")).map(|line| format!("{line}\n")).collect();
    assert_ne!(without, inventory);
    site.place.write("mirrors.yaml", without);
    let (code, text) = run_and_land(&site, &format!("rollout --resume --yes --verify never {LONG}"));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        site.is_new("w-1") && text.contains(" w-1  updated") && text.contains("rollback -n w-1 "),
        "{text}"
    );
}
