use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::paint::Paint;
use super::shown::shown;
use crate::finding::{Excerpt, Problem, Severity};

/// Returns a finding for people, with the line that it is about.
pub(super) fn with_excerpt(problem: &Problem, excerpt: &Excerpt, paint: Paint) -> String {
    let level = match problem.code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    // What is escaped is longer than it was.
    let upto = |at: usize| excerpt.line.get(..at).map_or(0, |head| shown(head).len());
    let span = upto(excerpt.span.start)..upto(excerpt.span.end);
    let snippet = Snippet::source(shown(&excerpt.line))
        .line_start(problem.position.line)
        .path(shown(&problem.file))
        .annotation(AnnotationKind::Primary.span(span));
    let title = level.primary_title(shown(&problem.message)).id(problem.code.as_str());
    let mut group = title.element(snippet);
    if let Some(reason) = &problem.reason {
        group = group.element(Level::NOTE.message(shown(reason)));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(shown(help)));
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
        let text = with_excerpt(&problem, problem.excerpt.as_ref().unwrap(), Paint::Off);
        insta::assert_snapshot!(text, @r"
        error[E128]: `harbr` is not a kind
         --> mirrors.yaml:2:15
          |
        2 |     h: {kind: harbr, url: x}
          |               ^^^^^
          |
          = help: did you mean `harbor`?
        ");
    }

    #[test]
    fn no_control_character_of_a_file_is_shown() {
        let text = "mirrors:\n    h\u{9b}2J: {kind: x}\n";
        let mut problems = Problems::new("a\u{1b}[2J.yaml", text);
        let problem = problems.add(Code::WrongType, &(23..27), "mirrors", "a\u{1b}[31m");
        problem.help = Some("b\u{1b}]0;x\u{7}".to_owned());
        problem.reason = Some("c\u{202e}".to_owned());
        let problem = problems.into_sorted().remove(0);
        let text = with_excerpt(&problem, problem.excerpt.as_ref().unwrap(), Paint::Off);
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
        for escaped in ["a\\u{1b}[2J.yaml", "a\\u{1b}[31m", "b\\u{1b}]0;x\\u{7}", "c\\u{202e}"] {
            assert!(text.contains(escaped), "{escaped}: {text:?}");
        }
    }
}
