use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use super::exit;
use crate::secret::without_userinfo;

/// Says what is wrong with a command line, or the help that it asks for; returns the exit code.
///
/// clap repeats a value that it does not take, and a URL may hold a password.
pub(crate) fn usage(mut error: clap::Error) -> ExitCode {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        let shown = without_userinfo(value);
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    // clap prints help and versions to standard output, anything else to standard error.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { exit::USAGE.code } else { exit::OK.code })
}
