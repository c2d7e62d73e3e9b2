use std::path::{Path, PathBuf};

use super::error::CliError;
use super::exit;

/// Writes a new file whole or not at all; one that exists is left alone.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    put(path, bytes, false)
}

/// Replaces a file in one step; a new one is readable by its owner only.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    put(path, bytes, true)
}

fn put(path: &Path, bytes: &[u8], over: bool) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "may this user write there?",
            std::io::ErrorKind::StorageFull => "the disk is full",
            _ => "does the directory exist, and is it one?",
        };
        CliError::from_error(exit::WRITE, error).context(format!("cannot write `{}`", path.display())).help(hint)
    };
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    if let Ok(old) = std::fs::metadata(path) {
        file.as_file().set_permissions(old.permissions()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    if over {
        file.persist(path).map_err(|error| failed(error.error))?;
    } else {
        file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    }
    Ok(())
}

/// Returns the git work tree that a path lies in, unless git ignores the path.
pub(super) fn git_work_tree(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let tree = absolute.ancestors().skip(1).find(|dir| dir.join(".git").exists())?.to_owned();
    let git = std::process::Command::new("git")
        .args(["check-ignore", "--quiet", "--"])
        .arg(&absolute)
        .current_dir(&tree)
        .stderr(std::process::Stdio::null())
        .status();
    // Without git there is no way to tell, and then the path counts as not ignored.
    let ignored = git.is_ok_and(|status| status.success());
    (!ignored).then_some(tree)
}
