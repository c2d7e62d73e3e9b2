//! What was changed after a file was sealed, and what SOPS would change.
use super::*;

const PLAIN: &str = "\
mirrors:
  harbor:
    url: https://harbor.lan
    credentials:
      username: u
      password: hunter2 # of the robot
  other:
    url: https://other.lan
registries: [docker.io]
";

fn settings() -> Settings {
    let rule = Rule::encrypted_regex("^(password|identityToken|key)$").unwrap();
    let settings = Settings::new(rule, vec![ALICE.parse().unwrap()]);
    Settings { structure: Bound::Yes, is_secret: Some(is_secret), ..settings }
}

fn sealed(plain: &str) -> String {
    encrypt(plain, &settings(), now(), &mut counter()).unwrap()
}

fn fault(text: &str) -> Option<IntegrityFault> {
    let file = Encrypted::parse(text).unwrap();
    let opened = file.open_changed(&alice()).unwrap();
    opened.fault().cloned()
}

#[test]
fn a_url_that_was_put_beside_a_password_is_told() {
    let text = sealed(PLAIN);
    assert!(text.contains("x-structure:\n    key: ENC["), "{text}");
    assert_eq!(fault(&text), None);
    // The values keep their order, so that the MAC fits.
    let moved = text.replace("  other:\n    url: https://other.lan\n", "").replace(
        "mirrors:\n  harbor:\n    url: https://harbor.lan\n",
        "mirrors:\n  other:\n    url: https://harbor.lan\n  harbor:\n",
    );
    assert_eq!(fault(&moved), Some(IntegrityFault::MacMismatch), "a value went");
    let renamed = text.replace("  harbor:\n    url", "  harbor:\n    link");
    let Some(IntegrityFault::Moved(paths)) = fault(&renamed) else { panic!("{:?}", fault(&renamed)) };
    assert_eq!(paths, ["[\"mirrors\"][\"harbor\"][\"link\"]"]);
    let error = Encrypted::parse(&renamed).unwrap().open(&alice()).unwrap_err();
    assert_eq!(error.exit_code(), 51);
    assert!(error.help().unwrap().contains("talmirror seal"));
}

#[test]
fn the_value_that_binds_cannot_be_taken_away() {
    let text = sealed(PLAIN);
    let (before, rest) = text.split_once("x-structure:\n").unwrap();
    let after = rest.split_once('\n').unwrap().1;
    assert_eq!(fault(&format!("{before}{after}")), Some(IntegrityFault::MacMismatch));
    let renamed = text.replace("x-structure:", "x-note:");
    assert!(Encrypted::parse(&renamed).unwrap().open_changed(&alice()).is_err());
}

#[test]
fn an_edit_renews_the_value_and_no_change_keeps_it() {
    let text = sealed(PLAIN);
    let file = Encrypted::parse(&text).unwrap();
    let opened = file.open(&alice()).unwrap();
    let plain = opened.plaintext();
    assert_eq!(opened.reencrypt(plain.expose(), now(), &mut counter()).unwrap(), None);
    let edited = plain.expose().replace("other.lan", "third.lan");
    let again = opened.reencrypt(&edited, now(), &mut counter()).unwrap().unwrap();
    assert_eq!(fault(&again), None);
    let rotated = plain.expose().replace("hunter2", "hunter3");
    let again = opened.reencrypt(&rotated, now(), &mut counter()).unwrap().unwrap();
    assert_eq!(fault(&again), None);
    let line =
        |text: &str| text.lines().skip_while(|line| *line != "x-structure:").nth(1).unwrap().to_owned();
    assert_eq!(line(&again), line(&text), "another password is not another structure");
}

#[test]
fn seal_takes_clear_changes_and_no_moved_value() {
    let text = sealed(PLAIN);
    let edited = text.replace("https://other.lan", "https://third.lan");
    assert_eq!(fault(&edited), Some(IntegrityFault::MacMismatch));
    let file = Encrypted::parse(&edited).unwrap();
    let again = file.open_changed(&alice()).unwrap().seal(now(), &mut counter()).unwrap();
    assert_eq!(fault(&again), None);
    assert!(again.contains("https://third.lan"));
    let password = |text: &str| text.lines().find(|line| line.contains("password: ENC")).unwrap().to_owned();
    assert_eq!(password(&again), password(&text));
    // A value of another path does not open there.
    let moved = text.replace("password: ENC", "identityToken: ENC");
    let error = Encrypted::parse(&moved).unwrap().open_changed(&alice()).unwrap_err();
    assert!(matches!(error, SopsError::Value { .. }), "{error}");
}

#[test]
fn a_comment_that_was_changed_is_told() {
    let settings = Settings::new(Rule::default(), vec![ALICE.parse().unwrap()]);
    let text = encrypt("# first\na: 1\n", &settings, now(), &mut counter()).unwrap();
    let damaged = |text: &str| {
        let file = Encrypted::parse(text).unwrap();
        let opened = file.open(&alice()).unwrap();
        opened.damaged_comments().iter().map(|at| at.line).collect::<Vec<_>>()
    };
    assert_eq!(damaged(&text), [] as [usize; 0]);
    let at = text.find("data:").unwrap() + 5;
    let other = if text[at..].starts_with('A') { "B" } else { "A" };
    let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    assert_eq!(damaged(&changed), [1]);
}

#[test]
fn numbers_that_sops_changes_are_refused_as_secrets_and_named_elsewhere() {
    for text in [
        "0123456",
        "12345_54321",
        "1e10",
        "007",
        ".5",
        "+12",
        "1.0",
        "0x1F",
        "99999999999999999999999",
        "True",
    ] {
        let plain = format!("a:\n  password: {text}\n");
        let error = encrypt(&plain, &settings(), now(), &mut counter()).unwrap_err();
        assert!(error.to_string().contains("in another form"), "{text}: {error}");
        assert!(!error.to_string().contains(text) && error.help().unwrap() == "put it in quotes");
        let quoted = format!("a:\n  password: \"{text}\"\n");
        assert!(encrypt(&quoted, &settings(), now(), &mut counter()).is_ok());
        let clear = format!("a: {text}\nb: 12\nc: 1.5\nd: true\ne: text\n");
        let named = encrypt_and_tell(&clear, &settings(), now(), &mut counter()).unwrap().rewritten;
        assert_eq!(named.iter().map(|value| value.position.line).collect::<Vec<_>>(), [1], "{text}");
    }
    let text = sealed(PLAIN);
    let file = Encrypted::parse(&text).unwrap();
    let opened = file.open(&alice()).unwrap();
    let plain = opened.plaintext().expose().replace("hunter2", "0123");
    assert!(opened.reencrypt(&plain, now(), &mut counter()).is_err());
}

#[test]
fn several_documents_go_where_the_mac_covers_every_value() {
    let plain = "a: 1\npassword: p\n---\nb: 2\npassword: q\n";
    let with = |rule: Rule| {
        let settings = Settings::new(rule, vec![ALICE.parse().unwrap()]);
        let settings = Settings { mac_scope: MacScope::Encrypted, ..settings };
        encrypt(plain, &settings, now(), &mut counter())
    };
    let text = with(Rule::default()).unwrap();
    let (first, second) = text.split_once("\n---\n").unwrap();
    let swapped = format!("{second}---\n{first}\n");
    assert_eq!(fault(&swapped), Some(IntegrityFault::MacMismatch));
    let error = with(Rule::encrypted_regex("^password$").unwrap()).unwrap_err();
    assert!(error.help().unwrap().contains("so that the MAC covers every value"), "{error}");
}
