//! Renders what lies in `templates/`.

mod catalog;
mod fill;
mod render;
mod setting;

pub use catalog::{TEMPLATES, Template, find};
pub use fill::{Delivery, FillError, Rendered};
pub use render::{INVENTORY, SOPS, render};
pub use setting::Setting;
