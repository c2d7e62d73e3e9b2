#![expect(clippy::disallowed_methods, reason = "starts the editor on a private temporary file")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::Global;
use crate::cli::encryption;
use crate::cli::input::{self, environment};
use crate::file::{self, Privacy};
use crate::finding::Severity;
use crate::inventory;
use crate::machineconfig::is_inventory;
use crate::secret::{Secret, os_random};
use crate::sops::{Encrypted, Opened};
use crate::ui::exit::{self, Exit};
use crate::ui::{CliError, Ui, confirm};
use crate::yaml::parse;

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Opens the plaintext in $VISUAL or $EDITOR, in a private temporary file that goes away when the command ends, killed or not. It stays only \
where every process is ended at once: by a power cut, or with the container or the login session. Then remove talmirror-edit-* in \
$XDG_RUNTIME_DIR or $TMPDIR. What is saved is checked before it is encrypted; where it does not hold, the findings are shown and the editor \
opens again. Values that did not change keep their ciphertext.

Examples:
  talmirror edit
  EDITOR='code --wait' talmirror edit talos/mirrors.yaml"
)]
pub(crate) struct EditArgs {
    /// The encrypted file; without it, the inventory
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(ui: &mut Ui, global: &Global, args: EditArgs) -> Result<Exit, CliError> {
    let path = args.file.unwrap_or_else(|| PathBuf::from(&global.inventory));
    encryption::refuse_stdin(&path)?;
    let name = path.display().to_string();
    let failed = |error| encryption::failed(error, &name);
    let text = input::read(&name)?;
    let encrypted = Encrypted::parse(&text).map_err(failed)?;
    let identities = encryption::identities(global, &encrypted.recipients())?;
    let opened = encrypted.open(&identities).map_err(failed)?;
    encryption::warn_of_comments(ui, &opened.damaged_comments(), &name);
    let plaintext = opened.plaintext();
    let place = Temporary::new(&path, &plaintext)?;
    loop {
        let attempt = place.edit().and_then(|()| {
            let edited = place.read()?;
            if edited == plaintext { Ok("unchanged") } else { write(ui, &opened, &edited, &path, &text) }
        });
        let problem = match attempt {
            Ok(what) => {
                ui.note(&format!("{name}: {what}"));
                return Ok(exit::OK);
            }
            Err(error) => error,
        };
        // Nothing was edited, so nothing can be lost.
        if place.read().is_ok_and(|edited| edited == plaintext) {
            return Err(problem);
        }
        let untouched = format!("`{name}` stays as it is, and what was edited is not kept");
        if !global.asking().is_possible() {
            return Err(problem.context(untouched));
        }
        ui.error(&problem);
        confirm(global.asking(), "Open the editor again?", &untouched, "")?;
    }
}

/// Checks what was edited, encrypts it and writes it, unless the file is another by now; returns what became of the file.
fn write(
    ui: &mut Ui,
    opened: &Opened<'_>,
    edited: &Secret<String>,
    path: &Path,
    text: &str,
) -> Result<&'static str, CliError> {
    let name = path.display().to_string();
    let Some(sealed) = sealed(ui, opened, edited, &name)? else { return Ok("unchanged") };
    if input::read(&name)? != text {
        return Err(CliError::new(exit::WRITE, format!("`{name}` was changed by another process meanwhile"))
            .help("nothing was written; copy your work out of the editor, and edit the file again"));
    }
    file::replace(path, sealed.as_bytes(), Privacy::Private)?;
    Ok("updated")
}

/// Checks a plaintext and encrypts it; [`None`] where it holds what the file holds already.
fn sealed(
    ui: &mut Ui,
    opened: &Opened<'_>,
    edited: &Secret<String>,
    name: &str,
) -> Result<Option<String>, CliError> {
    let stream = parse(edited.expose()).map_err(|error| {
        CliError::from_error(exit::INVALID, error).context("what was saved is not valid YAML")
    })?;
    if stream.documents.first().is_some_and(|document| is_inventory(&document.root)) {
        let parsed = inventory::parse(edited.expose(), name, &environment);
        for problem in parsed.problems.iter().filter(|problem| problem.code.severity() >= Severity::Warning) {
            ui.problem(problem);
        }
        if parsed.inventory.is_none() {
            return Err(CliError::new(exit::INVALID, "what was saved is not a valid inventory"));
        }
    }
    let failed = |error| encryption::failed(error, name);
    let sealed = opened.reencrypt(edited.expose(), jiff::Timestamp::now(), &mut os_random).map_err(failed)?;
    let sealed = encryption::guarded(sealed).map_err(failed)?;
    if sealed.is_some() {
        encryption::warn_of_rewritten(ui, &opened.rewritten(edited.expose()).map_err(failed)?, name);
    }
    Ok(sealed)
}

/// A plaintext in a folder of its own, which goes away with this process, however it ends.
struct Temporary {
    file: PathBuf,
    folder: tempfile::TempDir,
    /// Removes the folder when its standard input closes: when this process is gone, killed even.
    guard: Child,
}

impl Temporary {
    fn new(path: &Path, plaintext: &Secret<String>) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| {
            CliError::from_error(exit::WRITE, error).context("cannot make a private folder for the plaintext")
        };
        // Memory where there is some; the folder is its owner's alone.
        let base = environment("XDG_RUNTIME_DIR")
            .filter(|dir| !dir.is_empty())
            .map_or_else(std::env::temp_dir, PathBuf::from);
        let base = if base.is_dir() { base } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new()
            .prefix("talmirror-edit-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map_err(failed)?;
        // In a process group of its own: what ends the whole group of this command leaves it.
        let guard = Command::new("sh")
            .process_group(0)
            .args(["-c", "trap '' HUP INT QUIT TERM; cat >/dev/null; rm -rf -- \"$1\"", "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let name = path.file_name().map_or_else(|| "inventory.yaml".into(), std::ffi::OsStr::to_owned);
        let file = folder.path().join(name);
        file::create(&file, plaintext.expose().as_bytes())?;
        Ok(Self { file, folder, guard })
    }

    /// Lets the editor have the file, and waits for it. Ctrl-C is the editor's meanwhile.
    fn edit(&self) -> Result<(), CliError> {
        let variables = ["SOPS_EDITOR", "VISUAL", "EDITOR"];
        let editor =
            variables.into_iter().find_map(|name| environment(name).filter(|text| !text.trim().is_empty()));
        let editor = editor.unwrap_or_else(|| "vi".to_owned());
        let words = shell_words::split(&editor).map_err(|error| {
            CliError::from_error(exit::USAGE, error).context(format!("cannot read `{editor}`"))
        })?;
        let Some((program, arguments)) = words.split_first() else {
            return Err(CliError::usage("the editor's name is empty").help("set EDITOR"));
        };
        // It runs in the private folder, where its own temporary files go away, too: its path is one from here.
        let start = if program.contains('/') { std::path::absolute(program)? } else { program.into() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let status = runtime.block_on(async {
            let _interrupt = signal(SignalKind::interrupt());
            Command::new(&start).args(arguments).arg(&self.file).current_dir(self.folder.path()).status()
        });
        let status = status.map_err(|error| {
            CliError::from_error(exit::USAGE, error)
                .context(format!("cannot start `{program}`"))
                .help("set EDITOR")
        })?;
        if status.success() {
            return Ok(());
        }
        Err(CliError::new(exit::STOPPED, format!("`{program}` ended with {status}; nothing was changed")))
    }

    fn read(&self) -> Result<Secret<String>, CliError> {
        input::read(&self.file.display().to_string()).map(Secret::new)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
