/// How much of the story is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// What was done, too.
    #[default]
    Normal,
    /// Every request and its answer, too.
    Requests,
    /// Every request before it is answered, too.
    Calls,
}

impl Verbosity {
    /// Returns what `--quiet` and so many `-v` mean.
    pub(crate) fn of(quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            (false, 1) => Self::Requests,
            (false, _) => Self::Calls,
        }
    }
}
