//! A simulated Talos cluster: nodes that answer over the Talos API as each version does, as far as registries go.
//!
//! The example `simulated-cluster` starts one for people, the tests start their own in the same process. Behaviour is
//! that of Talos' `v1alpha1_server.go`, apid's `director.go` and containerd's resolver; secrets begin with `s3cr3t-`.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::result_large_err,
    clippy::struct_field_names,
    reason = "the example and the tests each use a part of it"
)]

mod accept;
mod api;
pub mod authority;
mod cluster;
mod config;
mod event;
mod fault;
mod line;
mod node;
mod pull;
mod registry;
mod render;
mod resources;
mod rules;
mod verify;

pub use authority::{Authority, Pair};
pub use cluster::{Cluster, Listeners, Options, Spec};
pub use config::{machine_config, old_registries};
pub use event::{Apply, Event, What, digest};
pub use fault::{Fault, Kind, Step};
pub use node::{CUSTOMIZATION, Node, State, Text, Trial};
pub use pull::pull;
pub use registry::{Answer as RegistryAnswer, Hit, Registry};

/// The messages of `src/talos/proto`, as servers have them: `tests/it/generated.rs` makes them again.
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, rust_2018_idioms)]
pub mod proto {
    include!("generated/mod.rs");
}
