//! Why one pull failed, was slow, or went around the mirror: from what hosts answer, and from what a node says.

mod node_log;
mod verdict;

pub use node_log::{LogLine, cause_of, last_word};
pub use verdict::{NodeFacts, Verdict, judge, of_node, settings_differ};
