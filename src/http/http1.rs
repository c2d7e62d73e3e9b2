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

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::body::{Body, Piece, Pieces};
use super::config::MAX_HEAD;
use super::connections::Slot;
use super::context::Shared;
use super::date::with_date;
use super::handler::{Handler, Rejected};
use super::http2;
use super::observer::{End, Exchange, RequestLine};
use super::page_cache::{read_resident, warm};
use super::prepared::{PlainRequest, PreparedResponse};
use super::request_head::{KeepAlive, Malformed, PREFACE, ParsedHead, parse_request_head};
use super::response_head::{ConnectionHeader, split_response, write_response_head};
use super::stream::{ClientStream, MinimumRate, SendError};

/// The largest body that goes out in one write with its head.
const SMALL: u64 = 16 * 1024;

thread_local! {
    /// Lent to the connection that runs on the thread, between one wait and the next.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a connection says next.
enum Next {
    Ready(Ready),
    Request(Request<()>, KeepAlive),
    Malformed(Malformed),
    /// It speaks HTTP/2, and these are the first bytes of it.
    Http2(Bytes),
    /// Nothing: it ends.
    End,
}

/// A request whose answer is ready.
struct Ready {
    answer: Arc<PreparedResponse>,
    /// What is kept of it for those who observe.
    kept: Option<(RequestLine, Instant)>,
}

/// What has come over a connection.
enum Received {
    /// A request whose answer is ready, and what came after it.
    Ready(Ready, Bytes),
    /// All that waits to be read.
    Bytes(Bytes),
    /// Nothing: the client has ended, takes too long, or has to make room.
    Nothing,
}

/// What becomes of a connection after an answer.
enum Flow {
    Go,
    Close,
    Reset,
}

struct Connection<H> {
    stream: ClientStream,
    peer: SocketAddr,
    slot: Slot,
    shared: Arc<Shared<H>>,
    rate: MinimumRate,
    /// What has come and is not used up.
    pending: Bytes,
    /// Whether a request has been answered.
    served: bool,
}

/// Answers what comes over a connection, until it ends.
pub(super) async fn serve<H: Handler>(
    stream: ClientStream,
    peer: SocketAddr,
    slot: Slot,
    shared: Arc<Shared<H>>,
) {
    let rate = MinimumRate::new(&shared.limits);
    let mut connection =
        Connection { stream, peer, slot, shared, rate, pending: Bytes::new(), served: false };
    loop {
        let flow = match connection.next().await {
            Next::Ready(ready) if connection.slot.work() => connection.answer_ready(ready).await,
            Next::Request(request, keep) if connection.slot.work() => connection.answer(request, keep).await,
            Next::Malformed(malformed) if connection.slot.work() => connection.reject(malformed).await,
            Next::Http2(bytes) => {
                let Connection { stream, peer, slot, shared, .. } = connection;
                return http2::serve(stream, bytes, peer, slot, shared).await;
            }
            Next::Ready(_) | Next::Request(..) | Next::Malformed(_) | Next::End => return,
        };
        match flow {
            Flow::Go => connection.served = true,
            Flow::Close => return connection.stream.close().await,
            Flow::Reset => return connection.stream.reset(),
        }
    }
}

impl<H: Handler> Connection<H> {
    async fn next(&mut self) -> Next {
        let limits = self.shared.limits;
        let mut deadline = None;
        loop {
            if !self.pending.is_empty() {
                // A head that came in parts is read as any other.
                if deadline.is_none()
                    && let Some((ready, len)) = self.shared.ready(&self.slot, self.peer, &self.pending)
                {
                    self.pending = self.pending.split_off(len);
                    return Next::Ready(ready);
                }
                if !self.served && is_preface(&self.pending) {
                    if self.pending.len() >= PREFACE.len() {
                        return Next::Http2(std::mem::take(&mut self.pending));
                    }
                } else {
                    match parse_request_head(&self.pending) {
                        ParsedHead::Head(request, len, keep) => {
                            self.pending = self.pending.split_off(len);
                            return Next::Request(request, keep);
                        }
                        ParsedHead::Malformed(malformed) => return Next::Malformed(malformed),
                        ParsedHead::Partial => {}
                    }
                }
            }
            let started = !self.pending.is_empty();
            let deadline = deadline.get_or_insert_with(|| {
                let now = Instant::now();
                if self.served {
                    self.slot.wait(self.shared.millis(now));
                }
                let timeout = if started || !self.served { limits.head_timeout } else { limits.idle_timeout };
                now + timeout
            });
            self.rate.sleep.as_mut().reset(*deadline);
            match std::future::poll_fn(|cx| self.poll_more(cx)).await {
                Received::Ready(ready, rest) => {
                    self.pending = rest;
                    return Next::Ready(ready);
                }
                Received::Bytes(bytes) => {
                    if !started && self.served {
                        *deadline = Instant::now() + limits.head_timeout;
                    }
                    self.pending = bytes;
                }
                Received::Nothing => return Next::End,
            }
        }
    }

    /// Waits for more bytes of a head, in vain if the client ends, takes too long, or has to make room.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let Self { stream, peer, slot, shared, pending, .. } = self;
        let most = MAX_HEAD - pending.len().min(MAX_HEAD - 1);
        let received = stream.poll_receive(cx, most, |bytes| {
            if bytes.is_empty() {
                Received::Nothing
            } else if !pending.is_empty() {
                Received::Bytes([pending, bytes].concat().into())
            } else if let Some((ready, len)) = shared.ready(slot, *peer, bytes) {
                Received::Ready(ready, Bytes::copy_from_slice(bytes.get(len..).unwrap_or_default()))
            } else {
                Received::Bytes(Bytes::copy_from_slice(bytes))
            }
        });
        if let Poll::Ready(received) = received {
            return Poll::Ready(received.unwrap_or(Received::Nothing));
        }
        if slot.poll_displaced(cx).is_ready() {
            return Poll::Ready(Received::Nothing);
        }
        // One that has not been answered yet has a request on its way; it may still come.
        if slot.draining() && self.served && pending.is_empty() {
            return Poll::Ready(Received::Nothing);
        }
        ready!(self.rate.sleep.as_mut().poll(cx));
        Poll::Ready(Received::Nothing)
    }

    async fn reject(&mut self, malformed: Malformed) -> Flow {
        let Malformed { status, problem } = malformed;
        let mut response = self.shared.handler.reject(Rejected::Malformed { status, problem });
        let status = response.status();
        let extensions = std::mem::take(response.extensions_mut());
        let (sent, result) = self.send(response, false, ConnectionHeader::Close).await;
        let end = if result.is_ok() { End::Complete } else { End::Gone };
        let exchange = Exchange { request: None, status, extensions: &extensions, end, sent, error: None };
        self.shared.observer.answered(&exchange);
        tracing::debug!(peer = %self.peer, problem, "rejected a request");
        Flow::Close
    }

    async fn answer(&mut self, request: Request<()>, keep: KeepAlive) -> Flow {
        let head = request.method() == Method::HEAD;
        let client = self.shared.proxies.client(self.peer, request.headers());
        let kept = self.shared.observer.wants_request().then(|| {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            (RequestLine { peer: client, method, uri }, Instant::now())
        });
        let mut response = self.shared.handler.handle(request, client).await;
        let status = response.status();
        let extensions = std::mem::take(response.extensions_mut());
        let says = match keep {
            KeepAlive::Alive if !self.slot.draining() => ConnectionHeader::Nothing,
            KeepAlive::AliveIfSaid if !self.slot.draining() => ConnectionHeader::KeepAlive,
            KeepAlive::Alive | KeepAlive::AliveIfSaid | KeepAlive::Close => ConnectionHeader::Close,
        };
        let (sent, result) = self.send(response, head, says).await;
        let flow = self.observe(kept.as_ref(), (status, &extensions), sent, result);
        if says == ConnectionHeader::Close && matches!(flow, Flow::Go) { Flow::Close } else { flow }
    }

    async fn answer_ready(&mut self, ready: Ready) -> Flow {
        let Ready { answer, kept } = ready;
        let result = async {
            self.send_filled(false, |out| with_date(|date| answer.write(out, date))).await?;
            self.stream.flush(&mut self.rate).await
        };
        let result = result.await;
        let sent = if result.is_ok() { answer.body.len() as u64 } else { 0 };
        self.observe(kept.as_ref(), (answer.status, &answer.extensions), sent, result)
    }

    /// Tells of an answer that has ended; returns what becomes of the connection.
    fn observe(
        &self,
        kept: Option<&(RequestLine, Instant)>,
        (status, extensions): (StatusCode, &Extensions),
        sent: u64,
        result: Result<(), SendError>,
    ) -> Flow {
        let (end, flow, error) = match result {
            Ok(()) => (End::Complete, Flow::Go, None),
            Err(SendError::Client(error)) if error.kind() == io::ErrorKind::TimedOut => {
                (End::Stalled, Flow::Reset, None)
            }
            Err(SendError::Client(_)) => (End::Gone, Flow::Reset, None),
            Err(SendError::Body(error)) => (End::Broken, Flow::Reset, Some(error.to_string())),
        };
        let request = kept.map(|(line, since)| (line, since.elapsed()));
        let error = error.as_deref();
        let exchange = Exchange { request, status, extensions, end, sent, error };
        self.shared.observer.answered(&exchange);
        flow
    }

    /// Sends an answer; returns how many bytes of its body went out.
    async fn send(
        &mut self,
        response: Response<Body>,
        head: bool,
        says: ConnectionHeader,
    ) -> (u64, Result<(), SendError>) {
        let mut sent = 0;
        let (response, body) = split_response(response, head);
        let result = self.send_parts(&response, body, says, &mut sent).await;
        (sent, result)
    }

    async fn send_parts(
        &mut self,
        response: &Response<()>,
        body: Body,
        says: ConnectionHeader,
        sent: &mut u64,
    ) -> Result<(), SendError> {
        match body {
            Body::Empty => self.send_head(response, None, says, false).await?,
            Body::Piece(piece) if piece.len() <= SMALL => {
                let len = piece.len();
                self.send_head(
                    response,
                    Some(&in_memory(piece).await.map_err(SendError::Body)?),
                    says,
                    false,
                )
                .await?;
                *sent = len;
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
                            self.stream.flush(&mut self.rate).await?;
                            next.await
                        }
                    }
                };
                self.send_pieces(first, &mut *pieces, len, sent).await?;
            }
        }
        self.stream.flush(&mut self.rate).await
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
            self.stream.flush(&mut self.rate).await?;
            next = pieces.next().await;
        }
    }

    async fn send_piece(&mut self, piece: Piece, sent: &mut u64) -> Result<(), SendError> {
        match piece {
            Piece::File { file, offset, len } => {
                self.stream.send_file(&file, (offset, len), &mut self.rate, sent).await
            }
            Piece::Bytes(bytes) => {
                self.stream.write(&bytes, false, &mut self.rate).await?;
                *sent += bytes.len() as u64;
                Ok(())
            }
        }
    }

    /// Sends a head, and a small body with it in one write.
    async fn send_head(
        &mut self,
        response: &Response<()>,
        body: Option<&Bytes>,
        says: ConnectionHeader,
        more: bool,
    ) -> Result<(), SendError> {
        let fill = |out: &mut Vec<u8>| {
            with_date(|date| write_response_head(out, response, Some(date), says));
            out.extend_from_slice(body.map_or(&[], |body| body));
        };
        self.send_filled(more, fill).await
    }

    /// Sends what is put into the thread's buffer.
    async fn send_filled(&mut self, more: bool, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> {
        // Taken away meanwhile: should the client not take it at once, others have their turn.
        let mut out = HEAD.take();
        out.clear();
        fill(&mut out);
        let written = self.stream.try_write(&out, more)?;
        self.stream.write(out.get(written..).unwrap_or_default(), more, &mut self.rate).await?;
        HEAD.set(out);
        Ok(())
    }
}

