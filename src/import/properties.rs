use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::image::api_host;
use crate::machineconfig::{Form, MachineConfig, TlsIn, Unlisted};
use crate::registries::{Auth, Endpoint, Mirror, Registries, Tls};
use crate::yaml::parse_one;

/// Reads an inventory back, by the schema's rules and with no code of the import.
fn resolved(inventory: &str) -> Registries {
    let root = parse_one(inventory).unwrap().root.to_json();
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let mut out = Registries::default();
    let settings = |out: &mut Registries, host: &str, value: &Value| {
        if let Some(username) = text(&value["credentials"], "username") {
            let password = text(&value["credentials"], "password").map(|p| p.as_str().into());
            out.auth.insert(host.into(), Auth { username: Some(username), password, ..Auth::default() });
        }
        if value["tls"]["insecureSkipVerify"] == true {
            out.tls.insert(host.into(), Tls { insecure_skip_verify: true, ..Tls::default() });
        }
    };
    let short = serde_json::json!({
        "mirrors": {"m": {"kind": "harbor", "url": root["mirror"], "project": "{registry}", "credentials": root["credentials"]}},
        "registries": root["registries"].as_array().map(|list| {
            list.iter().map(|name| (name.as_str().unwrap().to_owned(), serde_json::json!({"via": ["m"]}))).collect::<serde_json::Map<_, _>>()
        }),
    });
    let root = if root["mirror"].is_string() { short } else { root };
    let mirrors = root["mirrors"].as_object().cloned().unwrap_or_default();
    for mirror in mirrors.values() {
        settings(&mut out, Endpoint::new(mirror["url"].as_str().unwrap(), true).host(), mirror);
    }
    for (name, registry) in root["registries"].as_object().into_iter().flatten() {
        let upstream = text(&registry["upstream"], "url").unwrap_or(format!("https://{}", api_host(name)));
        settings(&mut out, api_host(name), &registry["upstream"]);
        let via = [&registry["via"], &root["defaults"]["via"]].into_iter().find_map(Value::as_array);
        let endpoint = |word: &str| {
            let mirror = &mirrors[word];
            let url = mirror["url"].as_str().unwrap();
            let path = |one: &str, many: &str| {
                let own = text(&mirror[many], name);
                own.or_else(|| Some(text(mirror, one)?.replace("{registry}", name))).unwrap()
            };
            match mirror["kind"].as_str().unwrap() {
                "harbor" => Endpoint::new(format!("{url}/v2/{}", path("project", "projects")), true),
                "path" => Endpoint::new(format!("{url}{}", path("path", "paths")), true),
                "raw" => Endpoint::new(url, mirror["overridePath"] == true),
                _ => Endpoint::new(url, false),
            }
        };
        let words = via.into_iter().flatten().map(|word| word.as_str().unwrap());
        let endpoints: Vec<Endpoint> = words
            .map(|word| if word == "upstream" { Endpoint::new(&upstream, false) } else { endpoint(word) })
            .collect();
        let never =
            [&registry["fallback"], &root["defaults"]["fallback"]].into_iter().find_map(Value::as_str);
        if !endpoints.is_empty() {
            out.mirrors.insert(name.clone(), Mirror { endpoints, skip_fallback: never == Some("never") });
        }
    }
    plain(out)
}

/// Writes endpoints in one way, each once, without the upstream where Talos adds it anyway.
fn plain(mut registries: Registries) -> Registries {
    for (name, mirror) in &mut registries.mirrors {
        let upstream = Endpoint::new(format!("https://{}/v2", api_host(name)), true);
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in mirror.endpoints.iter().map(Endpoint::with_override) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        if !mirror.skip_fallback && endpoints.len() > 1 && endpoints.last() == Some(&upstream) {
            endpoints.pop();
        }
        mirror.endpoints = endpoints;
    }
    // Without `*`, a registry that is mirrored to itself has what it would have anyway; with it, one that is mirrored as
    // `*` is.
    let wild = registries.mirrors.get("*").cloned();
    registries.mirrors.retain(|name, mirror| {
        let own = Endpoint::new(format!("https://{}/v2", api_host(name)), true);
        let itself = !mirror.skip_fallback && mirror.endpoints == [own];
        wild.as_ref().map_or(!itself, |wild| name == "*" || mirror != wild)
    });
    registries
}

