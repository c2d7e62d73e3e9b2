//! A new secret for the robot.

use std::process::Stdio;

use super::{ROBOT, SMALL, applied, credentials, named, ran, run, secret, settled};
use crate::fake_harbor::Stop;

#[test]
fn only_the_secret_of_the_inventory_changes() {
    let (harbor, place) = applied(SMALL);
    let (old_text, old) = (place.read("mirrors.yaml"), credentials(&place).unwrap());
    let rotated = ran(&harbor, &place, "rotate-robot --yes", 0);
    insta::assert_snapshot!(named(&harbor, &rotated.to_string()), @r"
    robot$talos-pull-kronform
    --- stderr
    warning[W204]: `mirrors.harbor` sends credentials in clear to `https://harbor.example`
      --> mirrors.yaml:2:1  mirrors.harbor.credentials

    robot$talos-pull-kronform: has a new secret, and mirrors.yaml has it; the old one is refused
    next: talmirror rollout
    --- exit 0
    ");
    let (text, new) = (place.read("mirrors.yaml"), credentials(&place).unwrap());
    assert!(old.0 == new.0 && old.1 != new.1);
    assert_eq!(secret(&harbor, ROBOT).unwrap(), new.1);
    let changed: Vec<&str> = old_text
        .lines()
        .zip(text.lines())
        .filter(|(old, new)| old != new)
        .map(|(_, new)| new.trim().split(':').next().unwrap())
        .collect();
    assert_eq!(old_text.lines().count(), text.lines().count());
    assert!(changed.iter().all(|key| ["password", "lastmodified", "mac"].contains(key)), "{changed:?}");
    settled(&harbor, &place);
}

#[test]
fn both_work_until_the_nodes_have_the_new_one() {
    let (harbor, place) = applied(SMALL);
    let old = credentials(&place).unwrap();
    let rotated = ran(&harbor, &place, "rotate-robot --overlap", 0);
    insta::assert_snapshot!(named(&harbor, &rotated.to_string()), @r"
    robot$talos-pull-kronform-2
    --- stderr
    warning[W204]: `mirrors.harbor` sends credentials in clear to `https://harbor.example`
      --> mirrors.yaml:2:1  mirrors.harbor.credentials

    robot$talos-pull-kronform-2: takes over, and mirrors.yaml has it; robot$talos-pull-kronform works until it is deleted
    next: talmirror rollout
    then: talmirror harbor apply --prune
    --- exit 0
    ");
    let new = credentials(&place).unwrap();
    assert_eq!(new.0, format!("{ROBOT}-2"));
    assert_eq!(secret(&harbor, &old.0).unwrap(), old.1);
    assert_eq!(secret(&harbor, &new.0).unwrap(), new.1);
    // The old one goes when it is asked to, and not before.
    let plan = ran(&harbor, &place, "plan", 0);
    assert!(plan.stdout.contains("the inventory no longer uses it"), "{plan}");
    let early = ran(&harbor, &place, "rotate-robot --overlap", 5);
    assert!(early.stderr.contains("nodes may still use it"), "{early}");
    ran(&harbor, &place, "apply --yes --prune", 0);
    assert_eq!(harbor.state().robots.len(), 1);
    // And back.
    ran(&harbor, &place, "rotate-robot --overlap", 0);
    assert_eq!(credentials(&place).unwrap().0, ROBOT);
    ran(&harbor, &place, "apply --yes --prune", 0);
    settled(&harbor, &place);
}

#[test]
fn a_robot_that_is_another_s_is_left_alone() {
    let (harbor, place) = applied(SMALL);
    let before = credentials(&place).unwrap();
    harbor.state().robots.values_mut().next().unwrap().description = "made by hand".to_owned();
    let picture = harbor.state().picture();
    for flags in ["--yes", "--overlap"] {
        let refused = ran(&harbor, &place, &format!("rotate-robot {flags}"), 5);
        assert!(
            refused.stderr.ends_with(
                "error: robot `robot$talos-pull-kronform` is not ours: what else uses it would be refused\n\
                 help: --adopt takes it over; or let `harbor.robot` name one of talmirror's own\n"
            ),
            "{refused}"
        );
    }
    // Nor is a secret taken for refused that was never set.
    harbor.state().robots.values_mut().next().unwrap().secret = "Theirs1Theirs1".to_owned();
    let refused = ran(&harbor, &place, "rotate-robot --yes", 5);
    assert!(refused.stderr.contains("is not ours"), "{refused}");
    harbor.state().robots.values_mut().next().unwrap().secret.clone_from(&before.1);
    assert_eq!((harbor.state().picture(), credentials(&place).unwrap()), (picture, before.clone()));
    ran(&harbor, &place, "rotate-robot --yes --adopt", 0);
    let after = credentials(&place).unwrap();
    assert!(after.0 == before.0 && after.1 != before.1);
    settled(&harbor, &place);
}

#[test]
fn there_is_nothing_to_pull_from() {
    let (harbor, place) = applied(SMALL);
    {
        let mut state = harbor.state();
        state.robots.clear();
        state.projects.retain(|_, project| project.name == "library");
    }
    let refused = ran(&harbor, &place, "rotate-robot --yes", 5);
    assert!(refused.stderr.contains("could pull from"), "{refused}");
    assert!(harbor.state().robots.is_empty());
}

#[test]
fn killed_at_every_call() {
    for flags in ["--yes", "--overlap"] {
        for stop in [Stop::Before, Stop::After] {
            let mut calls = 0;
            loop {
                let (harbor, place) = applied("cluster: kronform\nmirror: URL\nregistries: [docker.io]\n");
                let old = credentials(&place).unwrap();
                harbor.stop_at(calls, stop);
                let mut command = run(&place, &format!("rotate-robot {flags}")).command();
                let mut child =
                    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                let there = harbor.stopped(|| child.try_wait().unwrap().is_some());
                child.kill().unwrap();
                child.wait().unwrap();
                harbor.go_on();
                if !there {
                    break;
                }
                let at = format!("{flags} {stop:?} call {calls}");
                let new = credentials(&place).unwrap();
                let inventory_works = secret(&harbor, &new.0) == Some(new.1.clone());
                let old_works = secret(&harbor, &old.0) == Some(old.1.clone());
                assert!(inventory_works || old_works, "{at}: nobody is let in");
                // An `apply` finishes what was begun.
                ran(&harbor, &place, "apply --yes", 0);
                settled(&harbor, &place);
                assert_eq!(credentials(&place).unwrap(), new, "{at}");
                calls += 1;
            }
            assert!(calls > 6, "{calls}");
        }
    }
}

#[test]
fn a_run_that_was_interrupted_is_finished_and_not_begun_again() {
    let (harbor, place) = applied(SMALL);
    let inventory = credentials(&place).unwrap();
    harbor.state().robots.values_mut().next().unwrap().secret = "Older1Older1".to_owned();
    let rotated = ran(&harbor, &place, "rotate-robot --yes", 0);
    assert!(rotated.stderr.contains("an interrupted run is finished"), "{rotated}");
    assert_eq!(credentials(&place).unwrap(), inventory);
    settled(&harbor, &place);
}
