use super::value::Secret;

/// Replaces known secrets in texts that come from elsewhere, such as the messages of a program.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Secret<String>>);

impl Redactor {
    /// Remembers a secret; one of fewer than four characters would blot out ordinary words and is left.
    pub fn add(&mut self, secret: &Secret<String>) {
        if secret.expose().chars().count() >= 4 && !self.0.contains(secret) {
            self.0.push(secret.clone());
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
    }

    /// Returns the text with every remembered secret as `<redacted>`.
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "<redacted>"))
    }
}

/// Returns a URL's text, or an image's, without the user and password that may stand before its host.
pub fn without_userinfo(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        // An image without a registry.
        Some((_, digest))
            if scheme.is_empty()
                && ["sha256:", "sha512:"].iter().any(|algorithm| digest.starts_with(algorithm)) =>
        {
            url.to_owned()
        }
        Some((_, host)) => format!("{scheme}{host}{tail}"),
        None => url.to_owned(),
    }
}

/// Returns whether a text is what tools print in the place of a secret.
pub fn is_redacted(text: &str) -> bool {
    let bare = text.trim_matches(|c: char| {
        matches!(c, '<' | '>' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '\u{2022}')
    });
    let masked = bare.is_empty() && text.chars().count() >= 3
        || text.len() >= 5 && text.chars().all(|c| matches!(c, 'x' | 'X'));
    // The last are what documentation has in their place.
    let words = [
        "redacted",
        "hidden",
        "masked",
        "censored",
        "removed",
        "sensitive",
        "sensitive value",
        "secret",
        "password",
        "token",
    ];
    let word = words.iter().any(|word| bare.eq_ignore_ascii_case(word));
    masked || word && (bare.len() != text.len() || bare.eq_ignore_ascii_case("redacted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_secret_goes_first() {
        let mut redactor = Redactor::default();
        redactor.add(&Secret::from("hunter2"));
        redactor.add(&Secret::from("hunter2-long"));
        redactor.add(&Secret::from("abc"));
        assert_eq!(redactor.apply("abc hunter2-long hunter2"), "abc <redacted> <redacted>");
    }

    #[test]
    fn userinfo_goes() {
        assert_eq!(without_userinfo("https://u:p@h:5000/v2?a=b@c"), "https://h:5000/v2?a=b@c");
        assert_eq!(without_userinfo("https://h/@x"), "https://h/@x");
        assert_eq!(without_userinfo("h"), "h");
        assert_eq!(without_userinfo("u:p@h:5000"), "h:5000");
        assert_eq!(without_userinfo("alpine:3@sha256:12ab"), "alpine:3@sha256:12ab");
        assert_eq!(without_userinfo("u:p@h/alpine@sha256:12ab"), "h/alpine@sha256:12ab");
    }
}
