//! Files: written whole or not at all, locked, appended to line by line, kept private, watched for a change.

mod append_log;
mod atomic;
mod lock;
mod output;
mod private_dir;
mod watched;

pub use append_log::{AppendLog, Appendable};
pub use atomic::{Written, write_atomically};
pub use lock::{Lock, LockError};
pub use output::{
    Privacy, WriteError, create, git_work_tree, is_tracked_by_git, last_committed, leads_out, replace,
};
pub use private_dir::{make_private_dir, make_private_dir_durably, sync_dir};
pub use watched::{Stamp, Watched};
