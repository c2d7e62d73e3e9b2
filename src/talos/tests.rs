//! What the unit tests share with `tests/it`.

#[path = "../../tests/support/authority.rs"]
#[allow(dead_code, clippy::format_push_string, reason = "shared with the tests of the binary")]
pub(crate) mod authority;
