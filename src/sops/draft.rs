use std::ops::Range;

use super::block::Addition;
use super::cipher::{Cipher, is_token};
use super::error::{ClearSecret, MAX_DOCUMENTS, Refusal, SopsError};
use super::known_secrets::IsSecret;
use super::mac::{Mac, MacScope};
use super::path::Path;
use super::plain::Plain;
use super::rule::Rule;
use super::stash::Stash;
use super::structure::Structure;
use super::value::{Content, Kind, Unsupported, Value};
use super::walk::{Leaf, METADATA, Remark, Walk, walk};
use crate::secret::Random;
use crate::yaml::{Edit, Indent, Node, Resolved, Style, Value as Yaml, apply, line_start, resolve};

/// A plaintext that SOPS can hold, ready to be sealed.
pub(super) struct Draft<'a> {
    plain: &'a Plain,
    walk: Walk<'a>,
    /// What each leaf holds.
    contents: Vec<Content>,
}

/// A draft with its values sealed.
pub(super) struct Sealed {
    edits: Vec<Edit>,
    /// What the MAC is to hold.
    pub(super) mac: Value,
}

/// What readers of a file understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// sops before 3.10, which knows no dates.
    Old,
    /// sops 3.10 and later.
    Current,
}

impl Reader {
    /// Tells by the version in a file.
    pub(super) fn of(version: &str) -> Self {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next(), parts.next()) >= (Some(3), Some(10)) { Self::Current } else { Self::Old }
    }
}

impl<'a> Draft<'a> {
    /// Checks a plaintext and finds what the rule selects.
    pub(super) fn new(
        plain: &'a Plain,
        rule: &Rule,
        indent: Indent,
        reader: Reader,
    ) -> Result<Self, SopsError> {
        if plain.stream.documents.is_empty() {
            return Err(Refusal::Empty.whole());
        }
        if plain.stream.documents.len() > MAX_DOCUMENTS {
            return Err(Refusal::TooManyDocuments(plain.stream.documents.len()).whole());
        }
        for document in &plain.stream.documents {
            let position = || plain.position(document.root.span.start);
            if document.root.is_sequence() {
                return Err(Refusal::List.at(&Path::default(), position()));
            }
            if !document.root.is_mapping() {
                return Err(Refusal::NoMapping.at(&Path::default(), position()));
            }
            if let Some(entry) = document.root.entry(METADATA) {
                let position = plain.position(entry.key_span.start);
                let sealed = entry.value.get("mac").is_some();
                return Err(if sealed {
                    SopsError::AlreadyEncrypted(Some(position))
                } else {
                    Refusal::SopsKey.at(&Path::default(), position)
                });
            }
            check_structure(plain, &document.root, &Path::default())?;
        }
        let walk = walk(plain.text.expose(), &plain.stream, rule, indent);
        check_merges(plain, &walk)?;
        check_breaks(plain, &walk)?;
        check_lines(plain, &walk)?;
        let contents = walk.leaves.iter().map(|leaf| check(plain, leaf, reader)).collect::<Result<_, _>>()?;
        Ok(Self { plain, walk, contents })
    }

    /// Returns the values whose text SOPS would not keep: it stores `0123456` as 42798, and `1.10` as 1.1.
    pub(super) fn rewritten(&self) -> impl Iterator<Item = (&Leaf<'a>, Kind)> {
        let leaves = self.walk.leaves.iter().zip(&self.contents);
        leaves.filter_map(|(leaf, content)| {
            let (Yaml::Scalar(scalar), Some(value)) = (&leaf.node.value, content.value()) else {
                return None;
            };
            let kept = match value.kind() {
                Kind::Str | Kind::Comment => true,
                Kind::Int | Kind::Float | Kind::Time => value.text() == scalar.text,
                Kind::Bool => matches!(scalar.text.as_str(), "true" | "false"),
            };
            (!kept).then_some((leaf, value.kind()))
        })
    }

