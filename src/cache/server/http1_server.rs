//! HTTP/1.1, the protocol that nodes speak to registries.
//!
//! It is our own, over `httparse`, because hyper gives a body no way to the socket but through memory (hyper issue
//! 3026): here the kernel sends blobs from the page cache, and a small answer is one read and one write. What is left
//! out makes it small: requests have no bodies, and answers always have a length.
//!
//! Processor time of the server alone, on two shared processors of 2026, against nginx 1.22 with `proxy_cache`
//! (`benches/cache/transport.rs`; `wrk -t2 -c64`, eight clients): 7 to 8 µs for a manifest of 1 KiB against 11 to 12,
//! 0.14 s for a GiB of blobs against 0.23. One runtime of several threads costs no more for a request than one of one
//! thread, so that there is no need for a runtime and a socket (`SO_REUSEPORT`) for each, which would leave threads
//! idle whose share of the connections is small.

#![expect(clippy::disallowed_methods, reason = "measures requests")]

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::time::Instant;

use super::access_log::{self, Answered, Asked};
use super::config::{Limits, MAX_HEAD};
use super::connections::Place;
use super::front::Identity;
use super::http2_server;
use super::metrics::Metrics;
use super::reply::{Says, part, refusal, render};
use super::request::{Keep, PREFACE, Parsed, Refused, parse};
use super::resident_file::{is_resident, warm};
use super::traffic::{End, Kind, Outcome};
use super::wire_server::{Pace, SendError, Wire};
use crate::cache::{Body, Handler, Piece, Pieces};
use crate::oci::Refusal;

/// The largest body that goes out in one write with its head.
const SMALL: u64 = 16 * 1024;

