use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Extensions, Response, StatusCode};

use super::body::{Body, Piece};
use super::config::MAX_HEAD;
use super::page_cache::read_resident;
use super::request_head::{is_host, whole_lines};
use super::response_head::{ConnectionHeader, write_response_head};

/// The largest body of an answer that is kept ready.
const MOST: u64 = 16 * 1024;
/// The most headers of a request that is looked up among the answers that are ready.
const HEADERS: usize = 16;

/// A request that says what it wants and nothing else: GET or HEAD of HTTP/1.1, without a header that could change the
/// answer, `Accept` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRequest<'a> {
    /// Whether the method is HEAD.
    pub is_head: bool,
    /// The request target, which begins with `/`.
    pub target: &'a str,
    /// The value of `Accept`, or nothing.
    pub accept: &'a [u8],
}

impl<'a> PlainRequest<'a> {
    /// Takes a method, a target and headers for a plain request, if they are one.
    pub fn of(
        method: &str,
        target: &'a str,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<Self> {
        let is_head = match method {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        let (mut accept, mut hosts) = (None, 0);
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("host") {
                hosts += 1;
                if !is_host(value) {
                    return None;
                }
            } else if name.eq_ignore_ascii_case("accept") {
                if accept.replace(value).is_some() {
                    return None;
                }
            } else if name.eq_ignore_ascii_case("connection") {
                if !value.eq_ignore_ascii_case(b"keep-alive") {
                    return None;
                }
            } else if !name.eq_ignore_ascii_case("user-agent")
                && !name.eq_ignore_ascii_case("accept-encoding")
            {
                return None;
            }
        }
        let is_plain = hosts == 1 && target.starts_with('/');
        is_plain.then(|| Self { is_head, target, accept: accept.unwrap_or_default() })
    }

    /// Reads the head of a plain request, and how many bytes it took. What is not there yet as a whole is none, and what
    /// would be refused is none, so that one place says why.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
        let mut head = httparse::Request::new(&mut []);
        let Ok(httparse::Status::Complete(len)) = head.parse_with_uninit_headers(bytes, &mut headers) else {
            return None;
        };
        if len > MAX_HEAD || head.version != Some(1) || !whole_lines(bytes.get(..len)?) {
            return None;
        }
        let headers = head.headers.iter().map(|header| (header.name, header.value));
        Some((Self::of(head.method?, head.path?, headers)?, len))
    }
}

/// An answer whose bytes have been put together, to be sent any number of times.
#[derive(Debug)]
pub struct PreparedResponse {
    /// The head up to where `Date` goes.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
    pub(super) status: StatusCode,
    pub(super) extensions: Extensions,
}

