//! Two operators at the same time, each with a machine of their own: Talos has no lock for them, and no node is left in between.

use std::process::Stdio;
use std::time::Duration;

use super::Site;
use super::faults::at_once;
use super::interrupts::end;
use crate::run::Place;
use crate::sim::{What, digest};

/// Long times, so that nothing but the other operator stands in the way.
const LINE: &str = "rollout --yes --try-timeout 10m --settle 1m --timeout 1m";

/// Starts two rollouts of the same inventory so many milliseconds apart; returns whether a trial began on another.
fn meet(apart: u64) -> Result<bool, String> {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let other = Place::new();
    for file in ["mirrors.yaml", ".talos/config"] {
        other.write(file, site.place.read(file));
    }
    let start = |place: &Place| {
        let mut command = place.run(LINE).command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let first = start(&site.place);
    std::thread::sleep(Duration::from_millis(apart));
    let second = start(&other);
    let ran = [end(first), end(second)].map(|(output, text)| (output.status.code(), text));
    let told = || format!("{apart} ms apart:\n{}\n----\n{}", ran[0].1, ran[1].1);
    let mut met = false;
    for name in site.cluster.names() {
        if !(site.is_old(&name) || site.is_new(&name)) || site.cluster.node(&name).state().trial.is_some() {
            return Err(format!("{name} is in between, {}", told()));
        }
        let old = digest(&site.old[&name]);
        met |= site
            .cluster
            .events_of(&name)
            .into_iter()
            .any(|event| matches!(event.what, What::TryStarted { back_to, .. } if back_to != old));
    }
    let says = |name: &str, code: Option<i32>, text: &str| {
        let last = text.lines().find(|line| line.contains("Next: ")).unwrap_or_default();
        match code {
            Some(0) => site.is_new(name),
            Some(6) => !last.contains(&format!("{name} back to the old config")) || site.is_old(name),
            // It was not touched by this one, or it says that it does not know.
            Some(7 | 8) => true,
            Some(_) | None => false,
        }
    };
    for (code, text) in &ran {
        if site.cluster.names().iter().any(|name| !says(name, *code, text)) {
            return Err(format!("exit {code:?} is not true, {}", told()));
        }
    }
    if met && ran.iter().any(|(code, _)| *code == Some(0)) {
        return Err(format!("a trial on a trial, and one of both says that all is well, {}", told()));
    }
    Ok(met)
}

#[test]
fn two_operators_leave_no_node_in_between() {
    let work: Vec<u64> = (0..8).map(|at| at * 12).collect();
    at_once(&work, |apart| meet(*apart).map(drop));
}

#[test]
#[ignore = "takes minutes: cargo test --test it two_hundred_times -- --ignored --nocapture"]
fn two_operators_meet_two_hundred_times() {
    let met = std::sync::atomic::AtomicUsize::new(0);
    let work: Vec<u64> = (0..200).map(|at| at / 2).collect();
    at_once(&work, |apart| {
        let trial_on_trial = meet(*apart)?;
        met.fetch_add(usize::from(trial_on_trial), std::sync::atomic::Ordering::SeqCst);
        Ok::<(), String>(())
    });
    println!("{met:?} of {} times a trial began on another, and both went back", work.len());
}
