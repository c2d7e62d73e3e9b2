#![expect(clippy::disallowed_methods, reason = "reads the file of the secret")]

use std::path::Path;
use std::sync::Arc;

use super::proof::Claim;
use crate::secret::{Secret, read_limited};

/// The longest file of secrets, in bytes.
const LONGEST: u64 = 16 << 10;
/// The shortest secret, in characters.
const SHORTEST: usize = 16;

/// The secret that all members know; a copy is the same.
///
/// A file may have several, a line each: requests are proved by the first one, and taken by any, so that members can be
/// given another one while they run one after the other.
#[derive(Clone, Debug)]
pub struct PeerSecrets(Arc<[Secret<String>]>);

impl PeerSecrets {
    /// Reads a file of them.
    ///
    /// Fails with what is wrong, without any secret.
    pub fn read(file: &Path) -> Result<Self, String> {
        let name = file.display();
        let opened = std::fs::File::open(file).and_then(|opened| read_limited(opened, LONGEST));
        let bytes = opened.map_err(|error| format!("cannot read the members' secret: `{name}`: {error}"))?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("the members' secret `{name}` is not text"))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let all: Vec<Secret<String>> = lines.map(Secret::from).collect();
        if all.is_empty() {
            return Err(format!(
                "the members' secret `{name}` is empty: write one with `openssl rand -hex 32`"
            ));
        }
        if let Some(at) = all.iter().position(|secret| secret.expose().chars().count() < SHORTEST) {
            return Err(format!(
                "the members' secret `{name}`, line {}, has fewer than {SHORTEST} characters: write one with `openssl \
                 rand -hex 32`",
                at + 1
            ));
        }
        Ok(Self(all.into()))
    }

    /// Returns the header that proves a request.
    pub(super) fn prove(&self, claim: &Claim<'_>, at: i64) -> String {
        let first = self.0.first().map(Secret::expose);
        claim.prove(first.map_or(&[], |secret| secret.as_bytes()), at)
    }

    /// Returns whether a header proves a request.
    pub(super) fn prove_it(&self, claim: &Claim<'_>, header: &str, now: i64) -> bool {
        self.0.iter().any(|secret| claim.is_proved(secret.expose().as_bytes(), header, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_of_the_file_is_taken_and_the_first_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            PeerSecrets::read(&file)
        };
        let old = read("old", "s3cr3t-of-yesterday\n").unwrap();
        let both = read("both", "s3cr3t-of-today-it-is\r\n\n  s3cr3t-of-yesterday\n").unwrap();
        let new = read("new", "s3cr3t-of-today-it-is").unwrap();
        let claim = Claim { member: "m", method: "GET", target: "/", range: "" };
        for (by, to, want) in
            [(&old, &both, true), (&both, &new, true), (&old, &new, false), (&both, &old, false)]
        {
            assert_eq!(to.prove_it(&claim, &by.prove(&claim, 0), 0), want);
        }
        assert!(!format!("{both:?}").contains("s3cr3t"));
        for (text, want) in
            [("", "is empty"), ("s3cr3t\n", "line 1, has fewer than 16"), ("\n\n", "is empty")]
        {
            let wrong = read("bad", text).unwrap_err();
            assert!(wrong.contains(want) && !wrong.contains("s3cr3t\n"), "{wrong}");
        }
        assert!(PeerSecrets::read(&dir.path().join("none")).unwrap_err().contains("cannot read"));
    }
}
