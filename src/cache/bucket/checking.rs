#![expect(clippy::disallowed_methods, reason = "waits before it reads again")]

use futures_util::StreamExt as _;
use tokio::time::sleep;

use super::contents::{Contents, PAUSE, TRIES};
use super::pending::Pending;
use super::transport::Purpose;
use crate::cache::store::{Document, Kind, Object};
use crate::oci::Verifier;

/// What a check of something in a bucket against its digest gave.
#[derive(Clone, Debug)]
pub(in crate::cache) enum Checked {
    /// It is what its digest says; of a manifest, what it says.
    Sound(Option<Document>),
    /// It is not, each time that it was read.
    Damaged(Wrong),
    /// It is not there any more.
    Absent,
    /// It cannot be read, for this reason.
    Unread(String),
}

/// What became of something that is damaged.
#[derive(Clone, Debug)]
pub(in crate::cache) struct Wrong {
    /// Its key.
    pub(in crate::cache) key: String,
    /// Why it is still there; [`None`]: it was removed.
    pub(in crate::cache) kept: Option<String>,
}

/// What was read.
enum Read {
    Right(Option<Document>),
    Wrong,
    Nothing,
}

impl Contents {
    /// Reads something in the bucket, and checks it against its digest.
    ///
    /// What is damaged is removed, as caches do that find it so when they serve it: it is fetched again when a client asks for
    /// it, and a cache that has it whole writes it again. A connection may have damaged it, so it is read three times before;
    /// what was written again meanwhile stays.
    pub(in crate::cache) async fn check(&self, object: &Object) -> Checked {
        let key = self.keys.object(object);
        let (mut failed, mut date) = (None, None);
        for tries in 0..TRIES {
            if tries > 0 {
                sleep(self.timing.pace(PAUSE)).await;
            }
            match self.read(object, &key).await {
                Ok(Read::Right(document)) => return Checked::Sound(document),
                Ok(Read::Nothing) => return self.nothing(&key).await,
                Err(why) => failed = Some(why),
                Ok(Read::Wrong) if date.is_some() => {}
                Ok(Read::Wrong) => match self.again(|| self.client.date(&key)).await {
                    Ok(Some(since)) => date = Some(since),
                    Ok(None) => return Checked::Absent,
                    Err(error) => failed = Some(error.to_string()),
                },
            }
        }
        match (failed, date) {
            (None, Some(since)) => {
                let kept = self.remove_wrong(object, &key, since).await.err();
                Checked::Damaged(Wrong { key, kept })
            }
            (failed, _) => Checked::Unread(failed.unwrap_or_default()),
        }
    }

    async fn read(&self, object: &Object, key: &str) -> Result<Read, String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        match object.kind {
            Kind::Manifest => {
                let found = self.client.get(Purpose::Care, key).await.map_err(|error| failed(&error))?;
                let Some(bytes) = found else {
                    // What is too large to be read is no manifest.
                    let is_there = self.client.has(Purpose::Care, key).await;
                    let is_there = is_there.map_err(|error| failed(&error))?;
                    return Ok(if is_there { Read::Wrong } else { Read::Nothing });
                };
                let document = Document::read(Vec::from(bytes), &object.digest);
                Ok(document.map_or(Read::Wrong, |document| Read::Right(Some(document))))
            }
            Kind::Blob => {
                let opened = self.client.open(key, 0).await.map_err(|error| failed(&error))?;
                let Some(mut opened) = opened else { return Ok(Read::Nothing) };
                let mut verifier = Verifier::new(object.digest);
                while let Some(bytes) = opened.body.next().await {
                    verifier.update(&bytes.map_err(|error| failed(&error))?);
                }
                if verifier.seen() != opened.total {
                    return Err(format!("it ends after {} of {} bytes", verifier.seen(), opened.total));
                }
                Ok(verifier.finish().map_or(Read::Wrong, |_| Read::Right(None)))
            }
        }
    }

    /// Says of something that was listed, and is not given, whether it is still listed.
    async fn nothing(&self, key: &str) -> Checked {
        match self.again(|| self.client.first(Purpose::Care, key, 1)).await {
            Ok(keys) if keys.iter().any(|listed| listed == key) => {
                Checked::Unread("the store lists it and does not give it".to_owned())
            }
            Ok(_) => Checked::Absent,
            Err(error) => Checked::Unread(error.to_string()),
        }
    }

    /// Removes what is damaged and was not written again since; fails with the reason why it is still there.
    async fn remove_wrong(&self, object: &Object, key: &str, since: u64) -> Result<(), String> {
        match self.again(|| self.client.date(key)).await {
            Ok(Some(now)) if now != since => {
                return Err("it was written again meanwhile: check it again".to_owned());
            }
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        self.again(|| self.client.remove(key)).await.map_err(|error| error.to_string())?;
        if let Some(cache) = &self.cache {
            cache.note_absent(object, key.to_owned());
            // What is in its folder is written again at once.
            cache.push(Pending::Object(*object));
        }
        Ok(())
    }
}
