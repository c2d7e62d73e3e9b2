//! Every block of the README and of the pages for users is run, and says what they say.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::run::{Place, repository};
use crate::sim::{Cluster, Options, RegistryAnswer};

/// Pages with sessions in `console` blocks, which run in an empty folder, and `console simulated` blocks, which run beside nodes.
const PAGES: [&str; 3] = ["README.md", "docs/first-hour.md", "docs/coming-from.md"];

/// Runs every block of a page in order, and puts what the commands print below them.
///
/// `UPDATE_GOLDEN=1` writes the result back.
#[test]
fn sessions_are_as_printed() {
    std::thread::scope(|scope| {
        for page in PAGES {
            scope.spawn(move || session(page));
        }
    });
}

fn session(page: &str) {
    let path = repository(page);
    let before = std::fs::read_to_string(&path).unwrap();
    let place = Place::new();
    for entry in std::fs::read_dir(repository("tests/data/readme")).unwrap() {
        let entry = entry.unwrap();
        // The README begins in an empty folder.
        if page != "README.md" {
            place.write(&entry.file_name().to_string_lossy(), std::fs::read(entry.path()).unwrap());
        }
    }
    let mut after = replay(&before, "```console", &place, None);
    if after.contains("```console simulated") {
        after = with_nodes(&after);
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &after).unwrap();
    }
    let differs = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    assert!(
        before == after,
        "{page} is not what its commands print; UPDATE_GOLDEN=1 writes it. The first line: {differs:?}"
    );
}

/// Starts three simulated nodes and a mirror, which nodes also know as `harbor.example`; with a folder to work in.
pub(crate) fn nodes(render_delay: Duration) -> (Cluster, Place) {
    let options = Options { render_delay, ..Options::default() };
    let cluster = Cluster::start(1, 2, &["v1.14.1", "v1.13.9", "v1.13.9"], options).unwrap();
    cluster.mirror.protect("robot$talos", "s3cr3t-mirror");
    let place = Place::new();
    place.write(".talos/config", cluster.talosconfig());
    // The port of this run would be another each time.
    let here = format!("http://{}", cluster.mirror.address);
    place.write("mirrors.yaml", cluster.inventory().replace(&here, "https://harbor.example"));
    let keys = std::fs::read_to_string(repository("tests/vectors/sops/keys.txt")).unwrap();
    let recipient = keys.lines().find_map(|line| line.split_once("public key: ")).unwrap().1;
    let rule = "^(key|token|password|secret|auth|identityToken|bootstraptoken|secretboxEncryptionSecret)$";
    place.write(
        ".sops.yaml",
        format!("creation_rules:\n    - encrypted_regex: {rule}\n      age: {recipient}\n"),
    );
    place.write(".config/sops/age/keys.txt", keys);
    (cluster, place)
}

/// Runs every `console simulated` block in order, beside the nodes.
fn with_nodes(page: &str) -> String {
    let (cluster, place) = nodes(Duration::ZERO);
    let mut act = |remark: &str| match remark {
        "Harbor has no proxy project yet." => cluster.mirror.answer(RegistryAnswer::Status(404)),
        "Harbor has its proxy project." => cluster.mirror.answer(RegistryAnswer::All),
        other => panic!("nothing is done at `{other}`"),
    };
    replay(page, "```console simulated", &place, Some(&mut act))
}