const HOSTS: [&str; 5] = [
    "https://harbor.lan",
    "https://zot.lan:8443",
    "http://10.0.0.1:5000",
    "https://mirror.gcr.io",
    "https://a.b.lan",
];
const NAMES: [&str; 6] = ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "h.lan:5000", "*"];

fn registries() -> impl Strategy<Value = Registries> {
    let endpoint = |name: &'static str| {
        (0..HOSTS.len(), 0usize..6).prop_map(move |(host, path)| {
            let host = HOSTS[host];
            match path {
                0 => Endpoint::new(host, false),
                1 => Endpoint::new(format!("{host}/v2/{name}"), true),
                2 => Endpoint::new(format!("{host}/v2/proxy-{name}"), true),
                3 => Endpoint::new(format!("{host}/v2/a/b"), true),
                4 => Endpoint::new(format!("{host}/v2/hub"), true),
                // `*` has no host of its own.
                _ if name == "*" => Endpoint::new(host, false),
                _ => Endpoint::new(format!("https://{}", api_host(name)), false),
            }
        })
    };
    let mirror = |name: &'static str| {
        let endpoints = prop::collection::vec(endpoint(name), 1..4);
        prop::option::of((endpoints, prop::bool::weighted(0.2))).prop_map(move |found| {
            found.map(|(endpoints, skip_fallback)| (name.to_owned(), Mirror { endpoints, skip_fallback }))
        })
    };
    let hosts = ["harbor.lan", "zot.lan:8443", "registry-1.docker.io", "ghcr.io", "private.example"];
    let auth = prop::sample::subsequence(hosts.to_vec(), 0..4);
    let mirrors: Vec<_> = NAMES.into_iter().map(mirror).collect();
    (mirrors, auth.clone(), auth).prop_map(|(mirrors, auth, tls)| {
        let mirrors: BTreeMap<_, _> = mirrors.into_iter().flatten().collect();
        let pair = |host: &&str| {
            let auth =
                Auth { username: Some(format!("u-{host}")), password: Some("p".into()), ..Auth::default() };
            ((*host).to_owned(), auth)
        };
        let skip = |host: &&str| ((*host).to_owned(), Tls { insecure_skip_verify: true, ..Tls::default() });
        Registries { mirrors, auth: auth.iter().map(pair).collect(), tls: tls.iter().map(skip).collect() }
    })
}

proptest! {
    #[test]
    fn an_inventory_says_what_its_source_said(registries in registries()) {
        let config = MachineConfig::parse("machine: {}\n").unwrap();
        let inventories = [Form::Documents { tls: TlsIn::Documents }, Form::Legacy].map(|form| {
            let text = config.replace(&registries, form, Unlisted::Drop).unwrap().text;
            import(&[Source::new("c", text)], &Options::default()).inventory
        });
        let registries = plain(registries);
        // A registry that goes to itself alone may be left out, or stand there.
        match &inventories[0] {
            None => prop_assert!(registries.is_empty()),
            Some(inventory) => prop_assert_eq!(resolved(inventory), registries, "{}", inventory),
        }
        prop_assert_eq!(&inventories[0], &inventories[1]);
    }

    #[test]
    fn never_panics(text in "(\\PC|[\\n :{}#'-]|machine:|registries:|mirrors:|configs:|kind: Registry(Mirror|TLS|Auth)Config|name: a|---\n|\n  |- op: add\n  path: /machine/registries/[a-z/-]{0,9}\n  value: |endpoints: \\[http://a/b\\]|\\[host.a\\]\n|nodes:\n- |patches:\n  - \\|\n    |spec: ){0,30}") {
        let _ = detect(&text);
        for kind in [None, Some(SourceKind::MachineConfig), Some(SourceKind::Resource), Some(SourceKind::JsonPatch),
            Some(SourceKind::StrategicPatch), Some(SourceKind::Talhelper), Some(SourceKind::K3s), Some(SourceKind::Containerd)] {
            let source = Source::new("docker.io/hosts.toml", text.clone());
            let imported = import(&[source], &Options { kind, ..Options::default() });
            if let Some(inventory) = imported.inventory {
                prop_assert!(parse_one(&inventory).is_ok(), "{}", inventory);
            }
        }
    }
}
