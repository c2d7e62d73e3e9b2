//! Each host of a pull asked by itself, as containerd asks it; and what its answers mean.

mod classify;
mod drill;
mod finding;
mod probe;
mod signatures;

pub(super) use classify::classify;
pub use drill::{Lost, Stranded, drill};
pub use finding::{Finding, Group, fix, group};
pub use probe::{Prober, Proof, Wanted};
pub(super) use signatures::tags_of;
pub use signatures::{Signatures, signature_lookups};
