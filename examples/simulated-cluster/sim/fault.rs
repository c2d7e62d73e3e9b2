//! What goes wrong, and when.

use std::str::FromStr;
use std::time::Duration;

use tonic::Code;

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Any call.
    Any,
    Version,
    Services,
    /// `Get` of a machine config.
    Config,
    /// `Get` of `RegistryConfigs`.
    RegistryConfigs,
    /// `Get` and `List` of anything else.
    Resource,
    Read,
    /// `ApplyConfiguration` of any kind.
    Apply,
    Try,
    /// `ApplyConfiguration` for good, at once.
    Commit,
    Staged,
    DryRun,
    Pull,
    Images,
    Remove,
    Verify,
    Etcd,
    Reboot,
    Logs,
    /// What a node does after its config has changed.
    Render,
}

const STEPS: [(&str, Step); 20] = [
    ("any", Step::Any),
    ("version", Step::Version),
    ("services", Step::Services),
    ("config", Step::Config),
    ("registryconfigs", Step::RegistryConfigs),
    ("resource", Step::Resource),
    ("read", Step::Read),
    ("apply", Step::Apply),
    ("try", Step::Try),
    ("commit", Step::Commit),
    ("staged", Step::Staged),
    ("dryrun", Step::DryRun),
    ("pull", Step::Pull),
    ("images", Step::Images),
    ("remove", Step::Remove),
    ("verify", Step::Verify),
    ("etcd", Step::Etcd),
    ("reboot", Step::Reboot),
    ("logs", Step::Logs),
    ("render", Step::Render),
];

impl Step {
    pub fn as_str(self) -> &'static str {
        STEPS.iter().find(|(_, step)| *step == self).map_or("", |(name, _)| name)
    }

    /// Every step, for tests that enumerate them.
    pub fn all() -> impl Iterator<Item = Self> {
        STEPS.iter().map(|(_, step)| *step)
    }
}

/// What happens there.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// It takes that long; for `render`: it comes that much later.
    Slow(Duration),
    /// No answer ever.
    Hang,
    /// An error, before anything is done.
    Refuse(Code, String),
    /// The config is found to be wrong (`apply`, `try`, `commit`); elsewhere an error.
    Reject,
    /// The endpoint cannot reach the node; the node does not answer itself.
    Unreachable,
    /// The connection breaks before anything is done.
    DieBefore,
    /// It is done, and the connection breaks before the answer.
    DieAfter,
    /// It is done, the connection breaks, and the node stays cut off; what it does by itself goes on.
    Down,
    /// The endpoint that the call came through goes down in the middle of it.
    EndpointDies,
    /// It is done and answered, then the node reboots.
    Reboot,
    /// The image is not there (`pull`).
    NotFound,
    /// Nothing is rendered (`render`).
    Stale,
    /// `hosts.toml` files are not there (`render`).
    Missing,
    /// `hosts.toml` files are no TOML (`render`).
    Broken,
    /// `hosts.toml` files name another endpoint (`render`).
    Wrong,
    /// `hosts.toml` files name another endpoint at first, and are right a moment later (`render`).
    Twice,
    /// Before it is done, the node has come back from an upgrade to this version.
    Upgrade(String),
    /// Before it is done, another machine has taken the node's place, with the same config.
    Replace,
    /// The node's status says that it is not ready (`resource`), or etcd has no leader (`etcd`), until the fault is
    /// cleared.
    Unhealthy,
    /// It waits until the test lets it go on, see `Cluster::release`.
    Hold,
}

/// A fault of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub step: Step,
    pub kind: Kind,
    /// How many calls pass before it strikes.
    pub after: usize,
    /// How often it strikes; [`None`]: always.
    pub times: Option<usize>,
}

impl Fault {
    pub fn new(step: Step, kind: Kind) -> Self {
        Self { step, kind, after: 0, times: None }
    }

    pub fn once(step: Step, kind: Kind) -> Self {
        Self { times: Some(1), ..Self::new(step, kind) }
    }

    pub fn after(mut self, calls: usize) -> Self {
        self.after = calls;
        self
    }
}

/// As the command line has it: `STEP:KIND`, `STEP:KIND=VALUE`, each with `xN` for the first N times.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (step, rest) = text.split_once(':').ok_or_else(|| format!("`{text}` is not STEP:KIND"))?;
        let found = STEPS.iter().find(|(name, _)| *name == step);
        let names = || STEPS.map(|(name, _)| name).join(", ");
        let step =
            found.map(|(_, step)| *step).ok_or_else(|| format!("no step `{step}`, but {}", names()))?;
        let (rest, times) = match rest.rsplit_once('x') {
            Some((rest, number)) if number.parse::<usize>().is_ok() => (rest, number.parse().ok()),
            Some(_) | None => (rest, None),
        };
        let (kind, value) = rest.split_once('=').map_or((rest, None), |(kind, value)| (kind, Some(value)));
        let duration = || {
            let seconds = value.unwrap_or("3s").trim_end_matches('s').parse::<f64>();
            seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        let kind = match kind {
            "slow" | "late" => {
                Kind::Slow(duration().ok_or_else(|| format!("`{text}`: how long, such as 3s?"))?)
            }
            "hang" => Kind::Hang,
            "refuse" => Kind::Refuse(Code::FailedPrecondition, value.unwrap_or("refused").to_owned()),
            "deny" => Kind::Refuse(Code::PermissionDenied, value.unwrap_or("not authorized").to_owned()),
            "reject" => Kind::Reject,
            "unreachable" => Kind::Unreachable,
            "die-before" => Kind::DieBefore,
            "die-after" => Kind::DieAfter,
            "down" => Kind::Down,
            "endpoint-dies" => Kind::EndpointDies,
            "reboot" => Kind::Reboot,
            "not-found" => Kind::NotFound,
            "stale" => Kind::Stale,
            "missing" => Kind::Missing,
            "broken" => Kind::Broken,
            "wrong" => Kind::Wrong,
            "twice" => Kind::Twice,
            "upgrade" => Kind::Upgrade(value.ok_or("upgrade=VERSION")?.to_owned()),
            "replace" => Kind::Replace,
            "unhealthy" => Kind::Unhealthy,
            _ => {
                return Err(format!(
                    "no kind `{kind}`, but slow, hang, refuse, deny, reject, unreachable, die-before, die-after, down, \
                     endpoint-dies, reboot, not-found, stale, missing, broken, wrong, twice, upgrade, replace, unhealthy"
                ));
            }
        };
        Ok(Self { step, kind, after: 0, times })
    }
}

/// Takes the first fault that concerns one of these steps.
pub fn take(faults: &mut Vec<Fault>, steps: &[Step]) -> Option<Fault> {
    // A node is unhealthy until it is told otherwise, whoever asks.
    let hits = |fault: &Fault| steps.contains(&fault.step) && fault.kind != Kind::Unhealthy;
    for at in 0..faults.len() {
        let fault = &mut faults[at];
        if !hits(fault) {
            continue;
        }
        if fault.after > 0 {
            fault.after -= 1;
            continue;
        }
        let found = fault.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                faults.remove(at);
            }
        }
        return Some(found);
    }
    None
}
