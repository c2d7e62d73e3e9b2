#![expect(clippy::disallowed_methods, reason = "looks at the backup that is there, and dates the next")]

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;

use super::args::Global;
use super::encryption::{self, EncryptionOptions, Rules};
use super::input;
use crate::backup::{Old, Recipients, Sealed, own_settings, seal};
use crate::file;
use crate::secret::os_random;
use crate::sops::{
    Encrypted, Identities, NoKey, SECRET_RULE, Settings, SopsError, is_secret, looks_encrypted,
};
use crate::ui::{CliError, exit};

/// What has to happen to a node's file.
#[derive(Debug)]
pub(super) struct Step {
    /// What it is to hold; [`None`] if it holds that.
    pub(super) text: Option<String>,
    /// Whether there is a file.
    pub(super) exists: bool,
    /// Why the config is kept as one value.
    pub(super) whole: Option<String>,
    /// Where no key was found that opens the file, which is therefore encrypted again.
    pub(super) locked: Option<Vec<String>>,
}

/// Makes encrypted files of machine configs, with the smallest change to what is there.
#[derive(Debug)]
pub(super) struct Sealer<'a> {
    global: &'a Global,
    rules: Rules,
    options: EncryptionOptions,
    /// What opens files, by whom they are for: a passphrase is asked for once.
    identities: HashMap<Vec<String>, Identities>,
}

/// Refuses a path that is a link to elsewhere: what is written there would be another file than the one that is named.
pub(super) fn check_place(dir: &Path, path: &Path) -> Result<(), CliError> {
    if file::leads_out(dir, path) {
        let message = format!("`{}` is a link that leads out of the directory", path.display());
        return Err(CliError::new(exit::INVALID, message).help("put a file in its place, or remove it"));
    }
    Ok(())
}

impl<'a> Sealer<'a> {
    /// Makes one by the rules at hand and the recipients that are asked for.
    pub(super) fn new(global: &'a Global, rules: Rules, options: EncryptionOptions) -> Self {
        Self { global, rules, options, identities: HashMap::new() }
    }

    /// Returns how a file is to be encrypted; [`None`] for one that exists and of which nothing but itself says so.
    pub(super) fn settings(&self, path: &Path) -> Result<Option<Settings>, CliError> {
        match self.rules.settings_if_any(&self.options, path)? {
            Some(settings) => Ok(Some(settings)),
            None if path.exists() => Ok(None),
            None => self.rules.settings(&self.options, path).map(Some),
        }
    }

    /// Finds out what has to happen to the file at `path` so that it holds a config.
    pub(super) fn step(&mut self, path: &Path, config: &str) -> Result<Step, CliError> {
        let name = path.display().to_string();
        let failed = |error| encryption::failed(error, &name);
        let settings = self.settings(path)?;
        let text = if path.exists() { Some(input::read(&name)?) } else { None };
        let Some(text) = text else {
            let settings =
                settings.ok_or_else(|| CliError::new(exit::INVALID, format!("`{name}` is gone")))?;
            let Sealed { text, as_one_value: whole } =
                seal(None, config, &settings, Timestamp::now(), &mut os_random)
                    .map_err(|error| not_kept(error, &name))?;
            return Ok(Step { text, exists: false, whole, locked: None });
        };
        if !looks_encrypted(&text) {
            let message = format!("`{name}` exists and is not encrypted");
            return Err(CliError::new(exit::INVALID, message).help(
                "encrypt it with `talmirror encrypt --in-place`, or move it away; it was left as it is",
            ));
        }
        let file = Encrypted::parse(&text).map_err(failed)?;
        let holds = self.options.holds;
        let identities = self.identities_for(&file)?;
        let opened = match (file.open(identities), &settings) {
            (Ok(opened), _) => Ok(opened),
            // Who only encrypts has no identity: the file is written again, and every value in it.
            (Err(SopsError::NoKey(no_key)), Some(_)) => Err(no_key),
            (Err(error), _) => return Err(failed(error)),
        };
        let recipients = if settings.is_some() { Recipients::OfSettings } else { Recipients::Kept };
        let settings = match settings {
            Some(settings) => settings,
            None => own_settings(&file, &holds.default_rule()?, is_secret),
        };
        let old = opened.as_ref().ok().map(|opened| Old { file: &file, opened, identities, recipients });
        let Sealed { text, as_one_value: whole } =
            seal(old, config, &settings, Timestamp::now(), &mut os_random)
                .map_err(|error| not_kept(error, &name))?;
        let locked = opened.err().map(|no_key| {
            let NoKey { locations, .. } = *no_key;
            locations
        });
        Ok(Step { text, exists: true, whole, locked })
    }

    fn identities_for(&mut self, file: &Encrypted) -> Result<&Identities, CliError> {
        match self.identities.entry(file.recipients()) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => {
                let identities = encryption::identities(self.global, new.key())?;
                Ok(new.insert(identities))
            }
        }
    }
}

/// Makes an error of a config that cannot be put into its file; where in the config is of no interest.
fn not_kept(error: SopsError, name: &str) -> CliError {
    let context = format!("`{name}` cannot hold the config");
    if let SopsError::ClearSecrets(secrets) = &error {
        let paths: Vec<String> = secrets.iter().map(|secret| secret.path.to_string()).collect();
        let message = format!("its rule would leave {} in clear text", paths.join(", "));
        return CliError::new(exit::INVALID, message)
            .context(context)
            .help(format!("extend the rule: encrypted_regex: {SECRET_RULE}"));
    }
    let help = error.help();
    let error = CliError::from_error(exit::INVALID, error).context(context);
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}
