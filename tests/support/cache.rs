//! A running talmirror-cache, and the few words of HTTP that tests need to talk to it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A cache that is to be started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    args: Vec<String>,
    root: Option<PathBuf>,
    env: Vec<(String, String)>,
    program: Option<PathBuf>,
}

/// A cache that runs; it ends when it is dropped.
pub struct Cache {
    pub address: SocketAddr,
    pub root: PathBuf,
    child: Child,
    log: Arc<Mutex<String>>,
    start: Start,
    dir: Option<Arc<tempfile::TempDir>>,
}

/// An answer, read to its end or to where it broke off.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the body has the length that its header says.
    pub whole: bool,
    /// How long the first byte of the body took.
    pub first_byte: Option<Duration>,
    pub took: Duration,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status and where the answer came from.
    pub fn outcome(&self) -> (u16, &str) {
        (self.status, self.header("x-cache"))
    }
}

/// An answer whose body is read bit by bit.
pub struct Reading {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    reader: BufReader<TcpStream>,
    begun: Instant,
}

impl Start {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn upstream(self, name: &str, url: &str) -> Self {
        self.args(&["--upstream", &format!("{name}={url}")])
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs through another program, such as `unshare`, which gets the command line as its last arguments.
    pub fn through(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    pub fn run(self) -> Cache {
        let dir = self.root.is_none().then(|| Arc::new(tempfile::tempdir().unwrap()));
        let root = self.root.clone().unwrap_or_else(|| dir.as_ref().unwrap().path().join("cache"));
        self.run_in(root, dir)
    }

    fn command(&self, root: &Path) -> Command {
        let binary = env!("CARGO_BIN_EXE_talmirror-cache");
        let mut command = match &self.program {
            Some(program) => {
                let mut command = Command::new(program);
                command.arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.args(["serve", "--root", root.to_str().unwrap()]);
        if !self.args.iter().any(|arg| arg == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", root)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run_in(self, root: PathBuf, dir: Option<Arc<tempfile::TempDir>>) -> Cache {
        let mut child = self
            .command(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (send, bound) = std::sync::mpsc::channel();
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                {
                    let mut log = lines.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
                if let Some(rest) = line.strip_prefix("listening on ") {
                    let (_, address) = rest.split_once("://").unwrap();
                    let _ = send.send(address.split(',').next().unwrap().parse().unwrap());
                }
            }
        });
        let address = bound.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("it does not listen:\n{}", log.lock().unwrap())
        });
        Cache { address, root, child, log, start: self, dir }
    }
}

impl Cache {
    /// A cache of one registry.
    pub fn of(name: &str, url: &str) -> Self {
        Start::new().upstream(name, url).run()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    pub fn head(&self, path: &str) -> Answer {
        self.ask("HEAD", path, &[])
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut reading = self.open(method, path, headers);
        let length: usize =
            reading.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let length = if method == "HEAD" { 0 } else { length };
        let mut body = Vec::with_capacity(length);
        let mut first_byte = None;
        let mut piece = vec![0; 64 << 10];
        while body.len() < length {
            match reading.reader.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    first_byte.get_or_insert_with(|| reading.begun.elapsed());
                    body.extend_from_slice(&piece[..count]);
                }
            }
        }
        Answer {
            status: reading.status,
            whole: body.len() == length,
            body,
            first_byte,
            took: reading.begun.elapsed(),
            headers: reading.headers,
        }
    }

    /// Asks, and returns when the headers are there.
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reading {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: cache\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}\n{}", self.log()));
        let status = status.parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        Reading { status, headers, reader, begun }
    }

    /// The memory of the process, in KiB, without what is of files.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it as a service manager does; returns its exit code.
    pub fn stop(self) -> i32 {
        self.signal("TERM");
        self.ends()
    }

    /// Waits until it ends by itself; returns its exit code.
    pub fn ends(mut self) -> i32 {
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Kills it, and starts another one over the same folder.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.again()
    }

    /// Ends it in order, and starts another one over the same folder.
    pub fn restart(mut self) -> Self {
        self.signal("TERM");
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        self.again()
    }

    fn again(&self) -> Self {
        self.start.clone().run_in(self.root.clone(), self.dir.clone())
    }

    /// Runs another command of the program over the same folder, and returns its standard output.
    pub fn command(&self, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_talmirror-cache"))
            .args(args)
            .env_clear()
            .env("TALMIRROR_CACHE_ROOT", &self.root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if !std::thread::panicking() {
            assert!(!log.contains(crate::run::SECRET), "a secret in the log:\n{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

impl Reading {
    /// Reads exactly so many bytes of the body, or as many as come.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => filled += more,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Waits until something is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
