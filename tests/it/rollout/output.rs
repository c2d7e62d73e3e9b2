//! Output that nothing reads: the nodes end as if it had been read, and signals are heard.

#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use super::faults::at_once;
use super::interrupts::{end, run, signal, until};
use super::{Site, line};
use crate::sim::{Fault, Kind, Step};

/// What the kernel gives a pipe (pipe(7)).
const PIPE: usize = 65536;

fn stalled(room: usize, more: &str) -> Result<(), String> {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'#'; PIPE - room]).unwrap();
    let mut command = site.place.run(&line(more)).command();
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let child = std::cell::RefCell::new(command.spawn().unwrap());
    drop(command);
    // The pipe is full all the while.
    until("both nodes", || site.is_new("w-1") && site.is_new("cp-1"));
    if let Some(status) = child.borrow_mut().try_wait().unwrap().filter(|_| room < 1000) {
        return Err(format!("{room}: it has ended ({status}) before its output was read"));
    }
    signal(&child.borrow(), "-TERM");
    until("the end", || child.borrow_mut().try_wait().unwrap().is_some());
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    site.check_applies();
    Ok(())
}

/// Stalls the output of a rollout where so many bytes of it were read.
fn stalled_every(bytes: usize) {
    let rooms = (0..4400).step_by(bytes);
    let work: Vec<(usize, &str)> =
        rooms.flat_map(|room| [(room, ""), (room, "-o json"), (room, "-v")]).collect();
    at_once(&work, |(room, more)| stalled(*room, more));
}

#[test]
fn output_that_nothing_reads_holds_no_node() {
    stalled_every(1100);
}

#[test]
#[ignore = "takes minutes: cargo test --test it output_stalls_at_any_byte -- --ignored"]
fn output_stalls_at_any_byte_of_a_rollout() {
    stalled_every(50);
}

/// Returns how long a signal took to be heard by a rollout whose output nothing reads.
fn heard_while_stalled(more: &str) -> std::time::Duration {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'#'; PIPE]).unwrap();
    // Nothing else would end the pull in this time.
    let line = format!("rollout --yes --try-timeout 10m --settle 2m --timeout 2m {more}");
    let mut command = site.place.run(&line).command();
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    let begun = std::time::Instant::now();
    signal(&child, "-TERM");
    until("the way back", || site.applies("w-1").len() == 2);
    let took = begun.elapsed();
    until("the old config", || site.is_old("w-1"));
    let _ = child.kill();
    let _ = child.wait();
    drop(reader);
    took
}

#[test]
fn a_signal_is_heard_while_nothing_reads_the_output() {
    for more in ["", "-o json"] {
        heard_while_stalled(more);
    }
}

#[test]
#[ignore = "measures: cargo test --test it heard_within_a_second -- --ignored --nocapture"]
fn a_signal_is_heard_within_a_second_while_nothing_reads_the_output() {
    let mut took: Vec<_> = (0..20).map(|_| heard_while_stalled("")).collect();
    took.sort_unstable();
    println!("from the signal to the way back: median {:?}, longest {:?}", took[10], took[19]);
    assert!(took[19] < std::time::Duration::from_secs(1), "{took:?}");
}

/// Asked to end twice, it is left in the middle, and says so.
#[test]
fn a_json_rollout_that_is_left_in_the_middle_has_an_end() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Pull, Kind::Hang));
    site.cluster.fault("w-1", Fault::new(Step::Commit, Kind::Hang));
    let child = run(&site, "rollout --yes -o json --try-timeout 10m --settle 1m --timeout 1m");
    until("the pull", || {
        site.cluster.events_of("w-1").iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    signal(&child, "-TERM");
    until("the way back", || site.applies("w-1").len() == 2);
    signal(&child, "-TERM");
    let (output, text) = end(child);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let told = (output.status.code(), last["event"].as_str(), last["exitCode"].as_i64());
    assert_eq!(told, (Some(130), Some("end"), Some(130)), "{text}");
    site.check_if_abandoned("w-1", &stdout).unwrap();
}

/// Every ending has its exit code in its last event.
#[test]
fn every_ending_of_a_json_rollout_has_an_end() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.place.write("file", "");
    let last = |ran: &crate::run::Ran| {
        let line = ran.stdout.lines().last().unwrap_or_else(|| panic!("{ran}")).to_owned();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    for (more, code) in [("--dry-run", 1), ("--journal file/j", 9), ("-n w-9", 5), ("", 0), ("", 0)] {
        let ran = site.rollout(&format!("-o json {more}"));
        let end = last(&ran);
        assert_eq!(
            (ran.code, end["event"].as_str(), end["exitCode"].as_i64()),
            (code, Some("end"), Some(code.into())),
            "{ran}"
        );
    }
    let asks = site.place.run("rollback -o json").ran();
    assert_eq!((asks.code, last(&asks)["exitCode"].as_i64()), (2, Some(2)), "{asks}");
}

/// A signal that comes while nodes are asked, before anything is in hand: the exit code stands in the last event as ever.
#[cfg(unix)]
#[test]
fn a_signal_while_planning_has_an_end() {
    let commands =
        ["rollout --yes --verify never", "rollout --dry-run", "rollout --resume --yes", "rollback --yes"];
    let cases: Vec<(&str, &str, &str)> = commands
        .into_iter()
        .flat_map(|command| {
            [("-INT", "-o json"), ("-TERM", "-o json"), ("-HUP", "-o json"), ("-INT", "")]
                .map(|(name, format)| (command, name, format))
        })
        .collect();
    super::faults::at_once(&cases, |(command, name, format)| -> Result<(), String> {
        let site = Site::new(1, 1, &["v1.13.9"]);
        let has_begun = command.contains("--resume") || command.contains("rollback");
        if has_begun && site.rollout("-n w-1").code != 0 {
            return Err("the rollout before".to_owned());
        }
        site.cluster.fault("w-1", Fault::new(Step::Any, Kind::Hang));
        let (sent, calls) = (site.applies("w-1").len(), site.cluster.events_of("w-1").len());
        let child = run(&site, &format!("{command} {format} --timeout 1m"));
        until("a call", || site.cluster.events_of("w-1").len() > calls);
        let began = std::time::Instant::now();
        signal(&child, name);
        let (output, text) = end(child);
        let code = if *name == "-HUP" { 129 } else { 130 };
        let stdout = String::from_utf8(output.stdout).unwrap();
        let last =
            stdout.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let told = last.map(|end| (end["event"].clone(), end["exitCode"].as_i64()));
        let is_told = format.is_empty() || told == Some(("end".into(), Some(code)));
        let is_well = output.status.code() == i32::try_from(code).ok()
            && is_told
            && text.contains("no node was touched: ")
            && began.elapsed() < std::time::Duration::from_secs(5)
            && site.applies("w-1").len() == sent;
        if is_well { Ok(()) } else { Err(format!("{command} {name} {format}: {:?}\n{text}", output.status)) }
    });
}
