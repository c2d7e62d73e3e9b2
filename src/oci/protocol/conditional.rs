use crate::image::Digest;

/// Returns the entity tag of some content: its digest in quotes.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Returns whether an `If-None-Match` header names this content, so that the answer is 304.
///
/// The comparison is weak (RFC 9110 §13.1.2): proxies on the way weaken a tag when they compress. A digest without
/// quotes is taken too: Docker's client sends such.
pub fn if_none_match(header: &str, digest: &Digest) -> bool {
    let text = digest.to_string();
    header.split(',').map(str::trim).any(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let opaque = opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(opaque);
        tag == "*" || opaque == text
    })
}

/// Returns whether a `Range` counts in the presence of this `If-Range` header.
///
/// Only a strong tag can say so (RFC 9110 §13.1.5). A date cannot: content has none here.
pub fn if_range(header: &str, digest: &Digest) -> bool {
    header.trim() == etag(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_content() {
        let digest = Digest::sha256([0xab; 32]);
        let (tag, other) = (etag(&digest), etag(&Digest::sha256([0xac; 32])));
        for (header, none_match, range) in [
            (tag.clone(), true, true),
            (format!("W/{tag}"), true, false),
            (digest.to_string(), true, false),
            ("*".to_owned(), true, false),
            (other.clone(), false, false),
            (format!("{other}, {tag}"), true, false),
            (format!("{other},W/{tag}"), true, false),
            ("Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), false, false),
            (String::new(), false, false),
            ("\"".to_owned(), false, false),
        ] {
            assert_eq!(if_none_match(&header, &digest), none_match, "{header}");
            assert_eq!(if_range(&header, &digest), range, "{header}");
        }
    }
}
