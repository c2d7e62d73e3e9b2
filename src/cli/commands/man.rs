use std::path::PathBuf;

use clap::Args;

use crate::ui::exit::Exit;
use crate::ui::{CliError, Manual, Ui, write_manual};

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror man | man -l -
  talmirror man --output-dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Where to write a page for each command; without it the main page goes to standard output
    #[arg(long, env = "TALMIRROR_OUTPUT_DIR", value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

/// Variables of the environment that no flag stands for.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, SOPS_AGE_KEY_CMD, SOPS_AGE_SSH_PRIVATE_KEY_FILE",
        "age identities, as sops takes them",
    ),
    ("SOPS_AGE_RECIPIENTS", "age recipients, separated by commas"),
    ("SOPS_CONFIG", "the .sops.yaml, in place of the nearest one from the working directory upwards"),
    ("TALOSCONFIG", "the talosconfig, as talosctl takes it"),
    ("HTTPS_PROXY, NO_PROXY", "the proxy that nodes are reached through, and what is reached without it"),
    ("XDG_STATE_HOME", "where the journals of rollouts are kept"),
    ("NO_COLOR, CLICOLOR_FORCE, FORCE_COLOR", "whether text is coloured, where --color does not say"),
];
/// Files that are read or written where no flag names another.
const FILES: &[(&str, &str)] = &[
    ("mirrors.yaml", "the inventory, where -f names no other"),
    (".sops.yaml", "how files are encrypted, and for whom"),
    ("~/.config/sops/age/keys.txt", "age identities"),
    ("~/.talos/config", "the talosconfig"),
    ("~/.local/state/talmirror", "the journals of rollouts"),
];

pub(crate) fn run(
    ui: &mut Ui,
    command: clap::Command,
    exits: fn(&[&str]) -> Vec<Exit>,
    args: ManArgs,
) -> Result<Exit, CliError> {
    let see_also = &["talosctl(1)", "sops(1)", "age(1)"];
    let manual = Manual { environment: ENVIRONMENT, files: FILES, see_also, exits };
    write_manual(ui, command, &manual, args.output_dir.as_deref())
}
