//! A commit whose answer is lost and that arrives later all the same: it is the rollout's own, and waited for before a node is
//! said to have its old config.

use std::time::Duration;

use tonic::Code;

use super::interrupts::until;
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
