use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use super::model::{Inventory, Layer};
use super::resolve::Target;

/// What decides the registries of a target, whatever the target is called and wherever the file has it: targets with
/// equal settings get the same registries of the same version of Talos.
#[derive(Clone, Debug)]
pub struct TargetSettings<'a>(Vec<&'a Layer>);

impl PartialEq for TargetSettings<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| are_alike(a, b))
    }
}

impl Eq for TargetSettings<'_> {}

/// Of what is compared, what tells most targets apart.
impl Hash for TargetSettings<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for layer in &self.0 {
            layer.registries.len().hash(state);
            layer.registries.keys().for_each(|name| name.hash(state));
        }
    }
}

/// Compares all but the places in the file.
fn are_alike(a: &Layer, b: &Layer) -> bool {
    let Layer { via, fallback, registries } = a;
    let alike = || {
        // In order: it is that of the routes.
        registries.iter().zip(&b.registries).all(|((a, this), (b, that))| a == b && this.value == that.value)
    };
    std::ptr::eq(a, b)
        || (*via == b.via && *fallback == b.fallback && registries.len() == b.registries.len() && alike())
}

impl Inventory {
    /// Returns what decides the registries of a target.
    pub fn settings_of(&self, target: Target<'_>) -> TargetSettings<'_> {
        let layers = self.layers(target).into_iter().map(|(_, layer)| layer);
        TargetSettings(layers.filter(|layer| **layer != Layer::default()).collect())
    }

    /// Returns the base, and of the groups and nodes with settings of their own those whose settings no one before has.
    pub(super) fn unlike_targets(&self) -> Vec<Target<'_>> {
        let mut seen = HashSet::new();
        self.own_targets().filter(|target| seen.insert(self.settings_of(*target))).collect()
    }

    /// Returns the base, and the groups and nodes with settings of their own.
    pub(super) fn own_targets(&self) -> impl Iterator<Item = Target<'_>> {
        let own = |layer: &Layer| *layer != Layer::default();
        let groups = self.groups.iter().filter(move |(_, group)| own(&group.layer));
        let nodes = self.nodes.iter().filter(move |(_, node)| own(&node.layer));
        std::iter::once(Target::Base)
            .chain(groups.map(|(name, _)| Target::Group(name)))
            .chain(nodes.map(|(name, _)| Target::Node(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::parse;

    #[test]
    fn targets_are_alike_by_what_they_set_and_in_order() {
        let text = "\
mirror: https://h.example
registries: [ghcr.io, quay.io]
groups:
  edge: {nodes: [n4], registries: {ghcr.io: {fallback: never}}}
nodes:
  n1: {registries: {ghcr.io: {fallback: never}}}
  n2: {registries: {ghcr.io: {fallback: never}}}
  n3: {registries: {ghcr.io: {fallback: upstream}}}
  n4: {}
  n5: {registries: {ghcr.io: {fallback: never}, quay.io: null}}
  n6: {registries: {quay.io: null, ghcr.io: {fallback: never}}}
  n7: {}
";
        let inventory = parse(text, "mirrors.yaml", &|_| None).inventory.unwrap();
        let of = |name| inventory.settings_of(Target::Node(name));
        assert_eq!(of("n1"), of("n2"));
        assert_eq!(of("n1"), of("n4"), "by a group or by itself");
        assert_eq!(of("n7"), inventory.settings_of(Target::Base));
        for (a, b) in [("n1", "n3"), ("n1", "n5"), ("n5", "n6"), ("n1", "n7")] {
            assert_ne!(of(a), of(b), "{a} {b}");
        }
        let names = inventory.unlike_targets();
        assert_eq!(
            names,
            [Target::Base, Target::Group("edge"), Target::Node("n3"), Target::Node("n5"), Target::Node("n6")]
        );
    }
    #[test]
    fn what_is_wrong_with_targets_that_are_alike_is_told_of_each() {
        let text = "\
mirrors: {small: {kind: plain, url: 'https://h.example', serves: [quay.io]}}
registries: {ghcr.io: {}}
nodes:
  n1: {registries: {ghcr.io: {via: [small]}}}
  n2: {registries: {ghcr.io: {via: [small]}}}
";
        let parsed = parse(text, "mirrors.yaml", &|_| None);
        let lines: Vec<_> = parsed.problems.iter().map(|problem| problem.position.line).collect();
        assert_eq!(lines, [4, 5], "{:?}", parsed.problems);
    }
}
