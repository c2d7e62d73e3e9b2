use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderValue, Response, StatusCode};

use crate::cache::{Body, Piece};
use crate::oci::Refusal;

/// What an answer says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing, which means what the version means.
    Nothing,
    /// That it goes on.
    KeepAlive,
    /// That it ends.
    Close,
}

/// Parts an answer into its head, which says how long the body is, and the body to send.
///
/// None is sent in answer to HEAD, nor with the statuses of RFC 9112 §6.3, rule 1.
pub(super) fn part(response: Response<Body>, head: bool) -> (Response<()>, Body) {
    let (parts, body) = response.into_parts();
    let mut response = Response::from_parts(parts, ());
    let status = response.status();
    if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return (response, Body::Empty);
    }
    response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
    (response, if head { Body::Empty } else { body })
}

/// Writes the head of an answer.
pub(super) fn render(out: &mut Vec<u8>, response: &Response<()>, date: Option<&[u8]>, says: Says) {
    let status = response.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        // These are about the connection, and ours to say.
        if name == CONNECTION || name == TRANSFER_ENCODING || name == DATE {
            continue;
        }
        header(out, name.as_str(), value.as_bytes());
    }
    if let Some(date) = date {
        header(out, "date", date);
    }
    match says {
        Says::Nothing => {}
        Says::KeepAlive => header(out, "connection", b"keep-alive"),
        Says::Close => header(out, "connection", b"close"),
    }
    out.extend_from_slice(b"\r\n");
}

fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    // As the specifications spell them: some scripts look for them so.
    match name {
        "etag" => out.extend_from_slice(b"ETag"),
        "www-authenticate" => out.extend_from_slice(b"WWW-Authenticate"),
        "oci-namespace" => out.extend_from_slice(b"OCI-Namespace"),
        "oci-filters-applied" => out.extend_from_slice(b"OCI-Filters-Applied"),
        "docker-distribution-api-version" => out.extend_from_slice(b"Docker-Distribution-Api-Version"),
        _ => {
            let mut first = true;
            out.extend(name.bytes().map(|byte| {
                let upper = std::mem::replace(&mut first, byte == b'-');
                if upper { byte.to_ascii_uppercase() } else { byte }
            }));
        }
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Makes the answer to what is refused.
pub fn refusal(refusal: &Refusal) -> Response<Body> {
    let body = refusal.body();
    let mut response = Response::new(Body::Empty);
    *response.status_mut() =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in refusal.headers() {
        // What a refusal says of itself is made of words that fit.
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            headers.insert(name, value);
        }
    }
    headers.insert(CONTENT_LENGTH, body.len().into());
    *response.body_mut() = Body::Piece(Piece::Bytes(body.into()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_to_the_byte() {
        let (mut response, body) = part(refusal(&Refusal::Method), false);
        assert_eq!(body.len(), 76);
        response.headers_mut().insert("etag", HeaderValue::from_static("\"x\""));
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        let mut out = Vec::new();
        render(&mut out, &response, Some(b"Sun, 06 Nov 1994 08:49:37 GMT"), Says::Close);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nAllow: GET, HEAD\r\n\
             Content-Length: 76\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn lengths_are_never_missing() {
        let head = |status: u16, head: bool| {
            let mut response = Response::new(Body::Piece(Piece::Bytes("abc".into())));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let (response, body) = part(response, head);
            let mut out = Vec::new();
            render(&mut out, &response, Some(b"d"), Says::Nothing);
            (body.len(), String::from_utf8(out).unwrap())
        };
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDate: d\r\n\r\n";
        assert_eq!(head(200, false), (3, ok.into()));
        assert_eq!(head(200, true), (0, ok.into()));
        assert_eq!(head(304, false), (0, "HTTP/1.1 304 Not Modified\r\nDate: d\r\n\r\n".into()));
    }
}
