use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::cli::args::{Global, TalosArgs, VersionArgs};
use crate::cli::inventory::{LoadedInventory, default_version, load};
use crate::cli::meant::{InventoryNodes, LiveNodes};
use crate::cli::node_facts::look;
use crate::cli::session::{Selection, Session};
use crate::image::{Platform, Reference};
use crate::inventory::Target;
use crate::mirror::verify::{Finding, Lost, Prober, Proof, Wanted, drill, fix, group};
use crate::mirror::{Access, Cause, PullHop, hops};
use crate::oci::{HttpSettings, Timeouts};
use crate::registries::Endpoint;
use crate::secret::without_userinfo;
use crate::ui::exit::{self, Exit};
use crate::ui::{Cells, CliError, Table, Ui, count, positive_duration};

/// How many hosts are asked at once.
const AT_ONCE: usize = 192;
/// With fewer pulls left than this, the quota is worth a warning.
const FEW_PULLS: u64 = 20;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every host of every route is asked by itself, as containerd would ask it: the URL with `ns`, the challenge, the token, the
certificates; for the manifest, the first bytes of a layer, and the three places where Talos looks for signatures. With
--nodes the nodes are asked, too: whether their mirrors are the inventory's, whether another program stands before them, their
clocks, what their containerd logged last about the images, and whether their rules for signatures (ImageVerificationConfig,
Talos 1.13 and later) let them through. Nothing is changed. Without an IMAGE those of verify.images are asked for; a registry
that none of them is of is asked whether it is there. Ends with 1 when a host fails.

Examples:
  talmirror verify
  talmirror verify docker.io/library/alpine:3.22 quay.io/cilium/cilium:v1.18.1
  talmirror verify --nodes
  talmirror verify --drill
  talmirror verify -o junit > verify.xml"
)]
pub(crate) struct VerifyArgs {
    /// Images that are asked for
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Ask nodes, too, over the Talos API, and change nothing: all nodes, or --nodes=n1,n2
    #[arg(
        long,
        env = "TALMIRROR_VERIFY_NODES",
        value_name = "NODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_delimiter = ','
    )]
    nodes: Option<Vec<String>>,
    /// The talosconfig for --nodes; without it, the one that talosctl would take
    #[arg(long, env = "TALMIRROR_TALOSCONFIG", value_name = "FILE")]
    talosconfig: Option<String>,
    /// The context in the talosconfig
    #[arg(long, env = "TALMIRROR_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// The control plane nodes that calls go to; overrides the talosconfig's
    #[arg(short, long, env = "TALMIRROR_ENDPOINTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Say which images nothing would serve while a mirror is down
    #[arg(long, env = "TALMIRROR_DRILL", value_parser = clap::builder::FalseyValueParser::new())]
    drill: bool,
    /// The platform whose layers are asked for
    #[arg(long, env = "TALMIRROR_PLATFORM", value_name = "PLATFORM", default_value = "linux/amd64")]
    platform: Platform,
    /// How long one answer may take
    #[arg(long, env = "TALMIRROR_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = positive_duration)]
    timeout: std::time::Duration,
    /// How it is printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_VERIFY_OUTPUT",
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
    #[command(flatten)]
    which: InventoryNodes,
    #[command(flatten)]
    versions: VersionArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// A list of what each host answered
    Json,
    /// A test report
    Junit,
    /// Annotations of GitHub Actions
    Github,
    /// For a pull request
    Markdown,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: VerifyArgs) -> Result<Exit, CliError> {
    if args.drill && matches!(args.output, Format::Junit | Format::Github) {
        let message = "--drill has no place in a report of that format";
        return Err(CliError::usage(message).help("it is printed with -o table, json and markdown"));
    }
    let mut loaded = load(ui, global)?;
    let images = images(&loaded, &args.images)?;
    let about = if args.images.is_empty() { About::ImagesAndRegistries } else { About::Images };
    let meant = args.which.meant(&loaded, LiveNodes::of(args.nodes.as_ref()))?;
    let questions = questions(&mut loaded, &meant.targets(), &args.versions, &images, about)?;
    if questions.is_empty() {
        return Err(CliError::new(exit::INVALID, format!("`{}` names no registry to verify", loaded.file))
            .help("name images, or put registries into the inventory: talmirror scan --add"));
    }
    // A talosconfig that cannot be used ends it before hosts are waited for.
    let session = match &args.nodes {
        Some(names) => Some(session(ui, global, &args, &loaded, names, &images)?),
        None => None,
    };
    let mut findings = ask(&questions, &args.platform, args.timeout)?;
    if let Some(session) = session {
        findings.extend(of_nodes(&session, &args, &mut loaded, &images)?);
    }
    print(ui, &findings, &args, &loaded.file)?;
    ui.flush()?;
    let failed = findings.iter().filter(|finding| !finding.is_ok()).count();
    let hosts = count(findings.len(), "question");
    if failed == 0 {
        ui.note(&format!("{hosts}, all answered well"));
        Ok(exit::OK)
    } else {
        ui.note(&format!("{hosts}, {failed} failed; `talmirror explain CODE` says more"));
        Ok(exit::FOUND)
    }
}

