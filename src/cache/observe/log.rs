#![expect(clippy::disallowed_methods, reason = "writes the log")]

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::reload::Handle;

/// What is logged; it can be changed while the process runs.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogFilter")
    }
}

impl LogFilter {
    /// Logs what another filter lets through from now on; an error says what is wrong with it.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        self.0(parse(filter)?)
    }

    fn of<S: 'static>(handle: Handle<EnvFilter, S>) -> Self {
        Self(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
    }
}

/// Sends what is logged to standard error, as lines for people; once a process.
///
/// The filter is of `tracing-subscriber`'s kind (`info`, `info,access=warn`); an error says what is wrong with it.
pub fn log_text(filter: &str) -> Result<LogFilter, String> {
    let colored =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let log = tracing_subscriber::fmt()
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(std::io::stderr)
        .with_ansi(colored)
        .with_target(false)
        .with_env_filter(parse(filter)?)
        .with_filter_reloading();
    let handle = log.reload_handle();
    log.try_init().map_err(|error| error.to_string())?;
    Ok(LogFilter::of(handle))
}

/// Sends what is logged to standard error, as one JSON object a line; once a process.
///
/// The filter is that of [`log_text`].
pub fn log_json(filter: &str) -> Result<LogFilter, String> {
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_env_filter(parse(filter)?)
        .with_filter_reloading();
    let handle = log.reload_handle();
    log.try_init().map_err(|error| error.to_string())?;
    Ok(LogFilter::of(handle))
}

/// Checks a filter, as flags give it; an error says what is wrong with it.
pub fn log_filter(text: &str) -> Result<String, String> {
    parse(text).map(|_| text.to_owned())
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        format!("`{filter}` is not a valid filter for logs, such as debug or info,access=warn: {error}")
    })
}

/// Writes a field. Parts of it may come from a registry or a client: nothing in it may act on a terminal or look like
/// another line.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut out = Escaped(writer);
    if field.name() == "message" { write!(out, "{value:?}") } else { write!(out, "{field}={value:?}") }
}

/// Escapes what is written to it.
struct Escaped<W>(W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all of it; looked at to the end, as that is done many bytes at a time.
        if text.bytes().fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte)) {
            return self.0.write_str(text);
        }
        // Controls, and the marks that turn the direction of what follows.
        let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| acts(*c)) {
            self.0.write_str(rest.get(..at).unwrap_or_default())?;
            write!(self.0, "{}", c.escape_unicode())?;
            rest = rest.get(at + c.len_utf8()..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_others_is_escaped() {
        let mut text = String::new();
        Escaped(&mut text).write_str("a b\n\u{1b}[2J\u{9b}c é\u{202e}").unwrap();
        assert_eq!(text, "a b\\u{a}\\u{1b}[2J\\u{9b}c é\\u{202e}");
    }

    #[test]
    fn filters() {
        assert!(log_filter("info,access=warn").is_ok());
        assert!(log_filter("access=loud").unwrap_err().contains("is not a valid filter"));
    }
}
