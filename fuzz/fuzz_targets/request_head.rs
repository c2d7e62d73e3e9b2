//! A head that is taken has one meaning for every reader, wherever the network has cut it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use talmirror::http::{ParsedHead, parse_request_head};

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    match parse_request_head(&bytes) {
        ParsedHead::Head(request, len, keep) => {
            let head = bytes.slice(..len);
            assert!(len <= 16 * 1024 && head.ends_with(b"\r\n\r\n"));
            let ends = head.windows(2).filter(|two| two == b"\r\n").count();
            let halves = head.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
            assert_eq!(halves, 2 * ends, "a line end in the middle of a line");
            assert!(request.headers().get_all("host").iter().count() <= 1);
            assert!(!request.headers().contains_key("transfer-encoding"));
            assert!(request.headers().get_all("content-length").iter().all(|length| length == "0"));
            // What follows changes nothing, and every beginning of it waits for more.
            let ParsedHead::Head(again, length, kept) = parse_request_head(&head) else { panic!("not a head") };
            assert_eq!((again.method(), again.uri(), length, kept), (request.method(), request.uri(), len, keep));
            assert_eq!(again.headers(), request.headers());
            for end in (0..len).rev().take(8).chain([len / 2, len / 3]) {
                assert!(matches!(parse_request_head(&bytes.slice(..end)), ParsedHead::Partial), "{end} of {len}");
            }
        }
        ParsedHead::Malformed(malformed) => {
            assert!(malformed.status.is_client_error() || malformed.status.as_u16() == 505);
        }
        ParsedHead::Partial => assert!(bytes.len() < 16 * 1024),
    }
});
