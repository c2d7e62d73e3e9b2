use crate::finding::{Code, Problem};

/// Findings that one mistake makes many times, so that they are told once.
const REPEATED: [Code; 13] = [
    Code::JsonPatchDocuments,
    Code::MixedOverride,
    Code::RedundantUpstream,
    Code::NotARegistry,
    Code::DefaultPort,
    Code::PathWithoutOverride,
    Code::OverrideWithoutPath,
    Code::OverrideWithoutV2,
    Code::UnusedKey,
    Code::UnreachableName,
    Code::Reference,
    Code::NodeFile,
    Code::ForeignUpstream,
];

/// Makes one finding of those that say the same about several registries or hosts.
pub(super) fn group(problems: Vec<Problem>) -> Vec<Problem> {
    let mut out: Vec<Problem> = Vec::new();
    let mut more: Vec<Vec<(String, usize)>> = Vec::new();
    for problem in problems {
        let known = out.iter().position(|first| {
            REPEATED.contains(&problem.code)
                && first.code == problem.code
                && first.file == problem.file
                && skeleton(&first.message) == skeleton(&problem.message)
                // What to do about it is the same, too.
                && skeleton(first.help.as_deref().unwrap_or_default())
                    == skeleton(problem.help.as_deref().unwrap_or_default())
        });
        if let Some((first, rest)) = known.and_then(|at| Some((out.get(at)?, more.get_mut(at)?))) {
            // Of one and the same host, what differs is the field.
            let name = subject(&problem.path);
            let other = quoted(&first.message, &problem.message).filter(|_| name == subject(&first.path));
            let name = other.unwrap_or(name);
            rest.push((name, problem.position.line));
        } else {
            out.push(problem);
            more.push(Vec::new());
        }
    }
    for (problem, rest) in out.iter_mut().zip(more) {
        let mut names: Vec<String> = Vec::new();
        for (name, line) in &rest {
            let shown =
                if name.is_empty() { format!("line {line}") } else { format!("{name} (line {line})") };
            if !names.contains(&shown) {
                names.push(shown);
            }
        }
        if !names.is_empty() {
            problem.message = format!("{}; the same for {}", problem.message, names.join(", "));
        }
    }
    out
}

/// Returns the first thing in quotes that a message names and another does not.
fn quoted(first: &str, other: &str) -> Option<String> {
    let names = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let known = names(first);
    let new = names(other).into_iter().find(|name| !known.contains(name));
    new.map(|name| format!("`{name}`"))
}

/// What a message says, without the names in it.
fn skeleton(message: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in message.split_whitespace() {
        let name =
            word.contains(['`', '.', '/', ':', '@', '$', '*']) || word.contains(|c: char| c.is_ascii_digit());
        let word = if name { "_" } else { word };
        if !(word == "_" && words.last() == Some(&"_")) {
            words.push(word);
        }
    }
    words.join(" ")
}

/// The registry or host that a path leads to.
fn subject(path: &str) -> String {
    let rest = ["machine.registries.mirrors.", "machine.registries.config.", "mirrors.", "configs."]
        .into_iter()
        .find_map(|head| path.strip_prefix(head));
    let rest = rest.or_else(|| path.split_once("Config/").map(|(_, rest)| rest)).unwrap_or_default();
    let ends = [".endpoints", ".endpoint", ".auth", ".tls", ".rewrite", ".overridePath"];
    let end = ends.into_iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default().to_owned()
}
