//! HTTP/2, for the clients that ask for it. Bodies pass through memory, and only as much of them as clients take.
//!
//! It is `h2` without hyper over it, because hyper reads a piece of a body as soon as a stream's window is not empty: a
//! window of one byte then holds 64 KiB, on each of many streams. Here a body is read when its stream and its connection
//! have window for it, and what lies in memory until the socket takes it is limited for each connection.

#![expect(clippy::disallowed_methods, reason = "measures requests, within time limits")]

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{PingPong, Reason, RecvStream, SendStream};
use http::header::{CONNECTION, DATE, TRANSFER_ENCODING};
use http::{Extensions, HeaderValue, Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::chunks::Chunks;
use super::config::MAX_HEAD;
use super::connections::Slot;
use super::context::Shared;
use super::date::with_date;
use super::handler::{Handler, Rejected};
use super::observer::{End, Exchange, RequestLine};
use super::response_head::split_response;
use super::stream::ClientStream;

/// How many requests a connection may have open.
const STREAMS: u32 = 64;
/// How much of all bodies may be in memory, over as many connections as a server takes; each has the same share.
const BUDGET: usize = 64 * 1024 * 1024;
/// The smallest share of a connection, and the largest.
const SHARES: (usize, usize) = (32 * 1024, 256 * 1024);
/// How often a silent client is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// What goes on in a connection.
#[derive(Debug)]
struct Activity {
    slot: Slot,
    /// Requests whose answers have not ended.
    open: AtomicUsize,
    /// Those of them that wait for us, not for the client.
    ours: AtomicUsize,
    /// Bytes of bodies that the client has taken.
    moved: AtomicU64,
    /// What of the connection's share of memory is free, in bytes.
    memory: Arc<Semaphore>,
    /// How much of a body is read at once.
    chunk: usize,
}

/// Answers what comes over a connection whose first bytes have been read already, until it ends.
pub(super) async fn serve<H: Handler>(
    stream: ClientStream,
    first: Bytes,
    peer: SocketAddr,
    slot: Slot,
    shared: Arc<Shared<H>>,
) {
    let share = (BUDGET / shared.limits.connections.max(1)).clamp(SHARES.0, SHARES.1);
    let chunk = share / 2;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buffer_size(chunk);
    let handshake = builder.handshake(Rewound { first, stream });
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(shared.limits.head_timeout, handshake) => handshake,
        () = std::future::poll_fn(|cx| slot.poll_displaced(cx)) => return,
    };
    let mut connection = match handshake {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "an HTTP/2 handshake failed"),
        Err(_) => return tracing::debug!(%peer, "an HTTP/2 handshake took too long"),
    };
    let activity = Arc::new(Activity {
        slot,
        open: AtomicUsize::new(0),
        ours: AtomicUsize::new(0),
        moved: AtomicU64::new(0),
        memory: Arc::new(Semaphore::new(share)),
        chunk,
    });
    let mut watch = StallWatch::new(&shared);
    let mut pings = connection.ping_pong().map(Pings::new);
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    tokio::spawn(answer(request, respond, peer, Arc::clone(&activity), Arc::clone(&shared)));
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%peer, %error, "an HTTP/2 connection broke");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let displaced = activity.slot.poll_displaced(cx).is_ready();
        if !leaving && (displaced || activity.slot.draining() || watch.poll_idle(cx, &activity)) {
            leaving = true;
            connection.graceful_shutdown();
            // Once more, so that what it says goes out and an idle connection ends.
            cx.waker().wake_by_ref();
        }
        let is_dead = pings.as_mut().is_some_and(|pings| pings.poll_dead(cx));
        if is_dead || watch.poll_stalled(cx, &activity) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Asks a client now and then whether it is still there.
struct Pings {
    channel: PingPong,
    tick: Interval,
    waiting: bool,
}

impl Pings {
    fn new(pings: PingPong) -> Self {
        let mut tick = tokio::time::interval(PING);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        Self { channel: pings, tick, waiting: false }
    }

