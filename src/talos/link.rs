//! A connection to one endpoint: made when it is first needed, and made again when it has gone silent.

#![expect(clippy::disallowed_methods, reason = "dials, and remembers when an endpoint was down")]

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Http};

use super::dial::Dialer;
use super::error::TalosError;

/// How long an endpoint that could not be reached is left alone.
const AVOID: Duration = Duration::from_secs(10);

/// The way to an endpoint.
pub(super) struct Link {
    pub(super) dialer: Dialer,
    state: Mutex<State>,
}

/// A connection that is there.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// Counts the connections of the link.
    number: u64,
    /// Whether it was made for this call, so that the way was open a moment ago.
    pub(super) is_new: bool,
}

struct State {
    /// How many connections were made.
    made: u64,
    way: Way,
}

enum Way {
    New,
    Up(Channel),
    Down(Instant, TalosError),
}

impl Link {
    pub(super) fn new(dialer: Dialer) -> Arc<Self> {
        Arc::new(Self { dialer, state: Mutex::new(State { made: 0, way: Way::New }) })
    }

    /// Returns the connection; of calls at once, one connects and the others wait for it.
    pub(super) async fn connection(&self) -> Result<Connection, TalosError> {
        let mut state = self.state.lock().await;
        match &state.way {
            Way::Up(channel) => {
                return Ok(Connection { channel: channel.clone(), number: state.made, is_new: false });
            }
            Way::Down(since, error) if since.elapsed() < AVOID => return Err(error.clone()),
            Way::New | Way::Down(..) => {}
        }
        // Where the connection goes to is the dialer's affair; Talos looks at neither scheme nor authority.
        let connected = Http::from_static("http://talos").connect_with_connector(self.dialer.clone()).await;
        match connected {
            Ok(channel) => {
                state.made += 1;
                state.way = Way::Up(channel.clone());
                Ok(Connection { channel, number: state.made, is_new: true })
            }
            Err(error) => {
                let found = find_cause(&error).unwrap_or_else(|| TalosError::Unreachable {
                    endpoint: self.dialer.endpoint.clone(),
                    source: Arc::new(std::io::Error::other(error.to_string())),
                });
                state.way = Way::Down(Instant::now(), found.clone());
                Err(found)
            }
        }
    }

    /// Gives up a connection that has gone silent: the next call makes another.
    pub(super) async fn give_up(&self, connection: &Connection) {
        let mut state = self.state.lock().await;
        if state.made == connection.number && matches!(state.way, Way::Up(_)) {
            state.way = Way::New;
        }
    }
}

/// Looks for an error of the dialer's among the causes of another.
pub(super) fn find_cause(error: &(dyn std::error::Error + 'static)) -> Option<TalosError> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(found) = this.downcast_ref::<TalosError>() {
            return Some(found.clone());
        }
        error = this.source();
    }
    None
}
