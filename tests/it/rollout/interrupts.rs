//! A rollout that is killed or interrupted.

use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Site, last, line, options, outcome};
use crate::run::{Place, SECRET};
use crate::sim::{Cluster, Fault, Kind, Step};

/// Two nodes that take their time, so that a kill strikes where it should.
pub(super) fn slow() -> Site {
    let site = Site::of(Cluster::start(1, 1, &["v1.13.9"], options()).unwrap(), "");
    for name in site.cluster.names() {
        site.cluster.node(&name).state().delay = Duration::from_millis(12);
    }
    site
}

fn begin(site: &Site) -> Child {
    run(site, &line(""))
}

pub(super) fn run(site: &Site, line: &str) -> Child {
    let mut command = site.place.run(line).command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(super) fn end(child: Child) -> (Output, String) {
    let output = child.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains(SECRET) && !text.contains("panicked"), "{text}");
    (output, text)
}

pub(super) fn journal(place: &Place) -> Option<PathBuf> {
    let name = place.files().into_iter().find(|name| name.ends_with("journal.ndjson"))?;
    Some(place.path(&name))
}

/// How many records there are.
pub(super) fn records(place: &Place) -> usize {
    let text = journal(place).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    text.matches('\n').count()
}

pub(super) fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_at_any_record_a_rollout_is_taken_up_again() {
    let whole = slow();
    assert_eq!(whole.rollout("").code, 0);
    let lines = records(&whole.place);
    assert!(lines > 12, "{lines}");
    std::thread::scope(|scope| {
        for part in 0..6 {
            scope.spawn(move || {
                for line in (1..=lines).filter(|line| line % 6 == part) {
                    let site = slow();
                    let mut child = begin(&site);
                    until("the record", || records(&site.place) >= line);
                    child.kill().unwrap();
                    let _ = end(child);
                    // Where a trial began shows in `nodes`, and what is left is what the resumed run says.
                    site.check_nodes().unwrap_or_else(|flaw| panic!("record {line}: {flaw}"));
                    let held = site.held();
                    // Nothing is wrong any more, so that times matter only where the machine that tests is busy.
                    let long = "rollout --yes --resume --try-timeout 60s --settle 20s --timeout 10s";
                    let resumed = site.place.run(long).ran();
                    assert_eq!(resumed.code, 0, "record {line}: {resumed}");
                    super::truth::check_left(&site, &held, &resumed)
                        .unwrap_or_else(|flaw| panic!("record {line}: {flaw}"));
                    for name in site.cluster.names() {
                        assert!(site.is_new(&name), "record {line}, {name}: {resumed}");
                    }
                    site.check_applies();
                    let text = std::fs::read_to_string(journal(&site.place).unwrap()).unwrap();
                    assert!(!text.contains(SECRET), "{text}");
                }
            });
        }
    });
}

#[cfg(unix)]
pub(super) fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn interrupted_once_the_node_in_hand_is_brought_back() {
    let site = slow();
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let child = begin(&site);
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    signal(&child, "-INT");
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("stopping: the node in hand is brought"), "{text}");
    assert!(
        text.contains(
            "w-1 back to the old config; cp-1 untouched. w-1: interrupted. Next: talmirror rollout --resume"
        ),
        "{text}"
    );
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty());
    site.cluster.clear_faults();
    assert_eq!(site.rollout("--resume").code, 0);
}

#[cfg(unix)]
#[test]
fn interrupted_twice_it_says_what_the_node_does_by_itself() {
    let site = slow();
    // Neither the pull nor the way back comes to an end.
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    site.cluster.fault("w-1", Fault::new(Step::Commit, Kind::Hang));
    // Its times are longer than the test takes on any machine: each ends with an event.
    let child = run(&site, "rollout --yes --try-timeout 10m --settle 1m --timeout 1m");
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    signal(&child, "-TERM");
    until("the way back", || site.applies("w-1").len() == 2);
    signal(&child, "-INT");
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("warning: w-1: it has its old config, or goes back to it by itself by "), "{text}");
    assert!(text.contains("left in the middle; next: talmirror rollout --resume"), "{text}");
    site.cluster.clear_faults();
    site.cluster.node("w-1").end_trial();
    assert!(site.is_old("w-1"));
    let resumed = site.rollout("--resume");
    assert_eq!((resumed.code, outcome(&resumed)), (0, "w-1, cp-1 updated"), "{resumed}");
}

