#![expect(clippy::disallowed_methods, reason = "writes files")]

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It holds the same bytes already and was not touched.
    Unchanged,
    /// It was replaced.
    Replaced,
    /// It is new.
    Created,
}

/// Writes a file whole or not at all: beside it, flushed to disk, then renamed.
///
/// A new file can be read by its owner only; an old one keeps its mode, and a link stays a link.
///
/// Fails as the file system does; the old file is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<Written> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = match fs::read(&target) {
        Ok(old) if old == bytes => return Ok(Written::Unchanged),
        Ok(_) => Some(fs::metadata(&target)?.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".talmirror-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    let outcome = if let Some(permissions) = old {
        file.as_file().set_permissions(permissions)?;
        Written::Replaced
    } else {
        Written::Created
    };
    file.as_file().sync_all()?;
    file.persist(&target)?;
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn modes_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("f"), folder.path().join("l"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(write_atomically(&file, b"1").unwrap(), Written::Created);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(write_atomically(&file, b"1").unwrap(), Written::Unchanged);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(write_atomically(&link, b"2").unwrap(), Written::Replaced);
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"2".to_vec(), 0o640));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write_atomically(folder.path(), b"x").is_err());
    }
}
