#![expect(clippy::disallowed_methods, reason = "waits for nodes")]

use tokio::time::{Instant, sleep};

use super::observe::{boot_mark, health_flaws};
use super::runner::{BARE, NodeRunner};
use crate::finding::one_line;
use crate::rollout::journal::Record;
use crate::rollout::state_machine::{Reboot, Route, StepResult, Variant};
use crate::talos::TalosError;

impl NodeRunner {
    /// Asks for a reboot, where nothing speaks against it any more than at the beginning.
    pub(super) async fn reboot(&mut self) -> StepResult {
        if let Err(reason) = self.wait_until_well(self.role, Route { reboot: Reboot::After, ..BARE }).await {
            return StepResult::NotSent(reason);
        }
        // What another operator has on trial would end with it, and what is staged would come.
        let expected =
            if self.known.original == self.known.desired { Variant::Original } else { Variant::Desired };
        match self.runs().await {
            StepResult::Runs(active, disk) if active == expected && disk.may_be(expected) => {}
            StepResult::Runs(..) => {
                return StepResult::NotSent("its config is another by now, on trial or for good".to_owned());
            }
            other => return other,
        }
        match boot_mark(&self.node).await {
            Ok(mark) => self.boot = mark,
            Err(error) => return StepResult::Failed(one_line(&error)),
        }
        if let Err(error) = self.context.journal.add(Record::Reboot { node: self.kept_as.clone() }) {
            return StepResult::Failed(one_line(&error));
        }
        match self.node.reboot().await {
            Ok(()) => StepResult::Well,
            Err(error) => StepResult::of(&error),
        }
    }

    /// Waits for another boot: the kernel's mark of it is another, or nothing was applied for good since.
    pub(super) async fn await_boot(&self) -> StepResult {
        let end = Instant::now() + self.context.pace.settle * 10;
        loop {
            let look = async {
                let booted = match &self.boot {
                    Some(mark) => boot_mark(&self.node).await?.is_some_and(|now| now != *mark),
                    None => self.node.persistent_config().await?.is_none(),
                };
                Ok::<_, TalosError>(booted)
            };
            let why = match look.await {
                Ok(true) => match health_flaws(&self.node).await {
                    flaws if flaws.is_empty() => return StepResult::Well,
                    flaws => flaws.join("; "),
                },
                Ok(false) => "it has not rebooted yet".to_owned(),
                Err(error) => one_line(&error),
            };
            if Instant::now() >= end {
                return StepResult::Failed(why);
            }
            sleep(self.context.pace.poll()).await;
        }
    }
}
