//! Every state × every observation, and every run of a node that may lose any answer.

use std::collections::HashSet;

use super::*;
use crate::rollout::if_abandoned::TrialTimer;

fn routes() -> Vec<Route> {
    let mut out = Vec::new();
    for strict in [Strict::First, Strict::Original, Strict::None] {
        for probe in [Probe::Pull, Probe::None] {
            for reboot in [Reboot::After, Reboot::Never] {
                out.push(Route { strict, probe, reboot });
            }
        }
    }
    out
}

fn observations() -> Vec<StepResult> {
    let mut out = vec![StepResult::Well, StepResult::Interrupted];
    let why = || "why".to_owned();
    out.extend([
        StepResult::Refused(why()),
        StepResult::NotSent(why()),
        StepResult::Lost(why()),
        StepResult::Failed(why()),
    ]);
    let all = [Variant::Original, Variant::Strict, Variant::Desired, Variant::Foreign];
    for active in all {
        let disks = all.into_iter().map(Persisted::Is).chain([Persisted::Unset, Persisted::Hidden]);
        out.extend(disks.map(|disk| StepResult::Runs(active, disk)));
    }
    out
}

#[test]
fn every_state_with_every_observation() {
    for route in routes() {
        let mut seen: Vec<NodeState> = vec![
            NodeState::new(route),
            NodeState::new(Route { reboot: Reboot::Alone, ..route }),
            NodeState::reverting(route, "an earlier run"),
            NodeState::committing(route),
            NodeState::restoring(route, SentConfigs::after(ApplyStep::Commit)),
            NodeState::restoring(route, SentConfigs::after(ApplyStep::Try)),
            NodeState::committed(route),
        ];
        let mut at = 0;
        while let Some(state) = seen.get(at).cloned() {
            at += 1;
            if matches!(state.doing, Action::End(_)) {
                assert_eq!(state.clone().next(StepResult::Well), state, "an end is an end");
                continue;
            }
            for observation in observations() {
                let next = state.clone().next(observation.clone());
                check(&state, &observation, &next);
                if !seen.contains(&next) {
                    seen.push(next);
                }
            }
        }
        assert!(seen.len() > 30 && seen.len() < 5000, "{}", seen.len());
    }
}

/// What holds for every step.
fn check(state: &NodeState, observation: &StepResult, next: &NodeState) {
    let context = || format!("{state:#?}\n{observation:?}\n{next:#?}");
    match &next.doing {
        // A trial never begins on top of another.
        Action::Apply(ApplyStep::TryStrict | ApplyStep::Try) => {
            assert!(!next.sent.in_trial(), "{}", context());
        }
        Action::Apply(ApplyStep::Commit) => {
            let read =
                matches!(state.doing, Action::Confirm(ApplyStep::Commit) | Action::Check(ApplyStep::Commit));
            let runs = matches!(observation, StepResult::Runs(active, _)
                if *active == Variant::Desired || (*active == Variant::Strict && next.route.strict == Strict::First));
            assert!(read && runs, "{}", context());
        }
        Action::End(Outcome::Updated) => {
            let last =
                matches!(state.doing, Action::AwaitRendered(Checkpoint::Committed | Checkpoint::Rebooted));
            assert!(last && next.failure.is_none() && !next.sent.in_trial(), "{}", context());
        }
        Action::End(Outcome::Reverted { .. }) => {
            assert!(
                matches!(observation, StepResult::Runs(Variant::Original, disk) if disk.may_be(Variant::Original)),
                "{}",
                context()
            );
        }
        Action::End(Outcome::Untouched { .. } | Outcome::Unchanged) => {
            assert!(!next.is_touched(), "{}", context());
        }
        // The old config is never sent again without a look at what the node has.
        Action::Apply(ApplyStep::Revert) => {
            assert_eq!(state.doing, Action::Confirm(ApplyStep::Revert), "{}", context());
        }
        Action::End(Outcome::WantsReboot { .. }) => {
            assert!(
                state.doing == Action::Reboot && next.failure.is_none() && !next.sent.in_trial(),
                "{}",
                context()
            );
        }
        Action::Inspect => panic!("{}", context()),
        _ => {}
    }
    // What another operator or tool has applied or staged is never overwritten.
    let reads = matches!(state.doing, Action::Inspect | Action::Check(_) | Action::Confirm(_));
    if reads
        && let StepResult::Runs(active, disk) = observation
        && (*active == Variant::Foreign || *disk == Persisted::Is(Variant::Foreign))
    {
        assert!(matches!(next.doing, Action::End(_)), "{}", context());
    }
    // Once something has failed, only the old config is sent.
    if next.failure.is_some() {
        let revert = matches!(
            next.doing,
            Action::Confirm(ApplyStep::Revert)
                | Action::Apply(ApplyStep::Revert)
                | Action::Check(ApplyStep::Revert)
                | Action::End(_)
        );
        assert!(revert, "{}", context());
    }
    let failed =
        matches!(observation, StepResult::Refused(_) | StepResult::Failed(_) | StepResult::Interrupted);
    if failed && state.failure.is_none() && state.doing != Action::AwaitBoot {
        let reacts = matches!(
            next.doing,
            Action::Confirm(ApplyStep::Revert)
                | Action::Apply(ApplyStep::Revert)
                | Action::End(
                    Outcome::Untouched { .. } | Outcome::Unknown { .. } | Outcome::WantsReboot { .. }
                )
        );
        assert!(reacts, "{}", context());
    }
}