#[test]
fn two_rollouts_do_not_meet() {
    let site = slow();
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let mut child = begin(&site);
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    // A trial that runs is told before the lock is.
    let second = site.place.run(&line("-n cp-1 --journal other")).ends(8);
    assert!(second.stderr.contains("another talmirror works on this cluster"), "{second}");
    child.kill().unwrap();
    let _ = end(child);
}

/// Without --resume, what a killed run has left on trial is neither taken for the node's own config, nor for the wanted one.
#[test]
fn killed_during_a_trial_a_plain_rollout_asks_for_the_resume() {
    // Of the strict variant, and of the desired config itself.
    for lenient in [false, true] {
        let killed = || {
            let site = slow();
            if lenient {
                site.be_lenient();
            }
            // Whatever is rendered takes so long that the run is killed while it waits for it.
            site.cluster.fault("w-1", Fault::new(Step::Render, Kind::Slow(Duration::from_millis(1500))));
            let mut child = begin(&site);
            until("the trial", || !site.applies("w-1").is_empty());
            until("its answer", || records(&site.place) >= 4);
            child.kill().unwrap();
            let _ = end(child);
            site.cluster.clear_faults();
            // On a busy machine the run may have gone on before it was killed.
            (site.applies("w-1").len() == 1).then_some(site)
        };
        let site = (0..5).find_map(|_| killed()).expect("a run that is killed during its trial");
        let plain = site.rollout("");
        assert_eq!(plain.code, 8, "{plain}");
        assert!(plain.stderr.contains("an earlier rollout has not ended on it"), "{plain}");
        assert!(plain.stderr.contains("`talmirror rollout --resume --journal "), "{plain}");
        assert_eq!(site.applies("w-1").len(), 1);
        let resumed = site.rollout("--resume");
        assert_eq!(resumed.code, 0, "{resumed}");
        assert!(site.is_new("w-1") && site.is_new("cp-1"), "{resumed}");
    }
}

/// Killed after the commit, what Talos has made of it was seen by nothing: the resumed run looks at it.
#[test]
fn killed_after_the_commit_a_resumed_rollout_looks_at_what_was_rendered() {
    let site = slow();
    // The strict variant is rendered well, what is committed is not.
    site.cluster.fault("w-1", Fault::once(Step::Render, Kind::Wrong).after(1));
    let mut child = run(&site, "rollout --yes --verify never --try-timeout 10m --settle 5m --timeout 1m");
    until("the commit", || site.is_new("w-1"));
    child.kill().unwrap();
    let _ = end(child);
    // Nothing is done without the resume: what was rendered may be wrong.
    let plain = site.rollout("-n w-1");
    assert_eq!((plain.code, site.applies("w-1").len()), (8, 2), "{plain}");
    assert!(
        plain.stderr.contains("an earlier rollout has not ended on it: it has the new config, and whether"),
        "{plain}"
    );
    let resumed = site.place.run("rollout --yes --resume --try-timeout 60s --settle 20s --timeout 10s").ran();
    assert!(
        resumed.stdout.contains("w-1 was left in between: what Talos has made of its new config is checked"),
        "{resumed}"
    );
    assert!(resumed.stderr.contains("hosts.toml of "), "{resumed}");
    // Its old config, and then the rollout's again, which is rendered as it should be.
    let modes: Vec<String> = site.applies("w-1").into_iter().map(|apply| apply.mode).collect();
    assert_eq!(modes, ["TRY", "NO_REBOOT", "NO_REBOOT", "TRY", "NO_REBOOT"], "{resumed}");
    assert_eq!((resumed.code, outcome(&resumed)), (0, "w-1, cp-1 updated"), "{resumed}");
    assert!(site.is_new("w-1") && site.is_new("cp-1"));
}

/// The reader of the events goes away in the middle of a trial: the node that is worked on is brought back anyway.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_leaves_no_node_in_between() {
    use std::io::{BufRead, BufReader};
    let site = slow();
    let mut child = run(&site, &line("-o json"));
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("try-strict") {
        assert!(lines.read_line(&mut text).unwrap() > 0, "{text}");
    }
    drop(lines);
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(141), "{text}");
    assert!(text.contains("the output cannot be written any more; stopping"), "{text}");
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty(), "{text}");
    assert!(site.cluster.node("w-1").state().trial.is_none());
}

