use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server does not start, or part of it cannot be read again.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}{}", hint(.source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A socket that the service manager passed cannot be used.
    #[error("cannot use the sockets that the service manager passed: {0}")]
    Passed(#[source] io::Error),
    /// There is nothing to listen on.
    #[error("there is no address to listen on")]
    NoAddress,
    /// A file of the certificate cannot be used.
    #[error("cannot use {} for TLS: {why}", .file.display())]
    Certificate {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it, choose another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege, choose a higher one",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}
