use std::path::Path;

use clap::Args;

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input::{display_name, read};
use crate::file::{self, Privacy};
use crate::sops::{Encrypted, IntegrityFault, Path as KeyPath, SopsError};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `decrypt`.
#[derive(Debug, Args)]
#[command(
    after_help = "Identities come from where sops looks for them. Ends with sops' own exit codes: 51 when the MAC does not fit, 128 \
when no key does, 25 when a value was tampered with.

Examples:
  talmirror decrypt secrets.sops.yaml | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin
  talmirror decrypt --extract '[\"patch\"]' patch.sops.yaml"
)]
pub(crate) struct DecryptArgs {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Write the file itself: its secrets are then in clear on the disk
    #[arg(short, long, env = "TALMIRROR_IN_PLACE", conflicts_with = "extract", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    in_place: bool,
    #[expect(clippy::doc_link_with_quotes, reason = "sops' paths look like that")]
    /// Print only what is at a path, such as '["patch"]' or '["a"][0]'
    #[arg(long, env = "TALMIRROR_EXTRACT", value_name = "PATH", help_heading = "Output")]
    extract: Option<String>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: DecryptArgs) -> Result<Exit, CliError> {
    let name = display_name(&args.file);
    if args.file == "-" && args.in_place {
        return Err(CliError::usage("standard input cannot be written to").help("leave --in-place out"));
    }
    let failed = |error: SopsError| encryption::failed_as_sops(error, name);
    let place: Option<KeyPath> = match &args.extract {
        Some(text) => Some(text.parse().map_err(|error| {
            CliError::from_error(Exit { code: 91, ..exit::USAGE }, error).context("cannot use --extract")
        })?),
        None => None,
    };
    let text = read(&args.file)?;
    let encrypted = Encrypted::parse(&text).map_err(failed)?;
    let identities = encryption::identities(global, &encrypted.recipients())?;
    let opened = encrypted.open_changed(&identities).map_err(failed)?;
    match opened.fault() {
        Some(fault @ (IntegrityFault::NoMac | IntegrityFault::MacMismatch)) => {
            return Err(failed(fault.clone().into_error()));
        }
        // sops opens such a file: it compares values only.
        Some(fault @ IntegrityFault::Moved(_)) => {
            let error = fault.clone().into_error();
            ui.warn(&format!("{name}: {error}"), error.help().as_deref());
        }
        None => {}
    }
    encryption::warn_of_comments(ui, &opened.damaged_comments(), name);
    let plaintext = match &place {
        Some(place) => opened.extract(0, place).map_err(failed)?,
        None => opened.plaintext(),
    };
    if args.in_place {
        file::replace(Path::new(&args.file), plaintext.expose().as_bytes(), Privacy::Private)?;
        ui.note(&format!("decrypted {name}"));
    } else {
        ui.result(plaintext.expose())?;
    }
    Ok(exit::OK)
}
