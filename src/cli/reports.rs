//! Findings in the forms that other programs read.

use serde_json::{Value, json};

use crate::finding::{Code, Problem, Severity};

/// Returns what a finding says, in one paragraph.
fn message(problem: &Problem) -> String {
    let parts = [Some(&problem.message), problem.reason.as_ref(), problem.help.as_ref()];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    parts.join(". ")
}

/// Writes workflow commands of GitHub Actions, one a line.
pub(super) fn github(problems: &[Problem]) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let line = |problem: &Problem| {
        let kind = match problem.code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        format!(
            "::{kind} file={},line={},col={},title={}::{}\n",
            property(&problem.file),
            problem.position.line,
            problem.position.column,
            property(problem.code.as_str()),
            escape(&message(problem)),
        )
    };
    problems.iter().map(line).collect()
}

/// Returns a log of SARIF 2.1.0, which code scanning of GitHub and GitLab reads.
pub(super) fn sarif(problems: &[Problem]) -> Value {
    let level = |code: Code| match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
    codes.sort_by_key(|code| code.as_str());
    codes.dedup();
    let rule = |code: &Code| {
        json!({
            "id": code.as_str(),
            "shortDescription": {"text": code.title()},
            "fullDescription": {"text": code.explanation()},
            "defaultConfiguration": {"level": level(*code)},
        })
    };
    let result = |problem: &Problem| {
        json!({
            "ruleId": problem.code.as_str(),
            "level": level(problem.code),
            "message": {"text": message(problem)},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": problem.file},
                    "region": {"startLine": problem.position.line, "startColumn": problem.position.column},
                },
                "logicalLocations": [{"fullyQualifiedName": problem.path}],
            }],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "talmirror",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": problems.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// Returns a report in JUnit's form, in which each finding of at least `least` is a failure; a file without one passes.
pub(super) fn junit(file: &str, problems: &[Problem], least: Severity) -> String {
    let failures = problems.iter().filter(|problem| problem.code.severity() >= least);
    let case = |problem: &Problem| {
        format!(
            "    <testcase name=\"{} line {}\" classname=\"{}\">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
            problem.code.as_str(),
            problem.position.line,
            xml(file),
            xml(&problem.message),
            xml(&problem.to_string()),
        )
    };
    let cases: Vec<String> = failures.map(case).collect();
    let (failed, tests) = (cases.len(), cases.len().max(1));
    let cases = if cases.is_empty() {
        format!("    <testcase name=\"valid\" classname=\"{}\"/>\n", xml(file))
    } else {
        cases.concat()
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{tests}\" failures=\"{failed}\">\n  <testsuite name=\"talmirror validate\" tests=\"{tests}\" failures=\"{failed}\">\n{cases}  </testsuite>\n</testsuites>\n"
    )
}

/// Escapes a text for XML, and drops what XML 1.0 has no form for.
fn xml(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let text: String = text.chars().filter(allowed).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns a table in Markdown, as a comment on a merge request shows it.
pub(super) fn markdown(file: &str, problems: &[Problem], summary: &str) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let row = |problem: &Problem| {
        let place = format!("{}:{}", problem.position.line, problem.position.column);
        let (severity, code) = (problem.code.severity().as_str(), problem.code.as_str());
        format!("| {severity} | {code} | {place} | {} |\n", cell(&message(problem)))
    };
    let mut out = format!("**{}**: {summary}\n", cell(file));
    if !problems.is_empty() {
        out.push_str("\n| | code | line | finding |\n| --- | --- | --- | --- |\n");
        out.extend(problems.iter().map(row));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Problems;

    fn problems() -> Vec<Problem> {
        let mut problems = Problems::new("a.yaml", "x: 1\ny: <&\"|\n");
        problems.add(Code::UnknownField, &(5..6), "y", "unknown field `y<&\"|`").help =
            Some("100% sure".to_owned());
        problems.add(Code::AnonymousHub, &(0..1), "x", "a note");
        problems.into_sorted()
    }

    #[test]
    fn every_form_says_code_place_and_text() {
        let problems = problems();
        insta::assert_snapshot!(github(&problems), @"
        ::notice file=a.yaml,line=1,col=1,title=W210::a note
        ::error file=a.yaml,line=2,col=1,title=E101::unknown field `y<&\"|`. 100%25 sure
        ");
        let sarif = sarif(&problems);
        let result = sarif.pointer("/runs/0/results/1").unwrap();
        assert_eq!(result["level"], "error");
        assert_eq!(result.pointer("/locations/0/physicalLocation/region/startLine").unwrap(), 2);
        assert_eq!(sarif.pointer("/runs/0/tool/driver/rules/0/id").unwrap(), "E101");
        let junit_text = junit("a.yaml", &problems, Severity::Error);
        assert!(junit_text.contains("tests=\"1\" failures=\"1\""), "{junit_text}");
        assert!(junit_text.contains("unknown field `y&lt;&amp;&quot;|`"), "{junit_text}");
        assert!(junit("a.yaml", &[], Severity::Error).contains("<testcase name=\"valid\""));
        insta::assert_snapshot!(markdown("a.yaml", &problems, "1 error"), @r#"
        **a.yaml**: 1 error

        | | code | line | finding |
        | --- | --- | --- | --- |
        | note | W210 | 1:1 | a note |
        | error | E101 | 2:1 | unknown field `y<&"\|`. 100% sure |
        "#);
    }
}
