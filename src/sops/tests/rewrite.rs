use super::*;

#[test]
fn only_what_changed_changes() {
    for name in every_vector() {
        let text = vector(&name);
        let file = Encrypted::parse(&text).unwrap();
        let open = file.open(&alice()).unwrap();
        let plain = open.plaintext();
        assert_eq!(open.reencrypt(plain.expose(), now(), &mut counter()).unwrap(), None, "{name}");
        let (old, new) =
            [("s3cr3t-A", "changed"), ("pw-B", "changed"), ("a: one", "a: two"), ("line1", "line9")]
                .into_iter()
                .find(|(old, _)| plain.expose().contains(old))
                .unwrap();
        let edited = plain.expose().replace(old, new);
        let again = open.reencrypt(&edited, now(), &mut counter()).unwrap().unwrap();
        let documents = trees(&edited).len();
        let want: Vec<&str> = match old {
            "a: one" => vec!["a"],
            "line1" => vec!["ml"],
            _ => vec!["password"],
        };
        let count = |word: &str| changed(&text, &again).iter().filter(|line| *line == word).count();
        assert_eq!((count("mac"), count("lastmodified")), (documents, documents), "{name}");
        let mut rest = changed(&text, &again);
        rest.retain(|line| line != "mac" && line != "lastmodified");
        assert_eq!(rest, want, "{name}\n{again}");
        assert_eq!(trees(&opened(&again)), trees(&edited), "{name}");
    }
}

#[test]
fn layout_alone_is_no_change() {
    let text = sealed("a:\n    password: x\n    b: [1, 2]\n", REGISTRY);
    let file = Encrypted::parse(&text).unwrap();
    let open = file.open(&alice()).unwrap();
    let same = "a:\n  password: 'x'\n  b:\n  - 1\n  - 2\n";
    assert_eq!(open.reencrypt(same, now(), &mut counter()).unwrap(), None);
    for other in [
        "a:\n  b: [1, 2]\n  password: x\n",
        "a:\n  password: x\n  b: [1, '2']\n",
        "# c\na:\n  password: x\n  b: [1, 2]\n",
    ] {
        assert!(open.reencrypt(other, now(), &mut counter()).unwrap().is_some(), "{other}");
    }
}

