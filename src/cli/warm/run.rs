#![expect(clippy::disallowed_methods, reason = "draws now and then")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Mutex, mpsc};

use super::args::WarmArgs;
use super::jobs::{Ended, Job, jobs};
use super::record::{self, Record};
use super::view::{self, line, print, size};
use crate::cli::args::Global;
use crate::cli::images::Wanted;
use crate::cli::inventory::load;
use crate::cli::meant::LiveNodes;
use crate::image::{DOCKER_HUB, Platform};
use crate::mirror::warm::{Mode, Platforms, Warmer};
use crate::oci::{HttpSettings, Timeouts};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, EndRequest, Signals, Ui, count};

/// How many images are under way at once, over all registries.
const AT_ONCE: usize = 64;
/// How often what is under way is drawn.
const DRAWN: Duration = Duration::from_millis(250);

pub(crate) fn run(ui: &mut Ui, global: &Global, args: WarmArgs) -> Result<Exit, CliError> {
    args.sources.check_stdin(global)?;
    let named = platforms(&args.platform)?;
    let mut loaded = load(ui, global)?;
    let mut of_nodes = BTreeSet::new();
    let wanted = if named.is_none() { Wanted::ImagesAndPlatforms(&mut of_nodes) } else { Wanted::Images };
    let images = args.sources.find(ui, global, Some(&loaded), wanted, &args.which)?;
    if images.is_empty() {
        return Err(CliError::new(exit::INVALID, "no image was found to warm")
            .help("is the input what was meant? An empty one often is a command that failed"));
    }
    let platforms = named.unwrap_or_else(|| Platforms::Only(or_usual(ui, of_nodes)));
    let meant = args.which.meant(&loaded, LiveNodes::of(args.sources.nodes.as_ref()))?;
    let jobs = jobs(&mut loaded, &meant, &images)?;
    let mode = args.mode.mode();
    let record = Arc::new(open_record(ui, &jobs, mode));
    let timeouts =
        Timeouts { header: args.sources.timeout.max(Timeouts::default().header), ..Timeouts::default() };
    let settings = HttpSettings { timeouts, ..HttpSettings::default() };
    let warmer = Warmer::new(settings, mode, platforms, args.parallel.get(), Box::new(Arc::clone(&record)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::from_error(exit::REMOTE, error))?;
    let quota = args.hub_reserve.map(|reserve| Quota { reserve, under_way: Mutex::new(0) });
    let (ended, stopped) = runtime.block_on(all(ui, &warmer, &jobs, quota.as_ref()))?;
    runtime.shutdown_background();
    let cached = ended.iter().filter(|ended| matches!(ended, Some(Ended::Cached(_)))).count();
    let rest = jobs.len() - cached;
    // Only what goes on later, or may go well then, needs to know what was fetched; an image without a mirror never will.
    let mut tried = jobs.iter().zip(&ended).filter(|(job, _)| job.mirror.is_some());
    if stopped.is_none() && tried.all(|(_, ended)| matches!(ended, Some(Ended::Cached(_)))) {
        record.remove();
    }
    print(ui, &jobs, &ended, args.output)?;
    ui.flush()?;
    let bytes = ended.iter().map(|ended| match ended {
        Some(Ended::Cached(warmed)) => warmed.bytes,
        Some(Ended::Failed(..) | Ended::Skipped(_)) | None => 0,
    });
    let fetched = size(bytes.sum());
    if let Some(exit) = stopped {
        ui.note(&format!(
            "stopped: {} cached, {rest} to go; the same command goes on",
            count(cached, "image")
        ));
        return Ok(exit);
    }
    ui.note(&format!("{} cached, {fetched} fetched; {rest} not cached", count(cached, "image")));
    Ok(if rest == 0 { exit::OK } else { exit::FOUND })
}

/// Returns the platforms that are named; [`None`]: none is.
fn platforms(names: &[String]) -> Result<Option<Platforms>, CliError> {
    if names.iter().any(|name| name == "all") {
        return Ok(Some(Platforms::All));
    }
    let named = names.iter().filter(|name| !name.is_empty()).map(|name| name.parse::<Platform>());
    let named = named.collect::<Result<Vec<_>, _>>();
    let named = named.map_err(|error| CliError::from_error(exit::USAGE, error))?;
    Ok((!named.is_empty()).then_some(Platforms::Only(named)))
}

/// Returns the platforms of the nodes, or the one that most nodes have where they are not known.
fn or_usual(ui: &mut Ui, of_nodes: BTreeSet<Platform>) -> Vec<Platform> {
    let known: Vec<Platform> = of_nodes.into_iter().collect();
    if known.is_empty() {
        ui.note("what the nodes run on is not known; images for linux/amd64 are pulled (--platform)");
        let usual = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
        return vec![usual];
    }
    known
}

/// Opens the record of what was fetched, and warns where a run that is stopped cannot be resumed.
fn open_record(ui: &mut Ui, jobs: &[Job], mode: Mode) -> Record {
    let help = Some("a run that is stopped begins from the start; XDG_STATE_HOME names another folder");
    let mode = match mode {
        Mode::Blobs => "blobs",
        Mode::Manifests => "manifests",
    };
    let Some(path) = record::path(jobs, mode) else {
        ui.warn("there is no home directory to keep a record of what was fetched in", help);
        return Record::nowhere();
    };
    Record::open(&path).unwrap_or_else(|error| {
        ui.warn(&format!("cannot keep a record of what was fetched in `{}`: {error}", path.display()), help);
        Record::nowhere()
    })
}

/// Pulls of Docker Hub that are left alone.
struct Quota {
    reserve: u64,
    /// How many images were admitted and have not ended: Docker Hub may not have counted them yet.
    under_way: Mutex<u64>,
}

impl Quota {
    /// Returns why an image has to be left out; Docker Hub is asked, which it does not count.
    async fn refuses(&self, warmer: &Warmer, job: &Job) -> Option<String> {
        let (hop, access) = job.upstream.as_ref()?;
        let mut under_way = self.under_way.lock().await;
        let reserve = self.reserve;
        match warmer.pulls_left(hop, &job.image, access).await {
            Ok(Some(left)) if left.saturating_sub(*under_way) <= reserve => Some(format!(
                "{left} pulls of Docker Hub are left, {under_way} images are under way, and {reserve} are reserved"
            )),
            Ok(_) => {
                *under_way += 1;
                None
            }
            Err((_, why)) => Some(format!("Docker Hub does not say how many pulls are left: {why}")),
        }
    }

    async fn ended(&self) {
        let mut under_way = self.under_way.lock().await;
        *under_way = under_way.saturating_sub(1);
    }
}

/// Pulls one image, unless the quota is in the way.
async fn pull(warmer: &Warmer, job: &Job, quota: Option<&Quota>, progress: &(dyn Fn(u64) + Sync)) -> Ended {
    let Some((hop, access)) = &job.mirror else {
        return Ended::Skipped("no mirror is in its route".to_owned());
    };
    let slot = warmer.slot(hop, &job.image).await;
    let quota = quota.filter(|_| job.image.registry() == DOCKER_HUB);
    if let Some(quota) = quota
        && let Some(why) = quota.refuses(warmer, job).await
    {
        return Ended::Skipped(why);
    }
    let result = warmer.warm(&slot, hop, &job.image, access, job.sharing, progress).await;
    if let Some(quota) = quota {
        quota.ended().await;
    }
    match result {
        Ok(warmed) => Ended::Cached(warmed),
        Err((cause, evidence)) => Ended::Failed(cause, evidence),
    }
}

/// Pulls all images, and tells how far each is; returns how each ended, and the exit code where it was stopped before.
async fn all(
    ui: &mut Ui,
    warmer: &Warmer,
    jobs: &[Job],
    quota: Option<&Quota>,
) -> Result<(Vec<Option<Ended>>, Option<Exit>), CliError> {
    let mut signals = Signals::new()
        .map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot listen for Ctrl-C"))?;
    let (events, mut told) = mpsc::unbounded_channel::<(usize, u64)>();
    let mut ended: Vec<Option<Ended>> = jobs.iter().map(|_| None).collect();
    let (mut under_way, mut fetched, mut done) = (BTreeMap::<usize, u64>::new(), 0_u64, 0);
    let pulls: Vec<_> = (jobs.iter().enumerate())
        .map(|(at, job)| {
            let events = events.clone();
            // The receiver lives as long as the pulls.
            let progress = move |bytes| {
                let _ = events.send((at, bytes));
            };
            async move { (at, pull(warmer, job, quota, &progress).await) }
        })
        .collect();
    let mut work = futures_util::stream::iter(pulls).buffer_unordered(AT_ONCE);
    let mut tick = tokio::time::interval(DRAWN);
    let stopped = loop {
        tokio::select! {
            next = work.next() => {
                let Some((at, how)) = next else { break None };
                under_way.remove(&at);
                done += 1;
                if let (Some(job), Some(slot)) = (jobs.get(at), ended.get_mut(at)) {
                    ui.note(&line(job, &how));
                    *slot = Some(how);
                }
            }
            Some((at, bytes)) = told.recv() => {
                fetched += bytes;
                if ended.get(at).is_some_and(Option::is_none) {
                    *under_way.entry(at).or_default() += bytes;
                }
            }
            _ = tick.tick(), if ui.is_live() => ui.live(&view::live(jobs, done, fetched, &under_way)),
            signal = signals.next() => break Some(match signal {
                EndRequest::Once => exit::INTERRUPTED,
                EndRequest::HungUp => exit::CLOSED_TERMINAL,
            }),
        }
    };
    ui.live(&[]);
    Ok((ended, stopped))
}
