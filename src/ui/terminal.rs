#![expect(clippy::disallowed_methods, reason = "owns standard output, standard error and the terminal")]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};

use super::error::CliError;
use super::exit::{self, Exit};
use super::live::{self, Size};
use super::output_format::OutputFormat;
use super::queue::Queue;
use crate::finding::{Problem, Severity};
use crate::patch::{Caution, Weight};
use crate::yaml::{Indent, emit};

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// Where a terminal shows it and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// All that a command says: results to standard output, the story to standard error.
pub(crate) struct Ui {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    /// Where the output goes once nothing may wait for its reader.
    queue: Option<Queue>,
    colored: bool,
    quiet: bool,
    /// What is drawn and may be overwritten.
    drawn: Drawn,
}

/// What stands on the terminal until it is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drawn {
    Nothing,
    Lines,
}

impl std::fmt::Debug for Ui {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ui")
            .field("colored", &self.colored)
            .field("quiet", &self.quiet)
            .finish_non_exhaustive()
    }
}

impl Ui {
    /// Opens the process's own streams.
    pub(crate) fn new(color: Color, quiet: bool) -> Self {
        let colored = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => wants_color(&io::stderr()),
        };
        Self {
            stdout: Box::new(io::BufWriter::new(io::stdout())),
            stderr: Box::new(io::stderr()),
            queue: None,
            colored,
            quiet,
            drawn: Drawn::Nothing,
        }
    }

    /// Writes a result.
    pub(crate) fn result(&mut self, text: &str) -> Result<(), CliError> {
        match &self.queue {
            Some(queue) => Ok(queue.result(text.as_bytes())?),
            None => Ok(self.stdout.write_all(text.as_bytes())?),
        }
    }

    /// Writes a result as JSON, one object, with a line break at its end.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.result(&text)?;
        self.result("\n")
    }

    /// Writes a result as a format asks for: the object, or what `table` makes of it for people.
    pub(crate) fn output(
        &mut self,
        format: OutputFormat,
        value: &serde_json::Value,
        table: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        match format {
            OutputFormat::Table => self.result(&table()),
            OutputFormat::Json => self.json(value),
            OutputFormat::Yaml => self.result(&emit(value, Indent::default())),
        }
    }

    /// Writes a result as JSON on one line.
    pub(crate) fn json_line(&mut self, value: &serde_json::Value) -> Result<(), CliError> {
        self.result(&format!("{value}\n"))?;
        self.flush()
    }

    /// Returns whether lines of the story can be overwritten.
    pub(crate) fn is_live(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        !self.quiet && !dumb && !ci && io::stderr().is_terminal()
    }

    /// Draws lines that the next ones take the place of, cut to the terminal as it is now.
    pub(crate) fn live(&mut self, lines: &[String]) {
        let mut text = self.erase().to_owned();
        if !lines.is_empty() {
            let (rows, columns) = console::Term::stderr().size();
            text.push_str(&live::draw(lines, Size { rows: rows.into(), columns: columns.into() }));
            self.drawn = Drawn::Lines;
        }
        match &self.queue {
            // What is drawn is of the moment: where it would have to wait, it is left out.
            Some(queue) if !queue.is_empty() && !lines.is_empty() => {}
            _ => self.say(&text),
        }
    }

    /// Returns what takes away what is drawn.
    fn erase(&mut self) -> &'static str {
        match std::mem::replace(&mut self.drawn, Drawn::Nothing) {
            Drawn::Nothing => "",
            Drawn::Lines => live::ERASE,
        }
    }

    /// Sends what is still held back.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        // On a terminal a result would be written over what is drawn.
        let erased = self.erase();
        if !erased.is_empty() {
            self.say(erased);
        }
        match &self.queue {
            Some(queue) => Ok(queue.check()?),
            None => Ok(self.stdout.flush()?),
        }
    }

    /// From here on, nothing waits for the reader of the output until the command ends.
    pub(crate) fn detach(&mut self) -> Result<(), CliError> {
        self.flush()?;
        if self.queue.is_none() {
            self.queue = Some(Queue::start()?);
        }
        Ok(())
    }

    /// Waits until all is written, as before a question; `untouched` says what did not happen where it cannot be.
    pub(crate) fn settle(&mut self, untouched: &str) -> Result<(), CliError> {
        self.flush()?;
        self.drain().map_or(Ok(()), |exit| Err(CliError::new(exit, untouched.to_owned())))
    }

    /// Waits until all is written; returns the exit code where it cannot be.
    fn drain(&self) -> Option<Exit> {
        let queue = self.queue.as_ref()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(queue.drained());
        queue.check().err().map(|error| CliError::from(error).exit)
    }

    fn say(&mut self, text: &str) {
        match &self.queue {
            Some(queue) => queue.story(text.as_bytes()),
            // A closed standard error loses nothing that is needed.
            None => drop(self.stderr.write_all(text.as_bytes())),
        }
    }

    /// Ends a command: tells what ended it early, and returns the exit code.
    pub(crate) fn exit(&mut self, result: Result<Exit, CliError>) -> ExitCode {
        let exit = match result {
            Ok(exit) => exit,
            Err(error) => {
                // What was printed before the error is a result anyway.
                let _ = self.flush();
                if error.exit != exit::CLOSED_PIPE {
                    self.error(&error);
                }
                error.exit
            }
        };
        ExitCode::from(self.drain().unwrap_or(exit).code)
    }

    /// Tells what has been done; `--quiet` hides it.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            self.story(text);
        }
    }

    /// Tells something that is likely wrong, and what to do about it.
    pub(crate) fn warn(&mut self, message: &str, help: Option<&str>) {
        let heading = self.paint("warning", AnsiColor::Yellow);
        self.story(&format!("{heading}: {message}"));
        if let Some(help) = help {
            self.story(&format!("help: {help}"));
        }
    }

    /// Tells what a patch's user should know.
    pub(crate) fn cautions(&mut self, cautions: &[Caution]) {
        for caution in cautions {
            match caution.weight {
                Weight::Warning => self.warn(&caution.message, Some(&caution.help)),
                Weight::Note => {
                    let heading = self.paint("note", AnsiColor::Cyan);
                    self.note(&format!("{heading}: {}\nhelp: {}", caution.message, caution.help));
                }
            }
        }
    }

    /// Tells a finding.
    pub(crate) fn problem(&mut self, problem: &Problem) {
        let severity = problem.code.severity();
        if self.quiet && severity == Severity::Note {
            return;
        }
        let color = match severity {
            Severity::Error => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
            Severity::Note => AnsiColor::Cyan,
        };
        let text = problem.to_string();
        let heading = severity.as_str();
        let rest = text.strip_prefix(heading).unwrap_or(&text);
        self.story(&format!("{}{rest}\n", self.paint(heading, color)));
    }

    /// Tells what ended the command.
    pub(crate) fn error(&mut self, error: &CliError) {
        for problem in &error.problems {
            self.problem(problem);
        }
        let heading = self.paint("error", AnsiColor::Red);
        self.story(&format!("{heading}: {}", error.render()));
    }

    fn paint(&self, word: &str, color: AnsiColor) -> String {
        if !self.colored {
            return word.to_owned();
        }
        let style = Style::new().bold().fg_color(Some(color.into()));
        format!("{style}{word}{style:#}")
    }

    /// Writes a line of the story; a closed standard error loses nothing that is needed.
    fn story(&mut self, line: &str) {
        let erased = self.erase();
        self.say(&format!("{erased}{line}\n"));
    }
}

/// Returns whether a stream is to be coloured where no flag says so.
fn wants_color(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !set("NO_COLOR") && (set("CLICOLOR_FORCE") || set("FORCE_COLOR") || (stream.is_terminal() && !dumb))
}

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

/// Writes a text before there is a [`Ui`]: `colored` where colours are shown, else `plain`.
pub(super) fn print(stream: Stream, colored: &str, plain: &str) {
    // A closed stream loses nothing that is needed.
    let _ = match stream {
        Stream::Output => {
            let mut out = io::stdout();
            out.write_all(if wants_color(&out) { colored } else { plain }.as_bytes())
        }
        Stream::Error => {
            let mut out = io::stderr();
            out.write_all(if wants_color(&out) { colored } else { plain }.as_bytes())
        }
    };
}

/// Tells what a part of the library has to say that is given no [`Ui`], such as a plugin that waits for a touch.
pub(crate) fn aside(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
