//! Every finding that has a code: those of files, and the causes that `verify` finds.

use crate::finding::Code;
use crate::mirror::Cause;

/// A finding that can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The code, such as `E101`.
    pub(super) code: &'static str,
    pub(super) severity: &'static str,
    pub(super) title: &'static str,
    pub(super) explanation: &'static str,
}

/// Returns all of them, in the order of their codes.
pub(super) fn all() -> Vec<Listed> {
    let codes = Code::ALL.iter().map(|code| Listed {
        code: code.as_str(),
        severity: code.severity().as_str(),
        title: code.title(),
        explanation: code.explanation(),
    });
    let causes = Cause::ALL.iter().map(|cause| Listed {
        code: cause.as_str(),
        severity: if cause.is_warning() { "warning" } else { "error" },
        title: cause.title(),
        explanation: cause.explanation(),
    });
    let mut all: Vec<Listed> = codes.chain(causes).collect();
    all.sort_by_key(|listed| listed.code);
    all
}
