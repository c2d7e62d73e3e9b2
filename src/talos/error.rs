use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError as PeerError};

use super::certificate::CertificateError;
use super::endpoint::Endpoint;

/// Why a node did not answer as it should.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TalosError {
    /// Nothing listens there, or the way there is cut.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The proxy on the way refuses the connection.
    #[error("the proxy {proxy} does not connect to {endpoint}: {answer}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// Where it should connect.
        endpoint: Endpoint,
        /// What it says.
        answer: String,
    },
    /// It took too long.
    #[error("{what}: no answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// What.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// No connection came about in time.
    #[error("cannot connect to {endpoint} within {} s", after.as_secs_f32())]
    ConnectTimedOut {
        /// Where.
        endpoint: Endpoint,
        /// How long was waited.
        after: Duration,
    },
    /// The server's certificate is not signed by the talosconfig's authority.
    #[error("{endpoint} belongs to another cluster: its certificate is not signed by the talosconfig's `ca`")]
    OtherCluster {
        /// Which server.
        endpoint: Endpoint,
    },
    /// The server's certificate cannot be trusted for another reason.
    #[error("{endpoint} shows a certificate that cannot be trusted")]
    Untrusted {
        /// Which server.
        endpoint: Endpoint,
        /// Why not.
        #[source]
        source: Arc<rustls::Error>,
    },
    /// The server wants a certificate, and there was none.
    #[error("{endpoint} wants a client certificate, and the context has none")]
    CertificateWanted {
        /// Which server.
        endpoint: Endpoint,
    },
    /// The server does not accept the client's certificate.
    #[error("{endpoint} does not accept the client certificate ({alert})")]
    CertificateRefused {
        /// Which server.
        endpoint: Endpoint,
        /// What it says about it.
        alert: &'static str,
    },
    /// TLS failed in another way.
    #[error("{endpoint} does not speak TLS as Talos does")]
    Tls {
        /// Which server.
        endpoint: Endpoint,
        /// How.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// An endpoint answers, but cannot reach the node.
    #[error("{through} does not reach {node}: {message}")]
    NodeUnreachable {
        /// The endpoint.
        through: Endpoint,
        /// The node.
        node: String,
        /// What it says.
        message: String,
    },
    /// The endpoint is a worker, which does not pass calls on.
    #[error("{endpoint} is a worker and does not pass calls on to other nodes")]
    NoForwarding {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The certificate's roles do not allow it.
    #[error("{what} is not allowed: {message}")]
    Denied {
        /// What.
        what: String,
        /// What the node says.
        message: String,
    },
    /// It is not there.
    #[error("{what} is not there: {message}")]
    NotFound {
        /// What.
        what: String,
        /// What the node says.
        message: String,
    },
    /// The node's Talos does not know the call.
    #[error("this version of Talos does not know {what}: {message}")]
    Unimplemented {
        /// What.
        what: String,
        /// What the node says.
        message: String,
    },
    /// The connection broke while a call was under way; what the node did is not known.
    #[error("the connection to {endpoint} broke during {what}")]
    Lost {
        /// Which server.
        endpoint: Endpoint,
        /// What.
        what: String,
    },
    /// The node refuses or fails.
    #[error("{what} failed ({code}): {message}")]
    Failed {
        /// What.
        what: String,
        /// The gRPC code.
        code: String,
        /// What the node says.
        message: String,
    },
    /// The node's answer is malformed.
    #[error("{what}: the answer {flaw}")]
    Answer {
        /// What.
        what: String,
        /// What is wrong with it.
        flaw: String,
    },
}

/// What is known of a call that changes something, and that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The node has refused it.
    Refused,
    /// It has certainly not reached the node, so that repeating it does nothing twice.
    NotSent,
    /// It may have been carried out.
    Lost,
}

