use tonic::Status;

use super::client::{MAX_MESSAGE, NodeClient, Repeat, first, machine};
use super::error::TalosError;
use super::proto::common::ContainerDriver;
use super::proto::machine::reboot_request::Mode;
use super::proto::machine::{LogsRequest, RebootRequest};
use crate::secret::Secret;

impl NodeClient {
    /// Asks the node to reboot, and returns as soon as it has agreed to.
    ///
    /// Pods are stopped, but the node is neither cordoned nor drained (Talos `v1alpha1_sequencer.go`). It is asked once:
    /// where the connection breaks, whether the node reboots is not known.
    pub async fn reboot(&self) -> Result<(), TalosError> {
        let what = "Reboot";
        let answer = self.call(what, Repeat::No, |channel| async move {
            let request = RebootRequest { mode: Mode::Default.into() };
            machine(channel).reboot(self.request(request)).await
        });
        first(what, answer.await?.into_inner().messages).map(drop)
    }

    /// Returns the last lines of a service's log, such as `cri`.
    pub async fn logs(&self, service: &str, lines: u16) -> Result<Secret<Vec<u8>>, TalosError> {
        let what = format!("the log of {service}");
        let answer = self.call(&what, Repeat::Yes, |channel| async move {
            let request = LogsRequest {
                namespace: "system".to_owned(),
                id: service.to_owned(),
                driver: ContainerDriver::Containerd.into(),
                follow: false,
                tail_lines: i32::from(lines),
            };
            let mut stream = machine(channel).logs(self.request(request)).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.message().await? {
                bytes.extend_from_slice(&chunk.bytes);
                if bytes.len() > MAX_MESSAGE {
                    return Err(Status::out_of_range("the log is too large"));
                }
            }
            Ok(Secret::new(bytes))
        });
        answer.await
    }
}
