use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a member is believed to run after it has said so last: it may miss one time. Whether it answers, its greeting says
/// much sooner.
const LIVES: Duration = Duration::from_secs(150);

/// Which members there are, by what the bucket lists: each says now and then that it runs, with another mark each time.
///
/// When a mark was seen to change counts, by the clock here: the clocks of members may be apart. While the bucket does not
/// say, everything stays as it was.
#[derive(Debug, Default)]
pub(super) struct Roster {
    seen: HashMap<String, (String, Instant)>,
    /// When the bucket listed the members last.
    listed: Option<Instant>,
}

impl Roster {
    /// Takes note of members and their marks, as they are listed at `now`.
    pub(super) fn note(&mut self, listed: &[(String, String)], now: Instant) {
        self.listed = Some(now);
        self.seen.retain(|url, _| listed.iter().any(|(other, _)| other == url));
        let mut newest = HashMap::<&String, &String>::new();
        for (url, mark) in listed {
            let greatest = newest.entry(url).or_insert(mark);
            *greatest = (*greatest).max(mark);
        }
        for (url, mark) in newest {
            // A clock that was set back gives smaller marks: they are signs of life as well.
            if self.seen.get(url).is_none_or(|(known, _)| known != mark) {
                self.seen.insert(url.clone(), (mark.clone(), now));
            }
        }
    }

    /// Returns how long a member had not said that it runs when that was looked at last.
    fn silent(&self, since: Instant) -> Duration {
        self.listed.map_or(Duration::ZERO, |listed| listed.saturating_duration_since(since))
    }

    /// Returns the members that run, without this one, in the order of their URLs.
    pub(super) fn others(&self, own: &str) -> Vec<String> {
        let others = self.seen.iter().filter(|(url, (_, since))| *url != own && self.silent(*since) < LIVES);
        let mut all: Vec<String> = others.map(|(url, _)| url.clone()).collect();
        all.sort_unstable();
        all
    }

    /// Returns whether a member is known to run.
    pub(super) fn has(&self, url: &str) -> bool {
        self.seen.get(url).is_some_and(|(_, since)| self.silent(*since) < LIVES)
    }

    /// Returns the listed marks that mean nothing any more: all of members that have not said for a long time that they
    /// run, and all of this one but the last of its `marks` that is listed. Where none of them is, the bucket may not have
    /// heard of this run yet, and what is there of it stays.
    pub(super) fn old(
        &self,
        listed: &[(String, String)],
        own: &str,
        marks: &[String],
    ) -> Vec<(String, String)> {
        let is_dead =
            |url: &str| self.seen.get(url).is_some_and(|(_, since)| self.silent(*since) > LIVES * 8);
        let is_listed = |mark: &&String| listed.iter().any(|(url, other)| url == own && other == *mark);
        let keep = marks.iter().rfind(is_listed);
        let is_old = |(url, other): &&(String, String)| {
            if url == own { keep.is_some_and(|keep| keep != other) } else { is_dead(url) }
        };
        listed.iter().filter(is_old).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_live_as_long_as_their_marks_change() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let listed = |marks: &[(&str, &str)]| {
            marks.iter().map(|(url, mark)| ((*url).to_owned(), (*mark).to_owned())).collect::<Vec<_>>()
        };
        assert!(roster.others("a").is_empty() && !roster.has("b"));
        roster.note(&listed(&[("a", "1"), ("b", "1"), ("c", "1")]), at(0));
        assert_eq!(roster.others("a"), ["b", "c"]);
        // The same mark is no sign of life, whatever older ones are listed beside it.
        roster.note(&listed(&[("a", "9"), ("b", "2"), ("b", "1"), ("c", "1")]), at(149));
        assert_eq!(roster.others("a"), ["b", "c"]);
        roster.note(&listed(&[("a", "9"), ("b", "2"), ("c", "1")]), at(151));
        assert_eq!(roster.others("a"), ["b"]);
        assert!(roster.has("b") && !roster.has("c"));
        // What a member leaves that was killed, or whose word came too late, is taken back, however much it is.
        let all = listed(&[("a", "1"), ("a", "9"), ("b", "2"), ("b", "9"), ("c", "0"), ("c", "1")]);
        roster.note(&all, at(152));
        let marks = |marks: &[&str]| marks.iter().map(|mark| (*mark).to_owned()).collect::<Vec<_>>();
        assert_eq!(roster.old(&all, "a", &marks(&["9"])), listed(&[("a", "1")]));
        // The bucket has not shown yet what was set last; or nothing that this run has set.
        assert_eq!(roster.old(&all, "a", &marks(&["1", "9", "95"])), listed(&[("a", "1")]));
        assert_eq!(roster.old(&all, "a", &marks(&["95"])), []);
        roster.note(&all, at(1300));
        assert_eq!(roster.old(&all, "b", &marks(&["9"])), listed(&[("b", "2"), ("c", "0"), ("c", "1")]));
        roster.note(&listed(&[("b", "99")]), at(1301));
        assert_eq!(roster.others("a"), ["b"], "one has gone in order");
        roster.note(&listed(&[("b", "50")]), at(1400));
        assert_eq!(roster.others("a"), ["b"], "its clock was set back");
    }
}
