//! What asks a command to end: Ctrl-C, a service manager, a terminal that has gone.

#![expect(clippy::disallowed_methods, reason = "hears signals")]

/// What wants a command to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndRequest {
    /// A user or a service manager that may ask once more: Ctrl-C, SIGTERM.
    Once,
    /// The terminal has gone; the kernel and the shell may both say so.
    HungUp,
}

/// The signals that ask a process to end.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// [`None`]: the process was started so that it outlives its terminal, as by `nohup`.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
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

    pub(super) async fn next(&mut self) -> EndRequest {
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
