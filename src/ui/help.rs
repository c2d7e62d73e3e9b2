//! Help texts: paragraphs that fit the terminal, examples that stay as they are, exit codes.

use std::fmt::Write as _;

use clap::Command;

use super::exit::Exit;

/// A blank at which clap breaks no line; [`plain`] makes an ordinary one of it before anything is printed.
const GLUE: &str = "\u{a0}";

/// Prepares the help of a command and of all below it; `exits` says which exit codes a command has, by its path.
///
/// In what stands below the options, lines that are indented stay as they are, and the others of a paragraph are broken
/// where the terminal ends. With `--help`, the exit codes follow.
pub(crate) fn arrange(command: Command, exits: &dyn Fn(&[&str]) -> Vec<Exit>) -> Command {
    arranged(command, &[], exits)
}

fn arranged(command: Command, path: &[&str], exits: &dyn Fn(&[&str]) -> Vec<Exit>) -> Command {
    let header = *command.get_styles().get_header();
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let short = broken(&text, &|heading| format!("{header}{heading}{header:#}"));
    let mut long = short.clone();
    if !long.is_empty() {
        long.push_str("\n\n");
    }
    let _ = write!(long, "{header}Exit codes:{header:#}");
    for exit in exits(path) {
        let _ = write!(long, "\n{}", glued(&format!("  {:>3}  {}", exit.code, exit.meaning)));
    }
    let command = if short.is_empty() { command } else { command.after_help(short) };
    command.after_long_help(long).mut_subcommands(|below| {
        let name = below.get_name().to_owned();
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        arranged(below, &path, exits)
    })
}

/// Joins the lines of paragraphs, glues those that are indented, and gives headings their look.
fn broken(text: &str, heading: &dyn Fn(&str) -> String) -> String {
    let paragraph = |paragraph: &str| {
        let mut out = String::new();
        for line in paragraph.lines() {
            if line.starts_with(' ') {
                let _ = write!(out, "\n{}", glued(line));
            } else if line.ends_with(':') && paragraph.lines().count() > 1 && line.split(' ').count() < 3 {
                let _ = write!(out, "\n{}", heading(line));
            } else {
                let _ = write!(out, "{}{line}", if out.is_empty() { "" } else { " " });
            }
        }
        out.trim_start_matches('\n').to_owned()
    };
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn glued(line: &str) -> String {
    line.replace(' ', GLUE)
}

/// Returns a help text as it is printed.
pub(super) fn plain(text: &str) -> String {
    text.replace(GLUE, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::exit;

    #[test]
    fn examples_stay_whole_and_paragraphs_are_broken() {
        let long = "  app do --first-flag with-a-value --second-flag with-another --third-flag and-a-third";
        let text = format!(
            "One paragraph that was broken\nby its author.\n\nSigns:\n  =  is the same\n\nExamples:\n{long}"
        );
        let command = Command::new("app").term_width(40).after_help(text);
        let help = plain(
            &arrange(command, &|_| vec![exit::OK])
                .try_get_matches_from(["app", "--help"])
                .unwrap_err()
                .to_string(),
        );
        assert!(help.contains(&format!("\n{long}\n")), "{help}");
        assert!(help.contains("One paragraph that was broken by its\nauthor."), "{help}");
        assert!(help.contains("Signs:\n  =  is the same\n"), "{help}");
        assert!(help.contains("Exit codes:\n    0  all is well, nothing differs"), "{help}");
    }
}
