//! The inventory as the place of the robot's secret.

use std::path::Path;

use crate::cli::args::Global;
use crate::cli::encryption::{self, EncryptionOptions, Rules};
use crate::cli::input::{directory_of, environment};
use crate::cli::inventory::read_inventory;
use crate::cli::permission::{Use, permission};
use crate::file::{self, Privacy};
use crate::harbor::{Account, CredentialStore};
use crate::inventory::{self, with_credentials};
use crate::secret::{Secret, SecretRef, Sources, Values as _};
use crate::sops::{Settings, looks_encrypted};
use crate::ui::{CliError, Ui, exit};

/// What is written into the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// The user name.
    Name,
    /// The user name and the secret.
    Secret,
}

/// Reads the mirror's credentials from the inventory, and seals new ones into it.
pub(super) struct InventoryCredentials<'a> {
    global: &'a Global,
    mirror: String,
    sources: Sources,
    /// How the file is encrypted, where it is not yet.
    settings: Option<Settings>,
}

impl<'a> InventoryCredentials<'a> {
    /// Opens the inventory; looks up how the inventory is to be encrypted if it is not.
    pub(super) fn new(ui: &mut Ui, global: &'a Global, mirror: &str) -> Result<Self, CliError> {
        let settings = if global.inventory == "-" || looks_encrypted(&read_inventory(global)?) {
            None
        } else {
            Rules::load(ui)?.settings_if_any(&EncryptionOptions::default(), Path::new(&global.inventory))?
        };
        let mut sources = Sources::new(directory_of(&global.inventory));
        sources.set_permission(permission(global, Use::Sends));
        Ok(Self { global, mirror: mirror.to_owned(), sources, settings })
    }

    /// Fails if credentials cannot be written into the inventory: before anything else is done.
    pub(super) fn check(&self, writes: Writes) -> Result<(), CliError> {
        let file = &self.global.inventory;
        if file == "-" {
            return Err(CliError::usage(
                "the robot's secret goes into the inventory, and standard input cannot be written to",
            )
            .help("name the inventory with -f"));
        }
        if writes == Writes::Secret
            && self.settings.is_none()
            && !looks_encrypted(&read_inventory(self.global)?)
        {
            let message = format!("the robot's secret goes into `{file}`, which is not encrypted");
            return Err(CliError::new(exit::INVALID, message).help(
                "write a `.sops.yaml` that says for whom (`talmirror init --age` makes one), or encrypt it: `talmirror \
                 encrypt --in-place --age RECIPIENT`",
            ));
        }
        let (text, _) = encryption::read(file, self.global)?;
        let trial = Secret::from("Trial1Trial1");
        let password = (writes == Writes::Secret).then_some(&trial);
        let user =
            self.credentials(text.expose())?.map_or_else(|| "robot$trial".to_owned(), |(user, _)| user);
        with_credentials(text.expose(), &self.mirror, &user, password)
            .map_err(|error| self.refused(&error))?;
        Ok(())
    }

    fn refused(&self, error: &inventory::RewriteError) -> CliError {
        CliError::new(exit::INVALID, error.to_string())
            .context(format!("cannot write the robot's credentials to `{}`", self.global.inventory))
            .help(error.help())
    }

    /// Returns the user and the secret's source of the mirror's credentials.
    fn credentials(&self, text: &str) -> Result<Option<(String, SecretRef)>, CliError> {
        let file = &self.global.inventory;
        let parsed = inventory::parse(text, file, &environment);
        let inventory = parsed.inventory.ok_or_else(|| CliError::in_file(file, parsed.problems))?;
        let credentials = inventory.mirrors.get(&self.mirror).and_then(|mirror| mirror.credentials.as_ref());
        Ok(credentials
            .and_then(|credentials| Some((credentials.username()?.to_owned(), credentials.secret().clone()))))
    }

    fn read(&mut self) -> Result<Option<Account>, CliError> {
        let (text, _) = encryption::read(&self.global.inventory, self.global)?;
        let Some((user, reference)) = self.credentials(text.expose())? else { return Ok(None) };
        let password = self.secret(&reference)?;
        Ok(Some(Account { user, password }))
    }
}

impl CredentialStore for InventoryCredentials<'_> {
    type Error = CliError;

    fn current(&mut self) -> Result<Option<Account>, CliError> {
        // What stands on standard input was read, and does not change.
        if self.global.inventory == "-" { Ok(None) } else { self.read() }
    }

    fn seal(&mut self, account: &Account) -> Result<(), CliError> {
        let file = &self.global.inventory;
        let known = self.read()?;
        let password =
            known.is_none_or(|known| known.password != account.password).then_some(&account.password);
        let (text, encrypted) = encryption::read(file, self.global)?;
        let changed = with_credentials(text.expose(), &self.mirror, &account.user, password)
            .map_err(|error| self.refused(&error))?;
        if encrypted {
            encryption::update(self.global, Path::new(file), changed.expose())?;
        } else if password.is_none() {
            file::replace(Path::new(file), changed.expose().as_bytes(), Privacy::Private)?;
        } else if let Some(settings) = &self.settings {
            let sealed = encryption::seal(changed.expose(), settings, file)?;
            file::replace(Path::new(file), sealed.as_bytes(), Privacy::Private)?;
        } else {
            self.check(Writes::Secret)?;
        }
        Ok(())
    }

    fn secret(&mut self, reference: &SecretRef) -> Result<Secret<String>, CliError> {
        self.sources.secret(reference).map_err(|error| {
            CliError::from_error(exit::SECRET, error).context("cannot get a password of the inventory")
        })
    }
}