/// A node as Talos 1.10 to 1.13 is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    active: u8,
    disk: Option<u8>,
    /// What is on disk, whether it was set since the node booted or not.
    boots: u8,
    /// What the clock of a trial takes back to.
    clock: Option<u8>,
}

const KNOWN: [Variant; 3] = [Variant::Original, Variant::Strict, Variant::Desired];

fn number(which: Variant) -> u8 {
    u8::try_from(KNOWN.iter().position(|known| *known == which).unwrap()).unwrap()
}

impl Node {
    fn apply(&mut self, send: ApplyStep) {
        let config = number(match send {
            ApplyStep::TryStrict => Variant::Strict,
            ApplyStep::Try | ApplyStep::Commit => Variant::Desired,
            ApplyStep::Revert => Variant::Original,
        });
        if send.is_trial() {
            self.clock = Some(self.active);
        } else {
            (self.clock, self.disk, self.boots) = (None, Some(config), config);
        }
        self.active = config;
    }

    fn reads(&self) -> StepResult {
        let which = |number: u8| KNOWN[number as usize];
        StepResult::Runs(
            which(self.active),
            self.disk.map_or(Persisted::Unset, |disk| Persisted::Is(which(disk))),
        )
    }

    fn time_is_up(&mut self) {
        if let Some(back) = self.clock.take() {
            self.active = back;
        }
    }
}

