#![expect(clippy::disallowed_methods, reason = "waits until all is written")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::folder::{AskError, open_folder};
use crate::cache::bucket::{Bucket, BucketError};
use crate::cache::config::{BucketConfig, Config};
use crate::cache::store::Store;

/// How often it is looked whether all is written.
const LOOK: Duration = Duration::from_millis(250);
/// How often in a row the bucket may be ill until that ends an upload.
const ILL: u32 = 240;

/// Asks to write to the bucket what is stored and not there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::cache) struct Upload {
    /// Nothing is written.
    pub(in crate::cache) dry_run: bool,
}

/// What was not in the bucket, and is to be written there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Uploaded {
    /// The bucket.
    pub(in crate::cache) bucket: String,
    /// Whether nothing was written.
    pub(in crate::cache) dry_run: bool,
    /// How many blobs.
    pub(in crate::cache) blobs: usize,
    /// How many manifests.
    pub(in crate::cache) manifests: usize,
    /// How many bytes they have.
    pub(in crate::cache) bytes: u64,
    /// How many tags.
    pub(in crate::cache) tags: usize,
}

/// Why a folder could not be written to a bucket.
#[derive(Debug, thiserror::Error)]
pub(in crate::cache) enum UploadError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] AskError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The folder cannot be read, or the bucket not listed.
    #[error("cannot upload `{}`", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the file system or the bucket says.
        source: io::Error,
    },
    /// The bucket does not take it.
    #[error("the bucket `{bucket}` does not take it: {why}")]
    Ill {
        /// The bucket.
        bucket: String,
        /// What is wrong with it.
        why: String,
    },
    /// Some of it could not be written.
    #[error("{count} of what is stored could not be written to the bucket `{bucket}`")]
    Dropped {
        /// The bucket.
        bucket: String,
        /// How many blobs, manifests, tags, and notes who has them.
        count: u64,
    },
}

/// Has a server write to its bucket what is stored.
pub(super) async fn upload(bucket: Option<&Bucket>, wanted: Upload) -> io::Result<Uploaded> {
    let bucket = bucket.ok_or_else(|| {
        io::Error::other(
            "the server that runs over it has no bucket: start it with --bucket, or stop it meanwhile",
        )
    })?;
    of(bucket, wanted).await
}

async fn of(bucket: &Bucket, wanted: Upload) -> io::Result<Uploaded> {
    let missing = if wanted.dry_run { bucket.missing().await? } else { bucket.upload().await? };
    Ok(Uploaded {
        bucket: bucket.report().url,
        dry_run: wanted.dry_run,
        blobs: missing.blobs,
        manifests: missing.manifests,
        bytes: missing.bytes,
        tags: missing.tags,
    })
}

/// Writes a folder that no server has open to a bucket, and waits until it is there; `progress` is told how much waits.
pub(in crate::cache) async fn upload_folder(
    folder: &Path,
    bucket: &BucketConfig,
    config: &Config,
    wanted: Upload,
    mut progress: impl FnMut(usize),
) -> Result<Uploaded, UploadError> {
    let failed = |source| UploadError::Io { folder: folder.to_owned(), source };
    let store = Arc::new(open_folder(folder).await?);
    let local = Arc::clone(&store) as Arc<dyn Store>;
    let bucket = Bucket::open(bucket, config, folder, local).await?;
    let url = bucket.report().url;
    if let Some(why) = bucket.report().trouble() {
        return Err(UploadError::Ill { bucket: url, why });
    }
    let running = tokio::spawn(bucket.clone().run());
    let uploaded = async {
        let uploaded = of(&bucket, wanted).await.map_err(failed)?;
        let mut ill = 0;
        loop {
            let report = bucket.report();
            if wanted.dry_run || report.pending == 0 {
                break;
            }
            ill = if report.trouble().is_some() { ill + 1 } else { 0 };
            if let Some(why) = report.trouble().filter(|_| ill > ILL) {
                return Err(UploadError::Ill { bucket: url.clone(), why });
            }
            progress(report.pending);
            sleep(LOOK).await;
        }
        match bucket.report().dropped {
            0 => Ok(uploaded),
            count => Err(UploadError::Dropped { bucket: url.clone(), count }),
        }
    };
    let uploaded = uploaded.await;
    running.abort();
    bucket.close().await;
    store.close().await.map_err(failed)?;
    uploaded
}
