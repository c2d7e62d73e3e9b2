use super::replay::NodeHistory;
use crate::rollout::outcome::OutcomeKind;
use crate::rollout::state_machine::{Persisted, Variant};
use crate::rollout::step::ApplyStep;

/// What an earlier run has left to do on a node, before anything new is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing: it has its old config, its new one, or that of another operator or tool, and is planned for as any other.
    Nothing,
    /// The original has to be applied again: a trial may run.
    Revert,
    /// The commit has to be sent again: it may have been lost.
    Commit,
    /// The commit has arrived, and whether Talos has rendered it was not seen.
    Rendering,
    /// The reboot after the commit has not come.
    Reboot,
    /// A config came in the middle of it, and what that is is not known.
    Foreign,
}

/// Where a node is brought that was left in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To the config that it was nearer to.
    Nearest,
    /// To its old config: the inventory has lost it.
    Old,
}

impl Leftover {
    /// Returns what is left to do where a node is to end elsewhere than it was to.
    #[must_use]
    pub fn with_aim(self, aim: Aim) -> Self {
        match (aim, self) {
            (Aim::Old, Self::Commit) => Self::Revert,
            // It has the new config for good, and nothing else is done to it.
            (Aim::Old, Self::Reboot) => Self::Nothing,
            (Aim::Nearest | Aim::Old, left) => left,
        }
    }

    /// Returns whether something is sent to the node for it, or may be.
    pub fn sends(self) -> bool {
        match self {
            Self::Revert | Self::Commit | Self::Rendering | Self::Reboot => true,
            Self::Nothing | Self::Foreign => false,
        }
    }
}

/// Decides what is left to do on a node: by what it runs with first, and by the journal where that leaves it open.
///
/// After a boot, Talos does not tell a trial from a config that is on disk (`persistent` is not there): then the journal
/// says whether it was a trial or a commit that was under way.
pub fn leftover(history: &NodeHistory, active: Variant, disk: Persisted) -> Leftover {
    let (Some(sent), Some(_)) = (history.sent, &history.known) else { return Leftover::Nothing };
    let (committed, settled) = match history.outcome {
        Some(OutcomeKind::Updated | OutcomeKind::Unproven | OutcomeKind::WantsReboot) => (true, true),
        Some(OutcomeKind::Reverted | OutcomeKind::Untouched | OutcomeKind::Unchanged) => (false, true),
        Some(OutcomeKind::Unknown) | None => (false, false),
    };
    match (active, disk) {
        (Variant::Foreign, _) | (_, Persisted::Is(Variant::Foreign)) if settled => Leftover::Nothing,
        // The node keeps it: it is the node's own by now.
        (Variant::Foreign, Persisted::Is(Variant::Foreign)) => Leftover::Nothing,
        (Variant::Foreign, _) | (_, Persisted::Is(Variant::Foreign)) => Leftover::Foreign,
        (Variant::Original, Persisted::Is(Variant::Original) | Persisted::Unset | Persisted::Hidden) => {
            Leftover::Nothing
        }
        // What is on disk is told only of nodes that have not booted since.
        (Variant::Desired, Persisted::Is(Variant::Desired)) if history.wants_reboot() => Leftover::Reboot,
        // One that was refused has not come, though it was asked for.
        (Variant::Desired, Persisted::Hidden)
            if history.wants_reboot()
                && (!history.rebooted || history.outcome == Some(OutcomeKind::WantsReboot)) =>
        {
            Leftover::Reboot
        }
        (Variant::Desired, Persisted::Is(Variant::Desired)) if !settled && !sent.is_trial() => {
            Leftover::Rendering
        }
        (Variant::Desired, Persisted::Is(Variant::Desired)) => Leftover::Nothing,
        (Variant::Desired, Persisted::Unset | Persisted::Hidden) if committed => Leftover::Nothing,
        (Variant::Desired, _) if sent == ApplyStep::Commit => Leftover::Commit,
        (Variant::Desired | Variant::Strict, _) => Leftover::Revert,
        (Variant::Original, Persisted::Is(Variant::Strict | Variant::Desired)) => Leftover::Revert,
    }
}
