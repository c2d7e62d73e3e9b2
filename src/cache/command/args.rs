use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use ipnet::IpNet;
use url::Url;

use crate::cache::Glob;
use crate::cache::config::{
    self, BucketAddress, BucketOverlay, ByteSize, ConfigSource, Encryption, LogFormat, Overlay, OwnLimits,
    PeerOverlay, StatusPage, UpstreamProxy,
};
use crate::cache::observe::log_filter;
use crate::image::RegistryHost;
use crate::ui::{Color, duration};

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
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
#[command(next_help_heading = "Upstreams")]
pub(super) struct ConfigArgs {
    /// The configuration file; flags override what it says
    #[arg(short, long, env = "TALMIRROR_CACHE_CONFIG", value_name = "FILE", help_heading = "Configuration")]
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
    /// A token server that is meant, though it is under another domain than its registry
    #[arg(long, env = "TALMIRROR_CACHE_TOKEN_SERVER", value_name = "NAME=HOST", value_delimiter = ',', value_parser = config::named_host)]
    pub(super) token_server: Vec<(RegistryHost, String)>,
    /// Authorities that are trusted for one registry besides the system's: a file, PEM
    #[arg(long, env = "TALMIRROR_CACHE_UPSTREAM_CA", value_name = "NAME=FILE", value_delimiter = ',', value_parser = config::named_file)]
    pub(super) upstream_ca: Vec<(RegistryHost, PathBuf)>,
    /// The certificate that is shown to one registry, and to no host that it leads to: a file, PEM
    #[arg(long, env = "TALMIRROR_CACHE_UPSTREAM_CERT", value_name = "NAME=FILE", value_delimiter = ',', value_parser = config::named_file)]
    pub(super) upstream_cert: Vec<(RegistryHost, PathBuf)>,
    /// Its key: a file, PEM
    #[arg(long, env = "TALMIRROR_CACHE_UPSTREAM_KEY", value_name = "NAME=FILE", value_delimiter = ',', value_parser = config::named_file)]
    pub(super) upstream_key: Vec<(RegistryHost, PathBuf)>,
    /// The HTTP proxy through which one registry is reached, or NAME=none; several in the variable are separated by
    /// spaces, and a password belongs into the file or the variable
    #[arg(long, env = "TALMIRROR_CACHE_UPSTREAM_PROXY", hide_env_values = true, value_name = "NAME=URL", value_delimiter = ' ', value_parser = config::named_proxies)]
    pub(super) upstream_proxy: Vec<Vec<(RegistryHost, UpstreamProxy)>>,
    /// Headers that requests to one registry have, and to no host that it leads to: a file of lines `Name: value`
    #[arg(long, env = "TALMIRROR_CACHE_UPSTREAM_HEADERS", value_name = "NAME=FILE", value_delimiter = ',', value_parser = config::named_file)]
    pub(super) upstream_headers: Vec<(RegistryHost, PathBuf)>,
    /// A registry of a network of your own: its redirects and its token server may be anywhere there
    #[arg(long, env = "TALMIRROR_CACHE_PRIVATE", value_name = "NAME", value_delimiter = ',', value_parser = config::registry)]
    pub(super) private: Vec<RegistryHost>,
}

/// Which store a command is about.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// The configuration file, which says where content is kept
    #[arg(short, long, env = "TALMIRROR_CACHE_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<PathBuf>,
}

/// Where content lies.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Store")]
pub(super) struct RootArgs {
    /// The folder that content is kept in
    #[arg(long, env = "TALMIRROR_CACHE_ROOT", value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
}

/// A bucket that several caches share, and what it may hold.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BucketArgs {
    #[command(flatten)]
    access: BucketAccessArgs,
    /// How long an image stays in the bucket that no cache writes or serves any more, such as 720h; caches remove what no
    /// image needs only where this or a size is set
    #[arg(long, env = "TALMIRROR_CACHE_BUCKET_MAX_AGE", value_name = "TIME", value_parser = config::bucket_age)]
    bucket_max_age: Option<Duration>,
    /// The most that the bucket holds, such as 1TiB: images that are out of use longest go first
    #[arg(long, env = "TALMIRROR_CACHE_BUCKET_MAX_SIZE", value_name = "SIZE")]
    bucket_max_size: Option<ByteSize>,
}

