use super::tests::{shown, source, told};
use super::{Options, Source, import};

fn inventory(name: &str, text: &str) -> (String, bool, Vec<String>) {
    let imported = import(&[source(name, text)], &Options::default());
    let findings =
        imported.problems.iter().map(|p| format!("{}:{} {}", p.code.as_str(), p.position.line, p.message));
    (imported.inventory.unwrap_or_default(), imported.lost, findings.collect())
}

/// Imports a text, of which everything is to be in the inventory.
fn whole(name: &str, text: &str, wanted: &[&str]) {
    let (inventory, lost, findings) = inventory(name, text);
    for word in wanted {
        assert!(inventory.contains(word), "{word} of {text}:\n{inventory}\n{findings:?}");
    }
    assert!(!lost, "{text}: {findings:?}");
}

#[test]
fn documents_and_texts_of_one_line_are_read_in_values() {
    whole(
        "values.yaml",
        "worker:\n  patches:\n    - {apiVersion: v1alpha1, kind: RegistryMirrorConfig, name: quay.io, endpoints: [{url: 'https://q.lan'}]}\n    - 'machine: {registries: {mirrors: {ghcr.io: {endpoints: [\"https://g.lan\"]}}}}'\n    - [{op: add, path: /machine/registries/mirrors/gcr.io, value: {endpoints: [\"https://c.lan\"]}}]\n",
        &["https://q.lan", "https://g.lan", "https://c.lan", "role: worker"],
    );
    whole(
        "list.yaml",
        "- machine: {registries: {mirrors: {docker.io: {endpoints: [https://a.lan]}}}}\n- {apiVersion: v1alpha1, kind: RegistryAuthConfig, name: a.lan, username: u, password: p}\n",
        &["https://a.lan", "password: p"],
    );
    whole(
        "configmap.yaml",
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  a.yaml: |\n    machine:\n      registries: {mirrors: {docker.io: {endpoints: [https://a.lan]}}}\n  b.yaml: |\n    apiVersion: v1alpha1\n    kind: RegistryMirrorConfig\n    name: quay.io\n    endpoints: [{url: https://q.lan}]\n",
        &["https://a.lan", "https://q.lan"],
    );
    whole(
        "release.yaml",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec:\n  values:\n    k3s_registries:\n      mirrors: {docker.io: {endpoint: [https://a.lan]}}\n      configs: {a.lan: {auth: {username: u, password: p}}}\n",
        &["https://a.lan", "password: p"],
    );
    whole(
        "cloud.yaml",
        "write_files:\n  - path: /etc/rancher/rke2/registries.yaml\n    content: |\n      mirrors: {docker.io: {endpoint: [https://a.lan]}}\n",
        &["https://a.lan"],
    );
    whole(
        "kubeadm.yaml",
        "apiVersion: bootstrap.cluster.x-k8s.io/v1beta1\nkind: KubeadmConfigTemplate\nspec:\n  files:\n    - path: /etc/rancher/k3s/registries.yaml\n      content: |\n        mirrors: {docker.io: {endpoint: [https://a.lan]}}\n",
        &["https://a.lan"],
    );
}

#[test]
fn talos_own_documents_with_texts_of_others_are_no_values() {
    let patch = "machine: {registries: {mirrors: {docker.io: {endpoints: [https://a.lan]}}}}\n---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: x\nconfigFiles:\n  - content: |\n      mirrors: {quay.io: {endpoint: [https://q.lan]}}\n    mountPath: /x\n";
    let (inventory, _, findings) = inventory("patch.yaml", patch);
    assert!(inventory.contains("https://a.lan") && !inventory.contains("q.lan"), "{inventory}");
    assert_eq!(findings, ["W230:3 `ExtensionServiceConfig` is not about registries, and is left out"]);
}

#[test]
fn a_server_of_sidero_is_one_machine() {
    let text = "apiVersion: metal.sidero.dev/v1alpha1\nkind: ServerClass\nmetadata: {name: any}\nspec:\n  strategicPatches: ['machine: {registries: {mirrors: {docker.io: {endpoints: [\"https://a.lan\"]}}}}']\n---\napiVersion: metal.sidero.dev/v1alpha2\nkind: Server\nmetadata: {name: s-1}\nspec:\n  strategicPatches: ['machine: {registries: {mirrors: {quay.io: {endpoints: [\"https://q.lan\"]}}}}']\n";
    let (inventory, lost, _) = inventory("sidero.yaml", text);
    let (all, nodes) = inventory.split_once("nodes:").unwrap();
    assert!(!lost && all.contains("docker.io:") && !all.contains("    quay.io:"), "{inventory}");
    assert!(nodes.contains("s-1:") && nodes.contains("quay.io:"), "{inventory}");
}

#[test]
fn what_a_json_patch_copies_and_moves_is_there() {
    let text = "- {op: add, path: /machine/registries/mirrors/docker.io, value: {endpoints: [https://a.lan]}}\n- {op: copy, from: /machine/registries/mirrors/docker.io, path: /machine/registries/mirrors/gcr.io}\n- {op: move, from: /machine/registries/mirrors/docker.io, path: /machine/registries/mirrors/quay.io}\n";
    let (found, lost, _) = inventory("p.yaml", text);
    assert!(!lost && found.contains("gcr.io") && found.contains("quay.io"), "{found}");
    assert!(!found.contains("docker.io"), "{found}");
    let text = "- {op: add, path: /machine/registries/mirrors/docker.io, value: {endpoints: [https://a.lan]}}\n- {op: copy, from: /machine/registries/mirrors/x.lan, path: /machine/registries/mirrors/gcr.io}\n";
    let (_, lost, findings) = inventory("p.yaml", text);
    assert!(lost && findings.iter().any(|text| text.contains("`copy /machine/registries/mirrors/gcr.io`")));
}

#[test]
fn a_patch_marker_that_talos_does_not_know_hides_nothing() {
    let text = "machine:\n  registries:\n    mirrors:\n      $patch: replace\n      docker.io: {endpoints: [https://a.lan]}\n";
    let (found, lost, findings) = inventory("p.yaml", text);
    assert!(lost && found.contains("https://a.lan"), "{found}");
    assert_eq!(findings, ["E101:4 `$patch` is not a field, unless it says `delete`"]);
    let text = "machine:\n  registries:\n    mirrors:\n      docker.io: {endpoints: {$patch: delete}}\n      quay.io: {endpoints: [https://a.lan]}\n    config:\n      a.lan: {tls: {insecureSkipVerify: true, clientIdentity: {$patch: delete}}}\n";
    let (found, lost, findings) = inventory("p.yaml", text);
    assert!(!lost && found.contains("insecureSkipVerify: true"), "{found} {findings:?}");
}

#[test]
fn one_project_of_several_registries_is_a_path() {
    let text = "machine:\n  registries:\n    mirrors:\n      docker.io: &m {endpoints: [https://h.lan/v2/all], overridePath: true}\n      ghcr.io: *m\n      quay.io: {endpoints: [https://h.lan/v2/quay], overridePath: true}\n";
    let (found, lost, findings) = inventory("p.yaml", text);
    assert!(!lost && findings.is_empty(), "{findings:?}");
    assert!(found.contains("kind: path") && found.contains("docker.io: /v2/all"), "{found}");
}

#[test]
fn credentials_for_all_hosts_are_none() {
    let text = "machine:\n  registries:\n    mirrors: {'*': {endpoints: [https://m.lan]}}\n    config: {'*': {auth: {username: u, password: p}}}\n";
    let (found, lost, findings) = inventory("p.yaml", text);
    assert!(!lost && !found.contains("password"), "{found} {findings:?}");
    assert_eq!(findings, ["W225:4 credentials for `*` are left out"]);
}

#[test]
fn hosts_that_are_none_are_told_where_they_stand() {
    for host in ["((host))", "[[ .h ]]", "%HOST%", "__HOST__", "-h.lan", "<HOST>", "$(HOST)"] {
        let text = format!(
            "machine:\n  registries:\n    mirrors:\n      docker.io: {{endpoints: ['https://{host}', 'https://ok.lan']}}\n"
        );
        let (found, lost, findings) = inventory("p.yaml", &text);
        assert!(lost && found.contains("ok.lan") && !found.contains(host), "{found}");
        assert!(findings[0].starts_with("E102:4 `https://"), "{findings:?}");
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}

#[test]
fn toml_of_another_type_is_told() {
    for (name, text, finding) in [
        (
            "certs.d/quay.io/hosts.toml",
            "[host.'https://m.lan']\n  capabilities = 'pull'\n",
            "E128:2 found a string where a list of strings belongs",
        ),
        (
            "certs.d/quay.io/hosts.toml",
            "[host.'https://m.lan']\n  capabilities = ['pull', 'resolve']\n  skip_verify = 'yes'\n",
            "E128:3 found a string where true or false belongs",
        ),
        (
            "certs.d/quay.io/hosts.toml",
            "server = 'https://m.lan'\n[[host]]\n  url = 'x'\n",
            "E128:2 found a list where a table belongs",
        ),
        (
            "config.toml",
            "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n  endpoint = 'https://m.lan'\n",
            "E128:2 found a string where a list of strings belongs",
        ),
        (
            "config.toml",
            "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n  endpoints = ['https://m.lan']\n",
            "W230:2 `endpoints` is not a setting of containerd, and is left out",
        ),
        (
            "registries.conf",
            "[[registry]]\nlocation = 'quay.io'\ninsecure = 'true'\n[[registry.mirror]]\nlocation = 'm.lan'\n",
            "E128:3 found a string where true or false belongs",
        ),
        (
            "daemon.json",
            "{\"registry-mirrors\": \"https://m.lan\"}\n",
            "E128:1 found a string where a list belongs",
        ),
    ] {
        let (_, lost, findings) = inventory(name, text);
        assert!(lost && findings.iter().any(|text| text == finding), "{text}: {findings:?}");
    }
}

#[test]
fn credentials_of_containerds_old_form_are_kept() {
    let text = "[plugins.cri.registry.mirrors.'docker.io']\n  endpoint = ['https://m.lan']\n[plugins.cri.registry.auths.'https://m.lan']\n  username = 'u'\n  password = 'pw-of-old'\n[plugins.cri.registry.configs.'m.lan'.tls]\n  ca_file = ''\n  insecure_skip_verify = true\n";
    let (found, lost, findings) = inventory("config.toml", text);
    assert!(
        !lost && found.contains("password: pw-of-old") && !found.contains("caFile"),
        "{found} {findings:?}"
    );
}

#[test]
fn registries_that_docker_asks_insecurely_make_a_file_of_docker() {
    let (found, lost, findings) = inventory("daemon.json", "{\"insecure-registries\": [\"q.lan:5000\"]}\n");
    assert!(lost && found.is_empty());
    assert!(findings[0].starts_with("W230:1 `q.lan:5000` may be asked over http"), "{findings:?}");
}

#[test]
fn an_empty_server_of_containerd_is_none() {
    let text = "server = ''\n[host.'https://m.lan']\n";
    let (found, lost, findings) = inventory("certs.d/quay.io/hosts.toml", text);
    assert!(!lost && findings.is_empty() && !found.contains("never"), "{found} {findings:?}");
}

#[test]
fn a_patch_that_is_a_template_is_told_by_its_engine() {
    let text = "kind: Cluster\nname: home\npatches:\n  - inline: |\n      machine:\n        registries:\n          config: {a.lan: {auth: {username: u, password: {{ .P }}}}}\n  - inline: |\n      machine: {registries: {mirrors: {docker.io: {endpoints: ['https://m.lan']}}}}\n";
    let (found, lost, findings) = inventory("c.yaml", text);
    assert!(lost && found.contains("https://m.lan"), "{found}");
    assert_eq!(findings, ["E126:7 this patch is a Go template, and is left out"]);
}

#[test]
fn files_for_containerd_in_a_machine_config_are_told() {
    let text = "machine:\n  type: worker\n  files:\n    - path: /etc/cri/conf.d/20-customization.part\n      content: |\n        [plugins.\"io.containerd.cri.v1.images\".registry.configs.\"h.lan\".auth]\n          username = \"u\"\n    - {path: /var/x, content: y}\n  registries: {mirrors: {docker.io: {endpoints: [https://m.lan]}}}\n";
    let (_, lost, findings) = inventory("w.yaml", text);
    assert!(!lost);
    assert_eq!(
        findings,
        [
            "W230:4 `/etc/cri/conf.d/20-customization.part` sets registries of containerd, which the inventory does not have"
        ]
    );
}

#[test]
fn variables_in_braces_of_talhelper_are_read() {
    let text = "clusterName: home\nnodes:\n  - {hostname: w-1, ipAddress: ${IP}, controlPlane: false}\npatches:\n  - |-\n    machine:\n      registries:\n        mirrors: {docker.io: {endpoints: [https://h.lan/v2/hub], overridePath: true}}\n        config: {h.lan: {auth: {username: ${U}, password: ${P}}}}\n  - {machine: {registries: {mirrors: {quay.io: {endpoints: [https://${H}]}}}}}\n";
    let (found, lost, findings) = inventory("talconfig.yaml", text);
    assert!(!lost, "{findings:?}");
    assert!(found.contains("passwordFrom:\n                env: P") && found.contains("env: U"), "{found}");
    assert!(found.contains("https://${H}"), "{found}");
    assert!(
        findings.iter().any(|text| text.starts_with("W226:3 `ipAddress` holds a variable")),
        "{findings:?}"
    );
    assert!(findings.iter().any(|text| text.starts_with("W226:9 ")), "{findings:?}");
    // A patch by itself is nobody's that fills it in.
    let (_, _, findings) =
        inventory("p.yaml", "machine: {registries: {config: {h.lan: {auth: {password: ${P}}}}}}\n");
    assert_eq!(findings, ["E126:1 this is an envsubst template"]);
}

#[test]
fn findings_of_one_kind_name_what_they_are_about() {
    let text = "clusterName: home\ntalosVersion: ${V}\nnodes: [{hostname: a}]\npatches:\n  - |-\n    machine:\n      registries:\n        mirrors: {docker.io: {endpoints: [https://h.lan]}}\n        config:\n          h.lan: {auth: {username: '${U}', password: '${P}'}}\n";
    let (_, _, findings) = inventory("talconfig.yaml", text);
    assert_eq!(
        findings,
        [
            "W226:2 `talosVersion` is the variable `${V}`",
            "W226:10 `username` is the variable `U`; the same for `password` (line 10)"
        ]
    );
    let text = "mirrors: {docker.io: {endpoint: [https://m.lan]}}\nconfigs:\n  m.lan: {tls: {ca_file: /ca, cert_file: /c, key_file: /c}}\n";
    let (_, _, findings) = inventory("registries.yaml", text);
    assert_eq!(findings, ["W236:3 `/ca`, `/c` are files of the node"]);
    let text = "kind: Cluster\nname: home\npatches:\n  - inline: &i [{op: add, path: /machine/registries/mirrors/a.lan, value: {endpoints: [https://m.lan]}}]\n  - inline: [{op: add, path: /machine/registries/mirrors/b.lan, value: {endpoints: [https://m.lan]}}]\n";
    let (_, _, findings) = inventory("c.yaml", text);
    assert_eq!(
        findings,
        ["E120:4 a JSON patch applies to single-document configs only; the same for line 5"]
    );
}

#[test]
fn comments_above_all_registries_stay() {
    let text = "# who knows\nmachine:\n  # talk to ops first\n  registries:\n    # through the NAS\n    mirrors:\n      # hub\n      docker.io: {endpoints: [https://m.lan]}\n";
    let found = shown(&[Source::new("p.yaml", text)]);
    assert!(
        found.contains("# talk to ops first\n# through the NAS\nmirrors:") && !found.contains("who knows"),
        "{found}"
    );
    let (_, found, _) = told(
        "registries.yaml",
        "# yaml-language-server: $schema=x\nmirrors: {docker.io: {endpoint: [https://m.lan]}}\n",
    );
    assert!(!found.contains("language-server"), "{found}");
}

#[test]
fn credentials_under_a_variable_that_nothing_else_names_are_told() {
    let text = "mirrors:\n  h.${D}: {endpoint: ['http://h.lan']}\n  docker.io: {endpoint: [https://m.lan]}\nconfigs:\n  h.${D}: {auth: {username: u, password: p}}\n";
    let (found, lost, findings) = inventory("registries.yaml", text);
    assert!(lost && found.contains("https://m.lan") && !found.contains("${D}"), "{found}");
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[1], "W226:5 credentials under `h.${D}`, which holds a variable, are left out");
}

#[test]
fn settings_of_tls_that_cannot_be_read_are_not_said_to_be_none() {
    let text = "machine:\n  registries:\n    mirrors: {docker.io: {endpoints: [https://m.lan]}}\n    config: {m.lan: {tls: {clientIdentity: {crt: '?', key: '?'}}}}\n";
    let (_, _, findings) = inventory("p.yaml", text);
    assert_eq!(findings, ["E111:4 this is not base64", "E111:4 this is not base64"]);
}

#[test]
fn references_of_vals_stay_references() {
    let text = "machine:\n  registries:\n    mirrors: {docker.io: {endpoints: [https://m.lan]}}\n    config: {m.lan: {auth: {username: u, password: 'ref+sops://s.yaml#/p'}}}\n";
    let (found, lost, _) = inventory("p.yaml", text);
    assert!(!lost && found.contains("- vals") && found.contains("- ref+sops://s.yaml#/p"), "{found}");
}

#[test]
fn what_is_no_list_or_mapping_is_told() {
    let registry = "{machine: {registries: {mirrors: {docker.io: {endpoints: [https://m.lan]}}}}}";
    for (name, text, finding) in [
        ("talconfig.yaml", format!("nodes:\n  - hostname: a\n    patches: |-\n      {registry}\n"), "E128:3 found a string where a list belongs"),
        ("talconfig.yaml", "nodes: [{hostname: a}]\ninlinePatch: [x]\n".to_owned(), "E128:2 found a list where a mapping belongs"),
        ("talconfig.yaml", "nodes: [{hostname: a}]\nconfigPatches: x\n".to_owned(), "E128:2 found a string where a list of operations belongs"),
        ("c.yaml", format!("kind: Cluster\nname: c\npatches:\n  {registry}\n"), "E128:4 found a mapping where a list belongs"),
        ("c.yaml", "kind: Cluster\nname: c\npatches:\n  - name: x\n".to_owned(), "E129:4 a patch has neither `inline` nor `file`, and is left out"),
        ("s.yaml", format!("apiVersion: metal.sidero.dev/v1alpha1\nkind: ServerClass\nspec:\n  strategicPatches: {registry}\n"), "E128:4 found a mapping where a list belongs"),
        ("s.yaml", "apiVersion: metal.sidero.dev/v1alpha1\nkind: ServerClass\nspec:\n  configPatches: |\n    - op: add\n".to_owned(), "E128:4 found a string where a list of operations belongs"),
        ("kind.yaml", "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\ncontainerdConfigPatches: |-\n  [plugins]\n".to_owned(), "E128:3 found a string where a list belongs"),
        ("k3d.yaml", "apiVersion: k3d.io/v1alpha5\nkind: Simple\nregistries: {config: /etc/r.yaml}\n".to_owned(), "W230:3 its registries are in the file `/etc/r.yaml`, which is not read"),
        ("registries.yaml", "mirrors: [docker.io]\n".to_owned(), "E128:1 found a list where a mapping belongs"),
        ("registries.yaml", "mirrors: {docker.io: {endpoint: [https://m.lan], rewrite: x}}\n".to_owned(), "E128:1 found a string where a mapping belongs"),
        ("registries.yaml", "configs:\n  m.lan: {auth: dTpw}\n".to_owned(), "E128:2 found a string where a mapping belongs"),
        ("registries.conf", "[[registry.mirror]]\nlocation = 'm.lan'\n".to_owned(), "E128:1 found a table where a list of tables, `[[registry]]`, belongs"),
    ] {
        let (_, lost, findings) = inventory(name, &text);
        assert!(lost && findings.iter().any(|text| text == finding), "{text}: {findings:?}");
    }
}

/// Patches on patches, as talhelper applies them: those of the role, of the node, of all.
fn layered(role: &str, all: &[&str]) -> (String, bool, Vec<String>) {
    let indented = |patch: &str| format!("  - |-\n    {}\n", patch.trim_end().replace('\n', "\n    "));
    let all: String = all.iter().map(|patch| indented(patch)).collect();
    let role = indented(role).replace('\n', "\n  ");
    inventory(
        "talconfig.yaml",
        &format!(
            "clusterName: c\nnodes: [{{hostname: a}}]\nworker:\n  patches:\n  {}\npatches:\n{all}",
            role.trim_end()
        ),
    )
}

#[test]
fn patches_change_the_parts_that_they_name() {
    let first = "machine:\n  registries:\n    mirrors:\n      docker.io: {endpoints: [https://a.lan], skipFallback: true}\n";
    let only = |found: &str, hosts: &[&str], never: bool| {
        for host in ["https://a.lan", "https://b.lan"] {
            assert_eq!(found.contains(host), hosts.contains(&host), "{found}");
        }
        assert_eq!(found.contains("fallback: never"), never, "{found}");
    };
    let (a, b) = ("https://a.lan", "https://b.lan");
    for (patch, hosts, never) in [
        (
            "- {op: replace, path: /machine/registries/mirrors/docker.io/endpoints, value: ['https://b.lan']}\n",
            &[b][..],
            true,
        ),
        (
            "- {op: add, path: /machine/registries/mirrors/docker.io, value: {endpoints: ['https://b.lan']}}\n",
            &[b],
            false,
        ),
        (
            "- {op: add, path: /machine/registries/mirrors/docker.io/endpoints/-, value: 'https://b.lan'}\n",
            &[a, b],
            true,
        ),
        (
            "- {op: replace, path: /machine/registries/mirrors/docker.io/skipFallback, value: false}\n",
            &[a],
            false,
        ),
        ("machine: {registries: {mirrors: {docker.io: {endpoints: ['https://b.lan']}}}}\n", &[a, b], true),
    ] {
        let (found, lost, findings) = layered(first, &[patch]);
        assert!(!lost, "{findings:?}");
        only(&found, hosts, never);
    }
    let plain = "machine: {registries: {mirrors: {docker.io: {endpoints: ['https://a.lan']}}}}\n";
    for patch in [
        "machine: {registries: {mirrors: {docker.io: {skipFallback: true}}}}\n",
        "- {op: add, path: /machine/registries/mirrors/docker.io/skipFallback, value: true}\n",
    ] {
        let (found, lost, findings) = layered(plain, &[patch]);
        assert!(!lost && !findings.iter().any(|text| text.starts_with("E106")), "{findings:?}");
        only(&found, &[a], true);
    }
}

#[test]
fn what_a_patch_deletes_of_earlier_ones_is_gone() {
    let first = "machine:\n  registries:\n    mirrors:\n      docker.io: {endpoints: [https://a.lan]}\n      quay.io: {endpoints: [https://q.lan]}\n";
    let set = "machine: {registries: {mirrors: {docker.io: {endpoints: ['https://b.lan']}}}}\n";
    for (delete, quay) in [
        ("machine: {registries: {mirrors: {docker.io: {$patch: delete}}}}\n", true),
        ("machine: {registries: {mirrors: {docker.io: {endpoints: {$patch: delete}}}}}\n", true),
        ("- {op: remove, path: /machine/registries/mirrors/docker.io}\n", true),
        ("machine: {registries: {mirrors: {$patch: delete}}}\n", false),
        ("machine: {registries: {$patch: delete}}\n", false),
    ] {
        let (found, lost, findings) = layered(first, &[delete, set]);
        assert!(
            !lost && !found.contains("https://a.lan") && found.contains("https://b.lan"),
            "{found}{findings:?}"
        );
        assert_eq!(found.contains("https://q.lan"), quay, "{delete}: {found}");
        assert!(!findings.iter().any(|text| text.starts_with("W230")), "{findings:?}");
    }
    // What is no mirror stays, and that is told.
    let first = "machine: {registries: {mirrors: {docker.io: {endpoints: ['https://a.lan']}}, config: {a.lan: {auth: {username: u, password: p}}}}}\n";
    for delete in [
        "machine: {registries: {config: {a.lan: {$patch: delete}}}}\n",
        "machine: {registries: {config: {a.lan: {auth: {$patch: delete}}}}}\n",
    ] {
        let (_, lost, findings) = layered(first, &[delete]);
        assert!(lost && findings.iter().any(|text| text.contains("the deletion of")), "{findings:?}");
    }
    // Nothing of its own is deleted: it is for what the nodes have.
    let (_, lost, findings) =
        layered(set, &["machine: {registries: {mirrors: {gcr.io: {$patch: delete}}}}\n"]);
    assert!(!lost && findings[0].starts_with("W230"), "{findings:?}");
}
