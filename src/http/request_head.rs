use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, StatusCode, Uri, Version};

use super::config::{MAX_HEAD, MAX_HEADERS, MAX_TARGET};

/// What a client says first when it speaks HTTP/2 without having agreed on it: RFC 9113 §3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes that have come so far are.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and is moved on at once")]
#[derive(Debug)]
pub enum ParsedHead {
    /// The beginning of a head.
    Partial,
    /// A head, and how many bytes it took.
    Head(Request<()>, usize, KeepAlive),
    /// Nothing that is answered; the connection ends after saying so.
    Malformed(Malformed),
}

/// What a client wants to become of the connection once it has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// It goes on, as is the rule in HTTP/1.1.
    Alive,
    /// It goes on if the answer says so: HTTP/1.0.
    AliveIfSaid,
    /// It ends.
    Close,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong.
    pub problem: &'static str,
}

impl Malformed {
    const fn new(status: StatusCode, problem: &'static str) -> Self {
        Self { status, problem }
    }

    const fn bad(problem: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, problem)
    }
}

/// Reads the head of a request: RFC 9112, strictly, and without a body.
///
/// Whatever two readers could understand in different ways is refused, so that nothing can be smuggled past a proxy
/// in front: bodies of any framing, folded headers, lines that end in half an end, several hosts.
pub fn parse_request_head(bytes: &Bytes) -> ParsedHead {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return ParsedHead::Partial,
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => {
            return ParsedHead::Malformed(too_long(bytes));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return ParsedHead::Malformed(Malformed::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "too many headers",
            ));
        }
        Err(httparse::Error::Version) => {
            return ParsedHead::Malformed(Malformed::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken",
            ));
        }
        Err(_) => return ParsedHead::Malformed(Malformed::bad("malformed request")),
    };
    match request(bytes, len, &head) {
        Ok((request, keep)) => ParsedHead::Head(request, len, keep),
        Err(refused) => ParsedHead::Malformed(refused),
    }
}

fn too_long(bytes: &[u8]) -> Malformed {
    if bytes.iter().take(MAX_TARGET).any(|byte| *byte == b'\n') {
        Malformed::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too long")
    } else {
        Malformed::new(StatusCode::URI_TOO_LONG, "the request target is too long")
    }
}

fn request(
    bytes: &Bytes,
    len: usize,
    head: &httparse::Request<'_, '_>,
) -> Result<(Request<()>, KeepAlive), Malformed> {
    if !whole_lines(bytes.get(..len).unwrap_or_default()) {
        return Err(Malformed::bad("a line ends in half a line end"));
    }
    let target = head.path.unwrap_or_default();
    if target.len() > MAX_TARGET {
        return Err(Malformed::new(StatusCode::URI_TOO_LONG, "the request target is too long"));
    }
    let target = bytes.slice_ref(target.as_bytes());
    let uri = Uri::from_maybe_shared(target).map_err(|_| Malformed::bad("malformed request target"))?;
    let method = head.method.unwrap_or_default().as_bytes();
    let method = Method::from_bytes(method).map_err(|_| Malformed::bad("malformed method"))?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for header in &*head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value));
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Malformed::bad("malformed header")) };
        headers.append(name, value);
    }
    let version = if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    check(&headers, version)?;
    let keep = keep(&headers, version);
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok((request, keep))
}

/// Whether every line ends in CR LF, and neither stands anywhere else.
pub(super) fn whole_lines(head: &[u8]) -> bool {
    let halves = head.iter().zip(head.iter().skip(1)).filter(|(a, b)| (**a == b'\r') != (**b == b'\n'));
    // Counted to the end, as that is done many bytes at a time.
    halves.count() == 0 && head.first() != Some(&b'\n')
}

fn check(headers: &HeaderMap, version: Version) -> Result<(), Malformed> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Malformed::bad("requests have no body here"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => {}
        (Some(length), None) if length == "0" => {}
        (Some(_), _) => return Err(Malformed::bad("requests have no body here")),
    }
    if headers.contains_key(EXPECT) {
        return Err(Malformed::new(StatusCode::EXPECTATION_FAILED, "nothing is expected here"));
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(Malformed::bad("malformed host")),
        (Some(_), Some(_)) => Err(Malformed::bad("several hosts")),
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(Malformed::bad("no host")),
    }
}

/// Whether there is only what RFC 3986 allows in a host and its port, and nothing that parts lists.
pub(super) fn is_host(host: &[u8]) -> bool {
    host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte))
}

