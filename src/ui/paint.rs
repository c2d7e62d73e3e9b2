use clap::builder::styling::{AnsiColor, Effects, Style};

/// Colours text by what it means; where colours are off, the text stays as it is. A colour is never the only sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text stays as it is.
    Off,
    /// Text is coloured.
    On,
}

impl Paint {
    fn styled(self, text: &str, style: Style) -> String {
        match self {
            Self::Off => text.to_owned(),
            Self::On => format!("{style}{text}{style:#}"),
        }
    }

    /// Paints a word that heads a message.
    pub(super) fn heading(self, word: &str, color: AnsiColor) -> String {
        self.styled(word, Style::new().bold().fg_color(Some(color.into())))
    }

    /// Paints the lines of a diff, a plan or a matrix: added, removed, changed and noteworthy ones, by their first sign.
    pub(crate) fn by_sign(self, text: &str) -> String {
        let line = |line: &str| {
            let color = match line.trim_start().split(' ').next() {
                Some("+") => AnsiColor::Green,
                Some("-") => AnsiColor::Red,
                Some("~") => AnsiColor::Yellow,
                Some("!") => AnsiColor::Cyan,
                Some(_) | None => return line.to_owned(),
            };
            self.styled(line, Style::new().fg_color(Some(color.into())))
        };
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }

    /// Paints a table: its header, and cells that are signs or words for good and bad.
    pub(crate) fn table(self, text: &str) -> String {
        if self == Self::Off {
            return text.to_owned();
        }
        let mut lines = text.lines();
        let header = lines.next().map(|line| self.styled(line, Style::new().effects(Effects::BOLD)));
        let body =
            lines.map(|line| line.split("   ").map(|cell| self.cell(cell)).collect::<Vec<_>>().join("   "));
        header.into_iter().chain(body).map(|line| format!("{line}\n")).collect()
    }

    fn cell(self, cell: &str) -> String {
        let word = cell.trim();
        let color = match word {
            "=" | "running" | "created" | "updated" | "unchanged" => AnsiColor::Green,
            "-" | "failed" | "unreachable" | "missing" | "error" => AnsiColor::Red,
            "?" | "differs" | "trial" | "staged" | "stale" | "warning" => AnsiColor::Yellow,
            _ if word.starts_with('≠') => AnsiColor::Yellow,
            _ if word.starts_with('+') => AnsiColor::Cyan,
            _ => return cell.to_owned(),
        };
        // A dash alone is a sign in a matrix; in other tables it says that there is nothing.
        if word == "-" {
            return cell.to_owned();
        }
        cell.replacen(word, &self.styled(word, Style::new().fg_color(Some(color.into()))), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_have_colours_and_stay() {
        let diff = "n1\n  + a\n  - b\n  ~ c\n  d - e\n";
        assert_eq!(Paint::Off.by_sign(diff), diff);
        let painted = Paint::On.by_sign(diff);
        assert_eq!(console::strip_ansi_codes(&painted), diff);
        assert!(painted.contains("\u{1b}[32m  + a") && painted.contains("\n  d - e\n"), "{painted:?}");
    }

    #[test]
    fn tables_keep_their_columns() {
        let table = "NODE   STAGE\nn1     running\nn2     unreachable\n";
        let painted = Paint::On.table(table);
        assert_eq!(console::strip_ansi_codes(&painted), table);
        assert!(painted.contains("\u{1b}[31munreachable"), "{painted:?}");
    }
}