impl<H: Handler> Shared<H> {
    /// Looks a request up among the answers that are ready; returns how many bytes it took, too.
    fn ready(&self, slot: &Slot, peer: SocketAddr, bytes: &[u8]) -> Option<(Ready, usize)> {
        if slot.draining() {
            return None;
        }
        let (request, len) = PlainRequest::parse(bytes)?;
        let answer = self.handler.prepared(&request)?;
        let kept = if self.observer.wants_request() {
            let method = if request.is_head { Method::HEAD } else { Method::GET };
            Some((RequestLine { peer, method, uri: request.target.parse().ok()? }, Instant::now()))
        } else {
            None
        };
        Some((Ready { answer, kept }, len))
    }
}

/// Reads a small body.
async fn in_memory(piece: Piece) -> io::Result<Bytes> {
    let (file, offset, len) = match piece {
        Piece::Bytes(bytes) => return Ok(bytes),
        Piece::File { file, offset, len } => (file, offset, len),
    };
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    if read_resident(&file, offset, &mut bytes)?.is_none_or(|read| read < bytes.len()) {
        warm(&file, offset, len).await?;
        file.read_exact_at(&mut bytes, offset)?;
    }
    Ok(bytes.into())
}

fn is_preface(bytes: &[u8]) -> bool {
    bytes.iter().zip(PREFACE).all(|(a, b)| a == b)
}