/// Finds the nodes that are asked; none is dialled yet.
fn session(
    ui: &mut Ui,
    global: &Global,
    args: &VerifyArgs,
    loaded: &LoadedInventory,
    names: &[String],
    images: &[Reference],
) -> Result<Session, CliError> {
    if images.is_empty() {
        let message = "no image is named, so that the nodes are asked about none";
        ui.warn(message, Some("name images, or put some into verify.images of the inventory"));
    }
    let named: Vec<String> = names.iter().filter(|name| !name.is_empty()).cloned().collect();
    let selection = if named.is_empty() { args.which.selection() } else { Selection::Nodes(&named) };
    let talos = TalosArgs {
        talosconfig: args.talosconfig.clone(),
        context: args.context.clone(),
        endpoints: args.endpoints.clone(),
        timeout: args.timeout,
        concurrency: std::num::NonZeroUsize::MIN.saturating_add(15),
    };
    let mut session = Session::open(ui, global, &talos, Some(loaded), selection)?;
    session.narrow(Some(loaded), &args.which.narrowing)?;
    Ok(session)
}

/// Asks nodes what they say of the images.
fn of_nodes(
    session: &Session,
    args: &VerifyArgs,
    loaded: &mut LoadedInventory,
    images: &[Reference],
) -> Result<Vec<Finding>, CliError> {
    let mut findings = Vec::new();
    let about: std::sync::Arc<[Reference]> = images.into();
    for (mut node, seen) in session.each(|node| look(node, about.clone())) {
        let target = seen.target(loaded, &mut node);
        let version = loaded.talos_version(&args.versions, target).unwrap_or_else(default_version);
        let wanted = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
        for image in images {
            let name = |entry: &str, endpoint: &Endpoint| via_of(loaded, entry, endpoint);
            let route = hops(&seen.registries().unwrap_or(&wanted).mirrors, image, &name);
            let rule = loaded.inventory.verification_rule(image, &version);
            findings.push(seen.finding(&node, image, &route, &wanted, rule));
        }
    }
    Ok(findings)
}

/// Returns the images that are asked for.
fn images(loaded: &LoadedInventory, named: &[String]) -> Result<Vec<Reference>, CliError> {
    let listed = if named.is_empty() { &loaded.inventory.verify.images } else { named };
    let parse = |text: &String| {
        text.parse::<Reference>().map_err(|error| {
            CliError::from_error(exit::USAGE, error)
                .context(format!("`{}` is not a valid image reference", without_userinfo(text)))
        })
    };
    listed.iter().map(parse).collect()
}

