//! Manifests as they are found: what a client gets from the registry it gets from the cache, byte for byte.

use serde_json::{Value, json};

use crate::cache_process::Cache;
use crate::fake_upstream::{Act, Upstream};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

fn digest_of(size: u64) -> Value {
    let digest = format!("sha256:{}", "ab".repeat(32));
    json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size})
}

/// An image, with some of its fields otherwise.
fn image(fields: &Value) -> Vec<u8> {
    let mut image =
        json!({"schemaVersion": 2, "mediaType": OCI, "config": digest_of(2), "layers": [digest_of(1000)]});
    for (name, value) in fields.as_object().unwrap() {
        image[name] = value.clone();
    }
    image.to_string().into_bytes()
}

fn index(children: &Value) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string().into_bytes()
}

fn found() -> Vec<(&'static str, String, Vec<u8>)> {
    let of = |kind: &str| kind.to_owned();
    let child = |fields: Value| {
        let mut child = digest_of(2);
        child["mediaType"] = OCI.into();
        for (name, value) in fields.as_object().unwrap() {
            child[name] = value.clone();
        }
        json!([child])
    };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let own = "application/vnd.acme.thing.v1+json";
    let with_mark = [b"\xef\xbb\xbf".as_slice(), &image(&json!({}))].concat();
    let twice = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI}","mediaType":"{OCI}","config":{},"layers":[]}}"#,
        digest_of(2)
    );
    let as_float = String::from_utf8(image(&json!({}))).unwrap().replace("1000", "1e3");
    let long: serde_json::Map<String, Value> =
        (0..3500).map(|i| (i.to_string(), "x".repeat(1000).into())).collect();
    vec![
        ("no media type within", of(OCI), image(&json!({"mediaType": null}))),
        ("OCI as Docker", of(DOCKER), image(&json!({}))),
        ("Docker as OCI", of(OCI), image(&json!({"mediaType": DOCKER}))),
        ("a charset", format!("{OCI}; charset=utf-8"), image(&json!({}))),
        ("plain text", of("text/plain; charset=utf-8"), image(&json!({"mediaType": DOCKER}))),
        ("plain JSON", of("application/json"), image(&json!({}))),
        ("layers that are null", of(OCI), image(&json!({"layers": null}))),
        ("no layers", of(OCI), image(&json!({"artifactType": "a/b", "layers": []}))),
        ("children that are null", of(INDEX), index(&json!(null))),
        ("no children", of(INDEX), index(&json!([]))),
        ("an index in an index", of(INDEX), index(&child(json!({"mediaType": INDEX})))),
        ("no platform", of(INDEX), index(&child(json!({"platform": null})))),
        (
            "an unknown platform",
            of(INDEX),
            index(&child(json!({"platform": {"os": "unknown", "architecture": "unknown"}}))),
        ),
        (
            "an artifact",
            of(ARTIFACT),
            json!({"mediaType": ARTIFACT, "blobs": [digest_of(1)]}).to_string().into_bytes(),
        ),
        ("a layer without a size", of(OCI), image(&json!({"layers": [{"digest": digest_of(1)["digest"]}]}))),
        (
            "a foreign layer",
            of(DOCKER),
            image(
                &json!({"mediaType": DOCKER, "layers": [{"mediaType": foreign, "digest": digest_of(1)["digest"], "size": 12_u64 << 30, "urls": ["https://mcr.example/x"]}]}),
            ),
        ),
        ("a size that is no whole number", of(OCI), as_float.into_bytes()),
        (
            "another algorithm",
            of(OCI),
            image(
                &json!({"config": {"mediaType": "x/y", "digest": format!("sha384:{}", "0".repeat(96)), "size": 2}}),
            ),
        ),
        ("one of 3.5 MiB", of(OCI), image(&json!({"annotations": long}))),
        ("an image with children", of(OCI), image(&json!({"manifests": []}))),
        ("a byte order mark", of(OCI), with_mark),
        ("keys that are there twice", of(OCI), twice.into_bytes()),
        (
            "a kind of its own",
            of(own),
            json!({"schemaVersion": 2, "mediaType": own, "thing": 1}).to_string().into_bytes(),
        ),
    ]
}

#[test]
fn odd_manifests_come_as_they_are() {
    for announces in [true, false] {
        let upstream = Upstream::start();
        if !announces {
            upstream.always("/manifests/", Act::Without("Docker-Content-Digest"));
        }
        let cache = Cache::of("registry.example", &upstream.url());
        for (i, (name, media_type, bytes)) in found().into_iter().enumerate() {
            let digest = upstream.manifest(&format!("m{i}"), Some("t"), &media_type, &bytes);
            for reference in ["t", &digest, "t"] {
                let answer = cache.get(&format!("/v2/registry.example/m{i}/manifests/{reference}"));
                assert_eq!(
                    (answer.status, answer.body == bytes),
                    (200, true),
                    "{name} {reference} {announces}"
                );
                assert_eq!(answer.header("docker-content-digest"), digest, "{name} {reference} {announces}");
            }
        }
    }
}
