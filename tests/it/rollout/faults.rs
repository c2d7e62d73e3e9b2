//! Faults at every step × every node: after any single one no later node was touched, every node has exactly its old or
//! exactly its new config, exit code and last line say so, and `--resume` finishes the work.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Code;

use super::{ORDER, Site, last};
use crate::run::Ran;
use crate::sim::{Fault, Kind, Step, What};

/// How many runs at once: they wait most of the time.
const AT_ONCE: usize = 12;

/// Which config is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The strict variant, from which the desired config is committed.
    Strict,
    /// The desired config, because mirrors need not prove themselves.
    Desired,
}

/// Faults, each of which strikes one node once or for good, and the trial that it strikes.
fn faults() -> Vec<(Trial, Fault)> {
    let strict = strict_faults().into_iter().map(|fault| (Trial::Strict, fault));
    strict.chain(desired_faults().into_iter().map(|fault| (Trial::Desired, fault))).collect()
}

/// What may happen to a config that is sent.
fn applies() -> [Kind; 8] {
    [
        Kind::Reject,
        Kind::Unreachable,
        Kind::DieBefore,
        Kind::DieAfter,
        Kind::Down,
        Kind::Hang,
        Kind::Reboot,
        Kind::EndpointDies,
    ]
}

/// The trial, the commit, and what is on the node after each.
fn desired_faults() -> Vec<Fault> {
    let mut out: Vec<Fault> = applies().map(|kind| Fault::once(Step::Try, kind)).to_vec();
    out.extend(applies().map(|kind| Fault::once(Step::Commit, kind)));
    out
}

fn strict_faults() -> Vec<Fault> {
    let refuse = || Kind::Refuse(Code::Internal, "no".to_owned());
    let denied = || Kind::Refuse(Code::PermissionDenied, "not authorized".to_owned());
    let mut out = Vec::new();
    // The trial, and the commit from it.
    for step in [Step::Try, Step::Commit] {
        out.extend(applies().map(|kind| Fault::once(step, kind)));
    }
    // What was asked for the plan has to pass.
    for after in [2, 4, 5, 6, 8, 10, 11] {
        out.push(Fault::once(Step::Config, refuse()).after(after));
    }
    out.push(Fault::new(Step::Config, Kind::Unreachable).after(6));
    out.push(Fault::new(Step::Config, Kind::Hang).after(9));
    out.extend(
        [Kind::NotFound, Kind::Hang, refuse(), Kind::DieAfter, Kind::Unreachable, Kind::Down]
            .map(|kind| Fault::new(Step::Pull, kind)),
    );
    out.extend(
        [Kind::Stale, Kind::Missing, Kind::Broken, Kind::Wrong, Kind::Slow(Duration::from_mins(1))]
            .map(|kind| Fault::new(Step::Render, kind)),
    );
    // What is committed, after the trial went well.
    out.extend(
        [Kind::Stale, Kind::Missing, Kind::Broken, Kind::Wrong]
            .map(|kind| Fault::once(Step::Render, kind).after(1)),
    );
    out.extend(
        [refuse(), Kind::Unreachable, Kind::DieBefore].map(|kind| Fault::new(Step::Read, kind).after(2)),
    );
    out.extend([denied(), Kind::Hang].map(|kind| Fault::new(Step::RegistryConfigs, kind)));
    out.push(Fault::new(Step::Images, refuse()));
    out.push(Fault::new(Step::Services, refuse()));
    out.push(Fault::new(Step::Services, refuse()).after(1));
    out.push(Fault::new(Step::Resource, Kind::Unhealthy));
    out.push(Fault::new(Step::Etcd, Kind::Unhealthy));
    out.push(Fault::new(Step::Any, Kind::Unreachable).after(20));
    out.push(Fault::new(Step::Any, Kind::Down).after(30));
    out
}

/// Runs work on as many threads as are good for it, and returns every failure.
pub(super) fn at_once<T: Sync, E: Into<Flaw>>(work: &[T], run: impl Fn(&T) -> Result<(), E> + Sync) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = run(one) {
                        failures.lock().unwrap().push(failure.into());
                    }
                }
            });
        }
    });
    let failures: Vec<Flaw> = failures.into_inner().unwrap();
    for flaw in &failures {
        eprintln!("{}\n{}\n----", flaw.what, flaw.story);
    }
    let what: Vec<_> = failures.iter().map(|flaw| flaw.what.as_str()).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), work.len(), what.join("\n"));
}

/// What went wrong, in a line, and all that was said.
pub(super) struct Flaw {
    pub(super) what: String,
    pub(super) story: String,
}

impl From<String> for Flaw {
    fn from(what: String) -> Self {
        Self { what, story: String::new() }
    }
}

/// Brings everything back up, and waits until trials are over.
fn heal(site: &Site) {
    site.cluster.clear_faults();
    for name in site.cluster.names() {
        let node = site.cluster.node(&name);
        let down = node.state().down;
        if down {
            node.boot();
        }
    }
}

/// Makes a cluster with a fault, and runs a rollout; once more, and again, where the machine that tests was so busy that not
/// even the plan could be made in time, or a node be read in time that nothing was wrong with.
fn run_with(name: &str, trial: Trial, fault: &Fault) -> (Site, Ran) {
    let attempt = || {
        let site = Site::standard();
        if trial == Trial::Desired {
            site.be_lenient();
        }
        site.cluster.fault(name, fault.clone());
        let ran = site.rollout("");
        (site, ran)
    };
    let is_too_busy = |(site, ran): &(Site, Ran)| {
        let events = site.cluster.events();
        let struck = events.iter().any(|event| matches!(event.what, What::Fault { .. }));
        !struck
            && (ran.code == 5 && ran.stderr.contains("--timeout waits longer")
                || ran.code == 8 && last(ran).contains(": no answer within 2.5 s"))
    };
    (0..4).map(|_| attempt()).find(|ran| !is_too_busy(ran)).unwrap_or_else(attempt)
}

