use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::sync::watch;

use super::args::{BucketAccessArgs, StoreArgs};
use super::folder::root;
use crate::cache::admin::{AskError, Question, ReadStats, ask, ask_bucket, is_running};
use crate::cache::bucket::{CollectionError, Contents, Tell, location};
use crate::cache::config::{BucketConfig, ConfigSource, Overlay};
use crate::ui::Ui;
use crate::ui::error::CliError;

/// What to do where the bucket cannot be looked into.
const LOCAL: &str = "`--tier local` is about the folder alone";

/// Which tiers a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tier {
    /// The folder
    Local,
    /// The bucket behind it
    Bucket,
    /// Both
    Both,
}

/// Which folder a command is about, and which bucket.
#[derive(Clone, Debug, Args)]
pub(super) struct TierArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    pub(super) bucket: BucketAccessArgs,
}

/// Where a command looks.
pub(super) struct Tiers {
    /// The folder of the cache; [`None`]: it is about the bucket alone.
    pub(super) folder: Option<PathBuf>,
    /// The bucket; [`None`]: it is about the folder alone.
    pub(super) bucket: Option<Via>,
}

/// How a bucket is looked into.
pub(super) enum Via {
    /// By the server that has this folder open, whose bucket it is.
    Server {
        /// The folder.
        folder: PathBuf,
        /// The bucket.
        url: String,
    },
    /// By the command itself.
    Own(Box<Contents>),
}

impl Tiers {
    /// Returns whether the command looks into a bucket by itself.
    pub(super) const fn is_own(&self) -> bool {
        matches!(self.bucket, Some(Via::Own(_)))
    }

    /// Says in words what a command is about.
    pub(super) fn name(&self) -> String {
        let folder = self.folder.as_ref().map(|folder| format!("`{}`", folder.display()));
        let bucket = self.bucket.as_ref().map(|bucket| match bucket {
            Via::Server { url, .. } => url.as_str(),
            Via::Own(contents) => contents.url(),
        });
        let bucket = bucket.map(|url| format!("the bucket `{url}`, for all caches on it"));
        folder.into_iter().chain(bucket).collect::<Vec<_>>().join(" and from ")
    }

    /// Has a question about the folder answered, where it is meant.
    pub(super) async fn ask_local<Q: Question>(&self, question: Q) -> Result<Option<Q::Answer>, CliError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        match ask(folder, question).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                let is_none = matches!(error, AskError::NoCache { .. }) && self.bucket.is_some();
                let help = is_none.then_some("`--tier bucket` is about the bucket alone");
                Err(CliError::from(error).help_if(help))
            }
        }
    }

    /// Has a question about the bucket answered, where there is one: by the server, or by `own`; shows how far that is.
    pub(super) async fn ask_bucket<Q: Question>(
        &self,
        ui: &mut Ui,
        question: Q,
        own: impl AsyncFnOnce(&Contents, &Q, Tell<'_>) -> Result<Q::Answer, CollectionError>,
    ) -> Result<Option<Q::Answer>, CliError> {
        let run = async |tell: Tell<'_>| match &self.bucket {
            None => Ok(None),
            Some(Via::Server { folder, .. }) => Ok(Some(ask_bucket(folder, question, tell).await?)),
            Some(Via::Own(contents)) => Ok(Some(own(contents, &question, tell).await?)),
        };
        let help = self.folder.is_some().then_some(LOCAL);
        watched(ui, run).await.map_err(|error: CliError| error.help_if(help))
    }
}

impl TierArgs {
    /// Finds out where a command looks: in both tiers where there are two and none is named, else in what is named.
    ///
    /// A bucket that the command is told of is looked into by the command itself, but for one that is that of the server which
    /// runs over the folder: that has the credentials. Without a word, it is the server's.
    pub(super) async fn find(&self, wanted: Option<Tier>) -> Result<Tiers, CliError> {
        let overlay = Overlay {
            root: self.store.root.root.clone(),
            bucket: self.bucket.overlay(),
            ..Overlay::default()
        };
        let source = ConfigSource { file: self.store.config.clone(), overlay };
        let config = source.load()?.config;
        let folder = root(config.root.as_deref());
        let bucket = match wanted {
            Some(Tier::Local) => None,
            Some(Tier::Bucket | Tier::Both) | None => {
                via(config.bucket.as_ref(), folder.as_ref().ok()).await.map_err(|error| match wanted {
                    Some(Tier::Bucket) => error,
                    Some(Tier::Local | Tier::Both) | None => error.help(LOCAL),
                })?
            }
        };
        match (wanted, &bucket) {
            (Some(Tier::Bucket | Tier::Both), None) => {
                Err(CliError::usage("nothing says which bucket").help("name it: --bucket s3://NAME/PREFIX"))
            }
            (Some(Tier::Bucket), Some(_)) => Ok(Tiers { folder: None, bucket }),
            (Some(Tier::Local | Tier::Both) | None, _) => Ok(Tiers { folder: Some(folder?), bucket }),
        }
    }
}

/// Finds out who looks into the bucket, if there is one.
async fn via(named: Option<&BucketConfig>, folder: Option<&PathBuf>) -> Result<Option<Via>, CliError> {
    if let Some(folder) = folder
        && is_running(folder).await
        && let Some(state) = ask(folder, ReadStats {}).await.ok().and_then(|stats| stats.bucket)
    {
        let is_it = |named: &BucketConfig| {
            named.address.to_string() == state.url
                && location(named).is_some_and(|place| place == state.location)
        };
        if named.is_none_or(is_it) {
            return Ok(Some(Via::Server { folder: folder.clone(), url: state.url }));
        }
    }
    let Some(named) = named else { return Ok(None) };
    Ok(Some(Via::Own(Box::new(Contents::open(named).await?))))
}

/// Runs something that may take long, and shows how far it has come.
async fn watched<T>(ui: &mut Ui, run: impl AsyncFnOnce(Tell<'_>) -> T) -> T {
    let (told, mut seen) = watch::channel(String::new());
    let tell = move |text| drop(told.send_replace(text));
    let run = run(&tell);
    tokio::pin!(run);
    let ran = loop {
        tokio::select! {
            ran = &mut run => break ran,
            Ok(()) = seen.changed() => {
                let text = seen.borrow_and_update().clone();
                if ui.is_live() {
                    ui.live(&[text]);
                }
            }
        }
    };
    ui.live(&[]);
    ran
}
