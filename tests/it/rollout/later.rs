//! What a later run makes of what an earlier one has left.

use std::time::Duration;

use tonic::Code;

use super::interrupts::{end, journal, records, run, slow, until};
use super::{Site, TIMES, last, line, options};
use crate::sim::{Cluster, Fault, Kind, Step, Text};

/// A run that was killed while the strict variant of `w-1`'s config was on trial.
fn killed_during_the_strict_trial(site: &Site, more: &str) {
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let mut child = run(site, &line(more));
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    child.kill().unwrap();
    let _ = end(child);
    site.cluster.clear_faults();
    assert_eq!(site.applies("w-1").len(), 1);
}

/// Before Talos 1.10 only the journal tells the strict variant from the node's own config.
#[test]
fn a_journal_that_lies_elsewhere_is_read_by_a_later_rollout() {
    let site = Site::of(Cluster::start(1, 1, &["v1.9.5"], options()).unwrap(), "");
    killed_during_the_strict_trial(&site, "--journal j");
    let place = journal(&site.place).unwrap();
    let place = place.parent().unwrap();
    let plain = site.rollout("");
    assert_eq!((plain.code, site.applies("w-1").len()), (8, 1), "{plain}");
    let help = format!("rollout --resume --journal {}`", place.display());
    assert!(plain.stderr.contains(&help), "{help}: {plain}");
    let resumed = site.rollout("--resume --journal j");
    assert_eq!(resumed.code, 0, "{resumed}");
    assert!(site.is_new("w-1") && site.is_new("cp-1"));
    // It is written down once, and missed when it is gone.
    let known = site.place.files().into_iter().find(|name| name.ends_with("/journals.txt")).unwrap();
    assert_eq!(site.place.read(&known), format!("{}\n", place.display()));
    std::fs::remove_dir_all(place).unwrap();
    let plain = site.rollout("");
    assert_eq!(plain.code, 0, "{plain}");
    assert!(plain.stderr.contains("is gone: what that has left is not known"), "{plain}");
    assert!(plain.stderr.contains("take its line out of `"), "{plain}");
}

/// What a script waits for is there only as long as a trial may run.
#[test]
fn the_end_of_a_trial_is_told_while_one_may_run() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    killed_during_the_strict_trial(&site, "--journal j");
    let ends = || {
        let status = site.place.run("rollout status --journal j -o json").ran();
        let status: serde_json::Value = serde_json::from_str(&status.stdout).expect(&status.stderr);
        let node = |name| {
            let nodes = status["nodes"].as_array().unwrap();
            nodes.iter().find(|node| node["name"] == name).unwrap()["trialUntil"].clone()
        };
        (node("w-1"), node("cp-1"))
    };
    let (on_trial, untouched) = ends();
    assert!(on_trial.is_string() && untouched.is_null(), "{on_trial} {untouched}");
    assert_eq!(site.rollout("--resume --journal j").code, 0);
    assert_eq!(ends(), (serde_json::Value::Null, serde_json::Value::Null));
}

/// One attempt's config runs, another's is on disk: both are the rollout's own.
#[test]
fn a_rollback_knows_another_of_its_configs_on_disk() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    assert_eq!(site.rollout("--journal j").code, 0);
    let first = site.has("cp-1").1;
    site.place.write("mirrors.yaml", site.place.read("mirrors.yaml").replace("ghcr.io: {}, ", ""));
    assert_eq!(site.rollout("--resume --journal j").code, 0);
    {
        let node = site.cluster.node("cp-1");
        let mut state = node.state();
        assert_ne!(state.disk, first);
        (state.persistent, state.disk) = (Some(Text::new(&first)), first);
    }
    let back = site.place.run("rollback --yes --settle 1500ms --journal j").ran();
    assert_eq!((back.code, last(&back)), (0, "cp-1 back to the old config"), "{back}");
    assert!(site.is_old("cp-1"));
}

/// What another hand has applied between two attempts is not undone with them.
#[test]
fn a_rollback_goes_back_to_a_change_between_two_attempts() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    assert_eq!(site.rollout("--journal j").code, 0);
    let other = site.old["cp-1"].clone() + "# somebody else's\n";
    site.set("cp-1", &other);
    let second = site.rollout("--resume --journal j");
    assert_eq!(second.code, 0, "{second}");
    assert_ne!(site.has("cp-1").0, other);
    let back = site.place.run("rollback --yes --settle 1500ms --journal j").ran();
    assert_eq!(back.code, 0, "{back}");
    assert_eq!(site.has("cp-1"), (other.clone(), other));
}

