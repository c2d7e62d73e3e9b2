#![expect(clippy::disallowed_methods, reason = "reads identities from files and commands")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::identity::{Identities, PassphrasePrompt};

/// Where sops looks for age identities, and what it may ask.
pub struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The recipients of the file to be opened: commands are told each of them.
    pub recipients: &'a [String],
    /// Who is asked for passphrases.
    pub ask: Option<Arc<dyn PassphrasePrompt>>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("home", &self.home)
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}

impl Identities {
    /// Adds the identities from every place that sops knows: variables, files, commands, SSH keys. They are tried after
    /// those that are there.
    ///
    /// Never fails: what goes wrong is kept for the message, should no key fit.
    pub fn add_environment(&mut self, surroundings: &Surroundings<'_>) {
        let out = self;
        let variable = |name: &str| (surroundings.variable)(name).filter(|value| !value.is_empty());
        for (name, kind) in [("SOPS_AGE_SSH_PRIVATE_KEY_FILE", Kind::Ssh), ("SOPS_AGE_KEY_FILE", Kind::Age)] {
            match variable(name) {
                Some(path) => read(out, Path::new(&path), name, kind, Missing::Problem),
                None => out.missed(name, None),
            }
        }
        match variable("SOPS_AGE_KEY").map(Zeroizing::new) {
            Some(keys) => out.add(&one_a_line(&keys), "SOPS_AGE_KEY"),
            None => out.missed("SOPS_AGE_KEY", None),
        }
        for (name, kind) in [("SOPS_AGE_SSH_PRIVATE_KEY_CMD", Kind::Ssh), ("SOPS_AGE_KEY_CMD", Kind::Age)] {
            match variable(name) {
                Some(command) => run(out, &command, name, kind, surroundings.recipients),
                None => out.missed(name, None),
            }
        }
        if let Some(home) = &surroundings.home {
            for name in ["id_ed25519", "id_rsa"] {
                read(out, &home.join(".ssh").join(name), "", Kind::Ssh, Missing::Fine);
            }
        }
        if let Some(keys) = default_keys(&variable, surroundings.home.as_deref()) {
            read(out, &keys, "", Kind::Age, Missing::Fine);
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Age,
    Ssh,
}

#[derive(Clone, Copy)]
enum Missing {
    Fine,
    Problem,
}

/// Returns the file of keys that sops reads unasked.
fn default_keys(variable: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Option<PathBuf> {
    let folder = if cfg!(windows) {
        PathBuf::from(variable("AppData")?)
    } else if let Some(folder) = variable("XDG_CONFIG_HOME") {
        PathBuf::from(folder)
    } else if cfg!(target_os = "macos") {
        home?.join("Library/Application Support")
    } else {
        home?.join(".config")
    };
    Some(folder.join("sops/age/keys.txt"))
}

fn read(out: &mut Identities, path: &Path, variable: &str, kind: Kind, missing: Missing) {
    let path_name = path.display().to_string();
    let location = if variable.is_empty() { path_name } else { format!("{path_name} ({variable})") };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) => {
            let fine = matches!(missing, Missing::Fine) && error.kind() == std::io::ErrorKind::NotFound;
            return out.missed(&location, (!fine).then(|| error.to_string()));
        }
    };
    match (std::str::from_utf8(&bytes), kind) {
        (Ok(text), Kind::Age) => out.add(text, &location),
        (Ok(text), Kind::Ssh) => out.add_ssh(text, &location),
        (Err(_), Kind::Age) if bytes.starts_with(b"age-encryption.org/v1") => {
            out.missed(&location, None);
            out.add_sealed(bytes.to_vec(), &location);
        }
        (Err(_), Kind::Age | Kind::Ssh) => out.missed(&location, Some("this is not text".to_owned())),
    }
}

/// Runs a command without a shell, once for every recipient, and adds what it prints.
fn run(out: &mut Identities, command: &str, variable: &str, kind: Kind, recipients: &[String]) {
    let Ok(words) = shell_words::split(command) else {
        return out.missed(variable, Some("a quote is not closed".to_owned()));
    };
    let Some((program, arguments)) = words.split_first() else {
        return out.missed(variable, Some("the command is empty".to_owned()));
    };
    let none = [String::new()];
    let mut seen: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    for recipient in if recipients.is_empty() { &none[..] } else { recipients } {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("SOPS_AGE_RECIPIENT", recipient)
            .stdin(Stdio::inherit())
            .stderr(Stdio::inherit());
        let output = match command.output() {
            Ok(output) if output.status.success() => Zeroizing::new(output.stdout),
            Ok(output) => {
                return out.missed(variable, Some(format!("`{program}` ended with {}", output.status)));
            }
            Err(error) => return out.missed(variable, Some(format!("cannot start `{program}`: {error}"))),
        };
        if seen.contains(&output) {
            continue;
        }
        match (std::str::from_utf8(&output), kind) {
            (Ok(text), Kind::Age) => out.add(text, variable),
            (Ok(text), Kind::Ssh) => out.add_ssh(text, variable),
            (Err(_), Kind::Age | Kind::Ssh) => {
                out.missed(variable, Some("what it printed is not text".to_owned()));
            }
        }
        seen.push(output);
    }
}

/// Puts identities that blanks separate on lines of their own (sops 3.13 and later); comments stay whole.
fn one_a_line(keys: &str) -> Zeroizing<String> {
    let lines = keys.lines().map(|line| {
        if line.trim_start().starts_with('#') {
            line.to_owned()
        } else {
            line.split_whitespace().collect::<Vec<_>>().join("\n")
        }
    });
    Zeroizing::new(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = include_str!("../../tests/vectors/sops/keys.txt");
    const FIRST: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

    fn collect(variables: &[(&str, &str)], home: &Path) -> Identities {
        let variable =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let recipients = [FIRST.to_owned()];
        let mut out = Identities::default();
        out.add_environment(&Surroundings {
            variable: &variable,
            home: Some(home.to_owned()),
            recipients: &recipients,
            ask: None,
        });
        out
    }

    #[test]
    fn words_are_split_as_google_shlex_does() {
        let words = |text: &str| shell_words::split(text).unwrap();
        assert_eq!(words(r#"pass 'a b'"c" d\ e """#), ["pass", "a bc", "d e", ""]);
        // sops splits with google/shlex, to which `#` at the beginning of a word is a comment.
        assert_eq!(words("a # b\nc d#e"), ["a", "c", "d#e"]);
        assert!(shell_words::split("a 'b").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_place_counts() {
        let home = tempfile::tempdir().unwrap();
        let empty = collect(&[], home.path());
        assert!(empty.names().is_empty() && empty.problems().is_empty());
        assert_eq!(empty.locations().len(), 8);
        let keys = home.path().join(".config/sops/age");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("keys.txt"), format!("# mine\nnonsense\n{KEYS}")).unwrap();
        let found = collect(&[], home.path());
        assert_eq!(found.names(), [FIRST]);
        assert_eq!(found.problems().len(), 1);

        let key = KEYS.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
        let found = collect(
            &[("SOPS_AGE_KEY", &format!("# c\n{key} {key}")), ("XDG_CONFIG_HOME", "/nonexistent")],
            home.path(),
        );
        assert_eq!(found.names(), [FIRST, FIRST]);

        let told = home.path().join("told");
        let command = format!("sh -c 'echo $SOPS_AGE_RECIPIENT > {}; echo {key}'", told.display());
        let found =
            collect(&[("SOPS_AGE_KEY_CMD", &command), ("XDG_CONFIG_HOME", "/nonexistent")], home.path());
        assert_eq!(found.names(), [FIRST]);
        assert_eq!(std::fs::read_to_string(told).unwrap().trim(), FIRST);

        let found = collect(
            &[
                ("SOPS_AGE_KEY_FILE", "/nonexistent"),
                ("SOPS_AGE_KEY_CMD", "false"),
                ("SOPS_AGE_SSH_PRIVATE_KEY_CMD", "'"),
            ],
            home.path(),
        );
        assert_eq!(
            found.problems()[..3],
            [
                "/nonexistent (SOPS_AGE_KEY_FILE): No such file or directory (os error 2)",
                "SOPS_AGE_SSH_PRIVATE_KEY_CMD: a quote is not closed",
                "SOPS_AGE_KEY_CMD: `false` ended with exit status: 1",
            ]
        );
    }
}
