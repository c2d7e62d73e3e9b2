//! How a call is made: on the endpoint that answered last, and on others where that may do better.
//!
//! A connection may die without a word: a cable, a VPN, a laptop that slept. So each endpoint has a share of the time, a
//! call that takes long is accompanied by another whose answer is due at once, and a connection that has gone silent is
//! given up and made again.

#![expect(clippy::disallowed_methods, reason = "calls a node, within time limits")]

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Extensions, Request, Status};

use super::client::{NodeClient, Repeat, machine, without_diff};
use super::endpoint::{Endpoint, Target};
use super::error::{Delivery, TalosError};
use super::link::{Connection, Link, find_cause};

/// How long a call may take, at the least, before its connection is looked at.
const QUIET: Duration = Duration::from_millis(500);
/// How long a server may take, at the least, for an answer that is due at once.
const ANSWER: Duration = Duration::from_secs(2);

/// How an attempt at a call failed.
struct Failure {
    error: TalosError,
    is_sent: IsSent,
    /// Whether the connection has gone silent, and was there before the call.
    went_silent: bool,
}

/// Whether a call has reached the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsSent {
    No,
    Maybe,
}

impl NodeClient {
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut metadata = self.client.0.metadata.clone();
        if let Target::Through(host) = &self.target
            && let Ok(value) = host.parse::<AsciiMetadataValue>()
        {
            metadata.insert("node", value);
        }
        Request::from_parts(metadata, Extensions::default(), message)
    }

    /// Makes a call with the client's patience.
    pub(super) async fn call<T, F>(
        &self,
        what: &str,
        repeat: Repeat,
        make: impl Fn(Channel) -> F,
    ) -> Result<T, TalosError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.call_within(self.client.0.patience.call, what, repeat, make).await
    }

    /// Makes a call: on the endpoint that answered last, and on others where that may do better.
    pub(super) async fn call_within<T, F>(
        &self,
        patience: Duration,
        what: &str,
        repeat: Repeat,
        make: impl Fn(Channel) -> F,
    ) -> Result<T, TalosError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let inner = &self.client.0;
        let deadline = Instant::now() + patience;
        let timed_out = || self.timed_out(what, patience);
        let mut worst: Option<TalosError> = None;
        let mut ways = inner.ways(&self.target);
        let (mut at, mut second_try) = (0, false);
        while let Some((number, link)) = ways.get(at).cloned() {
            at += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            let ways_left = u32::try_from(ways.len() - at + 1).unwrap_or(u32::MAX);
            let share = Instant::now() + left / ways_left;
            // What may be done once only, and what takes long, such as a pull, is not cut short: it is watched.
            let is_shared = repeat == Repeat::Yes && patience <= inner.patience.call;
            let until = if is_shared { share } else { deadline };
            let (endpoint, begun) = (&link.dialer.endpoint, Instant::now());
            tracing::trace!(node = %self.target, %endpoint, call = what, "calling");
            let attempt = self.attempt(what, patience, &link, (share, until), &make).await;
            let Failure { error, is_sent, went_silent } = match attempt {
                Ok(answer) => {
                    if let Some(number) = number {
                        inner.preferred.store(number, Ordering::Relaxed);
                    }
                    let took = begun.elapsed();
                    tracing::debug!(node = %self.target, %endpoint, call = what, ?took, "answered");
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            tracing::debug!(node = %self.target, %endpoint, call = what, took = ?begun.elapsed(), %error, "failed");
            if let (Some(number), TalosError::TimedOut { .. } | TalosError::ConnectTimedOut { .. }) =
                (number, &error)
            {
                // The next call begins elsewhere.
                let next = (number + 1) % inner.endpoints.len().max(1);
                let _ = inner.preferred.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            let again = match repeat {
                Repeat::Yes => error.may_differ_elsewhere(),
                Repeat::No => is_sent == IsSent::No || error.delivery() == Delivery::NotSent,
            };
            if !error.may_differ_elsewhere() {
                // The node's own word, whatever went wrong on the way to it.
                return Err(error);
            }
            if repeat == Repeat::No && !again {
                // It may have been done: no earlier error may hide that.
                return Err(error);
            }
            if !again || Instant::now() >= deadline {
                return Err(worst.unwrap_or(error));
            }
            // apid drops what it passes on when its certificate is renewed, and a silent connection says nothing of the
            // way: at the end the first such way is tried again.
            let is_lost = matches!(error, TalosError::NodeUnreachable { .. } | TalosError::Lost { .. });
            if !second_try && (is_lost || went_silent) {
                second_try = true;
                ways.push((number, link));
            }
            // A worker does not pass calls on: the node itself is tried at last.
            if let (TalosError::NoForwarding { .. }, Target::Through(host)) = (&error, &self.target) {
                let itself = Endpoint::of_node(host);
                if at == ways.len() && ways.iter().all(|(_, link)| link.dialer.endpoint != itself) {
                    ways.push((None, inner.direct(&itself)));
                }
            }
            // That an endpoint is down says least of all that can go wrong.
            let says_more = !matches!(
                error,
                TalosError::Unreachable { .. }
                    | TalosError::TimedOut { .. }
                    | TalosError::ConnectTimedOut { .. }
            );
            if worst.is_none() || says_more && matches!(worst, Some(TalosError::Unreachable { .. })) {
                worst = Some(error);
            }
        }
        Err(worst.unwrap_or_else(timed_out))
    }

    /// Makes a call on one endpoint; `times` are until when a connection, and the answer, may take.
    async fn attempt<T, F>(
        &self,
        what: &str,
        patience: Duration,
        link: &Link,
        times: (Instant, Instant),
        make: &impl Fn(Channel) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (connected, answered) = times;
        let begun = Instant::now();
        let not_sent = |error| Failure { error, is_sent: IsSent::No, went_silent: false };
        let connection = timeout_at(connected, link.connection()).await.unwrap_or_else(|_| {
            let endpoint = link.dialer.endpoint.clone();
            Err(TalosError::ConnectTimedOut { endpoint, after: connected.saturating_duration_since(begun) })
        });
        let connection = connection.map_err(not_sent)?;
        let is_silent = tokio::select! {
            // An answer that has arrived counts, however late it is read.
            biased;
            answer = make(connection.channel.clone()) => {
                return answer.map_err(|status| Failure {
                    error: self.classify(what, &link.dialer.endpoint, patience, &status),
                    is_sent: IsSent::Maybe,
                    went_silent: false,
                });
            }
            () = self.gone_silent(&connection) => true,
            () = sleep_until(answered) => false,
        };
        link.give_up(&connection).await;
        let tenths = u64::try_from(begun.elapsed().as_millis() / 100).unwrap_or(u64::MAX);
        let after = if is_silent { Duration::from_millis(tenths.saturating_mul(100)) } else { patience };
        let went_silent = is_silent && !connection.is_new;
        Err(Failure { error: self.timed_out(what, after), is_sent: IsSent::Maybe, went_silent })
    }

    /// Returns when a connection has gone silent: not even a call that every server answers at once gets an answer.
    async fn gone_silent(&self, connection: &Connection) {
        let patience = self.client.0.patience;
        let quiet = patience.connect.min(patience.call / 8).max(QUIET);
        loop {
            sleep(quiet).await;
            let metadata = self.client.0.metadata.clone();
            let request = Request::from_parts(metadata, Extensions::default(), ());
            let mut server = machine(connection.channel.clone());
            if timeout(quiet.max(ANSWER), server.version(request)).await.is_err() {
                return;
            }
        }
    }

    fn timed_out(&self, what: &str, after: Duration) -> TalosError {
        TalosError::TimedOut { what: format!("{what} of {}", self.target), after }
    }

    fn classify(&self, what: &str, endpoint: &Endpoint, patience: Duration, status: &Status) -> TalosError {
        if let Some(error) = find_cause(status) {
            return error;
        }
        let (endpoint, what) = (endpoint.clone(), what.to_owned());
        let message = without_diff(status.message()).to_owned();
        // What the transport makes up has a cause; what the server says has none.
        if std::error::Error::source(status).is_some() {
            return TalosError::Lost { endpoint, what };
        }
        match status.code() {
            Code::Unavailable => {
                let message = without_transport(&message).to_owned();
                TalosError::NodeUnreachable { through: endpoint, node: self.target.to_string(), message }
            }
            Code::PermissionDenied if message.contains("no request forwarding") => {
                TalosError::NoForwarding { endpoint }
            }
            Code::PermissionDenied | Code::Unauthenticated => TalosError::Denied { what, message },
            Code::NotFound => TalosError::NotFound { what, message },
            Code::Unimplemented => TalosError::Unimplemented { what, message },
            Code::DeadlineExceeded => {
                TalosError::TimedOut { what: format!("{what} of {}", self.target), after: patience }
            }
            code => TalosError::Failed { what, code: format!("{code:?}"), message },
        }
    }
}

/// Takes off what gRPC wraps around the reason for which apid does not reach a node.
fn without_transport(text: &str) -> &str {
    let inner = text.strip_prefix("connection error: desc = \"").and_then(|text| text.strip_suffix('"'));
    let inner = inner.unwrap_or(text);
    inner.strip_prefix("transport: Error while dialing: ").unwrap_or(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_unwrapped() {
        let go = "connection error: desc = \"transport: Error while dialing: dial tcp 10.0.0.9:50000: i/o timeout\"";
        assert_eq!(without_transport(go), "dial tcp 10.0.0.9:50000: i/o timeout");
        assert_eq!(without_transport("error reading from server: EOF"), "error reading from server: EOF");
    }
}
