//! SOPS files.
mod bech32;
mod cipher;
mod identity;
mod metadata;
mod recipient;
mod mac;
mod path;
mod pattern;
mod random;
mod random_source;
mod rule;
mod shamir;
mod value;
mod walk;
