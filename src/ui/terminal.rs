#![expect(clippy::disallowed_methods, reason = "owns standard output, standard error and the terminal")]

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::builder::styling::AnsiColor;
use tracing_subscriber::layer::SubscriberExt as _;

use super::error::CliError;
use super::excerpt::with_excerpt;
use super::exit::{self, Exit};
use super::live::{self, Size};
use super::output_format::OutputFormat;
use super::paint::Paint;
use super::queue::{Queue, Stream};
use super::shown::shown;
use super::signals;
use super::table::{Table, table as laid_out, table_within};
use super::verbosity::Verbosity;
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
    /// How what goes to standard output is painted, and how wide it may be.
    results: (Paint, Option<usize>),
    story: Paint,
    verbosity: Verbosity,
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
        f.debug_struct("Ui").field("verbosity", &self.verbosity).finish_non_exhaustive()
    }
}

impl Ui {
    /// Opens the process's own streams.
    pub(crate) fn new(color: Color, verbosity: Verbosity) -> Self {
        let paint = |auto: bool| match (color, auto) {
            (Color::Always, _) | (Color::Auto, true) => Paint::On,
            (Color::Never, _) | (Color::Auto, false) => Paint::Off,
        };
        let width = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        let width = width.filter(|_| io::stdout().is_terminal());
        Self {
            stdout: Box::new(io::BufWriter::new(io::stdout())),
            stderr: Box::new(io::stderr()),
            queue: None,
            results: (paint(wants_color(&io::stdout())), width),
            story: paint(wants_color(&io::stderr())),
            verbosity,
            drawn: Drawn::Nothing,
        }
    }

    /// Writes a result.
    pub(crate) fn result(&mut self, text: &str) -> Result<(), CliError> {
        // A terminal acts on control characters that foreign text may hold; a file or pipe gets every byte as it is.
        let text = if io::stdout().is_terminal() { shown(text) } else { Cow::Borrowed(text) };
        self.painted(&text)
    }

