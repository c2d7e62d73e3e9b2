use std::path::Path;

use clap::{Args, Subcommand};

use crate::cli::args::{Global, VersionArgs};
use crate::cli::encryption;
use crate::cli::inventory::{default_version, load, warn_of_version};
use crate::cli::machine_config::MachineConfigFile;
use crate::cli::meant::SettingsOf;
use crate::file::{self, Privacy};
use crate::machineconfig::{Form, TlsIn, Unlisted};
use crate::registries::TalosVersion;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `machineconfig`.
#[derive(Debug, Args)]
pub(crate) struct MachineconfigArgs {
    #[command(subcommand)]
    command: MachineconfigCommand,
}

#[derive(Debug, Subcommand)]
enum MachineconfigCommand {
    /// Write the inventory's registries into a machine config, and leave every other byte
    Patch(PatchArgs),
}

/// Arguments of `machineconfig patch`.
#[derive(Debug, Args)]
#[command(
    after_help = "The inventory is the whole truth about registries: what it does not name goes, and is named on standard error.

Examples:
  talmirror machineconfig patch n1.yaml --nodes n1 --in-place
  talosctl get mc -n 10.0.0.1 -o yaml | talmirror mc patch - -n n1 > n1-new.yaml"
)]
struct PatchArgs {
    /// The machine config, or what `talosctl get mc -o yaml` prints; `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    which: SettingsOf,
    #[command(flatten)]
    versions: VersionArgs,
    /// Write registries as documents or as machine.registries; the Talos version decides, if left out
    #[arg(long, env = "TALMIRROR_MACHINECONFIG_FORMAT", value_name = "FORMAT", value_parser = ["auto", "documents", "legacy"], default_value = "auto")]
    format: String,
    /// Keep registries that the inventory does not name
    #[arg(long, env = "TALMIRROR_KEEP_UNLISTED", value_parser = clap::builder::FalseyValueParser::new())]
    keep_unlisted: bool,
    /// Write the file itself
    #[arg(short, long, env = "TALMIRROR_IN_PLACE", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    in_place: bool,
    /// Write nothing; end with 1 when the file is not what the inventory gives
    #[arg(long, env = "TALMIRROR_CHECK", conflicts_with = "in_place", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    check: bool,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: MachineconfigArgs) -> Result<Exit, CliError> {
    match args.command {
        MachineconfigCommand::Patch(args) => patch(ui, global, args),
    }
}

fn patch(ui: &mut Ui, global: &Global, args: PatchArgs) -> Result<Exit, CliError> {
    if args.in_place && args.file == "-" {
        return Err(CliError::usage("standard input cannot be written in place").help("leave --in-place out"));
    }
    warn_of_version(ui, &args.versions);
    let files = MachineConfigFile::read_all(&args.file, global)?;
    let mut loaded = load(ui, global)?;
    if args.check {
        loaded.only_look(global);
    }
    let (file, target) = MachineConfigFile::one_of_meant(files, &loaded, &args.which)?;
    if args.in_place && file.is_live {
        let message = format!("`{}` is what talosctl prints, not a machine config", args.file);
        return Err(CliError::usage(message).help("leave --in-place out: the config goes to standard output"));
    }
    let target = loaded.target(&target)?;
    let known = loaded.talos_version(&args.versions, target);
    let version = known.clone().unwrap_or_else(default_version);
    loaded.check_version(target, &version)?;
    let mut wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
    wanted.fill_not_run(&file.registries().0);
    loaded.tell_not_run(ui);
    let form = form(&args.format, known.as_ref(), &file)?;
    let unlisted = if args.keep_unlisted { Unlisted::Keep } else { Unlisted::Drop };
    let replaced = file.config.replace(&wanted, form, unlisted).map_err(|error| {
        let help = error.help();
        CliError::from_error(exit::INVALID, error).context(format!("cannot edit `{}`", file.name)).help(help)
    })?;
    for dropped in &replaced.dropped {
        ui.warn(&format!("{dropped} is not in the inventory and goes"), Some("--keep-unlisted keeps it"));
    }
    if args.check {
        ui.note(&format!("{}: {}", file.name, if replaced.changed { "differs" } else { "up to date" }));
        return Ok(if replaced.changed { exit::FOUND } else { exit::OK });
    }
    if !args.in_place {
        ui.result(&replaced.text)?;
        return Ok(exit::OK);
    }
    if !replaced.changed {
        ui.note(&format!("{}: up to date", file.name));
        return Ok(exit::OK);
    }
    let path = Path::new(&args.file);
    if file.encrypted {
        encryption::update(global, path, &replaced.text)?;
    } else {
        file::replace(path, replaced.text.as_bytes(), Privacy::Private)?;
    }
    ui.note(&format!("wrote {}", file.name));
    Ok(exit::OK)
}

/// Chooses the schema: what the version knows, and without a version what the config shows that it knows.
fn form(format: &str, version: Option<&TalosVersion>, file: &MachineConfigFile) -> Result<Form, CliError> {
    let documents = |version: Option<&TalosVersion>| Form::Documents {
        tls: if version.is_none_or(TalosVersion::has_safe_tls_documents) {
            TlsIn::Documents
        } else {
            TlsIn::Legacy
        },
    };
    match (format, version) {
        ("legacy", _) => Ok(Form::Legacy),
        ("documents", Some(version)) if !version.has_documents() => {
            Err(CliError::usage(format!("Talos {version} has no registry documents: they exist since 1.12"))
                .help("use --format legacy, or leave --format out"))
        }
        ("documents", version) => Ok(documents(version)),
        (_, Some(version)) if version.has_documents() => Ok(documents(Some(version))),
        (_, Some(_)) => Ok(Form::Legacy),
        // Only Talos 1.12 and later generate more than one document.
        (_, None) if file.config.documents() > 1 || !file.config.has_machine() => Ok(documents(None)),
        (_, None) => Ok(Form::Legacy),
    }
}
