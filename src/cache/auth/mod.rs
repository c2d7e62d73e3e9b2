//! Who may ask: users and passwords, and what stands before the service.

mod gate;
mod htpasswd;
mod identity;
mod verifier;

pub use gate::{Anonymous, AuthGate};
pub use identity::Identity;
pub use verifier::{UsersError, Verifier};