/// Follows every run in which up to `faults` things go wrong, at every place, in every way.
fn follow(state: NodeState, node: Node, faults: u8, ends: &mut HashSet<(&'static str, u8)>, depth: u8) {
    assert!(depth < 60, "it does not end: {state:?}");
    let why = || "why".to_owned();
    let mut branches: Vec<(StepResult, Node)> = Vec::new();
    match &state.doing {
        Action::End(outcome) => {
            ends.insert((outcome.as_str(), faults));
            let mut later = node.clone();
            later.time_is_up();
            let context = format!("{outcome:?} {node:?}");
            match outcome {
                Outcome::Updated | Outcome::WantsReboot { .. } => {
                    assert_eq!((node.active, node.boots, node.clock), (2, 2, None), "{context}");
                }
                Outcome::Unchanged | Outcome::Unproven { .. } => unreachable!("{context}"),
                Outcome::Untouched { .. } => assert_eq!((node.active, node.boots), (0, 0), "{context}"),
                Outcome::Reverted { .. } => assert_eq!((node.active, node.boots), (0, 0), "{context}"),
                Outcome::Unknown { if_abandoned, .. } => {
                    let (old, new) =
                        (later.active == 0 && later.boots == 0, later.active == 2 && later.boots == 2);
                    let kept = match if_abandoned {
                        IfAbandoned::KeepsOld | IfAbandoned::GoesBack(TrialTimer::Runs) => old,
                        IfAbandoned::OldOrGoesBack(TrialTimer::Runs) => old,
                        IfAbandoned::GoesBack(TrialTimer::MayHaveStopped)
                        | IfAbandoned::OldOrGoesBack(TrialTimer::MayHaveStopped) => node.boots == 0,
                        IfAbandoned::NewOrGoesBack | IfAbandoned::OldOrNew => old || new,
                        IfAbandoned::KeepsNew => new,
                        IfAbandoned::Foreign
                        | IfAbandoned::ForeignTrial(_)
                        | IfAbandoned::MaybeForeignTrial(_)
                        | IfAbandoned::Staged => false,
                    };
                    assert!(kept, "{context} later {later:?}");
                }
            }
            return;
        }
        Action::Apply(send) => {
            let mut after = node.clone();
            after.apply(*send);
            branches.push((StepResult::Well, after.clone()));
            if faults > 0 {
                branches.push((StepResult::Lost(why()), after));
                branches.push((StepResult::Lost(why()), node.clone()));
                branches.push((StepResult::NotSent(why()), node.clone()));
                let mut refused = node.clone();
                if !send.is_trial() {
                    refused.clock = None;
                }
                branches.push((StepResult::Refused(why()), refused));
            }
        }
        Action::Inspect | Action::Check(_) | Action::Confirm(_) => {
            branches.push((node.reads(), node.clone()));
            if faults > 0 {
                branches.push((StepResult::Failed(why()), node.clone()));
                if state.doing.is_interruptible() {
                    branches.push((StepResult::Interrupted, node.clone()));
                }
            }
        }
        Action::AwaitRendered(_) | Action::Pull(_) | Action::Reboot | Action::AwaitBoot => {
            branches.push((StepResult::Well, node.clone()));
            if faults > 0 {
                branches.push((StepResult::Failed(why()), node.clone()));
            }
        }
    }
    for (at, (seen, node)) in branches.into_iter().enumerate() {
        follow(state.clone().next(seen.clone()), node.clone(), faults - u8::from(at > 0), ends, depth + 1);
        // The trial's time is up, or the node reboots, at any moment.
        if faults > u8::from(at > 0) {
            let faults = faults - u8::from(at > 0) - 1;
            let mut late = node.clone();
            late.time_is_up();
            follow(state.clone().next(seen.clone()), late, faults, ends, depth + 1);
            let rebooted = Node { active: node.boots, disk: None, clock: None, ..node };
            follow(state.clone().next(seen), rebooted, faults, ends, depth + 1);
        }
    }
}

#[test]
fn whatever_goes_wrong_a_node_has_its_old_or_its_new_config() {
    for route in routes() {
        let node = Node { active: 0, disk: None, boots: 0, clock: None };
        let mut ends = HashSet::new();
        follow(NodeState::new(route), node, 4, &mut ends, 0);
        assert!(ends.contains(&("updated", 4)) && !ends.contains(&("reverted", 4)));
        for end in ["updated", "reverted", "untouched"] {
            assert!(ends.contains(&(end, 3)), "{end}");
        }
        assert!(ends.contains(&("unknown", 0)));
    }
}

#[test]
fn a_run_without_faults() {
    let walk = |route| {
        let mut node = Node { active: 0, disk: None, boots: 0, clock: None };
        let (mut state, mut words) = (NodeState::new(route), Vec::new());
        loop {
            words.push(match &state.doing {
                Action::End(outcome) => outcome.as_str(),
                doing => doing.step().unwrap().as_str(),
            });
            let seen = match &state.doing {
                Action::End(_) => return words.join(" "),
                Action::Apply(send) => {
                    node.apply(*send);
                    StepResult::Well
                }
                Action::Inspect | Action::Check(_) | Action::Confirm(_) => node.reads(),
                _ => StepResult::Well,
            };
            state = state.next(seen);
        }
    };
    assert_eq!(
        walk(Route { strict: Strict::First, probe: Probe::Pull, reboot: Reboot::After }),
        "inspect try-strict read-back rendered pull confirm commit read-back rendered reboot boot rendered updated"
    );
    assert_eq!(
        walk(Route { strict: Strict::Original, probe: Probe::Pull, reboot: Reboot::Never }),
        "inspect pull confirm try read-back rendered confirm commit read-back rendered updated"
    );
    assert_eq!(
        walk(Route { strict: Strict::None, probe: Probe::Pull, reboot: Reboot::Never }),
        "inspect try read-back rendered pull confirm commit read-back rendered updated"
    );
}

#[test]
fn a_config_that_is_staged_during_a_trial_is_left_alone() {
    let route = Route { strict: Strict::None, probe: Probe::None, reboot: Reboot::Never };
    let watching = NodeState::new(route)
        .next(StepResult::Runs(Variant::Original, Persisted::Unset))
        .next(StepResult::Well)
        .next(StepResult::Runs(Variant::Desired, Persisted::Unset));
    assert_eq!(watching.doing, Action::AwaitRendered(Checkpoint::Desired));
    for seen in [StepResult::Well, StepResult::Interrupted, StepResult::Failed("why".to_owned())] {
        let ended = watching
            .clone()
            .next(seen)
            .next(StepResult::Runs(Variant::Desired, Persisted::Is(Variant::Foreign)));
        let Action::End(Outcome::Unknown { reason, if_abandoned: IfAbandoned::Staged }) = ended.doing else {
            panic!("{ended:?}")
        };
        assert!(
            reason
                .ends_with("another operator or tool has staged another config meanwhile; it is left alone")
        );
    }
}

/// That the node has its old config is told as the end of the trial only where it has taken the trial.
#[test]
fn a_trial_that_was_taken_and_does_not_run_has_ended() {
    let route = Route { strict: Strict::First, probe: Probe::None, reboot: Reboot::Never };
    let old = || StepResult::Runs(Variant::Original, Persisted::Unset);
    let failure = |answer| {
        let next = NodeState::new(route).next(old()).next(answer).next(old());
        next.failure().unwrap().to_owned()
    };
    assert_eq!(failure(StepResult::Well), TRIAL_ENDED);
    assert_eq!(failure(StepResult::Lost("why".to_owned())), "the config on trial does not run");
}

/// A rollback of a node whose trial may still run tells that it goes back by itself.
#[test]
fn a_rollback_knows_what_was_sent_last() {
    let route = Route { strict: Strict::None, probe: Probe::None, reboot: Reboot::Never };
    let begins = |step| NodeState::restoring(route, SentConfigs::after(step)).if_abandoned();
    assert_eq!(begins(ApplyStep::TryStrict), IfAbandoned::GoesBack(TrialTimer::Runs));
    assert_eq!(begins(ApplyStep::Commit), IfAbandoned::KeepsNew);
}

/// What another operator has on trial on top of ours goes back to ours, and the node is not said to keep it.
#[test]
fn a_trial_of_another_operator_is_told_for_what_it_is() {
    use crate::rollout::if_abandoned::Beneath;
    let route = Route { strict: Strict::None, probe: Probe::None, reboot: Reboot::Never };
    let tried = NodeState::new(route)
        .next(StepResult::Runs(Variant::Original, Persisted::Unset))
        .next(StepResult::Well);
    let of = |disk| match tried.clone().next(StepResult::Runs(Variant::Foreign, disk)).doing {
        Action::End(Outcome::Unknown { reason, if_abandoned }) => (reason, if_abandoned),
        other => panic!("{other:?}"),
    };
    let ours = Beneath::OursOnTrial;
    for disk in [Persisted::Unset, Persisted::Is(Variant::Original)] {
        let (reason, if_abandoned) = of(disk);
        assert_eq!(if_abandoned, IfAbandoned::ForeignTrial(ours));
        assert!(reason.contains("has put another config on trial meanwhile"), "{reason}");
    }
    assert_eq!(of(Persisted::Is(Variant::Foreign)).1, IfAbandoned::Foreign);
    assert_eq!(of(Persisted::Hidden).1, IfAbandoned::MaybeForeignTrial(ours));
}
