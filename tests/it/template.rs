//! What `talmirror template` writes is what a cluster, a machine or a CI takes.

use std::collections::BTreeSet;

use regex::Regex;

use crate::run::{Place, repository};

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The folders of `examples/` are what the command writes; `UPDATE_GOLDEN=1` writes them again.
#[test]
fn examples_are_what_the_templates_give() {
    for (folder, command) in [
        ("deploy/statefulset", "template statefulset"),
        ("deploy/daemonset", "template daemonset"),
        ("deploy/cache-replicas", "template cache-replicas"),
        ("deploy/monitoring", "template monitoring"),
        ("deploy/flux", "template statefulset --kind flux --set repository=https://git.example/cluster"),
        ("deploy/argo", "template statefulset --kind argo --set repository=https://git.example/cluster"),
        ("deploy/harbor", "template harbor"),
        ("deploy/harbor", "template harbor --kind flux"),
        ("deploy/harbor", "template harbor --kind argo --set storage-class=fast"),
        ("deploy/harbor-policy", "template harbor-networkpolicy"),
        ("deploy/harbor-policy/cilium", "template harbor-ciliumpolicy"),
        ("deploy/systemd", "template systemd"),
        ("deploy/compose", "template compose"),
        ("ci", "template github"),
        ("ci", "template gitlab"),
    ] {
        let place = Place::new();
        place.run(&format!("{command} --output-dir out")).ok();
        let files: Vec<String> = place.files().into_iter().filter(|file| file.starts_with("out/")).collect();
        assert!(!files.is_empty());
        for file in files {
            let name = file.strip_prefix("out/").unwrap();
            let example = repository("examples").join(folder).join(name);
            let text = place.read(&file);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::create_dir_all(example.parent().unwrap()).unwrap();
                std::fs::write(&example, &text).unwrap();
            }
            let there = std::fs::read_to_string(&example).unwrap_or_default();
            assert!(there == text, "{} is not what {command} gives", example.display());
        }
    }
}

#[test]
fn one_stream_without_a_folder() {
    let out = Place::new().run("template statefulset --set storage-class=fast --set replicas=3").ok();
    assert!(out.starts_with("# namespace.yaml\napiVersion: v1\nkind: Namespace\n"), "{out}");
    assert!(out.contains("\n---\n# statefulset.yaml\napiVersion: apps/v1\n"), "{out}");
    assert!(out.contains("storageClassName: fast\n") && out.contains("replicas: 3\n"), "{out}");
    assert!(!out.contains("kustomize.config.k8s.io"), "{out}");
    let out = Place::new().run("template statefulset").ok();
    assert!(!out.contains("storageClassName"), "the cluster's default: {out}");
}

#[test]
fn replicas_of_one_zone() {
    let own =
        "template cache-replicas --set zone=a --set endpoint=https://rgw.example --set bucket=s3://images/a";
    let out = Place::new().run(own).ok();
    for want in
        ["url: s3://images/a\n", "endpoint: https://rgw.example\n", "{topology.kubernetes.io/zone: a}\n"]
    {
        assert!(out.contains(want), "{want}: {out}");
    }
    let out = Place::new().run("template cache-replicas").ok();
    assert!(!out.contains("topology.kubernetes.io/zone") && !out.contains("endpoint:"), "{out}");
    assert!(
        out.contains("serviceName: talmirror-cache-peers\n") && out.contains("name: talmirror-cache-peers\n"),
        "{out}"
    );
}

