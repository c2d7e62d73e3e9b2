use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::config::Limits;
use super::observer::Observer;
use super::proxies::TrustedProxies;

/// All connections there are: how many, and which of them only wait.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    per_address: Option<usize>,
    proxies: TrustedProxies,
    observer: Arc<dyn Observer>,
    inner: Mutex<Inner>,
    draining: AtomicBool,
    /// Told when the last one has gone.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    all: HashMap<u64, Arc<Entry>>,
    by_address: HashMap<IpAddr, usize>,
}

/// What others may know of a connection.
#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// [`BUSY`], [`CLOSING`], or since when it waits for a request: milliseconds, from [`FIRST`] on.
    state: AtomicU64,
    waker: AtomicWaker,
    task: OnceLock<AbortHandle>,
}

const BUSY: u64 = 0;
const CLOSING: u64 = 1;
const FIRST: u64 = 2;

/// A connection's place among the others, given up when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    entry: Arc<Entry>,
    id: u64,
    address: IpAddr,
}

/// Where a connection's task is noted, so that it can be cut off.
#[derive(Debug)]
pub(super) struct Aborter(Arc<Entry>);

impl Aborter {
    pub(super) fn set(self, task: AbortHandle) {
        let _ = self.0.task.set(task);
    }
}

impl Connections {
    pub(super) fn new(limits: &Limits, proxies: TrustedProxies, observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self {
            most: limits.connections.max(1),
            per_address: limits.per_address,
            proxies,
            observer,
            inner: Mutex::default(),
            draining: AtomicBool::new(false),
            empty: Notify::new(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in that came at `now` milliseconds, if need be in place of the one that waited longest.
    ///
    /// Thus many who only hold connections open push out each other, and none who asks for something.
    /// `None` means that there is no room.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: u64) -> Option<Slot> {
        let mut inner = self.inner();
        let of_address = inner.by_address.get(&address).copied().unwrap_or(0);
        if self.per_address.is_some_and(|most| of_address >= most) && !self.proxies.contains(address) {
            // One of its own makes room, so that an address that only holds connections open takes none from others.
            let leaving = inner.closing(Some(address));
            if self.per_address.is_some_and(|most| of_address - leaving.min(of_address) >= most) {
                if !displace(&inner, Some(address)) {
                    self.observer.refused();
                    return None;
                }
                self.observer.displaced();
            }
        }
        if inner.all.len() >= self.most {
            // One told to go still counts until it has gone; that is soon, so some more than allowed do no harm.
            if inner.all.len() - inner.closing(None) >= self.most {
                if !displace(&inner, None) {
                    self.observer.refused();
                    return None;
                }
                self.observer.displaced();
            }
        }
        let id = inner.next;
        inner.next += 1;
        let entry = Arc::new(Entry {
            address,
            state: AtomicU64::new(now + FIRST),
            waker: AtomicWaker::new(),
            task: OnceLock::new(),
        });
        inner.all.insert(id, Arc::clone(&entry));
        if self.per_address.is_some() {
            inner.by_address.insert(address, of_address + 1);
        }
        self.observer.connected();
        Some(Slot { connections: Arc::clone(self), entry, id, address })
    }

    /// Tells the connection to go that has waited longest; whether there was one.
    pub(super) fn displace(&self) -> bool {
        let displaced = displace(&self.inner(), None);
        if displaced {
            self.observer.displaced();
        }
        displaced
    }

    /// Tells all that wait to go, and the others to go when they are done.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.inner().all.values().for_each(|entry| entry.waker.wake());
    }

    /// Whether all are to go.
    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Cuts off all there are; returns how many.
    pub(super) fn abort(&self) -> usize {
        let all: Vec<_> = self.inner().all.values().cloned().collect();
        all.iter().filter_map(|entry| entry.task.get()).for_each(AbortHandle::abort);
        all.len()
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.inner().all.len()
    }

    /// Waits until there are none.
    pub(super) async fn gone(&self) {
        loop {
            let empty = self.empty.notified();
            if self.count() == 0 {
                return;
            }
            empty.await;
        }
    }
}

impl Inner {
    /// Returns how many have been told to go and have not gone yet, of all or of an address.
    fn closing(&self, address: Option<IpAddr>) -> usize {
        let leaving =
            |entry: &&Arc<Entry>| entry.is_of(address) && entry.state.load(Ordering::Acquire) == CLOSING;
        self.all.values().filter(leaving).count()
    }
}

impl Entry {
    fn is_of(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.address == address)
    }
}

