//! Imports point up the list of `src/lib.rs` only.

use crate::run::repository;

/// The modules, in the order of `src/lib.rs`: each may use those before it.
fn order() -> Vec<String> {
    let lib = std::fs::read_to_string(repository("src/lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect()
}

fn sources(dir: &std::path::Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn modules_import_upwards_only() {
    let order = order();
    assert!(order.len() > 8, "{order:?}");
    let mut wrong = Vec::new();
    for (at, module) in order.iter().enumerate() {
        let mut files = Vec::new();
        sources(&repository("src").join(module), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for used in text.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if order.iter().position(|other| *other == name).is_some_and(|other| other > at) {
                    wrong.push(format!("{} uses {name}, which stands below {module}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files that touch the outside world say so by their name; the rest takes values and returns values.
#[test]
fn pure_files_stay_pure() {
    let outside = [
        "std::fs",
        "std::env",
        "std::process",
        "TcpStream",
        "TcpListener",
        "SystemTime",
        "Timestamp::now",
        "Instant::now",
    ];
    let mut wrong = Vec::new();
    for module in order().iter().filter(|module| !["cli", "ui"].contains(&module.as_str())) {
        let mut files = Vec::new();
        sources(&repository("src").join(module), &mut files);
        for file in files {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let named = ["source", "client", "store", "driver", "server", "file", "tests"];
            // Commands act: those of the cache lie beside what they call.
            let acts =
                file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "command");
            if acts || named.iter().any(|word| name == *word || name.ends_with(&format!("_{word}"))) {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for word in outside.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{} uses {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
