use proptest::prelude::*;

use super::*;
use crate::rollout::outcome::OutcomeKind;
use crate::rollout::state_machine::{Persisted, Variant};
use crate::rollout::step::{ApplyResult, ApplyStep};
use crate::rollout::variants::ConfigDigest;
use crate::talos::Instance;

fn start() -> Record {
    let nodes = ["n1", "n2"].map(|name| Address {
        planned: None,
        name: name.to_owned(),
        address: format!("{name}.example"),
        known: None,
    });
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
        before: ConfigDigest::from_text(before),
        strict: Some(ConfigDigest::from_text("s")),
        wanted: ConfigDigest::from_text("w"),
        reboots: false,
        machine: None,
        nodename: None,
    }
}

fn send(what: ApplyStep) -> Record {
    Record::Send { node: "n1".to_owned(), what, arrives: None }
}

fn done(outcome: OutcomeKind) -> Record {
    Record::Done { node: "n1".to_owned(), outcome, reason: None }
}

fn text(records: &[Record]) -> String {
    let line = |record: &Record| Entry { at: "2026-01-02T03:04:05Z".to_owned(), record: record.clone() };
    records.iter().map(|record| line(record).to_text()).collect()
}

fn told(records: &[Record]) -> NodeHistory {
    let all: Vec<Record> = std::iter::once(start()).chain(records.iter().cloned()).collect();
    History::parse(&text(&all)).unwrap().by_node.remove("n1").unwrap_or_default()
}

#[test]
fn a_line_is_an_object() {
    assert_eq!(
        text(&[send(ApplyStep::TryStrict)]),
        "{\"at\":\"2026-01-02T03:04:05Z\",\"record\":\"send\",\"node\":\"n1\",\"what\":\"try-strict\"}\n"
    );
}

#[test]
fn the_first_original_is_what_a_rollback_goes_to() {
    let told = told(&[node("a", "1"), send(ApplyStep::Commit), done(OutcomeKind::Updated), node("b", "w")]);
    assert_eq!(told.first, Some(("a".to_owned(), ConfigDigest::from_text("1"))));
    assert_eq!((told.file.as_deref(), told.sent, told.outcome), (Some("b"), None, None));
}

/// What another runner has applied between two attempts is what a rollback of the second goes back to.
#[test]
fn a_change_between_two_attempts_is_not_rolled_back() {
    let committed = [node("a", "1"), send(ApplyStep::Commit), done(OutcomeKind::Updated)];
    let told = |more: &[Record]| told(&committed.iter().chain(more).cloned().collect::<Vec<_>>());
    let changed = told(&[node("b", "2")]);
    assert_eq!(changed.first, Some(("b".to_owned(), ConfigDigest::from_text("2"))));
    assert_eq!(changed.ours, ["s", "w"].map(ConfigDigest::from_text));
    let whose = ["1", "2", "w"].map(|config| changed.whose(&ConfigDigest::from_text(config)));
    assert_eq!(whose, [Variant::Foreign, Variant::Original, Variant::Desired]);
    let original = ("a".to_owned(), ConfigDigest::from_text("1"));
    assert_eq!(told(&[node("c", "1")]).first, Some(original.clone()));
    assert_eq!(told(&[node("c", "s")]).first, Some(original));
}

#[test]
fn a_node_that_was_left_alone_keeps_what_became_of_it() {
    let told = |more: &[Record]| {
        let begun = [node("a", "1"), send(ApplyStep::Commit)];
        told(&begun.iter().chain(more).cloned().collect::<Vec<_>>()).outcome
    };
    for outcome in [OutcomeKind::Updated, OutcomeKind::WantsReboot, OutcomeKind::Unknown] {
        assert_eq!(told(&[done(outcome), done(OutcomeKind::Untouched)]), Some(outcome));
    }
    assert_eq!(told(&[done(OutcomeKind::Untouched)]), Some(OutcomeKind::Untouched));
    assert_eq!(told(&[done(OutcomeKind::Updated), done(OutcomeKind::Reverted)]), Some(OutcomeKind::Reverted));
}

#[test]
fn what_is_not_a_journal_is_told() {
    assert!(matches!(History::parse(""), Err(JournalError::NoStart)));
    let error = History::parse(&format!("{}nonsense\n", text(&[start()]))).unwrap_err();
    assert_eq!(error.to_string(), "line 2 is not a record of a rollout");
    assert!(History::parse(&format!("{}{{\"at\":\"x\",\"rec", text(&[start()]))).is_ok());
}

