#![expect(clippy::disallowed_methods, reason = "reads files, folders and the environment for images")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{Global, TalosArgs};
use super::encryption;
use super::input::environment;
use super::inventory::LoadedInventory;
use super::meant::InventoryNodes;
use super::session::{Selection, Session, tell_errors};
use crate::image::Platform;
use crate::kubernetes::{Access, Api, Kubeconfig, KubernetesError, ListOf, in_cluster, kubeconfig_files};
use crate::mirror::scan::{Images, InputError, node_platforms, read_bytes, read_stream, talos_images};
use crate::registries::TalosVersion;
use crate::secret::{Secret, claim_stdin, read_limited};
use crate::talos::{Instance, TalosError};
use crate::ui::{CliError, Ui, count, exit, positive_duration};

/// The largest file of a folder, and the largest file that a kubeconfig names.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// How deep folders are looked through.
const MAX_DEPTH: usize = 32;

/// Where images are found.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where images are found")]
pub(crate) struct ImageSources {
    /// Files and folders with objects, manifests or lists of images; `-` is standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) files: Vec<String>,
    /// The kubeconfig of the cluster; without it, the one that kubectl would take
    #[arg(long, env = "TALMIRROR_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in it; overrides the current one
    #[arg(long, env = "TALMIRROR_KUBE_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// What nodes have, over the Talos API: all nodes, or --nodes=n1,n2
    #[arg(
        long,
        env = "TALMIRROR_SCAN_NODES",
        value_name = "NODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_delimiter = ','
    )]
    pub(crate) nodes: Option<Vec<String>>,
    /// What this Talos version pulls by itself
    #[arg(long, env = "TALMIRROR_TALOS_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(TalosVersion))]
    pub(crate) talos_version: Option<TalosVersion>,
    /// The Kubernetes version of --talos-version; without it, the one that Talos version installs
    #[arg(long, env = "TALMIRROR_KUBERNETES_VERSION", value_name = "VERSION", requires = "talos_version")]
    pub(crate) kubernetes_version: Option<String>,
    /// The image factory's schematic of the installer of --talos-version
    #[arg(long, env = "TALMIRROR_SCHEMATIC", value_name = "ID", requires = "talos_version")]
    pub(crate) schematic: Option<String>,
    /// The talosconfig for --nodes; without it, the one that talosctl would take
    #[arg(long, env = "TALMIRROR_TALOSCONFIG", value_name = "FILE")]
    pub(crate) talosconfig: Option<String>,
    /// The context in the talosconfig
    #[arg(long, env = "TALMIRROR_CONTEXT", value_name = "NAME")]
    pub(crate) talos_context: Option<String>,
    /// The control plane nodes that calls go to; overrides the talosconfig's
    #[arg(short, long, env = "TALMIRROR_ENDPOINTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// How long one answer of the cluster or of a node may take
    #[arg(long, env = "TALMIRROR_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = positive_duration)]
    pub(crate) timeout: std::time::Duration,
}

/// What sources are asked for.
pub(super) enum Wanted<'a> {
    /// Images.
    Images,
    /// Images, and the platforms of the nodes, as far as the sources know them.
    ImagesAndPlatforms(&'a mut BTreeSet<Platform>),
}

impl ImageSources {
    /// Returns whether nothing is named, so that the cluster of the kubeconfig is meant.
    fn means_the_cluster(&self) -> bool {
        self.kubeconfig.is_some()
            || self.context.is_some()
            || (self.files.is_empty() && self.nodes.is_none() && self.talos_version.is_none())
    }

    /// Fails if standard input is to be read for more than one thing.
    pub(super) fn check_stdin(&self, global: &Global) -> Result<(), CliError> {
        let readers = std::iter::once(&global.inventory).chain(&self.files).filter(|name| *name == "-");
        if readers.count() > 1 {
            let message = "standard input is named twice, and can be read once";
            return Err(CliError::usage(message).help("put one of the two into a file, and name that"));
        }
        Ok(())
    }

    /// Returns how nodes are asked.
    pub(crate) fn talos(&self) -> TalosArgs {
        TalosArgs {
            talosconfig: self.talosconfig.clone(),
            context: self.talos_context.clone(),
            endpoints: self.endpoints.clone(),
            timeout: self.timeout,
            concurrency: std::num::NonZeroUsize::MIN.saturating_add(15),
        }
    }

