use std::fmt;
use std::str::FromStr;

use super::split::Parts;
use crate::registries::TalosVersion;

/// The form of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 6902 operations; only for machine configs of one document.
    JsonPatch,
    /// A strategic merge patch of `machine.registries`.
    Strategic,
    /// `Registry*Config` documents.
    Documents,
}

impl Format {
    /// The words for them, with the one that lets the version decide.
    pub const NAMES: &[&str] = &["auto", "json-patch", "strategic", "documents"];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonPatch => "json-patch",
            Self::Strategic => "strategic",
            Self::Documents => "documents",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the user asked for: a format, or that the version decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The version decides.
    #[default]
    Auto,
    /// This one.
    Only(Format),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let formats = [Format::JsonPatch, Format::Strategic, Format::Documents];
        match text {
            "auto" => Ok(Self::Auto),
            _ => formats
                .into_iter()
                .find(|format| format.as_str() == text)
                .map(Self::Only)
                .ok_or_else(|| format!("one of {}", Format::NAMES.join(", "))),
        }
    }
}

/// The versions that decide how a patch can look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Versions {
    /// Talos on the nodes; `None`: not known.
    pub talos: Option<TalosVersion>,
    /// The talosctl that applies the patch, where it is not of the nodes' version. Patching runs in talosctl.
    pub talosctl: Option<TalosVersion>,
}

impl Versions {
    /// Returns the version that applies patches.
    pub fn patcher(&self) -> Option<&TalosVersion> {
        self.talosctl.as_ref().or(self.talos.as_ref())
    }

    /// Returns whether a delete selector for a document that is not there can be given.
    pub fn skips_missing_deletes(&self) -> bool {
        self.patcher().is_some_and(TalosVersion::skips_missing_deletes)
    }
}

/// Why a format cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Documents on a version that has none.
    #[error("Talos {0} has no registry documents: they exist since 1.12")]
    NoDocuments(TalosVersion),
}

impl FormatError {
    /// Returns what to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoDocuments(_) => "use --format strategic, or leave --format out",
        }
    }
}

/// How much a caution matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is so for every patch of this form.
    Note,
    /// It goes wrong if it is not heeded.
    Warning,
}

/// Something about a patch that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caution {
    /// How much it matters.
    pub weight: Weight,
    /// What happens.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Chooses the format for a version.
///
/// `auto` gives the one form that is idempotent there: documents from 1.14, strategic merge for 1.12, 1.13 and
/// unknown versions, a JSON patch before.
pub fn choose(choice: Choice, versions: &Versions) -> Result<Format, FormatError> {
    match (choice, &versions.talos) {
        (Choice::Only(Format::Documents), Some(talos)) if !talos.has_documents() => {
            Err(FormatError::NoDocuments(talos.clone()))
        }
        (Choice::Only(format), _) => Ok(format),
        (Choice::Auto, None) => Ok(Format::Strategic),
        (Choice::Auto, Some(talos)) if talos.generates_one_document() => Ok(Format::JsonPatch),
        (Choice::Auto, Some(_)) if versions.skips_missing_deletes() => Ok(Format::Documents),
        (Choice::Auto, Some(_)) => Ok(Format::Strategic),
    }
}

/// Returns what is known to go wrong with these registries on this version, whatever the format.
pub(super) fn version_cautions(parts: &Parts, versions: &Versions) -> Vec<Caution> {
    let mut cautions = Vec::new();
    let Some(talos) = &versions.talos else { return cautions };
    let mut tls = parts.open.tls.values().chain(parts.secret.tls.values());
    if talos.breaks_tls_paths() && tls.any(|tls| tls.ca.is_some() || tls.client_identity.is_some()) {
        cautions.push(Caution {
            weight: Weight::Warning,
            message: format!(
                "Talos {talos} cannot read the CA of a registry: every pull from that host fails"
            ),
            help: "upgrade to 1.14.0-rc.1 or later first (siderolabs/talos#14021)".to_owned(),
        });
    }
    if !talos.puller_falls_back() && parts.open.mirrors.contains_key("*") {
        cautions.push(Caution {
            weight: Weight::Warning,
            message: format!("on Talos {talos}, Talos' own pulls have no fallback behind `*`"),
            help: "list the registries that its system images come from".to_owned(),
        });
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_follows_the_version() {
        let versions =
            |talos: Option<&str>| Versions { talos: talos.map(|v| v.parse().unwrap()), talosctl: None };
        for (version, want) in [
            (None, Format::Strategic),
            (Some("v1.8.4"), Format::JsonPatch),
            (Some("v1.11"), Format::JsonPatch),
            (Some("v1.12.1"), Format::Strategic),
            (Some("v1.13"), Format::Strategic),
            (Some("v1.14.0-rc.1"), Format::Strategic),
            (Some("v1.14"), Format::Documents),
        ] {
            assert_eq!(choose(Choice::Auto, &versions(version)), Ok(want), "{version:?}");
        }
        assert!(choose(Choice::Only(Format::Documents), &versions(Some("v1.11"))).is_err());
        let old_client = Versions { talosctl: Some(TalosVersion::minor(1, 13)), ..versions(Some("v1.14")) };
        assert_eq!(choose(Choice::Auto, &old_client), Ok(Format::Strategic));
    }
}
