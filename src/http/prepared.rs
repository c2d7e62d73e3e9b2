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

    /// Returns about how much memory it takes.
    pub fn weight(&self) -> usize {
        self.head.len() + self.body.len() + 256
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
