use std::path::{Path, PathBuf};

use super::encrypt::Settings;
use super::error::{Refusal, SopsError};
use super::mac::MacScope;
use super::pattern::{Pattern, PatternError};
use super::recipient::Recipient;
use super::rule::{Rule, RuleError};
use crate::yaml::{Indent, LineIndex, Node, ParseError, Resolved, parse_one};

/// The keys of a creation rule that name recipients other than age's.
const FOREIGN: [&str; 6] = ["pgp", "kms", "gcp_kms", "hckms", "azure_keyvault", "hc_vault_transit_uri"];
/// The other keys that sops knows in a creation rule.
const OTHER: [&str; 6] =
    ["path_regex", "age", "key_groups", "shamir_threshold", "aws_profile", "mac_only_encrypted"];

/// A `.sops.yaml`: who may read which files, and which of their values are sealed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it lies.
    pub path: PathBuf,
    /// The rules for new files; the first that fits counts.
    pub rules: Vec<CreationRule>,
    /// The step of indentation of YAML (`stores.yaml.indent`).
    pub indent: Indent,
    /// What sops ignores without a word.
    pub warnings: Vec<Warning>,
}

/// How files whose path matches are encrypted.
#[derive(Clone, Debug)]
pub struct CreationRule {
    /// The line it begins on.
    pub line: usize,
    /// What the path has to match; all do, if there is none.
    pub path_regex: Option<Pattern>,
    /// The age recipients as they are written.
    pub recipients: Vec<String>,
    /// Recipients of other kinds.
    pub foreign: Vec<String>,
    /// How many groups of recipients the data key is split among.
    pub groups: usize,
    /// Which values are sealed; all, if nothing is said.
    pub rule: Option<Rule>,
    /// What the MAC covers.
    pub mac_scope: MacScope,
}

/// Something in a `.sops.yaml` that sops ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line.
    pub line: usize,
    /// What it is, as a fragment.
    pub message: String,
}

/// What keeps a `.sops.yaml` from being followed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what its fields are")]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// It is not YAML.
    #[error("`{path}` is not valid YAML")]
    Yaml { path: PathBuf, source: ParseError },
    /// A rule selects values in a way that cannot be followed.
    #[error("the rule on line {line} of `{path}` cannot be followed")]
    Rule {
        path: PathBuf,
        /// The line the rule begins on.
        line: usize,
        source: RuleError,
    },
    /// A key holds what it cannot.
    #[error("`{key}` on line {line} of `{path}` is {found}")]
    Kind { path: PathBuf, line: usize, key: String, found: &'static str },
    /// No rule matches.
    #[error("no creation rule in `{config}` matches `{file}`, tried: {tried}")]
    NoMatch {
        config: PathBuf,
        /// The file, as it was matched.
        file: String,
        tried: String,
    },
}

impl ConfigError {
    /// Returns the exit code that sops itself would end with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } | Self::Yaml { .. } | Self::Rule { .. } | Self::Kind { .. } => 5,
            Self::NoMatch { .. } => 1,
        }
    }

    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Yaml { source, .. } => source.help.clone(),
            Self::Rule { .. } => {
                Some("sops would ignore it and leave every value in clear text; correct the rule".to_owned())
            }
            Self::Kind { .. } => Some("write a text, or a list of texts".to_owned()),
            Self::NoMatch { config, .. } => {
                let folder = config.parent().unwrap_or(Path::new("")).display();
                Some(format!(
                    "patterns are matched against the path below `{folder}`; add a rule for this file"
                ))
            }
        }
    }
}

impl Config {
    /// Reads a `.sops.yaml` that lies at `path`, which should be absolute.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let document =
            parse_one(text).map_err(|source| ConfigError::Yaml { path: path.to_owned(), source })?;
        let mut reader = Reader { path, index: LineIndex::new(text), warnings: Vec::new() };
        let root = &document.root;
        let rules = root.get("creation_rules").map(Node::items).unwrap_or_default();
        let rules = rules.iter().map(|rule| reader.rule(rule)).collect::<Result<_, _>>()?;
        let indent = match root.at(&["stores", "yaml", "indent"]).and_then(Node::resolved) {
            Some(Resolved::Int(step)) => Indent::new(usize::try_from(step).unwrap_or(0)),
            _ => Indent::default(),
        };
        Ok(Self { path: path.to_owned(), rules, indent, warnings: reader.warnings })
    }

    /// Returns the first rule that matches a file, whose path should be absolute.
    ///
    /// Fails if none does, with the patterns that were tried.
    pub fn creation_rule(&self, file: &Path) -> Result<&CreationRule, ConfigError> {
        let name = self.relative(file);
        let fits =
            |rule: &&CreationRule| rule.path_regex.as_ref().is_none_or(|pattern| pattern.is_match(&name));
        self.rules.iter().find(fits).ok_or_else(|| {
            let tried: Vec<_> = self
                .rules
                .iter()
                .filter_map(|rule| rule.path_regex.as_ref())
                .map(|p| format!("`{p}`"))
                .collect();
            let tried =
                if tried.is_empty() { "nothing: there are no rules".to_owned() } else { tried.join(", ") };
            ConfigError::NoMatch { config: self.path.clone(), file: name.clone(), tried }
        })
    }

    /// Returns the path that patterns are matched against: below the configuration's folder, or else absolute.
    pub fn relative(&self, file: &Path) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned()
    }
}

