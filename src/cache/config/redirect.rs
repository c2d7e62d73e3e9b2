use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::ui::duration;

/// Which clients are sent to the bucket for the blobs of an upstream that are there and not in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Redirect {
    /// None: blobs come through the cache.
    #[default]
    Never,
    /// All of them.
    Everyone,
    /// Those with an address of one of these networks.
    Clients(Vec<IpNet>),
}

/// For how long an address in the bucket holds at least, and at most: a client begins with it at once, and whoever comes to
/// know it may use it as long.
const EXPIRY: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(1);

impl Redirect {
    /// Returns whether there are clients that are sent to the bucket.
    pub const fn is_wanted(&self) -> bool {
        match self {
            Self::Never => false,
            Self::Everyone | Self::Clients(_) => true,
        }
    }

    /// Returns whether a client is sent to the bucket.
    pub fn is_for(&self, client: IpAddr) -> bool {
        match self {
            Self::Never => false,
            Self::Everyone => true,
            // A listener for all addresses sees those of version 4 as such of version 6.
            Self::Clients(networks) => {
                let client = client.to_canonical();
                networks.iter().any(|network| network.contains(&client))
            }
        }
    }
}

/// Reads how long an address in the bucket holds.
pub fn redirect_expiry(text: &str) -> Result<Duration, String> {
    let expiry = duration(text)?;
    if EXPIRY.contains(&expiry) {
        Ok(expiry)
    } else {
        Err(format!("`{text}` is not a valid time for which an address in the bucket holds: 1m to 1h"))
    }
}
