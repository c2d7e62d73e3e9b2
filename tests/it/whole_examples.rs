//! The examples that are whole repositories: what their READMEs say is done, and what is in them is what comes out.

use std::collections::BTreeMap;

use crate::run::{Place, Run, repository};

/// Copies an example, hidden files included, and puts the key of the tests beside it.
pub fn copy(name: &str) -> Place {
    let (place, root) = (Place::new(), repository("examples").join(name));
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = path.strip_prefix(&root).unwrap().display().to_string();
                place.write(&file, std::fs::read(&path).unwrap());
            }
        }
    }
    place.write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap());
    place
}

/// Returns the lines of a README's blocks of commands that begin with a word.
pub fn commands(readme: &str, word: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for block in readme.split("```sh\n").skip(1) {
        let (block, _) = block.split_once("```").expect("the end of a block");
        lines.extend(block.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned));
    }
    lines
}

fn with_key<'a>(place: &'a Place, line: &str) -> Run<'a> {
    place.run(line).env("SOPS_AGE_KEY_FILE", "keys.txt")
}

fn tree(place: &Place) -> BTreeMap<String, String> {
    place.files().into_iter().map(|file| (file.clone(), place.read(&file))).collect()
}

#[test]
fn home_ops() {
    let place = copy("home-ops");
    let before = tree(&place);
    // What CI does, as the workflow says it.
    let workflow = place.read(".github/workflows/talmirror.yaml");
    let checks: Vec<&str> = workflow
        .lines()
        .filter_map(|line| line.split_once("run: talmirror "))
        .map(|(_, rest)| rest)
        .collect();
    assert_eq!(checks.len(), 2, "{workflow}");
    for check in checks {
        with_key(&place, check).ok();
    }
    // The inventory is found right without the key, too.
    place.run("validate --deny warnings").ok();
    // What was made by a command is made by it again.
    let commands = commands(&place.read("README.md"), "talmirror ");
    let made: Vec<&String> = commands.iter().filter(|line| !line.starts_with("keygen")).collect();
    assert_eq!(made.len(), 5, "{commands:?}");
    for line in made {
        let ran = with_key(&place, line).ran();
        // It is sealed already, which is said and changes nothing.
        assert!(ran.code == 0 || line.starts_with("encrypt"), "{line}: {ran}");
    }
    assert_eq!(tree(&place), before, "the files that are checked in");
    // A change of the inventory is seen, and leaves the sealed secrets as they are.
    let check = "generate --output-dir talos/mirrors --encrypt --check";
    place.write("mirrors.yaml", place.read("mirrors.yaml").replace("    quay.io: {}\n", ""));
    with_key(&place, "seal mirrors.yaml --yes").ok();
    let ran = with_key(&place, check).ends(1);
    assert!(ran.stdout.contains("differs    talos/mirrors/mirrors.yaml"), "{ran}");
    with_key(&place, "generate --output-dir talos/mirrors --encrypt").ok();
    with_key(&place, check).ok();
    let after = tree(&place);
    let changed: Vec<&String> =
        after.iter().filter(|(file, text)| before.get(*file) != Some(text)).map(|(file, _)| file).collect();
    assert_eq!(changed, ["mirrors.yaml", "talos/mirrors/mirrors.yaml"]);
    assert!(!after.values().any(|text| text.contains("s3cr3t-hub")), "nothing is in clear");
}