impl CreationRule {
    /// Returns the settings for a new file.
    ///
    /// Fails if the rule names recipients that only sops can serve, or a recipient that is none.
    pub fn settings(&self, indent: Indent) -> Result<Settings, SopsError> {
        if self.groups > 1 {
            return Err(Refusal::KeyGroups.whole());
        }
        if !self.foreign.is_empty() {
            return Err(Refusal::Foreign(self.foreign.clone()).whole());
        }
        let recipients =
            self.recipients.iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, _>>()?;
        let settings = Settings::new(self.rule.clone().unwrap_or_default(), recipients);
        Ok(Settings { mac_scope: self.mac_scope, indent, ..settings })
    }
}

struct Reader<'a> {
    path: &'a Path,
    index: LineIndex<'a>,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn line(&self, node: &Node) -> usize {
        self.index.position(node.span.start).line
    }

    fn rule(&mut self, node: &Node) -> Result<CreationRule, ConfigError> {
        let line = self.line(node);
        for entry in node.entries() {
            let known = FOREIGN.iter().chain(&OTHER).chain(&Rule::KEYS).any(|key| *key == entry.key);
            if !known {
                let line = self.index.position(entry.key_span.start).line;
                self.warnings.push(Warning {
                    line,
                    message: format!("sops ignores the key `{}`{}", entry.key, meant(&entry.key)),
                });
            }
        }
        let failed = |source: RuleError| ConfigError::Rule { path: self.path.to_owned(), line, source };
        let text = |key: &str| node.get(key).and_then(Node::as_str);
        let path_regex = text("path_regex").filter(|text| !text.is_empty()).map(Pattern::new).transpose();
        let path_regex = path_regex.map_err(|error: PatternError| failed(error.into()))?;
        let rule = Rule::read(text).map_err(failed)?;
        let mut out = CreationRule {
            line,
            path_regex,
            recipients: Vec::new(),
            foreign: Vec::new(),
            groups: 1,
            rule,
            mac_scope: match node.get("mac_only_encrypted").and_then(Node::as_bool) {
                Some(true) => MacScope::Encrypted,
                Some(false) | None => MacScope::All,
            },
        };
        let groups = node.get("key_groups").map(Node::items).unwrap_or_default();
        if groups.is_empty() {
            self.keys(node, &mut out)?;
        }
        out.groups = groups.len().max(1);
        for group in groups {
            self.group(group, &mut out)?;
        }
        Ok(out)
    }

    /// Reads a group of recipients and the groups merged into it.
    fn group(&self, node: &Node, out: &mut CreationRule) -> Result<(), ConfigError> {
        self.keys(node, out)?;
        node.get("merge")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .try_for_each(|merged| self.group(merged, out))
    }

    fn keys(&self, node: &Node, out: &mut CreationRule) -> Result<(), ConfigError> {
        for recipient in self.list(node, "age")? {
            if !out.recipients.contains(&recipient) {
                out.recipients.push(recipient);
            }
        }
        for kind in FOREIGN.iter().chain(&["hc_vault"]) {
            match node.get(kind) {
                // In a group, some are mappings of several fields.
                Some(value) if value.items().iter().any(Node::is_mapping) => {
                    out.foreign.push((*kind).to_owned());
                }
                _ => out
                    .foreign
                    .extend(self.list(node, kind)?.into_iter().map(|name| format!("{kind} {name}"))),
            }
        }
        Ok(())
    }

    /// Reads a text with commas, or a list of texts.
    fn list(&self, node: &Node, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = node.get(key).filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
        let wrong = |node: &Node| ConfigError::Kind {
            path: self.path.to_owned(),
            line: self.line(node),
            key: key.to_owned(),
            found: node.kind(),
        };
        let texts = if value.is_sequence() { value.items().iter().collect() } else { vec![value] };
        let mut out = Vec::new();
        for text in texts {
            let text = text.as_str().ok_or_else(|| wrong(text))?;
            out.extend(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        }
        Ok(out)
    }
}

