#![expect(clippy::disallowed_methods, reason = "says how long ago a thing was used")]

use std::collections::{HashMap, HashSet};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Format;
use super::args::RootArgs;
use super::control::{Verb, ask};
use crate::cache::Glob;
use crate::cache::config::ByteSize;
use crate::cache::service::ago;
use crate::cache::store::{Object, Store};
use crate::image::Digest;
use crate::oci::Manifest;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{Ui, table};

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  talmirror-cache ls
  talmirror-cache ls 'ghcr.io/siderolabs/*' -o json
  talmirror-cache ls --objects")]
pub(super) struct LsArgs {
    /// Only images whose name fits, such as ghcr.io/siderolabs/* or */alpine:3*
    #[arg(value_name = "PATTERN")]
    pattern: Option<Glob>,
    /// Blobs and manifests in place of images
    #[arg(long, env = "TALMIRROR_CACHE_OBJECTS", conflicts_with = "pattern", value_parser = clap::builder::FalseyValueParser::new())]
    objects: bool,
    #[command(flatten)]
    root: RootArgs,
    /// How it is printed
    #[arg(short, long, env = "TALMIRROR_CACHE_LS_OUTPUT", default_value = "table", value_name = "FORMAT")]
    output: Format,
}

/// What of the contents is wanted.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// Images whose name fits.
    Images(Option<Glob>),
    /// Blobs and manifests.
    Objects,
}

impl Wanted {
    /// Writes it for another process.
    pub(super) fn write(&self) -> Value {
        match self {
            Self::Images(pattern) => json!({ "images": pattern.as_ref().map(Glob::as_str) }),
            Self::Objects => json!({ "objects": true }),
        }
    }

    /// Reads what [`Wanted::write`] wrote.
    pub(super) fn read(value: &Value) -> Option<Self> {
        match value.get("images") {
            Some(Value::String(pattern)) => Some(Self::Images(Some(pattern.parse().ok()?))),
            Some(_) => Some(Self::Images(None)),
            None => value.get("objects").map(|_| Self::Objects),
        }
    }
}

/// Lists what is stored.
pub(super) async fn list(store: &dyn Store, wanted: &Wanted) -> std::io::Result<Value> {
    let (kind, items) = match wanted {
        Wanted::Images(pattern) => ("CacheImages", images(store, pattern.as_ref()).await?),
        Wanted::Objects => ("CacheObjects", objects(store).await?),
    };
    Ok(json!({ "apiVersion": "talmirror/v1", "kind": kind, "items": items }))
}

async fn images(store: &dyn Store, pattern: Option<&Glob>) -> std::io::Result<Vec<Value>> {
    let sizes: HashMap<Object, u64> =
        store.list().await?.into_iter().map(|listed| (listed.object, listed.size)).collect();
    let mut tags = store.tags().await?;
    tags.sort_by(|a, b| (&a.origin, &a.tag).cmp(&(&b.origin, &b.tag)));
    let mut items = Vec::new();
    for tag in tags {
        let name = format!("{}/{}:{}", tag.origin.registry, tag.origin.repository, tag.tag);
        if pattern.is_some_and(|pattern| !pattern.matches(&name)) {
            continue;
        }
        let (stored, missing) = reach(store, &sizes, &tag.digest).await?;
        items.push(json!({
            "image": name,
            "digest": tag.digest.to_string(),
            "mediaType": tag.media_type,
            "storedBytes": stored,
            "missing": missing,
            "checkedAt": tag.checked_at.to_string(),
        }));
    }
    Ok(items)
}

/// Returns how many bytes of an image are stored, and how many of its parts are not.
async fn reach(
    store: &dyn Store,
    sizes: &HashMap<Object, u64>,
    digest: &Digest,
) -> std::io::Result<(u64, usize)> {
    let (mut seen, mut queue) = (HashSet::new(), vec![Object::manifest(*digest)]);
    let (mut stored, mut missing) = (0, 0);
    while let Some(object) = queue.pop() {
        if !seen.insert(object) {
            continue;
        }
        let Some(size) = sizes.get(&object) else {
            missing += 1;
            continue;
        };
        stored += size;
        if object != Object::manifest(object.digest) {
            continue;
        }
        let Some(document) = store.manifest(&object.digest).await? else { continue };
        if let Ok(manifest) = Manifest::parse(&document.bytes, Some(&document.media_type)) {
            queue.extend(manifest.children().iter().map(|child| Object::manifest(child.digest)));
            queue.extend(manifest.blobs().map(|blob| Object::blob(blob.digest)));
        }
    }
    Ok((stored, missing))
}

async fn objects(store: &dyn Store) -> std::io::Result<Vec<Value>> {
    let mut listed = store.list().await?;
    listed.sort_by_key(|listed| std::cmp::Reverse((listed.used_at, listed.object)));
    let mut items = Vec::new();
    for listed in listed {
        let mut origins: Vec<String> = store
            .origins(&listed.object)
            .await?
            .iter()
            .map(|origin| format!("{}/{}", origin.registry, origin.repository))
            .collect();
        origins.sort_unstable();
        items.push(json!({
            "kind": listed.object.kind.as_str(),
            "digest": listed.object.digest.to_string(),
            "sizeBytes": listed.size,
            "usedAt": timestamp(listed.used_at).to_string(),
            "hits": listed.hits,
            "repositories": origins,
        }));
    }
    Ok(items)
}

/// Returns a time of seconds since 1970.
pub(super) fn timestamp(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
}

pub(super) fn run(ui: &mut Ui, args: &LsArgs) -> Result<Exit, CliError> {
    let wanted = if args.objects { Wanted::Objects } else { Wanted::Images(args.pattern.clone()) };
    let list = ask(args.root.root.as_deref(), &Verb::List(wanted))?;
    if args.output == Format::Json {
        ui.json(&list)?;
        return Ok(exit::OK);
    }
    let now = Timestamp::now();
    let items = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let size =
        |item: &Value, key: &str| ByteSize(item.get(key).and_then(Value::as_u64).unwrap_or(0)).to_string();
    let since = |item: &Value, key: &str| {
        text(item, key).parse().map_or_else(|_| "-".to_owned(), |then| format!("{} ago", ago(then, now)))
    };
    let row = |item: &Value| {
        if args.objects {
            let names = item.get("repositories").and_then(Value::as_array);
            let names = names.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            vec![
                text(item, "kind"),
                text(item, "digest"),
                size(item, "sizeBytes"),
                since(item, "usedAt"),
                names,
            ]
        } else {
            let missing = item.get("missing").and_then(Value::as_u64).unwrap_or(0);
            let parts = if missing == 0 { "all".to_owned() } else { format!("{missing} missing") };
            let digest = text(item, "digest");
            let digest = digest.get(..19).unwrap_or(&digest).to_owned();
            vec![text(item, "image"), digest, size(item, "storedBytes"), parts, since(item, "checkedAt")]
        }
    };
    let header = if args.objects {
        ["KIND", "DIGEST", "SIZE", "USED", "REPOSITORIES"]
    } else {
        ["IMAGE", "DIGEST", "STORED", "PARTS", "CHECKED"]
    };
    let header = header.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(items.iter().map(row)).collect();
    ui.result(&table(&rows))?;
    Ok(exit::OK)
}
