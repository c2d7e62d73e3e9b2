use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::format::{Caution, Format, Versions, Weight};
use super::json_patch::{minimal, normal};
use super::plain::{Patch, registries_block, tls_in_legacy};
use crate::registries::{Kind, Registries, RegistryDocument, documents, legacy};

/// What a machine config says about registries now, as trees.
#[derive(Clone, Default)]
pub struct Current {
    /// How many YAML documents it has, as Talos counts: a `---` at the end begins another.
    pub documents: usize,
    /// The value of `.machine.registries`, if the key is there.
    pub legacy: Option<Value>,
    /// Its registry documents, by kind and name.
    pub registry_documents: BTreeMap<(Kind, String), Value>,
}

/// Shows how much there is: the trees may hold secrets.
impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.registry_documents.keys().collect();
        f.debug_struct("Current")
            .field("documents", &self.documents)
            .field("registry_documents", &names)
            .finish_non_exhaustive()
    }
}

/// Why there is no patch for a machine config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgainstError {
    /// A JSON patch for more than one document.
    #[error("the machine config has {0} documents, and Talos applies JSON patches to configs of one only")]
    SeveralDocuments(usize),
}

impl AgainstError {
    /// Returns what to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::SeveralDocuments(_) => "use --format strategic, or leave --format out",
        }
    }
}

/// Makes the least patch that gives exactly these registries when applied to exactly this config.
pub fn against(
    format: Format,
    wanted: &Registries,
    current: &Current,
    versions: &Versions,
) -> Result<Patch, AgainstError> {
    Ok(match format {
        Format::JsonPatch if current.documents > 1 => {
            return Err(AgainstError::SeveralDocuments(current.documents));
        }
        Format::JsonPatch => {
            let operations = minimal(current.legacy.as_ref(), &legacy(wanted));
            file(if operations.is_empty() { Vec::new() } else { vec![Value::Array(operations)] })
        }
        Format::Strategic => file(strategic(wanted, current)),
        Format::Documents => {
            let mut patch = file(document_patch(wanted, current, versions));
            if !patch.files.is_empty() {
                patch.cautions.push(Caution {
                    weight: Weight::Warning,
                    message: "this patch is for exactly this config; applied a second time it may fail or repeat endpoints"
                        .to_owned(),
                    help: "make it again for the config that it leads to".to_owned(),
                });
            }
            patch
        }
    })
}

fn file(documents: Vec<Value>) -> Patch {
    Patch { files: if documents.is_empty() { Vec::new() } else { vec![documents] }, cautions: Vec::new() }
}

/// Legacy is replaced as a whole, documents that would shadow it go.
fn strategic(wanted: &Registries, current: &Current) -> Vec<Value> {
    let wanted = legacy(wanted);
    let mut out: Vec<Value> = current
        .registry_documents
        .keys()
        .map(|(kind, name)| RegistryDocument::delete_selector(*kind, name))
        .collect();
    let empty = json!({});
    let old = current.legacy.as_ref().unwrap_or(&empty);
    if normal(old) != normal(&wanted) {
        out.push(registries_block(json!({"$patch": "delete"})));
        if wanted != empty {
            out.push(registries_block(wanted));
        }
    }
    out
}

/// Only documents that differ are touched: what is there can be deleted and set in one file on every version.
fn document_patch(wanted: &Registries, current: &Current, versions: &Versions) -> Vec<Value> {
    let in_legacy = tls_in_legacy(wanted, versions);
    let mut kept = wanted.clone();
    kept.tls.retain(|host, _| !in_legacy.tls.contains_key(host));
    let wanted: BTreeMap<(Kind, String), RegistryDocument> = documents(&kept)
        .into_iter()
        .map(|document| ((document.kind, document.name.clone()), document))
        .collect();
    let mut out = Vec::new();
    let (old, new) = (current.legacy.clone().unwrap_or_else(|| json!({})), legacy(&in_legacy));
    if normal(&old) != normal(&new) {
        out.push(registries_block(json!({"$patch": "delete"})));
        if !in_legacy.tls.is_empty() {
            out.push(registries_block(new));
        }
    }
    for (kind, name) in current.registry_documents.keys().filter(|key| !wanted.contains_key(*key)) {
        out.push(RegistryDocument::delete_selector(*kind, name));
    }
    for (key, document) in &wanted {
        match current.registry_documents.get(key) {
            Some(old) if normal(old) == normal(document.value()) => {}
            Some(_) => {
                out.push(RegistryDocument::delete_selector(document.kind, &document.name));
                out.push(document.value().clone());
            }
            None => out.push(document.value().clone()),
        }
    }
    out
}
