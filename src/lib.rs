//! Registry mirrors for Talos Linux clusters.
pub mod image;
pub mod import;
pub mod inventory;
pub mod machineconfig;
pub mod registries;
pub mod secret;
pub mod yaml;
