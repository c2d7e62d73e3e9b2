#![expect(clippy::disallowed_methods, reason = "dials nodes, within time limits")]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tower_service::Service;

use super::endpoint::Endpoint;
use super::error::{TalosError, from_tls};
use super::proxy::Proxy;

/// How long a server may take to speak first. One that never does is used anyway.
const FIRST_WORDS: Duration = Duration::from_secs(3);
/// How long what was sent may stay without an acknowledgement, before the connection counts as dead.
#[cfg(target_os = "linux")]
const SILENCE_MILLISECONDS: u32 = 10_000;
/// The longest answer of a proxy that is read.
const PROXY_ANSWER: usize = 16 * 1024;

/// Opens connections to one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Arc<ClientConfig>,
    /// Whether a client certificate is shown.
    pub(super) certificate: bool,
    pub(super) proxy: Option<Proxy>,
    /// How long a connection may take to be made.
    pub(super) timeout: Duration,
}

impl Dialer {
    async fn dial(self) -> Result<TlsStream<TcpStream>, TalosError> {
        let connected = tokio::time::timeout(self.timeout, self.connect()).await;
        let (endpoint, after) = (self.endpoint.clone(), self.timeout);
        connected.unwrap_or(Err(TalosError::ConnectTimedOut { endpoint, after }))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, TalosError> {
        let tcp = if let Some(proxy) = &self.proxy {
            self.through(proxy).await?
        } else {
            let address = (self.endpoint.host(), self.endpoint.port());
            TcpStream::connect(address).await.map_err(|error| self.unreachable(error))?
        };
        // A call is small and waits for its answer.
        tcp.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        notice_silence(&tcp);
        let name = ServerName::try_from(self.endpoint.host().to_owned())
            .map_err(|error| self.unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
        let mut tls = tls.map_err(|error| from_tls(error, &self.endpoint, self.certificate))?;
        self.hear(&mut tls).await?;
        Ok(tls)
    }

    /// Waits for the server's first words, which are its HTTP/2 settings, or an alert about the client's certificate.
    ///
    /// With TLS 1.3 the client is done before the server has looked at its certificate. To write then would be to
    /// race the alert against a broken pipe, which says nothing.
    async fn hear(&self, tls: &mut TlsStream<TcpStream>) -> Result<(), TalosError> {
        match tokio::time::timeout(FIRST_WORDS, tls.fill_buf()).await {
            Ok(Ok([])) => Err(self.unreachable(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) | Err(_) => Ok(()),
            Ok(Err(error)) => Err(from_tls(error, &self.endpoint, self.certificate)),
        }
    }

    async fn through(&self, proxy: &Proxy) -> Result<TcpStream, TalosError> {
        let name = format!("{}:{}", proxy.host, proxy.port);
        let failed = |answer: String| TalosError::Proxy {
            proxy: name.clone(),
            endpoint: self.endpoint.clone(),
            answer,
        };
        let connected = TcpStream::connect((proxy.host.as_str(), proxy.port)).await;
        let mut tcp = connected.map_err(|error| failed(error.to_string()))?;
        let endpoint = &self.endpoint;
        let mut request = format!("CONNECT {endpoint} HTTP/1.1\r\nHost: {endpoint}\r\n");
        if let Some(authorization) = &proxy.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization.expose());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let written = tcp.write_all(request.as_bytes()).await;
        written.map_err(|error| failed(error.to_string()))?;
        // Byte by byte: what follows the answer belongs to TLS.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = tcp.read_u8().await.map_err(|error| failed(error.to_string()))?;
            answer.push(byte);
            if answer.len() > PROXY_ANSWER {
                return Err(failed("its answer has no end".to_owned()));
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.lines().next().unwrap_or_default();
        match status.split(' ').nth(1) {
            Some(code) if code.starts_with('2') => Ok(tcp),
            Some(_) | None => Err(failed(status.to_owned())),
        }
    }

    fn unreachable(&self, error: io::Error) -> TalosError {
        TalosError::Unreachable { endpoint: self.endpoint.clone(), source: Arc::new(error) }
    }
}

/// Has the kernel end a connection whose other end has gone without a word, and throw away what was not sent when it is
/// given up: a config that arrives long after its call was given up would be a trial that nothing expects.
#[cfg(target_os = "linux")]
fn notice_silence(tcp: &TcpStream) {
    use rustix::net::sockopt;
    // Where the kernel refuses one of them, the time limits of calls still hold.
    let _ = sockopt::set_socket_keepalive(tcp, true);
    let _ = sockopt::set_tcp_keepidle(tcp, Duration::from_secs(5));
    let _ = sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(2));
    let _ = sockopt::set_tcp_keepcnt(tcp, 3);
    let _ = sockopt::set_tcp_user_timeout(tcp, SILENCE_MILLISECONDS);
    let _ = sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
}

#[cfg(not(target_os = "linux"))]
fn notice_silence(_: &TcpStream) {}

/// Opens a connection whenever the channel needs one.
impl Service<Uri> for Dialer {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = TalosError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    }
}
