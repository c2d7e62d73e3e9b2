use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::Global;
use crate::cli::encryption::{self, EncryptionOptions};
use crate::secret::os_random;
use crate::sops::{KeyChange, shortened};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `rekey`.
#[derive(Debug, Args)]
#[command(
    after_help = "An added recipient is given the data key. When a recipient is removed, there is a new data key and every value is \
encrypted again; the one removed still knows what it could read before, so rotate those secrets.

Examples:
  talmirror rekey talos/mirrors/*.sops.yaml
  talmirror rekey --age $ALICE,$BOB mirrors.yaml"
)]
pub(crate) struct RekeyArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The age recipients, in place of those of `.sops.yaml`
    #[arg(
        long,
        env = "TALMIRROR_AGE",
        value_name = "RECIPIENT",
        value_delimiter = ',',
        help_heading = "Secrets"
    )]
    age: Vec<String>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: RekeyArgs) -> Result<Exit, CliError> {
    for file in &args.files {
        encryption::refuse_stdin(file)?;
    }
    for file in &args.files {
        rekey(ui, global, file, &args.age)?;
    }
    Ok(exit::OK)
}

fn rekey(ui: &mut Ui, global: &Global, file: &Path, age: &[String]) -> Result<(), CliError> {
    let options = EncryptionOptions { age: age.to_vec(), ..EncryptionOptions::default() };
    let settings = encryption::settings(ui, &options, file)?;
    let mut done = None;
    encryption::change(global, file, |opened, now| {
        let rekeyed = opened.rekey(&settings.recipients, now, &mut os_random)?;
        Ok(rekeyed.map(|rekeyed| {
            done = Some(rekeyed.change);
            rekeyed.text
        }))
    })?;
    let name = file.display();
    match done {
        None => ui.note(&format!("{name}: its recipients are these already")),
        Some(KeyChange::Wrapped { added }) => ui.note(&format!("{name}: added {}", names(&added))),
        Some(KeyChange::Rotated { added, removed }) => {
            let added = if added.is_empty() { String::new() } else { format!(", added {}", names(&added)) };
            ui.note(&format!("{name}: removed {}{added}; new data key", names(&removed)));
        }
    }
    Ok(())
}

fn names(recipients: &[String]) -> String {
    recipients.iter().map(|recipient| shortened(recipient)).collect::<Vec<_>>().join(", ")
}
