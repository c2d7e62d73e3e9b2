//! One node: what is read of it, sent to it, pulled on it, and its reboot.

mod context;
mod images;
mod observe;
mod reboot;
mod runner;
mod sending;

pub use context::{ControlPlaneNode, NodeJob, RolloutContext, RolloutHandle, RolloutTimeouts, Wanted};
pub(super) use observe::health_flaws;
pub use observe::{control_plane_flaws, quorum_obstacle};
pub(super) use runner::{BARE, NodeRunner, work};