#[test]
fn what_is_wrong_is_said() {
    let run = |command: &str| Place::new().run(command).ends(2).stderr;
    insta::assert_snapshot!(run("template statefulset --set replica=3"), @"
    error: template statefulset has no setting `replica`
    help: its settings are namespace, image, cap, size, storage-class, replicas, node-port, monitoring-namespace
    ");
    insta::assert_snapshot!(run("template daemonset --set port=http"), @"
    error: `http` is not a valid port: it is a port from 1 to 65535
    ");
    insta::assert_snapshot!(run("template systemd --kind flux"), @"
    error: template systemd is not for a cluster, so neither Flux nor Argo CD applies it
    help: leave --kind out
    ");
}

/// Flux and Argo CD install the chart with the same values that are written alone.
#[test]
fn a_chart_has_one_set_of_values() {
    let run = |kind: &str| Place::new().run(&format!("template harbor {kind} --set storage-class=fast")).ok();
    let parse = |text: &str| {
        talmirror::yaml::parse(text)
            .unwrap()
            .documents
            .into_iter()
            .map(|one| one.root.to_json())
            .collect::<Vec<_>>()
    };
    let values = parse(&run("--kind values")).remove(0);
    assert_eq!(values["persistence"]["persistentVolumeClaim"]["registry"]["storageClass"], "fast");
    assert_eq!(run(""), run("--kind values"));
    let kinds = |objects: &[serde_json::Value]| -> Vec<String> {
        objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
    };
    let flux = parse(&run("--kind flux"));
    assert_eq!(kinds(&flux), ["Namespace", "HelmRepository", "HelmRelease"]);
    assert_eq!(flux[2]["spec"]["values"], values);
    let argo = parse(&run("--kind argo"));
    assert_eq!(kinds(&argo), ["Namespace", "Application"]);
    assert_eq!(argo[1]["spec"]["source"]["helm"]["valuesObject"], values);
    insta::assert_snapshot!(Place::new().run("template harbor --kind kubernetes").ends(2).stderr, @r"
    error: template harbor is a Helm chart, which kubectl does not apply
    help: name --kind values, flux or argo
    ");
    insta::assert_snapshot!(Place::new().run("template compose --kind values").ends(2).stderr, @r"
    error: template compose is not a Helm chart and has no values
    help: leave --kind out
    ");
}

#[test]
fn files_of_others_are_not_replaced() {
    let place = Place::new();
    place.write("out/compose.yaml", "services: {}\n");
    let ran = place.run("template compose --output-dir out").ends(3);
    assert!(
        ran.stderr.contains("`out/compose.yaml` already exists with other content; nothing was written"),
        "{ran}"
    );
    assert_eq!(place.read("out/compose.yaml"), "services: {}\n");
    place.run("template compose --output-dir out --force").ok();
    let ran = place.run("template compose --output-dir out").ran();
    assert!(ran.stderr.contains("unchanged  out/compose.yaml"), "{ran}");
}

/// Every configuration of the cache in the templates is one that the cache takes without a word.
#[test]
fn the_cache_takes_its_configurations() {
    let mut seen = 0;
    for command in ["statefulset", "cache-replicas", "daemonset", "systemd", "compose"] {
        let text = Place::new().run(&format!("template {command}")).ok();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in
            lines.iter().enumerate().filter(|(_, line)| line.trim() == "apiVersion: talmirror/v1")
        {
            let indent = line.len() - line.trim_start().len();
            let config: String = lines[at..]
                .iter()
                .take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent)
                .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
                .collect();
            let parsed = talmirror::cache::config::parse(&config, "cache.yaml", std::path::Path::new("/"));
            assert!(parsed.problems.is_empty(), "{command}: {:?}\n{config}", parsed.problems);
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}

/// Alerts and the dashboard ask for metrics that there are.
#[test]
fn metrics_exist() {
    let out = Place::new().run("template monitoring").ok();
    let sources: String = std::fs::read_dir(repository("src/cache/observe"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let names: BTreeSet<String> = Regex::new(r"\btalmirror_cache_(\w+)")
        .unwrap()
        .captures_iter(&out)
        .map(|found| {
            let name = found[1].trim_end_matches("_total");
            name.trim_end_matches("_bytes").trim_end_matches("_seconds").to_owned()
        })
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("\"{name}\"")), "no metric is called talmirror_cache_{name}");
    }
}

#[test]
fn the_list_is_complete() {
    let list = Place::new().run("template -o json").ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    let want = [
        "statefulset",
        "cache-replicas",
        "daemonset",
        "monitoring",
        "harbor",
        "harbor-networkpolicy",
        "harbor-ciliumpolicy",
        "systemd",
        "compose",
        "github",
        "gitlab",
    ];
    assert_eq!(names, want);
    let table = Place::new().run("template").ok();
    for name in names {
        assert!(table.lines().any(|line| line.split_whitespace().next() == Some(name)), "{table}");
    }
}

/// systemd itself finds nothing wrong with the unit, and little that it may do.
#[test]
fn systemd_takes_the_unit() {
    let verify = |arguments: &[&str]| std::process::Command::new("systemd-analyze").args(arguments).output();
    if verify(&["--version"]).is_err() {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    }
    let place = Place::new();
    place.run("template systemd --set binary=/bin/true --output-dir .").ok();
    let unit = place.path("talmirror-cache.service");
    let ran = verify(&["verify", "--man=no", unit.to_str().unwrap()]).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.is_empty(), "{said}");
    let ran = verify(&["security", "--offline=yes", "--threshold=20", unit.to_str().unwrap()]).unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(read("templates/deploy/systemd/talmirror-cache.service").contains("ProtectSystem=strict"));
}
