#![expect(clippy::disallowed_methods, reason = "reads secrets from files, the environment and commands")]

use std::collections::HashMap;
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

/// Gets secrets and files, each once a run; commands for at most 30 s.
#[derive(Debug, Default)]
pub struct Sources {
    base: PathBuf,
    cache: HashMap<String, Secret<String>>,
}

impl Sources {
    /// Makes sources whose relative paths start at `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), cache: HashMap::new() }
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, SourceError> {
        let path = self.base.join(path);
        std::fs::File::open(&path)
            .and_then(|file| read_limited(file, MAX_BYTES))
            .map_err(|source| SourceError::Unreadable { path, source })
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
            SecretRef::Command(argv) => run(argv, &self.base)?,
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
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["SOPS_", "TALMIRROR_", "AGE_"].iter().any(|prefix| text.starts_with(prefix)) {
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
