#![expect(clippy::disallowed_methods, reason = "reads the password file again")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};
use zeroize::Zeroizing;

use super::htpasswd::Users;
use super::identity::Identity;
use crate::file::Watched;
use crate::oci::{Challenge, Refusal};
use crate::secret::Secret;
use crate::secret::os_random;

/// What the challenge says it is for.
const REALM: &str = "talmirror-cache";
/// How many verdicts are kept.
const VERDICTS: usize = 1024;
/// How many passwords may wait to be looked at.
const WAITING: usize = 64;

/// Why a file of users cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {why}", file.display())]
pub struct UsersError {
    /// The file, with the line where there is one to blame.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// Who may ask: users and passwords of a file, which is read again when it changes.
///
/// A password is hashed with bcrypt once, which takes long on purpose, on a thread that may; after that, a keyed hash
/// of name and password leads to the verdict.
#[derive(Debug)]
pub struct Verifier {
    file: PathBuf,
    known: Watched<KnownUsers>,
    /// Of one process, so that nothing in memory can be compared with hashes made elsewhere.
    key: Secret<[u8; 32]>,
    /// One thread is kept busy with passwords, no more; held until it is done, even if the request has gone meanwhile.
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The users of one version of the file, and what has been found out about passwords since.
#[derive(Debug, Default)]
struct KnownUsers {
    users: Users,
    verdicts: Mutex<HashMap<[u8; 32], Arc<OnceCell<bool>>>>,
}

impl Verifier {
    /// Reads the file.
    pub fn read(file: PathBuf) -> Result<Self, UsersError> {
        let known = Watched::new(vec![file.clone()], || read(&file))?;
        let mut key = [0; 32];
        os_random(&mut key);
        let key = Secret::new(key);
        let waiting = Arc::new(Semaphore::new(WAITING));
        Ok(Self { file, known, key, turn: Arc::new(Semaphore::new(1)), waiting })
    }

    /// Reads the file again if it has changed; returns whether it had.
    ///
    /// If it cannot be used now, users stay as they were.
    pub fn reload(&self) -> Result<bool, UsersError> {
        self.known.reload(|| read(&self.file))
    }

    /// Returns who asks; [`None`] where a request does not say.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, Refusal> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
        let pair = header.to_str().ok().and_then(decode).ok_or_else(unauthorized)?;
        let (user, password) = pair.split_once(':').ok_or_else(unauthorized)?;
        if self.good(user, password).await? { Ok(Some(Identity::new(user))) } else { Err(unauthorized()) }
    }

    async fn good(&self, user: &str, password: &str) -> Result<bool, Refusal> {
        let known = self.known.get();
        let cell = {
            let mut verdicts = known.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            if verdicts.len() >= VERDICTS {
                verdicts.retain(|_, verdict| verdict.get() == Some(&true));
            }
            if verdicts.len() >= VERDICTS {
                verdicts.clear();
            }
            Arc::clone(verdicts.entry(self.keyed(user, password)).or_default())
        };
        if let Some(verdict) = cell.get() {
            return Ok(*verdict);
        }
        let _waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        // Those who bring the same password at once wait for the same verdict.
        let verdict = cell.get_or_try_init(|| async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Refusal::Overloaded)?;
            // A name that does not exist takes as long as one that does.
            let exists = known.users.hash(user).is_some();
            let Some(hash) = known.users.hash(user).or_else(|| known.users.any_hash()).cloned() else {
                return Ok(false);
            };
            let password = Zeroizing::new(password.to_owned());
            let check = move || {
                let _turn = turn;
                bcrypt::verify(password.as_bytes(), hash.expose()).unwrap_or(false) && exists
            };
            tokio::task::spawn_blocking(check).await.map_err(|_| Refusal::Overloaded)
        });
        verdict.await.copied()
    }

    fn keyed(&self, user: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key.expose());
        hash.update((user.len() as u64).to_le_bytes());
        hash.update(user);
        hash.update(password);
        hash.finalize().into()
    }
}

/// Returns what a client is told that has to say who it is.
pub(super) fn unauthorized() -> Refusal {
    Refusal::Unauthorized(Challenge::Basic { realm: REALM.to_owned() })
}

fn decode(header: &str) -> Option<Zeroizing<String>> {
    let (scheme, pair) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64.decode(pair.trim()).ok()?;
    String::from_utf8(pair).ok().map(Zeroizing::new)
}

