use clap::Args;
use serde_json::json;

use crate::cli::args::{Global, TalosArgs, TargetArgs, VersionArgs};
use crate::cli::commands::harbor::{how_to_ask, says};
use crate::cli::commands::verify::{Question, ask, via_of};
use crate::cli::inventory::{LoadedInventory, default_version, load};
use crate::cli::node_facts::{Seen, look};
use crate::cli::session::{LiveNode, Selection, Session};
use crate::image::{Platform, Reference};
use crate::mirror::verify::{Finding, Wanted};
use crate::mirror::why::{Verdict, judge};
use crate::mirror::{Access, Cause, hops};
use crate::registries::Endpoint;
use crate::secret::without_userinfo;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Table, Ui};

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every host of the image's route is asked, in the order of a pull; the first cause is named that explains why a pull fails, is
slow, or goes around the mirror. With --node the node's own mirrors count, and what it says: whether they are the inventory's,
whether another program stands before them, its clock, what its containerd logged last about the image, whether its rules let
the image through (Talos 1.13 and later), and whether it has the image. A cache in the way says whether it had the image
(X-Cache); a Harbor is asked over its API, with the mirror's `admin`, or with HARBOR_USERNAME and HARBOR_PASSWORD
where it is the only one of the inventory. Nothing is changed. Ends with 1 when a cause is found.

Examples:
  talmirror why quay.io/cilium/cilium:v1.18.1
  talmirror why docker.io/library/alpine:3.22 --node n1
  talmirror why registry.k8s.io/pause:3.10 --node 10.0.0.5 -o json
  talmirror explain V307"
)]
pub(crate) struct WhyArgs {
    /// The image whose pull is explained
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The node that pulls it, by name in the inventory or by address
    #[arg(short, long, env = "TALMIRROR_NODE", value_name = "NODE", help_heading = "Nodes")]
    node: Option<String>,
    /// The group whose nodes pull it: its settings count, and no node is asked
    #[arg(
        short,
        long,
        env = "TALMIRROR_GROUP",
        value_name = "GROUP",
        conflicts_with = "node",
        help_heading = "Nodes"
    )]
    group: Option<String>,
    /// The platform whose layers are asked for
    #[arg(long, env = "TALMIRROR_PLATFORM", value_name = "PLATFORM", default_value = "linux/amd64")]
    platform: Platform,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_WHY_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: OutputFormat,
    #[command(flatten)]
    versions: VersionArgs,
    #[command(flatten)]
    talos: TalosArgs,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: WhyArgs) -> Result<Exit, CliError> {
    let image: Reference = args.image.parse().map_err(|error| {
        CliError::from_error(exit::USAGE, error)
            .context(format!("`{}` is not a valid image reference", without_userinfo(&args.image)))
    })?;
    let mut loaded = load(ui, global)?;
    // A variable that is set to nothing, as CI does, names nothing.
    let node = args.node.as_deref().filter(|node| !node.is_empty());
    let mut seen = match node {
        Some(node) => Some(of_node(ui, global, &args, &loaded, node, &image)?),
        None => None,
    };
    let of_group = TargetArgs { node: None, group: args.group.clone() };
    let target = match &mut seen {
        Some((node, seen)) => seen.target(&mut loaded, node),
        None => loaded.target(&of_group)?,
    };
    let version = loaded.talos_version(&args.versions, target).unwrap_or_else(default_version);
    let wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
    let seen = seen.map(|(_, seen)| seen);
    let registries = seen.as_ref().and_then(|seen| seen.registries()).unwrap_or(&wanted);
    let name = |entry: &str, endpoint: &Endpoint| via_of(&loaded, entry, endpoint);
    let route = hops(&registries.mirrors, &image, &name);
    let questions: Vec<Question> = (route.iter().cloned())
        .map(|hop| {
            let access = Access::of(registries, &hop.host);
            let nodes = node.into_iter().map(str::to_owned).collect();
            let about = image.to_string();
            Question { hop, image: image.clone(), about, access, wanted: Wanted::Image, nodes }
        })
        .collect();
    let findings = ask(&questions, &args.platform, args.talos.timeout)?;
    let rule = loaded.inventory.verification_rule(&image, &version);
    let facts = seen.as_ref().map(|seen| seen.facts(&image, &route, &wanted, rule));
    let verdict = judge(facts.as_ref(), &findings);
    let mut notes = match (&seen, &facts) {
        (Some(seen), Some(facts)) => seen.notes(&image, facts),
        _ => Vec::new(),
    };
    for hop in &route {
        let said = says(ui, &mut loaded, &hop.via, &image, args.talos.timeout);
        if said.is_empty() && verdict.cause.is_some() {
            notes.extend(how_to_ask(&loaded.inventory, &hop.via));
        }
        notes.extend(said);
    }
    if let Some(serves) = findings.iter().find(|finding| verdict.bypassed && finding.is_ok()) {
        notes.push(format!("{} serves it: pulls look green for as long as that host is there", serves.via));
    }
    print(ui, &args, &image, &verdict, &findings, &notes)?;
    Ok(if verdict.cause.is_none() { exit::OK } else { exit::FOUND })
}

fn print(
    ui: &mut Ui,
    args: &WhyArgs,
    image: &Reference,
    verdict: &Verdict,
    findings: &[Finding],
    notes: &[String],
) -> Result<(), CliError> {
    let value = json!({
        "cause": verdict.cause.map(Cause::as_str),
        "title": verdict.cause.map(Cause::title),
        "image": image.to_string(),
        "node": args.node,
        "group": args.group,
        "evidence": verdict.cause.map(|_| verdict.evidence.as_str()),
        "fix": verdict.fix,
        "bypassed": verdict.bypassed,
        "hops": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        "notes": notes,
    });
    ui.output(args.output, &value, || {
        let mut above = match verdict.cause {
            None => format!("{image}: nothing is wrong with its pull\n"),
            Some(cause) => format!("{image}: {} {}\n", cause.as_str(), cause.title()),
        };
        if verdict.cause.is_some() {
            above.push_str(&format!("evidence: {}\n", verdict.evidence));
        }
        if let Some(fix) = &verdict.fix {
            above.push_str(&format!("fix: {fix}\n"));
        }
        let row = |finding: &Finding| {
            let answer = match finding.cause {
                None if finding.evidence.is_empty() => "serves it".to_owned(),
                None => format!("serves it: {}", finding.evidence),
                Some(cause) => format!("{} {}", cause.as_str(), finding.evidence),
            };
            vec![finding.hop.to_string(), finding.via.clone(), finding.url.clone(), answer]
        };
        let below = notes.iter().map(|note| format!("note: {note}\n")).collect();
        let rows = findings.iter().map(row);
        Table { above, below, ..Table::new(&["HOP", "VIA", "URL", "ANSWER"], rows) }
    })
}

/// Asks the node what it has; that it does not answer is a cause of its own.
fn of_node(
    ui: &mut Ui,
    global: &Global,
    args: &WhyArgs,
    loaded: &LoadedInventory,
    node: &str,
    image: &Reference,
) -> Result<(LiveNode, Seen), CliError> {
    let names = [node.to_owned()];
    let session = Session::open(ui, global, &args.talos, Some(loaded), Selection::Nodes(&names))?;
    let about: std::sync::Arc<[Reference]> = [image.clone()].into();
    let answer = session.each(|node| look(node, about.clone())).pop();
    answer.ok_or_else(|| CliError::usage(format!("`{node}` is not one of the cluster's nodes")))
}
