use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::image::{Algorithm, is_docker_hub_alias};
use crate::oci::protocol::digest_of;
use crate::secret::Secret;

/// Base64 with or without padding: tools write both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a registry is shown, so that it knows who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// Who.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// A token that gives tokens, as `docker login` stores it for some registries.
    Identity {
        /// Who; often `<token>` or a row of zeros.
        user: String,
        /// The token.
        token: Secret<String>,
    },
    /// A token that goes with every request as it is.
    Token(Secret<String>),
}

impl Credential {
    /// Returns a name that changes with the credential and tells nothing of it.
    pub fn id(&self) -> String {
        let text = match self {
            Self::Password { user, password } => format!("p\0{user}\0{}", password.expose()),
            Self::Identity { user, token } => format!("i\0{user}\0{}", token.expose()),
            Self::Token(token) => format!("t\0{}", token.expose()),
        };
        digest_of(Algorithm::Sha256, Secret::new(text).expose().as_bytes()).hex()
    }
}

/// Credentials by the host they are for, as Docker keeps them in `config.json` and Kubernetes in a
/// `.dockerconfigjson`.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Credential>);

/// Why a file of credentials cannot be read. What stands in it is never told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It is not JSON of the right form.
    #[error("it is not a valid dockerconfigjson: a JSON object with `auths`")]
    Unreadable,
    /// `auth` of a host is not the base64 of `user:password`.
    #[error("`auth` of `{0}` is not the base64 of user:password")]
    Auth(String),
    /// A host has an entry without a secret: Docker keeps it in a helper program then.
    #[error("the entry of `{0}` holds no secret: a credential helper may hold it, and none is run here")]
    Empty(String),
}

#[derive(Deserialize)]
struct File {
    auths: BTreeMap<String, Option<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        let all = [&self.auth, &self.username, &self.password, &self.identitytoken, &self.registrytoken];
        all.into_iter().flatten().all(String::is_empty)
    }
}

impl Credentials {
    /// Reads a `config.json` of Docker, or a `.dockerconfigjson` of Kubernetes.
    pub fn parse(json: &[u8]) -> Result<Self, CredentialsError> {
        let file: File = serde_json::from_slice(json).map_err(|_| CredentialsError::Unreadable)?;
        let mut all = BTreeMap::new();
        for (key, entry) in file.auths {
            // `docker login` leaves such an entry where a credential helper holds the secret.
            let Some(entry) = entry.filter(|entry| !entry.is_empty()) else { continue };
            let credential = credential(&key, entry)?;
            // `registry/path` is for that path as Kubernetes reads it; an entry for the host itself goes first.
            let (host, exact) = host_of(&key);
            if exact {
                all.insert(host, credential);
            } else {
                all.entry(host).or_insert(credential);
            }
        }
        Ok(Self(all))
    }

    /// Returns the credential for a host, with its port if that is not the usual one.
    pub fn get(&self, host: &str) -> Option<&Credential> {
        self.0.get(&host_of(host).0)
    }

    /// Returns the hosts that there are credentials for.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn credential(host: &str, entry: Entry) -> Result<Credential, CredentialsError> {
    let some = |text: Option<String>| text.map(Secret::new).filter(|secret| !secret.expose().is_empty());
    if let Some(token) = some(entry.registrytoken) {
        return Ok(Credential::Token(token));
    }
    let pair = some(entry.auth).map(|auth| pair(host, &auth)).transpose()?;
    let user = entry.username.filter(|user| !user.is_empty());
    let (user, password) = match (user, some(entry.password), pair) {
        (Some(user), Some(password), _) => (Some(user), Some(password)),
        (_, _, Some((user, password))) => (Some(user), Some(password)),
        (user, password, None) => (user, password),
    };
    if let Some(token) = some(entry.identitytoken) {
        return Ok(Credential::Identity { user: user.unwrap_or_else(|| "<token>".to_owned()), token });
    }
    match (user, password.filter(|password| !password.expose().is_empty())) {
        (Some(user), Some(password)) => Ok(Credential::Password { user, password }),
        _ => Err(CredentialsError::Empty(host.to_owned())),
    }
}

