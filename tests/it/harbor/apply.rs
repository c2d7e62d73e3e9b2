//! What `apply` does.

use super::{
    Harbor, ORIGIN, ROBOT, SMALL, Version, applied, credentials, named, place, ran, settle, settled,
};
use crate::run::golden;

#[test]
fn the_origin_in_one_command() {
    for version in Version::ALL {
        let harbor = Harbor::new(version);
        let place = place(&harbor, ORIGIN);
        let applied = ran(&harbor, &place, "apply --yes", 0);
        settled(&harbor, &place);
        let state = harbor.state();
        assert_eq!(
            (state.registries.len(), state.projects.len(), state.robots.len()),
            (7, 8, 1),
            "{applied}"
        );
        let robot = state.robots.values().next().unwrap();
        assert_eq!(robot.permissions.as_array().unwrap().len(), 7);
        assert!(state.registries.values().all(|registry| registry.kind != "quay"));
        drop(state);
        let generated = place.run("generate -q").env("SOPS_AGE_KEY_FILE", "keys.txt").ends(0);
        assert!(generated.stdout.contains(&format!("username: {ROBOT}")), "{}", generated.stderr);
        if version == Version::V2_15_2 {
            golden("harbor/origin.applied.txt", &named(&harbor, &applied.to_string()));
        }
    }
}

#[test]
fn again_is_nothing_and_every_difference_is_put_right() {
    let (harbor, place) = applied(SMALL);
    let before = harbor.changes().len();
    let again = ran(&harbor, &place, "apply --yes", 0);
    assert!(again.stderr.ends_with("nothing to do\n"), "{again}");
    assert_eq!(harbor.changes().len(), before);
    let picture = harbor.state().picture();
    {
        let mut state = harbor.state();
        let registry = state.registries.values_mut().next().unwrap();
        (registry.insecure, registry.credential) = (true, Some(("u".to_owned(), "p".to_owned())));
        let project = state.projects.values_mut().find(|project| project.name == "quay.io").unwrap();
        project.metadata.insert("public".to_owned(), "true".to_owned());
        for quota in state.quotas.values_mut() {
            quota.hard = if quota.project == 1 { -1 } else { 1 << 30 };
        }
        state.gc.as_mut().unwrap().cron = "0 0 5 * * *".to_owned();
        let robot = state.robots.values_mut().next().unwrap();
        (robot.disable, robot.duration, robot.secret) = (true, 30, "Else1Else1Else1".to_owned());
        robot.permissions.as_array_mut().unwrap().pop();
        let policy = state.retentions.values_mut().next().unwrap();
        policy["rules"][0]["params"]["nDaysSinceLastPull"] = 3.into();
    }
    let plan = ran(&harbor, &place, "plan", 1);
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      ~ registry    docker.io                   credentials u → anonymous, certificate checked
      ~ project     quay.io                     public → private
      ~ retention   docker.io                   3d → 90d
      ~ quota       docker.io                   1GiB → 50GiB
      ~ quota       quay.io                     1GiB → 50GiB
      ~ gc          schedule                    0 0 5 * * * → 0 0 3 * * *
      ~ robot       robot$talos-pull-kronform   switched on, never expires, pull on quay.io
    0 to create, 7 to change, 0 to delete
    ");
    settle(&harbor, &place);
    assert_eq!(harbor.state().picture(), picture);
}

