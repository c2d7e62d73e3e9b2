//! Harbors that are not at a public address with a public certificate and an administrator.

use serde_json::json;

use super::{Harbor, SMALL, Version, applied, credentials, named, place, ran, run, settled};
use crate::fake_harbor::{Robot, Upstream};

#[test]
fn a_robot_with_rights_in_place_of_the_administrator() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place =
        place(&harbor, "mirror: URL\nharbor: {quota: 50GiB, gc: 0 0 3 * * *}\nregistries: [docker.io]\n");
    let access = |resource: &str, actions: &[&str]| {
        actions.iter().map(|action| json!({"resource": resource, "action": action})).collect::<Vec<_>>()
    };
    let rights = [
        access("registry", &["create", "read", "list", "update"]),
        access("project", &["create", "list", "read", "update"]),
        access("robot", &["create", "read", "list", "update"]),
        access("tag-retention", &["read", "update"]),
    ];
    let robot = Robot {
        name: "provision".to_owned(),
        description: String::new(),
        secret: "s3cr3t-Rights1".to_owned(),
        duration: -1,
        disable: false,
        expires_at: -1,
        permissions: json!([
            {"kind": "system", "namespace": "/", "access": rights.concat()},
            {"kind": "project", "namespace": "*", "access": access("repository", &["pull"])},
        ]),
    };
    harbor.state().robots.insert(90, robot);
    let as_robot = |line: &str| {
        run(&place, line).env("HARBOR_USERNAME", "robot$provision").env("HARBOR_PASSWORD", "s3cr3t-Rights1")
    };
    let applied = as_robot("apply --yes").ends(0);
    insta::assert_snapshot!(named(&harbor, &applied.stderr), @r"
    harbor https://harbor.example   Harbor 2.15.2   as robot$provision
      + registry   docker.io          docker-hub https://hub.docker.com, anonymous
      + project    docker.io          proxy of docker.io, private, serves what the upstream no longer has, quota 50GiB
      + robot      robot$talos-pull   pull on docker.io, new secret, sealed into the inventory first
      warning: gc: the account may not read the schedule of the garbage collection
          help: use an administrator
      warning: retention: Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: docker.io
          help: set `harbor.retention`, such as 90d
      note: robot: the account may not read `robot_name_prefix`; it is taken to be `robot$`
    3 to create, 0 to change, 0 to delete
    warning: project docker.io: the account may not read quotas, so it has none set
    mirrors.yaml: has the robot's credentials; next: commit it, then `talmirror generate` or `talmirror rollout`
    3 changes
    ");
    as_robot("plan").ends(0);
    let (user, password) = credentials(&place).unwrap();
    assert_eq!(super::secret(&harbor, &user), Some(password));
    // It gives no more than it has.
    {
        let mut state = harbor.state();
        state.robots.retain(|id, _| *id == 90);
        state.robots.get_mut(&90).unwrap().permissions.as_array_mut().unwrap().pop();
    }
    let narrow = as_robot("apply --yes").ends(5);
    assert!(narrow.stderr.contains("a robot gives no more than it has"), "{narrow}");
    harbor.state().robots.get_mut(&90).unwrap().permissions = json!([]);
    let nothing = as_robot("plan").ends(5);
    assert!(nothing.stderr.contains("use an administrator, or a system robot that may"), "{nothing}");
}

#[test]
fn a_prefix_that_may_not_be_read() {
    let (harbor, place) = {
        let harbor = Harbor::new(Version::V2_15_2);
        let place =
            place(&harbor, "mirror: URL\nharbor: {robot: pull, retention: 90d}\nregistries: [docker.io]\n");
        (harbor, place)
    };
    harbor.state().robot_prefix = "bot+".to_owned();
    let access = |resource: &str| {
        ["create", "read", "list", "update"].map(|action| json!({"resource": resource, "action": action}))
    };
    let rights = ["registry", "project", "robot", "tag-retention"].map(access).concat();
    let robot = Robot {
        name: "provision".to_owned(),
        description: String::new(),
        secret: "s3cr3t-Rights1".to_owned(),
        duration: -1,
        disable: false,
        expires_at: -1,
        permissions: json!([
            {"kind": "system", "namespace": "/", "access": rights},
            {"kind": "project", "namespace": "*", "access": [{"resource": "repository", "action": "pull"}]},
        ]),
    };
    harbor.state().robots.insert(90, robot);
    let as_robot = |line: &str| {
        run(&place, line).env("HARBOR_USERNAME", "bot+provision").env("HARBOR_PASSWORD", "s3cr3t-Rights1")
    };
    as_robot("apply --yes").ends(0);
    assert_eq!(credentials(&place).unwrap().0, "bot+pull");
    let plan = as_robot("plan").ends(0);
    assert!(plan.stdout.ends_with("nothing to do\n"), "{plan}");
    let rotated = as_robot("rotate-robot --overlap").ends(0);
    assert_eq!(rotated.stdout, "bot+pull-2\n");
    let (user, password) = credentials(&place).unwrap();
    assert_eq!((user.as_str(), super::secret(&harbor, "bot+pull-2")), ("bot+pull-2", Some(password)));
    as_robot("plan").ends(0);
}