/// One thing that is asked of one host.
pub(in crate::cli) struct Question {
    pub(in crate::cli) hop: PullHop,
    pub(in crate::cli) image: Reference,
    /// The image's name, or its registry's where only that is asked for.
    pub(in crate::cli) about: String,
    pub(in crate::cli) access: Access,
    pub(in crate::cli) wanted: Wanted,
    /// The nodes that would ask it so.
    pub(in crate::cli) nodes: Vec<String>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum About {
    /// Images.
    Images,
    /// Images, and whether a registry that none of them is of is there.
    ImagesAndRegistries,
}

/// Returns what is asked, each once however many nodes would ask it: with the same credentials and TLS settings.
pub(in crate::cli) fn questions(
    loaded: &mut LoadedInventory,
    targets: &[Target<'_>],
    versions: &VersionArgs,
    images: &[Reference],
    about: About,
) -> Result<Vec<Question>, CliError> {
    let mut all: Vec<Question> = Vec::new();
    for &target in targets {
        let version = loaded.talos_version(versions, target).unwrap_or_else(default_version);
        let registries = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
        let routes: Vec<String> =
            loaded.inventory.routes(target).keys().map(|name| (*name).to_owned()).collect();
        // A registry without an image is asked by a name that nothing looks up.
        let whole = routes.iter().filter(|name| about == About::ImagesAndRegistries && name.as_str() != "*");
        let whole = whole.filter(|name| !images.iter().any(|image| image.registry() == name.as_str()));
        let whole = whole.filter_map(|name| format!("{name}/talmirror/verify:latest").parse().ok());
        let asked = images.iter().map(|image| (image.clone(), Wanted::Image));
        for (image, wanted) in asked.chain(whole.map(|image: Reference| (image, Wanted::Registry))) {
            let name = |entry: &str, endpoint: &Endpoint| via_of(loaded, entry, endpoint);
            for hop in hops(&registries.mirrors, &image, &name) {
                let about = match wanted {
                    Wanted::Image => image.to_string(),
                    Wanted::Registry => image.registry().to_owned(),
                };
                let access = Access::of(&registries, &hop.host);
                let image = image.clone();
                push(&mut all, Question { hop, image, about, access, wanted, nodes: Vec::new() }, target);
            }
        }
    }
    Ok(all)
}

fn push(all: &mut Vec<Question>, asked: Question, target: Target<'_>) {
    let node = match target {
        Target::Node(name) => Some(name.to_owned()),
        Target::Base | Target::Group(_) => None,
    };
    let same = |known: &&mut Question| {
        known.hop == asked.hop && known.about == asked.about && known.access == asked.access
    };
    match all.iter_mut().find(same) {
        Some(known) => known.nodes.extend(node),
        None => all.push(Question { nodes: node.into_iter().collect(), ..asked }),
    }
}

/// Returns what an endpoint is called in the inventory.
pub(in crate::cli) fn via_of(loaded: &LoadedInventory, entry: &str, endpoint: &Endpoint) -> String {
    let mirrors = &loaded.inventory.mirrors;
    let named = mirrors.iter().find(|(_, mirror)| mirror.endpoint(entry) == *endpoint);
    named.map_or_else(|| "upstream".to_owned(), |(name, _)| name.clone())
}

/// Asks all hosts, so many at once; the findings are in the order of the questions.
pub(in crate::cli) fn ask(
    questions: &[Question],
    platform: &Platform,
    timeout: std::time::Duration,
) -> Result<Vec<Finding>, CliError> {
    let connect = timeout.min(Timeouts::default().connect);
    let timeouts = Timeouts { connect, header: timeout, idle: timeout };
    let prober = Prober::new(HttpSettings { timeouts, ..HttpSettings::default() }, platform.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::from_error(exit::REMOTE, error))?;
    let answers: Vec<Result<Proof, (Cause, String)>> = runtime.block_on(async {
        let asked = questions
            .iter()
            .map(|question| prober.probe(&question.hop, &question.image, &question.access, question.wanted));
        futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await
    });
    runtime.shutdown_background();
    Ok(findings(questions, &answers))
}

/// Makes findings of answers: a host that serves may still lose signatures, or have little of a quota left.
fn findings(questions: &[Question], answers: &[Result<Proof, (Cause, String)>]) -> Vec<Finding> {
    // What the last host that serves an image to a node has of signatures: the registry itself, as a rule.
    let origin = |question: &Question| {
        let shares = |other: &Question| {
            other.nodes == question.nodes || other.nodes.iter().any(|node| question.nodes.contains(node))
        };
        let last = |(other, _): &(&Question, &Result<Proof, (Cause, String)>)| {
            other.hop.is_last && other.about == question.about && shares(other)
        };
        let mut proofs =
            questions.iter().zip(answers).filter(last).filter_map(|(_, answer)| answer.as_ref().ok());
        proofs.next_back().map(|proof| proof.signatures).unwrap_or_default()
    };
    let finding = |(question, answer): (&Question, &Result<Proof, (Cause, String)>)| {
        let result = answer.clone().and_then(|proof| {
            let lost = proof.signatures.lost_from(origin(question));
            if !lost.is_empty() {
                return Err((Cause::SignatureLost, format!("not passed on: {}", lost.join(", "))));
            }
            let left =
                proof.quota.map(|quota| format!("{} of {} pulls are left", quota.remaining, quota.limit));
            match (proof.quota, left) {
                (Some(quota), Some(left)) if quota.remaining < FEW_PULLS => Err((Cause::QuotaLow, left)),
                (_, left) => Ok(proof.cache.into_iter().chain(left).collect::<Vec<_>>().join("; ")),
            }
        });
        Finding::of(&question.hop, &question.about, &question.nodes, result)
    };
    questions.iter().zip(answers).map(finding).collect()
}

fn print(ui: &mut Ui, findings: &[Finding], args: &VerifyArgs, file: &str) -> Result<(), CliError> {
    match args.output {
        Format::Table => {
            ui.table(&Table { rows: cells(findings), cells: Cells::Whole, ..Table::default() })?;
            if args.drill {
                ui.result(&drill_text(findings))?;
            }
            Ok(())
        }
        Format::Json if args.drill => ui.json(&json!({
            "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "drill": drill(findings).iter().map(|stranded| json!({
                "mirror": stranded.mirror,
                "withoutAWay": lost_json(&stranded.without_a_way),
                "withoutAWorkingWay": lost_json(&stranded.without_a_working_way),
                "served": stranded.served,
            })).collect::<Vec<_>>(),
        })),
        Format::Json => ui.json(&findings.iter().map(Finding::to_json).collect::<Value>()),
        Format::Junit => ui.result(&junit(findings)),
        Format::Github => ui.result(&github(findings, file)),
        Format::Markdown => {
            let mut rows = cells(findings);
            let rule = rows.first().map_or(0, Vec::len);
            rows.insert(1.min(rows.len()), vec!["---".to_owned(); rule]);
            let line = |row: &Vec<String>| {
                let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
                format!("| {} |\n", cells.join(" | "))
            };
            let mut text: String = rows.iter().map(line).collect();
            if args.drill {
                text.push_str(&format!("\n```\n{}```\n", drill_text(findings)));
            }
            ui.result(&text)
        }
    }
}

