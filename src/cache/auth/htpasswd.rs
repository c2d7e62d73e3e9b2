use std::collections::HashMap;

use crate::secret::Secret;

/// The highest cost that is taken: each step doubles the time that a check takes, and at 15 it is seconds.
const MAX_COST: u32 = 14;

/// Users and the bcrypt hashes of their passwords.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<String, Secret<String>>);

/// What is wrong with a file of users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HtpasswdError {
    #[error("it has no `:` between user and hash")]
    NoColon,
    #[error("the user's name is empty")]
    NoName,
    #[error("the user `{0}` is there twice")]
    Twice(String),
    #[error("the hash of `{0}` is not bcrypt; make it with `htpasswd -B`")]
    NotBcrypt(String),
    #[error("the hash of `{user}` has the cost {cost}, which takes too long; at most {MAX_COST} will do")]
    Cost { user: String, cost: u32 },
}

impl Users {
    /// Reads what `htpasswd -B` writes; an error comes with its line, from 1 on.
    ///
    /// Other hashes are refused: `crypt` and unsalted SHA-1 are guessed in no time, and MD5 in little.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, HtpasswdError)> {
        let mut users = HashMap::new();
        for (line, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (user, hash) = user(text).map_err(|error| (line + 1, error))?;
            if users.insert(user.to_owned(), hash.into()).is_some() {
                return Err((line + 1, HtpasswdError::Twice(user.to_owned())));
            }
        }
        Ok(Self(users))
    }

    /// Returns a user's hash.
    pub(super) fn hash(&self, user: &str) -> Option<&Secret<String>> {
        self.0.get(user)
    }

    /// Returns some hash, if there are any.
    pub(super) fn any_hash(&self) -> Option<&Secret<String>> {
        self.0.values().next()
    }
}

fn user(text: &str) -> Result<(&str, &str), HtpasswdError> {
    let (user, hash) = text.split_once(':').ok_or(HtpasswdError::NoColon)?;
    if user.is_empty() {
        return Err(HtpasswdError::NoName);
    }
    let not_bcrypt = || HtpasswdError::NotBcrypt(user.to_owned());
    let rest = ["$2y$", "$2b$", "$2a$"].iter().find_map(|prefix| hash.strip_prefix(prefix));
    let (cost, salted) = rest.and_then(|rest| rest.split_once('$')).ok_or_else(not_bcrypt)?;
    let cost: u32 = cost.parse().map_err(|_| not_bcrypt())?;
    let of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    if salted.len() != 53 || !salted.bytes().all(of_alphabet) || cost < 4 {
        return Err(not_bcrypt());
    }
    if cost > MAX_COST {
        return Err(HtpasswdError::Cost { user: user.to_owned(), cost });
    }
    Ok((user, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbB -C 5 ada s3cr3t-ada`.
    const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuBQ0pN9pvo0WEfcDGYkUM1hJmLmDuK3S";

    #[test]
    fn bcrypt_only() {
        let users = Users::parse(&format!("# people\n\nada:{HASH}\n  bob:{HASH}\r\n")).unwrap();
        assert!(users.hash("ada").is_some() && users.hash("bob").is_some() && users.hash("eve").is_none());
        let not = |user: &str| HtpasswdError::NotBcrypt(user.into());
        for (text, line, error) in [
            ("ada".to_owned(), 1, HtpasswdError::NoColon),
            (format!("\n:{HASH}"), 2, HtpasswdError::NoName),
            (format!("ada:{HASH}\nada:{HASH}"), 2, HtpasswdError::Twice("ada".into())),
            ("ada:$apr1$abc$def".to_owned(), 1, not("ada")),
            ("ada:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), 1, not("ada")),
            ("ada:s3cr3t-ada".to_owned(), 1, not("ada")),
            (format!("ada:{}", &HASH[..59]), 1, not("ada")),
            (format!("ada:{}", HASH.replace("05", "xx")), 1, not("ada")),
            (
                format!("ada:{}", HASH.replace("05", "31")),
                1,
                HtpasswdError::Cost { user: "ada".into(), cost: 31 },
            ),
        ] {
            let found = Users::parse(&text).unwrap_err();
            assert_eq!(found, (line, error), "{text}");
            assert!(!found.1.to_string().contains("s3cr3t"));
        }
    }
}
