//! What is done to a node beside its config: images, reboots.

#![expect(clippy::disallowed_methods, reason = "waits for nodes")]

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::event::What;
use super::journal::Record;
use super::look_client::{boot_mark, chain, health_flaws};
use super::machine::{Reboot, Route, Seen};
use super::node_driver::{BARE, Hand};
use super::outcome::Outcome;
use crate::talos::{Instance, TalosError};

impl Hand {
    /// Pulls every image for both of a node's containerd namespaces.
    pub(super) async fn pull(&mut self) -> Seen {
        let crew = Arc::clone(&self.crew);
        for image in &crew.images {
            for instance in [Instance::System, Instance::Cri] {
                if let Err(error) = self.make_absent(image, instance).await {
                    return Seen::Failed(format!("{image} ({}): {error}", instance.as_str()));
                }
                let pulled = self.node.pull(image, instance, crew.pace.pull, &|_| {}).await;
                if let Err(error) = pulled {
                    return Seen::Failed(format!("{} ({})", chain(&error), instance.as_str()));
                }
                self.removed.retain(|(other, of)| other != image || *of != instance);
            }
        }
        Seen::Well
    }

    /// Removes an image that is there already: pulling it would prove nothing.
    pub(super) async fn make_absent(&mut self, image: &str, instance: Instance) -> Result<(), String> {
        let there = self
            .node
            .images(instance)
            .await
            .map_err(|error| chain(&error))?
            .iter()
            .any(|found| found.name == image);
        if !there {
            return Ok(());
        }
        if !self.version.has_image_service() {
            let text = format!("{image} is there already ({}): its pull proves nothing", instance.as_str());
            self.crew.tell(&self.name, What::Notes { text: text.clone() });
            self.unproven.push(text);
            return Ok(());
        }
        // What is not written down is not removed: it would be missed by whoever takes the rollout up again.
        let record = Record::Remove {
            node: self.name.clone(),
            image: image.to_owned(),
            instance: instance.as_str().to_owned(),
        };
        self.crew.journal.add(record).map_err(|error| chain(&error))?;
        self.removed.push((image.to_owned(), instance));
        self.node.remove_image(image, instance).await.map(drop).map_err(|error| chain(&error))
    }

    /// Pulls again what was removed; returns what is not there any more, or may not be.
    pub(super) async fn give_back_images(&mut self, outcome: &Outcome) -> Vec<String> {
        let mut lost = Vec::new();
        for (image, instance) in std::mem::take(&mut self.removed) {
            let name = format!("{image} ({})", instance.as_str());
            if matches!(outcome, Outcome::Unknown { .. }) {
                lost.push(name);
                continue;
            }
            let pulled = self.node.pull(&image, instance, self.crew.pace.pull, &|_| {}).await;
            if let Err(error) = pulled {
                let text = format!("{image} was there before and is not any more: {}", chain(&error));
                self.crew.tell(&self.name, What::Notes { text });
                lost.push(name);
            }
        }
        lost
    }

    /// Asks for a reboot, where nothing speaks against it any more than at the beginning.
    pub(super) async fn reboot(&mut self) -> Seen {
        if let Err(reason) = self.wait_until_well(self.role, Route { reboot: Reboot::After, ..BARE }).await {
            return Seen::NotSent(reason);
        }
        match boot_mark(&self.node).await {
            Ok(mark) => self.boot = mark,
            Err(error) => return Seen::Failed(chain(&error)),
        }
        if let Err(error) = self.crew.journal.add(Record::Reboot { node: self.name.clone() }) {
            return Seen::Failed(chain(&error));
        }
        match self.node.reboot().await {
            Ok(()) => Seen::Well,
            Err(error) if error.came_before_the_call() => Seen::NotSent(chain(&error)),
            Err(
                error @ (TalosError::Denied { .. }
                | TalosError::NotFound { .. }
                | TalosError::Unimplemented { .. }
                | TalosError::Failed { .. }),
            ) => Seen::Refused(chain(&error)),
            Err(error) => Seen::Lost(chain(&error)),
        }
    }

    /// Waits for another boot: the kernel's mark of it is another, or nothing was applied for good since.
    pub(super) async fn await_boot(&self) -> Seen {
        let end = Instant::now() + self.crew.pace.settle * 10;
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
                    flaws if flaws.is_empty() => return Seen::Well,
                    flaws => flaws.join("; "),
                },
                Ok(false) => "it has not rebooted yet".to_owned(),
                Err(error) => chain(&error),
            };
            if Instant::now() >= end {
                return Seen::Failed(why);
            }
            sleep(self.crew.pace.poll()).await;
        }
    }
}
