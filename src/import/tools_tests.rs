//! Files of other tools, and what stands beside what is read.

use super::tests::{shown, source, told};
use super::*;

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
    let problems = import(&[source("registries.yaml", all)], &Options::default()).problems;
    assert!(
        problems.iter().any(|problem| problem.message.contains("to every other host, too")),
        "{problems:?}"
    );
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
    let mixed =
        "- {op: add, path: /machine/registries/mirrors/ghcr.io, value: {endpoints: ['https://a.example']}}
- machine: {registries: {mirrors: {quay.io: {endpoints: ['https://b.example']}}}}
";
    assert!(lost("patch.yaml", mixed).contains("stand in one list"));
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

#[test]
fn what_podman_says_of_the_registry_itself_and_of_some_pulls() {
    let text = "[[registry]]
location = 'own.lan:5000'
insecure = true

[[registry]]
location = 'quay.io'
[[registry.mirror]]
location = 'm.example'
pull-from-mirror = 'digest-only'

[[registry]]
location = 'ghcr.io'
mirror-by-digest-only = true
[[registry.mirror]]
location = 'g.example'
";
    let imported = import(&[Source::new("registries.conf", text)], &Options::default());
    let inventory = imported.inventory.unwrap();
    let own =
        "    own.lan:5000:\n        upstream:\n            tls:\n                insecureSkipVerify: true\n";
    assert!(inventory.contains(own), "{inventory}");
    let told: Vec<&str> = imported.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("for some pulls (digest-only)") && imported.lost, "{told:?}");
}

#[test]
fn lists_of_podman_are_read() {
    let text = "[registries.search]\nregistries = ['docker.io']\n[registries.insecure]\nregistries = ['own.lan:5000']\n[registries.block]\nregistries = ['bad.example']\n";
    let imported = import(&[Source::new("registries.conf", text)], &Options::default());
    let inventory = imported.inventory.unwrap();
    assert!(
        inventory.contains("own.lan:5000:") && inventory.contains("insecureSkipVerify: true"),
        "{inventory}"
    );
    let told: Vec<&str> = imported.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(told, ["`bad.example` is blocked there; the inventory has no such thing"]);
    assert!(imported.lost);
}
