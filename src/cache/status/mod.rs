//! The status page: what a running cache holds and does, for people and, beside every page, as JSON.
//!
//! It is read-only and needs nothing from elsewhere: no script, no font, no picture. Who reaches the listener needs no
//! password, so that what anyone may not read is counted there and not named.

mod chart;
mod endpoint;
mod gather;
mod html;
mod images_page;
mod layout;
mod status_page;
#[cfg(test)]
mod tests;
mod view;

pub(super) use endpoint::AdminEndpoint;
pub(super) use gather::Sources;
