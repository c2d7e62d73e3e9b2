use std::sync::Arc;

use super::runner::NodeRunner;
use crate::finding::one_line;
use crate::rollout::event::EventKind;
use crate::rollout::journal::Record;
use crate::rollout::outcome::Outcome;
use crate::rollout::state_machine::StepResult;
use crate::talos::Instance;

impl NodeRunner {
    /// Pulls every image for both of a node's containerd namespaces.
    pub(super) async fn pull(&mut self) -> StepResult {
        let context = Arc::clone(&self.context);
        for image in &context.images {
            for instance in [Instance::System, Instance::Cri] {
                if let Err(error) = self.remove_before_pull(image, instance).await {
                    return StepResult::Failed(format!("{image} ({}): {error}", instance.as_str()));
                }
                let pulled = self.node.pull(image, instance, context.pace.pull, &|_| {}).await;
                if let Err(error) = pulled {
                    return StepResult::Failed(format!("{} ({})", one_line(&error), instance.as_str()));
                }
                self.removed.retain(|(other, of)| other != image || *of != instance);
            }
        }
        StepResult::Well
    }

    /// Removes an image that is there already: pulling it would prove nothing.
    pub(super) async fn remove_before_pull(&mut self, image: &str, instance: Instance) -> Result<(), String> {
        let there = self
            .node
            .images(instance)
            .await
            .map_err(|error| one_line(&error))?
            .iter()
            .any(|found| found.name == image);
        if !there {
            return Ok(());
        }
        if !self.version.has_image_service() {
            let text = format!("{image} is there already ({}): its pull proves nothing", instance.as_str());
            self.context.tell(&self.name, EventKind::Notes { text: text.clone() });
            self.unproven.push(text);
            return Ok(());
        }
        // What is not written down is not removed: a resumed rollout would not know of it.
        let record = Record::Remove { node: self.kept_as.clone(), image: image.to_owned(), instance };
        self.context.journal.add(record).map_err(|error| one_line(&error))?;
        self.removed.push((image.to_owned(), instance));
        self.node.remove_image(image, instance).await.map(drop).map_err(|error| one_line(&error))
    }

    /// Pulls again what was removed; returns what is not there any more, or may not be.
    pub(in crate::rollout) async fn restore_images(&mut self, outcome: &Outcome) -> Vec<String> {
        let mut lost = Vec::new();
        for (image, instance) in std::mem::take(&mut self.removed) {
            let name = format!("{image} ({})", instance.as_str());
            if matches!(outcome, Outcome::Unknown { .. }) {
                lost.push(name);
                continue;
            }
            let pulled = self.node.pull(&image, instance, self.context.pace.pull, &|_| {}).await;
            if let Err(error) = pulled {
                let text = format!("{image} was there before and is not any more: {}", one_line(&error));
                self.context.tell(&self.name, EventKind::Notes { text });
                lost.push(name);
            }
        }
        lost
    }
}
