//! What asks a command to end: Ctrl-C, a service manager, a terminal that has gone.
//!
//! One thread hears the signals. While a command listens, each goes to it; else it ends the process, with last words where
//! a command has left some.

#![expect(clippy::disallowed_methods, reason = "hears signals, and ends the process")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::exit::{self, Exit};

/// Who listens, because it has something in hand that it has to bring to an end first.
static LISTENER: Mutex<Option<UnboundedSender<EndRequest>>> = Mutex::new(None);
/// Whether the process was asked to end, whatever it does about it.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Whether the thread that hears the signals could be started.
static HEARS: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();

/// What is said where a signal ends the process at once, and who says it.
static LAST_WORDS: Mutex<Last> = Mutex::new(Last { said: false, is_ending: false, words: None });
/// How long a command that says itself how it ends may take for that after a signal.
const PATIENCE: Duration = Duration::from_secs(1);
/// How the terminal was found.
#[cfg(unix)]
static TERMINAL: OnceLock<rustix::termios::Termios> = OnceLock::new();
/// Whether the terminal has gone.
static HUNG_UP: AtomicBool = AtomicBool::new(false);

/// What says why the process ends.
pub(super) type LastWords = Box<dyn FnOnce(Exit) + Send>;

struct Last {
    /// Whether a signal has taken the last word.
    said: bool,
    /// The command says itself how it ends, or is about to listen.
    is_ending: bool,
    words: Option<LastWords>,
}

/// What wants a command to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndRequest {
    /// A user or a service manager that may ask once more: Ctrl-C, SIGTERM.
    Once,
    /// The terminal has gone; the kernel and the shell may both say so.
    HungUp,
}

/// The signals that ask a process to end.
pub(crate) struct Signals(UnboundedReceiver<EndRequest>);

impl Signals {
    /// Listens, until this is dropped; from then on, a signal ends the process at once.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = unbounded_channel();
        *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let own = Self(receiver);
        (*HEARS.get_or_init(|| start().map_err(|error| error.kind())))?;
        Ok(own)
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> EndRequest {
        match self.0.recv().await {
            Some(request) => request,
            // Another listens now.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Has a signal that nothing listens to end the process with these words, until [`drop_last_words`].
pub(super) fn set_last_words(words: LastWords) -> io::Result<()> {
    let mut last = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    (last.words, last.is_ending) = (Some(words), false);
    drop(last);
    (*HEARS.get_or_init(|| start().map_err(|error| error.kind()))).map_err(io::Error::from)
}

/// Takes the last words back: the command says itself how it ends. Where a signal says them by now, this does not return.
pub(super) fn drop_last_words() {
    let mut words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    (words.words, words.is_ending) = (None, true);
    if words.said {
        drop(words);
        // The process ends.
        loop {
            std::thread::park();
        }
    }
}

/// Returns whether the terminal has gone.
pub(super) fn was_hung_up() -> bool {
    HUNG_UP.load(Ordering::SeqCst)
}

/// Returns whether a signal has asked the process to end.
pub(super) fn was_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Starts the thread that hears the signals, and returns once it does.
fn start() -> io::Result<()> {
    #[cfg(unix)]
    if let Ok(found) = rustix::termios::tcgetattr(std::io::stdin()) {
        let _ = TERMINAL.set(found);
    }
    let (sender, started) = std_mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(sender.send(Err(error))),
        };
        runtime.block_on(async {
            let mut heard = match Heard::new() {
                Ok(heard) => heard,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let _ = sender.send(Ok(()));
            loop {
                pass_on(heard.next().await);
            }
        });
    })?;
    started.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// Tells the command that listens, or ends the process.
fn pass_on(request: EndRequest) {
    ASKED.store(true, Ordering::SeqCst);
    HUNG_UP.fetch_or(request == EndRequest::HungUp, Ordering::SeqCst);
    if is_told(request) {
        return;
    }
    let exit = match request {
        EndRequest::Once => exit::INTERRUPTED,
        EndRequest::HungUp => exit::CLOSED_TERMINAL,
    };
    let mut last = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    let words = last.words.take();
    last.said = words.is_some();
    let is_ending = last.is_ending;
    drop(last);
    match words {
        Some(words) => words(exit),
        // What Ctrl-C breaks off may be what the command ends with; or it has something in hand by now.
        None if is_ending => {
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end {
                std::thread::sleep(PATIENCE / 100);
                if is_told(request) {
                    return;
                }
            }
        }
        None => {}
    }
    restore_terminal();
    std::process::exit(exit.code.into());
}

/// Tells the command that listens, if one does.
fn is_told(request: EndRequest) -> bool {
    let listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    listener.is_some_and(|listener| listener.send(request).is_ok())
}

/// Gives the terminal back as it was found: a question for a password may have turned its echo off.
#[cfg(unix)]
fn restore_terminal() {
    use rustix::termios::{OptionalActions, tcgetpgrp, tcsetattr};
    let Some(found) = TERMINAL.get() else { return };
    let input = std::io::stdin();
    // A process in the background would be stopped for it.
    if tcgetpgrp(&input).is_ok_and(|group| group == rustix::process::getpgrp()) {
        let _ = tcsetattr(&input, OptionalActions::Now, found);
    }
}

#[cfg(not(unix))]
fn restore_terminal() {}

/// The signals, as the system gives them.
struct Heard {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// [`None`]: the process was started so that it outlives its terminal, as by `nohup`.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Heard {
    fn new() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let hangup = if is_nohup() { None } else { Some(signal(SignalKind::hangup())?) };
            let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
            Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)?, hangup })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) -> EndRequest {
        #[cfg(unix)]
        {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => EndRequest::Once,
                _ = self.interrupt.recv() => EndRequest::Once,
                _ = hangup => EndRequest::HungUp,
            }
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            EndRequest::Once
        }
    }
}

/// Returns whether SIGHUP was ignored from the start, as under `nohup`; Linux alone tells.
#[cfg(unix)]
fn is_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1: the lowest bit (proc_pid_status(5)).
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
