#![expect(clippy::disallowed_methods, reason = "finds keys and rules, and dates what it encrypts")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Global;
use super::input;
use crate::file::{self, Privacy};
use crate::machineconfig::{holds_registries_only, is_inventory};
use crate::secret::Secret;
use crate::secret::os_random;
use crate::sops::{
    Bound, Config, Encrypted, Identities, IntegrityFault, MacScope, PassphrasePrompt, REGISTRY_RULE,
    Recipient, Rewritten, Rule, RuleError, SECRET_RULE, Settings, SopsError, Surroundings, encrypt, guard,
    is_secret, looks_encrypted,
};
use crate::ui::exit::{self, Exit};
use crate::ui::{self, CliError, Ui};
use crate::yaml::{Indent, Position};

/// Makes an error of one of SOPS', for a file.
pub(super) fn failed(error: SopsError, file: &str) -> CliError {
    let exit = match &error {
        SopsError::Yaml(_) | SopsError::Rule(_) | SopsError::Refused { .. } | SopsError::ClearSecrets(_) => {
            exit::INVALID
        }
        SopsError::NotEncrypted | SopsError::AlreadyEncrypted(_) | SopsError::NothingAt(_) => exit::INVALID,
        _ => exit::SECRET,
    };
    let help = error.help();
    let place = error.position().map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
    let error = CliError::from_error(exit, error).context(format!("cannot use `{file}{place}`"));
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// Makes an error of one of SOPS', for a command that stands in for sops and ends as sops does.
pub(super) fn failed_as_sops(error: SopsError, file: &str) -> CliError {
    let code = error.exit_code();
    let mut error = failed(error, file);
    error.exit = Exit { code, ..error.exit };
    error
}

/// Asks for passphrases on the terminal.
struct Terminal;

impl PassphrasePrompt for Terminal {
    fn passphrase(&self, what: &str) -> Option<Secret<String>> {
        ui::password(&format!("Passphrase for {what}")).ok()
    }

    fn message(&self, text: &str) {
        // Such as that a key waits for a touch.
        ui::aside(text);
    }
}

/// Collects identities from every place that sops looks at, and the file that a flag names.
pub(super) fn identities(global: &Global, recipients: &[String]) -> Result<Identities, CliError> {
    let ask: Option<Arc<dyn PassphrasePrompt>> =
        if global.asking().is_possible() { Some(Arc::new(Terminal)) } else { None };
    let mut identities = Identities::new(ask.clone());
    if let Some(file) = &global.age_key_file {
        let name = file.display().to_string();
        identities.add(Secret::new(input::read(&name)?).expose(), &name);
    }
    identities.add_environment(&Surroundings {
        variable: &input::environment,
        home: std::env::home_dir(),
        recipients,
        ask,
    });
    Ok(identities)
}

/// Refuses `-` for a file that is to be written again.
pub(super) fn refuse_stdin(file: &Path) -> Result<(), CliError> {
    if file == Path::new("-") {
        return Err(CliError::usage("standard input cannot be written to").help(
            "name a file; `talmirror decrypt -` and `talmirror encrypt -` read standard input and print",
        ));
    }
    Ok(())
}

/// Reads a text that may be encrypted, and tells whether it was.
pub(super) fn read(file: &str, global: &Global) -> Result<(Secret<String>, bool), CliError> {
    let text = input::read(file)?;
    if !looks_encrypted(&text) {
        return Ok((Secret::new(text), false));
    }
    let name = input::display_name(file);
    Ok((open(&text, global).map_err(|error| failed(error, name))?, true))
}

/// Decrypts a text and checks its MAC.
pub(super) fn open(text: &str, global: &Global) -> Result<Secret<String>, SopsError> {
    let encrypted = Encrypted::parse(text)?;
    // A key file that cannot be read is told with the others, should no key fit.
    let identities = identities(global, &encrypted.recipients()).unwrap_or_default();
    Ok(encrypted.open(&identities)?.plaintext())
}

/// A text that a key opened although it may have been changed after it was sealed.
pub(super) struct Changed {
    pub(super) text: Secret<String>,
    /// What does not fit.
    pub(super) fault: Option<IntegrityFault>,
    /// Where sealed comments stand that do not open.
    pub(super) comments: Vec<Position>,
}

/// Decrypts a text for a use that sends and writes no secret, even where it was changed after it was sealed.
pub(super) fn open_changed(text: &str, global: &Global) -> Result<Changed, SopsError> {
    let encrypted = Encrypted::parse(text)?;
    let identities = identities(global, &encrypted.recipients()).unwrap_or_default();
    let opened = encrypted.open_changed(&identities)?;
    let (fault, comments) = (opened.fault().cloned(), opened.damaged_comments());
    Ok(Changed { text: opened.plaintext(), fault, comments })
}

/// Says which sealed comments do not open, as sops does.
pub(super) fn warn_of_comments(ui: &mut Ui, comments: &[Position], name: &str) {
    if let Some(first) = comments.first() {
        let more =
            if comments.len() > 1 { format!(", and {} more", comments.len() - 1) } else { String::new() };
        ui.warn(
            &format!(
                "{name}:{}: the comment was changed after it was encrypted, and stays as it is{more}",
                first.line
            ),
            Some("restore it from your history; a MAC covers no comments"),
        );
    }
}

/// Names the values that sops would store in another form than their text.
pub(super) fn warn_of_rewritten(ui: &mut Ui, values: &[Rewritten], name: &str) {
    let shown: Vec<String> =
        values.iter().take(5).map(|value| format!("{} (line {})", value.path, value.position.line)).collect();
    if !shown.is_empty() {
        let more = values.len() - shown.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        ui.warn(
            &format!(
                "{name}: sops stores {}{more} in another form, such as 0123 as 83 and 1.10 as 1.1",
                shown.join(", ")
            ),
            Some("put it in quotes where the text matters"),
        );
    }
}

/// Applies `change` to an opened file and writes what it gives; returns whether that was another text.
pub(super) fn change(
    global: &Global,
    path: &Path,
    change: impl FnOnce(&crate::sops::Opened<'_>, jiff::Timestamp) -> Result<Option<String>, SopsError>,
) -> Result<bool, CliError> {
    let name = path.display().to_string();
    let text = input::read(&name)?;
    let encrypted = Encrypted::parse(&text).map_err(|error| failed_as_sops(error, &name))?;
    let identities = identities(global, &encrypted.recipients())?;
    let opened = encrypted.open(&identities).map_err(|error| failed_as_sops(error, &name))?;
    match change(&opened, jiff::Timestamp::now()).map_err(|error| failed_as_sops(error, &name))? {
        Some(text) => Ok(file::replace(path, text.as_bytes(), Privacy::Private).map(|()| true)?),
        None => Ok(false),
    }
}

/// Puts a new plaintext into an encrypted file; returns whether that changed it.
pub(super) fn update(global: &Global, path: &Path, plaintext: &str) -> Result<bool, CliError> {
    change(global, path, |opened, now| guarded(opened.reencrypt(plaintext, now, &mut os_random)?))
}

/// Passes on a text that leaves no secret in clear: the rule of a file may be older than what is put into it.
pub(super) fn guarded(text: Option<String>) -> Result<Option<String>, SopsError> {
    text.map(|text| guard(&text, is_secret).map(|()| text)).transpose()
}

/// Encrypts a text.
pub(super) fn seal(plaintext: &str, settings: &Settings, name: &str) -> Result<String, CliError> {
    encrypt(plaintext, settings, jiff::Timestamp::now(), &mut os_random).map_err(|error| failed(error, name))
}

/// Encrypts a text for recipients, by the rule that talmirror's own files have.
pub(super) fn encrypt_for(recipients: &[String], plaintext: &str) -> Result<String, CliError> {
    let settings = Settings::new(Holds::Registries.default_rule()?, parse_recipients(recipients)?);
    let settings = Settings { is_secret: Some(is_secret), structure: nature_of(plaintext).1, ..settings };
    seal(plaintext, &settings, "the inventory")
}

fn parse_rule(rule: Result<Rule, RuleError>) -> Result<Rule, CliError> {
    rule.map_err(|error| failed(SopsError::Rule(error), "the rule"))
}

/// Reads recipients that a flag names.
pub(super) fn parse_recipients(recipients: &[String]) -> Result<Vec<Recipient>, CliError> {
    let recipients = recipients.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    let recipients: Result<Vec<Recipient>, _> = recipients.map(str::parse).collect();
    recipients.map_err(|error| failed(SopsError::Recipient(error), "--age"))
}

/// Finds the `.sops.yaml` as sops does: what `SOPS_CONFIG` names, or the nearest one from the working directory upwards.
pub(super) fn config() -> Result<Option<Config>, CliError> {
    if let Some(path) = input::environment("SOPS_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(Some(Config::load(Path::new(&path))?));
    }
    let here = std::env::current_dir().map_err(|error| {
        CliError::from_error(exit::INVALID, error).context("cannot tell the working directory")
    })?;
    Ok(Config::find(&here)?)
}

/// How flags want a file encrypted; they override what `.sops.yaml` says.
#[derive(Clone, Debug, Default)]
pub(super) struct EncryptionOptions {
    /// Recipients; with any, those of the configuration do not count.
    pub(super) age: Vec<String>,
    /// The selection; with one, that of the configuration does not count.
    pub(super) rule: Option<Rule>,
    pub(super) mac_only_encrypted: bool,
    /// Recipients where nothing else names any.
    pub(super) age_at_last: Vec<String>,
    /// What the file holds.
    pub(super) holds: Holds,
}

/// What a file holds, and so which secrets there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// An inventory, or registries for Talos.
    #[default]
    Registries,
    /// A whole machine config.
    MachineConfig,
    /// Anything else: every value is sealed, as sops does.
    Anything,
}

impl Holds {
    /// Returns the selection where nothing says one.
    pub(super) fn default_rule(self) -> Result<Rule, CliError> {
        match self {
            Self::Registries => parse_rule(Rule::encrypted_regex(REGISTRY_RULE)),
            Self::MachineConfig => parse_rule(Rule::encrypted_regex(SECRET_RULE)),
            Self::Anything => Ok(Rule::default()),
        }
    }
}

/// Returns what a plaintext holds, and whether its secrets are bound to what stands around them: those of an inventory.
pub(super) fn nature_of(plaintext: &str) -> (Holds, Bound) {
    let Ok(stream) = crate::yaml::parse(plaintext) else { return (Holds::Anything, Bound::No) };
    let holds = if holds_registries_only(&stream) { Holds::Registries } else { Holds::Anything };
    (
        holds,
        if matches!(stream.documents.as_slice(), [one] if is_inventory(&one.root)) {
            Bound::Yes
        } else {
            Bound::No
        },
    )
}

/// What `.sops.yaml` and the environment say about files.
#[derive(Debug)]
pub(super) struct Rules {
    config: Option<Config>,
    recipients: Vec<String>,
}

impl Rules {
    /// Finds them, and tells what sops would ignore.
    pub(super) fn load(ui: &mut Ui) -> Result<Self, CliError> {
        let config = config()?;
        for warning in config.iter().flat_map(|config| &config.warnings) {
            ui.warn(&format!(".sops.yaml:{}: {}", warning.line, warning.message), None);
        }
        let recipients = input::environment("SOPS_AGE_RECIPIENTS").unwrap_or_default();
        Ok(Self { config, recipients: recipients.split(',').map(str::to_owned).collect() })
    }

    /// Returns how a file is to be encrypted; fails where nothing says for whom.
    pub(super) fn settings(&self, options: &EncryptionOptions, file: &Path) -> Result<Settings, CliError> {
        if let Some(settings) = self.settings_if_any(options, file)? {
            return Ok(settings);
        }
        let text = file.display().to_string();
        let name = input::display_name(&text);
        Err(match self.config.as_ref().map(|config| config.creation_rule(&absolute(file))) {
            Some(Err(error)) => error.into(),
            Some(Ok(_)) | None => {
                CliError::usage(format!("nothing says for whom `{name}` is encrypted")).help(
                    format!("name a recipient with --age, or write a `.sops.yaml`, for example:\ncreation_rules:\n    - encrypted_regex: {REGISTRY_RULE}\n      age: age1…"),
                )
            }
        })
    }

    /// Returns how a file is to be encrypted; [`None`] where nothing says for whom.
    pub(super) fn settings_if_any(
        &self,
        options: &EncryptionOptions,
        file: &Path,
    ) -> Result<Option<Settings>, CliError> {
        let indent = self.config.as_ref().map_or_else(Indent::default, |config| config.indent);
        let named = if options.age.is_empty() { &self.recipients } else { &options.age };
        let recipients = parse_recipients(named)?;
        let found = self.config.as_ref().and_then(|config| config.creation_rule(&absolute(file)).ok());
        let mut settings = match (found, recipients.is_empty()) {
            (Some(rule), true) => rule.settings(indent).map_err(|error| failed(error, ".sops.yaml"))?,
            (Some(rule), false) => {
                let selection = rule.rule.clone().map_or_else(|| options.holds.default_rule(), Ok)?;
                Settings { mac_scope: rule.mac_scope, indent, ..Settings::new(selection, recipients) }
            }
            (None, true) if options.age_at_last.is_empty() => return Ok(None),
            (None, none) => {
                let recipients = if none { parse_recipients(&options.age_at_last)? } else { recipients };
                Settings { indent, ..Settings::new(options.holds.default_rule()?, recipients) }
            }
        };
        if let Some(rule) = &options.rule {
            settings.rule = rule.clone();
        }
        if options.mac_only_encrypted {
            settings.mac_scope = MacScope::Encrypted;
        }
        settings.is_secret = Some(is_secret);
        Ok(Some(settings))
    }
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file))
}

