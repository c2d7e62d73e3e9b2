use super::*;

pub(super) fn source(name: &str, text: &str) -> Source {
    Source::new(name, text)
}

/// The inventory, and below it what was found.
pub(super) fn shown(sources: &[Source]) -> String {
    let imported = import(sources, &Options::default());
    let problems = imported.problems.iter().map(|p| {
        let (code, at) = (p.code.as_str(), p.position);
        let file = if sources.len() > 1 { format!("{}:", p.file) } else { String::new() };
        let help = p.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{code} {file}{}:{} {}{help}\n", at.line, at.column, p.message)
    });
    let problems: String = problems.collect();
    format!("{}----\n{problems}", imported.inventory.unwrap_or_default())
}

/// Compares with the file of that name beside the sources.
fn golden(name: &str, sources: &[Source]) {
    insta::with_settings!({
        snapshot_path => "../../tests/data/import", prepend_module_to_snapshot => false, omit_expression => true,
    }, { insta::assert_snapshot!(name, shown(sources)) });
}

macro_rules! file {
    ($name:literal) => {
        source($name, include_str!(concat!("../../tests/data/import/", $name)))
    };
}

#[test]
fn the_four_defects_of_a_json_patch_are_found_and_mended() {
    golden("origin", &[file!("origin.yaml")]);
    let map = format!("patch:\n  {}", file!("origin.yaml").text.trim_end().replace('\n', "\n  "));
    assert_eq!(detect(&map), Some(SourceKind::JsonPatch));
    let inventory = |text: &str| import(&[source("x", text)], &Options::default()).inventory;
    assert_eq!(inventory(&map), inventory(&file!("origin.yaml").text));
}

#[test]
fn legacy_and_documents_give_the_same_inventory() {
    let (legacy, documents) = (file!("legacy.yaml"), file!("documents.yaml"));
    assert_eq!(detect(&legacy.text), Some(SourceKind::MachineConfig));
    assert_eq!(detect(&documents.text), Some(SourceKind::Documents));
    golden("legacy", std::slice::from_ref(&legacy));
    let inventory = |source: &Source| import(std::slice::from_ref(source), &Options::default()).inventory;
    assert_eq!(inventory(&legacy), inventory(&documents));
}

#[test]
fn a_strategic_patch_is_read_and_the_rest_of_it_is_named() {
    golden("strategic", &[file!("strategic.yaml")]);
}

#[test]
fn talhelper_patches_are_for_all_for_roles_and_for_nodes() {
    assert_eq!(detect(&file!("talconfig.yaml").text), Some(SourceKind::Talhelper));
    golden("talconfig", &[file!("talconfig.yaml")]);
}

#[test]
fn k3s_is_another_dialect() {
    assert_eq!(detect(&file!("k3s.yaml").text), Some(SourceKind::K3s));
    golden("k3s", &[file!("k3s.yaml")]);
}

