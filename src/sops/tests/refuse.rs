use super::*;

#[test]
fn tampering_is_told_as_sops_tells_it() {
    let plain = "\
mirrors:
    docker.io:
        endpoints:
            - https://a
            - https://b
        port: 65535
        on: true
    ghcr.io: 1
config:
    one:
        password: secret-1
        username: u1
    two:
        password: secret-2
        username: u2
";
    let text = sealed(plain, "^password$");
    let token = |of: usize| {
        text.lines().filter_map(|line| line.trim().strip_prefix("password: ")).nth(of).unwrap().to_owned()
    };
    let (first, second) = (token(0), token(1));
    let try_open = |text: &str| match Encrypted::parse(text).and_then(|file| file.open(&alice()).map(|_| ()))
    {
        Ok(()) => 0,
        Err(error) => error.exit_code(),
    };
    let swap = |a: &str, b: &str| text.replace(a, "\u{1}").replace(b, a).replace('\u{1}', b);
    for (what, edited, want) in [
        ("nothing", text.clone(), 0),
        (
            "a flipped ciphertext",
            text.replace(&first, &first.replacen("data:", "data:A", 1).replacen("A=", "=", 1)),
            25,
        ),
        ("two secrets swapped", swap(&first, &second), 25),
        ("a secret's ancestor renamed", text.replace("    one:", "    three:"), 25),
        ("a clear value changed", text.replace("https://a", "https://c"), 51),
        ("a clear value deleted", text.replace("        username: u1\n", ""), 51),
        ("clear values reordered", swap("https://a", "https://b"), 51),
        ("a secret blanked", text.replace(&first, "\"\""), 51),
        ("plaintext in place of a secret", text.replace(&first, "hunter2"), 25),
        ("a number in place of a secret", text.replace(&first, "5"), 25),
        ("lastmodified edited", text.replace("12:00:00Z", "12:00:01Z"), 51),
        (
            "mac_only_encrypted injected",
            text.replace("    version", "    mac_only_encrypted: true\n    version"),
            51,
        ),
        ("the MAC gone", text.replacen("    mac: ", "    no_mac: ", 1), 51),
        // What SOPS does not authenticate.
        ("a clear key renamed", text.replace("ghcr.io", "quay.io"), 0),
        ("two clear keys swapped", swap("docker.io", "ghcr.io"), 0),
        (
            "a type changed",
            text.replace("ghcr.io: 1", "ghcr.io: \"1\"").replace("on: true", "on: \"True\""),
            0,
        ),
        ("nulls and empties added", format!("n: null\ne: {{}}\nl: []\ns: \"\"\n{text}"), 0),
        ("one value split", text.replace("port: 65535", "port: 655\n        more: 35"), 0),
        ("a comment added", format!("# hello\n{text}"), 0),
        (
            "the rule widened",
            text.replace("encrypted_regex: ^password$", "encrypted_regex: ^(password|x)$"),
            0,
        ),
        ("metadata added", text.replace("    version", "    note: x\n    version"), 0),
        ("junk behind a token", text.replace(&first, &format!("{first}junk")), 0),
        ("another notation of the time", text.replace("12:00:00Z", "12:00:00.5+00:00"), 0),
    ] {
        assert!(what == "nothing" || edited != text, "{what}");
        assert_eq!(try_open(&edited), want, "{what}\n{edited}");
    }
}

#[test]
fn a_missing_key_is_explained() {
    let file = Encrypted::parse(&vector("v3.13.3/v1alpha1.moe.yaml")).unwrap();
    let (mut bob, recipient) = bob();
    bob.missed("SOPS_AGE_KEY", None);
    let error = file.open(&bob).unwrap_err();
    assert_eq!(error.exit_code(), 128);
    assert_eq!(
        error.to_string(),
        format!(
            "none of the keys at hand opens the file: it is for {ALICE}; found {recipient}; looked in keys-second.txt, SOPS_AGE_KEY"
        )
    );
    // A key that the file is for, and what is wrapped for it was changed.
    let text = vector("v3.13.3/v1alpha1.moe.yaml");
    let body = text.find("-> X25519").or_else(|| text.find("BEGIN AGE ENCRYPTED FILE-----\n")).unwrap();
    let at = body + 120;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let damaged = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    let error = Encrypted::parse(&damaged).unwrap().open(&alice()).unwrap_err();
    assert!(error.to_string().contains("what the file holds for that key does not open"), "{error}");
    assert_eq!(error.help().as_deref(), Some("restore the `sops:` of the file from your history"));
    let none = file.open(&Identities::default()).unwrap_err().to_string();
    assert!(none.ends_with("found nothing; looked in nothing"), "{none}");
}

