//! Imports point up the list of `src/lib.rs` only, and no files of a module import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::run::repository;

/// Modules that may not use each other in either direction, wherever they stand in the list.
const APART: [(&str, &str); 1] = [("cli", "cache")];

/// The modules, in the order of `src/lib.rs`: each may use those before it.
fn order() -> Vec<String> {
    let lib = std::fs::read_to_string(repository("src/lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect()
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

/// A source file: where it stands among the modules, and what it says about others.
#[derive(Debug, Default)]
struct Source {
    file: String,
    /// Modules that are declared in it.
    children: BTreeSet<String>,
    /// Names that it hands on with `pub use`, and the paths they come from.
    exports: BTreeMap<String, Vec<String>>,
    /// Paths that it uses, from the crate's root.
    paths: BTreeSet<Vec<String>>,
}

/// Takes comments, strings and what is compiled for tests only out of a text.
fn code_of(text: &str) -> String {
    let noise =
        Regex::new(r##"(?s)//[^\n]*|/\*.*?\*/|r#+".*?"#+|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'"##).unwrap();
    let mut code = noise.replace_all(text, " ").into_owned();
    while let Some(at) = code.find("#[cfg(test)]") {
        let rest = &code[at..];
        let (brace, semicolon) = (rest.find('{'), rest.find(';'));
        let end = match (brace, semicolon) {
            (Some(brace), semicolon) if semicolon.is_none_or(|semicolon| brace < semicolon) => {
                let mut depth = 0_usize;
                let close = rest.char_indices().skip(brace).find(|(_, c)| {
                    depth = depth + usize::from(*c == '{') - usize::from(*c == '}');
                    depth == 0
                });
                close.map_or(rest.len(), |(close, _)| close + 1)
            }
            (_, Some(semicolon)) => semicolon + 1,
            _ => rest.len(),
        };
        code.replace_range(at..at + end, "");
    }
    code
}

/// Writes a tree of `use` as single paths: `a::{b, c as d}` is `a::b` and `a::c`, the latter under the name `d`.
fn leaves(tree: &str, before: &[String], out: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head.trim_end_matches("::"), group.strip_suffix('}')),
        None => (tree, None),
    };
    let (head, alias) =
        head.split_once(" as ").map_or((head, None), |(head, alias)| (head, Some(alias.trim())));
    let mut path = before.to_vec();
    path.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    let Some(group) = group else {
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let name = alias.map_or_else(|| path.last().unwrap().clone(), str::to_owned);
        out.push((name, path));
        return;
    };
    let (mut depth, mut from) = (0_usize, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[from..at].trim().is_empty() {
                    leaves(&group[from..at], &path, out);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// Writes a path from the crate's root; [`None`] where it leads out of the crate.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Vec<String>> {
    let (mut base, mut rest) = (module.to_vec(), path);
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {}
        child if children.contains(child) => {}
        _ => return None,
    }
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Reads all files of `src`, by their module paths.
fn read() -> BTreeMap<Vec<String>, Source> {
    let used = Regex::new(r"(?s)\b(pub(?:\([^)]*\))? )?use ([^;]*);").unwrap();
    let visible = Regex::new(r"\bpub\(in [^)]*\)").unwrap();
    let declared = Regex::new(r"\bmod ([a-z0-9_]+);").unwrap();
    let mentioned = Regex::new(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)+").unwrap();
    let root = repository("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut out = BTreeMap::new();
    for file in files {
        let place = file.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Vec<String> = place.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
            module.pop();
        }
        let is_test = module.iter().any(|part| part == "tests" || part.ends_with("_tests"));
        if module.first().is_some_and(|first| ["main", "bin"].contains(&first.as_str())) || is_test {
            continue;
        }
        let code = code_of(&std::fs::read_to_string(&file).unwrap());
        let mut source =
            Source { file: file.strip_prefix(&root).unwrap().display().to_string(), ..Source::default() };
        source.children = declared.captures_iter(&code).map(|found| found[1].to_owned()).collect();
        for found in used.captures_iter(&code) {
            let mut all = Vec::new();
            leaves(&found[2], &[], &mut all);
            for (name, path) in all {
                let Some(path) = absolute(&path, &module, &source.children) else { continue };
                if found.get(1).is_some() {
                    source.exports.insert(name, path);
                } else {
                    source.paths.insert(path);
                }
            }
        }
        let code = used.replace_all(&code, "");
        // What may see an item is not used by it.
        for found in mentioned.find_iter(&visible.replace_all(&code, "")) {
            let path: Vec<String> = found.as_str().split("::").map(str::to_owned).collect();
            source.paths.extend(absolute(&path, &module, &source.children));
        }
        out.insert(module, source);
    }
    out
}

/// Returns the module whose file defines what a path names, through all that is handed on with `pub use`.
fn definer(path: &[String], all: &BTreeMap<Vec<String>, Source>) -> Option<Vec<String>> {
    let mut path = path.to_vec();
    for _ in 0..16 {
        let at = (0..=path.len()).rev().find(|length| all.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(at);
        match rest.first().and_then(|name| all[module].exports.get(name)) {
            Some(from) if !from.starts_with(module) || from.len() > module.len() => {
                let rest = rest[1..].to_vec();
                path = from.iter().cloned().chain(rest).collect();
            }
            _ => return Some(module.to_vec()),
        }
    }
    None
}

/// Returns the files that each file uses.
fn graph(all: &BTreeMap<Vec<String>, Source>) -> BTreeMap<&str, BTreeSet<&str>> {
    all.iter()
        .map(|(module, source)| {
            let to = source.paths.iter().filter_map(|path| definer(path, all));
            let to = to.filter(|other| other != module && !other.is_empty());
            (source.file.as_str(), to.map(|other| all[&other].file.as_str()).collect())
        })
        .collect()
}

/// Returns the shortest way from a file back to itself.
fn circle<'a>(from: &'a str, graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut ways = std::collections::VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in graph.get(way.last()?)? {
            if *next == from {
                return Some(way);
            }
            if seen.insert(*next) {
                ways.push_back(way.iter().copied().chain([*next]).collect());
            }
        }
    }
    None
}

#[test]
fn modules_import_upwards_only() {
    let order = order();
    assert!(order.len() > 8, "{order:?}");
    let all = read();
    let place = |module: &str| order.iter().position(|other| other == module);
    let mut wrong = Vec::new();
    for (from, source) in all.iter().filter(|(module, _)| !module.is_empty()) {
        for path in source.paths.iter().chain(source.exports.values()) {
            let Some((own, other)) = from.first().zip(path.first()) else { continue };
            if place(other) > place(own) {
                wrong.push(format!("{} uses {other}, which stands below {own}", source.file));
            }
            if APART.iter().any(|(a, b)| [(a, b), (b, a)].iter().any(|(a, b)| own == *a && other == *b)) {
                wrong.push(format!("{} uses {other}: {own} and {other} may not use each other", source.file));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let all = read();
    let graph = graph(&all);
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 500, "the test reads no imports");
    let mut circles = BTreeMap::new();
    for file in graph.keys() {
        if let Some(way) = circle(file, &graph) {
            let files: BTreeSet<_> = way.iter().copied().collect();
            circles.entry(files).or_insert(way);
        }
    }
    let told: Vec<String> = circles.values().map(|way| format!("{} → {}", way.join(" → "), way[0])).collect();
    assert!(told.is_empty(), "{} circles:\n{}", told.len(), told.join("\n"));
}
