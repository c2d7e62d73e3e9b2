use std::io;

use serde::{Deserialize, Serialize};

use super::parts::fits_tag;
use super::text;
use crate::cache::Glob;
use crate::cache::service::{Refreshed, Service};
use crate::cache::store::Store;
use crate::image::Digest;

/// Asks a registry now what stored tags stand for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cache) struct Refresh {
    /// Tags whose name fits one of these.
    pub(in crate::cache) patterns: Vec<Glob>,
}

/// What registries said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct RefreshedTags {
    /// By name.
    pub(in crate::cache) items: Vec<RefreshRecord>,
}

/// What a registry said about a tag.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct RefreshRecord {
    /// Registry, repository and tag.
    pub(in crate::cache) image: String,
    /// The manifest that the tag stood for.
    #[serde(with = "text")]
    pub(in crate::cache) digest: Digest,
    /// `unchanged`, `moved`, `gone` or `failed`.
    pub(in crate::cache) result: String,
    /// The manifest that it stands for now, where that is another one and is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) moved_to: Option<String>,
    /// Why the registry did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cache) error: Option<String>,
}

/// Asks about what is wanted, one tag after the other, and returns what that gave.
pub(super) async fn refresh(
    store: &dyn Store,
    service: Option<&Service>,
    wanted: &Refresh,
) -> io::Result<RefreshedTags> {
    let service = service.ok_or_else(|| {
        io::Error::other("no server has this cache open, and only a server asks registries: start it")
    })?;
    let mut items = Vec::new();
    for record in store.tags().await? {
        if !fits_tag(&wanted.patterns, &record) {
            continue;
        }
        let image = format!("{}/{}:{}", record.origin.registry, record.origin.repository, record.tag);
        let digest = record.digest;
        let (result, moved_to, error) = match service.refresh(record).await {
            Refreshed::Unchanged => ("unchanged", None, None),
            Refreshed::Moved(to) => ("moved", to.map(|to| to.to_string()), None),
            Refreshed::Gone => ("gone", None, None),
            Refreshed::Failed(why) => ("failed", None, Some(why)),
        };
        items.push(RefreshRecord { image, digest, result: result.to_owned(), moved_to, error });
    }
    items.sort_unstable_by(|a, b| a.image.cmp(&b.image));
    Ok(RefreshedTags { items })
}
