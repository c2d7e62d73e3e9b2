#![expect(clippy::disallowed_methods, reason = "looks at what is in the output directory")]

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::Global;
use super::encryption::{self, EncryptionOptions};
use super::input::read;
use super::inventory::LoadedInventory;
use super::permission::is_same_but_not_run;
use super::sealer::check_place;
use crate::file::{self, Privacy};
use crate::secret::Secret;
use crate::secret::os_random;
use crate::sops::{Encrypted, NoKey, Settings, SopsError, looks_encrypted};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui};

/// How the secrets in the output are kept.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Encryption {
    /// Encrypt secrets, by the rules of `.sops.yaml` or for --age
    #[arg(long, env = "TALMIRROR_ENCRYPT", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Secrets")]
    encrypt: bool,
    /// An age recipient, which implies --encrypt; with one, those of `.sops.yaml` do not count
    #[arg(
        long,
        env = "TALMIRROR_AGE",
        value_name = "RECIPIENT",
        value_delimiter = ',',
        help_heading = "Secrets"
    )]
    age: Vec<String>,
    /// Write secrets in clear, even inside a git work tree
    #[arg(long, env = "TALMIRROR_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new(), conflicts_with_all = ["encrypt", "age"], help_heading = "Secrets")]
    allow_plaintext: bool,
}

impl Encryption {
    /// Returns whether secrets are to be encrypted, by the flags or by the inventory's `output.encrypt`.
    pub(super) fn wanted(&self, loaded: &LoadedInventory) -> bool {
        self.encrypt
            || !self.age.is_empty()
            || (!self.allow_plaintext && loaded.inventory.output.encrypt == Some(true))
    }

    /// Encrypts a text as if it were to lie at `path`.
    pub(super) fn encrypt(&self, ui: &mut Ui, path: &Path, text: &str) -> Result<String, CliError> {
        let settings = self.settings(ui, path)?;
        encryption::seal(text, &settings, &path.display().to_string())
    }

    fn settings(&self, ui: &mut Ui, path: &Path) -> Result<Settings, CliError> {
        let options = EncryptionOptions { age: self.age.clone(), ..EncryptionOptions::default() };
        encryption::settings(ui, &options, path)
    }
}

/// What a file's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// It holds no secret.
    Open,
    /// It holds secrets, encrypted.
    Encrypted,
    /// It holds secrets in clear.
    Clear,
}

/// A file that is to be written.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) path: PathBuf,
    pub(super) seal: Seal,
    /// Its text before encryption.
    pub(super) text: Secret<String>,
}

/// What is done with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Write,
    /// Nothing is written; a difference is a finding.
    Check,
    /// Nothing is written; what would be is told.
    DryRun,
}

/// How much of the directory the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All that the inventory gives.
    Whole,
    /// Those of some nodes; the others' are not looked at.
    Part,
}

