#![expect(clippy::disallowed_methods, reason = "makes directories")]

use std::fs;
use std::io;
use std::path::Path;

/// Makes a directory that only its owner may use, and those above it that are missing.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a private directory, and returns when it and those above it that were missing are on disk.
pub fn make_private_dir_durably(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    make_private_dir(path)?;
    // A directory is on disk when the one that it is in is.
    for parent in missing.iter().filter_map(|path| path.parent()) {
        sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Returns when the names in a directory are on disk.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(path)?.sync_all()?;
    Ok(())
}
