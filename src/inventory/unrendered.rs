use std::ops::Range;

use crate::yaml::{Comment, LineIndex, Node, Position, Stream, Value, parse};

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
    Nix,
    Dhall,
    Pkl,
    Erb,
    Spruce,
    /// `<path:…>`, as Argo CD's plugin for vaults fills it in.
    ArgoVault,
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
            Self::Nix => "Nix",
            Self::Dhall => "Dhall",
            Self::Pkl => "Pkl",
            Self::Erb => "ERB",
            Self::Spruce => "Spruce",
            Self::ArgoVault => "argocd-vault-plugin",
            Self::Placeholders => "%%NAME%%",
            Self::AtPlaceholders => "@@NAME@@",
            Self::Envsubst => "envsubst",
            Self::TerraformOrEnvsubst => "Terraform or envsubst",
        }
    }

    /// Returns what a message calls such a file.
    pub(crate) fn template(self) -> String {
        let article = match self {
            Self::Erb | Self::Envsubst | Self::ArgoVault => "an",
            Self::Minijinja
            | Self::Makejinja
            | Self::Jinja
            | Self::Helm
            | Self::Go
            | Self::Terraform
            | Self::Jsonnet
            | Self::Ytt
            | Self::Cue
            | Self::Nix
            | Self::Dhall
            | Self::Pkl
            | Self::Spruce
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
            Self::Nix => format!("nix eval --json --file {file}"),
            Self::Dhall => format!("dhall-to-yaml --file {file}"),
            Self::Pkl => format!("pkl eval -f yaml {file}"),
            Self::Erb => format!("erb {file}"),
            Self::Spruce => format!("spruce merge {file}"),
            Self::ArgoVault => format!("argocd-vault-plugin generate {file}"),
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

/// The words that blocks of Terraform's language begin with.
const OF_TERRAFORM: [&str; 8] =
    ["resource", "data", "module", "variable", "output", "provider", "locals", "terraform"];

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
        // `name = <<EOT`, and `<<-EOT` as an item of a list or an argument.
        let (before, word) = line.trim_end().rsplit_once("<<").unwrap_or((line, ""));
        let word = word.trim_start_matches('-');
        (before.trim().is_empty() || before.trim_end().ends_with(['=', '(', ',', '[']))
            && !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    let block = line_with(&|line| {
        line.trim_end().ends_with('{')
            && OF_TERRAFORM.iter().any(|word| {
                let rest = line.strip_prefix(word).map(str::trim_start);
                rest.is_some_and(|rest| rest.starts_with(['"', '{']))
            })
    });
    let top = Position { line: 1, column: 1 };
    if let Some(position) = heredoc.or(block) {
        return Some((Engine::Terraform, position));
    }
    if ends(&[".tf", ".tfvars", ".hcl", ".tftpl"]) {
        return Some((Engine::Terraform, top));
    }
    let by_name = [
        (".cue", Engine::Cue),
        (".nix", Engine::Nix),
        (".dhall", Engine::Dhall),
        (".pkl", Engine::Pkl),
        (".erb", Engine::Erb),
    ];
    if let Some((_, engine)) = by_name.into_iter().find(|(ending, _)| ends(&[ending])) {
        return Some((engine, top));
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
    let jsonnet =
        text.trim_start().starts_with(['{', '[', '(', '/']).then(|| call_of_jsonnet(text)).flatten();
    if let (None, Some(at)) = (statement, jsonnet) {
        return Some((Engine::Jsonnet, place(at)));
    }
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
        engine_of_braces(text)
    } else if has("%{") || text.split("${").skip(1).any(is_expression) {
        Engine::Terraform
    } else if text.split("${").skip(1).all(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) {
        Engine::TerraformOrEnvsubst
    } else {
        Engine::Envsubst
    };
    Some((engine, place(at)))
}

/// Finds a call of Jsonnet's own library.
fn call_of_jsonnet(text: &str) -> Option<usize> {
    text.match_indices("std.").map(|(at, _)| at).find(|at| {
        let rest = text.get(at + "std.".len()..).unwrap_or_default();
        rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).starts_with('(')
    })
}

