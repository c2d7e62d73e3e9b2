#![expect(clippy::disallowed_methods, reason = "limits how long readers wait for each other")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use super::policy::Policy;
use super::resuming_body::ResumingBody;
use super::source::{FetchError, Source};
use crate::cache::memory::locked;

/// What the readers of an object share that cannot be kept: some of its bytes, in memory, and the transfers by which
/// they come.
///
/// A transfer begins where a reader is that finds no bytes, and goes on as far as a reader wants it to. Those who read
/// at about the same place read from the same transfer, and wait a little for each other.
pub(super) struct Window {
    source: Arc<dyn Source>,
    policy: Policy,
    total: u64,
    state: Mutex<WindowState>,
    /// Told when a reader goes on or leaves.
    moved: Notify,
    /// How many bytes all windows hold.
    memory: Arc<AtomicUsize>,
}

#[derive(Default)]
struct WindowState {
    /// Bytes by their position; none overlap.
    pieces: BTreeMap<u64, Bytes>,
    held: usize,
    readers: HashMap<u64, Place>,
    runs: Vec<Arc<Run>>,
    /// The transfer that was under way when it was found that the object cannot be kept, until a reader takes it.
    first: Option<Arc<Run>>,
    next: u64,
    /// What has come already, by its beginning, whether it is still held or not.
    came: BTreeMap<u64, u64>,
    /// Endpoints that gave some of it.
    endpoints: Vec<usize>,
    /// The upstream answers with the whole to a request for a part.
    ignores_ranges: bool,
}

/// Where a reader is.
struct Place {
    position: u64,
    /// The transfer that it reads from.
    run: Option<u64>,
    /// For how long others of this transfer wait for it, in all.
    patience: Duration,
    /// Where it began.
    begun_at: u64,
    /// It has waited before it asked for what had come for another reader.
    has_waited: bool,
    /// Where it ends.
    upto: u64,
    wants: Wants,
}

/// How much of an object a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// All of it: one transfer is asked for all that follows.
    All,
    /// A part, of which it may take less, as containerd does: it is asked for bit by bit.
    Part,
}

/// One transfer.
struct Run {
    id: u64,
    /// Where its next bytes belong.
    at: AtomicU64,
    end: u64,
    body: AsyncMutex<Result<ResumingBody, FetchError>>,
}

/// A reader's place in a window; dropped, it leaves.
pub(super) struct WindowReader {
    window: Arc<Window>,
    id: u64,
}

/// How many bytes a window holds for several readers, and for one.
const SHARED: usize = 48 << 20;
const ALONE: usize = 4 << 20;
/// How many it holds where all windows together hold more than [`ALL`].
const LEAST: usize = 1 << 20;
const ALL: usize = 96 << 20;
/// For how long those who read faster wait for a reader, in all.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much a reader of a part asks for at once.
pub(super) const LEAST_ASK: u64 = 4 << 20;
const LARGEST_ASK: u64 = 32 << 20;
/// How long a reader of a part waits, once, before it asks for what has come for another one.
const MOMENT: Duration = Duration::from_secs(1);
/// A transfer that is so far behind a reader is waited for, rather than another one begun.
const REACH: u64 = 512 << 10;

impl Window {
    /// Begins with a transfer that is under way, and with bytes that came of it already.
    pub(super) fn new(
        source: Arc<dyn Source>,
        policy: Policy,
        total: u64,
        body: ResumingBody,
        pending: Vec<Bytes>,
        memory: Arc<AtomicUsize>,
    ) -> Self {
        let endpoints = body.endpoints().to_vec();
        let mut state = WindowState { next: 1, endpoints, ..WindowState::default() };
        let (end, stop) = (body.position(), body.stop().unwrap_or(total));
        let mut at = end - pending.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        for bytes in pending {
            let len = bytes.len();
            memory.fetch_add(len, Ordering::Relaxed);
            state.held += len;
            state.pieces.insert(at, bytes);
            at += len as u64;
        }
        let run = Run { id: 0, at: AtomicU64::new(end), end: stop, body: AsyncMutex::new(Ok(body)) };
        state.first = Some(Arc::new(run));
        Self { source, policy, total, state: Mutex::new(state), moved: Notify::new(), memory }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        locked(&self.state)
    }