thread_local! {
    /// Lent to whoever has the thread, between one wait and the next.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The second that [`DATE`] is of.
    static SECOND: Cell<u64> = const { Cell::new(0) };
    static DATE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Shared<H> {
    pub(super) handler: Arc<H>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Limits,
    pub(super) started: Instant,
}

impl<H> Shared<H> {
    /// Returns the milliseconds since the server started.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a connection says next.
enum Next {
    Request(Request<()>, Keep),
    Refused(Refused),
    /// It speaks HTTP/2, and these are the first bytes of it.
    Http2(Bytes),
    /// Nothing any more.
    End,
}

/// What becomes of a connection after an answer.
enum Flow {
    Go,
    Close,
    Reset,
}

struct Connection<H> {
    wire: Wire,
    peer: SocketAddr,
    place: Place,
    shared: Arc<Shared<H>>,
    pace: Pace,
    /// What has come and is not used up.
    pending: Bytes,
    /// Whether a request has been answered.
    served: bool,
}

/// Answers what comes over a connection, until it ends.
pub(super) async fn serve<H: Handler>(wire: Wire, peer: SocketAddr, place: Place, shared: Arc<Shared<H>>) {
    let pace = Pace::new(&shared.limits);
    let mut connection = Connection { wire, peer, place, shared, pace, pending: Bytes::new(), served: false };
    loop {
        let flow = match connection.next().await {
            Next::Request(request, keep) if connection.place.work() => connection.answer(request, keep).await,
            Next::Refused(refused) if connection.place.work() => connection.refuse(refused).await,
            Next::Http2(bytes) => {
                let Connection { wire, peer, place, shared, .. } = connection;
                return http2_server::serve(wire, bytes, peer, place, shared).await;
            }
            Next::Request(..) | Next::Refused(_) | Next::End => return,
        };
        match flow {
            Flow::Go => connection.served = true,
            Flow::Close => return connection.wire.close().await,
            Flow::Reset => return connection.wire.reset(),
        }
    }
}

impl<H: Handler> Connection<H> {
    async fn next(&mut self) -> Next {
        let limits = self.shared.limits;
        let mut deadline = None;
        loop {
            if !self.pending.is_empty() {
                if !self.served && is_preface(&self.pending) {
                    if self.pending.len() >= PREFACE.len() {
                        return Next::Http2(std::mem::take(&mut self.pending));
                    }
                } else {
                    match parse(&self.pending) {
                        Parsed::Head(request, len, keep) => {
                            self.pending = self.pending.split_off(len);
                            return Next::Request(request, keep);
                        }
                        Parsed::Refused(refused) => return Next::Refused(refused),
                        Parsed::Partial => {}
                    }
                }
            }
            let started = !self.pending.is_empty();
            let deadline = deadline.get_or_insert_with(|| {
                let now = Instant::now();
                if self.served {
                    self.place.wait(self.shared.millis(now));
                }
                let timeout = if started || !self.served { limits.head_timeout } else { limits.idle_timeout };
                now + timeout
            });
            self.pace.sleep.as_mut().reset(*deadline);
            match std::future::poll_fn(|cx| self.poll_more(cx)).await {
                Some(bytes) => {
                    if !started && self.served {
                        *deadline = Instant::now() + limits.head_timeout;
                    }
                    self.pending = bytes;
                }
                None => return Next::End,
            }
        }
    }

    /// Waits for more bytes of a head, in vain if the client ends, takes too long, or has to make room.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let pending = &self.pending;
        let most = MAX_HEAD - pending.len().min(MAX_HEAD - 1);
        let received = self.wire.poll_receive(cx, most, |bytes| {
            if bytes.is_empty() {
                None
            } else if pending.is_empty() {
                Some(Bytes::copy_from_slice(bytes))
            } else {
                Some([pending, bytes].concat().into())
            }
        });
        if let Poll::Ready(received) = received {
            return Poll::Ready(received.unwrap_or_default());
        }
        if self.place.poll_displaced(cx).is_ready() {
            return Poll::Ready(None);
        }
        // One that has not been answered yet has a request on its way; it may still come.
        if self.place.draining() && self.served && pending.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.pace.sleep.as_mut().poll(cx));
        Poll::Ready(None)
    }

    async fn refuse(&mut self, refused: Refused) -> Flow {
        let mut response = refusal(&Refusal::Request(refused.problem));
        *response.status_mut() = refused.status;
        let status = response.status();
        let sent = self.send(response, false, Says::Close).await;
        let end = if sent.1.is_ok() { End::Complete } else { End::Gone };
        self.shared.metrics.answered(Kind::Other, Outcome::None, status, end, sent.0);
        tracing::debug!(peer = %self.peer, problem = refused.problem, "refused a request");
        Flow::Close
    }

    async fn answer(&mut self, request: Request<()>, keep: Keep) -> Flow {
        let kind = Kind::of_path(request.uri().path());
        let head = request.method() == Method::HEAD;
        let logged = access_log::wanted().then(|| {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            (Asked { peer: self.peer, method, uri }, Instant::now())
        });
        let response = self.shared.handler.handle(request, self.peer).await;
        let status = response.status();
        let outcome = Outcome::of_header(response.headers().get("x-cache"));
        let user = logged.as_ref().and_then(|_| response.extensions().get::<Identity>().cloned());
        let says = match keep {
            Keep::Alive if !self.place.draining() => Says::Nothing,
            Keep::AliveIfSaid if !self.place.draining() => Says::KeepAlive,
            Keep::Alive | Keep::AliveIfSaid | Keep::Close => Says::Close,
        };
        let (sent, result) = self.send(response, head, says).await;
        let (end, flow, error) = match result {
            Ok(()) if says == Says::Close => (End::Complete, Flow::Close, None),
            Ok(()) => (End::Complete, Flow::Go, None),
            Err(SendError::Client(error)) if error.kind() == io::ErrorKind::TimedOut => {
                (End::Stalled, Flow::Reset, None)
            }
            Err(SendError::Client(_)) => (End::Gone, Flow::Reset, None),
            Err(SendError::Body(error)) => (End::Broken, Flow::Reset, Some(error.to_string())),
        };
        self.shared.metrics.answered(kind, outcome, status, end, sent);
        if let Some((asked, since)) = &logged {
            let (took, user) = (since.elapsed(), user.as_ref());
            access_log::log(asked, &Answered { kind, outcome, status, end, sent, took, user, error });
        }
        flow
    }

    /// Sends an answer; returns how many bytes of its body went out.
    async fn send(
        &mut self,
        response: Response<Body>,
        head: bool,
        says: Says,
    ) -> (u64, Result<(), SendError>) {
        let mut sent = 0;
        let (response, body) = part(response, head);
        let result = self.send_parts(&response, body, says, &mut sent).await;
        (sent, result)
    }

    async fn send_parts(
        &mut self,
        response: &Response<()>,
        body: Body,
        says: Says,
        sent: &mut u64,
    ) -> Result<(), SendError> {
        match body {
            Body::Empty => self.send_head(response, None, says, false).await?,
            Body::Piece(piece) if piece.len() <= SMALL => {
                if let Piece::File { file, offset, len } = &piece
                    && !is_resident(file, *offset, *len)
                {
                    warm(file, *offset, *len).await.map_err(SendError::Body)?;
                }
                self.send_head(response, Some(&piece), says, false).await?;
                *sent = piece.len();
            }
            Body::Piece(piece) => {
                self.send_head(response, None, says, true).await?;
                self.send_piece(piece, sent).await?;
            }
            Body::Pieces { len, mut pieces } => {
                let first = {
                    let mut next = pieces.next();
                    let first = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
                    // The head waits for no byte of the body: clients give up on servers that take long to begin.
                    self.send_head(response, None, says, first.is_ready()).await?;
                    match first {
                        Poll::Ready(first) => first,
                        Poll::Pending => {
                            self.wire.flush(&mut self.pace).await?;
                            next.await
                        }
                    }
                };
                self.send_pieces(first, &mut *pieces, len, sent).await?;
            }
        }
        self.wire.flush(&mut self.pace).await
    }

    async fn send_pieces(
        &mut self,
        first: io::Result<Option<Piece>>,
        pieces: &mut dyn Pieces,
        len: u64,
        sent: &mut u64,
    ) -> Result<(), SendError> {
        let mut next = first;
        loop {
            let piece = next.map_err(SendError::Body)?;
            let piece = piece.filter(|piece| piece.len() <= len - *sent);
            let piece = piece.ok_or_else(|| SendError::Body(io::ErrorKind::InvalidData.into()))?;
            self.send_piece(piece, sent).await?;
            if *sent == len {
                return Ok(());
            }
            self.wire.flush(&mut self.pace).await?;
            next = pieces.next().await;
        }
    }

    async fn send_piece(&mut self, piece: Piece, sent: &mut u64) -> Result<(), SendError> {
        match piece {
            Piece::File { file, offset, len } => {
                self.wire.send_file(&file, (offset, len), &mut self.pace, sent).await
            }
            Piece::Bytes(bytes) => {
                self.wire.write(&bytes, false, &mut self.pace).await?;
                *sent += bytes.len() as u64;
                Ok(())
            }
        }
    }

    /// Sends a head, and a small body with it in one write.
    async fn send_head(
        &mut self,
        response: &Response<()>,
        piece: Option<&Piece>,
        says: Says,
        more: bool,
    ) -> Result<(), SendError> {
        let rest = HEAD.with_borrow_mut(|out| {
            out.clear();
            with_date(|date| render(out, response, Some(date), says));
            if let Some(piece) = piece {
                append(out, piece).map_err(SendError::Body)?;
            }
            let written = self.wire.try_write(out, more)?;
            Ok::<_, SendError>(out.get(written..).unwrap_or_default().to_vec())
        })?;
        self.wire.write(&rest, more, &mut self.pace).await
    }
}

/// Appends a small body.
fn append(out: &mut Vec<u8>, piece: &Piece) -> io::Result<()> {
    match piece {
        Piece::Bytes(bytes) => out.extend_from_slice(bytes),
        Piece::File { file, offset, len } => {
            let begin = out.len();
            out.resize(begin + usize::try_from(*len).unwrap_or(0), 0);
            file.read_exact_at(out.get_mut(begin..).unwrap_or_default(), *offset)?;
        }
    }
    Ok(())
}

fn is_preface(bytes: &[u8]) -> bool {
    bytes.iter().zip(PREFACE).all(|(a, b)| a == b)
}

/// Lends the date of now, as RFC 9110 §5.6.7 writes it.
fn with_date(take: impl FnOnce(&[u8])) {
    let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    DATE.with_borrow_mut(|date| {
        if SECOND.replace(second) != second || date.is_empty() {
            *date = http_date(second);
        }
        take(date.as_bytes());
    });
}

fn http_date(second: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(0)).unwrap_or_default();
    // Only a year past 9999 cannot be written, and no timestamp is of one.
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        with_date(|date| assert_eq!(date.len(), 29));
        with_date(|date| assert_eq!(date.len(), 29));
    }
}
