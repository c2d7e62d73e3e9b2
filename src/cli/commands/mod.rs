//! One command, one file: its arguments and what it does with the library.

pub(super) mod backup;
pub(super) mod completion;
pub(super) mod decrypt;
pub(super) mod diff;
pub(super) mod edit;
pub(super) mod encrypt;
pub(super) mod explain;
pub(super) mod generate;
pub(super) mod harbor;
pub(super) mod import;
pub(super) mod init;
pub(super) mod keygen;
pub(super) mod machineconfig;
pub(super) mod man;
pub(super) mod nodes;
pub(super) mod rekey;
pub(super) mod rotate;
pub(super) mod scan;
pub(super) mod schema;
pub(super) mod seal;
pub(super) mod template;
pub(super) mod validate;
pub(super) mod verify;
pub(super) mod version;
pub(super) mod why;