/// A bucket that several caches share.
#[expect(clippy::doc_markdown, reason = "these are the texts of the help")]
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BucketAccessArgs {
    /// A bucket of an S3-compatible store behind the folder, which several caches share: s3://NAME/PREFIX. Its
    /// credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a web identity
    #[arg(long, env = "TALMIRROR_CACHE_BUCKET", value_name = "URL")]
    bucket: Option<BucketAddress>,
    /// Where the bucket's store is, such as https://rgw.example.com; without it, AWS
    #[arg(long, env = "TALMIRROR_CACHE_S3_ENDPOINT", value_name = "URL", value_parser = config::upstream_url)]
    s3_endpoint: Option<Url>,
    /// Name the bucket in the path of a request, not in its host
    #[arg(long, env = "TALMIRROR_CACHE_S3_PATH_STYLE", value_parser = FalseyValueParser::new())]
    s3_path_style: bool,
    /// The bucket's region; without it, AWS_REGION
    #[arg(long, env = "TALMIRROR_CACHE_S3_REGION", value_name = "NAME")]
    s3_region: Option<String>,
    /// Authorities that are trusted for the bucket's store besides the system's: a file, PEM
    #[arg(long, env = "TALMIRROR_CACHE_S3_CA", value_name = "FILE")]
    s3_ca: Option<PathBuf>,
    /// Ask the metadata service of the machine for credentials where nothing else gives some
    #[arg(long, env = "TALMIRROR_CACHE_S3_INSTANCE_METADATA", value_parser = FalseyValueParser::new())]
    s3_instance_metadata: bool,
    /// How the store is told to encrypt: AES256, aws:kms or aws:kms:KEY
    #[arg(long, env = "TALMIRROR_CACHE_S3_ENCRYPTION", value_name = "HOW")]
    s3_encryption: Option<Encryption>,
}

/// Which clients are sent to the bucket.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct RedirectArgs {
    /// A registry for whose blobs clients are sent to the bucket where they are there and not in the folder; only clients of a
    /// network: NAME=NETWORK. Never for what takes credentials to get it
    #[arg(long, env = "TALMIRROR_CACHE_REDIRECT", value_name = "NAME[=NETWORK]", value_delimiter = ',', value_parser = config::redirected)]
    redirect: Vec<(RegistryHost, Option<IpNet>)>,
    /// Where the bucket's store is for such clients, if not where it is for the cache
    #[arg(long, env = "TALMIRROR_CACHE_REDIRECT_ENDPOINT", value_name = "URL", value_parser = config::upstream_url)]
    redirect_endpoint: Option<Url>,
    /// For how long the address holds that they are told, 1m to 1h; 10m if nothing says otherwise
    #[arg(long, env = "TALMIRROR_CACHE_REDIRECT_EXPIRY", value_name = "TIME", value_parser = config::redirect_expiry)]
    redirect_expiry: Option<Duration>,
}

impl RedirectArgs {
    /// Adds what these flags say.
    pub(super) fn over(&self, overlay: Overlay) -> Overlay {
        let bucket = BucketOverlay {
            redirect_endpoint: self.redirect_endpoint.clone(),
            redirect_expiry: self.redirect_expiry,
            ..overlay.bucket
        };
        Overlay { redirects: self.redirect.clone(), bucket, ..overlay }
    }
}

/// How the caches on a bucket ask each other.
#[expect(clippy::struct_field_names, reason = "flags are named for their fields")]
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PeerArgs {
    /// Where the other caches on the bucket ask this one, so that a blob is fetched once between them
    #[arg(long, env = "TALMIRROR_CACHE_PEER_LISTEN", value_name = "ADDR", value_parser = config::address)]
    peer_listen: Option<SocketAddr>,
    /// This cache's URL, as the other caches reach it; without it, by the address that it listens on
    #[arg(long, env = "TALMIRROR_CACHE_PEER_URL", value_name = "URL", value_parser = config::peer_url)]
    peer_url: Option<Url>,
    /// The secret that all caches on the bucket have: a file
    #[arg(long, env = "TALMIRROR_CACHE_PEER_SECRET", value_name = "FILE")]
    peer_secret: Option<PathBuf>,
}

