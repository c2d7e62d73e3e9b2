//! One node: its configs, the trial that may run, what it renders, and its reboots.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use talmirror::registries::{CRI_TOML, Registries};
use tonic::Status;

use super::accept::{accept, diff, needs_reboot, registries};
use super::event::{Log, What, digest};
use super::fault::{Fault, Kind, Step, take};
use super::line::Line;
use super::proto::machine::apply_configuration_request::Mode;
use super::proto::machine::{ApplyConfiguration, ApplyConfigurationRequest};
use super::render::render;
use super::rules::Rules;

/// The part of containerd's config that Talos leaves to its user.
pub const CUSTOMIZATION: &str = "/etc/cri/conf.d/20-customization.part";

/// What all nodes of a cluster share.
pub struct World {
    pub log: Log,
    pub runtime: tokio::runtime::Handle,
    pub nodes: Mutex<Vec<Arc<Node>>>,
    /// Where a host's registry answers, by plain HTTP whatever the scheme says.
    pub names: Mutex<BTreeMap<String, SocketAddr>>,
    /// How long rendering takes.
    pub render_delay: Duration,
    pub reboot_time: Duration,
    /// Counts how often held calls were let go.
    pub released: tokio::sync::watch::Sender<u64>,
}

impl World {
    /// Finds a node by its address or name, or by another that leads to it now.
    pub fn find(&self, name: &str) -> Option<Arc<Node>> {
        let nodes = self.nodes.lock().unwrap();
        nodes.iter().find(|node| node.is_called(name)).cloned()
    }
}

/// A node of the cluster.
pub struct Node {
    pub name: String,
    /// What calls name it by.
    pub address: String,
    pub world: Arc<World>,
    pub line: Arc<Line>,
    state: Mutex<State>,
}

/// A config, and when it was set.
#[derive(Clone, Debug)]
pub struct Text {
    pub text: String,
    /// Counts how often it was set since the node booted.
    pub version: u64,
    pub at: SystemTime,
}

impl Text {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), version: 1, at: SystemTime::now() }
    }

    pub fn set(&mut self, text: &str) {
        *self = Self { text: text.to_owned(), version: self.version + 1, at: SystemTime::now() };
    }
}

/// A config on trial.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What is gone back to.
    pub back: String,
    pub number: u64,
}

/// All about a node that changes.
#[derive(Clone, Debug)]
pub struct State {
    /// What tells the machine from others.
    pub machine: String,
    pub version: String,
    pub role: String,
    /// Addresses beside its own, such as a virtual one that it has now.
    pub addresses: Vec<String>,
    /// Names by which endpoints find it: DNS is asked there.
    pub names: Vec<String>,
    /// Whether its member of etcd has no vote yet.
    pub learner: bool,
    pub stage: String,
    pub ready: bool,
    pub active: Text,
    /// The id `persistent`, which is there once something was applied for good since the node booted.
    pub persistent: Option<Text>,
    /// What the node will boot with.
    pub disk: String,
    pub trial: Option<Trial>,
    pub trials: u64,
    /// `RegistryConfigs`.
    pub registries: Registries,
    /// What Talos rendered.
    pub rendered: BTreeMap<String, String>,
    /// When it wrote containerd's credentials last.
    pub cri_written: SystemTime,
    /// When containerd started.
    pub cri_started: SystemTime,
    /// Files that Talos did not write.
    pub files: BTreeMap<String, String>,
    /// `ready`, where the node has an image cache.
    pub image_cache: Option<String>,
    /// Images by instance: names and digests.
    pub images: BTreeMap<&'static str, Vec<(String, String)>>,
    pub cri_running: bool,
    /// What containerd logged.
    pub log: String,
    /// Whether the clock is set.
    pub time_synced: bool,
    pub faults: Vec<Fault>,
    /// How long every answer takes.
    pub delay: Duration,
    pub down: bool,
    pub boots: u64,
    pub applying: bool,
    pub renders: u64,
}

impl State {
    pub fn new(version: &str, role: &str, config: &str) -> Self {
        static MACHINES: AtomicU64 = AtomicU64::new(1);
        let mut state = Self {
            machine: format!("machine-{}", MACHINES.fetch_add(1, Ordering::Relaxed)),
            version: version.to_owned(),
            role: role.to_owned(),
            addresses: Vec::new(),
            names: Vec::new(),
            learner: false,
            stage: "running".to_owned(),
            ready: true,
            active: Text::new(config),
            persistent: None,
            disk: config.to_owned(),
            trial: None,
            trials: 0,
            registries: Registries::default(),
            rendered: BTreeMap::new(),
            cri_written: SystemTime::now(),
            cri_started: SystemTime::now(),
            files: BTreeMap::new(),
            image_cache: None,
            images: BTreeMap::new(),
            cri_running: true,
            log: "level=info msg=\"PullImage\"\n".to_owned(),
            time_synced: true,
            faults: Vec::new(),
            delay: Duration::ZERO,
            down: false,
            boots: 1,
            applying: false,
            renders: 0,
        };
        state.render_now();
        state
    }

