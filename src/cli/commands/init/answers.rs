use crate::registries::TalosVersion;
use crate::secret::Secret;

/// Where the mirror's password comes from.
#[derive(Clone, Debug)]
pub(super) enum PasswordFrom {
    Env(String),
    File(String),
    Command(Vec<String>),
    Inline(Secret<String>),
}

/// What an inventory is made of: from flags, from the terminal.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) kind: String,
    pub(super) url: String,
    pub(super) registries: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) project: Option<String>,
    pub(super) credentials: Option<(String, PasswordFrom)>,
    pub(super) fallback: String,
    pub(super) talos_version: Option<TalosVersion>,
    /// The context of the talosconfig.
    pub(super) context: Option<String>,
    /// NAME=ADDRESS, or an address alone.
    pub(super) nodes: Vec<String>,
    pub(super) age: Vec<String>,
}

impl Answers {
    /// Returns whether a password stands in the inventory itself.
    pub(super) fn holds_a_password(&self) -> bool {
        matches!(&self.credentials, Some((_, PasswordFrom::Inline(_))))
    }

    /// Returns the answers without their password, as they may be shown.
    pub(super) fn shown(&self) -> Self {
        let mut shown = self.clone();
        if let Some((_, from @ PasswordFrom::Inline(_))) = &mut shown.credentials {
            *from = PasswordFrom::Inline(Secret::from("<redacted>"));
        }
        shown
    }
}