    /// Finds the images, and tells what is strange about names.
    pub(super) fn find(
        &self,
        ui: &mut Ui,
        global: &Global,
        loaded: Option<&LoadedInventory>,
        wanted: Wanted<'_>,
        which: &InventoryNodes,
    ) -> Result<Images, CliError> {
        let mut images = Images::default();
        let mut platforms = wanted;
        for file in &self.files {
            read_file(ui, file, &mut images)?;
        }
        if self.means_the_cluster() {
            self.cluster(ui, global, &mut images, &mut platforms)?;
        }
        if let Some(nodes) = &self.nodes {
            self.of_nodes(ui, global, loaded, (nodes, which), &mut images, &mut platforms)?;
        }
        if let Some(version) = &self.talos_version {
            let kubernetes = self.kubernetes_version.as_deref();
            let found = talos_images(version, kubernetes, self.schematic.as_deref());
            let found = found.map_err(|error| {
                CliError::from_error(exit::USAGE, error)
                    .help("of a newer one, name the patch, such as v1.15.0, and --kubernetes-version")
            })?;
            if !found.unknown.is_empty() {
                let message = format!(
                    "Talos {version} is newer than this talmirror, which does not know its versions of {}",
                    found.unknown.join(", ")
                );
                ui.warn(&message, Some("give what that talosctl lists, too: talosctl image k8s-bundle"));
            }
            for (what, image) in found.images {
                images.insert(image, &format!("Talos {version} ({what})"));
            }
        }
        for note in images.notes() {
            ui.warn(&note.to_string(), None);
        }
        Ok(images)
    }

    /// Asks the cluster that the kubeconfig names.
    fn cluster(
        &self,
        ui: &mut Ui,
        global: &Global,
        images: &mut Images,
        wanted: &mut Wanted<'_>,
    ) -> Result<(), CliError> {
        let access = self.access(global)?;
        let api = Api::new(access, self.timeout)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::from_error(exit::REMOTE, error))?;
        let result = runtime.block_on(async {
            for what in ListOf::WITH_IMAGES {
                let listed = api
                    .list(what, &mut |page| {
                        read_bytes(&page, what.as_str(), images).map_err(|error| KubernetesError::Answer {
                            server: "the API".to_owned(),
                            what: what.as_str(),
                            why: error.to_string(),
                        })
                    })
                    .await;
                match listed {
                    // Without pods nothing is known of what runs; templates are worth a warning.
                    Err(error @ KubernetesError::Forbidden { .. }) if what != ListOf::Pods => {
                        ui.warn(
                            &error.to_string(),
                            Some("images that only its templates name are not listed"),
                        );
                    }
                    listed => listed?,
                }
            }
            let Wanted::ImagesAndPlatforms(platforms) = wanted else { return Ok(()) };
            let mut take = |page: bytes::Bytes| {
                platforms.extend(node_platforms(&page));
                Ok(())
            };
            match api.list(ListOf::Nodes, &mut take).await {
                Err(error @ KubernetesError::Forbidden { .. }) => {
                    ui.warn(&error.to_string(), Some("name the platforms of the nodes with --platform"));
                    Ok(())
                }
                listed => listed,
            }
        });
        // A name that is still being looked up knows no deadline.
        runtime.shutdown_background();
        Ok(result?)
    }

    fn access(&self, global: &Global) -> Result<Access, CliError> {
        let home = std::env::home_dir();
        let files = kubeconfig_files(
            self.kubeconfig.as_deref(),
            environment("KUBECONFIG").as_deref(),
            home.as_deref(),
        );
        let files = match files {
            Ok(files) => files,
            Err(error) => {
                let (host, port) =
                    (environment("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT"));
                return in_cluster(host.as_deref(), port.as_deref()).ok_or_else(|| error.into());
            }
        };
        let mut config = Kubeconfig::default();
        for file in files {
            let (text, _) = encryption::read(&file.display().to_string(), global)?;
            config.add(&file, text.expose())?;
        }
        let read = |path: &Path| {
            let bytes = File::open(path).and_then(|file| read_limited(file, MAX_BYTES))?;
            let text = String::from_utf8(bytes);
            Ok(Secret::new(text.map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?))
        };
        Ok(config.access(self.context.as_deref(), &read)?)
    }

    /// Asks nodes what they have.
    fn of_nodes(
        &self,
        ui: &mut Ui,
        global: &Global,
        loaded: Option<&LoadedInventory>,
        (nodes, which): (&[String], &InventoryNodes),
        images: &mut Images,
        wanted: &mut Wanted<'_>,
    ) -> Result<(), CliError> {
        let named: Vec<String> = nodes.iter().filter(|name| !name.is_empty()).cloned().collect();
        let selection = if named.is_empty() { which.selection() } else { Selection::Nodes(&named) };
        let mut session = Session::open(ui, global, &self.talos(), loaded, selection)?;
        session.narrow(loaded, &which.narrowing)?;
        let asks_platform = match &wanted {
            Wanted::Images => false,
            Wanted::ImagesAndPlatforms(_) => true,
        };
        let answers = session.each(|node| async move {
            let version = node.version().await?;
            let mut found = node.images(Instance::System).await?;
            found.extend(node.images(Instance::Cri).await?);
            if version.tag.parse::<TalosVersion>().is_ok_and(|version| version.runs_containers()) {
                found.extend(node.images(Instance::TalosContainers).await?);
            }
            // The installer, and what the config names and the node has not pulled yet.
            let config = match node.active_config().await {
                Ok(config) => Some(config.text),
                Err(TalosError::Denied { .. }) => None,
                Err(error) => return Err(error),
            };
            Ok::<_, TalosError>((found, config, asks_platform.then_some(version.arch)))
        });
        let mut failed = Vec::new();
        for (node, answer) in &answers {
            match answer {
                Ok((found, config, arch)) => {
                    if let (Wanted::ImagesAndPlatforms(platforms), Some(arch)) = (&mut *wanted, arch) {
                        platforms.extend(format!("linux/{arch}").parse::<Platform>());
                    }
                    let user = format!("node {}", node.name);
                    // Containerd lists an image by its digest and by its configuration too.
                    let names = found.iter().map(|image| image.name.as_str());
                    for image in names.filter(|name| !name.starts_with("sha256:")) {
                        match image.parse() {
                            Ok(image) => images.insert(image, &user),
                            Err(error) => ui.warn(&format!("{user}: `{image}`: {error}"), None),
                        }
                    }
                    if let Some(config) = config {
                        read_bytes(config.expose().as_bytes(), &format!("{user} (machine config)"), images)?;
                    }
                }
                Err(error) => failed.push((node, error)),
            }
        }
        tell_errors(ui, failed.iter().map(|(node, error)| (*node, *error)));
        if failed.len() == answers.len() {
            return Err(CliError::new(exit::REMOTE, "no node answers"));
        }
        Ok(())
    }
}

