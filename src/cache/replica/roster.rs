use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a member is believed to run after it has said so last.
const LIVES: Duration = Duration::from_secs(35);

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
        for (url, mark) in listed {
            match self.seen.get_mut(url) {
                Some((known, _)) if *known >= *mark => {}
                Some(seen) => *seen = (mark.clone(), now),
                None => {
                    self.seen.insert(url.clone(), (mark.clone(), now));
                }
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
    /// run, and all of this one but `mark`, which it set last.
    pub(super) fn old(
        &self,
        listed: &[(String, String)],
        own: &str,
        mark: Option<&str>,
    ) -> Vec<(String, String)> {
        let is_dead =
            |url: &str| self.seen.get(url).is_some_and(|(_, since)| self.silent(*since) > LIVES * 8);
        let is_old = |(url, other): &&(String, String)| {
            if url == own { mark != Some(other.as_str()) } else { is_dead(url) }
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
        // The same mark, or an older one, is no sign of life.
        roster.note(&listed(&[("a", "9"), ("b", "2"), ("b", "1"), ("c", "1")]), at(34));
        assert_eq!(roster.others("a"), ["b", "c"]);
        roster.note(&listed(&[("a", "9"), ("b", "2"), ("c", "1")]), at(36));
        assert_eq!(roster.others("a"), ["b"]);
        assert!(roster.has("b") && !roster.has("c"));
        // What a member leaves that was killed, or whose word came too late, is taken back, however much it is.
        let all = listed(&[("a", "1"), ("a", "9"), ("b", "2"), ("b", "9"), ("c", "0"), ("c", "1")]);
        roster.note(&all, at(37));
        assert_eq!(roster.old(&all, "a", Some("9")), listed(&[("a", "1")]));
        assert_eq!(roster.old(&all, "a", None), listed(&[("a", "1"), ("a", "9")]));
        roster.note(&all, at(300));
        assert_eq!(roster.old(&all, "b", Some("9")), listed(&[("b", "2"), ("c", "0"), ("c", "1")]));
        roster.note(&listed(&[("b", "99")]), at(301));
        assert_eq!(roster.others("a"), ["b"], "one has gone in order");
    }
}
