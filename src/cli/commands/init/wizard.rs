//! The questions of `init`: each answer is checked when it is given, and nothing is asked that a flag says.

use jiff::Zoned;

use super::answers::{Answers, PasswordFrom};
use super::texts::inventory_text;
use crate::cli::encryption;
use crate::finding::{Problem, Severity};
use crate::inventory::{self, MirrorKind};
use crate::registries::TalosVersion;
use crate::secret::os_random;
use crate::sops::{KeyKind, NewKey, new_key_pair};
use crate::ui::{self, CliError, agree, choose, text};

/// What the flags leave open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    pub(super) kind: bool,
    pub(super) url: bool,
    pub(super) registries: bool,
    pub(super) credentials: bool,
    pub(super) fallback: bool,
    pub(super) talos_version: bool,
    pub(super) context: bool,
    pub(super) nodes: bool,
    pub(super) age: bool,
    /// Whether a key can be made: there is none where sops looks.
    pub(super) new_key: bool,
}

/// Asks for what is open; returns a key that was made on the way and is not written yet.
pub(super) fn ask(answers: &mut Answers, open: Open, now: &Zoned) -> Result<Option<NewKey>, CliError> {
    if open.kind {
        let words = [
            "harbor: a Harbor with a project for each registry",
            "path: zot, Nexus, Artifactory: a path for each registry",
            "plain: mirrors one registry",
            "cache: serves any registry, such as talmirror-cache",
            "raw: a URL that is used as it stands",
        ];
        let at = choose("What is the mirror?", &words)?;
        MirrorKind::NAMES.get(at).copied().unwrap_or("harbor").clone_into(&mut answers.kind);
    }
    if open.url {
        answers.url = checked(answers, "Its URL, such as https://mirror.example", "", |answers, text| {
            text.clone_into(&mut answers.url);
            Ok(())
        })?
        .url;
    }
    if open.registries {
        let default = if answers.kind == "cache" { "*" } else { "docker.io,ghcr.io,quay.io,registry.k8s.io" };
        let question = "Registries that go through it, separated by commas";
        answers.registries = checked(answers, question, default, |answers, text| {
            answers.registries = list(text);
            if answers.registries.is_empty() { Err("name at least one".to_owned()) } else { Ok(()) }
        })?
        .registries;
    }
    if open.credentials {
        answers.credentials = credentials()?;
    }
    if open.fallback {
        let words = ["upstream: the registry itself is asked", "never: the pull fails"];
        let at = choose("What happens when the mirror is down?", &words)?;
        ["upstream", "never"].get(at).copied().unwrap_or("upstream").clone_into(&mut answers.fallback);
    }
    if open.talos_version {
        let version = text("The nodes' Talos version, such as v1.13 (empty: not known)", "", &|text| {
            if text.is_empty() {
                return Ok(());
            }
            text.parse::<TalosVersion>().map(drop).map_err(|error| error.to_string())
        })?;
        answers.talos_version = version.parse().ok();
    }
    if open.nodes {
        let question = "The nodes as NAME=ADDRESS, separated by commas (empty: none yet)";
        answers.nodes = checked(answers, question, "", |answers, text| {
            answers.nodes = list(text);
            Ok(())
        })?
        .nodes;
    }
    if open.context && !answers.nodes.is_empty() {
        let context = text("The context of your talosconfig (empty: the current one)", "", &|_| Ok(()))?;
        answers.context = Some(context).filter(|context| !context.is_empty());
    }
    if open.age { recipients(answers, open, now) } else { Ok(None) }
}

/// Asks for a text that makes a valid inventory with what is known so far; returns the answers with it.
fn checked(
    answers: &Answers,
    question: &str,
    default: &str,
    put: impl Fn(&mut Answers, &str) -> Result<(), String>,
) -> Result<Answers, CliError> {
    let with = |text: &str| {
        let mut answers = Answers { credentials: None, ..answers.clone() };
        put(&mut answers, text).map(|()| answers)
    };
    let given = text(question, default, &|text| {
        let mut answers = with(text)?;
        // What is not asked yet stands in for itself.
        if answers.registries.is_empty() {
            answers.registries = vec!["registry.example".to_owned()];
        }
        match first_error(&inventory_text(&answers)) {
            Some(problem) => Err(with_help(&problem)),
            None => Ok(()),
        }
    })?;
    let credentials = answers.credentials.clone();
    Ok(Answers { credentials, ..with(&given).unwrap_or_else(|_| answers.clone()) })
}

fn first_error(text: &str) -> Option<Problem> {
    let problems = inventory::parse(text, "mirrors.yaml", &|_| None).problems;
    problems.into_iter().find(|problem| problem.code.severity() == Severity::Error)
}

fn with_help(problem: &Problem) -> String {
    let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}{help}", problem.message)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

fn credentials() -> Result<Option<(String, PasswordFrom)>, CliError> {
    if !agree("Does it want a user and password?")? {
        return Ok(None);
    }
    let filled = |text: &str| if text.is_empty() { Err("it cannot be empty".to_owned()) } else { Ok(()) };
    let username = text("User", "", &filled)?;
    let words = ["an environment variable", "a file", "typed now, and encrypted in the inventory"];
    let from = match choose("Where does the password come from?", &words)? {
        0 => PasswordFrom::Env(text("Its name", "", &|text| {
            let valid = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if valid && starts { Ok(()) } else { Err(format!("`{text}` is not a valid name of a variable")) }
        })?),
        1 => PasswordFrom::File(text("Its path", "", &filled)?),
        // An empty one is asked for again.
        _ => PasswordFrom::Inline(ui::password("Password").map_err(ui::unanswered)?),
    };
    Ok(Some((username, from)))
}

/// Asks for whom secrets are encrypted; makes a key where there is none.
fn recipients(answers: &mut Answers, open: Open, now: &Zoned) -> Result<Option<NewKey>, CliError> {
    let named = "for age recipients that I name";
    let made = "for a new age key, made now";
    let none = "not at all: no secret stands in a file";
    let mut words = vec![named];
    words.extend(open.new_key.then_some(made));
    words.extend((!answers.holds_a_password()).then_some(none));
    let at = choose("How are secrets encrypted?", &words)?;
    let chosen = words.get(at).copied();
    if chosen == Some(named) {
        let given = text("Age recipients, separated by commas", "", &|text| {
            let names = list(text);
            if names.is_empty() {
                return Err("name at least one: age1…, or a public ssh key".to_owned());
            }
            encryption::parse_recipients(&names).map(drop).map_err(|error| error.render())
        })?;
        answers.age = list(&given);
    }
    if chosen != Some(made) {
        return Ok(None);
    }
    let key = new_key_pair(KeyKind::Classic, now, &mut os_random);
    answers.age = vec![key.recipient.clone()];
    Ok(Some(key))
}
