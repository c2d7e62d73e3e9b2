//! Images pulled through a mirror before a node needs them: everything is streamed, verified and thrown away.

mod platforms;
mod pull;
mod warmer;
mod work;

pub use platforms::Platforms;
pub use pull::Warmed;
pub use warmer::{Slot, Warmer};
pub use work::{Completed, Mode, Sharing};
