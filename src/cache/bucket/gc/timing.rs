use std::time::Duration;

/// The times of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// How long what a replica has seen of the collections may be believed.
    pub(super) fresh: Duration,
    /// How long a small request may take, that of a reference included.
    pub(super) within: Duration,
    /// What lies between what is condemned and the second look.
    pub(super) window: Duration,
    /// How often a collector shows that it runs.
    pub(super) beat: Duration,
    /// How long after it has shown that a collector may still take something away.
    pub(super) alive: Duration,
    /// After what silence a collection is given up by others.
    pub(super) dead: Duration,
    /// For how long what was written is left alone in any case.
    pub(super) grace: Duration,
    /// For how long an image is kept that no tag stands for.
    pub(super) untagged: Duration,
    /// The rule that a test leaves out.
    #[cfg(test)]
    pub(super) without: Option<Rule>,
}

/// A rule without which something is lost.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests leave one out"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
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
    pub(super) const USUAL: Self = Self {
        fresh: Duration::from_secs(45),
        within: Duration::from_mins(1),
        window: Duration::from_mins(3),
        beat: Duration::from_secs(30),
        alive: Duration::from_mins(5),
        dead: Duration::from_mins(15),
        grace: Duration::from_hours(24),
        untagged: Duration::from_hours(24 * 30),
        #[cfg(test)]
        without: None,
    };

    /// Returns whether these times keep what they promise.
    ///
    /// A collector shows twice what it has shown once when each of the four requests in between takes as long as it may.
    pub(super) fn is_sound(&self) -> bool {
        self.window > self.fresh + self.within
            && self.alive > self.beat + self.within * 4
            && self.dead > self.alive + self.within * 2
            && self.grace > self.window + self.within * 2
    }

    #[cfg(test)]
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests leave a rule out")]
    pub(super) const fn keeps(&self, _: Rule) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_times_are_sound() {
        assert!(Timing::USUAL.is_sound());
    }
}
