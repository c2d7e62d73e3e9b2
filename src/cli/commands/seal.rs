#![expect(clippy::disallowed_methods, reason = "dates what it seals")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input;
use crate::file::{self, Privacy};
use crate::secret::os_random;
use crate::sops::{Encrypted, IntegrityFault, guard, is_secret, looks_encrypted, metadata_of};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, confirm};

/// Arguments of `seal`.
#[derive(Debug, Args)]
#[command(
    after_help = "For a file whose clear parts were edited by hand: shows what differs from the last version that git has, asks, and writes a \
MAC that fits. Every sealed value has to open in its place: one that was moved or changed is never sealed again.

Examples:
  talmirror seal mirrors.yaml
  talmirror seal --yes mirrors.yaml"
)]
pub(crate) struct SealArgs {
    /// The encrypted file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask
    #[arg(short, long, env = "TALMIRROR_YES", value_parser = clap::builder::FalseyValueParser::new())]
    yes: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: SealArgs) -> Result<Exit, CliError> {
    encryption::refuse_stdin(&args.file)?;
    let name = args.file.display().to_string();
    let failed = |error| encryption::failed(error, &name);
    let text = input::read(&name)?;
    let encrypted = Encrypted::parse(&text).map_err(failed)?;
    let identities = encryption::identities(global, &encrypted.recipients())?;
    let opened = encrypted.open_changed(&identities).map_err(failed)?;
    encryption::warn_of_comments(ui, &opened.damaged_comments(), &name);
    let Some(fault) = opened.fault().cloned() else {
        ui.note(&format!("{name}: nothing was changed since it was sealed"));
        return Ok(exit::OK);
    };
    // Before anything is shown: a text with a secret in clear ends here.
    let sealed =
        encryption::guarded(Some(opened.seal(jiff::Timestamp::now(), &mut os_random).map_err(failed)?));
    let sealed = sealed.map_err(failed)?.unwrap_or_default();
    show(ui, &args.file, &text, fault);
    if !args.yes {
        let untouched = format!("`{name}` stays as it is");
        confirm(global.asking(), &format!("Seal {name} as it is now?"), &untouched, "--yes does not ask")?;
    }
    if input::read(&name)? != text {
        return Err(CliError::new(exit::WRITE, format!("`{name}` was changed by another process meanwhile"))
            .help("nothing was written; run the command again to see what differs now"));
    }
    file::replace(&args.file, sealed.as_bytes(), Privacy::Private)?;
    ui.note(&format!("sealed {name}"));
    Ok(exit::OK)
}

/// Shows what differs from the last version that git has; without one, what the file itself tells.
fn show(ui: &mut Ui, path: &Path, text: &str, fault: IntegrityFault) {
    let told = format!("{}: {}", path.display(), fault.into_error());
    match file::last_committed(path) {
        Some(old) if looks_encrypted(&old) && guard(&old, is_secret).is_ok() => {
            for line in differences(&old, text) {
                ui.note(&line);
            }
        }
        Some(_) => {
            ui.warn(
                &format!(
                    "the version of `{}` that git has holds secrets in clear text, so it is not compared with",
                    path.display()
                ),
                Some("commit the sealed file, and give new values to these secrets: the history of git keeps the old ones"),
            );
            ui.note(&told);
        }
        None => ui.note(&told),
    }
}

/// A line of an encrypted text: its number, and what it holds.
struct Line<'a> {
    number: usize,
    text: &'a str,
    /// The text, with a placeholder for each sealed value.
    shown: String,
}

impl<'a> Line<'a> {
    /// Returns the lines of a text, those of a `sops:` left out.
    fn all(text: &'a str) -> Vec<Self> {
        let metadata = metadata_of(text);
        let mut at = 0;
        let lines = text.split_inclusive('\n').enumerate().filter_map(|(number, line)| {
            let start = at;
            at += line.len();
            let line = line.trim_end_matches(['\n', '\r']);
            let is_metadata = |cut: &Range<usize>| cut.start <= start && start + line.len() <= cut.end;
            (!metadata.iter().any(is_metadata)).then(|| Self {
                number: number + 1,
                text: line,
                shown: without_ciphertext(line),
            })
        });
        lines.collect()
    }
}

