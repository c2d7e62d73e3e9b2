//! What a terminal shows while a rollout runs and when it is over, however wide it is and whatever becomes of its width.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::rollout::{Site, options};
use crate::run::Place;
use crate::sim::{Cluster, Options};

/// A terminal of a command's own; `script` (util-linux) lends it, and an emulator reads its screen.
pub(crate) struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    tty: std::path::PathBuf,
    /// Ends the command's input when it goes.
    stdin: Option<std::process::ChildStdin>,
}

const ROWS: u16 = 60;

impl Terminal {
    pub(crate) fn start(place: &Place, columns: u16, command: &str) -> Self {
        let binary = env!("CARGO_BIN_EXE_talmirror");
        let line = format!("stty rows {ROWS} cols {columns}; tty > tty.txt; exec {binary} {command}");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(place.path(""))
            .env_clear()
            .env("HOME", place.path(""))
            .env("TERM", "xterm")
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux");
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                if send.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = vt100::Parser::new(ROWS, columns, 0);
        Self { child, output, screen, tty: place.path("tty.txt"), stdin }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads until the screen shows a text.
    pub(crate) fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            let bytes = self.output.recv_timeout(Duration::from_mins(1));
            let bytes = bytes.unwrap_or_else(|error| panic!("no `{text}` ({error}) in:\n{}", self.text()));
            self.screen.process(&bytes);
        }
    }

    /// Types when keys are read: the terminal itself would show them otherwise.
    pub(crate) fn type_in(&mut self, text: &str) {
        crate::terminal::until_keys_are_read(self.child.id());
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn resize(&mut self, columns: u16) {
        let tty = std::fs::read_to_string(&self.tty).unwrap();
        let size = ["rows", &ROWS.to_string(), "cols", &columns.to_string()].map(str::to_owned);
        let done = Command::new("stty").args(["-F", tty.trim()]).args(size).status().unwrap();
        assert!(done.success());
        self.screen.screen_mut().set_size(ROWS, columns);
    }

    /// Reads to the end, and gives each screen that it comes to.
    pub(crate) fn each_screen(mut self, mut see: impl FnMut(&vt100::Screen)) {
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_mins(1)) {
            self.screen.process(&bytes);
            see(self.screen.screen());
        }
        assert!(self.child.wait().unwrap().success(), "{}", self.text());
    }

    /// Reads to the end, and returns the lines that the screen then shows.
    fn end(mut self) -> Vec<String> {
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_mins(1)) {
            self.screen.process(&bytes);
        }
        assert!(self.child.wait().unwrap().success(), "{}", self.text());
        self.text().lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// A rollout over two nodes, one of which has a long name.
fn site(long: &str) -> Site {
    let slow = Options { render_delay: Duration::from_millis(400), ..options() };
    let site = Site::of(Cluster::start(1, 1, &["v1.14.1"], slow).unwrap(), "");
    let inventory = site.place.read("mirrors.yaml");
    // Comments and the mirror keep their names: only the node is called otherwise.
    site.place.write("mirrors.yaml", inventory.replace("    w-1:", &format!("    {long}:")));
    site
}

#[test]
fn nothing_but_the_lines_meant_is_left_on_the_screen() {
    if !crate::terminal::is_lent() {
        return;
    }
    let widths = [(60, 100), (80, 60), (100, 140), (140, 60)];
    let names = ["w-01", "worker-with-a-long-name1"];
    let runs: Vec<_> = widths.into_iter().flat_map(|width| names.map(|name| (width, name))).collect();
    std::thread::scope(|scope| {
        for ((columns, then), name) in runs {
            scope.spawn(move || one_run(columns, then, name));
        }
    });
}

fn one_run(columns: u16, then: u16, name: &str) {
    let site = site(name);
    let mut terminal = Terminal::start(&site.place, columns, "rollout");
    terminal.until("Change 2 nodes?");
    terminal.type_in("y");
    terminal.until("0 of 2 · ");
    let shown = terminal.text();
    assert_eq!(shown.matches(" of 2 · ").count(), 1, "{columns}: drawn twice:\n{shown}");
    terminal.until("rendering");
    terminal.resize(then);
    terminal.until("1 of 2 · ");
    let shown = terminal.text();
    assert_eq!(shown.matches(" of 2 · ").count(), 1, "{columns} → {then}: drawn twice:\n{shown}");
    let lines = terminal.end();
    let from =
        lines.iter().position(|line| line.starts_with("journal: ")).unwrap_or_else(|| panic!("{lines:#?}"));
    // The journal's path may have been broken by a narrow terminal.
    let rest: Vec<&str> =
        lines[from..].iter().map(String::as_str).filter(|line| line.contains("updated")).collect();
    let width = name.chars().count().max(4);
    let done = [name, "cp-1"].map(|name| format!("{name:<width$}  updated"));
    assert_eq!(rest, [done[0].as_str(), done[1].as_str(), &format!("{name}, cp-1 updated")], "{lines:#?}");
    for line in &lines[from..] {
        let left = ["✓", "…", " of 2 ·", "rendering", "trial ends"];
        assert!(
            !left.iter().any(|part| line.contains(part)),
            "{columns} → {then}: left behind: {line}\n{lines:#?}"
        );
    }
}

/// An answer that is wider than the terminal stays on one line while it is typed, and stands there once; Ctrl-U takes it
/// away.
#[test]
fn a_long_answer_is_shown_once() {
    if !crate::terminal::is_lent() {
        return;
    }
    for columns in [40, 60, 80] {
        let place = Place::new();
        let mut terminal = Terminal::start(&place, columns, "init");
        terminal.until("Number [1]: ");
        terminal.type_in("7\u{15}1\r");
        terminal.until("Its URL");
        let long = format!("https://{}last-label", "a-name-of-forty-characters-and-of-no-more.".repeat(2));
        terminal.type_in(&format!("{}\u{15}{long}", "wrong".repeat(30)));
        terminal.until("last-label");
        let shown = terminal.text();
        assert!(!shown.contains("https://a-name"), "{columns}: more than a line:\n{shown}");
        assert_eq!(shown.matches("Its URL").count(), 1, "{columns}: drawn twice:\n{shown}");
        terminal.type_in("\r");
        terminal.until("Registries that go through it");
        let shown = terminal.screen.screen().contents().replace('\n', "");
        assert_eq!(shown.matches(&long).count(), 1, "{columns}: {shown}");
        assert_eq!(shown.matches("a-name").count(), 2, "{columns}: {shown}");
        assert!(!shown.contains("wrong"), "{columns}: {shown}");
        terminal.type_in("\u{3}");
        while let Ok(bytes) = terminal.output.recv_timeout(Duration::from_mins(1)) {
            terminal.screen.process(&bytes);
        }
        assert_eq!(terminal.child.wait().unwrap().code(), Some(130));
    }
}
