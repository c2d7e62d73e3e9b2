use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderValue, Response, StatusCode};

use super::observe::Reason;
use crate::http::{Body, Piece, Rejected};
use crate::oci::Refusal;

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
    response.extensions_mut().insert(Reason::of(refusal));
    *response.body_mut() = Body::Piece(Piece::Bytes(body.into()));
    response
}

/// Makes the answer to what the transport rejects.
pub fn rejection(rejected: Rejected) -> Response<Body> {
    match rejected {
        Rejected::Malformed { status, problem } => {
            let mut response = refusal(&Refusal::Request(problem));
            *response.status_mut() = status;
            response
        }
        Rejected::TooMany => refusal(&Refusal::Overloaded),
    }
}
