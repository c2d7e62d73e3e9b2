//! `rollout` and `rollback`: their arguments, the plan, what happens meanwhile, how it ends, and the command that comes next.

mod again;
mod args;
mod arrivals;
mod before;
mod carry_out;
mod journals;
mod next_command;
mod past;
mod plan_view;
mod planning;
mod progress_view;
mod resuming;
pub(crate) mod rollback;
mod rollback_plan;
mod run;
mod share;
mod summary_view;
mod verify_gate;

pub(crate) use args::RolloutArgs;
pub(crate) use run::run;
