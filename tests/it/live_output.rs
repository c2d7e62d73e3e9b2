//! What `talosctl get machineconfig` prints, and configs in braces, for commands that work on files.

use crate::run::Place;

const INVENTORY: &str = "apiVersion: talmirror/v1\nkind: Inventory\nmirrors:\n  m: {kind: cache, url: 'https://c.example'}\nregistries:\n  docker.io: {via: [m]}\nnodes:\n  n1: {address: 10.0.0.1}\n  n2: {address: 10.0.0.2, registries: {ghcr.io: {via: [m]}}}\n";

fn config(host: &str) -> String {
    format!(
        "version: v1alpha1 # ours\nmachine:\n    type: worker\n    registries:\n        mirrors:\n            docker.io:\n                endpoints:\n                    - https://{host}\ncluster: {{}}\n"
    )
}

/// Two nodes, each with its active config and the one on disk, as talosctl prints them.
fn yaml() -> String {
    let mut out = String::new();
    for (node, host) in [("10.0.0.1", "c.example"), ("10.0.0.2", "old.example")] {
        for (id, host) in [("persistent", "disk.example"), ("v1alpha1", host)] {
            let indented = config(host).trim_end().replace('\n', "\n    ");
            out.push_str(&format!("node: {node}\nmetadata:\n    namespace: config\n    type: MachineConfigs.config.talos.dev\n    id: {id}\nspec: |\n    {indented}\n---\n"));
        }
    }
    out
}

fn json() -> String {
    let of = |node: &str, host: &str| {
        let value = serde_json::json!({
            "node": node,
            "metadata": {"namespace": "config", "type": "MachineConfigs.config.talos.dev", "id": "v1alpha1"},
            "spec": config(host),
        });
        format!("{value:#}\n")
    };
    of("10.0.0.1", "c.example") + &of("10.0.0.2", "old.example")
}

fn place() -> Place {
    let place = Place::new();
    place.write("mirrors.yaml", INVENTORY).write("mc.yaml", yaml()).write("mc.json", json());
    place
}

#[test]
fn several_nodes_are_compared_each_with_its_own() {
    let place = place();
    for file in ["mc.yaml", "mc.json"] {
        let ran = place.run(&format!("diff --against {file} --talos-version v1.11")).ends(1);
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.to_string().replace(file, "FILE"), @r"
            FILE: 10.0.0.1
            FILE: 10.0.0.2
              ~ docker.io  endpoints[0]  https://old.example → https://c.example
              + ghcr.io  endpoints[0] https://c.example
            --- stderr
            FILE: 10.0.0.1: 0 differences
            FILE: 10.0.0.2: 2 differences
            --- exit 1
            ");
        }
        let object: serde_json::Value =
            serde_json::from_str(&place.run(&format!("diff --against {file} -o json")).ends(1).stdout)
                .unwrap();
        assert_eq!((&object["kind"], object["items"].as_array().unwrap().len()), (&"DiffList".into(), 2));
        place.run(&format!("diff --against {file} -n n1")).ok();
        place.run(&format!("diff --against {file} -n n2")).ends(1);
        let ran = place.run("diff --against -").stdin(place.read(file)).ends(1);
        assert!(ran.stdout.contains("<stdin>: 10.0.0.2"), "{ran}");
        place.run(&format!("import {file}")).ok();
    }
}

#[test]
fn a_patch_is_for_one_node() {
    let place = place();
    for file in ["mc.yaml", "mc.json"] {
        let ran = place.run(&format!("generate --against {file} --talos-version v1.11")).ends(2);
        assert!(ran.stderr.contains("n1, n2") && ran.stderr.contains("--node"), "{ran}");
        let ran = place.run(&format!("generate --against {file} --talos-version v1.11 -n n1")).ends(0);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("nothing to change"), "{ran}");
        let patch = place.run(&format!("generate --against {file} --talos-version v1.11 -n n2")).ok();
        assert!(patch.contains("https://c.example") && patch.contains("ghcr.io"), "{patch}");
        let patched = place.run(&format!("machineconfig patch {file} -n n2 --talos-version v1.11")).ok();
        assert!(patched.starts_with("version: v1alpha1 # ours\nmachine:\n    type: worker\n"), "{patched}");
        assert!(!patched.contains("old.example") && !patched.contains("metadata"), "{patched}");
        let before = place.read(file);
        let ran = place.run(&format!("machineconfig patch --in-place {file} -n n2")).ends(2);
        assert!(ran.stderr.contains("not a machine config") && place.read(file) == before, "{ran}");
    }
}

