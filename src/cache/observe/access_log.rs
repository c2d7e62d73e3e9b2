use tracing::Level;

use super::outcome::Served;
use super::reason::Reason;
use crate::cache::auth::Identity;
use crate::http::Exchange;
use crate::image::RegistryHost;

/// The target under which answers are logged, so that filters can tell them from the rest.
pub const ACCESS: &str = "access";

/// Whether answers are logged at all, so that nothing need be kept for it where they are not.
pub(super) fn wanted() -> bool {
    tracing::enabled!(target: ACCESS, Level::INFO)
}

/// Writes one line about an answer. Of the query there is only `ns` in it, and no header at all. Probes come every few
/// seconds, and are told to those only who look closely.
pub(super) fn log(exchange: &Exchange<'_>) {
    let Some((line, took)) = exchange.request else { return };
    let served = exchange.extensions.get().copied().unwrap_or(Served::OTHER);
    let user = exchange.extensions.get().map(Identity::as_str);
    let reason = exchange.extensions.get::<Reason>();
    let query = line.uri.query().unwrap_or_default();
    let ns = query.split('&').find_map(|pair| pair.strip_prefix("ns="));
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: ACCESS,
                $level,
                peer = %line.peer.ip(),
                user,
                method = line.method.as_str(),
                path = line.uri.path(),
                ns,
                status = exchange.status.as_u16(),
                kind = served.kind.as_str(),
                cache = served.outcome.as_str(),
                bytes = exchange.sent,
                micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                end = exchange.end.as_str(),
                reason = reason.map(|reason| reason.text.as_str()),
                upstream = reason.and_then(|reason| reason.upstream.as_ref()).map(RegistryHost::as_str),
                error = exchange.error,
                "access"
            )
        };
    }
    match line.uri.path() {
        "/livez" | "/readyz" | "/metrics" => line!(Level::DEBUG),
        _ => line!(Level::INFO),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::{Extensions, Method, StatusCode};

    use super::super::reason::ReasonKind;
    use super::*;
    use crate::cache::observe::{Kind, Outcome};
    use crate::http::{End, RequestLine};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_an_answer_without_the_query() {
        let lines = Lines::default();
        let writer = lines.clone();
        let json = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
        tracing::subscriber::with_default(json.finish(), || {
            assert!(wanted());
            let uri = "/v2/a/blobs/sha256:0?X-Amz-Signature=s3cr3t-x&ns=docker.io".parse().unwrap();
            let line = RequestLine { peer: "10.0.0.1:5".parse().unwrap(), method: Method::GET, uri };
            let mut extensions = Extensions::new();
            extensions.insert(Served { kind: Kind::Blob, outcome: Outcome::Follow });
            extensions.insert(Identity::new("ada"));
            let upstream = "docker.io".parse().ok();
            extensions.insert(Reason { text: "a \u{1b}[2J".to_owned(), upstream, kind: ReasonKind::Other });
            log(&Exchange {
                request: Some((&line, Duration::from_micros(12))),
                status: StatusCode::OK,
                extensions: &extensions,
                end: End::Broken,
                sent: 7,
                error: Some("wrong bytes"),
            });
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        line.as_object_mut().unwrap().remove("timestamp");
        let wanted = serde_json::json!({
            "level": "INFO", "target": "access", "message": "access", "peer": "10.0.0.1", "user": "ada", "method": "GET",
            "path": "/v2/a/blobs/sha256:0", "ns": "docker.io", "status": 200, "kind": "blob", "cache": "follow",
            "bytes": 7, "micros": 12, "end": "broken", "reason": "a \u{1b}[2J",
            "upstream": "docker.io", "error": "wrong bytes",
        });
        assert_eq!(line, wanted);
    }
}
