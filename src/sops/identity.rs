use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use age::armor::ArmoredReader;
use age::secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::post_quantum;
use crate::secret::Secret;

/// Work that a passphrase may cost at most, as a power of two: what age itself takes about 16 s for.
const MAX_WORK_FACTOR: u8 = 22;

/// Asks the user to unlock a key.
pub trait PassphrasePrompt: Send + Sync {
    /// Asks for a passphrase; [`None`] says that no user can be asked.
    fn passphrase(&self, what: &str) -> Option<Secret<String>>;

    /// Shows what a plugin wants to say, such as that a hardware key waits for a touch.
    fn message(&self, text: &str);
}

/// The keys that may open a file, and every place where they were looked for.
#[derive(Default)]
pub struct Identities {
    keys: Vec<Key>,
    locations: Vec<String>,
    problems: Vec<String>,
    ask: Option<Arc<dyn PassphrasePrompt>>,
}

struct Key {
    /// What to call it in messages: its recipient, or where it comes from.
    name: String,
    kind: Kind,
}

type AnyIdentity = Box<dyn age::Identity + Send + Sync>;

enum Kind {
    Native(AnyIdentity),
    Plugin(AnyIdentity),
    /// An SSH key behind a passphrase.
    Ssh {
        key: Box<age::ssh::EncryptedKey>,
        opened: OnceLock<Option<AnyIdentity>>,
    },
    /// An identity file behind a passphrase.
    File {
        sealed: Vec<u8>,
        opened: OnceLock<Box<Identities>>,
    },
}

impl Identities {
    /// Returns no identities; passphrases are asked for through `ask`.
    pub fn new(ask: Option<Arc<dyn PassphrasePrompt>>) -> Self {
        Self { ask, ..Self::default() }
    }

    /// Adds the identities in a text: one a line, `#` for comments, or a whole file that a passphrase protects.
    ///
    /// A line that is none is remembered for the message if no key fits; the others count anyway.
    pub fn add(&mut self, text: &str, location: &str) {
        self.locations.push(location.to_owned());
        if text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") || text.starts_with("age-encryption.org/v1")
        {
            self.add_sealed(text.as_bytes().to_vec(), location);
            return;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match self.parse(line) {
                Ok(key) => self.keys.push(key),
                Err(reason) => self.problems.push(format!("{location}, line {number}: {reason}")),
            }
        }
    }

    /// Adds an identity file that is encrypted with a passphrase, armored or not.
    pub fn add_sealed(&mut self, sealed: Vec<u8>, location: &str) {
        self.keys
            .push(Key { name: location.to_owned(), kind: Kind::File { sealed, opened: OnceLock::new() } });
    }

    /// Adds an SSH private key.
    pub fn add_ssh(&mut self, text: &str, location: &str) {
        self.locations.push(location.to_owned());
        let name = format!("SSH key {location}");
        match age::ssh::Identity::from_buffer(text.as_bytes(), Some(location.to_owned())) {
            Ok(age::ssh::Identity::Encrypted(key)) => {
                self.keys.push(Key { name, kind: Kind::Ssh { key: Box::new(key), opened: OnceLock::new() } });
            }
            Ok(key @ age::ssh::Identity::Unencrypted(_)) => {
                self.keys.push(Key { name, kind: Kind::Native(Box::new(key)) });
            }
            Ok(age::ssh::Identity::Unsupported(_)) => {
                self.problems.push(format!("{location}: this kind of SSH key is not supported"));
            }
            Err(error) => self.problems.push(format!("{location}: {error}")),
        }
    }

    /// Remembers a place where no key was, and why if that is worth saying.
    pub fn missed(&mut self, location: &str, problem: Option<String>) {
        self.locations.push(location.to_owned());
        self.problems.extend(problem.map(|problem| format!("{location}: {problem}")));
    }