/// A line that was written by half, as a full disk does it, announces nothing that was done.
#[test]
fn half_a_line_in_the_middle_is_passed_over() {
    let line = |record: &Record| text(std::slice::from_ref(record));
    let (begin, half) = (text(&[start(), node("a", "1")]), &line(&done(OutcomeKind::Updated))[..20]);
    let send = line(&send(ApplyStep::Try));
    for (broken, unreadable) in
        [(format!("{begin}{half}\n{send}"), [3]), (format!("{begin}{half}{send}"), [3])]
    {
        let history = History::parse(&broken).unwrap();
        assert_eq!(history.unreadable, unreadable);
        assert_eq!(history.by_node["n1"].sent, Some(ApplyStep::Try));
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
        before: ConfigDigest::from_text("w"),
        strict: None,
        wanted: ConfigDigest::from_text("x"),
        reboots: false,
        machine: None,
        nodename: None,
    };
    let told = told(&[node("a", "1"), send(ApplyStep::Commit), done(OutcomeKind::Updated), again]);
    let whose = |config| told.whose(&ConfigDigest::from_text(config));
    assert_eq!(
        ["1", "s", "w", "x", "2"].map(whose),
        [Variant::Original, Variant::Desired, Variant::Desired, Variant::Desired, Variant::Foreign]
    );
}

#[test]
fn what_is_left_is_decided_by_the_node_first() {
    use Persisted::{Hidden, Is, Unset};
    use Variant::{Desired, Foreign, Original, Strict};
    let begun = |what| told(&[node("a", "1"), send(what)]);
    let cases = [
        (ApplyStep::Try, Original, Unset, Leftover::Nothing),
        (ApplyStep::Try, Original, Is(Original), Leftover::Nothing),
        (ApplyStep::TryStrict, Strict, Unset, Leftover::Revert),
        (ApplyStep::Try, Desired, Unset, Leftover::Revert),
        (ApplyStep::Try, Desired, Hidden, Leftover::Revert),
        (ApplyStep::Try, Desired, Is(Original), Leftover::Revert),
        (ApplyStep::Try, Desired, Is(Desired), Leftover::Nothing),
        (ApplyStep::Commit, Desired, Is(Desired), Leftover::Rendering),
        (ApplyStep::Commit, Strict, Unset, Leftover::Revert),
        (ApplyStep::Commit, Strict, Is(Original), Leftover::Revert),
        (ApplyStep::Commit, Desired, Unset, Leftover::Commit),
        (ApplyStep::Commit, Desired, Is(Original), Leftover::Commit),
        (ApplyStep::Commit, Original, Is(Original), Leftover::Nothing),
        (ApplyStep::Revert, Desired, Is(Original), Leftover::Revert),
        (ApplyStep::Revert, Original, Is(Desired), Leftover::Revert),
        (ApplyStep::Revert, Desired, Is(Desired), Leftover::Rendering),
        (ApplyStep::Try, Foreign, Is(Original), Leftover::Foreign),
        (ApplyStep::Commit, Desired, Is(Foreign), Leftover::Foreign),
    ];
    for (what, active, disk, want) in cases {
        assert_eq!(leftover(&begun(what), active, disk), want, "{what:?} {active:?} {disk:?}");
    }
    // A reboot that was to follow the commit is not forgotten; what is on disk is told until the node boots.
    let reboots = |more: &[Record]| {
        let Record::Node { node, file, before, strict, wanted, .. } = node("a", "1") else { unreachable!() };
        let begun = [
            Record::Node {
                node,
                file,
                before,
                strict,
                wanted,
                reboots: true,
                machine: Some("m".to_owned()),
                nodename: None,
            },
            send(ApplyStep::Commit),
        ];
        told(&begun.iter().chain(more).cloned().collect::<Vec<_>>())
    };
    let asked = Record::Reboot { node: "n1".to_owned() };
    assert_eq!(leftover(&reboots(&[]), Desired, Is(Desired)), Leftover::Reboot);
    assert_eq!(leftover(&reboots(&[]), Desired, Hidden), Leftover::Reboot);
    assert_eq!(leftover(&reboots(&[]), Desired, Is(Original)), Leftover::Commit);
    assert_eq!(leftover(&reboots(&[done(OutcomeKind::WantsReboot)]), Desired, Is(Desired)), Leftover::Reboot);
    // It was seen to be committed, and has booted since.
    assert_eq!(leftover(&reboots(&[done(OutcomeKind::WantsReboot)]), Desired, Unset), Leftover::Nothing);
    assert_eq!(leftover(&reboots(std::slice::from_ref(&asked)), Desired, Is(Desired)), Leftover::Reboot);
    assert_eq!(leftover(&reboots(std::slice::from_ref(&asked)), Desired, Hidden), Leftover::Commit);
    assert_eq!(leftover(&reboots(&[asked]), Desired, Unset), Leftover::Commit);
    assert_eq!(leftover(&reboots(&[done(OutcomeKind::Updated)]), Desired, Is(Desired)), Leftover::Nothing);
    let done = told(&[node("a", "1"), send(ApplyStep::Commit), done(OutcomeKind::Updated)]);
    assert_eq!(leftover(&done, Desired, Unset), Leftover::Nothing);
    assert_eq!(leftover(&done, Foreign, Is(Foreign)), Leftover::Nothing);
    assert_eq!(leftover(&told(&[node("a", "1")]), Foreign, Unset), Leftover::Nothing);
}

