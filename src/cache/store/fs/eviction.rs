//! Who has to go when room is wanted, and how much room that is.

/// Something that may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<K> {
    /// Its name.
    pub(super) key: K,
    /// How many bytes of disk it gives back.
    pub(super) size: u64,
    /// How long it has not been used, in seconds.
    pub(super) idle: u64,
    /// How often it was used after it was stored.
    pub(super) hits: u32,
    /// Manifests: tiny, and without them the layers are of no use.
    pub(super) manifest: bool,
}

/// Marks of a store's level, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// Never above this.
    pub(super) cap: u64,
    /// From here on it is lowered in the background.
    pub(super) start: u64,
    /// Down to here.
    pub(super) stop: u64,
}

/// What was stored less than this long ago and not asked for since may belong to a pull that still goes on.
const GRACE: u64 = 600;
/// What is as small as a configuration goes with the manifests: configurations have no media type of their own here.
const TINY: u64 = 64 << 10;

impl Levels {
    /// Marks of a cap: from 90 % down to 80 %.
    pub(super) const fn of(cap: u64) -> Self {
        Self { cap, start: cap / 100 * 90, stop: cap / 100 * 80 }
    }

    /// Returns how many bytes have to go before `wanted` more may be set aside.
    pub(super) const fn before(self, taken: u64, wanted: u64) -> u64 {
        taken.saturating_add(wanted).saturating_sub(self.cap)
    }

    /// Returns how many bytes should go now, so that later comers need not wait; 0 below the start mark.
    pub(super) const fn surplus(self, taken: u64) -> u64 {
        if taken > self.start { taken.saturating_sub(self.stop) } else { 0 }
    }
}

/// Sorts so that what goes first stands first.
///
/// First what was never asked for again; then by the time of its last use, weighted: what is large goes earlier, what
/// was asked for often later; last the tiny ones, which give nothing back and of which every pull needs one.
pub(super) fn order<K>(candidates: &mut [Candidate<K>]) {
    candidates.sort_by_cached_key(|candidate| (class(candidate), u64::MAX - worthlessness(candidate)));
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    NeverUsed,
    Used,
    Tiny,
}

const fn class<K>(candidate: &Candidate<K>) -> Class {
    if candidate.manifest || candidate.size <= TINY {
        Class::Tiny
    } else if candidate.hits == 0 && candidate.idle >= GRACE {
        Class::NeverUsed
    } else {
        Class::Used
    }
}

/// Idle seconds × the size's number of bits ÷ uses.
fn worthlessness<K>(candidate: &Candidate<K>) -> u64 {
    let bits = u64::from(u64::BITS - candidate.size.leading_zeros());
    let weighed = candidate.idle.saturating_add(1).saturating_mul(1024).saturating_mul(bits.max(1));
    weighed / u64::from(candidate.hits).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn layer(key: &'static str, mib: u64, idle: u64, hits: u32) -> Candidate<&'static str> {
        Candidate { key, size: mib * MIB, idle, hits, manifest: false }
    }

    fn sorted(mut candidates: Vec<Candidate<&'static str>>) -> Vec<&'static str> {
        order(&mut candidates);
        candidates.into_iter().map(|candidate| candidate.key).collect()
    }

    #[test]
    fn what_was_never_asked_for_again_goes_first_and_manifests_last() {
        let candidates = vec![
            Candidate { key: "manifest", size: 4096, idle: 900_000, hits: 0, manifest: true },
            Candidate { key: "config", size: 8192, idle: 100_000, hits: 0, manifest: false },
            layer("old, used", 10, 1_000_000, 3),
            layer("never used", 10, 1_000, 0),
            layer("just fetched", 10, 5, 0),
            layer("never used, old", 10, 90_000, 0),
        ];
        assert_eq!(
            sorted(candidates),
            ["never used, old", "never used", "old, used", "just fetched", "manifest", "config"]
        );
    }

    #[test]
    fn age_counts_and_size_weighs_and_use_protects() {
        assert_eq!(sorted(vec![layer("new", 1, 100, 1), layer("old", 1, 200, 1)]), ["old", "new"]);
        assert_eq!(sorted(vec![layer("small", 1, 100, 1), layer("large", 1000, 90, 1)]), ["large", "small"]);
        assert_eq!(sorted(vec![layer("often", 1, 150, 9), layer("once", 1, 100, 1)]), ["once", "often"]);
        assert_eq!(
            sorted(vec![layer("small", 1, 3600, 1), layer("large", 1000, 900, 1)]),
            ["small", "large"]
        );
    }

    #[test]
    fn levels() {
        let levels = Levels::of(1000);
        assert_eq!(levels, Levels { cap: 1000, start: 900, stop: 800 });
        assert_eq!((levels.before(500, 500), levels.before(500, 501)), (0, 1));
        assert_eq!((levels.surplus(900), levels.surplus(901)), (0, 101));
        assert_eq!(levels.before(u64::MAX, u64::MAX), u64::MAX - 1000);
    }

    proptest! {
        #[test]
        fn nothing_overflows(size: u64, idle: u64, hits: u32, manifest: bool) {
            let mut candidates = vec![Candidate { key: 0, size, idle, hits, manifest }; 2];
            order(&mut candidates);
            prop_assert_eq!(candidates.len(), 2);
        }
    }
}
