#![expect(clippy::disallowed_methods, reason = "reads CA certificates")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use url::Url;

use super::args::ConfigArgs;
use crate::cache::config::{Config, address, upstream_url};
use crate::cache::mirror_config::{Reached, containerd, podman, talos};
use crate::patch::Caution;
use crate::registries::TalosVersion;
use crate::ui::Ui;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::yaml::{Indent, emit_stream};

/// Where containerd's own default configuration looks for hosts.
const CERTS_D: &str = "/etc/containerd/certs.d";

/// Arguments of `mirror-config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a kind all of them are printed, each under a comment that says where it goes.

Examples:
  talmirror-cache mirror-config --url http://10.0.0.5:5000
  talmirror-cache mirror-config talos --url http://10.0.0.5:5000 | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin
  talmirror-cache mirror-config podman --url https://cache.example > /etc/containers/registries.conf.d/cache.conf"
)]
pub(super) struct MirrorConfigArgs {
    /// For whom
    #[arg(value_enum)]
    kind: Option<Kind>,
    /// The cache's URL as clients reach it; without it, what the configuration listens on
    #[arg(long, env = "TALMIRROR_CACHE_URL", value_name = "URL", value_parser = upstream_url)]
    url: Option<Url>,
    /// Where the cache listens, if that is not in the configuration
    #[arg(short, long, env = "TALMIRROR_CACHE_LISTEN", value_name = "ADDR", value_delimiter = ',', value_parser = address)]
    listen: Vec<std::net::SocketAddr>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Whether registries themselves are asked when the cache fails
    #[arg(long, env = "TALMIRROR_CACHE_FALLBACK", default_value = "upstream", value_name = "WHERE")]
    fallback: Fallback,
    /// The certificate of the cache's authority, PEM, if clients would not know it
    #[arg(long, env = "TALMIRROR_CACHE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The Talos version of the nodes; without it, a patch that every version takes
    #[arg(long, env = "TALMIRROR_CACHE_TALOS_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(TalosVersion))]
    talos_version: Option<TalosVersion>,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_MIRROR_CONFIG_OUTPUT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A patch for machine configs
    Talos,
    /// A hosts.toml a registry
    Containerd,
    /// A registries.conf: podman, CRI-O, skopeo, buildah
    Podman,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fallback {
    /// They are
    Upstream,
    /// They are not
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// As it goes into files
    Text,
    /// One object
    Json,
}

pub(super) fn run(ui: &mut Ui, args: &MirrorConfigArgs) -> Result<Exit, CliError> {
    let loaded = args.config.source().load()?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => own_url(ui, args, &loaded.config)?,
    };
    let ca = args.ca.as_ref().map(|file| {
        std::fs::read_to_string(file).map_err(|error| {
            CliError::from_error(exit::INVALID, error).context(format!("cannot read `{}`", file.display()))
        })
    });
    let reached = Reached {
        url,
        registries: loaded.config.upstreams.keys().cloned().collect(),
        fallback: args.fallback == Fallback::Upstream,
        ca: ca.transpose()?,
    };
    let kinds =
        args.kind.map_or_else(|| vec![Kind::Talos, Kind::Containerd, Kind::Podman], |kind| vec![kind]);
    let documents = if kinds.contains(&Kind::Talos) {
        let patch = talos(&reached, args.talos_version.as_ref())
            .map_err(|error| CliError::usage(error.to_string()).help(error.help()))?;
        let flags = |caution: &mut Caution| {
            // They are talmirror's, which can look at what a node has.
            if caution.help.contains("--") {
                "`talmirror generate --against CONFIG`, of an inventory, knows what is there"
                    .clone_into(&mut caution.help);
            }
        };
        let mut cautions = patch.cautions;
        cautions.iter_mut().for_each(flags);
        ui.cautions(&cautions);
        patch.files.into_iter().next().unwrap_or_default()
    } else {
        Vec::new()
    };
    let ca_path = args.ca.as_ref().map(|file| file.display().to_string());
    match args.output {
        Output::Json => {
            let mut object = Map::new();
            object.insert("apiVersion".to_owned(), "talmirror/v1".into());
            object.insert("kind".to_owned(), "MirrorConfig".into());
            object.insert("url".to_owned(), reached.url.as_str().trim_end_matches('/').into());
            for kind in kinds {
                let (key, value) = as_json(kind, &reached, &documents, ca_path.as_deref());
                object.insert(key.to_owned(), value);
            }
            ui.json(&Value::Object(object))?;
        }
        Output::Text => {
            let alone = args.kind.is_some();
            for (at, kind) in kinds.into_iter().enumerate() {
                if at > 0 {
                    ui.result("\n")?;
                }
                ui.result(&as_text(
                    kind,
                    &reached,
                    (args.talos_version.as_ref(), &documents),
                    ca_path.as_deref(),
                    alone,
                ))?;
            }
        }
    }
    Ok(exit::OK)
}

/// Returns the URL of where the cache listens.
fn own_url(ui: &mut Ui, args: &MirrorConfigArgs, config: &Config) -> Result<Url, CliError> {
    let address = args.listen.first().or(config.listen.first());
    let Some(address) = address.filter(|address| !address.ip().is_unspecified() && address.port() != 0)
    else {
        return Err(CliError::usage("the cache listens on every address, or on any port")
            .help("say how clients reach it: --url http://HOST:PORT"));
    };
    if address.ip().is_loopback() {
        ui.warn(
            &format!("{address} is reached from this machine only"),
            Some("say how clients reach the cache: --url http://HOST:PORT"),
        );
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    upstream_url(&format!("{scheme}://{address}")).map_err(CliError::usage)
}

fn as_json(kind: Kind, reached: &Reached, documents: &[Value], ca: Option<&str>) -> (&'static str, Value) {
    match kind {
        Kind::Talos => ("talos", documents.into()),
        Kind::Containerd => {
            let files = containerd(reached, ca).into_iter();
            let files =
                files.map(|(path, text)| json!({ "path": format!("{CERTS_D}/{path}"), "text": text }));
            ("containerd", files.collect())
        }
        Kind::Podman => ("podman", podman(reached).into()),
    }
}

fn as_text(
    kind: Kind,
    reached: &Reached,
    patch: (Option<&TalosVersion>, &[Value]),
    ca: Option<&str>,
    alone: bool,
) -> String {
    let head = |text: &str| if alone { String::new() } else { format!("# {text}\n") };
    match kind {
        Kind::Talos => {
            let (version, documents) = patch;
            let talos = version.map_or_else(|| "Talos".to_owned(), |version| format!("Talos {version}"));
            let head = head(&format!("{talos}: talosctl patch mc -p @FILE"));
            head + &emit_stream(documents, Indent::default())
        }
        Kind::Containerd => {
            let files = containerd(reached, ca);
            let files = files.iter().map(|(path, text)| format!("# {CERTS_D}/{path}\n{text}"));
            files.collect::<Vec<_>>().join("\n")
        }
        Kind::Podman => head("/etc/containers/registries.conf.d/talmirror-cache.conf") + &podman(reached),
    }
}