    /// Returns how many bytes the object has.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Takes a reader that begins at a position.
    pub(super) fn enter(self: &Arc<Self>, position: u64, upto: u64, wants: Wants) -> WindowReader {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        // It stays for the reader that it is for.
        let is_near = state
            .first
            .as_ref()
            .is_some_and(|first| first.is_near(position, REACH) || state.piece(position, u64::MAX).is_some());
        let first = if is_near { state.first.take() } else { None };
        let run = first.as_ref().map(|first| first.id);
        state.runs.extend(first);
        state.readers.insert(
            id,
            Place { position, run, patience: PATIENCE, begun_at: position, has_waited: false, upto, wants },
        );
        WindowReader { window: Arc::clone(self), id }
    }

    /// Ends the transfer that was under way at the beginning, if the reader has not come that it was for: it holds a
    /// connection, and the place of another.
    pub(super) fn forget_first(&self) {
        drop(self.state().first.take());
    }

    /// Takes note that the whole has another digest: what is held is of no use.
    pub(super) fn mismatch(&self) {
        let endpoints = {
            let mut state = self.state();
            state.runs.clear();
            self.drop_pieces(&mut state, |_, _| true);
            // Each reader that checks finds it; it counts once.
            std::mem::take(&mut state.endpoints)
        };
        if !endpoints.is_empty() {
            self.source.mismatch(&endpoints);
        }
    }

    /// Takes note that the whole has the right digest.
    pub(super) async fn complete(&self) {
        self.source.complete().await;
    }

    /// Returns bytes that are held, or the transfer that will give them; begins one where there is none.
    fn find(&self, reader: u64, position: u64, upto: u64) -> Found {
        let mut state = self.state();
        let ignores_ranges = state.ignores_ranges;
        if let Some(place) = state.readers.get_mut(&reader)
            && place.position != position
        {
            place.position = position;
            self.moved.notify_waiters();
        }
        if let Some(bytes) = state.piece(position, upto) {
            return Found::Bytes(bytes);
        }
        // A part that is asked for by itself costs all that is before it, where the upstream gives no parts.
        let reach = if ignores_ranges { u64::MAX } else { REACH };
        let near = state.runs.iter().find(|run| run.is_near(position, reach));
        let run = if let Some(run) = near {
            Arc::clone(run)
        } else if state.wants_moment(reader, position) {
            return Found::Moment;
        } else {
            let run = Arc::new(self.begin(&mut state, reader, position));
            state.runs.push(Arc::clone(&run));
            run
        };
        if let Some(place) = state.readers.get_mut(&reader) {
            place.run = Some(run.id);
        }
        let WindowState { runs, readers, .. } = &mut *state;
        // One that no reader reads from any more ends here.
        runs.retain(|other| readers.values().any(|place| place.run == Some(other.id)));
        Found::Run(run)
    }

    fn begin(&self, state: &mut WindowState, reader: u64, position: u64) -> Run {
        let id = state.next;
        state.next += 1;
        let next_piece = state.pieces.range(position + 1..).next().map_or(self.total, |(at, _)| *at);
        let mut end = self.total;
        if let Some(place) = state.readers.get(&reader)
            && place.wants == Wants::Part
            && !state.ignores_ranges
        {
            // A client that hangs up before the end costs at most a quarter more than it took.
            let ask = (position.saturating_sub(place.begun_at) / 4).clamp(LEAST_ASK, LARGEST_ASK);
            end = place.upto.min(position.saturating_add(ask)).max(position + 1);
        }
        // What is held already need not come again.
        if !state.ignores_ranges {
            end = end.min(next_piece);
        }
        let (source, total) = (Arc::clone(&self.source), Some(self.total));
        let body = if end < self.total {
            ResumingBody::part(source, self.policy, position, total, end)
        } else {
            ResumingBody::new(source, self.policy, position, total)
        };
        Run { id, at: AtomicU64::new(position), end, body: AsyncMutex::new(Ok(body)) }
    }

