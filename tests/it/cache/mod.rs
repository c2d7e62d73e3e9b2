//! The cache, part by part, and whole.

mod upstream;
