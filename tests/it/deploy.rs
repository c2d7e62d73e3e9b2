//! What users do with templates, done as they are told to: the blocks of docs/deploy.md, and what CI runs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use crate::run::{Place, repository};
use crate::whole_examples::copy;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs a script beside the programs of this version, and no others but the system's.
fn bash(place: &Place, options: &[&str], script: &str, env: &[(&str, &str)]) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_talmirror")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", place.path("shims").display(), binary.display());
    Command::new("bash")
        .args(options)
        .args(["-c", script])
        .current_dir(place.path(""))
        .env_clear()
        .env("HOME", place.path(""))
        .env("PATH", path)
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn shim(place: &Place, name: &str, text: &str) {
    let file = format!("shims/{name}");
    place.write(&file, format!("#!/bin/bash\nset -eu\n{text}\n"));
    std::fs::set_permissions(place.path(&file), std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn documents(text: &str) -> Vec<Value> {
    let stream = talmirror::yaml::parse(text).unwrap();
    stream.documents.into_iter().map(|one| one.root.to_json()).collect()
}

/// The blocks of docs/deploy.md one after the other, as they are written; a machine's folders are below `root`.
#[test]
fn the_page_is_done_as_it_is_written() {
    let place = Place::new();
    let root = place.path("root").display().to_string();
    std::fs::create_dir_all(place.path("root/etc/systemd/system")).unwrap();
    shim(&place, "sudo", "exec \"$@\"");
    // The last of its arguments is a place of the machine.
    shim(&place, "install", &format!("exec /usr/bin/install \"${{@:1:$#-1}}\" \"{root}${{!#}}\""));
    shim(
        &place,
        "systemctl",
        &format!("[ \"$1\" = daemon-reload ] || test -e \"{root}/etc/systemd/system/${{!#}}.service\""),
    );
    // What is applied is there; a Secret is made in a namespace that was.
    shim(
        &place,
        "kubectl",
        "case $* in\n\
         'apply -k '*) test -e \"$3/kustomization.yaml\" ;;\n\
         'apply -f '*) sed -n 's/^    name: //p' \"$3\" >>\"$HOME/namespaces\" ;;\n\
         '-n '*' create secret generic '*) grep -qx \"$2\" \"$HOME/namespaces\" ;;\n\
         *) exit 1 ;;\nesac",
    );
    shim(&place, "docker", "[ \"$1 $2\" = 'compose --project-directory' ]; test -e \"$3/compose.yaml\"");
    let page = std::fs::read_to_string(repository("docs/deploy.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6, "{blocks:?}");
    for block in blocks {
        let block: String = block
            .lines()
            .filter(|line| !needs_a_cluster(line))
            .fold(String::new(), |all, line| all + line + "\n");
        let ran = bash(&place, &["-eu"], &block, &[]);
        assert!(ran.status.success(), "{block}\n{}", said(&ran));
    }

    // The unit reads the configuration that lies where it was put.
    let unit = place.read("root/etc/systemd/system/talmirror-cache.service");
    let config = unit.lines().find_map(|line| line.split_once(" serve --config ")).unwrap().1;
    assert!(place.path("root").join(config.trim_start_matches('/')).exists(), "{config}");
    // Every object of Flux has a name of its own, and the path of a Kustomization leads to manifests.
    let (mut names, mut seen) = (std::collections::BTreeSet::new(), 0);
    for file in place.files().iter().filter(|file| file.starts_with("flux/")) {
        for object in documents(&place.read(file)) {
            assert!(names.insert(format!("{} {}", object["kind"], object["metadata"]["name"])), "{names:?}");
            if let Some(path) = object["spec"]["path"].as_str() {
                assert!(place.path(path).join("kustomization.yaml").exists(), "{path}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4, "daemonset, monitoring and two zones: {names:?}");
}

/// `scan` asks nodes.
fn needs_a_cluster(line: &str) -> bool {
    line.starts_with("talmirror scan")
}

/// Serves files below `/vVERSION/` until the tests end: what a release has.
fn release(files: Vec<(String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
            let wanted =
                files.iter().find(|(name, _)| line.starts_with(&format!("GET /v{VERSION}/{name} HTTP/")));
            let (status, body) =
                wanted.map_or(("404 Not Found", &[][..]), |(_, body)| ("200 OK", body.as_slice()));
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that has gone away is that client's business.
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        }
    });
    format!("http://{address}")
}

/// The tarball of a release with the program of this version, and the checksums as `sha256sum *` prints them.
fn files_of_a_release() -> Vec<(String, Vec<u8>)> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(make_a_release).clone()
}

fn make_a_release() -> Vec<(String, Vec<u8>)> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let (place, folder) = (Place::new(), format!("talmirror-{VERSION}-linux-{arch}"));
    std::fs::create_dir_all(place.path(&folder)).unwrap();
    // A copy of it would be some hundred MiB: a link is followed into the tarball, which need not be small.
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_talmirror"), place.path(&folder).join("talmirror"))
        .unwrap();
    let made = bash(
        &place,
        &["-eu"],
        &format!(
            "tar --create --dereference {folder} | gzip -1n >{folder}.tar.gz; echo other >talmirror-{VERSION}.cdx.json; \
             sha256sum -- *.tar.gz *.json >SHA256SUMS"
        ),
        &[],
    );
    assert!(made.status.success(), "{}", said(&made));
    let tarball = format!("{folder}.tar.gz");
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    vec![(tarball.clone(), read(&tarball)), ("SHA256SUMS".to_owned(), read("SHA256SUMS"))]
}

/// Writes a template of CI into a copy of the example, for a server of releases, and returns the file.
fn pipeline(name: &str, releases: &str) -> (Place, Value) {
    let place = copy("home-ops");
    place.run(&format!("template {name} --set releases={releases} --output-dir . --force")).ok();
    let file = if name == "github" { ".github/workflows/talmirror.yaml" } else { ".gitlab-ci.yml" };
    let parsed = documents(&place.read(file)).remove(0);
    (place, parsed)
}

fn without_the_built_program(script: &str) -> String {
    // What is installed is what runs: the folder of cargo's programs is not looked into.
    format!("PATH=/usr/bin:/bin\n{script}")
}

/// GitHub runs each step by itself, `bash -e` on its lines, and hands paths on by a file.
#[test]
fn the_workflow_of_github_runs_as_it_is() {
    let files = files_of_a_release();
    let (place, workflow) = pipeline("github", &release(files.clone()));
    place.write("temp/.keep", "").write("path", "");
    let temp = place.path("temp").display().to_string();
    let handed = place.path("path").display().to_string();
    let key = place.path("keys.txt").display().to_string();
    let steps = workflow["jobs"]["check"]["steps"].as_array().unwrap();
    let env = [
        ("RUNNER_TEMP", temp.as_str()),
        ("GITHUB_PATH", handed.as_str()),
        ("SOPS_AGE_KEY_FILE", key.as_str()),
    ];
    let scripts: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert_eq!(scripts.len(), 3);
    for script in &scripts {
        let more: String = place.read("path").lines().map(|path| format!("PATH={path}:$PATH\n")).collect();
        let ran = bash(&place, &["-e"], &without_the_built_program(&format!("{more}{script}")), &env);
        assert!(ran.status.success(), "{script}\n{}", said(&ran));
    }
    assert!(place.read("path").contains(&format!("/talmirror-{VERSION}-linux-")), "{}", place.read("path"));

    // Nothing of a tarball that is not the one of the checksums is unpacked, and none is no reason to go on.
    let (mut other, mut unnamed) = (files.clone(), files);
    other[0].1.push(0);
    unnamed[1].1 = b"0000  another\n".to_vec();
    for files in [other, unnamed] {
        let (place, workflow) = pipeline("github", &release(files));
        place.write("temp/.keep", "").write("path", "");
        let temp = place.path("temp").display().to_string();
        let install = workflow["jobs"]["check"]["steps"][1]["run"].as_str().unwrap();
        let handed = place.path("path").display().to_string();
        let ran = bash(
            &place,
            &["-e"],
            install,
            &[("RUNNER_TEMP", temp.as_str()), ("GITHUB_PATH", handed.as_str())],
        );
        assert!(!ran.status.success(), "{}", said(&ran));
        assert_eq!(place.read("path"), "");
        assert!(place.files().iter().all(|file| !file.ends_with("/talmirror")), "{:?}", place.files());
    }
}

/// GitLab runs `before_script` and `script` in one shell, and stops at the first line that fails.
#[test]
fn the_pipeline_of_gitlab_runs_as_it_is() {
    let lines = |value: &Value| -> String {
        value.as_array().unwrap().iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect()
    };
    let files = files_of_a_release();
    let (place, pipeline_file) = pipeline("gitlab", &release(files.clone()));
    let key = place.path("keys.txt").display().to_string();
    let before = lines(&pipeline_file["default"]["before_script"]);
    for job in ["talmirror-validate", "talmirror-check"] {
        let script = without_the_built_program(&(before.clone() + &lines(&pipeline_file[job]["script"])));
        let ran = bash(&place, &["-eo", "pipefail"], &script, &[("SOPS_AGE_KEY_FILE", &key)]);
        assert!(ran.status.success(), "{script}\n{}", said(&ran));
    }
    // Where there is no key there is no such job, in a branch and in a merge request.
    assert_eq!(pipeline_file["talmirror-check"]["rules"], serde_json::json!([{"if": "$SOPS_AGE_KEY"}]));
    let mut other = files;
    other[0].1.push(0);
    let (place, pipeline_file) = pipeline("gitlab", &release(other));
    let script = lines(&pipeline_file["default"]["before_script"]) + "echo installed\n";
    let ran = bash(&place, &["-eo", "pipefail"], &script, &[]);
    assert!(!ran.status.success() && !said(&ran).contains("installed\n"), "{}", said(&ran));
}

/// Actions are named by their commits, and by those that the release trusts.
#[test]
fn actions_are_named_by_commits() {
    let ours = std::fs::read_to_string(repository(".github/workflows/release.yml")).unwrap();
    let workflow = Place::new().run("template github").ok();
    let uses: Vec<&str> =
        workflow.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action).collect();
    assert!(!uses.is_empty());
    for action in uses {
        let commit = action.split_once('@').unwrap().1.split(' ').next().unwrap();
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action}");
        assert!(ours.contains(action), "{action} is not what the release uses");
    }
}

/// Two templates in one repository have neither a file nor an object in common.
#[test]
fn templates_of_one_repository_do_not_meet() {
    for kind in ["flux", "argo"] {
        let place = Place::new();
        let names = [
            "statefulset",
            "cache-replicas",
            "daemonset",
            "monitoring",
            "harbor-networkpolicy",
            "harbor-ciliumpolicy",
        ];
        for name in names {
            place.run(&format!("template {name} --kind {kind} --output-dir .")).ok();
        }
        let mut objects: Vec<String> = Vec::new();
        for file in place.files().iter().filter(|file| file.starts_with(kind)) {
            let of_file = documents(&place.read(file));
            objects.extend(
                of_file.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])),
            );
        }
        let all = objects.len();
        objects.sort();
        objects.dedup();
        assert_eq!(objects.len(), all, "{objects:?}");
        assert_eq!(all, names.len() * if kind == "flux" { 2 } else { 1 });
    }
    // A name of one's own is that of the file, of the objects and of the folder.
    let place = Place::new();
    place.run("template statefulset --kind flux --set name=mirrors --output-dir .").ok();
    assert!(place.files().contains(&"apps/mirrors/kustomization.yaml".to_owned()), "{:?}", place.files());
    let objects = documents(&place.read("flux/mirrors.yaml"));
    assert!(objects.iter().all(|object| object["metadata"]["name"] == "mirrors"));
    assert_eq!(objects[1]["spec"]["sourceRef"]["name"], "mirrors");
    assert_eq!(objects[1]["spec"]["path"], "./apps/mirrors");
}

