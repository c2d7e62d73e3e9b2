use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::image::Reference;
use crate::secret::without_userinfo;

/// Images, each once however it was written, and what uses them.
#[derive(Clone, Debug, Default)]
pub struct Images {
    images: BTreeMap<Reference, ImageUse>,
    notes: Vec<Note>,
}

/// What is known of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUse {
    /// What names it, such as `Deployment web/nginx` or a file.
    pub users: BTreeSet<String>,
}

/// Something that the user should know about a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// Where an image is expected, the text is not a valid name.
    NotAnImage {
        /// The text.
        text: String,
        /// What names it.
        user: String,
        /// What is wrong with it.
        why: String,
    },
    /// The digest was cut short, as terminals and editors do, so that the tag is taken.
    ShortDigest {
        /// The text.
        text: String,
        /// The image that is taken for it.
        image: Reference,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage { text, user, why } => {
                let text = without_userinfo(text);
                write!(f, "{user}: `{text}` is not a valid image name: {why}")
            }
            Self::ShortDigest { text, image } => {
                let text = without_userinfo(text);
                write!(f, "the digest of `{text}` is cut short: `{image}` is taken")
            }
        }
    }
}

/// Whether a text stands where an image must be, or only where one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// In a container: a text that is not a valid name is told.
    Image,
    /// Under some key that is called `image`: only what looks like one is taken.
    Perhaps,
}

impl Images {
    /// Adds an image.
    pub fn insert(&mut self, image: Reference, user: &str) {
        let entry = self.images.entry(image).or_default();
        if !user.is_empty() && !entry.users.contains(user) {
            entry.users.insert(user.to_owned());
        }
    }

    /// Reads a name as container runtimes do, and adds it.
    pub(super) fn add(&mut self, text: &str, user: &str, certainty: Certainty) {
        let text = text.trim();
        if text.is_empty() || (certainty == Certainty::Perhaps && !looks_like_an_image(text)) {
            return;
        }
        let (name, short) = match text.split_once('@') {
            Some((name, digest)) if is_cut_short(digest) => (name, true),
            Some(_) | None => (text, false),
        };
        match name.parse::<Reference>() {
            Ok(image) => {
                if short {
                    self.note(Note::ShortDigest { text: text.to_owned(), image: image.clone() });
                }
                self.insert(image, user);
            }
            Err(_) if certainty == Certainty::Perhaps => {}
            Err(error) => self.note(Note::NotAnImage {
                text: text.chars().take(200).collect(),
                user: user.to_owned(),
                why: error.to_string(),
            }),
        }
    }

    fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Returns the images in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Reference, &ImageUse)> {
        self.images.iter()
    }

    /// Returns how many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Returns what the user should know about names.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// Returns whether a digest was abbreviated: `sha256..`, `sha256:ab12…`.
fn is_cut_short(digest: &str) -> bool {
    let Some(rest) = digest.strip_prefix("sha256").or_else(|| digest.strip_prefix("sha512")) else {
        return false;
    };
    let hex = rest.trim_start_matches(':').trim_end_matches(['.', '…']);
    hex.len() < 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a text under a key that may mean an image is likely one: it names a registry, a tag or a digest,
/// and is neither a template nor a picture.
fn looks_like_an_image(text: &str) -> bool {
    const PICTURES: [&str; 7] = [".png", ".svg", ".jpg", ".jpeg", ".gif", ".ico", ".webp"];
    if text.contains("{{") || text.contains("://") || text.contains(char::is_whitespace) {
        return false;
    }
    if PICTURES.iter().any(|ending| text.to_ascii_lowercase().ends_with(ending)) {
        return false;
    }
    let host = text.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']));
    let last = text.rsplit_once('/').map_or(text, |(_, last)| last);
    host || text.contains('@') || last.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, certainty: Certainty) -> (Vec<String>, Vec<String>) {
        let mut images = Images::default();
        images.add(text, "x", certainty);
        let notes = images.notes().iter().map(ToString::to_string).collect();
        (images.iter().map(|(image, _)| image.to_string()).collect(), notes)
    }

    #[test]
    fn two_names_of_one_image() {
        let mut images = Images::default();
        for (text, user) in [
            ("rook/ceph:v1", "Pod a/b"),
            ("docker.io/rook/ceph:v1", "Pod c/d"),
            ("index.docker.io/rook/ceph:v1", "Pod c/d"),
        ] {
            images.add(text, user, Certainty::Image);
        }
        assert_eq!(images.len(), 1);
        let users: Vec<_> = images.iter().flat_map(|(_, uses)| &uses.users).collect();
        assert_eq!(users, ["Pod a/b", "Pod c/d"]);
    }

    #[test]
    fn digests_that_were_cut_short() {
        for text in ["quay.io/a/b:1@sha256..", "quay.io/a/b:1@sha256:ab12…", "quay.io/a/b:1@sha256:abc..."]
        {
            let (images, notes) = read(text, Certainty::Image);
            assert_eq!(images, ["quay.io/a/b:1"]);
            assert_eq!(notes, [format!("the digest of `{text}` is cut short: `quay.io/a/b:1` is taken")]);
        }
        let whole = format!("quay.io/a/b:1@sha256:{}", "a".repeat(64));
        assert_eq!(read(&whole, Certainty::Image), (vec![whole.clone()], vec![]));
    }

    #[test]
    fn what_may_be_an_image() {
        for (text, taken) in [
            ("quay.io/a/b", true),
            ("nginx:1.27", true),
            ("nginx", false),
            ("a/b", false),
            ("assets/logo.png", false),
            ("https://h.example/logo:1", false),
            ("{{ .Values.image }}:1", false),
            ("two words:1", false),
            ("UPPER:1", false),
        ] {
            let (images, notes) = read(text, Certainty::Perhaps);
            assert_eq!((images.len(), notes.len()), (usize::from(taken), 0), "{text}");
        }
        let (images, notes) = read("Not/Valid", Certainty::Image);
        assert_eq!((images.len(), notes.len()), (0, 1), "{notes:?}");
    }
}
