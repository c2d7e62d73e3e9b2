use super::client::{NodeClient, Repeat, first, machine};
use super::error::TalosError;
use super::proto::machine::RebootRequest;
use super::proto::machine::reboot_request::Mode;

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
}
