#![expect(clippy::disallowed_methods, reason = "reads credentials again")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::credentials::{Credential, Credentials};
use super::error::{CredentialFileError, RequestError};
use crate::file::Stamp;
use crate::secret::{Secret, read_limited};

/// The largest file that is read.
const LARGEST: u64 = 1024 * 1024;

/// A file of credentials, which is read again when it has changed.
#[derive(Debug)]
pub struct CredentialFile {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    known: Option<(Stamp, Arc<Credentials>)>,
    /// Whether it was said that the file cannot be read again: once is enough.
    complained: bool,
}

impl CredentialFile {
    /// Names a file; it is read when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: Mutex::default() }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the credential for the first of some hosts that has one.
    ///
    /// A file that cannot be read any more, or is malformed while it is being written, counts as it was before.
    pub fn get(&self, hosts: &[String]) -> Result<Credential, RequestError> {
        let failed = |why| RequestError::Credentials { path: self.path.clone(), why };
        let all = self.current().map_err(failed)?;
        hosts.iter().find_map(|host| all.get(host)).cloned().ok_or_else(|| {
            let mut found: Vec<&str> = all.hosts().collect();
            if found.is_empty() {
                found.push("no host");
            }
            failed(CredentialFileError::Missing { wanted: hosts.join(" or "), found: found.join(", ") })
        })
    }

    fn current(&self) -> Result<Arc<Credentials>, CredentialFileError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.read_again(read.known.as_ref()), read.known.clone()) {
            (Ok(Some((stamp, credentials))), _) => {
                *read = Read { known: Some((stamp, Arc::clone(&credentials))), complained: false };
                Ok(credentials)
            }
            (Ok(None), known) => Ok(known.map(|(_, known)| known).unwrap_or_default()),
            (Err(error), Some((_, known))) => {
                if !read.complained {
                    tracing::warn!(file = %self.path.display(), %error, "credentials stay as they were");
                }
                read.complained = true;
                Ok(known)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Reads the file; [`None`] where it is the one that is known.
    fn read_again(
        &self,
        known: Option<&(Stamp, Arc<Credentials>)>,
    ) -> Result<Option<(Stamp, Arc<Credentials>)>, CredentialFileError> {
        let unreadable = |error| CredentialFileError::Unreadable(Arc::new(error));
        let file = File::open(&self.path).map_err(unreadable)?;
        let stamp = Stamp::of_file(&file).map_err(unreadable)?;
        if known.is_some_and(|(known, _)| *known == stamp) {
            return Ok(None);
        }
        let bytes = Secret::new(read_limited(file, LARGEST).map_err(unreadable)?);
        Ok(Some((stamp, Arc::new(Credentials::parse(bytes.expose())?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(file: &CredentialFile, host: &str) -> String {
        match file.get(&["x.example".to_owned(), host.to_owned()]) {
            Ok(Credential::Password { user, .. }) => user,
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let file = CredentialFile::new(&path);
        assert!(user(&file, "h").contains("No such file"), "{}", user(&file, "h"));
        let text = |user: &str| format!(r#"{{"auths":{{"h":{{"username":"{user}","password":"p"}}}}}}"#);
        std::fs::write(&path, text("one")).unwrap();
        assert_eq!(user(&file, "h"), "one");
        // As Kubernetes does it: another file under the same name.
        std::fs::write(dir.path().join("new"), text("two")).unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(user(&file, "h"), "two");
        std::fs::write(&path, "half a fi").unwrap();
        assert_eq!(user(&file, "h"), "two", "what is known stays");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(user(&file, "h"), "two");
        let missing = user(&file, "g");
        assert!(missing.ends_with("it has none for x.example or g, only for h"), "{missing}");
    }
}
