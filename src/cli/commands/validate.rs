#![expect(clippy::disallowed_methods, reason = "names files by their full paths")]

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input::{display_name, environment};
use crate::cli::inventory::{problems_json, read_inventory, summary};
use crate::file;
use crate::finding::{Code, Problem, Problems, Severity};
use crate::inventory;
use crate::sops::{Fault, Path as Place, SopsError, Step, is_secret, looks_encrypted};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};
use crate::yaml::{Node, parse_one};

/// Arguments of `validate`.
#[derive(Debug, Args)]
#[command(visible_alias = "lint")]
#[command(
    after_help = "Ends with 0 when there is no error, with 1 when there is one (or a warning, with --deny warnings), and with 3 \
when the file cannot be read.

Examples:
  talmirror validate
  talmirror validate -f talos/mirrors.yaml --deny warnings -o github"
)]
pub(crate) struct ValidateArgs {
    /// What else counts as an error
    #[arg(long, env = "TALMIRROR_DENY", value_name = "WHAT", value_parser = ["warnings"])]
    deny: Option<String>,
    /// How findings are printed
    #[arg(short, long, env = "TALMIRROR_VALIDATE_OUTPUT", default_value = "text", value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object
    Json,
    /// Annotations of GitHub Actions
    Github,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: ValidateArgs) -> Result<Exit, CliError> {
    let file = display_name(&global.inventory);
    let raw = read_inventory(global)?;
    let encrypted = looks_encrypted(&raw);
    let (text, sealed) = match encryption::open_changed(&raw, global) {
        _ if !encrypted => (raw, None),
        Ok(changed) => {
            encryption::warn_of_comments(ui, &changed.comments, file);
            (changed.text.expose().clone(), changed.fault.map(Fault::into_error))
        }
        // A check needs no key: structure and names are in clear.
        Err(SopsError::NoKey(_)) => {
            ui.note(&format!("{file}: no key opens it, so its MAC was not checked"));
            (raw, None)
        }
        Err(error) => (raw, Some(error)),
    };
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
    match args.output {
        Format::Text => {
            for problem in &problems {
                ui.problem(problem);
            }
            ui.note(&format!("{file}: {}", summary(&problems)));
        }
        Format::Json => ui.json(&json!({
            "apiVersion": "talmirror/v1",
            "kind": "ValidationResult",
            "file": file,
            "valid": !failed,
            "items": problems_json(&problems),
        }))?,
        Format::Github => {
            for problem in &problems {
                ui.result(&annotation(problem))?;
            }
        }
    }
    Ok(if failed { exit::FOUND } else { exit::OK })
}

/// Finds secrets in clear in a file that git tracks.
fn clear_in_git(path: &std::path::Path, text: &str, findings: &mut Problems<'_>) {
    let Ok(document) = parse_one(text) else { return };
    let mut clear = Vec::new();
    secrets(&document.root, &document.root, &Place::default(), &mut clear);
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

/// Collects where secrets stand in clear.
fn secrets(root: &Node, node: &Node, place: &Place, out: &mut Vec<std::ops::Range<usize>>) {
    if node.as_str().is_some_and(|text| !text.is_empty() && !text.starts_with("ENC["))
        && is_secret(root, place)
    {
        out.push(node.span.clone());
    }
    for entry in node.entries() {
        let mut below = place.clone();
        below.0.push(Step::Key(entry.key.clone()));
        secrets(root, &entry.value, &below, out);
    }
    for (at, item) in node.items().iter().enumerate() {
        let mut below = place.clone();
        below.0.push(Step::Index(at));
        secrets(root, item, &below, out);
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
    let clear: Vec<&str> = ["password", "identityToken", "key"]
        .into_iter()
        .filter(|key| !selection.selects_keys(["mirrors", "harbor", "credentials", key]))
        .collect();
    if !clear.is_empty() {
        let message =
            format!("line {} of `{}` leaves {} in clear", rule.line, config.path.display(), clear.join(", "));
        findings.add(Code::UncoveredSecret, &(0..0), "", message).help =
            Some("use `encrypted_regex: ^(password|identityToken|key)$`".to_owned());
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
            Some("anchor it: `^(password|identityToken|key)$`".to_owned());
    }
    Ok(())
}

/// Writes a workflow command of GitHub Actions.
fn annotation(problem: &Problem) -> String {
    let kind = match problem.code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let parts = [Some(&problem.message), problem.reason.as_ref(), problem.help.as_ref()];
    let message: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    format!(
        "::{kind} file={},line={},col={},title={}::{}\n",
        property(&problem.file),
        problem.position.line,
        problem.position.column,
        property(problem.code.as_str()),
        escape(&message.join(". ")),
    )
}
