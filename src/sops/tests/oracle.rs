use std::path::Path as FsPath;
use std::process::Command;

use super::*;

/// Runs a released sops in a folder with our first throwaway key.
fn sops(program: &FsPath, folder: &FsPath, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("SOPS_AGE_KEY_FILE", vectors().join("keys.txt"))
        .env("SOPS_DISABLE_VERSION_CHECK", "1")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn programs() -> Vec<PathBuf> {
    std::env::split_paths(
        &std::env::var_os("SOPS_ORACLES").expect("SOPS_ORACLES names released sops programs"),
    )
    .collect()
}

const CASES: [(&str, &str); 6] = [
    (
        REGISTRY,
        "# head\nmachine: # inline\n    registries:\n        config:\n            zot.example.com:5000:\n                # in clear\n                auth:\n                    # sealed with it\n                    username: robot$a # why\n                    password: \"p: w\"\n                    # at the end\n                tls:\n                    clientIdentity:\n                        crt: |\n                            CERT\n                        key: |\n                            -----BEGIN KEY-----\n                            abc\n\n                            -----END KEY-----\n                    insecureSkipVerify: false\n",
    ),
    (
        "^password$",
        "password: \"\"\nb:\n    password: null\n    l: []\nc:\n    password:\n        - a\n        - b\n        - k: 1.5\n          n: -3\n          t: true\n          e: 1e21\n        - |+\n            x\n\nz: last\n",
    ),
    (
        "^(password)$",
        "apiVersion: v1alpha1\npassword: pw-A\n---\n# second\napiVersion: v1alpha1\nname: zot:5000\npassword: pw-B\n# end\n",
    ),
    ("", "# all\na: 1 # inline\nb:\n    # in b\n    c: x\n    # end of b\n# before d\nd: é\u{1F511}\n"),
    (
        "^password$",
        "a:\n  b: {password: x, l: [1, \"2\"]}\n  'quoted': 'it''s'\nlist:\n- password: 'y'\n  k: >-\n    fo\n    ld\n- p\n",
    ),
    (
        "^password$",
        "clear:\n    oct: 012\n    under: 1_000\n    inf: .inf\n    f: 1.5\n    s: yes\n    hex: 0x1f\n    date: \"2024-01-02\"\npassword: x\n",
    ),
];

#[test]
#[ignore = "needs released sops programs"]
fn sops_reads_and_rewrites_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    for (rule, plain) in CASES {
        let settings = if rule.is_empty() {
            Settings { rule: Rule::default(), ..settings("x") }
        } else {
            settings(rule)
        };
        let text = encrypt(plain, &settings, now(), &mut counter()).unwrap();
        for program in programs() {
            let context = format!("{}\n{text}", program.display());
            std::fs::write(&file, &text).unwrap();
            let plain_again = sops(&program, folder.path(), &["decrypt", "x.yaml"])
                .unwrap_or_else(|error| panic!("{error}\n{context}"));
            assert_eq!(trees(&plain_again), trees(plain), "{context}");
            assert!(!plain_again.contains("ENC["), "{plain_again}\n{context}");
            assert_eq!(
                sops(&program, folder.path(), &["filestatus", "x.yaml"]).unwrap().trim(),
                "{\"encrypted\":true}"
            );
            // sops sets one value; we read that, and only that value changed.
            let key = if rule.is_empty() { "a" } else { "added" };
            sops(&program, folder.path(), &["set", "x.yaml", &format!("[\"{key}\"]"), "\"v\""])
                .unwrap_or_else(|error| panic!("{error}\n{context}"));
            let set = std::fs::read_to_string(&file).unwrap();
            assert_eq!(trees(&opened(&set))[0][key], "v", "{context}\n{set}");
            let tokens = |text: &str| {
                let tokens = text
                    .lines()
                    .filter(|l| l.contains("ENC[") && l.contains("type:str") && !l.contains("mac:"));
                tokens
                    .map(|l| l[l.find("ENC[").unwrap()..l.find(']').unwrap()].to_owned())
                    .collect::<Vec<_>>()
            };
            let kept = tokens(&set);
            assert!(tokens(&text).iter().all(|token| kept.contains(token)), "{context}\n{set}");
            // We change that file, and sops reads it.
            let read = Encrypted::parse(&set).unwrap();
            let open = read.open(&alice()).unwrap();
            let path = Path::of_keys([key]);
            let again =
                open.set(0, &path, &Value::string("l1\nl2 #"), now(), &mut counter()).unwrap().unwrap();
            std::fs::write(&file, &again).unwrap();
            let plain_again = sops(&program, folder.path(), &["decrypt", "x.yaml"])
                .unwrap_or_else(|error| panic!("{error}\n{again}"));
            assert_eq!(trees(&plain_again)[0][key], "l1\nl2 #", "{again}");
            // Another recipient, and a rotation.
            let more =
                open.rekey(&[ALICE.parse().unwrap(), bob().1], now(), &mut counter()).unwrap().unwrap().text;
            for text in [more, open.rotate(now(), &mut counter()).unwrap()] {
                std::fs::write(&file, &text).unwrap();
                let plain_again = sops(&program, folder.path(), &["decrypt", "x.yaml"])
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(trees(&plain_again), trees(&opened(&set)), "{text}");
            }
        }
    }
}

