#![expect(clippy::disallowed_methods, reason = "keeps the store's files")]

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::UNIX_EPOCH;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::TempPath;

use crate::cache::memory::locked;
use crate::cache::store::local::{Kind, Object};
use crate::cache::store::record::{RecordKey, RecordKind};
use crate::cache::store::spool::Spool;
use crate::file::{Lock, LockError, make_private_dir};
use crate::image::Algorithm;

/// The folder of a store: what its files are called, and how they come and go. Locked for one process.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    naming: Naming,
    /// Folders that got or lost names which may not be on the disk yet.
    unsynced: Mutex<HashSet<PathBuf>>,
    /// Held while a file gets its name, so that no folder is removed meanwhile.
    shelves: RwLock<()>,
    /// How many folders there are.
    folders: AtomicU64,
    /// Held until the process ends, however it ends.
    _lock: Lock,
}

/// What a folder takes, in bytes.
const FOLDER: u64 = 4096;
/// The folder of unfinished files that outlive a process.
const PARTIAL: &str = "partial";

/// How a file that is being written is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// It has no name at all: if we are killed, the kernel removes it.
    Unnamed,
    /// It has a name in `.tmp`: overlay and some network file systems know no others. Removed at the next start.
    Temporary,
}

/// A stored file, as a lookup into the folders finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name.
    pub(super) object: Object,
    /// How many bytes it has.
    pub(super) size: u64,
    /// When it was written, in seconds since 1970.
    pub(super) written_at: u32,
}

/// The room on the disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// How large it is.
    pub(super) total: u64,
    /// How much of that is free for us.
    pub(super) free: u64,
}

impl Folder {
    /// Opens a folder, makes what is missing in it, and removes what was not finished.
    ///
    /// `naming` is how to keep unfinished files; [`None`]: without names where the file system can do that.
    pub(super) fn open(root: &Path, naming: Option<Naming>) -> io::Result<Self> {
        make_folder(root)?;
        narrow(root)?;
        refuse_links(root)?;
        let lock = lock(&root.join("lock"))?;
        let temporary = root.join(".tmp");
        make_folder(&temporary)?;
        for entry in fs::read_dir(&temporary).map_err(|error| at("read", &temporary, error))? {
            let path = entry?.path();
            fs::remove_file(&path).map_err(|error| at("remove", &path, error))?;
        }
        let naming =
            naming.unwrap_or_else(|| if knows_unnamed(root) { Naming::Unnamed } else { Naming::Temporary });
        let folders = AtomicU64::new(count_own_folders(root)?);
        let (unsynced, shelves) = (Mutex::default(), RwLock::default());
        Ok(Self { root: root.to_owned(), naming, unsynced, shelves, folders, _lock: lock })
    }

    /// Waits until what is in the unfinished files is on the disk.
    pub(super) fn sync_partials(&self) -> io::Result<()> {
        for (name, ..) in self.partials()? {
            let path = self.partial(&name);
            // Its download may have ended meanwhile.
            if let Some(file) = open(&path)? {
                file.sync_data().map_err(|error| at("write", &path, error))?;
            }
        }
        Ok(())
    }

    /// Returns the path of something right below the root.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the path of a stored thing.
    pub(super) fn path(&self, object: &Object) -> PathBuf {
        let mut path = self.shelf(tree(object.kind), object);
        path.push(object.digest.hex());
        path
    }

    fn shelf(&self, tree: &str, object: &Object) -> PathBuf {
        let hex = object.digest.hex();
        let mut path = self.root.join(tree);
        path.push(object.digest.algorithm().as_str());
        path.push(hex.get(..2).unwrap_or_default());
        path
    }

    /// Makes an empty file to write to.
    pub(super) fn temporary(&self) -> io::Result<(File, Option<TempPath>)> {
        match self.naming {
            Naming::Unnamed => Ok((unnamed(&self.root).map_err(|e| at("write to", &self.root, e))?, None)),
            Naming::Temporary => {
                let (file, name) = self.named()?;
                Ok((file, Some(name)))
            }
        }
    }

    fn named(&self) -> io::Result<(File, TempPath)> {
        let folder = self.root.join(".tmp");
        let file = tempfile::Builder::new()
            .prefix("")
            .tempfile_in(&folder)
            .map_err(|e| at("write to", &folder, e))?;
        Ok(file.into_parts())
    }

