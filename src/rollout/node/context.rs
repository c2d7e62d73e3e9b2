#![expect(clippy::disallowed_methods, reason = "dates events")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::rollout::event::{Event, EventKind};
use crate::rollout::journal::Journal;
use crate::rollout::plan::NodePlan;
use crate::talos::NodeClient;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct RolloutTimeouts {
    /// A trial.
    pub trial: Duration,
    /// A node to be well, and to render a config; a boot may take ten times as long.
    pub settle: Duration,
    /// The pull of one image.
    pub pull: Duration,
}

impl RolloutTimeouts {
    pub(super) fn poll(&self) -> Duration {
        (self.settle / 20).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// How long after its call was given up a config may still arrive at the node: what is on the way is thrown away by
    /// the kernel after 10 s without an acknowledgement.
    pub fn landing(&self) -> Duration {
        self.settle.min(Duration::from_secs(12))
    }

    /// How long before a trial's end nothing more is begun in it: so that a way back does not race the node's own.
    pub(super) fn margin(&self) -> Duration {
        (self.trial / 5).min(Duration::from_secs(10))
    }
}

/// What a control plane node has to be for others to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Well.
    Well,
    /// Anything: its user knows that it is down. The others have to keep etcd's quorum without it.
    Anything,
}

/// A control plane node whose etcd is asked before another is changed.
#[derive(Clone, Debug)]
pub struct ControlPlaneNode {
    /// Its name.
    pub name: String,
    /// Its API.
    pub node: NodeClient,
    /// What it has to be.
    pub health: Wanted,
}

/// What all nodes of a rollout share.
#[derive(Debug)]
pub struct RolloutContext {
    /// The journal.
    pub journal: Journal,
    /// How long things may take.
    pub pace: RolloutTimeouts,
    /// The images that are pulled.
    pub images: Vec<String>,
    /// The cluster's control plane nodes, as far as they are known.
    pub control_plane: Vec<ControlPlaneNode>,
    /// Where what happens is told.
    events: mpsc::UnboundedSender<Event>,
    /// Whether the user wants to stop.
    stop: watch::Receiver<bool>,
}

/// Where a rollout is listened to and told to stop.
#[derive(Debug)]
pub struct RolloutHandle {
    /// What happens.
    pub events: mpsc::UnboundedReceiver<Event>,
    stop: watch::Sender<bool>,
}

impl RolloutHandle {
    /// Asks the rollout to stop: nodes that are worked on are brought to one config or the other first.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl RolloutContext {
    /// Makes one, and what it is listened to with.
    pub fn new(
        journal: Journal,
        pace: RolloutTimeouts,
        images: Vec<String>,
        control_plane: Vec<ControlPlaneNode>,
    ) -> (Arc<Self>, RolloutHandle) {
        let (sender, events) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let context = Self { journal, pace, images, control_plane, events: sender, stop: stopped };
        (Arc::new(context), RolloutHandle { events, stop })
    }

    /// Returns whether the user wants to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the user wants to stop.
    pub(in crate::rollout) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // Nothing is left that could ask for it.
            std::future::pending::<()>().await;
        }
    }

    /// Tells what happens; that nothing listens is not a reason to stop.
    pub(in crate::rollout) fn tell(&self, node: &str, kind: EventKind) {
        let _ = self.events.send(Event { at: Timestamp::now(), node: node.to_owned(), kind });
    }
}

/// A node that is to be worked on.
#[derive(Clone, Debug)]
pub struct NodeJob {
    /// Its name.
    pub name: String,
    /// What the journal calls it: another name, where it had that when the rollout began.
    pub kept_as: String,
    /// Its API.
    pub node: NodeClient,
    /// What is to be done.
    pub plan: NodePlan,
}
