//! The Talos API: talosconfig, certificates, a connection that passes calls on to nodes, resources, services.
//!
//! Calls go to an endpoint, which passes them on to the one node that the call names: errors are then the node's own.
//! TLS is made here and not by the gRPC library, so that a refused certificate is not a broken pipe.

mod boot_config;
mod calls;
mod certificate;
mod client;
mod config;
mod config_path;
mod customization;
mod dial;
mod endpoint;
mod error;
mod etcd;
mod foreign_hosts;
mod identity;
mod images;
mod link;
mod logs;
mod observe;
mod proto;
mod proxy;
mod reboot;
mod registry_configs;
mod resource;
#[cfg(test)]
mod tests;
mod tls;
mod virtual_addresses;

pub use crate::tls::crypto_provider;
pub use boot_config::{BootConfig, Origin, boot_config};
pub use certificate::{Certificate, CertificateError, Issuer, authority_keys, check};
pub use client::{Applied, Client, DryRun, Mode, NodeClient, Patience, ProxyFor, Service, Version};
pub use config::{Basic, Config, ConfigError, Context};
pub use config_path::{Found, NotFound, find};
pub use customization::{CUSTOMIZATION, customized_credentials};
pub use endpoint::{Endpoint, EndpointError, Target};
pub use error::{Delivery, SetupError, TalosError};
pub use etcd::{Etcd, EtcdMember};
pub use foreign_hosts::foreign_hosts;
pub use identity::Identity;
pub use images::{Image, Instance, PullProgress, Pulled, Verification};
pub use observe::{Observation, observe, owes_reboot};
pub use proxy::{Proxy, ProxyError, choose as choose_proxy};
pub use registry_configs::read_registry_configs;
pub use resource::{
    ACTIVE_CONFIG, ConfigResource, IMAGE_CACHE, Kind, MACHINE_STATUS, MACHINE_TYPE, MachineStatus,
    PERSISTENT_CONFIG, Pending, REGISTRY_CONFIGS, Resource, TIME_STATUS,
};
