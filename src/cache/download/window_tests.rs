//! What the readers of an object share that cannot be kept, under a clock that jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::Policy;
use super::resuming_body::ResumingBody;
use super::tests::{Answer, GOOD, Script, content};
use super::window::{LEAST_ASK, Wants, Window, WindowReader};

const MIB: usize = 1 << 20;

struct Case {
    content: Bytes,
    source: Arc<Script>,
    window: Arc<Window>,
    memory: Arc<AtomicUsize>,
}

impl Case {
    /// An object of so many bytes, of which a transfer has begun that gave nothing yet.
    async fn new(size: usize, answer: Answer) -> Self {
        let content = content(size);
        let source = Script::new(&content, [], answer);
        let total = size as u64;
        let mut body = ResumingBody::new(Arc::clone(&source) as _, Policy::default(), 0, None);
        body.begin().await.unwrap();
        let memory = Arc::new(AtomicUsize::new(0));
        let (shared, counted) = (Arc::clone(&source) as _, Arc::clone(&memory));
        let window = Window::new(shared, Policy::default(), total, body, Vec::new(), counted);
        Self { content, source, window: Arc::new(window), memory }
    }

    fn all(&self) -> WindowReader {
        self.window.enter(0, self.content.len() as u64, Wants::All)
    }

    fn part(&self, from: usize, end: usize) -> WindowReader {
        self.window.enter(from as u64, end as u64, Wants::Part)
    }

    fn held(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}

/// Reads what lies between two positions.
async fn read(reader: &WindowReader, from: usize, end: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < end - from {
        let bytes = reader.read((from + out.len()) as u64, end as u64).await.unwrap();
        assert!(!bytes.is_empty());
        out.extend_from_slice(&bytes);
    }
    out
}

#[tokio::test(start_paused = true)]
async fn one_reader_takes_the_transfer_that_is_there_and_little_memory() {
    let case = Case::new(10 * MIB, GOOD).await;
    let reader = case.all();
    for from in (0..10 * MIB).step_by(MIB) {
        assert!(read(&reader, from, from + MIB).await == case.content[from..from + MIB], "{from}");
        assert!(case.held() <= 5 * MIB, "{} bytes at {from}", case.held());
    }
    assert_eq!(case.source.asked(), [0]);
    drop(reader);
    assert_eq!(case.held(), 0, "what no reader wants is not held");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_whose_reader_does_not_come_ends() {
    let case = Case::new(4 * MIB, GOOD).await;
    let other = case.part(3 * MIB, 3 * MIB + 1000);
    assert!(read(&other, 3 * MIB, 3 * MIB + 1000).await == case.content[3 * MIB..3 * MIB + 1000]);
    case.window.forget_first();
    assert!(read(&case.all(), 0, MIB).await == case.content[..MIB]);
    assert_eq!(case.source.asked(), [0, 3 * MIB as u64, 0]);
}

#[tokio::test(start_paused = true)]
async fn readers_at_one_place_share_one_transfer() {
    let case = Case::new(8 * MIB, GOOD).await;
    let (a, b) = (case.all(), case.all());
    for from in (0..8 * MIB).step_by(MIB) {
        // The second is now ahead of the first, now behind it.
        let (first, second) = if (from / MIB).is_multiple_of(2) { (&a, &b) } else { (&b, &a) };
        for reader in [first, second] {
            assert!(read(reader, from, from + MIB).await == case.content[from..from + MIB], "{from}");
        }
    }
    assert_eq!(case.source.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_part_elsewhere_is_asked_for_by_itself() {
    let case = Case::new(6 * MIB, GOOD).await;
    let (all, part) = (case.all(), case.part(4 * MIB, 4 * MIB + 1000));
    assert!(read(&part, 4 * MIB, 4 * MIB + 1000).await == case.content[4 * MIB..4 * MIB + 1000]);
    assert_eq!(case.source.asked(), [0, 4 * MIB as u64]);
    assert!(case.held() <= 1000, "{} bytes of a part of 1000", case.held());
    assert!(read(&all, 0, 6 * MIB).await == case.content);
}

/// As containerd reads: from somewhere on, hung up on long before the end.
#[tokio::test(start_paused = true)]
async fn a_part_without_end_is_asked_for_bit_by_bit() {
    let case = Case::new(12 * MIB, GOOD).await;
    let begin = 2 * MIB;
    let reader = case.part(begin, 12 * MIB);
    let step = usize::try_from(LEAST_ASK).unwrap();
    assert!(read(&reader, begin, begin + step).await == case.content[begin..begin + step]);
    assert_eq!(case.source.asked(), [0, begin as u64], "one request for the first bit of it");
    assert!(read(&reader, begin + step, begin + step + 1).await == case.content[begin + step..=begin + step]);
    assert_eq!(case.source.asked(), [0, begin as u64, (begin + step) as u64]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_waited_for_a_while_and_goes_on_when_it_wants_to() {
    let case = Case::new(52 * MIB, GOOD).await;
    let (fast, stalled) = (case.all(), case.all());
    assert!(read(&stalled, 0, 1000).await == case.content[..1000]);
    assert!(read(&fast, 0, 52 * MIB).await == case.content);
    assert!(case.held() <= 49 * MIB, "{} bytes", case.held());
    assert_eq!(case.source.asked(), [0]);
    drop(fast);
    assert!(read(&stalled, 1000, 52 * MIB).await == case.content[1000..]);
    // What it missed comes again, around what is held still.
    assert!(case.source.asked().len() <= 4, "{:?}", case.source.asked());
}

#[tokio::test(start_paused = true)]
async fn where_no_parts_are_given_all_read_from_one_transfer() {
    let case = Case::new(8 * MIB, Answer { ranges: false, ..GOOD }).await;
    let part = case.part(6 * MIB, 6 * MIB + 1000);
    assert!(read(&part, 6 * MIB, 6 * MIB + 1000).await == case.content[6 * MIB..6 * MIB + 1000]);
    let asked = case.source.asked().len();
    let (near, far) = (case.part(2 * MIB, 2 * MIB + 1000), case.part(7 * MIB, 7 * MIB + 1000));
    assert!(read(&near, 2 * MIB, 2 * MIB + 1000).await == case.content[2 * MIB..2 * MIB + 1000]);
    assert!(read(&far, 7 * MIB, 7 * MIB + 1000).await == case.content[7 * MIB..7 * MIB + 1000]);
    assert!(case.source.asked().len() <= asked + 1, "{:?}", case.source.asked());
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_told_once_and_not_held() {
    let case = Case::new(2 * MIB, GOOD).await;
    let (a, b) = (case.all(), case.all());
    read(&a, 0, MIB).await;
    assert!(case.held() > 0);
    case.window.mismatch();
    case.window.mismatch();
    assert_eq!(case.held(), 0);
    assert_eq!(*case.source.mismatches.lock().unwrap(), [[0]]);
    drop((a, b));
}
