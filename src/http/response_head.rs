use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{Response, StatusCode};

use super::body::Body;

/// What an answer says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionHeader {
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
pub fn split_response(response: Response<Body>, head: bool) -> (Response<()>, Body) {
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
pub fn write_response_head(
    out: &mut Vec<u8>,
    response: &Response<()>,
    date: Option<&[u8]>,
    says: ConnectionHeader,
) {
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
        ConnectionHeader::Nothing => {}
        ConnectionHeader::KeepAlive => header(out, "connection", b"keep-alive"),
        ConnectionHeader::Close => header(out, "connection", b"close"),
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
        // What nearly every answer has need not be spelled letter by letter.
        "content-length" => out.extend_from_slice(b"Content-Length"),
        "content-type" => out.extend_from_slice(b"Content-Type"),
        "docker-content-digest" => out.extend_from_slice(b"Docker-Content-Digest"),
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::http::Piece;

    #[test]
    fn heads_to_the_byte() {
        let mut response = Response::new(Body::Piece(Piece::Bytes("abc".into())));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        response.headers_mut().insert("allow", HeaderValue::from_static("GET, HEAD"));
        let (mut response, body) = split_response(response, false);
        assert_eq!(body.len(), 3);
        response.headers_mut().insert("etag", HeaderValue::from_static("\"x\""));
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        let mut out = Vec::new();
        write_response_head(
            &mut out,
            &response,
            Some(b"Sun, 06 Nov 1994 08:49:37 GMT"),
            ConnectionHeader::Close,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\nAllow: GET, HEAD\r\n\
             Content-Length: 3\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn lengths_are_never_missing() {
        let head = |status: u16, head: bool| {
            let mut response = Response::new(Body::Piece(Piece::Bytes("abc".into())));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let (response, body) = split_response(response, head);
            let mut out = Vec::new();
            write_response_head(&mut out, &response, Some(b"d"), ConnectionHeader::Nothing);
            (body.len(), String::from_utf8(out).unwrap())
        };
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDate: d\r\n\r\n";
        assert_eq!(head(200, false), (3, ok.into()));
        assert_eq!(head(200, true), (0, ok.into()));
        assert_eq!(head(304, false), (0, "HTTP/1.1 304 Not Modified\r\nDate: d\r\n\r\n".into()));
    }
}
