//! What a plan says.

use super::{ADMIN_PASSWORD, Harbor, ORIGIN, Version, named, place, ran, run, settle};
use crate::run::golden;

#[test]
fn the_origin_s_harbor() {
    for version in Version::ALL {
        let harbor = Harbor::new(version);
        let place = place(&harbor, ORIGIN);
        let plan = ran(&harbor, &place, "plan", 1);
        golden(&format!("harbor/origin.{}.txt", version.as_str()), &named(&harbor, &plan.stdout));
        assert!(harbor.changes().is_empty(), "{:?}", harbor.changes());
    }
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, ORIGIN);
    let json = ran(&harbor, &place, "plan -o json", 1);
    golden("harbor/origin.json", &named(&harbor, &json.stdout));
    let markdown = ran(&harbor, &place, "plan -o markdown", 1);
    golden("harbor/origin.md", &named(&harbor, &markdown.stdout));
    settle(&harbor, &place);
}

#[test]
fn what_is_not_ours_is_used_as_it_is_and_named() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, "mirror: URL\nregistries: [ghcr.io, quay.io, gcr.io, lscr.io]\n");
    settle(&harbor, &place);
    {
        let mut state = harbor.state();
        for registry in state.registries.values_mut() {
            registry.description = match registry.name.as_str() {
                "ghcr.io" => "clicked by hand".to_owned(),
                "quay.io" => "managed-by: talmirror (other)".to_owned(),
                _ => continue,
            };
        }
        // Clicked under another name, and with another URL.
        let gcr = state.registries.values_mut().find(|registry| registry.name == "gcr.io").unwrap();
        gcr.name = "Google".to_owned();
        let lscr = state.registries.values_mut().find(|registry| registry.name == "lscr.io").unwrap();
        (lscr.description, lscr.url) = (String::new(), "https://ghcr.io".to_owned());
    }
    let plan = ran(&harbor, &place, "plan", 1);
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      blocked: registry lscr.io: it leads to https://ghcr.io in place of https://lscr.io, and is not ours
          help: --adopt takes it over
      warning: retention: Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: ghcr.io, quay.io, gcr.io
          help: set `harbor.retention`, such as 90d
      note: registry ghcr.io: it is not ours: used as it is, and left alone
          help: --adopt takes it over
      note: registry quay.io: it is of cluster other: used as it is, and left alone
          help: --adopt takes it over
    nothing to do; 1 blocked
    ");
    let adopted = ran(&harbor, &place, "plan --adopt", 1);
    insta::assert_snapshot!(named(&harbor, &adopted.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      ~ registry   ghcr.io   adopted
      ~ registry   quay.io   adopted
      ~ registry   lscr.io   adopted, URL https://ghcr.io → https://lscr.io
      warning: retention: Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: ghcr.io, quay.io, gcr.io, lscr.io
          help: set `harbor.retention`, such as 90d
    0 to create, 3 to change, 0 to delete
    ");
    ran(&harbor, &place, "apply --yes --adopt", 0);
    let plan = ran(&harbor, &place, "plan", 0);
    assert!(!plan.stdout.contains("not ours"), "{plan}");
}

#[test]
fn what_stands_in_the_way() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(
        &harbor,
        "\
mirror: URL
harbor: {robot: pull}
registries:
    ghcr.io: {}
    quay.io: {harbor: {adapter: quay}}
    lscr.io: {}
    docker.io: {upstream: {credentials: {username: u, passwordFrom: {env: HUB}}}}
",
    );
    {
        let mut state = harbor.state();
        state.read_only = true;
        let library = state.projects[&1].clone();
        let plain = crate::fake_harbor::Project { name: "ghcr.io".to_owned(), ..library };
        state.projects.insert(7, plain);
        let odd = crate::fake_harbor::Registry {
            name: "lscr.io".to_owned(),
            kind: "harbor".to_owned(),
            url: "https://lscr.io".to_owned(),
            insecure: false,
            description: "managed-by: talmirror".to_owned(),
            ca: String::new(),
            credential: None,
        };
        state.registries.insert(3, odd);
    }
    let plan = ran(&harbor, &place, "plan", 1);
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @r#"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      + registry   docker.io    docker-hub https://hub.docker.com, as u
      + project    docker.io    proxy of docker.io, private, serves what the upstream no longer has
      + robot      robot$pull   pull on docker.io, new secret, sealed into the inventory first
      blocked: harbor: it is in read-only mode and refuses changes
          help: switch read-only mode off in Harbor's settings
      blocked: project ghcr.io: it is there, and is not a proxy: Harbor never makes one of it
          help: name another with `projects`, or delete it in Harbor if it holds nothing of worth
      blocked: registry quay.io: Harbor 2.15.2 takes no proxy of its type
          help: leave `harbor.adapter` of the registry out
      blocked: registry lscr.io: it is of type harbor, docker-registry is needed, and Harbor never changes a type
          help: delete it and its project in Harbor, then apply again
      warning: retention: Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: docker.io
          help: set `harbor.retention`, such as 90d
      note: registry docker.io: with credentials, Harbor logs in to hub.docker.com for every check, which counts there
          help: `registries."docker.io".harbor: {adapter: docker-registry}` asks registry-1.docker.io alone
    3 to create, 0 to change, 0 to delete; 4 blocked
    "#);
}

