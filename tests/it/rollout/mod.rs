//! `rollout` and `rollback` on the simulated cluster.

mod cold_start;
mod cost;
mod faults;
mod identity;
mod interrupts;
mod keyless;
mod later;
mod lost_commit;
mod names;
mod network;
mod operators;
mod output;
mod owed;
mod policy;
mod traps;
mod truth;
mod verify_gate;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use talmirror::inventory::{Inventory, Target, parse};
use talmirror::registries::TalosVersion;
use talmirror::rollout::{Proof, Variants};
use talmirror::secret::{Secret, Sources};

use crate::run::{Place, Ran};
use crate::sim::{Apply, Cluster, Options, What};

/// The order in which the nodes of the standard cluster come.
pub const ORDER: [&str; 5] = ["w-1", "w-2", "cp-1", "cp-2", "cp-3"];

/// A cluster, and a place to work on it from.
pub struct Site {
    pub cluster: Cluster,
    pub place: Place,
    pub old: BTreeMap<String, String>,
    pub new: BTreeMap<String, String>,
}

pub fn options() -> Options {
    Options {
        render_delay: Duration::from_millis(20),
        reboot_time: Duration::from_millis(150),
        ..Options::default()
    }
}

impl Site {
    pub fn new(control_planes: usize, workers: usize, versions: &[&str]) -> Self {
        Self::of(Cluster::start(control_planes, workers, versions, options()).unwrap(), "")
    }

    /// The standard cluster: three control plane nodes and two workers.
    pub fn standard() -> Self {
        Self::new(3, 2, &["v1.13.9"])
    }

    pub fn of(cluster: Cluster, more: &str) -> Self {
        let inventory = cluster.inventory() + more;
        Self::with(cluster, &inventory)
    }

    /// A cluster with another inventory than its own.
    pub fn with(cluster: Cluster, inventory: &str) -> Self {
        let place = Place::new();
        place.write("mirrors.yaml", inventory);
        place.write(".talos/config", cluster.talosconfig());
        let parsed = parse(inventory, "mirrors.yaml", &|_| None);
        let inventory = parsed.inventory.unwrap_or_else(|| panic!("{:?}", parsed.problems));
        let text = |name: &String| cluster.node(name).state().active.text.clone();
        let old: BTreeMap<String, String> =
            cluster.names().into_iter().map(|name| (name.clone(), text(&name))).collect();
        let new = old.iter().map(|(name, text)| (name.clone(), new(&cluster, &inventory, name, text)));
        let new = new.collect();
        Self { cluster, place, old, new }
    }

    /// Does not ask for what mirrors serve alone: then the desired config is on trial, and no strict variant of it.
    pub fn be_lenient(&self) {
        let inventory = self.place.read("mirrors.yaml");
        self.place
            .write("mirrors.yaml", inventory.replace("verify:\n", "verify:\n    requireMirrorHit: false\n"));
    }

    /// Runs a rollout with short times.
    pub fn rollout(&self, more: &str) -> Ran {
        self.place.run(&line(more)).ran()
    }

    /// Applies a config for good, by another hand.
    pub fn set(&self, name: &str, text: &str) {
        let node = self.cluster.node(name);
        let mut state = node.state();
        state.active = crate::sim::Text::new(text);
        state.persistent = Some(crate::sim::Text::new(text));
        (state.disk, state.trial) = (text.to_owned(), None);
    }

    /// What a node runs with, and what it has on disk.
    pub fn has(&self, name: &str) -> (String, String) {
        let node = self.cluster.node(name);
        let state = node.state();
        (state.active.text.clone(), state.disk.clone())
    }

    pub fn is_old(&self, name: &str) -> bool {
        let (active, disk) = self.has(name);
        active == self.old[name] && disk == self.old[name]
    }

    pub fn is_new(&self, name: &str) -> bool {
        let (active, disk) = self.has(name);
        active == self.new[name] && disk == self.new[name]
    }

    /// Every apply that reached a node.
    pub fn applies(&self, name: &str) -> Vec<Apply> {
        let applies = self.cluster.events_of(name).into_iter().filter_map(|event| match event.what {
            What::Call { apply, .. } => apply,
            _ => None,
        });
        applies.collect()
    }

    /// What holds for every run: no other mode than these, nothing dry, and each trial goes back to the original.
    pub fn check_applies(&self) {
        for name in self.cluster.names() {
            for apply in self.applies(&name) {
                assert!(matches!(apply.mode.as_str(), "TRY" | "NO_REBOOT") && !apply.dry_run, "{apply:?}");
            }
            let old = crate::sim::digest(&self.old[&name]);
            for event in self.cluster.events_of(&name) {
                if let What::TryStarted { back_to, .. } = event.what {
                    assert_eq!(back_to, old, "{name}: a trial on top of another");
                }
            }
        }
    }
}

fn new(cluster: &Cluster, inventory: &Inventory, name: &str, old: &str) -> String {
    let version: TalosVersion = cluster.node(name).state().version.parse().unwrap();
    let mut sources = Sources::new(".");
    let wanted = inventory.registries(Target::Node(name), &version, &mut sources).unwrap();
    Variants::of(&Secret::from(old), &wanted, &version, Proof::None).unwrap().desired.expose().clone()
}

/// The times of [`line`], as the command that comes next has them.
pub const TIMES: &str = "--try-timeout 8s --settle 2500ms --timeout 2500ms";

/// A rollout with short times, which leaves the mirrors to the nodes.
pub fn line(more: &str) -> String {
    format!("rollout --yes --verify never {TIMES} {more}")
}

/// What the last line of a run says of the nodes, without the command that it names next.
pub fn outcome(ran: &Ran) -> &str {
    last(ran).split(". Next: ").next().unwrap_or_default()
}

/// The last line that a run printed.
pub fn last(ran: &Ran) -> &str {
    ran.stdout.lines().last().unwrap_or_default()
}