fn unreadable(file: &str, error: std::io::Error) -> CliError {
    CliError::from_error(exit::INVALID, error).context(format!("cannot read `{file}`"))
}

/// Reads a file, a folder or standard input.
fn read_file(ui: &mut Ui, file: &str, images: &mut Images) -> Result<(), CliError> {
    if file == "-" {
        let input = claim_stdin().map_err(|error| unreadable(file, error))?;
        return Ok(read_stream(input, "standard input", images)?);
    }
    let path = Path::new(file);
    if path.is_dir() {
        let before = images.len();
        let mut files = Vec::new();
        walk(path, 0, &mut files).map_err(|error| unreadable(file, error))?;
        for path in &files {
            let name = path.display().to_string();
            let bytes = File::open(path).and_then(|file| read_limited(file, MAX_BYTES));
            match bytes {
                Ok(bytes) => match read_bytes(&bytes, &name, images) {
                    Ok(()) | Err(InputError::NotText { .. }) => {}
                    Err(error) => ui.warn(&error.to_string(), Some("it is left out")),
                },
                Err(error) => ui.warn(&format!("cannot read `{name}`: {error}"), Some("it is left out")),
            }
        }
        if images.len() == before {
            ui.note(&format!("`{file}` names no image in {}", count(files.len(), "file")));
        }
        return Ok(());
    }
    let opened = File::open(path).map_err(|error| unreadable(file, error))?;
    Ok(read_stream(opened, file, images)?)
}

/// Finds the files of a folder that may name images, in order; hidden folders, such as `.git`, are passed over.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if kind.is_dir() && !hidden && depth < MAX_DEPTH {
            walk(&path, depth + 1, files)?;
        } else if kind.is_file()
            && path
                .extension()
                .and_then(|ending| ending.to_str())
                .is_some_and(|ending| ["yaml", "yml", "json"].contains(&ending))
        {
            files.push(path);
        }
    }
    Ok(())
}