#[test]
fn a_new_prefix_is_seen_before_the_nodes_lose_their_name() {
    let (harbor, place) = super::applied(super::SMALL);
    harbor.state().robot_prefix = "bot+".to_owned();
    let plan = ran(&harbor, &place, "plan", 1);
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @r"
    harbor https://harbor.example   Harbor 2.15.2   as admin
      ~ inventory   username   robot$talos-pull-kronform → bot+talos-pull-kronform  # Harbor's `robot_name_prefix` was changed: nodes that use the old name are refused
    0 to create, 1 to change, 0 to delete
    ");
    let before = super::credentials(&place).unwrap();
    super::settle(&harbor, &place);
    let after = super::credentials(&place).unwrap();
    assert_eq!((after.0.as_str(), after.1), ("bot+talos-pull-kronform", before.1));
}

#[test]
fn more_than_a_page_of_everything() {
    let harbor = Harbor::new(Version::V2_15_2);
    let names: Vec<String> = (0..130).map(|n| format!("r{n}.example")).collect();
    let place = place(&harbor, &format!("mirror: URL\nregistries: [{}]\n", names.join(", ")));
    settle(&harbor, &place);
    assert_eq!(harbor.state().registries.len(), 130);
}

#[test]
fn a_project_that_is_named_by_digits() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(
        &harbor,
        "mirror: URL\nprojects: {ghcr.io: '2024'}\nharbor: {retention: forever}\nregistries: [ghcr.io]\n",
    );
    settle(&harbor, &place);
}

#[test]
fn who_asks() {
    let harbor = Harbor::new(Version::V2_15_2);
    let inventory = "\
mirrors:
    harbor: {kind: harbor, url: 'URL', admin: {username: admin, passwordFrom: {env: ADMIN}}}
    other: {kind: harbor, url: 'URL', project: 'p-{registry}'}
registries: {ghcr.io: {via: [harbor]}}
";
    let place = place(&harbor, inventory);
    let plain = |line: &str| place.run(&format!("harbor {line}")).env("SOPS_AGE_KEY_FILE", "keys.txt");
    let several = plain("plan").ends(2);
    insta::assert_snapshot!(named(&harbor, &several.stderr), @r"
    warning[W204]: `mirrors.harbor` sends credentials in clear to `https://harbor.example`
      --> mirrors.yaml:2:5  mirrors.harbor.credentials

    error: `mirrors.yaml` has several mirrors of kind harbor
    help: name one with --mirror: harbor, other
    ");
    plain("plan --mirror harbor").env("ADMIN", ADMIN_PASSWORD).ends(1);
    let nobody = plain("plan --mirror other").ends(4);
    insta::assert_snapshot!(named(&harbor, &nobody.stderr), @r"
    warning[W204]: `mirrors.harbor` sends credentials in clear to `https://harbor.example`
      --> mirrors.yaml:2:5  mirrors.harbor.credentials

    error: nothing says who sets Harbor up
    help: set HARBOR_USERNAME and HARBOR_PASSWORD, or `mirrors.other.admin: {username: …, passwordFrom: …}`
    ");
    // The environment goes first.
    let wrong = plain("plan --mirror harbor")
        .env("ADMIN", ADMIN_PASSWORD)
        .env("HARBOR_PASSWORD", "s3cr3t-wrong")
        .ends(5);
    insta::assert_snapshot!(named(&harbor, &wrong.stderr), @r"
    warning[W204]: `mirrors.harbor` sends credentials in clear to `https://harbor.example`
      --> mirrors.yaml:2:5  mirrors.harbor.credentials

    error: Harbor does not take the password of `admin`
    help: set HARBOR_USERNAME and HARBOR_PASSWORD, or the mirror's `admin` in the inventory
    ");
    harbor.state().auth_mode = "oidc_auth".to_owned();
    let oidc = run(&place, "plan --mirror harbor").env("HARBOR_USERNAME", "someone").ends(5);
    insta::assert_snapshot!(named(&harbor, &oidc.stderr), @r"
    warning[W204]: `mirrors.harbor` sends credentials in clear to `https://harbor.example`
      --> mirrors.yaml:2:5  mirrors.harbor.credentials

    error: Harbor does not take the password of `someone`
    help: this Harbor logs users in through OIDC: give the CLI secret of the user's profile, or a system robot
    ");
}
