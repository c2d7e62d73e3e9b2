//! What earlier rollouts tell of the config that a node runs with, before another is planned for it.

use super::config::{Digest, Known};
use super::journal::{History, Left, NodeHistory, left};
use super::machine::OnDisk;
use crate::registries::TalosVersion;
use crate::talos::ConfigResource;

/// What earlier rollouts tell of the config that a node runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing.
    Nothing,
    /// It is what one of them has found there, and has put back or never replaced.
    Original,
    /// One of them has not ended there: the config is on trial, or nobody knows. The text says where its journal is.
    Unfinished(String),
}

impl Earlier {
    /// Finds out what journals tell, the newest first, each with the place where it is.
    pub fn of(
        journals: &[(String, History)],
        name: &str,
        address: &str,
        configs: (&ConfigResource, Option<&ConfigResource>),
        version: &TalosVersion,
    ) -> Self {
        let (active, persistent) = configs;
        let digest = Digest::of(&active.text);
        let mut newest = true;
        let mut found = Self::Nothing;
        for (place, history) in journals {
            let Some((told, known)) = told(history, name, address) else { continue };
            let disk = known.on_disk(persistent, version);
            let is = known.which(&active.text);
            let on_disk = disk == OnDisk::Is(is) || is_booted(active, persistent, version);
            // What a later rollout has settled is no concern of an earlier one, nor is what the node has booted with.
            let open = !on_disk && newest && matches!(left(told, is, disk), Left::Revert | Left::Commit);
            // The strict variant is its node's own only where it is seen on disk.
            let strict = known.strict.as_ref() == Some(&digest) && known.before != digest;
            if open || (!on_disk && newest && strict) {
                return Self::Unfinished(place.clone());
            }
            if known.before == digest {
                found = Self::Original;
            }
            newest = false;
        }
        found
    }
}

/// Returns what a journal tells of a node to which something was sent.
fn told<'a>(history: &'a History, name: &str, address: &str) -> Option<(&'a NodeHistory, &'a Known)> {
    let called = history.nodes.iter().find(|node| node.name == name || node.address == address);
    let told = history.told.get(called.map_or(name, |node| &node.name))?;
    told.sent?;
    Some((told, told.known.as_ref()?))
}

/// Returns whether what runs is what the node has booted with: nothing was set since.
fn is_booted(active: &ConfigResource, persistent: Option<&ConfigResource>, version: &TalosVersion) -> bool {
    persistent.is_none() && version.has_persistent_config() && !active.was_set_again()
}

/// Returns whether what runs may be on trial though the node shows no other config: none was applied for good since it
/// booted, and what it booted with was replaced all the same (Talos `controllers/config/acquire.go`).
pub fn may_be_on_trial(
    active: &ConfigResource,
    persistent: Option<&ConfigResource>,
    version: &TalosVersion,
) -> bool {
    persistent.is_none() && version.has_persistent_config() && active.was_set_again()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Line, Record};

    fn digest(text: &str) -> String {
        Digest::of(&text.into()).as_str().to_owned()
    }

    fn journal(place: &str, records: &[(&str, &str)]) -> (String, History) {
        let node = "n1".to_owned();
        let nodes = vec![crate::rollout::Address { name: node.clone(), address: "10.0.0.1".to_owned() }];
        let (id, version, context) = (String::new(), String::new(), String::new());
        let mut all = vec![Record::Start { id, version, context, cluster: None, nodes }];
        all.push(Record::Node {
            node: node.clone(),
            file: "f".to_owned(),
            before: digest("old"),
            strict: Some(digest("strict")),
            wanted: digest("wanted"),
            reboots: false,
        });
        for (record, word) in records {
            let (node, word) = (node.clone(), (*word).to_owned());
            all.push(match *record {
                "send" => Record::Send { node, what: word },
                _ => Record::Done { node, outcome: word, reason: None },
            });
        }
        let lines = all.into_iter().map(|record| Line { at: "t".to_owned(), record }.to_text());
        (place.to_owned(), History::parse(&lines.collect::<String>()).unwrap())
    }

    #[test]
    fn what_a_killed_run_has_left_on_trial_is_not_taken_for_the_nodes_own() {
        let hides = TalosVersion::minor(1, 9);
        let shows = TalosVersion::minor(1, 13);
        let unfinished = |place: &str| Earlier::Unfinished(place.to_owned());
        let ask = |journals: &[(String, History)], active: &str, times: u64, version| {
            let active = ConfigResource::set(active, times);
            Earlier::of(journals, "n1", "10.0.0.1", (&active, None), version)
        };
        for version in [&hides, &shows] {
            // Killed in the strict trial, in the trial, during the commit.
            let killed = [journal("a", &[("send", "try-strict")])];
            assert_eq!(ask(&killed, "strict", 2, version), unfinished("a"));
            assert_eq!(ask(&killed, "old", 3, version), Earlier::Original);
            assert_eq!(ask(&killed, "other", 3, version), Earlier::Nothing);
            let killed = [journal("b", &[("send", "try")]), journal("a", &[])];
            assert_eq!(ask(&killed, "wanted", 2, version), unfinished("b"));
            assert_eq!(ask(&[journal("c", &[("send", "commit")])], "wanted", 2, version), unfinished("c"));
            // By another name, at the same address.
            let active = ConfigResource::set("wanted", 2);
            assert_eq!(
                Earlier::of(&killed, "10.0.0.1", "10.0.0.1", (&active, None), version),
                unfinished("b")
            );
            // A later rollout has ended well.
            let later = [journal("d", &[("send", "commit"), ("done", "updated")]), killed[0].clone()];
            assert_eq!(ask(&later, "wanted", 1, version), Earlier::Nothing);
            // The strict variant is nobody's own, whichever rollout has sent it.
            assert_eq!(ask(&later, "strict", 2, version), unfinished("d"));
            assert_eq!(ask(&[], "strict", 2, version), Earlier::Nothing);
        }
        let later = [journal("d", &[("send", "commit"), ("done", "updated")])];
        assert_eq!(ask(&later, "strict", 1, &shows), Earlier::Nothing, "it was booted with");
    }

    #[test]
    fn what_was_set_again_and_is_not_on_disk_may_be_on_trial() {
        let shows = TalosVersion::minor(1, 10);
        let (once, twice) = (ConfigResource::set("a", 1), ConfigResource::set("a", 2));
        assert!(may_be_on_trial(&twice, None, &shows) && !may_be_on_trial(&once, None, &shows));
        assert!(!may_be_on_trial(&twice, Some(&once), &shows));
        assert!(!may_be_on_trial(&twice, None, &TalosVersion::minor(1, 9)));
    }
}
