//! Images and the mirrors they come through: what a cluster pulls, what each hop of a pull answers, what that means.
//!
//! All of it takes values and returns values; requests are sent by [`crate::oci`], nodes are asked by the commands.

pub mod scan;
