#![expect(clippy::disallowed_methods, reason = "sends files, within time limits")]

use std::cell::RefCell;
use std::fs::File;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::config::Limits;
use super::page_cache::{is_resident, read_resident, warm};

/// How much of a file goes to the kernel at once, so that others have their turn: as nginx' `sendfile_max_chunk`.
const CHUNK: u64 = 2 * 1024 * 1024;
/// How much of a file is encrypted at once: what rustls takes before it wants to send.
const TLS_CHUNK: usize = 64 * 1024;

thread_local! {
    /// Lent to the connection that runs on the thread, between one wait and the next; so connections need no buffers of their own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; TLS_CHUNK].into_boxed_slice());
}

/// A connection's bytes, in the clear or not.
#[derive(Debug)]
pub(super) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why sending stopped.
#[derive(Debug)]
pub(super) enum SendError {
    /// Of the client.
    Client(io::Error),
    /// Of what was to be sent.
    Body(io::Error),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Client(error)
    }
}

/// The timer of a connection, and how fast its client takes what it is sent.
#[derive(Debug)]
pub(super) struct MinimumRate {
    pub(super) sleep: Pin<Box<Sleep>>,
    stall_timeout: Duration,
    least: u64,
    /// How long the client has been waited for since the count of bytes began.
    waited: Duration,
    moved: u64,
}

impl MinimumRate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(limits.head_timeout)),
            stall_timeout: limits.stall_timeout,
            least: limits.least_rate.saturating_mul(limits.stall_timeout.as_secs()).max(1),
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    /// Waits for the client to take something, unless it has taken too little for too long.
    async fn moving(
        &mut self,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<Result<usize, SendError>>,
    ) -> Result<usize, SendError> {
        let mut since: Option<Instant> = None;
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = step(cx) {
                    if let Some(since) = since {
                        self.waited += since.elapsed();
                    }
                    self.moved += done.as_ref().map_or(0, |moved| *moved as u64);
                    return Poll::Ready(done);
                }
                if since.is_none() {
                    let now = Instant::now();
                    since = Some(now);
                    self.sleep.as_mut().reset(now + self.stall_timeout.saturating_sub(self.waited));
                }
                ready!(self.sleep.as_mut().poll(cx));
                if self.moved < self.least {
                    return Poll::Ready(Err(SendError::Client(io::ErrorKind::TimedOut.into())));
                }
                (self.waited, self.moved, since) = (Duration::ZERO, 0, None);
            }
        })
        .await
    }
}

