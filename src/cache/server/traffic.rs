use std::fmt;

/// What a request asks for, as far as numbers about it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A manifest, by tag or by digest.
    Manifest,
    /// A blob.
    Blob,
    /// A list of tags.
    Tags,
    /// What refers to a manifest.
    Referrers,
    /// Anything else: `/v2/`, a probe, what does not exist.
    Other,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Manifest, Self::Blob, Self::Tags, Self::Referrers, Self::Other];

    /// Tells the kind by the last two segments of a path; nothing is promised about what is served under it.
    pub fn of_path(path: &str) -> Self {
        let mut segments = path.rsplit('/');
        let (last, before) = (segments.next(), segments.next());
        match (before, last) {
            (Some("manifests"), _) => Self::Manifest,
            (Some("blobs"), _) => Self::Blob,
            (Some("tags"), Some("list")) => Self::Tags,
            (Some("referrers"), _) => Self::Referrers,
            _ => Self::Other,
        }
    }

    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Other => "other",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Where an answer came from: the value of the header `X-Cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the store, without a word to upstream.
    Hit,
    /// From upstream, by a download that this request began.
    Miss,
    /// From upstream, by a download that was already running.
    Follow,
    /// From the store, though older than it should be, because upstream does not answer.
    Stale,
    /// From the store, after upstream said that nothing has changed.
    Revalidated,
    /// No such thing: an error, a probe, an answer about this server itself.
    None,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Hit, Self::Miss, Self::Follow, Self::Stale, Self::Revalidated, Self::None];

    /// Reads the header's value.
    pub fn of_header(value: Option<&http::HeaderValue>) -> Self {
        match value.map(http::HeaderValue::as_bytes) {
            Some(b"HIT") => Self::Hit,
            Some(b"MISS") => Self::Miss,
            Some(b"FOLLOW") => Self::Follow,
            Some(b"STALE") => Self::Stale,
            Some(b"REVALIDATED") => Self::Revalidated,
            Some(_) | None => Self::None,
        }
    }

    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Follow => "follow",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::None => "none",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// All of it went out.
    Complete,
    /// The client hung up.
    Gone,
    /// The client took less than the least rate.
    Stalled,
    /// The body could not be gone on with, so the connection was reset.
    Broken,
}

impl End {
    /// Every end, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Complete, Self::Gone, Self::Stalled, Self::Broken];

    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Gone => "gone",
            Self::Stalled => "stalled",
            Self::Broken => "broken",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_path() {
        for (path, kind) in [
            ("/v2/docker.io/library/alpine/manifests/3", Kind::Manifest),
            ("/v2/a/blobs/sha256:0", Kind::Blob),
            ("/v2/a/tags/list", Kind::Tags),
            ("/v2/a/referrers/sha256:0", Kind::Referrers),
            ("/v2/", Kind::Other),
            ("/livez", Kind::Other),
            ("", Kind::Other),
            ("/v2/manifests/blobs/x/", Kind::Other),
        ] {
            assert_eq!(Kind::of_path(path), kind, "{path}");
        }
    }

    #[test]
    fn indexes_are_places_in_the_lists() {
        assert!(Kind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
        assert!(Outcome::ALL.iter().enumerate().all(|(at, outcome)| outcome.index() == at));
        assert!(End::ALL.iter().enumerate().all(|(at, end)| end.index() == at));
    }

    #[test]
    fn outcomes_by_header() {
        let of = |value: &'static str| Outcome::of_header(Some(&http::HeaderValue::from_static(value)));
        assert_eq!(of("HIT"), Outcome::Hit);
        assert_eq!(of("REVALIDATED"), Outcome::Revalidated);
        assert_eq!(of("hit"), Outcome::None);
        assert_eq!(Outcome::of_header(None), Outcome::None);
    }
}
