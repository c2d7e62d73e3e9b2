use super::*;

/// Trees with the scalars and shapes that meet in machine configs, and some that do not.
pub(super) fn tree() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        "(\\PC|[ \\n\\t:#'\"{}\\[\\],&*!|>%@`-]){0,20}",
        "[a-z0-9.:/$-]{0,12}",
        "(yes|null|012|1e3|~|2024-01-02|0x1f)"
    ];
    let leaf = prop_oneof![
        text.prop_filter("sops damages it", |text| {
            !text.starts_with('\n')
                && !text.contains(['\u{2028}', '\u{2029}', '\u{85}', '\u{feff}'])
                && !text.starts_with("ENC[")
        })
        .prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        (-1e9f64..1e9).prop_filter("sops damages it", |f| *f != 0.0).prop_map(Json::from),
        Just(Json::Null),
    ];
    let inner = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    });
    prop::collection::vec((key(), inner), 1..5).prop_map(|pairs| Json::Object(pairs.into_iter().collect()))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("password".to_owned()), "[a-z.]{1,6}(:[0-9]{1,4})?", "\\PC{1,8}"]
        .prop_filter("taken, a merge, or a break", |key| {
            key != "sops" && key != "<<" && !key.contains(['\u{2028}', '\u{2029}'])
        })
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(documents in prop::collection::vec(tree(), 1..3), step in 2usize..5, all in any::<bool>()) {
        let plain = emit_stream(&documents, Indent::new(step));
        let rule = if all { Rule::default() } else { Rule::encrypted_regex("^password$").unwrap() };
        let settings = Settings { rule, indent: Indent::new(step), ..settings("x") };
        let text = encrypt(&plain, &settings, now(), &mut counter());
        let text = match text {
            Ok(text) => text,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{plain}"))),
        };
        let back = opened(&text);
        prop_assert_eq!(trees(&back), documents, "{}", text);
        // Our own layout comes back to the byte, but for blanks and kept line breaks at the end of a block scalar.
        let blank = plain.lines().any(|line| line.ends_with([' ', '\t', '+']));
        prop_assert!(blank || back == plain, "{}\n{}", plain, back);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC|[\\n :#'\"{}\\[\\]-]){0,80}", at in 0usize..900, cut in 0usize..60) {
        let _ = Encrypted::parse(&text).map(|file| file.open(&alice()).is_ok());
        let _ = encrypt(&text, &settings("x"), now(), &mut counter());
        let mut file = vector("v3.13.3/comments.yaml");
        let start = file.floor_char_boundary(at);
        let end = file.floor_char_boundary(start + cut);
        file.replace_range(start..end, &text);
        let _ = Encrypted::parse(&file).map(|file| file.open(&alice()).is_ok());
    }
}

/// Texts as people write them: comments anywhere, flow and block style, odd indentation.
pub(super) fn text() -> impl Strategy<Value = String> {
    let key = "(a|b|c|d|password|list)";
    let line = prop_oneof![
        4 => key.prop_map(|key| format!("{key}:")),
        3 => (key, "(x|1|'q'|\"d\\\\n\"|''|\\[\\]|\\{\\}|~|yes)").prop_map(|(key, value)| format!("{key}: {value}")),
        2 => Just("- x".to_owned()),
        1 => key.prop_map(|key| format!("- {key}: v # inline")),
        3 => Just("# comment".to_owned()),
        1 => key.prop_map(|key| format!("{key}: x # inline")),
        1 => key.prop_map(|key| format!("{key}: {{k: [1, \"two\"], password: s}}")),
        1 => key.prop_map(|key| format!("{key}: |")),
        1 => key.prop_map(|key| format!("{key}: >")),
        1 => Just(String::new()),
        1 => Just("---".to_owned()),
    ];
    let indented = (0usize..5, line)
        .prop_map(|(depth, line)| if line == "---" { line } else { format!("{}{line}", "  ".repeat(depth)) });
    prop::collection::vec(indented, 1..14).prop_map(|lines| lines.join("\n") + "\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_people_write_survives(text in text(), all in any::<bool>()) {
        let rule = if all { Rule::default() } else { Rule::encrypted_regex("^password$").unwrap() };
        let sealed = match encrypt(&text, &Settings { rule, ..settings("x") }, now(), &mut counter()) {
            Ok(sealed) => sealed,
            Err(error) => {
                prop_assert!(!matches!(error, SopsError::ReadBack), "{}", text);
                return Ok(());
            }
        };
        let back = opened(&sealed);
        prop_assert_eq!(trees(&back), trees(&text), "{}\n{}", text, sealed);
        let file = Encrypted::parse(&sealed).unwrap();
        let open = file.open(&alice()).unwrap();
        prop_assert_eq!(open.reencrypt(&text, now(), &mut counter()).unwrap(), None);
        let more = open.reencrypt(&format!("zz: 1\n{back}"), now(), &mut counter());
        if let Ok(more) = more {
            let more = more.unwrap();
            let tokens = sealed.lines().filter(|line| line.contains("ENC[") && !line.contains("mac:"));
            let kept: Vec<_> = more.lines().collect();
            for token in tokens {
                prop_assert!(kept.contains(&token), "{}\n{}\n{}", token, sealed, more);
            }
        }
    }
}

/// Texts as hardly anyone writes them: words and signs of YAML in any order.
fn odd() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "b",
        "password",
        "password: x\n",
        "b:\n  ",
        "password:\n  - ",
        ": ",
        ":",
        "\n",
        "\n",
        "\n  ",
        "\n    ",
        "\r\n",
        "\r",
        " ",
        "  ",
        "\t",
        "- ",
        "? ",
        "&x ",
        "!!str ",
        "!!map ",
        "\u{feff}",
        "\u{85}",
        "\n---\n",
        "\n...\n",
        "%YAML 1.2\n",
        "|",
        "|2",
        "|-",
        ">+",
        "# c\n",
        " # d\n",
        "1",
        "'q'",
        "\"d\"",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "{}",
        "[]",
        "<<",
        "~",
        "sops",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 2..16).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_nobody_writes_survives_or_is_refused(text in odd(), all in any::<bool>()) {
        let rule = if all { Rule::default() } else { Rule::encrypted_regex("^password$").unwrap() };
        match encrypt(&text, &Settings { rule, ..settings("x") }, now(), &mut counter()) {
            Ok(sealed) => prop_assert_eq!(trees(&opened(&sealed)), trees(&text), "{}", sealed),
            Err(error) => prop_assert!(!matches!(error, SopsError::ReadBack), "{:?}", text),
        }
    }
}
