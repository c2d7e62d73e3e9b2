use std::collections::{HashMap, VecDeque};

use super::pending::Pending;

/// What is to be written to a bucket, in the order in which it came; the latest of what has one name.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<String>,
    items: HashMap<String, Item>,
    /// What is not to be written now.
    aside: Vec<String>,
    /// What the journal does not say yet.
    unsaid: String,
    dropped: u64,
}

#[derive(Debug)]
struct Item {
    pending: Pending,
    /// It is being written: what came meanwhile is written after it.
    is_taken: bool,
    has_changed: bool,
    /// How often it could not be written.
    tries: u32,
}

/// The most that may wait: what comes beyond is not written, and counted.
pub(super) const MOST: usize = 100_000;

/// What became of something that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    New,
    /// Something of that name waited already.
    Known,
    /// Too much waits: it is not written.
    Dropped,
}

impl Queue {
    /// Adds something.
    pub(super) fn push(&mut self, pending: Pending) -> Pushed {
        let name = pending.name();
        if let Some(item) = self.items.get_mut(&name) {
            // Also where it is the same: what is being written may be gone when it is said to be there.
            item.has_changed = item.is_taken;
            if item.pending != pending {
                self.unsaid.push_str(&format!("+ {}\n", pending.write()));
                item.pending = pending;
            }
            return Pushed::Known;
        }
        if self.items.len() >= MOST {
            self.dropped += 1;
            return Pushed::Dropped;
        }
        self.unsaid.push_str(&format!("+ {}\n", pending.write()));
        self.order.push_back(name.clone());
        self.items.insert(name, Item { pending, is_taken: false, has_changed: false, tries: 0 });
        Pushed::New
    }

    /// Takes the next to be written.
    pub(super) fn take(&mut self) -> Option<Pending> {
        let name = self.order.pop_front()?;
        let item = self.items.get_mut(&name)?;
        item.is_taken = true;
        Some(item.pending.clone())
    }

    /// Takes note that something was written, or need not be.
    pub(super) fn done(&mut self, name: &str) {
        match self.items.get(name) {
            Some(item) if item.has_changed => self.later(name),
            Some(_) => self.remove(name),
            None => {}
        }
    }

    fn remove(&mut self, name: &str) {
        self.items.remove(name);
        self.unsaid.push_str(&format!("- {name}\n"));
    }

    /// Gives up something that could not be written though everything else can.
    pub(super) fn give_up(&mut self, name: &str) {
        self.dropped += 1;
        self.order.retain(|other| other != name);
        self.remove(name);
    }

    /// Puts something at the end that is to be written, and cannot be just now.
    pub(super) fn later(&mut self, name: &str) {
        if let Some(item) = self.items.get_mut(name) {
            (item.is_taken, item.has_changed) = (false, false);
            self.order.push_back(name.to_owned());
        }
    }

    /// Puts something aside that was taken, until it is brought back.
    pub(super) fn put_aside(&mut self, name: &str) {
        if let Some(item) = self.items.get_mut(name) {
            (item.is_taken, item.has_changed) = (false, false);
            self.aside.push(name.to_owned());
        }
    }

    /// Puts at the end what was put aside and may be written; returns whether there was any.
    pub(super) fn bring_back(&mut self, may_be_written: impl Fn(&Pending) -> bool) -> bool {
        let (items, order) = (&self.items, &mut self.order);
        let before = order.len();
        self.aside.retain(|name| {
            let Some(item) = items.get(name) else { return false };
            let stays = !may_be_written(&item.pending);
            if !stays {
                order.push_back(name.clone());
            }
            stays
        });
        order.len() > before
    }

    /// Returns how much was put aside.
    pub(super) fn aside(&self) -> usize {
        self.aside.len()
    }

    /// Puts something that could not be written at the end; returns how often that has happened.
    pub(super) fn again(&mut self, name: &str) -> u32 {
        self.later(name);
        self.items.get_mut(name).map_or(0, |item| {
            item.tries += 1;
            item.tries
        })
    }

    /// Returns how much waits, or is being written.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns how much was not taken because too much waited.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes what the journal does not say yet.
    pub(super) fn take_unsaid(&mut self) -> String {
        std::mem::take(&mut self.unsaid)
    }

