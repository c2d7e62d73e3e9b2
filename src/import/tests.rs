use super::*;

fn source(name: &str, text: &str) -> Source {
    Source::new(name, text)
}

/// The inventory, and below it what was found.
fn shown(sources: &[Source]) -> String {
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
fn told(name: &str, text: &str) -> (bool, String, String) {
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

/// The hosts that nodes ask for Docker Hub's images: what all have, and what a node has of its own.
fn omni(text: &str, node: &str) -> (String, bool) {
    let imported = import(&[source("omni.yaml", text)], &Options::default());
    let root = crate::yaml::parse_one(&imported.inventory.unwrap_or_default()).unwrap().root.to_json();
    let via = |at: &serde_json::Value| {
        let hosts: Vec<&str> = at["registries"]["docker.io"]["via"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| root["mirrors"][name.as_str()?]["url"].as_str())
            .collect();
        hosts.join(" ")
    };
    (format!("{} | {}", via(&root), via(&root["nodes"][node])), imported.lost)
}

#[test]
fn the_order_of_omnis_documents_does_not_matter() {
    let patch = |host: &str| {
        format!(
            "{{inline: {{machine: {{registries: {{mirrors: {{docker.io: {{endpoints: [https://{host}]}}}}}}}}}}}}"
        )
    };
    let cluster = format!("kind: Cluster\nname: c\npatches: [{}]\n", patch("all.lan"));
    let set = format!("kind: Workers\nname: extra\nmachines: [m]\npatches: [{}]\n", patch("set.lan"));
    let machine = format!("kind: Machine\nname: m\npatches: [{}]\n", patch("own.lan"));
    let found = omni(&[&*cluster, &*set, &*machine].join("---\n"), "m");
    assert_eq!(
        found,
        ("https://all.lan | https://all.lan https://set.lan https://own.lan".to_owned(), false)
    );
    assert_eq!(omni(&[&*machine, &*set, &*cluster].join("---\n"), "m"), found);
    let resource = |labels: &str, host: &str| {
        let data =
            format!("machine: {{registries: {{mirrors: {{docker.io: {{endpoints: [https://{host}]}}}}}}}}");
        format!(
            "metadata: {{type: ConfigPatches.omni.sidero.dev, id: {host}, labels: {{{labels}}}}}\nspec: {{data: '{data}'}}\n"
        )
    };
    let own = resource("omni.sidero.dev/machine: m", "own.lan");
    let of_cluster = resource("omni.sidero.dev/cluster: c", "all.lan");
    let in_cluster = resource("omni.sidero.dev/cluster: c, omni.sidero.dev/cluster-machine: m", "set.lan");
    assert_eq!(omni(&[&*own, &*in_cluster, &*of_cluster].join("---\n"), "m"), found);
    // Another cluster's patch is not for this one, and is not lost in silence.
    let other = resource("omni.sidero.dev/cluster: d", "other.lan");
    let both = [&*of_cluster, &*other].join("---\n");
    assert_eq!(omni(&both, "m"), ("https://all.lan | ".to_owned(), true));
}

#[test]
fn insecure_registries_of_docker_are_named_unless_http_says_it() {
    let text = |mirrors: &str| {
        format!("{{\"registry-mirrors\": [{mirrors}], \"insecure-registries\": [\"m.lan:5000\"]}}\n")
    };
    assert!(!told("daemon.json", &text("\"http://m.lan:5000\"")).0);
    assert!(told("daemon.json", &text("\"https://m.lan:5000\"")).0);
    assert!(told("daemon.json", &text("\"http://m.lan:5000\", \"https://m.lan:5000\"")).0);
}

#[test]
fn files_of_other_tools_are_read() {
    let patch = "machine: {registries: {mirrors: {docker.io: {endpoints: [https://m.lan]}}}}";
    for (text, kind) in [
        ("kind: Cluster\nname: c\npatches: [{name: p, inline: {PATCH}}]\n", SourceKind::Omni),
        ("metadata: {type: ConfigPatches.omni.sidero.dev, id: 1}\nspec: {data: 'PATCH'}\n", SourceKind::Omni),
        (
            "apiVersion: metal.sidero.dev/v1alpha2\nkind: ServerClass\nspec: {configPatches: [{op: add, path: /machine/registries/mirrors, value: {docker.io: {endpoints: [https://m.lan]}}}]}\n",
            SourceKind::ServerClass,
        ),
        (
            "apiVersion: bootstrap.cluster.x-k8s.io/v1alpha3\nkind: TalosConfigTemplate\nspec: {template: {spec: {strategicPatches: ['PATCH']}}}\n",
            SourceKind::ClusterApi,
        ),
        (
            "apiVersion: k3d.io/v1alpha5\nkind: Simple\nregistries: {config: 'mirrors: {docker.io: {endpoint: [https://m.lan]}}'}\n",
            SourceKind::K3d,
        ),
        (
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\ncontainerdConfigPatches:\n- |-\n  [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n    endpoint = [\"https://m.lan\"]\n",
            SourceKind::KindCluster,
        ),
        ("{\"registry-mirrors\": [\"https://m.lan/\"]}\n", SourceKind::DockerDaemon),
        (
            "cluster: {name: x}\ntalos:\n  registries: {mirrors: {docker.io: {endpoints: [https://m.lan]}}}\n",
            SourceKind::HelmValues,
        ),
        (
            "talos:\n  patch: |\n    machine:\n      registries:\n        mirrors: {docker.io: {endpoints: [https://m.lan]}}\n",
            SourceKind::HelmValues,
        ),
        (
            "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\nendpoint = ['https://m.lan']\n",
            SourceKind::ContainerdConfig,
        ),
        (
            "[[registry]]\nlocation = 'docker.io'\n[[registry.mirror]]\nlocation = 'm.lan'\n",
            SourceKind::Podman,
        ),
    ] {
        let text = text.replace("PATCH", patch);
        assert_eq!(detect(&text), Some(kind), "{text}");
        let (lost, codes, inventory) = told("f", &text);
        assert!(!lost && codes.split(' ').all(|code| code.is_empty() || code == "E120"), "{text}\n{codes}");
        assert!(
            inventory.contains("url: https://m.lan") && inventory.contains("docker.io"),
            "{text}\n{inventory}"
        );
    }
}

#[test]
fn talhelper_is_read_as_talhelper_merges() {
    let text = "talosVersion: v1.13.9\nnodes:\n- {hostname: cp, controlPlane: true}\n- hostname: w\n  overridePatches: true\n  patches: ['@w.yaml']\npatches: ['@all.yaml']\nworker: {patches: ['@worker.yaml']}\n";
    assert_eq!(related_files(text), ["w.yaml", "all.yaml", "worker.yaml"]);
    let patch = |registry: &str, host: &str| {
        format!("machine: {{registries: {{mirrors: {{{registry}: {{endpoints: [https://{host}]}}}}}}}}\n")
    };
    let related = [
        ("w.yaml", patch("docker.io", "w.lan")),
        ("all.yaml", patch("docker.io", "all.lan")),
        ("worker.yaml", patch("quay.io", "q.lan")),
    ];
    let options = Options {
        related: related.iter().map(|(path, text)| ((*path).to_owned(), text.clone())).collect(),
        ..Options::default()
    };
    // A patch that is named beside the file that names it is read once, where it belongs.
    let imported = import(&[source("talconfig.yaml", text), source("worker.yaml", &related[2].1)], &options);
    assert!(!imported.lost && imported.problems.is_empty(), "{:?}", imported.problems);
    let root = crate::yaml::parse_one(&imported.inventory.unwrap()).unwrap().root.to_json();
    assert_eq!(root["registries"]["docker.io"]["via"].to_string(), r#"["hub"]"#);
    assert_eq!(root["nodes"]["w"]["registries"]["docker.io"]["via"].to_string(), r#"["hub-2","hub"]"#);
    assert!(root["nodes"]["w"]["registries"]["quay.io"].is_null());
    let missing = import(&[source("talconfig.yaml", text)], &Options::default());
    assert!(
        missing.lost
            && missing.problems.iter().any(|problem| problem.message.contains("`all.yaml` cannot be read"))
    );
}

/// talhelper gives its files to envsubst, for which `$$` is a `$`.
#[test]
fn doubled_dollars_of_talhelper_are_single_ones() {
    let patch = |password: &str| {
        format!(
            "machine: {{registries: {{mirrors: {{docker.io: {{endpoints: [https://m.lan]}}}}, config: {{m.lan: {{auth: {{username: robot$$x, password: '{password}'}}}}}}}}}}\n"
        )
    };
    let inline = format!("nodes:\n- {{hostname: w}}\npatches:\n- |-\n  {}", patch("$$ecret"));
    let named = "nodes:\n- {hostname: w}\npatches: ['@all.yaml']\n";
    let options =
        Options { related: [("all.yaml".to_owned(), patch("$$ecret"))].into(), ..Options::default() };
    for text in [inline.as_str(), named] {
        let imported = import(&[source("talconfig.yaml", text)], &options);
        assert!(!imported.lost && imported.problems.is_empty(), "{:?}", imported.problems);
        let inventory = imported.inventory.unwrap();
        assert!(
            inventory.contains("username: robot$x") && inventory.contains("password: $ecret"),
            "{inventory}"
        );
    }
    // Elsewhere they are what they are.
    let inventory = told("c.yaml", &patch("p")).2;
    assert!(inventory.contains("username: robot$$x"), "{inventory}");
}

#[test]
fn k3s_is_read_as_k3s_reads_it() {
    let endpoint = |text: &str| {
        let inventory = told("registries.yaml", text).2;
        let root = crate::yaml::parse_one(&inventory).unwrap().root.to_json();
        let mirror = root["mirrors"]
            .as_object()
            .and_then(|mirrors| mirrors.values().next().cloned())
            .unwrap_or_default();
        format!("{} {} {}", mirror["url"], mirror["projects"], mirror["paths"])
    };
    let rewrite = |pattern: &str, target: &str| {
        endpoint(&format!(
            "mirrors:\n  r.lan:\n    endpoint: [https://m.lan]\n    rewrite: {{'{pattern}': '{target}'}}\n"
        ))
    };
    for (pattern, target) in [("^(.*)$", "p/$1"), (".*", "p/$0"), ("^", "p/"), ("(.+)", "p/${1}")] {
        assert_eq!(rewrite(pattern, target), r#""https://m.lan" {"r.lan":"p"} null"#, "{pattern}");
    }
    let own = "mirrors:\n  r.lan:\n    endpoint: [https://r.lan]\n    rewrite: {'^(.*)$': 'p/$1'}\n";
    assert!(told("registries.yaml", own).0);
    let local = endpoint("mirrors:\n  docker.io:\n    endpoint: ['localhost:5000']\n");
    assert!(local.starts_with(r#""http://localhost:5000""#), "{local}");
    let all = "mirrors:\n  docker.io: {endpoint: [https://a.lan, https://b.lan]}\nconfigs:\n  '*': {auth: {username: u, password: p}}\n  b.lan: {auth: {username: v, password: q}}\n";
    let inventory = told("registries.yaml", all).2;
    assert_eq!(inventory.matches("username: u").count(), 1);
    assert_eq!(inventory.matches("username: v").count(), 1);
}

#[test]
fn comments_stay_at_their_registries() {
    let text = "machine:\n  registries:\n    mirrors:\n      # slow without it\n      docker.io:\n        endpoints: [https://m.lan] # rack 3\n      quay.io: {endpoints: [https://m.lan]}\n";
    let inventory = told("c.yaml", text).2;
    assert!(inventory.contains("    # slow without it\n    # rack 3\n    docker.io:"), "{inventory}");
    assert!(!inventory.contains("rack 3\n    quay.io"));
}

/// What other tools have beside mirrors is not lost in silence.
#[test]
fn what_is_beside_mirrors_is_told() {
    let lost = |name: &str, text: &str| {
        let imported = import(&[source(name, text)], &Options::default());
        assert!(imported.lost, "{text}");
        imported.problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
    };
    let k3d = "apiVersion: k3d.io/v1alpha5
kind: Simple
registries:
  config: |
    mirrors:
      docker.io: {endpoint: ['https://h.example']}
";
    let own = "  create: {name: r, proxy: {remoteURL: 'https://registry-1.docker.io'}}\n";
    assert!(lost("k3d.yaml", &format!("{k3d}{own}")).contains("`registries.create.proxy`"));
    assert!(lost("k3d.yaml", &format!("{k3d}  use: ['k3d-r:5000']\n")).contains("`registries.use`"));
    let both = lost("k3d.yaml", &format!("{k3d}  use: ['k3d-r:5000']\n{own}"));
    assert!(both.contains("`registries.use`") && both.contains("`registries.create.proxy`"), "{both}");
    let none = source("k3d.yaml", &format!("{k3d}  use: []\n  create: {{}}\n"));
    assert!(!import(&[none], &Options::default()).lost);
    let kind = "kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
containerdConfigPatches:
  - |-
    [plugins.\"io.containerd.grpc.v1.cri\".registry]
      config_path = \"/etc/containerd/certs.d\"
";
    assert!(lost("kind.yaml", kind).contains("files in `/etc/containerd/certs.d`"));
    let json = "containerdConfigPatchesJSON6902: ['[{\"op\": \"remove\"}]']\n";
    assert!(lost("kind.yaml", &format!("{kind}{json}")).contains("JSON patches of containerd's config"));
    let toml = "[plugins.cri.registry.headers]
User-Agent = ['x']
[plugins.cri.registry.mirrors.'docker.io']
endpoint = ['https://h.example']
";
    assert!(lost("config.toml", toml).contains("the headers of requests are left out"));
    let nothing = toml.replace("User-Agent = ['x']\n", "");
    assert!(!import(&[source("config.toml", &nothing)], &Options::default()).lost);
    let folders = "[plugins.cri.registry]\nconfig_path = '/etc/a:/etc/b'\n";
    let imported = import(&[source("config.toml", folders)], &Options::default());
    let help = imported.problems.iter().find_map(|problem| problem.help.clone());
    assert_eq!(help.unwrap(), "import those folders of the node: talmirror import /etc/a /etc/b");
}

#[test]
fn values_of_a_role_are_for_that_role() {
    let block = |host: &str| {
        format!(
            "{{machine: {{registries: {{mirrors: {{docker.io: {{endpoints: ['https://{host}.example']}}}}}}}}}}"
        )
    };
    let text = format!("talos:\n  controlPlane: {}\n  worker: {}\n", block("a"), block("b"));
    let imported = import(&[source("values.yaml", &text)], &Options::default());
    let inventory = imported.inventory.unwrap();
    assert!(!imported.lost, "{:?}", imported.problems);
    let parsed = crate::inventory::parse(&inventory, "mirrors.yaml", &|_| None).inventory.unwrap();
    for (role, host) in [(crate::inventory::Role::ControlPlane, "a"), (crate::inventory::Role::Worker, "b")] {
        let (name, _) = parsed.groups.iter().find(|(_, group)| group.role == Some(role)).unwrap();
        let routes = format!("{:?}", parsed.routes(crate::inventory::Target::Group(name)));
        let other = if host == "a" { "https://b.example" } else { "https://a.example" };
        let url = parsed
            .mirrors
            .iter()
            .find(|(_, mirror)| mirror.url.contains(&format!("{host}.example")))
            .unwrap()
            .0;
        let not = parsed.mirrors.iter().find(|(_, mirror)| mirror.url == other).unwrap().0;
        assert!(routes.contains(&format!("{url:?}")) && !routes.contains(&format!("{not:?}")), "{inventory}");
    }
}

/// A role that is misspelt would leave a node without the patches of its role.
#[test]
fn roles_of_topf_that_are_not_known() {
    let config = "nodes:\n- {host: n1, role: controlplane}\n- {host: n2, role: worker}\n";
    let imported = import(&[Source::new("topf.yaml", config)], &Options::default());
    let [problem] = imported.problems.as_slice() else { panic!("{:?}", imported.problems) };
    assert!(imported.lost && problem.message.contains("the role `controlplane` of `n1` is not known"));
    assert_eq!((problem.position.line, problem.help.as_deref()), (2, Some("did you mean `control-plane`?")));
    let without = import(&[Source::new("c/topf.yaml", "clusterName: c\n")], &Options::default());
    assert_eq!(without.kind, Some(SourceKind::Topf));
}

/// Files of topf are for the nodes whose folder they lie in.
#[test]
fn folders_of_topf() {
    let patch = |host: &str| {
        format!(
            "machine: {{registries: {{mirrors: {{ghcr.io: {{endpoints: ['https://{host}.example']}}}}}}}}\n"
        )
    };
    let at = |name: &str, nodes: Nodes, host: &str| Source { nodes, ..Source::new(name, patch(host)) };
    let config = "clusterName: c
nodes:
- {host: n1, ip: 10.0.0.1, role: control-plane}
- {host: n2, ip: 10.0.0.2, role: worker}
- {host: n3, ip: 10.0.0.3, role: worker}
";
    let shown = shown(&[
        Source::new("topf.yaml", config),
        at("all/a.yaml", Nodes::All, "all"),
        at("worker/a.yaml", Nodes::Workers, "worker"),
        at("node/n3/a.yaml", Nodes::Named("n3".to_owned()), "n3"),
    ]);
    insta::assert_snapshot!(shown, @r"
    apiVersion: talmirror/v1
    kind: Inventory

    # Where images are pulled from.
    mirrors:
        ghcr:
            kind: plain
            url: https://all.example
            serves:
                - ghcr.io
        ghcr-2:
            kind: plain
            url: https://worker.example
            serves:
                - ghcr.io
        ghcr-3:
            kind: plain
            url: https://n3.example
            serves:
                - ghcr.io

    # What is pulled through them, by the names that image references use.
    registries:
        ghcr.io:
            via:
                - ghcr

    groups:
        workers:
            role: worker
            registries:
                ghcr.io:
                    via:
                        - ghcr
                        - ghcr-2

    nodes:
        n1:
            address: 10.0.0.1
            role: controlplane
        n2:
            address: 10.0.0.2
            role: worker
        n3:
            address: 10.0.0.3
            role: worker
            registries:
                ghcr.io:
                    via:
                        - ghcr
                        - ghcr-2
                        - ghcr-3
    ----
    ");
}

#[test]
fn comments_at_credentials_stay_with_the_host() {
    let text = "machine:
    registries:
        mirrors:
            # Asked first.
            docker.io: {endpoints: ['https://harbor.example/v2/hub'], overridePath: true}
            ghcr.io: {endpoints: ['https://harbor.example/v2/gh'], overridePath: true}
        config:
            # The robot of the platform team.
            harbor.example: {auth: {username: u, password: p}} # rotated in May
            # Of our own team.
            ghcr.io: {auth: {username: v, password: q}}
";
    insta::assert_snapshot!(shown(&[source("patch.yaml", text)]), @r"
    apiVersion: talmirror/v1
    kind: Inventory

    # Where images are pulled from.
    mirrors:
        # The robot of the platform team.
        harbor:
            kind: harbor
            url: https://harbor.example
            projects:
                docker.io: hub
                ghcr.io: gh
            credentials:
                username: u
                password: p

    # What is pulled through them, by the names that image references use.
    registries:
        # Asked first.
        docker.io: {}
        # Of our own team.
        ghcr.io:
            upstream:
                credentials:
                    username: v
                    password: q

    # What a registry has that says nothing else.
    defaults:
        via:
            - harbor
    ----
    ");
}

/// An older secret may stand behind the one that took its place, or below it.
#[test]
fn comments_beside_secrets_are_left_out() {
    let config = "machine:
    registries:
        mirrors:
            ghcr.io: {endpoints: ['https://a.example', 'https://b.example']}
        config:
            # Asked by all teams.
            # The password was hunter1
            a.example:
                auth:
                    # hunter2
                    username: u
                    password: x # was: hunter3
                    # hunter4
            # Of our own team.
            b.example: {auth: {username: u, password: y}} # hunter5
";
    let documents = "# Asked by all teams.
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: a.example
username: u
password: x # was: hunter6
# hunter7
---
apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: ghcr.io
# Of our own team.
# was https://u:hunter8@c.example
endpoints: [{url: 'https://a.example'}]
";
    for text in [config, documents] {
        let inventory = told("c.yaml", text).2;
        assert!(!inventory.contains("hunter"), "{inventory}");
        assert!(inventory.contains("# Asked by all teams."), "{inventory}");
        assert!(inventory.contains("# Of our own team."), "{inventory}");
    }
}
