//! Where what was fetched is kept: blobs and manifests by their digest, small records by what they are about.
//!
//! [`Store`] is what every kind of store does; [`FsStore`] keeps things in one folder of one process:
//!
//! ```text
//! blobs/<algorithm>/<2 hex>/<hex>       the bytes
//! manifests/<algorithm>/<2 hex>/<hex>   a line with the media type, then the bytes
//! grants/<kind>/<algorithm>/<2 hex>/<hex>/<hash of origin>   empty: this origin has that object
//! origins/<hash>, tags/<2 hex>/<hash>, referrers/<2 hex>/<hash>   small records
//! index                                 what there is and when it was last used; written to only at its end
//! lock, .tmp/
//! ```
//!
//! No name of a file comes from a client: it is the hexadecimal form of a digest, or of the SHA-256 of a typed key.

mod blob_file;
mod folder_file;
mod fs_store;
mod index;
mod interface;
mod journal;
mod journal_file;
mod keeper_store;
mod open_file;
mod record;
mod room_store;
mod spool_file;

pub use blob_file::{Blob, SharedFile};
pub use folder_file::Naming;
pub use fs_store::{Durability, FsConfig, FsStore, Pins};
pub use interface::{Kind, Listed, Object, Store, Usage};
pub use record::{Document, Origin, RecordKey, RecordKind, ReferrersRecord, TagRecord};
pub use spool_file::{Room, Spool};
