//! Rolling registries out over the Talos API: node by node, tried, verified, committed, else reverted.
//!
//! [`NodePlan`] says what a node gets, [`waves`] in which order, [`Progress`] which step follows on what was seen, and
//! [`rendering_flaws`] whether Talos has made of a config what it should. These are pure. [`roll`], [`settle`] and
//! [`restore`] carry the steps out, and write each into the [`Journal`] before they take it.
//!
//! A node is never left to anything but its old config or its new one: see [`Progress`] for the order of trials, and for
//! what a node does when nobody reaches it any more.

mod act_driver;
mod config;
mod driver;
mod earlier;
mod event;
mod gate;
mod journal;
mod journal_file;
mod look_client;
mod machine;
mod node_driver;
mod order;
mod outcome;
mod plan;
mod proof;
mod verdict;

pub use config::{ConfigError, Configs, Digest, Known, Proof, form, registries_of, strict};
pub use driver::{Decrypt, Policy, Summary, finished, look, restore, roll, settle};
pub use earlier::{Earlier, may_be_on_trial};
pub use event::{Event, What};
pub use gate::{Absence, etcd_flaws, node_flaws};
pub use journal::{Address, History, JournalError, Left, Line, NodeHistory, Record, file_name, left};
pub use journal_file::{
    ELSEWHERE, Journal, NAME as JOURNAL, StoreError, elsewhere, history, latest, lock, newest, remember,
};
pub use machine::{Action, OnDisk, Probe, Progress, Reboot, Route, Seen, Sending, Strict, Watch, Which};
pub use node_driver::{Crew, Pace, Subject};
pub use order::{Ordering, Placed, Stage, Wave, waves};
pub use outcome::{ByItself, Clock, Outcome};
pub use plan::{NodePlan, RebootPolicy, Refusal, Wishes};
pub use proof::{proves, unasked, unproven};
pub use verdict::{Rendered, hosts_to_read, rendering_flaws};
