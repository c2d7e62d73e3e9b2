/// Why registries cannot be written into a text without touching more than registries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// There is no document to write `machine.registries` into.
    #[error("there is no v1alpha1 document, so `machine.registries` has no place")]
    NoMachine,
    /// There are several documents with `machine`.
    #[error("there are {0} v1alpha1 documents")]
    SeveralMachines(usize),
    /// What has to change stands behind something else.
    #[error("`{path}` on line {line} does not begin on a line of its own")]
    NotOnItsOwnLine {
        /// The mapping.
        path: &'static str,
        /// Its line.
        line: usize,
    },
    /// What has to change stands elsewhere.
    #[error("`{path}` on line {line} comes through an alias")]
    Alias {
        /// The value.
        path: &'static str,
        /// Its line.
        line: usize,
    },
    /// What should stay cannot be read in full.
    #[error("registries that should stay cannot be read: {0}")]
    Unreadable(String),
    /// The edited text would say something else than intended.
    #[error("the edit would change more than registries: {0}")]
    Unsafe(&'static str),
}

impl ReplaceError {
    /// Returns what to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoMachine => "write registries as documents, or give the whole machine config",
            Self::SeveralMachines(_) => "a machine config has one; split the file",
            Self::NotOnItsOwnLine { .. } => {
                "write it as an indented block, such as `talosctl gen config` does"
            }
            Self::Alias { .. } => "write the value out in its place, without anchor and alias",
            Self::Unreadable(_) => "correct it first, or drop what is not in the inventory",
            Self::Unsafe(_) => {
                "write `machine.registries` and the registry documents as plain indented blocks"
            }
        }
    }
}
