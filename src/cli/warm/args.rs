use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};

use crate::cli::images::ImageSources;
use crate::cli::meant::InventoryNodes;
use crate::mirror::warm::Mode;

/// Arguments of `warm`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every image is pulled through the first mirror of its route: manifests, layers, signatures and what else refers to it.
Layers are verified and thrown away; each is fetched once. Without a FILE, --nodes or --talos-version, the images of the
cluster of the kubeconfig are pulled. A FILE may be an inventory: the images of verify.images are pulled then.

Ctrl-C stops, and the same command goes on where it stopped: layers that came within the last 12 hours are not
fetched again.
--hub-reserve asks Docker Hub what is left of the quota, with the inventory's credentials of docker.io, before each of its
images. Ends with 1 when an image is not cached.

Examples:
  talmirror warm
  talmirror scan -o name | talmirror warm -
  talmirror warm images.txt --platform linux/amd64,linux/arm64
  talmirror warm --talos-version v1.14.1 --schematic 376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba
  talmirror warm mirrors.yaml --mode manifests
  talmirror warm --hub-reserve 30"
)]
pub(crate) struct WarmArgs {
    /// The platforms that are pulled, `all` for all of them; without it, those of the nodes where they are asked, else
    /// linux/amd64. Of an image by digest all are pulled
    #[arg(long, env = "TALMIRROR_WARM_PLATFORM", value_name = "PLATFORM", value_delimiter = ',')]
    pub(super) platform: Vec<String>,
    /// What is pulled
    #[arg(long, env = "TALMIRROR_WARM_MODE", value_name = "MODE", default_value = "blobs")]
    pub(super) mode: ModeName,
    /// How many images of one registry are pulled at once
    #[arg(long, env = "TALMIRROR_WARM_PARALLEL", value_name = "NUMBER", default_value = "4")]
    pub(super) parallel: NonZeroUsize,
    /// Leave so many pulls of Docker Hub's quota alone
    #[arg(long, env = "TALMIRROR_HUB_RESERVE", value_name = "NUMBER")]
    pub(super) hub_reserve: Option<u64>,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_WARM_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) sources: ImageSources,
    #[command(flatten)]
    pub(super) which: InventoryNodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// A list of images
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeName {
    /// Manifests and layers
    Blobs,
    /// Manifests: the mirror, such as Harbor, fetches the layers by itself, and is asked until it has them
    Manifests,
}

impl ModeName {
    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Blobs => Mode::Blobs,
            Self::Manifests => Mode::Manifests,
        }
    }
}
