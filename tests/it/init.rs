use crate::run::Place;

#[test]
fn an_inventory_worth_reading() {
    let place = Place::new();
    let ran = place
        .args(&[
            "init",
            "--kind",
            "harbor",
            "--url",
            "https://harbor.example",
            "--registries",
            "docker.io,ghcr.io",
            "--username",
            "robot$talos",
            "--password-env",
            "HARBOR_PASSWORD",
            "--talos-version",
            "v1.13",
            "--nodes",
            "n1=10.0.0.1,n2=10.0.0.2",
        ])
        .ends(0);
    insta::assert_snapshot!(ran, @"");
    assert_eq!(place.files(), [".github/workflows/talmirror.yaml", "mirrors.yaml"]);
    insta::assert_snapshot!(place.read("mirrors.yaml"), @"");
    place.run("validate --deny warnings").ok();
    place.run("generate --node n1").env("HARBOR_PASSWORD", "s3cr3t-p").reveals().ok();
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let place = Place::new();
    place.write("mirrors.yaml", "mine");
    let ran = place.run("init --kind cache --url http://10.0.1.5:5000 --registries * --ci none").ends(3);
    insta::assert_snapshot!(ran, @"");
    assert_eq!(place.read("mirrors.yaml"), "mine");
    assert_eq!(place.files(), ["mirrors.yaml"]);
}

#[test]
fn without_a_terminal_the_missing_flags_are_named() {
    insta::assert_snapshot!(Place::new().run("init --kind harbor").ends(2), @"");
}

#[test]
fn answers_that_make_no_inventory_write_nothing() {
    let place = Place::new();
    let ran = place.run("init --kind harbor --url https://h.example/v2/x --registries docker.io").ends(2);
    insta::assert_snapshot!(ran, @"");
    assert!(place.files().is_empty());
}
