use std::collections::HashSet;
use std::ops::Range;

use jiff::Timestamp;
use zeroize::Zeroize;

use super::binding::bound;
use super::block::{Addition, Block};
use super::cipher::{Cipher, CipherError, DataKey, is_token};
use super::draft::{Draft, Reader};
use super::encrypted::Encrypted;
use super::error::{Refusal, SopsError};
use super::identity::Identities;
use super::known_secrets::is_secret;
use super::mac::{Mac, MacScope};
use super::metadata::format_time;
use super::path::{Path, Step};
use super::plain::Plain;
use super::rewritten::{Rewritten, rewritten};
use super::stash::Stash;
use super::structure::Structure;
use super::value::{Content, Kind, Value};
use super::walk::{Leaf, Walk, column, walk};
use crate::secret::Random;
use crate::secret::Secret;
use crate::yaml::{Edit, Position, Value as Yaml, apply, block_end, emit};

/// A file that a key opened.
pub struct Opened<'a> {
    pub(super) file: &'a Encrypted,
    pub(super) key: DataKey,
    walk: Walk<'a>,
    /// What each leaf holds, decrypted.
    contents: Vec<Content>,
    /// What each comment says, where it was sealed.
    remarks: Vec<Option<Value>>,
    /// What does not fit although every value opens.
    fault: Option<IntegrityFault>,
}

/// What of a file was changed after it was sealed, although every sealed value opens in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntegrityFault {
    /// The MAC is missing.
    NoMac,
    /// The MAC is another: a value was changed, added or taken away.
    MacMismatch,
    /// Clear parts stand where they did not, by their paths; none where only the order changed.
    Moved(Vec<String>),
}

impl IntegrityFault {
    /// Returns the error for a use that needs the file as it was sealed.
    pub fn into_error(self) -> SopsError {
        match self {
            Self::NoMac => SopsError::NoMac,
            Self::MacMismatch => SopsError::MacMismatch,
            Self::Moved(paths) => SopsError::Moved(paths),
        }
    }
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("recipients", &self.file.recipients()).finish_non_exhaustive()
    }
}

impl Encrypted {
    /// Opens the file with the first key that fits, decrypts every value and checks the MAC.
    ///
    /// Fails if no key fits, if a value was tampered with, if the MAC is missing or another, and if clear parts are not
    /// where they were when the file was sealed.
    pub fn open(&self, identities: &Identities) -> Result<Opened<'_>, SopsError> {
        self.open_with(self.data_key(identities)?)
    }

    /// Opens the file even where it was changed after it was sealed; [`Opened::fault`] says what does not fit.
    ///
    /// Fails if no key fits, and if a sealed value does not open in its place.
    pub fn open_changed(&self, identities: &Identities) -> Result<Opened<'_>, SopsError> {
        let key = self.data_key(identities)?;
        let cipher = Cipher::new(&key);
        Opened::new(self, key, &cipher)
    }

    pub(super) fn open_with(&self, key: DataKey) -> Result<Opened<'_>, SopsError> {
        let cipher = Cipher::new(&key);
        let mut opened = Opened::new(self, key, &cipher)?;
        match opened.fault.take() {
            Some(fault) => Err(fault.into_error()),
            None => Ok(opened),
        }
    }
}