    /// Whether the client has not answered for as long as it may take.
    fn poll_dead(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if self.waiting && self.channel.poll_pong(cx).is_ready() {
                self.waiting = false;
            }
            if self.tick.poll_tick(cx).is_pending() {
                return false;
            }
            if self.waiting {
                return true;
            }
            self.waiting = self.channel.send_ping(h2::Ping::opaque()).is_ok();
        }
    }
}

/// Looks now and then whether the client still takes part.
struct StallWatch {
    tick: Interval,
    idle_timeout: Duration,
    stall_timeout: Duration,
    least: u64,
    idle_since: Option<Instant>,
    /// Since when bytes are counted, and how many had moved then.
    counted: (Instant, u64),
}

impl StallWatch {
    fn new<H>(shared: &Shared<H>) -> Self {
        let limits = &shared.limits;
        let often = limits.idle_timeout.min(limits.stall_timeout) / 4;
        let mut tick = tokio::time::interval(often.max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            tick,
            idle_timeout: limits.idle_timeout,
            stall_timeout: limits.stall_timeout,
            least: limits.least_rate.saturating_mul(limits.stall_timeout.as_secs()).max(1),
            idle_since: None,
            counted: (Instant::now(), 0),
        }
    }

    /// Whether nothing has been asked for longer than is allowed.
    fn poll_idle(&mut self, cx: &mut Context<'_>, activity: &Activity) -> bool {
        while self.tick.poll_tick(cx).is_ready() {}
        if activity.open.load(Ordering::Acquire) > 0 {
            self.idle_since = None;
            return false;
        }
        self.idle_since.get_or_insert_with(Instant::now).elapsed() >= self.idle_timeout
    }

    /// Whether the client has taken too little for too long, though it had only to take.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, activity: &Activity) -> bool {
        while self.tick.poll_tick(cx).is_ready() {}
        let (open, ours) = (activity.open.load(Ordering::Acquire), activity.ours.load(Ordering::Acquire));
        let moved = activity.moved.load(Ordering::Acquire);
        let (since, before) = self.counted;
        if open == 0 || ours > 0 {
            self.counted = (Instant::now(), moved);
            return false;
        }
        if since.elapsed() < self.stall_timeout {
            return false;
        }
        self.counted = (Instant::now(), moved);
        moved - before < self.least
    }
}

async fn answer<H: Handler>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: SocketAddr,
    activity: Arc<Activity>,
    shared: Arc<Shared<H>>,
) {
    let (parts, body) = request.into_parts();
    let peer = shared.proxies.client(peer, &parts.headers);
    let kept = shared.observer.wants_request().then(|| RequestLine {
        peer,
        method: parts.method.clone(),
        uri: parts.uri.clone(),
    });
    let head = parts.method == Method::HEAD;
    let mut open = Open::new(kept, activity, Arc::clone(&shared));
    let mut response = if body.is_end_stream() {
        let _ours = Ours::new(&open.activity);
        // In a box, so that a body that takes its time does not hold the memory that making its answer took.
        let handled = Box::pin(shared.handler.handle(Request::from_parts(parts, ()), peer));
        tokio::select! {
            response = handled => response,
            _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
        }
    } else {
        shared.handler.reject(Rejected::Malformed {
            status: StatusCode::BAD_REQUEST,
            problem: "requests have no body here",
        })
    };
    open.status = response.status();
    open.extensions = std::mem::take(response.extensions_mut());
    let (mut response, body) = split_response(response, head);
    let headers = response.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    if let Some(date) = with_date(|date| HeaderValue::from_bytes(date).ok()) {
        headers.insert(DATE, date);
    }
    let chunks = Chunks::new(body);
    let is_end = chunks.left() == 0;
    match respond.send_response(response, is_end) {
        Ok(_) if is_end => open.end = End::Complete,
        Ok(stream) => open.send(stream, chunks).await,
        Err(_) => {}
    }
}