    /// Gives a finished spool its name; returns whether nothing was there by that name.
    pub(super) fn link(&self, spool: &mut Spool, object: &Object) -> io::Result<bool> {
        let to = self.path(object);
        let _stays = self.shelf_of(&to)?;
        let linked = if let Some(name) = spool.take_lasting_name() {
            let from = self.partial(&name);
            // By its old name no download would find it any more.
            fs::rename(&from, &to).inspect_err(|_| drop(fs::remove_file(&from)))
        } else if let Some(name) = spool.take_name() {
            name.persist_noclobber(&to).map_err(|error| error.error)
        } else {
            link_unnamed(&spool.file(), &to)
        };
        match linked {
            Ok(()) => {
                self.touched(&to);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(at("write", &to, error)),
        }
    }

    /// Returns the path of an unfinished file that outlives this process.
    pub(super) fn partial(&self, name: &str) -> PathBuf {
        self.root.join(PARTIAL).join(name)
    }

    /// Gives a file that is being written such a name.
    pub(super) fn name_partial(&self, file: &File, named: Option<TempPath>, name: &str) -> io::Result<()> {
        let to = self.partial(name);
        make_folder(&self.root.join(PARTIAL))?;
        let named = match named {
            Some(named) => named.persist_noclobber(&to).map_err(|error| error.error),
            None => link_unnamed(file, &to),
        };
        named.map_err(|error| at("write", &to, error))
    }

    /// Returns the names of all such files, how many bytes they have, and when they were last written.
    pub(super) fn partials(&self) -> io::Result<Vec<(String, u64, u32)>> {
        let mut out = Vec::new();
        each(&self.root.join(PARTIAL), &mut |name, entry| {
            let meta = entry.metadata()?;
            let age = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.push((name.to_owned(), meta.len(), u32::try_from(age.as_secs()).unwrap_or(u32::MAX)));
            Ok(())
        })?;
        Ok(out)
    }

    /// Opens such a file to go on writing it.
    pub(super) fn open_partial(&self, name: &str) -> io::Result<File> {
        let path = self.partial(name);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::empty());
        Ok(File::from(file.map_err(|error| at("open", &path, error.into()))?))
    }

    /// Writes a small file whole, in place of what was there.
    pub(super) fn replace(&self, to: &Path, bytes: &[u8]) -> io::Result<()> {
        let _stays = self.shelf_of(to)?;
        let (mut file, name) = self.named()?;
        file.write_all(bytes).map_err(|error| at("write", to, error))?;
        name.persist(to).map_err(|error| at("write", to, error.error))?;
        self.touched(to);
        Ok(())
    }

