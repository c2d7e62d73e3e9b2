//! Carries out work on nodes, while it tells what happens and listens to signals.

#![expect(
    clippy::disallowed_methods,
    reason = "dates what the user has left in the middle, and draws each second"
)]

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::args::Format;
use super::progress_view::ProgressView;
use super::summary_view::end_json;
use crate::cli::session::Session;
use crate::rollout::{Event, EventKind, RolloutHandle};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, EndRequest, Signals, Ui};

/// How work on nodes is told.
pub(super) struct Telling {
    pub(super) format: Format,
    /// The nodes, as they are called.
    pub(super) names: Vec<String>,
    /// The command that resumes where the user has left it in the middle.
    pub(super) again: String,
}

/// How work on nodes has ended.
pub(super) enum Ended<T> {
    /// It was carried to its end. The exit code is that of an interrupted command.
    Done(T, Exit),
    /// The user has left it in the middle; that was told.
    Abandoned(Exit),
}

/// Carries out work on nodes, and tells what happens meanwhile.
///
/// Where the output cannot be written any more, the nodes in hand are brought to one config or the other anyway,
/// as when the user wants to stop; that it could not be written is told after that.
pub(super) fn carry_out<T>(
    ui: &mut Ui,
    session: &Session,
    mut handle: RolloutHandle,
    telling: Telling,
    work: impl Future<Output = T>,
) -> Result<Ended<T>, CliError> {
    let Telling { format, names, again } = telling;
    let mut progress = ProgressView::new(names);
    let done = session.wait(async {
        let mut work = pin!(work);
        let mut signals = Signals::new().map_err(|error| {
            CliError::from_error(exit::WRITE, error)
                .context("cannot listen for the signals that end a command; no node was touched")
        })?;
        // From here on, what is in hand is brought to an end first.
        Ui::speak_last();
        let mut asked = false;
        // What is drawn has a clock.
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut stopped = exit::INTERRUPTED;
        let mut written = Ok(());
        let done = loop {
            tokio::select! {
                biased;
                Some(event) = handle.events.recv() => {
                    let had = written.is_ok();
                    tell(ui, &mut progress, format, &event, &mut written);
                    if had && written.is_err() {
                        handle.stop();
                        ui.warn("the output cannot be written any more; stopping: the node in hand is brought to its old or its new config first", None);
                    }
                }
                _ = second.tick(), if format == Format::Text && ui.is_live() => ui.live(&progress.lines(Timestamp::now())),
                signal = signals.next() => match signal {
                    EndRequest::Once if asked => break None,
                    EndRequest::HungUp => {
                        stopped = exit::CLOSED_TERMINAL;
                        handle.stop();
                    }
                    EndRequest::Once => {
                        asked = true;
                        handle.stop();
                        ui.warn(
                            "stopping: the node in hand is brought to its old or its new config first",
                            Some("once more leaves at once"),
                        );
                    }
                },
                done = &mut work => break Some(done),
            }
        };
        while let Ok(event) = handle.events.try_recv() {
            tell(ui, &mut progress, format, &event, &mut written);
        }
        Ok::<_, CliError>((done, stopped))
    });
    let (done, stopped) = match done.transpose()? {
        Some(ended) => ended,
        None => (None, exit::INTERRUPTED),
    };
    let Some(done) = done else {
        ui.live(&[]);
        let now = Timestamp::now();
        for line in progress.abandoned(now) {
            ui.warn(&line, None);
        }
        let last = format!("left in the middle; next: {again}");
        match format {
            Format::Text => ui.result(&format!("{last}\n"))?,
            Format::Json => {
                ui.json_line(
                    &json!({"at": now.to_string(), "event": "abandoned", "nodes": progress.abandoned(now)}),
                )?;
                ui.json_line(&end_json(stopped, "left in the middle", Some(&again)))?;
            }
        }
        return Ok(Ended::Abandoned(stopped));
    };
    Ok(Ended::Done(done, stopped))
}

/// Tells an event, unless an earlier one could not be told.
fn tell(
    ui: &mut Ui,
    progress: &mut ProgressView,
    format: Format,
    event: &Event,
    written: &mut Result<(), CliError>,
) {
    let line = progress.add(event);
    if written.is_ok() {
        *written = match format {
            Format::Text => ui.check(),
            Format::Json => ui.json_line(&event.to_json()),
        };
        if format == Format::Json && written.is_ok() {
            return;
        }
    }
    // Events that can no longer be written are told to people.
    if ui.is_live() {
        let lasting = !matches!(event.kind, EventKind::Begins { .. } | EventKind::Ends { .. });
        if let Some(line) = line.filter(|_| lasting) {
            ui.note(&line);
        }
        ui.live(&progress.lines(event.at));
    } else if let Some(line) = line {
        let at = event.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        for line in line.lines() {
            ui.note(&format!("{at} {line}"));
        }
    }
}
