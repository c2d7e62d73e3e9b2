#![expect(clippy::disallowed_methods, reason = "reads secrets from files, the environment and commands")]

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::reference::SecretRef;
use super::value::Secret;

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest secret or certificate that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads standard input as [`claim_stdin`] gives it; fails also if there is more than `limit` bytes.
pub fn read_stdin(limit: u64) -> std::io::Result<Vec<u8>> {
    read_limited(claim_stdin()?, limit)
}

/// Returns standard input, which can be read once: a second reader would be told that there is nothing.
///
/// Fails if it was claimed before.
pub fn claim_stdin() -> std::io::Result<std::io::StdinLock<'static>> {
    static READ: AtomicBool = AtomicBool::new(false);
    if READ.swap(true, Ordering::SeqCst) {
        return Err(std::io::Error::other("standard input was read already, for something else"));
    }
    Ok(std::io::stdin().lock())
}

/// Reads at most `limit` bytes; more is an error.
pub fn read_limited(from: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it is larger than {} MiB", limit / 1024 / 1024);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what its fields are")]
pub enum SourceError {
    /// The environment variable is not there.
    #[error("environment variable `{0}` is not set")]
    NoVariable(String),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A program cannot be started.
    #[error("cannot start `{program}`")]
    NotStarted { program: String, source: std::io::Error },
    /// A program may not be started.
    #[error("`{program}` was not started: {reason}")]
    NotPermitted { program: String, reason: String, help: String },
    /// A program failed.
    #[error("`{program}` ended with {status}{stderr}")]
    CommandFailed {
        program: String,
        /// Its exit status.
        status: String,
        /// What it said, after a colon.
        stderr: String,
    },
    /// A program took too long.
    #[error("`{program}` took longer than {} s", .limit.as_secs())]
    TimedOut {
        program: String,
        /// How long it could take.
        limit: Duration,
    },
    /// What came is not text.
    #[error("{0} gave bytes that are not UTF-8")]
    NotText(String),
    /// What came is empty.
    #[error("{0} gave nothing")]
    Empty(String),
    /// Standard input cannot be read, or was read before.
    #[error("cannot read standard input: {0}")]
    Stdin(String),
}

/// Gives the values that an inventory only names.
pub trait Values {
    /// Returns the secret a reference names.
    fn secret(&mut self, reference: &SecretRef) -> Result<Secret<String>, SourceError>;
    /// Returns the text of a file.
    fn file(&mut self, path: &Path) -> Result<String, SourceError>;
    /// Returns whether secrets are stand-ins that must not be looked at more closely.
    fn hides_secrets(&self) -> bool {
        false
    }
}

/// Gives files as they are, and `<redacted>` for every secret, none of which it fetches.
#[derive(Debug)]
pub struct Hidden<'a>(pub &'a mut Sources);

impl Values for Hidden<'_> {
    fn secret(&mut self, _: &SecretRef) -> Result<Secret<String>, SourceError> {
        Ok(Secret::from("<redacted>"))
    }

    fn file(&mut self, path: &Path) -> Result<String, SourceError> {
        self.0.file(path)
    }

    fn hides_secrets(&self) -> bool {
        true
    }
}

/// What stands in for the secret of a command that was not started.
pub const NOT_RUN: &str = "<not run>";

/// Whether a command that a file names may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It is started.
    Run,
    /// It is not, and [`NOT_RUN`] stands in for its secret.
    StandIn,
    /// It is not, and so there is no secret: the reason, and what to do.
    Refused {
        /// As a fragment.
        reason: String,
        /// As a sentence without its full stop.
        help: String,
    },
}

/// Decides about a command: its program and arguments.
pub type Permission = Box<dyn FnMut(&[String]) -> Permit>;

/// Gets secrets and files, each once a run; commands for at most 30 s.
#[derive(Default)]
pub struct Sources {
    base: PathBuf,
    cache: HashMap<String, Secret<String>>,
    permission: Option<Permission>,
    not_run: Vec<String>,
}