/// Tells the engines apart that have `{{ … }}`.
fn engine_of_braces(text: &str) -> Engine {
    let has = |word: &str| text.contains(word);
    let mut inside = text.split("{{").skip(1).map(|rest| rest.trim_start_matches('-').trim_start());
    // A function and its argument without brackets between them are Go's.
    let go = |inside: &str| {
        let word = inside.find(|c: char| !c.is_ascii_alphanumeric()).filter(|at| *at > 0);
        let argument = word.and_then(|at| inside.get(at..)).unwrap_or_default();
        let statement = ["if ", "range ", "end", "with "].iter().any(|word| inside.starts_with(word));
        inside.starts_with(['.', '$'])
            || statement
            || argument.starts_with(' ') && argument.trim_start().starts_with(['"', '`', '.', '$'])
    };
    match () {
        () if has("ENV.") => Engine::Minijinja,
        () if has(".Values") || has(".Release") || has("include \"") => Engine::Helm,
        () if inside.any(go) => Engine::Go,
        () => Engine::Jinja,
    }
}

/// Finds the first mark of a template in a text of TOML, whether it can be read or not.
pub(crate) fn engine_of_toml(text: &str) -> Option<(Engine, Position)> {
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        start += line.len();
        start - line.len()..start
    });
    let mut marks = lines
        .filter(|line| !text.get(line.clone()).unwrap_or_default().trim_start().starts_with('#'))
        .filter_map(|line| {
            let found = NameMark::ALL.into_iter();
            found.filter_map(|mark| Some((mark.first_in(text, &line)?, mark))).min_by_key(|(at, _)| *at)
        });
    let (at, mark) = marks.next()?;
    let engine = if mark.open == NameMark::BRACES.open { engine_of_braces(text) } else { mark.engine };
    Some((engine, LineIndex::new(text).position(at)))
}

/// Finds a template that reads as YAML: its statements hide in comments, so that it is several configs at once, or names
/// stand for values.
pub(crate) fn hidden_in(text: &str, stream: &Stream) -> Option<(Engine, Position)> {
    let place = |at: usize| LineIndex::new(text).position(at);
    let mut comments = stream.documents.iter().flat_map(|document| &document.comments);
    if let Some((engine, at)) =
        comments.find_map(|comment| Some((engine_of_comment(comment)?, comment.span.start)))
    {
        return Some((engine, place(at)));
    }
    let roots = stream.documents.iter().map(|document| &document.root);
    let (at, mark) = roots.into_iter().find_map(|root| name_in(text, root, Part::of(root)))?;
    let engine = if mark.open == NameMark::BRACES.open { engine_of_braces(text) } else { mark.engine };
    Some((engine, place(at)))
}

