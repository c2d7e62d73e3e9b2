use crate::ui::error::CliError;
use crate::ui::exit;

/// Returns what runs asynchronous work of a command that is not the server.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::from_error(exit::REMOTE, error).context("cannot start"))
}
