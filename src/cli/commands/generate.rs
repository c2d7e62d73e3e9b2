#![expect(clippy::disallowed_methods, reason = "asks whether output is a terminal")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::args::{Global, TargetArgs, VersionArgs};
use crate::cli::artifacts::{Artifact, Encryption, Extent, Mode, Seal, write};
use crate::cli::encryption;
use crate::cli::input::directory_of;
use crate::cli::inventory::{LoadedInventory, default_version, load, warn_of_version};
use crate::cli::machine_config::MachineConfigFile;
use crate::cli::meant::{Meant, SettingsOf};
use crate::inventory::Target;
use crate::patch::{self, Choice, Current, Format, Parts, Patch, Versions};
use crate::registries::{Registries, TalosVersion};
use crate::secret::Secret;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};
use crate::yaml::{Indent, emit, emit_stream};

/// Arguments of `generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "`auto` gives the form that can be applied twice: documents for Talos 1.14 and later, strategic merge for 1.12, \
1.13 and unknown versions, a JSON patch before.

Examples:
  talmirror generate --talos-version v1.13 | talosctl patch mc -n 10.0.0.1 -p @/dev/stdin
  talmirror generate --nodes n1 --format documents --against n1.yaml
  talmirror generate --match '^n' | talosctl patch mc -n 10.0.0.2,10.0.0.3 -p @/dev/stdin
  talmirror generate --output-dir talos/mirrors --encrypt
  talmirror generate --output-dir talos/mirrors --encrypt --check"
)]
pub(crate) struct GenerateArgs {
    /// The form of the patch; the version decides, if left out
    #[arg(long, env = "TALMIRROR_FORMAT", value_name = "FORMAT", value_parser = choice())]
    format: Option<Choice>,
    #[command(flatten)]
    versions: VersionArgs,
    /// The version of the talosctl that applies the patch, where it is not that of the nodes
    #[arg(long, env = "TALMIRROR_TALOSCTL_VERSION", value_name = "VERSION", value_parser = clap::value_parser!(TalosVersion))]
    talosctl_version: Option<TalosVersion>,
    #[command(flatten)]
    which: SettingsOf,
    /// Patches for every node, each in a directory of its own
    #[arg(short = 'A', long, env = "TALMIRROR_ALL", value_parser = clap::builder::FalseyValueParser::new(), conflicts_with_all = ["nodes", "group", "layout"])]
    all: bool,
    /// The machine config that the patch is for: the least that makes it what the inventory says
    #[arg(long, env = "TALMIRROR_AGAINST", value_name = "FILE", conflicts_with_all = ["all", "output_dir"])]
    against: Option<String>,
    /// Where to write files; without it the patch goes to standard output, and --all, --layout, --check and --dry-run
    /// take the inventory's output.dir
    #[arg(long, env = "TALMIRROR_OUTPUT_DIR", value_name = "DIR", help_heading = "Output")]
    output_dir: Option<PathBuf>,
    /// Which files there are: one patch, one a group, or one a node
    #[arg(long, env = "TALMIRROR_LAYOUT", value_name = "LAYOUT", conflicts_with_all = ["nodes", "group"], help_heading = "Output")]
    layout: Option<Layout>,
    #[command(flatten)]
    encryption: Encryption,
    /// Write nothing; end with 1 when the files are not what the inventory gives
    #[arg(long, env = "TALMIRROR_CHECK", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    check: bool,
    /// Write nothing; say what would be written
    #[arg(long, env = "TALMIRROR_DRY_RUN", conflicts_with = "check", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Output")]
    dry_run: bool,
    /// Print secrets even where standard output is a terminal
    #[arg(long, env = "TALMIRROR_SHOW_SECRETS", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Secrets")]
    show_secrets: bool,
    /// Print as YAML, or a JSON patch as JSON
    #[arg(
        short,
        long,
        env = "TALMIRROR_GENERATE_OUTPUT",
        default_value = "yaml",
        value_name = "STYLE",
        help_heading = "Output"
    )]
    output: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Layout {
    Single,
    PerGroup,
    PerNode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Style {
    Yaml,
    Json,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: GenerateArgs) -> Result<Exit, CliError> {
    warn_of_version(ui, &args.versions);
    let mut loaded = load(ui, global)?;
    if args.check || args.dry_run {
        loaded.only_look(global);
    }
    let into_files = args.all || args.check || args.dry_run || args.layout.is_some();
    let own = || loaded.inventory.output.dir.as_ref().map(|dir| directory_of(&global.inventory).join(dir));
    let dir = args.output_dir.clone().or_else(|| if into_files { own() } else { None });
    if into_files && dir.is_none() {
        return Err(CliError::usage("--all, --layout, --check and --dry-run are about files")
            .help("name a directory with --output-dir, or in the inventory as output.dir"));
    }
    let Some(dir) = dir else { return to_stdout(ui, global, &args, &mut loaded) };
    let exit = to_directory(ui, global, &args, &mut loaded, &dir)?;
    loaded.tell_not_run(ui);
    Ok(exit)
}

/// Reads the form of a patch; help lists the forms.
fn choice() -> impl TypedValueParser<Value = Choice> {
    PossibleValuesParser::new(Format::NAMES.iter().copied()).try_map(|name| name.parse::<Choice>())
}

/// Everything that a patch is made of, for one target.
struct Made {
    format: Format,
    versions: Versions,
    registries: Registries,
}

fn make(
    args: &GenerateArgs,
    loaded: &mut LoadedInventory,
    target: Target<'_>,
    current: Option<&Current>,
) -> Result<Made, CliError> {
    let versions = Versions {
        talos: loaded.talos_version(&args.versions, target),
        talosctl: args.talosctl_version.clone(),
    };
    let choice = match (args.format, &loaded.inventory.output.format) {
        (Some(choice), _) => choice,
        (None, Some(format)) => format.parse().map_err(CliError::usage)?,
        (None, None) => Choice::Auto,
    };
    let format = match (patch::choose(choice, &versions)?, choice, current) {
        // A config of several documents takes no JSON patch, whatever its version.
        (Format::JsonPatch, Choice::Auto, Some(current)) if current.documents > 1 => Format::Strategic,
        (format, _, _) => format,
    };
    if args.output == Style::Json && args.encryption.wanted(loaded) {
        return Err(CliError::usage("an encrypted patch is YAML").help("leave -o json out"));
    }
    if args.output == Style::Json && format != Format::JsonPatch {
        return Err(CliError::usage(format!("a patch of format {format} has no JSON form"))
            .help("leave -o json out, or use --format json-patch"));
    }
    let version = versions.talos.clone().unwrap_or_else(default_version);
    loaded.check_version(target, &version)?;
    let registries = loaded.inventory.registries(target, &version, &mut loaded.sources)?;
    Ok(Made { format, versions, registries })
}

/// How a patch is had that is not for all nodes.
const WHICH: &str = "name one with --nodes or --group, or write all with --output-dir";

fn to_stdout(
    ui: &mut Ui,
    global: &Global,
    args: &GenerateArgs,
    loaded: &mut LoadedInventory,
) -> Result<Exit, CliError> {
    let mut files = match &args.against {
        Some(file) => MachineConfigFile::read_all(file, global)?,
        None => Vec::new(),
    };
    let unlisted = MachineConfigFile::of_unlisted(&mut files, loaded, &args.which)?;
    let meant = if unlisted.is_some() { Meant::Base } else { args.which.meant(loaded)? };
    let targets = meant.targets();
    let target = targets.first().copied().unwrap_or(Target::Base);
    let own = if target == Target::Base { loaded.own_settings(&args.versions) } else { Vec::new() };
    let current = match (unlisted, files.is_empty()) {
        (Some(file), _) => Some(file.current()),
        (None, true) => None,
        (None, false) => Some(MachineConfigFile::one_of(files, loaded, &one_target(&meant)?)?.current()),
    };
    let hidden = !args.show_secrets && !args.encryption.wanted(loaded) && std::io::stdout().is_terminal();
    if hidden {
        loaded.only_look(global);
    }
    let mut made = make(args, loaded, target, current.as_ref())?;
    for other in targets.iter().skip(1) {
        let others = make(args, loaded, *other, current.as_ref())?;
        if others.format != made.format
            || others.registries != made.registries
            || others.versions != made.versions
        {
            let message = format!("{} do not get the same patch", in_words(&meant));
            return Err(CliError::usage(message)
                .help("write one for each with --output-dir, or name nodes that get the same"));
        }
    }
    if !own.is_empty() && made.registries.is_empty() {
        // The patch of nothing takes away what a node has.
        let message =
            format!("every registry is of a group or a node ({}), and none is for all nodes", own.join(", "));
        return Err(CliError::usage(message).help(WHICH));
    }
    if !own.is_empty() {
        ui.warn(&format!("the settings of {} are not in this patch", own.join(", ")), Some(WHICH));
    }
    if hidden && !made.registries.secrets().is_empty() {
        hide(&mut made.registries);
        ui.warn(
            "secrets are not shown on a terminal",
            Some("send the patch to a file or a pipe, or use --show-secrets"),
        );
    }
    let patch = if let Some(current) = &current {
        patch::against(made.format, &made.registries, current, &made.versions)?
    } else {
        let parts = Parts::whole(made.registries.clone());
        patch::plain(made.format, &parts, &made.versions).0
    };
    ui.cautions(&patch.cautions);
    let Some(documents) = patch.files.first() else {
        ui.note("nothing to change");
        return Ok(exit::OK);
    };
    let text = if args.encryption.wanted(loaded) {
        let text = text_of(documents, Style::Yaml, Wrap::Map, encryption::indent()?);
        args.encryption.encrypt(ui, Path::new("secrets.sops.yaml"), &text)?
    } else {
        text_of(documents, args.output, Wrap::List, Indent::default())
    };
    ui.result(&text)?;
    Ok(exit::OK)
}

/// Returns the one node or group whose settings are meant.
fn one_target(meant: &Meant) -> Result<TargetArgs, CliError> {
    meant.one().ok_or_else(|| {
        CliError::usage(format!("--against is about one node, and {} are meant", in_words(meant)))
            .help("name one with --nodes")
    })
}

/// Returns the names of nodes.
fn in_words(meant: &Meant) -> String {
    match meant {
        Meant::Base => "all nodes".to_owned(),
        Meant::Group(group) => format!("the group {group}"),
        Meant::Nodes(names) => names.join(", "),
    }
}

/// How a JSON patch stands in its file: SOPS cannot encrypt a list, so an encrypted one is a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    List,
    Map,
}