    pub fn rules(&self) -> Rules {
        Rules::of(&self.version)
    }

    pub fn has_fault(&self, step: Step, kind: &Kind) -> bool {
        self.faults.iter().any(|fault| fault.step == step && fault.kind == *kind)
    }

    /// Renders what the active config says, without anything that goes wrong.
    pub fn render_now(&mut self) {
        self.registries = registries(&self.active.text);
        self.rendered = self.render();
    }

    fn render(&self) -> BTreeMap<String, String> {
        let cached = self.image_cache.as_deref() == Some("ready");
        let mut files = render(&self.registries, &self.version, cached);
        if let (Some(cri), Some(more)) = (files.get_mut(CRI_TOML), self.files.get(CUSTOMIZATION)) {
            *cri = without_sections_of(cri, more) + more;
        }
        files
    }
}

/// Returns a part of containerd's config without the sections that a later part has: that one counts.
fn without_sections_of(text: &str, later: &str) -> String {
    let mut is_kept = true;
    let kept = text.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') {
            is_kept = !later.lines().any(|other| other == line.trim_end());
        }
        is_kept
    });
    kept.collect()
}

impl Node {
    pub fn new(name: &str, address: &str, world: &Arc<World>, state: State) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            address: address.to_owned(),
            world: Arc::clone(world),
            line: Arc::default(),
            state: Mutex::new(state),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether calls that name it so are for it.
    pub fn is_called(&self, name: &str) -> bool {
        // An address of IPv6 may be written in several ways.
        let address = name.parse::<std::net::IpAddr>().ok();
        let is = |other: &String| other == name || (address.is_some() && other.parse().ok() == address);
        let state = self.state();
        self.name == name
            || is(&self.address)
            || state.addresses.iter().any(is)
            || state.names.iter().any(|other| other == name)
    }

    pub fn log(&self, what: What) {
        self.world.log.add(&self.name, what);
    }

    pub fn take_fault(&self, steps: &[Step]) -> Option<Fault> {
        let found = take(&mut self.state().faults, steps)?;
        self.log(What::Fault { step: found.step.as_str(), kind: format!("{:?}", found.kind) });
        Some(found)
    }

    /// `ApplyConfiguration`, in the order of the checks of Talos' handler.
    pub async fn apply(
        self: &Arc<Self>,
        request: &ApplyConfigurationRequest,
        admin: bool,
        reject: bool,
        slow: Duration,
    ) -> Result<ApplyConfiguration, Status> {
        let rules = self.state().rules();
        if rules.exclusive() {
            let mut state = self.state();
            if state.applying {
                return Err(Status::failed_precondition(
                    "another apply configuration is already in progress",
                ));
            }
            state.applying = true;
        }
        let _guard = Applying(self);
        tokio::time::sleep(slow).await;
        if !admin {
            return Err(Status::permission_denied("not authorized"));
        }
        let tries = request.mode() == Mode::Try && request.mode == Mode::Try as i32;
        if rules.cancels_first() && !tries {
            self.cancel_trial();
        }
        let text =
            std::str::from_utf8(&request.data).map_err(|_| Status::invalid_argument("yaml: not UTF-8"))?;
        if reject {
            return Err(Status::invalid_argument("1 error occurred:\n\t* it is not liked\n\n"));
        }
        let accepted = accept(text, rules)?;
        let (mode, details) = self.decide(request.mode, text, rules)?;
        if request.dry_run {
            let diff = diff(&self.state().active.text, text);
            let details =
                format!("Dry run summary:\n{details} (skipped in dry-run).\nConfig diff:\n\n{diff}");
            return Ok(ApplyConfiguration { mode, mode_details: details, ..ApplyConfiguration::default() });
        }
        if !tries {
            self.cancel_trial();
        }
        let mut details = details;
        match Mode::try_from(mode) {
            Ok(Mode::Try) => {
                let timeout = request.try_mode_timeout.map_or(Duration::from_mins(1), |timeout| {
                    Duration::try_from(timeout).unwrap_or_default()
                });
                details.push_str(&format!(
                    "\nThe config is applied in 'try' mode and will be automatically reverted back in {}",
                    go(timeout)
                ));
                self.start_trial(timeout);
                self.set_active(text);
            }
            Ok(Mode::NoReboot) => {
                self.set_persistent(text);
                self.set_active(text);
            }
            Ok(Mode::Staged) => self.set_persistent(text),
            Ok(Mode::Reboot) => {
                self.set_persistent(text);
                self.reboot();
            }
            Ok(Mode::Auto) | Err(_) => {
                return Err(Status::unknown(format!(
                    "incorrect mode '{mode}' specified for the apply config call"
                )));
            }
        }
        Ok(ApplyConfiguration {
            warnings: accepted.warnings,
            mode,
            mode_details: details,
            ..ApplyConfiguration::default()
        })
    }

