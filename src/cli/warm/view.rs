use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::Format;
use super::jobs::{Ended, Job};
use crate::mirror::Cause;
use crate::mirror::verify::fix;
use crate::ui::{Cells, CliError, Table, Ui, count};

/// How many images that are under way are drawn.
const LINES: usize = 8;

/// Returns what is drawn while images are under way: how many are done, and the bytes of those that are not.
pub(super) fn live(jobs: &[Job], done: usize, fetched: u64, under_way: &BTreeMap<usize, u64>) -> Vec<String> {
    let mut lines = vec![format!("{done} of {}, {}", count(jobs.len(), "image"), size(fetched))];
    lines.extend(
        under_way
            .iter()
            .take(LINES)
            .filter_map(|(at, bytes)| Some(format!("  {}  {}", jobs.get(*at)?.image, size(*bytes)))),
    );
    if under_way.len() > LINES {
        lines.push(format!("  and {} more", under_way.len() - LINES));
    }
    lines
}

/// Returns a number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        10_000_000_000.. => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// Returns the line that tells how an image came out.
pub(super) fn line(job: &Job, ended: &Ended) -> String {
    let image = &job.image;
    match ended {
        Ended::Cached(warmed) => {
            format!("{image}: cached, {}, {} fetched", count(warmed.blobs, "blob"), size(warmed.bytes))
        }
        Ended::Failed(..) | Ended::Skipped(_) => {
            let (state, why) = state(Some(ended));
            format!("{image}: {state}: {why}")
        }
    }
}

pub(super) fn print(
    ui: &mut Ui,
    jobs: &[Job],
    ended: &[Option<Ended>],
    format: Format,
) -> Result<(), CliError> {
    let all = jobs.iter().zip(ended);
    match format {
        Format::Json => ui.json(&all.map(|(job, ended)| to_json(job, ended.as_ref())).collect::<Value>()),
        Format::Table => {
            let row = |(job, ended): (&Job, &Option<Ended>)| {
                let (state, why) = state(ended.as_ref());
                let via = job.mirror.as_ref().map_or("-", |(hop, _)| hop.via.as_str());
                let fetched = match ended {
                    Some(Ended::Cached(warmed)) => size(warmed.bytes),
                    Some(Ended::Failed(..) | Ended::Skipped(_)) | None => "-".to_owned(),
                };
                vec![job.image.to_string(), via.to_owned(), state.to_owned(), fetched, why]
            };
            let table = Table::new(&["IMAGE", "VIA", "STATE", "FETCHED", "WHY"], all.map(row));
            ui.table(&Table { cells: Cells::Whole, ..table })
        }
    }
}

fn state(ended: Option<&Ended>) -> (&'static str, String) {
    match ended {
        None => ("unfinished", "it was stopped before its end".to_owned()),
        Some(Ended::Cached(_)) => ("cached", "-".to_owned()),
        Some(Ended::Failed(cause, evidence)) => {
            ("failed", format!("{} {}: {evidence}", cause.as_str(), cause.title()))
        }
        Some(Ended::Skipped(why)) => ("skipped", why.clone()),
    }
}

fn to_json(job: &Job, ended: Option<&Ended>) -> Value {
    let warmed = match ended {
        Some(Ended::Cached(warmed)) => Some(*warmed),
        Some(Ended::Failed(..) | Ended::Skipped(_)) | None => None,
    };
    let (cause, evidence) = match ended {
        Some(Ended::Failed(cause, evidence)) => (Some(*cause), Some(evidence.clone())),
        Some(Ended::Skipped(why)) => (None, Some(why.clone())),
        Some(Ended::Cached(_)) | None => (None, None),
    };
    let hop = job.mirror.as_ref().map(|(hop, _)| hop);
    json!({
        "image": job.image.to_string(),
        "via": hop.map(|hop| hop.via.as_str()),
        "state": state(ended).0,
        "manifests": warmed.map(|warmed| warmed.manifests),
        "blobs": warmed.map(|warmed| warmed.blobs),
        "referrers": warmed.map(|warmed| warmed.referrers),
        "bytes": warmed.map(|warmed| warmed.bytes),
        "cause": cause.map(Cause::as_str),
        "evidence": evidence,
        "fix": cause.zip(hop).map(|(cause, hop)| fix(cause, &hop.via, &hop.url)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let sizes = [999, 1_000, 25_000_000, 12_000_000_000].map(size);
        assert_eq!(sizes, ["999 B", "1 kB", "25 MB", "12 GB"]);
    }
}
