//! Registry mirrors for Talos Linux clusters.
pub mod secret;
pub mod yaml;
