//! Exit codes, which scripts can rely on.

/// An exit code that scripts can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The number.
    pub code: u8,
    /// What it means.
    pub meaning: &'static str,
}

/// All is well; nothing differs.
pub const OK: Exit = Exit { code: 0, meaning: "all is well, nothing differs" };
/// Something differs, or a check found something.
pub const FOUND: Exit = Exit { code: 1, meaning: "there are differences or findings" };
/// The command line is wrong.
pub const USAGE: Exit = Exit { code: 2, meaning: "the command line is wrong" };
/// A file cannot be read or is invalid.
pub const INVALID: Exit =
    Exit { code: 3, meaning: "an inventory or another file cannot be read or is invalid" };
/// A secret cannot be had, or a file cannot be decrypted.
pub const SECRET: Exit = Exit { code: 4, meaning: "a secret cannot be had, or a file cannot be decrypted" };
/// A node or another server does not answer, or does not admit.
pub const REMOTE: Exit =
    Exit { code: 5, meaning: "a node or another server cannot be reached or refuses access" };
/// A rollout failed, and the nodes that it was at have their old config again.
pub const ROLLED_BACK: Exit =
    Exit { code: 6, meaning: "a rollout failed; what it was at has its old config again" };
/// A rollout failed, and what a node has is not known.
pub const UNKNOWN: Exit = Exit { code: 7, meaning: "a rollout failed; what a node has is not known" };
/// A command stopped before all was done: a rollout by its own rules, or because its user or editor said no.
pub const STOPPED: Exit = Exit {
    code: 8,
    meaning: "stopped by a rollout's rules, an answer or the editor; the rest was not touched",
};
/// Somewhere a file cannot be written.
pub const WRITE: Exit = Exit { code: 9, meaning: "a file cannot be written" };
/// The terminal was closed.
pub const CLOSED_TERMINAL: Exit = Exit { code: 129, meaning: "the terminal was closed" };
/// The user pressed Ctrl-C at a question.
pub const INTERRUPTED: Exit = Exit { code: 130, meaning: "interrupted" };
/// The reader of the output is gone.
pub const CLOSED_PIPE: Exit = Exit { code: 141, meaning: "the reader of the output is gone" };

/// Every exit code, in order; help and `docs/commands.md` are checked against it.
pub const ALL: &[Exit] = &[
    OK,
    FOUND,
    USAGE,
    INVALID,
    SECRET,
    REMOTE,
    ROLLED_BACK,
    UNKNOWN,
    STOPPED,
    WRITE,
    CLOSED_TERMINAL,
    INTERRUPTED,
    CLOSED_PIPE,
];
