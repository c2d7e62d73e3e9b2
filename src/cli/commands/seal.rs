#![expect(clippy::disallowed_methods, reason = "dates what it seals")]

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input;
use crate::file::{self, Privacy};
use crate::secret::os_random;
use crate::sops::{Encrypted, Fault};
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
    show(ui, &args.file, &text, fault);
    if !args.yes {
        let untouched = format!("`{name}` stays as it is");
        confirm(global.asking(), &format!("Seal {name} as it is now?"), &untouched, "--yes does not ask")?;
    }
    let sealed =
        encryption::guarded(Some(opened.seal(jiff::Timestamp::now(), &mut os_random).map_err(failed)?));
    let sealed = sealed.map_err(failed)?.unwrap_or_default();
    file::replace(&args.file, sealed.as_bytes(), Privacy::Private)?;
    ui.note(&format!("sealed {name}"));
    Ok(exit::OK)
}

/// Shows what differs from the last version that git has; without one, what the file itself tells.
fn show(ui: &mut Ui, path: &Path, text: &str, fault: Fault) {
    match file::last_committed(path) {
        Some(old) => {
            for line in differences(&old, text) {
                ui.note(&line);
            }
        }
        None => ui.note(&format!("{}: {}", path.display(), fault.into_error())),
    }
}

/// Returns the lines that went and came, those of the `sops:` block and of sealed values left out.
fn differences(old: &str, new: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        let body = text.lines().take_while(|line| *line != "sops:");
        body.map(|line| if line.contains("ENC[AES256_GCM,") { sealed(line) } else { line.to_owned() })
            .collect()
    };
    let (old, new) = (lines(old), lines(new));
    let same = |a: usize, b: usize| old.get(a).is_some() && old.get(a) == new.get(b);
    let head = (0..old.len().min(new.len())).take_while(|at| same(*at, *at)).count();
    let rest = old.len().min(new.len()) - head;
    let tail = (0..rest).take_while(|at| same(old.len() - 1 - at, new.len() - 1 - at)).count();
    let gone = old.get(head..old.len() - tail).unwrap_or_default();
    let come = new.get(head..new.len() - tail).unwrap_or_default();
    let missing = |line: &&String, other: &[String]| !other.contains(line);
    let first = head + 1;
    let mut out = vec![format!("from line {first} on:")];
    out.extend(gone.iter().filter(|line| missing(line, come)).map(|line| format!("- {line}")));
    out.extend(come.iter().filter(|line| missing(line, gone)).map(|line| format!("+ {line}")));
    if out.len() == 1 {
        out.push(if gone.is_empty() && come.is_empty() {
            "  no clear part; the MAC alone".to_owned()
        } else {
            "  lines stand in another order".to_owned()
        });
    }
    out
}

fn sealed(line: &str) -> String {
    let head = line.split("ENC[AES256_GCM,").next().unwrap_or_default();
    format!("{head}ENC[…]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_without_ciphertext() {
        let old = "a: 1\nurl: https://a\np: ENC[AES256_GCM,data:x]\nz: 1\nsops:\n  mac: x\n";
        let new = "a: 1\nurl: https://b\np: ENC[AES256_GCM,data:y]\nz: 1\nsops:\n  mac: y\n";
        assert_eq!(differences(old, new), ["from line 2 on:", "- url: https://a", "+ url: https://b"]);
        assert_eq!(differences(old, old).len(), 2);
        let swapped = "a: 1\np: ENC[AES256_GCM,data:x]\nurl: https://a\nz: 1\n";
        assert_eq!(differences(old, swapped), ["from line 2 on:", "  lines stand in another order"]);
    }
}
