//! A rollout that is killed or interrupted.
