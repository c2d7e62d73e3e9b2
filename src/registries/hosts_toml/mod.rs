//! containerd's `hosts.toml`, as Talos writes it and as it is found on a node.

mod model;
mod parse;

pub use model::{
    HOSTS_DIRECTORY, Host, HostsToml, IMAGE_CACHE_ENDPOINT, hosts_directory, hosts_path, hosts_registries,
};
pub use parse::HostsError;
