//! What earlier rollouts tell of the config that a node runs with, before another is planned for it.

use std::cmp::Reverse;

use super::journal::{History, Leftover, NodeHistory, leftover};
use super::outcome::OutcomeKind;
use super::state_machine::Persisted;
use super::variants::{ConfigDigest, VariantDigests};
use crate::registries::TalosVersion;
use crate::talos::{ConfigResource, Identity};

/// What earlier rollouts tell of the config that a node runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviousRollout {
    /// Nothing.
    Nothing,
    /// It is what one of them has found there, and has put back or never replaced.
    Original,
    /// One of them has not ended there: what it has left, and where its journal is.
    Unfinished(Unfinished, String),
    /// One of them has committed what it runs with, and the reboot that was to follow has not come. The text says where
    /// its journal is.
    WantsReboot(String),
}

/// What an earlier rollout has left on a node on which it has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// What it runs with may be on trial.
    Trial,
    /// Whether its commit has arrived for good is not known.
    Commit,
    /// Its commit has arrived, and what Talos has made of it was not seen.
    Rendering,
}

impl Unfinished {
    /// Returns why it has not ended.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Trial => "what it runs with may be on trial",
            Self::Commit => "it runs with the new config, and whether that is on its disk is not known",
            Self::Rendering => "it has the new config, and whether Talos has rendered it was not seen",
        }
    }

    /// Returns what a resumed rollout does about it.
    pub fn way_on(self) -> &'static str {
        match self {
            Self::Trial => "brings it to its old or its new config",
            Self::Commit => "sends the commit again, and looks at what Talos has made of it",
            Self::Rendering => {
                "looks at what Talos has made of it; where that is wrong, the node gets its old config back"
            }
        }
    }
}

impl PreviousRollout {
    /// Finds out what journals tell, each with the place where it is: that one first which has sent something to the
    /// node last, and the first given where the times do not say.
    pub fn of(
        journals: &[(String, History)],
        name: &str,
        address: &str,
        identity: &Identity,
        configs: (&ConfigResource, Option<&ConfigResource>),
        version: &TalosVersion,
    ) -> Self {
        let (active, persistent) = configs;
        let digest = ConfigDigest::of(&active.text);
        // Whether a reboot that a journal tells of may still be owed.
        let (mut newest, mut may_owe) = (true, true);
        let mut found = Self::Nothing;
        let found_in = |(place, all)| {
            of_node(all, name, address, identity).map(|(history, known)| (place, history, known))
        };
        let mut all: Vec<(&String, &NodeHistory, &VariantDigests)> =
            journals.iter().map(|(place, all)| (place, all)).filter_map(found_in).collect();
        all.sort_by_key(|(_, history, _)| Reverse(history.sent_at));
        for (place, history, known) in all {
            let disk = known.on_disk(persistent, version);
            let is = known.which(&active.text);
            let on_disk = disk == Persisted::Is(is) || is_booted(active, persistent, version);
            // What a later rollout has settled is not a concern of an earlier one, nor is what the node has booted with.
            let left = leftover(history, is, disk);
            // A commit that may have arrived or not is more than a reboot that is to come.
            let is_committed = on_disk || history.outcome == Some(OutcomeKind::WantsReboot);
            let is_settled = !matches!(history.outcome, None | Some(OutcomeKind::Unknown));
            let is_open = match left {
                Leftover::Revert => !on_disk,
                // That the node has booted with it does not tell what Talos has made of it.
                Leftover::Commit => !on_disk || !is_settled,
                Leftover::Reboot => !is_committed,
                // Nothing has seen it, and it may be wrong.
                Leftover::Rendering => true,
                Leftover::Nothing | Leftover::Foreign => false,
            };
            let open = newest && is_open;
            // The strict variant is its node's own only where it is seen on disk.
            let strict = known.strict.as_ref() == Some(&digest) && known.original != digest;
            if open || (!on_disk && newest && strict) {
                let what = match left {
                    Leftover::Rendering => Unfinished::Rendering,
                    Leftover::Commit if on_disk => Unfinished::Rendering,
                    Leftover::Commit | Leftover::Reboot => Unfinished::Commit,
                    Leftover::Revert | Leftover::Nothing | Leftover::Foreign => Unfinished::Trial,
                };
                return Self::Unfinished(what, place.clone());
            }
            if may_owe && left == Leftover::Reboot && (newest || is_committed) {
                return Self::WantsReboot(place.clone());
            }
            if known.original == digest {
                // It has put back what was there: what an earlier one owes the node is still owed, unless it booted.
                found = Self::Original;
                may_owe &= !history.rebooted;
            } else if known.desired == digest {
                // This one has brought what runs: the node itself says whether it has booted with it.
                return if history.rebooted { found } else { Self::Nothing };
            } else {
                may_owe = false;
            }
            newest = false;
        }
        found
    }
}

