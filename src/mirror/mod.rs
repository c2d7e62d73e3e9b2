//! Images and the mirrors they come through: what a cluster pulls, what each hop of a pull answers, what that means.
//!
//! All of it takes values and returns values but [`verify::Prober`] and [`warm::Warmer`], which ask registries through
//! [`crate::oci`]; nodes are asked by the commands.

mod cause;
mod clients;
mod hops;
pub mod scan;
pub mod verify;
pub mod warm;
pub mod why;

pub use cause::Cause;
pub use clients::Access;
pub use hops::{PullHop, hops};
pub use verify::signature_lookups;