/// Flux opens a repository that is not public with a Secret.
#[test]
fn flux_reads_what_is_not_public() {
    let secret = |settings: &str| {
        let text = Place::new().run(&format!("template daemonset --kind flux {settings}")).ok();
        let objects = documents(&text);
        let source = objects.iter().find(|object| object["kind"] == "GitRepository").unwrap();
        source["spec"]["secretRef"].clone()
    };
    assert_eq!(secret(""), Value::Null);
    let ssh = "--set repository=ssh://git@git.example/cluster";
    assert_eq!(
        secret(&format!("{ssh} --set git-secret=flux-system")),
        serde_json::json!({"name": "flux-system"})
    );
    insta::assert_snapshot!(Place::new().run(&format!("template daemonset --kind flux {ssh}")).ends(2).stderr, @r"
    error: Flux reads `ssh://git@git.example/cluster` with a key, and no Secret with one is named
    help: make one by `flux create secret git talmirror-git --url=ssh://git@git.example/cluster`, and name it: --set git-secret=talmirror-git
    ");
    // Argo CD finds credentials by the repository's address.
    Place::new().run(&format!("template daemonset --kind argo {ssh}")).ok();
    Place::new().run("template daemonset --kind argo --set git-secret=x").ends(2);
}

/// Compose copies what stands in its own file into the container, which a read-only root does not take; a file is mounted.
#[test]
fn compose_mounts_the_configuration() {
    let place = Place::new();
    place.run("template compose --output-dir .").ok();
    let file = documents(&place.read("compose.yaml")).remove(0);
    let service = &file["services"]["talmirror-cache"];
    assert_eq!(service["read_only"], true);
    for own in service["configs"].as_array().unwrap() {
        let config = &file["configs"][own["source"].as_str().unwrap()];
        assert_eq!(config["content"], Value::Null, "{config}");
        assert!(place.path(config["file"].as_str().unwrap()).exists(), "{config}");
        assert_eq!(service["environment"]["TALMIRROR_CACHE_CONFIG"], own["target"]);
    }
    let ran = place.run("template compose").ran();
    assert!(
        ran.stdout.starts_with("# compose.yaml\n") && ran.stdout.contains("\n# talmirror-cache.yaml\n"),
        "{ran}"
    );
    assert_eq!(ran.stderr, "these are 2 files: --output-dir writes each under its name\n");
}

/// The port of a bucket's store is open to the replicas.
#[test]
fn replicas_reach_their_bucket() {
    let ports = |settings: &str| {
        let text = Place::new().run(&format!("template cache-replicas {settings}")).ok();
        let objects = documents(&text);
        let policy = objects.iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
        let last = policy["spec"]["egress"].as_array().unwrap().last().unwrap();
        assert_eq!(last["to"], Value::Null);
        last["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["port"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    for (settings, want) in [
        ("", &[443][..]),
        ("--set endpoint=https://rgw.example", &[443]),
        ("--set endpoint=https://rgw.example:8443", &[443, 8443]),
        ("--set endpoint=http://10.0.0.1", &[443, 80]),
        ("--set endpoint=http://[fd00::1]:7480", &[443, 7480]),
        ("--set endpoint=http://rgw.rook.svc --set bucket-port=8080", &[443, 8080]),
        ("--set endpoint=https://rgw.example:8443 --set bucket-port=443", &[443]),
    ] {
        assert_eq!(ports(settings), want, "{settings}");
    }
}

/// Argo CD compares with what the API server gives back, which has these filled in.
#[test]
fn claims_are_written_in_full() {
    for name in ["statefulset", "cache-replicas"] {
        let objects = documents(&Place::new().run(&format!("template {name}")).ok());
        let set = objects.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
        for claim in set["spec"]["volumeClaimTemplates"].as_array().unwrap() {
            assert_eq!(claim["apiVersion"], "v1");
            assert_eq!(claim["kind"], "PersistentVolumeClaim");
            assert_eq!(claim["spec"]["volumeMode"], "Filesystem");
        }
    }
}

/// A command in the pod finds the configuration that the server reads.
#[test]
fn commands_in_the_pod_find_the_configuration() {
    for name in ["statefulset", "cache-replicas", "daemonset"] {
        let objects = documents(&Place::new().run(&format!("template {name}")).ok());
        let set = objects.iter().find(|object| object["spec"]["template"].is_object()).unwrap();
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let variable =
            container["env"].as_array().unwrap().iter().find(|own| own["name"] == "TALMIRROR_CACHE_CONFIG");
        let path = variable.unwrap()["value"].as_str().unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap())), "{path}");
    }
}

