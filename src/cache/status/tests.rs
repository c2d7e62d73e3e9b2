use jiff::Timestamp;
use proptest::prelude::*;

use super::images_page::images_page;
use super::layout::POLICY;
use super::status_page::status_page;
use super::view::{
    Degraded, DownloadState, FailureState, ImageState, Images, PAGE, Status, StoreState, TrafficState,
    search, slots,
};
use crate::cache::admin::{EndpointState, HostState, RepositoryState, UpstreamState};
use crate::cache::observe::{Minute, Traffic};

const NOW: i64 = 1_790_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn minute(start: i64, hits: u64, misses: u64, sent_bytes: u64, received_bytes: u64) -> Minute {
    let traffic = Traffic { hits, misses, joined: 0, sent_bytes, received_bytes };
    Minute { start: u64::try_from(start - start % 60).unwrap(), traffic }
}

/// A busy server; every text that comes from elsewhere is `text`.
fn busy(text: &str) -> Status {
    let own = || text.to_owned();
    let paused = EndpointState {
        endpoint: own(),
        paused: Some(own()),
        paused_since: Some("2026-09-21T14:00:00Z".to_owned()),
        paused_until: Some(own()),
        repositories: vec![RepositoryState {
            repository: own(),
            only: Some("manifests/1".to_owned()),
            paused: own(),
            paused_since: None,
            paused_until: Some("2026-09-21T14:20:00Z".to_owned()),
        }],
        quota_limit: Some(100),
        quota_remaining: Some(7),
    };
    let asked = EndpointState {
        endpoint: own(),
        paused: None,
        paused_since: None,
        paused_until: None,
        repositories: Vec::new(),
        quota_limit: None,
        quota_remaining: None,
    };
    let upstream = UpstreamState {
        registry: own(),
        transfers: 2,
        transfers_limit: 8,
        queued: 1,
        endpoints: vec![paused, asked],
    };
    let minutes = [
        minute(NOW - 3000, 0, 4, 1 << 20, 1 << 20),
        minute(NOW - 600, 30, 1, 90 << 20, 3 << 20),
        minute(NOW, 7, 0, 11 << 20, 0),
    ];
    let (slot_seconds, slots) = slots(minutes.iter(), NOW.unsigned_abs());
    let since_start = minutes.iter().fold(Traffic::default(), |sum, minute| sum.and(minute.traffic));
    Status {
        api_version: "talmirror/v1",
        kind: "CacheStatus",
        version: "1.2.3",
        now: at(NOW),
        started_at: at(NOW - 3000),
        degraded: vec![Degraded { part: "disk", why: own() }],
        store: StoreState {
            cap_bytes: Some(50 << 30),
            stored_bytes: 20 << 30,
            reserved_bytes: 1 << 30,
            free_bytes: Some(30 << 30),
            blobs: 1234,
            manifests: 321,
            tags: 99,
            evicted: 5,
            evicted_bytes: 5 << 20,
            damaged: 1,
        },
        traffic: TrafficState { since_start, hit_percent: since_start.hit_percent(), slot_seconds, slots },
        upstreams: vec![upstream],
        hidden_repositories: 2,
        hidden_hosts: 1,
        hosts: vec![HostState { host: own(), paused: own(), paused_since: Some(own()), paused_until: None }],
        bucket: None,
        peers: None,
        downloads: vec![
            DownloadState {
                from: Some(own()),
                digest: Some(own()),
                received_bytes: 5 << 20,
                total_bytes: Some(9 << 20),
                readers: 3,
            },
            DownloadState {
                from: Some(own()),
                digest: None,
                received_bytes: 0,
                total_bytes: None,
                readers: 1,
            },
        ],
        failures: vec![FailureState {
            at: at(NOW - 5),
            status: 503,
            registry: Some(own()),
            path: Some(own()),
            why: own(),
            times: 4,
        }],
    }
}

fn idle() -> Status {
    let (slot_seconds, slots) = slots([].iter(), NOW.unsigned_abs());
    Status {
        degraded: Vec::new(),
        store: StoreState { free_bytes: None, ..StoreState::default() },
        traffic: TrafficState { since_start: Traffic::default(), hit_percent: None, slot_seconds, slots },
        upstreams: Vec::new(),
        hidden_repositories: 0,
        hosts: Vec::new(),
        hidden_hosts: 0,
        bucket: None,
        peers: None,
        downloads: Vec::new(),
        failures: Vec::new(),
        ..busy("")
    }
}

fn images(text: &str, from: usize) -> Images {
    let image = |number: usize| ImageState {
        image: text.to_owned(),
        digest: text.to_owned(),
        stored_bytes: 3 << 20,
        missing: number % 2,
        checked_at: at(NOW),
    };
    Images {
        api_version: "talmirror/v1",
        kind: "CacheImages",
        version: "1.2.3",
        query: text.to_owned(),
        found: from + PAGE + 1,
        total: 4000,
        hidden: 3,
        from,
        items: (0..2).map(image).collect(),
    }
}

/// Compares a page with the one that is checked in; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/status/{name}", env!("CARGO_MANIFEST_DIR"));
    // Style and script are files of their own.
    let text: String = text.split_inclusive("</style>").map(|part| cut(part, "<style>")).collect();
    let text: String = text.split_inclusive("</script>").map(|part| cut(part, "<script>")).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == text, "{path} differs; UPDATE_GOLDEN=1 writes it. Now:\n{text}");
}

