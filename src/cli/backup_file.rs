#![expect(clippy::disallowed_methods, reason = "looks at the backup that is there")]

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;

use super::args::Global;
use super::encryption::{self, Holds, Rules, Wishes};
use super::input;
use crate::secret::os_random;
use crate::sops::{
    Encrypted, Identities, MacScope, NoKey, Opened, Recipient, Refusal, Rule, SECRET_RULE, Settings,
    SopsError, encrypt, guard, is_secret, looks_encrypted,
};
use crate::ui::{CliError, exit};
use crate::yaml::emit;

/// The key, and the selection, of a file that holds a config as one value: those of sops' binary files.
const WHOLE: (&str, &str) = ("data", "^data$");

/// What has to happen to a node's file.
#[derive(Debug)]
pub(super) struct Step {
    /// What it is to hold; [`None`] if it holds that.
    pub(super) text: Option<String>,
    /// Whether there is a file.
    pub(super) exists: bool,
    /// Why the config is kept as one value.
    pub(super) whole: Option<String>,
    /// Where no key was found that opens the file, which is therefore encrypted anew.
    pub(super) locked: Option<Vec<String>>,
}

/// Makes encrypted files of machine configs, with the smallest change to what is there.
#[derive(Debug)]
pub(super) struct Sealer<'a> {
    global: &'a Global,
    rules: Rules,
    wishes: Wishes,
    /// What opens files, by whom they are for: a passphrase is asked for once.
    identities: HashMap<Vec<String>, Identities>,
}

/// Returns the name of a node's file: what a file system could take amiss becomes `-`, and nothing is hidden.
pub(super) fn file_name(node: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = node.replace(['[', ']'], "");
    let name: String = name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let hidden = name.strip_prefix('.').map(|rest| format!("-{rest}"));
    format!("{}.yaml", hidden.unwrap_or(name))
}

/// Refuses a path that is a link to elsewhere: what is written there would be another file than the one that is named.
pub(super) fn check_place(dir: &Path, path: &Path) -> Result<(), CliError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let inside = || {
        let (dir, target) = (dir.canonicalize().ok()?, path.canonicalize().ok()?);
        Some(target.parent()? == dir)
    };
    if found.is_symlink() && inside() != Some(true) {
        let message = format!("`{}` is a link that leads out of the directory", path.display());
        return Err(CliError::new(exit::INVALID, message).help("put a file in its place, or remove it"));
    }
    Ok(())
}

impl<'a> Sealer<'a> {
    /// Makes one by the rules at hand and the recipients that are wished for.
    pub(super) fn new(global: &'a Global, rules: Rules, wishes: Wishes) -> Self {
        Self { global, rules, wishes, identities: HashMap::new() }
    }