    /// Returns a journal that says all of it, and nothing else.
    pub(super) fn journal(&mut self) -> String {
        self.unsaid.clear();
        self.items.values().map(|item| format!("+ {}\n", item.pending.write())).collect()
    }
}

/// Reads what a journal says is to be written, in its order; lines that are damaged are passed over.
pub(super) fn replay(journal: &str) -> Vec<Pending> {
    let (mut order, mut items) = (Vec::new(), HashMap::new());
    for line in journal.lines() {
        if let Some(name) = line.strip_prefix("- ") {
            items.remove(name);
        } else if let Some(pending) = line.strip_prefix("+ ").and_then(Pending::read) {
            order.push(pending.name());
            items.insert(pending.name(), pending);
        }
    }
    order.into_iter().filter_map(|name| items.remove(&name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::pending::tests::each;
    use super::*;

    #[test]
    fn in_order_once_and_the_latest() {
        let (all, mut queue) = (each(), Queue::default());
        let pushed = [0, 0, 2].map(|n| queue.push(all[n].clone()));
        assert_eq!(pushed, [Pushed::New, Pushed::Known, Pushed::New]);
        assert_eq!(queue.push(all[3].clone()), Pushed::Known, "it takes the place of what the tag was");
        assert_eq!(queue.len(), 2);
        assert_eq!(
            (queue.take(), queue.take(), queue.take()),
            (Some(all[0].clone()), Some(all[3].clone()), None)
        );
        // While it is written, it changes again.
        assert_eq!(queue.push(all[2].clone()), Pushed::Known);
        queue.done(&all[3].name());
        assert_eq!(queue.take(), Some(all[2].clone()));
        // What is pushed again while it is written is written again, though it is the same.
        assert_eq!(queue.push(all[0].clone()), Pushed::Known);
        queue.done(&all[0].name());
        assert_eq!(queue.take(), Some(all[0].clone()));
        assert_eq!(queue.again(&all[0].name()), 1);
        assert_eq!(queue.take(), Some(all[0].clone()));
        assert_eq!(queue.again(&all[0].name()), 2);
        queue.give_up(&all[0].name());
        assert_eq!((queue.take(), queue.dropped()), (None, 1));
        queue.done(&all[2].name());
        assert_eq!((queue.len(), queue.take()), (0, None));
    }

    #[test]
    fn what_is_put_aside_is_written_when_it_may_be() {
        let (all, mut queue) = (each(), Queue::default());
        for pending in &all[..3] {
            queue.push(pending.clone());
        }
        for _ in 0..2 {
            let name = queue.take().unwrap().name();
            queue.put_aside(&name);
        }
        assert!(!queue.bring_back(|_| false));
        assert_eq!((queue.len(), queue.aside()), (3, 2));
        assert_eq!(queue.push(all[0].clone()), Pushed::Known, "it waits already");
        assert!(queue.bring_back(|pending| *pending == all[1]));
        assert_eq!(
            (queue.take(), queue.take(), queue.take()),
            (Some(all[2].clone()), Some(all[1].clone()), None)
        );
        assert_eq!(replay(&queue.journal()).len(), 3, "it is still to be written");
        queue.give_up(&all[0].name());
        assert!(!queue.bring_back(|_| true));
        assert_eq!(queue.aside(), 0);
    }

    #[test]
    fn a_journal_says_what_is_left() {
        let (all, mut queue) = (each(), Queue::default());
        for pending in &all[..3] {
            queue.push(pending.clone());
        }
        queue.take();
        queue.done(&all[0].name());
        let said = queue.take_unsaid();
        assert_eq!(replay(&said), all[1..3]);
        for end in 0..said.len() {
            let cut = replay(&said[..end]);
            assert!(cut.iter().all(|pending| all[..3].contains(pending)));
        }
        let mut whole = replay(&queue.journal());
        whole.sort_by_key(Pending::name);
        assert_eq!(whole, all[1..3]);
        assert_eq!(queue.take_unsaid(), "");
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut queue = Queue::default();
        let at = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            Pending::Object(crate::cache::store::Object::blob(crate::image::Digest::sha256(bytes)))
        };
        for n in 0..u32::try_from(MOST).unwrap() + 3 {
            let pushed = queue.push(at(n));
            assert_eq!(pushed == Pushed::Dropped, n as usize >= MOST);
        }
        assert_eq!((queue.len(), queue.dropped()), (MOST, 3));
    }
}
