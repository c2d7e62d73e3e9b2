use ring::hmac;

/// The word before a proof.
const SCHEME: &str = "TalmirrorPeer ";
/// How far the clocks of two members may be apart, and for how long a proof may be used, in seconds.
const WINDOW: i64 = 300;

/// What is proved: a request, at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    /// The URL of the member that is asked: what proves a request to one is worth nothing to another.
    pub(super) member: &'a str,
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
    /// The header `Range`; empty where there is none.
    pub(super) range: &'a str,
}

impl Claim<'_> {
    /// The words have no line feed, so that no two claims are the same text.
    fn text(&self, at: i64) -> String {
        let Self { member, method, target, range } = self;
        format!("talmirror-peer-1\n{member}\n{method}\n{target}\n{range}\n{at}")
    }

    /// Returns the header that proves that a member makes a request, at a time in seconds since 1970.
    pub(super) fn prove(&self, secret: &[u8], at: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, self.text(at).as_bytes());
        format!("{SCHEME}{at}:{}", hex(tag.as_ref()))
    }

    /// Returns whether a header proves it.
    pub(super) fn is_proved(&self, secret: &[u8], header: &str, now: i64) -> bool {
        let Some((at, tag)) = header.strip_prefix(SCHEME).and_then(|rest| rest.split_once(':')) else {
            return false;
        };
        let (Ok(at), Some(tag)) = (at.parse::<i64>(), unhex(tag)) else { return false };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        now.abs_diff(at) <= WINDOW.unsigned_abs()
            && hmac::verify(&key, self.text(at).as_bytes(), &tag).is_ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_request_for_a_while() {
        let claim = Claim {
            member: "http://[::1]:1",
            method: "GET",
            target: "/v2/docker.io/a/blobs/x?y=1",
            range: "bytes=5-",
        };
        let header = claim.prove(b"s3cr3t", 1000);
        assert!(!header.contains("s3cr3t"));
        for (now, want) in [(1000, true), (1300, true), (1301, false), (699, false), (700, true)] {
            assert_eq!(claim.is_proved(b"s3cr3t", &header, now), want, "{now}");
        }
        assert!(!claim.is_proved(b"other", &header, 1000));
        for other in [
            Claim { member: "http://[::1]:2", ..claim },
            Claim { method: "HEAD", ..claim },
            Claim { target: "/v2/docker.io/b/blobs/x?y=1", ..claim },
            Claim { range: "", ..claim },
        ] {
            assert!(!other.is_proved(b"s3cr3t", &header, 1000));
        }
        for bad in [
            "",
            "TalmirrorPeer ",
            "TalmirrorPeer 1000:",
            "TalmirrorPeer x:00",
            "Bearer s3cr3t",
            &header[..60],
        ] {
            assert!(!claim.is_proved(b"s3cr3t", bad, 1000), "{bad}");
        }
    }

    #[test]
    fn bytes_as_text() {
        assert_eq!(unhex(&hex(b"http://[::1]:1")).unwrap(), b"http://[::1]:1");
        assert_eq!((unhex("0"), unhex("zz"), unhex("+1")), (None, None, None));
    }
}