    /// Returns the names of the keys: recipients, or where an SSH key or plugin identity comes from.
    pub fn names(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.name.clone()).collect()
    }

    /// Returns every place where keys were looked for.
    pub fn locations(&self) -> &[String] {
        &self.locations
    }

    /// Returns what went wrong on the way; nothing of it matters if a key opens the file.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    fn parse(&self, line: &str) -> Result<Key, String> {
        let upper = Zeroizing::new(line.to_ascii_uppercase());
        if upper.starts_with(post_quantum::IDENTITY) {
            let identity = post_quantum::Identity::from_str(&upper).map_err(str::to_owned)?;
            return Ok(Key {
                name: identity.recipient().to_string(),
                kind: Kind::Native(Box::new(identity)),
            });
        }
        if upper.starts_with("AGE-PLUGIN-") {
            return self.plugin(line);
        }
        if upper.starts_with("AGE-SECRET-KEY-1") {
            let identity = age::x25519::Identity::from_str(&upper).map_err(str::to_owned)?;
            return Ok(Key {
                name: identity.to_public().to_string(),
                kind: Kind::Native(Box::new(identity)),
            });
        }
        Err("not an identity that talmirror knows".to_owned())
    }

    fn plugin(&self, text: &str) -> Result<Key, String> {
        let upper = Zeroizing::new(text.to_ascii_uppercase());
        let identity = age::plugin::Identity::from_str(&upper).map_err(str::to_owned)?;
        let name = identity.plugin().to_owned();
        let prompt = Prompt(self.ask.clone());
        let plugin = age::plugin::IdentityPluginV1::new(&name, &[identity], prompt)
            .map_err(|_| format!("the program `age-plugin-{name}` is not on PATH"))?;
        Ok(Key { name: format!("identity of the plugin {name}"), kind: Kind::Plugin(Box::new(plugin)) })
    }

    /// Opens an armored age file with the first key that fits: those at hand first, then plugins, then locked ones.
    pub(super) fn unwrap(&self, armored: &str, recipient: &str) -> Option<Zeroizing<Vec<u8>>> {
        let native = self.keys.iter().filter(|key| matches!(key.kind, Kind::Native(_)));
        let plugin = self.keys.iter().filter(|key| matches!(key.kind, Kind::Plugin(_)));
        let locked = self.keys.iter().filter(|key| match key.kind {
            Kind::Native(_) | Kind::Plugin(_) => false,
            Kind::Ssh { .. } => recipient.starts_with("ssh-"), // ask for no passphrase in vain
            Kind::File { .. } => true,
        });
        native.chain(plugin).chain(locked).find_map(|key| match &key.kind {
            Kind::Native(identity) | Kind::Plugin(identity) => open(armored, identity.as_ref()),
            Kind::Ssh { key: sealed, opened } => {
                let identity = opened.get_or_init(|| {
                    let unlocked = sealed.decrypt(self.passphrase(&key.name)?).ok()?;
                    Some(Box::new(age::ssh::Identity::from(unlocked)))
                });
                open(armored, identity.as_ref()?.as_ref())
            }
            Kind::File { sealed, opened } => {
                opened.get_or_init(|| Box::new(self.unlock(sealed, &key.name))).unwrap(armored, recipient)
            }
        })
    }

    fn passphrase(&self, what: &str) -> Option<SecretString> {
        let secret = self.ask.as_ref()?.passphrase(&format!("Passphrase of {what}"))?;
        Some(SecretString::from(secret.expose().clone()))
    }

    /// Opens an identity file; one that stays closed counts as empty.
    fn unlock(&self, sealed: &[u8], location: &str) -> Self {
        let mut inner = Self::new(self.ask.clone());
        let text = self.passphrase(location).and_then(|passphrase| {
            let mut identity = age::scrypt::Identity::new(passphrase);
            identity.set_max_work_factor(MAX_WORK_FACTOR);
            read(sealed, &identity)
        });
        if let Some(text) = text.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            inner.add(text, location);
        }
        inner
    }

    /// Returns which keys are behind a passphrase that no user can be asked for.
    pub(super) fn locked(&self) -> Vec<String> {
        let locked = self.keys.iter().filter(|key| matches!(key.kind, Kind::Ssh { .. } | Kind::File { .. }));
        if self.ask.is_some() { Vec::new() } else { locked.map(|key| key.name.clone()).collect() }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("keys", &self.names())
            .field("locations", &self.locations)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

fn open(armored: &str, identity: &dyn age::Identity) -> Option<Zeroizing<Vec<u8>>> {
    read(armored.as_bytes(), identity)
}

fn read(sealed: &[u8], identity: &dyn age::Identity) -> Option<Zeroizing<Vec<u8>>> {
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(sealed)).ok()?;
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    decryptor.decrypt(std::iter::once(identity)).ok()?.read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// What plugins may ask for.
#[derive(Clone)]
struct Prompt(Option<Arc<dyn PassphrasePrompt>>);

impl age::Callbacks for Prompt {
    fn display_message(&self, message: &str) {
        if let Some(ask) = &self.0 {
            ask.message(message);
        }
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let mut secret = self.0.as_ref()?.passphrase(description)?.expose().clone();
        let passphrase = SecretString::from(secret.as_str());
        secret.zeroize();
        (!passphrase.expose_secret().is_empty()).then_some(passphrase)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::cipher::DataKey;
    use super::super::recipient::Recipient;
    use super::*;

    const KEYS: &str = include_str!("../../tests/vectors/sops/keys.txt");
    const RECIPIENT: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

    struct Fixed(&'static str, AtomicUsize);

    impl PassphrasePrompt for Fixed {
        fn passphrase(&self, _: &str) -> Option<Secret<String>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Some(Secret::from(self.0))
        }
        fn message(&self, _: &str) {}
    }

    fn blob() -> String {
        RECIPIENT.parse::<Recipient>().unwrap().wrap(&DataKey::new([5; 32])).unwrap()
    }

    #[test]
    fn a_bad_line_spoils_no_other() {
        let mut identities = Identities::default();
        identities.add(&format!("# c\n\nAGE-SECRET-KEY-PQ-1QQ\nAGE-PLUGIN-X\nhunter2\n{KEYS}"), "keys.txt");
        assert_eq!(identities.names(), [RECIPIENT]);
        assert_eq!(identities.problems()[2], "keys.txt, line 5: not an identity that talmirror knows");
        assert_eq!(identities.unwrap(&blob(), RECIPIENT).unwrap().as_slice(), [5; 32]);
        assert!(!format!("{identities:?}").contains("SECRET"));
    }

    #[test]
    fn a_locked_file_asks_once() {
        let mut scrypt = age::scrypt::Recipient::new(SecretString::from("open sesame"));
        scrypt.set_work_factor(2);
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&scrypt as _)).unwrap();
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
        writer.write_all(KEYS.as_bytes()).unwrap();
        writer.finish().unwrap();

        let ask = Arc::new(Fixed("open sesame", AtomicUsize::new(0)));
        let mut identities = Identities::new(Some(ask.clone()));
        identities.add_sealed(sealed.clone(), "keys.age");
        assert!(identities.unwrap(&blob(), RECIPIENT).is_some());
        assert!(identities.unwrap(&blob(), RECIPIENT).is_some());
        assert_eq!(ask.1.load(Ordering::Relaxed), 1);

        let mut nobody = Identities::default();
        nobody.add_sealed(sealed, "keys.age");
        assert!(nobody.unwrap(&blob(), RECIPIENT).is_none());
        assert_eq!(nobody.locked(), ["keys.age"]);
    }

    #[test]
    fn ssh_keys_open_what_is_for_them() {
        let recipient: Recipient =
            include_str!("../../tests/vectors/sops/id_ed25519_fixture.pub").parse().unwrap();
        let mut identities = Identities::default();
        identities.add_ssh(include_str!("../../tests/vectors/sops/id_ed25519_fixture"), "id");
        identities.add_ssh("nonsense", "other");
        let wrapped = recipient.wrap(&DataKey::new([5; 32])).unwrap();
        assert!(identities.unwrap(&wrapped, recipient.as_str()).is_some());
        assert!(identities.unwrap(&blob(), RECIPIENT).is_none());
        assert_eq!(identities.problems().len(), 1);
    }
}