fn read(file: &std::path::Path) -> Result<KnownUsers, UsersError> {
    let blame = |why: String| UsersError { file: file.to_owned(), why };
    let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|error| blame(error.to_string()))?;
    let users = Users::parse(&text).map_err(|(line, error)| UsersError {
        file: PathBuf::from(format!("{}:{line}", file.display())),
        why: error.to_string(),
    })?;
    Ok(KnownUsers { users, verdicts: Mutex::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pair: &str) -> HeaderMap {
        let value = format!("bAsIc {}", BASE64.encode(pair));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    #[tokio::test]
    async fn users_of_a_file_that_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        fs::write(&file, format!("ada:{}\n", hash("s3cr3t-ada:x"))).unwrap();
        let verifier = Verifier::read(file.clone()).unwrap();
        let refused = Err(unauthorized());
        assert_eq!(verifier.identify(&HeaderMap::new()).await, Ok(None));
        let ada = Ok(Some(Identity::new("ada")));
        for _ in 0..2 {
            assert_eq!(verifier.identify(&headers("ada:s3cr3t-ada:x")).await, ada);
            for pair in ["ada:s3cr3t-bob", "eve:s3cr3t-ada:x", "eve:x", "ad:as3cr3t-ada:x", "ada", ":"] {
                assert_eq!(verifier.identify(&headers(pair)).await, refused, "{pair}");
            }
        }
        for header in ["Bearer x", "Basic", "Basic !", "\u{e9}"] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            assert_eq!(verifier.identify(&headers).await, refused, "{header}");
        }
        fs::write(&file, "ada:s3cr3t-ada").unwrap();
        let error = verifier.reload().unwrap_err().to_string();
        assert!(
            error.contains("users:1: the hash of `ada` is not bcrypt") && !error.contains("s3cr3t"),
            "{error}"
        );
        assert_eq!(verifier.identify(&headers("ada:s3cr3t-ada:x")).await, ada);
        assert!(verifier.reload().is_err(), "what could not be read is tried again");
        fs::write(&file, format!("bob:{}\n", hash("s3cr3t-bob"))).unwrap();
        assert!(verifier.reload().unwrap());
        assert!(!verifier.reload().unwrap(), "nothing has changed since");
        assert_eq!(verifier.identify(&headers("ada:s3cr3t-ada:x")).await, refused);
        assert_eq!(verifier.identify(&headers("bob:s3cr3t-bob")).await, Ok(Some(Identity::new("bob"))));
        assert!(!format!("{verifier:?}").contains("s3cr3t"));
    }

    #[tokio::test]
    async fn few_wait_for_verdicts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        fs::write(&file, format!("ada:{}\n", hash("s3cr3t-ada"))).unwrap();
        let verifier = Arc::new(Verifier::read(file).unwrap());
        let turn = verifier.turn.acquire().await.unwrap();
        let ask = |pair: String| {
            let verifier = Arc::clone(&verifier);
            tokio::spawn(async move { verifier.identify(&headers(&pair)).await })
        };
        let waiting: Vec<_> = (0..WAITING).map(|n| ask(format!("eve:{n}"))).collect();
        while verifier.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask("eve:x".into()).await.unwrap(), Err(Refusal::Overloaded));
        drop(turn);
        for one in waiting.into_iter().take(3) {
            assert_eq!(one.await.unwrap(), Err(unauthorized()));
        }
    }

    #[test]
    fn a_request_that_goes_frees_no_second_thread() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        fs::write(&file, format!("ada:{}\n", hash("s3cr3t-ada"))).unwrap();
        let verifier = Verifier::read(file).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // The one thread is busy, so that the password stays where it waits for it.
            let (release, busy) = std::sync::mpsc::channel::<()>();
            let blocker = tokio::task::spawn_blocking(move || busy.recv());
            let headers = headers("eve:1");
            let mut gone = Box::pin(verifier.identify(&headers));
            assert!(futures_util::poll!(&mut gone).is_pending());
            drop(gone);
            assert_eq!(verifier.turn.available_permits(), 0, "the password is still being looked at");
            release.send(()).unwrap();
            blocker.await.unwrap().unwrap();
            assert_eq!(
                verifier.identify(&self::headers("ada:s3cr3t-ada")).await.unwrap(),
                Some(Identity::new("ada"))
            );
            assert_eq!(verifier.turn.available_permits(), 1);
        });
    }

    #[tokio::test]
    async fn verdicts_are_bounded() {
        let verifier = {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("users");
            fs::write(&file, "").unwrap();
            Verifier::read(file).unwrap()
        };
        let known = verifier.known.get();
        for n in 0..VERDICTS {
            let key = verifier.keyed("eve", &n.to_string());
            known.verdicts.lock().unwrap().insert(key, Arc::new(OnceCell::new_with(Some(n == 0))));
        }
        assert_eq!(verifier.good("eve", "x").await, Ok(false));
        assert_eq!(known.verdicts.lock().unwrap().len(), 2, "the good one, and the new one");
    }
}
