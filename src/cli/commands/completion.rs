#![expect(clippy::disallowed_methods, reason = "reads the inventory that completes")]

use clap::Args;
use clap_complete::Shell;

use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Node, group and mirror names come from the inventory: scripts ask `talmirror completion --words KIND`.

Examples:
  source <(talmirror completion bash)
  talmirror completion fish > ~/.config/fish/completions/talmirror.fish"
)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, required_unless_present = "words")]
    shell: Option<Shell>,
    /// Print the names that the inventory has, one a line: nodes, groups, mirrors, registries
    #[arg(long, value_name = "KIND", value_parser = ["nodes", "groups", "mirrors", "registries"])]
    words: Option<String>,
}

pub(crate) fn run(
    ui: &mut Ui,
    mut command: clap::Command,
    inventory: &str,
    args: CompletionArgs,
) -> Result<Exit, CliError> {
    if let Some(kind) = args.words {
        for word in words(inventory, &kind) {
            ui.result(&format!("{word}\n"))?;
        }
        return Ok(exit::OK);
    }
    let mut script = Vec::new();
    let Some(shell) = args.shell else { return Ok(exit::OK) };
    clap_complete::generate(shell, &mut command, "talmirror", &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = if shell == Shell::Zsh { zsh(&script) } else { script.into_owned() };
    ui.result(&script)?;
    ui.result(dynamic(shell))?;
    Ok(exit::OK)
}

/// Reads names without decrypting, checking or complaining: a completion has no place to put an error.
fn words(inventory: &str, kind: &str) -> Vec<String> {
    let text =
        if inventory == "-" { String::new() } else { std::fs::read_to_string(inventory).unwrap_or_default() };
    let Ok(document) = crate::yaml::parse_one(&text) else { return Vec::new() };
    let Some(section) = document.root.get(kind) else { return Vec::new() };
    let listed = section.items().iter().filter_map(|item| item.as_str().map(str::to_owned));
    section.entries().iter().map(|entry| entry.key.clone()).chain(listed).collect()
}

/// Lets zsh ask for names where it would offer files.
fn zsh(script: &str) -> String {
    let script = ["node", "group", "mirror"].iter().fold(script.to_owned(), |script, noun| {
        let value = noun.to_uppercase();
        script.replace(&format!(":{value}:_default"), &format!(":{value}:_talmirror_{noun}s"))
    });
    let function = |kind: &str| {
        format!(
            "_talmirror_{kind}() {{ compadd -- ${{(f)\"$(talmirror completion --words {kind} 2>/dev/null)\"}} }}\n"
        )
    };
    let functions: String = ["nodes", "groups", "mirrors"].iter().map(|kind| function(kind)).collect();
    // The first line is what zsh's own search looks at.
    let (head, rest) = script.split_once('\n').unwrap_or((&script, ""));
    format!("{head}\n\n{functions}{rest}")
}

/// Returns what a shell needs to complete names from the inventory.
fn dynamic(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => {
            r#"
_talmirror_names() {
    local kind
    case "${COMP_WORDS[COMP_CWORD-1]}" in
        -n|--node|--nodes) kind=nodes ;;
        -g|--group) kind=groups ;;
        rotate) kind=mirrors ;;
        *) _talmirror "$@"; return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$(talmirror completion --words "$kind" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -F _talmirror_names -o bashdefault -o default talmirror
"#
        }
        Shell::Fish => {
            r"
complete -c talmirror -s n -l node -l nodes -x -a '(talmirror completion --words nodes 2>/dev/null)'
complete -c talmirror -s g -l group -x -a '(talmirror completion --words groups 2>/dev/null)'
complete -c talmirror -n '__fish_seen_subcommand_from rotate' -x -a '(talmirror completion --words mirrors 2>/dev/null)'
"
        }
        _ => "",
    }
}