/// Returns whether nodes ask in more than one way, so that a finding has to say of which it is.
fn differ(findings: &[Finding]) -> bool {
    findings.iter().zip(findings.iter().skip(1)).any(|(one, next)| one.nodes != next.nodes)
}

/// Lays findings out: one cause at one host is one line.
fn cells(findings: &[Finding]) -> Vec<Vec<String>> {
    let mut header =
        ["VIA", "HOST", "IMAGES", "STATUS", "CAUSE", "EVIDENCE", "FIX"].map(str::to_owned).to_vec();
    let differ = differ(findings);
    if differ {
        header.insert(2, "NODES".to_owned());
    }
    let rows = group(findings).into_iter().map(|group| {
        let first = group.first;
        let host = first.url.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let images = match group.images.as_slice() {
            [only] => (*only).to_owned(),
            all => all.len().to_string(),
        };
        let status = match first.cause {
            None => "ok",
            Some(cause) if cause.is_warning() => "warning",
            Some(_) => "failed",
        };
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let mut row = vec![
            first.via.clone(),
            host.unwrap_or_default().to_owned(),
            images,
            status.to_owned(),
            first
                .cause
                .map_or_else(|| "-".to_owned(), |cause| format!("{} {}", cause.as_str(), cause.title())),
            dash(first.evidence.clone()),
            first.cause.map_or_else(|| "-".to_owned(), |cause| fix(cause, &first.via, &first.url)),
        ];
        if differ {
            row.insert(2, dash(group.nodes.join(",")));
        }
        row
    });
    std::iter::once(header).chain(rows).collect()
}