impl<'a> Opened<'a> {
    /// Decrypts every value and compares the MAC.
    fn new(file: &'a Encrypted, key: DataKey, cipher: &Cipher) -> Result<Self, SopsError> {
        let metadata = file.metadata();
        let walk = walk(file.text(), file.stream(), &metadata.rule, file.indent());
        let mut mac = Mac::new(metadata.scope);
        let mut contents = Vec::with_capacity(walk.leaves.len());
        for leaf in &walk.leaves {
            let failed = |error: CipherError| SopsError::Value {
                path: leaf.path.clone(),
                position: file.position(leaf.span.start),
                source: error.into(),
            };
            let mut content = Content::of(leaf.node).map_err(|_| failed(CipherError::NotSealed))?;
            if let (true, Content::Value(sealed)) = (leaf.selected, &content)
                && !sealed.is_blank()
            {
                let token = if sealed.kind() == Kind::Str { sealed.text() } else { "" };
                content = Content::Value(cipher.open(token, &leaf.path.aad()).map_err(failed)?);
            }
            if let Some(value) = content.value().filter(|value| value.kind() != Kind::Comment) {
                mac.add(value, leaf.selected);
            }
            contents.push(content);
        }
        let fits =
            cipher.open(&metadata.mac, &metadata.last_modified).is_ok_and(|wanted| wanted == mac.finish());
        let moved = || {
            let held = super::structure::held(&walk, &contents)?;
            Structure::of(&walk, &contents).differences(held)
        };
        let fault = if metadata.mac.is_empty() {
            Some(IntegrityFault::NoMac)
        } else if fits {
            moved().map(IntegrityFault::Moved)
        } else {
            Some(IntegrityFault::MacMismatch)
        };
        // A comment that does not open was never sealed, says sops, and so leaves it as it is.
        let open = |text: &str, path: &Path| {
            cipher.open(text, &path.aad()).ok().filter(|value| value.kind() == Kind::Comment)
        };
        let remarks = walk
            .remarks
            .iter()
            .map(|remark| {
                let text = &remark.comment.text;
                let paths = std::iter::once(&remark.path).chain(&remark.others);
                if is_token(text) { paths.into_iter().find_map(|path| open(text, path)) } else { None }
            })
            .collect();
        Ok(Self { file, key, walk, contents, remarks, fault })
    }

    /// Returns what was changed after the file was sealed.
    pub fn fault(&self) -> Option<&IntegrityFault> {
        self.fault.as_ref()
    }

    /// Returns where sealed comments stand that do not open: they were changed or moved, and stay as they are.
    pub fn damaged_comments(&self) -> Vec<Position> {
        let remarks = self.walk.remarks.iter().zip(&self.remarks);
        let damaged = remarks.filter(|(remark, value)| is_token(&remark.comment.text) && value.is_none());
        damaged.map(|(remark, _)| self.file.position(remark.comment.span.start)).collect()
    }

    /// Returns the whole text decrypted: every `sops:` gone, sealed comments as comments, all else as it was.
    pub fn plaintext(&self) -> Secret<String> {
        let (text, mut edits) = (self.file.text(), Vec::new());
        let mut kept = self.lists_with_items();
        for (leaf, content) in self.walk.leaves.iter().zip(&self.contents) {
            let Some(value) = content.value().filter(|value| leaf.selected && !value.is_blank()) else {
                continue;
            };
            edits.push(match (value.kind(), leaf.dash) {
                (Kind::Comment, Some(dash)) => {
                    let empty = list_of(leaf).is_some_and(|list| kept.insert(list));
                    let pad = " ".repeat(column(text, dash));
                    // A list of nothing but comments has to stay a list.
                    let lead = if empty { format!("[]\n{pad}") } else { String::new() };
                    Edit::new(dash..leaf.span.end, format!("{lead}#{}", one_line(value)))
                }
                _ => Edit::new(leaf.span.clone(), self.scalar(leaf, value)),
            });
        }
        for (remark, value) in self.walk.remarks.iter().zip(&self.remarks) {
            edits.extend(
                value
                    .as_ref()
                    .map(|value| Edit::new(remark.comment.span.clone(), format!("#{}", one_line(value)))),
            );
        }
        for document in 0..self.file.stream().documents.len() {
            let Some(own) = self.file.stream().documents.get(document) else { continue };
            let Some(block) = Block::of(text, own) else { continue };
            let alone = own.root.entries().len() == 1 && !block.is_flow();
            edits.push(Edit::new(block.cut, if alone { "{}\n" } else { "" }));
        }
        let plain = Secret::new(apply(text, &edits));
        for edit in &mut edits {
            edit.text.zeroize();
        }
        plain
    }

    /// Returns the lists that hold anything besides comments.
    fn lists_with_items(&self) -> HashSet<(usize, Path)> {
        let leaves = self.walk.leaves.iter().zip(&self.contents);
        let items =
            leaves.filter(|(_, content)| content.value().is_none_or(|value| value.kind() != Kind::Comment));
        items
            .flat_map(|(leaf, _)| {
                let ends = leaf.path.0.iter().enumerate().filter(|(_, step)| matches!(step, Step::Index(_)));
                ends.map(|(end, _)| (leaf.document, Path(leaf.path.0.iter().take(end).cloned().collect())))
            })
            .collect()
    }

