//! Images and the mirrors they come through: what a cluster pulls, what each hop of a pull answers, what that means.
//!
//! All of it takes values and returns values but [`verify::Prober`], which asks registries through [`crate::oci`]; nodes are
//! asked by the commands.

mod cause;
mod hops;
pub mod scan;
pub mod verify;

pub use cause::Cause;
pub use hops::{PullHop, hops};