/// Calls the kernel when the socket takes something, until it does not say that it would have to wait.
fn poll_send(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    mut send: impl FnMut() -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, || Ok(send()?)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl ClientStream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Reads into the thread's buffer, at most `most` bytes, and hands over what came.
    pub(super) fn poll_receive<T>(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let most = most.min(scratch.len());
            let mut buffer = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
            ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(take(buffer.filled())))
        })
    }

    /// Waits until the client takes something.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Writes what the client takes at once, without waiting; returns how much.
    pub(super) fn try_write(&self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let Self::Plain(tcp) = self else { return Ok(0) };
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        match tcp.try_io(Interest::WRITABLE, || Ok(rustix::net::send(tcp, bytes, flags)?)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            done => done,
        }
    }

    /// Writes all of it.
    pub(super) async fn write(
        &mut self,
        bytes: &[u8],
        more: bool,
        rate: &mut MinimumRate,
    ) -> Result<(), SendError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = match self {
                Self::Plain(tcp) => {
                    let flags =
                        if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
                    rate.moving(|cx| {
                        poll_send(tcp, cx, || rustix::net::send(&*tcp, rest, flags))
                            .map_err(SendError::Client)
                    })
                    .await?
                }
                Self::Tls(tls) => {
                    let mut tls = Pin::new(tls);
                    rate.moving(|cx| tls.as_mut().poll_write(cx, rest).map_err(SendError::Client)).await?
                }
            };
            if written == 0 {
                return Err(SendError::Client(io::ErrorKind::WriteZero.into()));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a run of a file, and counts in `sent` what went out.
    ///
    /// In the clear the kernel sends it from the page cache, without a copy. Under TLS it is read and encrypted a
    /// little at a time. What is not in the page cache is brought there first, on another thread.
    pub(super) async fn send_file(
        &mut self,
        file: &Arc<File>,
        (mut offset, len): (u64, u64),
        rate: &mut MinimumRate,
        sent: &mut u64,
    ) -> Result<(), SendError> {
        let end = offset.saturating_add(len);
        let mut warm_to = offset;
        while offset < end {
            if offset >= warm_to {
                let len = CHUNK.min(end - offset);
                if !is_resident(file, offset, len) {
                    warm(file, offset, len).await.map_err(SendError::Body)?;
                }
                warm_to = offset + len;
            }
            let most = usize::try_from(warm_to - offset).unwrap_or(TLS_CHUNK);
            let moved = match self {
                Self::Plain(tcp) => {
                    rate.moving(|cx| {
                        let mut at = offset;
                        let send = || rustix::fs::sendfile(&*tcp, &**file, Some(&mut at), most);
                        poll_send(tcp, cx, send).map_err(SendError::Client)
                    })
                    .await?
                }
                Self::Tls(tls) => {
                    let mut tls = Pin::new(tls);
                    rate.moving(|cx| poll_encrypt(tls.as_mut(), cx, file, offset, most)).await?
                }
            };
            if moved == 0 {
                return Err(SendError::Body(io::ErrorKind::UnexpectedEof.into()));
            }
            offset += moved as u64;
            *sent += moved as u64;
        }
        Ok(())
    }

    /// Sends what still lies in buffers of ours.
    pub(super) async fn flush(&mut self, rate: &mut MinimumRate) -> Result<(), SendError> {
        let Self::Tls(tls) = self else { return Ok(()) };
        let mut tls = Pin::new(tls);
        rate.moving(|cx| tls.as_mut().poll_flush(cx).map_ok(|()| 0).map_err(SendError::Client)).await?;
        Ok(())
    }

    /// Ends the connection so that the client cannot take what it has for all there is.
    pub(super) fn reset(self) {
        // If this fails the client sees an orderly end, and too few bytes.
        let _ = self.tcp().set_zero_linger();
    }

    /// Ends the connection in order: the client gets all that was written, though it may still be sending.
    ///
    /// To close while bytes wait to be read is to reset, which can overtake the answer.
    pub(super) async fn close(mut self) {
        let linger = async {
            self.shutdown().await?;
            let mut left = MOST_DISCARDED;
            while left > 0 {
                match std::future::poll_fn(|cx| self.poll_receive(cx, TLS_CHUNK, <[u8]>::len)).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER, linger).await;
    }
}

/// How long a client may take to see that it was answered.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may still send.
const MOST_DISCARDED: usize = 1024 * 1024;

/// Reads some of a file into the thread's buffer and encrypts as much of it as is taken.
fn poll_encrypt(
    tls: Pin<&mut Box<TlsStream<TcpStream>>>,
    cx: &mut Context<'_>,
    file: &File,
    offset: u64,
    most: usize,
) -> Poll<Result<usize, SendError>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let most = most.min(scratch.len());
        let buffer = scratch.get_mut(..most).unwrap_or_default();
        let read = match read_resident(file, offset, buffer).map_err(SendError::Body)? {
            Some(read) => read,
            // It was there a moment ago, or the kernel cannot tell; either way the wait is short.
            None => std::os::unix::fs::FileExt::read_at(file, buffer, offset).map_err(SendError::Body)?,
        };
        match buffer.get(..read) {
            None | Some([]) => Poll::Ready(Ok(0)),
            Some(bytes) => tls.poll_write(cx, bytes).map_err(SendError::Client),
        }
    })
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