    /// Writes a decrypted value in the place of its token.
    fn scalar(&self, leaf: &Leaf<'_>, value: &Value) -> String {
        let Some(column) = leaf.column else { return value.to_flow() };
        let mut text = value.to_block(column);
        if text.contains('\n') && !self.has_room(leaf, column, value) {
            text.zeroize();
            text = value.to_flow();
        }
        text
    }

    /// Returns whether a block scalar can stand in a leaf's place without taking in what follows.
    fn has_room(&self, leaf: &Leaf<'_>, column: usize, value: &Value) -> bool {
        let rest = self.file.text().get(leaf.span.end..).unwrap_or_default();
        let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
        if !matches!(line, "" | "\r") {
            return false; // blanks would be text, a comment too
        }
        let keeps = value.text().ends_with("\n\n") || value.text() == "\n";
        let mut blanks = below.lines().take_while(|line| line.trim().is_empty());
        let wide = blanks.clone().any(|line| line.len() > column);
        let blank = blanks.next().is_some();
        let next = below.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let deep = next.len() - next.trim_start().len() >= column;
        !(wide || keeps && blank || deep && next.trim_start().starts_with('#'))
    }

    /// Returns what stands at a path of a document: a scalar as it is, anything else as YAML.
    ///
    /// Fails if there is nothing.
    pub fn extract(&self, document: usize, path: &Path) -> Result<Secret<String>, SopsError> {
        let plain = Plain::parse(self.plaintext())?;
        let node = plain.at(document, path).ok_or_else(|| SopsError::NothingAt(path.clone()))?;
        Ok(Secret::new(match (&node.value, Content::of(node)) {
            (Yaml::Scalar(_), Ok(Content::Value(value))) if value.kind() == Kind::Str => {
                value.text().to_owned()
            }
            (Yaml::Scalar(_), Ok(Content::Value(value))) => value.to_flow(),
            (Yaml::Scalar(_), _) => "null".to_owned(),
            (Yaml::Sequence { .. } | Yaml::Mapping { .. }, _) => emit(&node.to_json(), self.file.indent()),
        }))
    }

    /// Returns the encrypted text that holds `plaintext`, or [`None`] if that is what this file holds already.
    ///
    /// Values that did not change keep their ciphertext byte for byte; the data key, the recipients (those of other
    /// kinds too), the rule and the version stay. Values, types, order and comments count as changes; layout does not.
    ///
    /// Fails if `plaintext` holds what SOPS cannot keep.
    pub fn reencrypt(
        &self,
        plaintext: &str,
        now: Timestamp,
        random: &mut Random<'_>,
    ) -> Result<Option<String>, SopsError> {
        let metadata = self.file.metadata();
        let reader = Reader::of(&metadata.version);
        let (old, mut plain) = (Plain::parse(self.plaintext())?, Plain::parse(Secret::from(plaintext))?);
        if let Some(old) = super::structure::held(&self.walk, &self.contents)
            && let Some(text) = bound(&plain, &metadata.rule, self.file.indent(), reader, Some(old), random)?
        {
            plain = Plain::parse(text)?;
        }
        let new = Draft::new(&plain, &metadata.rule, self.file.indent(), reader)?;
        new.refuse_rewritten(is_secret)?;
        // What the file holds now may be what no new text may hold: then it has changed.
        if Draft::new(&old, &metadata.rule, self.file.indent(), reader).is_ok_and(|old| old.same(&new)) {
            return Ok(None);
        }
        new.refuse_clear(is_secret)?;
        if new.documents() > self.file.stream().documents.len().max(1)
            && metadata.scope == MacScope::Encrypted
            && !new.is_all_selected()
        {
            return Err(Refusal::LooseDocuments.whole());
        }
        self.write(&new, &self.key, self.stash(), now, random, None).map(Some)
    }