#[test]
fn the_users_text_survives() {
    let plain = "\
# head
---
machine:   # inline
  registries:
    config:
      'zot.example.com:5000':   {auth: {username: u, password: \"p:w\"}}
      a:
        tls:
          clientIdentity:
            crt: |
              CERT
            key: |
              -----BEGIN KEY-----
              abc

              -----END KEY-----

        auth: {} # nothing
  # tail
list:
- a
# between
- password: x   # inline
  empty: ''
  password_unused:
...
";
    let text = sealed(plain, "^(password|key)$");
    assert!(!text.contains("BEGIN KEY") && !text.contains("p:w"), "{text}");
    let again = opened(&text);
    assert_eq!(trees(&again), trees(plain));
    // Only the block scalar is indented by another step.
    let dedent = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(dedent(&again), dedent(plain));
    assert!(text.ends_with("    version: 3.9.4\n...\n"), "{text}");
}

#[test]
fn windows_line_breaks_survive() {
    let plain = "# c\r\na: 1 # i\r\npassword: x # j\r\nb: |\r\n  l1\r\n  l2\r\n";
    for rule in [Rule::default(), Rule::encrypted_regex("^password$").unwrap()] {
        let text = encrypt(plain, &Settings { rule, ..settings("x") }, now(), &mut counter()).unwrap();
        assert_eq!(trees(&opened(&text)), trees(plain), "{text}");
        assert_eq!(yaml::parse(&opened(&text)).unwrap().documents[0].comments[0].text, " c");
    }
    assert!(opened(&sealed(plain, "^password$")).starts_with(&plain[..30]));
}

/// Texts whose first key does not stand where the mapping begins, or not in the column that its offset says.
pub(super) const FIRST_KEYS: [&str; 6] = [
    "\u{feff}password: x\n",
    "\u{feff}# c\npassword: x\na:\n    #c\n",
    "!!str password: x\nb: 1\n",
    "&k password: x\nb: 1\n",
    "  ? password\n  : x\n",
    "a: 1\n---\n? # c\n  password\n: x\n",
];

#[test]
fn what_stands_before_the_first_key_is_no_indentation() {
    for plain in FIRST_KEYS {
        let text = sealed(plain, "^password$");
        assert_eq!(opened(&text), plain, "{text}");
        let file = Encrypted::parse(&text).unwrap();
        let open = file.open(&alice()).unwrap();
        let last = trees(plain).len() - 1;
        let set = open.set(last, &Path::of_keys(["new"]), &Value::int(1), now(), &mut counter());
        assert_eq!(trees(&opened(&set.unwrap().unwrap()))[last]["new"], 1, "{plain}");
    }
}

/// Texts with blanks at the end of a line or of the last line, where they may or may not be a scalar's.
pub(super) const BLANKS: [&str; 6] = [
    "a: |+\n    x\n        ",
    "a: |1-\n  ",
    "a: |+\n    x\n  ",
    "password: |+\n    x\n  ",
    "password: \"x\\ny\" ",
    "password: \"x\\ny\"  \na: 1\n",
];

#[test]
fn blanks_at_the_end_of_a_line_stay_what_they_are() {
    for plain in BLANKS {
        assert_eq!(trees(&opened(&sealed(plain, "^password$"))), trees(plain), "{plain}");
    }
}

#[test]
fn a_comment_behind_a_block_scalars_header_goes_with_it() {
    let plain = "a:\n    - x\npassword: | # why\n    l1\n    l2\nb: | # stays\n    l\n";
    let text = sealed(plain, "^password$");
    assert_eq!(opened(&text), plain.replace(" # why", ""), "{text}");
}

#[test]
fn our_layout_is_that_of_sops() {
    // What `sops encrypt` made of the same text, ciphertext and key left out.
    let mask = |text: &str| {
        let armored =
            regex::Regex::new(r"(?s)-----BEGIN.*?-----END").unwrap().replace_all(text, "ARMOR").into_owned();
        let sealed = regex::Regex::new(r"data:[^,]*,iv:[^,]*,tag:[^,]*")
            .unwrap()
            .replace_all(&armored, "X")
            .into_owned();
        let timed = regex::Regex::new("2026-[^\"]*").unwrap().replace_all(&sealed, "TIME").into_owned();
        timed.replace("3.13.3", "3.9.4")
    };
    for (name, plain, rule, scope) in [
        ("multidoc", "multidoc", REGISTRY, MacScope::All),
        ("v1alpha1.moe", "v1alpha1", "^(password|identityToken|key)$", MacScope::Encrypted),
    ] {
        let settings = Settings { mac_scope: scope, ..settings(rule) };
        let ours =
            encrypt(&vector(&format!("plain/{plain}.yaml")), &settings, now(), &mut counter()).unwrap();
        assert_eq!(mask(&ours), mask(&vector(&format!("v3.13.3/{name}.yaml"))), "{name}");
    }
}

#[test]
fn json_of_sops_is_read_and_rewritten() {
    let text = vector("other/patch.json");
    let file = Encrypted::parse(&text).unwrap();
    let open = file.open(&alice()).unwrap();
    let plain = open.plaintext();
    assert_eq!(
        serde_json::from_str::<Json>(plain.expose()).unwrap(),
        json!({"name": "zot:5000", "a": {"password": "pw-A", "n": 1}, "l": ["x"]})
    );
    assert_eq!(open.reencrypt(plain.expose(), now(), &mut counter()).unwrap(), None);
    let new = open.set(
        0,
        &"[\"a\"][\"password\"]".parse().unwrap(),
        &Value::string("a\"b\n"),
        now(),
        &mut counter(),
    );
    let new = new.unwrap().unwrap();
    assert_eq!(changed(&text, &new), ["\"password\"", "\"lastmodified\"", "\"mac\""]);
    assert_eq!(serde_json::from_str::<Json>(&opened(&new)).unwrap()["a"]["password"], "a\"b\n");
}

#[test]
fn json_is_read_and_rewritten() {
    let text = sealed("a:\n    password: x\n    n: 1\n", REGISTRY);
    let tree = trees(&text).remove(0);
    let json = serde_json::to_string_pretty(&tree).unwrap();
    assert_eq!(trees(&opened(&json)), [json!({"a": {"password": "x", "n": 1}})]);
    let file = Encrypted::parse(&json).unwrap();
    let open = file.open(&alice()).unwrap();
    let plain = open.plaintext();
    let again =
        open.reencrypt(&plain.expose().replace("\"x\"", "\"y\""), now(), &mut counter()).unwrap().unwrap();
    assert!(serde_json::from_str::<Json>(&again).is_ok(), "{again}");
    assert_eq!(changed(&json, &again), ["\"password\"", "\"mac\""]);
}

#[test]
fn set_changes_one_value() {
    let text = vector("v3.13.3/multidoc.yaml");
    let file = Encrypted::parse(&text).unwrap();
    let open = file.open(&alice()).unwrap();
    let set = |document, path: &str, value: Value| {
        open.set(document, &path.parse().unwrap(), &value, now(), &mut counter())
            .map_err(|error| error.to_string())
    };
    assert_eq!(set(1, "[\"password\"]", Value::string("pw-B")), Ok(None));
    let new = set(1, "[\"password\"]", Value::string("x\ny: #")).unwrap().unwrap();
    assert_eq!(changed(&text, &new), ["lastmodified", "mac", "password", "lastmodified", "mac"]);
    assert_eq!(trees(&opened(&new))[1]["password"], "x\ny: #");
    let new = set(0, "[\"username\"]", Value::string("l1\nl2")).unwrap().unwrap();
    assert!(new.contains("username: |-\n    l1\n    l2\npassword: ENC["), "{new}");
    let new = set(0, "[\"identityToken\"]", Value::string("t")).unwrap().unwrap();
    assert!(new.contains("\nidentityToken: ENC[") && trees(&opened(&new))[0]["identityToken"] == "t");
    assert_eq!(set(0, "[\"a\"][\"b\"]", Value::int(1)), Err("there is nothing at [\"a\"][\"b\"]".into()));
    assert_eq!(
        set(0, "", Value::int(1)),
        Err("the document is a mapping or a list at line 1, column 1".into())
    );
    assert_eq!(open.extract(0, &"[\"password\"]".parse().unwrap()).unwrap().expose(), "pw-A");
    assert_eq!(open.extract(0, &"[\"x\"]".parse().unwrap()).unwrap_err().exit_code(), 91);
}

#[test]
fn an_encrypted_patch_is_a_map() {
    let text = sealed("patch:\n    - op: add\n      path: /a\n      value: {password: x}\n", REGISTRY);
    let file = Encrypted::parse(&text).unwrap();
    let patch = file.open(&alice()).unwrap().extract(0, &"[\"patch\"]".parse().unwrap()).unwrap();
    assert_eq!(patch.expose(), "- op: add\n  path: /a\n  value:\n    password: x\n");
}

#[test]
fn recipients_come_and_go() {
    let (bob_key, bob) = bob();
    let alice_name: Recipient = ALICE.parse().unwrap();
    for name in ["v3.9.4/multidoc.yaml", "v3.13.3/v1alpha1.moe.yaml"] {
        let text = vector(name);
        let file = Encrypted::parse(&text).unwrap();
        let only: Vec<Recipient> = file.recipients().iter().map(|r| r.parse().unwrap()).collect();
        let open = file.open(&alice()).unwrap();
        assert_eq!(open.rekey(&only, now(), &mut counter()).unwrap(), None);
        let both = open.rekey(&[bob.clone(), alice_name.clone()], now(), &mut counter()).unwrap();
        let Some(both) = both else { continue };
        assert_eq!(both.change, KeyChange::Wrapped { added: vec![bob.to_string()] });
        // Lines are only added.
        let mut kept = both.text.lines();
        assert!(text.lines().all(|line| kept.any(|other| other == line)), "{}", both.text);
        let file = Encrypted::parse(&both.text).unwrap();
        assert_eq!(trees(file.open(&bob_key).unwrap().plaintext().expose()), trees(&opened(&text)));

        let open = file.open(&bob_key).unwrap();
        let rotated = open.rekey(std::slice::from_ref(&bob), now(), &mut counter()).unwrap().unwrap();
        assert_eq!(rotated.change, KeyChange::Rotated { added: vec![], removed: vec![ALICE.to_owned()] });
        let file = Encrypted::parse(&rotated.text).unwrap();
        assert_eq!(file.open(&alice()).unwrap_err().exit_code(), 128);
        assert_eq!(trees(file.open(&bob_key).unwrap().plaintext().expose()), trees(&opened(&text)));
        let tokens = |text: &str| {
            text.lines()
                .filter(|l| l.contains("ENC["))
                .map(str::to_owned)
                .collect::<std::collections::HashSet<_>>()
        };
        assert!(tokens(&rotated.text).is_disjoint(&tokens(&text)));
    }
    // Lists with sealed comments can be rotated too.
    let file = Encrypted::parse(&vector("v3.13.3/full.yaml")).unwrap();
    let rotated = file.open(&alice()).unwrap().rotate(now(), &mut counter()).unwrap();
    assert_eq!(opened(&rotated), opened(&vector("v3.13.3/full.yaml")));
}

#[test]
fn what_is_not_ours_stays() {
    let text = sealed("password: x\n", REGISTRY);
    let foreign = "    pgp:\n        - created_at: \"2026-01-01T00:00:00Z\"\n          enc: |-\n            -----BEGIN PGP MESSAGE-----\n          fp: ABCD # whose\n    version";
    let text = text.replace("    version", foreign);
    let file = Encrypted::parse(&text).unwrap();
    assert_eq!(file.recipients(), [ALICE, "pgp ABCD"]);
    let open = file.open(&alice()).unwrap();
    let new = open.reencrypt("password: y\n", now(), &mut counter()).unwrap().unwrap();
    assert_eq!(changed(&text, &new), ["password", "mac"]);
    assert!(open.rekey(&[bob().1], now(), &mut counter()).unwrap_err().to_string().contains("pgp ABCD"));
    assert!(
        open.rekey(&[ALICE.parse().unwrap(), bob().1], now(), &mut counter())
            .unwrap()
            .unwrap()
            .text
            .contains(foreign)
    );
}

#[test]
fn our_emitter_and_sops_agree_on_secrets_that_are_pem_keys() {
    let tree = json!({"config": {"zot:5000": {"tls": {"clientIdentity": {"crt": "C\n", "key": "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"}}}}});
    let plain = emit(&tree, Indent::default());
    assert_eq!(opened(&sealed(&plain, REGISTRY)), plain);
}
