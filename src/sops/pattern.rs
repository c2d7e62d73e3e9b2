use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// A regular expression that means here what it means in Go, or is refused.
///
/// sops does not check its selection patterns: one that Go cannot compile matches nothing, and `encrypted_regex` then
/// leaves every secret in clear text. What only Rust knows must therefore be refused as well, and what both know but read
/// differently (`\d`, `\w`, `\s`, `\b` are ASCII in Go; `[[a]` and `[a&&b]` are plain characters) is rewritten.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` does not compile: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// The reason, as a fragment.
    pub reason: String,
}

impl Pattern {
    /// Compiles a pattern.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let failed = |reason: String| PatternError { pattern: source.to_owned(), reason };
        let translated =
            Translator { rest: source.chars().peekable(), out: String::new() }.run().map_err(failed)?;
        let regex = Regex::new(&translated).map_err(|error| {
            // The last line says what is wrong; those above draw the translated pattern.
            let text = error.to_string();
            let reason = text.lines().next_back().unwrap_or_default();
            failed(reason.trim_start_matches("error: ").to_owned())
        })?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// Returns whether the pattern is found anywhere in a text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Returns the pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Rewrites Go's syntax (RE2, `regexp/syntax`) as that of the `regex` crate.
struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    fn run(mut self) -> Result<String, String> {
        let mut repeated = false;
        while let Some(c) = self.rest.next() {
            let repeats = match c {
                '\\' => self.escape(Context::Outside)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' | '{' => {
                    let braced = c == '{';
                    self.out.push(c);
                    if braced {
                        self.bounds()?;
                    }
                    if repeated {
                        return Err("one repetition stands behind another".to_owned());
                    }
                    if let Some(lazy) = self.rest.next_if_eq(&'?') {
                        self.out.push(lazy);
                    }
                    true
                }
                c => {
                    self.out.push(c);
                    false
                }
            };
            repeated = repeats;
        }
        Ok(self.out)
    }

    /// Copies what follows a backslash; always `false`: it is not a repetition.
    fn escape(&mut self, place: Context) -> Result<bool, String> {
        let c = self.rest.next().ok_or("a backslash stands at the end")?;
        let plain = match (c, place) {
            ('d', Context::Outside) => "[0-9]",
            ('D', _) => "[^0-9]",
            ('s', Context::Outside) => "[\\t\\n\\f\\r ]",
            ('S', _) => "[^\\t\\n\\f\\r ]",
            ('w', Context::Outside) => "[0-9A-Za-z_]",
            ('W', _) => "[^0-9A-Za-z_]",
            ('d', Context::Class) => "0-9",
            ('s', Context::Class) => "\\t\\n\\f\\r ",
            ('w', Context::Class) => "0-9A-Za-z_",
            ('b', Context::Outside) if self.rest.peek() != Some(&'{') => "(?-u:\\b)",
            ('<', _) => "<",
            ('>', _) => ">",
            ('p' | 'P' | 'x', _) => {
                self.out.push('\\');
                self.out.push(c);
                if self.rest.peek() == Some(&'{') {
                    // `\p{Greek}`, `\x{1F511}`: no repetition.
                    for c in self.rest.by_ref() {
                        self.out.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                }
                return Ok(false);
            }
            (c, _) if c.is_ascii_punctuation() || matches!(c, 'a' | 'f' | 't' | 'n' | 'r' | 'v') => {
                self.out.push('\\');
                self.out.push(c);
                return Ok(false);
            }
            ('A' | 'z', Context::Outside) => {
                self.out.push('\\');
                self.out.push(c);
                return Ok(false);
            }
            (c, _) => return Err(format!("`\\{c}` is not understood everywhere")),
        };
        self.out.push_str(plain);
        Ok(false)
    }

    fn class(&mut self) -> Result<bool, String> {
        self.out.push('[');
        if let Some(caret) = self.rest.next_if_eq(&'^') {
            self.out.push(caret);
        }
        let mut first = true;
        while let Some(c) = self.rest.next() {
            match c {
                ']' if !first => {
                    self.out.push(c);
                    return Ok(false);
                }
                '\\' => {
                    self.escape(Context::Class)?;
                }
                '[' if self.rest.peek() == Some(&':') => {
                    // `[[:word:]]`: both read it alike, up to its `:]`.
                    self.out.push(c);
                    let mut last = ' ';
                    for c in self.rest.by_ref() {
                        self.out.push(c);
                        if last == ':' && c == ']' {
                            break;
                        }
                        last = c;
                    }
                }
                ']' | '[' | '&' | '~' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                '-' if self.rest.peek() == Some(&'-') => return Err("`--` in a class".to_owned()),
                c => self.out.push(c),
            }
            first = false;
        }
        Err("a `[` is not closed".to_owned())
    }

    /// Checks what follows `(`: the flags that Go knows, a name, or nothing.
    fn group(&mut self) -> Result<bool, String> {
        self.out.push('(');
        let Some(mark) = self.rest.next_if_eq(&'?') else { return Ok(false) };
        self.out.push(mark);
        if matches!(self.rest.peek(), Some('P' | '<')) {
            let mut name = String::new();
            while let Some(c) = self.rest.next_if(|c| !matches!(c, '>' | ')' | '(')) {
                name.push(c);
            }
            let named = name.strip_prefix('P').unwrap_or(&name).strip_prefix('<').is_some_and(|name| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            });
            if !named {
                return Err("look-around is not supported".to_owned());
            }
            self.out.push_str(&name);
            return Ok(false);
        }
        for c in self.rest.by_ref() {
            self.out.push(c);
            match c {
                ':' | ')' => return Ok(false),
                'i' | 'm' | 's' | 'U' | '-' => {}
                '=' | '!' => return Err("look-around is not supported".to_owned()),
                c => return Err(format!("the flag `{c}` is not understood everywhere")),
            }
        }
        Err("a `(` is not closed".to_owned())
    }

