use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::images::{ImageSources, Wanted};
use crate::cli::inventory::{LoadedInventory, load};
use crate::cli::meant::{InventoryNodes, LiveNodes, Meant};
use crate::cli::session::inventory_if_any;
use crate::file::{self, Privacy};
use crate::inventory::{Set, Target, Via};
use crate::mirror::scan::{Coverage, Images, RegistryRow, Status, add_registries, cover, rows};
use crate::sops::looks_encrypted;
use crate::ui::exit::{self, Exit};
use crate::ui::{Cells, CliError, Table, Ui, count};
use crate::yaml::{Indent, emit};

/// Arguments of `scan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a FILE, --nodes or --talos-version, the cluster of the kubeconfig is read: pods and the templates of workloads.
Pods are counted by the workload that they belong to. Ends with 1 when the inventory has no mirror for a registry,
and when no image was found.

Examples:
  talmirror scan
  kubectl get pods -A -o json | talmirror scan -
  talmirror scan clusters/home --talos-version v1.14.1
  helm template ./chart | talmirror scan - -o name
  talmirror scan --nodes -o markdown
  talmirror scan --add"
)]
pub(crate) struct ScanArgs {
    /// Put registries that have no mirror into the inventory
    #[arg(long, env = "TALMIRROR_ADD", value_parser = clap::builder::FalseyValueParser::new())]
    add: bool,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_SCAN_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
    #[command(flatten)]
    sources: ImageSources,
    #[command(flatten)]
    which: InventoryNodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Registries, for people
    Table,
    /// Images and what uses them, for people
    Wide,
    /// A list of images
    Json,
    /// A list of images
    Yaml,
    /// One image a line
    Name,
    /// Registries, for a pull request
    Markdown,
}

/// A registry and how it is covered, where there is an inventory.
struct Row<'a> {
    found: RegistryRow<'a>,
    coverage: Option<Coverage>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ScanArgs) -> Result<Exit, CliError> {
    args.sources.check_stdin(global)?;
    let loaded = if args.add { Some(load(ui, global)?) } else { inventory_if_any(ui, global)? };
    let live = LiveNodes::of(args.sources.nodes.as_ref());
    if loaded.is_none() {
        args.which.without_inventory(&global.inventory, live)?;
    }
    let images = args.sources.find(ui, global, loaded.as_ref(), Wanted::Images, &args.which)?;
    let meant = loaded.as_ref().map(|loaded| args.which.meant(loaded, live)).transpose()?;
    let targets = meant.as_ref().map(Meant::targets).unwrap_or_default();
    let rows: Vec<Row<'_>> = rows(&images)
        .into_iter()
        .map(|found| {
            let coverage = loaded.as_ref().map(|loaded| cover(&loaded.inventory, &targets, found.registry));
            Row { found, coverage }
        })
        .collect();
    print(ui, &images, &rows, args.output)?;
    ui.flush()?;
    if images.is_empty() {
        ui.warn(
            "no image was found",
            Some("is it what was meant? An empty input often is a command that failed"),
        );
        return Ok(exit::FOUND);
    }
    let missing: Vec<&Row<'_>> = rows.iter().filter(|row| is_missing(row)).collect();
    let lacking: usize = missing.iter().map(|row| row.found.images).sum();
    let all = format!("{} of {}", count(images.len(), "image"), registries(rows.len()));
    match &loaded {
        None => {
            ui.note(&format!("{all}; there is no inventory `{}` to compare them with", global.inventory));
        }
        Some(_) if missing.is_empty() => ui.note(&format!("{all}; all of them have a mirror")),
        Some(_) => {
            let of = registries(missing.len());
            ui.note(&format!("{all}; {} of {of} without a mirror", count(lacking, "image")));
        }
    }
    if missing.is_empty() {
        return Ok(exit::OK);
    }
    let names: Vec<&str> = missing.iter().map(|row| row.found.registry).collect();
    if let Some(loaded) = loaded.filter(|_| args.add) {
        return add(ui, global, &loaded, &names);
    }
    ui.note("`talmirror scan --add` puts them into the inventory");
    Ok(exit::FOUND)
}

fn registries(number: usize) -> String {
    format!("{number} {}", if number == 1 { "registry" } else { "registries" })
}

fn is_missing(row: &Row<'_>) -> bool {
    row.coverage.as_ref().is_some_and(|coverage| !coverage.status.is_covered())
}

