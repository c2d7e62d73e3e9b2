#![expect(clippy::disallowed_methods, reason = "writes the log")]

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sends what is logged to standard error, as lines for people; once a process.
///
/// The filter is of `tracing-subscriber`'s kind (`info`, `info,access=warn`); an error says what is wrong with it.
pub fn log_text(filter: &str) -> Result<(), String> {
    let filter = parse(filter)?;
    let colored =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(colored).try_init().map_err(|error| error.to_string())
}

/// Sends what is logged to standard error, as one JSON object a line; once a process.
///
/// The filter is that of [`log_text`].
pub fn log_json(filter: &str) -> Result<(), String> {
    let filter = parse(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.json().flatten_event(true).try_init().map_err(|error| error.to_string())
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| format!("`{filter}` is not a valid filter for logs: {error}"))
}
