use crate::yaml::{LineIndex, Position, Stream};

/// A template, by the engine that renders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Minijinja,
    Makejinja,
    Jinja,
    Helm,
    Go,
    Terraform,
    Envsubst,
}

impl Engine {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Minijinja => "minijinja",
            Self::Makejinja => "makejinja",
            Self::Jinja => "Jinja",
            Self::Helm => "Helm",
            Self::Go => "Go",
            Self::Terraform => "Terraform",
            Self::Envsubst => "envsubst",
        }
    }

    /// Returns what to do: render the file, and give the result to a command.
    pub(crate) fn help(self, file: &str, command: &str) -> String {
        let render = match self {
            Self::Minijinja => format!("minijinja-cli {file}"),
            Self::Makejinja => return "render it first: makejinja, and name what it writes".to_owned(),
            Self::Jinja => format!("jinja2 {file}"),
            Self::Helm => "helm template CHART".to_owned(),
            Self::Go => format!("gomplate -f {file}"),
            Self::Terraform => "terraform output -raw NAME".to_owned(),
            Self::Envsubst => format!("envsubst < {file}"),
        };
        format!("render it first: {render} | {command}")
    }
}

/// Finds the first mark of a template in a text that is not YAML, because of it.
pub(crate) fn engine_of(text: &str, error_line: usize) -> Option<(Engine, Position)> {
    let statements = ["{%", "{{", "%{", "#%", "#{"];
    let lines = LineIndex::new(text);
    let place = |at: usize| lines.position(at);
    let statement = statements.iter().filter_map(|mark| text.find(mark)).min();
    // A variable alone breaks a text only where it stands.
    let variable = || text.match_indices("${").map(|(at, _)| at).find(|at| place(*at).line == error_line);
    let at = statement.filter(|at| place(*at).line <= error_line).or_else(variable)?;
    let has = |word: &str| text.contains(word);
    let engine = if has("#%") || has("#{") {
        Engine::Makejinja
    } else if has("{%") {
        if has("ENV.") { Engine::Minijinja } else { Engine::Jinja }
    } else if has("{{") {
        let go = |word: &str| has(&format!("{{{{ {word}")) || has(&format!("{{{{- {word}"));
        match () {
            () if has("ENV.") => Engine::Minijinja,
            () if has(".Values") || has(".Release") || has("include \"") => Engine::Helm,
            () if has("{{.") || go(".") || go("if ") || go("range ") || go("end") || go("with ") => {
                Engine::Go
            }
            () => Engine::Jinja,
        }
    } else if has("%{") || text.split("${").skip(1).any(is_expression) {
        Engine::Terraform
    } else {
        Engine::Envsubst
    };
    Some((engine, place(at)))
}

/// Finds a template whose statements hide in comments, so that it reads as YAML and is several configs at once.
pub(crate) fn hidden_in(text: &str, stream: &Stream) -> Option<(Engine, Position)> {
    let mut comments = stream.documents.iter().flat_map(|document| &document.comments);
    let found = comments.find(|comment| comment.own_line && comment.text.starts_with('%'))?;
    Some((Engine::Makejinja, LineIndex::new(text).position(found.span.start)))
}

/// Tells whether what follows `${` is more than a variable of the environment.
fn is_expression(rest: &str) -> bool {
    let inside = rest.split('}').next().unwrap_or_default();
    let name = inside.split([':', '-']).next().unwrap_or_default();
    name.contains(['.', '(', '[']) || name.starts_with(|c: char| c.is_ascii_lowercase())
}