/// Tells whether a comment is a statement, or a value that is a comment until it is rendered.
fn engine_of_comment(comment: &Comment) -> Option<Engine> {
    let text = comment.text.as_str();
    // ytt's have a space or a function's name behind the mark; a word with `@` may be a person.
    let of_ytt = text.strip_prefix('@').is_some_and(|rest| {
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default();
        comment.own_line
            || rest.starts_with(' ')
            || rest.get(name.len()..).is_some_and(|rest| rest.starts_with('/'))
    });
    match () {
        () if of_ytt => Some(Engine::Ytt),
        () if comment.own_line && text.starts_with('%') => Some(Engine::Makejinja),
        () if text.starts_with('{') && text.trim_end().ends_with("}#") => Some(Engine::Makejinja),
        () => None,
    }
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
    const BRACES: Self = Self { open: "{{", close: "}}", engine: Engine::Jinja };
    const ALL: [Self; 7] = [
        Self::ERB,
        Self::AT,
        Self::PERCENT,
        Self::BRACES,
        Self { open: "#{", close: "}#", engine: Engine::Makejinja },
        Self { open: "((", close: "))", engine: Engine::Spruce },
        Self { open: "<path:", close: ">", engine: Engine::ArgoVault },
    ];

    /// Finds the first one in a part of a text. Diffs and formats of other programs have these marks, too: a name is in
    /// capitals, and an expression of ERB ends on its line.
    fn first_in(self, text: &str, part: &Range<usize>) -> Option<usize> {
        let part_text = text.get(part.clone())?;
        let is_name = |inside: &str| {
            inside.len() > 1
                && inside.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let is_meant = |inside: &str| match self.engine {
            Engine::AtPlaceholders | Engine::Placeholders => is_name(inside),
            // Its operators stand between spaces.
            Engine::Spruce => inside.starts_with(' ') && inside.ends_with(' '),
            _ => !inside.is_empty(),
        };
        let stands = |(at, _): &(usize, &str)| {
            let line = part_text.get(at + self.open.len()..).and_then(|rest| rest.lines().next());
            let inside = line.and_then(|line| line.split_once(self.close)).map(|(inside, _)| inside);
            inside.is_some_and(is_meant)
        };
        part_text.match_indices(self.open).find(stands).map(|(at, _)| part.start + at)
    }
}

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

    /// Returns whether what stands below a key is about registries, in the files of all tools that are read.
    fn below(self, node: &Node, key: &str) -> Self {
        let any = |key: &str, fields: [&str; 2]| {
            let entries = node.get(key).map(Node::entries).unwrap_or_default();
            entries.iter().any(|entry| fields.iter().any(|field| entry.value.get(field).is_some()))
        };
        let is_block = || {
            any("mirrors", ["endpoint", "endpoints"])
                || any("config", ["auth", "tls"])
                || any("configs", ["auth", "tls"])
        };
        let of_registries = || {
            let path = node.get("path").and_then(Node::as_str);
            path.is_none_or(|path| path == "/machine" || path.starts_with("/machine/registries"))
        };
        let is_meant = match key {
            "registries" | "registry-mirrors" | "insecure-registries" => true,
            "mirrors" | "config" | "configs" => is_block(),
            // Of an operation of a JSON patch.
            "value" => node.get("op").is_some() && of_registries(),
            _ => false,
        };
        if is_meant { Self::Registries } else { self }
    }
}