    /// Chooses the mode in effect, and the words for it.
    fn decide(&self, mode: i32, text: &str, rules: Rules) -> Result<(i32, String), Status> {
        const WITHOUT: &str = "Applied configuration without a reboot";
        const WITH: &str = "Applied configuration with a reboot";
        let active = self.state().active.text.clone();
        let obstacle = (rules.mode_reboot() && needs_reboot(&active, text)).then(|| {
            format!("this config change can't be applied in immediate mode\ndiff:\n{}", diff(&active, text))
        });
        match (Mode::try_from(mode), obstacle) {
            (Ok(Mode::Auto), None) => Ok((Mode::NoReboot.into(), WITHOUT.to_owned())),
            (Ok(Mode::Auto), Some(obstacle)) => Ok((Mode::Reboot.into(), format!("{WITH}: {obstacle}"))),
            (Ok(Mode::Try | Mode::NoReboot), Some(obstacle)) => Err(Status::invalid_argument(obstacle)),
            (Ok(Mode::Try | Mode::NoReboot), None) => Ok((mode, WITHOUT.to_owned())),
            (Ok(Mode::Staged), _) => {
                Ok((mode, "Staged configuration to be applied after the next reboot".to_owned()))
            }
            (Ok(Mode::Reboot), _) if rules.mode_reboot() => Ok((mode, WITH.to_owned())),
            (Ok(Mode::Reboot), _) => Err(Status::unimplemented(
                "the REBOOT mode is not supported, please use AUTO or NO_REBOOT modes instead",
            )),
            (Err(_), _) => Err(Status::invalid_argument(format!(
                "incorrect mode '{mode}' specified for the apply config call"
            ))),
        }
    }

    /// Arms the timer that goes back to what is active now, be that on trial itself.
    fn start_trial(self: &Arc<Self>, timeout: Duration) {
        let number = {
            let mut state = self.state();
            state.trials += 1;
            let trial = Trial { back: state.active.text.clone(), number: state.trials };
            let back_to = digest(&trial.back);
            state.trial = Some(trial);
            self.log(What::TryStarted { seconds: timeout.as_secs_f64(), back_to });
            state.trials
        };
        let node = Arc::clone(self);
        self.world.runtime.spawn(async move {
            tokio::time::sleep(timeout).await;
            let ends = node.state().trial.as_ref().is_some_and(|trial| trial.number == number);
            if ends {
                node.end_trial();
            }
        });
    }

    /// Goes back to what was active before the trial, as when its time is up.
    pub fn end_trial(self: &Arc<Self>) {
        let trial = self.state().trial.take();
        if let Some(Trial { back, .. }) = trial {
            self.log(What::TryTimedOut { config: digest(&back) });
            self.set_active(&back);
        }
    }

    fn cancel_trial(&self) {
        if self.state().trial.take().is_some() {
            self.log(What::TryCancelled);
        }
    }

    fn set_persistent(&self, text: &str) {
        let mut state = self.state();
        text.clone_into(&mut state.disk);
        if !state.rules().persistent() {
            return;
        }
        match &mut state.persistent {
            Some(persistent) => persistent.set(text),
            None => state.persistent = Some(Text::new(text)),
        }
        self.log(What::Config { id: "persistent", config: digest(text) });
    }

    fn set_active(self: &Arc<Self>, text: &str) {
        self.state().active.set(text);
        self.log(What::Config { id: "active", config: digest(text) });
        self.render_later();
    }

