use crate::yaml::Entry;

/// Unknown keys of one mapping that are told one by one.
const SHOWN: usize = 50;
/// Unknown keys of one mapping that are compared with the known ones.
const COMPARED: usize = 2000;

/// The keys of a mapping that are not known, as they are told.
pub(crate) struct UnknownKeys<'n, 'k> {
    /// Those that are told one by one, each with the known key that may be meant.
    pub(crate) shown: Vec<(&'n Entry, Option<&'k str>)>,
    /// The first of all others, and how many these are.
    pub(crate) rest: Option<(&'n Entry, usize)>,
}

impl<'n, 'k> UnknownKeys<'n, 'k> {
    /// Chooses which are told one by one: where there are too many, those that `meant` knows a key for come first.
    pub(crate) fn new(
        unknown: impl Iterator<Item = &'n Entry>,
        meant: impl Fn(&str) -> Option<&'k str>,
    ) -> Self {
        let near = |(at, entry): (usize, &'n Entry)| {
            let near = (at < COMPARED).then(|| meant(&entry.key)).flatten();
            (entry, near)
        };
        let mut shown: Vec<_> = unknown.enumerate().map(near).collect();
        if shown.len() > SHOWN {
            shown.sort_by_key(|(_, near)| near.is_none());
        }
        let rest = shown.split_off(shown.len().min(SHOWN));
        let rest = rest.first().map(|(entry, _)| (*entry, rest.len()));
        Self { shown, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::super::did_you_mean;
    use super::*;

    #[test]
    fn a_slip_is_told_however_many_unknown_keys_stand_before_it() {
        let before: String = (0..SHOWN + 5).map(|at| format!("other-{at}: 1\n")).collect();
        let root = crate::yaml::parse_one(&format!("{before}endpont: 1\n")).unwrap().root;
        let told = UnknownKeys::new(root.entries().iter(), |key| did_you_mean(key, ["endpoint"]));
        let first = told.shown.first().map(|(entry, near)| (entry.key.as_str(), *near));
        assert_eq!(first, Some(("endpont", Some("endpoint"))));
        assert_eq!(told.shown.get(1).map(|(entry, _)| entry.key.as_str()), Some("other-0"));
        assert_eq!((told.shown.len(), told.rest.map(|(_, rest)| rest)), (SHOWN, Some(6)));
        let few = UnknownKeys::new(root.entries().iter().rev().take(2).rev(), |_| None);
        assert_eq!((few.shown.len(), few.rest.is_none()), (2, true));
    }
}