#[test]
fn images_that_were_removed_are_not_forgotten() {
    let remove = |instance| Record::Remove { node: "n1".to_owned(), image: "a/b:1".to_owned(), instance };
    let begun = [node("a", "1"), send(ApplyStep::Try), remove(Instance::System), remove(Instance::Cri)];
    let removed = |more: &[Record]| told(&begun.iter().chain(more).cloned().collect::<Vec<_>>()).removed;
    let both = [Instance::System, Instance::Cri].map(|instance| ("a/b:1".to_owned(), instance));
    assert_eq!(removed(&[]), both);
    assert_eq!(removed(&[done(OutcomeKind::Unknown)]), both);
    assert!(removed(&[done(OutcomeKind::Reverted)]).is_empty());
}

#[test]
fn file_names_are_safe() {
    let digest = ConfigDigest::from_text("0123456789abcdef");
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
                before: ConfigDigest::from_text(&free),
                strict: None,
                wanted: ConfigDigest::from_text(&free),
                reboots: true,
                machine: Some("m".to_owned()),
                nodename: None,
            },
            1 => Record::Send { node, what: ApplyStep::Try, arrives: Some(free) },
            2 => {
                let (result, until) = (ApplyResult::Lost, Some(free.clone()));
                Record::Sent { node, what: ApplyStep::Try, result, until, arrives: Some(free) }
            }
            3 => Record::Done { node, outcome: OutcomeKind::Updated, reason: Some(free) },
            4 => Record::Reboot { node },
            5 => Record::Resume { cluster: None },
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
            let line = Entry { at: "t".to_owned(), record };
            let text = line.to_text();
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), line);
        }
    }
}