/// All nodes have the settings of an inventory that lists none: which config is meant, the output itself says.
#[test]
fn nodes_that_no_inventory_lists_are_named_by_what_talosctl_prints() {
    let place = place();
    place.write(
        "all.yaml",
        "apiVersion: talmirror/v1\nkind: Inventory\nmirrors: {c: {kind: cache, url: 'https://c.example'}}\nregistries: {ghcr.io: {via: [c]}}\n",
    );
    for file in ["mc.yaml", "mc.json"] {
        for command in [format!("generate --against {file}"), format!("machineconfig patch {file}")] {
            let ran = place.run(&format!("{command} -f all.yaml")).ends(2);
            assert!(ran.stderr.contains("name one of them with --nodes"), "{ran}");
            let patch = place.run(&format!("{command} -f all.yaml -n 10.0.0.2")).ok();
            assert!(patch.contains("https://c.example"), "{patch}");
            let ran = place.run(&format!("{command} -f all.yaml -n 10.0.0.9")).ends(2);
            assert!(ran.stderr.contains("none of the machine configs is of the node `10.0.0.9`"), "{ran}");
        }
    }
}

#[test]
fn configs_in_json_and_in_braces_are_patched() {
    let place = place();
    let patch = |text: &str, flags: &str| {
        place.write("c.yaml", text);
        let line = format!("machineconfig patch --in-place c.yaml -n n1 {flags}");
        place.run(&line).ends(0);
        let new = place.read("c.yaml");
        place.run(&format!("diff --against c.yaml -n n1 {flags}")).ok();
        place.run(&line).ok();
        assert_eq!(place.read("c.yaml"), new, "a second time changes nothing");
        new
    };
    let old = "--talos-version v1.11";
    let pretty = "{\n  \"version\": \"v1alpha1\",\n  \"machine\": {\n    \"type\": \"worker\",\n    \"sysctls\": {}\n  }\n}\n";
    insta::assert_snapshot!(patch(pretty, old), @r#"
    {
      "version": "v1alpha1",
      "machine": {
        "type": "worker",
        "sysctls": {},
        "registries": {
          "mirrors": {
            "docker.io": {
              "endpoints": [
                "https://c.example"
              ]
            }
          }
        }
      }
    }
    "#);
    assert!(serde_json::from_str::<serde_json::Value>(&place.read("c.yaml")).is_ok());
    let one_line = "version: v1alpha1\nmachine: {type: worker, registries: {mirrors: {quay.io: {endpoints: ['https://q.example']}}}, sysctls: {a: b}} # ours\n";
    insta::assert_snapshot!(
        patch(one_line, old),
        @r#"
    version: v1alpha1
    machine: {type: worker, registries: {"mirrors":{"docker.io":{"endpoints":["https://c.example"]}}}, sysctls: {a: b}} # ours
    "#
    );
    for text in [
        "{version: v1alpha1, machine: {type: worker}}\n",
        "{version: v1alpha1, machine: {type: worker,}}\n",
        "{machine: {}, version: v1alpha1}",
        "machine: {type: worker}\n",
        "{\"version\": \"v1alpha1\", \"cluster\": {}}\n",
        "{version: v1alpha1, machine: null}\n",
        "{version: v1alpha1, machine: }\n",
        "{version: v1alpha1, machine: {registries: , type: worker}}\n",
        "machine: {registries: {mirrors: {a.example: {endpoints: ['https://q.example']}}}}\n",
    ] {
        patch(text, old);
        patch(text, "--talos-version v1.14");
    }
    // Registries in the old form go where documents take their place.
    let moved = patch(one_line, "--talos-version v1.14");
    assert!(
        moved.starts_with("version: v1alpha1\nmachine: {type: worker, sysctls: {a: b}} # ours\n---\n"),
        "{moved}"
    );
}
