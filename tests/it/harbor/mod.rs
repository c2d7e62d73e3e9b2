//! `talmirror harbor` against a Harbor that answers as real ones did.

mod apply;
mod example;
mod interop;
mod interrupted;
mod plan;
mod private;
mod replay;
mod rotate;
mod verified;

use serde_json::Value;

use crate::fake_harbor::{ADMIN_PASSWORD, Harbor, Version};
use crate::run::{Place, Ran, Run, repository};

const RECIPIENT: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
const ROBOT: &str = "robot$talos-pull-kronform";

/// The origin's Harbor in a dozen lines.
const ORIGIN: &str = "\
cluster: kronform
mirror: URL
harbor: {retention: 90d, gc: 0 0 3 * * *}
registries:
    - docker.io
    - ghcr.io
    - gcr.io
    - quay.io
    - registry.k8s.io
    - k8s.gcr.io
    - public.ecr.aws
";

/// As little as every kind of call is made for.
const SMALL: &str = "\
cluster: kronform
mirror: URL
harbor: {retention: 90d, quota: 50GiB, gc: 0 0 3 * * *}
registries: [docker.io, quay.io]
";

/// A folder with an inventory, a rule that says for whom it is encrypted, and the key.
fn place(harbor: &Harbor, inventory: &str) -> Place {
    let place = Place::new();
    place
        .write("mirrors.yaml", inventory.replace("URL", &harbor.url()))
        .write(
            ".sops.yaml",
            format!("creation_rules:\n  - age: {RECIPIENT}\n    encrypted_regex: ^(password|key)$\n"),
        )
        .write("keys.txt", std::fs::read(repository("tests/vectors/sops/keys.txt")).unwrap());
    place
}

/// A run as the administrator, with the key.
fn run<'a>(place: &'a Place, line: &str) -> Run<'a> {
    place
        .run(&format!("harbor {line}"))
        .env("SOPS_AGE_KEY_FILE", "keys.txt")
        .env("HARBOR_PASSWORD", ADMIN_PASSWORD)
}

/// Runs, and looks for every secret that Harbor has in what was printed.
fn ran(harbor: &Harbor, place: &Place, line: &str, code: i32) -> Ran {
    let ran = run(place, line).ends(code);
    no_secret(harbor, &ran);
    ran
}

fn no_secret(harbor: &Harbor, ran: &Ran) {
    for robot in harbor.state().robots.values() {
        assert!(
            !ran.stdout.contains(&robot.secret) && !ran.stderr.contains(&robot.secret),
            "a secret:\n{ran}"
        );
    }
}

/// The user and the secret that the inventory has for nodes.
fn credentials(place: &Place) -> Option<(String, String)> {
    let text = place.run("decrypt mirrors.yaml").env("SOPS_AGE_KEY_FILE", "keys.txt").reveals().ran().stdout;
    let text = if text.is_empty() { place.read("mirrors.yaml") } else { text };
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(&format!("{name}: ")))?;
        Some(line.split_once(": ")?.1.trim().trim_matches('\'').to_owned())
    };
    Some((field("username")?, field("password")?))
}

/// The secret of a robot, as Harbor has it.
fn secret(harbor: &Harbor, name: &str) -> Option<String> {
    let state = harbor.state();
    let prefix = state.robot_prefix.clone();
    let short = name.strip_prefix(&prefix)?;
    state.robots.values().find(|robot| robot.name == short).map(|robot| robot.secret.clone())
}

/// What a Harbor holds, without the secrets of its robots, which are others each time.
fn picture(harbor: &Harbor) -> Value {
    let mut picture = harbor.state().picture();
    for robot in picture["robots"].as_object_mut().unwrap().values_mut() {
        robot[1] = Value::Null;
    }
    picture
}

/// Text with the Harbor's address as a name.
fn named(harbor: &Harbor, text: &str) -> String {
    text.replace(&harbor.url(), "https://harbor.example")
        .replace(&harbor.address.to_string(), "harbor.example")
}

/// Lets `apply` run to its end, and checks that nothing is left to do and that Harbor takes what the inventory has.
fn settle(harbor: &Harbor, place: &Place) {
    ran(harbor, place, "apply --yes", 0);
    settled(harbor, place);
}

fn settled(harbor: &Harbor, place: &Place) {
    let plan = ran(harbor, place, "plan", 0);
    assert!(plan.stdout.ends_with("nothing to do\n"), "{plan}");
    let (user, password) = credentials(place).unwrap();
    assert_eq!(secret(harbor, &user).as_deref(), Some(password.as_str()), "{user}");
    assert!(harbor.seen().iter().all(|seen| !seen.cookie), "a cookie was sent back");
}

/// A Harbor of an inventory that has been applied.
fn applied(inventory: &str) -> (Harbor, Place) {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = place(&harbor, inventory);
    settle(&harbor, &place);
    (harbor, place)
}