/// Tells the connection to go that has waited longest, of all or of an address; whether there was one.
fn displace(inner: &Inner, address: Option<IpAddr>) -> bool {
    loop {
        let own = inner.all.values().filter(|entry| entry.is_of(address));
        let waiting = own.map(|entry| (entry.state.load(Ordering::Acquire), entry));
        let oldest = waiting.filter(|(state, _)| *state >= FIRST).min_by_key(|(state, _)| *state);
        let Some((state, entry)) = oldest else { return false };
        // It may have got its request meanwhile; then another one goes.
        if entry.state.compare_exchange(state, CLOSING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            entry.waker.wake();
            return true;
        }
    }
}

impl Slot {
    /// Returns where the connection's task is to be noted.
    pub(super) fn aborter(&self) -> Aborter {
        Aborter(Arc::clone(&self.entry))
    }

    /// Notes that the connection waits for a request from `now` milliseconds on.
    pub(super) fn wait(&self, now: u64) {
        let _ = self.entry.state.compare_exchange(BUSY, now + FIRST, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Notes that it has one; `false` if it was told to go before.
    pub(super) fn work(&self) -> bool {
        let before = self
            .entry
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| (state != CLOSING).then_some(BUSY));
        before.is_ok()
    }

    /// Is ready once the connection has to make room for another; wakes the task when all are to go, too.
    pub(super) fn poll_displaced(&self, cx: &Context<'_>) -> Poll<()> {
        self.entry.waker.register(cx.waker());
        if self.entry.state.load(Ordering::Acquire) == CLOSING { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether all connections are to go.
    pub(super) fn draining(&self) -> bool {
        self.connections.draining()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.observer.gone();
        let mut inner = self.connections.inner();
        inner.all.remove(&self.id);
        if let Some(count) = inner.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                inner.by_address.remove(&self.address);
            }
        }
        if inner.all.is_empty() {
            self.connections.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const B: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn connections(connections: usize, per_address: Option<usize>) -> Arc<Connections> {
        Connections::new(
            &Limits { connections, per_address, ..Limits::default() },
            TrustedProxies::default(),
            Arc::new(Unobserved),
        )
    }

    #[derive(Debug)]
    struct Unobserved;

    impl Observer for Unobserved {
        fn connected(&self) {}
        fn gone(&self) {}
        fn refused(&self) {}
        fn displaced(&self) {}
        fn wants_request(&self) -> bool {
            false
        }
        fn answered(&self, _: &crate::http::Exchange<'_>) {}
    }

    fn told_to_go(slot: &Slot) -> bool {
        slot.poll_displaced(&Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn who_waited_longest_makes_room() {
        let all = connections(2, None);
        let first = all.admit(A, 0).unwrap();
        let second = all.admit(A, 1).unwrap();
        assert!(first.work());
        let third = all.admit(A, 2).unwrap();
        assert!(!told_to_go(&first) && told_to_go(&second) && !told_to_go(&third));
        assert!(!second.work(), "it has to go, and begins nothing");
        assert!(third.work());
        drop(second);
        assert!(all.admit(A, 3).is_none(), "both have work");
        first.wait(4);
        assert!(all.admit(A, 5).is_some());
        assert!(told_to_go(&first));
    }

    #[test]
    fn one_that_leaves_makes_room_once() {
        let all = connections(1, None);
        let _first = all.admit(A, 0).unwrap();
        let second = all.admit(A, 1).unwrap();
        assert!(second.work());
        assert!(all.admit(A, 2).is_none());
    }

    #[test]
    fn addresses() {
        let all = connections(9, Some(1));
        let other = all.admit(B, 0).unwrap();
        let first = all.admit(A, 1).unwrap();
        assert!(first.work());
        assert!(all.admit(A, 2).is_none(), "it has work");
        first.wait(3);
        let second = all.admit(A, 4).unwrap();
        assert!(told_to_go(&first) && !told_to_go(&other), "one of its own makes room");
        drop((first, second, other));
        assert_eq!(all.inner().by_address.len(), 0);
    }

    #[tokio::test]
    async fn waits_for_the_last() {
        let all = connections(9, None);
        let slot = all.admit(A, 0).unwrap();
        all.drain();
        assert!(slot.draining() && !told_to_go(&slot));
        let gone = tokio::spawn({
            let all = Arc::clone(&all);
            async move { all.gone().await }
        });
        tokio::task::yield_now().await;
        assert!(!gone.is_finished());
        drop(slot);
        gone.await.unwrap();
    }
}
