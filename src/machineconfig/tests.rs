use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::finding::Problems;
use crate::registries::{Auth, ClientIdentity, Endpoint, Mirror, Registries, Tls};
use crate::yaml::{Indent, emit, emit_stream};

const V1_11: &str = include_str!("../../tests/data/machineconfig/v1.11.yaml");
const V1_13: &str = include_str!("../../tests/data/machineconfig/v1.13.yaml");
const V1_14: &str = include_str!("../../tests/data/machineconfig/v1.14.yaml");
const CA: &str = include_str!("../../tests/data/machineconfig/ca.pem");
const DOCUMENTS: Form = Form::Documents { tls: TlsIn::Documents };
const MIXED: Form = Form::Documents { tls: TlsIn::Legacy };

fn wanted() -> Registries {
    let mut wanted = Registries::default();
    wanted.mirrors.insert(
        "docker.io".into(),
        Mirror {
            endpoints: vec![
                Endpoint::new("https://h/v2/docker.io", true),
                Endpoint::new("https://mirror.gcr.io", false),
            ],
            skip_fallback: false,
        },
    );
    let pair = Auth { username: Some("u".into()), password: Some("p".into()), ..Auth::default() };
    wanted.auth.insert("h".into(), pair);
    wanted.tls.insert("h".into(), Tls { ca: Some(CA.into()), ..Tls::default() });
    wanted
}

fn replaced(text: &str, wanted: &Registries, form: Form) -> String {
    MachineConfig::parse(text).unwrap().replace(wanted, form, Unlisted::Drop).unwrap().text
}

fn refused(text: &str, form: Form, unlisted: Unlisted) -> String {
    MachineConfig::parse(text).unwrap().replace(&wanted(), form, unlisted).unwrap_err().to_string()
}

fn read(text: &str) -> Registries {
    MachineConfig::parse(text).unwrap().registries(&mut Problems::new("", text))
}

fn findings(text: &str) -> Vec<String> {
    let mut problems = Problems::new("c.yaml", text);
    MachineConfig::parse(text).unwrap().registries(&mut problems);
    let problems = problems.into_sorted();
    problems
        .iter()
        .map(|p| {
            format!("{} {}:{} {}: {}", p.code.as_str(), p.position.line, p.position.column, p.path, p.message)
        })
        .collect()
}

/// The lines that only one of two texts has, as `diff` shows them.
fn changed_lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let old = old[head..old.len() - tail].iter().map(|line| format!("-{line}\n"));
    old.chain(new[head..new.len() - tail].iter().map(|line| format!("+{line}\n"))).collect()
}

