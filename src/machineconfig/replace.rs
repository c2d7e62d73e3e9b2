use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::Value;

use super::config::{MachineConfig, Role};
use super::error::ReplaceError;
use super::place::{SourceText, is_block_scalar, last_leaf};
use super::read::{Found, Reader};
use crate::finding::Problems;
use crate::registries::{Auth, Kind, Mirror, Registries, RegistryDocument, documents, legacy};
use crate::secret::without_userinfo;
use crate::yaml::{Document, Edit, apply};

/// In which of Talos' schemas registries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `machine.registries`, which every version knows.
    Legacy,
    /// `Registry*Config` documents, since Talos 1.12.
    Documents {
        /// Where TLS settings go.
        tls: TlsIn,
    },
}

/// Where TLS settings go when the rest goes into documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsIn {
    /// Into documents as well.
    Documents,
    /// Into `machine.registries`: Talos 1.12.0 and 1.12.1 panic on a TLS document without client identity.
    Legacy,
}

/// What becomes of registries that are in the config and not among the wanted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// They go.
    Drop,
    /// They stay, in the form that the others get.
    Keep,
}

/// A machine config with other registries.
#[derive(Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The new text.
    pub text: String,
    /// What went, such as `mirror quay.io`, `auth h:5000`, `tls h`.
    pub dropped: Vec<String>,
    /// Whether the text is another than before.
    pub changed: bool,
}

/// Leaves the text out: it holds secrets.
impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement")
            .field("dropped", &self.dropped)
            .field("changed", &self.changed)
            .finish_non_exhaustive()
    }
}

impl MachineConfig {
    /// Writes the wanted registries into the text, in the given form, and leaves every other byte.
    ///
    /// Fails if that would touch more than registries, and if registries that should stay cannot be read.
    pub fn replace(
        &self,
        wanted: &Registries,
        form: Form,
        unlisted: Unlisted,
    ) -> Result<Replacement, ReplaceError> {
        let mut problems = Problems::new("", self.text());
        let current = self.found(&mut problems);
        let mut target = wanted.clone();
        if unlisted == Unlisted::Keep {
            if current.lossy {
                let first =
                    problems.into_sorted().into_iter().find(|problem| problem.code.as_str().starts_with('E'));
                let first =
                    first.map(|p| format!("{} on line {}", p.message, p.position.line)).unwrap_or_default();
                return Err(ReplaceError::Unreadable(first));
            }
            target = current.registries();
            target.mirrors.extend(wanted.mirrors.clone());
            target.auth.extend(wanted.auth.clone());
            target.tls.extend(wanted.tls.clone());
        }
        let target = plain(target);
        let dropped = dropped(&current, &target);
        let (in_legacy, in_documents) = split(target, form);

        let edits = plan(self, &in_legacy, &in_documents)?;
        let text = apply(self.text(), &edits);
        let changed = text != self.text();
        if changed {
            check(self, &text, &in_legacy, &in_documents)?;
        }
        Ok(Replacement { text, dropped, changed })
    }
}

/// Writes registries as a config would hand them back: an empty text is an absent one.
fn plain(mut registries: Registries) -> Registries {
    for auth in registries.auth.values_mut() {
        *auth = Auth {
            username: auth.username.take().filter(|text| !text.is_empty()),
            password: auth.password.take().filter(|secret| !secret.expose().is_empty()),
            auth: auth.auth.take().filter(|secret| !secret.expose().is_empty()),
            identity_token: auth.identity_token.take().filter(|secret| !secret.expose().is_empty()),
        };
    }
    for tls in registries.tls.values_mut() {
        tls.ca = tls.ca.take().filter(|text| !text.is_empty());
    }
    registries
}

/// Parts what goes into `machine.registries` from what goes into documents.
fn split(target: Registries, form: Form) -> (Registries, Registries) {
    match form {
        Form::Legacy => {
            let mirrors = target.mirrors.into_iter().map(|(name, mirror)| {
                let (endpoints, _) = mirror.for_legacy();
                (name, Mirror { endpoints, ..mirror })
            });
            (Registries { mirrors: mirrors.collect(), ..target }, Registries::default())
        }
        Form::Documents { tls: TlsIn::Documents } => (Registries::default(), target),
        Form::Documents { tls: TlsIn::Legacy } => {
            let tls = Registries { tls: target.tls, ..Registries::default() };
            (tls, Registries { mirrors: target.mirrors, auth: target.auth, tls: BTreeMap::new() })
        }
    }
}

fn dropped(current: &Found, target: &Registries) -> Vec<String> {
    fn gone<'a, A, B>(
        word: &'a str,
        old: &'a BTreeMap<String, A>,
        new: &'a BTreeMap<String, B>,
    ) -> impl Iterator<Item = String> + 'a {
        old.keys()
            .filter(|name| !new.contains_key(*name))
            .map(move |name| format!("{word} {}", without_userinfo(name)))
    }
    gone("mirror", &current.mirrors, &target.mirrors)
        .chain(gone("auth", &current.auth, &target.auth))
        .chain(gone("tls", &current.tls, &target.tls))
        .collect()
}