fn cut(part: &str, from: &str) -> String {
    match part.split_once(from) {
        Some((before, inside)) => format!("{before}{from}…{}", &inside[inside.rfind("</").unwrap()..]),
        None => part.to_owned(),
    }
}

#[test]
fn pages_are_as_checked_in() {
    golden("busy.html", &status_page(&busy("ghcr.io/some/thing")));
    golden("idle.html", &status_page(&idle()));
    golden("images.html", &images_page(&images("ghcr.io/some/thing", 100)));
    let none =
        Images { items: Vec::new(), found: 0, total: 0, hidden: 0, query: String::new(), ..images("", 0) };
    golden("no-images.html", &images_page(&none));
    golden("busy.json", &(serde_json::to_string_pretty(&busy("ghcr.io/some/thing")).unwrap() + "\n"));
}

#[test]
fn the_policy_names_the_style_and_script_of_the_page() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let page = status_page(&idle());
    for (begin, end, rule) in [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")]
    {
        let (_, rest) = page.split_once(begin).unwrap();
        let hash = base64::engine::general_purpose::STANDARD
            .encode(sha2::Sha256::digest(rest.split_once(end).unwrap().0));
        assert!(POLICY.contains(&format!("{rule} 'sha256-{hash}'")), "{}", *POLICY);
    }
    assert!(POLICY.starts_with("default-src 'none';") && !POLICY.contains("unsafe"), "{}", *POLICY);
    assert!(
        !page.contains(" style=")
            && !page.contains(" onclick=")
            && !page.contains("http://")
            && !page.contains("https://")
    );
}

#[test]
fn slots_cover_the_time_since_the_first_minute() {
    for (age, slot, count) in
        [(0, 60, 60), (3500, 60, 60), (3700, 300, 72), (7 * 3600, 900, 96), (90_000, 900, 96)]
    {
        let minutes = [minute(NOW - age, 3, 0, 0, 0), minute(NOW, 2, 0, 0, 0)];
        let (seconds, slots) = slots(minutes.iter(), NOW.unsigned_abs());
        assert_eq!((seconds, slots.len()), (slot, count), "{age}");
        let last = slots.last().unwrap();
        assert!(
            last.start <= at(NOW)
                && at(NOW).as_second() - last.start.as_second() < i64::try_from(slot).unwrap()
        );
        let hits: u64 = slots.iter().map(|slot| slot.traffic.hits).sum();
        // What is older than a day is not shown.
        assert_eq!(hits, if age > 86_400 { 2 } else { 5 }, "{age}");
    }
}

#[test]
fn every_word_of_a_search_fits() {
    let of = |image: &str, digest: &str| ImageState {
        image: image.to_owned(),
        digest: digest.to_owned(),
        ..images("", 0).items.remove(0)
    };
    let all = [of("ghcr.io/a/web:1", "sha256:00ff"), of("docker.io/library/web:2-RC.1", "sha256:11ffee")];
    let found = |query: &str| search(&all, query).map(|image| image.image.as_str()).collect::<Vec<_>>();
    let second = ["docker.io/library/web:2-RC.1"];
    assert_eq!(found(""), ["ghcr.io/a/web:1", second[0]]);
    assert_eq!(found(" WEB ghcr "), ["ghcr.io/a/web:1"]);
    for query in ["2-rc.1", "2-RC", "sha256:11", "SHA256:11FF", "11ff", "web 11ffE"] {
        assert_eq!(found(query), second, "{query}");
    }
    // Short words are of names: `1` would begin many a digest.
    assert!(found("11f").is_empty());
    assert!(found("web ff").is_empty());
}

/// Reads a page as a browser does: the names of tags and attributes in their order; values and text are left out.
fn markup(page: &str) -> Vec<String> {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (body, _) = rest.split_once("<script>").unwrap();
    let (mut out, mut chars) = (Vec::new(), head.chars().chain(body.chars()).peekable());
    while let Some(c) = chars.next() {
        if c != '<' {
            continue;
        }
        let (mut tag, mut quote) = (String::new(), None);
        for c in chars.by_ref() {
            match (quote, c) {
                (None, '>') => break,
                (None, '"' | '\'') => quote = Some(c),
                (Some(begun), c) if begun == c => quote = None,
                (None, c) => tag.push(c),
                (Some(_), _) => {}
            }
        }
        out.push(tag);
    }
    out
}

proptest! {
    #[test]
    fn no_text_changes_the_markup(text in r#"([<>"'&/=!\-a-z \n\u{0}\u{202e}]|<script>|<!--|]]>|&lt;|\PC){0,24}"#) {
        // A text that is a time is written as one.
        prop_assume!(text.parse::<Timestamp>().is_err());
        prop_assume!(!text.trim().is_empty());
        prop_assert_eq!(markup(&status_page(&busy(&text))), markup(&status_page(&busy("x"))));
        prop_assert_eq!(markup(&images_page(&images(&text, 0))), markup(&images_page(&images("x", 0))));
        let page = status_page(&busy(&text)) + &images_page(&images(&text, 0));
        let acts = page.contains(['\u{0}', '\u{202e}']);
        prop_assert!(!acts, "{}", page);
    }
}
