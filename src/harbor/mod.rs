//! Harbor from an inventory: a registry and a proxy project for each upstream, and one robot that pulls from all of them.
//!
//! What should be ([`Desired`]) comes from the inventory, what is ([`Actual`]) from Harbor's answers; [`reconcile`] tells
//! what differs, and is all that decides. [`apply`] reads, reconciles, does, and begins again until nothing differs: so a run
//! that was killed is resumed by the next one, and two runs at once end in the same state.
//!
//! A robot's secret is made here, sealed into the inventory, and only then told to Harbor: a secret that Harbor makes is shown
//! once, and a run that is killed then has lost it.
//!
//! What Harbor's API does that its description does not say is noted where it matters; the versions 2.9.5, 2.12.4 and 2.15.2
//! were looked at.

mod actual;
mod apply;
mod body;
mod change;
mod client;
mod desired;
mod error;
mod export;
mod observe;
mod plan;
mod reconcile;
mod robot;
mod rotate;
mod status;
mod version;

pub use actual::{
    Access, Actual, Credential, GcSchedule, Kept, Login, Permission, Project, QuotaProject, QuotaState,
    Registry, RetentionPolicy, RetentionRule, Robot, Schedule, Selector, Storage, SystemInfo, Trigger,
    TriggerSettings,
};
pub use apply::{Applied, ApplyError, CredentialStore, Event, Failure, apply};
pub use change::{Action, Change, ChangeView, RegistryField, SecretFrom};
pub use client::{Account, Harbor, Reply};
pub use desired::{Adapter, Desired, DesiredError, MARK, WantedProject, WantedRobot, harbors};
pub use error::{HarborError, Refused};
pub use export::{Exported, export};
pub use observe::{observe, survey};
pub use plan::{Notice, Options, Plan, Weight};
pub use reconcile::reconcile;
pub use robot::{DEFAULT_PREFIX, RobotName, SECOND, is_strong, make_secret, other_name, robot_name};
pub use rotate::{Overlap, RotateError, Rotated, rotate};
pub use status::{Artifact, Cached, GcRun, Health, Status, status};
pub use version::{HarborVersion, VersionError};