/// What a node does by itself is told from all that was sent to it: it may have its commit.
#[test]
fn a_node_that_went_away_during_its_commit_is_not_said_to_go_back() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::once(Step::Commit, Kind::Down));
    let ran = site.rollout("-n w-1");
    assert_eq!(ran.code, 7, "{ran}");
    let resumed = site.rollout("--resume");
    assert_eq!(resumed.code, 7, "{resumed}");
    for ran in [&ran, &resumed] {
        assert!(ran.stderr.contains("it keeps the new config if the commit has reached it, else"), "{ran}");
    }
    site.cluster.node("w-1").come_back();
    assert!(site.is_new("w-1"));
    let resumed = site.rollout("--resume");
    assert_eq!(resumed.code, 0, "{resumed}");
}

fn remove_original(site: &Site, name: &str) {
    let original = |file: &String| file.starts_with(&format!("j/{name}-"));
    let file = site.place.files().into_iter().find(original).unwrap();
    std::fs::remove_file(site.place.path(&file)).unwrap();
}

#[test]
fn an_original_that_cannot_be_read_is_one_nodes_trouble() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    assert_eq!(site.rollout("--journal j").code, 0);
    remove_original(&site, "cp-1");
    let back = site.place.run("rollback --yes --settle 1500ms --journal j").ran();
    assert_eq!(back.code, 8, "{back}");
    assert!(
        last(&back).starts_with("w-1 back to the old config; cp-1 untouched. cp-1: cannot read `"),
        "{back}"
    );
    let next = "then: talmirror rollback --journal j -n cp-1 --settle 1500ms";
    assert!(last(&back).ends_with(next), "{back}");
    assert!(site.is_old("w-1") && site.is_new("cp-1"));
    // The same where a trial is to be ended.
    let site = slow();
    killed_during_the_strict_trial(&site, "--journal j");
    remove_original(&site, "w-1");
    let resumed = site.rollout("--resume --journal j");
    assert_eq!(resumed.code, 7, "{resumed}");
    assert!(last(&resumed).starts_with("w-1 UNKNOWN. w-1: cannot read `"), "{resumed}");
    assert_eq!(site.applies("w-1").len(), 1);
}

/// Older versions put the old config back after the strict trial, and tried the desired one before its commit: whatever they
/// have left is taken up.
#[test]
fn what_an_older_talmirror_has_left_is_taken_up() {
    let line = |record: &str| format!("{{\"at\":\"2026-11-26T07:28:23Z\",\"record\":{record}}}\n");
    let send = |what: &str| line(&format!("\"send\",\"node\":\"w-1\",\"what\":\"{what}\""));
    let sent = |what: &str| {
        line(&format!("\"sent\",\"node\":\"w-1\",\"what\":\"{what}\",\"result\":\"taken\",\"until\":null"))
    };
    let put_back = send("put-back") + &sent("put-back");
    let tried = put_back.clone() + &send("try") + &sent("try");
    // What the journal tells, whether the new config runs, whether it is on disk, and what is left to do.
    let cases = [
        (send("put-back"), false, false, ""),
        (put_back + &send("try"), true, false, "its old config is sent again"),
        (tried.clone(), true, false, "its old config is sent again"),
        (tried.clone() + &send("commit"), true, false, "its commit is sent again"),
        (tried + &send("commit"), true, true, "what Talos has made of its new config is checked"),
    ];
    super::faults::at_once(&cases, |(told, runs, is_on_disk, left)| {
        let site = slow();
        killed_during_the_strict_trial(&site, "--journal j");
        let journal = site.place.read("j/journal.ndjson");
        site.place.write("j/journal.ndjson", journal + told);
        let of = |is_new: bool| if is_new { &site.new["w-1"] } else { &site.old["w-1"] };
        {
            let node = site.cluster.node("w-1");
            let mut state = node.state();
            state.trial = None;
            state.active.set(of(*runs));
            (state.persistent, state.disk) = (Some(Text::new(of(*is_on_disk))), of(*is_on_disk).clone());
            state.render_now();
        }
        // Nothing is wrong: times matter only where the machine that tests is busy.
        let long = "rollout --yes --resume --journal j --try-timeout 60s --settle 20s --timeout 10s";
        let resumed = site.place.run(long).ran();
        let says = format!("w-1 was left in between: {left}");
        let is_told =
            if left.is_empty() { !resumed.stdout.contains(&says) } else { resumed.stdout.contains(&says) };
        if resumed.code == 0 && is_told && site.is_new("w-1") && site.is_new("cp-1") {
            Ok(())
        } else {
            Err(format!("{told}: {resumed}"))
        }
    });
}

