use clap::Args;
use clap_complete::Shell;

use crate::ui::Ui;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(talmirror-cache completion bash)
  talmirror-cache completion fish > ~/.config/fish/completions/talmirror-cache.fish")]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(ui: &mut Ui, args: &CompletionArgs, mut command: clap::Command) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "talmirror-cache", &mut script);
    ui.result(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}