#[test]
fn legacy_is_set_in_the_place_of_an_empty_section() {
    let mut small = wanted();
    small.tls.clear();
    let text = replaced(V1_11, &small, Form::Legacy);
    insta::assert_snapshot!(changed_lines(V1_11, &text), @r"
    -    registries: {}
    +    registries:
    +        mirrors:
    +            docker.io:
    +                endpoints:
    +                    - https://h/v2/docker.io
    +                    - https://mirror.gcr.io/v2
    +                overridePath: true
    +        config:
    +            h:
    +                auth:
    +                    username: u
    +                    password: p
    ");
    assert_eq!(
        replaced(&text, &Registries::default(), Form::Legacy),
        V1_11.replace("    registries: {}\n", "")
    );
}

#[test]
fn legacy_is_inserted_where_there_is_no_section() {
    let mut small = wanted();
    small.auth.clear();
    small.tls.clear();
    let text = replaced(V1_14, &small, Form::Legacy);
    let at = text.find("    registries:").unwrap();
    assert!(text[..at].ends_with(
        "diskQuotaSupport: true # Enable XFS project quota support for EPHEMERAL partition and user disks.\n"
    ));
    assert!(text[at..].contains("overridePath: true\n    \n    # # Configures the logging system."));
}

#[test]
fn documents_are_appended_and_legacy_is_moved() {
    let legacy = replaced(V1_13, &wanted(), Form::Legacy);
    let text = replaced(&legacy, &wanted(), DOCUMENTS);
    assert_eq!(text, replaced(V1_13, &wanted(), DOCUMENTS));
    insta::assert_snapshot!(changed_lines(V1_13, &text), @r"
    +---
    +apiVersion: v1alpha1
    +kind: RegistryMirrorConfig
    +name: docker.io
    +endpoints:
    +    - url: https://h/v2/docker.io
    +      overridePath: true
    +    - url: https://mirror.gcr.io
    +---
    +apiVersion: v1alpha1
    +kind: RegistryAuthConfig
    +name: h
    +username: u
    +password: p
    +---
    +apiVersion: v1alpha1
    +kind: RegistryTLSConfig
    +name: h
    +ca: |
    +    -----BEGIN CERTIFICATE-----
    +    MIIBjTCCATOgAwIBAgIUaPddf5XZ+VPKrOh9565Hv/Gjd3owCgYIKoZIzj0EAwIw
    +    GzEZMBcGA1UEAwwQcmVnaXN0cnkuZXhhbXBsZTAgFw0yNjExMjQyMjE5NDBaGA8y
    +    MTI2MTAzMTIyMTk0MFowGzEZMBcGA1UEAwwQcmVnaXN0cnkuZXhhbXBsZTBZMBMG
    +    ByqGSM49AgEGCCqGSM49AwEHA0IABEVEuaD7RGEiVg/pfSGJAtMV4wTw15zpg5Vn
    +    83V9gfS6/mp271PMGmg7kZApfDLzRLUy2fKed2WK9JawLAFd3BajUzBRMB0GA1Ud
    +    DgQWBBSAQKBtOTsL3YY4eKUaJeRvFh2oMTAfBgNVHSMEGDAWgBSAQKBtOTsL3YY4
    +    eKUaJeRvFh2oMTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDM
    +    AfkUNn18zbI+h9F+Hd4pFAer1H5Alu6J3b76lPMM4AIgXm9+zQ9cFukHIhpG5HKr
    +    VpCi2B+hwoy5TtbdWzDDHZU=
    +    -----END CERTIFICATE-----
    ");
    assert_eq!(read(&text), wanted());
    let mixed = replaced(&text, &wanted(), MIXED);
    assert!(!mixed.contains("RegistryTLSConfig") && mixed.contains("tls:\n                    ca: LS0t"));
    assert_eq!(replaced(&mixed, &Registries::default(), DOCUMENTS), V1_13);
}

#[test]
fn only_the_documents_that_differ_are_rewritten() {
    let text = replaced(V1_14, &wanted(), DOCUMENTS);
    let text = text
        .replace("name: docker.io\nendpoints:", "name: docker.io # Hub\n# in order\nendpoints:")
        .replace("kind: RegistryAuthConfig", "# the robot\nkind: RegistryAuthConfig");
    assert_eq!(replaced(&text, &wanted(), DOCUMENTS), text);
    let mut other = wanted();
    other.auth.get_mut("h").unwrap().password = Some("other".into());
    let new = replaced(&text, &other, DOCUMENTS);
    insta::assert_snapshot!(changed_lines(&text, &new), @r"
    -# the robot
    -kind: RegistryAuthConfig
    -name: h
    -username: u
    -password: p
    +kind: RegistryAuthConfig
    +name: h
    +username: u
    +password: other
    ");
    other.mirrors.clear();
    let config = MachineConfig::parse(&new).unwrap();
    let dropped = config.replace(&other, DOCUMENTS, Unlisted::Drop).unwrap();
    assert_eq!(dropped.dropped, ["mirror docker.io"]);
    assert!(!dropped.text.contains("# Hub") && dropped.text.contains("RegistryTLSConfig"));
    let kept = config.replace(&Registries::default(), Form::Legacy, Unlisted::Keep).unwrap();
    assert_eq!((kept.dropped.len(), read(&kept.text).auth), (0, other.auth));
}

#[test]
fn the_habits_of_the_file_are_kept() {
    let mut small = wanted();
    small.tls.clear();
    small.auth.clear();
    for (text, want) in [
        (
            "machine:\n  type: worker",
            "machine:\n  type: worker\n  registries:\n    mirrors:\n      docker.io:\n        endpoints:\n          - https://h/v2/docker.io\n          - https://mirror.gcr.io/v2\n        overridePath: true",
        ),
        (
            "\u{feff}machine: {} # all\r\ncluster:\r\n  a: 1\r\n",
            "\u{feff}machine: # all\r\n    registries:\r\n        mirrors:\r\n            docker.io:\r\n                endpoints:\r\n                    - https://h/v2/docker.io\r\n                    - https://mirror.gcr.io/v2\r\n                overridePath: true\r\ncluster:\r\n  a: 1\r\n",
        ),
        (
            "machine:\n  f: |+\n    x\n\n\n  # y\n",
            "machine:\n  f: |+\n    x\n\n\n  registries:\n    mirrors:\n      docker.io:\n        endpoints:\n          - https://h/v2/docker.io\n          - https://mirror.gcr.io/v2\n        overridePath: true\n  # y\n",
        ),
        (
            "cluster:\n   a: 1\n...\n",
            "cluster:\n   a: 1\nmachine:\n    registries:\n        mirrors:\n            docker.io:\n                endpoints:\n                    - https://h/v2/docker.io\n                    - https://mirror.gcr.io/v2\n                overridePath: true\n...\n",
        ),
        (
            "machine:\n  registries: # mine\n    # first\n    mirrors: {}\n    config: {x: {auth: {username: u, password: p}}} # old\n    # last\n  # next\n  type: worker\n",
            "machine:\n  registries: # mine\n    mirrors:\n      docker.io:\n        endpoints:\n          - https://h/v2/docker.io\n          - https://mirror.gcr.io/v2\n        overridePath: true\n  # next\n  type: worker\n",
        ),
    ] {
        assert_eq!(replaced(text, &small, Form::Legacy), want);
    }
    let appended = "---\napiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: docker.io\nendpoints:\n    - url: https://h/v2/docker.io\n      overridePath: true\n    - url: https://mirror.gcr.io\n";
    for (text, lead) in [
        ("machine:\n    a: 1", "machine:\n    a: 1\n"),
        ("machine:\n    a: 1\n...\n", "machine:\n    a: 1\n...\n"),
        (
            "machine:\n    registries:\n        mirrors: {x: {endpoints: []}}\n",
            "machine:\n    registries: {}\n",
        ),
    ] {
        assert_eq!(replaced(text, &small, DOCUMENTS), format!("{lead}{appended}"));
    }
    assert_eq!(
        replaced("machine:\n    a: 1\n---\n", &small, DOCUMENTS),
        format!("machine:\n    a: 1\n{appended}")
    );
    let header = "# ours\n---\n# mirror\napiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: x\n---\nmachine: {a: 1}\n";
    assert_eq!(replaced(header, &Registries::default(), DOCUMENTS), "# ours\n---\nmachine: {a: 1}\n");
}

#[test]
fn what_cannot_be_edited_safely_is_refused() {
    let refused_as =
        |text, want: &str| assert_eq!(refused(text, Form::Legacy, Unlisted::Drop), want, "{text}");
    refused_as(
        "kind: HostnameConfig\n",
        "there is no v1alpha1 document, so `machine.registries` has no place",
    );
    refused_as("cluster: &x\n  a: 1\nmachine: *x\n", "`machine` on line 3 comes through an alias");
    refused_as(
        "cluster: &x\n  registries: {}\nmachine:\n  <<: *x\n",
        "`machine.registries` on line 2 comes through an alias",
    );
    refused_as("machine: {}\n---\nmachine: {}\n", "there are 2 v1alpha1 documents");
    refused_as(
        "machine:\n  registries:\n    mirrors: &x {}\ncluster:\n  a: *x\n",
        "the edit would change more than registries: it would not be YAML",
    );
    assert_eq!(
        refused("machine:\n  registries:\n    mirors: {}\n", Form::Legacy, Unlisted::Keep),
        "registries that should stay cannot be read: unknown field `mirors` on line 3"
    );
    assert_eq!(
        refused("machine: {a: 1}\n---\nkind: X\na: |+\n  b", DOCUMENTS, Unlisted::Drop),
        "the edit would change more than registries: the text ends within a block scalar, without a line break"
    );
}

#[test]
fn documents_win_key_by_key() {
    let text = "machine:\n  registries:\n    mirrors:\n      docker.io: {endpoints: [https://a], skipFallback: yes}\n      ghcr.io: {endpoints: [https://a/v2/x], overridePath: true}\n    config:\n      a: {auth: {auth: dTpw}, tls: {insecureSkipVerify: on}}\n---\napiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: docker.io\nendpoints: [{url: https://b}]\n---\napiVersion: v1alpha1\nkind: RegistryAuthConfig\nname: a\nusername: 12\npassword: 0x1f\n";
    let all = read(text);
    assert_eq!(all.mirrors["docker.io"].endpoints, [Endpoint::new("https://b", false)]);
    assert!(!all.mirrors["docker.io"].skip_fallback && all.mirrors["ghcr.io"].endpoints[0].override_path);
    assert_eq!(
        (all.auth["a"].username.as_deref(), all.auth["a"].password.clone()),
        (Some("12"), Some("0x1f".into()))
    );
    assert!(all.auth["a"].auth.is_none() && all.tls["a"].insecure_skip_verify);
    assert_eq!(findings(text), Vec::<String>::new());
}

#[test]
fn what_talos_would_refuse_is_found() {
    let legacy = "machine:\n  registries:\n    mirrors:\n      a: null\n      b: {endpoint: [x], endpoints: https://x}\n      c: {endpoints: [host:5000, [1]], skipFallback: maybe}\n      d: {skipFallback: true}\n    config:\n      e: {auth: {username: u}, tls: {ca: '!', clientIdentity: {crt: YQ==}}}\n      f: {auth: {password: p, identityToken: t}, tls: {ca: YQ==}}\n    $patch: delete\n";
    let findings_of = |text: &str| findings(text).join("\n");
    insta::assert_snapshot!(findings_of(&legacy.replace("    $patch: delete\n", "")), @r"
    E128 4:10 machine.registries.mirrors.a: found nothing where a mapping belongs
    E101 5:11 machine.registries.mirrors.b: unknown field `endpoint`
    E128 5:37 machine.registries.mirrors.b.endpoints: found a string where a list belongs
    E102 6:23 machine.registries.mirrors.c.endpoints[0]: `host:5000` is not an http or https URL
    E128 6:34 machine.registries.mirrors.c.endpoints[1]: found a list where a string belongs
    E128 6:54 machine.registries.mirrors.c.skipFallback: found a string where true or false belongs
    E106 7:7 machine.registries.mirrors.d: `skipFallback` without an endpoint leaves nowhere to pull from
    E109 9:17 machine.registries.config.e.auth: `username` without `password`
    E111 9:42 machine.registries.config.e.tls.ca: this is not base64
    E118 9:63 machine.registries.config.e.tls.clientIdentity: `key` is missing
    E111 9:69 machine.registries.config.e.tls.clientIdentity.crt: this is not PEM of a certificate
    E109 10:17 machine.registries.config.f.auth: only one of username and password, `auth`, `identityToken` can be there
    E111 10:60 machine.registries.config.f.tls.ca: this is not PEM of a certificate
    ");
    insta::assert_snapshot!(findings_of(legacy), @r"E101 11:13 machine.registries: `$patch` belongs into a patch, not into a config");
    insta::assert_snapshot!(findings_of("apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: a\nendpoints: [https://a, {uri: x}]\n---\nkind: RegistryMirrorConfig\nname: a\n---\nkind: RegistryTLSConfig\n---\nkind: RegistryTLSConfig\nname: b\nca: nonsense\nclientIdentity: {crt: x, key: y}\n"), @r"
    E128 4:13 RegistryMirrorConfig/a.endpoints[0]: found a string where a mapping belongs
    E129 4:24 RegistryMirrorConfig/a.endpoints[0]: an endpoint without `url`
    E101 4:25 RegistryMirrorConfig/a.endpoints[0]: unknown field `uri`
    E130 7:7 RegistryMirrorConfig/a: a second document `RegistryMirrorConfig/a`
    E129 9:1 RegistryTLSConfig: a RegistryTLSConfig without `name`
    E111 13:5 RegistryTLSConfig/b.ca: this is not PEM of a certificate
    E118 14:17 RegistryTLSConfig/b.clientIdentity: `cert` is missing
    E101 14:18 RegistryTLSConfig/b.clientIdentity: unknown field `crt`
    E111 14:31 RegistryTLSConfig/b.clientIdentity.key: this is not PEM of a private key
    ");
}

#[test]
fn differences_are_shown_without_secrets() {
    let (old, mut new) = (wanted(), wanted());
    new.mirrors.get_mut("docker.io").unwrap().endpoints[1] = Endpoint::new("https://u:hidden@b", false);
    new.mirrors.insert("quay.io".into(), Mirror { endpoints: vec![], skip_fallback: true });
    new.auth.get_mut("h").unwrap().password = Some("hidden".into());
    new.tls.clear();
    let changes = diff(&old, &new);
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    - tls h  ca (PEM)
    ~ docker.io  endpoints[1]  https://mirror.gcr.io → https://b
    ~ auth h  password  <redacted> → <redacted>
    + quay.io  skipFallback true
    ");
    insta::assert_snapshot!(changes[2].to_json(), @r#"{"kind":"auth","name":"h","what":"changed","details":[{"field":"password","old":"<redacted>","new":"<redacted>"}]}"#);
    let all = format!(
        "{changes:?}{}{}",
        lines.concat(),
        changes.iter().map(|c| c.to_json().to_string()).collect::<String>()
    );
    assert!(!all.contains("hidden"));
    assert!(diff(&old, &old).is_empty());
}

fn url() -> impl Strategy<Value = String> {
    "https?://[a-z]{1,5}(\\.[a-z]{2,3})?(:[0-9]{2,4})?(/v2)?(/[a-z.-]{1,8})?/?"
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9$%:#'\" _-]{1,12}", "\\PC{1,8}", "(-----BEGIN X-----\n[a-z]{3}\n){1,2}"]
}

fn registries() -> impl Strategy<Value = Registries> {
    let name = || "[*]|[a-z]{1,4}\\.[a-z]{2}(:[0-9]{2,4})?";
    let endpoints = prop::collection::vec((url(), any::<bool>()), 0..3);
    let mirror = (endpoints, any::<bool>()).prop_map(|(endpoints, skip_fallback)| Mirror {
        endpoints: endpoints.into_iter().map(|(url, path)| Endpoint::new(url, path)).collect(),
        skip_fallback,
    });
    let auth = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text())).prop_map(
        |(username, password, token)| Auth {
            username,
            password: password.map(crate::secret::Secret::new),
            auth: None,
            identity_token: token.map(crate::secret::Secret::new),
        },
    );
    let identity = (text(), text()).prop_map(|(cert, key)| ClientIdentity { cert, key: key.as_str().into() });
    let tls = (prop::option::of(text()), prop::option::of(identity), any::<bool>()).prop_map(
        |(ca, client_identity, insecure_skip_verify)| Tls { ca, client_identity, insecure_skip_verify },
    );
    let map = |values| prop::collection::btree_map(name(), values, 0..4);
    (
        map(mirror.boxed()),
        prop::collection::btree_map(name(), auth, 0..3),
        prop::collection::btree_map(name(), tls, 0..3),
    )
        .prop_map(|(mirrors, auth, tls)| Registries { mirrors, auth, tls })
}

/// A config whose registry parts are known: what surrounds them has to come back byte for byte.
fn config(base: usize, legacy: &Registries, docs: &Registries, habits: u8) -> (String, Vec<String>) {
    let base = [V1_11, V1_13, V1_14][base];
    let section = match crate::registries::legacy(legacy) {
        value if value == serde_json::json!({}) => String::new(),
        value => emit(&serde_json::json!({ "registries": value }), Indent::default())
            .split_inclusive('\n')
            .flat_map(|line| [if line == "\n" { "" } else { "    " }, line])
            .collect(),
    };
    let base = base.replace("    registries: {}\n", "");
    let at = base.find("    # Features describe").unwrap();
    let (head, tail) = base.split_at(at);
    let values: Vec<_> = crate::registries::documents(docs).iter().map(|d| d.value().clone()).collect();
    let mut first = vec![head.to_owned()];
    let mut text = format!("{head}{section}");
    if values.is_empty() {
        text.push_str(tail);
        first.push(tail.to_owned());
    } else {
        let split = tail.find("---\napiVersion: v1alpha1\nkind: H").unwrap_or(tail.len());
        let (middle, end) = tail.split_at(split);
        text.extend([middle, "---\n", &emit_stream(&values, Indent::new(2)), end]);
        first.extend([middle.to_owned(), end.to_owned()]);
    }
    if habits & 1 != 0 {
        text = text.replace('\n', "\r\n");
        first = first.iter().map(|part| part.replace('\n', "\r\n")).collect();
    }
    if habits & 2 != 0 {
        text = format!("\u{feff}{text}");
        first.insert(0, "\u{feff}".to_owned());
    }
    if habits & 4 != 0 {
        text.push_str("---\n");
    }
    (text, first)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn only_registries_change_and_they_read_back(
        base in 0usize..3, habits in 0u8..8, keep in any::<bool>(), form in 0usize..3,
        legacy in registries(), docs in registries(), wanted in registries(),
    ) {
        let (text, fixed) = config(base, &legacy, &docs, habits);
        let form = [Form::Legacy, DOCUMENTS, MIXED][form];
        let unlisted = if keep { Unlisted::Keep } else { Unlisted::Drop };
        let config = MachineConfig::parse(&text).unwrap();
        let before = config.registries(&mut Problems::new("", &text));
        let new = config.replace(&wanted, form, unlisted).unwrap();
        let mut lines = new.text.split_inclusive('\n');
        for line in fixed.concat().split_inclusive('\n') {
            prop_assert!(lines.any(|new| new == line), "{:?} is gone from {}", line, new.text);
        }
        let mut target = wanted;
        if keep {
            let (mut all, own) = (before, target);
            all.mirrors.extend(own.mirrors);
            all.auth.extend(own.auth);
            all.tls.extend(own.tls);
            target = all;
        }
        if form == Form::Legacy {
            let as_legacy = |m: Mirror| Mirror { endpoints: m.for_legacy().0, ..m };
            target.mirrors = target.mirrors.into_iter().map(|(n, m)| (n, as_legacy(m))).collect::<BTreeMap<_, _>>();
        }
        let back = MachineConfig::parse(&new.text).unwrap();
        prop_assert_eq!(back.registries(&mut Problems::new("", &new.text)), target.clone());
        let again = back.replace(&target, form, unlisted).unwrap();
        prop_assert!(!again.changed && again.text == new.text);
    }

    #[test]
    fn never_panics(text in "(\\PC|[\\n :{}#'-]|machine:|registries:|mirrors:|kind: Registry(Mirror|TLS)Config|name: a|---\n|\n  ){0,40}") {
        if let Ok(config) = MachineConfig::parse(&text) {
            for form in [Form::Legacy, DOCUMENTS, MIXED] {
                if let Ok(new) = config.replace(&wanted(), form, Unlisted::Drop) {
                    prop_assert!(MachineConfig::parse(&new.text).is_ok());
                }
            }
        }
    }
}
