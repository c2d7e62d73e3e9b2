//! What earlier rollouts tell of the config that a node runs with, before another is planned for it.

use std::cmp::Reverse;

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
    /// One of them has committed what it runs with, and the reboot that was to follow has not come. The text says where
    /// its journal is.
    WantsReboot(String),
}

impl Earlier {
    /// Finds out what journals tell, each with the place where it is: that one first which has sent something to the
    /// node last, and the first given where the times do not say.
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
        let of_node =
            |(place, history)| told(history, name, address).map(|(told, known)| (place, told, known));
        let mut all: Vec<(&String, &NodeHistory, &Known)> =
            journals.iter().map(|(place, history)| (place, history)).filter_map(of_node).collect();
        all.sort_by_key(|(_, told, _)| Reverse(told.sent_at));
        for (place, told, known) in all {
            let disk = known.on_disk(persistent, version);
            let is = known.which(&active.text);
            let on_disk = disk == OnDisk::Is(is) || is_booted(active, persistent, version);
            // What a later rollout has settled is no concern of an earlier one, nor is what the node has booted with.
            let left = left(told, is, disk);
            // A commit of which nobody knows whether it has arrived is more than a reboot that is to come.
            let is_committed = on_disk || told.outcome.as_deref() == Some("wants-reboot");
            let is_open = match left {
                Left::Revert | Left::Commit => !on_disk,
                Left::Reboot => !is_committed,
                Left::Nothing | Left::Foreign => false,
            };
            let open = newest && is_open;
            // The strict variant is its node's own only where it is seen on disk.
            let strict = known.strict.as_ref() == Some(&digest) && known.before != digest;
            if open || (!on_disk && newest && strict) {
                return Self::Unfinished(place.clone());
            }
            if newest && left == Left::Reboot {
                return Self::WantsReboot(place.clone());
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
        journal_at(place, "t", false, records)
    }

    fn journal_at(place: &str, at: &str, reboots: bool, records: &[(&str, &str)]) -> (String, History) {
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
            reboots,
        });
        for (record, word) in records {
            let (node, word) = (node.clone(), (*word).to_owned());
            all.push(match *record {
                "send" => Record::Send { node, what: word },
                _ => Record::Done { node, outcome: word, reason: None },
            });
        }
        let lines = all.into_iter().map(|record| Line { at: at.to_owned(), record }.to_text());
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

    /// Where the folders lie says nothing of which rollout was there last.
    #[test]
    fn the_journal_that_has_sent_last_counts() {
        let shows = TalosVersion::minor(1, 10);
        let active = ConfigResource::set("wanted", 2);
        let ask =
            |journals: &[(String, History)]| Earlier::of(journals, "n1", "10.0.0.1", (&active, None), &shows);
        let updated =
            journal_at("a", "2026-01-02T03:04:05Z", false, &[("send", "commit"), ("done", "updated")]);
        let killed = journal_at("b", "2026-01-02T03:04:05.5Z", false, &[("send", "try")]);
        for journals in [[updated.clone(), killed.clone()], [killed, updated.clone()]] {
            assert_eq!(ask(&journals), Earlier::Unfinished("b".to_owned()));
        }
        let before = journal_at("b", "2026-01-02T03:04:04.5Z", false, &[("send", "try")]);
        assert_eq!(ask(&[before, updated]), Earlier::Nothing);
    }

    #[test]
    fn a_reboot_that_has_not_come_is_not_forgotten() {
        let wanted = |records: &[(&str, &str)]| [journal_at("a", "t", true, records)];
        let ask = |journals: &[(String, History)], disk: Option<&str>, version: TalosVersion| {
            let (active, disk) =
                (ConfigResource::set("wanted", 1), disk.map(|disk| ConfigResource::set(disk, 1)));
            Earlier::of(journals, "n1", "10.0.0.1", (&active, disk.as_ref()), &version)
        };
        let wants = Earlier::WantsReboot("a".to_owned());
        let left = wanted(&[("send", "commit"), ("done", "wants-reboot")]);
        let (shows, hides) = (TalosVersion::minor(1, 10), TalosVersion::minor(1, 9));
        assert_eq!(ask(&left, Some("wanted"), shows.clone()), wants);
        assert_eq!(ask(&left, None, hides.clone()), wants);
        // It has booted since, or a later rollout has seen to it.
        assert_eq!(ask(&left, None, shows.clone()), Earlier::Nothing);
        let done = [journal("b", &[("send", "commit"), ("done", "updated")]), left[0].clone()];
        assert_eq!(ask(&done, Some("wanted"), shows.clone()), Earlier::Nothing);
        // Killed before the commit was seen to be on disk.
        let killed = wanted(&[("send", "commit")]);
        assert_eq!(ask(&killed, Some("wanted"), shows), wants);
        assert_eq!(ask(&killed, None, hides), Earlier::Unfinished("a".to_owned()));
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
