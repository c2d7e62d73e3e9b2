#![expect(clippy::disallowed_methods, reason = "writes man pages")]

use std::fmt::Write as _;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::error::CliError;
use super::exit::{self, Exit};
use super::terminal::Ui;

/// What a program's manual pages say beside its help, each a name and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manual {
    /// Variables of the environment that no flag stands for.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Files that are read or written where no flag names another.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Pages of other programs.
    pub(crate) see_also: &'static [&'static str],
    /// The exit codes of a command, by its path.
    pub(crate) exits: fn(&[&str]) -> Vec<Exit>,
}

/// Writes a page for each command into a directory, or the main page to standard output.
pub(crate) fn write_manual(
    ui: &mut Ui,
    command: Command,
    manual: &Manual,
    dir: Option<&Path>,
) -> Result<Exit, CliError> {
    let pages = pages(command, manual)?;
    let Some(dir) = dir else {
        // The main page is the last: those of commands come before it.
        if let Some((_, page)) = pages.last() {
            ui.result(page)?;
        }
        return Ok(exit::OK);
    };
    let failed = |error: std::io::Error| {
        CliError::from_error(exit::WRITE, error).context(format!("cannot write to `{}`", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    for (name, page) in pages {
        std::fs::write(dir.join(name), page).map_err(failed)?;
    }
    ui.note(&format!("wrote the manual pages to {}", dir.display()));
    Ok(exit::OK)
}

/// Returns the pages of a command and of all below it, by their file names; its own is the last.
fn pages(command: Command, manual: &Manual) -> Result<Vec<(String, String)>, CliError> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut out = Vec::new();
    add_pages(&command, &[], manual, &mut out)?;
    Ok(out)
}

fn add_pages(
    command: &Command,
    path: &[&str],
    manual: &Manual,
    out: &mut Vec<(String, String)>,
) -> Result<(), CliError> {
    let below = || command.get_subcommands().filter(|below| !below.is_hide_set());
    for below in below() {
        let path: Vec<&str> = path.iter().copied().chain([below.get_name()]).collect();
        add_pages(below, &path, manual, out)?;
    }
    let man = Man::new(command.clone().after_help("").after_long_help(""));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if below().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8_lossy(&page).into_owned();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page.push_str(&notes(&help));
    let codes = (manual.exits)(path);
    let codes = codes.iter().map(|exit| (exit.code.to_string(), exit.meaning));
    page.push_str(&section("EXIT STATUS", codes));
    let named = |list: &'static [(&'static str, &'static str)]| {
        list.iter().map(|(name, text)| ((*name).to_owned(), *text))
    };
    page.push_str(&section("ENVIRONMENT", named(manual.environment)));
    page.push_str(&section("FILES", named(manual.files)));
    let program = path.is_empty().then(|| below().map(page_of));
    let own: Vec<String> = match program {
        Some(below) => below.collect(),
        None => vec![format!("{}(1)", program_of(command))],
    };
    let others = manual.see_also.iter().map(|&page| page.to_owned());
    let _ =
        writeln!(page, ".SH \"SEE ALSO\"\n{}", own.into_iter().chain(others).collect::<Vec<_>>().join(", "));
    out.push((man.get_filename(), page));
    Ok(())
}

fn page_of(command: &Command) -> String {
    format!("{}(1)", command.get_display_name().unwrap_or_else(|| command.get_name()))
}

/// Returns the program that a command belongs to: the first word of how it is called.
fn program_of(command: &Command) -> String {
    let called = command.get_bin_name().unwrap_or_else(|| command.get_name());
    called.split(' ').next().unwrap_or_default().to_owned()
}

/// Returns what stands below the options in help: paragraphs as such, what is indented as it is, examples last.
fn notes(help: &str) -> String {
    if help.is_empty() {
        return String::new();
    }
    let (text, examples) = help.split_once("Examples:\n").unwrap_or((help, ""));
    let mut out = String::new();
    if !text.trim().is_empty() {
        out.push_str(".SH NOTES\n");
        for paragraph in text.trim().split("\n\n") {
            let (indented, prose): (Vec<&str>, Vec<&str>) =
                paragraph.lines().partition(|line| line.starts_with(' '));
            let prose: Vec<String> = prose.iter().map(|line| escaped(line)).collect();
            let _ = writeln!(out, ".PP\n{}", prose.join("\n"));
            out.push_str(&verbatim(&indented));
        }
    }
    if !examples.is_empty() {
        out.push_str(".SH EXAMPLES\n");
        out.push_str(&verbatim(&examples.lines().collect::<Vec<_>>()));
    }
    out
}

fn verbatim(lines: &[&str]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("{}\n", escaped(line))).collect();
    format!(".PP\n.nf\n{lines}.fi\n")
}

fn section(name: &str, rows: impl Iterator<Item = (String, &'static str)>) -> String {
    let rows: String =
        rows.map(|(name, text)| format!(".TP\n\\fB{}\\fR\n{}\n", escaped(&name), escaped(text))).collect();
    if rows.is_empty() { rows } else { format!(".SH \"{name}\"\n{rows}") }
}

/// Writes a line so that roff takes nothing in it for its own.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', r"\e").replace('-', r"\-");
    if line.starts_with(['.', '\'']) { format!(r"\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_what_help_does_not() {
        let command = Command::new("app").subcommand(
            Command::new("go").about("Goes").after_help("One line.\n\nExamples:\n  app go -x | .y\n"),
        );
        let manual = Manual {
            environment: &[("APP_HOME", "where it lives")],
            files: &[("~/.app", "its state")],
            see_also: &["other(1)"],
            exits: |_| vec![exit::OK],
        };
        let pages = pages(command, &manual).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["app-go.1", "app.1"]);
        let page = &pages[0].1;
        for part in [
            ".SH NOTES\n.PP\nOne line.\n",
            ".SH EXAMPLES\n.PP\n.nf\n  app go \\-x | .y\n.fi\n",
            ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nall is well",
            ".SH \"ENVIRONMENT\"\n.TP\n\\fBAPP_HOME\\fR\nwhere it lives\n",
            ".SH \"FILES\"\n.TP\n\\fB~/.app\\fR\nits state\n",
            ".SH \"SEE ALSO\"\napp(1), other(1)\n",
        ] {
            assert!(page.contains(part), "{part}:\n{page}");
        }
        assert!(pages[1].1.contains("app-go(1), other(1)"), "{}", pages[1].1);
    }
}
