//! Whether the commands that an inventory names may be started: asked once for each, and remembered.

#![expect(clippy::disallowed_methods, reason = "asks on the terminal, and remembers the answers")]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::args::Global;
use super::input::{directory_of, state_folder};
use crate::file::{make_private_dir, write_atomically};
use crate::secret::{NOT_RUN, Permission, Permit, without_userinfo};
use crate::ui::{agree, quoted};

/// What is done with the secrets of an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// They are sent or written: their commands are needed.
    Sends,
    /// They are compared or hidden: no command of a file is started for that.
    Looks,
}

/// Decides about the commands of an inventory.
pub(super) fn permission(global: &Global, purpose: Use) -> Permission {
    let (global, file) = (global.clone(), global.inventory.clone());
    let allowed = global.run_commands;
    Box::new(move |argv| match purpose {
        _ if allowed => Permit::Run,
        Use::Looks => Permit::StandIn,
        Use::Sends => asked(&global, &file, argv),
    })
}

/// Runs what was agreed to before; asks about anything else, where there is a terminal.
fn asked(global: &Global, file: &str, argv: &[String]) -> Permit {
    let (input, story) = (std::io::stdin().is_terminal(), std::io::stderr().is_terminal());
    if !input && !story {
        return Permit::Run; // as CI does: who writes to the repository of the job writes its commands, too
    }
    let note = note_of(file, argv);
    if note.as_ref().is_some_and(|note| note.is_file()) {
        return Permit::Run;
    }
    let refused = |reason: &str| Permit::Refused {
        reason: reason.to_owned(),
        help: "look at the command in the inventory; --run-commands starts it without a question".to_owned(),
    };
    if !global.asking().is_possible() {
        let why = if global.no_input {
            "nothing may be asked (--no-input)"
        } else {
            "there is no terminal to ask on"
        };
        return refused(&format!("it was not agreed to before, and {why}"));
    }
    let words = argv.iter().map(|word| quoted(&without_password(word)).replace('\n', "\\n"));
    let words = words.collect::<Vec<_>>().join(" ");
    match agree(&format!("`{file}` takes a secret from a command: {words}\nStart it, now and later?")) {
        Ok(true) => {
            // Where it cannot be written down, it is asked about again.
            let _ = note.map(|note| remember(&note, file));
            Permit::Run
        }
        Ok(false) => refused("it was not agreed to"),
        Err(error) => refused(&error.render()),
    }
}

/// Takes user and password out of a word that is a URL. Any other word is shown whole: what is left out of a question is not
/// agreed to.
fn without_password(word: &str) -> String {
    let user = word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.0)));
    let harmless = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%:+".contains(c));
    if user.is_some_and(|(scheme, user)| harmless(scheme) && harmless(user)) {
        return without_userinfo(word);
    }
    word.to_owned()
}

/// Returns the file that says that a command of an inventory was agreed to; none for standard input.
///
/// It is another one when the command is started elsewhere, and when a program or script beside the inventory has changed:
/// who writes to the repository changes that as easily as the words.
fn note_of(file: &str, argv: &[String]) -> Option<PathBuf> {
    if file == "-" {
        return None;
    }
    let base = std::fs::canonicalize(directory_of(file)).ok()?;
    let file = std::fs::canonicalize(file).ok()?;
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(file.as_os_str().as_encoded_bytes());
    add(base.as_os_str().as_encoded_bytes());
    for word in argv {
        add(word.as_bytes());
        let beside = std::fs::canonicalize(base.join(word)).ok();
        let beside = beside.filter(|path| path.starts_with(&base) && path.is_file());
        if let Some(bytes) = beside.and_then(|path| std::fs::read(path).ok()) {
            add(&bytes);
        }
    }
    let name: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(state_folder()?.join("commands").join(name))
}

/// Writes down that a command was agreed to; its words may be secret, so only the file is named.
fn remember(note: &Path, file: &str) -> std::io::Result<()> {
    note.parent().map_or(Ok(()), make_private_dir)?;
    write_atomically(note, format!("{file}\n").as_bytes()).map(drop)
}

/// Returns whether a new text differs from an old one in nothing but secrets whose commands were not run.
pub(super) fn is_same_but_not_run(new: &str, old: &str) -> bool {
    if !new.contains(NOT_RUN) {
        return false;
    }
    let trees = |text: &str| -> Option<Vec<serde_json::Value>> {
        Some(
            crate::yaml::parse(text).ok()?.documents.iter().map(|document| document.root.to_json()).collect(),
        )
    };
    let (Some(new), Some(old)) = (trees(new), trees(old)) else { return false };
    new.len() == old.len() && new.iter().zip(&old).all(|(new, old)| fits(new, old))
}

fn fits(new: &serde_json::Value, old: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (new, old) {
        (Value::String(text), Value::String(_)) if text == NOT_RUN => true,
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| fits(new, old))
        }
        (Value::Object(new), Value::Object(old)) => {
            new.len() == old.len()
                && new.iter().all(|(key, value)| old.get(key).is_some_and(|old| fits(value, old)))
        }
        (new, old) => new == old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_is_like_anything() {
        let new = format!("a: 1\npassword: {NOT_RUN}\n");
        assert!(is_same_but_not_run(&new, "password: \"007\"\na: 1\n"));
        assert!(!is_same_but_not_run(&new, "password: x\na: 2\n"));
        assert!(!is_same_but_not_run("a: 1\n", "a: 1\n"));
    }

    #[test]
    fn consent_is_for_one_file_and_one_command() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, "").unwrap();
        let file = file.display().to_string();
        let note =
            |argv: &[&str]| note_of(&file, &argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(note(&["a", "b"]), note(&["a", "b"]));
        assert_ne!(note(&["a", "b"]), note(&["ab"]));
        assert_eq!(note_of("-", &["a".to_owned()]), None);
        // A script beside the inventory is part of it.
        let before = note(&["./get"]);
        std::fs::write(dir.path().join("get"), "echo a").unwrap();
        let written = note(&["./get"]);
        std::fs::write(dir.path().join("get"), "echo b").unwrap();
        assert!(before != written && written != note(&["./get"]));
        // A link to it elsewhere starts what lies there.
        let other = tempfile::tempdir().unwrap();
        let link = other.path().join("a.yaml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_ne!(note_of(&link.display().to_string(), &["./x".to_owned()]), note(&["./x"]));
    }

    #[test]
    fn a_question_leaves_out_nothing_but_the_user_of_a_url() {
        assert_eq!(without_password("touch x; : @pass show"), "touch x; : @pass show");
        assert_eq!(without_password("x://$(touch y)@h"), "x://$(touch y)@h");
        assert_eq!(without_password("https://u:s3cr3t-p@h/v"), "https://h/v");
    }
}
