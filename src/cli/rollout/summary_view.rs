//! How a rollout or a rollback ends: the exit code, and the sentence that says what happened.

#![expect(clippy::disallowed_methods, reason = "dates the end")]

use jiff::Timestamp;
use serde_json::json;

use super::args::Format;
use crate::rollout::{Outcome, Summary};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, count};

/// Returns the exit code that a summary ends with; `stopped` is the one where the user wanted to stop.
pub(super) fn exit_of(summary: &Summary, stopped: Exit) -> Exit {
    let any = |is: fn(&Outcome) -> bool| !summary.named(is).is_empty();
    if any(|outcome| matches!(outcome, Outcome::Unknown { .. })) {
        exit::UNKNOWN
    } else if summary.interrupted && !summary.is_complete() {
        stopped
    } else if any(|outcome| matches!(outcome, Outcome::Reverted { .. })) {
        exit::ROLLED_BACK
    } else if summary.is_complete() {
        exit::OK
    } else {
        exit::STOPPED
    }
}

/// Returns the sentence that says what happened.
pub(super) fn sentence(summary: &Summary) -> String {
    let mut parts = Vec::new();
    let mut add = |names: Vec<&str>, word: &str| match names.as_slice() {
        [] => {}
        [one] => parts.push(format!("{one} {word}")),
        few if few.len() < 4 => parts.push(format!("{} {word}", few.join(", "))),
        many => parts.push(format!("{} {word}", count(many.len(), "node"))),
    };
    add(summary.named(|outcome| matches!(outcome, Outcome::Updated)), "updated");
    add(summary.named(|outcome| matches!(outcome, Outcome::Unproven { .. })), "updated, not proven");
    add(summary.named(|outcome| matches!(outcome, Outcome::WantsReboot { .. })), "updated, not rebooted");
    add(summary.named(|outcome| matches!(outcome, Outcome::Unchanged)), "unchanged");
    add(summary.named(|outcome| matches!(outcome, Outcome::Reverted { .. })), "back to the old config");
    add(summary.named(|outcome| matches!(outcome, Outcome::Unknown { .. })), "UNKNOWN");
    let untouched = summary.named(|outcome| matches!(outcome, Outcome::Untouched { .. }));
    add(untouched.into_iter().chain(summary.left.iter().map(String::as_str)).collect(), "untouched");
    let causes = summary.ended.iter().filter_map(|(name, outcome)| {
        let reason = outcome.reason().filter(|reason| !reason.is_empty())?;
        Some((rank(outcome), name, reason))
    });
    let cause = causes.min_by_key(|(rank, ..)| *rank).map(|(_, name, reason)| (name, reason));
    let cause = cause.map(|(name, reason)| format!(". {name}: {reason}")).unwrap_or_default();
    format!("{}{cause}", parts.join("; "))
}

/// Returns how far down the list of causes an outcome stands: the worst has stopped the rollout.
fn rank(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Unknown { .. } => 0,
        Outcome::Reverted { .. } => 1,
        Outcome::Untouched { .. } => 2,
        Outcome::WantsReboot { .. } => 3,
        Outcome::Unproven { .. } => 4,
        Outcome::Updated | Outcome::Unchanged => 5,
    }
}

/// Returns the summary as an object for scripts.
pub(super) fn summary_json(summary: &Summary, exit: Exit, next: Option<&str>) -> serde_json::Value {
    let nodes = summary.ended.iter().map(
        |(name, outcome)| json!({"name": name, "outcome": outcome.as_str(), "reason": outcome.reason()}),
    );
    let left = summary.left.iter().map(|name| json!({"name": name, "outcome": "untouched", "reason": null}));
    json!({
        "at": Timestamp::now().to_string(),
        "event": "end",
        "exitCode": exit.code,
        "nodes": nodes.chain(left).collect::<Vec<_>>(),
        "summary": sentence(summary),
        "next": next,
    })
}

/// Returns the last event of a command that has no summary of nodes.
pub(super) fn end_json(exit: Exit, summary: &str, next: Option<&str>) -> serde_json::Value {
    json!({
        "at": Timestamp::now().to_string(),
        "event": "end",
        "exitCode": exit.code,
        "nodes": [],
        "summary": summary,
        "next": next,
    })
}

/// Has a signal end the command as any other ending does, as long as nothing is in hand; `untouched` says what did not happen.
pub(super) fn while_nothing_is_in_hand(
    ui: &Ui,
    output: Format,
    untouched: &'static str,
) -> Result<(), CliError> {
    ui.last_words(untouched, move |exit| match output {
        Format::Json => Some(end_json(exit, &format!("{untouched}: {}", exit.meaning), None)),
        Format::Text => None,
    })
}

/// Has every ending tell its exit code to scripts: an error, too.
pub(super) fn ended(ui: &mut Ui, output: Format, result: Result<Exit, CliError>) -> Result<Exit, CliError> {
    Ui::speak_last();
    if let (Format::Json, Err(error)) = (output, &result)
        && error.exit != exit::CLOSED_PIPE
    {
        let next = error.help.first().map(String::as_str);
        ui.json_line(&end_json(
            error.exit,
            error.render().split("\nhelp: ").next().unwrap_or_default(),
            next,
        ))?;
    }
    result
}

/// Says what happened and what to do next, last of all.
pub(super) fn end(
    ui: &mut Ui,
    output: Format,
    summary: &Summary,
    exit: Exit,
    what: &str,
    next: Option<&str>,
) -> Result<Exit, CliError> {
    Ui::speak_last();
    let last = || format!("{what}{}", next.map(|next| format!(". Next: {next}")).unwrap_or_default());
    let told = match output {
        Format::Json => ui.json_line(&summary_json(summary, exit, next)),
        Format::Text => {
            ui.live(&[]);
            ui.result(&format!("{}\n", last()))
        }
    };
    match told {
        // What a node has is worth more than that the reader is gone.
        Err(_) if exit == exit::UNKNOWN => ui.warn(&last(), None),
        told => told?,
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_worst_that_has_a_reason() {
        let name = |name: &str| name.to_owned();
        let reason = name;
        let unproven = (name("w-1"), Outcome::Unproven { reason: reason("no image goes through it") });
        let reverted = |why: &str| (name("w-2"), Outcome::Reverted { reason: reason(why) });
        let summary = |ended: Vec<(String, Outcome)>| sentence(&Summary { ended, ..Summary::default() });
        assert_eq!(
            summary(vec![unproven.clone(), reverted("not found")]),
            "w-1 updated, not proven; w-2 back to the old config. w-2: not found"
        );
        assert_eq!(
            summary(vec![reverted(""), unproven]),
            "w-1 updated, not proven; w-2 back to the old config. w-1: no image goes through it"
        );
        assert_eq!(summary(vec![reverted("")]), "w-2 back to the old config");
        let unknown =
            Outcome::Unknown { reason: reason("gone"), if_abandoned: crate::rollout::IfAbandoned::KeepsOld };
        let untouched = (name("w-3"), Outcome::Untouched { reason: reason("ill") });
        let text = summary(vec![untouched, reverted("not found"), (name("w-4"), unknown)]);
        assert!(text.ends_with(". w-4: gone"), "{text}");
    }
}