fn pair(host: &str, auth: &Secret<String>) -> Result<(String, Secret<String>), CredentialsError> {
    let failed = || CredentialsError::Auth(host.to_owned());
    let bytes = BASE64.decode(auth.expose().trim()).map_err(|_| failed())?;
    // Docker pads what it writes with NUL bytes.
    let text = Secret::new(String::from_utf8(bytes).map_err(|_| failed())?);
    let (user, password) = text.expose().trim_end_matches('\0').split_once(':').ok_or_else(failed)?;
    Ok((user.to_owned(), Secret::from(password)))
}

/// Returns the host of a key such as `https://index.docker.io/v1/`, and whether the key is for the whole of it.
fn host_of(key: &str) -> (String, bool) {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let host = if host == "docker.io" || is_docker_hub_alias(host) { "docker.io" } else { host };
    (host.to_owned(), matches!(path.trim_end_matches('/'), "" | "v1" | "v2"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(credential: Option<&Credential>) -> String {
        match credential {
            None => "-".to_owned(),
            Some(Credential::Password { user, password }) => format!("{user}:{}", password.expose()),
            Some(Credential::Identity { user, token }) => format!("{user} identity {}", token.expose()),
            Some(Credential::Token(token)) => format!("token {}", token.expose()),
        }
    }

    #[test]
    fn files_of_docker_and_kubernetes() {
        let file = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpwOnc="},
            "ghcr.io": {"username": "u", "password": "p", "auth": "eDp5"},
            "harbor.lan:8443/project": {"auth": "dTpwcm9qZWN0"},
            "HARBOR.lan:8443": {"auth": "dTpob3N0AA"},
            "azure.example": {"auth": "MDAwOg==", "identitytoken": "i"},
            "other.example:443": {"registrytoken": "t"}
        }, "credsStore": "x"}"#;
        let all = Credentials::parse(file).unwrap();
        for (host, want) in [
            ("docker.io", "u:p:w"),
            ("registry-1.docker.io", "u:p:w"),
            ("index.docker.io", "u:p:w"),
            ("ghcr.io", "u:p"),
            ("harbor.lan:8443", "u:host"),
            ("harbor.lan", "-"),
            ("azure.example", "000 identity i"),
            ("other.example", "token t"),
        ] {
            assert_eq!(show(all.get(host)), want, "{host}");
        }
        assert_eq!(all.hosts().count(), 5);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (file, want) in [
            ("", "it is not a valid dockerconfigjson: a JSON object with `auths`"),
            ("{}", "it is not a valid dockerconfigjson: a JSON object with `auths`"),
            (r#"{"auths":{"h":{"auth":"hunter2"}}}"#, "`auth` of `h` is not the base64 of user:password"),
            (r#"{"auths":{"h":{"auth":"aHVudGVy"}}}"#, "`auth` of `h` is not the base64 of user:password"),
            (
                r#"{"auths":{"h":{"username":"u"}}}"#,
                "the entry of `h` holds no secret: a credential helper may hold it, and none is run here",
            ),
        ] {
            assert_eq!(Credentials::parse(file.as_bytes()).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn an_empty_entry_is_an_absent_one() {
        let all = Credentials::parse(br#"{"auths":{"h":{},"i":{"auth":""},"j":{"auth":"dTpw"},"k":null}}"#)
            .unwrap();
        assert_eq!(all.hosts().collect::<Vec<_>>(), ["j"]);
    }

    #[test]
    fn a_name_for_each() {
        let password = |user: &str, password: &str| Credential::Password {
            user: user.into(),
            password: password.into(),
        };
        assert_eq!(password("u", "p").id(), password("u", "p").id());
        assert_ne!(password("u", "p").id(), password("u", "q").id());
        assert_ne!(
            password("u", "p").id(),
            Credential::Identity { user: "u".into(), token: "p".into() }.id()
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}|\\{\"auths\":\\{\"h\":\\{\"auth\":\"[A-Za-z0-9=+/]{0,20}\"\\}\\}\\}") {
            let _ = Credentials::parse(text.as_bytes()).is_ok();
        }
    }
}
