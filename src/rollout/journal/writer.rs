#![expect(clippy::disallowed_methods, reason = "keeps journals on disk, and dates their records")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::error::StoreError;
use super::folder::{NAME, file_name, make_folder, read_history};
use super::format::{Entry, Record};
use super::replay::History;
use crate::file::{AppendLog, sync_dir, write_atomically};
use crate::rollout::variants::ConfigDigest;
use crate::secret::Secret;
use crate::secret::os_random;
use crate::sops::{self, Settings, SopsError};

/// The key under which an encrypted original stands.
const KEY: &str = "config";

/// A journal that is written: every record is on disk before what it announces is done.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: Mutex<AppendLog>,
    /// How originals are encrypted; [`None`]: they are not, and only their owner may read them.
    settings: Option<Settings>,
}

impl Journal {
    /// Begins a journal in a folder that has none.
    pub fn create(folder: &Path, settings: Option<Settings>) -> Result<Self, StoreError> {
        make_folder(folder)?;
        let path = folder.join(NAME);
        let file = options().create_new(true).open(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                StoreError::Taken(folder.to_owned())
            } else {
                StoreError::Write { path, source }
            }
        })?;
        sync_dir(folder).map_err(|source| StoreError::Write { path: folder.to_owned(), source })?;
        let journal = Self { folder: folder.to_owned(), file: Mutex::new(log(file)), settings };
        if journal.settings.is_none() {
            journal.keep_out_of_git()?;
        }
        Ok(journal)
    }

    /// Opens a journal to be resumed, and returns what it says.
    pub fn open(folder: &Path, settings: Option<Settings>) -> Result<(Self, History), StoreError> {
        let history = read_history(folder)?;
        let path = folder.join(NAME);
        let failed = |source| StoreError::Write { path: path.clone(), source };
        let text = fs::read(&path).map_err(failed)?;
        let file = options().open(&path).map_err(failed)?;
        // A line that was cut off announces nothing that was done: it goes.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok((Self { folder: folder.to_owned(), file: Mutex::new(log(file)), settings }, history))
    }

    /// Has git and Jujutsu ignore the folder: originals in clear hold every secret of the cluster.
    fn keep_out_of_git(&self) -> Result<(), StoreError> {
        let path = self.folder.join(".gitignore");
        write_atomically(&path, b"*\n").map(drop).map_err(|source| StoreError::Write { path, source })
    }

    /// Returns where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns whether originals are encrypted.
    pub fn encrypts(&self) -> bool {
        self.settings.is_some()
    }

    /// Adds a record, and returns when it is on disk.
    pub fn add(&self, record: Record) -> Result<(), StoreError> {
        let line = Entry { at: Timestamp::now().to_string(), record };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.append_durably(&line.to_text())
            .map_err(|source| StoreError::Write { path: self.folder.join(NAME), source })
    }

    /// Saves a node's original beside the journal; returns the file's name when it is on disk.
    pub fn save(&self, node: &str, text: &Secret<String>) -> Result<String, StoreError> {
        let ending = if self.settings.is_some() { "sops.yaml" } else { "yaml" };
        let name = file_name(node, &ConfigDigest::of(text), ending);
        let path = self.folder.join(&name);
        let failed = |source| StoreError::Sops { path: path.clone(), source };
        let text = if let Some(settings) = &self.settings {
            let wrapped = wrap(text);
            if unwrap(&wrapped).as_ref() != Some(text) {
                return Err(StoreError::Changed(path));
            }
            let sealed = sops::encrypt(wrapped.expose(), settings, Timestamp::now(), &mut os_random);
            Secret::new(sealed.map_err(failed)?)
        } else {
            self.keep_out_of_git()?;
            text.clone()
        };
        let written = write_atomically(&path, text.expose().as_bytes());
        written.map_err(|source| StoreError::Write { path, source })?;
        Ok(name)
    }

    /// Reads an original back; `decrypt` opens those that are encrypted.
    pub fn load(
        &self,
        name: &str,
        digest: &ConfigDigest,
        decrypt: &dyn Fn(&str) -> Result<Secret<String>, SopsError>,
    ) -> Result<Secret<String>, StoreError> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).map(Secret::new);
        let mut text = text.map_err(|source| StoreError::Read { path: path.clone(), source })?;
        if name.ends_with(".sops.yaml") {
            let plain =
                decrypt(text.expose()).map_err(|source| StoreError::Sops { path: path.clone(), source })?;
            text = unwrap(&plain).ok_or_else(|| StoreError::Changed(path.clone()))?;
        }
        if ConfigDigest::of(&text) == *digest { Ok(text) } else { Err(StoreError::Changed(path)) }
    }
}

