//! A command as it can be pasted, for the inventory, cluster and journal of the one that runs.

use std::path::PathBuf;

use crate::cli::args::{CONCURRENCY, Global, TIMEOUT, TalosArgs};
use crate::ui::{duration, duration_text, quoted};

/// Returns a command that resumes a rollout, or rolls it back, as it can be pasted: for the same inventory, cluster and journal.
pub(super) fn again(
    command: &str,
    global: &Global,
    talos: &TalosArgs,
    journal: Option<&PathBuf>,
    more: &[(&str, String)],
) -> String {
    let path = |path: &PathBuf| path.display().to_string();
    let own = (global.inventory != "mirrors.yaml").then(|| global.inventory.clone());
    let endpoints = (!talos.endpoints.is_empty()).then(|| talos.endpoints.join(","));
    let flags = [
        ("-f", own),
        ("--age-key-file", global.age_key_file.as_ref().map(path)),
        ("--run-commands", global.run_commands.then(String::new)),
        ("--talosconfig", talos.talosconfig.clone()),
        ("--context", talos.context.clone()),
        ("-e", endpoints),
        ("--journal", journal.map(path)),
    ];
    let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    let timeout = (duration(TIMEOUT) != Ok(talos.timeout)).then(|| duration_text(talos.timeout));
    let concurrency = talos.concurrency.to_string();
    let pace =
        [("--timeout", timeout), ("--concurrency", (concurrency != CONCURRENCY).then_some(concurrency))];
    let pace = pace.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    let mut out = format!("talmirror {command}");
    for (flag, value) in flags.chain(more.iter().cloned()).chain(pace) {
        if value.is_empty() {
            out.push_str(&format!(" {flag}"));
            continue;
        }
        // What begins with a dash would be taken for a flag.
        let between = if value.starts_with('-') { '=' } else { ' ' };
        out.push_str(&format!(" {flag}{between}{}", quoted(&value)));
    }
    out
}
