//! Any bytes are read without a panic, and what is a manifest is an index or an image, not both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::oci::{Manifest, ManifestKind, RemoteError, Token, parse_tags};

fuzz_target!(|bytes: &[u8]| {
    for header in [None, Some(ManifestKind::OciIndex.media_type()), Some("text/plain")] {
        if let Ok(manifest) = Manifest::parse(bytes, header) {
            assert_eq!(manifest.kind.is_index(), manifest.blobs().next().is_none());
            assert!(manifest.kind.is_index() || manifest.children().is_empty());
        }
    }
    let _ = (RemoteError::parse_all(bytes), parse_tags(bytes));
    let _ = Token::parse(bytes, jiff::Timestamp::UNIX_EPOCH);
});
