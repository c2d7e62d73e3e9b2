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
        for (_, registry) in state.registries.iter_mut() {
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
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @"");
    let adopted = ran(&harbor, &place, "plan --adopt", 1);
    insta::assert_snapshot!(named(&harbor, &adopted.stdout), @"");
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
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @"");
}

#[test]
fn a_new_prefix_is_seen_before_the_nodes_lose_their_name() {
    let (harbor, place) = super::applied(super::SMALL);
    harbor.state().robot_prefix = "bot+".to_owned();
    let plan = ran(&harbor, &place, "plan", 1);
    insta::assert_snapshot!(named(&harbor, &plan.stdout), @"");
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
    let place =
        place(&harbor, "mirror: URL\nprojects: {ghcr.io: '2024'}\nharbor: {retention: forever}\nregistries: [ghcr.io]\n");
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
    insta::assert_snapshot!(several.stderr, @"");
    plain("plan --mirror harbor").env("ADMIN", ADMIN_PASSWORD).ends(1);
    let nobody = plain("plan --mirror other").ends(4);
    insta::assert_snapshot!(nobody.stderr, @"");
    // The environment goes first.
    let wrong = plain("plan --mirror harbor").env("ADMIN", ADMIN_PASSWORD).env("HARBOR_PASSWORD", "s3cr3t-wrong").ends(5);
    insta::assert_snapshot!(named(&harbor, &wrong.stderr), @"");
    harbor.state().auth_mode = "oidc_auth".to_owned();
    let oidc = run(&place, "plan --mirror harbor").env("HARBOR_USERNAME", "someone").ends(5);
    insta::assert_snapshot!(named(&harbor, &oidc.stderr), @"");
}