    /// Refuses secrets that would come back in another form.
    pub(super) fn refuse_rewritten(&self, is_secret: IsSecret) -> Result<(), SopsError> {
        let secret = |leaf: &Leaf<'_>| {
            let root = self.plain.stream.documents.get(leaf.document).map(|document| &document.root);
            root.is_some_and(|root| is_secret(root, &leaf.path))
        };
        match self.rewritten().find(|(leaf, _)| secret(leaf)) {
            Some((leaf, kind)) => Err(Refusal::Rewritten(kind).at(&leaf.path, self.position(leaf))),
            None => Ok(()),
        }
    }

    /// Refuses secrets that the rule leaves in clear text.
    ///
    /// The plaintext says what a document is: once it is sealed, its `kind` may be, too.
    pub(super) fn refuse_clear(&self, is_secret: IsSecret) -> Result<(), SopsError> {
        let leaves = self.walk.leaves.iter().zip(&self.contents);
        let clear = leaves.filter(|(leaf, content)| {
            let root = self.plain.stream.documents.get(leaf.document).map(|document| &document.root);
            !leaf.selected
                && content.value().is_some_and(|value| !value.is_blank())
                && root.is_some_and(|root| is_secret(root, &leaf.path))
        });
        let clear: Vec<ClearSecret> = clear
            .map(|(leaf, _)| ClearSecret {
                path: leaf.path.clone(),
                position: self.plain.position(leaf.node.span.start),
            })
            .collect();
        if clear.is_empty() { Ok(()) } else { Err(SopsError::ClearSecrets(clear)) }
    }

    /// Returns whether the rule selects every value, so that the MAC covers all of them in any scope.
    pub(super) fn is_all_selected(&self) -> bool {
        let leaves = self.walk.leaves.iter().zip(&self.contents);
        leaves.into_iter().all(|(leaf, content)| leaf.selected || content.value().is_none_or(Value::is_blank))
    }

    /// Returns what stands where.
    pub(super) fn structure(&self) -> Structure {
        Structure::of(&self.walk, &self.contents)
    }

    /// Returns the value that says what stood where when the text was sealed before.
    pub(super) fn held_structure(&self) -> Option<&str> {
        super::structure::held(&self.walk, &self.contents)
    }

    /// Returns where a leaf stands.
    pub(super) fn position(&self, leaf: &Leaf<'_>) -> crate::yaml::Position {
        self.plain.position(leaf.span.start)
    }

    /// Returns how many documents there are.
    pub(super) fn documents(&self) -> usize {
        self.plain.stream.documents.len()
    }

    /// Returns whether a document is written as `{…}`; [`None`] if there is nothing in it, and either would do.
    pub(super) fn is_flow(&self, document: usize) -> Option<bool> {
        let root = &self.plain.stream.documents.get(document)?.root;
        match &root.value {
            Yaml::Mapping { entries, flow } if !entries.is_empty() => Some(*flow),
            _ => None,
        }
    }

    /// Returns whether two drafts hold the same values, types, order and comments; layout does not count.
    pub(super) fn same(&self, other: &Self) -> bool {
        let leaves = |draft: &Self| {
            draft.walk.leaves.iter().map(|leaf| (leaf.document, leaf.path.clone())).collect::<Vec<_>>()
        };
        let remarks = |draft: &Self| {
            draft.walk.remarks.iter().map(|r| (r.document, r.comment.text.clone())).collect::<Vec<_>>()
        };
        self.contents == other.contents
            && self.documents() == other.documents()
            && leaves(self) == leaves(other)
            && remarks(self) == remarks(other)
    }

    /// Seals what the rule selects; what the stash holds keeps its token.
    pub(super) fn seal(
        &self,
        cipher: &Cipher,
        scope: MacScope,
        stash: &mut Stash,
        random: &mut Random<'_>,
    ) -> Result<Sealed, SopsError> {
        let mut mac = Mac::new(scope);
        let mut edits = Vec::new();
        for (leaf, content) in self.walk.leaves.iter().zip(&self.contents) {
            let Some(value) = content.value() else { continue };
            mac.add(value, leaf.selected);
            if leaf.selected && !value.is_blank() {
                let token = self.token(cipher, value, &leaf.path, leaf.span.start, stash, random)?;
                let token = if leaf.column.is_none() { format!("\"{token}\"") } else { token };
                edits.push(Edit::new(leaf.span.clone(), token));
            }
        }
        for remark in
            self.walk.remarks.iter().filter(|remark| remark.selected && !remark.comment.text.is_empty())
        {
            edits.push(self.seal_remark(cipher, remark, stash, random)?);
        }
        Ok(Sealed { edits, mac: mac.finish() })
    }

    fn seal_remark(
        &self,
        cipher: &Cipher,
        remark: &Remark<'_>,
        stash: &mut Stash,
        random: &mut Random<'_>,
    ) -> Result<Edit, SopsError> {
        let value = Value::new(Kind::Comment, remark.comment.text.clone());
        let span = remark.comment.span.clone();
        // sops writes a comment in a list as an item; one that came so goes so, but no new one is made.
        if remark.list.is_some() && !stash.knows(&remark.path.aad(), &value) {
            return Err(Refusal::CommentInList.at(&remark.path, self.plain.position(span.start)));
        }
        let token = self.token(cipher, &value, &remark.path, span.start, stash, random)?;
        Ok(match remark.list {
            Some(column) if remark.comment.own_line => {
                let start = line_start(self.plain.text.expose(), span.start);
                Edit::new(start..span.end, format!("{}- {token}", " ".repeat(column)))
            }
            Some(_) | None => Edit::new(span, format!("#{token}")),
        })
    }

    fn token(
        &self,
        cipher: &Cipher,
        value: &Value,
        path: &Path,
        at: usize,
        stash: &mut Stash,
        random: &mut Random<'_>,
    ) -> Result<String, SopsError> {
        let aad = path.aad();
        if let Some(token) = stash.take(&aad, value) {
            return Ok(token);
        }
        let mut nonce = [0; 32];
        random(&mut nonce);
        cipher.seal(value, &aad, &nonce).map_err(|error| SopsError::Value {
            path: path.clone(),
            position: self.plain.position(at),
            source: error.into(),
        })
    }

    /// Writes the sealed text with a `sops:` in every document.
    pub(super) fn write(&self, sealed: Sealed, block: impl Fn(usize) -> Addition) -> String {
        let text = self.plain.text.expose();
        let documents = self.plain.stream.documents.iter().enumerate();
        let blocks = documents.flat_map(|(number, document)| block(number).edits(text, document));
        apply(text, &sealed.edits.into_iter().chain(blocks).collect::<Vec<_>>())
    }
}

