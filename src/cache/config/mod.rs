//! What the cache is told: a file with findings at their lines, flags and variables over it, and what holds without.

mod bucket;
mod bucket_fields;
mod connection;
mod fields;
mod model;
mod overlay;
mod peer;
mod peer_fields;
mod read;
mod redirect;
mod redirect_fields;
mod redirect_rules;
mod size;
mod source;
mod tag_policy;
mod value;

pub use bucket::{BucketAddress, BucketConfig, BucketOverlay, Encryption, bucket_age};
pub use connection::header_lines;
pub use model::{
    Authenticate, BUILTIN, Config, Connection, Limits, Log, LogFormat, OwnLimits, StatusPage, UpstreamConfig,
    UpstreamLimits, UpstreamProxy, builtin,
};
pub use overlay::{
    Overlay, OverlayError, limit, named_file, named_host, named_proxies, named_url, redirected, registry,
};
pub use peer::{PeerConfig, PeerOverlay};
pub use read::{Parsed, parse};
pub use redirect::{Redirect, redirect_expiry};
pub use size::{ByteSize, SizeError};
pub use source::{ConfigSource, LoadError, LoadedConfig};
pub use tag_policy::{TagPolicy, by_look};
pub use value::{address, network, peer_url, upstream_url};

/// The fields of every mapping of the schema, by the mapping's name.
pub fn schema_fields() -> &'static [(&'static str, &'static [&'static str])] {
    fields::FIELDS
}