    /// Returns the values of a new plaintext that sops writes in another form when it decrypts or edits the file.
    ///
    /// Fails as [`Opened::reencrypt`] does where the text cannot be kept at all.
    pub fn rewritten(&self, plaintext: &str) -> Result<Vec<Rewritten>, SopsError> {
        let metadata = self.file.metadata();
        let plain = Plain::parse(Secret::from(plaintext))?;
        let reader = Reader::of(&metadata.version);
        Ok(rewritten(&Draft::new(&plain, &metadata.rule, self.file.indent(), reader)?))
    }

    /// Returns the text sealed again as it is now, with a MAC that fits and the value that says what stands where.
    ///
    /// Every sealed value keeps its ciphertext: one that does not open in its place has ended [`Encrypted::open_changed`].
    ///
    /// Fails if the text holds what SOPS cannot keep.
    pub fn seal(&self, now: Timestamp, random: &mut Random<'_>) -> Result<String, SopsError> {
        let metadata = self.file.metadata();
        let reader = Reader::of(&metadata.version);
        let mut plain = Plain::parse(self.plaintext())?;
        if let Some(old) = super::structure::held(&self.walk, &self.contents)
            && let Some(text) = bound(&plain, &metadata.rule, self.file.indent(), reader, Some(old), random)?
        {
            plain = Plain::parse(text)?;
        }
        let draft = Draft::new(&plain, &metadata.rule, self.file.indent(), reader)?;
        self.write(&draft, &self.key, self.stash(), now, random, None)
    }

    /// Returns the encrypted text in which one scalar, or a new key of a mapping in block style, has another value.
    ///
    /// Everything else stays to the byte, but for `lastmodified` and `mac`. [`None`] if the value is there already.
    ///
    /// Fails if nothing can be set at the path.
    pub fn set(
        &self,
        document: usize,
        path: &Path,
        value: &Value,
        now: Timestamp,
        random: &mut Random<'_>,
    ) -> Result<Option<String>, SopsError> {
        let plain = Plain::parse(self.plaintext())?;
        let place = self.place(&plain, document, path)?;
        // A block scalar where it reads back, one line where it would take in what follows.
        for text in
            [place.column.map(|column| value.to_block(column)), Some(value.to_flow())].into_iter().flatten()
        {
            let mut edit = Edit::new(place.span.clone(), format!("{}{text}{}", place.lead, place.tail));
            let changed = Secret::new(apply(plain.text.expose(), std::slice::from_ref(&edit)));
            edit.text.zeroize();
            let fits = Plain::parse(changed.clone()).is_ok_and(|changed| {
                let found = changed.at(document, path).map(Content::of);
                found == Some(Ok(Content::Value(value.clone())))
            });
            if fits {
                return self.reencrypt(changed.expose(), now, random);
            }
        }
        Err(SopsError::ReadBack)
    }

    /// Finds where a value can be set: in the place of a scalar, or on a new line behind a mapping's last key.
    fn place(&self, plain: &Plain, document: usize, path: &Path) -> Result<InsertionPoint, SopsError> {
        let text = plain.text.expose();
        if let Some(node) = plain.at(document, path) {
            let walk = walk(text, &plain.stream, self.file.rule(), self.file.indent());
            let found = walk.leaves.iter().find(|leaf| leaf.document == document && leaf.path == *path);
            let found = found.filter(|leaf| matches!(leaf.node.value, Yaml::Scalar(_)));
            let found = found.ok_or_else(|| Refusal::NoScalar.at(path, plain.position(node.span.start)))?;
            let (span, column) = (found.span.clone(), found.column.filter(|_| !found.selected));
            let lead = if span.is_empty() { " " } else { "" }.to_owned();
            return Ok(InsertionPoint { span, column, lead, tail: "" });
        }
        let nothing = || SopsError::NothingAt(path.clone());
        let Some((Step::Key(key), parent)) = path.0.split_last() else { return Err(nothing()) };
        let node = plain.at(document, &Path(parent.to_vec())).ok_or_else(nothing)?;
        let (Yaml::Mapping { flow: false, .. }, Some(last)) = (&node.value, node.entries().last()) else {
            return Err(Refusal::NoRoom.at(path, plain.position(node.span.start)));
        };
        let end = block_end(text, last.value.span.end);
        let newline = if text.get(..end).is_some_and(|before| before.ends_with('\n')) { "" } else { "\n" };
        let key = emit(&serde_json::json!({ key: 0 }), self.file.indent());
        let lead = format!(
            "{newline}{}{}",
            " ".repeat(column(text, node.span.start)),
            key.trim_end_matches(['0', '\n'])
        );
        Ok(InsertionPoint { span: end..end, column: None, lead, tail: "\n" })
    }

