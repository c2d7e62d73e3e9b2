//! The servers that are compared, each a process of its own in a folder of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::client::get;
use super::upstream::{MANIFEST, Upstream};

/// The files of a certificate.
pub struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    /// Makes a certificate that nobody trusts.
    pub fn make(dir: &Path) -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pair = Self { certificate: dir.join("tls.crt"), key: dir.join("tls.key") };
        fs::write(&pair.certificate, own.cert.pem()).unwrap();
        fs::write(&pair.key, own.signing_key.serialize_pem()).unwrap();
        pair
    }
}

/// A server that runs.
pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    /// What stands before `/manifests/` and `/blobs/`.
    pub base: String,
    /// Until it took connections.
    pub started: Duration,
    child: Child,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Peer {
    fn start(name: &str, base: &str, port: u16, command: &mut Command) -> Self {
        let start = Instant::now();
        let child = command.stdout(Stdio::null()).stdin(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_mins(2), "{name} does not listen");
            assert!(child.try_wait().unwrap().is_none(), "{name} ended");
            thread::sleep(Duration::from_millis(1));
        }
        Self { name: name.to_owned(), address, base: base.to_owned(), started: start.elapsed(), child }
    }

    /// The build that is measured: `TALMIRROR_CACHE`, else the one of this package.
    pub fn ours(dir: &Path, upstream: &Upstream) -> Self {
        Self::talmirror("talmirror-cache", &Self::program(), dir, upstream, None)
    }

    /// The same build behind a certificate.
    pub fn ours_tls(dir: &Path, upstream: &Upstream, pair: &Pair) -> Self {
        Self::talmirror("talmirror-cache", &Self::program(), &dir.join("tls"), upstream, Some(pair))
    }

    fn program() -> PathBuf {
        let own = || PathBuf::from(option_env!("CARGO_BIN_EXE_talmirror-cache").unwrap_or("talmirror-cache"));
        std::env::var_os("TALMIRROR_CACHE").map_or_else(own, PathBuf::from)
    }

    /// A server of the command line, `NAME=COMMAND`. A shell runs the command, with `PORT` to listen on (of 127.0.0.1), `UPSTREAM`
    /// to pull from (a URL), and `DIR`, an empty folder, in its environment. It serves the upstream's repository as `/v2/a` or as
    /// `/v2/bench.test/a`. A program alone whose name begins with `talmirror-cache` is started as ours is.
    pub fn named(peer: &str, dir: &Path, upstream: &Upstream) -> Self {
        let (name, command) =
            peer.split_once('=').unwrap_or_else(|| panic!("--peer {peer}: not NAME=COMMAND"));
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        assert!(plain, "--peer {peer}: a name is made of letters, digits, `-`, `_` and `.`");
        let program = Path::new(command);
        let ours = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if ours.starts_with("talmirror-cache") && !ours.contains(' ') {
            return Self::talmirror(name, program, dir, upstream, None);
        }
        let (port, folder) = (free_port(), dir.join(format!("peer-{name}")));
        fs::create_dir_all(&folder).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {command}")]).env("PORT", port.to_string()).env("DIR", folder);
        shell.env("UPSTREAM", format!("http://{}", upstream.address));
        let mut peer = Self::start(name, "/v2/a", port, &mut shell);
        let serves = |base: &str| get(peer.address, &format!("{base}/manifests/t")).bytes == MANIFEST as u64;
        let base = ["/v2/a", "/v2/bench.test/a"].into_iter().find(|base| serves(base));
        peer.base = base.unwrap_or_else(|| panic!("{name} serves no manifest of the upstream")).to_owned();
        peer
    }

    fn talmirror(name: &str, program: &Path, dir: &Path, upstream: &Upstream, pair: Option<&Pair>) -> Self {
        let port = free_port();
        fs::create_dir_all(dir).unwrap();
        let config = dir.join(format!("{name}.yaml"));
        // As its peers here: requests are not logged.
        fs::write(&config, "apiVersion: talmirror/v1\nkind: Cache\nlog: {filter: warn}\n").unwrap();
        let mut command = Command::new(program);
        command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}"), "--size-cap", "40GiB"]);
        command.args(["--upstream", &format!("bench.test=http://{}", upstream.address), "--tag-ttl", "1h"]);
        command.args(["--anonymous", "bench.test", "--reserve", "0"]);
        command.arg("--root").arg(dir.join(name)).arg("--config").arg(config);
        if let Some(pair) = pair {
            command.arg("--tls-cert").arg(&pair.certificate).arg("--tls-key").arg(&pair.key);
        }
        Self::start(name, "/v2/bench.test/a", port, &mut command)
    }

    /// Either kind of nginx: over the files of a folder, or as a cache whose followers wait.
    pub fn nginx(dir: &Path, upstream: Option<&Upstream>, pair: Option<&Pair>) -> Self {
        let port = free_port();
        let name = if upstream.is_some() { "nginx proxy_cache" } else { "nginx static" };
        let dir = dir.join(if pair.is_some() { "tls" } else { "." }).join(name.replace(' ', "-"));
        fs::create_dir_all(dir.join("files/v2/a/manifests")).unwrap();
        fs::create_dir_all(dir.join("files/v2/a/blobs")).unwrap();
        let location = upstream.map_or_else(
            || format!("root {}/files; default_type application/octet-stream;", dir.display()),
            |upstream| {
                format!(
                    "proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_cache z; proxy_cache_key $uri; \
                     proxy_cache_valid 200 1h; proxy_cache_lock on; proxy_cache_lock_timeout 600s; proxy_cache_lock_age 600s;",
                    upstream.address
                )
            },
        );
        let tls = pair.map_or_else(String::new, |pair| {
            let (certificate, key) = (pair.certificate.display(), pair.key.display());
            format!("ssl_certificate {certificate}; ssl_certificate_key {key};")
        });
        let ssl = if pair.is_some() { " ssl" } else { "" };
        let text = format!(
            "user root; daemon off; master_process on; worker_processes 2; pid {0}/pid; error_log {0}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=1000;\n\
             client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3; uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;\n\
             proxy_cache_path {0}/cache levels=1:2 keys_zone=z:10m max_size=40g use_temp_path=off; proxy_max_temp_file_size 0;\n\
             server {{ listen 127.0.0.1:{port}{ssl} backlog=4096; {tls} location / {{ {location} }} }} }}\n",
            dir.display()
        );
        let config = dir.join("nginx.conf");
        fs::write(&config, text).unwrap();
        Self::start(name, "/v2/a", port, Command::new("nginx").arg("-c").arg(&config).arg("-p").arg(&dir))
    }

    pub fn docker_registry(dir: &Path, upstream: &Upstream) -> Self {
        let port = free_port();
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\nproxy: {{remoteurl: 'http://{}'}}\n",
            dir.join("registry").display(),
            upstream.address
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        // Its traces would go to a collector that is not there.
        command.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
        Self::start("docker-registry", "/v2/a", port, &mut command)
    }

    /// Folder of the files that the static nginx of a folder serves.
    pub fn files(dir: &Path) -> PathBuf {
        dir.join("nginx-static/files/v2/a")
    }

    pub fn blob(&self, digest: &str) -> String {
        format!("{}/blobs/{digest}", self.base)
    }

    pub fn manifest(&self, reference: &str) -> String {
        format!("{}/manifests/{reference}", self.base)
    }

    /// The process and those that it started.
    fn processes(&self) -> Vec<u32> {
        let parent = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        std::iter::once(parent).chain(children).collect()
    }

    /// Returns the seconds of processor time used so far.
    pub fn cpu(&self) -> f64 {
        let ticks = |id: &u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields: Vec<u64> = stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .map(|field| field.parse().unwrap_or(0))
                .collect();
            fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)
        };
        self.processes().iter().map(ticks).sum::<u64>() as f64 / 100.0
    }

    /// Returns the MiB of memory in use, what is shared counted once.
    pub fn memory(&self) -> f64 {
        let kib = |id: &u32| {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0)
        };
        self.processes().iter().map(kib).sum::<f64>() / 1024.0
    }

    /// Keeps it on one processor, or lets it have all.
    pub fn pin(&self, processors: &str) {
        for id in self.processes() {
            let mut command = Command::new("taskset");
            command.args(["-a", "-c", "-p", processors, &id.to_string()]).stdout(Stdio::null());
            assert!(command.status().unwrap().success());
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
