#![expect(clippy::disallowed_methods, reason = "writes files, and asks git about them")]

use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{Written, write_atomically};

/// Who may read a new file; one that exists keeps its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Everyone: it holds no secret.
    Open,
    /// Its owner.
    Private,
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the file system says.
    #[source]
    pub source: io::Error,
}

impl WriteError {
    /// Returns what to do about it.
    pub fn help(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::AlreadyExists if self.path.is_file() => {
                "a file that is there is left alone: name another"
            }
            io::ErrorKind::PermissionDenied => "may this user write there?",
            io::ErrorKind::StorageFull => "the disk is full",
            _ => "does the directory exist, and is it one?",
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a new file whole or not at all; one that exists is left alone.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    std::fs::create_dir_all(parent(path)).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(parent(path)).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Replaces a file in one step, or makes it.
pub fn replace(path: &Path, bytes: &[u8], privacy: Privacy) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    std::fs::create_dir_all(parent(path)).map_err(failed)?;
    let written = write_atomically(path, bytes).map_err(failed)?;
    #[cfg(unix)]
    if written == Written::Created && privacy == Privacy::Open {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    Ok(())
}

/// Follows the links of as much of a path as is there.
fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

/// Returns whether links lead from a path below a directory to a place that is not below it.
pub fn leads_out(dir: &Path, path: &Path) -> bool {
    // One that leads nowhere makes a file where it points to.
    let is_dangling = path.symlink_metadata().is_ok_and(|found| found.is_symlink()) && !path.exists();
    let real = |path: &Path| std::path::absolute(path).map(|path| real(&path));
    is_dangling
        || match (real(dir), real(path)) {
            (Ok(dir), Ok(path)) => !path.starts_with(dir),
            (Err(_), _) | (_, Err(_)) => true,
        }
}

/// Returns the work tree that git's own variables name, as git in this directory understands them.
fn named_work_tree() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(tree) = variable("GIT_WORK_TREE") {
        return Some(real(&std::path::absolute(tree).ok()?));
    }
    variable("GIT_DIR")?;
    let out = git(Path::new(".")).args(["rev-parse", "--show-toplevel"]).output().ok()?;
    let text = String::from_utf8(out.stdout).ok().filter(|_| out.status.success())?;
    Some(real(Path::new(text.trim_end())))
}

/// Returns the work tree of git, Mercurial or Jujutsu that a path lies in, unless git ignores the path.
pub fn git_work_tree(path: &Path) -> Option<PathBuf> {
    let absolute = real(&std::path::absolute(path).ok()?);
    let is_tree = |dir: &&Path| [".git", ".hg", ".jj"].iter().any(|name| dir.join(name).exists());
    let tree = absolute.ancestors().skip(1).find(is_tree);
    let tree = match tree {
        Some(tree) => tree.to_owned(),
        None => named_work_tree().filter(|tree| absolute.starts_with(tree))?,
    };
    // Variables may name their folders relative to this one.
    let status = git(Path::new("."))
        .arg("-C")
        .arg(&tree)
        .args(["check-ignore", "--quiet", "--"])
        .arg(&absolute)
        .status();
    // Without git there is no way to tell, and then the path counts as not ignored.
    let ignored = status.is_ok_and(|status| status.success());
    (!ignored).then_some(tree)
}

/// Returns whether git tracks a file.
pub fn is_tracked_by_git(path: &Path) -> bool {
    let Ok(absolute) = std::path::absolute(path) else { return false };
    let status = git(parent(&absolute)).args(["ls-files", "--error-unmatch", "--"]).arg(&absolute).output();
    status.is_ok_and(|out| out.status.success())
}

/// Returns the text of a file as it was committed last.
pub fn last_committed(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    let name = absolute.file_name()?.to_str()?.to_owned();
    let out = git(parent(&absolute)).args(["show", &format!("HEAD:./{name}")]).output().ok()?;
    out.status.success().then(|| String::from_utf8(out.stdout).ok()).flatten()
}

/// Makes a call of git that runs nothing of the repository's own configuration.
fn git(dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("git");
    command
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"])
        .current_dir(dir)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command
}
