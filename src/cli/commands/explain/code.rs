use serde_json::json;

use crate::finding::{Code, did_you_mean};
use crate::mirror::Cause;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Table, Ui};

/// Returns whether a word has the form of a finding's code.
pub(super) fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix(['E', 'e', 'W', 'w', 'V', 'v']).unwrap_or_default();
    digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Says what a finding means.
pub(super) fn explain_code(ui: &mut Ui, word: &str, format: OutputFormat) -> Result<Exit, CliError> {
    if let Some(cause) = Cause::find(word) {
        let (code, title, explanation) = (cause.as_str(), cause.title(), cause.explanation());
        let severity = if cause.is_warning() { "warning" } else { "error" };
        let value = json!({"code": code, "severity": severity, "title": title, "explanation": explanation});
        ui.output(format, &value, || Table {
            above: format!("{code} ({severity}): {title}\n\n{explanation}\n"),
            ..Table::default()
        })?;
        return Ok(exit::OK);
    }
    let Some(code) = Code::find(word) else {
        let error = CliError::usage(format!("there is no finding `{word}`"));
        let codes = Code::ALL.iter().map(|code| code.as_str());
        let near = did_you_mean(word, codes.chain(Cause::ALL.iter().map(|cause| cause.as_str())));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        return Err(error.help_if(near).help("talmirror explain --codes lists all of them"));
    };
    let explanation = code.explanation();
    let value = json!({
        "code": code.as_str(),
        "severity": code.severity().as_str(),
        "title": code.title(),
        "explanation": code.explanation(),
    });
    ui.output(format, &value, || {
        let (code, severity, title) = (code.as_str(), code.severity().as_str(), code.title());
        Table { above: format!("{code} ({severity}): {title}\n\n{explanation}\n"), ..Table::default() }
    })?;
    Ok(exit::OK)
}

/// Lists all findings, in the order of their codes.
pub(super) fn list_codes(ui: &mut Ui, format: OutputFormat) -> Result<Exit, CliError> {
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| code.as_str());
    let item = |code: &Code| json!({"code": code.as_str(), "severity": code.severity().as_str(), "title": code.title()});
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "Findings",
        "items": codes.iter().map(item).collect::<Vec<_>>(),
    });
    ui.output(format, &value, || {
        let row =
            |code: &Code| [code.as_str(), code.severity().as_str(), code.title()].map(str::to_owned).to_vec();
        Table::new(&["CODE", "SEVERITY", "TITLE"], codes.iter().map(row))
    })?;
    Ok(exit::OK)
}
