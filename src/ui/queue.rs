//! Output that is written by a thread of its own: what waits for a reader is the output, and nothing else.

#![expect(clippy::disallowed_methods, reason = "writes to the process's streams")]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How many bytes may wait for a reader before more of the story is left out.
const BOUND: usize = 1024 * 1024;
/// How long a command that was asked to end waits for a reader that reads nothing.
const STUCK: Duration = Duration::from_millis(500);

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

/// What waits to be written, in order.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The writer has something to do.
    more: std::sync::Condvar,
    /// The writer has done something.
    progress: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    /// Whether the writer is at it.
    is_writing: bool,
    /// How many lines of the story were left out.
    left_out: usize,
    /// Why results can no longer be written.
    failure: Option<io::ErrorKind>,
}

impl Queue {
    /// Starts the thread that writes.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            more: std::sync::Condvar::new(),
            progress: Notify::new(),
        });
        let own = Self(Arc::clone(&shared));
        std::thread::Builder::new().name("output".to_owned()).spawn(move || write(&shared))?;
        Ok(own)
    }

    /// Adds a result. Fails where an earlier one could not be written.
    pub(super) fn result(&self, text: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        match state.failure {
            Some(kind) => return Err(kind.into()),
            None => state.add(Stream::Output, text),
        }
        self.0.more.notify_one();
        Ok(())
    }

    /// Adds a part of the story; it is left out where too much waits already.
    pub(super) fn story(&self, text: &[u8]) {
        let mut state = self.0.lock();
        if state.bytes > BOUND {
            state.left_out += 1;
            return;
        }
        state.tell_left_out();
        state.add(Stream::Error, text);
        self.0.more.notify_one();
    }

    /// Returns whether an earlier result could not be written.
    pub(super) fn check(&self) -> io::Result<()> {
        self.0.lock().failure.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Returns whether all is written, as far as it can be.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.0.lock();
        state.waiting.is_empty() && !state.is_writing
    }

    /// Waits until all is written, or nothing was for a while: the process is about to end.
    pub(super) fn settle(&self) {
        let end = std::time::Instant::now() + STUCK;
        while !self.is_empty() && std::time::Instant::now() < end {
            std::thread::sleep(STUCK / 100);
        }
    }

    /// Returns when all is written, or, where `is_hurried`, once nothing was written for a while.
    pub(super) async fn drained(&self, is_hurried: impl Fn() -> bool) {
        loop {
            let progress = self.0.progress.notified();
            if self.is_empty() {
                return;
            }
            if tokio::time::timeout(STUCK, progress).await.is_err() && is_hurried() {
                return;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, stream: Stream, text: &[u8]) {
        self.bytes += text.len();
        self.waiting.push_back((stream, text.to_vec()));
    }

    /// Adds how much of the story was left out; returns whether any was.
    fn tell_left_out(&mut self) -> bool {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let text = format!("… {left_out} lines are left out: the output was not read\n");
            self.add(Stream::Error, text.as_bytes());
        }
        left_out > 0
    }
}

/// Writes whatever comes, as long as the process lives.
fn write(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        let Some((stream, text)) = state.waiting.pop_front() else {
            if state.tell_left_out() {
                continue;
            }
            state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.bytes -= text.len();
        state.is_writing = true;
        let skip = stream == Stream::Output && state.failure.is_some();
        drop(state);
        let written = match stream {
            Stream::Output if skip => Ok(()),
            Stream::Output => {
                let mut out = io::stdout();
                out.write_all(&text).and_then(|()| out.flush())
            }
            // A closed standard error loses nothing that is needed.
            Stream::Error => io::stderr().write_all(&text).or(Ok(())),
        };
        state = shared.lock();
        state.is_writing = false;
        if let Err(error) = written {
            state.failure.get_or_insert(error.kind());
        }
        // Two at the most wait: the end of the command, and the work that is told to stop.
        shared.progress.notify_waiters();
    }
}