#[test]
#[ignore = "needs released sops programs"]
fn sops_reads_what_begins_or_ends_in_other_ways() {
    let folder = tempfile::tempdir().unwrap();
    for plain in rewrite::FIRST_KEYS.into_iter().chain(rewrite::BLANKS) {
        let text = sealed(plain, "^password$");
        std::fs::write(folder.path().join("x.yaml"), &text).unwrap();
        for program in programs() {
            let back = sops(&program, folder.path(), &["decrypt", "x.yaml"])
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(trees(&back), trees(plain), "{}\n{text}", program.display());
        }
    }
}

#[test]
#[ignore = "needs released sops programs"]
fn we_read_and_rewrite_what_sops_writes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    for (rule, plain) in CASES {
        for program in programs() {
            std::fs::write(&file, plain).unwrap();
            let mut arguments = vec!["encrypt", "--age", ALICE, "--in-place"];
            if !rule.is_empty() {
                arguments.extend(["--encrypted-regex", rule]);
            }
            arguments.push("x.yaml");
            sops(&program, folder.path(), &arguments).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let back = opened(&text);
            assert_eq!(trees(&back), trees(plain), "{}\n{text}", program.display());
            assert!(!back.contains("ENC["), "{}\n{back}\n{text}", program.display());
            let read = Encrypted::parse(&text).unwrap();
            let open = read.open(&alice()).unwrap();
            assert_eq!(open.reencrypt(&back, now(), &mut counter()).unwrap(), None);
            let again = open.reencrypt(&format!("{back}added: 1\n"), now(), &mut counter()).unwrap().unwrap();
            std::fs::write(&file, &again).unwrap();
            let plain_again = sops(&program, folder.path(), &["decrypt", "x.yaml"])
                .unwrap_or_else(|error| panic!("{error}\n{again}"));
            assert!(
                !plain_again.contains("ENC[") && plain_again.contains("added: 1"),
                "{plain_again}\n{again}"
            );
        }
    }
}

#[test]
#[ignore = "needs released sops programs"]
fn sops_reads_json_that_we_rewrote() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["other/patch.json", "other/key-groups.yaml", "v3.13.3/full.yaml"] {
        let text = vector(name);
        let file = Encrypted::parse(&text).unwrap();
        let open = file.open(&alice()).unwrap();
        let plain = open.plaintext().expose().replace("pw-A", "new").replace("a: one", "a: new");
        let again = open.reencrypt(&plain, now(), &mut counter()).unwrap().unwrap();
        let name =
            if FsPath::new(name).extension().is_some_and(|end| end == "json") { "x.json" } else { "x.yaml" };
        std::fs::write(folder.path().join(name), &again).unwrap();
        for program in programs() {
            // Two of the groups are the first key's.
            let back = sops(&program, folder.path(), &["decrypt", name])
                .unwrap_or_else(|error| panic!("{error}\n{again}"));
            assert_eq!(trees(&back), trees(&plain), "{back}\n{again}");
            assert!(!back.contains("ENC["), "{back}\n{again}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    #[ignore = "needs released sops programs"]
    fn sops_reads_random_trees(tree in random::tree(), all in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let plain = emit(&tree, Indent::default());
        let rule = if all { Rule::default() } else { Rule::encrypted_regex("^password$").unwrap() };
        let text = encrypt(&plain, &Settings { rule, ..settings("x") }, now(), &mut counter()).unwrap();
        for program in programs() {
            std::fs::write(folder.path().join("x.yaml"), &text).unwrap();
            let back = sops(&program, folder.path(), &["decrypt", "x.yaml"]);
            prop_assert!(back.is_ok(), "{back:?}\n{text}");
            let want = trees(&opened(&text));
            // 1.0 comes back as 1.
            let normal = |trees: &[Json]| serde_json::to_string(trees).unwrap().replace(".0,", ",").replace(".0}", "}").replace(".0]", "]");
            prop_assert_eq!(normal(&trees(&back.clone().unwrap())), normal(&want), "{}\n{}", text, back.unwrap());
        }
    }

    #[test]
    #[ignore = "needs released sops programs"]
    fn sops_reads_what_people_write(text in random::text(), all in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let rule = if all { Rule::default() } else { Rule::encrypted_regex("^password$").unwrap() };
        let Ok(sealed) = encrypt(&text, &Settings { rule, ..settings("x") }, now(), &mut counter()) else { return Ok(()) };
        for program in programs() {
            std::fs::write(folder.path().join("x.yaml"), &sealed).unwrap();
            let back = sops(&program, folder.path(), &["decrypt", "x.yaml"]);
            prop_assert!(back.is_ok(), "{back:?}\n{text}\n{sealed}");
            let back = back.unwrap();
            // sops 3.9 drops a line break at the beginning of what it decrypts.
            let normal = |text: &str| serde_json::to_string(&trees(text)).unwrap().replace(":\"\\n", ":\"");
            prop_assert_eq!(normal(&back), normal(&text), "{}\n{}\n{}", text, sealed, back);
            // Where all is indented, comments left of it are nobody's; sops keeps one that it cannot open as it is.
            let mut lines = text.lines().filter(|line| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'));
            let indented = lines.next().is_some_and(|line| line.starts_with(' '));
            prop_assert!(indented || !back.contains("ENC["), "{}\n{}\n{}", text, sealed, back);
        }
    }
}