/// Returns the edits that make the text say what is wanted; none where it does already.
fn plan(
    config: &MachineConfig,
    in_legacy: &Registries,
    in_documents: &Registries,
) -> Result<Vec<Edit>, ReplaceError> {
    let machines: Vec<&Document> = config
        .with_roles()
        .filter(|(_, role)| *role == Role::Machine)
        .map(|(document, _)| document)
        .collect();
    let machine = machines.first().copied();
    let page = SourceText::new(config.text(), machine.and_then(|document| document.root.get("machine")));

    let legacy_now = config.legacy(&mut Problems::new("", config.text()));
    let legacy_fits = !legacy_now.lossy && legacy_now.registries() == *in_legacy;
    let mut edits = match (machine, legacy_fits) {
        (_, true) => Vec::new(),
        (_, false) if machines.len() > 1 => return Err(ReplaceError::SeveralMachines(machines.len())),
        (None, false) => return Err(ReplaceError::NoMachine),
        (Some(document), false) if in_legacy.is_empty() => page.unset(document)?,
        (Some(document), false) => page.set(document, &legacy(in_legacy))?,
    };

    let wanted = documents(in_documents);
    let mut written = HashSet::new();
    for (document, role) in config.with_roles() {
        let Role::Registry(kind, name) = role else { continue };
        let new = wanted.iter().find(|new| new.kind == kind && new.name == name);
        match new.filter(|_| written.insert((kind, name.clone()))) {
            None => edits.push(page.remove(document)),
            Some(new) if says(config, document, kind, in_documents, new) => {}
            Some(new) => edits.push(page.rewrite(document, new.value())),
        }
    }
    let missing: Vec<&Value> = wanted
        .iter()
        .filter(|new| !written.contains(&(new.kind, new.name.clone())))
        .map(RegistryDocument::value)
        .collect();
    edits.extend(page.append(config.with_roles().last().map(|(document, _)| document), &missing));
    if edits.iter().any(|edit| edit.span == (config.text().len()..config.text().len())) && ends_open(config) {
        return Err(ReplaceError::Unsafe("the text ends within a block scalar, without a line break"));
    }
    Ok(edits)
}

/// Tells whether a line break at the end would become part of a value: go-yaml keeps none where the text has none.
fn ends_open(config: &MachineConfig) -> bool {
    let last = config.with_roles().last().map(|(document, _)| last_leaf(&document.root));
    last.is_some_and(is_block_scalar) && !config.text().ends_with('\n')
}

/// Tells whether a document says what is wanted of it already, in whatever words.
fn says(
    config: &MachineConfig,
    document: &Document,
    kind: Kind,
    wanted: &Registries,
    new: &RegistryDocument,
) -> bool {
    let mut problems = Problems::new("", config.text());
    let mut reader = Reader::new(&mut problems);
    reader.document(kind, &document.root);
    let found = reader.finish();
    let (old, name) = (found.registries(), &new.name);
    !found.lossy
        && document.root.get("apiVersion").and_then(crate::yaml::Node::as_str) == Some("v1alpha1")
        && match kind {
            Kind::Mirror => old.mirrors.get(name) == wanted.mirrors.get(name),
            Kind::Auth => old.auth.get(name) == wanted.auth.get(name),
            Kind::Tls => old.tls.get(name) == wanted.tls.get(name),
        }
}

/// Reads the new text back: all but registries as before, and registries as wanted.
fn check(
    config: &MachineConfig,
    text: &str,
    in_legacy: &Registries,
    in_documents: &Registries,
) -> Result<(), ReplaceError> {
    let new = MachineConfig::parse(text).map_err(|_| ReplaceError::Unsafe("it would not be YAML"))?;
    if rest(config) != rest(&new) {
        return Err(ReplaceError::Unsafe("another value would change"));
    }
    let legacy = new.legacy(&mut Problems::new("", text));
    let documents = new.registry_documents(&mut Problems::new("", text));
    if legacy.lossy || documents.lossy {
        return Err(ReplaceError::Unsafe("registries would not read back"));
    }
    if legacy.registries() != *in_legacy || documents.registries() != *in_documents {
        return Err(ReplaceError::Unsafe("registries would read back differently"));
    }
    Ok(())
}

/// Returns everything that is not about registries.
fn rest(config: &MachineConfig) -> Vec<Value> {
    let documents = config.with_roles().filter(|(_, role)| !matches!(role, Role::Registry(..)));
    let values = documents.map(|(document, role)| {
        let mut value = document.root.to_json();
        if role == Role::Machine
            && let Some(root) = value.as_object_mut()
        {
            let machine = root.get_mut("machine").and_then(Value::as_object_mut);
            let emptied = machine.is_none_or(|machine| {
                machine.shift_remove("registries");
                machine.is_empty()
            });
            if emptied && root.get("machine").is_none_or(|machine| machine.is_null() || machine.is_object()) {
                root.shift_remove("machine");
            }
        }
        value
    });
    // A document of nothing may take in the first one that is added.
    values.filter(|value| !value.is_null()).collect()
}
