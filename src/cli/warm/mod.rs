//! `warm`: its arguments, what is pulled through which mirror, how far it is, and what a run that is stopped leaves.

mod args;
mod jobs;
mod record;
mod run;
mod view;

pub(crate) use args::WarmArgs;
pub(crate) use run::run;
