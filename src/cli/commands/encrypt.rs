#![expect(clippy::disallowed_methods, reason = "dates what it encrypts")]

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::Global;
use crate::cli::encryption::{self, EncryptionOptions};
use crate::cli::input::{display_name, environment, read};
use crate::file::{self, Privacy};
use crate::secret::os_random;
use crate::sops::{InClear, Rule, SopsError, encrypt_and_tell};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `encrypt`.
#[derive(Debug, Args)]
#[command(
    after_help = "Rules and recipients come from .sops.yaml, which is looked for from the working directory upwards, as sops does. \
Ends with sops' own exit codes: 203 when the file is encrypted already, 23 when a secret would stay in clear.

Examples:
  talmirror encrypt --in-place mirrors.yaml
  talmirror encrypt --age $ALICE plain.yaml > secret.sops.yaml
  talmirror encrypt --update secret.sops.yaml < new-plaintext.yaml"
)]
pub(crate) struct EncryptArgs {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Write the file itself
    #[arg(short, long, env = "TALMIRROR_IN_PLACE", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    in_place: bool,
    /// Put the plaintext of standard input into the encrypted FILE; only what changed changes, and recipients and rule stay
    #[arg(long, env = "TALMIRROR_UPDATE", value_parser = clap::builder::FalseyValueParser::new())]
    update: bool,
    /// An age recipient; with one, those of `.sops.yaml` do not count
    #[arg(
        long,
        env = "TALMIRROR_AGE",
        value_name = "RECIPIENT",
        value_delimiter = ',',
        help_heading = "Secrets"
    )]
    age: Vec<String>,
    /// Which keys are encrypted; overrides what `.sops.yaml` says
    #[arg(
        long,
        env = "TALMIRROR_ENCRYPTED_REGEX",
        value_name = "REGEX",
        conflicts_with = "unencrypted_regex",
        help_heading = "Secrets"
    )]
    encrypted_regex: Option<String>,
    /// Which keys are not encrypted; overrides what `.sops.yaml` says
    #[arg(long, env = "TALMIRROR_UNENCRYPTED_REGEX", value_name = "REGEX", help_heading = "Secrets")]
    unencrypted_regex: Option<String>,
    /// Let the MAC cover encrypted values only, so that the others can be edited by hand
    #[arg(long, env = "TALMIRROR_MAC_ONLY_ENCRYPTED", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Secrets")]
    mac_only_encrypted: bool,
    /// The path that the rules of `.sops.yaml` are matched against
    #[arg(long, env = "TALMIRROR_FILENAME_OVERRIDE", value_name = "PATH", help_heading = "Secrets")]
    filename_override: Option<PathBuf>,
    /// Leave registry secrets in clear where the rule does not select them
    #[arg(long, env = "TALMIRROR_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Secrets")]
    allow_plaintext: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: EncryptArgs) -> Result<Exit, CliError> {
    let name = display_name(&args.file);
    if args.in_place || args.update {
        encryption::refuse_stdin(Path::new(&args.file))?;
    }
    if args.update {
        refuse_ignored(&args)?;
        let plaintext = read("-")?;
        let mut values = Vec::new();
        let changed = encryption::change(global, Path::new(&args.file), |opened, now| {
            values = opened.rewritten(&plaintext)?;
            encryption::guarded(opened.reencrypt(&plaintext, now, &mut os_random)?)
        })?;
        encryption::warn_of_rewritten(ui, &values, name);
        ui.note(&format!("{name}: {}", if changed { "updated" } else { "unchanged" }));
        return Ok(exit::OK);
    }
    let as_sops = |error: SopsError| encryption::failed_as_sops(error, name);
    let rule = match (&args.encrypted_regex, &args.unencrypted_regex) {
        (Some(pattern), _) => Some(Rule::encrypted_regex(pattern)),
        (None, Some(pattern)) => Some(Rule::unencrypted_regex(pattern)),
        (None, None) => None,
    };
    let rule = rule.transpose().map_err(|error| as_sops(SopsError::Rule(error)))?;
    let text = read(&args.file)?;
    let (holds, structure) = encryption::nature_of(&text);
    let options = EncryptionOptions {
        age: args.age,
        rule,
        mac_only_encrypted: args.mac_only_encrypted,
        holds,
        ..EncryptionOptions::default()
    };
    let path = args.filename_override.unwrap_or_else(|| PathBuf::from(&args.file));
    let mut settings = encryption::settings(ui, &options, &path)?;
    if args.allow_plaintext {
        settings.in_clear = InClear::Allowed;
    }
    settings.structure = structure;
    let sealed =
        encrypt_and_tell(&text, &settings, jiff::Timestamp::now(), &mut os_random).map_err(as_sops)?;
    encryption::warn_of_rewritten(ui, &sealed.rewritten, name);
    if args.in_place {
        file::replace(Path::new(&args.file), sealed.text.as_bytes(), Privacy::Private)?;
        ui.note(&format!("encrypted {name}"));
    } else {
        ui.result(&sealed.text)?;
    }
    Ok(exit::OK)
}

/// Refuses flags that `--update` does not follow. A variable may be set for other commands, and is not refused.
fn refuse_ignored(args: &EncryptArgs) -> Result<(), CliError> {
    let ignored = [
        ("--age", !args.age.is_empty(), "TALMIRROR_AGE"),
        ("--encrypted-regex", args.encrypted_regex.is_some(), "TALMIRROR_ENCRYPTED_REGEX"),
        ("--unencrypted-regex", args.unencrypted_regex.is_some(), "TALMIRROR_UNENCRYPTED_REGEX"),
        ("--mac-only-encrypted", args.mac_only_encrypted, "TALMIRROR_MAC_ONLY_ENCRYPTED"),
        ("--filename-override", args.filename_override.is_some(), "TALMIRROR_FILENAME_OVERRIDE"),
        ("--allow-plaintext", args.allow_plaintext, "TALMIRROR_ALLOW_PLAINTEXT"),
    ];
    match ignored.iter().find(|(_, given, variable)| *given && environment(variable).is_none()) {
        None => Ok(()),
        Some((flag, ..)) => Err(CliError::usage(format!(
            "`{flag}` cannot be used with `--update`, which keeps the recipients and the rule of the file"
        ))
        .help("change them with `talmirror rekey`, or encrypt the plaintext again without `--update`")),
    }
}
