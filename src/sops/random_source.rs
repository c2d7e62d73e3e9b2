use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;

/// Fills bytes from the operating system's generator.
pub fn os_random(bytes: &mut [u8]) {
    OsRng.fill_bytes(bytes);
}
