#![expect(
    clippy::disallowed_methods,
    reason = "remembers for a moment what is there, and asks as clients do"
)]

use std::time::{Duration, Instant};

use url::Url;

use super::client::Client;
use super::key::Keys;
use super::shared_bucket::{Bucket, Inner, variable};
use super::transport::{Purpose, innermost};
use crate::cache::config::BucketConfig;
use crate::cache::memory::locked;
use crate::cache::store::Object;
use crate::image::Digest;
use crate::secret::Secret;

/// For how long it is believed that something is there: many clients ask for a blob at the same moment.
const THERE_FOR: Duration = Duration::from_secs(5);

impl Bucket {
    /// Returns an address where a client gets a blob from the bucket itself, if it is there; [`None`] where the bucket is not
    /// well, or does not say.
    ///
    /// Whoever has the address gets the blob until it expires: it is a secret.
    pub(super) async fn location(&self, digest: &Digest) -> Option<Secret<String>> {
        let inner = self.inner();
        if !inner.may_read() || inner.client.traffic().slow_for().is_some() {
            return None;
        }
        let object = Object::blob(*digest);
        let key = inner.keys.object(&object);
        if inner.is_bad(&key) || !inner.is_there_now(object, &key).await {
            return None;
        }
        let signed = inner.client.signed(&key, inner.redirect_expiry).await;
        signed.inspect_err(|error| tracing::debug!("cannot sign an address in the bucket: {error}")).ok()
    }
}

impl Inner {
    /// Returns whether an object is there, as the store says, or has said just now: what a client would not find is not known
    /// well enough by what was there long ago.
    async fn is_there_now(&self, object: Object, key: &str) -> bool {
        let seen = locked(&self.there).get(key);
        if seen.is_some_and(|since| since.elapsed() < THERE_FOR) {
            return true;
        }
        if self.is_absent(key) {
            return false;
        }
        let (mark, asked) = (self.mark(), Instant::now());
        match self.client.has(Purpose::Pull, key).await {
            Ok(true) => {
                self.believe(object, mark, |known| known.note(object));
                locked(&self.there).put(key.to_owned(), asked, 1);
                true
            }
            Ok(false) => {
                self.note_absent(&object, key.to_owned());
                false
            }
            Err(error) => {
                tracing::debug!("cannot read what is there: {error}");
                false
            }
        }
    }
}

/// What came of asking the bucket as a client does that was sent there.
#[derive(Debug)]
pub struct RedirectCheck {
    /// Where clients are sent.
    pub endpoint: Url,
    /// The status of the answer, or why there was none.
    pub answer: Result<u16, String>,
}

/// Asks the bucket for something small as a client does that was sent there: without credentials, by an address that is signed.
///
/// Fails with what to do where it cannot be signed.
pub async fn check_redirect(config: &BucketConfig) -> Result<RedirectCheck, String> {
    let client = Client::new(config, &variable)?;
    // It need not be there yet.
    let key = Keys::new(config.address.prefix()).layout();
    let url = client.signed(&key, config.redirect_expiry()).await.map_err(|error| error.to_string())?;
    let answer = client.ask_as_client(&url).await.map_err(|error| innermost(&error));
    Ok(RedirectCheck { endpoint: client.redirect_url, answer })
}
