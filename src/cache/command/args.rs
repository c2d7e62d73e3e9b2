use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use url::Url;

use crate::cache::Glob;
use crate::cache::config::{self, ByteSize, ConfigSource, LogFormat, Overlay};
use crate::image::RegistryHost;
use crate::ui::{Color, duration};

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(super) struct Global {
    /// When to colour
    #[arg(long, env = "TALMIRROR_CACHE_COLOR", default_value = "auto", global = true, value_name = "WHEN")]
    pub(super) color: Color,
    /// Say nothing but results, warnings and errors
    #[arg(short, long, env = "TALMIRROR_CACHE_QUIET", global = true, value_parser = FalseyValueParser::new())]
    pub(super) quiet: bool,
}

/// The configuration: a file, and flags over it.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file; flags override what it says
    #[arg(short, long, env = "TALMIRROR_CACHE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A registry, and where it is asked; several of one name are tried in order. Without a file, those named here are
    /// the only ones
    #[arg(short, long, env = "TALMIRROR_CACHE_UPSTREAM", value_name = "NAME=URL", value_delimiter = ',', value_parser = config::named_url)]
    pub(super) upstream: Vec<(RegistryHost, Url)>,
    /// A registry's credentials: a dockerconfigjson, read again when it changes
    #[arg(long, env = "TALMIRROR_CACHE_CREDENTIALS", value_name = "NAME=FILE", value_delimiter = ',', value_parser = config::named_file)]
    pub(super) credentials: Vec<(RegistryHost, PathBuf)>,
    /// A registry whose content goes to anyone, although it takes credentials to get it
    #[arg(long, env = "TALMIRROR_CACHE_ANONYMOUS", value_name = "NAME", value_delimiter = ',', value_parser = config::registry)]
    pub(super) anonymous: Vec<RegistryHost>,
    /// A registry that may lead to addresses of private networks, as one of your own does
    #[arg(long, env = "TALMIRROR_CACHE_PRIVATE", value_name = "NAME", value_delimiter = ',', value_parser = config::registry)]
    pub(super) private: Vec<RegistryHost>,
}

/// Where content lies.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct RootArgs {
    /// The folder that content is kept in
    #[arg(long, env = "TALMIRROR_CACHE_ROOT", value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
}

/// What only the server needs to know.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServerArgs {
    /// Where to listen: 127.0.0.1:5000, or :5000 for every address; port 0 takes a free one
    #[arg(short, long, env = "TALMIRROR_CACHE_LISTEN", value_name = "ADDR", value_delimiter = ',', value_parser = config::address)]
    listen: Vec<SocketAddr>,
    /// Where to serve metrics
    #[arg(long, env = "TALMIRROR_CACHE_METRICS_LISTEN", value_name = "ADDR", value_parser = config::address)]
    metrics_listen: Option<SocketAddr>,
    /// The most that content may take up, such as 50GiB; without it, by the free disk
    #[arg(long, env = "TALMIRROR_CACHE_SIZE_CAP", value_name = "SIZE")]
    size_cap: Option<ByteSize>,
    /// What of the disk is left free in any case
    #[arg(long, env = "TALMIRROR_CACHE_RESERVE", value_name = "SIZE")]
    reserve: Option<ByteSize>,
    /// Repositories whose content is never evicted, such as ghcr.io/siderolabs/*
    #[arg(long, env = "TALMIRROR_CACHE_PIN", value_name = "PATTERN", value_delimiter = ',')]
    pin: Vec<Glob>,
    /// How long every tag is believed without asking again; without it, by the look of the tag
    #[arg(long, env = "TALMIRROR_CACHE_TAG_TTL", value_name = "TIME", value_parser = duration)]
    tag_ttl: Option<Duration>,
    /// Users and passwords, as `htpasswd -B` writes them
    #[arg(long, env = "TALMIRROR_CACHE_HTPASSWD", value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// A certificate, PEM, read again when it changes
    #[arg(long, env = "TALMIRROR_CACHE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, env = "TALMIRROR_CACHE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How the log looks
    #[arg(long, env = "TALMIRROR_CACHE_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl ConfigArgs {
    /// Returns where the configuration comes from.
    pub(super) fn source(&self) -> ConfigSource {
        ConfigSource { file: self.config.clone(), overlay: self.overlay() }
    }

    /// Returns what these flags say.
    pub(super) fn overlay(&self) -> Overlay {
        Overlay {
            upstreams: self.upstream.clone(),
            credentials: self.credentials.clone(),
            anonymous: self.anonymous.clone(),
            private: self.private.clone(),
            ..Overlay::default()
        }
    }
}

impl ServerArgs {
    /// Adds what these flags say.
    pub(super) fn over(&self, overlay: Overlay) -> Overlay {
        Overlay {
            listen: self.listen.clone(),
            metrics: self.metrics_listen,
            size_cap: self.size_cap,
            reserve: self.reserve,
            pins: self.pin.clone(),
            tag_ttl: self.tag_ttl,
            htpasswd: self.htpasswd.clone(),
            tls: self.tls_cert.clone().zip(self.tls_key.clone()),
            log_format: self.log_format,
            ..overlay
        }
    }
}
