//! What is easily got wrong about Talos, one test each.

use super::{ORDER, Site, last};

#[test]
fn a_rollout_tries_verifies_and_commits() {
    let site = Site::standard();
    let ran = site.rollout("");
    assert_eq!((ran.code, last(&ran)), (0, "5 nodes updated"), "{ran}");
    site.check_applies();
    for name in ORDER {
        assert!(site.is_new(name), "{name}");
        let modes: Vec<String> = site.applies(name).into_iter().map(|apply| apply.mode).collect();
        assert_eq!(modes, ["TRY", "NO_REBOOT", "TRY", "NO_REBOOT"]);
    }
}
