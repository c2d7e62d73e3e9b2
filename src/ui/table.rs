use console::{measure_text_width, truncate_str};

/// What stands between two columns, and what does where they would not fit.
const GAP: &str = "   ";
const NARROW_GAP: &str = " ";
/// A column that is made narrower keeps so many characters.
const LEAST: usize = 5;
/// A column of sentences keeps so many, as long as others can give way.
const LEAST_OF_PROSE: usize = 24;

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

/// Lays rows out so that they fit into so many characters, as far as columns can be made narrower: what is cut ends in `…`;
/// sentences of the last column go on below.
pub(crate) fn table_within(rows: &[Vec<String>], width: usize) -> String {
    let mut widths = widths(rows);
    let whole = |gap: &str, widths: &[usize]| {
        widths.iter().sum::<usize>() + gap.len() * widths.len().saturating_sub(1)
    };
    let least: Vec<usize> = widths.iter().map(|width| LEAST.min(*width)).collect();
    let gap = if whole(GAP, &least) > width { NARROW_GAP } else { GAP };
    let over = whole(gap, &widths).saturating_sub(width);
    if let Some(last) = widths.last_mut().filter(|_| is_prose(rows)) {
        *last = last.saturating_sub(over).max(LEAST_OF_PROSE.min(*last));
    }
    // The widest gives way down to the next, until all fit; sentences last of all.
    let others = widths.len().saturating_sub(usize::from(is_prose(rows)));
    for narrowed in [others, widths.len()] {
        while whole(gap, &widths) > width {
            let widest = widths.iter_mut().take(narrowed).max().filter(|widest| **widest > LEAST);
            let Some(widest) = widest else { break };
            *widest -= 1;
        }
    }
    let rows: Vec<Vec<String>> = rows.iter().flat_map(|row| lines_of(row, &widths, is_prose(rows))).collect();
    laid_out(&rows, &widths, gap)
}

/// Returns whether the last column has sentences, whose ends matter.
fn is_prose(rows: &[Vec<String>]) -> bool {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let last = rows.iter().filter_map(|row| row.get(columns.checked_sub(1)?));
    last.skip(1).any(|cell| cell.trim().contains(' '))
}

/// Returns a row, and the rows below it that its last cell goes on in.
fn lines_of(row: &[String], widths: &[usize], wraps: bool) -> Vec<Vec<String>> {
    let whole = || vec![row.to_vec()];
    let (Some((last, others)), Some(width)) = (row.split_last(), widths.get(row.len().saturating_sub(1)))
    else {
        return whole();
    };
    if !wraps || row.len() < widths.len() || measure_text_width(last) <= *width {
        return whole();
    }
    let mut lines: Vec<String> = Vec::new();
    for word in last.split(' ') {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= *width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    let blank = vec![String::new(); others.len()];
    let first = std::iter::once(others.to_vec()).chain(std::iter::repeat(blank));
    first.zip(lines).map(|(others, line)| others.into_iter().chain([line]).collect()).collect()
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
        let rows = rows(&[&["NODE", "CONFIG"], &["n1", "0123456789012345678901234567890123456789"]]);
        assert_eq!(table_within(&rows, 80), table(&rows));
        let narrow = table_within(&rows, 30);
        assert_eq!(narrow, "NODE   CONFIG\nn1     0123456789012345678901…\n");
        // There is an end to it: a table that does not fit at all keeps what can be read.
        assert!(table_within(&rows, 3).contains("0123…"));
    }

    #[test]
    fn sentences_go_on_below() {
        let rows = rows(&[
            &["NODE", "VIA", "NOTE"],
            &["n1", "a-mirror-with-a-name", "a note that is longer than the terminal is wide"],
            &["n2", "b", "short"],
        ]);
        assert_eq!(table_within(&rows, 120), table(&rows));
        let want = "\
NODE   VIA                    NOTE
n1     a-mirror-with-a-name   a note that is longer than
                              the terminal is wide
n2     b                      short
";
        assert_eq!(table_within(&rows, 57), want);
        let want = "\
NODE   VIA          NOTE
n1     a-mirror-…   a note that is longer
                    than the terminal is
                    wide
n2     b            short
";
        assert_eq!(table_within(&rows, 44), want);
    }
}
