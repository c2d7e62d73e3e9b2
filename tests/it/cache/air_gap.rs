//! `examples/air-gap`, followed as its README says: a cache is filled, carried, and serves where no registry is reached.

use std::process::Command;

use crate::cache_process::Start;
use crate::fake_upstream::{Upstream, noise};
use crate::whole_examples::copy;

#[test]
fn a_cache_that_was_carried_in_serves_alone() {
    let (place, upstream) = (copy("air-gap"), Upstream::start());
    let mut images = Vec::new();
    let list = place.read("images.txt");
    for (seed, line) in (0..).zip(list.lines()) {
        let (name, tag) = line.rsplit_once(':').unwrap();
        let (registry, repository) = name.split_once('/').unwrap();
        let image = upstream.image(repository, tag, &[noise(50_000, seed)]);
        images.push((registry, repository, tag, image));
    }
    assert_eq!(images.len(), 3);
    let start = |config: &str, root: &str| {
        let mut start = Start::new()
            .args(&["--config", place.path(config).to_str().unwrap()])
            .args(&["--listen", "127.0.0.1:0"])
            .root(place.path(root));
        for (registry, ..) in &images {
            start = start.upstream(registry, &upstream.url());
        }
        start
    };
    let outside = start("outside.yaml", "island").run();
    place.write("carrier.yaml", place.read("carrier.yaml").replace("http://127.0.0.1:5000", &outside.url()));
    place.run("warm images.txt --inventory carrier.yaml --platform linux/amd64").ok();
    assert_eq!(outside.stop(), 0);

    // Only files are carried: what was there is gone, the upstreams are dead.
    let carried = Command::new("cp").arg("-a").arg(place.path("island")).arg(place.path("carried")).status();
    assert!(carried.unwrap().success());
    std::fs::remove_dir_all(place.path("island")).unwrap();
    let dead = start("inside.yaml", "carried");
    drop(upstream);
    let inside = dead.run();
    assert_eq!(inside.command(&["verify"]), "");
    for (registry, repository, tag, image) in &images {
        let manifest = inside.get(&format!("/v2/{repository}/manifests/{tag}?ns={registry}"));
        assert_eq!((manifest.outcome(), &manifest.body), ((200, "HIT"), &image.manifest), "{repository}");
        for blob in image.layers.iter().chain([&image.config]) {
            let blob = inside.get(&format!("/v2/{repository}/blobs/{blob}?ns={registry}"));
            assert_eq!((blob.outcome(), blob.whole), ((200, "HIT"), true), "{repository}");
        }
    }
    assert_eq!(inside.get("/v2/library/other/manifests/1?ns=docker.io").status, 503);
    place.run("validate --deny warnings").ok();
    let patch = place.run("generate").ok();
    assert!(patch.contains("skipFallback: true") && patch.contains("http://10.0.0.5:5000"), "{patch}");
}