/// Finds a name in a text of several lines that is a patch or a machine config itself, as other tools hold them; what else
/// there is of long texts, scripts and files, is other programs' own.
fn name_in_block(text: &str, node: &Node, inner: &str) -> Option<(usize, NameMark)> {
    if !NameMark::ALL.iter().any(|mark| inner.contains(mark.open)) {
        return None;
    }
    let stream = parse(inner).ok()?;
    let mut roots = stream.documents.iter().map(|document| &document.root);
    let (at, mark) = roots.find_map(|root| match Part::of(root) {
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
    let before = inner.get(..at).unwrap_or_default().matches(mark.open).count();
    let outer = text.get(node.span.clone()).unwrap_or_default();
    let in_span = outer.match_indices(mark.open).nth(before).map_or(0, |(at, _)| at);
    Some((node.span.start + in_span, mark))
}

/// Finds a name that stands for a key or a value of registries.
fn name_in(text: &str, node: &Node, part: Part) -> Option<(usize, NameMark)> {
    let first = |span: &Range<usize>, part: Part| {
        let found = NameMark::ALL.into_iter().filter(|_| part == Part::Registries);
        found.filter_map(|mark| Some((mark.first_in(text, span)?, mark))).min_by_key(|(at, _)| *at)
    };
    match &node.value {
        Value::Scalar(scalar) if part == Part::Other || scalar.text.contains('\n') => {
            name_in_block(text, node, &scalar.text)
        }
        Value::Scalar(_) => first(&node.span, part),
        Value::Sequence { items, .. } => items.iter().find_map(|item| name_in(text, item, part)),
        Value::Mapping { entries, .. } => {
            let part = if Part::of(node) == Part::Registries { Part::Registries } else { part };
            let first = |span: &Range<usize>| first(span, part);
            entries.iter().find_map(|entry| {
                let below = part.below(node, &entry.key);
                first(&entry.key_span).or_else(|| name_in(text, &entry.value, below))
            })
        }
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
        for (mark, wanted) in [
            ("{{ .Values.x }}", Engine::Helm),
            ("{{ ENV.X }}", Engine::Minijinja),
            ("{{ x }}", Engine::Jinja),
            ("{{ env \"X\" }}", Engine::Go),
            ("a-{{.x}}", Engine::Go),
            ("#{ x }#", Engine::Makejinja),
            ("(( grab x.y ))", Engine::Spruce),
            ("<path:secret/data/x#y>", Engine::ArgoVault),
        ] {
            for text in [
                format!(
                    "machine:\n  registries:\n    config: {{a.example: {{auth: {{password: '{mark}'}}}}}}\n"
                ),
                format!("kind: RegistryAuthConfig\nname: a.example\n\npassword: '{mark}'\n"),
                format!("patches:\n  - |-\n    machine: {{registries: {{mirrors: {{'{mark}': {{}}}}}}}}\n"),
                format!("values:\n  - a: b\n  - {{kind: RegistryMirrorConfig, name: '{mark}'}}\n"),
            ] {
                assert_eq!(engine(&text).map(|(engine, _)| engine), Some(wanted), "{text}");
            }
        }
        for (text, wanted) in [
            ("endpoints:\n  - #@ data.values.h\n", Engine::Ytt),
            ("endpoints: #@overlay/replace\n  - a\n", Engine::Ytt),
            ("endpoints:\n  - #{ host }#\n", Engine::Makejinja),
        ] {
            assert_eq!(engine(text).map(|(engine, _)| engine), Some(wanted), "{text}");
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
            "a: b # ask #@anna, not @ben\n",
            "registries: {config: {a.example: {auth: {password: 'a{{b((c))<path#{'}}}}\n",
            "config: {title: '{{ x }}'}\nregistries: {mirrors: {}}\n",
            "- {op: add, path: /machine/network/hostname, value: '{{ x }}'}\n",
            "machine: {network: {hostname: '{{ x }}'}, registries: {mirrors: {}}}\n",
            "registries: {config: {a.example: {auth: {password: 'a%%b%%@@c<%d'}}}}\n",
        ] {
            assert_eq!(engine(text), None, "{text}");
        }
    }

    #[test]
    fn other_languages_are_known_by_name_and_by_their_words() {
        let found = |name: &str, text: &str| engine_of_file(name, text).map(|(engine, at)| (engine, at.line));
        for text in [
            "a = 1\nlocals {\n  x = 1\n}\n",
            "\nresource \"talos_machine_configuration_apply\" \"x\" {\n}\n",
            "  config_patches = [\n    <<-EOT\n    machine: {}\n    EOT\n  ]\n",
            "x = yamlencode(\n  file(<<EOT\na\nEOT\n  ))\n",
        ] {
            assert_eq!(found("-", text).map(|(engine, _)| engine), Some(Engine::Terraform), "{text}");
        }
        assert_eq!(found("x.nix", "{ a = 1; }"), Some((Engine::Nix, 1)));
        assert_eq!(found("a.yaml", "data:\n  x: |\n    cat <<EOT > /x\n    EOT\nresource: {a: b}\n"), None);
        let jsonnet = engine_of("{ machine: { x: 'a' + std.extVar('h') } }\n", 1).map(|(engine, _)| engine);
        assert_eq!(jsonnet, Some(Engine::Jsonnet));
        assert_eq!(engine_of("{a: https://std.example/(x), b\n", 1).map(|(engine, _)| engine), None);
    }

    #[test]
    fn toml_is_a_template_too() {
        let found = |text: &str| engine_of_toml(text).map(|(engine, at)| (engine, at.line));
        assert_eq!(found("version = 2\n{{- if .Root }}\nroot = 'x'\n{{- end }}\n"), Some((Engine::Go, 2)));
        assert_eq!(found("# {{ a }}\n[host.\"https://{{ host }}\"]\n"), Some((Engine::Jinja, 2)));
        assert_eq!(found("server = 'https://%%HOST%%'\n"), Some((Engine::Placeholders, 1)));
        assert_eq!(found("server = 'https://a.example' # ((x))\n[host]\n"), None);
    }

    #[test]
    fn marks_before_an_error_count_only_with_a_name() {
        let broken = |line: &str| engine_of(&format!("{line}\na: [\n"), 3).map(|(engine, _)| engine);
        assert_eq!(broken("# a <% b, as in @@ -1,2 +1,2 @@"), None);
        assert_eq!(broken("a: @@HOST@@"), Some(Engine::AtPlaceholders));
        assert_eq!(broken("<% if x %>"), Some(Engine::Erb));
    }
}