#[test]
fn what_sops_cannot_keep_is_refused() {
    let refuse = |plain: &str| encrypt(plain, &settings("^password$"), now(), &mut counter()).unwrap_err();
    for (plain, want, code) in [
        ("", "the text is empty", 23),
        ("- op: add\n", "the document is a list at line 1, column 1", 23),
        ("a: 1\n---\n# nothing\n---\nb: 2\n", "the document is not a mapping at line 2, column 4", 23),
        ("{a: 1}\n", "the document is written as `{…}`", 23),
        ("sops: 1\n", "the key `sops` is taken by SOPS itself at line 1, column 1", 23),
        ("sops: {mac: x}\n", "the text is encrypted already at line 1, column 1", 203),
        (
            "a: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n",
            "the text is encrypted already at line 1, column 4",
            203,
        ),
        (
            "a: ENC[AGE,data:x]\n",
            "the file is encrypted by talm, in a format of its own (`ENC[AGE,…]`) at line 1, column 4",
            1,
        ),
        ("a: &x 1\nb: *x\n", "[\"b\"] is an alias or comes from a merge key at line 2, column 4", 23),
        (
            "a: &x {k: 1}\nb:\n    <<: *x\n",
            "[\"b\"][\"k\"] is an alias or comes from a merge key at line 1, column 11",
            23,
        ),
        ("a:\n    <<: x\n", "there is a merge key, `<<` at line 2, column 5", 23),
        ("a:\n    5000: x\n", "the key `5000` is not a string at line 2, column 5", 23),
        ("2024-01-02: x\n", "the key `2024-01-02` is not a string at line 1, column 1", 23),
        ("a: 9223372036854775808\n", "[\"a\"] is a number above 9223372036854775807 at line 1, column 4", 23),
        ("a: !!binary eA==\n", "[\"a\"] has a tag that SOPS drops at line 1, column 13", 23),
        ("password: !!int 5\n", "[\"password\"] has a tag that SOPS drops at line 1, column 17", 23),
        (
            "a: 2024-01-02\n",
            "[\"a\"] is a date without quotes, which sops before 3.10 cannot read at line 1, column 4",
            23,
        ),
        ("a: -0.0\n", "[\"a\"] is -0.0, which sops writes as 0 at line 1, column 4", 23),
        (
            "a: \"x\\L\"\n",
            "[\"a\"] contains U+0085, U+2028 or U+2029, which sops takes for a line break at line 1, column 4",
            23,
        ),
        ("a: [\"\\nx\"]\n", "[\"a\"][0] begins with a line break, which sops loses at line 1, column 5", 23),
        (
            "password:\n    # why\n    - x\n",
            "[\"password\"] has a comment in a list that is encrypted, which sops 3.13.2 cannot read at line 2, column 5",
            23,
        ),
        (
            "# x\u{2028}y\na: 1\n",
            "the document contains U+0085, U+2028 or U+2029, which sops takes for a line break at line 1, column 4",
            23,
        ),
        (
            "# top\n\u{feff}a:\n    #x\n",
            "the document begins a line with U+FEFF, which sops takes for text at line 2, column 1",
            23,
        ),
        (
            "\u{feff}\u{feff}a: 1\n",
            "the document begins a line with U+FEFF, which sops takes for text at line 1, column 1",
            23,
        ),
        (
            "a: 1\n...\n\u{feff}---\nb: 2\n",
            "the document begins a line with U+FEFF, which sops takes for text at line 3, column 1",
            23,
        ),
        (
            "a: 1\r# c\nb: 2\n",
            "the document ends a line with a carriage return alone at line 1, column 5",
            23,
        ),
        ("a: 1\nb:\n    ? # c\n      <<\n", "there is a merge key, `<<` at line 4, column 7", 23),
        ("a: {<<}\n", "there is a merge key, `<<` at line 1, column 5", 23),
        ("a: [\n", "the text is not valid YAML", 2),
    ] {
        let error = refuse(plain);
        assert_eq!((error.to_string().as_str(), error.exit_code()), (want, code), "{plain}");
        assert!(plain == "a: [\n" || error.help().is_some(), "{plain}");
    }
    let mut two = settings("x");
    two.recipients.push(ALICE.parse().unwrap());
    assert!(
        encrypt("a: 1\n", &two, now(), &mut counter()).unwrap_err().to_string().ends_with("is given twice")
    );
    two.recipients.clear();
    assert_eq!(
        encrypt("a: 1\n", &two, now(), &mut counter()).unwrap_err().to_string(),
        "there is no recipient"
    );
    let loose = Settings { mac_scope: MacScope::Encrypted, ..settings("x") };
    assert!(encrypt("a: 1\n---\nb: 1\n", &loose, now(), &mut counter()).is_err());
}

#[test]
fn another_style_than_the_files_is_refused() {
    let block = sealed("a: 1\n", "x");
    for (file, plain, want) in [
        (block.clone(), "{a: 2}\n", "the document is written as `{…}`"),
        (block, "a: 1\n---\n{a: 2}\n", "the document is written as `{…}`"),
        (
            vector("other/patch.json"),
            "a: 1\n",
            "the document is not written as `{…}`, as the encrypted file is",
        ),
    ] {
        let file = Encrypted::parse(&file).unwrap();
        let error = file.open(&alice()).unwrap().reencrypt(plain, now(), &mut counter()).unwrap_err();
        assert_eq!(error.to_string(), want);
        assert!(error.help().is_some());
    }
}

#[test]
fn a_rule_with_a_gap_is_caught() {
    let plain =
        "config:\n    a:\n        auth:\n            password: x\n            identityToken: hunter2\n";
    let guarded = Settings { is_secret: Some(is_secret), ..settings("^password$") };
    let error = encrypt(plain, &guarded, now(), &mut counter()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[\"config\"][\"a\"][\"auth\"][\"identityToken\"] (line 5) would be left in clear text"
    );
    assert!(Rule::encrypted_regex("^(password$").is_err());
    // A file with a rule that does not compile is not followed either.
    let text = sealed(plain, "^password$").replace("^password$", "^(password$");
    assert_eq!(Encrypted::parse(&text).unwrap_err().to_string(), "the `sops:` of the file cannot be used");
}