impl PeerArgs {
    /// Returns what these flags say about the other caches.
    pub(super) fn overlay(&self) -> PeerOverlay {
        PeerOverlay { listen: self.peer_listen, url: self.peer_url.clone(), secret: self.peer_secret.clone() }
    }
}

impl BucketArgs {
    /// Returns what these flags say about the bucket.
    pub(super) fn overlay(&self) -> BucketOverlay {
        BucketOverlay {
            max_age: self.bucket_max_age,
            max_size: self.bucket_max_size,
            ..self.access.overlay()
        }
    }
}

impl BucketAccessArgs {
    /// Returns what these flags say about the bucket.
    pub(super) fn overlay(&self) -> BucketOverlay {
        BucketOverlay {
            address: self.bucket.clone(),
            endpoint: self.s3_endpoint.clone(),
            path_style: self.s3_path_style,
            region: self.s3_region.clone(),
            ca: self.s3_ca.clone(),
            instance_metadata: self.s3_instance_metadata,
            encryption: self.s3_encryption.clone(),
            ..BucketOverlay::default()
        }
    }
}

/// What only the server needs to know.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Clients")]
pub(super) struct ServerArgs {
    /// Where to listen: 127.0.0.1:5000, or :5000 for every address; port 0 takes a free one
    #[arg(short, long, env = "TALMIRROR_CACHE_LISTEN", value_name = "ADDR", value_delimiter = ',', value_parser = config::address)]
    listen: Vec<SocketAddr>,
    /// Where to serve metrics and the status page
    #[arg(long, env = "TALMIRROR_CACHE_METRICS_LISTEN", value_name = "ADDR", value_parser = config::address)]
    metrics_listen: Option<SocketAddr>,
    /// Serve no status page where metrics are
    #[arg(long, env = "TALMIRROR_CACHE_NO_STATUS_PAGE", value_parser = FalseyValueParser::new())]
    no_status_page: bool,
    /// The most that content may take up, such as 50GiB; without it, by the free disk
    #[arg(long, env = "TALMIRROR_CACHE_SIZE_CAP", value_name = "SIZE", help_heading = "Store")]
    size_cap: Option<ByteSize>,
    /// What of the disk is left free in any case
    #[arg(long, env = "TALMIRROR_CACHE_RESERVE", value_name = "SIZE", help_heading = "Store")]
    reserve: Option<ByteSize>,
    /// Repositories whose content is never evicted, such as ghcr.io/siderolabs/*
    #[arg(
        long,
        env = "TALMIRROR_CACHE_PIN",
        value_name = "PATTERN",
        value_delimiter = ',',
        help_heading = "Store"
    )]
    pin: Vec<Glob>,
    /// How long every tag is believed without asking again; without it, by the look of the tag
    #[arg(long, env = "TALMIRROR_CACHE_TAG_TTL", value_name = "TIME", value_parser = duration, help_heading = "Upstreams")]
    tag_ttl: Option<Duration>,
    /// How long an upstream may take for the header of an answer; for one of them: NAME=TIME. Clients are told to come
    /// back after 25 s, and then join what is still under way
    #[arg(long, env = "TALMIRROR_CACHE_HEADER_TIMEOUT", value_name = "[NAME=]TIME", value_delimiter = ',', value_parser = limit_time, help_heading = "Upstreams")]
    header_timeout: Vec<Limit<Duration>>,
    /// How many blobs are downloaded at once from an upstream; for one of them: NAME=NUMBER
    #[arg(long, env = "TALMIRROR_CACHE_PER_UPSTREAM", value_name = "[NAME=]NUMBER", value_delimiter = ',', value_parser = limit_count, help_heading = "Upstreams")]
    per_upstream: Vec<Limit<usize>>,
    /// How long a request waits for others of its upstream to end
    #[arg(long, env = "TALMIRROR_CACHE_QUEUE_TIMEOUT", value_name = "[NAME=]TIME", value_delimiter = ',', value_parser = limit_time, help_heading = "Upstreams")]
    queue_timeout: Vec<Limit<Duration>>,
    /// The longest pause that an upstream can ask for
    #[arg(long, env = "TALMIRROR_CACHE_LONGEST_PAUSE", value_name = "[NAME=]TIME", value_delimiter = ',', value_parser = limit_time, help_heading = "Upstreams")]
    longest_pause: Vec<Limit<Duration>>,
    /// How often a blob is asked for again that fails before its first byte
    #[arg(long, env = "TALMIRROR_CACHE_RETRIES", value_name = "[NAME=]NUMBER", value_delimiter = ',', value_parser = limit_retries, help_heading = "Upstreams")]
    retries: Vec<Limit<u32>>,
    /// Users and passwords, as `htpasswd -B` writes them
    #[arg(long, env = "TALMIRROR_CACHE_HTPASSWD", value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// A certificate, PEM, read again when it changes
    #[arg(long, env = "TALMIRROR_CACHE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, env = "TALMIRROR_CACHE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How long transfers may take to end once it is told to stop; 30s if nothing says otherwise
    #[arg(long, env = "TALMIRROR_CACHE_DRAIN_TIMEOUT", value_name = "TIME", value_parser = duration)]
    drain_timeout: Option<Duration>,
    /// Proxies in front whose X-Forwarded-For is believed, such as 10.0.0.0/8
    #[arg(long, env = "TALMIRROR_CACHE_TRUSTED_PROXY", value_name = "NETWORK", value_delimiter = ',', value_parser = config::network)]
    trusted_proxy: Vec<IpNet>,
    /// What is logged: error, warn, info, debug, or a filter such as info,access=warn
    #[arg(long, env = "TALMIRROR_CACHE_LOG_LEVEL", value_name = "FILTER", value_parser = log_filter, help_heading = "Log")]
    log_level: Option<String>,
    /// How the log looks
    #[arg(long, env = "TALMIRROR_CACHE_LOG_FORMAT", value_name = "FORMAT", help_heading = "Log")]
    log_format: Option<LogFormat>,
}