/// Returns how a file is to be encrypted, and tells what its rule does that may not be meant.
pub(super) fn settings(ui: &mut Ui, options: &EncryptionOptions, file: &Path) -> Result<Settings, CliError> {
    let settings = Rules::load(ui)?.settings(options, file)?;
    if settings.rule.selects_keys(["credentials", "passwordFrom", "env"])
        && !settings.rule.selects_keys(["registries"])
    {
        ui.warn(
            &format!(
                "the rule `{}` also encrypts references such as passwordFrom [W219]",
                settings.rule.text()
            ),
            Some(&format!("anchor it: {REGISTRY_RULE}")),
        );
    }
    Ok(settings)
}

/// Returns for whom the inventory is encrypted, or is to be by the rules: age recipients only.
pub(super) fn inventory_recipients(global: &Global, rules: &Rules) -> Vec<String> {
    let own = || {
        let encrypted = Encrypted::parse(&input::read(&global.inventory).ok()?).ok()?;
        let age = encrypted.recipients().into_iter();
        let age: Vec<String> = age.filter(|name| name.parse::<Recipient>().is_ok()).collect();
        (!age.is_empty()).then_some(age)
    };
    let ruled = || {
        let settings =
            rules.settings_if_any(&EncryptionOptions::default(), Path::new(&global.inventory)).ok()??;
        Some(settings.recipients.iter().map(ToString::to_string).collect())
    };
    if global.inventory == "-" { None } else { own().or_else(ruled) }.unwrap_or_default()
}

/// Returns the step of indentation that `.sops.yaml` asks for, so that sops does not lay a file out again.
pub(super) fn indent() -> Result<Indent, CliError> {
    Ok(config()?.map_or_else(Indent::default, |config| config.indent))
}
