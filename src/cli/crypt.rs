use std::path::Path;

use super::args::Global;
use super::error::CliError;
use super::exit::{self, Exit};
use super::files;
use super::load;
use crate::secret::Secret;
use crate::sops::{Encrypted, Identities, MacScope, Recipient, Rule, Settings, SopsError, encrypt, is_registry_secret, looks_encrypted, os_random};

/// The selection that covers every secret talmirror writes, and no reference to one.
pub(super) const DEFAULT_RULE: &str = "^(password|identityToken|key)$";

/// Makes an error of one of SOPS', for a file; commands that stand in for sops end as sops does.
pub(super) fn failed(error: SopsError, file: &str) -> CliError {
    let exit = match &error {
        SopsError::Yaml(_) | SopsError::Rule(_) | SopsError::Refused { .. } => exit::INVALID,
        _ => exit::SECRET,
    };
    let help = error.help();
    let place = error.position().map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
    let error = CliError::from_error(exit, error).context(format!("`{file}{place}`"));
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// Returns the exit code that sops itself would give.
pub(super) fn as_sops(mut error: CliError, code: u8) -> CliError {
    error.exit = Exit { code, ..error.exit };
    error
}

/// Collects identities from every place that sops looks at.
pub(super) fn identities(global: &Global) -> Result<Identities, CliError> {
    let _ = global;
    Ok(Identities::new(None))
}

/// Reads a text that may be encrypted, and tells whether it was.
pub(super) fn read(file: &str, global: &Global) -> Result<(Secret<String>, bool), CliError> {
    let text = load::read(file)?;
    if !looks_encrypted(&text) {
        return Ok((Secret::new(text), false));
    }
    Ok((open(&text, load::display_name(file), global)?, true))
}

/// Decrypts a text and checks its MAC.
pub(super) fn open(text: &str, name: &str, global: &Global) -> Result<Secret<String>, CliError> {
    let encrypted = Encrypted::parse(text).map_err(|error| failed(error, name))?;
    let opened = encrypted.open(&identities(global)?).map_err(|error| failed(error, name))?;
    Ok(opened.plaintext())
}

/// Puts a new plaintext into an encrypted file; returns whether that changed it.
pub(super) fn update(global: &Global, path: &Path, plaintext: &str) -> Result<bool, CliError> {
    let name = path.display().to_string();
    let text = load::read(&name)?;
    let encrypted = Encrypted::parse(&text).map_err(|error| failed(error, &name))?;
    let opened = encrypted.open(&identities(global)?).map_err(|error| failed(error, &name))?;
    let now = jiff::Timestamp::now();
    match opened.reencrypt(plaintext, now, &mut os_random).map_err(|error| failed(error, &name))? {
        Some(text) => files::replace(path, text.as_bytes()).map(|()| true),
        None => Ok(false),
    }
}

/// Encrypts a text for recipients, by the rule that talmirror's own files have.
pub(super) fn encrypt_for(recipients: &[String], plaintext: &str) -> Result<String, CliError> {
    let recipients: Result<Vec<Recipient>, _> = recipients.iter().map(|text| text.parse()).collect();
    let recipients = recipients.map_err(|error| failed(SopsError::Recipient(error), "--age"))?;
    let rule = Rule::encrypted_regex(DEFAULT_RULE).map_err(|error| failed(SopsError::Rule(error), "the rule"))?;
    let settings = Settings { is_secret: Some(is_registry_secret), mac_scope: MacScope::All, ..Settings::new(rule, recipients) };
    encrypt(plaintext, &settings, jiff::Timestamp::now(), &mut os_random).map_err(|error| failed(error, "the output"))
}