/// Returns what a journal tells of a node to which something was sent.
///
/// Which machine it is counts more than its name and address: those may be another's by now.
fn of_node<'a>(
    all: &'a History,
    name: &str,
    address: &str,
    identity: &Identity,
) -> Option<(&'a NodeHistory, &'a VariantDigests)> {
    let called = || {
        let called = all.nodes.iter().find(|node| node.name == name || node.address == address);
        called.map_or(name, |node| &node.name)
    };
    let history = all.by_node.get(all.name_of(identity).unwrap_or_else(called))?;
    if history.is_of(identity) == Some(false) {
        return None;
    }
    history.sent?;
    Some((history, history.known.as_ref()?))
}

/// Returns whether what runs is what the node has booted with: nothing was set since.
fn is_booted(active: &ConfigResource, persistent: Option<&ConfigResource>, version: &TalosVersion) -> bool {
    persistent.is_none() && version.has_persistent_config() && !active.was_set_again()
}

/// Returns whether what runs may be on trial though the node shows no other config: none was applied for good since it
/// booted, and what it booted with was replaced anyway (Talos `controllers/config/acquire.go`).
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
    use crate::rollout::journal::{Address, Entry, Record};
    use crate::rollout::step::ApplyStep;

    fn digest(text: &str) -> ConfigDigest {
        ConfigDigest::of(&text.into())
    }

    /// What a journal tells of the node: a config that was sent, or what became of it.
    #[derive(Clone, Copy)]
    enum Told {
        Send(ApplyStep),
        Done(OutcomeKind),
    }
    use OutcomeKind::{Reverted, Unknown, Updated, WantsReboot};
    use Told::{Done, Send};

    const COMMITTED: Told = Send(ApplyStep::Commit);

    fn journal(place: &str, records: &[Told]) -> (String, History) {
        journal_at(place, "t", false, records)
    }

    fn journal_at(place: &str, at: &str, reboots: bool, records: &[Told]) -> (String, History) {
        journal_of(place, at, reboots, ("old", "wanted"), records)
    }

    /// A rollout after the one that has brought what is wanted now.
    fn trial_on_wanted(place: &str, records: &[Told]) -> (String, History) {
        journal_of(place, "t", false, ("wanted", "newer"), records)
    }

    fn journal_of(
        place: &str,
        at: &str,
        reboots: bool,
        (before, wanted): (&str, &str),
        records: &[Told],
    ) -> (String, History) {
        let node = "n1".to_owned();
        let nodes =
            vec![Address { name: node.clone(), address: "10.0.0.1".to_owned(), planned: None, known: None }];
        let (id, version, context) = (String::new(), String::new(), String::new());
        let mut all = vec![Record::Start { id, version, context, cluster: None, nodes }];
        all.push(Record::Node {
            node: node.clone(),
            file: "f".to_owned(),
            before: digest(before),
            strict: Some(digest("strict")),
            wanted: digest(wanted),
            reboots,
            machine: None,
            nodename: None,
        });
        for told in records {
            let node = node.clone();
            all.push(match *told {
                Send(what) => Record::Send { node, what, arrives: None },
                Done(outcome) => Record::Done { node, outcome, reason: None },
            });
        }
        let lines = all.into_iter().map(|record| Entry { at: at.to_owned(), record }.to_text());
        (place.to_owned(), History::parse(&lines.collect::<String>()).unwrap())
    }

    #[test]
    fn what_a_killed_run_has_left_on_trial_is_not_taken_for_the_nodes_own() {
        let hides = TalosVersion::minor(1, 9);
        let shows = TalosVersion::minor(1, 13);
        let trial = |place: &str| PreviousRollout::Unfinished(Unfinished::Trial, place.to_owned());
        let commit = |place: &str| PreviousRollout::Unfinished(Unfinished::Commit, place.to_owned());
        let ask = |journals: &[(String, History)], active: &str, times: u64, version| {
            let active = ConfigResource::set(active, times);
            PreviousRollout::of(journals, "n1", "10.0.0.1", &Identity::default(), (&active, None), version)
        };
        for version in [&hides, &shows] {
            // Killed in the strict trial, in the trial, during the commit.
            let killed = [journal("a", &[Send(ApplyStep::TryStrict)])];
            assert_eq!(ask(&killed, "strict", 2, version), trial("a"));
            assert_eq!(ask(&killed, "old", 3, version), PreviousRollout::Original);
            assert_eq!(ask(&killed, "other", 3, version), PreviousRollout::Nothing);
            let killed = [journal("b", &[Send(ApplyStep::Try)]), journal("a", &[])];
            assert_eq!(ask(&killed, "wanted", 2, version), trial("b"));
            assert_eq!(ask(&[journal("c", &[COMMITTED])], "wanted", 2, version), commit("c"));
            // By another name, at the same address.
            let active = ConfigResource::set("wanted", 2);
            assert_eq!(
                PreviousRollout::of(
                    &killed,
                    "10.0.0.1",
                    "10.0.0.1",
                    &Identity::default(),
                    (&active, None),
                    version
                ),
                trial("b")
            );
            // A later rollout has ended well.
            let later = [journal("d", &[COMMITTED, Done(Updated)]), killed[0].clone()];
            assert_eq!(ask(&later, "wanted", 1, version), PreviousRollout::Nothing);
            // The strict variant is never a node's own, whichever rollout has sent it.
            assert_eq!(ask(&later, "strict", 2, version), trial("d"));
            assert_eq!(ask(&[], "strict", 2, version), PreviousRollout::Nothing);
        }
        let later = [journal("d", &[COMMITTED, Done(Updated)])];
        assert_eq!(ask(&later, "strict", 1, &shows), PreviousRollout::Nothing, "it was booted with");
    }

    /// What Talos has made of a commit is not known where the run was killed before it looked.
    #[test]
    fn a_commit_whose_rendering_was_not_seen_is_not_ended() {
        let shows = TalosVersion::minor(1, 10);
        let (active, disk) = (ConfigResource::set("wanted", 2), ConfigResource::set("wanted", 1));
        let ask = |journals: &[(String, History)]| {
            PreviousRollout::of(
                journals,
                "n1",
                "10.0.0.1",
                &Identity::default(),
                (&active, Some(&disk)),
                &shows,
            )
        };
        let at = |place, at, records: &[Told]| journal_at(place, at, false, records);
        let killed = at("a", "2026-01-02T03:04:05Z", &[COMMITTED]);
        let unseen = PreviousRollout::Unfinished(Unfinished::Rendering, "a".to_owned());
        assert_eq!(ask(std::slice::from_ref(&killed)), unseen);
        // That it is not known what became of it is no look at it, whether the node has booted with it since or not.
        let unknown = at("a", "2026-01-02T03:04:05Z", &[COMMITTED, Done(Unknown)]);
        assert_eq!(ask(std::slice::from_ref(&unknown)), unseen);
        let booted = ConfigResource::set("wanted", 1);
        let after_boot = |journal: &(String, History)| {
            PreviousRollout::of(
                std::slice::from_ref(journal),
                "n1",
                "10.0.0.1",
                &Identity::default(),
                (&booted, None),
                &shows,
            )
        };
        assert_eq!((after_boot(&unknown), after_boot(&killed)), (unseen.clone(), unseen));
        let reverted = at("a", "2026-01-02T03:04:05Z", &[COMMITTED, Done(Reverted)]);
        assert_eq!(after_boot(&reverted), PreviousRollout::Nothing);
        let later = at("b", "2026-01-02T03:04:06Z", &[COMMITTED, Done(Updated)]);
        assert_eq!(ask(&[killed, later.clone()]), PreviousRollout::Nothing);
        assert_eq!(ask(&[later]), PreviousRollout::Nothing);
    }

    /// Where the folders lie says nothing of which rollout was there last.
    #[test]
    fn the_journal_that_has_sent_last_counts() {
        let shows = TalosVersion::minor(1, 10);
        let active = ConfigResource::set("wanted", 2);
        let ask = |journals: &[(String, History)]| {
            PreviousRollout::of(journals, "n1", "10.0.0.1", &Identity::default(), (&active, None), &shows)
        };
        let updated = journal_at("a", "2026-01-02T03:04:05Z", false, &[COMMITTED, Done(Updated)]);
        let killed = journal_at("b", "2026-01-02T03:04:05.5Z", false, &[Send(ApplyStep::Try)]);
        for journals in [[updated.clone(), killed.clone()], [killed, updated.clone()]] {
            assert_eq!(ask(&journals), PreviousRollout::Unfinished(Unfinished::Trial, "b".to_owned()));
        }
        let before = journal_at("b", "2026-01-02T03:04:04.5Z", false, &[Send(ApplyStep::Try)]);
        assert_eq!(ask(&[before, updated]), PreviousRollout::Nothing);
    }

    #[test]
    fn a_reboot_that_has_not_come_is_not_forgotten() {
        let wanted = |records: &[Told]| [journal_at("a", "t", true, records)];
        let ask = |journals: &[(String, History)], disk: Option<&str>, version: TalosVersion| {
            let (active, disk) =
                (ConfigResource::set("wanted", 1), disk.map(|disk| ConfigResource::set(disk, 1)));
            PreviousRollout::of(
                journals,
                "n1",
                "10.0.0.1",
                &Identity::default(),
                (&active, disk.as_ref()),
                &version,
            )
        };
        let wants = PreviousRollout::WantsReboot("a".to_owned());
        let left = wanted(&[COMMITTED, Done(WantsReboot)]);
        let (shows, hides) = (TalosVersion::minor(1, 10), TalosVersion::minor(1, 9));
        assert_eq!(ask(&left, Some("wanted"), shows.clone()), wants);
        assert_eq!(ask(&left, None, hides.clone()), wants);
        // It has booted since, or a later rollout has seen to it.
        assert_eq!(ask(&left, None, shows.clone()), PreviousRollout::Nothing);
        let done = [journal("b", &[COMMITTED, Done(Updated)]), left[0].clone()];
        assert_eq!(ask(&done, Some("wanted"), shows.clone()), PreviousRollout::Nothing);
        // A later rollout has tried another config there, and has put back what it found.
        let put_back = trial_on_wanted("c", &[Send(ApplyStep::Try), Send(ApplyStep::Revert), Done(Reverted)]);
        let both = [put_back.clone(), left[0].clone()];
        assert_eq!(ask(&both, Some("wanted"), shows.clone()), wants);
        assert_eq!(ask(&both, None, hides.clone()), wants);
        // One that was to reboot nothing has committed it: the node itself tells whether it booted since.
        let both = [put_back.clone(), done[0].clone()];
        assert_eq!(ask(&both, Some("wanted"), shows.clone()), PreviousRollout::Nothing);
        assert_eq!(ask(&[put_back], Some("wanted"), shows.clone()), PreviousRollout::Original);
        // Killed before the commit was seen to be on disk.
        let killed = wanted(&[COMMITTED]);
        assert_eq!(ask(&killed, Some("wanted"), shows), wants);
        assert_eq!(
            ask(&killed, None, hides),
            PreviousRollout::Unfinished(Unfinished::Commit, "a".to_owned())
        );
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
