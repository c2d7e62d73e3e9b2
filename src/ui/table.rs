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
    pub(crate) cells: Cells,
}

/// What becomes of cells without spaces in a terminal that is too narrow for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cells {
    /// They are cut.
    #[default]
    Cut,
    /// They stay as they are, and the line is too long: an image's name or a URL says nothing without its end.
    Whole,
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
    let widths = widths(rows);
    laid_out(rows, &widths, &vec![true; widths.len()], GAP)
}

/// Lays rows out so that they fit into so many characters, as far as columns can be made narrower: sentences go on below,
/// and what is cut ends in `…`.
pub(crate) fn table_within(rows: &[Vec<String>], width: usize, cells: Cells) -> String {
    let mut widths = widths(rows);
    let is_prose = prose(rows, widths.len());
    let whole = |gap: &str, widths: &[usize]| {
        widths.iter().sum::<usize>() + gap.len() * widths.len().saturating_sub(1)
    };
    let least: Vec<usize> = widths.iter().map(|width| LEAST.min(*width)).collect();
    let gap = if whole(GAP, &least) > width { NARROW_GAP } else { GAP };
    // The widest gives way down to the next, until all fit; sentences first, and to the end last.
    let can_be_cut = cells == Cells::Cut;
    for (of_prose, others, least) in
        [(true, false, LEAST_OF_PROSE), (false, can_be_cut, LEAST), (true, can_be_cut, LEAST)]
    {
        let gives_way = |prose: bool| if prose { of_prose } else { others };
        while whole(gap, &widths) > width {
            let columns = widths.iter_mut().zip(&is_prose);
            let columns = columns.filter(|(_, prose)| gives_way(**prose)).map(|(width, _)| width);
            let Some(widest) = columns.max().filter(|widest| **widest > least) else { break };
            *widest -= 1;
        }
    }
    let rows: Vec<Vec<String>> = rows.iter().flat_map(|row| lines_of(row, &widths, &is_prose)).collect();
    laid_out(&rows, &widths, &is_prose, gap)
}

/// Returns which columns have sentences, whose ends matter.
fn prose(rows: &[Vec<String>], columns: usize) -> Vec<bool> {
    let has_sentences = |column: usize| {
        let cells = rows.iter().skip(1).filter_map(|row| row.get(column));
        cells.into_iter().any(|cell| cell.trim().contains(' '))
    };
    (0..columns).map(has_sentences).collect()
}

/// Returns a row, and the rows below it that its sentences go on in.
fn lines_of(row: &[String], widths: &[usize], is_prose: &[bool]) -> Vec<Vec<String>> {
    let cells = row.iter().zip(widths).zip(is_prose);
    let cells: Vec<Vec<String>> = cells
        .map(|((cell, width), is_prose)| if *is_prose { wrapped(cell, *width) } else { vec![cell.clone()] })
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(1);
    let line = |at: usize| cells.iter().map(|lines| lines.get(at).cloned().unwrap_or_default()).collect();
    (0..height).map(line).collect()
}

/// Returns the lines that a cell goes on in; a word that is longer than the column stays whole.
fn wrapped(cell: &str, width: usize) -> Vec<String> {
    if measure_text_width(cell) <= width {
        return vec![cell.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in cell.split(' ') {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max()
    };
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

fn laid_out(rows: &[Vec<String>], widths: &[usize], is_whole: &[bool], gap: &str) -> String {
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).zip(is_whole).map(|((cell, width), is_whole)| {
            let cell = if *is_whole { cell.into() } else { truncate_str(cell, *width, "…") };
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
        assert_eq!(table_within(&rows, 80, Cells::Cut), table(&rows));
        let narrow = table_within(&rows, 30, Cells::Cut);
        assert_eq!(narrow, "NODE   CONFIG\nn1     0123456789012345678901…\n");
        // There is an end to it: a table that does not fit at all keeps what can be read.
        assert!(table_within(&rows, 3, Cells::Cut).contains("0123…"));
    }

    #[test]
    fn sentences_go_on_below() {
        let rows = rows(&[
            &["NODE", "VIA", "NOTE"],
            &["n1", "a-mirror-with-a-name", "a note that is longer than the terminal is wide"],
            &["n2", "b", "short"],
        ]);
        assert_eq!(table_within(&rows, 120, Cells::Cut), table(&rows));
        let want = "\
NODE   VIA                    NOTE
n1     a-mirror-with-a-name   a note that is longer than
                              the terminal is wide
n2     b                      short
";
        assert_eq!(table_within(&rows, 57, Cells::Cut), want);
        let want = "\
NODE   VIA          NOTE
n1     a-mirror-…   a note that is longer
                    than the terminal is
                    wide
n2     b            short
";
        assert_eq!(table_within(&rows, 44, Cells::Cut), want);
    }

    #[test]
    fn every_column_of_sentences_goes_on_below() {
        let rows = rows(&[
            &["NODE", "WHY", "WHAT TO DO"],
            &["n1", "a reason that is longer than its column", "and something that can be done about it"],
        ]);
        let want = "\
NODE   WHY                          WHAT TO DO
n1     a reason that is longer      and something that can be
       than its column              done about it
";
        assert_eq!(table_within(&rows, 62, Cells::Cut), want);
    }

    #[test]
    fn cells_that_are_to_stay_whole_are_not_cut() {
        let rows = rows(&[
            &["IMAGE", "WHY"],
            &["ghcr.io/an/image/with-a-name:v1", "https://a.example/with/a/path/of/its/own is not there"],
        ]);
        for width in [3, 40, 60] {
            let narrow = table_within(&rows, width, Cells::Whole);
            assert!(narrow.contains("ghcr.io/an/image/with-a-name:v1 "), "{narrow}");
            assert!(narrow.contains("https://a.example/with/a/path/of/its/own\n"), "{narrow}");
        }
    }
}
