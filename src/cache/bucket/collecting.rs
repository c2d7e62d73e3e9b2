#![expect(clippy::disallowed_methods, reason = "waits, and goes by the clock here for when it is time")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::gc::{Cycle, Cycled, Failed, Limits, Listed, Part, Place as _};
use super::shared_bucket::Inner;
use super::traffic::Direction;
use crate::cache::memory::locked;
use crate::secret::os_random;

/// How long after its start a cache collects first.
const FIRST: Duration = Duration::from_mins(5);
/// How often it looks whether it is time.
const LOOK: Duration = Duration::from_mins(10);
/// How long after a collection has begun it is time for the next one.
const EVERY: Duration = Duration::from_hours(6);
/// How long it leaves a bucket alone where collecting has failed.
const AGAIN: Duration = Duration::from_hours(1);

/// Collects what is not needed, now and then, where that is asked for: whichever cache comes first; never ends.
pub(super) async fn collect_all(inner: Arc<Inner>) {
    let pace = |time| inner.timing.pace(time);
    if inner.limits.age.is_none() && inner.limits.bytes.is_none() {
        while let Err(error) = forget_limits(&inner).await {
            tracing::debug!("cannot note that nothing is limited: {error}");
            sleep(pace(LOOK)).await;
        }
        return;
    }
    let mut random = [0; 1];
    // From when on what is in use is written again counts, not when it is looked for the first time.
    if inner.is_used()
        && let Err(error) = since(&inner).await
    {
        tracing::debug!("cannot note since when is collected: {error}");
    }
    // Caches are often started together.
    os_random(&mut random);
    let spread = pace(FIRST) / 256 * u32::from(random[0]);
    sleep(pace(FIRST) + spread).await;
    loop {
        let traffic = inner.client.traffic();
        let is_well = [Direction::Read, Direction::Write].into_iter().all(|way| traffic.is_open(way));
        if inner.is_used() && is_well {
            if let Err(error) = turn(&inner).await {
                let mut collecting = locked(&inner.collecting);
                collecting.rest_until(inner.place.moment() + pace(AGAIN));
                collecting.trouble(Some(error.to_string()));
            }
            locked(&inner.collecting).runs(false);
        }
        sleep(pace(LOOK) + spread / 2).await;
    }
}

/// Looks what others have collected, and collects where it is time.
async fn turn(inner: &Inner) -> Result<(), Failed> {
    inner.ask_conditional().await;
    if !inner.is_conditional() {
        let why = "the store does not look at the conditions of writes, so that two caches might collect at once, or \
                   nothing could be written to it when it was looked at";
        locked(&inner.collecting).trouble(Some(why.to_owned()));
        return Ok(());
    }
    let listed = inner.place.collections().await?;
    let ended = listed.iter().filter(|one| one.part == Part::Done).max_by_key(|one| one.number);
    if let Some(ended) = ended.filter(|ended| ended.number != locked(&inner.collecting).last())
        && let Some(collected) = inner.place.ended(ended.number).await?
    {
        locked(&inner.collecting).ended(ended.written, &collected);
    }
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let may = locked(&inner.collecting).may(inner.place.moment());
    if !may || !is_time(&listed, now, inner.timing.pace(EVERY)) {
        return Ok(());
    }
    let (since, every) = since(inner).await?;
    let limits = Limits { since, every, ..inner.limits };
    locked(&inner.collecting).runs(true);
    let cycle = Cycle::new(&inner.client, inner.keys.clone(), inner.timing, limits);
    let cycle = cycle.knowing(Arc::clone(&inner.links), inner.written_last());
    match cycle.run(std::future::pending()).await? {
        Cycled::Collected(collected, _, trouble) => {
            tracing::info!(
                tags = collected.tags,
                manifests = collected.manifests,
                blobs = collected.blobs,
                bytes = collected.bytes,
                "collected what the bucket does not need"
            );
            let mut collecting = locked(&inner.collecting);
            collecting.ended(now, &collected);
            collecting.freed(collected.bytes);
            collecting.trouble(trouble.map(|error| match collected.failed {
                0 => error.to_string(),
                failed => format!("{failed} keys could not be removed: {error}"),
            }));
        }
        Cycled::UnderWay | Cycled::Stopped => {}
        Cycled::GivenUp => {
            let why = "this cache took too long, and others have given its collection up".to_owned();
            locked(&inner.collecting).trouble(Some(why));
        }
    }
    Ok(())
}

/// Returns since when caches write what is in use again, and how often they do; says that it is so where nobody has.
async fn since(inner: &Inner) -> Result<(u64, Duration), Failed> {
    let every = locked(&inner.renewals).every();
    Ok((inner.place.since(every).await?, every))
}

/// Notes that what is in use is written again less often than caches with a limit do: a limit that is set later counts from
/// then.
async fn forget_limits(inner: &Inner) -> Result<(), Failed> {
    if !inner.is_used() {
        return Err(Failed("the bucket is not looked at yet".to_owned()));
    }
    let every = locked(&inner.renewals).every();
    inner.place.forget_since(every).await
}

/// Returns whether it is time for a collection, by the list of those that were.
fn is_time(listed: &[Listed], now: u64, every: Duration) -> bool {
    let claims = listed.iter().filter(|one| one.part == Part::Claim);
    claims.map(|one| one.written).max().is_none_or(|last| now.saturating_sub(last) >= every.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_it_is_time() {
        let claim = |number, written| Listed { number, part: Part::Claim, written };
        let listed = [claim(1, 1000), claim(2, 5000), Listed { number: 2, part: Part::Beat, written: 9000 }];
        let every = Duration::from_mins(50);
        assert!(is_time(&[], 0, every));
        assert!(!is_time(&listed, 7999, every) && is_time(&listed, 8000, every));
        assert!(!is_time(&listed, 10, every), "a clock that is behind");
    }
}
