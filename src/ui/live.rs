//! Lines on a terminal that the next ones take the place of.

use console::truncate_str;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Takes the lines away that were drawn: all from the cursor to the end of the screen (ECMA-48 ED).
pub(super) const ERASE: &str = "\r\u{1b}[J";

/// Returns what draws lines; [`ERASE`] takes them away again.
///
/// The cursor is left at the start of the first of them. A terminal that is made narrower may break what it shows into
/// more rows, or cut it; either way its cursor stays at the character that it was at, and so no row has to be counted.
pub(super) fn draw(lines: &[String], size: Size) -> String {
    // A row that is full to its last column would leave it to the terminal where the cursor is.
    let width = size.columns.saturating_sub(1).max(1);
    let mut rows: Vec<String> =
        lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect();
    let room = size.rows.saturating_sub(1).max(1);
    if rows.len() > room {
        rows.truncate(room - 1);
        let more = format!("… and {} more", lines.len() - rows.len());
        rows.push(truncate_str(&more, width, "").into_owned());
    }
    let up = match rows.len().saturating_sub(1) {
        0 => String::new(),
        rows => format!("\u{1b}[{rows}A"),
    };
    format!("{}{up}\r", rows.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(lines: &[&str], rows: usize, columns: usize) -> String {
        draw(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), Size { rows, columns })
    }

    #[test]
    fn lines_are_cut_to_the_terminal_and_the_cursor_goes_back() {
        assert_eq!(drawn(&["one"], 24, 80), "one\r");
        assert_eq!(drawn(&["one", "two"], 24, 80), "one\r\ntwo\u{1b}[1A\r");
        assert_eq!(drawn(&["one two"], 24, 5), "one…\r");
        assert_eq!(drawn(&["a", "b", "c"], 3, 80), "a\r\n… and 2 more\u{1b}[1A\r");
        assert_eq!(drawn(&["a", "b"], 0, 0), "…\r", "no room at all");
    }

    #[test]
    fn colour_takes_no_room() {
        let painted = "\u{1b}[31mred\u{1b}[0m and more";
        assert_eq!(drawn(&[painted], 24, 6), "\u{1b}[31mred\u{1b}[0m …\r");
    }
}
