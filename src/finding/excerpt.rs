use std::ops::Range;

/// The longest line that is worth showing.
const LONGEST: usize = 200;
/// Words beside which a line may hold a secret, and in the path of a place below which one may stand.
const SECRET_WORDS: [&str; 9] =
    ["pass", "pwd", "token", "secret", "auth", "key", "credential", "admin", "-----"];

/// The line of a file that a finding is about, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, without its end.
    pub line: String,
    /// What of the line is meant, in bytes.
    pub span: Range<usize>,
}

impl Excerpt {
    /// Takes the line that a span begins on, of a place with this path; [`None`] where it could show a secret, or shows
    /// nothing. Of a key, what stands behind it is left out: under a name that is misspelt there may be a secret.
    pub(super) fn of(text: &str, span: &Range<usize>, path: &str) -> Option<Self> {
        let before = text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..)?.lines().next()?.trim_end();
        if span.is_empty()
            || line.len() > LONGEST
            || line.contains('\t')
            || may_hold_a_secret(line)
            || names_a_secret(path)
        {
            return None;
        }
        let from = span.start - start;
        let to = (span.end - start).min(line.len());
        let (head, behind) = line.split_at_checked(to)?;
        let is_key = behind.trim_start().strip_prefix(':').is_some_and(|value| !value.trim().is_empty());
        let line = if is_key { format!("{head}: …") } else { line.to_owned() };
        (from < to).then_some(Self { line, span: from..to })
    }
}

/// Returns whether a line may hold a secret: by a word in it, by a user in a URL, or because it is not a field at all, as a
/// line of a long text.
fn may_hold_a_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    let is_field = line.contains(':') || line.trim_start().starts_with("- ");
    may_name_a_secret(&lower) || !is_field
}

/// Returns whether a text names a secret, or a user in a URL.
pub(crate) fn may_name_a_secret(text: &str) -> bool {
    let in_url = |at: usize| text.get(at..).is_some_and(|rest| rest.contains('@'));
    names_a_secret(text) || text.find("://").is_some_and(in_url)
}

/// Returns whether one of the words stands in a text beside which a secret may stand.
fn names_a_secret(text: &str) -> bool {
    let lower = text.to_lowercase();
    SECRET_WORDS.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_and_what_of_it() {
        let text = "a: 1\nbc: [x, yz]\n";
        let found = Excerpt::of(text, &(13..15), "").unwrap();
        assert_eq!((found.line.as_str(), &found.line[found.span.clone()]), ("bc: [x, yz]", "yz"));
        let beyond = Excerpt::of("a: [1,\n 2]\n", &(3..10), "").unwrap();
        assert_eq!(&beyond.line[beyond.span.clone()], "[1,");
        assert_eq!(Excerpt::of(text, &(0..0), ""), None);
        assert_eq!(Excerpt::of(text, &(99..100), ""), None);
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        for line in [
            "password: s3cr3t",
            "{username: u, Password: s3cr3t}",
            "url: https://u:s3cr3t@h.example",
            "identityToken: s3cr3t",
            "    s3cr3tpartofalongtext",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert_eq!(Excerpt::of(line, &(0..4), ""), None, "{line}");
        }
    }

    #[test]
    fn a_line_below_a_place_of_secrets_is_not_shown() {
        let text = "  - s3cr3t: x\n  - s3cr3t\n";
        for path in [
            "mirrors.harbor.credentials",
            "mirrors.h.credentials.username",
            "config.h.auth",
            "mirrors.h.harbor.adminPassword",
            "mirrors.h.Password[0]",
        ] {
            assert_eq!(Excerpt::of(text, &(18..24), path), None, "{path}");
        }
        assert!(Excerpt::of("  - other\n", &(4..9), "registries[0]").is_some());
    }

    #[test]
    fn behind_a_key_that_is_not_known_nothing_is_shown() {
        let found = Excerpt::of("  pw: hunter2\n", &(2..4), "mirrors.h.pw").unwrap();
        assert_eq!(found.line, "  pw: …");
        let flow = Excerpt::of("  h: {pw: hunter2, url: x}\n", &(6..8), "mirrors.h.pw").unwrap();
        assert_eq!(flow.line, "  h: {pw: …");
    }
}