/// Guesses which key was meant.
fn meant(key: &str) -> String {
    let known = FOREIGN.iter().chain(&OTHER).chain(&Rule::KEYS);
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let close = known.into_iter().find(|known| {
        let (key, known) = (plain(key), plain(known));
        key.starts_with(&known) || known.starts_with(&key) && key.len() > 3
    });
    close.map_or_else(String::new, |close| format!("; `{close}` was meant?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/repo/.sops.yaml"))
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let config = parse(&format!(
            "creation_rules:\n  - path_regex: ^talos/.*\\.sops\\.ya?ml$\n    encrypted_regex: ^(password|key)$\n    mac_only_encrypted: true\n    age: {ALICE},\n  - path_regex: secret\n    age: [{ALICE}]\n    unencrypted_suffix: _clear\nstores:\n  yaml: {{indent: 2}}\n"
        ))
        .unwrap();
        let rule = config.creation_rule(Path::new("/repo/talos/a.sops.yaml")).unwrap();
        assert_eq!((rule.line, rule.mac_scope), (2, MacScope::Encrypted));
        let settings = rule.settings(config.indent).unwrap();
        assert_eq!(settings.recipients[0].as_str(), ALICE);
        assert_eq!(settings.rule.text(), "^(password|key)$");
        assert_eq!(settings.indent, Indent::new(2));
        // Outside the folder, the absolute path is matched.
        assert_eq!(config.creation_rule(Path::new("/other/secret.yaml")).unwrap().line, 6);
        let error = config.creation_rule(Path::new("/repo/x/talos/a.sops.yaml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no creation rule in `/repo/.sops.yaml` matches `x/talos/a.sops.yaml`, tried: `^talos/.*\\.sops\\.ya?ml$`, `secret`"
        );
        assert!(parse("creation_rules: []\n").unwrap().creation_rule(Path::new("/repo/a")).is_err());
    }

    #[test]
    fn what_sops_ignores_is_said() {
        let config =
            parse("creation_rules:\n  - encrypted_regexp: ^password$\n    age: x\n    note: y\n").unwrap();
        let warnings: Vec<_> = config.warnings.iter().map(|w| (w.line, w.message.as_str())).collect();
        assert_eq!(
            warnings,
            [
                (2, "sops ignores the key `encrypted_regexp`; `encrypted_regex` was meant?"),
                (4, "sops ignores the key `note`")
            ]
        );
    }

    #[test]
    fn key_groups_and_other_kinds_are_named() {
        let config = parse(&format!(
            "x: &g\n  age: [{ALICE}]\ncreation_rules:\n  - key_groups:\n      - merge: [*g]\n        pgp: [ABCD]\n        kms: [{{arn: x}}]\n  - key_groups: [*g, *g]\n  - pgp: A, B\n  - key_groups: [*g]\n"
        ))
        .unwrap();
        assert_eq!(config.rules[0].recipients, [ALICE]);
        assert_eq!(config.rules[0].foreign, ["pgp ABCD", "kms"]);
        assert_eq!(
            config.rules[0].settings(config.indent).unwrap_err().to_string(),
            "the file is also for pgp ABCD, kms, which only sops can serve"
        );
        assert!(config.rules[1].settings(config.indent).unwrap_err().to_string().contains("groups"));
        assert_eq!(config.rules[2].foreign, ["pgp A", "pgp B"]);
        assert!(config.rules[3].settings(config.indent).is_ok());
    }

    #[test]
    fn rules_that_cannot_be_followed_are_refused() {
        for (text, want) in [
            (
                "creation_rules:\n  - encrypted_regex: ^(a$\n",
                "the rule on line 2 of `/repo/.sops.yaml` cannot be followed",
            ),
            (
                "creation_rules:\n  - path_regex: (?<!x)a\n",
                "the rule on line 2 of `/repo/.sops.yaml` cannot be followed",
            ),
            (
                "creation_rules:\n  - encrypted_regex: a\n    encrypted_suffix: b\n",
                "the rule on line 2 of `/repo/.sops.yaml` cannot be followed",
            ),
            ("creation_rules:\n  - age: {a: b}\n", "`age` on line 2 of `/repo/.sops.yaml` is a mapping"),
            ("a: [\n", "`/repo/.sops.yaml` is not valid YAML"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), want, "{text}");
        }
    }
}
