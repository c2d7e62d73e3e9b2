//! The picture of a rollout in the README: what a terminal shows, as an animated SVG.

use std::fmt::Write as _;
use std::time::Duration;

use crate::readme::{nodes, tidy};
use crate::run::repository;
use crate::screen::Terminal;

const COLUMNS: u16 = 110;
/// How many screens are shown, at most.
const FRAMES: usize = 14;
/// Seconds that a screen is shown, and the last one.
const SECONDS: f64 = 0.9;
const LAST_SECONDS: f64 = 6.0;
/// Pixels of a character.
const WIDTH: f64 = 7.85;
const HEIGHT: f64 = 17.0;
/// What stands before the last screen, which is the one that is compared.
const LAST: &str = "<!-- the last screen -->\n";

/// A rollout on a terminal ends as the picture does; `UPDATE_GOLDEN=1` draws it again.
#[test]
fn the_picture_is_what_a_terminal_shows() {
    if !crate::terminal::is_lent() {
        return;
    }
    let (_cluster, place) = nodes(Duration::from_millis(400));
    let mut terminal = Terminal::start(&place, COLUMNS, "rollout --verify never");
    terminal.until("Change 3 nodes?");
    terminal.type_in("y");
    let mut frames: Vec<String> = Vec::new();
    terminal.each_screen(|screen| {
        let frame = drawn(screen);
        if frames.last() != Some(&frame) {
            frames.push(frame);
        }
    });
    let path = repository("docs/rollout.svg");
    let last = frames.last().expect("a screen").clone();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, picture(&frames)).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    let (_, end) = checked_in.split_once(LAST).expect("a last screen");
    assert!(end.contains(&last), "docs/rollout.svg ends otherwise; UPDATE_GOLDEN=1 draws it. Now:\n{last}");
}

/// Draws a screen: a line of text for each row, parted where the colour changes.
fn drawn(screen: &vt100::Screen) -> String {
    let mut out = String::new();
    for row in 0..screen.size().0 {
        let mut runs: Vec<(String, String)> = Vec::new();
        for column in 0..COLUMNS {
            let Some(cell) = screen.cell(row, column) else { continue };
            let text = if cell.has_contents() { cell.contents() } else { " " };
            let mut style = match cell.fgcolor() {
                vt100::Color::Idx(1 | 9) => "r".to_owned(),
                vt100::Color::Idx(2 | 10) => "g".to_owned(),
                vt100::Color::Idx(3 | 11) => "y".to_owned(),
                vt100::Color::Idx(4..=6 | 12..=14) => "c".to_owned(),
                vt100::Color::Idx(8) => "d".to_owned(),
                vt100::Color::Default | vt100::Color::Idx(_) | vt100::Color::Rgb(..) => String::new(),
            };
            if cell.bold() {
                style.push_str(" b");
            }
            match runs.last_mut() {
                Some((before, run)) if *before == style => run.push_str(text),
                _ => runs.push((style, text.to_owned())),
            }
        }
        let line: String = runs.iter().map(|(_, text)| text.as_str()).collect();
        if line.trim().is_empty() {
            continue;
        }
        let y = f64::from(row + 1) * HEIGHT + 8.0;
        write!(out, r#"<text x="12" y="{y}">"#).unwrap();
        for (style, text) in &runs {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            match style.trim() {
                "" => out.push_str(&text),
                style => write!(out, r#"<tspan class="{style}">{text}</tspan>"#).unwrap(),
            }
        }
        let kept = out.trim_end().len();
        out.truncate(kept);
        out.push_str("</text>\n");
    }
    anonymous(&out)
}

/// Puts fixed values in the place of times and of the run's own folder.
fn anonymous(text: &str) -> String {
    let same = [
        (r"\b\d\d:\d\d\b", "00:07"),
        (r"trial ends in \d+ s", "trial ends in 297 s"),
        (r"\b\d+ s\b", "300 s"),
    ];
    let text = tidy(text);
    same.into_iter()
        .fold(text, |text, (from, to)| regex::Regex::new(from).unwrap().replace_all(&text, to).into_owned())
}

fn picture(frames: &[String]) -> String {
    let step = frames.len().div_ceil(FRAMES).max(1);
    let (last, before) = frames.split_last().expect("a screen");
    let shown: Vec<&String> = before.iter().step_by(step).collect();
    let lines = |frame: &String| frame.matches("<text ").count();
    let rows = frames.iter().map(lines).max().unwrap_or_default() + 3;
    let (width, height) =
        (f64::from(COLUMNS) * WIDTH + 24.0, HEIGHT * f64::from(u32::try_from(rows).unwrap()) + 16.0);
    #[expect(clippy::cast_precision_loss, reason = "a few screens")]
    let total = shown.len() as f64 * SECONDS + LAST_SECONDS;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
         aria-label=\"talmirror rollout on a terminal\">\n<!-- Made by tests/it/picture.rs: UPDATE_GOLDEN=1 cargo test --test it \
         picture -->\n<style>\nsvg {{ background: #16181d }}\ntext {{ font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #d8dee9; \
         white-space: pre }}\n.r {{ fill: #f07178 }} .g {{ fill: #9ece6a }} .y {{ fill: #e0af68 }} .c {{ fill: #7dcfff }} \
         .d {{ fill: #7a8294 }} .b {{ font-weight: bold }}\ng {{ opacity: 0; animation: {total:.1}s step-end infinite }}\n\
         .end {{ opacity: 1 }}\n@media (prefers-reduced-motion: reduce) {{ g {{ animation: none !important }} }}\n",
    );
    let mut at = 0.0;
    for number in 0..=shown.len() {
        let end = if number == shown.len() { total } else { at + SECONDS };
        writeln!(
            out,
            "@keyframes f{number} {{ 0% {{ opacity: {} }} {:.2}% {{ opacity: 1 }} {:.2}% {{ opacity: 0 }} }}\n#f{number} {{ \
             animation-name: f{number} }}",
            u8::from(number == 0),
            at / total * 100.0,
            end / total * 100.0,
        )
        .unwrap();
        at = end;
    }
    out.push_str("</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#16181d\"/>\n");
    for (number, frame) in shown.iter().enumerate() {
        write!(out, "<g id=\"f{number}\">\n{frame}</g>\n").unwrap();
    }
    write!(out, "{LAST}<g id=\"f{}\" class=\"end\">\n{last}</g>\n</svg>\n", shown.len()).unwrap();
    out
}