#[test]
fn nothing_is_deleted_without_a_word() {
    let (harbor, place) = applied(SMALL);
    let text = place.read("mirrors.yaml").replace("[docker.io, quay.io]", "[docker.io]");
    // The MAC covers the list: the file is written again.
    place.write("mirrors.yaml", text);
    let plain = "cluster: kronform\nmirror: URL\nharbor: {retention: 90d}\nregistries: [docker.io]\n";
    let (user, password) = {
        let state = harbor.state();
        let robot = state.robots.values().next().unwrap();
        (format!("robot${}", robot.name), robot.secret.clone())
    };
    let plain = format!(
        "{}credentials: {{username: '{user}', password: {password}}}\n",
        plain.replace("URL", &harbor.url())
    );
    place.write("mirrors.yaml", plain);
    let plan = ran(&harbor, &place, "plan", 0);
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      note: robot robot$talos-pull-kronform: it may also pull from quay.io, which the inventory no longer has
          help: --prune takes them away
      note: registry quay.io: it is ours, and the inventory no longer has it
          help: --prune deletes it and its project
    nothing to do
    ");
    ran(&harbor, &place, "apply --yes", 0);
    assert_eq!(harbor.state().registries.len(), 2);
    // Not while it holds anything.
    let quay = harbor.state().project("quay.io").unwrap().0;
    harbor.state().projects.get_mut(&quay).unwrap().repositories.insert("a".to_owned(), vec![]);
    let full = ran(&harbor, &place, "plan --prune", 1);
    assert!(full.stdout.contains("holds 1 repositories"), "{full}");
    harbor.state().projects.get_mut(&quay).unwrap().repositories.clear();
    let pruned = ran(&harbor, &place, "apply --yes --prune", 0);
    insta::assert_snapshot!(pruned.stdout, @r"
    ~ robot robot$talos-pull-kronform
    - project quay.io
    - registry quay.io
    ");
    let state = harbor.state();
    assert_eq!((state.registries.len(), state.projects.len()), (1, 2));
    assert_eq!(state.robots.values().next().unwrap().permissions.as_array().unwrap().len(), 1);
}

#[test]
fn nothing_is_pruned_after_a_failure() {
    let (harbor, place) = applied(SMALL);
    let old = {
        let mut state = harbor.state();
        let (quay, _) = state.project("quay.io").map(|(id, project)| (id, project.clone())).unwrap();
        state.projects.remove(&quay);
        state.quotas.retain(|_, quota| quota.project != quay);
        state.jobservice = false;
        let mut old = state.registry("quay.io").unwrap().1.clone();
        old.name = "old.example".to_owned();
        state.registries.insert(70, old);
        70
    };
    let failed = ran(&harbor, &place, "apply --yes --prune", 5);
    assert!(failed.stderr.contains("failed: + project quay.io"), "{failed}");
    assert!(
        failed.stderr.contains(
            "warning: prune: nothing was pruned, since a change before it failed\nhelp: fix what failed, then apply again \
             with --prune\n"
        ),
        "{failed}"
    );
    let names = |harbor: &Harbor| -> Vec<String> {
        harbor.state().registries.values().map(|registry| registry.name.clone()).collect()
    };
    assert_eq!(names(&harbor), ["docker.io", "quay.io", "old.example"]);
    assert!(!harbor.changes().iter().any(|change| change.starts_with("DELETE")), "{:?}", harbor.changes());
    harbor.state().jobservice = true;
    ran(&harbor, &place, "apply --yes --prune", 0);
    assert_eq!(names(&harbor), ["docker.io", "quay.io"]);
    assert!(!harbor.state().registries.contains_key(&old));
    settled(&harbor, &place);
}

#[test]
fn one_bad_upstream_is_one_bad_upstream() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, "mirror: URL\nregistries: [docker.io, quay.io, ghcr.io]\n");
    harbor.state().dead.insert("https://quay.io".to_owned());
    let ran1 = ran(&harbor, &place, "apply --yes", 5);
    insta::assert_snapshot!(named(&harbor, &ran1.stderr), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      + registry   docker.io          docker-hub https://hub.docker.com, anonymous
      + registry   quay.io            docker-registry https://quay.io, anonymous
      + registry   ghcr.io            github-ghcr https://ghcr.io, anonymous
      + project    docker.io          proxy of docker.io, private, serves what the upstream no longer has
      + project    quay.io            proxy of quay.io, private, serves what the upstream no longer has
      + project    ghcr.io            proxy of ghcr.io, private, serves what the upstream no longer has
      + robot      robot$talos-pull   pull on docker.io, quay.io, ghcr.io, new secret, sealed into the inventory first
      warning: retention: Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: docker.io, quay.io, ghcr.io
          help: set `harbor.retention`, such as 90d
    7 to create, 0 to change, 0 to delete
    failed: + registry quay.io
    warning: retention: Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: docker.io, ghcr.io
    help: set `harbor.retention`, such as 90d
    error: cannot create registry `quay.io`: https://harbor.example/api/v2.0/registries answered 400: BAD_REQUEST the registry is unhealthy
    help: Harbor asks an upstream before it takes it: it needs DNS, a way out (its own HTTPS_PROXY) and valid credentials
    mirrors.yaml: has the robot's credentials; next: commit it, then `talmirror generate` or `talmirror rollout`
    5 changes; what failed is done by the next run
    ");
    assert_eq!(harbor.state().projects.len(), 3);
    harbor.state().dead.clear();
    settle(&harbor, &place);
    assert_eq!(harbor.state().projects.len(), 4);
}

#[test]
fn settings_that_harbor_does_not_keep_are_given_up() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, "mirror: URL\nharbor: {speedKbps: 20000}\nregistries: [docker.io]\n");
    harbor.state().drops.insert("proxy_speed_kb".to_owned());
    let applied = ran(&harbor, &place, "apply --yes", 0);
    assert!(applied.stderr.contains("does not keep"), "{applied}");
    // On a version that does not know it, it is not sent.
    let old = Harbor::new(Version::V2_9_5);
    let place = super::place(&old, "mirror: URL\nharbor: {speedKbps: 20000}\nregistries: [docker.io]\n");
    let plan = ran(&old, &place, "plan", 1);
    assert!(plan.stdout.contains("Harbor 2.9.5 does not know `speedKbps`, which came with 2.12"), "{plan}");
    settle(&old, &place);
}

