use std::ops::Range;

use crate::yaml::{LineIndex, Node, Position, Stream, Value, parse};

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
    fn as_str(self) -> &'static str {
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

    /// Returns what a message calls such a file.
    pub(crate) fn template(self) -> String {
        let article = match self {
            Self::Erb | Self::Envsubst => "an",
            Self::Minijinja
            | Self::Makejinja
            | Self::Jinja
            | Self::Helm
            | Self::Go
            | Self::Terraform
            | Self::Jsonnet
            | Self::Ytt
            | Self::Cue
            | Self::Placeholders
            | Self::AtPlaceholders
            | Self::TerraformOrEnvsubst => "a",
        };
        format!("{article} {} template", self.as_str())
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
    let statements = ["{%", "{{", "%{", "#%", "#{", "%%"];
    let named = |mark: NameMark| mark.first_in(text, &(0..text.len()));
    let lines = LineIndex::new(text);
    let place = |at: usize| lines.position(at);
    let statement = statements.iter().filter_map(|mark| text.find(mark));
    let statement = statement.chain(named(NameMark::ERB)).chain(named(NameMark::AT)).min();
    // A variable alone breaks a text only where it stands.
    let variable = || text.match_indices("${").map(|(at, _)| at).find(|at| place(*at).line == error_line);
    let at = statement.filter(|at| place(*at).line <= error_line).or_else(variable)?;
    let has = |word: &str| text.contains(word);
    let engine = if named(NameMark::ERB).is_some() {
        Engine::Erb
    } else if has("%%") && !has("{%") && !has("{{") {
        Engine::Placeholders
    } else if named(NameMark::AT).is_some() && !has("{%") && !has("{{") {
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
    let roots = stream.documents.iter().map(|document| &document.root);
    let (at, engine) = roots.into_iter().find_map(|root| name_in(text, root, Part::of(root)))?;
    Some((engine, place(at)))
}

/// What a tool puts in place of a name, between two marks.
#[derive(Clone, Copy, Debug)]
struct NameMark {
    open: &'static str,
    close: &'static str,
    engine: Engine,
}

impl NameMark {
    const ERB: Self = Self { open: "<%", close: "%>", engine: Engine::Erb };
    const AT: Self = Self { open: "@@", close: "@@", engine: Engine::AtPlaceholders };
    const PERCENT: Self = Self { open: "%%", close: "%%", engine: Engine::Placeholders };
    const ALL: [Self; 3] = [Self::ERB, Self::AT, Self::PERCENT];

    /// Finds the first one in a part of a text. Diffs and formats of other programs have these marks, too: a name is in
    /// capitals, and an expression of ERB ends on its line.
    fn first_in(self, text: &str, part: &Range<usize>) -> Option<usize> {
        let part_text = text.get(part.clone())?;
        let is_name = |inside: &str| {
            inside.len() > 1
                && inside.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let stands = |(at, _): &(usize, &str)| {
            let line = part_text.get(at + self.open.len()..).and_then(|rest| rest.lines().next());
            let inside = line.and_then(|line| line.split_once(self.close)).map(|(inside, _)| inside);
            inside.is_some_and(|inside| self.open == Self::ERB.open || is_name(inside))
        };
        part_text.match_indices(self.open).find(stands).map(|(at, _)| part.start + at)
    }
}

/// The keys below which registries stand, in the files of all tools that are read.
const OF_REGISTRIES: [&str; 9] = [
    "registries",
    "mirrors",
    "config",
    "configs",
    "endpoints",
    "endpoint",
    "registry-mirrors",
    "insecure-registries",
    // Of an operation of a JSON patch.
    "value",
];

/// Whether a part of a file is about registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Registries,
    Other,
}

impl Part {
    fn of(root: &Node) -> Self {
        let kind = root.get("kind").and_then(Node::as_str);
        if kind.is_some_and(|kind| kind.starts_with("Registry")) { Self::Registries } else { Self::Other }
    }
}

/// Finds a name in a text of several lines that is a patch or a machine config itself, as other tools hold them; what else
/// there is of long texts, scripts and files, is other programs' own.
fn name_in_block(text: &str, node: &Node, inner: &str) -> Option<(usize, Engine)> {
    if !NameMark::ALL.iter().any(|mark| inner.contains(mark.open)) {
        return None;
    }
    let stream = parse(inner).ok()?;
    let mut roots = stream.documents.iter().map(|document| &document.root);
    let (at, engine) = roots.find_map(|root| match Part::of(root) {
        Part::Registries => name_in(inner, root, Part::Registries),
        Part::Other if root.is_sequence() => {
            let path = |operation: &Node| operation.get("path").and_then(Node::as_str).map(str::to_owned);
            let of_registries = |operation: &&Node| {
                path(operation).is_some_and(|path| path.starts_with("/machine/registries"))
            };
            root.items().iter().filter(of_registries).find_map(|item| name_in(inner, item, Part::Registries))
        }
        Part::Other => name_in(inner, root.at(&["machine", "registries"])?, Part::Registries),
    })?;
    // Its margin and its folds are not in the inner text: the mark is as many marks from the beginning as there.
    let mark = NameMark::ALL.into_iter().find(|mark| mark.engine == engine)?;
    let before = inner.get(..at).unwrap_or_default().matches(mark.open).count();
    let outer = text.get(node.span.clone()).unwrap_or_default();
    let in_span = outer.match_indices(mark.open).nth(before).map_or(0, |(at, _)| at);
    Some((node.span.start + in_span, engine))
}

/// Finds a name that stands for a key or a value of registries.
fn name_in(text: &str, node: &Node, part: Part) -> Option<(usize, Engine)> {
    let first = |span: &Range<usize>| {
        let found = NameMark::ALL.into_iter().filter(|_| part == Part::Registries);
        found.filter_map(|mark| Some((mark.first_in(text, span)?, mark.engine))).min_by_key(|(at, _)| *at)
    };
    match &node.value {
        Value::Scalar(scalar) if scalar.text.contains('\n') => name_in_block(text, node, &scalar.text),
        Value::Scalar(_) => first(&node.span),
        Value::Sequence { items, .. } => items.iter().find_map(|item| name_in(text, item, part)),
        Value::Mapping { entries, .. } => entries.iter().find_map(|entry| {
            let is_other = part == Part::Other && !OF_REGISTRIES.contains(&entry.key.as_str());
            let below = if is_other { Part::Other } else { Part::Registries };
            first(&entry.key_span).or_else(|| name_in(text, &entry.value, below))
        }),
    }
}

/// Tells whether what follows `${` is more than a variable of the environment.
fn is_expression(rest: &str) -> bool {
    let inside = rest.split('}').next().unwrap_or_default();
    let name = inside.split([':', '-']).next().unwrap_or_default();
    name.contains(['.', '(', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(text: &str) -> Option<(Engine, usize)> {
        let (engine, position) = hidden_in(text, &parse(text).unwrap())?;
        Some((engine, position.line))
    }

    #[test]
    fn names_in_registries_are_a_template() {
        for text in [
            "registries:\n  mirrors: {a.example: {endpoints: ['https://%%HOST%%']}}\n",
            "mirrors:\n  '%%REGISTRY%%': {endpoint: [https://a.example]}\n",
            "- op: add\n  value: {endpoints: ['https://%%HOST%%']}\n",
            "kind: RegistryAuthConfig\npassword: 'a%%PASS_2%%'\n",
        ] {
            assert_eq!(engine(text).map(|(engine, _)| engine), Some(Engine::Placeholders), "{text}");
        }
        let text = "registries:\n  config: {a.example: {auth: {password: '<%= pass %>'}}}\n";
        assert_eq!(engine(text), Some((Engine::Erb, 2)));
    }

    #[test]
    fn names_in_patches_within_a_file_are_a_template() {
        for (text, line) in [
            (
                "patches:\n  - |-\n    # %%NO%%\n    machine:\n      registries:\n        mirrors: {a.b: {endpoints: ['https://%%HOST%%']}}\n",
                6,
            ),
            (
                "spec:\n  data: |\n    machine:\n      registries:\n        config:\n          a.b: {auth: {password: '%%PASS%%'}}\n",
                6,
            ),
            ("data: |\n  ---\n  apiVersion: v1alpha1\n  kind: RegistryMirrorConfig\n  name: '%%NAME%%'\n", 5),
            (
                "p: |\n  - op: add\n    path: /machine/registries/mirrors/a.b\n    value: {endpoints: ['https://%%HOST%%']}\n",
                4,
            ),
            (
                "p: \"machine:\\n  registries:\\n    mirrors: {a.b: {endpoints: ['https://%%HOST%%']}}\\n\"\n",
                1,
            ),
        ] {
            assert_eq!(engine(text), Some((Engine::Placeholders, line)), "{text}");
        }
    }

    #[test]
    fn marks_of_other_programs_are_not() {
        for text in [
            "# @@HOST@@ and <%= url %>, as %%HOST%% was\nregistries: {mirrors: {}} # %%HOST%%\n",
            "machine:\n  files:\n    - content: |\n        %%HOST%%\n        @@HOST@@ <%= x %>\n",
            "registries:\n  config:\n    a.example:\n      tls: {ca: \"<% a\\nb %>\"}\n",
            "p: |\n  machine:\n    env: {A: '%%HOST%%'}\n    registries: {mirrors: {}} # %%HOST%%\n",
            "p: |\n  - {op: add, path: /machine/env, value: '%%HOST%%'}\n",
            "run: |\n  printf '%%HOST%%' > /tmp/x\n  date +%%Y%%M\n",
            "data: |\n  config: {url: 'http://x/%%PATH%%'}\n",
            "cron: |\n  registries: {mirrors: {a.b: {endpoints: ['https://m/a%%20b%%']}}}\n",
            "machine: {install: {extraKernelArgs: ['a=%%HOST%%']}}\n",
            "registries: {config: {a.example: {auth: {password: 'a%%b%%@@c<%d'}}}}\n",
        ] {
            assert_eq!(engine(text), None, "{text}");
        }
    }

    #[test]
    fn marks_before_an_error_count_only_with_a_name() {
        let broken = |line: &str| engine_of(&format!("{line}\na: [\n"), 3).map(|(engine, _)| engine);
        assert_eq!(broken("# a <% b, as in @@ -1,2 +1,2 @@"), None);
        assert_eq!(broken("a: @@HOST@@"), Some(Engine::AtPlaceholders));
        assert_eq!(broken("<% if x %>"), Some(Engine::Erb));
    }
}
