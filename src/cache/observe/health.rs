use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::http::{Body, Piece};

/// Whether this process lives (`/livez`) and takes requests (`/readyz`).
///
/// What is degraded is shown, and does not make the process unready: a cache that serves but cannot store still is
/// the best there is.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    degraded: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    /// Notes that requests are taken, or no longer.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Notes what does not work as it should; one text for each part.
    pub fn degraded(&self, part: &'static str, why: impl Into<String>) {
        self.degraded.lock().unwrap_or_else(PoisonError::into_inner).insert(part, why.into());
    }

    /// Notes that a part works as it should.
    pub fn well(&self, part: &'static str) {
        self.degraded.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Returns what does not work as it should: each part, and why.
    pub fn degraded_parts(&self) -> Vec<(&'static str, String)> {
        let degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        degraded.iter().map(|(part, why)| (*part, why.clone())).collect()
    }

    /// Answers `/livez` and `/readyz`; `None` for any other path.
    pub fn answer(&self, path: &str) -> Option<Response<Body>> {
        match path {
            "/livez" => Some(text(StatusCode::OK, "text/plain", "ok\n".into())),
            "/readyz" => Some(self.ready()),
            _ => None,
        }
    }

    fn ready(&self) -> Response<Body> {
        if !self.ready.load(Ordering::Acquire) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".into());
        }
        let degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = degraded.iter().map(|(part, why)| format!("degraded: {part}: {why}\n"));
        text(StatusCode::OK, "text/plain", std::iter::once("ready\n".to_owned()).chain(lines).collect())
    }
}

/// Makes an answer of a text that is not to be kept.
pub(in crate::cache) fn text(status: StatusCode, media_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, text.len().into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::Piece(Piece::Bytes(Bytes::from(text)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(health: &Health, path: &str) -> (u16, String) {
        let response = health.answer(path).unwrap();
        let Body::Piece(Piece::Bytes(bytes)) = response.body() else { panic!("no text") };
        assert_eq!(response.headers()[CONTENT_LENGTH], bytes.len().to_string().as_str());
        (response.status().as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn readiness() {
        let health = Health::default();
        assert_eq!(answer(&health, "/livez"), (200, "ok\n".into()));
        assert_eq!(answer(&health, "/readyz"), (503, "not ready\n".into()));
        health.set_ready(true);
        health.degraded("store", "no room left");
        assert_eq!(answer(&health, "/readyz"), (200, "ready\ndegraded: store: no room left\n".into()));
        health.well("store");
        assert_eq!(answer(&health, "/readyz"), (200, "ready\n".into()));
        assert!(health.answer("/v2/").is_none());
    }
}
