#![expect(clippy::disallowed_methods, reason = "reads the inventory and the talosconfig that complete")]

use clap::Args;
use clap_complete::Shell;

use crate::cli::completion::{Lookup, values};
use crate::cli::input::environment;
use crate::secret::read_limited;
use crate::talos::{Config, find};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// The largest file that completion reads: a shell waits for it.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Names of nodes, groups, mirrors, registries, contexts and findings are completed, too: the scripts ask the program for
them, which reads the inventory that -f names.

Examples:
  source <(talmirror completion bash)
  talmirror completion fish > ~/.config/fish/completions/talmirror.fish"
)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, required_unless_present = "at")]
    shell: Option<Shell>,
    /// Print the values that fit at a word of a command line, one a line: what the scripts ask for
    #[arg(long, hide = true, value_name = "NUMBER")]
    at: Option<usize>,
    /// The command line
    #[arg(last = true, hide = true, requires = "at")]
    words: Vec<String>,
}

pub(crate) fn run(ui: &mut Ui, mut command: clap::Command, args: CompletionArgs) -> Result<Exit, CliError> {
    if let Some(at) = args.at {
        for value in values(&args.words, at, &mut Files) {
            ui.result(&format!("{value}\n"))?;
        }
        return Ok(exit::OK);
    }
    let mut script = Vec::new();
    let Some(shell) = args.shell else { return Ok(exit::OK) };
    clap_complete::generate(shell, &mut command, "talmirror", &mut script);
    let script = String::from_utf8_lossy(&script);
    ui.result(&match shell {
        Shell::Bash => format!("{script}{BASH}"),
        Shell::Fish => format!("{script}{}", fish()),
        Shell::Zsh => zsh(&script),
        _ => script.into_owned(),
    })?;
    Ok(exit::OK)
}

/// Files, without a word about those that cannot be read: a completion has no place to put an error.
struct Files;

impl Files {
    fn read(path: &str) -> String {
        let bytes = std::fs::File::open(path).and_then(|file| read_limited(file, MAX_BYTES));
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }
}

impl Lookup for Files {
    fn inventory(&mut self, named: Option<&str>) -> String {
        let variable = environment("TALMIRROR_INVENTORY");
        match named.or(variable.as_deref()).unwrap_or("mirrors.yaml") {
            "-" => String::new(),
            file => Self::read(file),
        }
    }

    fn contexts(&mut self, named: Option<&str>) -> Vec<String> {
        let variable = environment("TALMIRROR_TALOSCONFIG");
        let found = || find(&environment, std::env::home_dir().as_deref(), None).ok();
        let path = named.map(str::to_owned).or(variable);
        let path = path.or_else(|| Some(found()?.path.display().to_string()));
        let config = path.and_then(|path| Config::parse(&Self::read(&path)).ok());
        config.map(|config| config.contexts.keys().cloned().collect()).unwrap_or_default()
    }
}

/// Asks for values first, and for what clap knows where there are none.
const BASH: &str = r#"
_talmirror_values() {
    local values
    mapfile -t values < <(talmirror completion --at "$COMP_CWORD" -- "${COMP_WORDS[@]}" 2>/dev/null)
    if [[ ${#values[@]} -gt 0 ]]; then
        COMPREPLY=("${values[@]}")
    else
        _talmirror "$@"
    fi
}
complete -F _talmirror_values -o bashdefault -o default talmirror
"#;

/// Puts the question for values before what clap makes.
fn zsh(script: &str) -> String {
    let first = r#"_talmirror() {
    local -a values
    values=(${(f)"$(talmirror completion --at $((CURRENT - 1)) -- "${words[@]}" 2>/dev/null)"})
    if (( ${#values} )); then
        compadd -- "${values[@]}"
    else
        _talmirror_static "$@"
    fi
}
"#;
    let script = script.replacen("_talmirror() {", "_talmirror_static() {", 1);
    // The last lines call the function, or say that it is there to be called.
    let end = script.find("if [ \"$funcstack[1]\"").unwrap_or(script.len());
    let (before, after) = script.split_at(end);
    format!("{before}{first}\n{after}")
}

fn fish() -> String {
    let ask = "(talmirror completion --at (count (commandline -opc)) -- (commandline -opc) (commandline -ct) 2>/dev/null)";
    let flags = [
        "-s n -l nodes -l node -l canary -l without -l allow-unhealthy",
        "-s g -l group",
        "-l context -l talos-context",
        "-l mirror",
    ];
    let mut out = String::from("\n");
    for flag in flags {
        out.push_str(&format!("complete -c talmirror {flag} -x -a '{ask}'\n"));
    }
    out.push_str(&format!(
        "complete -c talmirror -n '__fish_seen_subcommand_from rotate explain' -x -a '{ask}'\n"
    ));
    out
}
