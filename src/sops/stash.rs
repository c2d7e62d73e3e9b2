use std::collections::{HashMap, VecDeque};

use super::value::Value;

/// The tokens of a file by what they hold and where, so that what did not change keeps its ciphertext to the byte.
///
/// Like sops' stash of nonces, but equal items of a list keep theirs one by one. A nonce is used again only for the
/// same bytes under the same binding, which gives the same ciphertext.
#[derive(Debug, Default)]
pub(super) struct Stash {
    tokens: HashMap<(String, Value), VecDeque<String>>,
    fresh: bool,
}

impl Stash {
    pub(super) fn add(&mut self, aad: String, value: Value, token: String) {
        self.tokens.entry((aad, value)).or_default().push_back(token);
    }

    /// Keeps only the knowledge of what was there: every value is sealed again, for a new data key.
    pub(super) fn fresh(self) -> Self {
        Self { fresh: true, ..self }
    }

    /// Returns whether the value was there.
    pub(super) fn knows(&self, aad: &str, value: &Value) -> bool {
        self.tokens.contains_key(&(aad.to_owned(), value.clone()))
    }

    /// Returns the value's token; each is given once.
    pub(super) fn take(&mut self, aad: &str, value: &Value) -> Option<String> {
        if self.fresh {
            return None;
        }
        self.tokens.get_mut(&(aad.to_owned(), value.clone()))?.pop_front()
    }
}