/// What has to happen to a file.
enum Step {
    Nothing,
    Put { text: String, what: &'static str },
}

/// Brings files to what the inventory gives; those that are it already are not touched.
pub(super) fn write(
    ui: &mut Ui,
    global: &Global,
    dir: &Path,
    artifacts: &[Artifact],
    encryption: &Encryption,
    (mode, extent): (Mode, Extent),
) -> Result<Exit, CliError> {
    if mode == Mode::Write && !encryption.allow_plaintext {
        refuse_plaintext(artifacts)?;
    }
    artifacts.iter().try_for_each(|artifact| check_place(dir, &artifact.path))?;
    // Every file is made before the first is written: an error leaves them all as they were.
    let mut steps = Vec::new();
    for artifact in artifacts {
        steps.push((artifact, step(ui, global, artifact, encryption, mode)?));
    }
    let mut changed = 0;
    for (artifact, step) in steps {
        let name = artifact.path.display();
        match (step, mode) {
            (Step::Nothing, _) => ui.note(&format!("unchanged  {name}")),
            (Step::Put { what, .. }, Mode::Check | Mode::DryRun) => {
                changed += 1;
                ui.result(&format!("{what}  {name}\n"))?;
            }
            (Step::Put { text, .. }, Mode::Write) => {
                changed += 1;
                let privacy = if artifact.seal == Seal::Clear { Privacy::Private } else { Privacy::Open };
                file::replace(&artifact.path, text.as_bytes(), privacy)?;
                ui.note(&format!("wrote      {name}"));
            }
        }
    }
    for stale in stale(dir, artifacts, extent) {
        let name = stale.display();
        match mode {
            Mode::Check => {
                changed += 1;
                ui.result(&format!("stale      {name}\n"))?;
            }
            Mode::Write | Mode::DryRun if is_clear(&stale) => ui.warn(
                &format!("`{name}` is of an earlier run and holds secrets in clear"),
                Some("remove it"),
            ),
            Mode::Write | Mode::DryRun => ui.warn(
                &format!("`{name}` is of an earlier run and not what the inventory gives"),
                Some("remove it, and what it set on the nodes: `talmirror generate --against` tells what that is"),
            ),
        }
    }
    if mode == Mode::Check && changed > 0 {
        ui.note("run the same command without --check to write them");
        return Ok(exit::FOUND);
    }
    Ok(exit::OK)
}

/// Returns files of our own names in the output directory and those below it that this run does not write.
fn stale(dir: &Path, artifacts: &[Artifact], extent: Extent) -> Vec<PathBuf> {
    let below = std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_written = |dir: &PathBuf| artifacts.iter().any(|artifact| artifact.path.parent() == Some(dir));
    let dirs = std::iter::once(dir.to_owned()).chain(below.filter(|path| path.is_dir()));
    let dirs = dirs.filter(|dir| extent == Extent::Whole || is_written(dir));
    let names = ["mirrors", "secrets"].into_iter().flat_map(|stem| {
        ["", "-1-create", "-2-set"].into_iter().flat_map(move |step| {
            ["yaml", "json", "sops.yaml"].into_iter().map(move |ending| format!("{stem}{step}.{ending}"))
        })
    });
    let names: Vec<String> = names.collect();
    let mut stale: Vec<PathBuf> = dirs.flat_map(|dir| names.iter().map(move |name| dir.join(name))).collect();
    stale.retain(|path| path.is_file() && !artifacts.iter().any(|artifact| artifact.path == *path));
    stale.sort();
    stale
}

/// Returns whether a file of ours is one of secrets that are not encrypted.
fn is_clear(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("secrets") && !name.ends_with(".sops.yaml")
}

fn refuse_plaintext(artifacts: &[Artifact]) -> Result<(), CliError> {
    let clear = artifacts.iter().filter(|artifact| artifact.seal == Seal::Clear);
    for artifact in clear {
        if let Some(tree) = file::git_work_tree(&artifact.path) {
            let message = format!(
                "`{}` would hold plaintext secrets in the work tree `{}` [E119]",
                artifact.path.display(),
                tree.display()
            );
            return Err(CliError::new(exit::INVALID, message)
                .help("encrypt them with --encrypt, or say --allow-plaintext; nothing was written"));
        }
    }
    Ok(())
}

fn step(
    ui: &mut Ui,
    global: &Global,
    artifact: &Artifact,
    encryption: &Encryption,
    mode: Mode,
) -> Result<Step, CliError> {
    let exists = artifact.path.exists();
    let what = if exists { "differs  " } else { "missing  " };
    let old = if exists { Some(read(&artifact.path.display().to_string())?) } else { None };
    let text = artifact.text.expose();
    if artifact.seal != Seal::Encrypted {
        let same = old.as_deref().is_some_and(|old| old == text || is_same_but_not_run(text, old));
        return Ok(if same { Step::Nothing } else { Step::Put { text: text.clone(), what } });
    }
    let name = artifact.path.display().to_string();
    let settings = encryption.settings(ui, &artifact.path)?;
    if let Some(old) = old.filter(|old| looks_encrypted(old)) {
        match resealed(global, &old, text, &settings) {
            Ok(None) => return Ok(Step::Nothing),
            Ok(Some(text)) => return Ok(Step::Put { text, what }),
            // A user who only encrypts has no identity: the file is made again, and every value in it.
            Err(SopsError::NoKey(no_key)) if mode != Mode::Check => {
                let NoKey { locations, .. } = *no_key;
                ui.warn(
                    &format!("`{name}` cannot be opened, so all of it is encrypted again"),
                    Some(&format!(
                        "with an identity only what changed would change; looked in {}",
                        locations.join(", ")
                    )),
                );
            }
            Err(error) => return Err(encryption::failed(error, &name)),
        }
    }
    Ok(Step::Put { text: encryption::seal(text, &settings, &name)?, what })
}

/// Returns the encrypted text that holds `text` for the recipients of `settings`; `None` where `old` is that already.
fn resealed(
    global: &Global,
    old: &str,
    text: &str,
    settings: &Settings,
) -> Result<Option<String>, SopsError> {
    let now = jiff::Timestamp::now();
    let encrypted = Encrypted::parse(old)?;
    let identities = encryption::identities(global, &encrypted.recipients()).unwrap_or_default();
    let opened = encrypted.open(&identities)?;
    let plain = opened.plaintext();
    let text = if is_same_but_not_run(text, plain.expose()) { plain.expose() } else { text };
    if encrypted.rule().text() != settings.rule.text() || encrypted.rule().key() != settings.rule.key() {
        return crate::sops::encrypt(text, settings, now, &mut os_random).map(Some);
    }
    let changed = encryption::guarded(opened.reencrypt(text, now, &mut os_random)?)?;
    let current = changed.as_deref().unwrap_or(old);
    let encrypted = Encrypted::parse(current)?;
    let rekeyed = encrypted.open(&identities)?.rekey(&settings.recipients, now, &mut os_random)?;
    Ok(rekeyed.map(|rekeyed| rekeyed.text).or(changed))
}