/// What Prometheus' operator is told to look for by a label has it.
#[test]
fn the_label_of_a_release() {
    let labels = |settings: &str| -> Vec<Value> {
        let objects = documents(&Place::new().run(&format!("template monitoring {settings}")).ok());
        let own = objects.iter().filter(|object| object["apiVersion"] == "monitoring.coreos.com/v1");
        own.map(|object| object["metadata"]["labels"]["release"].clone()).collect()
    };
    assert_eq!(labels(""), [Value::Null, Value::Null]);
    assert_eq!(labels("--set release=kps"), ["kps", "kps"]);
}

/// A hit is every outcome but a download of one's own, and an answer about no object is not counted.
#[test]
fn the_ratio_of_hits_knows_every_outcome() {
    use talmirror::cache::observe::Outcome;
    let out = Place::new().run("template monitoring").ok();
    let found = regex::Regex::new(r#"outcome=~\\"([a-z|]+)\\""#).unwrap().captures(&out).unwrap();
    let mut hits: Vec<&str> = found[1].split('|').collect();
    hits.sort_unstable();
    let mut want: Vec<&str> = Outcome::ALL
        .into_iter()
        .filter(|outcome| !matches!(outcome, Outcome::Miss | Outcome::None))
        .map(Outcome::as_str)
        .collect();
    want.sort_unstable();
    assert_eq!(hits, want);
    assert_eq!(
        out.matches(r#"kind=~\"manifest|blob\", outcome"#).count(),
        2,
        "of both parts of the fraction"
    );
    assert!(out.contains(r#"outcome!=\"none\""#));
}
