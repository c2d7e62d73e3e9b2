#![expect(clippy::disallowed_methods, reason = "dates the key, and asks whether it goes to a terminal")]

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::file;
use crate::secret::os_random;
use crate::sops::{KeyKind, new_key_pair};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `keygen`.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes what age-keygen writes: the identity, and its recipient in a comment. The recipient of a key that goes into a file \
is shown, to be put into .sops.yaml. A post-quantum key is read by age 1.3 and sops 3.12 and later ones.

Examples:
  talmirror keygen -o ~/.config/sops/age/keys.txt
  talmirror keygen --post-quantum"
)]
pub(crate) struct KeygenArgs {
    /// Make a post-quantum key, of ML-KEM-768 and X25519
    #[arg(long, visible_alias = "pq", env = "TALMIRROR_POST_QUANTUM", value_parser = clap::builder::FalseyValueParser::new())]
    post_quantum: bool,
    /// The file to write, `-` for standard output; one that exists is left alone
    #[arg(short, long, env = "TALMIRROR_KEYGEN_OUTPUT", value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
}

pub(crate) fn run(ui: &mut Ui, args: KeygenArgs) -> Result<Exit, CliError> {
    let kind = if args.post_quantum { KeyKind::PostQuantum } else { KeyKind::Classic };
    let key = new_key_pair(kind, &jiff::Zoned::now(), &mut os_random);
    let shown = format!("Public key: {}", key.recipient);
    if let Some(path) = args.output.as_ref().filter(|path| path.as_os_str() != "-") {
        file::create(path, key.file.expose().as_bytes())?;
        ui.note(&shown);
        return Ok(exit::OK);
    }
    if !std::io::stdout().is_terminal() {
        ui.note(&shown);
    }
    ui.result(key.file.expose())?;
    Ok(exit::OK)
}
