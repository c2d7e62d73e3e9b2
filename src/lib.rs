//! Registry mirrors for Talos Linux clusters.
pub mod image;
pub mod inventory;
pub mod patch;
pub mod registries;
pub mod secret;
pub mod sops;
pub mod yaml;
