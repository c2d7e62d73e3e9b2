use clap::Args;

use super::args::StoreArgs;
use super::folder::of_store;
use super::record::object;
use super::runtime::runtime;
use crate::cache::Glob;
use crate::cache::admin::{Question as _, Refresh, RefreshRecord, ask};
use crate::ui::error::CliError;
use crate::ui::exit::{self, Exit};
use crate::ui::{OutputFormat, Ui, table};

/// Arguments of `refresh`.
#[derive(Debug, Args)]
#[command(
    after_help = "A running server asks the registries at once, however long the tags are still believed. What has moved is fetched. \
Ends with 1 when a registry does not say.

Examples:
  talmirror-cache refresh ghcr.io/siderolabs/installer:v1.9.0
  talmirror-cache refresh 'docker.io/library/*' -o json"
)]
pub(super) struct RefreshArgs {
    /// Images whose name fits, such as docker.io/library/alpine:3 or ghcr.io/siderolabs/*
    #[arg(value_name = "PATTERN", required = true, value_parser = Glob::of_images)]
    pattern: Vec<Glob>,
    #[command(flatten)]
    store: StoreArgs,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_CACHE_REFRESH_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
}

pub(super) fn run(ui: &mut Ui, args: &RefreshArgs) -> Result<Exit, CliError> {
    let folder = of_store(&args.store)?;
    let refreshed = runtime()?.block_on(ask(&folder, Refresh { patterns: args.pattern.clone() }))?;
    if refreshed.items.is_empty() {
        let patterns: Vec<String> = args.pattern.iter().map(|pattern| format!("`{pattern}`")).collect();
        ui.warn(
            &format!("no image is stored that fits {}", patterns.join(", ")),
            Some("`talmirror-cache ls` prints the names; * stands for any text"),
        );
    }
    ui.output(args.output, &object(Refresh::KIND, &refreshed), || as_table(&refreshed.items))?;
    let failed = refreshed.items.iter().any(|item| item.error.is_some());
    Ok(if failed { exit::FOUND } else { exit::OK })
}

fn as_table(items: &[RefreshRecord]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let header = ["IMAGE", "RESULT", "NOW"].map(str::to_owned).to_vec();
    let line = |item: &RefreshRecord| {
        let now = match (&item.error, &item.moved_to) {
            (Some(error), _) => error.clone(),
            (None, Some(to)) => to.clone(),
            (None, None) if item.result == "unchanged" => item.digest.to_string(),
            (None, None) => String::new(),
        };
        vec![item.image.clone(), item.result.clone(), now]
    };
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(items.iter().map(line)).collect();
    table(&lines)
}
