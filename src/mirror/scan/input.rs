use std::io::{BufRead, BufReader, Read};

use serde::de::DeserializeSeed as _;

use super::images::Images;
use super::objects::Objects;
use super::text::read_text;
use crate::secret::read_limited;
use crate::yaml;

/// The largest input that is kept in memory: YAML and lists.
const MAX_TEXT: u64 = 64 * 1024 * 1024;
/// The largest input of JSON, which is read as it comes.
const MAX_JSON: u64 = 1024 * 1024 * 1024;

/// Why an input cannot be read for images.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It begins as JSON, and is none to its end.
    #[error("`{source_name}` is not valid JSON: {error}")]
    Json {
        /// What was read.
        source_name: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// It is not text.
    #[error("`{source_name}` is not text: it is not in UTF-8")]
    NotText {
        /// What was read.
        source_name: String,
    },
    /// It cannot be read at all.
    #[error("cannot read `{source_name}`")]
    Io {
        /// What was read.
        source_name: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

/// Finds the images of an input: JSON objects, one or many, of which none is kept in memory; else as [`read_bytes`].
///
/// Fails also where there is more than 1 GiB of JSON, or more than 64 MiB of anything else.
pub fn read_stream(input: impl Read, source: &str, images: &mut Images) -> Result<(), InputError> {
    read_up_to(input, [MAX_JSON, MAX_TEXT], source, images)
}

fn read_up_to(
    input: impl Read,
    [most, most_text]: [u64; 2],
    source: &str,
    images: &mut Images,
) -> Result<(), InputError> {
    let mut input = BufReader::with_capacity(64 * 1024, Limited { input, left: most, limit: most });
    let failed = |error| InputError::Io { source_name: source.to_owned(), error };
    let as_json = loop {
        let buffer = input.fill_buf().map_err(failed)?;
        if buffer.is_empty() {
            return Ok(());
        }
        if buffer.iter().any(|byte| !byte.is_ascii_whitespace()) {
            break begins_as_json(buffer);
        }
        let blank = buffer.len();
        input.consume(blank);
    };
    if as_json {
        return read_json(serde_json::Deserializer::from_reader(input), source, images);
    }
    let bytes = read_limited(input, most_text).map_err(failed)?;
    read_bytes(&bytes, source, images)
}

/// An input that fails where it is larger than it may be.
struct Limited<R> {
    input: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let message = format!("it is larger than {} MiB", self.limit / 1024 / 1024);
            std::io::Error::new(std::io::ErrorKind::FileTooLarge, message)
        })?;
        Ok(read)
    }
}

/// Finds the images of a file or an answer: JSON, YAML of any number of documents, or plain text.
pub fn read_bytes(bytes: &[u8], source: &str, images: &mut Images) -> Result<(), InputError> {
    if begins_as_json(bytes) {
        return read_json(serde_json::Deserializer::from_slice(bytes), source, images);
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| InputError::NotText { source_name: source.to_owned() })?;
    match yaml::parse(text) {
        Ok(stream) if has_structure(&stream) => {
            for document in &stream.documents {
                // Any value is read, so that nothing is left to fail.
                let _ = Objects { images, source }.deserialize(&document.root.to_json());
            }
        }
        // A list of names is YAML too, of one scalar; a template is often not even that.
        Ok(_) | Err(_) => read_text(text, source, images),
    }
    Ok(())
}

/// Returns whether an input is JSON by its first characters; `{{` begins a template.
fn begins_as_json(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    bytes.starts_with(b"[") || (bytes.starts_with(b"{") && !bytes.starts_with(b"{{"))
}

/// Returns whether a stream holds objects, rather than the lines of a list.
fn has_structure(stream: &yaml::Stream) -> bool {
    stream.documents.iter().any(|document| {
        let root = &document.root;
        (root.is_mapping() && !root.entries().iter().all(|entry| entry.key == "image"))
            || root.items().iter().any(yaml::Node::is_mapping)
    })
}

fn read_json<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    source: &str,
    images: &mut Images,
) -> Result<(), InputError> {
    let failed = |error: serde_json::Error| {
        let source_name = source.to_owned();
        if error.is_io() {
            InputError::Io { source_name, error: error.into() }
        } else {
            InputError::Json { source_name, error }
        }
    };
    // `kubectl get -o json` of several kinds, and `jq -c`, print one object after another.
    loop {
        Objects { images, source }.deserialize(&mut deserializer).map_err(failed)?;
        match deserializer.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_syntax() => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Result<Vec<String>, String> {
        let mut images = Images::default();
        read_stream(text.as_bytes(), "-", &mut images).map_err(|error| error.to_string())?;
        let mut again = Images::default();
        read_bytes(text.as_bytes(), "-", &mut again).map_err(|error| error.to_string())?;
        assert!(images.iter().eq(again.iter()), "both ways of reading agree");
        Ok(images.iter().map(|(image, _)| image.to_string()).collect())
    }

    #[test]
    fn forms_of_input() {
        let pod = r#"{"kind":"Pod","spec":{"containers":[{"image":"a:1"}]}}"#;
        let one = vec!["docker.io/library/a:1".to_owned()];
        for text in [
            pod.to_owned(),
            format!("\n\n {pod}\n{pod}\n"),
            format!("[{pod}]"),
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: a:1\n".to_owned(),
            "---\n# Source: x\nkind: Pod\nspec: {containers: [{image: a:1}]}\n---\n".to_owned(),
            "- a:1\n".to_owned(),
            "a:1".to_owned(),
            "image: a:1\nimage: a:1\n".to_owned(),
            "image: a:1\n".to_owned(),
            "{{- if x }}\n  image: a:1\n  image: {{ .y }}\n".to_owned(),
            "kind: Pod\nspec:\n  {{ if x }}\n  containers:\n  - image: a:1\n".to_owned(),
        ] {
            assert_eq!(found(&text), Ok(one.clone()), "{text}");
        }
        assert_eq!(found(""), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let error = found(r#"{"kind":"Pod","spec":{"#).unwrap_err();
        assert_eq!(error, "`-` is not valid JSON: EOF while parsing an object at line 1 column 22");
        let mut images = Images::default();
        let error = read_bytes(b"\xff\xfe", "list", &mut images).unwrap_err();
        assert_eq!(error.to_string(), "`list` is not text: it is not in UTF-8");
    }

    #[test]
    fn an_input_may_be_too_large() {
        let read = |text: &str| {
            let mut images = Images::default();
            let read = read_up_to(text.as_bytes(), [3 << 20, 1 << 20], "-", &mut images);
            read.map(|()| images.len()).map_err(|error| match error {
                InputError::Io { error, .. } => error.to_string(),
                error => format!("another error: {error}"),
            })
        };
        let json = |size: usize| format!("[\"a:1\"]{}", " ".repeat(size));
        assert_eq!(read(&json(2 << 20)), Ok(1));
        assert_eq!(read(&json(3 << 20)), Err("it is larger than 3 MiB".to_owned()));
        let lines = |size: usize| "a:1\n".repeat(size / 4);
        assert_eq!(read(&lines(1 << 20)), Ok(1));
        assert_eq!(read(&lines(2 << 20)), Err("it is larger than 1 MiB".to_owned()));
        assert_eq!(read(&" ".repeat(4 << 20)), Err("it is larger than 3 MiB".to_owned()));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}|[{}\\[\\]\":,a-z@ \n-]{0,80}") {
            let mut images = Images::default();
            let _ = read_stream(text.as_bytes(), "-", &mut images);
        }
    }
}
