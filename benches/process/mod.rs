//! Whole processes of talmirror, timed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command that ends with 0 or 1; returns how long it took, and its peak memory in KiB (Linux: the high-water mark).
pub(crate) fn run(command: &mut Command) -> (Duration, u64) {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(now.unwrap_or(0));
        match child.try_wait().unwrap() {
            Some(code) => break code,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    // Differences are what there is to see here.
    assert!(matches!(code.code(), Some(0 | 1)), "{command:?}: {code}");
    (start.elapsed(), peak)
}