/// Returns whether the fault struck: a late one does not where the machine is so busy that less is asked of a node.
fn one_fault(name: &str, trial: Trial, fault: &Fault) -> Result<bool, Flaw> {
    let (site, ran) = run_with(name, trial, fault);
    // What is unhealthy shows in the answers, and not as an event of its own.
    let struck = match fault.kind {
        Kind::Unhealthy => ran.code == 8,
        _ => site.cluster.events_of(name).iter().any(|event| matches!(event.what, What::Fault { .. })),
    };
    let result = if struck || ran.code == 0 {
        check(&site, name, fault, &ran)
    } else {
        Err("it failed, and the fault did not strike".to_owned())
    };
    if struck && fault.kind == Kind::Reboot {
        site.cluster.wait("the boot", |cluster| cluster.node(name).state().boots > 1);
    }
    heal(&site);
    let result = result.and_then(|()| site.check_nodes()).and_then(|()| site.check_told(&ran));
    let result = result.and_then(|()| finish(&site, ran.code));
    let flaw = |flaw| Flaw { what: format!("{name} {trial:?} {fault:?}: {flaw}"), story: ran.to_string() };
    result.map(|()| struck).map_err(flaw)
}

fn check(site: &Site, struck: &str, fault: &Fault, ran: &Ran) -> Result<(), String> {
    let flaw = |text: &str| Err(text.to_owned());
    let last = last(ran);
    let touched = |name: &str| !site.applies(name).is_empty();
    if ran.code == 0 {
        let well = last.starts_with("5 nodes updated") && ORDER.iter().all(|name| site.is_new(name));
        return if well { Ok(()) } else { flaw("it says that all is well") };
    }
    if ran.code == 5 {
        let well = last.starts_with("no node was touched") && !ORDER.iter().any(|name| touched(name));
        return if well { Ok(()) } else { flaw("a node was touched") };
    }
    // The one that failed: it is the last that anything was done to.
    let says = |name: &str, words: &str| last.contains(&format!("{name} {words}"));
    let failed = match ran.code {
        6 => ORDER.iter().position(|name| says(name, "back to the old config") && site.is_old(name)),
        7 => ORDER.iter().position(|name| says(name, "UNKNOWN")),
        8 => ORDER.iter().position(|name| !touched(name) && site.is_old(name)),
        code => return flaw(&format!("there is no exit code {code}")),
    };
    let Some(failed) = failed else { return flaw("exit code, last line and nodes do not fit") };
    let told = ["goes back to", "keeps the", "keeps its", "has its old config"];
    if ran.code == 7 && !told.iter().any(|words| ran.stderr.contains(words)) {
        return flaw("it does not say what the node does by itself");
    }
    if !last.contains("Next: ") || !last.contains("talmirror rollout --resume") {
        return flaw("it does not say what to do next");
    }
    // Etcd is asked before the first of its nodes is touched.
    let first = ORDER.iter().position(|name| *name == struck).unwrap();
    if failed < first && fault.step != Step::Etcd {
        return flaw(&format!("{} failed, which had no fault", ORDER[failed]));
    }
    for name in &ORDER[..failed] {
        if !site.is_new(name) {
            return flaw(&format!("{name} has not its new config"));
        }
    }
    for name in &ORDER[failed + 1..] {
        if touched(name) || !site.is_old(name) {
            return flaw(&format!("{name} was touched"));
        }
    }
    Ok(())
}

fn finish(site: &Site, code: i32) -> Result<(), String> {
    if code == 7 {
        // Left alone, each node has one config or the other in the end.
        site.cluster.wait("the end of every trial", |cluster| {
            cluster.names().iter().all(|name| cluster.node(name).state().trial.is_none())
        });
        for name in ORDER {
            let (active, _) = site.has(name);
            if active != site.old[name] && active != site.new[name] {
                return Err(format!("{name} has neither config"));
            }
        }
    }
    // Nothing is wrong any more, so that times matter only where the machine that tests is busy.
    let line = "rollout --yes --try-timeout 60s --settle 20s --timeout 10s";
    let line = if code == 5 { line.to_owned() } else { format!("{line} --resume") };
    let resumed = site.place.run(&line).ran();
    if resumed.code != 0 || ORDER.iter().any(|name| !site.is_new(name)) {
        return Err(format!("it is not finished: {resumed}"));
    }
    site.check_applies();
    Ok(())
}

#[test]
fn a_single_fault_is_never_more_than_one_nodes() {
    let faults = faults();
    let of = |name: &'static str| faults.iter().map(move |(trial, fault)| (name, *trial, fault));
    let work: Vec<(&str, Trial, &Fault)> = ORDER.into_iter().flat_map(of).collect();
    let struck = Mutex::new(Vec::new());
    at_once(&work, |(name, trial, fault)| -> Result<(), Flaw> {
        // Workers have no etcd.
        if fault.step == Step::Etcd && name.starts_with('w') {
            return Ok(());
        }
        if one_fault(name, *trial, fault)? {
            struck.lock().unwrap().push(format!("{trial:?} {fault:?}"));
        }
        Ok(())
    });
    let struck = struck.into_inner().unwrap();
    for (trial, fault) in &faults {
        let name = format!("{trial:?} {fault:?}");
        assert!(struck.contains(&name), "{name} did not strike any node");
    }
}
