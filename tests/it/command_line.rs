use crate::run::{Place, repository};

#[test]
fn every_flag_has_an_environment_variable() {
    let help = |command: &str| Place::new().run(&format!("{command} --help")).ok();
    let next = regex::Regex::new(r"\n  -|\n      --|\n\n\w").unwrap();
    for command in [
        "init",
        "import",
        "scan",
        "validate",
        "explain",
        "generate",
        "diff",
        "verify",
        "nodes",
        "rollout",
        "rollback",
        "backup",
        "mc patch",
        "encrypt",
        "decrypt",
        "edit",
        "seal",
        "keygen",
        "rekey",
        "rotate",
        "harbor plan",
        "harbor apply",
        "harbor rotate-robot",
        "harbor export",
        "harbor status",
        "template",
    ] {
        let help = help(command);
        let flags = help.split("Options:").nth(1).unwrap().split("Examples:").next().unwrap();
        for (at, _) in flags.match_indices("\n      --").chain(flags.match_indices("\n  -")) {
            let rest = &flags[at..];
            if rest.starts_with("\n  -  ") {
                // A sign, and what it means.
                continue;
            }
            let end = next.find_at(rest, 1).map_or(rest.len(), |next| next.start());
            let flag = &rest[..end];
            assert!(
                flag.contains("[env: ") || flag.contains("--help") || flag.contains("--version"),
                "{command}: {flag}"
            );
        }
        assert!(help.contains("Examples:"), "{command} has no examples");
    }
}

/// CI sets variables to nothing where a setting has no value.
#[test]
fn variables_that_are_empty_are_as_if_unset() {
    let place = Place::new();
    place
        .write("mirrors.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n")
        .write("n1.yaml", "version: v1alpha1\nmachine:\n    type: worker\n");
    let variable = regex::Regex::new(r"TALMIRROR_[A-Z0-9_]+").unwrap();
    let cache = |args: &[&str], variables: &std::collections::BTreeSet<String>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_talmirror-cache"));
        command.args(args).env_clear().current_dir(place.path(""));
        command.envs(variables.iter().map(|name| (name, ""))).output().unwrap()
    };
    let variables = |help: &str| variable.find_iter(help).map(|found| found.as_str().to_owned()).collect();
    for line in [
        "validate",
        "explain",
        "explain ghcr.io/a:1",
        "generate",
        "generate --dry-run --output-dir out",
        "diff --against n1.yaml",
        "machineconfig patch n1.yaml",
        "import n1.yaml",
        "scan n1.yaml",
        "rollout --dry-run",
        "nodes",
        "verify --help",
        "schema",
        "encrypt mirrors.yaml",
        "keygen",
        "version",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let command = if words[0] == "machineconfig" { &words[..2] } else { &words[..1] };
        let help = place.args(&[command, &["--help"]].concat()).ok();
        let names: std::collections::BTreeSet<String> = variables(&help);
        assert!(names.len() > 5, "{line}: {names:?}");
        let plain = place.run(line).ran();
        let run = names.iter().fold(place.run(line), |run, name| run.env(name, ""));
        let ran = run.ran();
        assert_eq!(ran.code, plain.code, "{line}: {ran}");
        if !matches!(words[0], "keygen" | "verify") {
            assert_eq!(ran.to_string(), plain.to_string(), "{line}");
        }
    }
    for args in [&["check"][..], &["mirror-config", "talos", "--url", "http://h.example"], &["stats"]] {
        let help = String::from_utf8(cache(&[args[0], "--help"], &std::collections::BTreeSet::new()).stdout)
            .unwrap();
        let names = variables(&help);
        let (plain, ran) = (cache(args, &std::collections::BTreeSet::new()), cache(args, &names));
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), plain.status.code(), "{args:?}: {said}");
        assert_eq!(said, String::from_utf8_lossy(&plain.stderr), "{args:?}");
    }
}

