//! What a rollout that goes on calls its nodes in its journal: a machine keeps the name under which it was worked on.

use super::format::Address;
use super::replay::History;
use crate::talos::Identity;

/// A node that a resumed rollout works on.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// Its name by now.
    pub name: String,
    /// How it is reached by now.
    pub address: String,
    /// Which machine it is.
    pub identity: Identity,
}

/// Why a node cannot be kept in a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` ({address}) is another machine than the one that this rollout has worked on as `{name}`")]
pub struct NameTaken {
    name: String,
    address: String,
}

impl History {
    /// Returns what the journal is to call each of the nodes that are worked on: the name that it has for the machine, else for
    /// one that was not worked on at that address or by that name. One for which it has only the name of another machine
    /// gets its address for a name: what is known of the other one is kept.
    pub fn names_for(&self, nodes: &[Resumed]) -> Result<Vec<String>, NameTaken> {
        let own = |node: &Resumed| self.name_of(&node.identity).map(str::to_owned);
        let mut names: Vec<Option<String>> = nodes.iter().map(own).collect();
        let ways: [fn(&Address, &Resumed) -> bool; 3] = [
            |told, node| told.name == node.name && told.address == node.address,
            |told, node| told.address == node.address,
            |told, node| told.name == node.name,
        ];
        for is_it in ways {
            for (at, node) in nodes.iter().enumerate() {
                let is_free = |told: &&Address| names.iter().flatten().all(|name| *name != told.name);
                let mut of_it = self.nodes.iter().filter(|told| is_it(told, node)).filter(is_free);
                let found = of_it.find(|told| self.may_become(&told.name, &node.identity));
                let found = found.map(|told| told.name.clone());
                if let Some(name) = names.get_mut(at).filter(|name| name.is_none()) {
                    *name = found;
                }
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            if names.get(at).is_none_or(Option::is_some) {
                continue;
            }
            let is_taken = |name: &String| {
                self.by_node.contains_key(name)
                    || self.nodes.iter().any(|told| told.name == *name)
                    || names.iter().flatten().any(|other| other == name)
            };
            // By its address it is found again as long as nothing else tells where it is.
            let fresh = [&node.address, &node.name].into_iter().find(|name| !is_taken(name)).cloned();
            let taken = || NameTaken { name: node.name.clone(), address: node.address.clone() };
            let fresh = fresh.ok_or_else(taken)?;
            if let Some(name) = names.get_mut(at) {
                *name = Some(fresh);
            }
        }
        Ok(names.into_iter().flatten().collect())
    }

    /// Returns whether a name can be that of a machine without losing what is known of another.
    fn may_become(&self, name: &str, identity: &Identity) -> bool {
        self.by_node
            .get(name)
            .is_none_or(|history| history.is_of(identity) != Some(false) || history.has_old())
    }

    /// Returns all its nodes: those with which it began, and those that have got a name later. Where those are is what they are
    /// called, unless the inventory has that name.
    pub fn all_nodes(&self) -> Vec<Address> {
        let is_new = |name: &&String| self.nodes.iter().all(|told| told.name != **name);
        let new = self.by_node.keys().filter(is_new).map(|name| Address {
            name: name.clone(),
            address: name.clone(),
            planned: None,
            known: None,
        });
        self.nodes.iter().cloned().chain(new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::journal::{Entry, Record};
    use crate::rollout::outcome::OutcomeKind;
    use crate::rollout::variants::ConfigDigest;

    fn history(told: &[(&str, &str)], worked_on: &[(&str, &str, OutcomeKind)]) -> History {
        let nodes = told.iter().map(|(name, address)| Address {
            name: (*name).to_owned(),
            address: (*address).to_owned(),
            planned: None,
            known: None,
        });
        let (id, version, context) = (String::new(), String::new(), String::new());
        let start = Record::Start { id, version, context, cluster: None, nodes: nodes.collect() };
        let node = |(name, machine, outcome): &(&str, &str, OutcomeKind)| {
            let node = Record::Node {
                node: (*name).to_owned(),
                file: "f".to_owned(),
                before: ConfigDigest::from_text("old"),
                strict: None,
                wanted: ConfigDigest::from_text("new"),
                reboots: false,
                machine: Some((*machine).to_owned()),
                nodename: None,
            };
            [node, Record::Done { node: (*name).to_owned(), outcome: *outcome, reason: None }]
        };
        let records = std::iter::once(start).chain(worked_on.iter().flat_map(node));
        let text = records.map(|record| Entry { at: "t".to_owned(), record }.to_text()).collect::<String>();
        History::parse(&text).unwrap()
    }

    fn names(history: &History, nodes: &[(&str, &str, &str)]) -> Vec<String> {
        let node = |(name, address, machine): &(&str, &str, &str)| Resumed {
            name: (*name).to_owned(),
            address: (*address).to_owned(),
            identity: Identity { machine: Some((*machine).to_owned()), ..Identity::default() },
        };
        history.names_for(&nodes.iter().map(node).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_machine_keeps_its_name() {
        use OutcomeKind::Updated;
        let told = [("n1", "a"), ("n2", "b")];
        let begun = history(&told, &[("n1", "m1", Updated)]);
        assert_eq!(names(&begun, &[("n1", "a", "m1"), ("n2", "b", "m2")]), ["n1", "n2"]);
        // Renamed, before or after its turn.
        assert_eq!(names(&begun, &[("x1", "a", "m1"), ("x2", "b", "m2")]), ["n1", "n2"]);
        // Their addresses are swapped.
        assert_eq!(names(&begun, &[("n1", "b", "m2"), ("n2", "a", "m1")]), ["n2", "n1"]);
        assert_eq!(names(&begun, &[("n1", "b", "m2")]), ["n2"]);
        // Moved, none of them worked on.
        let fresh = history(&told, &[]);
        assert_eq!(names(&fresh, &[("n1", "c", "m1"), ("n2", "b", "m2")]), ["n1", "n2"]);
    }

    /// What is known of a machine that has the rollout's config is not written over with another's.
    #[test]
    fn a_machine_does_not_lose_its_name_to_another() {
        use OutcomeKind::{Reverted, Updated};
        let told = [("n1", "a")];
        assert_eq!(names(&history(&told, &[("n1", "m1", Updated)]), &[("n1", "a", "m9")]), ["a"]);
        assert_eq!(names(&history(&told, &[("n1", "m1", Reverted)]), &[("n1", "a", "m9")]), ["n1"]);
        let by_address = history(&[("a", "a")], &[("a", "m1", Updated)]);
        let node = |name: &str| Resumed {
            name: name.to_owned(),
            address: "a".to_owned(),
            identity: Identity { machine: Some("m9".to_owned()), ..Identity::default() },
        };
        assert_eq!(by_address.names_for(&[node("x")]).unwrap(), ["x"]);
        let error = by_address.names_for(&[node("a")]).unwrap_err().to_string();
        assert!(error.contains("`a` (a) is another machine"), "{error}");
    }

    #[test]
    fn a_name_that_came_later_is_one_of_the_nodes() {
        let told = [("n1", "a")];
        let all = history(&told, &[("n1", "m1", OutcomeKind::Updated), ("b", "m2", OutcomeKind::Updated)]);
        let all: Vec<_> = all.all_nodes().into_iter().map(|node| (node.name, node.address)).collect();
        assert_eq!(all, [("n1".to_owned(), "a".to_owned()), ("b".to_owned(), "b".to_owned())]);
    }
}