    /// Reads a small file.
    pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match open(path)? {
            Some(mut file) => {
                file.read_to_end(&mut bytes).map_err(|error| at("read", path, error))?;
                Ok(Some(bytes))
            }
            None => Ok(None),
        }
    }

    /// Removes a file; returns whether it was there.
    pub(super) fn unlink(&self, path: &Path) -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => {
                self.touched(path);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(at("remove", path, error)),
        }
    }

    /// Makes the folder of a file where it is missing; it stays as long as what is returned is held.
    fn shelf_of(&self, path: &Path) -> io::Result<RwLockReadGuard<'_, ()>> {
        let Some(folder) = path.parent() else { return Ok(self.shelves()) };
        loop {
            let stays = self.shelves();
            if folder.is_dir() {
                return Ok(stays);
            }
            drop(stays);
            let alone = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
            let missing: Vec<&Path> = folder
                .ancestors()
                .take_while(|above| *above != self.root)
                .filter(|above| !above.is_dir())
                .collect();
            make_folder(folder)?;
            self.folders.fetch_add(missing.len() as u64, Ordering::Relaxed);
            drop(alone);
            for made in missing {
                self.touched(made);
            }
        }
    }

    fn shelves(&self) -> RwLockReadGuard<'_, ()> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the folder of a file that is gone, if nothing else is in it.
    pub(super) fn tidy(&self, path: &Path) {
        let Some(folder) = path.parent() else { return };
        let alone = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        if fs::remove_dir(folder).is_ok() {
            self.folders.fetch_sub(1, Ordering::Relaxed);
            drop(alone);
            locked(&self.unsynced).remove(folder);
            self.touched(folder);
        }
    }

    /// Returns how many bytes of disk the folders take, if none has many names.
    pub(super) fn folder_bytes(&self) -> u64 {
        self.folders.load(Ordering::Relaxed).saturating_mul(FOLDER)
    }

    fn touched(&self, path: &Path) {
        if let Some(folder) = path.parent() {
            let mut unsynced = locked(&self.unsynced);
            if !unsynced.contains(folder) {
                unsynced.insert(folder.to_owned());
            }
        }
    }

    /// Waits until all names are on the disk.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        let unsynced = std::mem::take(&mut *locked(&self.unsynced));
        for folder in unsynced {
            match File::open(&folder).and_then(|folder| folder.sync_all()) {
                // Some network file systems know no such thing; what gets lost there is fetched again.
                // One that is not there any more has no names.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::NotFound
                    ) => {}
                other => other.map_err(|error| at("write to", &folder, error))?,
            }
        }
        Ok(())
    }

    /// Looks at every stored file.
    pub(super) fn scan(&self) -> io::Result<Vec<Found>> {
        let mut out = Vec::new();
        for kind in [Kind::Blob, Kind::Manifest] {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                for_each(&self.root.join(tree(kind)).join(algorithm.as_str()), &mut |name, entry| {
                    let Ok(digest) = format!("{}:{name}", algorithm.as_str()).parse() else { return Ok(()) };
                    let meta = entry.metadata()?;
                    let age = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                    out.push(Found {
                        object: Object { kind, digest },
                        size: meta.len(),
                        written_at: u32::try_from(age.as_secs()).unwrap_or(u32::MAX),
                    });
                    Ok(())
                })?;
            }
        }
        Ok(out)
    }

    /// Returns the path of a record.
    pub(super) fn record(&self, key: &RecordKey) -> PathBuf {
        let hex = key.hex();
        let mut path = self.root.join(key.kind().as_str());
        path.push(hex.get(..2).unwrap_or_default());
        path.push(hex);
        path
    }

    /// Returns the paths of all records of a kind, with when they were written, in seconds since 1970.
    pub(super) fn records(&self, kind: RecordKind) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut out = Vec::new();
        for_each(&self.root.join(kind.as_str()), &mut |_, entry| {
            let age = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.push((entry.path(), age.as_secs()));
            Ok(())
        })?;
        Ok(out)
    }

    /// Returns the path of the note that an origin has an object.
    pub(super) fn grant(&self, origin: &RecordKey, object: &Object) -> PathBuf {
        let mut path = self.grants(object);
        path.push(format!("{}-{}", object.digest.hex(), origin.hex()));
        path
    }

    fn grants(&self, object: &Object) -> PathBuf {
        let mut tree = PathBuf::from("grants");
        tree.push(self::tree(object.kind));
        self.shelf(tree.to_str().unwrap_or_default(), object)
    }

    /// Makes the note that an origin has an object.
    pub(super) fn add_grant(&self, path: &Path) -> io::Result<()> {
        let _stays = self.shelf_of(path)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        file.map_err(|error| at("write", path, error))?;
        self.touched(path);
        Ok(())
    }

    /// Returns the paths of all notes about an object, and the names of the origins' records.
    pub(super) fn grants_of(&self, object: &Object) -> io::Result<Vec<(PathBuf, String)>> {
        let (folder, hex) = (self.grants(object), object.digest.hex());
        let mut out = Vec::new();
        each(&folder, &mut |name, entry| {
            if let Some((of, origin)) = name.split_once('-')
                && of == hex
            {
                out.push((entry.path(), origin.to_owned()));
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Calls for every note that an origin has an object, with the name of the origin's record.
    pub(super) fn each_grant(&self, mut with: impl FnMut(&Path, Object, &str)) -> io::Result<()> {
        for kind in [Kind::Blob, Kind::Manifest] {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let shelves = self.root.join("grants").join(tree(kind)).join(algorithm.as_str());
                for_each(&shelves, &mut |name, entry| {
                    let (hex, origin) = name.split_once('-').unwrap_or((name, ""));
                    if let Ok(digest) = format!("{}:{hex}", algorithm.as_str()).parse() {
                        with(&entry.path(), Object { kind, digest }, origin);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Returns how large the disk is, and what is free.
    pub(super) fn disk(&self) -> io::Result<Disk> {
        let at = |error: rustix::io::Errno| at("ask for the room at", &self.root, error.into());
        let found = rustix::fs::statvfs(&self.root).map_err(at)?;
        Ok(Disk {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }
}

/// Opens a file to read; symbolic links are not followed, since there are none.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(at("open", path, error.into())),
    }
}

/// Returns the random name of the machine's present boot; [`None`] where the kernel does not say.
pub(super) fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let text = text.trim();
    (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned())
}

const fn tree(kind: Kind) -> &'static str {
    match kind {
        Kind::Blob => "blobs",
        Kind::Manifest => "manifests",
    }
}

/// Makes sure that no other user may write to the store's folder: what is in it is served, and is written to.
fn narrow(root: &Path) -> io::Result<()> {
    let mode = fs::metadata(root).map_err(|error| at("look at", root, error))?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(|error| {
        // A volume of Kubernetes is root's, and its group may write to it.
        let below = root.join("store");
        let text = format!(
            "cannot use `{}`: other users may write to it, which is not safe; choose a folder below it, such as `{}`, which is \
             made, or give it the mode 0700: {error}",
            root.display(),
            below.display()
        );
        io::Error::new(error.kind(), text)
    })?;
    tracing::warn!(
        folder = %root.display(),
        "other users could write to this folder (mode {:o}); its mode is 0700 now",
        mode & 0o7777
    );
    Ok(())
}

/// Refuses links right below the store's folder: it makes none, and what is behind one is not the store's.
fn refuse_links(root: &Path) -> io::Result<()> {
    each(root, &mut |_, entry| {
        if entry.file_type()?.is_symlink() {
            let path = entry.path();
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "`{}` is a link, and a store has none: remove it, or choose another folder",
                    path.display()
                ),
            ));
        }
        Ok(())
    })
}

/// Locks the folder for one process.
fn lock(path: &Path) -> io::Result<Lock> {
    Lock::take(path).map_err(|error| match error {
        LockError::Held { .. } => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{error}: one folder serves one process; stop it, or choose another folder"),
        ),
        LockError::Io { path, source } => at("lock", &path, source),
    })
}

fn unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Tries whether files without names can be made here, and be given one: that takes `/proc` too.
fn knows_unnamed(root: &Path) -> bool {
    let to = root.join(".tmp").join("probe");
    unnamed(root).is_ok_and(|file| link_unnamed(&file, &to).is_ok()) && fs::remove_file(&to).is_ok()
}

fn link_unnamed(file: &File, to: &Path) -> io::Result<()> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}

fn make_folder(path: &Path) -> io::Result<()> {
    make_private_dir(path).map_err(|error| at("make", path, error))
}

/// Counts the folders of a store: what else lies in its folder, such as a volume's `lost+found`, may not be readable.
fn count_own_folders(root: &Path) -> io::Result<u64> {
    let own = [".tmp", PARTIAL, "grants", tree(Kind::Blob), tree(Kind::Manifest)];
    let own = own.into_iter().chain(RecordKind::ALL.map(RecordKind::as_str));
    let mut count = 0;
    for path in own.map(|name| root.join(name)).filter(|path| path.is_dir()) {
        count += 1 + count_folders(&path)?;
    }
    Ok(count)
}

/// Counts the folders below a folder, three levels deep as a store has them.
fn count_folders(folder: &Path) -> io::Result<u64> {
    let mut count = 0;
    each(folder, &mut |_, entry| {
        // A file has no folders in it, and only the last level has files.
        if entry.file_type()?.is_dir() {
            count += 1;
            let path = entry.path();
            let is_last = path.file_name().is_some_and(|name| name.len() == 2);
            count += if is_last { 0 } else { count_folders(&path)? };
        }
        Ok(())
    })?;
    Ok(count)
}

/// Calls for every file in the folders of a folder.
fn for_each(folder: &Path, with: &mut impl FnMut(&str, &fs::DirEntry) -> io::Result<()>) -> io::Result<()> {
    each(folder, &mut |_, entry| each(&entry.path(), with))
}

fn each(folder: &Path, with: &mut impl FnMut(&str, &fs::DirEntry) -> io::Result<()>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(at("read", folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| at("read", folder, error))?;
        if let Some(name) = entry.file_name().to_str() {
            match with(name, &entry) {
                // It went away while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn at(what: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} `{}`: {error}", path.display()))
}
