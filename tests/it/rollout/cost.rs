//! What a rollout costs a node: configs that it is sent, calls that it answers, and restarts of its containerd.

use std::time::Duration;

use super::faults::at_once;
use super::{Site, options};
use crate::sim::{Cluster, Options, RegistryAnswer, What};

/// What one rollout has cost a node.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// Configs in their order, by the mode that they were sent with.
    sent: Vec<String>,
    /// Calls, those of the plan left out.
    calls: usize,
    /// Times that its containerd was stopped.
    restarts: usize,
}

/// Rolls out to one worker, and counts what that cost it beyond what the plan did.
fn roll_out(site: &Site, code: i32) -> Cost {
    let events = || site.cluster.events_of("w-1");
    let calls = |from: usize| {
        events().into_iter().skip(from).filter(|event| matches!(event.what, What::Call { .. })).count()
    };
    let begin = events().len();
    site.place.run("rollout --dry-run --verify never -n w-1 --timeout 30s").ends(1);
    let (planned, begin) = (calls(begin), events().len());
    let long = "rollout --yes --verify never -n w-1 --try-timeout 2m --settle 10s --timeout 30s";
    site.place.run(long).ends(code);
    let own = events().split_off(begin);
    let sent = own.iter().filter_map(|event| match &event.what {
        What::Call { apply: Some(apply), .. } => Some(apply.mode.clone()),
        _ => None,
    });
    let sent = sent.collect();
    let stops = own.iter().filter(|event| event.what == What::Service { id: "cri", running: false });
    Cost { sent, calls: calls(begin) - planned, restarts: stops.count() }
}

/// One trial, and with new credentials one restart of containerd, or two where the old config is sent again.
#[test]
fn a_rollout_restarts_containerd_for_new_credentials_alone_and_once() {
    at_once(&["v1.8.4", "v1.9.6", "v1.11.6", "v1.12.7", "v1.13.9", "v1.14.1"], |version| {
        // Controllers are quicker than the next call, so that nothing is rendered in one that was applied in two.
        let quick = Options { render_delay: Duration::from_millis(2), ..options() };
        let site = Site::of(Cluster::start(1, 1, &[version], quick).unwrap(), "");
        site.cluster.node("w-1").state().delay = Duration::from_millis(12);
        let restarts = |number: usize| if *version == "v1.14.1" { number } else { 0 };
        site.cluster.mirror.answer(RegistryAnswer::Status(404));
        let failed = roll_out(&site, 6);
        site.cluster.mirror.answer(RegistryAnswer::All);
        let changed = roll_out(&site, 0);
        // The credentials stay, and the mirrors become others.
        let inventory = site.cluster.inventory().replace("ghcr.io: {}, ", "quay.io: {}, ");
        site.place.write("mirrors.yaml", inventory);
        let unchanged = roll_out(&site, 0);
        for (cost, most) in [(&failed, restarts(2)), (&changed, restarts(1)), (&unchanged, 0)] {
            println!("{version}: {cost:?}");
            if cost.sent != ["TRY", "NO_REBOOT"] || cost.restarts != most || cost.calls > 60 {
                return Err(format!("{version}: {cost:?}, and {most} restarts were to be"));
            }
        }
        Ok(())
    });
}