#[test]
fn the_environment_stands_in_for_flags() {
    let place = Place::new();
    place.write("other.yaml", "mirror: https://h.example\nregistries: [ghcr.io]\n");
    let out = place
        .run("generate")
        .env("TALMIRROR_INVENTORY", "other.yaml")
        .env("TALMIRROR_FORMAT", "json-patch")
        .ok();
    assert!(out.starts_with("- op: add"), "{out}");
}

#[test]
fn standard_input_is_an_inventory() {
    let out = Place::new()
        .run("generate -q -f - --format json-patch")
        .stdin("mirror: https://h.example\nregistries: [ghcr.io]\n")
        .ok();
    assert!(out.contains("https://h.example/v2/ghcr.io"), "{out}");
}

#[test]
fn completions_and_manual_pages() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(place.run(&format!("completion {shell}")).ok().contains("talmirror"));
    }
    place.write("mirrors.yaml", "nodes: {n1: {}, n2: {}}\ngroups: {edge: {}}\nmirrors: {h: {}}\n");
    let at = |words: &str| {
        let number = words.split(' ').count() - 1;
        let line = ["completion", "--at", &number.to_string(), "--"].map(str::to_owned);
        let line: Vec<String> = line.into_iter().chain(words.split(' ').map(str::to_owned)).collect();
        place.args(&line.iter().map(String::as_str).collect::<Vec<_>>()).ok()
    };
    assert_eq!(at("talmirror diff -n "), "n1\nn2\n");
    assert_eq!(at("talmirror diff --group "), "edge\n");
    place.write("other.yaml", "nodes: {x1: {}}\n");
    assert_eq!(at("talmirror -f other.yaml diff -n "), "x1\n");
    assert_eq!(at("talmirror diff --color "), "");
    assert!(place.run("man").ok().contains(".TH talmirror 1"));
    place.run("man --output-dir man").ok();
    assert!(place.files().iter().any(|file| file == "man/talmirror-generate.1"), "{:?}", place.files());
}

