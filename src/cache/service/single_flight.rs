use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::cache::memory::locked;
use crate::cache::observe::Outcome;

/// A run that any number of callers wait for.
type Run<V> = Shared<BoxFuture<'static, Option<V>>>;
type Runs<K, V> = HashMap<K, Run<V>>;

/// Work of which one run serves all callers that want it at the same time.
///
/// A run belongs to no caller: it goes on when the one that began it has gone.
#[derive(Debug)]
pub(super) struct SingleFlight<K, V: Clone> {
    running: Arc<Mutex<Runs<K, V>>>,
}

impl<K, V: Clone> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { running: Arc::default() }
    }
}

/// Whether a run was begun for this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It was.
    Began,
    /// It was running.
    Joined,
}

impl Part {
    /// Returns where an answer came from that is of such a run.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Began => Outcome::Miss,
            Self::Joined => Outcome::Follow,
        }
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Returns what the work for a key gives: that of the run that is on, else of one that begins now.
    ///
    /// The result is [`None`] if the run panicked. Must be called within a runtime.
    pub(super) fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> (Part, Run<V>)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = locked(&self.running);
        if let Some(run) = running.get(&key) {
            return (Part::Joined, run.clone());
        }
        let done = Done { running: Arc::clone(&self.running), key: key.clone() };
        let work = work();
        let task = tokio::spawn(async move {
            let _done = done;
            work.await
        });
        let run = task.map(Result::ok).boxed().shared();
        running.insert(key, run.clone());
        (Part::Began, run)
    }
}

/// Takes a run off the list when it ends, however it ends.
struct Done<K: Hash + Eq, V: Clone> {
    running: Arc<Mutex<Runs<K, V>>>,
    key: K,
}

impl<K: Hash + Eq, V: Clone> Drop for Done<K, V> {
    fn drop(&mut self) {
        locked(&self.running).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_run_serves_all() {
        let (all, runs) = (SingleFlight::<&str, usize>::default(), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let gate = Arc::new(Mutex::new(Some(gate)));
        let work = || {
            let (runs, gate) = (Arc::clone(&runs), gate.lock().unwrap().take());
            async move {
                if let Some(gate) = gate {
                    let _ = gate.await;
                }
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let calls: Vec<_> = (0..10).map(|_| all.run("k", work)).collect();
        assert_eq!(calls.iter().filter(|(part, _)| *part == Part::Began).count(), 1);
        // The call that began it leaves; it goes on.
        let mut calls = calls.into_iter().map(|(_, run)| run);
        drop(calls.next());
        open.send(()).unwrap();
        for run in calls {
            assert_eq!(run.await, Some(1));
        }
        let (part, again) = all.run("k", work);
        assert_eq!((part, again.await), (Part::Began, Some(2)));
        assert!(all.running.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_one_run_only() {
        let all = SingleFlight::<u8, u8>::default();
        assert_eq!(all.run(1, || async { panic!("on purpose") }).1.await, None);
        assert_eq!(all.run(1, || async { 7 }).1.await, Some(7));
    }
}
