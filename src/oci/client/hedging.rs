#![expect(clippy::disallowed_methods, reason = "waits before it asks again")]

use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered};
use futures_util::{Stream, StreamExt as _};

/// When a request that costs little is sent again while it is not answered: that an answer was lost on the way, no
/// connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedging {
    /// How long an answer is waited for before the request is sent again; each time, twice as long as before.
    pub first: Duration,
    /// How long it is waited for at most before the next is sent: so soon is found well what was ill.
    pub longest: Duration,
    /// How often it is sent again at most: a registry that is only slow has all of them to answer.
    pub most: usize,
}

impl Hedging {
    /// Sends a request, and sends it again as long as nothing answers; returns what ends first: the first request, in
    /// whatever way, or one of the others with what `answers`.
    ///
    /// So it takes no longer than the first request, and the failure of another, as of a server that has too much to do,
    /// takes nothing from a first one whose answer comes late.
    pub async fn send<T, F>(self, request: impl Fn() -> F, answers: impl Fn(&T) -> bool) -> T
    where
        F: Future<Output = T>,
    {
        let again = stream::unfold((self.first, self.most), async |(wait, left)| {
            if left == 0 {
                return None;
            }
            tokio::time::sleep(wait).await;
            Some(((), (wait.saturating_mul(2).min(self.longest), left - 1)))
        });
        send_again(again, request, answers).await
    }
}

/// Sends a request, and sends it again whenever `again` says so; returns what ends first: the first request, in whatever
/// way, or one of the others with what `answers`. What `again` gives lasts as long as the request that it is for.
pub async fn send_again<T, F, G>(
    again: impl Stream<Item = G>,
    request: impl Fn() -> F,
    answers: impl Fn(&T) -> bool,
) -> T
where
    F: Future<Output = T>,
{
    let mut first = Box::pin(request());
    let mut others = FuturesUnordered::new();
    let mut again = pin!(again.fuse());
    loop {
        tokio::select! {
            biased;
            done = &mut first => return done,
            Some((done, _)) = others.next() => if answers(&done) {
                return done;
            },
            Some(guard) = again.next() => {
                let other = request();
                others.push(async move { (other.await, guard) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    const HEDGING: Hedging =
        Hedging { first: Duration::from_secs(1), longest: Duration::from_secs(4), most: 6 };

    /// Sends requests, each of which takes so many seconds and gives that, the rest as the last; returns what came of it, after how many
    /// seconds, and how many were sent.
    async fn sent(each: &[(u64, i32)]) -> (i32, u64, usize) {
        let (count, begun) = (Cell::new(0), Instant::now());
        let request = || {
            let (seconds, result) = each[count.get().min(each.len() - 1)];
            count.set(count.get() + 1);
            async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                result
            }
        };
        let result = HEDGING.send(request, |result| *result > 0).await;
        (result, begun.elapsed().as_secs(), count.get())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_asked_again() {
        const LOST: (u64, i32) = (100, -1);
        assert_eq!(sent(&[(0, 1)]).await, (1, 0, 1));
        assert_eq!(sent(&[(0, -2)]).await, (-2, 0, 1), "a failure is no reason to ask again");
        assert_eq!(sent(&[LOST, (0, 1)]).await, (1, 1, 2));
        assert_eq!(sent(&[LOST, (0, -2), LOST, (0, 1)]).await, (1, 7, 4));
        // One that takes its time is not lost.
        assert_eq!(sent(&[(20, 1), (0, -2), (0, -3), LOST]).await, (1, 20, 7));
        assert_eq!(sent(&[LOST, (10, 2), LOST]).await, (2, 11, 4));
        assert_eq!(sent(&[LOST]).await, (-1, 100, 7));
    }
}
