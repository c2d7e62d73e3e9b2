//! What the unit tests share with the simulated cluster.

#[path = "../../examples/simulated-cluster/sim/authority.rs"]
#[allow(dead_code, unreachable_pub, clippy::format_push_string, reason = "shared with the simulated cluster")]
pub(crate) mod authority;
