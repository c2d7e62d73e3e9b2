use std::collections::BTreeSet;

use super::diff::{Change, diff};
use crate::registries::{Kind, Registries};

/// What a node has, what it should have, and what differs.
#[derive(Clone, Debug)]
pub struct Drift {
    /// What it has.
    pub current: Registries,
    /// What it should have.
    pub wanted: Registries,
    /// What differs.
    pub changes: Vec<Change>,
}

impl Drift {
    /// Compares what a node has with what it should have.
    pub fn new(current: Registries, wanted: Registries) -> Self {
        let changes = diff(&current, &wanted);
        Self { current, wanted, changes }
    }

    /// Returns whether another node's change is the same: secrets count as well, which the changes do not show.
    fn is_same_change(&self, other: &Self) -> bool {
        let same = |change: &Change| {
            same_entry(&self.current, &other.current, change.kind, &change.name)
                && same_entry(&self.wanted, &other.wanted, change.kind, &change.name)
        };
        self.changes == other.changes && self.changes.iter().all(same)
    }
}

fn same_entry(one: &Registries, other: &Registries, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Mirror => one.mirrors.get(name) == other.mirrors.get(name),
        Kind::Auth => one.auth.get(name) == other.auth.get(name),
        Kind::Tls => one.tls.get(name) == other.tls.get(name),
    }
}

fn has(registries: &Registries, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Mirror => registries.mirrors.contains_key(name),
        Kind::Auth => registries.auth.contains_key(name),
        Kind::Tls => registries.tls.contains_key(name),
    }
}

/// Returns for each node the first one before it whose change is the same; nodes without changes have none.
pub fn same_as(drifts: &[Option<&Drift>]) -> Vec<Option<usize>> {
    let first = |at: usize| -> Option<usize> {
        let own = drifts.get(at).copied().flatten().filter(|drift| !drift.changes.is_empty())?;
        drifts.iter().take(at).position(|other| other.is_some_and(|other| own.is_same_change(other)))
    };
    (0..drifts.len()).map(first).collect()
}

/// One entry of the registries on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What kind of entry it is.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
    /// What each node has of it, in the order of the nodes.
    pub cells: Vec<Cell>,
}

/// One entry of the registries on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It is neither there nor wanted.
    Absent,
    /// It is as the inventory has it.
    Same,
    /// It is wanted and missing.
    Missing,
    /// It is there and not wanted.
    Extra(usize),
    /// It is another; equal numbers in one row are equal values.
    Other(usize),
    /// The node does not say.
    Unknown,
}

impl Cell {
    /// Returns the sign for it.
    pub fn sign(self) -> String {
        match self {
            Self::Absent => ".".to_owned(),
            Self::Same => "=".to_owned(),
            Self::Missing => "-".to_owned(),
            Self::Extra(number) => format!("+{number}"),
            Self::Other(number) => format!("≠{number}"),
            Self::Unknown => "?".to_owned(),
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Same => "same",
            Self::Missing => "missing",
            Self::Extra(_) => "extra",
            Self::Other(_) => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// Lays entries and nodes out against each other; a node that does not answer has no drift.
pub fn matrix(drifts: &[Option<&Drift>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in [Kind::Mirror, Kind::Auth, Kind::Tls] {
        let both = drifts.iter().flatten().flat_map(|drift| [&drift.current, &drift.wanted]);
        let names: BTreeSet<String> = both.flat_map(|registries| names(registries, kind)).collect();
        rows.extend(names.into_iter().map(|name| Row { kind, cells: cells(drifts, kind, &name), name }));
    }
    rows
}

fn names(registries: &Registries, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Mirror => registries.mirrors.keys().cloned().collect(),
        Kind::Auth => registries.auth.keys().cloned().collect(),
        Kind::Tls => registries.tls.keys().cloned().collect(),
    }
}

fn cells(drifts: &[Option<&Drift>], kind: Kind, name: &str) -> Vec<Cell> {
    // The values that are not as they should be, in the order in which they appear.
    let mut values: Vec<&Registries> = Vec::new();
    let mut cells = Vec::new();
    for drift in drifts {
        let Some(drift) = drift else {
            cells.push(Cell::Unknown);
            continue;
        };
        let mut number = || {
            let found = values.iter().position(|value| same_entry(value, &drift.current, kind, name));
            found.unwrap_or_else(|| {
                values.push(&drift.current);
                values.len() - 1
            }) + 1
        };
        cells.push(match (has(&drift.current, kind, name), has(&drift.wanted, kind, name)) {
            (false, false) => Cell::Absent,
            (false, true) => Cell::Missing,
            (true, true) if same_entry(&drift.current, &drift.wanted, kind, name) => Cell::Same,
            (true, true) => Cell::Other(number()),
            (true, false) => Cell::Extra(number()),
        });
    }
    cells
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::registries::{Auth, Endpoint, Mirror};

    fn registries(mirrors: &[(&str, &str)], password: &str) -> Registries {
        let mirror = |url: &str| {
            let endpoint = Endpoint { url: url.to_owned(), override_path: false };
            Mirror { endpoints: vec![endpoint], skip_fallback: false }
        };
        let auth = Auth {
            username: Some("u".to_owned()),
            password: Some(password.into()),
            auth: None,
            identity_token: None,
        };
        Registries {
            mirrors: mirrors.iter().map(|(name, url)| ((*name).to_owned(), mirror(url))).collect(),
            auth: BTreeMap::from([("h".to_owned(), auth)]),
            tls: BTreeMap::new(),
        }
    }

    #[test]
    fn a_secret_that_differs_is_another_change() {
        let wanted = || registries(&[("a", "https://h")], "new");
        let drift = |password| Drift::new(registries(&[("a", "https://h")], password), wanted());
        let drifts = [drift("old"), drift("older"), drift("old"), drift("new")];
        assert_eq!(drifts[0].changes, drifts[1].changes);
        let drifts: Vec<Option<&Drift>> = drifts.iter().map(Some).chain([None]).collect();
        assert_eq!(same_as(&drifts), [None, None, Some(0), None, None]);
    }

    #[test]
    fn the_matrix_tells_equal_values_by_number() {
        let wanted = || registries(&[("a", "https://h"), ("b", "https://h")], "p");
        let with = |mirrors: &[(&str, &str)]| Drift::new(registries(mirrors, "p"), wanted());
        let drifts = [
            with(&[("a", "https://h"), ("b", "https://1"), ("x", "https://x")]),
            with(&[("a", "https://h"), ("b", "https://2")]),
            with(&[("b", "https://1")]),
        ];
        let drifts: Vec<Option<&Drift>> = drifts.iter().map(Some).chain([None]).collect();
        let lines: Vec<String> = matrix(&drifts)
            .iter()
            .map(|row| {
                format!("{} {}", row.name, row.cells.iter().map(|cell| cell.sign()).collect::<String>())
            })
            .collect();
        assert_eq!(lines, ["a ==-?", "b ≠1≠2≠1?", "x +1..?", "h ===?"]);
    }
}
