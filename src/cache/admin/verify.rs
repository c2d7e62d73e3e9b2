use std::io;

use serde::{Deserialize, Serialize};

use super::text;
use crate::cache::Glob;
use crate::cache::store::{Store, Verdict};
use crate::image::Digest;

/// Asks to check what is stored against its digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct Verify {
    /// Only what came from repositories whose name fits.
    pub(in crate::cache) pattern: Option<Glob>,
}

/// What a check found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Verified {
    /// How many blobs and manifests were checked.
    pub(in crate::cache) checked: u64,
    /// Their bytes.
    pub(in crate::cache) bytes: u64,
    /// What was damaged, and was removed.
    pub(in crate::cache) damaged: Vec<DamagedRecord>,
}

/// Something that was damaged, and was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct DamagedRecord {
    /// `blob` or `manifest`.
    pub(in crate::cache) kind: String,
    /// Its digest.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// The repositories that it was pulled from, with their registries.
    pub(in crate::cache) repositories: Vec<String>,
}

/// Checks what is wanted, and returns what that was.
pub(super) async fn verify(store: &dyn Store, wanted: &Verify) -> io::Result<Verified> {
    let (mut checked, mut bytes, mut damaged) = (0, 0, Vec::new());
    for listed in store.list().await? {
        let origins = store.origins(&listed.object).await?;
        let names = origins.iter().map(|origin| format!("{}/{}", origin.registry, origin.repository));
        let mut repositories: Vec<String> = names.collect();
        repositories.sort_unstable();
        if let Some(pattern) = &wanted.pattern
            && !repositories.iter().any(|name| pattern.matches(name))
        {
            continue;
        }
        match store.verify(&listed.object).await? {
            Verdict::Absent => continue,
            Verdict::Sound => {}
            Verdict::Damaged => damaged.push(DamagedRecord {
                kind: listed.object.kind.as_str().to_owned(),
                digest: listed.object.digest,
                repositories,
            }),
        }
        checked += 1;
        bytes += listed.size;
    }
    Ok(Verified { checked, bytes, damaged })
}