/// Checks what no leaf shows: aliases and the kinds of keys.
fn check_structure(plain: &Plain, node: &Node, path: &Path) -> Result<(), SopsError> {
    use super::path::Step;
    if node.shared {
        return Err(Refusal::Alias.at(path, plain.position(node.span.start)));
    }
    for entry in node.entries() {
        let quoted =
            plain.text.expose().get(entry.key_span.clone()).is_some_and(|key| key.starts_with(['"', '\'']));
        let date = !quoted && matches!(resolve(&entry.key, Style::Plain, None), Resolved::Timestamp(_));
        if (!entry.key_is_string || date) && !entry.value.shared {
            return Err(Refusal::KeyKind(entry.key.clone()).at(path, plain.position(entry.key_span.start)));
        }
        check_structure(plain, &entry.value, &path.join(Step::Key(entry.key.clone())))?;
    }
    for (index, item) in node.items().iter().enumerate() {
        check_structure(plain, item, &path.join(Step::Index(index)))?;
    }
    Ok(())
}

/// Checks for merge keys that merge nothing, which leave no trace among the values.
fn check_merges(plain: &Plain, walk: &Walk<'_>) -> Result<(), SopsError> {
    let text = plain.text.expose();
    let comments =
        plain.stream.documents.iter().flat_map(|document| &document.comments).map(|comment| &comment.span);
    let scalars = walk.leaves.iter().filter(|leaf| matches!(leaf.node.value, Yaml::Scalar(_)));
    let keys = plain.stream.documents.iter().flat_map(|document| key_spans(&document.root));
    let known: Vec<_> = scalars.map(|leaf| &leaf.span).chain(comments).chain(keys).collect();
    let is_word = |at: usize| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + 2..).and_then(|text| text.chars().next());
        before.is_none_or(|c| c.is_whitespace() || matches!(c, '{' | '[' | ',' | '\u{feff}'))
            && after.is_none_or(|c| c.is_whitespace() || matches!(c, ':' | '}' | ']' | ','))
    };
    let merges = text.match_indices("<<").map(|(at, _)| at);
    match merges.into_iter().find(|at| is_word(*at) && !known.iter().any(|span| span.contains(at))) {
        Some(at) => Err(Refusal::Merge.at(&Path::default(), plain.position(at))),
        None => Ok(()),
    }
}

