//! What the pages for developers and the tools' files say is so.

use std::collections::BTreeSet;

use regex::Regex;

use crate::run::repository;

/// Crates that `Cargo.lock` may hold: who wants more takes something out, or says in the commit why this number grows.
const LOCKED: usize = 493;

/// Pages whose paths and names are checked.
const PAGES: [&str; 2] = [".github/CONTRIBUTING.md", "docs/architecture.md"];

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn all(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str().to_owned())).collect()
}

#[test]
fn no_more_crates_are_locked_than_the_budget_allows() {
    let locked = read("Cargo.lock").matches("[[package]]").count();
    assert!(locked <= LOCKED, "Cargo.lock holds {locked} crates, and {LOCKED} are the budget");
}

#[test]
fn just_and_ci_have_the_same_steps() {
    let script = read(".ci/run");
    let steps = all(r"(?m)^    (all \| .*)\) ", &script).first().expect("the list of steps").clone();
    let steps: BTreeSet<String> =
        steps.split(" | ").filter(|step| *step != "all").map(str::to_owned).collect();
    let functions = all(r"(?m)^([a-z]+)\(\) \{", &script);
    assert!(steps.is_subset(&functions), "{steps:?} are functions of .ci/run: {functions:?}");
    assert_eq!(
        all(r"(?m)^#   (?:bash .*|([a-z]+) .*)  ", &script),
        steps,
        "the help of .ci/run lists its steps"
    );
    let called = all(r"@bash \.ci/run ([a-z]+)", &read("justfile"));
    assert_eq!(called, steps, "each recipe of the justfile is a step of .ci/run");
    let jobs = all(r"run: bash \.ci/run ([a-z]+)", &read(".github/workflows/ci.yml"));
    assert!(jobs.len() > 3 && jobs.is_subset(&steps), "the jobs of ci.yml are steps of .ci/run: {jobs:?}");
}

#[test]
fn what_the_inner_loop_runs_exists() {
    let config = read(".config/nextest.toml");
    let fast = all(r"(?m)^[ |]*test\(/\^(.*)/\)$", &config);
    let slow = all(r"(?m)^ *- test\(/\^(.*)/\)$", &config);
    let named = fast.len() + slow.len();
    assert_eq!(named, config.matches("test(").count(), "each name stands on a line of its own");
    for (folder, names) in [("tests/it", fast), ("src", slow)] {
        for name in names {
            let module = name.strip_suffix("::").expect("a module, with `::` at its end");
            let file = format!("{folder}/{}.rs", module.replace("::", "/"));
            assert!(repository(&file).exists(), "{name} is named, and there is no {file}");
        }
    }
}

/// Every path in backticks exists, and every type or function in backticks stands somewhere in the sources.
#[test]
fn pages_for_developers_name_what_exists() {
    let mut sources = String::new();
    let mut folders = vec![repository("src"), repository("tests"), repository("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let words: BTreeSet<&str> =
        Regex::new(r"\w+").unwrap().find_iter(&sources).map(|word| word.as_str()).collect();
    let mut wrong = Vec::new();
    for page in PAGES {
        let text = read(page);
        for path in all(
            r"`((?:\.ci|\.config|\.github|benches|docs|examples|fuzz|src|templates|tests)/[\w./-]*)`",
            &text,
        ) {
            if !repository(&path).exists() {
                wrong.push(format!("{page}: there is no {path}"));
            }
        }
        for name in all(r"`((?:[A-Z]\w*[a-z]\w*|[a-z_]+\(\))(?:::\w+(?:\(\))?)*)`", &text) {
            for word in name.split("::").map(|word| word.trim_end_matches("()")) {
                if !words.contains(word) {
                    wrong.push(format!("{page}: nothing is called {word}"));
                }
            }
        }
        assert!(text.contains("`src/"), "{page} names no file");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