    /// Waits until a transfer has given what follows a position, or has ended.
    async fn advance(&self, run: &Arc<Run>, reader: u64, position: u64) -> Result<(), FetchError> {
        let mut body = run.body.lock().await;
        if run.at.load(Ordering::Acquire) > position {
            return Ok(()); // another reader was faster
        }
        self.make_room(run, reader).await;
        let next = match &mut *body {
            Ok(body) => {
                body.next().await.map(|bytes| (bytes, body.endpoints().to_vec(), body.ignores_ranges()))
            }
            Err(error) => Err(error.clone()),
        };
        let mut state = self.state();
        match next {
            Ok((bytes, endpoints, ignores_ranges)) => {
                state.ignores_ranges |= ignores_ranges;
                for endpoint in endpoints {
                    if !state.endpoints.contains(&endpoint) {
                        state.endpoints.push(endpoint);
                    }
                }
                match bytes {
                    Some(bytes) => {
                        let at = run.at.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                        state.note_came(at, at + bytes.len() as u64);
                        self.put(&mut state, at, bytes);
                    }
                    None => state.runs.retain(|other| other.id != run.id),
                }
                Ok(())
            }
            Err(error) => {
                state.runs.retain(|other| other.id != run.id);
                *body = Err(error.clone());
                Err(error)
            }
        }
    }

    /// Keeps bytes; what is held already of them is not kept twice.
    fn put(&self, state: &mut WindowState, at: u64, mut bytes: Bytes) {
        let end = at + bytes.len() as u64;
        self.drop_pieces(state, |start, len| at <= start && start + len as u64 <= end);
        let before = state.pieces.range(..=at).next_back();
        let from = before.map_or(at, |(start, piece)| (start + piece.len() as u64).clamp(at, end));
        let upto = state.pieces.range(from..).next().map_or(end, |(start, _)| (*start).min(end));
        bytes = bytes.slice(usize_of(from - at)..usize_of(upto.max(from) - at));
        if !bytes.is_empty() {
            state.held += bytes.len();
            self.memory.fetch_add(bytes.len(), Ordering::Relaxed);
            state.pieces.insert(from, bytes);
        }
    }

    fn drop_pieces(&self, state: &mut WindowState, mut which: impl FnMut(u64, usize) -> bool) {
        let mut dropped = 0;
        state.pieces.retain(|start, bytes| {
            let drops = which(*start, bytes.len());
            dropped += if drops { bytes.len() } else { 0 };
            !drops
        });
        state.held -= dropped;
        self.memory.fetch_sub(dropped, Ordering::Relaxed);
    }

    fn limit(&self, state: &WindowState) -> usize {
        match state.readers.len() {
            _ if self.memory.load(Ordering::Relaxed) > ALL => LEAST,
            0 | 1 => ALONE,
            _ => SHARED,
        }
    }

    /// Makes room for what a transfer gives next: drops what is of least use, and waits a little for those who read
    /// from the same transfer and are behind.
    async fn make_room(&self, run: &Run, reader: u64) {
        loop {
            let moved = self.moved.notified();
            let behind = {
                let mut state = self.state();
                let limit = self.limit(&state);
                if state.held < limit {
                    return;
                }
                self.evict(&mut state, run.id, limit - limit / 8);
                if state.held < limit {
                    return;
                }
                let at = run.at.load(Ordering::Acquire);
                let behind = state.readers.iter().filter(|(id, place)| {
                    **id != reader && place.is_waited_for(run.id) && place.position < at
                });
                behind.min_by_key(|(_, place)| place.position).map(|(id, place)| (*id, place.patience))
            };
            let Some((slowest, patience)) = behind else { return };
            let begun = Instant::now();
            let _ = timeout(patience, moved).await;
            let mut state = self.state();
            if let Some(place) = state.readers.get_mut(&slowest) {
                place.patience = place.patience.saturating_sub(begun.elapsed());
                if place.patience.is_zero() {
                    tracing::debug!("readers of an object that is not kept go on without one that is slow");
                }
            }
        }
    }

