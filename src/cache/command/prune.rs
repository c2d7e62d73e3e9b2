#![expect(clippy::disallowed_methods, reason = "says how old a thing is")]

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Format;
use super::args::{RootArgs, duration};
use super::contents::timestamp;
use super::control::{Verb, ask};
use crate::cache::Glob;
use crate::cache::config::ByteSize;
use crate::cache::store::{Listed, Origin, Store, TagRecord};
use crate::ui::Ui;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(
    after_help = "What several images share stays as long as one of them does. A running server is asked to do it; \
transfers that run are not cut.

Examples:
  talmirror-cache prune 'ghcr.io/old/*' --dry-run
  talmirror-cache prune --unused-for 720h
  talmirror-cache prune --all"
)]
pub(super) struct PruneArgs {
    /// Images whose name fits, such as ghcr.io/old/* or */alpine:3*
    #[arg(value_name = "PATTERN", required_unless_present_any = ["unused_for", "all"])]
    pattern: Vec<Glob>,
    /// What was not asked for during this time
    #[arg(long, env = "TALMIRROR_CACHE_UNUSED_FOR", value_name = "TIME", value_parser = duration, conflicts_with = "pattern")]
    unused_for: Option<Duration>,
    /// Everything
    #[arg(long, env = "TALMIRROR_CACHE_ALL", conflicts_with_all = ["pattern", "unused_for"], value_parser = clap::builder::FalseyValueParser::new())]
    all: bool,
    /// Remove nothing; say what would be
    #[arg(long, env = "TALMIRROR_CACHE_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    dry_run: bool,
    #[command(flatten)]
    root: RootArgs,
    /// How it is printed
    #[arg(short, long, env = "TALMIRROR_CACHE_PRUNE_OUTPUT", default_value = "table", value_name = "FORMAT")]
    output: Format,
}

/// What is to be removed.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    what: What,
    dry_run: bool,
}

#[derive(Clone, Debug)]
enum What {
    Named(Vec<Glob>),
    UnusedFor(Duration),
    All,
}

impl Wanted {
    /// Writes it for another process.
    pub(super) fn write(&self) -> Value {
        let (key, value) = match &self.what {
            What::Named(globs) => ("named", globs.iter().map(Glob::as_str).collect::<Vec<_>>().into()),
            What::UnusedFor(time) => ("unusedForSeconds", time.as_secs().into()),
            What::All => ("all", true.into()),
        };
        let mut out = json!({ "dryRun": self.dry_run });
        if let Some(out) = out.as_object_mut() {
            out.insert(key.to_owned(), value);
        }
        out
    }

    /// Reads what [`Wanted::write`] wrote; what it does not know is nothing, so that nothing is removed by mistake.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let dry_run = value.get("dryRun")?.as_bool()?;
        let what = if let Some(named) = value.get("named") {
            let globs = named.as_array()?.iter().map(|glob| glob.as_str()?.parse().ok());
            What::Named(globs.collect::<Option<_>>()?)
        } else if let Some(seconds) = value.get("unusedForSeconds") {
            What::UnusedFor(Duration::from_secs(seconds.as_u64()?))
        } else {
            value.get("all")?.as_bool()?.then_some(What::All)?
        };
        Some(Self { what, dry_run })
    }
}

impl What {
    /// Returns whether a tag goes.
    fn takes_tag(&self, record: &TagRecord) -> bool {
        match self {
            Self::Named(globs) => {
                let repository = format!("{}/{}", record.origin.registry, record.origin.repository);
                let image = format!("{repository}:{}", record.tag);
                globs.iter().any(|glob| glob.matches(&image) || glob.matches(&repository))
            }
            // It leads to what is not there any more, and is fetched again when somebody wants it.
            Self::UnusedFor(_) => false,
            Self::All => true,
        }
    }

