use std::fmt;

use crate::oci::{Object, Route};

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

    /// Returns the kind of a route.
    pub const fn of_route(route: &Route) -> Self {
        match route {
            Route::Ping { .. } => Self::Other,
            Route::Object { object, .. } => match object {
                Object::Manifest(_) => Self::Manifest,
                Object::Blob(_) => Self::Blob,
                Object::Tags { .. } => Self::Tags,
                Object::Referrers { .. } => Self::Referrers,
            },
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
    /// From the bucket behind the store, without a word to upstream.
    Bucket,
    /// From the bucket, to which the client was sent.
    Redirect,
    /// From another cache on the bucket, which has it or fetches it.
    Peer,
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
    pub const ALL: [Self; 9] = [
        Self::Hit,
        Self::Bucket,
        Self::Redirect,
        Self::Peer,
        Self::Miss,
        Self::Follow,
        Self::Stale,
        Self::Revalidated,
        Self::None,
    ];

    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Bucket => "bucket",
            Self::Redirect => "redirect",
            Self::Peer => "peer",
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

/// What a request asked for and where its answer came from; among the extensions of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// What was asked for.
    pub kind: Kind,
    /// Where the answer came from.
    pub outcome: Outcome,
}

impl Served {
    /// Anything that is not about an object of a registry.
    pub const OTHER: Self = Self { kind: Kind::Other, outcome: Outcome::None };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_route() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (path, kind) in [
            ("/v2/docker.io/library/alpine/manifests/3", Kind::Manifest),
            (&format!("/v2/a/blobs/{digest}"), Kind::Blob),
            ("/v2/a/tags/list", Kind::Tags),
            (&format!("/v2/a/referrers/{digest}"), Kind::Referrers),
            ("/v2/", Kind::Other),
        ] {
            let route = crate::oci::parse_route("GET", path, None).unwrap();
            assert_eq!(Kind::of_route(&route), kind, "{path}");
        }
    }

    #[test]
    fn indexes_are_places_in_the_lists() {
        assert!(Kind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
        assert!(Outcome::ALL.iter().enumerate().all(|(at, outcome)| outcome.index() == at));
    }
}
