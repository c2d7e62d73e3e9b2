//! `talmirror harbor` against a Harbor that answers as real ones did.

mod replay;
