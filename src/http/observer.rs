use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Extensions, Method, StatusCode, Uri};

/// What a server tells of its connections and answers, such as for metrics and a log; all calls return at once.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A connection is served from now on.
    fn connected(&self);

    /// A connection that was served has ended.
    fn gone(&self);

    /// A connection was refused, since there were too many.
    fn refused(&self);

    /// A connection that waited for a request was closed to make room for another.
    fn displaced(&self);

    /// Returns whether [`Exchange::request`] is wanted, so that nothing is kept for it where it is not.
    fn wants_request(&self) -> bool;

    /// An answer has ended.
    fn answered(&self, exchange: &Exchange<'_>);
}

/// What is kept of a request until its answer has ended.
#[derive(Clone, Debug)]
pub struct RequestLine {
    /// The client's address.
    pub peer: SocketAddr,
    /// The method.
    pub method: Method,
    /// The request target; its query may hold secrets.
    pub uri: Uri,
}

/// An answer that has ended.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The request, and how long its answer took, where [`Observer::wants_request`] asked for it.
    pub request: Option<(&'a RequestLine, Duration)>,
    /// The answer's status.
    pub status: StatusCode,
    /// What the handler put beside the answer for those who observe it.
    pub extensions: &'a Extensions,
    /// How it ended.
    pub end: End,
    /// Bytes of the body that were sent.
    pub sent: u64,
    /// Why the body broke off.
    pub error: Option<&'a str>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// All of it was sent.
    Complete,
    /// The client closed the connection.
    Gone,
    /// The client took less than the least rate.
    Stalled,
    /// The body could not be continued, so the connection was reset.
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

    /// Returns its place in [`End::ALL`].
    pub const fn index(self) -> usize {
        self as usize
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
    fn indexes_are_places_in_the_list() {
        assert!(End::ALL.iter().enumerate().all(|(at, end)| end.index() == at));
    }
}
