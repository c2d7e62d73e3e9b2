//! Registry mirrors for Talos Linux clusters.
pub mod secret;
pub mod sops;
pub mod yaml;