#[test]
fn harbor_refuses() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, SMALL);
    harbor.state().jobservice = false;
    let ran1 = ran(&harbor, &place, "apply --yes", 5);
    insta::assert_snapshot!(named(&harbor, &ran1.stderr), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      + registry   docker.io                   docker-hub https://hub.docker.com, anonymous
      + registry   quay.io                     docker-registry https://quay.io, anonymous
      + project    docker.io                   proxy of docker.io, private, serves what the upstream no longer has, keeps 90 days (Harbor's default is 7), quota 50GiB
      + project    quay.io                     proxy of quay.io, private, serves what the upstream no longer has, keeps 90 days (Harbor's default is 7), quota 50GiB
      ~ gc         schedule                    never → 0 0 3 * * *
      + robot      robot$talos-pull-kronform   pull on docker.io, quay.io, new secret, sealed into the inventory first
    5 to create, 1 to change, 0 to delete
    failed: + project docker.io
    failed: + project quay.io
    failed: ~ gc schedule
    error: cannot create project `docker.io`: https://harbor.example/api/v2.0/projects answered 500: UNKNOWN internal server error
    help: is jobservice running? Without it Harbor makes no proxy project and no schedule (core's log has it under 5f0c-11)
    error: cannot create project `quay.io`: https://harbor.example/api/v2.0/projects answered 500: UNKNOWN internal server error
    help: is jobservice running? Without it Harbor makes no proxy project and no schedule (core's log has it under 5f0c-11)
    error: cannot set the schedule of the garbage collection: https://harbor.example/api/v2.0/system/gc/schedule answered 500: UNKNOWN internal server error
    help: is jobservice running? Without it Harbor makes no proxy project and no schedule (core's log has it under 5f0c-11)
    2 changes; what failed is done by the next run
    ");
    harbor.state().jobservice = true;
    harbor.state().read_only = true;
    let ran2 = ran(&harbor, &place, "apply --yes", 5);
    assert!(ran2.stderr.contains("switch read-only mode off"), "{ran2}");
    harbor.state().read_only = false;
    settle(&harbor, &place);
}

#[test]
fn an_upstream_with_credentials() {
    let harbor = Harbor::new(Version::V2_15_2);
    let inventory = "\
mirror: URL
registries:
    ghcr.io: {upstream: {credentials: {username: someone, passwordFrom: {env: PAT}}}}
    lan.example:5000:
        upstream: {tls: {ca: 'CA'}}
        harbor: {adapter: harbor, retention: forever}
projects: {'lan.example:5000': lan}
";
    let authority = crate::authority::Authority::new().pem;
    let place = place(&harbor, &inventory.replace("'CA'", &serde_json::json!(authority).to_string()));
    let run = |line: &str| super::run(&place, line).env("PAT", "s3cr3t-one");
    run("apply --yes").ok();
    let registry = |name: &str| harbor.state().registry(name).unwrap().1.clone();
    assert_eq!(registry("ghcr.io").credential, Some(("someone".to_owned(), "s3cr3t-one".to_owned())));
    assert_eq!(registry("lan.example:5000").ca, authority);
    run("plan").ends(0);
    // Harbor never shows a secret: another one is sent when it is asked for.
    super::run(&place, "plan").env("PAT", "s3cr3t-two").ends(0);
    super::run(&place, "apply --yes --renew-secrets").env("PAT", "s3cr3t-two").ends(0);
    assert_eq!(registry("ghcr.io").credential, Some(("someone".to_owned(), "s3cr3t-two".to_owned())));
    // And when it goes, it goes.
    let text = place.read("mirrors.yaml");
    assert!(text.contains("sops:"), "{text}");
}

#[test]
fn the_secret_has_nowhere_to_go() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, SMALL);
    std::fs::remove_file(place.path(".sops.yaml")).unwrap();
    let refused = ran(&harbor, &place, "apply --yes", 3);
    insta::assert_snapshot!(named(&harbor, &refused.stderr), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      + registry   docker.io                   docker-hub https://hub.docker.com, anonymous
      + registry   quay.io                     docker-registry https://quay.io, anonymous
      + project    docker.io                   proxy of docker.io, private, serves what the upstream no longer has, keeps 90 days (Harbor's default is 7), quota 50GiB
      + project    quay.io                     proxy of quay.io, private, serves what the upstream no longer has, keeps 90 days (Harbor's default is 7), quota 50GiB
      ~ gc         schedule                    never → 0 0 3 * * *
      + robot      robot$talos-pull-kronform   pull on docker.io, quay.io, new secret, sealed into the inventory first
    5 to create, 1 to change, 0 to delete
    error: the robot's secret goes into `mirrors.yaml`, which is not encrypted
    help: write a `.sops.yaml` that says for whom (`talmirror init --age` makes one), or encrypt it: `talmirror encrypt --in-place --age RECIPIENT`
    ");
    assert!(harbor.changes().is_empty());
    // A secret that is the user's own stays where it is, and Harbor gets it.
    let text = format!("{SMALL}credentials: {{username: 'robot$mine', passwordFrom: {{env: MINE}}}}\n");
    place.write("mirrors.yaml", text.replace("URL", &harbor.url()));
    super::run(&place, "apply --yes").env("MINE", "s3cr3t-Mine1").ends(0);
    assert_eq!(super::secret(&harbor, "robot$mine").as_deref(), Some("s3cr3t-Mine1"));
    assert!(credentials(&place).is_none() || !place.read("mirrors.yaml").contains("sops:"));
    let weak = super::run(&place, "apply --yes").env("MINE", "s3cr3t-").ends(5);
    assert!(weak.stderr.contains("8-128"), "{weak}");
}