    /// Returns the tokens of the file by what they hold.
    pub(super) fn stash(&self) -> Stash {
        let mut stash = Stash::default();
        let leaves = self.walk.leaves.iter().zip(&self.contents).filter(|(leaf, _)| leaf.selected);
        for (leaf, content) in leaves {
            if let (Some(value), Yaml::Scalar(token)) = (content.value(), &leaf.node.value) {
                // A comment is an item only as long as it is sealed: it is bound to the list.
                stash.add(leaf.path.aad(), value.clone(), token.text.clone());
            }
        }
        for (remark, value) in self.walk.remarks.iter().zip(&self.remarks) {
            if let Some(value) = value {
                stash.add(remark.path.aad(), value.clone(), remark.comment.text.clone());
            }
        }
        stash
    }

    /// Seals a draft in this file's frame, with another `age:` if one is given, and reads it back.
    pub(super) fn write(
        &self,
        draft: &Draft<'_>,
        key: &DataKey,
        mut stash: Stash,
        now: Timestamp,
        random: &mut Random<'_>,
        age: Option<&str>,
    ) -> Result<String, SopsError> {
        let metadata = self.file.metadata();
        let cipher = Cipher::new(key);
        let sealed = draft.seal(&cipher, metadata.scope, &mut stash, random)?;
        let time = format_time(now);
        let mac = seal_mac(&cipher, &sealed.mac, &time, random)?;
        let blocks = (0..draft.documents()).map(|document| {
            let block = self.file.block(document).ok_or(SopsError::NotEncrypted)?;
            // The `sops:` keeps its style, and both styles cannot stand in one mapping.
            match draft.is_flow(document) {
                Some(true) if !block.is_flow() => return Err(Refusal::FlowRoot.whole()),
                Some(false) if block.is_flow() => return Err(Refusal::BlockRoot.whole()),
                _ => {}
            }
            let edits = match age {
                Some(lines) => vec![block.age(lines).ok_or_else(|| Refusal::FlowRoot.whole())?],
                None => Vec::new(),
            };
            Ok(block.renewed(&mac, &time, edits))
        });
        let blocks = blocks.collect::<Result<Vec<_>, SopsError>>()?;
        let text = draft.write(sealed, |document| {
            blocks.get(document).cloned().unwrap_or_else(|| Addition::new(String::new()))
        });
        read_back(&text, key, draft)?;
        Ok(text)
    }
}

/// Seals a MAC, which is bound to the time it was made.
pub(super) fn seal_mac(
    cipher: &Cipher,
    mac: &Value,
    time: &str,
    random: &mut Random<'_>,
) -> Result<String, SopsError> {
    let mut nonce = [0; 32];
    random(&mut nonce);
    cipher.seal(mac, time, &nonce).map_err(|_| SopsError::ReadBack)
}

/// Opens what was written and compares it with what was given, before anyone relies on it; returns it as it was read.
pub(super) fn read_back(text: &str, key: &DataKey, draft: &Draft<'_>) -> Result<Encrypted, SopsError> {
    let same = || {
        let file = Encrypted::parse(text).ok()?;
        let plain = Plain::parse(file.open_with(key.clone()).ok()?.plaintext()).ok()?;
        let back = Draft::new(&plain, file.rule(), file.indent(), Reader::Current).ok()?;
        back.same(draft).then_some(file)
    };
    same().ok_or(SopsError::ReadBack)
}

/// Where a value goes in a text.
struct InsertionPoint {
    span: Range<usize>,
    /// Where a block scalar's lines would stand, if there may be one.
    column: Option<usize>,
    lead: String,
    tail: &'static str,
}

fn list_of(leaf: &Leaf<'_>) -> Option<(usize, Path)> {
    let (_, list) = leaf.path.0.split_last()?;
    Some((leaf.document, Path(list.to_vec())))
}

/// A comment is one line; sops writes none that is not.
fn one_line(value: &Value) -> String {
    value.text().replace(['\n', '\r'], " ")
}
