//! Any text is a `.sops.yaml` or is refused, and every rule of one gives settings or is refused.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use talmirror::sops::Config;

fuzz_target!(|text: &str| {
    let Ok(config) = Config::parse(text, Path::new("/repo/.sops.yaml")) else { return };
    if let Ok(rule) = config.creation_rule(Path::new("/repo/talos/secrets.sops.yaml")) {
        let _ = rule.settings(config.indent);
    }
});