/// Makes one text of a whole config, so that SOPS encrypts its comments, too, and gives back every byte.
fn wrap(text: &Secret<String>) -> Secret<String> {
    Secret::new(format!("{KEY}: {}\n", serde_json::Value::from(text.expose().as_str())))
}

fn unwrap(text: &Secret<String>) -> Option<Secret<String>> {
    let document = crate::yaml::parse_one(text.expose()).ok()?;
    Some(Secret::from(document.root.get(KEY)?.as_str()?))
}

/// Lines that are written whole or not at all; what is left of one becomes a line that readers pass over.
fn log(file: File) -> AppendLog {
    AppendLog::new(file, "\n", false)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::journal::folder::{elsewhere, latest, lock, remember};
    use crate::sops::{Encrypted, Identities, Rule};

    const CONFIG: &str =
        "# s3cr3t-comment\nmachine:\n\ttoken: \"s3cr3t-a\\n\" # ü\n---\nx: |-\n  s3cr3t-b\n\n";

    fn start() -> Record {
        let (id, version) = ("i".to_owned(), "0".to_owned());
        Record::Start { id, version, context: "c".to_owned(), cluster: None, nodes: Vec::new() }
    }

    #[test]
    fn a_cluster_has_one_rollout_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        let held = lock(&folder).unwrap();
        assert!(matches!(lock(&folder), Err(StoreError::Locked(_))));
        drop(held);
        lock(&folder).unwrap();
    }

    #[test]
    fn a_journal_is_resumed_where_it_was_cut_off() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("one");
        let journal = Journal::create(&folder, None).unwrap();
        journal.add(start()).unwrap();
        assert!(matches!(Journal::create(&folder, None), Err(StoreError::Taken(_))));
        drop(journal);
        let path = folder.join(NAME);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"at\":")).unwrap();
        let (journal, history) = Journal::open(&folder, None).unwrap();
        journal.add(Record::Resume { cluster: None }).unwrap();
        assert_eq!(history.id, "i");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        read_history(&folder).unwrap();
        assert_eq!(latest(place.path()), Some(folder));
        assert_eq!(latest(&place.path().join("gone")), None);
    }

    #[test]
    fn journals_that_lie_elsewhere_are_remembered_once() {
        let place = tempfile::tempdir().unwrap();
        let (cluster, other) = (place.path().join("c"), place.path().join("other place"));
        assert!(elsewhere(&cluster).unwrap().is_empty());
        for folder in [&cluster.join("own"), &other, &place.path().join("more"), &other] {
            remember(&cluster, folder).unwrap();
        }
        assert_eq!(elsewhere(&cluster).unwrap(), [other, place.path().join("more")]);
        assert!(matches!(remember(&cluster, Path::new("/a\nb")), Err(StoreError::Write { .. })));
    }

    #[test]
    fn what_is_left_of_a_line_is_passed_over_and_told() {
        let line = |record| Entry { at: "t".to_owned(), record }.to_text();
        let (begin, next) = (line(start()), line(Record::Resume { cluster: None }));
        let half = &next[..next.len() / 2];
        let history = History::parse(&format!("{begin}{half}\n{next}{next}")).unwrap();
        assert_eq!((history.id.as_str(), history.unreadable), ("i", vec![2]));
    }

    #[test]
    fn originals_come_back_byte_by_byte() {
        let place = tempfile::tempdir().unwrap();
        let text = Secret::from(CONFIG);
        let identity = age::x25519::Identity::generate();
        let settings = Settings::new(
            Rule::encrypted_regex("^config$").unwrap(),
            vec![identity.to_public().to_string().parse().unwrap()],
        );
        let mut identities = Identities::default();
        identities.add(age::secrecy::ExposeSecret::expose_secret(&identity.to_string()), "a test");
        let decrypt = |text: &str| Ok(Encrypted::parse(text)?.open(&identities)?.plaintext());
        for (folder, settings) in [("clear", None), ("sealed", Some(settings))] {
            let sealed = settings.is_some();
            let journal = Journal::create(&place.path().join(folder), settings).unwrap();
            let name = journal.save("n1", &text).unwrap();
            let path = journal.folder().join(&name);
            let on_disk = fs::read_to_string(&path).unwrap();
            assert_eq!(on_disk.contains("s3cr3t-"), !sealed, "{on_disk}");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            }
            let digest = ConfigDigest::of(&text);
            assert_eq!(journal.load(&name, &digest, &decrypt).unwrap(), text);
            let other = ConfigDigest::from_text("other");
            assert!(matches!(journal.load(&name, &other, &decrypt), Err(StoreError::Changed(_))));
            assert_eq!(journal.save("n1", &text).unwrap(), name);
        }
    }
}
