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
        .prop_filter("taken, or a merge", |key| key != "sops" && key != "<<")
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
        // Our own layout comes back to the byte.
        prop_assert_eq!(back, plain);
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