/// A piece of a body, which counts as memory of its connection until the socket has taken it.
struct Held {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request whose answer has not ended; what there is to say about it is said when it has.
struct Open<H> {
    status: StatusCode,
    extensions: Extensions,
    end: End,
    error: Option<String>,
    sent: u64,
    since: Instant,
    kept: Option<RequestLine>,
    activity: Arc<Activity>,
    shared: Arc<Shared<H>>,
}

impl<H> Open<H> {
    /// Sends a body as far as the client takes it.
    async fn send(&mut self, mut stream: SendStream<Bytes>, mut chunks: Chunks) {
        while chunks.left() > 0 {
            // Window and memory are asked for once there is something to send: until then others may have them.
            match ready(&mut chunks, &mut stream, &self.activity).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return self.broke(&error, stream),
                None => return,
            }
            let most = usize::try_from(chunks.left()).unwrap_or(usize::MAX).min(self.activity.chunk);
            stream.reserve_capacity(most);
            let Some(room) = std::future::poll_fn(|cx| poll_room(&mut stream, cx)).await else { return };
            let most = room.min(most);
            let wanted = u32::try_from(most).unwrap_or(u32::MAX);
            let Ok(memory) = Arc::clone(&self.activity.memory).acquire_many_owned(wanted).await else {
                return;
            };
            match std::future::poll_fn(|cx| chunks.poll_next(cx, most)).await {
                Ok(Some(bytes)) => {
                    let len = bytes.len() as u64;
                    let is_end = chunks.left() == 0;
                    let held = Bytes::from_owner(Held { bytes, _memory: memory });
                    if stream.send_data(held, is_end).is_err() {
                        return;
                    }
                    self.sent += len;
                    self.activity.moved.fetch_add(len, Ordering::AcqRel);
                    if is_end {
                        self.end = End::Complete;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.broke(&error, stream),
            }
        }
    }

    /// Ends a stream whose body has failed, so that the client cannot take what it has for all there is.
    fn broke(&mut self, error: &io::Error, mut stream: SendStream<Bytes>) {
        self.end = End::Broken;
        self.error = Some(error.to_string());
        stream.send_reset(Reason::INTERNAL_ERROR);
    }

    fn new(kept: Option<RequestLine>, activity: Arc<Activity>, shared: Arc<Shared<H>>) -> Self {
        activity.open.fetch_add(1, Ordering::AcqRel);
        // One that is to make room goes when it is done with this; that is as good.
        let _ = activity.slot.work();
        Self {
            status: StatusCode::OK,
            extensions: Extensions::new(),
            end: End::Gone,
            error: None,
            sent: 0,
            since: Instant::now(),
            kept,
            activity,
            shared,
        }
    }
}

impl<H> Drop for Open<H> {
    fn drop(&mut self) {
        self.shared.observer.answered(&Exchange {
            request: self.kept.as_ref().map(|line| (line, self.since.elapsed())),
            status: self.status,
            extensions: &self.extensions,
            end: self.end,
            sent: self.sent,
            error: self.error.as_deref(),
        });
        if self.activity.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.activity.slot.wait(self.shared.millis(Instant::now()));
        }
    }
}

/// While it lives, a request waits for us.
struct Ours(Arc<Activity>);

impl Ours {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.ours.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.ours.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits until a client takes some of a stream, and returns how much; [`None`] if it takes no more.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    if stream.capacity() > 0 {
        return Poll::Ready(Some(stream.capacity()));
    }
    loop {
        match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(0))) => {}
            Poll::Ready(Some(Ok(room))) => return Poll::Ready(Some(room)),
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
            Poll::Pending => break,
        }
    }
    if stream.poll_reset(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
}

/// Waits for bytes of a body; [`None`] if the client takes no more.
async fn ready(
    chunks: &mut Chunks,
    stream: &mut SendStream<Bytes>,
    activity: &Arc<Activity>,
) -> Option<io::Result<()>> {
    let mut ours = None;
    std::future::poll_fn(|cx| match chunks.poll_ready(cx) {
        Poll::Ready(ready) => Poll::Ready(Some(ready)),
        Poll::Pending => {
            ours.get_or_insert_with(|| Ours::new(activity));
            if stream.poll_reset(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// A connection of which some bytes have been read already.
struct Rewound {
    first: Bytes,
    stream: ClientStream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
