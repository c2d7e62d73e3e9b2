//! Images that are named somewhere: in Kubernetes objects, manifests, machine configs, lists; and which mirrors cover
//! them.

mod add;
mod coverage;
mod images;
mod input;
mod node_platforms;
mod objects;
mod talos_images;
mod text;

pub use add::{AddError, add_registries};
pub use coverage::{Coverage, RegistryRow, Status, cover, rows};
pub use images::{ImageUse, Images, Note};
pub use input::{InputError, read_bytes, read_stream};
pub use node_platforms::node_platforms;
pub use talos_images::{TalosImages, UnknownTalos, talos_images};
