use proptest::prelude::*;

use super::*;

fn start() -> Record {
    let nodes =
        ["n1", "n2"].map(|name| Address { name: name.to_owned(), address: format!("{name}.example") });
    Record::Start {
        id: "i".to_owned(),
        version: "0".to_owned(),
        context: "c".to_owned(),
        cluster: None,
        nodes: nodes.to_vec(),
    }
}

fn node(file: &str, before: &str) -> Record {
    Record::Node {
        node: "n1".to_owned(),
        file: file.to_owned(),
        before: before.to_owned(),
        strict: Some("s".to_owned()),
        wanted: "w".to_owned(),
        reboots: false,
    }
}

fn send(what: Sending) -> Record {
    Record::Send { node: "n1".to_owned(), what: what.as_str().to_owned() }
}

fn done(outcome: &str) -> Record {
    Record::Done { node: "n1".to_owned(), outcome: outcome.to_owned(), reason: None }
}

fn text(records: &[Record]) -> String {
    let line = |record: &Record| Line { at: "2026-01-02T03:04:05Z".to_owned(), record: record.clone() };
    records.iter().map(|record| line(record).to_text()).collect()
}

fn told(records: &[Record]) -> NodeHistory {
    let all: Vec<Record> = std::iter::once(start()).chain(records.iter().cloned()).collect();
    History::parse(&text(&all)).unwrap().told.remove("n1").unwrap_or_default()
}

#[test]
fn a_line_is_an_object() {
    assert_eq!(
        text(&[send(Sending::TryStrict)]),
        "{\"at\":\"2026-01-02T03:04:05Z\",\"record\":\"send\",\"node\":\"n1\",\"what\":\"try-strict\"}\n"
    );
}

#[test]
fn the_first_original_is_what_a_rollback_goes_to() {
    let told = told(&[node("a", "1"), send(Sending::Commit), done("updated"), node("b", "w")]);
    assert_eq!(told.first, Some(("a".to_owned(), Digest::from_text("1"))));
    assert_eq!((told.file.as_deref(), told.sent, told.outcome), (Some("b"), None, None));
}

/// What another hand has applied between two attempts is what a rollback of the second goes back to.
#[test]
fn a_change_between_two_attempts_is_not_rolled_back() {
    let committed = [node("a", "1"), send(Sending::Commit), done("updated")];
    let told = |more: &[Record]| told(&committed.iter().chain(more).cloned().collect::<Vec<_>>());
    let changed = told(&[node("b", "2")]);
    assert_eq!(changed.first, Some(("b".to_owned(), Digest::from_text("2"))));
    assert_eq!(changed.ours, ["s", "w"].map(Digest::from_text));
    let whose = ["1", "2", "w"].map(|config| changed.whose(&Digest::from_text(config)));
    assert_eq!(whose, [Which::Other, Which::Old, Which::Wanted]);
    let original = ("a".to_owned(), Digest::from_text("1"));
    assert_eq!(told(&[node("c", "1")]).first, Some(original.clone()));
    assert_eq!(told(&[node("c", "s")]).first, Some(original));
}

#[test]
fn a_node_that_was_left_alone_keeps_what_became_of_it() {
    let told = |more: &[Record]| {
        let begun = [node("a", "1"), send(Sending::Commit)];
        told(&begun.iter().chain(more).cloned().collect::<Vec<_>>()).outcome
    };
    for outcome in ["updated", "wants-reboot", "unknown"] {
        assert_eq!(told(&[done(outcome), done("untouched")]).as_deref(), Some(outcome));
    }
    assert_eq!(told(&[done("untouched")]).as_deref(), Some("untouched"));
    assert_eq!(told(&[done("updated"), done("reverted")]).as_deref(), Some("reverted"));
}

