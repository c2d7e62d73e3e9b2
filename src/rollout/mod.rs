//! Registries on live nodes: node by node, tried, verified, committed, else reverted.
//!
//! # What happens to a node
//!
//! [`NodePlan`] says what a node gets, [`waves`] in which order, [`NodeState`] which step follows on what was seen,
//! [`SentConfigs`] what the node does when nothing more is sent to it, and [`rendering_flaws`] whether Talos has made of a
//! config what it should. These are pure. [`run_waves`], [`resume_node`] and [`roll_back_node`] carry the steps out, and
//! write each into the [`Journal`] before they take it.
//!
//! A node is never left to anything but its old config or its new one: see [`NodeState`] for why a node has one trial.

mod event;
mod found;
mod health;
mod if_abandoned;
mod journal;
mod node;
mod outcome;
mod plan;
mod previous;
mod proof;
mod rendered;
mod resume;
mod rollback;
mod run;
mod state_machine;
mod step;
mod variants;
mod waves;

pub use event::{Event, EventKind};
pub use found::Decrypt;
pub use health::{Absence, etcd_flaws, node_flaws};
pub use if_abandoned::{Beneath, ForeignConfig, IfAbandoned, SentConfigs, TrialTimer};
pub use journal::{
    Address, Aim, ELSEWHERE, Entry, History, HistoryState, Journal, JournalError, KnownBy, Leftover,
    NAME as JOURNAL, NameTaken, NodeHistory, Record, Resumed, StoreError, Witness, elsewhere, file_name,
    latest, leftover, lock, newest, read_history, remember,
};
pub use node::{
    ControlPlaneNode, NodeJob, RolloutContext, RolloutHandle, RolloutTimeouts, Wanted, control_plane_flaws,
    quorum_obstacle,
};
pub use outcome::{Outcome, OutcomeKind};
pub use plan::{NodePlan, OwedReboot, PlanOptions, RebootPolicy, Refusal};
pub use previous::{PreviousRollout, Unfinished, may_be_on_trial};
pub use proof::{proves, unasked, unproven};
pub use rendered::{Rendered, hosts_to_read, rendering_flaws};
pub use resume::{inspect_leftover, resume_node};
pub use rollback::{finish_rollback, roll_back_node};
pub use run::{Policy, Summary, run_waves};
pub use state_machine::{
    Action, Checkpoint, NodeState, Persisted, Probe, PullTime, Reboot, Route, StepResult, Strict, Variant,
};
pub use step::{ApplyResult, ApplyStep, Step};
pub use variants::{ConfigDigest, ConfigError, Proof, VariantDigests, Variants, form, registries_of, strict};
pub use waves::{Ordering, Placed, Stage, Wave, waves};
