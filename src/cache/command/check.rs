use clap::Args;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::args::{BucketArgs, ConfigArgs, PeerArgs, RedirectArgs};
use super::redirect::{Redirected, doubts};
use super::runtime::runtime;
use crate::cache::bucket;
use crate::cache::config::{BucketConfig, ConfigSource, Overlay};
use crate::cache::observe::Metrics;
use crate::cache::replica::{self, MemberCheck, PeerSecrets};
use crate::cache::server::StartError;
use crate::cache::service::Snapshot;
use crate::cache::upstream::Checked;
use crate::image::RegistryHost;
use crate::oci::Http;
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, table};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when every upstream, and the bucket and the other caches on it if there are any, answers and takes the credentials, with 5
when one does not.

Examples:
  talmirror-cache check
  talmirror-cache check --config /etc/talmirror-cache.yaml -o json
  talmirror-cache check --bucket s3://images --s3-endpoint https://rgw.example.com --peer-listen 10.0.0.11:5001 --peer-secret /etc/talmirror-cache/peer-secret"
)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    bucket: BucketArgs,
    #[command(flatten)]
    redirect: RedirectArgs,
    #[command(flatten)]
    peers: PeerArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_CHECK_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

/// What came of logging in to one endpoint of one registry.
struct Row {
    registry: RegistryHost,
    checked: Checked,
}

impl Row {
    /// Returns as whom we were let in, or would have been.
    fn login(&self) -> &'static str {
        match &self.checked.outcome {
            Ok(logged_in) => logged_in.login.as_str(),
            Err(_) if self.checked.has_credentials => "credentials",
            Err(_) => "anonymous",
        }
    }

    /// Returns the endpoint of another registry that this one redirects to.
    fn leads_to(&self) -> Option<&str> {
        self.checked.outcome.as_ref().ok()?.leads_to.as_deref()
    }

    /// Returns what fails, and what to do about it.
    fn failure(&self) -> Option<(String, Option<String>)> {
        match (&self.checked.outcome, self.leads_to()) {
            (Err(error), _) => Some((error.cause.to_string(), error.help().map(str::to_owned))),
            (Ok(_), Some(url)) if self.checked.has_credentials => {
                Some((format!("it redirects to {url}, which is not given the credentials"), self.advice()))
            }
            (Ok(_), _) => None,
        }
    }

    /// Returns what to configure instead of an endpoint that redirects to another registry.
    fn advice(&self) -> Option<String> {
        let url = self.leads_to()?;
        Some(format!("configure where it leads: `url: {url}`, or --upstream {}={url}", self.registry))
    }

    fn json(&self) -> Value {
        let failure = self.failure();
        json!({
            "registry": self.registry.as_str(),
            "endpoint": self.checked.endpoint,
            "login": self.login(),
            "ok": failure.is_none(),
            "error": failure.as_ref().map(|(what, _)| what),
            "leadsTo": self.leads_to(),
            "help": failure.map_or_else(|| self.advice(), |(_, help)| help),
        })
    }
}

