//! Whatever a handler answers, a client finds one answer with the handler's headers and the length of its body.
#![no_main]

use http::{HeaderName, HeaderValue, Response, StatusCode};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use talmirror::http::{Body, ConnectionHeader, Piece, split_response, write_response_head};

#[derive(Arbitrary, Debug)]
struct Answer {
    status: u16,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    is_head: bool,
    connection: u8,
}

fuzz_target!(|answer: Answer| {
    let Ok(status) = StatusCode::from_u16(answer.status) else { return };
    let body = Body::Piece(Piece::Bytes(answer.body.clone().into()));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in answer.headers.iter().take(40) {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else { continue };
        if name != "content-length" {
            response.headers_mut().append(name, value);
        }
    }
    let connection = match answer.connection % 3 {
        0 => ConnectionHeader::Nothing,
        1 => ConnectionHeader::KeepAlive,
        _ => ConnectionHeader::Close,
    };
    let given = response.headers().clone();
    let (response, body) = split_response(response, answer.is_head);
    let mut out = Vec::new();
    write_response_head(&mut out, &response, Some(b"Sun, 06 Nov 1994 08:49:37 GMT"), connection);
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    assert_eq!(parsed.parse(&out), Ok(httparse::Status::Complete(out.len())), "{:?}", String::from_utf8_lossy(&out));
    assert_eq!((parsed.code, parsed.version), (Some(status.as_u16()), Some(1)));
    let of = |name: &str| -> Vec<&[u8]> {
        let all = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        all.map(|header| header.value).collect()
    };
    let has_length = !status.is_informational() && !matches!(status.as_u16(), 204 | 304);
    let length = answer.body.len().to_string();
    assert_eq!(of("content-length"), if has_length { vec![length.as_bytes()] } else { vec![] });
    assert_eq!(body.len(), if has_length && !answer.is_head { answer.body.len() as u64 } else { 0 });
    assert!(of("transfer-encoding").is_empty() && of("connection").len() <= 1 && of("date").len() == 1);
    for name in given.keys().filter(|name| !matches!(name.as_str(), "connection" | "transfer-encoding" | "date")) {
        let trimmed = given.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
        let found: Vec<&[u8]> = of(name.as_str()).into_iter().map(<[u8]>::trim_ascii).collect();
        assert_eq!(found, trimmed.collect::<Vec<_>>(), "{name}");
    }
});
