//! Rolling registries out over the Talos API: node by node, tried, verified, committed, else reverted.
mod config;
mod gate;
mod machine;
mod order;
mod outcome;
mod plan;
mod verdict;