fn keep(headers: &HeaderMap, version: Version) -> KeepAlive {
    let mut keep = if version == Version::HTTP_10 { KeepAlive::Close } else { KeepAlive::Alive };
    for value in headers.get_all(CONNECTION) {
        for word in value.as_bytes().split(|byte| *byte == b',') {
            let word = word.trim_ascii();
            if word.eq_ignore_ascii_case(b"close") {
                return KeepAlive::Close;
            }
            if keep == KeepAlive::Close && word.eq_ignore_ascii_case(b"keep-alive") {
                keep = KeepAlive::AliveIfSaid;
            }
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> ParsedHead {
        parse_request_head(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn refused(text: &str) -> (u16, &'static str) {
        match parsed(text) {
            ParsedHead::Malformed(refused) => (refused.status.as_u16(), refused.problem),
            other => panic!("{text:?} is {other:?}"),
        }
    }

    fn kept(text: &str) -> KeepAlive {
        match parsed(text) {
            ParsedHead::Head(_, len, keep) if len == text.len() => keep,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn a_head_and_what_follows() {
        let text =
            "GET /v2/a/manifests/b?ns=c HTTP/1.1\r\nHost: h:5000\r\nAccept: a\r\naccept: b\r\n\r\nGET /";
        let ParsedHead::Head(request, len, keep) = parsed(text) else { panic!("no head") };
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/v2/a/manifests/b"));
        assert_eq!(request.uri().query(), Some("ns=c"));
        assert_eq!(request.headers().get_all("accept").iter().count(), 2);
        assert_eq!((len, keep), (text.len() - 5, KeepAlive::Alive));
    }

    #[test]
    fn what_becomes_of_the_connection() {
        for (text, keep) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", KeepAlive::Alive),
            ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", KeepAlive::Alive),
            ("GET / HTTP/1.1\r\nHost:\r\nConnection: x, CLOSE\r\n\r\n", KeepAlive::Close),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
                KeepAlive::Close,
            ),
            ("GET / HTTP/1.0\r\n\r\n", KeepAlive::Close),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", KeepAlive::AliveIfSaid),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", KeepAlive::Close),
            ("GET http://h/v2/ HTTP/1.1\r\nHost: other\r\n\r\n", KeepAlive::Alive),
            ("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", KeepAlive::Alive),
            ("OPTIONS * HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n", KeepAlive::Alive),
        ] {
            assert_eq!(kept(text), keep, "{text:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let body = (400, "requests have no body here");
        let line = (400, "a line ends in half a line end");
        let malformed = (400, "malformed request");
        for (text, answer) in [
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", body),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n", body),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 0\r\n\r\n", body),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", body),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", body),
            ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", body),
            ("GET / HTTP/1.0\r\nTransfer-Encoding:\tchunked\r\n\r\n", body),
            ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\nAccept: a\r\n b\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", line),
            ("GET / HTTP/1.1\nHost: h\r\n\r\n", line),
            ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", line),
            ("GET / HTTP/1.1\r\nHost: h\n\n", line),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\nX\0: b\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", malformed),
            ("GET / HTTP/1.1\r\n\r\n", (400, "no host")),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", (400, "several hosts")),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", (400, "several hosts")),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", (400, "malformed host")),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", (400, "malformed host")),
            ("GET / HTTP/1.1\r\nHost: u@b\r\n\r\n", (400, "malformed host")),
            ("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", (417, "nothing is expected here")),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", (505, "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken")),
            ("GET /\r\n\r\n", malformed),
            ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", malformed),
            ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", (505, "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken")),
            ("\u{16}\u{3}\u{1}", malformed),
        ] {
            assert_eq!(refused(text), answer, "{text:?}");
        }
    }

    #[test]
    fn lengths() {
        let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 1));
        assert_eq!(kept(&target(MAX_TARGET)), KeepAlive::Alive);
        assert_eq!(refused(&target(MAX_TARGET + 1)).0, 414);
        assert_eq!(refused(&format!("GET /{}", "a".repeat(MAX_HEAD))).0, 414);
        let header = |len: usize| {
            let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
            format!("{start}{}\r\n\r\n", "a".repeat(len - start.len() - 4))
        };
        assert_eq!(kept(&header(MAX_HEAD)), KeepAlive::Alive);
        assert_eq!(refused(&header(MAX_HEAD + 1)).0, 431);
        assert!(matches!(parsed(&header(MAX_HEAD)[..MAX_HEAD - 1]), ParsedHead::Partial));
        let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(kept(&many(MAX_HEADERS - 1)), KeepAlive::Alive);
        assert_eq!(refused(&many(MAX_HEADERS)).0, 431);
    }

    #[test]
    fn every_beginning_of_a_head_is_partial() {
        let text = "GET /v2/a/blobs/sha256:0 HTTP/1.1\r\nHost: h\r\nRange: bytes=0-\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(parsed(&text[..end]), ParsedHead::Partial), "{:?}", &text[..end]);
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_request_head(&Bytes::from(bytes));
        }

        #[test]
        fn heads_never_hold_half_line_ends(junk in "[ -~\r\n\t]{0,40}") {
            let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{junk}\r\n\r\n");
            if let ParsedHead::Head(_, len, _) = parsed(&text) {
                let head = text[..len].replace("\r\n", "");
                prop_assert!(!head.contains(['\r', '\n']));
            }
        }
    }
}
