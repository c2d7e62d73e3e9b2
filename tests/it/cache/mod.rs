//! The cache, part by part, and whole.

mod acceptance_care;
mod acceptance_clients;
mod acceptance_cold;
mod acceptance_faults;
mod acceptance_large;
mod acceptance_names;
mod acceptance_serving;
mod acceptance_store;
mod acceptance_tags;
mod advisories;
mod air_gap;
mod browser;
mod bucket;
mod chaos;
mod commands;
mod conformance;
mod examples;
mod gate;
mod operations;
mod replicas;
mod server;
mod status_page;
mod store;
mod store_crash;
mod store_full;
mod upstream;
