use std::time::Duration;

/// The times of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) struct Timing {
    /// How long what a replica has seen of the collections may be believed.
    pub(in crate::cache::bucket) fresh: Duration,
    /// How long a small request may take, that of a reference included.
    pub(in crate::cache::bucket) within: Duration,
    /// What lies between what is condemned and the second look.
    pub(in crate::cache::bucket) window: Duration,
    /// How often a collector shows that it runs.
    pub(in crate::cache::bucket) beat: Duration,
    /// How long after it has shown that a collector may still take something away.
    pub(in crate::cache::bucket) alive: Duration,
    /// After what silence a collection is given up by others.
    pub(in crate::cache::bucket) dead: Duration,
    /// For how long what was written is left alone in any case.
    pub(in crate::cache::bucket) grace: Duration,
    /// For how long an image is kept that no tag stands for.
    pub(in crate::cache::bucket) untagged: Duration,
    /// How much is condemned at once: every cache keeps it in memory as long as a collection runs.
    pub(in crate::cache::bucket) most: usize,
    /// The rule that a test leaves out.
    #[cfg(test)]
    pub(in crate::cache::bucket) without: Option<Rule>,
}

/// A rule without which something is lost.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests leave one out"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache::bucket) enum Rule {
    /// What was condemned is looked at again before it is taken away.
    SecondLook,
    /// Replicas see the collections before they rely on anything.
    Look,
    /// Replicas forget that what is condemned is there.
    Forget,
    /// What is condemned is not written before its collection has ended.
    Defer,
    /// What a reference refers to is known to be there, or written.
    Ensure,
    /// A collector that was silent for too long takes nothing away any more.
    Alive,
}

impl Timing {
    /// The times by which caches go.
    pub(in crate::cache::bucket) const USUAL: Self = Self {
        fresh: Duration::from_secs(45),
        within: Duration::from_mins(1),
        window: Duration::from_mins(3),
        beat: Duration::from_secs(30),
        alive: Duration::from_mins(5),
        dead: Duration::from_mins(15),
        grace: Duration::from_hours(24),
        untagged: Duration::from_hours(24 * 30),
        most: 50_000,
        #[cfg(test)]
        without: None,
    };

    /// Returns times that pass so many times as fast; ages stay as they are. Only tests have no time.
    pub(in crate::cache::bucket) fn hastened(self, times: u32) -> Self {
        Self {
            fresh: self.fresh / times,
            within: self.within / times,
            window: self.window / times,
            beat: self.beat / times,
            alive: self.alive / times,
            dead: self.dead / times,
            ..self
        }
    }

    /// Returns how long something takes that usually takes so long, where times are hastened.
    pub(in crate::cache::bucket) fn pace(&self, usual: Duration) -> Duration {
        let times = Self::USUAL.window.as_millis() / self.window.as_millis().max(1);
        usual / u32::try_from(times).unwrap_or(1).max(1)
    }

    /// Returns whether these times keep what they promise.
    ///
    /// A collector shows twice what it has shown once when each of the four requests in between takes as long as it may.
    #[cfg(test)]
    pub(in crate::cache::bucket) fn is_sound(&self) -> bool {
        self.window > self.fresh + self.within
            && self.alive > self.beat + self.within * 4
            && self.dead > self.alive + self.within * 2
            && self.grace > self.window + self.within * 2
    }

    #[cfg(test)]
    pub(in crate::cache::bucket) fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests leave a rule out")]
    pub(in crate::cache::bucket) const fn keeps(&self, _: Rule) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_times_are_sound() {
        assert!(Timing::USUAL.is_sound());
        assert!(Timing::USUAL.hastened(30).is_sound());
        assert_eq!(Timing::USUAL.hastened(30).pace(Duration::from_mins(1)), Duration::from_secs(2));
    }
}
