use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode, Uri};
use tracing::Level;

use super::front::Identity;
use super::traffic::{End, Kind, Outcome};

/// The target under which answers are logged, so that filters can tell them from the rest.
pub const ACCESS: &str = "access";

/// Whether answers are logged at all, so that nothing need be kept for it where they are not.
pub(super) fn wanted() -> bool {
    tracing::enabled!(target: ACCESS, Level::INFO)
}

/// What is logged of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) peer: SocketAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
}

/// What is logged of its answer.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
    pub(super) status: StatusCode,
    pub(super) end: End,
    pub(super) sent: u64,
    pub(super) took: Duration,
    pub(super) user: Option<&'a Identity>,
    pub(super) error: Option<String>,
}

/// Writes one line about an answer. Of the query there is only `ns` in it, and no header at all.
pub(super) fn log(asked: &Asked, answered: &Answered<'_>) {
    let query = asked.uri.query().unwrap_or_default();
    let ns = query.split('&').find_map(|pair| pair.strip_prefix("ns="));
    tracing::info!(
        target: ACCESS,
        peer = %asked.peer.ip(),
        user = answered.user.map(Identity::as_str),
        method = asked.method.as_str(),
        path = asked.uri.path(),
        ns,
        status = answered.status.as_u16(),
        kind = answered.kind.as_str(),
        cache = answered.outcome.as_str(),
        bytes = answered.sent,
        micros = u64::try_from(answered.took.as_micros()).unwrap_or(u64::MAX),
        end = answered.end.as_str(),
        error = answered.error.as_deref(),
    );
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

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
            let asked = Asked { peer: "10.0.0.1:5".parse().unwrap(), method: Method::GET, uri };
            let answered = Answered {
                kind: Kind::Blob,
                outcome: Outcome::Follow,
                status: StatusCode::OK,
                end: End::Broken,
                sent: 7,
                took: Duration::from_micros(12),
                user: Some(&Identity::new("ada")),
                error: Some("wrong bytes".to_owned()),
            };
            log(&asked, &answered);
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        line.as_object_mut().unwrap().remove("timestamp");
        let wanted = serde_json::json!({
            "level": "INFO", "target": "access", "peer": "10.0.0.1", "user": "ada", "method": "GET",
            "path": "/v2/a/blobs/sha256:0", "ns": "docker.io", "status": 200, "kind": "blob", "cache": "follow",
            "bytes": 7, "micros": 12, "end": "broken", "error": "wrong bytes",
        });
        assert_eq!(line, wanted);
    }
}