/// A node that could not be looked at was not asked about: nothing is sent to it, though it answers again.
#[test]
fn what_was_not_shown_is_not_sent() {
    let site = slow();
    killed_during_the_strict_trial(&site, "");
    let refuse = Kind::Refuse(Code::Internal, "no".to_owned());
    site.cluster.fault("w-1", Fault::once(Step::Version, refuse));
    let resumed = site.rollout("--resume");
    assert_eq!((resumed.code, site.applies("w-1").len()), (7, 1), "{resumed}");
    assert!(last(&resumed).starts_with("w-1 UNKNOWN. w-1: "), "{resumed}");
    assert_eq!(site.rollout("--resume").code, 0);
}

#[test]
fn the_next_command_means_the_same_nodes() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    let more = "--role worker --match=-[1]$ --reboot if-needed --max-failures 2";
    let want = "--role worker --match='-[1]$' --reboot if-needed --max-failures 2";
    let plan = site.place.run(&format!("rollout --dry-run {more}")).ends(1);
    assert!(plan.stderr.contains(&format!("next: talmirror rollout {want}\n")), "{plan}");
    site.cluster.fault("w-1", Fault::new(Step::Render, Kind::Stale));
    let ran = site.rollout(more);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(last(&ran).ends_with(&format!("talmirror rollout --resume {want} {TIMES}")), "{ran}");
    let again = site.rollout(&format!("--resume {more}"));
    assert_eq!(again.code, 6, "{again}");
    assert!(last(&again).ends_with(&format!("talmirror rollout --resume {want} {TIMES}")), "{again}");
    // Where a list names them, it alone does.
    let listed = site.rollout("--resume -n w-1");
    assert!(last(&listed).ends_with(&format!("talmirror rollout --resume -n w-1 {TIMES}")), "{listed}");
}

/// What comes next goes on as the first command did, and works as it is printed.
#[test]
fn the_next_command_has_the_same_settings() {
    let site = Site::new(1, 3, &["v1.13.9"]);
    let pace = "--canary w-2 --max-parallel 50% --pause 10ms --try-timeout 90s --settle 1500ms";
    let more = format!("{pace} --timeout 2500ms --concurrency 3");
    let plan = site.place.run(&format!("rollout --dry-run --verify never {more}")).ends(1);
    let next = format!("next: talmirror rollout --verify never {more}\n");
    assert!(plan.stderr.contains(&next), "{plan}");
    site.cluster.fault("w-2", Fault::new(Step::Render, Kind::Stale));
    let ran = site.place.run(&format!("rollout --yes --verify never {more}")).ends(6);
    let command = format!("talmirror rollout --resume {more}");
    assert!(last(&ran).ends_with(&format!("Next: fix the cause, then: {command}")), "{ran}");
    site.cluster.clear_faults();
    // Left in the middle, too.
    site.cluster.fault("w-2", Fault::new(Step::Pull, Kind::Hang));
    let child = run(&site, &format!("rollout --yes --resume {more}"));
    until("the pull", || {
        site.cluster.events_of("w-2").iter().any(|event| format!("{event:?}").contains("Hang"))
    });
    super::interrupts::signal(&child, "-INT");
    let (_, text) = end(child);
    assert!(text.contains(&format!("Next: {command}")), "{text}");
    site.cluster.clear_faults();
    let resumed = site.place.run(&format!("{} --yes", command.strip_prefix("talmirror ").unwrap())).ran();
    assert_eq!((resumed.code, super::outcome(&resumed)), (0, "4 nodes updated"), "{resumed}");
    // Back again: a node that is not there is waited for as long as before.
    site.cluster.node("w-3").go_down();
    let back = site.place.run("rollback --yes --settle 1500ms --timeout 2500ms").ran();
    assert!(last(&back).ends_with("talmirror rollback -n w-3 --settle 1500ms --timeout 2500ms"), "{back}");
}