fn lost_json(all: &[Lost]) -> Value {
    all.iter().map(|lost| json!({"image": lost.image, "nodes": lost.nodes})).collect()
}

fn drill_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for stranded in drill(findings) {
        let mut lost: Vec<&str> = Vec::new();
        for Lost { image, .. } in stranded.without_a_way.iter().chain(&stranded.without_a_working_way) {
            if !lost.contains(&image.as_str()) {
                lost.push(image);
            }
        }
        let lacking = lost.len();
        let image = |lost: &Lost| {
            if lost.nodes.is_empty() {
                lost.image.clone()
            } else {
                format!("{} (on {})", lost.image, lost.nodes.join(", "))
            }
        };
        let images = |all: &[Lost]| all.iter().map(image).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("with {} down: ", stranded.mirror));
        if lacking == 0 {
            text.push_str(&format!("{} still served\n", count(stranded.served, "image")));
            continue;
        }
        text.push_str(&format!("{} not served any more\n", count(lacking, "image")));
        if !stranded.without_a_way.is_empty() {
            text.push_str(&format!("  no other host: {}\n", images(&stranded.without_a_way)));
        }
        if !stranded.without_a_working_way.is_empty() {
            text.push_str(&format!(
                "  no other host that works: {}\n",
                images(&stranded.without_a_working_way)
            ));
        }
    }
    text
}

/// Says of which nodes a finding is.
fn on<T: std::borrow::Borrow<str>>(nodes: &[T], differ: bool) -> String {
    if differ && !nodes.is_empty() { format!(" on {}", nodes.join(", ")) } else { String::new() }
}

fn junit(findings: &[Finding]) -> String {
    let escape = |text: &str| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
    };
    let failures = findings.iter().filter(|finding| !finding.is_ok()).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"talmirror verify\" tests=\"{}\" failures=\"{failures}\">\n",
        findings.len()
    );
    let differ = differ(findings);
    for finding in findings {
        text.push_str(&format!(
            "  <testcase classname=\"{}\" name=\"{}\"",
            escape(&finding.image),
            escape(&format!("{} {}{}", finding.via, finding.url, on(&finding.nodes, differ)))
        ));
        match finding.cause {
            Some(cause) if !finding.is_ok() => text.push_str(&format!(
                ">\n    <failure type=\"{}\" message=\"{}\">{}\nfix: {}</failure>\n  </testcase>\n",
                cause.as_str(),
                escape(cause.title()),
                escape(&finding.evidence),
                escape(&fix(cause, &finding.via, &finding.url)),
            )),
            Some(_) | None => text.push_str("/>\n"),
        }
    }
    text.push_str("</testsuite>\n");
    text
}

fn github(findings: &[Finding], file: &str) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let differ = differ(findings);
    let line = |group: crate::mirror::verify::Group<'_>| {
        let first = group.first;
        let cause = first.cause?;
        let level = if cause.is_warning() { "warning" } else { "error" };
        let message = format!(
            "{}: {}: {} ({}{}); fix: {}",
            first.via,
            cause.title(),
            first.evidence,
            count(group.images.len(), "image"),
            on(&group.nodes, differ),
            fix(cause, &first.via, &first.url)
        );
        Some(format!("::{level} file={file},title={}::{}\n", cause.as_str(), escape(&message)))
    };
    group(findings).into_iter().filter_map(line).collect()
}