    /// Drops pieces until so many bytes are held: first what all have read, from the front, then what will be read
    /// last; not what those have still to read who read from this transfer.
    fn evict(&self, state: &mut WindowState, run: u64, wanted: usize) {
        let mut candidates = Vec::new();
        for (start, bytes) in &state.pieces {
            let end = start + bytes.len() as u64;
            let waiting = state.readers.values().filter(|place| place.position < end);
            let mut nearest = None;
            let mut is_kept = false;
            for place in waiting {
                is_kept |= place.is_waited_for(run);
                let distance = start.saturating_sub(place.position);
                nearest = Some(nearest.map_or(distance, |other: u64| other.min(distance)));
            }
            if !is_kept {
                let order = nearest.map_or((0, *start), |distance| (1, u64::MAX - distance));
                candidates.push((order, *start, bytes.len()));
            }
        }
        candidates.sort_unstable();
        let mut excess = state.held.saturating_sub(wanted);
        let mut going = std::collections::HashSet::new();
        for (_, start, len) in candidates {
            if excess == 0 {
                break;
            }
            going.insert(start);
            excess = excess.saturating_sub(len);
        }
        self.drop_pieces(state, |start, _| going.contains(&start));
    }

    fn leave(&self, reader: u64) {
        let mut state = self.state();
        state.readers.remove(&reader);
        let WindowState { runs, readers, .. } = &mut *state;
        runs.retain(|run| readers.values().any(|place| place.run == Some(run.id)));
        if state.readers.is_empty() {
            self.drop_pieces(&mut state, |_, _| true);
        }
        drop(state);
        self.moved.notify_waiters();
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let held = self.state().held;
        self.memory.fetch_sub(held, Ordering::Relaxed);
    }
}

/// What a reader finds.
enum Found {
    Bytes(Bytes),
    /// A transfer that will give what follows.
    Run(Arc<Run>),
    /// What has come already for another reader, and is not held any more.
    Moment,
}

impl WindowState {
    /// Returns whether a reader of a part waits a moment before it asks for what has come already for another one: a
    /// client that fetches parts side by side hangs up where the next part begins, and what it does not take any more
    /// should not come twice.
    fn wants_moment(&mut self, reader: u64, position: u64) -> bool {
        let has_come = self.came.range(..=position).next_back().is_some_and(|(_, end)| position < *end);
        let Some(place) = self.readers.get_mut(&reader) else { return false };
        let wants = has_come && place.wants == Wants::Part && place.position > place.begun_at;
        let wants = wants && !place.has_waited;
        place.has_waited |= wants;
        wants
    }

    fn note_came(&mut self, mut from: u64, mut end: u64) {
        while let Some((start, other)) =
            self.came.range(..=end).next_back().map(|(start, other)| (*start, *other))
            && other >= from
        {
            self.came.remove(&start);
            (from, end) = (from.min(start), end.max(other));
        }
        self.came.insert(from, end);
    }

    fn piece(&self, position: u64, upto: u64) -> Option<Bytes> {
        let (start, bytes) = self.pieces.range(..=position).next_back()?;
        let from = usize_of(position - start);
        let to = usize_of(upto.saturating_sub(*start)).min(bytes.len());
        (from < to).then(|| bytes.slice(from..to))
    }
}

impl Place {
    fn is_waited_for(&self, run: u64) -> bool {
        self.run == Some(run) && !self.patience.is_zero()
    }
}

impl Run {
    /// Returns whether it will give what follows a position, after so many bytes at most.
    fn is_near(&self, position: u64, reach: u64) -> bool {
        let at = self.at.load(Ordering::Acquire);
        at <= position && position < self.end && position - at <= reach
    }
}

impl WindowReader {
    /// Waits for bytes from a position on, up to another.
    pub(super) async fn read(&self, position: u64, upto: u64) -> Result<Bytes, FetchError> {
        loop {
            match self.window.find(self.id, position, upto) {
                Found::Bytes(bytes) => return Ok(bytes),
                Found::Run(run) => self.window.advance(&run, self.id, position).await?,
                Found::Moment => sleep(MOMENT).await,
            }
        }
    }

    /// Returns the window.
    pub(super) const fn window(&self) -> &Arc<Window> {
        &self.window
    }
}

impl Drop for WindowReader {
    fn drop(&mut self) {
        self.window.leave(self.id);
    }
}

/// Positions within pieces fit, since the pieces are in memory.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
