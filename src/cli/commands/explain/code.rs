use serde_json::json;

use crate::cli::code_list::{Listed, all};
use crate::finding::did_you_mean;
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, OutputFormat, Table, Ui};

/// Returns whether a word has the form of a finding's code.
pub(super) fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix(['E', 'e', 'W', 'w', 'V', 'v']).unwrap_or_default();
    digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Says what a finding means.
pub(super) fn explain_code(ui: &mut Ui, word: &str, format: OutputFormat) -> Result<Exit, CliError> {
    let codes = all();
    let Some(found) = codes.iter().find(|listed| listed.code.eq_ignore_ascii_case(word)) else {
        let near = did_you_mean(word, codes.iter().map(|listed| listed.code));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        return Err(CliError::usage(format!("there is no finding `{word}`"))
            .help_if(near)
            .help("talmirror explain --codes lists all of them"));
    };
    let Listed { code, severity, title, explanation } = found;
    let value = json!({"code": code, "severity": severity, "title": title, "explanation": explanation});
    ui.output(format, &value, || format!("{code} ({severity}): {title}\n\n{explanation}\n"))?;
    Ok(exit::OK)
}

/// Lists all findings, in the order of their codes.
pub(super) fn list_codes(ui: &mut Ui, format: OutputFormat) -> Result<Exit, CliError> {
    let codes = all();
    let item =
        |listed: &Listed| json!({"code": listed.code, "severity": listed.severity, "title": listed.title});
    let value = json!({
        "apiVersion": "talmirror/v1",
        "kind": "Findings",
        "items": codes.iter().map(item).collect::<Vec<_>>(),
    });
    ui.output(format, &value, || {
        let row = |listed: &Listed| [listed.code, listed.severity, listed.title].map(str::to_owned).to_vec();
        Table::new(&["CODE", "SEVERITY", "TITLE"], codes.iter().map(row))
    })?;
    Ok(exit::OK)
}