impl PreparedResponse {
    /// Puts the bytes of an answer together, if it is small and in memory, or can be read without a wait.
    pub fn of(response: &Response<Body>) -> Option<Self> {
        let body = match response.body() {
            Body::Empty => Bytes::new(),
            Body::Piece(Piece::Bytes(bytes)) if bytes.len() as u64 <= MOST => bytes.clone(),
            Body::Piece(Piece::File { file, offset, len }) if *len <= MOST => {
                let mut bytes = vec![0; usize::try_from(*len).ok()?];
                let read = read_resident(file, *offset, &mut bytes).ok()??;
                if read < bytes.len() {
                    return None;
                }
                bytes.into()
            }
            Body::Piece(_) | Body::Pieces { .. } => return None,
        };
        let mut bare = Response::new(());
        *bare.status_mut() = response.status();
        bare.headers_mut().clone_from(response.headers());
        let mut head = Vec::new();
        write_response_head(&mut head, &bare, None, ConnectionHeader::Nothing);
        head.truncate(head.len().saturating_sub(b"\r\n".len()));
        head.shrink_to_fit();
        Some(Self { head, body, status: response.status(), extensions: response.extensions().clone() })
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns about how much memory it takes, with what a table of them needs for each: measured, about 600 bytes.
    pub fn weight(&self) -> usize {
        self.head.len() + self.body.len() + 600
    }

    /// Appends all of it.
    pub(super) fn write(&self, out: &mut Vec<u8>, date: &[u8]) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{CONTENT_TYPE, DATE};
    use proptest::prelude::*;

    use super::super::request_head::{KeepAlive, ParsedHead, parse_request_head};
    use super::*;

    const PLAIN: &str =
        "GET /v2/a/manifests/1?ns=b HTTP/1.1\r\nHost: h:5\r\nUser-Agent: u\r\nAccept: c\r\n\r\n";

    #[test]
    fn plain_requests() {
        let request = PlainRequest { is_head: false, target: "/v2/a/manifests/1?ns=b", accept: b"c" };
        assert_eq!(PlainRequest::parse(PLAIN.as_bytes()), Some((request, PLAIN.len())));
        let two = format!("{PLAIN}GET /");
        assert_eq!(PlainRequest::parse(two.as_bytes()), Some((request, PLAIN.len())));
        let head = PLAIN.replace("GET", "HEAD");
        assert!(PlainRequest::parse(head.as_bytes()).unwrap().0.is_head);
    }

    #[test]
    fn requests_that_say_more() {
        for (part, other) in [
            ("GET", "DELETE"),
            ("GET", "get"),
            ("/v2", "http://h/v2"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("\r\nHost", "\nHost"),
            ("Host: h:5\r\n", ""),
            ("Host: h:5\r\n", "Host: h/5\r\n"),
            ("Host: h:5\r\n", "Host: h\r\nHost: h\r\n"),
            ("Accept: c\r\n", "Accept: c\r\nAccept: d\r\n"),
            ("Accept: c\r\n", "Accept: c\r\nConnection: close\r\n"),
            ("Accept: c\r\n", "Range: bytes=0-\r\n"),
            ("Accept: c\r\n", "Authorization: Basic eA==\r\n"),
            ("Accept: c\r\n", "If-None-Match: \"c\"\r\n"),
            ("Accept: c\r\n", "Cache-Control: no-cache\r\n"),
            ("Accept: c\r\n", "X-Forwarded-For: 10.0.0.1\r\n"),
            ("Accept: c\r\n", "Content-Length: 0\r\n"),
            ("Accept: c\r\n\r\n", "Accept: c\r\n"),
        ] {
            assert_eq!(PlainRequest::parse(PLAIN.replacen(part, other, 1).as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn bytes_are_those_that_are_written_otherwise() {
        let mut response = Response::new(Body::Piece(Piece::Bytes("abc".into())));
        response.headers_mut().insert("content-length", HeaderValue::from(3));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let prepared = PreparedResponse::of(&response).unwrap();
        let mut out = Vec::new();
        prepared.write(&mut out, b"now");
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\nDate: now\r\n\r\nabc";
        assert_eq!(String::from_utf8(out).unwrap(), head);
        assert!(!response.headers().contains_key(DATE));
        let large = Body::Piece(Piece::Bytes(vec![0; 16 * 1024 + 1].into()));
        assert!(PreparedResponse::of(&Response::new(large)).is_none());
    }

    proptest! {
        /// What is looked up is what would be read, and nothing is that would be refused.
        #[test]
        fn plain_requests_are_requests(
            method in "GET|HEAD|POST",
            target in "/[a-z#?%/:]{0,12}",
            lines in proptest::collection::vec(
                "(Host: [a-z/,]{0,3}|Accept: [a-z*/]{0,3}|Connection: (keep-alive|close)|User-Agent: x|Range: y|Expect: z|Content-Length: 0)(\r\n|\n)",
                0..4,
            ),
        ) {
            let text = format!("{method} {target} HTTP/1.1\r\n{}\r\n", lines.concat());
            if let Some((plain, len)) = PlainRequest::parse(text.as_bytes()) {
                let read = parse_request_head(&Bytes::copy_from_slice(text.as_bytes()));
                let ParsedHead::Head(request, read, keep) = read else { panic!("{text:?} is {read:?}") };
                prop_assert_eq!((read, keep), (len, KeepAlive::Alive));
                prop_assert_eq!(request.method() == http::Method::HEAD, plain.is_head);
                if !plain.target.contains('#') {
                    prop_assert_eq!(request.uri().path_and_query().unwrap().as_str(), plain.target);
                }
            }
        }
    }
}