    /// Returns whether a blob or a manifest goes.
    fn takes(&self, listed: &Listed, origins: &[Origin], now: Timestamp) -> bool {
        match self {
            Self::Named(globs) => {
                let fits = |origin: &Origin| {
                    let name = format!("{}/{}", origin.registry, origin.repository);
                    globs.iter().any(|glob| glob.matches(&name))
                };
                !origins.is_empty() && origins.iter().all(fits)
            }
            Self::UnusedFor(time) => {
                let age = Duration::try_from(now.duration_since(timestamp(listed.used_at)));
                age.is_ok_and(|age| age >= *time)
            }
            Self::All => true,
        }
    }
}

/// Removes what is wanted, and says what that was.
pub(super) async fn prune(store: &dyn Store, wanted: &Wanted) -> std::io::Result<Value> {
    let now = Timestamp::now();
    let mut tags = Vec::new();
    for record in store.tags().await? {
        if wanted.what.takes_tag(&record) {
            tags.push(format!("{}/{}:{}", record.origin.registry, record.origin.repository, record.tag));
            if !wanted.dry_run {
                store.remove_tag(&record.origin, &record.tag).await?;
            }
        }
    }
    tags.sort_unstable();
    let (mut objects, mut bytes) = (0u64, 0);
    for listed in store.list().await? {
        let origins = store.origins(&listed.object).await?;
        if wanted.what.takes(&listed, &origins, now)
            && (wanted.dry_run || store.remove(&listed.object).await?)
        {
            objects += 1;
            bytes += listed.size;
        }
    }
    Ok(json!({
        "apiVersion": "talmirror/v1",
        "kind": "CachePruned",
        "dryRun": wanted.dry_run,
        "tags": tags,
        "objects": objects,
        "bytes": bytes,
    }))
}

pub(super) fn run(ui: &mut Ui, args: &PruneArgs) -> Result<Exit, CliError> {
    let what = match (args.all, args.unused_for) {
        (true, _) => What::All,
        (false, Some(time)) => What::UnusedFor(time),
        (false, None) => What::Named(args.pattern.clone()),
    };
    let wanted = Wanted { what, dry_run: args.dry_run };
    let pruned = ask(args.root.root.as_deref(), &Verb::Prune(wanted))?;
    if args.output == Format::Json {
        ui.json(&pruned)?;
        return Ok(exit::OK);
    }
    let tags = pruned.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for tag in tags.iter().filter_map(Value::as_str) {
        ui.result(&format!("{tag}\n"))?;
    }
    let number = |key: &str| pruned.get(key).and_then(Value::as_u64).unwrap_or(0);
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let size = ByteSize(number("bytes"));
    ui.note(&format!("{verb} {} tags, {} blobs and manifests, {size}", tags.len(), number("objects")));
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::Object;
    use crate::image::Digest;

    fn origin(name: &str) -> Origin {
        let (registry, repository) = name.split_once('/').unwrap();
        Origin { registry: registry.parse().unwrap(), repository: repository.parse().unwrap() }
    }

    #[test]
    fn what_is_shared_stays() {
        let named = What::Named(vec!["ghcr.io/old/*".parse().unwrap()]);
        let listed = Listed { object: Object::blob(Digest::sha256([0; 32])), size: 1, used_at: 100, hits: 0 };
        let now = timestamp(200);
        let takes = |origins: &[&str]| {
            let origins: Vec<Origin> = origins.iter().map(|name| origin(name)).collect();
            named.takes(&listed, &origins, now)
        };
        assert!(takes(&["ghcr.io/old/a", "ghcr.io/old/b"]));
        assert!(!takes(&["ghcr.io/old/a", "ghcr.io/new/b"]));
        assert!(!takes(&[]));
        let unused = |seconds| What::UnusedFor(Duration::from_secs(seconds)).takes(&listed, &[], now);
        assert_eq!((unused(100), unused(101)), (true, false));
    }

    #[test]
    fn requests_read_back() {
        for what in
            [What::Named(vec!["a/*".parse().unwrap()]), What::UnusedFor(Duration::from_secs(5)), What::All]
        {
            let wanted = Wanted { what, dry_run: true };
            assert_eq!(Wanted::read(&wanted.write()).unwrap().write(), wanted.write());
        }
        for bad in [json!({}), json!({"dryRun": false}), json!({"dryRun": true, "all": false})] {
            assert!(Wanted::read(&bad).is_none(), "{bad}");
        }
    }
}
