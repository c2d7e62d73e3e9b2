//! A reference that reads prints as one that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::image::{Reference, RegistryHost};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
    }
    if let Ok(host) = text.parse::<RegistryHost>() {
        assert_eq!(host.to_string(), text);
    }
});