/// Returns where the keys of a node stand, and those below it.
fn key_spans(node: &Node) -> Vec<&Range<usize>> {
    let entries = node.entries().iter();
    let below = entries.flat_map(|entry| std::iter::once(&entry.key_span).chain(key_spans(&entry.value)));
    below.chain(node.items().iter().flat_map(key_spans)).collect()
}

/// Checks for what YAML 1.1, and so sops, takes for a line break.
fn check_breaks(plain: &Plain, walk: &Walk<'_>) -> Result<(), SopsError> {
    let sealed = |at: usize| walk.leaves.iter().any(|leaf| leaf.selected && leaf.span.contains(&at));
    let mut breaks = plain.text.expose().match_indices(['\u{85}', '\u{2028}', '\u{2029}']);
    match breaks.find(|(at, _)| !sealed(*at)) {
        Some((at, _)) => Err(Refusal::Separator.at(&Path::default(), plain.position(at))),
        None => Ok(()),
    }
}

/// Checks the lines between the values: for byte order marks behind the first character, which YAML 1.2 skips before a
/// document and sops does not, and for carriage returns that are a whole line break.
fn check_lines(plain: &Plain, walk: &Walk<'_>) -> Result<(), SopsError> {
    let text = plain.text.expose();
    let refused = text.match_indices(['\u{feff}', '\r']).find_map(|(at, found)| {
        let (before, after) = (text.get(..at)?, text.get(at + found.len()..)?);
        let refusal = match found {
            "\r" if !after.starts_with('\n') => Refusal::CarriageReturn,
            "\u{feff}" if before.ends_with(['\n', '\u{feff}']) => Refusal::ByteOrderMark,
            _ => return None,
        };
        let inside = walk.leaves.iter().any(|leaf| leaf.span.contains(&at));
        (!inside).then(|| refusal.at(&Path::default(), plain.position(at)))
    });
    refused.map_or(Ok(()), Err)
}

/// Checks one value and returns it.
fn check(plain: &Plain, leaf: &Leaf<'_>, reader: Reader) -> Result<Content, SopsError> {
    let refuse = |refusal: Refusal| refusal.at(&leaf.path, plain.position(leaf.span.start));
    let content = Content::of(leaf.node).map_err(|unfit| {
        refuse(match unfit {
            Unsupported::Unsigned => Refusal::Unsigned,
            Unsupported::Tag => Refusal::Tag,
        })
    })?;
    let Some(value) = content.value() else { return Ok(content) };
    let text = value.text();
    if is_token(text) {
        return Err(SopsError::AlreadyEncrypted(Some(plain.position(leaf.span.start))));
    }
    if text.starts_with("ENC[AGE,") {
        return Err(SopsError::Talm(Some(plain.position(leaf.span.start))));
    }
    let tagged = leaf.node.tag.as_deref().is_some_and(|tag| !tag.ends_with("str"));
    let refusal = match value.kind() {
        Kind::Time if reader == Reader::Old => Refusal::Timestamp,
        _ if leaf.selected && tagged => Refusal::Tag,
        _ if leaf.selected => return Ok(content),
        Kind::Float if text == "-0" => Refusal::NegativeZero,
        Kind::Str if text.contains(['\u{2028}', '\u{2029}']) => Refusal::Separator,
        Kind::Str if text.starts_with('\n') && (reader == Reader::Old || is_item(leaf)) => {
            Refusal::LeadingBreak
        }
        _ => return Ok(content),
    };
    Err(refuse(refusal))
}

fn is_item(leaf: &Leaf<'_>) -> bool {
    matches!(leaf.path.0.last(), Some(super::path::Step::Index(_)))
        && matches!(leaf.node.value, Yaml::Scalar(_))
}