/// The same where the events are for people: a plan that cannot be written changes no node.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_stops_a_rollout() {
    let site = slow();
    let mut command = site.place.run(&line("")).command();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(9), "{text}");
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty(), "{text}");
}

/// A terminal that goes away is told twice, by the kernel and by the shell, and never leaves a node in between.
#[cfg(unix)]
#[test]
fn a_lost_terminal_leaves_no_node_in_between() {
    let site = slow();
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    // The pull hangs until the terminal goes: no time limit may end it first, however busy the machine is.
    let child = run(&site, "rollout --yes --try-timeout 2m --settle 30s --timeout 30s");
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    signal(&child, "-HUP");
    signal(&child, "-HUP");
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(129), "{text}");
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty(), "{text}");
}

/// What is written to a terminal that has gone fails: the exit code is that of the closed terminal all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_is_closed_ends_with_its_own_code() {
    if !crate::terminal::is_lent() {
        return;
    }
    let site = slow();
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let program = env!("CARGO_BIN_EXE_talmirror");
    // The kernel tells the shell, which passes it on as shells do.
    let line = format!(
        "trap 'kill -HUP $p' HUP; {program} rollout --yes --verify never --try-timeout 2m --settle 30s --timeout 30s & p=$!; \
         wait $p; wait $p; echo $? > code.new; mv code.new code"
    );
    // Who started the tests may have ignored the signal, as nohup does, and that is handed down.
    let mut command = std::process::Command::new("env");
    command.args(["--default-signal=HUP", "script", "--quiet", "--command", &line, "/dev/null"]);
    command.current_dir(site.place.path(""));
    command.env_clear().env("HOME", site.place.path("")).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let mut script =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    script.kill().unwrap();
    script.wait().unwrap();
    until("the end", || site.place.path("code").exists());
    assert_eq!(site.place.read("code").trim(), "129");
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty());
}

#[test]
fn nothing_is_sent_before_the_question_of_a_resumed_rollout() {
    let site = slow();
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let mut child = begin(&site);
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    child.kill().unwrap();
    let _ = end(child);
    site.cluster.clear_faults();
    let asks = site.place.run("rollout --resume --try-timeout 8s --settle 2500ms").ends(2);
    assert!(asks.stdout.contains("w-1 was left in between: its old config is sent again"), "{asks}");
    assert!(asks.stderr.contains("there is no terminal to ask on; no node was touched"), "{asks}");
    assert_eq!(site.applies("w-1").len(), 1);
    assert_eq!(site.rollout("--resume").code, 0);
}

#[test]
fn a_dead_node_does_not_end_a_resumed_rollout_for_good() {
    let site = slow();
    site.cluster.fault("cp-1", Fault::new(Step::Pull, Kind::Hang));
    let mut child = begin(&site);
    until("the pull", || {
        site.cluster.events_of("cp-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    child.kill().unwrap();
    let _ = end(child);
    site.cluster.clear_faults();
    assert!(site.is_new("w-1"));
    site.cluster.node("w-1").go_down();
    let all = site.rollout("--resume");
    assert_eq!(all.code, 5, "{all}");
    let next = format!("resume the others: talmirror rollout --resume -n cp-1 {}", super::TIMES);
    assert!(last(&all).ends_with(&next), "{all}");
    let others = site.rollout("--resume -n cp-1");
    assert_eq!((others.code, outcome(&others)), (0, "cp-1 updated"), "{others}");
    assert!(site.is_new("cp-1"));
}

/// Under `nohup` the end of the terminal is ignored, and the other signals are heard.
#[cfg(target_os = "linux")]
#[test]
fn what_nohup_ignores_stays_ignored() {
    let site = slow();
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let program = env!("CARGO_BIN_EXE_talmirror");
    let plain = site.place.run("rollout --yes --try-timeout 2m --settle 30s --timeout 30s").command();
    let own =
        |word: &&std::ffi::OsStr| *word != program && !word.to_string_lossy().starts_with("--default-signal");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", program]).args(plain.get_args().filter(own));
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(plain.get_current_dir().unwrap());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    signal(&child, "-HUP");
    signal(&child, "-TERM");
    let (output, text) = end(child);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty(), "{text}");
}
