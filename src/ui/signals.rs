//! What asks a command to end: Ctrl-C, a service manager, a terminal that has gone.

#![expect(clippy::disallowed_methods, reason = "hears signals")]

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit;

/// Whether a command listens itself, because it has something in hand that it has to bring to an end first.
static LISTENS: AtomicBool = AtomicBool::new(false);
/// Whether the process was asked to end, whatever it does about it.
static ASKED: AtomicBool = AtomicBool::new(false);
/// A signal that was heard once no longer ends the process by itself.
static WATCHED: Once = Once::new();

/// What wants a command to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndRequest {
    /// A user or a service manager that may ask once more: Ctrl-C, SIGTERM.
    Once,
    /// The terminal has gone; the kernel and the shell may both say so.
    HungUp,
}

/// The signals that ask a process to end.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// [`None`]: the process was started so that it outlives its terminal, as by `nohup`.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Listens, until this is dropped; from then on, a signal ends the process at once, as it did before.
    pub(crate) fn new() -> std::io::Result<Self> {
        let signals = Self::listen()?;
        LISTENS.store(true, Ordering::SeqCst);
        WATCHED.call_once(|| drop(std::thread::Builder::new().name("signals".to_owned()).spawn(watch)));
        Ok(signals)
    }

    fn listen() -> std::io::Result<Self> {
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

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> EndRequest {
        let request = self.heard().await;
        ASKED.store(true, Ordering::SeqCst);
        request
    }

    async fn heard(&mut self) -> EndRequest {
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

impl Drop for Signals {
    fn drop(&mut self) {
        LISTENS.store(false, Ordering::SeqCst);
    }
}

/// Returns whether a signal has asked the process to end.
pub(super) fn was_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Ends the process at a signal that nothing else listens to.
fn watch() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(signals) = Signals::listen() else { return };
        // Its end would count as the end of a command that listens.
        let mut signals = std::mem::ManuallyDrop::new(signals);
        loop {
            let asked = signals.next().await;
            if !LISTENS.load(Ordering::SeqCst) {
                let exit = match asked {
                    EndRequest::Once => exit::INTERRUPTED,
                    EndRequest::HungUp => exit::CLOSED_TERMINAL,
                };
                std::process::exit(exit.code.into());
            }
        }
    });
}

/// Returns whether SIGHUP was ignored from the start, as under `nohup`; Linux alone tells.
#[cfg(unix)]
fn is_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1: the lowest bit (proc_pid_status(5)).
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