fn text_of(documents: &[Value], style: Style, wrap: Wrap, indent: Indent) -> String {
    match documents {
        [list @ Value::Array(_)] if style == Style::Json => format!("{list:#}\n"),
        [list @ Value::Array(_)] if wrap == Wrap::Map => emit(&serde_json::json!({"patch": list}), indent),
        documents => emit_stream(documents, indent),
    }
}

/// Replaces every secret, for output that people look at.
fn hide(registries: &mut Registries) {
    let hidden = || Secret::from("<redacted>");
    for auth in registries.auth.values_mut() {
        for secret in [&mut auth.password, &mut auth.auth, &mut auth.identity_token].into_iter().flatten() {
            *secret = hidden();
        }
    }
    for identity in registries.tls.values_mut().filter_map(|tls| tls.client_identity.as_mut()) {
        identity.key = hidden();
    }
}

fn to_directory(
    ui: &mut Ui,
    global: &Global,
    args: &GenerateArgs,
    loaded: &mut LoadedInventory,
    dir: &Path,
) -> Result<Exit, CliError> {
    let inventory = loaded.inventory.clone();
    let meant = args.which.meant(loaded)?;
    let chooses = args.which.chooses();
    let targets: Vec<(String, Target<'_>)> = match layout(args, loaded)? {
        Layout::Single => meant.targets().into_iter().map(|target| (String::new(), target)).collect(),
        Layout::PerGroup => std::iter::once(("base".to_owned(), Target::Base))
            .chain(inventory.groups.keys().map(|name| (name.clone(), Target::Group(name))))
            .collect(),
        Layout::PerNode if chooses => {
            meant.names().iter().map(|name| (name.clone(), Target::Node(name))).collect()
        }
        Layout::PerNode => inventory.nodes.keys().map(|name| (name.clone(), Target::Node(name))).collect(),
    };
    let sealed = if args.encryption.wanted(loaded) { Seal::Encrypted } else { Seal::Clear };
    let indent = encryption::indent()?;
    let (mut artifacts, mut cautions) = (Vec::new(), Vec::new());
    // Most nodes of a large cluster get what others get: that is made once.
    let mut made_before: HashMap<_, Vec<File>> = HashMap::new();
    for (name, target) in targets {
        let key = (loaded.talos_version(&args.versions, target), inventory.settings_of(target));
        let files = match made_before.entry(key) {
            Entry::Occupied(files) => files.into_mut(),
            Entry::Vacant(place) => {
                let made = make(args, loaded, target, None)?;
                let (open, secret) =
                    patch::plain(made.format, &patch::split(made.registries), &made.versions);
                for caution in &open.cautions {
                    // In files of their own both steps are there: what the caution asks for has been done.
                    if open.files.len().max(secret.files.len()) < 2 && !cautions.contains(caution) {
                        cautions.push(caution.clone());
                    }
                }
                let mut both = files("mirrors", &open, args.output, Seal::Open, indent);
                both.extend(files("secrets", &secret, args.output, sealed, indent));
                place.insert(both)
            }
        };
        let at = dir.join(&name);
        artifacts.extend(files.iter().map(|file| {
            let File { name, seal, text } = file.clone();
            Artifact { path: at.join(name), seal, text }
        }));
    }
    ui.cautions(&cautions);
    let mode = match (args.check, args.dry_run) {
        (true, _) => Mode::Check,
        (false, true) => Mode::DryRun,
        (false, false) => Mode::Write,
    };
    let extent = if chooses { Extent::Part } else { Extent::Whole };
    write(ui, global, dir, &artifacts, &args.encryption, (mode, extent))
}