/// A canary that is not among the nodes of the command that comes next is not named in it: it would be refused.
#[test]
fn the_next_command_names_no_canary_that_it_leaves_out() {
    let site = Site::new(1, 2, &["v1.13.9"]);
    site.cluster.node("w-1").state().stage = "maintenance".to_owned();
    let ran = site.rollout("--canary w-1,w-2");
    assert_eq!(ran.code, 5, "{ran}");
    let next = format!("talmirror rollout -n cp-1,w-2 --verify never --canary w-2 {TIMES}");
    assert!(last(&ran).ends_with(&format!("begin with the others: {next}")), "{ran}");
    let others = site.place.run(&format!("{} --yes", next.strip_prefix("talmirror ").unwrap())).ran();
    assert_eq!((others.code, super::outcome(&others)), (0, "w-2, cp-1 updated"), "{others}");
}

/// A reboot that has not come is told by a later rollout, whatever else looked at the node meanwhile.
#[test]
fn a_later_rollout_tells_of_the_reboot_that_has_not_come() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let boots = site.cluster.node("w-1").state().boots;
    let denied = Kind::Refuse(Code::PermissionDenied, "no".to_owned());
    site.cluster.fault("w-1", Fault::new(Step::Reboot, denied));
    assert_eq!(site.rollout("--reboot if-needed -n w-1").code, 8);
    site.cluster.clear_faults();
    // A rollback that does not reach it changes nothing about that.
    let refuse = Kind::Refuse(Code::Internal, "no".to_owned());
    site.cluster.fault("w-1", Fault::new(Step::Version, refuse));
    assert_eq!(site.place.run("rollback --yes --settle 500ms").ran().code, 8);
    site.cluster.clear_faults();
    let place = journal(&site.place).unwrap();
    let place = place.parent().unwrap().display();
    let next = format!("Next: talmirror rollout --resume --journal {place} {TIMES}");
    let wants =
        "w-1: it has the new config, and still wants the reboot that an earlier rollout was to bring. ";
    let plain = site.rollout("-n w-1");
    assert_eq!(plain.code, 8, "{plain}");
    assert_eq!(last(&plain), format!("w-1 updated, not rebooted. {wants}{next}"), "{plain}");
    let allowed = site.rollout("-n w-1 --allow-unhealthy cp-1");
    let next_allowed = next.replace(TIMES, &format!("--allow-unhealthy cp-1 {TIMES}"));
    assert!(last(&allowed).ends_with(&next_allowed), "{allowed}");
    // With others to change, it is told as well.
    let both = site.rollout("");
    assert_eq!(both.code, 8, "{both}");
    assert!(both.stdout.contains("! w-1: an earlier rollout was to reboot it after its commit"), "{both}");
    assert_eq!(last(&both), format!("cp-1 updated; w-1 updated, not rebooted. {wants}{next}"), "{both}");
    assert_eq!(site.cluster.node("w-1").state().boots, boots);
    let command = next.strip_prefix("Next: talmirror ").unwrap();
    let resumed = site.place.run(&format!("{command} --yes")).ran();
    assert_eq!((resumed.code, site.cluster.node("w-1").state().boots), (0, boots + 1), "{resumed}");
    assert_eq!(site.rollout("").code, 0);
}

#[cfg(unix)]
#[test]
fn a_rollback_that_is_interrupted_at_its_last_node_says_so() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    let lines = records(&site.place);
    // The first call is the plan's, when a signal still ends the process at once.
    let late = Duration::from_secs(3);
    site.cluster.fault("cp-1", Fault::once(Step::Version, Kind::Slow(late)).after(1));
    let child = run(&site, "rollback --yes --settle 1500ms");
    until("the rollback", || records(&site.place) > lines);
    until("the node", || {
        site.cluster.events_of("cp-1").iter().any(|event| format!("{event:?}").contains("Slow"))
    });
    super::interrupts::signal(&child, "-INT");
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("cp-1 untouched. cp-1: interrupted. Next: "), "{text}");
    assert!(site.is_new("cp-1"));
}