#[test]
fn what_is_no_journal_is_told() {
    assert!(matches!(History::parse(""), Err(JournalError::NoStart)));
    let error = History::parse(&format!("{}nonsense\n", text(&[start()]))).unwrap_err();
    assert_eq!(error.to_string(), "line 2 is no record of a rollout");
    assert!(History::parse(&format!("{}{{\"at\":\"x\",\"rec", text(&[start()]))).is_ok());
}

/// A line that was written by half, as a full disk does it, announces nothing that was done.
#[test]
fn half_a_line_in_the_middle_is_passed_over() {
    let line = |record: &Record| text(std::slice::from_ref(record));
    let (begin, half) = (text(&[start(), node("a", "1")]), &line(&done("updated"))[..20]);
    let send = line(&send(Sending::Try));
    for (broken, unreadable) in
        [(format!("{begin}{half}\n{send}"), [3]), (format!("{begin}{half}{send}"), [3])]
    {
        let history = History::parse(&broken).unwrap();
        assert_eq!(history.unreadable, unreadable);
        assert_eq!(history.told["n1"].sent, Some(Sending::Try));
    }
    // What another version has written may matter.
    let other = format!("{begin}{{\"at\":\"t\",\"record\":\"magic\"}}\n{send}");
    assert!(matches!(History::parse(&other), Err(JournalError::Line { line: 3, .. })));
}

#[test]
fn the_configs_of_every_attempt_are_ours() {
    let again = Record::Node {
        node: "n1".to_owned(),
        file: "b".to_owned(),
        before: "w".to_owned(),
        strict: None,
        wanted: "x".to_owned(),
        reboots: false,
    };
    let told = told(&[node("a", "1"), send(Sending::Commit), done("updated"), again]);
    let whose = |config| told.whose(&Digest::from_text(config));
    assert_eq!(
        ["1", "s", "w", "x", "2"].map(whose),
        [Which::Old, Which::Wanted, Which::Wanted, Which::Wanted, Which::Other]
    );
}

#[test]
fn what_is_left_is_decided_by_the_node_first() {
    use OnDisk::{Hidden, Is, Unset};
    use Which::{Old, Other, Strict, Wanted};
    let begun = |what| told(&[node("a", "1"), send(what)]);
    let cases = [
        (Sending::Try, Old, Unset, Left::Nothing),
        (Sending::Try, Old, Is(Old), Left::Nothing),
        (Sending::TryStrict, Strict, Unset, Left::Revert),
        (Sending::Try, Wanted, Unset, Left::Revert),
        (Sending::Try, Wanted, Hidden, Left::Revert),
        (Sending::Try, Wanted, Is(Old), Left::Revert),
        (Sending::Try, Wanted, Is(Wanted), Left::Nothing),
        (Sending::Commit, Wanted, Is(Wanted), Left::Nothing),
        (Sending::Commit, Wanted, Unset, Left::Commit),
        (Sending::Commit, Wanted, Is(Old), Left::Commit),
        (Sending::Commit, Old, Is(Old), Left::Nothing),
        (Sending::Revert, Wanted, Is(Old), Left::Revert),
        (Sending::Revert, Old, Is(Wanted), Left::Revert),
        (Sending::Try, Other, Is(Old), Left::Foreign),
        (Sending::Commit, Wanted, Is(Other), Left::Foreign),
    ];
    for (what, active, disk, want) in cases {
        assert_eq!(left(&begun(what), active, disk), want, "{what:?} {active:?} {disk:?}");
    }
    // A reboot that was to follow the commit is not forgotten; what is on disk is told until the node boots.
    let reboots = |more: &[Record]| {
        let Record::Node { node, file, before, strict, wanted, .. } = node("a", "1") else { unreachable!() };
        let begun =
            [Record::Node { node, file, before, strict, wanted, reboots: true }, send(Sending::Commit)];
        told(&begun.iter().chain(more).cloned().collect::<Vec<_>>())
    };
    let asked = Record::Reboot { node: "n1".to_owned() };
    assert_eq!(left(&reboots(&[]), Wanted, Is(Wanted)), Left::Reboot);
    assert_eq!(left(&reboots(&[]), Wanted, Hidden), Left::Reboot);
    assert_eq!(left(&reboots(&[]), Wanted, Is(Old)), Left::Commit);
    assert_eq!(left(&reboots(&[done("wants-reboot")]), Wanted, Is(Wanted)), Left::Reboot);
    assert_eq!(left(&reboots(std::slice::from_ref(&asked)), Wanted, Is(Wanted)), Left::Reboot);
    assert_eq!(left(&reboots(std::slice::from_ref(&asked)), Wanted, Hidden), Left::Commit);
    assert_eq!(left(&reboots(&[asked]), Wanted, Unset), Left::Commit);
    assert_eq!(left(&reboots(&[done("updated")]), Wanted, Is(Wanted)), Left::Nothing);
    let done = told(&[node("a", "1"), send(Sending::Commit), done("updated")]);
    assert_eq!(left(&done, Wanted, Unset), Left::Nothing);
    assert_eq!(left(&done, Other, Is(Other)), Left::Nothing);
    assert_eq!(left(&told(&[node("a", "1")]), Other, Unset), Left::Nothing);
}