/// The schema and the reader know the same fields.
#[test]
fn the_schema_knows_every_field() {
    for (root, all) in [
        ("inventory", talmirror::inventory::schema_fields()),
        ("cache", talmirror::cache::config::schema_fields()),
    ] {
        let schema: serde_json::Value =
            serde_json::from_str(&Place::new().run(&format!("schema {root}")).ok()).unwrap();
        for (name, fields) in all {
            let object = if *name == root { &schema } else { &schema["$defs"][*name] };
            let mut known: Vec<&str> =
                object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut fields = fields.to_vec();
            known.sort_unstable();
            fields.sort_unstable();
            assert_eq!(known, fields, "{root}: {name}");
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_page() {
    let page = std::fs::read_to_string(repository("docs/commands.md")).unwrap();
    for exit in talmirror::cli::exit::ALL {
        let row = format!("| {} | {} |", exit.code, exit.meaning);
        assert!(page.contains(&row), "docs/commands.md lacks: {row}");
    }
}

/// What may be of several nodes is a list, however many there are: a script is not to depend on that.
#[test]
fn explain_gives_a_list_where_nodes_are_chosen() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "apiVersion: talmirror/v1\nkind: Inventory\nmirror: https://h.example\nregistries: [ghcr.io]\n\
         nodes: {n1: {role: controlplane}, n2: {role: controlplane}, w1: {role: worker}}\n",
    );
    let json = |arguments: &str| -> serde_json::Value {
        let ran = place.run(&format!("explain {arguments} --talos-version v1.13 -o json")).ok();
        serde_json::from_str(&ran).unwrap()
    };
    let node = |item: &serde_json::Value| {
        let name = item["node"].as_str().or(item["target"].as_str());
        name.unwrap_or_else(|| panic!("{item}")).to_owned()
    };
    for subject in ["", "ghcr.io", "ghcr.io/a:1"] {
        for (which, names) in
            [("-n n1,n2", &["n1", "n2"][..]), ("--match ^w", &["w1"]), ("--role worker", &["w1"])]
        {
            let list = json(&format!("{subject} {which}"));
            assert_eq!(list["kind"], "ExplanationList", "{subject} {which}");
            let items = list["items"].as_array().unwrap().iter();
            let nodes: Vec<String> = items.map(node).collect();
            assert_eq!(nodes, names, "{subject} {which}");
        }
        let one = json(&format!("{subject} -n n1"));
        assert!(one["items"].is_null() && node(&one) == "n1", "{one}");
    }
    for (arguments, code) in [("-n nope", 2), ("--match ^zz", 2), ("-n n1 -g g", 2)] {
        place.run(&format!("explain {arguments}")).ends(code);
    }
}

#[test]
fn explain_shows_every_hop() {
    let place = Place::new();
    place.write(
        "mirrors.yaml",
        "\
mirrors:
    rack: {kind: cache, url: 'http://10.0.1.5:5000'}
    harbor: {kind: harbor, url: https://harbor.example, credentials: {username: 'robot$p', password: s3cr3t-p}}
registries:
    docker.io: {upstream: {credentials: {username: hub-user, password: s3cr3t-h}}}
    ghcr.io: {fallback: never}
    '*': {via: [rack]}
defaults: {via: [harbor]}
groups: {rack-a: {nodes: [n2], registries: {docker.io: {via: [rack, harbor]}}}}
nodes: {n1: {address: 10.0.0.1}, n2: {address: 10.0.0.2, version: v1.13.4}}
",
    );
    insta::assert_snapshot!(place.run("explain alpine:3.22 --node n2").ok(), @r"
    IMAGE  docker.io/library/alpine:3.22   NODE  n2   TALOS  v1.13.4   SOURCE  groups.rack-a.registries.docker.io.via
    HOP   VIA        REQUEST                                                                               AUTH (KEY)                        ON FAILURE
    1     rack       HEAD http://10.0.1.5:5000/v2/library/alpine/manifests/3.22?ns=docker.io               -                                 next
    2     harbor     HEAD https://harbor.example/v2/docker.io/library/alpine/manifests/3.22?ns=docker.io   robot$p (harbor.example)          next
    3     upstream   HEAD https://registry-1.docker.io/v2/library/alpine/manifests/3.22                    hub-user (registry-1.docker.io)   fail
    note: when all hops fail, the kubelet often shows the first one's error (containerd#7321)
    note: before Talos 1.14, changed credentials reach pods' pulls only after a reboot of the node
    ");
    insta::assert_snapshot!(place.run("explain ghcr.io/a/b --node n1 --talos-version v1.14").ok(), @r"
    IMAGE  ghcr.io/a/b:latest   NODE  n1   TALOS  v1.14   SOURCE  defaults.via
    HOP   VIA      REQUEST                                                                  AUTH (KEY)                 ON FAILURE
    1     harbor   HEAD https://harbor.example/v2/ghcr.io/a/b/manifests/latest?ns=ghcr.io   robot$p (harbor.example)   fail
    ");
    insta::assert_snapshot!(place.run("explain quay.io/a/b:1 --talos-version v1.8 -o json").ok(), @r#"
    {
      "apiVersion": "talmirror/v1",
      "kind": "ImageRoute",
      "image": "quay.io/a/b:1",
      "registry": "quay.io",
      "entry": "*",
      "target": "any node without settings of its own",
      "talosVersion": "v1.8",
      "source": "registries.*.via",
      "hops": [
        {
          "hop": 1,
          "via": "rack",
          "url": "http://10.0.1.5:5000/v2/a/b/manifests/1?ns=quay.io",
          "authKey": "10.0.1.5:5000",
          "username": null,
          "onFailure": "next"
        },
        {
          "hop": 2,
          "via": "upstream",
          "url": "https://quay.io/v2/a/b/manifests/1",
          "authKey": "quay.io",
          "username": null,
          "onFailure": "fail"
        }
      ],
      "verification": null,
      "notes": [
        "when all hops fail, the kubelet often shows the first one's error (containerd#7321)",
        "on Talos v1.8 only pods' pulls go on to the upstream; Talos' own (kubelet, etcd, installer) stop after the mirrors"
      ]
    }
    "#);
    insta::assert_snapshot!(place.run("explain --node n2").ok(), @r"
    REGISTRY    VIA           FALLBACK   ENDPOINTS                                                  SOURCE
    docker.io   rack,harbor   upstream   http://10.0.1.5:5000 https://harbor.example/v2/docker.io   groups.rack-a.registries.docker.io.via
    ghcr.io     harbor        never      https://harbor.example/v2/ghcr.io                          defaults.via
    *           rack          upstream   http://10.0.1.5:5000                                       registries.*.via
    ");
    insta::assert_snapshot!(place.run("explain e112").ok(), @r"
    E112 (error): credentials under a key that is never looked up

    Talos finds credentials by the host of the endpoint's URL. Docker Hub's is registry-1.docker.io, and a mirror's is the mirror's own: credentials under docker.io are used by no puller of Talos itself, in no version.
    ");
    insta::assert_snapshot!(place.run("explain E999").ends(2).stderr.lines().next().unwrap(), @"error: there is no finding `E999`");
    insta::assert_snapshot!(place.run("explain Not/An/Image").ends(2), @r"
    --- stderr
    error: `Not/An/Image` is not a valid image reference
      caused by: `Not/An/Image` is not a valid repository name: lower case letters and digits, parted by `.`, `_`, `__`, `-` or `/`
    --- exit 2
    ");
    let all = place.run("explain --node n1 -o json").ok();
    assert!(all.contains("<redacted>"), "{all}");
    assert!(place.run("explain --node n1 -o json --show-secrets").reveals().ok().contains("s3cr3t-p"));
}

/// What checks a text against the schema that a command prints.
fn checker(command: &str) -> impl Fn(&str) -> Result<(), String> {
    let schema: serde_json::Value = serde_json::from_str(&Place::new().run(command).ok()).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", schema).unwrap();
    let compiled = compiler.compile("schema.json", &mut schemas).unwrap();
    move |text| {
        let value = talmirror::yaml::parse_one(text).unwrap().root.to_json();
        schemas.validate(&value, compiled).map_err(|error| error.to_string())
    }
}

/// The schema takes every example and every imported inventory, and no misspelt field.
#[test]
fn the_schema_validates_inventories() {
    let check = checker("schema");
    for name in ["minimal", "origin", "sites", "cache"] {
        let text = std::fs::read_to_string(repository("examples").join(name).join("mirrors.yaml")).unwrap();
        assert_eq!(check(&text), Ok(()), "{name}");
    }
    for source in ["origin.yaml", "legacy.yaml", "k3s.yaml", "talconfig.yaml", "defects.yaml"] {
        let path = repository("tests/data/import").join(source);
        let text = Place::new().args(&["import", "-q", path.to_str().unwrap()]).ran().stdout;
        assert_eq!(check(&text), Ok(()), "{source}");
    }
    assert!(check("mirrors: {h: {kind: harbor, url: 'https://h', sevres: [x]}}\n").is_err());
    assert!(check("mirrors: {h: {kind: habor, url: 'https://h'}}\n").is_err());
}

/// The cache's schema takes every configuration that the project has, and none that the cache refuses.
#[test]
fn the_schema_validates_configurations_of_the_cache() {
    let check = checker("schema cache");
    for name in ["cache/cache.yaml", "air-gap/inside.yaml", "air-gap/outside.yaml"] {
        let text = std::fs::read_to_string(repository("examples").join(name)).unwrap();
        assert_eq!(check(&text), Ok(()), "{name}");
    }
    let of = |more: &str| format!("apiVersion: talmirror/v1\nkind: Cache\n{more}\n");
    for (more, is_good) in [
        ("", true),
        ("sizeCap: 50GiB\nreserve: 1000\nlisten: [':5000']", true),
        ("limits: {headerTimeout: 1m30s, retries: 0}", true),
        (
            "upstreams: {gcr.io: null, quay.io: {}, a.test: {tls: {cert: c, key: k}, url: 'http://a.test'}}",
            true,
        ),
        ("sizecap: 50GiB", false),
        ("sizeCap: many", false),
        ("limits: {headerTimeout: soon}", false),
        ("limits: {fills: 0}", false),
        ("upstreams: {'*': {}}", false),
        ("upstreams: {a.test: {tls: {cert: c}}}", false),
        ("upstreams: {a.test: {url: 'http://a.test', endpoints: ['http://b.test']}}", false),
        ("authenticate: some", false),
        ("tags: {rules: [{match: x}]}", false),
    ] {
        let text = of(more);
        let parsed = talmirror::cache::config::parse(&text, "cache.yaml", std::path::Path::new("/"));
        assert_eq!(
            (check(&text).is_ok(), parsed.config.is_some()),
            (is_good, is_good),
            "{text}{:?}",
            parsed.problems
        );
    }
}

/// The schema is named in the file that it is for, and in no other.
#[test]
fn a_schema_is_written_beside_its_file() {
    let place = Place::new();
    place.write("mirrors.yaml", "mirror: https://h.test\nkind: harbor\nregistries: [quay.io]\n");
    place.write("cache.yaml", "apiVersion: talmirror/v1\nkind: Cache\n");
    let ran = place.run("schema cache --write").ends(2);
    assert!(ran.stderr.contains("`mirrors.yaml` is the inventory"), "{ran}");
    let ran = place.run("schema --write -f cache.yaml").ends(2);
    assert!(ran.stderr.contains("`cache.yaml` is the configuration of talmirror-cache"), "{ran}");
    assert_eq!(place.files(), ["cache.yaml", "mirrors.yaml"]);
    place.run("schema cache --write -f cache.yaml").ok();
    assert!(
        place.read("cache.yaml").starts_with("# yaml-language-server: $schema=cache.v1.schema.json\napi")
    );
    assert!(place.read("cache.v1.schema.json").contains("talmirror-cache configuration"));
}

/// What bash makes of the script: values of the inventory, and what clap knows where there are none.
#[test]
fn bash_completes_values_and_flags() {
    let place = Place::new();
    place.write("mirrors.yaml", "nodes: {n1: {}, n2: {}}\n");
    let complete = |line: &str| {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_talmirror")).parent().unwrap();
        let script = format!(
            "source <(talmirror completion bash)\nCOMP_WORDS=({line} '')\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _talmirror_values talmirror '' \"${{COMP_WORDS[COMP_CWORD-1]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(place.path(""))
            .env_clear()
            .env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(complete("talmirror diff -n"), "n1\nn2\n");
    assert!(complete("talmirror").contains("validate\n"), "{}", complete("talmirror"));
    assert_eq!(complete("talmirror generate --format"), "auto\njson-patch\nstrategic\ndocuments\n");
}

#[test]
fn every_finding_can_be_looked_up() {
    let place = Place::new();
    let listed = place.run("explain --codes").ok();
    let codes: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(
        codes.is_sorted() && ["E101", "W218", "V301"].iter().all(|code| codes.contains(code)),
        "{codes:?}"
    );
    for code in codes {
        assert!(place.run(&format!("explain {code}")).ok().starts_with(code));
    }
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in ["--help", "encrypt --help", "--version"] {
        let mut command = Place::new().run(arguments).command();
        let out = command.current_dir("/").stdout(full.try_clone().unwrap()).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(
            out.status.code() == Some(9) && said.contains("cannot write the output"),
            "{arguments}: {said}"
        );
    }
}

#[test]
fn a_list_is_not_an_inventory() {
    let place = Place::new();
    place.write("mirrors.yaml", "- a\n- b\n");
    let ran = place.run("validate").ends(1);
    assert!(ran.stderr.contains("takes a mapping, not a list") && !ran.stderr.contains("``"), "{ran}");
}

#[test]
fn an_import_that_loses_something_ends_with_1() {
    let place = Place::new();
    let hosts = |more: &str| format!("[host.\"https://u:s3cr3t-p@m.example\"]\n{more}\n");
    for more in ["dial_timeout = \"1s\"", "capabilities = [\"pull\"]"] {
        place.write("hosts/ghcr.io/hosts.toml", hosts(more));
        let ran = place.run("import hosts").ran();
        assert!(ran.code == 1 && ran.stderr.contains("W230"), "{more}: {ran}");
    }
}
