use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use super::client::{MAX_MESSAGE, NodeClient, Repeat, machine};
use super::error::TalosError;
use super::proto::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace};
use super::proto::machine::image_service_client::ImageServiceClient;
use super::proto::machine::image_service_pull_layer_progress::Status as Layer;
use super::proto::machine::image_service_pull_response::Response as Step;
use super::proto::machine::{
    ImageListRequest, ImagePullRequest, ImageServiceListRequest, ImageServicePullRequest,
    ImageServiceRemoveRequest, ImageServiceVerifyRequest,
};

/// Whose images a call is about; each has a store of its own, so that one's image is pulled again for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instance {
    /// Talos' own images, such as the kubelet and etcd.
    System,
    /// Images of pods.
    Cri,
    /// Images of containers that a `ContainerConfig` declares; since Talos 1.14.
    TalosContainers,
}

impl Instance {
    /// Returns the word that talosctl has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Cri => "cri",
            Self::TalosContainers => "taloscontainers",
        }
    }

    fn namespace(self) -> ContainerdNamespace {
        match self {
            Self::System => ContainerdNamespace::NsSystem,
            Self::Cri => ContainerdNamespace::NsCri,
            Self::TalosContainers => ContainerdNamespace::NsTaloscontainers,
        }
    }

    /// All live in the same containerd (talosctl 1.14 `image.go`).
    fn containerd(self) -> ContainerdInstance {
        let driver = match self {
            Self::System | Self::Cri => ContainerDriver::Cri,
            Self::TalosContainers => ContainerDriver::Containerd,
        };
        ContainerdInstance { driver: driver.into(), namespace: self.namespace().into() }
    }
}

/// How far a layer of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// The layer's digest.
    pub layer: String,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes that are to come in all; 0 where that is not known.
    pub total: u64,
    /// Whether nothing of it is to come any more.
    pub complete: bool,
}

/// An image that a node has pulled, or had already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its name with the digest; Talos says it since 1.13.
    pub name: Option<String>,
}

/// What a node makes of an image by the rules of its `ImageVerificationConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// No rule matches, or the one that does wants no signature; in Talos' words.
    NotWanted(String),
    /// The signature that the rule wants is there; how it was found, in Talos' words.
    Verified(String),
    /// The rule lets no pull of the image through.
    Denied(String),
    /// The signature that the rule wants is not there, or is not valid.
    Refused(String),
}

/// An image that is on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, as it was pulled.
    pub name: String,
    /// The digest that the name stood for.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
}

impl NodeClient {
    /// Pulls an image by the registries that the node has now, and returns once it is there.
    ///
    /// Talos' own puller does it, for either instance; credentials and mirrors of pods' pulls are not proven by it. An
    /// image that is there already is not pulled again. Since Talos 1.13 a stream tells the progress; up to 1.13 a
    /// failure other than "not found" is retried on the node for up to twenty minutes, which the deadline cuts short.
    pub async fn pull(
        &self,
        reference: &str,
        instance: Instance,
        deadline: Duration,
        progress: &(dyn Fn(PullProgress) + Sync),
    ) -> Result<Pulled, TalosError> {
        let what = format!("pulling {reference}");
        let answer = self.call_within(deadline, &what, Repeat::Yes, |channel| async move {
            let request = ImageServicePullRequest {
                containerd: Some(instance.containerd()),
                image_ref: reference.to_owned(),
            };
            let mut stream = images(channel).pull(self.request(request)).await?.into_inner();
            let mut name = None;
            while let Some(message) = stream.message().await? {
                match message.response {
                    Some(Step::Name(text)) => name = Some(text),
                    Some(Step::PullProgress(step)) => {
                        let layer = step.progress.unwrap_or_default();
                        let complete =
                            matches!(layer.status(), Layer::ExtractComplete | Layer::AlreadyExists);
                        progress(PullProgress {
                            layer: step.layer_id,
                            offset: u64::try_from(layer.offset).unwrap_or(0),
                            total: u64::try_from(layer.total).unwrap_or(0),
                            complete,
                        });
                    }
                    None => {}
                }
            }
            Ok(Pulled { name })
        });
        let answer = match answer.await {
            // Before Talos 1.13.
            Err(TalosError::Unimplemented { .. }) => {
                let answer = self.call_within(deadline, &what, Repeat::Yes, |channel| async move {
                    let request = ImagePullRequest {
                        namespace: instance.namespace().into(),
                        reference: reference.to_owned(),
                    };
                    machine(channel).image_pull(self.request(request)).await
                });
                answer.await.map(|_| Pulled { name: None })
            }
            answer => answer,
        };
        answer.map_err(|error| match error {
            TalosError::NotFound { what, message } => {
                TalosError::Failed { what, code: "NotFound".to_owned(), message }
            }
            error => error,
        })
    }

