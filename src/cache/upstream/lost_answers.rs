#![expect(clippy::disallowed_methods, reason = "waits before it asks again")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::cache::memory::locked;

/// How long the header of a blob takes at most that is prompt.
const PROMPT: Duration = Duration::from_secs(2);
/// After what time the header of a blob may be lost, where others of its endpoint are prompt.
const EARLY: Duration = Duration::from_secs(5);
/// For how long before a request another one that was answered promptly says something about it.
const BEFORE: Duration = Duration::from_secs(10);
/// How often it is looked whether others have been answered.
const LOOK: Duration = Duration::from_secs(1);
/// How many blobs are asked for once more at the same time while others are prompt: where more are late, it is the
/// endpoint that is slow.
const AT_ONCE: usize = 4;

/// Tells when the answer to a request for a blob is lost, and not only late: no connection shows that.
#[derive(Debug)]
pub(super) struct LostAnswers {
    /// When the header of a blob came promptly last.
    prompt: Mutex<Option<Instant>>,
    early: Arc<Semaphore>,
}

impl Default for LostAnswers {
    fn default() -> Self {
        Self { prompt: Mutex::default(), early: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl LostAnswers {
    /// Takes note that the header of a blob came that was asked for at `asked`.
    pub(super) fn answered(&self, asked: Instant) {
        if asked.elapsed() <= PROMPT {
            *locked(&self.prompt) = Some(Instant::now());
        }
    }

    /// Waits until a blob is to be asked for once more that was asked for at `asked`: soon where others are prompt, else
    /// after a third of what its header may take. What is returned lasts as long as the second request, which is the last.
    ///
    /// Where no other blob tells, nothing shows that an answer is lost: registries that fetch a blob themselves before
    /// they give its first byte answer to all else at once. After a third of its time, no client waits any more by default,
    /// and such a registry has had most of its time for the first request.
    pub(super) async fn due(&self, asked: Instant, limit: Option<Duration>) -> Option<OwnedSemaphorePermit> {
        let late = limit.map_or(Duration::MAX, |limit| limit / 3);
        let mut wait = EARLY;
        loop {
            let left = late.saturating_sub(asked.elapsed());
            sleep(wait.min(left)).await;
            if asked.elapsed() >= late {
                return None;
            }
            let is_other_prompt = locked(&self.prompt).is_some_and(|prompt| prompt + BEFORE >= asked);
            if is_other_prompt && let Ok(permit) = Arc::clone(&self.early).try_acquire_owned() {
                return Some(permit);
            }
            wait = LOOK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(150));

    async fn after(seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Returns whether a request is due early, and after how many seconds, where another is sent after `seconds` that
    /// takes `took`.
    async fn due_beside(seconds: u64, took: u64) -> (bool, u64) {
        let (lost, asked) = (LostAnswers::default(), Instant::now());
        let due = async {
            let permit = lost.due(asked, LIMIT).await;
            (permit.is_some(), asked.elapsed().as_secs())
        };
        let other = async {
            after(seconds).await;
            let asked = Instant::now();
            after(took).await;
            lost.answered(asked);
        };
        tokio::join!(due, other).0
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_lost_where_others_are_prompt() {
        assert_eq!(due_beside(0, 0).await, (true, 5));
        assert_eq!(due_beside(1, 1).await, (true, 5));
        assert!(due_beside(20, 2).await.0);
        assert_eq!(due_beside(5, 3).await, (false, 50), "others are slow, too");
        assert_eq!(due_beside(60, 1).await, (false, 50), "nothing is known of others");
    }

    #[tokio::test(start_paused = true)]
    async fn where_many_are_late_the_endpoint_is_slow() {
        let lost = LostAnswers::default();
        lost.answered(Instant::now());
        let asked = Instant::now();
        let due = || lost.due(asked, LIMIT);
        let held = tokio::join!(due(), due(), due(), due());
        assert!(held.0.is_some() && asked.elapsed() == EARLY);
        assert!(due().await.is_none() && asked.elapsed() == Duration::from_secs(50));
        drop(held);
        // What was prompt a while ago says nothing.
        let asked = Instant::now();
        assert!(lost.due(asked, LIMIT).await.is_none());
        assert_eq!(asked.elapsed(), Duration::from_secs(50));
    }
}