/// Leaves the secrets out.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("base", &self.base)
            .field("not_run", &self.not_run)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Makes sources whose relative paths start at `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), ..Self::default() }
    }

    /// Lets every command be decided about before it is started; without this each one is.
    pub fn set_permission(&mut self, permission: Permission) {
        self.permission = Some(permission);
    }

    /// Returns the programs that a stand-in was given for, each once.
    pub fn not_run(&self) -> &[String] {
        &self.not_run
    }

    /// Runs a command where that is permitted; `None` where a stand-in takes its place.
    fn command(&mut self, argv: &[String]) -> Result<Option<Vec<u8>>, SourceError> {
        let program = || argv.first().cloned().unwrap_or_default();
        match self.permission.as_mut().map_or(Permit::Run, |permission| permission(argv)) {
            Permit::Run => run(argv, &self.base).map(Some),
            Permit::StandIn => {
                if !self.not_run.contains(&program()) {
                    self.not_run.push(program());
                }
                Ok(None)
            }
            Permit::Refused { reason, help } => {
                Err(SourceError::NotPermitted { program: program(), reason, help })
            }
        }
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, SourceError> {
        let path = self.base.join(path);
        std::fs::File::open(&path)
            .and_then(|file| read_limited(file, MAX_BYTES))
            .map_err(|source| SourceError::Unreadable { path, source })
    }
}

impl SourceError {
    /// Returns what to do, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::NotPermitted { help, .. } => Some(help),
            Self::NoVariable(_)
            | Self::Unreadable { .. }
            | Self::NotStarted { .. }
            | Self::CommandFailed { .. }
            | Self::TimedOut { .. }
            | Self::NotText(_)
            | Self::Empty(_)
            | Self::Stdin(_) => None,
        }
    }
}

impl Values for Sources {
    fn secret(&mut self, reference: &SecretRef) -> Result<Secret<String>, SourceError> {
        if let SecretRef::Inline(secret) = reference {
            return Ok(secret.clone());
        }
        // The key is never shown: a command's arguments may be secret.
        let key = format!("{reference:?}");
        if let Some(secret) = self.cache.get(&key) {
            return Ok(secret.clone());
        }
        let bytes = match reference {
            SecretRef::Inline(secret) => secret.expose().clone().into_bytes(),
            SecretRef::Env(name) => std::env::var_os(name)
                .ok_or_else(|| SourceError::NoVariable(name.clone()))?
                .into_encoded_bytes(),
            SecretRef::File(path) => self.bytes(path)?,
            SecretRef::Command(argv) => match self.command(argv)? {
                Some(bytes) => bytes,
                None => return Ok(Secret::from(NOT_RUN)),
            },
            SecretRef::Stdin => {
                read_stdin(MAX_BYTES).map_err(|error| SourceError::Stdin(error.to_string()))?
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| SourceError::NotText(reference.to_string()))?;
        let text =
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() {
            return Err(SourceError::Empty(reference.to_string()));
        }
        let secret = Secret::from(text);
        self.cache.insert(key, secret.clone());
        Ok(secret)
    }

    fn file(&mut self, path: &Path) -> Result<String, SourceError> {
        String::from_utf8(self.bytes(path)?).map_err(|_| SourceError::NotText(path.display().to_string()))
    }
}

/// Tells whether a variable of the environment opens encrypted files, or is talmirror's own.
fn is_key(name: &str, value: &str) -> bool {
    ["SOPS_", "TALMIRROR_", "AGE_"].iter().any(|prefix| name.starts_with(prefix))
        || ["AGE-SECRET-KEY-", "AGE-PLUGIN-"].iter().any(|word| value.to_ascii_uppercase().contains(word))
}

/// Runs a program without a shell and returns what it printed.
fn run(argv: &[String], directory: &Path) -> Result<Vec<u8>, SourceError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(SourceError::Empty("an empty command".to_owned()));
    };
    let not_started = |source| SourceError::NotStarted { program: program.clone(), source };
    let mut command = Command::new(program);
    if !directory.as_os_str().is_empty() {
        command.current_dir(directory);
    }
    // A command of a file is not given the keys that open files.
    for (name, value) in std::env::vars_os() {
        if is_key(&name.to_string_lossy(), &value.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::inherit()) // a password manager may ask for its own
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    // What the program starts may hold its pipes open when it is long gone: chunks are taken as they come, and the wait
    // for more ends with the program.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        let (sender, chunks) = mpsc::channel::<Vec<u8>>();
        std::thread::spawn(move || {
            let (mut pipe, mut buffer) = (pipe?, vec![0; 8192]);
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                sender.send(buffer.get(..read)?.to_vec()).ok()?;
            }
            Some(())
        });
        chunks
    };
    let stdout = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(not_started)? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().map_err(not_started)?;
            child.wait().map_err(not_started)?;
            return Err(SourceError::TimedOut { program: program.clone(), limit: COMMAND_TIMEOUT });
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let collect = |chunks: mpsc::Receiver<Vec<u8>>| {
        let mut bytes = Vec::new();
        while let Ok(chunk) = chunks.recv_timeout(Duration::from_millis(100)) {
            bytes.extend(chunk);
        }
        bytes
    };
    let (stdout, stderr) = (collect(stdout), collect(stderr));
    if status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&stderr);
    let stderr = stderr.trim();
    Err(SourceError::CommandFailed {
        program: program.clone(),
        status: status.code().map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}")),
        stderr: if stderr.is_empty() { String::new() } else { format!(": {stderr}") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_gives_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from-file\r\n").unwrap();
        let mut sources = Sources::new(dir.path());
        let get = |sources: &mut Sources, reference: SecretRef| {
            sources.secret(&reference).map(|secret| secret.expose().clone()).map_err(|e| e.to_string())
        };
        let command = |argv: &[&str]| SecretRef::Command(argv.iter().map(ToString::to_string).collect());
        assert_eq!(get(&mut sources, SecretRef::Inline("x".into())), Ok("x".into()));
        assert_eq!(get(&mut sources, SecretRef::File("token".into())), Ok("from-file".into()));
        assert_eq!(get(&mut sources, command(&["cat", "token"])), Ok("from-file".into()));
        assert_eq!(
            get(&mut sources, command(&["sh", "-c", "echo locked >&2; exit 3"])),
            Err("`sh` ended with exit code 3: locked".into())
        );
        assert_eq!(get(&mut sources, command(&["true"])), Err("command true gave nothing".into()));
        assert_eq!(
            get(&mut sources, SecretRef::Env("TALMIRROR_NO_SUCH_VARIABLE".into())),
            Err("environment variable `TALMIRROR_NO_SUCH_VARIABLE` is not set".into())
        );
    }

    #[test]
    fn what_a_command_leaves_behind_is_not_waited_for() {
        let start = Instant::now();
        let argv = ["sh", "-c", "sleep 20 & echo pw"].map(str::to_owned).to_vec();
        let secret = Sources::new("").secret(&SecretRef::Command(argv)).unwrap();
        assert_eq!(secret.expose(), "pw");
        assert!(start.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn keys_in_the_environment_are_known() {
        for (name, value) in [
            ("SOPS_AGE_KEY", "x"),
            ("TALMIRROR_AGE_KEY_FILE", "x"),
            ("MY_KEY", "AGE-SECRET-KEY-1QQ"),
            ("other", "# a comment\nAGE-SECRET-KEY-PQ-1QQ"),
            ("YUBIKEY", "AGE-PLUGIN-YUBIKEY-1"),
        ] {
            assert!(is_key(name, value), "{name}");
        }
        assert!(!is_key("HOME", "/root") && !is_key("RECIPIENT", "age1qq"));
    }

    #[test]
    fn a_command_that_is_not_permitted_does_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let command = SecretRef::Command(["touch", "ran"].map(str::to_owned).to_vec());
        let mut sources = Sources::new(dir.path());
        sources.set_permission(Box::new(|_| Permit::StandIn));
        assert_eq!(sources.secret(&command).unwrap().expose(), NOT_RUN);
        assert_eq!(sources.not_run(), ["touch"]);
        let refused = Permit::Refused { reason: "no".to_owned(), help: "do".to_owned() };
        sources.set_permission(Box::new(move |_| refused.clone()));
        let error = sources.secret(&command).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.help()), ("`touch` was not started: no", Some("do")));
        assert!(!dir.path().join("ran").exists());
    }

    #[test]
    fn a_command_runs_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = Sources::new(dir.path());
        let argv = ["sh", "-c", "echo x >> count; cat count"].map(str::to_owned).to_vec();
        let first = sources.secret(&SecretRef::Command(argv.clone())).unwrap();
        let second = sources.secret(&SecretRef::Command(argv)).unwrap();
        assert_eq!(first.expose(), second.expose());
        assert_eq!(std::fs::read_to_string(dir.path().join("count")).unwrap(), "x\n");
    }
}
