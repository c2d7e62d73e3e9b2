//! `apply` killed at every call, and two of them at once.

use std::process::{Child, Stdio};

use super::{Harbor, SMALL, Version, picture, place, ran, run, settle, settled};
use crate::fake_harbor::Stop;
use crate::run::Place;

fn spawn(place: &Place, line: &str) -> Child {
    run(place, line)
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a call has stopped, or the run has ended; returns which.
fn stopped(harbor: &Harbor, child: &mut Child) -> bool {
    harbor.stopped(|| child.try_wait().unwrap().is_some())
}

#[test]
fn killed_at_every_call() {
    let whole = Harbor::new(Version::V2_15_2);
    settle(&whole, &place(&whole, SMALL));
    let want = picture(&whole);
    for stop in [Stop::Before, Stop::After] {
        let mut calls = 0;
        loop {
            let harbor = Harbor::new(Version::V2_15_2);
            let place = place(&harbor, SMALL);
            harbor.stop_at(calls, stop);
            let mut child = spawn(&place, "apply --yes");
            let there = stopped(&harbor, &mut child);
            child.kill().unwrap();
            child.wait().unwrap();
            harbor.go_on();
            if !there {
                break;
            }
            ran(&harbor, &place, "apply --yes", 0);
            settled(&harbor, &place);
            assert_eq!(picture(&harbor), want, "{stop:?} call {calls}");
            calls += 1;
        }
        assert!(calls > 20, "{calls}");
    }
}

#[test]
fn two_at_once_at_every_call() {
    let whole = Harbor::new(Version::V2_15_2);
    settle(&whole, &place(&whole, SMALL));
    let want = picture(&whole);
    let mut calls = 0;
    loop {
        let harbor = Harbor::new(Version::V2_15_2);
        let place = place(&harbor, SMALL);
        harbor.stop_at(calls, Stop::Before);
        let mut first = spawn(&place, "apply --yes");
        let there = stopped(&harbor, &mut first);
        // The other one runs from its beginning to its end in between.
        if there {
            ran(&harbor, &place, "apply --yes", 0);
        }
        harbor.go_on();
        let output = first.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "call {calls}: {told}");
        settled(&harbor, &place);
        assert_eq!(picture(&harbor), want, "call {calls}: {told}");
        if !there {
            break;
        }
        calls += 1;
    }
    assert!(calls > 20, "{calls}");
}

#[test]
fn a_schedule_that_meets_another() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, SMALL);
    harbor.state().lose_execution = true;
    let applied = ran(&harbor, &place, "apply --yes", 0);
    assert!(applied.stderr.contains("gc schedule: another process was faster"), "{applied}");
    settled(&harbor, &place);
}