/// Why no client can be made of a context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Its certificates cannot be used.
    #[error("context `{context}` cannot be used")]
    Certificate {
        /// The context.
        context: String,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// A text cannot be sent along with a call.
    #[error("`{0}` of the context holds characters that cannot be sent")]
    Characters(&'static str),
}

impl TalosError {
    /// Returns what to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("is it the right address, and does a firewall let port 50000 through?")
            }
            Self::Proxy { .. } => Some("NO_PROXY takes an address off the proxy"),
            Self::TimedOut { .. } | Self::ConnectTimedOut { .. } => Some("--timeout waits longer"),
            Self::OtherCluster { .. } => Some(
                "is it the right --context, and are the endpoints up to date? A node in maintenance mode has such a \
                 certificate, too",
            ),
            Self::Untrusted { source, .. } => match source.as_ref() {
                rustls::Error::InvalidCertificate(
                    PeerError::NotValidForName | PeerError::NotValidForNameContext { .. },
                ) => Some("use an address that the certificate names, or add this one to machine.certSANs"),
                rustls::Error::InvalidCertificate(
                    PeerError::Expired
                    | PeerError::ExpiredContext { .. }
                    | PeerError::NotValidYet
                    | PeerError::NotValidYetContext { .. },
                ) => Some("are the clocks of the node and of this machine right?"),
                _ => None,
            },
            Self::CertificateWanted { .. } | Self::CertificateRefused { .. } => Some(
                "is this talosconfig for this cluster? `talosctl config new` on a machine with access makes one",
            ),
            Self::NodeUnreachable { message, .. } if message.contains("signed by unknown authority") => Some(
                "is it in maintenance mode, or of another cluster? Its certificate is not of this cluster's authority",
            ),
            Self::NodeUnreachable { .. } => {
                Some("is the node up? Names are looked up by the endpoint, not here")
            }
            Self::NoForwarding { .. } => {
                Some("name control plane nodes as endpoints, or reach the node as HOST:PORT")
            }
            Self::Denied { .. } => Some("machine configs and files are for the role os:admin"),
            Self::Tls { .. } => Some("is it Talos' API that listens there?"),
            Self::NotFound { .. }
            | Self::Unimplemented { .. }
            | Self::Lost { .. }
            | Self::Failed { .. }
            | Self::Answer { .. } => None,
        }
    }

    /// Returns the word for it that scripts can rely on.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::NodeUnreachable { .. } => "unreachable",
            Self::Proxy { .. } => "proxy",
            Self::TimedOut { .. } | Self::ConnectTimedOut { .. } => "timeout",
            Self::OtherCluster { .. } => "other-cluster",
            Self::Untrusted { .. } => "untrusted",
            Self::CertificateWanted { .. } => "certificate-wanted",
            Self::CertificateRefused { .. } => "certificate-refused",
            Self::Tls { .. } => "tls",
            Self::NoForwarding { .. } => "no-forwarding",
            Self::Denied { .. } => "denied",
            Self::NotFound { .. } => "not-found",
            Self::Unimplemented { .. } => "unimplemented",
            Self::Lost { .. } => "lost",
            Self::Failed { .. } => "failed",
            Self::Answer { .. } => "answer",
        }
    }

    /// Returns whether another endpoint may do better.
    pub(super) fn may_differ_elsewhere(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Proxy { .. }
            | Self::TimedOut { .. }
            | Self::ConnectTimedOut { .. }
            | Self::OtherCluster { .. }
            | Self::Untrusted { .. }
            | Self::CertificateWanted { .. }
            | Self::CertificateRefused { .. }
            | Self::Tls { .. }
            | Self::NodeUnreachable { .. }
            | Self::NoForwarding { .. }
            | Self::Lost { .. } => true,
            Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Unimplemented { .. }
            | Self::Failed { .. }
            | Self::Answer { .. } => false,
        }
    }

    /// Returns whether a call that changes something has reached the node.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Unreachable { .. }
            | Self::Proxy { .. }
            | Self::ConnectTimedOut { .. }
            | Self::OtherCluster { .. }
            | Self::Untrusted { .. }
            | Self::CertificateWanted { .. }
            | Self::CertificateRefused { .. }
            | Self::Tls { .. }
            | Self::NoForwarding { .. } => Delivery::NotSent,
            Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Unimplemented { .. }
            | Self::Failed { .. } => Delivery::Refused,
            Self::TimedOut { .. }
            | Self::NodeUnreachable { .. }
            | Self::Lost { .. }
            | Self::Answer { .. } => Delivery::Lost,
        }
    }
}

/// Makes an error of one that came while TLS was being set up.
pub(super) fn from_tls(error: std::io::Error, endpoint: &Endpoint, certificate: bool) -> TalosError {
    let endpoint = endpoint.clone();
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
    match tls {
        Some(rustls::Error::InvalidCertificate(PeerError::UnknownIssuer | PeerError::BadSignature)) => {
            TalosError::OtherCluster { endpoint }
        }
        Some(error @ rustls::Error::InvalidCertificate(_)) => {
            TalosError::Untrusted { endpoint, source: Arc::new(error) }
        }
        Some(rustls::Error::AlertReceived(alert)) => match refusal(alert) {
            Some(_) if !certificate => TalosError::CertificateWanted { endpoint },
            Some(alert) => TalosError::CertificateRefused { endpoint, alert },
            None => TalosError::Tls { endpoint, source: Arc::new(error) },
        },
        Some(_) => TalosError::Tls { endpoint, source: Arc::new(error) },
        None => TalosError::Unreachable { endpoint, source: Arc::new(error) },
    }
}

/// Returns what an alert says about the client's certificate, if it is about that.
fn refusal(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::NoCertificate | AlertDescription::CertificateRequired => Some("none was shown"),
        AlertDescription::BadCertificate => Some("bad certificate"),
        AlertDescription::UnsupportedCertificate => Some("unsupported certificate"),
        AlertDescription::CertificateRevoked => Some("revoked"),
        AlertDescription::CertificateExpired => Some("expired"),
        AlertDescription::CertificateUnknown => Some("unknown certificate"),
        AlertDescription::UnknownCA => Some("signed by an authority that the cluster does not know"),
        AlertDescription::AccessDenied => Some("access denied"),
        // What a server says when it cannot verify the signature of a certificate of the same authority's name.
        AlertDescription::DecryptError => Some("its signature is wrong"),
        _ => None,
    }
}
