use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every secret of the tests begins with: a run that prints it without having said so fails.
pub const SECRET: &str = "s3cr3t-";

/// A directory of a test's own, in which the binary runs with an empty environment.
pub struct Place {
    dir: tempfile::TempDir,
}

/// One run of the binary.
#[must_use]
pub struct Run<'a> {
    place: &'a Place,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    reveals: bool,
}

/// What a run printed, and how it ended.
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Every file below, by its path.
    pub fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, out);
                } else {
                    out.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let mut out = Vec::new();
        walk(self.dir.path(), self.dir.path(), &mut out);
        out.sort();
        out
    }

    /// Runs a command line, split at blanks.
    pub fn run(&self, line: &str) -> Run<'_> {
        self.args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn args(&self, args: &[&str]) -> Run<'_> {
        let args = args.iter().map(ToString::to_string).collect();
        Run { place: self, args, env: Vec::new(), stdin: Vec::new(), reveals: false }
    }
}

impl Run<'_> {
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// Says that this run is meant to print secrets on standard output.
    pub fn reveals(mut self) -> Self {
        self.reveals = true;
        self
    }

    pub fn command(&self) -> Command {
        let mut command = with_default_signals(env!("CARGO_BIN_EXE_talmirror"));
        command
            .args(&self.args)
            .current_dir(self.place.dir.path())
            .env_clear()
            .env("HOME", self.place.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn ran(self) -> Ran {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.stdin.clone();
        // A command that does not read its input closes it, which is no failure of the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let ran = Ran {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        };
        assert!(!ran.stderr.contains(SECRET), "a secret on standard error of {:?}:\n{ran}", self.args);
        assert!(
            self.reveals || !ran.stdout.contains(SECRET),
            "a secret on standard output of {:?}:\n{ran}",
            self.args
        );
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        ran
    }

    /// Runs, and expects exit code 0; returns standard output.
    pub fn ok(self) -> String {
        let ran = self.ran();
        assert_eq!(ran.code, 0, "{ran}");
        ran.stdout
    }

    /// Runs, and expects an exit code; returns all.
    pub fn ends(self, code: i32) -> Ran {
        let ran = self.ran();
        assert_eq!(ran.code, code, "{ran}");
        ran
    }
}

/// The whole of a run, for snapshots.
impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}--- stderr\n{}--- exit {}", self.stdout, self.stderr, self.code)
    }
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it.
pub fn golden(name: &str, text: &str) {
    let path = repository("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(text, want, "{} differs; UPDATE_GOLDEN=1 writes it", path.display());
}

/// Starts a program with the signals that end one as they are by default: under `nohup` or in a script's background the tests
/// themselves, and with them every child, are started with some of them ignored.
fn with_default_signals(program: &str) -> Command {
    if !ignores_signals() {
        return Command::new(program);
    }
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT,TERM").arg(program);
    command
}

/// Returns whether SIGHUP, SIGINT, SIGQUIT or SIGTERM (1, 2, 3, 15) is ignored here; Linux alone tells.
fn ignores_signals() -> bool {
    const ENDING: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & ENDING != 0)
}
