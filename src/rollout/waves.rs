use std::fmt;

use crate::inventory::Role;

/// A node that is to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// Its role; a node that does not say is taken for a control plane node, which is the more careful.
    pub role: Role,
    /// Whether it is rebooted, and is to be the only one meanwhile.
    pub reboots: bool,
}

/// Nodes that are worked on at once, after those of earlier waves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Which part of the order it belongs to.
    pub stage: Stage,
    /// The names of its nodes.
    pub nodes: Vec<String>,
}

/// A part of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Those that go first, one by one.
    Canary,
    /// Workers, some at once.
    Workers,
    /// Control plane nodes, one by one.
    ControlPlane,
}

impl Stage {
    /// Returns the word that inventories have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Workers => "workers",
            Self::ControlPlane => "controlplane",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How nodes are ordered.
#[derive(Clone, Debug)]
pub struct Ordering<'a> {
    /// The stages in the order of the inventory; what it does not name comes last.
    pub stages: &'a [String],
    /// The nodes that go first; where none of them is among the nodes, the first worker does, else the first node.
    pub canary: &'a [String],
    /// How many workers at once, at least one.
    pub max_parallel: usize,
}

/// Puts nodes into waves; a node that is rebooted has one of its own.
pub fn waves(nodes: &[Placed], ordering: &Ordering<'_>) -> Vec<Wave> {
    let mut named: Vec<&Placed> = Vec::new();
    for name in ordering.canary {
        // One may have been named twice, by its name and by its address.
        let new = nodes.iter().find(|node| node.name == *name).filter(|node| !named.contains(node));
        named.extend(new);
    }
    let canaries = if named.is_empty() && nodes.len() > 1 {
        let first = nodes.iter().find(|node| node.role == Role::Worker).or(nodes.first());
        first.into_iter().collect()
    } else {
        named
    };
    let mut stages: Vec<Stage> = ordering.stages.iter().filter_map(|word| stage(word)).collect();
    for stage in [Stage::Canary, Stage::Workers, Stage::ControlPlane] {
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    let mut seen: Vec<Stage> = Vec::new();
    let mut out = Vec::new();
    for stage in stages {
        if seen.contains(&stage) {
            continue;
        }
        seen.push(stage);
        let of_role = |role| {
            let rest = nodes.iter().filter(move |node| node.role == role);
            rest.filter(|node| !canaries.contains(node)).map(|node| node.name.clone()).collect::<Vec<_>>()
        };
        let (names, at_once) = match stage {
            Stage::Canary => (canaries.iter().map(|node| node.name.clone()).collect(), 1),
            Stage::Workers => (of_role(Role::Worker), ordering.max_parallel.max(1)),
            Stage::ControlPlane => (of_role(Role::ControlPlane), 1),
        };
        let names: Vec<String> = names;
        let reboots = |name: &String| nodes.iter().any(|node| node.name == *name && node.reboots);
        for part in names.chunk_by(|one, other| !reboots(one) && !reboots(other)) {
            out.extend(part.chunks(at_once).map(|nodes| Wave { stage, nodes: nodes.to_vec() }));
        }
    }
    out
}

fn stage(word: &str) -> Option<Stage> {
    [Stage::Canary, Stage::Workers, Stage::ControlPlane].into_iter().find(|stage| stage.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Placed> {
        let node = |name: &str, role| Placed { name: name.to_owned(), role, reboots: false };
        vec![
            node("c1", Role::ControlPlane),
            node("c2", Role::ControlPlane),
            node("w1", Role::Worker),
            node("w2", Role::Worker),
            node("w3", Role::Worker),
            node("w4", Role::Worker),
        ]
    }

    #[test]
    fn nodes_that_are_rebooted_go_one_by_one() {
        let mut nodes = nodes();
        for node in nodes.iter_mut().filter(|node| matches!(node.name.as_str(), "w3" | "c1")) {
            node.reboots = true;
        }
        let canary = ["w4".to_owned()];
        let waves = waves(&nodes, &Ordering { stages: &[], canary: &canary, max_parallel: 9 });
        let names: Vec<String> = waves.iter().map(|wave| wave.nodes.join("+")).collect();
        assert_eq!(names, ["w4", "w1+w2", "w3", "c1", "c2"]);
        for node in &mut nodes {
            node.reboots = true;
        }
        let waves = super::waves(&nodes, &Ordering { stages: &[], canary: &canary, max_parallel: 9 });
        assert!(waves.iter().all(|wave| wave.nodes.len() == 1), "{waves:?}");
    }

    fn names(stages: &[&str], canary: &[&str], max_parallel: usize) -> Vec<String> {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (stages, canary) = (own(stages), own(canary));
        let ordering = Ordering { stages: &stages, canary: &canary, max_parallel };
        let waves = waves(&nodes(), &ordering).into_iter();
        waves.map(|wave| format!("{} {}", wave.stage, wave.nodes.join("+"))).collect()
    }

    #[test]
    fn canaries_then_workers_then_control_plane() {
        assert_eq!(
            names(&["canary", "workers", "controlplane"], &[], 2),
            ["canary w1", "workers w2+w3", "workers w4", "controlplane c1", "controlplane c2"]
        );
        assert_eq!(
            names(&[], &["w3", "c2", "w3", "gone"], 0),
            ["canary w3", "canary c2", "workers w1", "workers w2", "workers w4", "controlplane c1"]
        );
        assert_eq!(
            names(&["controlplane", "controlplane", "workers"], &["w1"], 9),
            ["controlplane c1", "controlplane c2", "workers w2+w3+w4", "canary w1"]
        );
    }

    #[test]
    fn one_node_is_no_canary() {
        let one = &nodes()[..1];
        let waves = waves(one, &Ordering { stages: &[], canary: &[], max_parallel: 1 });
        assert_eq!(waves, [Wave { stage: Stage::ControlPlane, nodes: vec!["c1".to_owned()] }]);
    }
}
