use crate::run::Place;

#[test]
fn an_inventory_worth_reading() {
    let place = Place::new();
    // A workflow is for a git work tree.
    std::fs::create_dir(place.path(".git")).unwrap();
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
    insta::assert_snapshot!(ran, @r"
    --- stderr
    wrote mirrors.yaml
    wrote .github/workflows/talmirror.yaml
    next: talmirror validate -f mirrors.yaml
    --- exit 0
    ");
    assert_eq!(place.files(), [".github/workflows/talmirror.yaml", "mirrors.yaml"]);
    insta::assert_snapshot!(place.read("mirrors.yaml"), @r"
    # Which registries go through which mirrors. Everything for Talos is made from this file:
    #
    #   talmirror validate      what is wrong with it, without a network
    #   talmirror explain IMAGE where an image comes from, hop by hop
    #   talmirror generate      the patches
    #
    # URLs, overridePath and the keys of credentials are derived: name registries as image references do
    # (docker.io), and mirrors by what they are.
    apiVersion: talmirror/v1
    kind: Inventory
    talos: {version: v1.13}
    mirrors:
        harbor:
            kind: harbor
            url: https://harbor.example
            # Harbor's project for a registry; free names go into `projects: {docker.io: hub}`.
            project: '{registry}'
            credentials:
                username: robot$talos
                passwordFrom: {env: HARBOR_PASSWORD}
    registries:
        docker.io: {}
        ghcr.io: {}
    defaults:
        via:
            - harbor
        # What happens when the mirror is down: `upstream` asks the registry itself, `never` fails.
        fallback: upstream
    nodes:
        n1: {address: 10.0.0.1}
        n2: {address: 10.0.0.2}
    ");
    place.run("validate --deny warnings").ok();
    place.run("generate --node n1").env("HARBOR_PASSWORD", "s3cr3t-p").reveals().ok();
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let place = Place::new();
    place.write("mirrors.yaml", "mine");
    let ran = place.run("init --kind cache --url http://10.0.1.5:5000 --registries * --ci none").ends(3);
    insta::assert_snapshot!(ran, @r"
    --- stderr
    error: `mirrors.yaml` exists already; nothing was written
    help: choose another --output-dir or -f, leave the workflow out with --ci none, or look at it with --dry-run
    --- exit 3
    ");
    assert_eq!(place.read("mirrors.yaml"), "mine");
    assert_eq!(place.files(), ["mirrors.yaml"]);
}

#[test]
fn without_a_terminal_the_missing_flags_are_named() {
    insta::assert_snapshot!(Place::new().run("init --kind harbor").ends(2), @r"
    --- stderr
    error: missing: --url, --registries; and there is no terminal to ask on
    help: for example: talmirror init --kind harbor --url https://harbor.example --registries docker.io,ghcr.io
    --- exit 2
    ");
}

#[test]
fn answers_that_make_no_inventory_write_nothing() {
    let place = Place::new();
    let ran = place.run("init --kind harbor --url https://h.example/v2/x --registries docker.io").ends(2);
    insta::assert_snapshot!(ran, @r"
    --- stderr
    error[E103]: `https://h.example/v2/x` holds the path `/v2/x`, and for kind harbor the path is derived
      --> mirrors.yaml:14:14  mirrors.harbor.url
    help: remove `/v2/x` from the URL

    error: the answers make no valid inventory; nothing was written
    --- exit 2
    ");
    assert!(place.files().is_empty());
}

/// The inventory's name goes into the commands of a workflow.
#[test]
fn a_name_that_a_shell_acts_on_gets_no_workflow() {
    let place = Place::new();
    let init = ["init", "--kind", "cache", "--url", "http://10.0.1.5:5000", "--registries", "*", "-f"];
    for name in ["a;id.yaml", "$(id).yaml", "a b.yaml", "a\nb.yaml", "../m.yaml"] {
        let ran = place.args(&[&init[..], &[name, "--ci", "github"]].concat()).ends(2);
        assert!(ran.stderr.contains("--ci none") && place.files().is_empty(), "{name}: {ran}");
    }
    place.args(&[&init[..], &["./sub/m-1.yaml", "--ci", "github"]].concat()).ok();
    assert!(place.read(".github/workflows/talmirror.yaml").contains("validate -f sub/m-1.yaml --deny"));
    // What a rule of SOPS is matched against is a pattern, and a text of YAML.
    let age = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
    place.args(&[&init[..], &["a: [b]+.yaml", "--ci", "none", "--age", age]].concat()).ok();
    let rules = place.read(".sops.yaml");
    assert!(rules.contains(r"'(^|/)(a: \[b\]\+\.yaml|"), "{rules}");
}