#[test]
fn containerd_folders_are_registries() {
    let sources = [
        file!("hosts/docker.io/hosts.toml"),
        file!("hosts/_default/hosts.toml"),
        file!("hosts/h_5000_/hosts.toml"),
    ];
    assert!(sources.iter().all(|source| detect(&source.text) == Some(SourceKind::Containerd)));
    golden("hosts", &sources);
    insta::assert_snapshot!(shown(&[source("hosts.toml", "server = 'x'")]), @r"
    ----
    E129 1:1 the name of the registry is that of the folder, and there is none (import the folder that holds `docker.io/hosts.toml` and the like)
    ");
    // The first example of containerd's `docs/hosts.md`: it says something, although no mirror comes of it.
    let own = "server = \"https://docker.io\"\n[host.\"https://registry-1.docker.io\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
    let (lost, codes, inventory) = told("docker.io/hosts.toml", own);
    assert!(!lost && codes == "W202" && inventory.contains("docker.io:"), "{codes}: {inventory}");
    insta::assert_snapshot!(shown(&[source("a/hosts.toml", "[host.x]\n=")]), @r"
    ----
    E100 2:1 unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
    ");
}

#[test]
fn every_defect_has_its_finding() {
    golden("defects", &[file!("defects.yaml")]);
}

/// A config of two documents, as `talosctl get machineconfig -o yaml` shows it.
fn resource(node: &str, id: &str, spec: &str) -> String {
    format!(
        "node: {node}\nmetadata:\n    namespace: config\n    type: MachineConfigs.config.talos.dev\n    id: {id}\nspec: {spec}\n"
    )
}

const CONFIG: &str = "version: v1alpha1\nmachine:\n    type: worker\n    registries:\n        mirrors:\n            docker.io:\n                endpoints: [https://h/v2/x]\n---\napiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: ghcr.io\nendpoints:\n    - url: https://c.lan\n";

#[test]
fn resources_come_in_three_shapes() {
    let indented = |text: &str| text.replace('\n', "\n    ").trim_end().to_owned();
    let (head, tail) = CONFIG.split_once("---").unwrap();
    let mapping = resource("10.0.0.1", "v1alpha1", &format!("\n    {}", indented(head))) + "---" + tail;
    let block = resource("10.0.0.1", "v1alpha1", &format!("|\n    {}", indented(CONFIG)));
    let quoted = resource("10.0.0.1", "v1alpha1", &serde_json::to_string(CONFIG).unwrap());
    let all = [mapping, block, quoted].map(|text| {
        assert_eq!(detect(&text), Some(SourceKind::Resource));
        import(&[source("r.yaml", &text)], &Options::default())
    });
    assert!(all[0].inventory.is_some());
    assert!(all.iter().all(|imported| imported.inventory == all[0].inventory));
    let places = all.map(|imported| {
        assert_eq!(imported.problems.len(), 1);
        (imported.problems[0].position.line, imported.problems[0].position.column)
    });
    assert_eq!(places, [(13, 33), (13, 33), (6, 7)]);
}

#[test]
fn nodes_that_differ_get_what_they_differ_in() {
    let config = |mirror: &str| {
        format!(
            "\n  machine:\n    type: worker\n    registries:\n      mirrors:\n        {mirror}: {{endpoints: [http://10.0.1.5:5000]}}"
        )
    };
    let stream = [
        resource("10.0.0.1", "v1alpha1", &config("docker.io")),
        resource("10.0.0.2", "v1alpha1", &config("'*'")),
        resource("10.0.0.3", "v1alpha1", &config("docker.io")),
        resource("10.0.0.3", "persistent", &config("quay.io")),
    ];
    insta::assert_snapshot!(shown(&[source("mc.yaml", &stream.join("---\n"))]), @r"
    apiVersion: talmirror/v1
    kind: Inventory

    # Where images are pulled from.
    mirrors:
        cache:
            kind: cache
            url: http://10.0.1.5:5000

    # What is pulled through them, by the names that image references use.
    registries:
        docker.io:
            via:
                - cache

    nodes:
        10.0.0.1:
            address: 10.0.0.1
            role: worker
        10.0.0.2:
            address: 10.0.0.2
            role: worker
            registries:
                '*':
                    via:
                        - cache
                docker.io: null
        10.0.0.3:
            address: 10.0.0.3
            role: worker
    ----
    W230 37:1 the `persistent` config is left out
    ");
    let file = |text: &str| {
        format!(
            "machine:\n  type: worker\n  install: {{image: 'ghcr.io/siderolabs/installer:v1.11.6'}}\n  registries:\n    mirrors: {{{text}: {{endpoints: [http://10.0.1.5:5000]}}}}\n"
        )
    };
    let (a, b) = (file("docker.io"), file("ghcr.io"));
    insta::assert_snapshot!(shown(&[source("nodes/a.yaml", &a), source("b.yml", &b)]), @r"
    apiVersion: talmirror/v1
    kind: Inventory

    talos:
        version: v1.11.6

    # Where images are pulled from.
    mirrors:
        cache:
            kind: cache
            url: http://10.0.1.5:5000

    # What is pulled through them, by the names that image references use.
    registries:
        docker.io:
            via:
                - cache

    nodes:
        a:
            role: worker
        b:
            role: worker
            registries:
                ghcr.io:
                    via:
                        - cache
                docker.io: null
    ----
    ");
}

#[test]
fn several_files_make_one_inventory() {
    let document = |name: &str, url: &str| {
        format!(
            "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: {name}\nendpoints: [{{url: {url}}}]\n"
        )
    };
    let (a, b) = (document("docker.io", "https://a.lan"), document("docker.io", "https://b.lan"));
    insta::assert_snapshot!(shown(&[source("a.yaml", &a), source("b.yaml", &b), source("c.yaml", &a)]), @r"
    apiVersion: talmirror/v1
    kind: Inventory

    # Where images are pulled from.
    mirrors:
        hub:
            kind: plain
            url: https://a.lan
            serves:
                - docker.io

    # What is pulled through them, by the names that image references use.
    registries:
        docker.io:
            via:
                - hub
    ----
    W230 b.yaml:3:7 docker.io is in a.yaml too, with other endpoints; these are left out
    ");
}

#[test]
fn templates_are_refused_by_the_name_of_their_engine() {
    let refused = |text: &str| {
        let imported = import(&[source("f", text)], &Options::default());
        assert!(imported.inventory.is_none());
        format!(
            "{}:{} {}",
            imported.problems[0].code.as_str(),
            imported.problems[0].position.line,
            imported.problems[0].message
        )
    };
    for (text, engine) in [
        ("machine:\n{% if ENV.X %}\n  a: 1\n{% endif %}\n", "minijinja"),
        ("machine:\n  #% if x %#\n  registries: {}\n  #% endif %#\n", "makejinja"),
        ("machine:\n{% if x %}\n  a: 1\n{% endif %}\n", "Jinja"),
        ("machine:\n  {{ x }}: 1\n", "Jinja"),
        ("machine:\n  {{- range .Values.x }}\n  a: 1\n", "Helm"),
        ("machine:\n  {{ if .x }}\n  a: 1\n", "Go"),
        ("machine:\n  %{ if x ~}\n  a: [\n", "Terraform"),
        ("machine: [${host}\n", "Terraform or envsubst"),
        ("machine: [%%HOST%%]\n", "%%NAME%%"),
        ("machine: [${var.x}]\n", "Terraform"),
        ("machine: [${HOST}]\n", "envsubst"),
    ] {
        let line = if text.starts_with("machine: ") { 1 } else { 2 };
        let article = if engine == "envsubst" { "an" } else { "a" };
        assert_eq!(refused(text), format!("E126:{line} this is {article} {engine} template"));
    }
    assert_eq!(refused("a: ${X}\nb: [\n"), "E100:2 unclosed bracket '['");
    assert_eq!(refused("#@ load(\"@ytt:data\", \"data\")\nmachine: {}\n"), "E126:1 this is a ytt template");
    assert_eq!(refused("a = 1\npatches = <<EOT\nmachine: {}\nEOT\n"), "E126:2 this is a Terraform template");
    assert_eq!(refused("local x = 1;\n{ machine: x }\n"), "E126:1 this is a Jsonnet template");
}

#[test]
fn what_is_nothing_of_ours_is_said() {
    insta::assert_snapshot!(shown(&[source("x.yaml", "a: 1\n")]), @r"
    ----
    E129 1:1 this file cannot be imported (give a machine config, a patch, registry documents, talconfig.yaml, registries.yaml or hosts.toml)
    ");
    insta::assert_snapshot!(shown(&[source("x.yaml", "apiVersion: talmirror/v1\nkind: Inventory\nmirrors: {}\n")]), @r"
    ----
    E129 1:1 this file cannot be imported (give a machine config, a patch, registry documents, talconfig.yaml, registries.yaml or hosts.toml)
    ");
    insta::assert_snapshot!(shown(&[source("x.yaml", "machine: {type: worker}\n")]), @r"
    ----
    E129 1:1 nothing is said about registries
    ");
    insta::assert_snapshot!(shown(&[source("x.yaml", "- op: test\n  path: /machine\n- {op: remove, path: /machine/registries}\n- {op: copy, path: /machine/registries, from: /x}\n- {op: add, path: machine/registries/mirrors/a.b, value: {endpoints: []}}\n- {op: add, path: /cluster/x, value: 1}\n- {op: add, path: /machine/registries/mirrors/a.b/endpoints/-, value: 'https://m.lan'}\n")]), @r"
    apiVersion: talmirror/v1
    kind: Inventory

    # Where images are pulled from.
    mirrors:
        m:
            kind: plain
            url: https://m.lan
            serves:
                - a.b

    # What is pulled through them, by the names that image references use.
    registries:
        a.b:
            via:
                - m
    ----
    E120 1:1 a JSON patch applies to single-document configs only (`talmirror generate` writes a form that applies to both)
    W230 3:22 `remove /machine/registries` is left out
    W230 4:20 the operation `copy /machine/registries` is left out
    E128 5:19 the path `machine/registries/mirrors/a.b` does not begin with `/`
    W230 6:19 `/cluster/x` is not about registries, and is left out
    ");
}

#[test]
fn settings_that_harm_are_found() {
    let text = "machine:
  registries:
    mirrors:
      docker.io: {endpoints: ['http://m.lan:5000'], skipFallback: true}
      ghcr.io: {endpoints: ['https://harbour.lan/v2/ghcr.io'], overridePath: true}
      quay.io: {skipFallback: true}
    config:
      m.lan:5000: {auth: {username: u, password: p}, tls: {insecureSkipVerify: true}}
      harbor.lan: {auth: {username: u}}
      docker.io: {auth: {username: other, password: p}}
      registry-1.docker.io: {auth: {username: hub, password: p}}
      https://u:hidden@a.lan/b: {auth: {username: u, password: p}}
      a b: {auth: {username: u, password: p}}
";
    golden("settings", &[source("c.yaml", text)]);
}

#[test]
fn a_json_patch_for_a_node_comes_before_what_all_have() {
    let talconfig = |patch: &str| {
        let strategic = "machine: {registries: {mirrors: {docker.io: {endpoints: [http://a.lan]}}}}";
        format!("nodes:\n- hostname: n1\n  patches:\n  - '[{patch}]'\npatches:\n- '{strategic}'\n")
    };
    let via = |patch: &str| {
        let inventory = import(&[source("t", &talconfig(patch))], &Options::default()).inventory.unwrap();
        let root = crate::yaml::parse_one(&inventory).unwrap().root.to_json();
        root["nodes"]["n1"]["registries"]["docker.io"]["via"].to_string()
    };
    let path = "path: /machine/registries/mirrors/docker.io";
    assert_eq!(
        via(&format!("{{op: add, {path}, value: {{endpoints: [\"http://b.lan\"]}}}}")),
        r#"["hub-2","hub"]"#
    );
    assert_eq!(
        via(&format!("{{op: add, {path}/endpoints/-, value: \"http://b.lan\"}}")),
        r#"["hub-2","hub"]"#
    );
}

#[test]
fn files_within_a_config_are_not_taken_for_its_kind() {
    let config = "machine:\n  type: worker\n  files:\n    - content: |\n        [host.'https://h']\n        server = 'x'\n";
    assert_eq!(detect(config), Some(SourceKind::MachineConfig));
}

#[test]
fn no_secret_is_in_a_finding() {
    for file in [file!("origin.yaml"), file!("defects.yaml"), file!("legacy.yaml"), file!("k3s.yaml")] {
        let imported = import(&[file], &Options::default());
        let text =
            format!("{imported:?}{}", imported.problems.iter().map(ToString::to_string).collect::<String>());
        assert!(!text.contains("throwaway") && !text.contains("hidden"), "{text}");
    }
}

/// Imports and tells what matters: whether anything was lost, the codes, the inventory.
pub(super) fn told(name: &str, text: &str) -> (bool, String, String) {
    let imported = import(&[source(name, text)], &Options::default());
    let codes: Vec<&str> = imported.problems.iter().map(|problem| problem.code.as_str()).collect();
    (imported.lost, codes.join(" "), imported.inventory.unwrap_or_default())
}

#[test]
fn what_is_lost_is_said_to_be_lost() {
    for (name, text) in [
        (
            "k3s rewrite",
            "mirrors:\n  icr.io:\n    endpoint: [https://a.lan]\n    rewrite: {cpopen: 'p/$1'}\n",
        ),
        ("k3s text", "mirrors:\n  docker.io:\n    endpoint: https://a.lan\n"),
        ("k3s slip", "mirrors:\n  docker.io:\n    endpoints: [https://a.lan]\n"),
        ("typo", "machine: {registries: {mirrors: {docker.io: {endpoint: [https://a.lan]}}}}\n"),
        (
            "scheme",
            "machine: {registries: {mirrors: {docker.io: {endpoints: ['ftp://a.lan', 'https://b.lan']}}}}\n",
        ),
        (
            "sealed",
            "machine: {registries: {mirrors: {docker.io: {endpoints: ['https://b.lan']}}, config: {b.lan: {auth: {username: u, password: 'ENC[x]'}}}}}\n",
        ),
        ("raw", "machine: {registries: {config: {b.lan: {auth: {auth: 'not base64'}}}}}\n"),
        (
            "documents and operations",
            "kind: Cluster\nname: c\npatches: [{name: p, inline: [{machine: {registries: {mirrors: {docker.io: {endpoints: ['https://b.lan']}}}}}, {op: remove, path: /machine/x}]}]\n",
        ),
        (
            "name",
            "machine: {registries: {mirrors: {'h.${D}': {endpoints: ['https://a.lan']}, docker.io: {endpoints: ['https://b.lan']}}}}\n",
        ),
    ] {
        assert!(told(name, text).0, "{name}");
    }
    let fine =
        "machine: {registries: {mirrors: {docker.io: {endpoints: ['https://b.lan/', 'https://b.lan']}}}}\n";
    assert!(!told("fine", fine).0);
}