/// A limit, for one upstream or for all.
type Limit<T> = (Option<RegistryHost>, T);

fn limit_time(text: &str) -> Result<Limit<Duration>, String> {
    config::limit(text, duration)
}

fn limit_count(text: &str) -> Result<Limit<usize>, String> {
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    config::limit(text, |text| number(text).ok_or_else(|| "it is not a number above 0".to_owned()))
}

fn limit_retries(text: &str) -> Result<Limit<u32>, String> {
    config::limit(text, |text| text.parse().map_err(|_| "it is not a number".to_owned()))
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
            token_servers: self.token_server.clone(),
            authorities: self.upstream_ca.clone(),
            certificates: self.upstream_cert.clone(),
            keys: self.upstream_key.clone(),
            proxies: self.upstream_proxy.concat(),
            header_files: self.upstream_headers.clone(),
            ..Overlay::default()
        }
    }
}

impl ServerArgs {
    fn limits(&self) -> Vec<(Option<RegistryHost>, OwnLimits)> {
        fn each<T: Copy>(
            limits: &[Limit<T>],
            of: impl Fn(T) -> OwnLimits,
        ) -> impl Iterator<Item = (Option<RegistryHost>, OwnLimits)> {
            limits.iter().map(move |(name, value)| (name.clone(), of(*value)))
        }
        let none = OwnLimits::default();
        each(&self.header_timeout, |header| OwnLimits { header: Some(header), ..none })
            .chain(each(&self.per_upstream, |bodies| OwnLimits { bodies: Some(bodies), ..none }))
            .chain(each(&self.queue_timeout, |queue| OwnLimits { queue: Some(queue), ..none }))
            .chain(each(&self.longest_pause, |pause| OwnLimits { pause: Some(pause), ..none }))
            .chain(each(&self.retries, |retries| OwnLimits { retries: Some(retries), ..none }))
            .collect()
    }

    /// Adds what these flags say.
    pub(super) fn over(&self, overlay: Overlay) -> Overlay {
        Overlay {
            listen: self.listen.clone(),
            metrics: self.metrics_listen,
            status_page: self.no_status_page.then_some(StatusPage::Hidden),
            size_cap: self.size_cap,
            reserve: self.reserve,
            pins: self.pin.clone(),
            tag_ttl: self.tag_ttl,
            limits: self.limits(),
            htpasswd: self.htpasswd.clone(),
            tls: self.tls_cert.clone().zip(self.tls_key.clone()),
            log_format: self.log_format,
            log_filter: self.log_level.clone(),
            drain_timeout: self.drain_timeout,
            trusted_proxies: self.trusted_proxy.clone(),
            ..overlay
        }
    }
}
