#![expect(clippy::disallowed_methods, reason = "names files by their full paths")]

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input::{display_name, environment};
use crate::cli::inventory::{problems_json, read_inventory, summary};
use crate::cli::reports;
use crate::file;
use crate::finding::{Code, Problems, Severity};
use crate::inventory;
use crate::machineconfig::MachineConfig;
use crate::sops::{IntegrityFault, REGISTRY_RULE, SopsError, clear_secrets, looks_encrypted};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};
use crate::yaml::{Indent, emit, parse_one};

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(visible_alias = "lint")]
#[command(
    after_help = "Ends with 0 when there is no error, with 1 when there is one (or a warning, with --deny warnings), and with 3 \
when the file cannot be read.

Examples:
  talmirror validate
  talmirror validate talos/mirrors.yaml --deny warnings -o github"
)]
pub(crate) struct ValidateArgs {
    /// The inventory, in place of that of -f
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// What else counts as an error
    #[arg(long, env = "TALMIRROR_DENY", value_name = "WHAT", value_parser = ["warnings"])]
    deny: Option<String>,
    /// How findings are printed
    #[arg(
        short,
        long,
        env = "TALMIRROR_VALIDATE_OUTPUT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[value(alias = "table")]
    Text,
    /// One object
    Json,
    /// One object
    Yaml,
    /// Annotations of GitHub Actions
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit, for test reports
    Junit,
    /// A table, for comments
    Markdown,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ValidateArgs) -> Result<Exit, CliError> {
    let mut global = global.clone();
    if let Some(file) = &args.file {
        global.inventory.clone_from(file);
    }
    let global = &global;
    let file = display_name(&global.inventory);
    let raw = read_inventory(global)?;
    let encrypted = looks_encrypted(&raw);
    let (text, sealed) = match encryption::open_changed(&raw, global) {
        _ if !encrypted => (raw, None),
        Ok(changed) => {
            encryption::warn_of_comments(ui, &changed.comments, file);
            (changed.text.expose().clone(), changed.fault.map(IntegrityFault::into_error))
        }
        // A check needs no key: structure and names are in clear.
        Err(SopsError::NoKey(no_key)) if !no_key.is_damaged() => {
            ui.note(&format!("{file}: no key opens it, so its MAC was not checked"));
            (raw, None)
        }
        // The inventory's own finding says where.
        Err(SopsError::Yaml(_)) => (raw, None),
        Err(error) => (raw, Some(error)),
    };
    refuse_others(&text, file)?;
    let parsed = inventory::parse(&text, file, &environment);
    let mut findings = Problems::new(file, &text);
    if let Some(error) = sealed {
        let changed = matches!(error, SopsError::NoMac | SopsError::MacMismatch | SopsError::Moved(_));
        let code = if changed { Code::ChangedSealed } else { Code::CannotDecrypt };
        let problem = findings.add(code, &(0..0), "sops", error.to_string());
        problem.help = error.help();
    }
    coverage(global, &mut findings)?;
    if !encrypted && global.inventory != "-" {
        clear_in_git(std::path::Path::new(&global.inventory), &text, &mut findings);
    }
    let mut problems = findings.into_sorted();
    problems.extend(parsed.problems);
    let deny = args.deny.is_some() || parsed.inventory.is_some_and(|inventory| inventory.deny_warnings);
    let least = if deny { Severity::Warning } else { Severity::Error };
    let failed = problems.iter().any(|problem| problem.code.severity() >= least);
    let object = || {
        json!({
            "apiVersion": "talmirror/v1",
            "kind": "ValidationResult",
            "file": file,
            "valid": !failed,
            "items": problems_json(&problems),
        })
    };
    match args.output {
        Format::Text => {
            for problem in &problems {
                ui.problem(problem);
            }
            ui.note(&format!("{file}: {}", summary(&problems)));
        }
        Format::Json => ui.json(&object())?,
        Format::Yaml => ui.result(&emit(&object(), Indent::default()))?,
        Format::Github => ui.result(&reports::github(&problems))?,
        Format::Sarif => ui.json(&reports::sarif(&problems))?,
        Format::Junit => ui.result(&reports::junit(file, &problems, least))?,
        Format::Markdown => ui.result(&reports::markdown(file, &problems, &summary(&problems)))?,
    }
    Ok(if failed { exit::FOUND } else { exit::OK })
}