/// Puts fixed times, durations, keys and names of journals in the place of a run's own.
pub(crate) fn tidy(text: &str) -> String {
    let same = [
        (r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-11-25T02:00:00Z"),
        (r"(?m)^(journal +\S+, of|rollback of the rollout of) \S+", "$1 2026-11-25T02:00:00Z"),
        (r"\b\d+\.\d s\b", "0.1 s"),
        (r"\bage1[02-9ac-hj-np-z]{58}\b", "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl"),
        (r"\S*/talmirror/[\w.-]+/\d{8}T[\d.]+Z", "~/.local/state/talmirror/c-6643e849/20261125T020000.000Z"),
    ];
    same.into_iter().fold(text.to_owned(), |text, (from, to)| {
        regex::Regex::new(from).unwrap().replace_all(&text, to).into_owned()
    })
}

/// Runs the blocks that begin with `fence`: a line `$ COMMAND` is run, `# REMARK` is acted on where something can be done, the
/// rest is what is printed.
fn replay(page: &str, fence: &str, place: &Place, mut act: Option<&mut dyn FnMut(&str)>) -> String {
    let (mut out, mut exports, mut in_block) = (String::new(), String::new(), false);
    for line in page.lines() {
        match line {
            _ if line == fence => in_block = true,
            "```" => in_block = false,
            _ => {}
        }
        if !in_block || line == fence {
            writeln!(out, "{line}").unwrap();
        } else if let (Some(act), Some(remark)) = (&mut act, line.strip_prefix("# ")) {
            act(remark);
            writeln!(out, "{line}").unwrap();
        } else if let Some(command) = line.strip_prefix("$ ") {
            writeln!(out, "{line}").unwrap();
            if command.starts_with("export ") {
                writeln!(exports, "{command}").unwrap();
            } else {
                out.push_str(&tidy(&printed(place, &exports, command)));
            }
        }
    }
    out
}

/// Runs a command on a machine that has no program of talmirror's neighbours, and returns what it prints.
fn printed(place: &Place, exports: &str, command: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_talmirror")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", binary.display());
    let output = Command::new("sh")
        .args(["-c", &format!("{exports}exec 2>&1\n{command}")])
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .env("PATH", path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The reference of the inventory holds every field that the schema has, with the schema's words.
#[test]
fn the_reference_is_made_from_the_schema() {
    const MARK: &str =
        "<!-- From here on made from templates/mirrors.v1.schema.json; `just golden` writes it. -->\n";
    let schema = std::fs::read_to_string(repository("templates/mirrors.v1.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let path = repository("docs/inventory.md");
    let before = std::fs::read_to_string(&path).unwrap();
    let (by_hand, _) = before.split_once(MARK).expect("the line that says where the fields begin");
    let mut after = format!("{by_hand}{MARK}\n## The file\n\n{}", fields(&schema));
    for (name, object) in schema["$defs"].as_object().unwrap() {
        let table = fields(object);
        if !table.is_empty() {
            let about = object["description"].as_str().map(|text| format!("{text}\n\n")).unwrap_or_default();
            write!(after, "\n## {name}\n\n{about}{table}").unwrap();
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &after).unwrap();
    }
    assert!(after == before, "docs/inventory.md is not what the schema says; UPDATE_GOLDEN=1 writes it");
}

/// Returns a table of an object's fields.
fn fields(object: &Value) -> String {
    let Some(fields) = object["properties"].as_object() else { return String::new() };
    let mut out = String::from("| field | value | what it is |\n|---|---|---|\n");
    for (name, field) in fields {
        let about = field["description"].as_str().unwrap_or_default();
        writeln!(out, "| `{name}` | {} | {} |", kind(field), about.replace('|', "\\|")).unwrap();
    }
    out
}

/// Returns what a part of a choice takes, its own choices one by one.
fn alternatives(field: &Value) -> Vec<String> {
    match field["anyOf"].as_array() {
        Some(kinds) => kinds.iter().flat_map(alternatives).collect(),
        None => vec![kind(field)],
    }
}

/// Returns what a field takes, with a link to an object of its own.
fn kind(field: &Value) -> String {
    if let Some(target) = field["$ref"].as_str() {
        let parts: Vec<&str> = target.trim_start_matches("#/$defs/").split('/').collect();
        return match parts.as_slice() {
            [name] => format!("[{name}](#{})", name.to_lowercase()),
            [name, .., last] => format!("as `{last}` of [{name}](#{})", name.to_lowercase()),
            [] => String::new(),
        };
    }
    if let Some(value) = field["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(values) = field["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`"));
        return values.collect::<Vec<_>>().join(", ");
    }
    if let Some(kinds) = field["anyOf"].as_array().or_else(|| field["oneOf"].as_array()) {
        let mut kinds: Vec<String> = kinds.iter().flat_map(alternatives).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", kind(&field["items"])),
        "object" if field["additionalProperties"].is_object() => {
            format!("by name, {}", kind(&field["additionalProperties"]))
        }
        "object" => {
            let names = field["properties"].as_object().into_iter().flat_map(|all| all.keys());
            names.map(|name| format!("`{{{name}: …}}`")).collect::<Vec<_>>().join(", ")
        }
        "null" => "`null`".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        other => other.to_owned(),
    }
}

/// The commands of `sh` blocks are understood by the programs of this version; they dial servers and nodes that are not there,
/// so that only the one that needs none is run.
#[test]
fn commands_outside_of_sessions_are_understood() {
    let place = Place::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_talmirror")).parent().unwrap().display().to_string();
    let shims = [
        ("talmirror", format!("exec {binary}/talmirror \"$@\" --help")),
        ("talmirror-cache", format!("exec {binary}/talmirror-cache \"$@\" --help")),
        ("talosctl", "cat".to_owned()),
        // tests/it/deploy.rs looks at what these are given.
        ("kubectl", String::new()),
        ("docker", String::new()),
        ("sudo", String::new()),
        (
            "cargo",
            format!(
                "case \"$*\" in\n\
                 test) ;;\n\
                 'run -- '*) shift 2; exec {binary}/talmirror \"$@\" ;;\n\
                 'run --bin talmirror-cache -- '*) shift 4; exec {binary}/talmirror-cache \"$@\" --help ;;\n\
                 'run --example simulated-cluster -- '*) shift 4; [ ! -x {binary}/examples/simulated-cluster ] || exec \
                 {binary}/examples/simulated-cluster \"$@\" --help ;;\n\
                 *) echo \"what is this: $*\" >&2; exit 1 ;;\nesac"
            ),
        ),
    ];
    for (name, text) in shims {
        place.write(name, format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut run = 0;
    for page in pages() {
        let text = std::fs::read_to_string(repository(&page)).unwrap();
        for block in blocks(&text, "sh") {
            let path = format!("{}:/usr/bin:/bin", place.path("").display());
            let output = Command::new("sh")
                .args(["-euc", &block])
                .current_dir(repository(""))
                .env_clear()
                .env("HOME", place.path(""))
                .env("PATH", path)
                .output()
                .unwrap();
            assert!(output.status.success(), "{page}:\n{block}\n{}", String::from_utf8_lossy(&output.stderr));
            run += 1;
        }
    }
    assert!(run > 4, "{run} blocks");
}

/// Parts of inventories are what the schema allows.
#[test]
fn parts_of_inventories_are_valid() {
    let schema = std::fs::read_to_string(repository("templates/mirrors.v1.schema.json")).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("mirrors.json", serde_json::from_str(&schema).unwrap()).unwrap();
    let schema = compiler.compile("mirrors.json", &mut schemas).unwrap();
    let mut seen = 0;
    for page in pages() {
        let text = std::fs::read_to_string(repository(&page)).unwrap();
        for block in blocks(&text, "yaml") {
            let value = talmirror::yaml::parse_one(&block).unwrap().root.to_json();
            schemas.validate(&value, schema).unwrap_or_else(|error| panic!("{page}:\n{block}\n{error}"));
            seen += 1;
        }
    }
    assert!(seen > 1, "{seen} parts");
}

/// What a page leads to is there.
#[test]
fn links_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").unwrap();
    let linked: Vec<_> = pages().into_iter().chain([".github/CONTRIBUTING.md".to_owned()]).collect();
    for page in linked {
        let text = std::fs::read_to_string(repository(&page)).unwrap();
        let folder = repository(&page).parent().unwrap().to_owned();
        for found in link.captures_iter(&text) {
            assert!(folder.join(&found[1]).exists(), "{page} leads to {}, which is not there", &found[1]);
        }
    }
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= 200, "README.md has {lines} lines, and 200 are the most: the rest belongs into docs/");
}

/// Returns the README and the pages below `docs`.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut pages: Vec<String> =
        docs.map(|path| format!("docs/{}", path.file_name().unwrap().to_string_lossy())).collect();
    pages.push("README.md".to_owned());
    pages.sort();
    pages
}

/// Returns the blocks of a page that are written in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = page.split(&fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The two commands are the ones that CI calls.
#[test]
fn ci_runs_the_test_command() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let ci = std::fs::read_to_string(repository(".ci/run")).unwrap();
    assert!(
        readme.contains("```sh\ncargo run -- generate -f examples/minimal/mirrors.yaml\ncargo test\n```")
    );
    assert!(ci.contains("step cargo test --locked "));
    // Of the two binaries, `cargo run` takes this one.
    let manifest = std::fs::read_to_string(repository("Cargo.toml")).unwrap();
    assert!(manifest.contains("\ndefault-run = \"talmirror\"\n"));
}
