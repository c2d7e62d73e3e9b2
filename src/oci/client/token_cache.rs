#![expect(clippy::disallowed_methods, reason = "dates tokens")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::error::ClientError;
use super::token::{Token, TokenKey};
use crate::secret::Secret;

/// The most tokens that are kept; they are small, and short-lived.
const MOST: usize = 4096;

/// Tokens that are still good; one request at a time gets a new one, and all requests that wait share its outcome.
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    slots: Mutex<HashMap<TokenKey, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// When the last attempt to get one failed, and why.
    failed: Option<(Instant, ClientError)>,
}

impl Slot {
    fn current(&self, now: Timestamp) -> Option<Token> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.token.clone().filter(|token| !token.is_expired(now))
    }
}

impl TokenCache {
    /// Returns a token: one that is kept, else what `fetch` gives.
    ///
    /// One that is near its end is replaced by the first request; the others take it as it is.
    pub(super) async fn get<F>(&self, key: &TokenKey, fetch: F) -> Result<Token, ClientError>
    where
        F: Future<Output = Result<Token, ClientError>>,
    {
        let begun = Instant::now();
        let slot = self.slot(key);
        let now = Timestamp::now();
        let current = slot.current(now);
        if let Some(token) = &current
            && !token.wants_refresh(now)
        {
            return Ok(token.clone());
        }
        let _turn = match (slot.turn.try_lock(), &current) {
            (Ok(turn), _) => turn,
            (Err(_), Some(token)) => return Ok(token.clone()),
            (Err(_), None) => slot.turn.lock().await,
        };
        {
            let state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Timestamp::now();
            if let Some(token) = state.token.as_ref().filter(|token| !token.wants_refresh(now)) {
                return Ok(token.clone());
            }
            if let Some((at, error)) = &state.failed
                && *at >= begun
            {
                return Err(error.clone());
            }
        }
        let fetched = fetch.await;
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (fetched, current) {
            (Ok(token), _) => {
                *state = State { token: Some(token.clone()), failed: None };
                Ok(token)
            }
            (Err(_), Some(token)) => Ok(token),
            (Err(error), None) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets a token that was not taken, unless another is kept by now.
    pub(super) fn forget(&self, key: &TokenKey, authorization: &Secret<String>) {
        let slot = self.slot(key);
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.token.as_ref().is_some_and(|token| token.authorization() == *authorization) {
            state.token = None;
        }
    }

    fn slot(&self, key: &TokenKey) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(key) {
            let now = Timestamp::now();
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.current(now).is_some());
            if slots.len() >= MOST {
                slots.clear();
            }
        }
        Arc::clone(slots.entry(key.clone()).or_default())
    }
}