#[test]
fn a_password_is_not_shown_and_not_sent_in_clear_without_a_word() {
    let place = super::Place::new();
    let export = |url: &str, code: i32| {
        place
            .args(&["harbor", "export", "--timeout", "5s", "--url", url])
            .env("HARBOR_PASSWORD", "s3cr3t-env")
            .ends(code)
    };
    let refused = export("https://admin:s3cr3t-pw@harbor.invalid", 3);
    insta::assert_snapshot!(refused.stderr, @r"
    error: the URL `https://harbor.invalid` is written with a user name or a password in it
    help: leave them out, and set HARBOR_USERNAME and HARBOR_PASSWORD, or the mirror's `admin` in the inventory
    ");
    let warning = "warning: HARBOR_PASSWORD goes to `http://harbor.invalid` in clear: it is not https\n";
    assert!(export("http://harbor.invalid", 5).stderr.contains(warning));
    assert!(!export("https://harbor.invalid", 5).stderr.contains("in clear"));
    // Through a tunnel or a port-forward it does not leave this machine.
    assert!(!export("http://127.0.0.1:1", 5).stderr.contains("in clear"));
    place.write("mirrors.yaml", "mirror: http://harbor.invalid\nregistries: [docker.io]\n");
    let plan = place.run("harbor plan --timeout 5s").env("HARBOR_PASSWORD", "s3cr3t-env").ends(5);
    assert!(plan.stderr.contains(warning), "{plan}");
}

#[test]
fn a_list_that_does_not_end() {
    let server = crate::fake_upstream::Upstream::start();
    let answer = |body: &serde_json::Value| crate::fake_upstream::Act::Answer {
        status: 200,
        headers: vec![],
        body: body.to_string(),
    };
    server.always("/systeminfo", answer(&json!({"harbor_version": "v2.15.2-"})));
    let registries: Vec<_> = (0..100).map(|id| json!({"id": id, "name": format!("r{id}")})).collect();
    server.always("/registries", answer(&json!(registries)));
    let place = super::Place::new();
    place.write("mirrors.yaml", format!("mirror: {}\nregistries: [ghcr.io]\n", server.url()));
    let refused = run(&place, "plan").ends(5);
    assert!(
        refused.stderr.contains("/api/v2.0/registries does not end: pages 1 and 2 are the same"),
        "{refused}"
    );
}

#[test]
fn a_certificate_of_its_own_authority() {
    let authority = crate::authority::Authority::new();
    let harbor = Harbor::with_tls(Version::V2_15_2, &authority.server("127.0.0.1"));
    let place = place(&harbor, "mirror: URL\nregistries: [docker.io]\n");
    let unknown = run(&place, "plan").ends(5);
    insta::assert_snapshot!(named(&harbor, &unknown.stderr), @r"
    error: cannot read what Harbor tells about itself
      caused by: https://harbor.example/api/v2.0/systeminfo: TLS failed: invalid peer certificate: UnknownIssuer
    help: if Harbor has a CA of its own, name it in the mirror's `tls: {caFile: …}`
    ");
    place.write("ca.crt", &authority.pem);
    let inventory = "mirror: URL\nregistries: [docker.io]\ntls: {caFile: ca.crt}\n";
    place.write("mirrors.yaml", inventory.replace("URL", &harbor.url()));
    super::settle(&harbor, &place);
}

#[test]
fn what_is_refused_says_what_to_do() {
    let harbor = Harbor::new(Version::V2_15_2);
    for (inventory, code) in [
        ("mirror: https://harbor.example\ntls: {insecureSkipVerify: true}\nregistries: [ghcr.io]\n", 3),
        ("mirror: https://harbor.example/prefix\nregistries: [ghcr.io]\n", 3),
        ("mirror: https://zot.example\nkind: path\nregistries: [ghcr.io]\n", 3),
    ] {
        let place = place(&harbor, inventory);
        let refused = run(&place, "plan").ends(code);
        assert!(refused.stderr.contains("help:"), "{refused}");
    }
    // Something else answers there.
    let other = crate::fake_upstream::Upstream::start();
    let place = super::Place::new();
    place.write("mirrors.yaml", format!("mirror: {}\nregistries: [ghcr.io]\n", other.url()));
    let refused = run(&place, "plan").ends(5);
    assert!(refused.stderr.contains("is it a Harbor"), "{refused}");
}

#[test]
fn status_and_what_is_cached() {
    let (harbor, place) = applied(SMALL);
    let image = |name: &str| {
        let mut state = harbor.state();
        let artifact = Version::V2_15_2.recorded("artifacts")[0].clone();
        let manifest = Version::V2_15_2.recorded("proxy manifest tag");
        state
            .upstreams
            .insert(("https://hub.docker.com".to_owned(), name.to_owned()), Upstream { manifest, artifact });
    };
    image("library/bb:1");
    let before = ran(&harbor, &place, "status docker.io/library/bb:1 ghcr.io/a/b:1", 1);
    insta::assert_snapshot!(named(&harbor, &before.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2
    health  healthy
    robot   robot$talos-pull-kronform  accepted
    gc      0 0 3 * * *, never ran

    PROJECT     REGISTRY    STATUS    USED    QUOTA   REPOSITORIES
    docker.io   docker.io   healthy   0 MiB   50GiB   0
    quay.io     quay.io     healthy   0 MiB   50GiB   0

    IMAGE                    STATE       SIZE   LAST PULLED   DIGEST
    docker.io/library/bb:1   missing     -      -             -
    ghcr.io/a/b:1            elsewhere   -      -             -
    ");
    // Pulled once, it is there.
    let (id, _) = harbor.state().project("docker.io").map(|(id, project)| (id, project.clone())).unwrap();
    let artifact = Version::V2_15_2.recorded("artifacts")[0].clone();
    harbor
        .state()
        .projects
        .get_mut(&id)
        .unwrap()
        .repositories
        .insert("library/bb".to_owned(), vec![artifact]);
    harbor.state().gc_runs =
        vec![json!({"job_status": "Success", "creation_time": "2026-11-26T03:00:00.000Z"})];
    let after = ran(&harbor, &place, "status docker.io/library/bb:1", 0);
    insta::assert_snapshot!(named(&harbor, &after.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2
    health  healthy
    robot   robot$talos-pull-kronform  accepted
    gc      0 0 3 * * *, last 2026-11-26T03:00:00.000Z Success

    PROJECT     REGISTRY    STATUS    USED    QUOTA   REPOSITORIES
    docker.io   docker.io   healthy   0 MiB   50GiB   1
    quay.io     quay.io     healthy   0 MiB   50GiB   0

    IMAGE                    STATE    SIZE    LAST PULLED   DIGEST
    docker.io/library/bb:1   cached   2 MiB   -             sha256:d57e12cdcf70ab1eabdca85d0eb6ee8a8c30fc174d73ccc3608886c878c17e59
    ");
    let json = ran(&harbor, &place, "status docker.io/library/bb:1 -o json", 0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (value["robot"]["login"].as_str(), value["images"][0]["state"].as_str()),
        (Some("accepted"), Some("cached"))
    );
    // A secret that Harbor does not take is seen, though its token service gives a token to it.
    harbor.state().robots.values_mut().next().unwrap().secret = "Other1Other1".to_owned();
    let refused = ran(&harbor, &place, "status", 1);
    assert!(refused.stdout.contains("robot   robot$talos-pull-kronform  refused"), "{refused}");
}

#[test]
fn an_export_reads_back_as_what_it_was() {
    let (harbor, place) = applied(super::ORIGIN);
    let exported = ran(&harbor, &place, "export", 0);
    insta::assert_snapshot!(named(&harbor, &exported.stdout), @r"
    apiVersion: talmirror/v1
    kind: Inventory

    mirrors:
        harbor:
            kind: harbor
            url: https://harbor.example
            credentials:
                username: robot$talos-pull-kronform
                passwordFrom:
                    env: HARBOR_ROBOT_PASSWORD
            harbor:
                retention: 90d
                gc: 0 0 3 * * *

    registries:
        docker.io: {}
        gcr.io: {}
        ghcr.io: {}
        k8s.gcr.io: {}
        public.ecr.aws: {}
        quay.io: {}
        registry.k8s.io: {}

    defaults:
        via:
            - harbor
    ");
    // In the place of the inventory, it leaves nothing to do but to take over what is another cluster's.
    let secret = credentials(&place).unwrap().1;
    let other = super::Place::new();
    other.write("mirrors.yaml", format!("cluster: kronform\n{}", exported.stdout));
    other
        .run("harbor plan")
        .env("HARBOR_PASSWORD", super::ADMIN_PASSWORD)
        .env("HARBOR_ROBOT_PASSWORD", secret)
        .ends(0);
    // Without an inventory, too.
    let url = harbor.url();
    let direct = super::Place::new();
    let again = direct
        .args(&["harbor", "export", "--url", &url])
        .env("HARBOR_PASSWORD", super::ADMIN_PASSWORD)
        .ends(0);
    assert_eq!(again.stdout, exported.stdout);
    settled(&harbor, &place);
}
