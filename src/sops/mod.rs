//! SOPS files.
mod cipher;
mod mac;
mod path;
mod pattern;
mod random;
mod random_source;
mod rule;
mod shamir;
mod value;
mod walk;
