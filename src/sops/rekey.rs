use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::draft::{Draft, Reader};
use super::encrypt::{new_key, wrap};
use super::error::{Refusal, SopsError};
use super::metadata::Wrapped;
use super::opened::Opened;
use super::plain::Plain;
use super::recipient::Recipient;
use crate::secret::Random;
use crate::yaml::{Edit, apply, emit};

/// A file for other recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekeyed {
    /// The encrypted text.
    pub text: String,
    /// What was done.
    pub change: KeyChange,
}

/// What became of a file's data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// It was wrapped for some more; every value and the MAC stayed as they were.
    Wrapped {
        /// Who was added.
        added: Vec<String>,
    },
    /// Someone who knew it must not read on, so there is a new one, and every value was sealed again.
    Rotated {
        /// Who was added.
        added: Vec<String>,
        /// Who was removed; they still know every value that they could read before.
        removed: Vec<String>,
    },
}

impl Opened<'_> {
    /// Returns the file for these recipients, or [`None`] if it is for them already, in whatever order.
    ///
    /// Fails if a recipient cannot be used, and if someone is removed from a file that is also for recipients of other
    /// kinds, or whose key is split among groups.
    pub fn rekey(
        &self,
        recipients: &[Recipient],
        now: Timestamp,
        random: &mut Random<'_>,
    ) -> Result<Option<Rekeyed>, SopsError> {
        let [group] = self.file.metadata().groups.as_slice() else { return Err(Refusal::KeyGroups.whole()) };
        let new: Vec<Recipient> = recipients
            .iter()
            .filter(|new| !group.age.iter().any(|old| old.recipient == new.as_str()))
            .cloned()
            .collect();
        let kept = |old: &&Wrapped| recipients.iter().any(|new| new.as_str() == old.recipient);
        let removed: Vec<String> =
            group.age.iter().filter(|old| !kept(old)).map(|old| old.recipient.clone()).collect();
        let added: Vec<String> = new.iter().map(ToString::to_string).collect();
        if !removed.is_empty() {
            let text = self.rotated(recipients, now, random)?;
            return Ok(Some(Rekeyed { text, change: KeyChange::Rotated { added, removed } }));
        }
        if new.is_empty() {
            return Ok(None);
        }
        let age = group.age.iter().cloned().chain(wrap(&new, &self.key)?).collect::<Vec<_>>();
        let text = self.with_age(&self.age_lines(&age))?;
        Ok(Some(Rekeyed { text, change: KeyChange::Wrapped { added } }))
    }

    /// Returns the file under a new data key for the same recipients, every value sealed again.
    ///
    /// Fails as [`Opened::rekey`] does when someone is removed.
    pub fn rotate(&self, now: Timestamp, random: &mut Random<'_>) -> Result<String, SopsError> {
        let [group] = self.file.metadata().groups.as_slice() else { return Err(Refusal::KeyGroups.whole()) };
        let recipients = group.age.iter().map(|age| age.recipient.parse()).collect::<Result<Vec<_>, _>>()?;
        self.rotated(&recipients, now, random)
    }

    fn rotated(
        &self,
        recipients: &[Recipient],
        now: Timestamp,
        random: &mut Random<'_>,
    ) -> Result<String, SopsError> {
        let metadata = self.file.metadata();
        let foreign: Vec<String> = metadata.groups.iter().flat_map(|group| group.foreign.clone()).collect();
        if !foreign.is_empty() {
            return Err(Refusal::Foreign(foreign).whole());
        }
        let plain = Plain::parse(self.plaintext())?;
        let draft = Draft::new(&plain, &metadata.rule, self.file.indent(), Reader::of(&metadata.version))?;
        let key = new_key(random);
        let age = self.age_lines(&wrap(recipients, &key)?);
        self.write(&draft, &key, self.stash().fresh(), now, random, Some(&age))
    }

    /// Gives every `sops:` of the file another `age:`.
    fn with_age(&self, lines: &str) -> Result<String, SopsError> {
        let blocks = self
            .file
            .stream()
            .documents
            .iter()
            .filter_map(|document| super::block::Block::of(self.file.text(), document));
        let edits: Option<Vec<Edit>> = blocks.map(|block| block.age(lines)).collect();
        Ok(apply(self.file.text(), &edits.ok_or_else(|| Refusal::FlowRoot.whole())?))
    }

    /// Writes `age:` as the file's version does: sops before 3.13 puts the recipient first.
    fn age_lines(&self, age: &[Wrapped]) -> String {
        let first = self.file.block(0).is_some_and(|block| block.recipient_first());
        let entry = |age: &Wrapped| {
            if first { json!({ "recipient": age.recipient, "enc": age.sealed }) } else { age.to_json() }
        };
        let entries: Vec<Json> = age.iter().map(entry).collect();
        emit(&json!({ "age": entries }), self.file.indent())
    }
}
