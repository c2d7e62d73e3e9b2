//! `examples/harbor`, followed as its README says.

use super::run;
use crate::fake_harbor::{Harbor, Version};
use crate::run::repository;
use crate::whole_examples::{commands, copy};

#[test]
fn a_harbor_is_set_up_as_the_example_says() {
    let harbor = Harbor::new(Version::V2_15_2);
    let place = copy("harbor");
    let lines = commands(&place.read("README.md"), "talmirror ");
    let [template, validate, plan, apply, generate] = lines.as_slice() else { panic!("{lines:?}") };
    place.run(validate).ok();
    let manifests = place.read("kubernetes/flux/harbor.yaml");
    place.run(template).ok();
    assert_eq!(place.read("kubernetes/flux/harbor.yaml"), manifests);
    let there = std::fs::read_to_string(repository("examples/harbor/mirrors.yaml")).unwrap();
    place.write("mirrors.yaml", there.replace("https://harbor.example", &harbor.url()));
    let harbor_line = |line: &str| line.strip_prefix("harbor ").expect("a line of harbor").to_owned();
    run(&place, &harbor_line(plan)).ends(1);
    run(&place, &harbor_line(apply)).ok();
    run(&place, &harbor_line(plan)).ok();
    assert!(place.read("mirrors.yaml").contains("password: ENC["), "{}", place.read("mirrors.yaml"));
    place.run(generate).env("SOPS_AGE_KEY_FILE", "keys.txt").ok();
    assert!(place.read("talos/mirrors/mirrors.yaml").contains("/v2/ghcr.io"));
    let names: Vec<String> = harbor.state().projects.values().map(|project| project.name.clone()).collect();
    for registry in ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "factory.talos.dev"] {
        assert!(names.iter().any(|name| name == registry), "{names:?}");
    }
}