/// A file of a patch, whichever directory it goes to.
#[derive(Clone)]
struct File {
    name: String,
    seal: Seal,
    text: Secret<String>,
}

fn files(stem: &str, patch: &Patch, style: Style, seal: Seal, indent: Indent) -> Vec<File> {
    let several = patch.files.len() > 1;
    let (style, wrap) = if seal == Seal::Encrypted { (Style::Yaml, Wrap::Map) } else { (style, Wrap::List) };
    let ending = match (seal, style) {
        (Seal::Encrypted, _) => "sops.yaml",
        (Seal::Open | Seal::Clear, Style::Yaml) => "yaml",
        (Seal::Open | Seal::Clear, Style::Json) => "json",
    };
    let file = |(at, documents): (usize, &Vec<Value>)| {
        let step = ["-1-create", "-2-set"].get(at).filter(|_| several).copied().unwrap_or_default();
        let text = text_of(documents, style, wrap, indent);
        File { name: format!("{stem}{step}.{ending}"), seal, text: Secret::new(text) }
    };
    patch.files.iter().enumerate().map(file).collect()
}

fn layout(args: &GenerateArgs, loaded: &LoadedInventory) -> Result<Layout, CliError> {
    let chooses = args.which.chooses();
    let named = args.which.names_any() && !chooses;
    let own = loaded.own_settings(&args.versions);
    let chosen = match (&args.layout, loaded.inventory.output.layout.as_deref()) {
        _ if named => Layout::Single,
        (Some(layout @ (Layout::Single | Layout::PerGroup)), _) if chooses => {
            let layout = if *layout == Layout::Single { "single" } else { "per-group" };
            return Err(CliError::usage(format!(
                "--role and --match choose nodes, and --layout {layout} has none"
            ))
            .help("use --layout per-node"));
        }
        _ if chooses => Layout::PerNode,
        _ if args.all => Layout::PerNode,
        (Some(layout), _) => *layout,
        (None, Some("single")) => Layout::Single,
        (None, Some("per-group")) => Layout::PerGroup,
        (None, Some(_)) => Layout::PerNode,
        (None, None) if own.is_empty() => Layout::Single,
        (None, None) => Layout::PerNode,
    };
    match chosen {
        Layout::PerNode if loaded.inventory.nodes.is_empty() => {
            Err(CliError::usage(format!("`{}` names no nodes", loaded.file))
                .help("use --layout single or per-group"))
        }
        Layout::PerGroup if own.iter().any(|place| place.starts_with("nodes.")) => {
            let own: Vec<&str> =
                own.iter().map(String::as_str).filter(|place| place.starts_with("nodes.")).collect();
            Err(CliError::usage(format!("files a group cannot hold the settings of {}", own.join(", ")))
                .help("use --layout per-node"))
        }
        Layout::Single if !named && !own.is_empty() => {
            Err(CliError::usage(format!("one file cannot hold the settings of {}", own.join(", ")))
                .help("use --layout per-node, or name one with --nodes or --group"))
        }
        layout => Ok(layout),
    }
}