/// Returns the lines that went and came, those of the `sops:` block left out and ciphertext not shown.
fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (Line::all(old), Line::all(new));
    let words = |lines: &[Line<'_>]| lines.iter().map(|line| line.shown.clone()).collect::<Vec<_>>();
    let mut out: Vec<String> = Vec::new();
    let mut next = None;
    for op in capture_diff_slices(Algorithm::Myers, &words(&old), &words(&new)) {
        let (gone, come) = (op.old_range(), op.new_range());
        let first = new.get(come.start).or(new.last()).map_or(1, |line| line.number);
        let (gone, come) = (old.get(gone).unwrap_or_default(), new.get(come).unwrap_or_default());
        let mut lines: Vec<(usize, String)> = Vec::new();
        if op.tag() == DiffTag::Equal {
            let resealed = gone.iter().zip(come).filter(|(gone, come)| gone.text != come.text);
            lines.extend(
                resealed.map(|(_, line)| (line.number, format!("~ {} (another sealed value)", line.shown))),
            );
        } else {
            lines.extend(gone.iter().map(|line| (first, format!("- {}", line.shown))));
            lines.extend(come.iter().map(|line| (line.number, format!("+ {}", line.shown))));
        }
        for (number, line) in lines {
            if next.is_none_or(|next| number > next) {
                out.push(format!("from line {number} on:"));
            }
            next = Some(number + 1);
            out.push(line);
        }
    }
    if out.is_empty() {
        out.push("nothing but the MAC differs".to_owned());
    }
    out
}

/// Returns a line in which each sealed value is `ENC[…]`.
fn without_ciphertext(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((before, token)) = rest.split_once("ENC[AES256_GCM,") {
        out.push_str(before);
        let Some((_, after)) = token.split_once(']') else {
            return format!("{out}ENC[AES256_GCM,{token}");
        };
        out.push_str("ENC[…]");
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_without_ciphertext() {
        let old = "a: 1\nurl: https://a\np: ENC[AES256_GCM,data:x]\nz: 1\nsops:\n  mac: x\n";
        let new = "a: 1\nurl: https://b\np: ENC[AES256_GCM,data:x]\nz: 1\nsops:\n  mac: y\n";
        assert_eq!(differences(old, new), ["from line 2 on:", "- url: https://a", "+ url: https://b"]);
        assert_eq!(differences(old, old), ["nothing but the MAC differs"]);
    }

    #[test]
    fn what_stands_beside_a_sealed_value_is_shown() {
        let old = "m: {p: ENC[AES256_GCM,data:x], url: https://a}\nsops:\n  mac: x\n";
        let new = "m: {p: ENC[AES256_GCM,data:x], url: https://evil}\nsops:\n  mac: x\n";
        let shown =
            ["from line 1 on:", "- m: {p: ENC[…], url: https://a}", "+ m: {p: ENC[…], url: https://evil}"];
        assert_eq!(differences(old, new), shown);
    }

    #[test]
    fn what_stands_below_the_metadata_is_shown() {
        let old = "a: 1\nsops:\n  mac: x\n  age:\n    - enc: |\n        x\n\nb: https://a\n";
        let new = "a: 1\nsops:\n  mac: y\n\nb: https://evil\n---\nc: 1\nsops:\n  mac: z\n";
        let shown = differences(old, new);
        for line in ["- b: https://a", "+ b: https://evil", "+ c: 1"] {
            assert!(shown.iter().any(|shown| shown == line), "{shown:?}");
        }
        assert!(!shown.iter().any(|line| line.contains("mac") || line.contains("enc")), "{shown:?}");
        // A line of a text that looks like the block is not the block.
        let hidden = "t: |\n  sops:\n  x\nb: 1\nsops: {mac: x}\n";
        let shown = differences(hidden, &hidden.replace("b: 1", "b: 2"));
        assert_eq!(shown, ["from line 4 on:", "- b: 1", "+ b: 2"]);
    }

    #[test]
    fn every_move_and_every_other_ciphertext_is_shown() {
        let old = "a: https://a\nb: https://b\nc: 1\np: ENC[AES256_GCM,data:x]\n";
        let new = "a: https://b\nb: https://a\nc: 2\np: ENC[AES256_GCM,data:older]\n";
        let shown = differences(old, new);
        for line in ["+ a: https://b", "+ b: https://a", "+ c: 2", "~ p: ENC[…] (another sealed value)"] {
            assert!(shown.iter().any(|shown| shown == line), "{shown:?}");
        }
        let twice = differences("- https://a\n- https://b\n", "- https://b\n- https://a\n");
        assert!(twice.iter().any(|line| line.starts_with("+ - https://")), "{twice:?}");
    }
}
