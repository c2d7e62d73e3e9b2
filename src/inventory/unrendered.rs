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
    Jsonnet,
    Ytt,
    Cue,
    Erb,
    /// `%%NAME%%`, of which several tools make something.
    Placeholders,
    /// `@@NAME@@`, as `sed` fills it in.
    AtPlaceholders,
    Envsubst,
    /// `${name}` in lower case, which both of two tools fill in.
    TerraformOrEnvsubst,
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
            Self::Jsonnet => "Jsonnet",
            Self::Ytt => "ytt",
            Self::Cue => "CUE",
            Self::Erb => "ERB",
            Self::Placeholders => "%%NAME%%",
            Self::AtPlaceholders => "@@NAME@@",
            Self::Envsubst => "envsubst",
            Self::TerraformOrEnvsubst => "Terraform or envsubst",
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
            Self::Jsonnet => format!("jsonnet {file}"),
            Self::Ytt => format!("ytt -f {file}"),
            Self::Cue => format!("cue export --out yaml {file}"),
            Self::Erb => format!("erb {file}"),
            Self::Placeholders => {
                return "fill in the names between the `%%` first, and name the file that results".to_owned();
            }
            Self::AtPlaceholders => {
                return "fill in the names between the `@@` first, and name the file that results".to_owned();
            }
            Self::Envsubst => format!("envsubst < {file}"),
            Self::TerraformOrEnvsubst => format!("terraform output -raw NAME, or envsubst < {file}"),
        };
        format!("render it first: {render} | {command}")
    }
}

/// Knows the languages of other tools by a file's name or by what no YAML has: a heredoc, Jsonnet's `local`.
pub(crate) fn engine_of_file(name: &str, text: &str) -> Option<(Engine, Position)> {
    let ends = |endings: &[&str]| {
        endings.iter().any(|ending| name.len() > ending.len() && name.to_lowercase().ends_with(ending))
    };
    let lines = LineIndex::new(text);
    let line_with = |test: &dyn Fn(&str) -> bool| {
        let mut at = 0;
        text.split_inclusive('\n').find_map(|line| {
            let start = at;
            at += line.len();
            test(line).then(|| lines.position(start))
        })
    };
    let heredoc = line_with(&|line| {
        let word = line.trim_end().split_once("= <<").map(|(_, word)| word.trim_start_matches('-'));
        word.is_some_and(|word| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    });
    let top = Position { line: 1, column: 1 };
    if let Some(position) = heredoc {
        return Some((Engine::Terraform, position));
    }
    if ends(&[".tf", ".tfvars", ".hcl", ".tftpl"]) {
        return Some((Engine::Terraform, top));
    }
    if ends(&[".cue"]) {
        return Some((Engine::Cue, top));
    }
    if ends(&[".erb"]) {
        return Some((Engine::Erb, top));
    }
    let local = line_with(&|line| line.starts_with("local ") && line.contains('='));
    if ends(&[".jsonnet", ".libsonnet"]) || local.is_some() {
        return Some((Engine::Jsonnet, local.unwrap_or(top)));
    }
    None
}

/// Finds the first mark of a template in a text that is not YAML, because of it.
pub(crate) fn engine_of(text: &str, error_line: usize) -> Option<(Engine, Position)> {
    let statements = ["{%", "{{", "%{", "#%", "#{", "%%", "<%", "@@"];
    let lines = LineIndex::new(text);
    let place = |at: usize| lines.position(at);
    let statement = statements.iter().filter_map(|mark| text.find(mark)).min();
    // A variable alone breaks a text only where it stands.
    let variable = || text.match_indices("${").map(|(at, _)| at).find(|at| place(*at).line == error_line);
    let at = statement.filter(|at| place(*at).line <= error_line).or_else(variable)?;
    let has = |word: &str| text.contains(word);
    let engine = if has("<%") {
        Engine::Erb
    } else if has("%%") && !has("{%") && !has("{{") {
        Engine::Placeholders
    } else if has("@@") && !has("{%") && !has("{{") {
        Engine::AtPlaceholders
    } else if has("#%") || has("#{") {
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
    } else if text.split("${").skip(1).all(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) {
        Engine::TerraformOrEnvsubst
    } else {
        Engine::Envsubst
    };
    Some((engine, place(at)))
}

/// Finds a template that reads as YAML: its statements hide in comments, so that it is several configs at once, or names
/// stand for values.
pub(crate) fn hidden_in(text: &str, stream: &Stream) -> Option<(Engine, Position)> {
    let place = |at: usize| LineIndex::new(text).position(at);
    let mut comments = stream.documents.iter().flat_map(|document| &document.comments);
    if let Some(found) = comments.find(|comment| comment.own_line && comment.text.starts_with(['%', '@'])) {
        let engine = if found.text.starts_with('@') { Engine::Ytt } else { Engine::Makejinja };
        return Some((engine, place(found.span.start)));
    }
    let named =
        [("<%", "%>", Engine::Erb), ("@@", "@@", Engine::AtPlaceholders), ("%%", "%%", Engine::Placeholders)];
    named.into_iter().find_map(|(open, close, engine)| {
        let stands = |(at, _): &(usize, &str)| {
            let inside =
                text.get(at + open.len()..).and_then(|rest| rest.split_once(close)).map(|(inside, _)| inside);
            // Diffs and formats of other programs have these marks, too.
            let is_name = |inside: &str| {
                inside.len() > 1
                    && inside.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            };
            inside.is_some_and(|inside| if open == "<%" { !inside.contains('\n') } else { is_name(inside) })
        };
        let (at, _) = text.match_indices(open).find(stands)?;
        Some((engine, place(at)))
    })
}

/// Tells whether what follows `${` is more than a variable of the environment.
fn is_expression(rest: &str) -> bool {
    let inside = rest.split('}').next().unwrap_or_default();
    let name = inside.split([':', '-']).next().unwrap_or_default();
    name.contains(['.', '(', '['])
}
