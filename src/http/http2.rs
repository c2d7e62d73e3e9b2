//! HTTP/2, for the clients that ask for it; hyper speaks it, bodies pass through memory.

#![expect(clippy::disallowed_methods, reason = "measures requests")]

use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::body::{Handler, Rejected};
use super::chunks::{CHUNK, Chunks};
use super::config::MAX_HEAD;
use super::connections::Slot;
use super::context::Shared;
use super::observer::{End, Exchange, RequestLine};
use super::response_head::split_response;
use super::stream::ClientStream;

/// How many requests a connection may have open.
const STREAMS: u32 = 64;
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
}

/// Answers what comes over a connection whose first bytes have been read already, until it ends.
pub(super) async fn serve<H: Handler>(
    stream: ClientStream,
    first: Bytes,
    peer: SocketAddr,
    slot: Slot,
    shared: Arc<Shared<H>>,
) {
    let activity = Arc::new(Activity {
        slot,
        open: AtomicUsize::new(0),
        ours: AtomicUsize::new(0),
        moved: AtomicU64::new(0),
    });
    let service = hyper::service::service_fn({
        let (activity, shared) = (Arc::clone(&activity), Arc::clone(&shared));
        move |request| {
            let (activity, shared) = (Arc::clone(&activity), Arc::clone(&shared));
            async move { Ok::<_, Infallible>(answer(request, peer, activity, shared).await) }
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buf_size(CHUNK)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let io = TokioIo::new(Rewound { first, stream });
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut watch = Watch::new(&shared);
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            if let Err(error) = result {
                tracing::debug!(%peer, %error, "an HTTP/2 connection broke");
            }
            return Poll::Ready(());
        }
        let displaced = activity.slot.poll_displaced(cx).is_ready();
        if !leaving && (displaced || activity.slot.draining() || watch.poll_idle(cx, &activity)) {
            leaving = true;
            connection.as_mut().graceful_shutdown();
            // Once more, so that what it says goes out and an idle connection ends.
            cx.waker().wake_by_ref();
        }
        if watch.poll_stalled(cx, &activity) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Looks now and then whether the client still takes part.
struct Watch {
    tick: Interval,
    idle_timeout: Duration,
    stall_timeout: Duration,
    least: u64,
    idle_since: Option<Instant>,
    /// Since when bytes are counted, and how many had moved then.
    counted: (Instant, u64),
}

impl Watch {
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
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: Arc<Activity>,
    shared: Arc<Shared<H>>,
) -> Response<Outgoing<H>> {
    let (parts, body) = request.into_parts();
    let kept = shared.observer.wants_request().then(|| RequestLine {
        peer,
        method: parts.method.clone(),
        uri: parts.uri.clone(),
    });
    let head = parts.method == Method::HEAD;
    let mut open = Open::new(kept, activity, shared);
    let mut response = if body.is_end_stream() {
        let shared = Arc::clone(&open.shared);
        let _ours = Ours::new(&open.activity);
        shared.handler.handle(Request::from_parts(parts, ()), peer).await
    } else {
        open.shared.handler.reject(Rejected::Malformed {
            status: StatusCode::BAD_REQUEST,
            problem: "requests have no body here",
        })
    };
    open.status = response.status();
    open.extensions = std::mem::take(response.extensions_mut());
    let (response, body) = split_response(response, head);
    let chunks = Chunks::new(body);
    open.end = if chunks.left() == 0 { End::Complete } else { End::Gone };
    response.map(|()| Outgoing { chunks, ours: None, open })
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

/// A body on its way out.
struct Outgoing<H> {
    chunks: Chunks,
    /// There while the body waits for us.
    ours: Option<Ours>,
    open: Open<H>,
}

impl<H> hyper::body::Body for Outgoing<H> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Poll::Ready(next) = this.chunks.poll_next(cx) else {
            let activity = &this.open.activity;
            this.ours.get_or_insert_with(|| Ours::new(activity));
            return Poll::Pending;
        };
        this.ours = None;
        Poll::Ready(match next {
            Ok(Some(bytes)) => {
                let len = bytes.len() as u64;
                this.open.sent += len;
                this.open.activity.moved.fetch_add(len, Ordering::AcqRel);
                if this.chunks.left() == 0 {
                    this.open.end = End::Complete;
                }
                Some(Ok(Frame::data(bytes)))
            }
            Ok(None) => None,
            Err(error) => {
                this.open.end = End::Broken;
                this.open.error = Some(error.to_string());
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.chunks.left())
    }
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
