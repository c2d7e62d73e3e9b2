use tonic::Status;

use super::client::{MAX_MESSAGE, NodeClient, Repeat, machine};
use super::error::TalosError;
use super::proto::common::ContainerDriver;
use super::proto::machine::LogsRequest;
use crate::secret::Secret;

impl NodeClient {
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
