//! Each host of a pull asked by itself, as containerd asks it; and what its answers mean.

mod classify;
mod drill;
mod finding;
mod probe;
mod signatures;

pub use drill::{Lost, Stranded, drill};
pub use finding::{Finding, Group, fix, group};
pub use probe::{Access, Prober, Proof, Wanted};
pub use signatures::Signatures;
