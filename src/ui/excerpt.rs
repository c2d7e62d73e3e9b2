use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::paint::Paint;
use crate::finding::{Excerpt, Problem, Severity};

/// Returns a finding for people, with the line that it is about.
pub(super) fn with_excerpt(problem: &Problem, excerpt: &Excerpt, paint: Paint) -> String {
    let level = match problem.code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let snippet = Snippet::source(excerpt.line.as_str())
        .line_start(problem.position.line)
        .path(problem.file.as_str())
        .annotation(AnnotationKind::Primary.span(excerpt.span.clone()));
    let title = level.primary_title(problem.message.as_str()).id(problem.code.as_str());
    let mut group = title.element(snippet);
    if let Some(reason) = &problem.reason {
        group = group.element(Level::NOTE.message(reason.as_str()));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    match paint {
        Paint::On => Renderer::styled(),
        Paint::Off => Renderer::plain(),
    }
    .render(&[group])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Code, Problems};

    #[test]
    fn a_finding_shows_its_line() {
        let text = "mirrors:\n    h: {kind: harbr, url: x}\n";
        let mut problems = Problems::new("mirrors.yaml", text);
        problems.add(Code::WrongType, &(23..28), "mirrors.h.kind", "`harbr` is not a kind").help =
            Some("did you mean `harbor`?".to_owned());
        let problem = problems.into_sorted().remove(0);
        let shown = with_excerpt(&problem, problem.excerpt.as_ref().unwrap(), Paint::Off);
        insta::assert_snapshot!(shown, @r"
        error[E128]: `harbr` is not a kind
         --> mirrors.yaml:2:15
          |
        2 |     h: {kind: harbr, url: x}
          |               ^^^^^
          |
          = help: did you mean `harbor`?
        ");
    }
}
