#![expect(clippy::disallowed_methods, reason = "locks files")]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A locked file: the lock ends with the value, and with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("`{}` is locked by {}", path.display(), named(holder.as_deref()))]
    Held {
        /// The locked file.
        path: PathBuf,
        /// The number of the process that holds it, if it has written it already.
        holder: Option<String>,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        #[source]
        source: io::Error,
    },
}

fn named(number: Option<&str>) -> String {
    number.map_or_else(|| "another process".to_owned(), |number| format!("process {number}"))
}

impl Lock {
    /// Takes the lock of a file, which is made where it is not there, and writes this process' number to it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(failed)?;
                file.write_all(std::process::id().to_string().as_bytes()).map_err(failed)?;
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut number = String::new();
                // Only for the message: a process that has just taken the lock may not have written its number yet.
                drop(file.take(32).read_to_string(&mut number));
                let number = number.trim().to_owned();
                let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                Err(LockError::Held { path: path.to_owned(), holder: is_number.then_some(number) })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder_and_ends_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        assert!(error.ends_with(&format!("is locked by process {}", std::process::id())), "{error}");
        drop(lock);
        Lock::take(&path).unwrap();
    }
}