/// Prints what was found, in the format that was asked for.
fn print(ui: &mut Ui, images: &Images, rows: &[Row<'_>], format: Format) -> Result<(), CliError> {
    match format {
        Format::Table => {
            ui.table(&Table { rows: registry_cells(rows), cells: Cells::Whole, ..Table::default() })
        }
        Format::Wide => {
            ui.table(&Table { rows: image_cells(images, rows), cells: Cells::Whole, ..Table::default() })
        }
        Format::Name => {
            let lines: String = images.iter().map(|(image, _)| format!("{image}\n")).collect();
            ui.result(&lines)
        }
        Format::Markdown => ui.result(&markdown(&registry_cells(rows))),
        Format::Json => ui.json(&to_json(images, rows)),
        Format::Yaml => ui.result(&emit(&to_json(images, rows), Indent::default())),
    }
}

fn coverage_of<'a>(rows: &'a [Row<'_>], registry: &str) -> Option<&'a Coverage> {
    rows.iter().find(|row| row.found.registry == registry)?.coverage.as_ref()
}

fn mirrors(coverage: Option<&Coverage>) -> String {
    match coverage {
        None => "?".to_owned(),
        Some(coverage) if coverage.mirrors.is_empty() => "-".to_owned(),
        Some(coverage) => coverage.mirrors.join(","),
    }
}

fn registry_cells(rows: &[Row<'_>]) -> Vec<Vec<String>> {
    let header = ["REGISTRY", "IMAGES", "USERS", "MIRROR", "FALLBACK", "STATUS"].map(str::to_owned).to_vec();
    let cells = rows.iter().map(|row| {
        let coverage = row.coverage.as_ref();
        let fallback = match coverage.filter(|coverage| !coverage.mirrors.is_empty()) {
            Some(coverage) => coverage.fallback.as_str(),
            None => "-",
        };
        vec![
            row.found.registry.to_owned(),
            row.found.images.to_string(),
            row.found.users.len().to_string(),
            mirrors(coverage),
            fallback.to_owned(),
            coverage.map_or_else(|| "?".to_owned(), |coverage| coverage.status.to_string()),
        ]
    });
    std::iter::once(header).chain(cells).collect()
}

fn image_cells(images: &Images, rows: &[Row<'_>]) -> Vec<Vec<String>> {
    let header = ["IMAGE", "MIRROR", "STATUS", "USERS"].map(str::to_owned).to_vec();
    let cells = images.iter().map(|(image, uses)| {
        let coverage = coverage_of(rows, image.registry());
        vec![
            image.to_string(),
            mirrors(coverage),
            coverage.map_or_else(|| "?".to_owned(), |coverage| coverage.status.to_string()),
            uses.users.iter().cloned().collect::<Vec<_>>().join(", "),
        ]
    });
    std::iter::once(header).chain(cells).collect()
}

fn markdown(cells: &[Vec<String>]) -> String {
    let line = |row: &[String]| {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = String::new();
    for (at, row) in cells.iter().enumerate() {
        out.push_str(&line(row));
        if at == 0 {
            out.push_str(&line(&vec!["---".to_owned(); row.len()]));
        }
    }
    out
}

fn to_json(images: &Images, rows: &[Row<'_>]) -> Value {
    let item = |(image, uses): (&crate::image::Reference, &crate::mirror::scan::ImageUse)| {
        let coverage = coverage_of(rows, image.registry());
        let mirror = coverage.filter(|coverage| !coverage.mirrors.is_empty());
        json!({
            "image": image.to_string(),
            "registry": image.registry(),
            "users": uses.users,
            "mirror": mirror.map(|coverage| coverage.mirrors.join(",")),
            "covered": coverage.is_some_and(|coverage| coverage.status.is_covered()),
        })
    };
    images.iter().map(item).collect()
}

/// Puts registries into the inventory; comments and the rest of the file stay.
fn add(ui: &mut Ui, global: &Global, loaded: &LoadedInventory, names: &[&str]) -> Result<Exit, CliError> {
    let file = &global.inventory;
    if file == "-" {
        return Err(CliError::usage("standard input cannot be written to").help("name the inventory with -f"));
    }
    // A registry that moved gets no new images: its users should name the new one.
    let moved = |name: &&str| {
        matches!(
            cover(&loaded.inventory, &[Target::Base], name).status,
            Status::Missing { moved_to: Some(_), .. }
        )
    };
    let (moved, new): (Vec<&str>, Vec<&str>) = names.iter().copied().partition(moved);
    for name in &moved {
        ui.warn(&format!("{name} is not added: it moved"), Some("change the names of its images"));
    }
    let known = |name: &&str| loaded.inventory.base.registries.contains_key(*name);
    let (there, new): (Vec<&str>, Vec<&str>) = new.into_iter().partition(|name| known(name));
    for name in &there {
        ui.warn(
            &format!("{name} is in the inventory already, and goes to itself"),
            Some("give it a `via` by hand"),
        );
    }
    if new.is_empty() {
        return Ok(exit::FOUND);
    }
    let failed = |error| {
        CliError::from_error(exit::INVALID, error)
            .help(format!("add by hand, under `registries`: {}", new.join(", ")))
    };
    let text = add_registries(&loaded.text, &new, via(loaded)?).map_err(failed)?;
    let parsed = crate::inventory::parse(&text, file, &crate::cli::input::environment);
    if parsed.inventory.is_none() {
        return Err(CliError::in_file(file, parsed.problems)
            .help(format!("nothing was written; add by hand, under `registries`: {}", new.join(", "))));
    }
    if looks_encrypted(&crate::cli::inventory::read_inventory(global)?) {
        encryption::update(global, Path::new(file), &text)?;
    } else {
        file::replace(Path::new(file), text.as_bytes(), Privacy::Private)?;
    }
    ui.note(&format!("{file}: added {}; next: talmirror validate, then talmirror diff", new.join(", ")));
    Ok(if moved.is_empty() && there.is_empty() { exit::OK } else { exit::FOUND })
}

/// Returns the mirror that new registries go through: none where `defaults.via` says it, else the one that others use.
fn via(loaded: &LoadedInventory) -> Result<Option<&str>, CliError> {
    let inventory = &loaded.inventory;
    let short = crate::yaml::parse_one(&loaded.text)?.root.get("mirror").is_some();
    if short || matches!(&inventory.base.via, Set::To(via) if !via.is_empty()) {
        return Ok(None);
    }
    let used = inventory.base.registries.values().filter_map(|placed| placed.value.as_ref()?.via.get());
    let used = used.flatten().find_map(|hop| match hop {
        Via::Mirror(name) => Some(name.as_str()),
        Via::Upstream => None,
    });
    let first = inventory.mirrors.keys().next().map(String::as_str);
    used.or(first).map(Some).ok_or_else(|| {
        CliError::new(exit::INVALID, "the inventory has no mirror that registries could go through")
            .help("define one under `mirrors`")
    })
}
