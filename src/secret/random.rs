#![expect(clippy::disallowed_methods, reason = "asks the operating system for randomness")]

use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;

/// Fills bytes with randomness; an argument of everything that seals, so that tests can repeat what they did.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// Fills bytes from the operating system's generator.
pub fn os_random(bytes: &mut [u8]) {
    OsRng.fill_bytes(bytes);
}
