//! Every example is valid and gives what its golden file says.

use crate::run::{Place, golden, repository};

fn example(name: &str) -> Place {
    let place = Place::new();
    for entry in std::fs::read_dir(repository("examples").join(name)).unwrap() {
        let entry = entry.unwrap();
        place.write(entry.file_name().to_str().unwrap(), std::fs::read(entry.path()).unwrap());
    }
    place
}

#[test]
fn examples_have_no_findings_but_notes() {
    for name in ["minimal", "origin", "sites", "cache"] {
        let place = example(name);
        place.run("validate --deny warnings").ok();
        let text = place.read("mirrors.yaml");
        assert!(text.starts_with("# yaml-language-server: $schema="), "{name} has no modeline");
    }
}

#[test]
fn minimal() {
    golden("examples/minimal.yaml", &example("minimal").run("generate").ok());
}

#[test]
fn origin() {
    let place = example("origin");
    for version in ["v1.11", "v1.13", "v1.14"] {
        let run = place
            .run(&format!("generate --node n1 --talos-version {version}"))
            .env("HARBOR_PASSWORD", "s3cr3t-harbor")
            .env("DOCKERHUB_TOKEN", "s3cr3t-hub")
            .env("GITHUB_TOKEN", "s3cr3t-github");
        golden(&format!("examples/origin.{version}.yaml"), &run.reveals().ok());
    }
}

#[test]
fn sites() {
    let place = example("sites");
    place.run("generate --output-dir out").ok();
    let mut all = String::new();
    for file in place.files().iter().filter(|file| file.starts_with("out/")) {
        all.push_str(&format!("# {file}\n{}", place.read(file)));
    }
    golden("examples/sites.txt", &all);
}

#[test]
fn cache() {
    golden("examples/cache.yaml", &example("cache").run("generate --talos-version v1.14").ok());
}