pub(super) fn run(ui: &mut Ui, args: &CheckArgs) -> Result<Exit, CliError> {
    let source = args.config.source();
    let overlay = Overlay { bucket: args.bucket.overlay(), peers: args.peers.overlay(), ..source.overlay };
    let loaded = ConfigSource { overlay: args.redirect.over(overlay), ..source }.load()?;
    for problem in &loaded.problems {
        ui.problem(problem);
    }
    for (doubt, help) in doubts(&loaded.config, &loaded.problems) {
        ui.warn(&doubt, Some(&help));
    }
    let runtime = runtime()?;
    let bucket = loaded.config.bucket.clone();
    let bucket = bucket.map(|bucket| (runtime.block_on(bucket::check(&bucket)), bucket));
    let redirected = match &bucket {
        Some((Ok(()), bucket)) if loaded.config.redirected().next().is_some() => {
            let checked = runtime.block_on(bucket::check_redirect(bucket));
            Some(Redirected::new(checked, &loaded.config))
        }
        Some(_) | None => None,
    };
    let members = match (&loaded.config.peers, &bucket) {
        (Some(peers), Some((_, bucket))) => {
            let secrets = PeerSecrets::read(&peers.secret);
            let secrets = secrets.map_err(|error| CliError::new(exit::INVALID, error))?;
            Some(runtime.block_on(members(bucket, secrets)))
        }
        (Some(_), None) | (None, _) => None,
    };
    let http = Http::new(&loaded.config.http_settings()).map_err(StartError::Client)?;
    let snapshot = Snapshot::new(loaded.config, None, &http, &std::sync::Arc::new(Metrics::new()))
        .map_err(StartError::Upstream)?;
    let rows: Vec<Row> = runtime.block_on(async {
        let checks = snapshot.upstreams().map(async |(registry, upstream)| {
            let checked = upstream.check().await.into_iter();
            checked.map(|checked| Row { registry: registry.clone(), checked }).collect::<Vec<_>>()
        });
        futures_util::future::join_all(checks).await.into_iter().flatten().collect()
    });
    let is_ill = bucket.as_ref().is_some_and(|(checked, _)| checked.is_err());
    let is_apart = members.as_ref().is_some_and(|members| match members {
        Ok(members) => members.iter().any(|member| member.failure.is_some()),
        Err(_) => true,
    });
    let is_astray = redirected.as_ref().is_some_and(|redirected| redirected.failure().is_some());
    let failed = is_ill || is_apart || is_astray || rows.iter().any(|row| row.failure().is_some());
    let mut result = json!({
        "apiVersion": "talmirror/v1",
        "kind": "CacheCheck",
        "ok": !failed,
        "items": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    if let (Some((checked, config)), Some(result)) = (&bucket, result.as_object_mut()) {
        result.insert("bucket".to_owned(), bucket_json(checked, config));
    }
    if let (Some(redirected), Some(result)) = (&redirected, result.as_object_mut()) {
        result.insert("redirect".to_owned(), redirected.json());
    }
    if let (Some(members), Some(result)) = (&members, result.as_object_mut()) {
        result.insert("peers".to_owned(), members_json(members));
    }
    ui.output(args.output, &result, || {
        as_table(&rows, bucket.as_ref(), redirected.as_ref(), members.as_ref())
    })?;
    if let Some((doubt, help)) = redirected.as_ref().and_then(Redirected::doubt) {
        ui.warn(&doubt, Some(help));
    }
    if args.output == OutputFormat::Table {
        let mut advice: IndexMap<String, Vec<&str>> = IndexMap::new();
        for row in &rows {
            match (row.failure(), row.leads_to()) {
                (Some((_, Some(help))), _) => advice.entry(help).or_default().push(row.registry.as_str()),
                (Some((_, None)), _) | (None, None) => {}
                (None, Some(url)) => {
                    let what = format!("{} redirects each request to {url}", row.registry);
                    ui.warn(&what, row.advice().as_deref());
                }
            }
        }
        for (help, registries) in &mut advice {
            registries.dedup();
            let verb = if registries.len() == 1 { "fails" } else { "fail" };
            ui.warn(&format!("{} {verb}", registries.join(", ")), Some(help));
        }
    }
    Ok(if failed { exit::REMOTE } else { exit::OK })
}

/// Asks the other caches on the bucket that run now.
async fn members(bucket: &BucketConfig, secrets: PeerSecrets) -> Result<Vec<MemberCheck>, String> {
    let listed = bucket::list_members(bucket).await?;
    replica::check(&listed, secrets).await
}

fn members_json(members: &Result<Vec<MemberCheck>, String>) -> Value {
    let item = |member: &MemberCheck| json!({ "url": member.url, "ok": member.failure.is_none(), "error": member.failure });
    match members {
        Ok(members) => json!({
            "ok": members.iter().all(|member| member.failure.is_none()),
            "error": null,
            "items": members.iter().map(item).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "ok": false, "error": error, "items": [] }),
    }
}

fn bucket_json(checked: &Result<(), String>, config: &BucketConfig) -> Value {
    json!({
        "url": config.address.to_string(),
        "ok": checked.is_ok(),
        "error": checked.as_ref().err(),
    })
}

fn as_table(
    rows: &[Row],
    bucket: Option<&(Result<(), String>, BucketConfig)>,
    redirected: Option<&Redirected>,
    members: Option<&Result<Vec<MemberCheck>, String>>,
) -> String {
    let header = ["REGISTRY", "ENDPOINT", "LOGIN", "RESULT"].map(str::to_owned).to_vec();
    let line = |row: &Row| {
        let result = row.failure().map_or_else(|| "ok".to_owned(), |(what, _)| what);
        vec![row.registry.to_string(), row.checked.endpoint.clone(), row.login().to_owned(), result]
    };
    let mut lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    if let Some((checked, config)) = bucket {
        let endpoint = config.endpoint.as_ref().map_or("-", |url| url.as_str().trim_end_matches('/'));
        let result = checked.as_ref().err().cloned().unwrap_or_else(|| "ok".to_owned());
        lines.push(vec![config.address.to_string(), endpoint.to_owned(), "credentials".to_owned(), result]);
    }
    lines.extend(redirected.map(Redirected::line));
    let secret = "secret".to_owned();
    match members {
        None => {}
        Some(Ok(members)) => lines.extend(members.iter().map(|member| {
            let result = member.failure.clone().unwrap_or_else(|| "ok".to_owned());
            vec!["(another cache)".to_owned(), member.url.clone(), secret.clone(), result]
        })),
        Some(Err(error)) => {
            lines.push(vec!["(other caches)".to_owned(), "-".to_owned(), secret, error.clone()]);
        }
    }
    // Those that fail for one reason stand together, below those that are well.
    lines.sort_by_key(|line| line.last().filter(|result| *result != "ok").cloned());
    lines.insert(0, header);
    table(&lines)
}
