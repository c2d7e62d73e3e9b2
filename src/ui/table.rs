use console::{measure_text_width, truncate_str};

/// What stands between two columns, and what does where they would not fit.
const GAP: &str = "   ";
const NARROW_GAP: &str = " ";
/// A column that is made narrower keeps so many characters.
const LEAST: usize = 5;

/// A table, and what stands above and below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) above: String,
    /// The first row is the header.
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) below: String,
}

/// A text that is not a table stands above one without rows.
impl From<String> for Table {
    fn from(text: String) -> Self {
        Self { above: text, ..Self::default() }
    }
}

impl Table {
    /// Makes a table of a header and rows.
    pub(crate) fn new(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let header = header.iter().map(|&cell| cell.to_owned()).collect();
        Self { rows: std::iter::once(header).chain(rows).collect(), ..Self::default() }
    }
}

/// Lays rows out in columns, three spaces apart; the first row is the header.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    laid_out(rows, &widths(rows), GAP)
}

/// Lays rows out so that they fit into so many characters, as far as columns can be made narrower: what is cut ends in `…`.
pub(crate) fn table_within(rows: &[Vec<String>], width: usize) -> String {
    let mut widths = widths(rows);
    let whole = |gap: &str, widths: &[usize]| {
        widths.iter().sum::<usize>() + gap.len() * widths.len().saturating_sub(1)
    };
    let least: Vec<usize> = widths.iter().map(|width| LEAST.min(*width)).collect();
    let gap = if whole(GAP, &least) > width { NARROW_GAP } else { GAP };
    loop {
        let over = whole(gap, &widths).saturating_sub(width);
        let Some(widest) = widths.iter_mut().max().filter(|widest| over > 0 && **widest > LEAST) else {
            break;
        };
        // The widest gives way down to the next, until all fit.
        *widest -= 1;
    }
    laid_out(rows, &widths, gap)
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max()
    };
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

fn laid_out(rows: &[Vec<String>], widths: &[usize], gap: &str) -> String {
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            let cell = truncate_str(cell, *width, "…");
            let blanks = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
            format!("{cell}{blanks}")
        });
        out.push_str(cells.collect::<Vec<_>>().join(gap).trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
    }

    #[test]
    fn the_widest_column_gives_way() {
        let rows = rows(&[&["NODE", "NOTE"], &["n1", "a note that is longer than the terminal is wide"]]);
        assert_eq!(table_within(&rows, 80), table(&rows));
        let narrow = table_within(&rows, 30);
        assert_eq!(narrow, "NODE   NOTE\nn1     a note that is longer …\n");
        // There is an end to it: a table that does not fit at all keeps what can be read.
        assert!(table_within(&rows, 3).contains("a no…"));
    }
}