    /// Writes a result as JSON, one object, with a line break at its end.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.result(&text)?;
        self.result("\n")
    }

    /// Writes a result as a format asks for: the object, or what `table` makes of it for people.
    pub(crate) fn output<T: Into<Table>>(
        &mut self,
        format: OutputFormat,
        value: &serde_json::Value,
        table: impl FnOnce() -> T,
    ) -> Result<(), CliError> {
        match format {
            OutputFormat::Table => self.table(&table().into()),
            OutputFormat::Json => self.json(value),
            OutputFormat::Yaml => self.result(&emit(value, Indent::default())),
        }
    }

    /// Writes a table, as wide as the terminal is where there is one.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), CliError> {
        let (paint, width) = self.results;
        // Before it is painted: colours are control characters, too.
        let cells = |row: &Vec<String>| row.iter().map(|cell| self.unpainted(cell).into_owned()).collect();
        let rows: Vec<Vec<String>> = table.rows.iter().map(cells).collect();
        let text = match width {
            Some(width) => table_within(&rows, width, table.cells),
            None => laid_out(&rows),
        };
        self.result(&table.above)?;
        self.painted(&paint.table(&text))?;
        self.result(&table.below)
    }

    /// Writes lines whose first sign says what they are: `+` added, `-` removed, `~` changed, `!` to be noted.
    pub(crate) fn signed(&mut self, text: &str) -> Result<(), CliError> {
        let (paint, _) = self.results;
        let text = paint.by_sign(&self.unpainted(text));
        self.painted(&text)
    }

    /// Returns a text that is safe to be painted: what reads colours acts on control characters of foreign text, too.
    fn unpainted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.results {
            (Paint::On, _) => shown(text),
            (Paint::Off, _) if io::stdout().is_terminal() => shown(text),
            (Paint::Off, _) => Cow::Borrowed(text),
        }
    }

    /// Writes a text in which nothing but its colours is a control character.
    fn painted(&mut self, text: &str) -> Result<(), CliError> {
        match &self.queue {
            Some(queue) => Ok(queue.result(text.as_bytes())?),
            None => Ok(self.stdout.write_all(text.as_bytes())?),
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
        self.verbosity == Verbosity::Normal && !dumb && !ci && io::stderr().is_terminal()
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

    /// Fails where an earlier result could not be written; waits for nothing.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        self.queue.as_ref().map_or(Ok(()), |queue| Ok(queue.check()?))
    }

    /// From here on, nothing waits for the reader of the output until the command ends.
    pub(crate) fn detach(&mut self) -> Result<(), CliError> {
        self.flush()?;
        if self.queue.is_none() {
            let queue = Queue::start()?;
            // A process runs one command.
            let _ = DETACHED.set(queue.clone());
            self.queue = Some(queue);
        }
        Ok(())
    }

    /// Has a signal that comes while nothing is in hand end the command as any other ending does: `story` is told, and
    /// `result` is the last that is written. [`Self::speak_last`] ends that.
    pub(crate) fn last_words(
        &self,
        story: &str,
        result: impl FnOnce(Exit) -> Option<serde_json::Value> + Send + 'static,
    ) -> Result<(), CliError> {
        let Some(queue) = self.queue.clone() else { return Ok(()) };
        let heading = self.story.heading("error", AnsiColor::Red);
        let story = format!("{heading}: {}", shown(story));
        let words = move |exit: Exit| {
            // The line may hold a question, or what the terminal has made of Ctrl-C.
            let begin = if io::stderr().is_terminal() { "\n" } else { "" };
            queue.story(format!("{begin}{story}: {}\n", exit.meaning).as_bytes());
            if let Some(value) = result(exit) {
                // Where it cannot be written, nothing reads it.
                let _ = queue.result(format!("{value}\n").as_bytes());
            }
            queue.settle();
        };
        Ok(signals::set_last_words(Box::new(words))?)
    }

    /// Returns once it is the command that says how it ends, and not a signal.
    pub(crate) fn speak_last() {
        signals::drop_last_words();
    }

    /// Waits until all is written, as before a question; `untouched` says what did not happen where it cannot be.
    pub(crate) fn settle(&mut self, untouched: &str) -> Result<(), CliError> {
        self.flush()?;
        self.drain().map_or(Ok(()), |exit| Err(CliError::new(exit, untouched.to_owned())))
    }

    /// Waits until all is written, as long as nothing asks the process to end; returns the exit code where it cannot be.
    fn drain(&self) -> Option<Exit> {
        let queue = self.queue.as_ref()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(queue.drained(signals::was_asked));
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
        // What a node has is worth more than that the reader is gone.
        let exit = self.drain().filter(|_| exit != exit::UNKNOWN).unwrap_or(exit);
        // A terminal that has gone takes nothing any more.
        let exit = if exit == exit::WRITE && signals::was_hung_up() { exit::CLOSED_TERMINAL } else { exit };
        ExitCode::from(exit.code)
    }

    /// Tells what has been done; `--quiet` hides it.
    pub(crate) fn note(&mut self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.tell(&shown(text));
        }
    }

    /// Tells something that is likely wrong, and what to do about it.
    pub(crate) fn warn(&mut self, message: &str, help: Option<&str>) {
        let heading = self.story.heading("warning", AnsiColor::Yellow);
        self.tell(&format!("{heading}: {}", shown(message)));
        if let Some(help) = help {
            self.tell(&format!("help: {}", shown(help)));
        }
    }

    /// Tells what a patch's user should know.
    pub(crate) fn cautions(&mut self, cautions: &[Caution]) {
        for caution in cautions {
            match caution.weight {
                Weight::Warning => self.warn(&caution.message, Some(&caution.help)),
                Weight::Note => {
                    let heading = self.story.heading("note", AnsiColor::Cyan);
                    if self.verbosity > Verbosity::Quiet {
                        let (message, help) = (shown(&caution.message), shown(&caution.help));
                        self.tell(&format!("{heading}: {message}\nhelp: {help}"));
                    }
                }
            }
        }
    }

    /// Tells a finding.
    pub(crate) fn problem(&mut self, problem: &Problem) {
        let severity = problem.code.severity();
        if self.verbosity == Verbosity::Quiet && severity == Severity::Note {
            return;
        }
        let color = match severity {
            Severity::Error => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
            Severity::Note => AnsiColor::Cyan,
        };
        if let Some(excerpt) = problem.excerpt.as_ref().filter(|_| io::stderr().is_terminal()) {
            let text = with_excerpt(problem, excerpt, self.story);
            self.tell(&format!("{text}\n"));
            return;
        }
        let text = problem.to_string();
        let heading = severity.as_str();
        let rest = text.strip_prefix(heading).unwrap_or(&text);
        self.tell(&format!("{}{}\n", self.story.heading(heading, color), shown(rest)));
    }

    /// Tells what ended the command.
    pub(crate) fn error(&mut self, error: &CliError) {
        for problem in &error.problems {
            self.problem(problem);
        }
        let heading = self.story.heading("error", AnsiColor::Red);
        self.tell(&format!("{heading}: {}", shown(&error.render())));
    }

    /// Writes a line of the story; a closed standard error loses nothing that is needed.
    fn tell(&mut self, line: &str) {
        let erased = self.erase();
        self.say(&format!("{erased}{line}\n"));
    }
}

/// The queue of a command that is detached, for what is told beside its [`Ui`].
static DETACHED: OnceLock<Queue> = OnceLock::new();

/// Writes to standard error, or to the queue where nothing may wait for its reader.
struct Story;

impl Write for Story {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match DETACHED.get() {
            Some(queue) => {
                queue.story(text);
                Ok(text.len())
            }
            None => io::stderr().write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Returns whether a stream is to be coloured where no flag says so.
fn wants_color(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !set("NO_COLOR") && (set("CLICOLOR_FORCE") || set("FORCE_COLOR") || (stream.is_terminal() && !dumb))
}

/// Tells requests and their answers from here on, as far as they are asked for; what they carry is not told.
pub(crate) fn log_requests(color: Color, verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Quiet | Verbosity::Normal => return,
        Verbosity::Requests => tracing::Level::DEBUG,
        Verbosity::Calls => tracing::Level::TRACE,
    };
    let colored = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => wants_color(&io::stderr()),
    };
    let filter = tracing_subscriber::filter::Targets::new().with_target("talmirror", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Story).with_ansi(colored).with_target(false);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    // A process that logs already keeps its log.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes a text before there is a [`Ui`]: `colored` where colours are shown, else `plain`.
pub(super) fn print(stream: Stream, colored: &str, plain: &str) -> io::Result<()> {
    match stream {
        Stream::Output => {
            let mut out = io::stdout();
            out.write_all(if wants_color(&out) { colored } else { plain }.as_bytes())?;
            out.flush()
        }
        Stream::Error => {
            let mut out = io::stderr();
            out.write_all(if wants_color(&out) { colored } else { plain }.as_bytes())
        }
    }
}

/// Tells what a part of the library has to say that is given no [`Ui`], such as a plugin that waits for a touch.
pub(crate) fn aside(text: &str) {
    let _ = Story.write_all(format!("{}\n", shown(text)).as_bytes());
}
