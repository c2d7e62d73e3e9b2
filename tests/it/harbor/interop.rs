//! Another client of Harbor's API, which knows nothing of talmirror, finds the fake to be one.

use std::process::Command;

use super::{ADMIN_PASSWORD, SMALL, applied};
use crate::run::repository;

/// `tests/interop/run harbor` installs harborapi and names the Python that has it.
#[test]
#[ignore = "needs a Python with harborapi: tests/interop/run harbor"]
fn harborapi_finds_a_harbor() {
    let python =
        std::env::var_os("TALMIRROR_HARBORAPI").expect("TALMIRROR_HARBORAPI names a Python with harborapi");
    let (harbor, _place) = applied(SMALL);
    let script = repository("tests/interop/harbor/check.py");
    let output = Command::new(python).arg(script).arg(harbor.url()).arg(ADMIN_PASSWORD).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