/// Refuses a file that is known to be something else, whose every field would be a finding.
fn refuse_others(text: &str, file: &str) -> Result<(), CliError> {
    // Large files are not read twice for nothing.
    if !["machine", "Registry", "upstreams", "listen", "sizeCap"].iter().any(|word| text.contains(word)) {
        return Ok(());
    }
    let root = crate::yaml::parse_one(text).ok().map(|document| document.root);
    let has = |key: &str| root.as_ref().is_some_and(|root| root.get(key).is_some());
    if has("registries") || has("mirrors") || has("mirror") {
        return Ok(());
    }
    let is_config =
        MachineConfig::parse(text).is_ok_and(|config| has("machine") || !config.registry_trees().is_empty());
    if is_config {
        return Err(CliError::new(exit::INVALID, format!("`{file}` is a machine config, not an inventory"))
            .help(format!("`talmirror import {file}` makes an inventory of it, `talmirror diff --against {file}` compares it with one")));
    }
    if ["upstreams", "listen", "sizeCap"].into_iter().any(has) {
        let message = format!("`{file}` is a configuration of talmirror-cache, not an inventory");
        return Err(CliError::new(exit::INVALID, message)
            .help(format!("`talmirror-cache check --config {file}` checks it")));
    }
    Ok(())
}

/// Finds secrets in clear in a file that git tracks.
fn clear_in_git(path: &std::path::Path, text: &str, findings: &mut Problems<'_>) {
    let Ok(document) = parse_one(text) else { return };
    let clear = clear_secrets(&document.root);
    if let Some(first) = clear.first()
        && file::is_tracked_by_git(path)
    {
        let message = match clear.len() {
            1 => "a secret stands in clear, and git tracks the file".to_owned(),
            number => format!("{number} secrets stand in clear, and git tracks the file"),
        };
        findings.add(Code::ClearInGit, first, "", message).help =
            Some("encrypt it with `talmirror encrypt --in-place`, and change what was committed".to_owned());
    }
}

/// Finds secrets that the rules of `.sops.yaml` would leave in clear.
fn coverage(global: &Global, findings: &mut Problems<'_>) -> Result<(), CliError> {
    let Some(config) = encryption::config()? else { return Ok(()) };
    if global.inventory == "-" {
        return Ok(());
    }
    let path = std::path::absolute(&global.inventory)?;
    let Ok(rule) = config.creation_rule(&path) else { return Ok(()) };
    let selection = rule.rule.clone().unwrap_or_default();
    let clear: Vec<&str> = ["password", "auth", "identityToken", "key"]
        .into_iter()
        .filter(|key| !selection.selects_keys(["mirrors", "harbor", "credentials", key]))
        .collect();
    if !clear.is_empty() {
        let message =
            format!("line {} of `{}` leaves {} in clear", rule.line, config.path.display(), clear.join(", "));
        findings.add(Code::UncoveredSecret, &(0..0), "", message).help =
            Some(format!("use `encrypted_regex: {REGISTRY_RULE}`"));
    }
    if selection.selects_keys(["credentials", "passwordFrom", "env"])
        && !selection.selects_keys(["registries"])
    {
        let message = format!(
            "line {} of `{}` also encrypts references such as passwordFrom",
            rule.line,
            config.path.display()
        );
        findings.add(Code::WideRule, &(0..0), "", message).help =
            Some(format!("anchor it: `{REGISTRY_RULE}`"));
    }
    Ok(())
}