    /// Returns the images that are there.
    pub async fn images(&self, instance: Instance) -> Result<Vec<Image>, TalosError> {
        let what = "listing images";
        let image = |name, digest, size| Image { name, digest, size: u64::try_from(size).unwrap_or(0) };
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            let request = ImageServiceListRequest { containerd: Some(instance.containerd()) };
            let mut stream = images(channel).list(self.request(request)).await?.into_inner();
            let mut found = Vec::new();
            while let Some(next) = stream.message().await? {
                found.push(image(next.name, next.digest, next.size));
            }
            Ok(found)
        });
        match answer.await {
            // Before Talos 1.13.
            Err(TalosError::Unimplemented { .. }) => {}
            answer => return answer,
        }
        let answer = self.call(what, Repeat::Yes, |channel| async move {
            let request = ImageListRequest { namespace: instance.namespace().into() };
            let mut stream = machine(channel).image_list(self.request(request)).await?.into_inner();
            let mut found = Vec::new();
            while let Some(next) = stream.message().await? {
                found.push(image(next.name, next.digest, next.size));
            }
            Ok(found)
        });
        answer.await
    }

    /// Asks what the node's rules make of an image; it is looked up through the node's own mirrors, and not pulled.
    ///
    /// Before Talos 1.13 there is no such call: [`TalosError::Unimplemented`].
    pub async fn verify_image(&self, reference: &str) -> Result<Verification, TalosError> {
        let what = format!("verifying {reference}");
        // Talos waits up to 15 s for what a rule without a key needs, beside the registries.
        let deadline = self.client.0.patience.call.saturating_mul(3);
        let answer = self.call_within(deadline, &what, Repeat::Yes, |channel| async move {
            let request = ImageServiceVerifyRequest { image_ref: reference.to_owned() };
            images(channel).verify(self.request(request)).await
        });
        match answer.await.map(tonic::Response::into_inner) {
            Ok(answer) if answer.verified => Ok(Verification::Verified(answer.message)),
            Ok(answer) => Ok(Verification::NotWanted(answer.message)),
            Err(TalosError::Denied { message, .. }) if message.starts_with("verification denied") => {
                Ok(Verification::Denied(message))
            }
            Err(TalosError::Denied { message, .. }) if message.starts_with("image verification failed") => {
                Ok(Verification::Refused(message))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes an image, so that the next pull asks the registries; returns whether it was there.
    ///
    /// Before Talos 1.13 there is no such call: [`TalosError::Unimplemented`].
    pub async fn remove_image(&self, reference: &str, instance: Instance) -> Result<bool, TalosError> {
        let what = format!("removing {reference}");
        let answer = self.call(&what, Repeat::Yes, |channel| async move {
            let request = ImageServiceRemoveRequest {
                containerd: Some(instance.containerd()),
                image_ref: reference.to_owned(),
            };
            images(channel).remove(self.request(request)).await
        });
        match answer.await {
            Ok(_) => Ok(true),
            Err(TalosError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn images(channel: Channel) -> ImageServiceClient<Channel> {
    ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}
