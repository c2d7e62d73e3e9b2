//! Where what was fetched is kept: blobs and manifests by their digest, small records by what they are about.
//!
//! [`Store`] is what a local store does; [`FsStore`] keeps things in one folder of one process:
//!
//! ```text
//! blobs/<algorithm>/<2 hex>/<hex>       the bytes
//! manifests/<algorithm>/<2 hex>/<hex>   a line with the media type, then the bytes
//! grants/<kind>/<algorithm>/<2 hex>/<hex>/<hash of origin>   empty: this origin has that object
//! origins/<hash>, tags/<2 hex>/<hash>, referrers/<2 hex>/<hash>   small records
//! partial/<algorithm>-<hex>-<hash of registry>.<n>   what an unfinished download has so far
//! index                                 what there is and when it was last used; written to only at its end
//! lock, .tmp/
//! ```
//!
//! The files are what counts, and there is no database beside them to lose or to repair: `index` is made again from the folder where
//! it is gone.
//!
//! A [`Tier`] is a second place behind it that several caches share.
//!
//! No name of a file comes from a client: it is the hexadecimal form of a digest, or of the SHA-256 of a typed key.

mod blob;
mod fs;
mod local;
mod partial;
mod parts;
mod record;
mod spool;
mod tier;

pub use blob::{Blob, SharedFile};
pub use fs::{Durability, FsConfig, FsStore, Naming, Pins};
pub use local::{Kind, Listed, Object, Store, Touched, Usage, Verdict};
pub use partial::PartialKey;
pub use record::{Document, Origin, RecordKey, RecordKind, ReferrersRecord, TagRecord};
pub use spool::{Room, Spool};
pub use tier::{Tier, TierBody};
