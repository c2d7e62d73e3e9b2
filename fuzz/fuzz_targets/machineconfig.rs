//! Replacing registries in any text never panics, reads back, and is done after one time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talmirror::finding::Problems;
use talmirror::machineconfig::{Form, MachineConfig, TlsIn, Unlisted};
use talmirror::registries::{Endpoint, Mirror, Registries};

fuzz_target!(|text: &str| {
    let Ok(config) = MachineConfig::parse(text) else { return };
    let mut wanted = Registries::default();
    let endpoints = vec![Endpoint::new("https://h/v2/p", true)];
    wanted.mirrors.insert("docker.io".to_owned(), Mirror { endpoints, skip_fallback: true });
    for form in [Form::Legacy, Form::Documents { tls: TlsIn::Documents }, Form::Documents { tls: TlsIn::Legacy }] {
        let Ok(new) = config.replace(&wanted, form, Unlisted::Drop) else { continue };
        let back = MachineConfig::parse(&new.text).expect("a text that was read back");
        assert_eq!(back.registries(&mut Problems::new("", &new.text)), wanted);
        assert!(!back.replace(&wanted, form, Unlisted::Drop).expect("the same again").changed);
    }
});
