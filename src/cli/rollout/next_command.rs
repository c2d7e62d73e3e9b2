//! The commands that a rollout names last: to begin, to resume, or to make up for what an earlier one owes.

use std::path::PathBuf;

use super::again::again;
use super::args::{RolloutArgs, VerifyWhen, settle_flag};
use super::plan_view::Plan;
use crate::cli::args::Global;
use crate::rollout::{Outcome, OwedReboot, Summary};
use crate::ui::duration_text;

impl RolloutArgs {
    /// Adds to flags of a command about an earlier rollout that its journal may be of another CA.
    fn of_any_ca<const N: usize>(&self, flags: [(&'static str, String); N]) -> Vec<(&'static str, String)> {
        flags.into_iter().chain(self.other_ca.then(|| ("--other-ca", String::new()))).collect()
    }

    /// Returns the flags that say in which order and how patiently nodes are worked on; of the canaries, those of a list.
    fn pace(&self, list: Option<&[&str]>) -> Vec<(&'static str, String)> {
        // One that is not among the nodes is refused.
        let is_meant = |name: &&String| list.is_none_or(|list| list.contains(&name.as_str()));
        let canary: Vec<&str> = self.canary.iter().filter(is_meant).map(String::as_str).collect();
        let flags = [
            ("--canary", (!canary.is_empty()).then(|| canary.join(","))),
            ("--max-parallel", self.max_parallel.map(|number| number.to_string())),
            ("--pause", self.pause.map(duration_text)),
            ("--try-timeout", self.try_timeout.map(duration_text)),
        ];
        let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        flags.chain(settle_flag(self.settle)).collect()
    }

    /// Returns the flags that say which nodes are meant and what is done to them: those of a list, else the ones that were
    /// given, `own` being the names among them.
    fn selection(&self, list: Option<&[&str]>, own: &[String]) -> Vec<(&'static str, String)> {
        let given = [
            ("-n", (!own.is_empty()).then(|| own.join(","))),
            ("--group", self.which.group.clone()),
            ("--role", self.which.narrowing.role.map(|role| role.role().as_str().to_owned())),
            ("--match", self.which.narrowing.pattern.as_ref().map(|pattern| pattern.as_str().to_owned())),
        ];
        let mut flags = match list {
            Some(names) => vec![("-n", Some(names.join(",")))],
            None => given.to_vec(),
        };
        if list.is_none() {
            flags.push(("--without", (!self.without.is_empty()).then(|| self.without.join(","))));
        }
        flags.push(("--reboot", self.reboot.clone()));
        flags.push(("--max-failures", self.max_failures.map(|number| number.to_string())));
        flags.extend(self.leniency());
        flags.into_iter().filter_map(|(flag, value)| Some((flag, value?))).collect()
    }

    /// Returns the flags that say which nodes are taken though something is not known of them, or wrong.
    fn leniency(&self) -> [(&'static str, Option<String>); 2] {
        let unhealthy = (!self.allow_unhealthy.is_empty()).then(|| self.allow_unhealthy.join(","));
        [("--allow-unhealthy", unhealthy), ("--unknown-nodes", self.unknown_nodes.then(String::new))]
    }
}

/// Returns the command that resumes, with all nodes that were meant or with some.
pub(super) fn resume(global: &Global, args: &RolloutArgs, nodes: Option<&[&str]>) -> String {
    // The journal of a rollout that has begun names its nodes.
    let own = if args.resume { args.which.nodes.as_slice() } else { &[] };
    let mut more = args.selection(nodes, own);
    more.extend((args.other_ca && args.resume).then(|| ("--other-ca", String::new())));
    more.extend(args.pace(nodes));
    again("rollout --resume", global, &args.talos, args.journal.as_ref(), &more)
}

/// Returns the command that begins, with all nodes that were meant or with some.
pub(super) fn begin(global: &Global, args: &RolloutArgs, nodes: Option<&[&str]>) -> String {
    let mut more = args.selection(nodes, &args.which.nodes);
    more.extend((args.verify == VerifyWhen::Never).then(|| ("--verify", "never".to_owned())));
    more.extend(args.pace(nodes));
    // The journal of a rollout that is resumed cannot be another's.
    let journal = args.journal.as_ref().filter(|_| !args.resume);
    again("rollout", global, &args.talos, journal, &more)
}

/// Returns the command that rolls some nodes back.
pub(super) fn back(global: &Global, args: &RolloutArgs, nodes: &[String]) -> String {
    let mut more = args.of_any_ca([("-n", nodes.join(","))]);
    more.extend(settle_flag(args.settle));
    again("rollback", global, &args.talos, args.journal.as_ref(), &more)
}

/// Returns the commands that make up for the reboots that earlier rollouts owe.
pub(super) fn reboots(global: &Global, args: &RolloutArgs, plan: &Plan) -> String {
    let places = plan.nodes.iter().filter(|node| node.plan.leaves_alone());
    let places = places.filter_map(|node| node.plan.owes_reboot.as_ref()?.journal());
    let mut places: Vec<&str> = places.collect();
    places.sort_unstable();
    places.dedup();
    let mut more = args.of_any_ca([]);
    // Those that may be down may be so then, too.
    more.extend(args.leniency().into_iter().filter_map(|(flag, value)| Some((flag, value?))));
    more.extend(args.pace(Some(&[])));
    let commands = places
        .into_iter()
        .map(|place| again("rollout --resume", global, &args.talos, Some(&PathBuf::from(place)), &more));
    commands.collect::<Vec<_>>().join("; then: ")
}

/// Returns the nodes that are left alone, and to which an earlier rollout owes a reboot.
pub(super) fn owing(plan: &Plan) -> Vec<(String, Outcome)> {
    let alone = plan.nodes.iter().filter(|node| node.plan.leaves_alone());
    let owing = alone.filter(|node| node.plan.owes_reboot.as_ref().and_then(OwedReboot::journal).is_some());
    let reason = "it has the new config, and still wants the reboot that an earlier rollout was to bring";
    owing.map(|node| (node.node.name.clone(), Outcome::WantsReboot { reason: reason.to_owned() })).collect()
}

/// Returns the nodes whose pods' pulls lack credentials until they reboot, though no rollout was to reboot them.
pub(super) fn without_reboot(plan: &Plan) -> Vec<String> {
    let owing = plan.nodes.iter().filter(|planned| {
        let told = planned.plan.owes_reboot.as_ref().and_then(OwedReboot::journal).is_some();
        planned.plan.will_owe_reboot() && !(told && planned.plan.leaves_alone())
    });
    owing.map(|planned| planned.node.name.clone()).collect()
}

/// Returns what reboots those of the nodes that have the new config.
pub(super) fn reboot_them(
    global: &Global,
    args: &RolloutArgs,
    nodes: &[String],
    summary: &Summary,
) -> Option<String> {
    let is_well =
        |name: &str| summary.ended.iter().any(|(ended, outcome)| ended == name && outcome.is_well());
    let names: Vec<&str> = nodes.iter().map(String::as_str).filter(|name| is_well(name)).collect();
    if names.is_empty() {
        return None;
    }
    // Named, however they were chosen: no other node is rebooted.
    let mut more = args.selection(Some(&names), &[]);
    more.retain(|(flag, _)| *flag != "--reboot");
    more.push(("--reboot", "if-needed".to_owned()));
    more.extend((args.verify == VerifyWhen::Never).then(|| ("--verify", "never".to_owned())));
    more.extend(args.pace(Some(&names)));
    let command = again("rollout", global, &args.talos, None, &more);
    Some(format!("credentials reach the pulls of their pods only after a reboot: {command}"))
}