    /// Copies `2,5}`; Go repeats at most a thousand times.
    fn bounds(&mut self) -> Result<(), String> {
        let mut body = String::new();
        for c in self.rest.by_ref() {
            self.out.push(c);
            if c == '}' {
                let (least, most) = body.split_once(',').unwrap_or((&body, ""));
                let fits = [least, if most.is_empty() { least } else { most }]
                    .iter()
                    .all(|bound| bound.parse::<u16>().is_ok_and(|bound| bound <= 1000));
                return if fits {
                    Ok(())
                } else {
                    Err(format!("`{{{body}}}` is not a repetition up to 1000"))
                };
            }
            body.push(c);
        }
        Err("a `{` is not closed".to_owned())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Outside,
    Class,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn means_what_it_means_in_go() {
        for (pattern, text, want) in [
            ("^(password|identityToken|key)$", "password", true),
            ("^(password|identityToken|key)$", "passwords", false),
            ("^\\d+$", "٣", false),
            ("^\\w$", "é", false),
            ("^\\W$", "é", true),
            ("\\bkey\\b", "a key", true),
            ("é\\b", "é", false),
            ("^[[a]$", "[", true),
            ("^[a&&b]$", "&", true),
            ("^[]a]$", "]", true),
            ("^[\\d.]+$", "1.5", true),
            ("^[^\\D]$", "5", true),
            ("^[[:digit:]x]+$", "5x", true),
            ("\\<a\\>", "<a>", true),
            ("(?i)PASS", "pass", true),
            ("^.$", "é", true),
            ("(?P<x>a)(?:b)(?s:.)", "ab\n", true),
            ("a{2,3}?$", "aaa", true),
            ("\\.yaml$", "x.yaml", true),
            ("^\\p{Greek}\\x{41}{2}$", "αAA", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_match(text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn what_either_refuses_is_refused() {
        for pattern in [
            "^(password$",
            "(?<!x)password",
            "(?=a)",
            "(?!a)",
            "\\Qa\\E",
            "\\C",
            "(?x)a",
            "\\u{41}",
            "\\1",
            "a**",
            "a{2}{3}",
            "a{1001}",
            "[a",
            "\\",
            "\\b{start}",
            "[a--b]",
            "(?P=x)",
            "a{,5}",
            "\\B",
        ] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
        assert_eq!(
            Pattern::new("(?<!x)p").unwrap_err().to_string(),
            "the pattern `(?<!x)p` does not compile: look-around is not supported"
        );
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[\\PC\\\\\\[\\](){}?*+^$|:<>&-]{0,30}") {
            let _ = Pattern::new(&pattern);
        }

        #[test]
        fn plain_words_find_themselves(word in "[a-zA-Z0-9_é:/-]{1,12}") {
            let pattern = format!("^{word}$");
            prop_assert!(Pattern::new(&pattern).unwrap().is_match(&word));
        }
    }
}