/// Journals as talmirror wrote them before its records had enums, read and written again byte by byte.
#[test]
fn a_journal_of_an_earlier_talmirror_reads_back() {
    let journals = [
        include_str!("../../../tests/data/journal/finished.ndjson"),
        include_str!("../../../tests/data/journal/again.ndjson"),
    ];
    let mut told = String::new();
    for text in journals {
        for line in text.lines() {
            // What stood between two trials is read as what leads back.
            let line = line.replace("\"put-back\"", "\"revert\"");
            assert_eq!(serde_json::from_str::<Entry>(&line).unwrap().to_text(), format!("{line}\n"));
        }
        let history = History::parse(text).unwrap();
        told += &format!("{} {} {}\n", history.id, history.context, history.complete);
        for node in &history.nodes {
            let found = &history.by_node[&node.name];
            told += &format!(
                "{}: sent {:?}, {:?}, reboots {}, rebooted {}, first {:?}, ours {}, removed {:?}\n",
                node.name,
                found.sent.map(|sent| crate::rollout::step::Step::Apply(sent).as_str()),
                found.outcome.map(OutcomeKind::as_str),
                found.reboots,
                found.rebooted,
                found.first.as_ref().map(|(file, _)| file.as_str()),
                found.ours.len(),
                found
                    .removed
                    .iter()
                    .map(|(image, of)| format!("{image} {}", of.as_str()))
                    .collect::<Vec<_>>(),
            );
        }
    }
    insta::assert_snapshot!(told, @r#"
    20261126T072806.534Z c false
    w-1: sent Some("revert"), Some("reverted"), reboots false, rebooted false, first Some("w-1-d351a49b.sops.yaml"), ours 2, removed []
    w-2: sent Some("commit"), Some("updated"), reboots false, rebooted false, first Some("w-2-0fd6e629.sops.yaml"), ours 4, removed []
    cp-1: sent Some("commit"), Some("updated"), reboots false, rebooted false, first Some("cp-1-978359e5.sops.yaml"), ours 2, removed []
    cp-2: sent Some("commit"), Some("updated"), reboots false, rebooted false, first Some("cp-2-f0e26aba.sops.yaml"), ours 2, removed []
    20261126T072823.330Z c false
    w-1: sent Some("commit"), Some("updated"), reboots false, rebooted false, first Some("w-1-d351a49b.sops.yaml"), ours 6, removed []
    w-2: sent Some("commit"), Some("updated"), reboots false, rebooted false, first Some("w-2-0fd6e629.sops.yaml"), ours 6, removed []
    cp-1: sent Some("revert"), Some("reverted"), reboots false, rebooted false, first Some("cp-1-978359e5.sops.yaml"), ours 2, removed []
    cp-2: sent None, Some("untouched"), reboots false, rebooted false, first None, ours 0, removed []
    "#);
}

/// Journals of an earlier talmirror, cut off after each of their records: what runs is never taken for what it is not.
#[test]
fn a_journal_of_an_earlier_talmirror_is_taken_up_at_each_record() {
    use Persisted::{Is, Unset};
    use Variant::{Desired, Foreign, Original, Strict};
    let journals = [
        include_str!("../../../tests/data/journal/finished.ndjson"),
        include_str!("../../../tests/data/journal/again.ndjson"),
    ];
    let mut put_back = 0;
    for text in journals {
        let lines: Vec<&str> = text.lines().collect();
        for end in 1..=lines.len() {
            put_back += usize::from(lines[end - 1].contains("put-back"));
            let history = History::parse(&(lines[..end].join("\n") + "\n")).unwrap();
            for (name, node) in &history.by_node {
                let left = |active, disk| leftover(node, active, disk);
                let context = || format!("{name} after {}", lines[end - 1]);
                if node.sent.is_none() || node.known.is_none() {
                    assert_eq!(left(Strict, Unset), Leftover::Nothing, "{}", context());
                    continue;
                }
                let is_open = matches!(node.outcome, None | Some(OutcomeKind::Unknown));
                assert_eq!(left(Strict, Unset), Leftover::Revert, "{}", context());
                assert_eq!(left(Original, Unset), Leftover::Nothing, "{}", context());
                let foreign = if is_open { Leftover::Foreign } else { Leftover::Nothing };
                assert_eq!(left(Foreign, Unset), foreign, "{}", context());
                assert_eq!(left(Desired, Is(Foreign)), foreign, "{}", context());
                // On disk it is the node's own.
                assert_eq!(left(Foreign, Is(Foreign)), Leftover::Nothing, "{}", context());
                let on_trial = match (node.sent, is_open) {
                    (Some(ApplyStep::Commit), true) => Leftover::Commit,
                    (Some(ApplyStep::Commit), false) => Leftover::Nothing,
                    _ => Leftover::Revert,
                };
                assert_eq!(left(Desired, Unset), on_trial, "{}", context());
                let is_for_good = is_open && node.sent.is_some_and(|sent| !sent.is_trial());
                let on_disk = match (node.wants_reboot(), is_for_good) {
                    (true, _) => Leftover::Reboot,
                    (false, true) => Leftover::Rendering,
                    (false, false) => Leftover::Nothing,
                };
                assert_eq!(left(Desired, Is(Desired)), on_disk, "{}", context());
            }
        }
    }
    assert!(put_back > 0);
}

/// What was sent may still arrive where its answer is lost, or nothing tells what came of it; a run that goes on has waited.
#[test]
fn what_may_still_arrive_is_known() {
    let sends = |what, at: &str| Record::Send { node: "n1".to_owned(), what, arrives: Some(at.to_owned()) };
    let sent = |what, result, at: Option<&str>| Record::Sent {
        node: "n1".to_owned(),
        what,
        result,
        until: None,
        arrives: at.map(str::to_owned),
    };
    let (early, late) = ("2026-01-02T03:04:07Z", "2026-01-02T03:06:07Z");
    let until = |records: &[Record]| told(records).may_arrive_until().map(|at| at.to_string());
    let (commit, revert) = (ApplyStep::Commit, ApplyStep::Revert);
    let open = [node("a", "1"), sends(commit, late)];
    assert_eq!(until(&open).as_deref(), Some(late));
    let with = |more: &[Record]| until(&open.iter().chain(more).cloned().collect::<Vec<_>>());
    assert_eq!(with(&[sent(commit, ApplyResult::Taken, None)]), None);
    let lost = sent(commit, ApplyResult::Lost, Some(early));
    assert_eq!(with(std::slice::from_ref(&lost)).as_deref(), Some(early));
    // The way back was taken, and what was lost before it may arrive all the same, whatever the end was.
    let back =
        [lost, sends(revert, late), sent(revert, ApplyResult::Taken, None), done(OutcomeKind::Reverted)];
    assert_eq!(with(&back).as_deref(), Some(early));
    assert_eq!(with(&[sends(revert, early)]).as_deref(), Some(late), "nothing tells of the first");
    for record in [Record::Resume { cluster: None }, Record::Rollback { cluster: None }] {
        assert_eq!(with(&[record]), None);
    }
    assert_eq!(until(&[node("a", "1"), send(commit)]), None, "a journal of old");
}