    /// Renders as controllers do: a moment later, and what is the latest then.
    pub fn render_later(self: &Arc<Self>) {
        let number = {
            let mut state = self.state();
            state.renders += 1;
            state.renders
        };
        let node = Arc::clone(self);
        self.world.runtime.spawn(async move {
            let half = node.world.render_delay / 2;
            tokio::time::sleep(half).await;
            if node.state().renders != number {
                return;
            }
            let fault = node.take_fault(&[Step::Render]).map(|fault| fault.kind);
            {
                let mut state = node.state();
                state.registries = registries(&state.active.text);
            }
            let late = if let Some(Kind::Slow(late)) = fault { late } else { Duration::ZERO };
            tokio::time::sleep(half + late).await;
            node.finish_rendering(number, fault.as_ref());
        });
    }

    fn finish_rendering(self: &Arc<Self>, number: u64, fault: Option<&Kind>) {
        if fault == Some(&Kind::Twice) {
            // What controllers make of the first half of a change is not what it comes to.
            self.finish_rendering(number, Some(&Kind::Wrong));
            let node = Arc::clone(self);
            self.world.runtime.spawn(async move {
                tokio::time::sleep(node.world.render_delay * 4).await;
                node.finish_rendering(number, None);
            });
            return;
        }
        let restarts = {
            let mut state = self.state();
            if state.renders != number {
                return;
            }
            let mut files = state.render();
            match fault {
                Some(Kind::Stale) => files = state.rendered.clone(),
                Some(Kind::Missing) => files.retain(|path, _| !path.ends_with("/hosts.toml")),
                Some(Kind::Broken) => {
                    // What an endpoint that stands there twice comes to.
                    let hosts = files.iter_mut().filter(|(path, _)| path.ends_with("/hosts.toml"));
                    hosts.for_each(|(_, text)| text.push_str("[host]\n[host]\n"));
                }
                Some(Kind::Wrong) => {
                    let hosts = files.iter_mut().filter(|(path, _)| path.ends_with("/hosts.toml"));
                    hosts.for_each(|(_, text)| *text = text.replace("://", "://wrong."));
                }
                Some(_) | None => {}
            }
            let cri = |files: &BTreeMap<String, String>| files.get("/etc/cri/conf.d/cri.toml").cloned();
            let changed = cri(&files) != cri(&state.rendered);
            state.rendered = files;
            if changed {
                state.cri_written = SystemTime::now();
            }
            // Talos takes away what it did not write there.
            state.files.retain(|path, _| !path.starts_with("/etc/cri/conf.d/hosts/"));
            changed && state.rules().restarts_cri()
        };
        let wrong = fault.is_some_and(|kind| !matches!(kind, Kind::Slow(_)));
        self.log(What::Rendered { wrong });
        if restarts {
            self.set_cri(false);
            let node = Arc::clone(self);
            self.world.runtime.spawn(async move {
                tokio::time::sleep(node.world.render_delay).await;
                node.set_cri(true);
            });
        }
    }

    fn set_cri(&self, running: bool) {
        {
            let mut state = self.state();
            state.cri_running = running;
            if running {
                state.cri_started = SystemTime::now();
            }
        }
        self.log(What::Service { id: "cri", running });
    }

    /// Goes down now and comes back with what is on disk.
    pub fn reboot(self: &Arc<Self>) {
        let node = Arc::clone(self);
        self.world.runtime.spawn(async move {
            // The answer to the call that asked for it is still sent.
            tokio::time::sleep(Duration::from_millis(50)).await;
            node.go_down();
            node.state().trial = None;
            tokio::time::sleep(node.world.reboot_time).await;
            node.boot();
        });
    }

    /// Comes back with another Talos, as after an upgrade, or as another machine with the same config.
    pub fn becomes(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.boot();
    }

    pub fn go_down(&self) {
        self.state().down = true;
        self.line.set_down(true);
        self.log(What::Down);
    }

    /// Is reachable again, without having been down itself.
    pub fn come_back(&self) {
        self.state().down = false;
        self.line.set_down(false);
    }

    pub fn boot(self: &Arc<Self>) {
        {
            let mut state = self.state();
            let disk = state.disk.clone();
            state.active = Text::new(&disk);
            (state.persistent, state.trial, state.down) = (None, None, false);
            state.renders += 1;
            state.boots += 1;
            state.cri_running = true;
            state.render_now();
            state.cri_written = SystemTime::now();
            state.cri_started = SystemTime::now();
        }
        self.line.set_down(false);
        self.log(What::Booted);
    }
}

/// Ends an apply, however it ends.
struct Applying<'n>(&'n Node);

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        self.0.state().applying = false;
    }
}

/// Writes a duration as Go does: `1m0s`.
fn go(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs_f64() % 60.0);
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}