#[test]
fn images_that_were_removed_are_not_forgotten() {
    let remove = |instance: &str| Record::Remove {
        node: "n1".to_owned(),
        image: "a/b:1".to_owned(),
        instance: instance.to_owned(),
    };
    let begun = [node("a", "1"), send(Sending::Try), remove("system"), remove("cri")];
    let removed = |more: &[Record]| told(&begun.iter().chain(more).cloned().collect::<Vec<_>>()).removed;
    let both = ["system", "cri"].map(|instance| ("a/b:1".to_owned(), instance.to_owned()));
    assert_eq!(removed(&[]), both);
    assert_eq!(removed(&[done("unknown")]), both);
    assert!(removed(&[done("reverted")]).is_empty());
}

#[test]
fn file_names_are_safe() {
    let digest = Digest::from_text("0123456789abcdef");
    assert_eq!(file_name("../[fd00::1]:50000", &digest, "yaml"), "__fd00__1__50000-01234567.yaml");
    assert_eq!(file_name("n1.example", &digest, "sops.yaml"), "n1.example-01234567.sops.yaml");
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let names = proptest::sample::select(vec!["n1", "n2", "ñ \"3\"\n"]);
    let one = (names, 0..7u8, ".*").prop_map(|(name, kind, free)| {
        let node = name.to_owned();
        match kind {
            0 => Record::Node {
                node,
                file: free.clone(),
                before: free.clone(),
                strict: None,
                wanted: free,
                reboots: true,
            },
            1 => Record::Send { node, what: "try".to_owned() },
            2 => Record::Sent { node, what: "try".to_owned(), result: free, until: None },
            3 => Record::Done { node, outcome: "updated".to_owned(), reason: Some(free) },
            4 => Record::Reboot { node },
            5 => Record::Resume,
            _ => Record::Finish { complete: true },
        }
    });
    proptest::collection::vec(one, 0..12)
}

proptest! {
    /// A journal cut off at any byte says what its whole lines say.
    #[test]
    fn a_cut_is_no_harm(records in records(), cut in any::<prop::sample::Index>()) {
        let all: Vec<Record> = std::iter::once(start()).chain(records).collect();
        let whole = text(&all);
        let first = whole.find('\n').unwrap() + 1;
        let mut at = first + cut.index(whole.len() - first + 1);
        while !whole.is_char_boundary(at) {
            at -= 1;
        }
        let cut = History::parse(&whole[..at]).unwrap();
        let lines = whole[..at].matches('\n').count();
        prop_assert_eq!(cut, History::parse(&text(&all[..lines])).unwrap());
    }

    /// Whatever is written is read as it was.
    #[test]
    fn records_come_back(records in records()) {
        for record in records {
            let line = Line { at: "t".to_owned(), record };
            let text = line.to_text();
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }
}
