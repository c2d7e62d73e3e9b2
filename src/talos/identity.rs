use std::net::IpAddr;

use super::client::NodeClient;
use super::error::TalosError;
use super::resource::{ADDRESSES, IDENTITY, Kind, NODENAME, OWN_ADDRESSES, Resource};

/// Which machine a node is, as it says itself: what it is reached by may lead to another tomorrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// What it is called in Kubernetes.
    pub nodename: Option<String>,
    /// What tells the machine from others, as long as it keeps its disk.
    pub machine: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Identity {
    /// Returns whether both are one machine, as far as they say it.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| Some(one.as_ref()? == other.as_ref()?);
        same(&self.machine, &other.machine).or(same(&self.nodename, &other.nodename)).unwrap_or(false)
    }
}

impl NodeClient {
    /// Asks a node which machine it is; what its version or the certificate's role does not tell is left out.
    pub async fn identity(&self) -> Result<Identity, TalosError> {
        let nodename = self.told(NODENAME).await?.and_then(|found| found.text("nodename"));
        let machine = self.told(IDENTITY).await?.and_then(|found| found.text("nodeId"));
        // A group by address means where a node stands, and not the network of its pods.
        let addresses = match self.told(OWN_ADDRESSES).await? {
            Some(found) => Some(found),
            None => self.told(ADDRESSES).await?,
        };
        let addresses = addresses.map(|found| found.addresses()).unwrap_or_default();
        Ok(Identity { nodename, machine, addresses })
    }

    /// Asks a node what tells it from other machines, where it tells it.
    pub async fn machine_identity(&self) -> Result<Option<String>, TalosError> {
        Ok(self.told(IDENTITY).await?.and_then(|found| found.text("nodeId")))
    }

    async fn told(&self, kind: Kind) -> Result<Option<Resource>, TalosError> {
        match self.resource(kind).await {
            Err(error) if error.may_differ_elsewhere() => Err(error),
            found => Ok(found.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_apart_by_what_both_say() {
        let identity = |machine: Option<&str>, nodename: Option<&str>| Identity {
            machine: machine.map(str::to_owned),
            nodename: nodename.map(str::to_owned),
            addresses: Vec::new(),
        };
        let one = identity(Some("m1"), Some("n1"));
        assert!(one.is_same(&identity(Some("m1"), Some("n2"))));
        assert!(!one.is_same(&identity(Some("m2"), Some("n1"))), "it was installed again");
        assert!(one.is_same(&identity(None, Some("n1"))) && !one.is_same(&identity(None, None)));
    }
}