    /// Returns how a file is to be encrypted; [`None`] for one that exists and of which nothing but itself says so.
    pub(super) fn settings(&self, path: &Path) -> Result<Option<Settings>, CliError> {
        match self.rules.settings_if_any(&self.wishes, path)? {
            Some(settings) => Ok(Some(settings)),
            None if path.exists() => Ok(None),
            None => self.rules.settings(&self.wishes, path).map(Some),
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
            let (text, whole) = sealed(None, config, &settings).map_err(|error| not_kept(error, &name))?;
            return Ok(Step { text, exists: false, whole, locked: None });
        };
        if !looks_encrypted(&text) {
            let message = format!("`{name}` exists and is not encrypted");
            return Err(CliError::new(exit::INVALID, message).help(
                "encrypt it with `talmirror encrypt --in-place`, or move it away; it was left as it is",
            ));
        }
        let file = Encrypted::parse(&text).map_err(failed)?;
        let holds = self.wishes.holds;
        let identities = self.identities_for(&file)?;
        let opened = match (file.open(identities), &settings) {
            (Ok(opened), _) => Ok(opened),
            // Whoever only encrypts has no identity: the file is made anew, and every value in it.
            (Err(SopsError::NoKey(no_key)), Some(_)) => Err(no_key),
            (Err(error), _) => return Err(failed(error)),
        };
        let rekey = settings.is_some();
        let settings = settings.map_or_else(|| own_settings(&file, holds), Ok)?;
        let old = opened.as_ref().ok().map(|opened| Old { file: &file, opened, identities, rekey });
        let (text, whole) = sealed(old, config, &settings).map_err(|error| not_kept(error, &name))?;
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

/// Makes an error of a config that cannot be put into its file; where in the config is no matter of anyone's files.
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

/// Returns how a file is encrypted that nothing but itself tells about.
fn own_settings(file: &Encrypted, holds: Holds) -> Result<Settings, CliError> {
    let recipients: Result<Vec<Recipient>, _> = file.recipients().iter().map(|name| name.parse()).collect();
    let rule = if file.rule().text() == WHOLE.1 { holds.default_rule()? } else { file.rule().clone() };
    // Without its recipients of other kinds nothing is encrypted anew: they would lose it.
    let settings = Settings::new(rule, recipients.unwrap_or_default());
    Ok(Settings { mac_scope: file.mac_scope(), is_secret: Some(is_secret), ..settings })
}

/// A file that is there already.
#[derive(Clone, Copy)]
struct Old<'a> {
    file: &'a Encrypted,
    opened: &'a Opened<'a>,
    identities: &'a Identities,
    /// Whether it is to be for the recipients of the settings, or stays for its own.
    rekey: bool,
}

type Sealed = (Option<String>, Option<String>);

/// Returns a config encrypted, if that is not what the old file holds, and why it is one value, if it is.
fn sealed(old: Option<Old<'_>>, config: &str, settings: &Settings) -> Result<Sealed, SopsError> {
    let result = match attempt(old, config, settings) {
        // The rule's author thought of one document; several need every value under the MAC.
        Err(SopsError::Refused { refusal: Refusal::LooseDocuments, .. }) => {
            attempt(None, config, &Settings { mac_scope: MacScope::All, ..settings.clone() })
        }
        Err(SopsError::Refused { refusal: Refusal::BlockRoot, .. }) => attempt(None, config, settings),
        result => result,
    };
    match result {
        Err(error) if error.is_of_the_form() => {
            let (key, pattern) = WHOLE;
            let rule = Rule::encrypted_regex(pattern)?;
            let settings = Settings { rule, mac_scope: MacScope::All, is_secret: None, ..settings.clone() };
            let text = attempt(old, &emit(&json!({ key: config }), settings.indent), &settings)?;
            Ok((text, Some(error.to_string())))
        }
        result => Ok((result?, None)),
    }
}

fn attempt(old: Option<Old<'_>>, text: &str, settings: &Settings) -> Result<Option<String>, SopsError> {
    let now = jiff::Timestamp::now();
    let same_rule = |old: &Old<'_>| {
        (old.file.rule().key(), old.file.rule().text()) == (settings.rule.key(), settings.rule.text())
    };
    let Some(Old { file, opened, identities, rekey }) = old.filter(same_rule) else {
        return encrypt(text, settings, now, &mut os_random).map(Some);
    };
    let changed = opened.reencrypt(text, now, &mut os_random)?;
    let current = changed.as_deref().unwrap_or(file.text());
    if let Some(is_secret) = settings.is_secret {
        guard(current, is_secret)?;
    }
    if !rekey {
        return Ok(changed);
    }
    let current = Encrypted::parse(current)?;
    let rekeyed = current.open(identities)?.rekey(&settings.recipients, now, &mut os_random)?;
    Ok(rekeyed.map(|rekeyed| rekeyed.text).or(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_directory() {
        for (node, name) in [
            ("n1", "n1.yaml"),
            ("cp-1.example", "cp-1.example.yaml"),
            ("10.0.0.1:50001", "10.0.0.1-50001.yaml"),
            ("fd00::1", "fd00--1.yaml"),
            ("[fd00::1]:6000", "fd00--1-6000.yaml"),
            ("../x", "-.-x.yaml"),
            (".sops", "-sops.yaml"),
            ("..", "-..yaml"),
            ("a/b", "a-b.yaml"),
        ] {
            assert_eq!(file_name(node), name);
        }
    }
}
